//! Members of sets: RAID of a BIOS, of Linux (md), of the SNIA's common format (DDF), and dynamic disks of Windows. What
//! is written to one member makes it differ from the others, so none is ever written here.
//!
//! Places and signatures as libblkid (util-linux, libblkid/src/superblocks/*_raid.c) and the kernel's block/partitions/ldm.h
//! tell them; checksums of md after the kernel's drivers/md/md.c, of DDF after the SNIA's Common RAID Disk Data Format 2.0.
//!
//! A false alarm refuses a healthy disk. So a short signature counts only with its checksum; and one that lies inside a
//! partition is told and forbids nothing: controllers keep their part of the disk away from the set's partitions, so what
//! lies there is left over from an earlier life of the disk, or a file's content.

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use super::Table;
use super::partition::{Partition, PartitionKind};
use crate::error::Result;
use crate::volume::bytes::{len_of, len64, u8_at, u16_at, u32_at, u64_at};
use crate::volume::{ReadAt, SECTOR};

/// Smaller than this is no member of anything (libblkid's own bound).
const LEAST: u64 = 0x10000;
/// Magic number of md in both of its formats.
const MD_MAGIC: u32 = 0xa92b_4efc;
/// md of format 0.90 keeps its block in the last whole 64 KiB.
const MD_RESERVED: u64 = 0x10000;
/// Length of md's block of format 0.90, and the most that one of format 1 has, in bytes.
const MD_BLOCK: u64 = 4096;
/// Where a disk that became dynamic has the first copy of its private header.
const PRIVHEAD_PLACE: u64 = 6 * SECTOR;

/// A signature of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it stands, in bytes.
    pub place: u64,
    /// What set it is of.
    pub of: &'static str,
}

impl Member {
    /// Why nothing is written, and what to do.
    pub fn forbids(&self) -> String {
        format!(
            "it is a member of a set: {} (signature at {:#x}); the other members would differ from what is written here. \
             Put the set together and give the whole of it as the target, or remove what was found in that Windows itself, \
             with no network connected; where the disk is in no set any more, take the signature off first (wipefs)",
            self.of, self.place
        )
    }

    /// What is told where it forbids nothing.
    pub fn remains(&self) -> String {
        format!(
            "at {:#x} there is a signature of {}, inside a partition: taken for remains of an earlier use",
            self.place, self.of
        )
    }
}

/// Looks for what makes a whole disk a member: why nothing on it may be written, and what is merely to be told.
pub(super) fn look(
    device: &dyn ReadAt,
    table: Table,
    partitions: &[Partition],
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut forbids = Vec::new();
    // A member of a striped set has a table that was made for the whole set: its partitions reach beyond this disk,
    // and cover the signature only on paper.
    let is_covered = |place: u64| {
        let covers = |partition: &Partition| {
            partition.is_whole
                && (partition.start..partition.start.saturating_add(partition.size)).contains(&place)
        };
        partitions.iter().any(covers)
    };
    let asked = Asked { device, unreadable: Mutex::default() };
    let device: &dyn ReadAt = &asked;
    let found = bios_set(device).into_iter().chain(ddf(device)).chain(md(device));
    for member in found {
        if is_covered(member.place) {
            // A volume's own end is looked at with the volume, which tells where it ends.
            if partitions.iter().all(|partition| partition.kind != PartitionKind::Volume) {
                notes.push(member.remains());
            }
        } else {
            forbids.push(member.forbids());
        }
    }
    if let Some(place) = private_header(device) {
        let is_dynamic = partitions.iter().any(|partition| partition.kind.is_dynamic());
        match table {
            // Its partitions say so themselves.
            Table::Mbr | Table::Gpt if is_dynamic => {}
            // Windows takes a disk for dynamic by the types in its table (so does the kernel's LDM driver).
            Table::Mbr | Table::Gpt => notes.push(format!(
                "at {place:#x} there is the private header of a dynamic disk, but no partition is of that type: taken for \
                 remains, as Windows does"
            )),
            Table::None if !partitions.is_empty() => {}
            Table::None | Table::Unreadable => forbids.push(format!(
                "it is a dynamic disk (private header at {place:#x}), whose volumes may have other members"
            )),
        }
    }
    let unreadable = asked.unreadable.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = unreadable.into_iter().find(|place| !is_covered(*place)) {
        forbids.push(format!(
            "whether it is a member of a set is not established: at {place:#x}, where the signature of one may stand, it cannot \
             be read; copy the disk to a sound one, and clean that"
        ));
    }
    forbids
}

/// A device that notes where it could not be read.
struct Asked<'a> {
    device: &'a dyn ReadAt,
    /// Places, in bytes, in the order of the reads.
    unreadable: Mutex<Vec<u64>>,
}

impl ReadAt for Asked<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let is_on_it = offset.checked_add(len64(buf.len())).is_some_and(|end| end <= self.size());
        self.device.read_at(offset, buf).inspect_err(|_| {
            if is_on_it {
                self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).push(offset);
            }
        })
    }

    fn size(&self) -> u64 {
        self.device.size()
    }
}

/// Fills a buffer of that length; none where the place is not there or cannot be read.
fn at(device: &dyn ReadAt, place: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len_of(length)];
    device.read_at(place, &mut bytes).is_ok().then_some(bytes)
}

/// The place of a sector counted from the end: 1 is the last.
fn from_end(device: &dyn ReadAt, sectors: u64) -> Option<u64> {
    (device.size() / SECTOR).checked_sub(sectors).map(|sector| sector * SECTOR)
}

/// The set of a BIOS or controller that a disk is a member of.
fn bios_set(device: &dyn ReadAt) -> Option<Member> {
    if device.size() < LEAST {
        return None;
    }
    let one = |back: u64, of: &'static str, test: &dyn Fn(&[u8]) -> bool| {
        let place = from_end(device, back)?;
        let sector = at(device, place, SECTOR)?;
        test(&sector).then_some(Member { place, of })
    };
    let text = |wanted: &'static [u8]| move |sector: &[u8]| sector.starts_with(wanted);
    one(2, "Intel Matrix or Rapid Storage RAID", &text(b"Intel Raid ISM Cfg Sig. "))
        .or_else(|| one(2, "NVIDIA RAID", &is_nvidia))
        .or_else(|| {
            // Where a Promise FastTrak keeps it hangs on the geometry that it gave the disk.
            const PLACES: [u64; 13] = [63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087];
            PLACES
                .into_iter()
                .find_map(|back| one(back, "Promise FastTrak RAID", &text(b"Promise Technology, Inc.")))
        })
        .or_else(|| one(1, "Silicon Image Medley RAID", &is_silicon))
        .or_else(|| one(1, "VIA RAID", &is_via))
        .or_else(|| one(1, "JMicron RAID", &is_jmicron))
        .or_else(|| one(1, "LSI MegaRAID of a BIOS", &text(b"$XIDE$")))
        .or_else(|| one(1, "Adaptec HostRAID", &is_adaptec))
        .or_else(|| one(11, "HighPoint 45x RAID", &|sector| is_highpoint(sector, 0, 0x5a78_16f3)))
        .or_else(|| {
            let place = 9 * SECTOR;
            let sector = at(device, place, SECTOR)?;
            is_highpoint(&sector, 32, 0x5a78_16f0).then_some(Member { place, of: "HighPoint 37x RAID" })
        })
}

/// Thirty words that add up to nothing.
fn is_nvidia(sector: &[u8]) -> bool {
    const WORDS: u32 = 30;
    let sum = (0..len_of(u64::from(WORDS)))
        .filter_map(|word| u32_at(sector, word * 4))
        .fold(0_u32, u32::wrapping_add);
    sector.starts_with(b"NVIDIA") && u32_at(sector, 8) == Some(WORDS) && sum == 0
}

/// The words before the checksum at 0x13e and the checksum add up to nothing.
fn is_silicon(sector: &[u8]) -> bool {
    u32_at(sector, 0x60) == Some(0x2f00_0000)
        && u8_at(sector, 0x116).is_some_and(|disk| disk < 8)
        && words_add_up(sector, 0x140) == Some(0)
}

/// The first 50 bytes add up to the 51st.
fn is_via(sector: &[u8]) -> bool {
    let sum = sector.iter().take(50).fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    u16_at(sector, 0) == Some(0xaa55)
        && u8_at(sector, 2).is_some_and(|version| version <= 2)
        && u8_at(sector, 50) == Some(sum)
}

/// 128 bytes that add up to nothing, or to one.
fn is_jmicron(sector: &[u8]) -> bool {
    sector.starts_with(b"JM")
        && words_add_up(sector, 0x80).is_some_and(|sum| sum <= 1)
        && u8_at(sector, 0x30).is_some_and(|level| level <= 5)
}

fn is_adaptec(sector: &[u8]) -> bool {
    sector.starts_with(&[0x37, 0xfc, 0x4d, 0x1e]) && sector.get(256..260) == Some(b"DPTM")
}

/// The magic number of a sound array, or that of a broken one.
fn is_highpoint(sector: &[u8], offset: usize, sound: u32) -> bool {
    const BROKEN: u32 = 0x5a78_16fd;
    u32_at(sector, offset).is_some_and(|magic| magic == sound || magic == BROKEN)
}

/// The sum of the 16-bit words of the first `length` bytes.
fn words_add_up(sector: &[u8], length: usize) -> Option<u16> {
    let (words, _) = sector.get(..length)?.as_chunks::<2>();
    Some(words.iter().fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word))))
}

/// The anchor of a set in the SNIA's format, in the last sector or 256 before it; its numbers may stand in either order.
fn ddf(device: &dyn ReadAt) -> Option<Member> {
    if device.size() < 3 * LEAST {
        return None;
    }
    [1, 257].into_iter().find_map(|back| {
        let place = from_end(device, back)?;
        let mut sector = at(device, place, SECTOR)?;
        let (magic, checksum) = (u32_at(&sector, 0)?, u32_at(&sector, 4)?);
        sector.get_mut(4..8)?.fill(0xff);
        let wanted = crc32fast::hash(&sector);
        // One of the two is enough: libblkid asks for neither.
        let names_its_version = sector.get(32..36) == Some(b"01.0") || sector.get(32..36) == Some(b"02.0");
        let is_anchor = match magic {
            0x11de_11de => names_its_version || checksum == wanted.swap_bytes(),
            0xde11_de11 => names_its_version || checksum == wanted,
            _ => false,
        };
        is_anchor.then_some(Member { place, of: "a RAID controller that uses DDF" })
    })
}

/// The block of Linux' md in a disk or partition.
pub fn md(device: &dyn ReadAt) -> Option<Member> {
    let size = device.size();
    if size < LEAST + MD_RESERVED {
        return None;
    }
    let old = (size & !(MD_RESERVED - 1)) - MD_RESERVED;
    if is_md_0(&at(device, old, MD_BLOCK)?) {
        return Some(Member { place: old, of: "Linux RAID (md 0.90)" });
    }
    let places = [
        ((size & !(MD_BLOCK - 1)) - 2 * MD_BLOCK, "Linux RAID (md 1.0)"),
        (0, "Linux RAID (md 1.1)"),
        (MD_BLOCK, "Linux RAID (md 1.2)"),
    ];
    places.into_iter().find_map(|(place, of)| {
        let block = at(device, place, MD_BLOCK)?;
        is_md_1(&block, place).then_some(Member { place, of })
    })
}

/// Format 0.90, in the order of bytes of the machine that made it: 1024 words, the checksum being the 39th.
fn is_md_0(block: &[u8]) -> bool {
    const CHECKSUM: usize = 38;
    let is_one = |word: fn([u8; 4]) -> u32| {
        let words: Vec<u32> = block.as_chunks::<4>().0.iter().map(|bytes| word(*bytes)).collect();
        let sum = words.iter().map(|word| u64::from(*word)).sum::<u64>();
        let checksum = words.get(CHECKSUM).copied().unwrap_or(0);
        let others = sum - u64::from(checksum);
        words.first() == Some(&MD_MAGIC)
            && words.get(1) == Some(&0)
            && [folded(others), others & 0xffff_ffff].contains(&u64::from(checksum))
    };
    is_one(u32::from_le_bytes) || is_one(u32::from_be_bytes)
}

/// Format 1, little-endian; names its own place, and has a checksum over as much as it uses.
fn is_md_1(block: &[u8], place: u64) -> bool {
    const CHECKSUM: usize = 216;
    let is_one = || {
        let roles = len_of(u64::from(u32_at(block, 220)?)).checked_mul(2)?;
        let used = block.get(..roles.checked_add(256)?)?;
        let (words, rest) = used.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum();
        sum += u16_at(rest, 0).map_or(0, u64::from);
        let checksum = u32_at(block, CHECKSUM)?;
        Some(
            u32_at(block, 0)? == MD_MAGIC
                && u32_at(block, 4)? == 1
                && u64_at(block, 144)? == place / SECTOR
                && folded(sum - u64::from(checksum)) == u64::from(checksum),
        )
    };
    is_one().unwrap_or(false)
}

/// A sum of 64 bits as md makes 32 of it.
fn folded(sum: u64) -> u64 {
    ((sum & 0xffff_ffff) + (sum >> 32)) & 0xffff_ffff
}

/// Where a private header of a dynamic disk stands: version 2.11 or 2.12, as Windows 2000 to Vista write it.
fn private_header(device: &dyn ReadAt) -> Option<u64> {
    let last = from_end(device, 1)?;
    [PRIVHEAD_PLACE, last].into_iter().find(|place| {
        at(device, *place, SECTOR).is_some_and(|sector| {
            // The only numbers in such a header are big-endian.
            let version = sector.get(12..16);
            sector.starts_with(b"PRIVHEAD") && matches!(version, Some([0, 2, 0, 11 | 12]))
        })
    })
}

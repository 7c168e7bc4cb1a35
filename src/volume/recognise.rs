//! What a volume's first sector says it is. Sources: Microsoft's FAT specification (fatgen103) 3.1 to 3.5, the
//! Linux-NTFS documentation of $Boot, libbde's documentation of BitLocker's volume header.

use super::bytes::{self, u8_at, u16_at, u64_at};
use super::{ReadAt, SECTOR, fat};
use crate::error::{Error, Result};

/// What the first sector of a volume says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// An NTFS boot sector.
    Ntfs,
    /// A FAT boot sector.
    Fat {
        /// Which FAT.
        kind: FatKind,
    },
    /// Encrypted by BitLocker.
    BitLocker,
    /// Nothing but zeros.
    Empty,
    /// None of these.
    Unknown,
}

/// Which FAT, by its number of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatKind {
    /// Fewer than 4 085 clusters.
    Fat12,
    /// Fewer than 65 525 clusters.
    Fat16,
    /// All others, and the BPB of FAT32.
    Fat32,
}

impl std::fmt::Display for Recognised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fat { kind } => return kind.fmt(f),
            Self::Ntfs => "NTFS",
            Self::BitLocker => "encrypted by BitLocker",
            Self::Empty => "empty",
            Self::Unknown => "no file system that we know",
        })
    }
}

/// Reads the first sector and says what the volume is.
///
/// # Errors
/// The sector cannot be read.
pub fn recognise(device: &dyn ReadAt) -> Result<Recognised> {
    let mut sector = vec![0; bytes::len_of(SECTOR.min(device.size()))];
    device.read_at(0, &mut sector)?;
    Ok(recognise_sector(&sector))
}

/// The same for a sector in memory.
pub(crate) fn recognise_sector(sector: &[u8]) -> Recognised {
    if sector.iter().all(|&byte| byte == 0) {
        return Recognised::Empty;
    }
    // BitLocker of Windows 7 and later keeps a FAT32-like BPB on sticks, told by the GUID
    // {4967D63B-2E29-4AD8-8399-F6A339E3D001} at 424.
    const TO_GO: &[u8] =
        &[0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01];
    let oem = sector.get(3..11).unwrap_or_default();
    if oem == b"-FVE-FS-" || sector.get(424..440) == Some(TO_GO) {
        return Recognised::BitLocker;
    }
    if oem == b"NTFS    " && Geometry::of(sector).is_ok() {
        return Recognised::Ntfs;
    }
    fat::Geometry::of(sector).map_or(Recognised::Unknown, |fat| Recognised::Fat { kind: fat.kind })
}

/// What an NTFS boot sector says, checked against itself. Sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Bytes in a sector.
    pub(super) sector: u64,
    /// Bytes in a cluster.
    pub(super) cluster: u64,
    /// Size of the volume, without the copy of the boot sector behind it.
    pub(super) size: u64,
    /// LCN of $MFT.
    pub(super) mft: u64,
    /// Bytes in an MFT record.
    pub(super) record: u64,
    /// Serial number.
    pub(super) serial: u64,
}

impl Geometry {
    /// Reads the boot sector.
    pub(super) fn of(sector: &[u8]) -> Result<Self> {
        let wrong = |at, expected, found: String| {
            Err(Error::mismatch("read the NTFS boot sector", at, expected, found))
        };
        let number = |at: usize| u64::from(u8_at(sector, at).unwrap_or(0));
        let wide = |at: usize| u64_at(sector, at).unwrap_or(0);
        let bytes_per_sector = u64::from(u16_at(sector, 11).unwrap_or(0));
        if sector.get(3..11) != Some(b"NTFS    ") {
            let found = String::from_utf8_lossy(sector.get(3..11).unwrap_or_default()).into_owned();
            return wrong(3, "the OEM name \"NTFS    \"", format!("{found:?}"));
        }
        if !bytes_per_sector.is_power_of_two() || !(256..=4096).contains(&bytes_per_sector) {
            return wrong(11, "256 to 4096 bytes in a sector", bytes_per_sector.to_string());
        }
        // Above 0x80 the number is a negative power of two, for clusters above 64 KiB.
        let sectors_per_cluster = match number(13) {
            n if n <= 0x80 => n,
            n => 1u64.checked_shl(u32::try_from(256 - n).unwrap_or(64)).unwrap_or(0),
        };
        let cluster = bytes_per_sector.saturating_mul(sectors_per_cluster);
        if !cluster.is_power_of_two() || cluster > 2 << 20 {
            return wrong(13, "a cluster of at most 2 MiB", format!("{cluster} bytes"));
        }
        let record = match number(64) {
            n if n < 0x80 => cluster.saturating_mul(n),
            n => 1u64.checked_shl(u32::try_from(256 - n).unwrap_or(64)).unwrap_or(0),
        };
        if !record.is_power_of_two() || !(SECTOR..=65536).contains(&record) {
            return wrong(64, "an MFT record of 512 to 65536 bytes", format!("{record} bytes"));
        }
        let size = wide(40).checked_mul(bytes_per_sector).filter(|&size| size >= cluster);
        let Some(size) = size else {
            return wrong(40, "a number of sectors that a disk can have", wide(40).to_string());
        };
        let mft = wide(48);
        if mft == 0 || mft.checked_mul(cluster).is_none_or(|at| at >= size) {
            return wrong(48, "the LCN of $MFT inside the volume", mft.to_string());
        }
        Ok(Self { sector: bytes_per_sector, cluster, size, mft, record, serial: wide(72) })
    }
}

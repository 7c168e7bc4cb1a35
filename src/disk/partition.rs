//! Partition tables: MBR with logical partitions, GPT with its copy, or none where the target is a volume itself.
//!
//! Sources: UEFI specification 2.10 chapter 5 (GPT, protective MBR); Microsoft's "Disk Sectors on MBR Disks"
//! (master and extended boot records). A unit is 512 bytes; a GPT of 4096-byte sectors is read and noted.

use std::fmt;
use std::ops::Range;

use super::volume_at;
use crate::error::{Error, Result};
use crate::volume::bytes::{array_at, len_of, u8_at, u16_at, u32_at, u64_at};
use crate::volume::{ReadAt, Recognised, SECTOR, recognise};

/// How a disk is partitioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Master boot record.
    Mbr,
    /// GUID partition table.
    Gpt,
    /// None: empty, or a volume from its first sector on.
    None,
    /// There may be one, but it makes no sense or cannot be read; the notes say why.
    Unreadable,
}

/// One partition. Places in bytes from the start of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number as Linux counts: 1 to 4 for primary ones, logical ones from 5 on; 0 for a volume without a table.
    pub number: u32,
    /// Where it begins.
    pub start: u64,
    /// How long it is; clipped, with a note, where the disk ends earlier.
    pub size: u64,
    /// Whether all of it is there: not clipped.
    pub is_whole: bool,
    /// What the table says it holds.
    pub kind: PartitionKind,
    /// Whether it is marked active.
    pub bootable: bool,
}

/// What a partition table says a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionKind {
    /// Type byte of an MBR.
    Mbr(u8),
    /// Type GUID of a GPT, in the order of its bytes on the disk.
    Gpt([u8; 16]),
    /// No table: the target is a volume itself.
    Volume,
}

/// Microsoft basic data: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7.
const BASIC_DATA: [u8; 16] =
    [0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7];
/// EFI system partition: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const EFI_SYSTEM: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Microsoft reserved: E3C9E316-0B5C-4DB8-817D-F92DF00215AE.
const MICROSOFT_RESERVED: [u8; 16] =
    [0x16, 0xe3, 0xc9, 0xe3, 0x5c, 0x0b, 0xb8, 0x4d, 0x81, 0x7d, 0xf9, 0x2d, 0xf0, 0x02, 0x15, 0xae];
/// Logical Disk Manager metadata: 5808C8AA-7E8F-42E0-85D2-E1E90434CFB3.
const LDM_METADATA: [u8; 16] =
    [0xaa, 0xc8, 0x08, 0x58, 0x8f, 0x7e, 0xe0, 0x42, 0x85, 0xd2, 0xe1, 0xe9, 0x04, 0x34, 0xcf, 0xb3];
/// Logical Disk Manager data: AF9B60A0-1431-4F62-BC68-3311714A69AD.
const LDM_DATA: [u8; 16] =
    [0xa0, 0x60, 0x9b, 0xaf, 0x31, 0x14, 0x62, 0x4f, 0xbc, 0x68, 0x33, 0x11, 0x71, 0x4a, 0x69, 0xad];
/// Storage Spaces: E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D.
const STORAGE_SPACES: [u8; 16] =
    [0x8f, 0xaf, 0x5c, 0xe7, 0x80, 0xf6, 0xee, 0x4c, 0xaf, 0xa3, 0xb0, 0x01, 0xe5, 0x6e, 0xfc, 0x2d];

impl fmt::Display for PartitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume => f.write_str("volume without a partition table"),
            Self::Mbr(byte) => write!(f, "{} (type {byte:#04x})", mbr_words(*byte)),
            Self::Gpt(BASIC_DATA) => f.write_str("basic data"),
            Self::Gpt(EFI_SYSTEM) => f.write_str("EFI system"),
            Self::Gpt(MICROSOFT_RESERVED) => f.write_str("Microsoft reserved"),
            Self::Gpt(LDM_METADATA) => f.write_str("metadata of a dynamic disk"),
            Self::Gpt(LDM_DATA) => f.write_str("volumes of a dynamic disk"),
            Self::Gpt(STORAGE_SPACES) => f.write_str("Storage Spaces"),
            Self::Gpt(guid) => {
                // The first three groups are numbers in little-endian order.
                const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
                f.write_str("type ")?;
                for (i, at) in ORDER.into_iter().enumerate() {
                    let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{dash}{:02X}", guid.get(at).copied().unwrap_or(0))?;
                }
                Ok(())
            }
        }
    }
}

impl PartitionKind {
    /// Whether a Windows of these systems may lie in such a partition: then a first sector that is no volume's is damage
    /// rather than a thing of another system.
    pub fn may_hold_windows(self) -> bool {
        match self {
            Self::Volume => true,
            Self::Mbr(kind) => {
                // Bit 4 hides a partition of Windows.
                let plain = matches!(kind & !0x10, 0x01 | 0x04 | 0x06 | 0x07 | 0x0b | 0x0c | 0x0e);
                plain || kind == 0x42 || is_fault_tolerant(kind)
            }
            Self::Gpt(guid) => [BASIC_DATA, LDM_DATA, STORAGE_SPACES].contains(&guid),
        }
    }

    /// Whether it says that the disk is dynamic.
    pub(super) fn is_dynamic(self) -> bool {
        matches!(self, Self::Mbr(0x42) | Self::Gpt(LDM_METADATA | LDM_DATA))
    }

    /// Why such a partition must never be written here, if it must not: what is written to one member of a set makes it
    /// differ from the others. `holds_fat`: whether its first sector is that of a FAT volume.
    pub fn forbids_writing(self, holds_fat: bool) -> Option<&'static str> {
        match self {
            _ if self.is_dynamic() => Some(
                "it belongs to a dynamic disk, whose volumes may have other members; what was found must be removed in \
                 that Windows itself, with no network connected",
            ),
            // BIOSes of laptops suspend to partitions of type 0x84, Minix has 0x81.
            Self::Mbr(0x81 | 0x84) if !holds_fat => None,
            Self::Mbr(kind) if is_fault_tolerant(kind) => Some(
                "it belongs to a fault-tolerant set of Windows NT, which has other members; what was found must be removed \
                 in that Windows itself, with no network connected",
            ),
            Self::Gpt(STORAGE_SPACES) => Some(
                "it belongs to a pool of Storage Spaces, which has other members; what was found must be removed in that \
                 Windows itself, with no network connected",
            ),
            _ => None,
        }
    }
}

/// Whether a type is that of a fault-tolerant set of NT 4.0: the volume's own with bit 7, and bit 6 too where the set is
/// not in order. 0x8e would be one, of a volume that NT 4.0 does not know, and is Linux' LVM.
fn is_fault_tolerant(kind: u8) -> bool {
    kind & 0x80 != 0 && matches!(kind & !0xc0, 0x01 | 0x04 | 0x06 | 0x07 | 0x0b | 0x0c)
}

fn mbr_words(kind: u8) -> &'static str {
    match kind {
        0x01 => "FAT12",
        0x04 | 0x06 | 0x0e => "FAT16",
        0x0b | 0x0c => "FAT32",
        0x07 => "NTFS, HPFS or exFAT",
        0x11 | 0x14 | 0x16 | 0x17 | 0x1b | 0x1c | 0x1e => "hidden FAT or NTFS",
        0x12 | 0x27 | 0xde => "maker's recovery or diagnostics",
        0x42 => "dynamic disk of Windows 2000 and later",
        0x82 => "Linux swap",
        0x83 => "Linux",
        0x84 => "suspended laptop, or volume set of Windows NT",
        0x8e => "Linux LVM",
        kind if is_fault_tolerant(kind) => "volume set of Windows NT",
        0xee => "protective entry of a GPT",
        _ => "of a kind that we do not know",
    }
}

fn is_extended(kind: u8) -> bool {
    matches!(kind, 0x05 | 0x0f | 0x85)
}

/// Reads the table of a disk. What is odd goes to `notes`.
///
/// # Errors
/// The first sector cannot be read.
pub(super) fn read(device: &dyn ReadAt, notes: &mut Vec<String>) -> Result<(Table, Vec<Partition>)> {
    if device.size() < SECTOR {
        notes.push(format!("it has only {} bytes, less than a sector", device.size()));
        return Ok((Table::Unreadable, Vec::new()));
    }
    let mut sector = vec![0; len_of(SECTOR)];
    device.read_at(0, &mut sector).map_err(|error| error.within("read the partition table"))?;
    let entries = mbr_entries(&sector);
    let is_signed = u16_at(&sector, 510) == Some(0xaa55);
    let size = device.size();

    if is_signed && entries.iter().any(|entry| entry.kind == 0xee) {
        if let Some(partitions) = gpt(device, notes) {
            return Ok((Table::Gpt, partitions));
        }
        notes.push("the MBR says that there is a GPT, but neither the GPT nor its copy is sound".to_owned());
        return Ok((Table::Unreadable, Vec::new()));
    }
    match recognise(device)? {
        Recognised::Empty => {
            notes.push("its first sector is empty: there is no partition table".to_owned());
            return Ok((Table::None, Vec::new()));
        }
        // A volume's boot sector ends in 55AA too. Only a table that is sound throughout, and leads to the first
        // sector of a volume, is believed against it (sticks made by some tools carry both).
        Recognised::Ntfs | Recognised::Fat { .. } | Recognised::BitLocker => {
            let is_table = is_signed
                && sound(&entries, size)
                && entries.iter().any(|entry| entry.is_used() && volume_at(device, entry.start()));
            if !is_table {
                let whole = Partition {
                    number: 0,
                    start: 0,
                    size,
                    is_whole: true,
                    kind: PartitionKind::Volume,
                    bootable: false,
                };
                return Ok((Table::None, vec![whole]));
            }
            notes.push(
                "its first sector is a volume's boot sector and a partition table: taken as the table"
                    .to_owned(),
            );
        }
        Recognised::Unknown => {}
    }
    if !is_signed || !entries.iter().all(|entry| entry.status & 0x7f == 0) {
        notes.push("its first sector is neither a partition table nor a volume that we know".to_owned());
        return Ok((Table::Unreadable, Vec::new()));
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        if is_extended(entry.kind) {
            logical(device, entry.start(), notes, &mut partitions);
        } else if entry.is_used() {
            let kind = PartitionKind::Mbr(entry.kind);
            add(
                &mut partitions,
                notes,
                size,
                number,
                entry.start(),
                entry.size(),
                kind,
                entry.status == 0x80,
            );
        }
    }
    partitions.sort_by_key(|partition| partition.number);
    note_overlaps(&partitions, notes);
    Ok((Table::Mbr, partitions))
}

/// One entry of an MBR or EBR.
struct Entry {
    status: u8,
    kind: u8,
    first: u32,
    count: u32,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.count != 0
    }

    fn start(&self) -> u64 {
        u64::from(self.first) * SECTOR
    }

    fn size(&self) -> u64 {
        u64::from(self.count) * SECTOR
    }
}

fn mbr_entries(sector: &[u8]) -> Vec<Entry> {
    let entry = |at: usize| {
        Some(Entry {
            status: u8_at(sector, at)?,
            kind: u8_at(sector, at + 4)?,
            first: u32_at(sector, at + 8)?,
            count: u32_at(sector, at + 12)?,
        })
    };
    (0..4).filter_map(|i| entry(446 + 16 * i)).collect()
}

/// Whether four entries make a table without contradiction.
fn sound(entries: &[Entry], size: u64) -> bool {
    let used: Vec<Range<u64>> = entries
        .iter()
        .filter(|entry| entry.is_used())
        .map(|entry| entry.start()..entry.start() + entry.size())
        .collect();
    let apart = |a: &Range<u64>, b: &Range<u64>| a.end <= b.start || b.end <= a.start;
    !used.is_empty()
        && entries.iter().all(|entry| entry.status & 0x7f == 0)
        && used.iter().all(|range| range.start >= SECTOR && range.end <= size)
        && used.iter().enumerate().all(|(i, a)| used.iter().skip(i + 1).all(|b| apart(a, b)))
}

/// Follows the chain of extended boot records that begins at `base`.
fn logical(device: &dyn ReadAt, base: u64, notes: &mut Vec<String>, partitions: &mut Vec<Partition>) {
    const LIMIT: u32 = 256;
    let mut place = base;
    let mut visited = Vec::new();
    // Linux counts the links of the chain, whether they hold a partition or not.
    let mut number = 5;
    loop {
        let mut sector = vec![0; len_of(SECTOR)];
        if visited.contains(&place) || number >= 5 + LIMIT {
            notes.push(format!("the chain of logical partitions runs in a circle at {place:#x}: cut there"));
            return;
        }
        visited.push(place);
        if let Err(error) = device.read_at(place, &mut sector) {
            notes.push(format!("the chain of logical partitions breaks off: {error}"));
            return;
        }
        if u16_at(&sector, 510) != Some(0xaa55) {
            let words = "the chain of logical partitions breaks off: no extended boot record";
            notes.push(format!("{words} at {place:#x}"));
            return;
        }
        let entries = mbr_entries(&sector);
        for entry in entries.iter().filter(|entry| entry.is_used() && !is_extended(entry.kind)) {
            let kind = PartitionKind::Mbr(entry.kind);
            let start = place.saturating_add(entry.start());
            add(partitions, notes, device.size(), number, start, entry.size(), kind, entry.status == 0x80);
            number += 1;
        }
        match entries.iter().find(|entry| is_extended(entry.kind) && entry.first != 0) {
            Some(next) => place = base.saturating_add(next.start()),
            None => return,
        }
    }
}

/// Adds a partition, clipped to the disk.
#[expect(clippy::too_many_arguments, reason = "a partition's fields, in their order")]
fn add(
    partitions: &mut Vec<Partition>,
    notes: &mut Vec<String>,
    disk: u64,
    number: u32,
    start: u64,
    size: u64,
    kind: PartitionKind,
    bootable: bool,
) {
    if start >= disk {
        notes.push(format!(
            "partition {number} ({kind}) begins at {start:#x}, beyond the end of the disk: left out"
        ));
        return;
    }
    let clipped = size.min(disk - start);
    if clipped < size {
        notes.push(format!(
            "partition {number} ({kind}) reaches {} bytes beyond the end of the disk: only {clipped} of {size} bytes are there",
            size - clipped
        ));
    }
    partitions.push(Partition { number, start, size: clipped, is_whole: clipped == size, kind, bootable });
}

fn note_overlaps(partitions: &[Partition], notes: &mut Vec<String>) {
    for (i, a) in partitions.iter().enumerate() {
        for b in partitions.iter().skip(i + 1) {
            if a.start < b.start.saturating_add(b.size) && b.start < a.start.saturating_add(a.size) {
                notes.push(format!("partitions {} and {} overlap", a.number, b.number));
            }
        }
    }
}

/// Reads the GPT, or its copy where the first is bad; none where both are.
fn gpt(device: &dyn ReadAt, notes: &mut Vec<String>) -> Option<Vec<Partition>> {
    for unit in [SECTOR, 4096] {
        let last = (device.size() / unit).checked_sub(1)?;
        for (lba, is_copy) in [(1, false), (last, true)] {
            match gpt_at(device, unit, lba, notes) {
                Ok(partitions) => {
                    if unit != SECTOR {
                        notes.push(format!("its partition table counts in sectors of {unit} bytes"));
                    }
                    if is_copy {
                        notes.push(
                            "the first GPT is damaged: its copy at the end of the disk is used".to_owned(),
                        );
                    }
                    note_overlaps(&partitions, notes);
                    return Some(partitions);
                }
                Err(error) if unit == SECTOR => notes.push(error.to_string()),
                Err(_) => {}
            }
        }
    }
    None
}

fn gpt_at(device: &dyn ReadAt, unit: u64, lba: u64, notes: &mut Vec<String>) -> Result<Vec<Partition>> {
    let doing = "read the GPT";
    let place = lba.saturating_mul(unit);
    let wrong = |expected: &str, found: &str| Error::mismatch(doing, place, expected, found);
    let mut header = vec![0; len_of(SECTOR)];
    device.read_at(place, &mut header).map_err(|error| error.within(doing))?;
    if header.get(..8) != Some(b"EFI PART") {
        return Err(wrong("the signature \"EFI PART\"", "another"));
    }
    let length = len_of(u64::from(u32_at(&header, 12).unwrap_or(0)));
    let checksum = u32_at(&header, 16);
    let mut blank = header.get(..length).filter(|_| length >= 92).unwrap_or_default().to_vec();
    if let Some(field) = blank.get_mut(16..20) {
        field.fill(0);
    }
    if blank.is_empty() || Some(crc32fast::hash(&blank)) != checksum {
        return Err(wrong("a header that fits its checksum", "one that does not"));
    }
    if u64_at(&header, 24) != Some(lba) {
        return Err(wrong("a header that names its own place", "another place"));
    }
    let first = u64_at(&header, 72).unwrap_or(0).saturating_mul(unit);
    let count = u32_at(&header, 80).unwrap_or(0);
    let entry = u32_at(&header, 84).unwrap_or(0);
    let bytes = u64::from(count) * u64::from(entry);
    if !(128..=4096).contains(&entry) || bytes > 4 << 20 {
        return Err(wrong("entries of 128 bytes or more", &format!("{count} entries of {entry} bytes")));
    }
    let mut entries = vec![0; len_of(bytes)];
    device.read_at(first, &mut entries).map_err(|error| error.within(doing))?;
    if Some(crc32fast::hash(&entries)) != u32_at(&header, 88) {
        return Err(wrong("entries that fit their checksum", "others"));
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(len_of(u64::from(entry)))) {
        let Some(guid) = array_at::<16>(entry, 0).filter(|guid| guid != &[0; 16]) else { continue };
        let (first, last) = (u64_at(entry, 32).unwrap_or(0), u64_at(entry, 40).unwrap_or(0));
        let Some(count) = last.checked_sub(first).and_then(|count| count.checked_add(1)) else {
            notes.push(format!("partition {number} ends before it begins: left out"));
            continue;
        };
        let bootable = u64_at(entry, 48).unwrap_or(0) & 4 != 0;
        let (start, size) = (first.saturating_mul(unit), count.saturating_mul(unit));
        add(&mut partitions, notes, device.size(), number, start, size, PartitionKind::Gpt(guid), bootable);
    }
    Ok(partitions)
}

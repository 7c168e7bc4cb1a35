//! The label of a FAT volume.

use super::boot::{ENTRY, Geometry};
use crate::error::Result;
use crate::volume::bytes::{len_of, slice_at, u8_at};
use crate::volume::{FatKind, ReadAt, SECTOR};

/// Attribute bit of the entry that holds the label; the entries of a long name have it among others.
const LABEL: u8 = 0x08;
/// Attribute bits that tell the kinds of entries apart.
const KINDS: u8 = 0x3f;
/// Bytes of the root directory that are looked through: the label's entry stands among the first.
const LOOKED_THROUGH: u64 = 64 << 10;

/// The label as the root directory has it, where Windows writes a new one; else the boot sector's, that of whoever made
/// the volume. None: no FAT volume, or one without a label.
///
/// # Errors
/// It cannot be read.
pub fn label(device: &dyn ReadAt) -> Result<Option<String>> {
    let mut sector = vec![0; len_of(SECTOR.min(device.size()))];
    device.read_at(0, &mut sector)?;
    let Ok(geometry) = Geometry::of(&sector) else { return Ok(None) };
    let (start, size) = match geometry.kind {
        FatKind::Fat32 if geometry.holds(geometry.root_cluster) => {
            (geometry.place(geometry.root_cluster), geometry.cluster)
        }
        FatKind::Fat32 => (0, 0),
        FatKind::Fat12 | FatKind::Fat16 => (geometry.root, geometry.root_size),
    };
    let mut root = vec![0; len_of(size.min(LOOKED_THROUGH))];
    device.read_at(start, &mut root)?;
    let entries = root.chunks_exact(len_of(ENTRY)).take_while(|entry| u8_at(entry, 0) != Some(0));
    let mut labels = entries.filter(|entry| {
        u8_at(entry, 0) != Some(0xe5) && u8_at(entry, 11).is_some_and(|kind| kind & KINDS == LABEL)
    });
    let entry = labels.next().and_then(|entry| slice_at(entry, 0, 11));
    let at = if geometry.kind == FatKind::Fat32 { 71 } else { 43 };
    // The field is there only behind this mark.
    let has_field = u8_at(&sector, at - 5) == Some(0x29);
    let field = slice_at(&sector, at, 11).filter(|field| has_field && *field != b"NO NAME    ");
    let name = entry.or(field).map(|bytes| String::from_utf8_lossy(bytes).trim_end().to_owned());
    Ok(name.filter(|name| !name.is_empty()))
}

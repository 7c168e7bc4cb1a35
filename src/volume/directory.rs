//! Names in one directory: all entries of its $I30 index, root and blocks in use, one after the other.
//!
//! The tree is not descended: a lookup so survives a key out of order, and does not depend on the numbering of
//! blocks, which counts clusters or, where a cluster is larger than a block, sectors (the `ntfs` crate 0.4.0 fails on
//! the latter). Source: the Linux-NTFS documentation of $INDEX_ROOT and $INDEX_ALLOCATION.

use std::ops::ControlFlow;

use super::bytes::{len_of, slice_at, u8_at, u16_at, u32_at, u64_at};
use super::data;
use super::mft::Mft;
use super::record::{Record, fix_up, kind, reference, text};
use crate::error::{Error, Result};
use crate::path::same_name;

/// Largest index that is read, in bytes.
const INDEX_LIMIT: u64 = 256 << 20;
const INDEX: &str = "$I30";

/// MFT record and sequence number of the entry with that name, long or 8.3, letter case left out of account.
pub(super) fn look_up(mft: &Mft, directory: &Record<'_>, name: &str) -> Result<Option<(u64, u16)>> {
    let doing = || format!("search the directory in MFT record {}", directory.number);
    let wrong = |what: &str| Error::mismatch(doing(), directory.place, "a sound index", what);
    let root = data::content(mft, directory, kind::INDEX_ROOT, INDEX)?.ok_or_else(|| wrong("none"))?;
    let root = root.read(mft, mft.geometry.record)?;
    let block = u64::from(u32_at(&root, 8).unwrap_or(0));
    if let ControlFlow::Break(found) = search(&root, 0x10, name).ok_or_else(|| wrong("a damaged root"))? {
        return Ok(Some(found));
    }
    let Some(blocks) = data::content(mft, directory, kind::INDEX_ALLOCATION, INDEX)? else { return Ok(None) };
    if !block.is_power_of_two() || !(512..=65536).contains(&block) {
        return Err(wrong(&format!("blocks of {block} bytes")));
    }
    let in_use = match data::content(mft, directory, kind::BITMAP, INDEX)? {
        Some(bitmap) => bitmap.read(mft, INDEX_LIMIT)?,
        None => Vec::new(),
    };
    let mut blocks = blocks.read(mft, INDEX_LIMIT)?;
    for (i, block) in blocks.chunks_exact_mut(len_of(block)).enumerate() {
        if u8_at(&in_use, i / 8).unwrap_or(0) >> (i % 8) & 1 == 0 {
            continue;
        }
        let damaged = || wrong(&format!("a damaged block ({i})"));
        if block.get(..4) != Some(b"INDX") {
            return Err(damaged());
        }
        fix_up(block, directory.place).map_err(|error| error.within(doing()))?;
        if let ControlFlow::Break(found) = search(block, 0x18, name).ok_or_else(damaged)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Searches the entries behind one index header; none where they are damaged.
fn search(bytes: &[u8], header: usize, name: &str) -> Option<ControlFlow<(u64, u16)>> {
    let end = header.checked_add(usize::try_from(u32_at(bytes, header + 4)?).ok()?)?;
    let mut at = header.checked_add(usize::try_from(u32_at(bytes, header)?).ok()?)?;
    let bytes = bytes.get(..end)?;
    loop {
        let length = usize::from(u16_at(bytes, at + 8)?);
        if u32_at(bytes, at + 12)? & 2 != 0 {
            return Some(ControlFlow::Continue(()));
        }
        let entry = slice_at(bytes, at, length).filter(|entry| entry.len() >= 0x52)?;
        let units = usize::from(u8_at(entry, 0x10 + 0x40)?) * 2;
        if same_name(&text(slice_at(entry, 0x10 + 0x42, units)?), name) {
            return Some(ControlFlow::Break(reference(u64_at(entry, 0)?)));
        }
        at += length;
    }
}

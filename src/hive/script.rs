//! What is written to a hive's file, as data: groups of whole sectors, with a sync between two groups.
//!
//! Within a group any subset may have reached the disk, in any order, as long as each sector is there whole or not
//! at all. [`edit`](super::edit) and [`log`](super::log) make groups of which that holds.

use std::collections::BTreeMap;

use super::cell::{BASE_BLOCK, CellOffset, span};
use super::{BINS_SIZE, CHECKSUM, Hive, SEQUENCE_1, SEQUENCE_2, checksum};
use crate::error::{Error, Result};

/// Bytes that a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// What a group of sectors does, in the order in which the groups of one edit come; an edit has a group only for
/// what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Pages out of a transaction log; the hive is dirty before and afterwards.
    Pages,
    /// A new hive bin behind the last one, where nothing refers to.
    Bin,
    /// The base block, whose size of the bins takes the new one in.
    Size,
    /// New cells inside free ones.
    Contents,
    /// Sizes that make them visible; maxima and counts of security raised.
    Headers,
    /// The one write that makes the edit true.
    Flip,
    /// Old cells given back, times, maxima.
    Free,
    /// The base block.
    Header,
}

/// One sector before and after.
#[derive(Clone, PartialEq, Eq)]
pub struct SectorPatch {
    /// Where in the file, in bytes; a multiple of 512. Behind the file's end where the hive grows: the file is then
    /// made as long as the image first, with zeros.
    pub offset: u64,
    /// Its 512 bytes after all earlier groups.
    pub before: Vec<u8>,
    /// Its 512 bytes after this group.
    pub after: Vec<u8>,
}

/// Sectors between two syncs, in rising order.
#[derive(Clone, PartialEq, Eq)]
pub struct Group {
    /// Index of the edit it belongs to.
    pub edit: usize,
    /// What it does.
    pub step: Step,
    /// The sectors that change, at least one.
    pub sectors: Vec<SectorPatch>,
}

/// Writes to the image of a hive and records what changed, group by group.
pub(super) struct Recorder<'a> {
    pub(super) hive: &'a mut Hive,
    pub(super) groups: Vec<Group>,
    /// Sectors written since the last group, as they were, by their offset in the file.
    before: BTreeMap<usize, Vec<u8>>,
    /// Length of the file and end of the bins before the first write.
    start: (usize, usize),
}

impl<'a> Recorder<'a> {
    pub(super) fn new(hive: &'a mut Hive) -> Self {
        let start = (hive.bytes.len(), hive.end);
        Self { hive, groups: Vec::new(), before: BTreeMap::new(), start }
    }

    /// Writes two fields that lie side by side in one sector, since the pair is aligned to its eight bytes.
    pub(super) fn write_pair(&mut self, cell: CellOffset, at: usize, first: u32, second: u32) -> Result<()> {
        let pair = u64::from(second) << 32 | u64::from(first);
        self.write(field(cell, at), &pair.to_le_bytes())
    }

    /// Writes to the image, keeping how its sectors were before this group. `at` counts from the start of the file.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let end = if at < BASE_BLOCK { BASE_BLOCK } else { self.hive.end };
        self.write_below(at, bytes, end)
    }

    /// Writes a new hive bin behind the last one. It becomes part of the hive by [`Recorder::resize`].
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let (at, end) = (self.hive.end, self.hive.end + bytes.len());
        if self.hive.bytes.len() < end {
            self.hive.bytes.resize(end, 0);
        }
        self.write_below(at, bytes, end)
    }

    /// Takes `more` bytes behind the bins into the hive; to be followed by [`Recorder::seal`].
    pub(super) fn resize(&mut self, more: u32) -> Result<()> {
        let size = self.hive.base(BINS_SIZE) + more;
        self.write(BINS_SIZE, &size.to_le_bytes())?;
        self.hive.end = BASE_BLOCK + size as usize;
        Ok(())
    }

    /// Raises both sequence numbers and makes the checksum right.
    pub(super) fn seal(&mut self) -> Result<()> {
        let sequence = self.hive.base(SEQUENCE_1).wrapping_add(1).to_le_bytes();
        self.write(SEQUENCE_1, &sequence)?;
        self.write(SEQUENCE_2, &sequence)?;
        let sum = checksum(&self.hive.bytes).to_le_bytes();
        self.write(CHECKSUM, &sum)
    }

    fn write_below(&mut self, at: usize, bytes: &[u8], end: usize) -> Result<()> {
        let outside =
            || Error::mismatch("edit the hive", at as u64, "a place inside the hive", "one outside");
        let range = span(at, bytes.len()).filter(|range| range.end <= end).ok_or_else(outside)?;
        for sector in (at / SECTOR..range.end.div_ceil(SECTOR)).map(|index| index * SECTOR) {
            let now =
                span(sector, SECTOR).and_then(|range| self.hive.bytes.get(range)).ok_or_else(outside)?;
            self.before.entry(sector).or_insert_with(|| now.to_vec());
        }
        self.hive.bytes.get_mut(range).ok_or_else(outside)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Ends a group; none is made where nothing changed.
    pub(super) fn close(&mut self, edit: usize, step: Step) {
        let mut sectors = Vec::new();
        for (sector, before) in std::mem::take(&mut self.before) {
            let after = span(sector, SECTOR).and_then(|range| self.hive.bytes.get(range)).unwrap_or_default();
            if before != after {
                sectors.push(SectorPatch { offset: sector as u64, before, after: after.to_vec() });
            }
        }
        if !sectors.is_empty() {
            self.groups.push(Group { edit, step, sectors });
        }
    }

    /// Brings the image back to where it was before the first write.
    pub(super) fn take_back(&mut self) {
        for (sector, before) in std::mem::take(&mut self.before) {
            put(&mut self.hive.bytes, sector, &before);
        }
        for group in std::mem::take(&mut self.groups).iter().rev() {
            for patch in &group.sectors {
                put(&mut self.hive.bytes, patch.offset as usize, &patch.before);
            }
        }
        self.hive.bytes.truncate(self.start.0);
        self.hive.end = self.start.1;
    }
}

/// Place in the file of a field of a cell's body.
pub(super) fn field(cell: CellOffset, at: usize) -> usize {
    cell.file_offset() as usize + 4 + at
}

/// Overwrites bytes that exist; does nothing where they do not.
pub(super) fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(place) = span(at, new.len()).and_then(|range| bytes.get_mut(range)) {
        place.copy_from_slice(new);
    }
}

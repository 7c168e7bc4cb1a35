//! Sets and deletes values inside a hive's own free space, as groups of sectors in an order that is safe to be cut.
//!
//! A group is one or more whole sectors. Between two groups the writer syncs; within one any subset may have reached
//! the disk, in any order, as long as each sector is there whole or not at all. Whatever is cut, the hive then reads
//! as it was before one of the edits or after it, and its base block never says that it is dirty. For each edit:
//!
//! 1. [`Step::Contents`]: new cells are written strictly inside free cells, whose size stays as it was.
//! 2. [`Step::Headers`]: the sizes of those free cells; each shows new cells that nothing refers to.
//! 3. [`Step::Flip`]: one aligned field or pair of fields of at most eight bytes, so never more than one sector.
//! 4. [`Step::Free`]: old cells given back, times, maxima.
//! 5. [`Step::Header`]: the base block, its sequence numbers both raised.
//!
//! This is not how Windows does it (it writes to a log first): it needs no log, no growth of the file and no word to
//! the file system. Lists are copied, never shifted: a shifted list has states with a value twice or not at all.
//! Source: the regf spec; the order is our own, cut after every sector in tests.

use std::collections::BTreeMap;

use super::alloc::{Extent, Space, Taken, signed};
use super::cell::{BASE_BLOCK, NIL, SEGMENT, nk, span, u32_at, vk};
use super::read::{Key, Value};
use super::{CHECKSUM, CellOffset, Hive, LAST_WRITTEN, SEQUENCE_1, SEQUENCE_2, checksum};
use crate::change::{ValueData, utf16_bytes};
use crate::error::{Context as _, Error, Result};
use crate::path::{RegPath, upcase_unit};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// One change of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The value is deleted; it must exist.
    Delete {
        /// The key, from the root of the hive.
        key: RegPath,
        /// Name of the value, "" for the default one.
        value: String,
    },
    /// The value is replaced, or created where it is absent; the key must exist.
    Set {
        /// The key, from the root of the hive.
        key: RegPath,
        /// Name of the value, "" for the default one.
        value: String,
        /// Type and data afterwards.
        to: ValueData,
    },
}

impl Edit {
    /// The key, from the root of the hive.
    pub fn key(&self) -> &RegPath {
        let (Self::Delete { key, .. } | Self::Set { key, .. }) = self;
        key
    }

    /// Name of the value, "" for the default one.
    pub fn value(&self) -> &str {
        let (Self::Delete { value, .. } | Self::Set { value, .. }) = self;
        value
    }
}

/// What a group of sectors does; see the module for the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// New cells inside free ones.
    Contents,
    /// Sizes that make them visible; maxima raised.
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
    /// Where in the file, in bytes; a multiple of 512.
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

/// Makes all edits, one after the other, in the image, and gives the groups of sectors that do the same to the file.
/// `now` is a FILETIME. An edit that changes nothing makes no group.
///
/// The caller has run [`check`](super::check::check) and found no problem of structure; that is not repeated here.
///
/// Errors, all of them leaving the image as it was: the hive is dirty, a key or a value to be deleted does not exist,
/// the key is a predefined handle, two values have the name, the free space does not suffice, the data would need
/// to be big data.
pub fn edit(hive: &mut Hive, edits: &[Edit], now: u64) -> Result<Vec<Group>> {
    const DOING: &str = "edit the hive";
    if let Some(why) = hive.dirty() {
        return Err(Error::refused(DOING, format!("it is dirty: {why}"))
            .hint("let its transaction log complete it first"));
    }
    // Spec, "Base block", flags: a pending transaction, layered keys. None of the Windows meant here has them.
    if hive.minor() == 6 && hive.base(144) & 3 != 0 {
        return Err(Error::refused(DOING, format!("its base block has the flags {:#x}", hive.base(144))));
    }
    let space = Space::of(hive)?;
    let mut editor = Editor { hive, space, groups: Vec::new(), before: BTreeMap::new(), now };
    for (index, edit) in edits.iter().enumerate() {
        let done = match edit {
            Edit::Delete { .. } => editor.delete(index, edit).doing(format!(
                "delete the value {:?} of {}",
                edit.value(),
                edit.key()
            )),
            Edit::Set { to, .. } => editor.set(index, edit, to).doing(format!(
                "set the value {:?} of {}",
                edit.value(),
                edit.key()
            )),
        };
        if let Err(error) = done {
            editor.take_back();
            return Err(error);
        }
    }
    Ok(editor.groups)
}

/// A key and perhaps its value, as numbers: what an edit needs to know, owned, since the image changes under it.
struct Target {
    key: CellOffset,
    /// Raw offset of the values list; 0xFFFFFFFF where there is none.
    list: u32,
    /// Entries of the list.
    entries: Vec<u32>,
    /// How many entries the list's cell holds.
    room: usize,
    value: Option<Existing>,
}

/// The value that an edit is about.
struct Existing {
    index: usize,
    at: CellOffset,
    body: Vec<u8>,
    data: ValueData,
    /// The cells of its data.
    data_cells: Vec<u32>,
}

struct Editor<'a> {
    hive: &'a mut Hive,
    space: Space,
    groups: Vec<Group>,
    /// Sectors written since the last group, as they were, by their offset in the file.
    before: BTreeMap<usize, Vec<u8>>,
    now: u64,
}

impl Editor<'_> {
    fn delete(&mut self, edit: usize, what: &Edit) -> Result<()> {
        let target = self.target(what)?;
        let Some(value) = &target.value else {
            return Err(Error::refused("find the value", "it does not exist"));
        };
        let mut freed = value.data_cells.clone();
        freed.push(value.at.raw());
        let left = target.entries.len() - 1;
        let mut list = target.list;
        if left == 0 {
            list = NIL;
            freed.push(target.list);
        } else if value.index < left {
            let mut entries = target.entries.clone();
            entries.remove(value.index);
            let taken = self.space.take(&[4 * left])?;
            self.contents(edit, &taken, &[list_bytes(&entries)])?;
            self.headers(edit, &taken, target.key, 0, 0)?;
            list = taken.cells.first().map_or(NIL, |cell| cell.at);
            freed.push(target.list);
        } // else: the last of several; a lower count is all it takes.
        self.write_pair(target.key, nk::VALUES, length32(left)?, list)?;
        self.close(edit, Step::Flip);
        if left == 0 {
            // Windows, too, lowers the maxima only when the last value goes.
            self.write(field(target.key, nk::MAX_VALUE_NAME), &[0; 8])?;
        }
        self.finish(edit, &target, &freed)
    }

    fn set(&mut self, edit: usize, what: &Edit, to: &ValueData) -> Result<()> {
        let target = self.target(what)?;
        if self.hive.minor() > 3 && to.data.len() > SEGMENT {
            let why =
                format!("{} bytes of data would need to be big data; that is not written yet", to.data.len());
            return Err(Error::refused("store the data", why));
        }
        match &target.value {
            Some(value) if value.data == *to => Ok(()),
            Some(value) if value.data.kind == to.kind => self.set_data(edit, &target, value, to),
            Some(value) => self.replace(edit, &target, value, to),
            None => self.create(edit, &target, what.value(), to),
        }
    }

    /// New data of the same type: length and data are one pair.
    fn set_data(&mut self, edit: usize, target: &Target, value: &Existing, to: &ValueData) -> Result<()> {
        let taken = self.space.take(&cell_for(&to.data))?;
        let (length, data) = data_pair(&to.data, taken.cells.first())?;
        self.contents(edit, &taken, std::slice::from_ref(&to.data))?;
        self.headers(edit, &taken, target.key, 0, to.data.len())?;
        self.write_pair(value.at, vk::LENGTH, length, data)?;
        self.close(edit, Step::Flip);
        self.finish(edit, target, &value.data_cells)
    }

    /// New data of another type. The type lies outside the pair of length and data, so the whole key value is
    /// written anew, and its one entry in the values list flips.
    fn replace(&mut self, edit: usize, target: &Target, value: &Existing, to: &ValueData) -> Result<()> {
        let name = Value::at(self.hive, value.at)?.name_bytes().len();
        let mut payloads = vec![vk::NAME + name];
        payloads.extend(cell_for(&to.data));
        let taken = self.space.take(&payloads)?;
        let (length, data) = data_pair(&to.data, taken.cells.get(1))?;
        let mut body = value.body.clone();
        body.truncate(vk::NAME + name);
        put(&mut body, vk::LENGTH, &length.to_le_bytes());
        put(&mut body, vk::DATA, &data.to_le_bytes());
        put(&mut body, vk::TYPE, &to.kind.0.to_le_bytes());
        self.contents(edit, &taken, &[body, to.data.clone()])?;
        self.headers(edit, &taken, target.key, 0, to.data.len())?;
        let list = CellOffset::new(target.list).map_or(0, |list| field(list, 4 * value.index));
        self.write(list, &taken.cells.first().map_or(NIL, |cell| cell.at).to_le_bytes())?;
        self.close(edit, Step::Flip);
        let mut freed = value.data_cells.clone();
        freed.push(value.at.raw());
        self.finish(edit, target, &freed)
    }

    /// A new value, at the end of the list. Where the list's cell has room behind its last entry the new entry goes
    /// there, unseen until the count is raised; else the list is copied.
    fn create(&mut self, edit: usize, target: &Target, name: &str, to: &ValueData) -> Result<()> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let compressed = units.iter().all(|unit| *unit < 256);
        let stored: Vec<u8> = match compressed {
            true => units.iter().flat_map(|unit| u8::try_from(*unit)).collect(),
            false => utf16_bytes(units.iter().copied()),
        };
        let name_length = u16::try_from(stored.len()).ok().filter(|_| units.len() <= 16383);
        let Some(name_length) = name_length else {
            let why = format!("a name of {} characters; Windows allows 16383", units.len());
            return Err(Error::refused("store the name", why));
        };
        let mut entries = target.entries.clone();
        let in_place = entries.len() < target.room;
        let mut payloads = vec![vk::NAME + stored.len()];
        payloads.extend(cell_for(&to.data));
        if !in_place {
            payloads.push(4 * (entries.len() + 1));
        }
        let taken = self.space.take(&payloads)?;
        let at = taken.cells.first().map_or(NIL, |cell| cell.at);
        let data_cell = taken.cells.get(1).filter(|_| !cell_for(&to.data).is_empty());
        let (length, data) = data_pair(&to.data, data_cell)?;

        let mut body = b"vk".to_vec();
        body.extend_from_slice(&name_length.to_le_bytes());
        [length, data, to.kind.0].iter().for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
        // The default value has no name to compress.
        let flags = if compressed && !units.is_empty() { vk::COMPRESSED } else { 0 };
        body.extend_from_slice(&u32::from(flags).to_le_bytes());
        body.extend_from_slice(&stored);

        let mut contents = vec![body];
        if data_cell.is_some() {
            contents.push(to.data.clone());
        }
        let mut list = target.list;
        entries.push(at);
        let mut freed = Vec::new();
        if in_place {
            let end = CellOffset::new(list).map_or(0, |list| field(list, 4 * target.entries.len()));
            self.write(end, &at.to_le_bytes())?;
        } else {
            contents.push(list_bytes(&entries));
            freed.extend(CellOffset::new(list).map(CellOffset::raw));
            list = taken.cells.last().map_or(NIL, |cell| cell.at);
        }
        self.contents(edit, &taken, &contents)?;
        self.headers(edit, &taken, target.key, 2 * units.len(), to.data.len())?;
        self.write_pair(target.key, nk::VALUES, length32(entries.len())?, list)?;
        self.close(edit, Step::Flip);
        self.finish(edit, target, &freed)
    }

    /// Step 1: bodies of the new cells, and all sizes that lie inside what still is one free cell.
    fn contents(&mut self, edit: usize, taken: &Taken, bodies: &[Vec<u8>]) -> Result<()> {
        for (cell, body) in taken.cells.iter().zip(bodies) {
            // What is left of the cell is cleared, so that no old bytes come along.
            let mut body = body.clone();
            body.resize(cell.size as usize - 4, 0);
            self.write(BASE_BLOCK + cell.at as usize + 4, &body)?;
        }
        for &(at, size) in &taken.hidden {
            self.write(BASE_BLOCK + at as usize, &size.to_le_bytes())?;
        }
        self.close(edit, Step::Contents);
        Ok(())
    }

    /// Step 2: the new cells become visible; maxima that are too low for what comes are raised.
    fn headers(
        &mut self,
        edit: usize,
        taken: &Taken,
        key: CellOffset,
        name: usize,
        data: usize,
    ) -> Result<()> {
        for &(at, size) in &taken.visible {
            self.write(BASE_BLOCK + at as usize, &size.to_le_bytes())?;
        }
        for (at, length) in [(nk::MAX_VALUE_NAME, name), (nk::MAX_VALUE_DATA, data)] {
            let length = length32(length)?;
            if Key::at(self.hive, key)?.field(at) < length {
                self.write(field(key, at), &length.to_le_bytes())?;
            }
        }
        self.close(edit, Step::Headers);
        Ok(())
    }

    /// Steps 4 and 5.
    fn finish(&mut self, edit: usize, target: &Target, freed: &[u32]) -> Result<()> {
        let mut cells = Vec::new();
        for at in freed.iter().filter_map(|raw| CellOffset::new(*raw)) {
            let size = self.hive.cell(at, "cell to be freed")?.len() + 4;
            cells.push(Extent { at: at.raw(), size: length32(size)? });
        }
        for run in self.space.release(&cells) {
            self.write(BASE_BLOCK + run.at as usize, &signed(run.size).to_le_bytes())?;
        }
        let now = self.now.to_le_bytes();
        self.write(field(target.key, nk::LAST_WRITTEN), &now)?;
        // The first hive bin holds a copy of the time in the base block. Spec, "Hive bin".
        self.write(BASE_BLOCK + 20, &now)?;
        self.close(edit, Step::Free);

        let sequence = self.hive.base(SEQUENCE_1).wrapping_add(1).to_le_bytes();
        self.write(SEQUENCE_1, &sequence)?;
        self.write(SEQUENCE_2, &sequence)?;
        self.write(LAST_WRITTEN, &now)?;
        let sum = checksum(&self.hive.bytes).to_le_bytes();
        self.write(CHECKSUM, &sum)?;
        self.close(edit, Step::Header);
        Ok(())
    }

    /// Looks up what an edit is about.
    fn target(&self, edit: &Edit) -> Result<Target> {
        const DOING: &str = "find the key";
        let key = self.hive.key(edit.key())?;
        let key =
            key.ok_or_else(|| Error::refused(DOING, "it does not exist, and keys are never created"))?;
        if key.predefined() {
            return Err(Error::refused(DOING, "it is a predefined handle and has no values of its own"));
        }
        let wanted: Vec<u16> = edit.value().encode_utf16().map(upcase_unit).collect();
        let mut target = Target {
            key: key.offset(),
            list: key.field(nk::VALUES_LIST),
            entries: Vec::new(),
            room: 0,
            value: None,
        };
        for (index, at) in key.value_offsets()?.into_iter().enumerate() {
            target.entries.push(at.raw());
            let value = Value::at(self.hive, at)?;
            if !value.name_units().into_iter().map(upcase_unit).eq(wanted.iter().copied()) {
                continue;
            }
            if target.value.is_some() {
                return Err(Error::refused("find the value", "two values have this name"));
            }
            target.value = Some(Existing {
                index,
                at,
                body: value.body().to_vec(),
                data: value.data()?,
                data_cells: value.data_cells()?.into_iter().map(CellOffset::raw).collect(),
            });
        }
        if target.entries.is_empty() {
            // A list without entries belongs to nobody that could be sure of it.
            target.list = NIL;
        }
        if let Some(list) = CellOffset::new(target.list) {
            target.room = self.hive.cell(list, "key values list")?.len() / 4;
        }
        Ok(target)
    }

    /// Writes two fields that lie side by side in one sector, since the pair is aligned to its eight bytes.
    fn write_pair(&mut self, cell: CellOffset, at: usize, first: u32, second: u32) -> Result<()> {
        let pair = u64::from(second) << 32 | u64::from(first);
        self.write(field(cell, at), &pair.to_le_bytes())
    }

    /// Writes to the image, keeping how its sectors were before this group. `at` counts from the start of the file.
    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let end = if at < BASE_BLOCK { BASE_BLOCK } else { self.hive.end };
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
    fn close(&mut self, edit: usize, step: Step) {
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

    /// Brings the image back to where it was before the first edit.
    fn take_back(&mut self) {
        for (sector, before) in std::mem::take(&mut self.before) {
            put(&mut self.hive.bytes, sector, &before);
        }
        for group in std::mem::take(&mut self.groups).iter().rev() {
            for patch in &group.sectors {
                put(&mut self.hive.bytes, patch.offset as usize, &patch.before);
            }
        }
    }
}

/// Place in the file of a field of a cell's body.
fn field(cell: CellOffset, at: usize) -> usize {
    cell.file_offset() as usize + 4 + at
}

/// The one payload that data needs beside the key value, or none where it fits into that.
fn cell_for(data: &[u8]) -> Vec<usize> {
    if data.len() > 4 { vec![data.len()] } else { Vec::new() }
}

/// Length field and data field. Empty data counts as inline: that is how all 260 empty values of two real hives of
/// Windows XP have it.
fn data_pair(data: &[u8], cell: Option<&Extent>) -> Result<(u32, u32)> {
    let length = length32(data.len())?;
    if data.len() > 4 {
        return Ok((length, cell.map_or(NIL, |cell| cell.at)));
    }
    let mut word = data.to_vec();
    word.resize(4, 0);
    Ok((length | vk::INLINE, u32_at(&word, 0).unwrap_or_default()))
}

fn length32(length: usize) -> Result<u32> {
    let good = u32::try_from(length).ok().filter(|length| length & vk::INLINE == 0);
    good.ok_or_else(|| {
        Error::refused("edit the hive", format!("{length} bytes are more than a hive can hold"))
    })
}

fn list_bytes(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// Overwrites bytes that exist; does nothing where they do not.
fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(place) = span(at, new.len()).and_then(|range| bytes.get_mut(range)) {
        place.copy_from_slice(new);
    }
}

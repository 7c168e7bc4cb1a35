//! Sets and deletes values and creates keys inside a hive's own free space, as groups of sectors in an order that is
//! safe to be cut.
//!
//! Between two groups the writer syncs; within one any subset may have reached the disk (see [`script`]). Whatever is
//! cut, the hive then reads as it was before one of the edits or after it, and its base block never says that it is
//! dirty. For each edit:
//!
//! 1. [`Step::Contents`]: new cells are written strictly inside free cells, whose size stays as it was.
//! 2. [`Step::Headers`]: the sizes of those free cells; each shows new cells that nothing refers to. Maxima that are
//!    too low for what comes are raised; for a new key also the count of keys that name its security.
//! 3. [`Step::Flip`]: one sector. A value's length and data, or a key's count of values and list of them, are an
//!    aligned pair of eight bytes; a key's count of subkeys and list of them lie twelve bytes apart, so that in one of
//!    64 places they are in two sectors: no key is created below such a key, which has subkeys already, and one that
//!    has none moves out of that place first.
//! 4. [`Step::Free`]: old cells given back, times, maxima.
//! 5. [`Step::Header`]: the base block, its sequence numbers both raised.
//!
//! A hive that may grow ([`Room`]) and has no free cell that is large enough gets a hive bin first: it is written
//! behind the last one ([`Step::Bin`]), where nothing reads it, and becomes part of the hive as one free cell by the
//! sector of the base block that has the size of the bins ([`Step::Size`]). A cut leaves the tree as it was.
//!
//! Between groups nothing is amiss, with one exception, of class Other: from step 2 of a new key to its step 3 the
//! security of its parent counts one key more than there are. The count lies in another sector than the flip, and too
//! high is the harmless side: a record counted too low would be freed while keys still name it.
//!
//! This is not how Windows does it (it writes to a log first): it needs no log, no growth of the file and no word to
//! the file system. Lists are copied, never shifted: a shifted list has states with a value twice or not at all.
//! Source: the regf spec; the order is our own, cut after every sector in tests.

use super::alloc::{Extent, Space, Taken, signed};
use super::cell::{BASE_BLOCK, NIL, nk, u32_at, vk};
use super::script::{Recorder, field};
use super::{CellOffset, Hive, LAST_WRITTEN, script};
use crate::change::ValueData;
use crate::error::{Context as _, Error, Result};
use crate::path::RegPath;

mod keys;
mod values;

pub use script::{Group, SectorPatch, Step};

/// One change of one value, or one new key.
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
    /// The key is created, without values and with the security of the key above it; that one must exist, the key
    /// must not.
    CreateKey {
        /// The new key, from the root of the hive.
        key: RegPath,
    },
}

impl Edit {
    /// The key, from the root of the hive.
    pub fn key(&self) -> &RegPath {
        let (Self::Delete { key, .. } | Self::Set { key, .. } | Self::CreateKey { key }) = self;
        key
    }

    /// Name of the value, "" for the default one; none for a new key.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Delete { value, .. } | Self::Set { value, .. } => Some(value),
            Self::CreateKey { .. } => None,
        }
    }

    /// What it does, as words that fit behind "cannot".
    fn doing(&self) -> String {
        match self {
            Self::Delete { key, value } => format!("delete the value {value:?} of {key}"),
            Self::Set { key, value, .. } => format!("set the value {value:?} of {key}"),
            Self::CreateKey { key } => format!("create the key {key}"),
        }
    }
}

/// Where new cells may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Free cells only.
    FreeCells,
    /// Free cells; where none is large enough, a new hive bin inside the first so many bytes of the file. For a
    /// patient, whose files cannot be made longer: the file's length, at most its initialised size.
    InFile(u64),
    /// Free cells; where none is large enough, a new hive bin, at the end of a file that its owner makes longer.
    Grow,
}

/// [`edit_within`] the free cells that there are: the hive never grows.
pub fn edit(hive: &mut Hive, edits: &[Edit], now: u64) -> Result<Vec<Group>> {
    edit_within(hive, edits, now, Room::FreeCells)
}

/// Makes all edits, one after the other, in the image, and gives the groups of sectors that do the same to the file.
/// `now` is a FILETIME. An edit that changes nothing makes no group. Where the image is longer
/// afterwards, which only [`Room::Grow`] makes it, the file is made as long, with zeros, before the first group.
///
/// The caller has run [`check`](super::check::check) and found no problem of structure; that is not repeated here.
///
/// Errors, all of them leaving the image as it was: the hive is dirty, a key or a value to be deleted does not exist,
/// a key to be created exists, the key is a predefined handle, two values have the name, the room does not suffice.
pub fn edit_within(hive: &mut Hive, edits: &[Edit], now: u64, room: Room) -> Result<Vec<Group>> {
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
    let mut editor = Editor { image: Recorder::new(hive), space, room, now, edit: 0 };
    for (index, edit) in edits.iter().enumerate() {
        editor.edit = index;
        let done = match edit {
            Edit::Delete { key, value } => editor.delete(key, value),
            Edit::Set { key, value, to } => editor.set(key, value, to),
            Edit::CreateKey { key } => editor.create_key(key),
        };
        if let Err(error) = done.doing(edit.doing()) {
            editor.image.take_back();
            return Err(error);
        }
    }
    Ok(editor.image.groups)
}

struct Editor<'a> {
    image: Recorder<'a>,
    space: Space,
    room: Room,
    now: u64,
    /// Index of the edit that is being made.
    edit: usize,
}

/// A field of a cell, four bytes long, that is raised to a number where it is lower: cell, place in its body, number.
type AtLeast = (CellOffset, usize, usize);

impl Editor<'_> {
    /// Takes cells; where there is no room for them and the hive may grow, it grows. To be called before the first
    /// write of an edit, since growing makes groups of its own.
    fn take(&mut self, payloads: &[usize]) -> Result<Taken> {
        if self.room == Room::FreeCells {
            return self.space.take(payloads);
        }
        let spare = self.space.clone();
        let why = match self.space.take(payloads) {
            Ok(taken) => return Ok(taken),
            Err(why) => why,
        };
        self.space = spare;
        let total: usize = payloads.iter().map(|length| (length + 4).next_multiple_of(8)).sum();
        let size = (total + 32).next_multiple_of(4096);
        let end = self.image.hive.end + size;
        if let Room::InFile(length) = self.room {
            let length = length.min(self.image.hive.bytes.len() as u64);
            if end as u64 > length {
                let words = format!(
                    "{}; a hive bin of {size} bytes more would end at byte {end}, and the file has {length} bytes",
                    why.without_hint()
                );
                return Err(Error::refused("make room in the hive", words));
            }
        }
        if end >= 0x8000_0000 {
            return Err(why.within("let the hive grow to 2 GiB"));
        }
        self.grow(length32(size)?)?;
        self.space.take(payloads)
    }

    fn grow(&mut self, size: u32) -> Result<()> {
        let at = length32(self.image.hive.end - BASE_BLOCK)?;
        // Spec, "Hive bin": signature, offset, size; then reserved fields, and a time in the first bin only.
        let mut bin = b"hbin".to_vec();
        bin.extend_from_slice(&at.to_le_bytes());
        bin.extend_from_slice(&size.to_le_bytes());
        bin.resize(32, 0);
        bin.extend_from_slice(&(size - 32).to_le_bytes());
        bin.resize(size as usize, 0);
        self.image.append(&bin)?;
        self.image.close(self.edit, Step::Bin);
        self.image.resize(size)?;
        self.image.seal()?;
        self.image.close(self.edit, Step::Size);
        self.space.add(Extent { at: at + 32, size: size - 32 });
        Ok(())
    }

    /// Step 1: bodies of the new cells, and all sizes that lie inside what still is one free cell.
    fn contents(&mut self, taken: &Taken, bodies: &[Vec<u8>]) -> Result<()> {
        for (cell, body) in taken.cells.iter().zip(bodies) {
            // What is left of the cell is cleared, so that no old bytes come along.
            let mut body = body.clone();
            body.resize(cell.size as usize - 4, 0);
            self.image.write(BASE_BLOCK + cell.at as usize + 4, &body)?;
        }
        for &(at, size) in &taken.hidden {
            self.image.write(BASE_BLOCK + at as usize, &size.to_le_bytes())?;
        }
        self.image.close(self.edit, Step::Contents);
        Ok(())
    }

    /// Step 2: the new cells become visible; maxima that are too low for what comes are raised.
    fn headers(&mut self, taken: &Taken, maxima: &[AtLeast]) -> Result<()> {
        for &(at, size) in &taken.visible {
            self.image.write(BASE_BLOCK + at as usize, &size.to_le_bytes())?;
        }
        for &(cell, at, number) in maxima {
            let (place, number) = (field(cell, at), length32(number)?);
            if u32_at(&self.image.hive.bytes, place).is_some_and(|found| found < number) {
                self.image.write(place, &number.to_le_bytes())?;
            }
        }
        self.image.close(self.edit, Step::Headers);
        Ok(())
    }

    /// Step 3 ends; steps 4 and 5.
    fn finish(&mut self, key: CellOffset, freed: &[u32]) -> Result<()> {
        let mut cells = Vec::new();
        for at in freed.iter().filter_map(|raw| CellOffset::new(*raw)) {
            let size = self.image.hive.cell(at, "cell to be freed")?.len() + 4;
            cells.push(Extent { at: at.raw(), size: length32(size)? });
        }
        for run in self.space.release(&cells) {
            self.image.write(BASE_BLOCK + run.at as usize, &signed(run.size).to_le_bytes())?;
        }
        let now = self.now.to_le_bytes();
        self.image.write(field(key, nk::LAST_WRITTEN), &now)?;
        // The first hive bin holds a copy of the time in the base block. Spec, "Hive bin".
        self.image.write(BASE_BLOCK + 20, &now)?;
        self.image.close(self.edit, Step::Free);

        self.image.write(LAST_WRITTEN, &now)?;
        self.image.seal()?;
        self.image.close(self.edit, Step::Header);
        Ok(())
    }
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

/// Offset of the cell with this index among those taken.
fn taken_at(taken: &Taken, index: usize) -> u32 {
    taken.cells.get(index).map_or(NIL, |cell| cell.at)
}

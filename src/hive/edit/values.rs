//! Values: set, created, deleted.

use super::super::alloc::Taken;
use super::super::cell::{NIL, SEGMENT, nk, u32_at, vk};
use super::super::name::{Stored, upcased};
use super::super::read::Value;
use super::super::script::{field, put};
use super::{AtLeast, CellOffset, Editor, Step, length32, list_bytes, taken_at};
use crate::change::ValueData;
use crate::error::{Error, Result};
use crate::path::RegPath;

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

impl Editor<'_> {
    pub(super) fn delete(&mut self, key: &RegPath, name: &str) -> Result<()> {
        let target = self.target(key, name)?;
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
            let taken = self.take(&[4 * left])?;
            self.contents(&taken, &[list_bytes(&entries)])?;
            self.headers(&taken, &[])?;
            list = taken_at(&taken, 0);
            freed.push(target.list);
        } // else: the last of several; a lower count is all it takes.
        self.image.write_pair(target.key, nk::VALUES, length32(left)?, list)?;
        self.image.close(self.edit, Step::Flip);
        if left == 0 {
            // Windows, too, lowers the maxima only when the last value goes.
            self.image.write(field(target.key, nk::MAX_VALUE_NAME), &[0; 8])?;
        }
        self.finish(target.key, &freed)
    }

    pub(super) fn set(&mut self, key: &RegPath, name: &str, to: &ValueData) -> Result<()> {
        let target = self.target(key, name)?;
        match &target.value {
            Some(value) if value.data == *to => Ok(()),
            Some(value) if value.data.kind == to.kind => self.set_data(&target, value, to),
            Some(value) => self.replace(&target, value, to),
            None => self.create(&target, name, to),
        }
    }

    /// New data of the same type: length and data are one pair.
    fn set_data(&mut self, target: &Target, value: &Existing, to: &ValueData) -> Result<()> {
        let data = self.data(&to.data)?;
        let taken = self.take(&data.payloads())?;
        let (length, field) = data.pair(&taken, 0)?;
        self.contents(&taken, &data.bodies(&taken, 0))?;
        self.headers(&taken, &[raised(target.key, &to.data)])?;
        self.image.write_pair(value.at, vk::LENGTH, length, field)?;
        self.image.close(self.edit, Step::Flip);
        self.finish(target.key, &value.data_cells)
    }

    /// New data of another type. The type lies outside the pair of length and data, so the whole key value is
    /// written anew, and its one entry in the values list flips.
    fn replace(&mut self, target: &Target, value: &Existing, to: &ValueData) -> Result<()> {
        let name = Value::at(self.image.hive, value.at)?.name_bytes().len();
        let data = self.data(&to.data)?;
        let mut payloads = vec![vk::NAME + name];
        payloads.extend(data.payloads());
        let taken = self.take(&payloads)?;
        let (length, data_field) = data.pair(&taken, 1)?;
        let mut body = value.body.clone();
        body.truncate(vk::NAME + name);
        put(&mut body, vk::LENGTH, &length.to_le_bytes());
        put(&mut body, vk::DATA, &data_field.to_le_bytes());
        put(&mut body, vk::TYPE, &to.kind.0.to_le_bytes());
        let mut bodies = vec![body];
        bodies.extend(data.bodies(&taken, 1));
        self.contents(&taken, &bodies)?;
        self.headers(&taken, &[raised(target.key, &to.data)])?;
        let list = CellOffset::new(target.list).map_or(0, |list| field(list, 4 * value.index));
        self.image.write(list, &taken_at(&taken, 0).to_le_bytes())?;
        self.image.close(self.edit, Step::Flip);
        let mut freed = value.data_cells.clone();
        freed.push(value.at.raw());
        self.finish(target.key, &freed)
    }

    /// A new value, at the end of the list. Where the list's cell has room behind its last entry the new entry goes
    /// there, unseen until the count is raised; else the list is copied.
    fn create(&mut self, target: &Target, name: &str, to: &ValueData) -> Result<()> {
        let name = Stored::of(name);
        let name_length = u16::try_from(name.bytes.len()).ok().filter(|_| name.units.len() <= 16383);
        let Some(name_length) = name_length else {
            let why = format!("a name of {} characters; Windows allows 16383", name.units.len());
            return Err(Error::refused("store the name", why));
        };
        let mut entries = target.entries.clone();
        let in_place = entries.len() < target.room;
        let data = self.data(&to.data)?;
        let mut payloads = vec![vk::NAME + name.bytes.len()];
        payloads.extend(data.payloads());
        if !in_place {
            payloads.push(4 * (entries.len() + 1));
        }
        let taken = self.take(&payloads)?;
        let at = taken_at(&taken, 0);
        let (length, data_field) = data.pair(&taken, 1)?;

        let mut body = b"vk".to_vec();
        body.extend_from_slice(&name_length.to_le_bytes());
        [length, data_field, to.kind.0].iter().for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
        // The default value has no name to compress.
        let flags = if name.compressed && !name.units.is_empty() { vk::COMPRESSED } else { 0 };
        body.extend_from_slice(&u32::from(flags).to_le_bytes());
        body.extend_from_slice(&name.bytes);

        let mut bodies = vec![body];
        bodies.extend(data.bodies(&taken, 1));
        let mut list = target.list;
        entries.push(at);
        let mut freed = Vec::new();
        if in_place {
            let end = CellOffset::new(list).map_or(0, |list| field(list, 4 * target.entries.len()));
            self.image.write(end, &at.to_le_bytes())?;
        } else {
            bodies.push(list_bytes(&entries));
            freed.extend(CellOffset::new(list).map(CellOffset::raw));
            list = taken.cells.last().map_or(NIL, |cell| cell.at);
        }
        self.contents(&taken, &bodies)?;
        let name_maximum = (target.key, nk::MAX_VALUE_NAME, 2 * name.units.len());
        self.headers(&taken, &[name_maximum, raised(target.key, &to.data)])?;
        self.image.write_pair(target.key, nk::VALUES, length32(entries.len())?, list)?;
        self.image.close(self.edit, Step::Flip);
        self.finish(target.key, &freed)
    }

    /// How data is to be stored in this hive.
    fn data(&self, bytes: &[u8]) -> Result<Data> {
        length32(bytes.len())?;
        if bytes.len() <= 4 {
            let mut word = bytes.to_vec();
            word.resize(4, 0);
            return Ok(Data::Inline { length: bytes.len(), word: u32_at(&word, 0).unwrap_or_default() });
        }
        if self.image.hive.minor() <= 3 || bytes.len() <= SEGMENT {
            return Ok(Data::Cell(bytes.to_vec()));
        }
        let segments: Vec<Vec<u8>> = bytes.chunks(SEGMENT).map(<[u8]>::to_vec).collect();
        match u16::try_from(segments.len()) {
            Ok(count) => Ok(Data::Big { length: bytes.len(), count, segments }),
            Err(_) => {
                let why =
                    format!("{} bytes are more than {} segments of big data hold", bytes.len(), u16::MAX);
                Err(Error::refused("store the data", why))
            }
        }
    }

    /// Looks up what an edit is about.
    fn target(&self, path: &RegPath, name: &str) -> Result<Target> {
        const DOING: &str = "find the key";
        let hive = &self.image.hive;
        let key = hive.key(path)?.ok_or_else(|| Error::refused(DOING, "it does not exist"))?;
        if key.predefined() {
            return Err(Error::refused(DOING, "it is a predefined handle and has no values of its own"));
        }
        let wanted = upcased(&name.encode_utf16().collect::<Vec<u16>>());
        let mut target = Target {
            key: key.offset(),
            list: key.field(nk::VALUES_LIST),
            entries: Vec::new(),
            room: 0,
            value: None,
        };
        for (index, at) in key.value_offsets()?.into_iter().enumerate() {
            target.entries.push(at.raw());
            let value = Value::at(hive, at)?;
            if upcased(&value.name_units()) != wanted {
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
            target.room = hive.cell(list, "key values list")?.len() / 4;
        }
        Ok(target)
    }
}

/// The key's maximum of data lengths, which this data may raise.
fn raised(key: CellOffset, data: &[u8]) -> AtLeast {
    (key, nk::MAX_VALUE_DATA, data.len())
}

/// Data of a value, as it will be stored.
enum Data {
    /// Inside the key value. Empty data counts as inline: that is how all 260 empty values of two real hives of
    /// Windows XP have it.
    Inline { length: usize, word: u32 },
    /// In one cell; in version 1.3 whatever its length.
    Cell(Vec<u8>),
    /// In segments, with a list of them and a record that names the list. Spec, "Big data".
    Big { length: usize, count: u16, segments: Vec<Vec<u8>> },
}

impl Data {
    /// Lengths of the cells that it needs; the record of big data is the first.
    fn payloads(&self) -> Vec<usize> {
        match self {
            Self::Inline { .. } => Vec::new(),
            Self::Cell(data) => vec![data.len()],
            Self::Big { segments, .. } => {
                let mut payloads = vec![8, 4 * segments.len()];
                payloads.extend(segments.iter().map(Vec::len));
                payloads
            }
        }
    }

    /// What goes into those cells, of which `first` is the first among those taken.
    fn bodies(&self, taken: &Taken, first: usize) -> Vec<Vec<u8>> {
        match self {
            Self::Inline { .. } => Vec::new(),
            Self::Cell(data) => vec![data.clone()],
            Self::Big { count, segments, .. } => {
                let mut record = b"db".to_vec();
                record.extend_from_slice(&count.to_le_bytes());
                record.extend_from_slice(&taken_at(taken, first + 1).to_le_bytes());
                let cells: Vec<u32> = taken.cells.iter().skip(first + 2).map(|cell| cell.at).collect();
                let list = cells.get(..segments.len()).unwrap_or_default();
                [record, list_bytes(list)].into_iter().chain(segments.iter().cloned()).collect()
            }
        }
    }

    /// Length field and data field.
    fn pair(&self, taken: &Taken, first: usize) -> Result<(u32, u32)> {
        Ok(match self {
            Self::Inline { length, word } => (length32(*length)? | vk::INLINE, *word),
            Self::Cell(data) => (length32(data.len())?, taken_at(taken, first)),
            Self::Big { length, .. } => (length32(*length)?, taken_at(taken, first)),
        })
    }
}

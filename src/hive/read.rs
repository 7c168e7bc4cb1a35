//! Keys and values, read by our own code, which unlike nt-hive tells the cell of everything it finds.
//!
//! Stricter than a viewer (a count that differs from its list is an error, not fewer keys), laxer than
//! [`check`](super::check): only what a reading touches is looked at. Nothing recurses, so no loop in a hive can hang
//! or exhaust it; whoever walks the tree counts the levels.
//! Source: the regf spec, "Key node", "Subkeys list", "Key values list", "Key value", "Big data".

use super::cell::{NIL, SEGMENT, byte_range, nk, u16_at, u32_at, u64_at, vk};
use super::{CellOffset, Hive, ROOT};
use crate::change::{ValueData, ValueType, utf16_units};
use crate::error::{Error, Result};
use crate::path::{RegPath, same_name};

impl Hive {
    /// The root key.
    pub fn root(&self) -> Result<Key<'_>> {
        let at = CellOffset::new(self.base(ROOT)).ok_or_else(|| {
            Error::mismatch("read the base block", ROOT as u64, "the cell of the root key", "none")
        })?;
        Key::at(self, at)
    }

    /// The key at a path from the root, or none where a part of the path does not exist.
    pub fn key(&self, path: &RegPath) -> Result<Option<Key<'_>>> {
        let mut key = self.root()?;
        for part in path.parts() {
            match key.subkey(part).map_err(|e| e.path(path))? {
                Some(subkey) => key = subkey,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }
}

/// A key node.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    hive: &'a Hive,
    at: CellOffset,
    body: &'a [u8],
}

impl<'a> Key<'a> {
    /// The key node in the cell at `at`; its signature and name are checked.
    pub(super) fn at(hive: &'a Hive, at: CellOffset) -> Result<Self> {
        let body = hive.cell(at, "key node")?;
        signature(body, at, "key node", b"nk")?;
        let key = Self { hive, at, body };
        match name_bytes(body, nk::NAME, nk::NAME_LENGTH) {
            Some(_) => Ok(key),
            None => Err(wrong("key node", at, "a name that fits into the cell", too_short(body))),
        }
    }

    /// The name, Latin-1 or UTF-16 as stored; a broken surrogate becomes U+FFFD.
    pub fn name(&self) -> String {
        String::from_utf16_lossy(&self.name_units())
    }

    pub(super) fn name_units(&self) -> Vec<u16> {
        let name = name_bytes(self.body, nk::NAME, nk::NAME_LENGTH).unwrap_or_default();
        name_units(name, self.flags() & nk::COMPRESSED != 0)
    }

    /// The cell of the key node.
    pub fn offset(&self) -> CellOffset {
        self.at
    }

    /// When the key was last written, as a FILETIME: 100 ns since 1601.
    pub fn last_written(&self) -> u64 {
        u64_at(self.body, nk::LAST_WRITTEN).unwrap_or_default()
    }

    pub(super) fn hive(&self) -> &'a Hive {
        self.hive
    }

    pub(super) fn flags(&self) -> u16 {
        u16_at(self.body, nk::FLAGS).unwrap_or_default()
    }

    pub(super) fn field(&self, at: usize) -> u32 {
        u32_at(self.body, at).unwrap_or_default()
    }

    /// Whether this is a predefined handle, whose count of values is no count.
    pub fn predefined(&self) -> bool {
        self.flags() & nk::PREDEFINED != 0
    }

    /// The class name, as stored (UTF-16LE); empty where there is none.
    pub fn class(&self) -> Result<&'a [u8]> {
        let length = usize::from(u16_at(self.body, nk::CLASS_LENGTH).unwrap_or_default());
        let at = CellOffset::new(self.field(nk::CLASS));
        let Some(at) = at.filter(|_| length > 0) else { return Ok(&[]) };
        let body = self.hive.cell(at, "class name")?;
        byte_range(body, 0, length)
            .ok_or_else(|| wrong("class name", at, &format!("{length} bytes"), too_short(body)))
    }

    /// The security descriptor, as stored; empty where the key names none.
    pub fn security(&self) -> Result<&'a [u8]> {
        let Some(at) = CellOffset::new(self.field(nk::SECURITY)) else { return Ok(&[]) };
        let body = self.hive.cell(at, "key security")?;
        signature(body, at, "key security", b"sk")?;
        let length = u32_at(body, 16).unwrap_or(NIL);
        byte_range(body, 20, length as usize)
            .ok_or_else(|| wrong("key security", at, &format!("{length} bytes"), too_short(body)))
    }

    /// The subkeys in the order of their list.
    pub fn subkeys(&self) -> Result<Vec<Key<'a>>> {
        self.subkey_offsets()?.into_iter().map(|at| Self::at(self.hive, at)).collect()
    }

    /// The subkey of that name, letter case left out of account.
    pub fn subkey(&self, name: &str) -> Result<Option<Key<'a>>> {
        // Not a binary search: a list out of order must not hide a key.
        for at in self.subkey_offsets()? {
            let key = Self::at(self.hive, at)?;
            if same_name(&key.name(), name) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Cells of the subkeys in the order of their list.
    pub(super) fn subkey_offsets(&self) -> Result<Vec<CellOffset>> {
        let count = self.field(nk::SUBKEYS) as usize;
        let mut offsets = Vec::new();
        if count == 0 {
            return Ok(offsets);
        }
        let at = self.cell_field(nk::SUBKEYS_LIST, "subkeys list")?;
        let list = self.hive.cell(at, "subkeys list")?;
        if list.starts_with(b"ri") {
            for leaf in list_entries(list, at, 4)? {
                let body = self.hive.cell(leaf, "subkeys list")?;
                offsets.extend(leaf_entries(body, leaf)?);
                // Bounds the work where all entries of an index root name one big leaf.
                if offsets.len() > count {
                    break;
                }
            }
        } else {
            offsets = leaf_entries(list, at)?;
        }
        if offsets.len() != count {
            let found = format!("{} in the subkeys list", offsets.len());
            return Err(wrong("key node", self.at, &format!("{count} subkeys"), found));
        }
        Ok(offsets)
    }

    /// The values in the order of their list; none for a predefined handle.
    pub fn values(&self) -> Result<Vec<Value<'a>>> {
        self.value_offsets()?.into_iter().map(|at| Value::at(self.hive, at)).collect()
    }

    /// The value of that name, letter case left out of account; the default value has the name "".
    pub fn value(&self, name: &str) -> Result<Option<Value<'a>>> {
        for at in self.value_offsets()? {
            let value = Value::at(self.hive, at)?;
            if same_name(&value.name(), name) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Cells of the values in the order of their list.
    pub(super) fn value_offsets(&self) -> Result<Vec<CellOffset>> {
        let count = self.field(nk::VALUES) as usize;
        if count == 0 || self.predefined() {
            return Ok(Vec::new());
        }
        let at = self.cell_field(nk::VALUES_LIST, "key values list")?;
        let list = self.hive.cell(at, "key values list")?;
        let entries = count.checked_mul(4).and_then(|length| byte_range(list, 0, length));
        let entries = entries
            .ok_or_else(|| wrong("key values list", at, &format!("{count} entries"), too_short(list)))?;
        let none = || wrong("key values list", at, "the cell of a key value", "none".into());
        words(entries).map(|raw| CellOffset::new(raw).ok_or_else(none)).collect()
    }

    fn cell_field(&self, at: usize, what: &str) -> Result<CellOffset> {
        CellOffset::new(self.field(at))
            .ok_or_else(|| wrong("key node", self.at, &format!("the cell of a {what}"), "none".into()))
    }
}

/// A key value.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    hive: &'a Hive,
    at: CellOffset,
    body: &'a [u8],
}

impl<'a> Value<'a> {
    /// The key value in the cell at `at`; its signature and name are checked.
    pub(super) fn at(hive: &'a Hive, at: CellOffset) -> Result<Self> {
        let body = hive.cell(at, "key value")?;
        signature(body, at, "key value", b"vk")?;
        match name_bytes(body, vk::NAME, vk::NAME_LENGTH) {
            Some(_) => Ok(Self { hive, at, body }),
            None => Err(wrong("key value", at, "a name that fits into the cell", too_short(body))),
        }
    }

    /// The name, Latin-1 or UTF-16 as stored; "" for the default value; a broken surrogate becomes U+FFFD.
    pub fn name(&self) -> String {
        String::from_utf16_lossy(&self.name_units())
    }

    pub(super) fn name_units(&self) -> Vec<u16> {
        let flags = u16_at(self.body, vk::FLAGS).unwrap_or_default();
        name_units(self.name_bytes(), flags & vk::COMPRESSED != 0)
    }

    pub(super) fn name_bytes(&self) -> &'a [u8] {
        name_bytes(self.body, vk::NAME, vk::NAME_LENGTH).unwrap_or_default()
    }

    /// The cell of the key value.
    pub fn offset(&self) -> CellOffset {
        self.at
    }

    /// The type as stored.
    pub fn kind(&self) -> ValueType {
        ValueType(u32_at(self.body, vk::TYPE).unwrap_or_default())
    }

    /// The length field and the data field as stored.
    pub(super) fn pair(&self) -> (u32, u32) {
        let field = |at| u32_at(self.body, at).unwrap_or_default();
        (field(vk::LENGTH), field(vk::DATA))
    }

    pub(super) fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Type and data, from the value itself, one cell, or the segments of big data.
    pub fn data(&self) -> Result<ValueData> {
        Ok(ValueData { kind: self.kind(), data: self.bytes()? })
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let (length, raw) = self.pair();
        let size = (length & !vk::INLINE) as usize;
        if length & vk::INLINE != 0 {
            let data = byte_range(self.body, vk::DATA, size.min(4)).filter(|_| size <= 4);
            let found = format!("{size} bytes of data inside the key value");
            return data.map(<[u8]>::to_vec).ok_or_else(|| wrong("key value", self.at, "at most 4", found));
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        let at = CellOffset::new(raw).ok_or_else(|| {
            wrong("key value", self.at, &format!("the cell of {size} bytes of data"), "none".into())
        })?;
        let body = self.hive.cell(at, "data")?;
        if let Some(big) = big_data(self.hive, size, at, body)? {
            return big.data(self.hive);
        }
        byte_range(body, 0, size)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| wrong("data", at, &format!("{size} bytes"), too_short(body)))
    }

    /// Cells that hold the data: none, one, or the big data record, its list and its segments.
    pub(super) fn data_cells(&self) -> Result<Vec<CellOffset>> {
        let (length, raw) = self.pair();
        let (size, Some(at)) = (length as usize, CellOffset::new(raw)) else { return Ok(Vec::new()) };
        if length & vk::INLINE != 0 || size == 0 {
            return Ok(Vec::new());
        }
        let body = self.hive.cell(at, "data")?;
        Ok(match big_data(self.hive, size, at, body)? {
            Some(big) => [at, big.list].into_iter().chain(big.segments).collect(),
            None => vec![at],
        })
    }
}

/// A big data record: data too long for one cell, in segments.
pub(super) struct BigData {
    pub(super) list: CellOffset,
    pub(super) segments: Vec<CellOffset>,
    size: usize,
}

/// The big data record in the cell `at`, or none where data of this size lies in one plain cell. Version 1.3 knows
/// no big data, whatever the size.
pub(super) fn big_data(hive: &Hive, size: usize, at: CellOffset, body: &[u8]) -> Result<Option<BigData>> {
    const WHAT: &str = "big data record";
    if hive.minor() <= 3 || size <= SEGMENT {
        return Ok(None);
    }
    signature(body, at, WHAT, b"db")?;
    if size > hive.bins().len() {
        // Segments that all name one cell would otherwise fill the memory.
        return Err(wrong(WHAT, at, "data no longer than the hive", format!("{size} bytes")));
    }
    let count = usize::from(u16_at(body, 2).unwrap_or_default());
    if count != size.div_ceil(SEGMENT) {
        let expected = format!("{} segments for {size} bytes", size.div_ceil(SEGMENT));
        return Err(wrong(WHAT, at, &expected, count.to_string()));
    }
    let none = || wrong(WHAT, at, "the cell of a list or segment", "none".into());
    let list = u32_at(body, 4).and_then(CellOffset::new).ok_or_else(none)?;
    let entries = hive.cell(list, "big data list")?;
    let entries = byte_range(entries, 0, count * 4)
        .ok_or_else(|| wrong("big data list", list, &format!("{count} entries"), too_short(entries)))?;
    let segments =
        words(entries).map(|raw| CellOffset::new(raw).ok_or_else(none)).collect::<Result<Vec<_>>>()?;
    Ok(Some(BigData { list, segments, size }))
}

impl BigData {
    fn data(&self, hive: &Hive) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        for &segment in &self.segments {
            let length = (self.size - data.len()).min(SEGMENT);
            let body = hive.cell(segment, "big data segment")?;
            data.extend_from_slice(byte_range(body, 0, length).ok_or_else(|| {
                wrong("big data segment", segment, &format!("{length} bytes"), too_short(body))
            })?);
        }
        Ok(data)
    }
}

/// Entries of a list that is no index root.
pub(super) fn leaf_entries(body: &[u8], at: CellOffset) -> Result<Vec<CellOffset>> {
    match body.get(..2) {
        Some(b"lf" | b"lh") => list_entries(body, at, 8),
        Some(b"li") => list_entries(body, at, 4),
        found => {
            let found = format!("bytes {:02x?}", found.unwrap_or_default());
            Err(wrong("subkeys list", at, "signature \"lf\", \"lh\" or \"li\"", found))
        }
    }
}

/// Cells that a subkeys list names, `width` bytes apart.
pub(super) fn list_entries(body: &[u8], at: CellOffset, width: usize) -> Result<Vec<CellOffset>> {
    let count = usize::from(u16_at(body, 2).unwrap_or_default());
    let entries = byte_range(body, 4, count * width)
        .ok_or_else(|| wrong("subkeys list", at, &format!("{count} entries"), too_short(body)))?;
    let none = || wrong("subkeys list", at, "the cell of an entry", "none".into());
    let raw = entries.chunks_exact(width).map(|entry| u32_at(entry, 0).unwrap_or(NIL));
    raw.map(|raw| CellOffset::new(raw).ok_or_else(none)).collect()
}

/// The 32-bit words of a list.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word))
}

fn name_bytes(body: &[u8], start: usize, length_at: usize) -> Option<&[u8]> {
    byte_range(body, start, usize::from(u16_at(body, length_at)?))
}

fn name_units(name: &[u8], compressed: bool) -> Vec<u16> {
    if compressed { name.iter().copied().map(u16::from).collect() } else { utf16_units(name).collect() }
}

fn signature(body: &[u8], at: CellOffset, what: &str, expected: &[u8; 2]) -> Result<()> {
    if body.starts_with(expected) {
        return Ok(());
    }
    let found = format!("bytes {:02x?}", body.get(..2).unwrap_or_default());
    Err(wrong(what, at, &format!("signature {:?}", String::from_utf8_lossy(expected)), found))
}

fn wrong(what: &str, at: CellOffset, expected: &str, found: String) -> Error {
    Error::mismatch(format!("read the {what}"), at.file_offset(), expected, found)
}

fn too_short(body: &[u8]) -> String {
    format!("a cell with {} bytes", body.len())
}

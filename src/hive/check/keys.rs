//! The part of the check that walks the keys. Source: the regf spec, "Key node" to "Big data".

use std::cmp::Ordering;
use std::collections::HashSet;

use super::super::ROOT;
use super::super::cell::{BASE_BLOCK, MAX_DEPTH, NIL, SEGMENT, byte_range, nk, u16_at, u32_at, vk};
use super::super::name::{hash, upcased};
use super::{Checker, name};
use crate::path::upcase_unit;

/// A key still to be visited.
struct Pending {
    at: u32,
    /// The key node that lists it; none for the root.
    parent: Option<u32>,
    /// Where the offset was read, from the start of the file.
    listed: u64,
    depth: usize,
}

/// What a leaf stores beside the offset of a key.
#[derive(Clone, Copy, PartialEq)]
enum Leaf {
    /// lf: the first four characters of the name.
    Hint,
    /// lh: a hash of the name.
    Hash,
    /// li: nothing.
    Plain,
}

/// What is remembered from one leaf of a key to the next.
#[derive(Default)]
struct Names {
    /// The name before, in upper case.
    last: Option<Vec<u16>>,
    /// Length of the longest name, in bytes of UTF-16.
    longest: usize,
}

fn place(at: u32) -> u64 {
    u64::from(at) + BASE_BLOCK as u64
}

impl Checker<'_> {
    pub(super) fn keys(&mut self) {
        let root = self.hive.base(ROOT);
        let mut pending = vec![Pending { at: root, parent: None, listed: ROOT as u64, depth: 1 }];
        while let Some(key) = pending.pop() {
            self.key(&key, &mut pending);
        }
    }

    fn key(&mut self, key: &Pending, pending: &mut Vec<Pending>) {
        let Some(body) = self.claim(key.at, key.listed, "key node") else { return };
        let at = place(key.at);
        if body.len() < nk::NAME || !body.starts_with(b"nk") {
            return self.structure(at, "expected the signature \"nk\" and the fixed fields of a key node");
        }
        self.found.keys += 1;
        let field = |offset| u32_at(body, offset).unwrap_or_default();
        let flags = u16_at(body, nk::FLAGS).unwrap_or_default();
        match name(body, nk::NAME, nk::NAME_LENGTH, flags & nk::COMPRESSED != 0) {
            None => self.structure(at, "the name of the key does not fit into its cell"),
            Some(name) if name.is_empty() => self.structure(at, "the key has no name"),
            Some(name) if name.contains(&u16::from(b'\\')) => {
                self.other(at, "a backslash in the name of the key")
            }
            Some(_) => {}
        }
        if let Some(parent) = key.parent
            && field(nk::PARENT) != parent
        {
            let found = field(nk::PARENT);
            self.structure(
                at,
                format!("expected the parent {:#x}, found {:#x}", place(parent), place(found)),
            );
        }
        if (flags & nk::ROOT != 0) != key.parent.is_none() {
            self.other(at, "expected the flag of a root key on the root and on no other");
        }
        let class_length = usize::from(u16_at(body, nk::CLASS_LENGTH).unwrap_or_default());
        if class_length > 0
            && let Some(class) = self.claim(field(nk::CLASS), at, "class name")
            && class.len() < class_length
        {
            self.structure(at, format!("a class name of {class_length} bytes in {} bytes", class.len()));
        }
        match field(nk::SECURITY) {
            NIL => self.other(at, "the key names no key security"),
            security => self.security(security, at),
        }
        if flags & nk::PREDEFINED == 0 {
            let longest = self.values(at, field(nk::VALUES), field(nk::VALUES_LIST));
            self.maximum(at, "name of a value", field(nk::MAX_VALUE_NAME), longest.0);
            self.maximum(at, "data of a value", field(nk::MAX_VALUE_DATA), longest.1);
        }
        if key.depth >= MAX_DEPTH && field(nk::SUBKEYS) > 0 {
            return self.structure(at, format!("more than {MAX_DEPTH} levels of keys"));
        }
        let longest = self.subkeys(key, field(nk::SUBKEYS), field(nk::SUBKEYS_LIST), pending);
        self.maximum(at, "name of a subkey", field(nk::MAX_NAME) & 0xFFFF, longest);
    }

    fn maximum(&mut self, at: u64, what: &str, stored: u32, found: usize) {
        if (stored as usize) < found {
            self.warning(at, format!("the longest {what} has {found} bytes, the key says {stored}"));
        }
    }

    /// Checks all values; gives the lengths in bytes of the longest name, in UTF-16, and of the longest data.
    fn values(&mut self, at: u64, count: u32, list: u32) -> (usize, usize) {
        let mut longest = (0, 0);
        if count == 0 {
            if list != NIL {
                self.other(at, format!("no values, yet a list of them at {:#x}", place(list)));
            }
            return longest;
        }
        let Some(body) = self.claim(list, at, "key values list") else { return longest };
        let Some(entries) = (count as usize).checked_mul(4).and_then(|length| byte_range(body, 0, length))
        else {
            let what = format!("{count} values in a list of {} bytes", body.len());
            self.structure(place(list), what);
            return longest;
        };
        let mut names = HashSet::new();
        for (index, entry) in entries.as_chunks::<4>().0.iter().enumerate() {
            let listed = place(list) + 4 + 4 * index as u64;
            let Some((name, length)) = self.value(u32::from_le_bytes(*entry), listed) else { continue };
            longest = (longest.0.max(2 * name.len()), longest.1.max(length));
            if !names.insert(upcased(&name)) {
                let name = String::from_utf16_lossy(&name);
                self.other(listed, format!("a second value with the name {name:?}"));
            }
        }
        longest
    }

    /// Checks one key value; gives its name and the length of its data in bytes.
    fn value(&mut self, raw: u32, listed: u64) -> Option<(Vec<u16>, usize)> {
        let body = self.claim(raw, listed, "key value")?;
        let at = place(raw);
        if body.len() < vk::NAME || !body.starts_with(b"vk") {
            self.structure(at, "expected the signature \"vk\" and the fixed fields of a key value");
            return None;
        }
        self.found.values += 1;
        let flags = u16_at(body, vk::FLAGS).unwrap_or_default();
        let name = name(body, vk::NAME, vk::NAME_LENGTH, flags & vk::COMPRESSED != 0);
        if name.is_none() {
            self.structure(at, "the name of the value does not fit into its cell");
        }
        let field = |offset| u32_at(body, offset).unwrap_or_default();
        self.data(at, field(vk::LENGTH), field(vk::DATA));
        Some((name?, (field(vk::LENGTH) & !vk::INLINE) as usize))
    }

    fn data(&mut self, at: u64, length: u32, data: u32) {
        let size = (length & !vk::INLINE) as usize;
        if length & vk::INLINE != 0 {
            if size > 4 {
                self.structure(at, format!("expected at most 4 bytes inside the key value, found {size}"));
            }
            return;
        }
        if size == 0 {
            if data != NIL {
                self.structure(at, format!("expected no cell for 0 bytes of data, found {:#x}", place(data)));
            }
            return;
        }
        let Some(body) = self.claim(data, at, "data") else { return };
        if self.hive.minor() > 3 && size > SEGMENT {
            self.big_data(data, body, size);
        } else if body.len() < size {
            self.structure(place(data), format!("{size} bytes of data in {} bytes", body.len()));
        }
    }

    fn big_data(&mut self, raw: u32, body: &[u8], size: usize) {
        let at = place(raw);
        let count = usize::from(u16_at(body, 2).unwrap_or_default());
        let list = u32_at(body, 4).unwrap_or(NIL);
        if !body.starts_with(b"db") {
            return self.structure(at, "expected the signature \"db\" of a big data record");
        }
        if count != size.div_ceil(SEGMENT) {
            let expected = size.div_ceil(SEGMENT);
            return self
                .structure(at, format!("expected {expected} segments for {size} bytes, found {count}"));
        }
        let Some(entries) = self.claim(list, at, "big data list") else { return };
        let Some(entries) = byte_range(entries, 0, count * 4) else {
            return self.structure(place(list), format!("{count} segments in {} bytes", entries.len()));
        };
        let mut left = size;
        for entry in entries.as_chunks::<4>().0 {
            let segment = u32::from_le_bytes(*entry);
            let length = left.min(SEGMENT);
            left -= length;
            if let Some(body) = self.claim(segment, place(list), "big data segment")
                && body.len() < length
            {
                self.structure(place(segment), format!("{length} bytes of data in {} bytes", body.len()));
            }
        }
    }

    /// Checks the lists of subkeys and queues those; gives the length of the longest name in bytes of UTF-16.
    fn subkeys(&mut self, key: &Pending, count: u32, list: u32, pending: &mut Vec<Pending>) -> usize {
        let at = place(key.at);
        if count == 0 {
            if list != NIL {
                self.other(at, format!("no subkeys, yet a list of them at {:#x}", place(list)));
            }
            return 0;
        }
        let Some(body) = self.claim(list, at, "subkeys list") else { return 0 };
        let mut listed = 0;
        let mut names = Names::default();
        if body.starts_with(b"ri") {
            let Some(leaves) = self.entries(list, body, 4) else { return 0 };
            for leaf in leaves.as_chunks::<4>().0 {
                let leaf = u32::from_le_bytes(*leaf);
                if let Some(body) = self.claim(leaf, place(list), "subkeys list") {
                    listed += self.leaf(key, leaf, body, &mut names, pending);
                }
            }
        } else {
            listed = self.leaf(key, list, body, &mut names, pending);
        }
        if listed != u64::from(count) {
            self.structure(at, format!("expected {count} subkeys in the list, found {listed}"));
        }
        names.longest
    }

    /// Checks one leaf and queues its keys; gives their number.
    fn leaf(
        &mut self,
        key: &Pending,
        raw: u32,
        body: &[u8],
        names: &mut Names,
        pending: &mut Vec<Pending>,
    ) -> u64 {
        let (kind, width) = match body.get(..2) {
            Some(b"lf") => (Leaf::Hint, 8),
            Some(b"lh") => (Leaf::Hash, 8),
            Some(b"li") => (Leaf::Plain, 4),
            _ => {
                self.structure(
                    place(raw),
                    "expected the signature \"lf\", \"lh\" or \"li\" of a subkeys list",
                );
                return 0;
            }
        };
        let Some(entries) = self.entries(raw, body, width) else { return 0 };
        let mut count = 0;
        for entry in entries.chunks_exact(width) {
            let listed = place(raw) + 8 + count * width as u64;
            let at = u32_at(entry, 0).unwrap_or(NIL);
            if let Some(name) = self.peek_name(at) {
                let upcased = upcased(&name);
                names.longest = names.longest.max(2 * name.len());
                if names.last.as_ref().is_some_and(|last| last.cmp(&upcased) != Ordering::Less) {
                    let name = String::from_utf16_lossy(&name);
                    self.other(listed, format!("the subkey {name:?} is not in ascending order"));
                }
                let stored = byte_range(entry, 4, 4).unwrap_or_default();
                if kind == Leaf::Hash && stored != hash(&upcased).to_le_bytes() {
                    self.other(
                        listed,
                        format!("expected the hash {:#010x}, found {stored:02x?}", hash(&upcased)),
                    );
                }
                if kind == Leaf::Hint && !hint_fits(stored, &name) {
                    let name = String::from_utf16_lossy(&name);
                    self.other(listed, format!("the hint {stored:02x?} does not fit the subkey {name:?}"));
                }
                names.last = Some(upcased);
            }
            pending.push(Pending { at, parent: Some(key.at), listed, depth: key.depth + 1 });
            count += 1;
        }
        count
    }

    fn entries<'b>(&mut self, raw: u32, body: &'b [u8], width: usize) -> Option<&'b [u8]> {
        let count = usize::from(u16_at(body, 2).unwrap_or_default());
        let entries = byte_range(body, 4, count * width);
        if entries.is_none() {
            self.structure(place(raw), format!("{count} entries in a subkeys list of {} bytes", body.len()));
        }
        entries
    }

    /// Name of the key node at `raw`, as far as there is one; what is wrong with it is told when it is visited.
    fn peek_name(&self, raw: u32) -> Option<Vec<u16>> {
        let start = raw as usize;
        if !raw.is_multiple_of(8) || !self.starts.get(start) {
            return None;
        }
        let size = u32_at(self.bins, start)?;
        let body = byte_range(self.bins, start, size.wrapping_neg() as usize)?.get(4..)?;
        let compressed = u16_at(body, nk::FLAGS)? & nk::COMPRESSED != 0;
        name(body, nk::NAME, nk::NAME_LENGTH, compressed).filter(|_| body.starts_with(b"nk"))
    }
}

/// Spec, "Fast leaf": the first four characters, each in one byte, NUL behind a shorter name. Where one is beyond
/// Latin-1 the hint says nothing.
fn hint_fits(hint: &[u8], name: &[u16]) -> bool {
    if name.iter().take(4).any(|unit| *unit > 0xFF) {
        return true;
    }
    let wanted = name.iter().copied().chain(std::iter::repeat(0)).take(4).map(upcase_unit);
    hint.iter().map(|byte| upcase_unit(u16::from(*byte))).eq(wanted)
}

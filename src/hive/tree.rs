//! One digest over the whole logical tree of a hive, as it is and as it would be after some edits. Equal digests
//! prove that the difference between two states is exactly the edits, without two hives in memory.
//!
//! Covered: names as stored, flags, class names, security descriptors, times of last writing (of the edited keys they
//! are left out), numbers of subkeys, values in their order with name, type and data. Not covered: where cells lie,
//! hints, maxima of lengths, volatile counts.

use std::collections::{BTreeMap, HashSet};

use super::cell::{MAX_DEPTH, nk};
use super::edit::Edit;
use super::name::{Stored, upcased};
use super::read::Key;
use super::{CellOffset, Hive};
use crate::change::ValueData;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::path::{RegPath, compare_names, same_name};

/// The tree as it would be after `edits`: a deleted value is left out, a set one replaced in place or appended, a new
/// key put where its name belongs.
///
/// Errors: a key of an edit or a value to be deleted does not exist; the tree cannot be read.
pub fn expected_tree(hive: &Hive, edits: &[Edit]) -> Result<Sha256> {
    digest(hive, edits, true)
}

/// The tree as it is, the times of the keys that `edits` write to left out: after the edits this is what
/// [`expected_tree`] was before. New keys that are not there yet are left out of account.
pub fn actual_tree(hive: &Hive, edits: &[Edit]) -> Result<Sha256> {
    digest(hive, edits, false)
}

/// The tree with some values left out, and the times of their keys: equal for two states of a hive that differ in
/// nothing but these values. A key or value that does not exist is no error.
///
/// Errors: the tree cannot be read.
pub fn tree_without(hive: &Hive, values: &[(&RegPath, &str)]) -> Result<Sha256> {
    let mut without: BTreeMap<CellOffset, Vec<Vec<u16>>> = BTreeMap::new();
    for (path, name) in values {
        if let Some(key) = hive.key(path)? {
            without
                .entry(key.offset())
                .or_default()
                .push(upcased(&name.encode_utf16().collect::<Vec<u16>>()));
        }
    }
    let mut sum = *Sha256::of(b"").as_bytes();
    let mut seen = HashSet::new();
    let mut pending = vec![(hive.root()?, 1)];
    while let Some((key, depth)) = pending.pop() {
        if !seen.insert(key.offset()) || depth > MAX_DEPTH {
            return Err(not_a_tree(&key, depth));
        }
        let subkeys = key.subkeys()?;
        let mut record = Record(sum.to_vec());
        record.number(subkeys.len() as u64);
        let left_out = without.get(&key.offset());
        record.key(&key, left_out.is_none())?;
        for value in key.values()? {
            let name = value.name_units();
            if !left_out.is_some_and(|names| names.contains(&upcased(&name))) {
                record.value(&name, &value.data()?);
            }
        }
        sum = *Sha256::of(&record.0).as_bytes();
        pending.extend(subkeys.into_iter().rev().map(|key| (key, depth + 1)));
    }
    Ok(Sha256::of(&sum))
}

fn not_a_tree(key: &Key<'_>, depth: usize) -> Error {
    let found = if depth > MAX_DEPTH { "more" } else { "a key that two keys list" };
    let expected = format!("a tree of at most {MAX_DEPTH} levels");
    Error::mismatch("compare the trees of the hive", key.offset().file_offset(), expected, found)
}

/// What edits mean for a key: one that exists, or one that is not there yet.
#[derive(Default)]
struct Wanted<'a> {
    name: &'a str,
    /// Edits of its values.
    values: Vec<&'a Edit>,
    /// New keys below it.
    keys: Vec<Wanted<'a>>,
}

impl<'a> Wanted<'a> {
    /// The new key at a path below, whose parts are `names`.
    fn below(&mut self, names: &[&str]) -> Option<&mut Self> {
        let Some((first, rest)) = names.split_first() else { return Some(self) };
        self.keys.iter_mut().find(|key| same_name(key.name, first))?.below(rest)
    }
}

/// What the edits mean for each key that exists, by its cell.
fn wanted<'a>(hive: &Hive, edits: &'a [Edit]) -> Result<BTreeMap<CellOffset, Wanted<'a>>> {
    let mut wanted: BTreeMap<CellOffset, Wanted<'_>> = BTreeMap::new();
    for edit in edits {
        let parts: Vec<&str> = edit.key().parts().collect();
        let (names, name) = match (edit, parts.split_last()) {
            (Edit::CreateKey { .. }, Some((last, above))) => (above, *last),
            _ => (parts.as_slice(), ""),
        };
        // The nearest key that exists, and from there on new ones.
        let mut existing = hive.root()?;
        let mut depth = 0;
        for name in names {
            let Some(key) = existing.subkey(name)? else { break };
            (existing, depth) = (key, depth + 1);
        }
        let above = wanted.entry(existing.offset()).or_default();
        let new = names.get(depth..).unwrap_or_default();
        let there = if new.is_empty() { existing.subkey(name)? } else { None };
        match (edit, there) {
            // It is there by now, and its time is that of the edit.
            (Edit::CreateKey { .. }, Some(key)) => drop(wanted.entry(key.offset()).or_default()),
            _ => {
                let doing = "compare the trees of the hive";
                let key = above
                    .below(new)
                    .ok_or_else(|| Error::refused(doing, "the key does not exist").path(edit.key()))?;
                match edit {
                    Edit::CreateKey { .. } => {
                        let place = key.keys.partition_point(|key| compare_names(key.name, name).is_lt());
                        key.keys.insert(place, Wanted { name, ..Wanted::default() });
                    }
                    Edit::Delete { .. } | Edit::Set { .. } => key.values.push(edit),
                }
            }
        }
    }
    Ok(wanted)
}

/// A key that the walk has still to see.
enum Pending<'a, 'b> {
    Old(Key<'a>, usize),
    /// With the security that it inherits.
    New(&'b Wanted<'b>, &'a [u8]),
}

fn digest(hive: &Hive, edits: &[Edit], apply: bool) -> Result<Sha256> {
    let wanted = wanted(hive, edits)?;
    let mut sum = *Sha256::of(b"").as_bytes();
    let mut seen = HashSet::new();
    let mut pending = vec![Pending::Old(hive.root()?, 1)];
    while let Some(next) = pending.pop() {
        // Each record names its number of subkeys, so the order of the walk alone gives the shape of the tree.
        let mut record = Record(sum.to_vec());
        match next {
            Pending::New(key, security) => {
                record.number(key.keys.len() as u64);
                record.new_key(key.name, security);
                record.list(Vec::new(), &key.values)?;
                pending.extend(key.keys.iter().rev().map(|key| Pending::New(key, security)));
            }
            Pending::Old(key, depth) => {
                if !seen.insert(key.offset()) || depth > MAX_DEPTH {
                    return Err(not_a_tree(&key, depth));
                }
                let edits = wanted.get(&key.offset());
                let (values, new) = match edits.filter(|_| apply) {
                    Some(edits) => (edits.values.as_slice(), edits.keys.as_slice()),
                    None => Default::default(),
                };
                let subkeys = key.subkeys()?;
                record.number((subkeys.len() + new.len()) as u64);
                record.key(&key, edits.is_none())?;
                record.values(&key, values)?;
                let mut new = new.iter().peekable();
                let first = pending.len();
                for subkey in subkeys {
                    while let Some(key_before) =
                        new.next_if(|new| compare_names(new.name, &subkey.name()).is_lt())
                    {
                        pending.push(Pending::New(key_before, key.security()?));
                    }
                    pending.push(Pending::Old(subkey, depth + 1));
                }
                for last in new {
                    pending.push(Pending::New(last, key.security()?));
                }
                if let Some(added) = pending.get_mut(first..) {
                    added.reverse();
                }
            }
        }
        sum = *Sha256::of(&record.0).as_bytes();
    }
    Ok(Sha256::of(&sum))
}

/// What is digested of one key, each part with its length before it.
struct Record(Vec<u8>);

impl Record {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn units(&mut self, units: &[u16]) {
        self.bytes(&crate::change::utf16_bytes(units.iter().copied()));
    }

    fn key(&mut self, key: &Key<'_>, timed: bool) -> Result<()> {
        self.units(&key.name_units());
        self.number(u64::from(key.flags()));
        self.number(if timed { key.last_written() } else { u64::MAX });
        self.bytes(key.class()?);
        self.bytes(key.security()?);
        if key.predefined() {
            self.number(u64::from(key.field(nk::VALUES)));
        }
        Ok(())
    }

    /// A key that is not there yet.
    fn new_key(&mut self, name: &str, security: &[u8]) {
        let name = Stored::of(name);
        self.units(&name.units);
        self.number(u64::from(if name.compressed { nk::COMPRESSED } else { 0 }));
        self.number(u64::MAX);
        self.bytes(&[]);
        self.bytes(security);
    }

    fn values(&mut self, key: &Key<'_>, edits: &[&Edit]) -> Result<()> {
        let values = key.values()?;
        if edits.is_empty() {
            self.number(values.len() as u64);
            return values.iter().try_for_each(|value| {
                self.value(&value.name_units(), &value.data()?);
                Ok(())
            });
        }
        let mut list = Vec::new();
        for value in values {
            list.push((value.name_units(), value.data()?));
        }
        self.list(list, edits)
    }

    fn list(&mut self, mut list: Vec<(Vec<u16>, ValueData)>, edits: &[&Edit]) -> Result<()> {
        for edit in edits {
            apply(&mut list, edit)?;
        }
        self.number(list.len() as u64);
        list.iter().for_each(|(name, data)| self.value(name, data));
        Ok(())
    }

    fn value(&mut self, name: &[u16], data: &ValueData) {
        self.units(name);
        self.number(u64::from(data.kind.0));
        self.bytes(&data.data);
    }
}

fn apply(list: &mut Vec<(Vec<u16>, ValueData)>, edit: &Edit) -> Result<()> {
    let Some(value) = edit.value() else { return Ok(()) };
    let name: Vec<u16> = value.encode_utf16().collect();
    let index = list.iter().position(|(stored, _)| upcased(stored) == upcased(&name));
    match edit {
        Edit::Delete { key, .. } => {
            let index = index.ok_or_else(|| {
                Error::refused("delete the value", format!("there is no value {value:?}")).path(key)
            })?;
            list.remove(index);
        }
        Edit::Set { to, .. } => match index.and_then(|index| list.get_mut(index)) {
            Some((_, data)) => *data = to.clone(),
            None => list.push((name, to.clone())),
        },
        Edit::CreateKey { .. } => {}
    }
    Ok(())
}

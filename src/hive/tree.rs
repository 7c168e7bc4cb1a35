//! One digest over the whole logical tree of a hive, as it is and as it would be after some edits. Equal digests
//! prove that the difference between two states is exactly the edits, without two hives in memory.
//!
//! Covered: names as stored, flags, class names, security descriptors, times of last writing (of the edited keys they
//! are left out), numbers of subkeys, values in their order with name, type and data. Not covered: where cells lie,
//! hints, maxima of lengths, volatile counts.

use std::collections::{BTreeMap, HashSet};

use super::cell::{MAX_DEPTH, nk};
use super::edit::Edit;
use super::read::Key;
use super::{CellOffset, Hive};
use crate::change::ValueData;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::path::upcase_unit;

/// The tree as it would be after `edits`: a deleted value is left out, a set one replaced in place or appended.
///
/// Errors: a key of an edit or a value to be deleted does not exist; the tree cannot be read.
pub fn expected_tree(hive: &Hive, edits: &[Edit]) -> Result<Sha256> {
    digest(hive, edits, true)
}

/// The tree as it is, the times of the keys that `edits` name left out: after the edits this is what
/// [`expected_tree`] was before.
pub fn actual_tree(hive: &Hive, edits: &[Edit]) -> Result<Sha256> {
    digest(hive, edits, false)
}

fn digest(hive: &Hive, edits: &[Edit], apply: bool) -> Result<Sha256> {
    const DOING: &str = "compare the trees of the hive";
    let mut edited: BTreeMap<CellOffset, Vec<&Edit>> = BTreeMap::new();
    for edit in edits {
        let key = hive.key(edit.key())?;
        let key = key.ok_or_else(|| Error::refused(DOING, "the key does not exist").path(edit.key()))?;
        edited.entry(key.offset()).or_default().push(edit);
    }
    let mut sum = *Sha256::of(b"").as_bytes();
    let mut seen = HashSet::new();
    let mut pending = vec![(hive.root()?, 1)];
    while let Some((key, depth)) = pending.pop() {
        // Each record names its number of subkeys, so the order of the walk alone gives the shape of the tree.
        if !seen.insert(key.offset()) || depth > MAX_DEPTH {
            let found = if depth > MAX_DEPTH { "more" } else { "a key that two keys list" };
            let expected = format!("a tree of at most {MAX_DEPTH} levels");
            return Err(Error::mismatch(DOING, key.offset().file_offset(), expected, found));
        }
        let edits = edited.get(&key.offset());
        let subkeys = key.subkeys()?;
        let mut record = Record(sum.to_vec());
        record.number(subkeys.len() as u64);
        record.key(&key, edits.is_none())?;
        record.values(&key, edits.filter(|_| apply).map(Vec::as_slice).unwrap_or_default())?;
        sum = *Sha256::of(&record.0).as_bytes();
        pending.extend(subkeys.into_iter().rev().map(|subkey| (subkey, depth + 1)));
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
    let name: Vec<u16> = edit.value().encode_utf16().collect();
    let upcased = |name: &[u16]| name.iter().copied().map(upcase_unit).collect::<Vec<u16>>();
    let index = list.iter().position(|(stored, _)| upcased(stored) == upcased(&name));
    match edit {
        Edit::Delete { key, .. } => {
            let index = index.ok_or_else(|| {
                Error::refused("delete the value", format!("there is no value {:?}", edit.value())).path(key)
            })?;
            list.remove(index);
        }
        Edit::Set { to, .. } => match index.and_then(|index| list.get_mut(index)) {
            Some((_, data)) => *data = to.clone(),
            None => list.push((name, to.clone())),
        },
    }
    Ok(())
}

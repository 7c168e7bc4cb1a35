//! Keys: created, without values and with the security of the key above.
//!
//! Source: the regf spec, "Key node" and "Subkeys list"; when a list changes its kind is ReactOS' behaviour.

use super::super::cell::{MAX_DEPTH, NIL, nk, u32_at};
use super::super::name::{Stored, hash, hint, upcased};
use super::super::read::{Key, leaf_entries, list_entries};
use super::super::script::{field, put};
use super::{CellOffset, Editor, Step, length32, taken_at};
use crate::error::{Error, Result};
use crate::path::RegPath;

/// Most entries of a fast leaf; one more and it is written as an index leaf.
const MOST_FAST: usize = 507;
/// Most entries of any other leaf; one more and it is parted in two below an index root.
const MOST: usize = 1013;
/// Longest name of a key in characters, as Windows documents it.
const LONGEST_NAME: usize = 255;
/// Place in a key security's body of the count of keys that name it.
const REFERENCES: usize = 12;

/// A subkeys list that is no index root.
struct Leaf {
    /// Its cell; none for one that is new.
    at: Option<CellOffset>,
    signature: [u8; 2],
    /// Each entry's key and what stands beside it; none for the new key.
    entries: Vec<Option<(u32, [u8; 4])>>,
}

/// The subkeys of a key as their lists are.
struct Lists {
    /// The cell of the index root, if there is one.
    at: Option<CellOffset>,
    leaves: Vec<Leaf>,
}

impl Editor<'_> {
    pub(super) fn create_key(&mut self, path: &RegPath) -> Result<()> {
        const DOING: &str = "find the key above it";
        let exists = || Err(Error::refused("add it to the keys there", "it exists already"));
        let Some(above) = path.parent() else { return exists() };
        let hive = &*self.image.hive;
        let parent = hive.key(&above)?.ok_or_else(|| Error::refused(DOING, "it does not exist"))?;
        if parent.subkey(path.file_name())?.is_some() {
            return exists();
        }
        if parent.predefined() {
            return Err(Error::refused(DOING, "it is a predefined handle and has no keys of its own"));
        }
        // The root is a level too.
        if path.parts().count() >= MAX_DEPTH {
            return Err(Error::refused(DOING, format!("it is on level {MAX_DEPTH}, the last one")));
        }
        let name = Stored::of(path.file_name());
        if name.units.len() > LONGEST_NAME {
            let why = format!("a name of {} characters; Windows allows {LONGEST_NAME}", name.units.len());
            return Err(Error::refused("store the name", why));
        }
        let at = parent.offset();
        let count = parent.field(nk::SUBKEYS) as usize;
        let security = parent.field(nk::SECURITY);
        let mut maxima = Vec::new();
        if let Some(record) = CellOffset::new(security) {
            let body = hive.cell(record, "key security")?;
            let references = u32_at(body, REFERENCES).unwrap_or_default() as usize;
            maxima.push((record, REFERENCES, references + 1));
        }
        // From Windows XP SP3 on the upper half holds flags.
        let maximum = parent.field(nk::MAX_NAME);
        let length = 2 * name.units.len();
        if (maximum & 0xFFFF) < length32(length)? {
            maxima.push((at, nk::MAX_NAME, (maximum & 0xFFFF_0000) as usize | length));
        }
        let mut lists = lists(&parent, hive.minor())?;
        let moved = match in_one_sector(at) {
            true => None,
            false => Some(self.way_out(&above, at, count)?),
        };

        let (leaf, place) = self.place_in(&lists, &upcased(&name.units))?;
        let mut freed: Vec<u32> = lists.insert(leaf, place).into_iter().map(CellOffset::raw).collect();

        // Cells, in this order: the key, the new leaves, the index root, the key above it where that moves.
        let mut payloads = vec![nk::NAME + name.bytes.len()];
        payloads.extend(lists.new_leaves().map(|leaf| 4 + leaf.entries.len() * leaf.width()));
        let rooted = lists.at.is_some() || lists.leaves.len() > 1;
        if rooted {
            payloads.push(4 + 4 * lists.leaves.len());
        }
        let mut parent_body = hive.cell(at, "key node")?.to_vec();
        if moved.is_some() {
            payloads.push(parent_body.len());
        }
        let taken = self.take(&payloads)?;
        let parent = if moved.is_some() { taken.cells.last().map_or(NIL, |cell| cell.at) } else { at.raw() };

        let mut bodies = vec![self.key_node(&name, parent, security)?];
        bodies.extend(lists.new_leaves().map(|leaf| leaf.body(taken_at(&taken, 0), &name)));
        let mut list = taken_at(&taken, 1);
        if rooted {
            list = taken_at(&taken, bodies.len());
            let mut new = taken.cells.iter().skip(1).map(|cell| cell.at);
            let mut body = b"ri".to_vec();
            body.extend_from_slice(&count16(lists.leaves.len())?.to_le_bytes());
            for leaf in &lists.leaves {
                let at = leaf.at.map(CellOffset::raw).or_else(|| new.next()).unwrap_or(NIL);
                body.extend_from_slice(&at.to_le_bytes());
            }
            bodies.push(body);
        }
        let pair = [(nk::SUBKEYS, length32(count + 1)?), (nk::SUBKEYS_LIST, list)];
        if moved.is_some() {
            pair.iter().for_each(|(place, word)| put(&mut parent_body, *place, &word.to_le_bytes()));
            for &(_, place, number) in maxima.iter().filter(|(cell, ..)| *cell == at) {
                put(&mut parent_body, place, &length32(number)?.to_le_bytes());
            }
            maxima.retain(|(cell, ..)| *cell != at);
            bodies.push(parent_body);
            freed.push(at.raw());
        }
        self.contents(&taken, &bodies)?;
        self.headers(&taken, &maxima)?;
        match moved {
            Some(entry) => self.image.write(entry, &parent.to_le_bytes())?,
            None => {
                for (place, word) in pair {
                    self.image.write(field(at, place), &word.to_le_bytes())?;
                }
            }
        }
        self.image.close(self.edit, Step::Flip);
        self.finish(CellOffset::new(parent).unwrap_or(at), &freed)
    }

    /// The body of a new key node.
    fn key_node(&self, name: &Stored, parent: u32, security: u32) -> Result<Vec<u8>> {
        let mut body = vec![0; nk::NAME];
        put(&mut body, 0, b"nk");
        let flags = if name.compressed { nk::COMPRESSED } else { 0 };
        put(&mut body, nk::FLAGS, &flags.to_le_bytes());
        put(&mut body, nk::LAST_WRITTEN, &self.now.to_le_bytes());
        for (at, word) in [
            (nk::PARENT, parent),
            (nk::SUBKEYS_LIST, NIL),
            (nk::VOLATILE_LIST, NIL),
            (nk::VALUES_LIST, NIL),
            (nk::SECURITY, security),
            (nk::CLASS, NIL),
        ] {
            put(&mut body, at, &word.to_le_bytes());
        }
        put(&mut body, nk::NAME_LENGTH, &count16(name.bytes.len())?.to_le_bytes());
        body.extend_from_slice(&name.bytes);
        Ok(body)
    }

    /// Where in the lists a name goes: index of the leaf and of the entry before which it is put.
    fn place_in(&self, lists: &Lists, wanted: &[u16]) -> Result<(usize, usize)> {
        for (index, leaf) in lists.leaves.iter().enumerate() {
            for (place, entry) in leaf.entries.iter().enumerate() {
                let Some(at) = entry.and_then(|(raw, _)| CellOffset::new(raw)) else { continue };
                let key = Key::at(self.image.hive, at)?;
                if upcased(&key.name_units()).as_slice() > wanted {
                    return Ok((index, place));
                }
            }
        }
        let last = lists.leaves.len().saturating_sub(1);
        Ok((last, lists.leaves.get(last).map_or(0, |leaf| leaf.entries.len())))
    }

    /// For a key whose count of subkeys and list of them lie in two sectors: the place in the file of the one entry
    /// that names it, by which it can move. A key that has subkeys cannot, since they name it too.
    fn way_out(&self, path: &RegPath, at: CellOffset, count: usize) -> Result<usize> {
        const DOING: &str = "count it among the keys there";
        let refused = |why: &str| {
            Error::refused(DOING, why).hint("a key elsewhere, or Windows itself, can do what is wanted")
        };
        if count > 0 {
            return Err(refused(
                "the key above it lies across two sectors, so that its count of keys and its list of them cannot \
                 change at once, and it has keys already, so that it cannot move",
            ));
        }
        let none =
            || refused("the key above it lies across two sectors and is the root, so that it cannot move");
        let hive = &*self.image.hive;
        let above = hive.key(&path.parent().ok_or_else(none)?)?.ok_or_else(none)?;
        for leaf in lists(&above, hive.minor())?.leaves {
            let found = leaf.entries.iter().position(|entry| entry.is_some_and(|(raw, _)| raw == at.raw()));
            if let (Some(index), Some(list)) = (found, leaf.at) {
                return Ok(field(list, 4 + index * leaf.width()));
            }
        }
        Err(none())
    }
}

/// Whether the count of subkeys and the list of them, with the volatile count between, lie in one sector.
fn in_one_sector(key: CellOffset) -> bool {
    field(key, nk::SUBKEYS) / super::script::SECTOR == field(key, nk::SUBKEYS_LIST) / super::script::SECTOR
}

/// The lists of a key's subkeys; for a key without any an empty leaf of the kind that this version has.
fn lists(key: &Key<'_>, minor: u32) -> Result<Lists> {
    // Finds counts that do not fit the lists.
    key.subkey_offsets()?;
    let list = CellOffset::new(key.field(nk::SUBKEYS_LIST)).filter(|_| key.field(nk::SUBKEYS) > 0);
    let Some(list) = list else {
        let signature = if minor >= 5 { *b"lh" } else { *b"lf" };
        return Ok(Lists { at: None, leaves: vec![Leaf { at: None, signature, entries: Vec::new() }] });
    };
    let body = key.hive().cell(list, "subkeys list")?;
    if !body.starts_with(b"ri") {
        return Ok(Lists { at: None, leaves: vec![leaf(body, list)?] });
    }
    let mut leaves = Vec::new();
    for at in list_entries(body, list, 4)? {
        leaves.push(leaf(key.hive().cell(at, "subkeys list")?, at)?);
    }
    Ok(Lists { at: Some(list), leaves })
}

fn leaf(body: &[u8], at: CellOffset) -> Result<Leaf> {
    let signature = if body.starts_with(b"lf") {
        *b"lf"
    } else if body.starts_with(b"lh") {
        *b"lh"
    } else {
        *b"li"
    };
    let mut leaf = Leaf { at: Some(at), signature, entries: Vec::new() };
    let width = leaf.width();
    for (index, key) in leaf_entries(body, at)?.into_iter().enumerate() {
        let beside = u32_at(body, 4 + index * width + 4).filter(|_| width == 8).unwrap_or_default();
        leaf.entries.push(Some((key.raw(), beside.to_le_bytes())));
    }
    Ok(leaf)
}

impl Lists {
    /// Makes a place for the new key; gives the cells that are no longer needed.
    fn insert(&mut self, leaf: usize, place: usize) -> Vec<CellOffset> {
        let mut freed: Vec<CellOffset> = self.at.into_iter().collect();
        let mut parted = None;
        if let Some(old) = self.leaves.get_mut(leaf) {
            freed.extend(old.at.take());
            old.entries.insert(place, None);
            if old.signature == *b"lf" && old.entries.len() > MOST_FAST {
                old.signature = *b"li";
            }
            if old.entries.len() > MOST {
                let entries = old.entries.split_off(old.entries.len() / 2);
                parted = Some(Leaf { at: None, signature: old.signature, entries });
            }
        }
        if let Some(parted) = parted {
            self.leaves.insert(leaf + 1, parted);
        }
        freed
    }

    fn new_leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().filter(|leaf| leaf.at.is_none())
    }
}

impl Leaf {
    fn width(&self) -> usize {
        if self.signature == *b"li" { 4 } else { 8 }
    }

    /// As it is written, once the new key has a cell.
    fn body(&self, key: u32, name: &Stored) -> Vec<u8> {
        let beside = match &self.signature {
            b"lh" => hash(&upcased(&name.units)).to_le_bytes(),
            _ => hint(&name.units),
        };
        let mut body = self.signature.to_vec();
        // No leaf has more than a thousand or so.
        body.extend_from_slice(&u16::try_from(self.entries.len()).unwrap_or(u16::MAX).to_le_bytes());
        for entry in &self.entries {
            let (key, beside) = entry.unwrap_or((key, beside));
            body.extend_from_slice(&key.to_le_bytes());
            if self.width() == 8 {
                body.extend_from_slice(&beside);
            }
        }
        body
    }
}

fn count16(count: usize) -> Result<u16> {
    let why = || Error::refused("store the key", format!("{count} is more than a field of two bytes holds"));
    u16::try_from(count).map_err(|_| why())
}

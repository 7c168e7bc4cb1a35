//! The states that cutting the power to disk and store at the same moment can leave, from the tape of a stage.
//!
//! The rule: what was synced is there. Of what was written to a file since its last sync any prefix is there, or all but
//! one piece, or one piece alone (all subsets of up to four); a piece is a sector of the disk or a page of a file in the
//! store. The entries of a folder since its last sync likewise: a file whose name is not synced may be missing however
//! often it was synced itself. Files and folders that were not synced hang on each other in no way: each is varied while
//! the others hold all that they were given, and while they hold nothing that was not synced.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deblast::digest::Sha256;

use crate::cut_disk::{Overlay, SECTOR, Snapshot, subsets, write};
use crate::stage::{DISK_NODE, Op, STORE_NODE};

const PAGE: usize = 4096;

/// One state.
pub(crate) struct State {
    pub(crate) disk: Overlay,
    pub(crate) store: Arc<Snapshot>,
    pub(crate) what: String,
}

#[derive(Clone)]
enum Piece {
    Write(u64, Vec<u8>),
    Size(u64),
}

#[derive(Clone)]
enum Entry {
    Add(OsString, u64),
    Gone(OsString),
}

/// Something that is synced by itself.
#[derive(Clone)]
enum Thing {
    Disk { there: Overlay, since: Vec<(u64, [u8; SECTOR])> },
    File { there: Arc<Vec<u8>>, since: Vec<Piece> },
    Folder { there: BTreeMap<OsString, u64>, since: Vec<Entry> },
}

/// A thing with some of what it was given since its last sync.
enum Now {
    Disk(Overlay),
    File(Arc<Vec<u8>>),
    Folder(BTreeMap<OsString, u64>),
}

impl Thing {
    fn since(&self) -> usize {
        match self {
            Self::Disk { since, .. } => since.len(),
            Self::File { since, .. } => since.len(),
            Self::Folder { since, .. } => since.len(),
        }
    }

    /// With those pieces of its that `is_there` takes, by their numbers.
    fn with(&self, is_there: &dyn Fn(usize) -> bool) -> Now {
        let numbers = || (0..self.since()).filter(|&number| is_there(number));
        match self {
            Self::Disk { there, since } => {
                let mut disk = there.clone();
                numbers().for_each(|number| write(&mut disk, since[number].0, since[number].1));
                Now::Disk(disk)
            }
            Self::File { there, since } => {
                if numbers().next().is_none() {
                    return Now::File(there.clone());
                }
                let mut bytes = there.as_ref().clone();
                for number in numbers() {
                    match &since[number] {
                        Piece::Size(size) => bytes.resize(usize::try_from(*size).unwrap(), 0),
                        Piece::Write(offset, piece) => {
                            let start = usize::try_from(*offset).unwrap();
                            if bytes.len() < start + piece.len() {
                                bytes.resize(start + piece.len(), 0);
                            }
                            bytes[start..start + piece.len()].copy_from_slice(piece);
                        }
                    }
                }
                Now::File(Arc::new(bytes))
            }
            Self::Folder { there, since } => {
                let mut entries = there.clone();
                for number in numbers() {
                    match &since[number] {
                        Entry::Add(name, node) => drop(entries.insert(name.clone(), *node)),
                        Entry::Gone(name) => drop(entries.remove(name)),
                    }
                }
                Now::Folder(entries)
            }
        }
    }

    fn sync(&mut self) {
        *self = match self.with(&|_| true) {
            Now::Disk(there) => Self::Disk { there, since: Vec::new() },
            Now::File(there) => Self::File { there, since: Vec::new() },
            Now::Folder(there) => Self::Folder { there, since: Vec::new() },
        };
    }
}

/// Pieces of a write that no border is crossed in.
fn pieces(offset: u64, bytes: &[u8], border: usize) -> Vec<(u64, Vec<u8>)> {
    let (mut at, mut rest, mut pieces) = (offset, bytes, Vec::new());
    while !rest.is_empty() {
        let length = (border - usize::try_from(at).unwrap() % border).min(rest.len());
        pieces.push((at, rest[..length].to_vec()));
        (at, rest) = (at + length as u64, &rest[length..]);
    }
    pieces
}

struct Model {
    things: BTreeMap<u64, Thing>,
    seen: BTreeSet<String>,
    states: Vec<State>,
}

impl Model {
    fn new(disk: &Overlay, store: &Snapshot) -> Self {
        let mut things = BTreeMap::new();
        things.insert(DISK_NODE, Thing::Disk { there: disk.clone(), since: Vec::new() });
        // Numbered as the stage numbers them.
        let (mut next, mut folders) = (STORE_NODE, BTreeMap::new());
        let everything = [(PathBuf::new(), None)];
        for (path, bytes) in everything.iter().chain(&store.0) {
            if let Some(name) = path.file_name() {
                let above = folders[path.parent().unwrap()];
                let Some(Thing::Folder { there, .. }) = things.get_mut(&above) else { panic!("no folder") };
                there.insert(name.to_owned(), next);
            }
            let thing = match bytes {
                Some(bytes) => Thing::File { there: bytes.clone(), since: Vec::new() },
                None => {
                    folders.insert(path.as_path(), next);
                    Thing::Folder { there: BTreeMap::new(), since: Vec::new() }
                }
            };
            things.insert(next, thing);
            next += 1;
        }
        Self { things, seen: BTreeSet::new(), states: Vec::new() }
    }

    fn take(&mut self, op: &Op) -> Vec<u64> {
        let mut give = |node: u64, more: &dyn Fn(&mut Thing)| more(self.things.get_mut(&node).unwrap());
        match op {
            Op::Write { node, offset, bytes } => {
                give(*node, &|thing| match thing {
                    Thing::Disk { since, .. } => {
                        let sectors = pieces(*offset, bytes, SECTOR).into_iter();
                        since.extend(sectors.map(|(at, sector)| (at, sector.try_into().unwrap())));
                    }
                    Thing::File { since, .. } => {
                        let all = pieces(*offset, bytes, PAGE).into_iter();
                        since.extend(all.map(|(at, piece)| Piece::Write(at, piece)));
                    }
                    Thing::Folder { .. } => panic!("a folder is not written"),
                });
                vec![*node]
            }
            Op::Truncate { node, size } => {
                give(*node, &|thing| {
                    let Thing::File { since, .. } = thing else { panic!("no file") };
                    since.push(Piece::Size(*size));
                });
                vec![*node]
            }
            Op::Create { folder, name, node, is_folder } => {
                let new = match is_folder {
                    true => Thing::Folder { there: BTreeMap::new(), since: Vec::new() },
                    false => Thing::File { there: Arc::default(), since: Vec::new() },
                };
                self.things.insert(*node, new);
                self.enter(*folder, Entry::Add(name.clone(), *node));
                vec![*folder]
            }
            Op::Remove { folder, name } => {
                self.enter(*folder, Entry::Gone(name.clone()));
                vec![*folder]
            }
            Op::Rename { folder, name, to, new } => {
                let Now::Folder(entries) = self.things[folder].with(&|_| true) else { panic!("no folder") };
                self.enter(*folder, Entry::Gone(name.clone()));
                self.enter(*to, Entry::Add(new.clone(), entries[name]));
                vec![*folder, *to]
            }
            Op::Sync { .. } => Vec::new(),
        }
    }

    fn enter(&mut self, folder: u64, entry: Entry) {
        // What lies outside disk and store is nobody's.
        if let Some(Thing::Folder { since, .. }) = self.things.get_mut(&folder) {
            since.push(entry);
        }
    }

    /// Notes a state: all things with all or nothing of what is not synced, one of them with some of it.
    fn note(&mut self, moment: usize, others: bool, one: Option<(u64, &[bool])>) {
        let now = |node: u64| match one {
            Some((varied, there)) if varied == node => self.things[&node].with(&|number| there[number]),
            _ => self.things[&node].with(&|_| others),
        };
        let Now::Disk(disk) = now(DISK_NODE) else { panic!("no disk") };
        let mut store = Vec::new();
        self.walk(STORE_NODE, Path::new(""), &now, &mut store);
        let mut text = String::new();
        for (place, sector) in &disk {
            text.push_str(&format!("{place} {} ", Sha256::of(sector)));
        }
        for (path, bytes) in &store {
            let digest = bytes.as_ref().map(|bytes| Sha256::of(bytes).to_string());
            text.push_str(&format!("{path:?} {digest:?} "));
        }
        if !self.seen.insert(Sha256::of(text.as_bytes()).to_string()) {
            return;
        }
        let one = one.map_or(String::new(), |(node, there)| {
            let there: String = there.iter().map(|there| if *there { '1' } else { '0' }).collect();
            format!(", of node {node} {there}")
        });
        let others = if others { "all" } else { "nothing" };
        let what = format!("at op {moment}, {others} that is not synced{one}");
        self.states.push(State { disk, store: Arc::new(Snapshot(store)), what });
    }

    fn walk(
        &self,
        folder: u64,
        at: &Path,
        now: &dyn Fn(u64) -> Now,
        store: &mut Vec<(PathBuf, Option<Arc<Vec<u8>>>)>,
    ) {
        let Now::Folder(entries) = now(folder) else { return };
        for (name, node) in entries {
            let path = at.join(name);
            match now(node) {
                Now::File(bytes) => store.push((path, Some(bytes))),
                Now::Folder(_) => {
                    store.push((path.clone(), None));
                    self.walk(node, &path, now, store);
                }
                Now::Disk(_) => panic!("the disk in the store"),
            }
        }
    }

    /// Everything that can be there at this moment.
    fn note_all(&mut self, moment: usize) {
        self.note(moment, true, None);
        self.note(moment, false, None);
        let nodes: Vec<(u64, usize)> =
            self.things.iter().map(|(node, thing)| (*node, thing.since())).collect();
        for (node, count) in nodes.into_iter().filter(|(_, count)| *count > 0) {
            for there in subsets(count) {
                self.note(moment, true, Some((node, &there)));
                self.note(moment, false, Some((node, &there)));
            }
        }
    }
}

/// All states, each once, in the order of the run; the last is its end, all of it on the media.
pub(crate) fn states(disk: &Overlay, store: &Snapshot, tape: &[Op]) -> Vec<State> {
    let mut model = Model::new(disk, store);
    for (moment, op) in tape.iter().enumerate() {
        if let Op::Sync { node } = op {
            model.note_all(moment);
            if let Some(thing) = model.things.get_mut(node) {
                thing.sync();
            }
            continue;
        }
        let before: BTreeMap<u64, usize> =
            model.things.iter().map(|(node, thing)| (*node, thing.since())).collect();
        for node in model.take(op) {
            let Some(thing) = model.things.get(&node) else { continue };
            let (from, count) = (before.get(&node).copied().unwrap_or(0), thing.since());
            for end in from..=count {
                let there: Vec<bool> = (0..count).map(|number| number < end).collect();
                model.note(moment, true, Some((node, &there)));
            }
        }
    }
    model.note_all(tape.len());
    model.things.values_mut().for_each(Thing::sync);
    let count = model.states.len();
    model.note(tape.len(), true, None);
    if model.states.len() == count {
        // It was met before; whoever looks for it looks at the end.
        model.seen.clear();
        model.note(tape.len(), true, None);
    }
    model.states
}

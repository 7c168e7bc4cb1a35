//! Judges a disk after a cut, whatever Windows and cure it has: where each file that the run's journal names stands, and that
//! no other is touched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use deblast::change::{Change, HiveRole};
use deblast::cleanup::hive_file::settle;
use deblast::digest::Sha256;
use deblast::hive::Hive;
use deblast::store::Store;
use deblast::store::journal::Loaded;
use deblast::volume::{Extents, FileSystem, Window, open_volume, recognise};

use crate::cut_disk::{Overlay, Recording, SECTOR, partition, practice, read, reader};
use crate::cut_judge::{Way, judge_hive, to_edit};

/// What a file is to the run that writes it.
pub(crate) enum Kind {
    Hive {
        role: HiveRole,
        way: Way,
    },
    Worm {
        original: Vec<u8>,
    },
    /// A hibernation file: only its first sector changes.
    Session {
        original: Vec<u8>,
    },
}

/// A file that the run writes; none of them moves.
pub(crate) struct Part {
    pub(crate) path: deblast::path::WinPath,
    pub(crate) extents: Extents,
    pub(crate) kind: Kind,
}

/// How far a file is: so many of so many edits; a file of the worm or a session has one.
pub(crate) type Step = (usize, usize);

pub(crate) struct Judge {
    pub(crate) start: u64,
    pub(crate) parts: Vec<Part>,
    seen: Mutex<HashMap<(usize, Sha256), Result<Step, String>>>,
}

fn volume(disk: &Overlay) -> Box<dyn FileSystem> {
    let (start, size) = partition(&practice().bytes);
    let window = Window::new(reader(disk), start, size);
    let recognised = recognise(&window).unwrap();
    open_volume(Arc::new(window), recognised).unwrap()
}

impl Judge {
    pub(crate) fn of(recording: &Recording) -> Self {
        let (start, _) = partition(&practice().bytes);
        let folder = recording.store.lay_out();
        let run = Store::at(folder.path()).runs().unwrap().into_iter().next().unwrap();
        let Loaded::Ready(journal) = run.load().unwrap() else { panic!("no journal") };
        let volume = volume(&recording.start);
        let mut judge = Self { start, parts: Vec::new(), seen: Mutex::default() };
        for (index, file) in journal.header.files.iter().enumerate() {
            let changes = || {
                let of_file = journal.header.changes.iter().filter(move |recorded| recorded.file == index);
                of_file.map(|recorded| &recorded.change)
            };
            // The places are the volume's, not the journal's.
            let facts = volume.find(&file.path).unwrap().expect("a file that the journal names");
            let extents = volume.extents(facts.id).unwrap();
            let original = judge.content(&recording.start, &extents);
            let path = file.path.to_string().to_lowercase();
            let kind = match changes().next().unwrap() {
                Change::Value(value) => {
                    let name = path.rsplit('\\').next().unwrap();
                    assert!(
                        ["software", "system", "system.alt", "ntuser.dat"].contains(&name),
                        "{path} is no hive"
                    );
                    let (hive, _) = settle(volume.as_ref(), &file.path, original).unwrap();
                    let edits = changes().map(|change| match change {
                        Change::Value(value) => to_edit(value),
                        other => panic!("{path}: {other:?}"),
                    });
                    let way = Way::new(hive.as_bytes().to_vec(), edits.collect());
                    Kind::Hive { role: value.hive.clone(), way }
                }
                Change::File(change) => {
                    assert_eq!(
                        Sha256::of(&original),
                        change.digests.sha256,
                        "{path} is not what it is named for"
                    );
                    Kind::Worm { original }
                }
                Change::Hibernation(_) => {
                    assert!(path.ends_with("hiberfil.sys"), "{path}");
                    Kind::Session { original }
                }
            };
            judge.parts.push(Part { path: file.path.clone(), extents, kind });
        }
        judge
    }

    fn content(&self, disk: &Overlay, extents: &Extents) -> Vec<u8> {
        let mut bytes = Vec::new();
        for run in &extents.runs {
            let mut piece = vec![0; usize::try_from(run.length).unwrap()];
            read(disk, self.start + run.place, &mut piece);
            bytes.extend(piece);
        }
        bytes.truncate(usize::try_from(extents.size).unwrap());
        bytes
    }

    /// Every changed sector lies inside one of these files, and what lies behind a file's end is as it was.
    fn nothing_else(&self, disk: &Overlay) -> Result<(), String> {
        for (&place, sector) in disk {
            let at = place - self.start;
            let owner = self.parts.iter().find_map(|part| {
                let mut runs = part.extents.runs.iter();
                let run = runs.find(|run| (run.place..run.place + run.length).contains(&at))?;
                Some((part.extents.size, run.file_offset + (at - run.place)))
            });
            let Some((size, offset)) = owner else {
                return Err(format!("a sector of no file of ours: {at:#x}"));
            };
            let inside = usize::try_from(size.saturating_sub(offset)).unwrap().min(SECTOR);
            let start = usize::try_from(place).unwrap();
            if inside == 0 || sector[inside..] != practice().bytes[start + inside..start + SECTOR] {
                return Err(format!("what lies behind a file's end, at {at:#x}"));
            }
        }
        Ok(())
    }

    /// How far each file is; the order of SYSTEM and its mirror kept.
    pub(crate) fn judge(&self, disk: &Overlay) -> Result<Vec<Step>, String> {
        self.nothing_else(disk)?;
        let mut steps = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let bytes = self.content(disk, &part.extents);
            let key = (index, Sha256::of(&bytes));
            let known = self.seen.lock().unwrap().get(&key).cloned();
            let step = known.unwrap_or_else(|| step(part, disk, bytes));
            self.seen.lock().unwrap().insert(key, step.clone());
            steps.push(step.map_err(|why| format!("{}: {why}", part.path))?);
        }
        let of = |wanted: HiveRole| {
            let is_it = |part: &Part| matches!(&part.kind, Kind::Hive { role, .. } if *role == wanted);
            self.parts.iter().position(is_it).map(|index| steps[index])
        };
        match (of(HiveRole::System), of(HiveRole::SystemAlternate)) {
            (Some((system, last)), Some((alternate, _))) if alternate > 0 && system < last => {
                Err(format!("SYSTEM.ALT has {alternate} edits, SYSTEM {system} of {last}"))
            }
            _ => Ok(steps),
        }
    }
}

fn step(part: &Part, disk: &Overlay, bytes: Vec<u8>) -> Result<Step, String> {
    match &part.kind {
        Kind::Hive { way, .. } => {
            let bytes = match Hive::dirty_base_block(&bytes) {
                None => bytes,
                Some(_) => {
                    let (hive, _) = settle(volume(disk).as_ref(), &part.path, bytes)
                        .map_err(|error| error.to_string())?;
                    hive.as_bytes().to_vec()
                }
            };
            let (_, step) = judge_hive(std::slice::from_ref(way), bytes)?;
            Ok((step, way.steps() - 1))
        }
        Kind::Worm { original } => {
            let zeros = |sector: &[u8]| sector.iter().all(|&byte| byte == 0);
            let mut sectors = bytes.chunks(SECTOR).zip(original.chunks(SECTOR));
            if sectors.any(|(now, then)| now != then && !zeros(now)) {
                return Err("a sector is neither its own nor zeros".to_owned());
            }
            match (bytes == *original, zeros(&bytes)) {
                (true, _) => Ok((0, 2)),
                (_, true) => Ok((2, 2)),
                _ if zeros(&bytes[..SECTOR.min(bytes.len())]) => Ok((1, 2)),
                _ => Err("its first sector is there and others are not".to_owned()),
            }
        }
        Kind::Session { original } => match bytes == *original {
            true => Ok((0, 1)),
            false if bytes[SECTOR..] == original[SECTOR..] => Ok((1, 1)),
            false => Err("more than its first sector".to_owned()),
        },
    }
}

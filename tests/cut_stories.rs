//! The power is cut while each kind of Windows gets each kind of cure by the raw way: after every sector write, and with
//! the writes between two syncs in any order, as in power_cut.rs.
//!
//! In each state every changed sector lies inside a file that the journal names and that is a hive, the worm's file, or a
//! hibernation file; each hive is, by the crate `regf`, as after some number of whole edits; a file of the worm is live as a
//! whole or cannot start. SYSTEM.ALT is never ahead of SYSTEM. The next clean ends clean, and an undo gives the disk back.
//!
//! The counts stand in docs/power-cuts.md, and fail where they are no longer true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/cut_disk.rs"]
mod cut_disk;
#[allow(dead_code, reason = "power_cut.rs uses all of it")]
#[path = "common/cut_judge.rs"]
mod cut_judge;
#[path = "common/cut_story.rs"]
mod cut_story;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use common::Journal;
use cut_disk::{
    Cut, Made, Op, Overlay, Recording, SECTOR, Snapshot, cuts, in_parallel, on_disk, partition, practice,
    read, reader,
};
use cut_judge::{Way, judge_hive, to_edit};
use cut_story::{chosen, cleaned, cleaned_again, row, undone};
use deblast::change::{Change, HiveRole};
use deblast::cleanup::hive_file::settle;
use deblast::digest::Sha256;
use deblast::hive::Hive;
use deblast::policy::{Hibernation, Policy, Remove, RestorePoints, Suspects};
use deblast::store::Store;
use deblast::store::journal::Loaded;
use deblast::volume::{Extents, FileSystem, Window, open_volume, recognise};

/// Nobody's: each story names its own.
const PRACTICE: Made = ("cut-stories.img", &["--files", "10", "--size", "12M"]);

struct Story {
    name: &'static str,
    made: Made,
    policy: fn() -> Policy,
}

const SMALL: [&str; 4] = ["--files", "10", "--size", "12M"];

fn all_of_it() -> Policy {
    Policy {
        companions: true,
        restore_points: RestorePoints::Quarantine,
        suspects: Suspects::Quarantine,
        ..Policy::default()
    }
}

const STORIES: &[Story] = &[
    Story {
        name: "NT 4.0, NTFS 1.2",
        made: ("stories-nt4.img", &["--windows", "nt4", SMALL[0], SMALL[1], SMALL[2], SMALL[3]]),
        policy: Policy::default,
    },
    Story {
        name: "NT 4.0, FAT16",
        made: (
            "stories-nt4-fat.img",
            &["--windows", "nt4", "--filesystem", "fat16", "--files", "10", "--size", "20M"],
        ),
        policy: Policy::default,
    },
    Story {
        name: "2000 SP2, FAT32: TCP/IP filtering",
        made: (
            "stories-2000-fat.img",
            &[
                "--windows",
                "2000",
                "--service-pack",
                "2",
                "--filesystem",
                "fat32",
                "--files",
                "10",
                "--size",
                "36M",
            ],
        ),
        policy: Policy::default,
    },
    Story {
        name: "2000, NTFS: Welchia's services and files",
        made: (
            "stories-2000-welchia.img",
            &["--windows", "2000", "--infect", "welchia", "--files", "10", "--size", "16M"],
        ),
        policy: all_of_it,
    },
    Story {
        name: "XP, NTFS: everything, restore points too",
        made: (
            "stories-xp-all.img",
            &["--windows", "xp", "--infect", "all", "--files", "10", "--size", "16M"],
        ),
        policy: all_of_it,
    },
    Story {
        name: "XP, FAT32",
        made: ("stories-xp-fat.img", &["--filesystem", "fat32", "--files", "10", "--size", "40M"]),
        policy: Policy::default,
    },
    Story {
        name: "XP, NTFS: --remove never",
        made: ("stories-xp.img", &SMALL),
        policy: || Policy { remove: Remove::Never, ..Policy::default() },
    },
    Story {
        name: "XP, NTFS: a dirty hive, recovered",
        made: ("stories-xp-dirty.img", &["--state", "dirty-hive", SMALL[0], SMALL[1], SMALL[2], SMALL[3]]),
        policy: Policy::default,
    },
    Story {
        name: "XP, NTFS: hibernation given up",
        made: ("stories-xp-asleep.img", &["--state", "hibernated", SMALL[0], SMALL[1], "--size", "16M"]),
        policy: || Policy { hibernation: Hibernation::Discard, ..Policy::default() },
    },
    Story {
        name: "2003, NTFS",
        made: ("stories-2003.img", &["--windows", "2003", SMALL[0], SMALL[1], SMALL[2], SMALL[3]]),
        policy: Policy::default,
    },
];

/// What a file is to the run that writes it.
enum Kind {
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
struct Part {
    path: deblast::path::WinPath,
    extents: Extents,
    kind: Kind,
}

/// How far a file is: so many of so many edits; a file of the worm or a session has one.
type Step = (usize, usize);

struct Judge {
    start: u64,
    parts: Vec<Part>,
    seen: Mutex<HashMap<(usize, Sha256), Result<Step, String>>>,
}

fn volume(disk: &Overlay) -> Box<dyn FileSystem> {
    let (start, size) = partition(&practice().bytes);
    let window = Window::new(reader(disk), start, size);
    let recognised = recognise(&window).unwrap();
    open_volume(Arc::new(window), recognised).unwrap()
}

impl Judge {
    fn of(recording: &Recording) -> Self {
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
    fn judge(&self, disk: &Overlay) -> Result<Vec<Step>, String> {
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

/// The changed sectors are those that the journal names, by the description of its format.
fn all_in_the_journal(recording: &Recording) {
    let folder = recording.store.lay_out();
    let run = Store::at(folder.path()).runs().unwrap()[0].path().to_owned();
    let named = Journal::read(&run).sectors();
    let changed: BTreeSet<usize> =
        recording.end.keys().map(|&place| usize::try_from(place).unwrap()).collect();
    assert!(!changed.is_empty());
    let strange: Vec<_> = changed.difference(&named).collect();
    assert!(strange.is_empty(), "sectors that the journal does not name: {strange:?}");
}

#[derive(Default)]
struct Tally {
    old: usize,
    between: usize,
    new: usize,
    treated: usize,
    taken_back: usize,
    broken: Vec<String>,
}

fn tell(story: &Story, judge: &Judge, recording: &Recording, most: usize, what: &str) {
    let all = cuts(recording);
    let is_chosen = chosen(all.len(), most);
    let tally = Mutex::new(Tally::default());
    in_parallel(&all, |index, cut| {
        let outcome = treat(story, judge, cut, is_chosen(index));
        let mut tally = tally.lock().unwrap();
        match outcome {
            Ok((steps, taken_back)) => {
                let count = match () {
                    () if steps.iter().all(|(step, _)| *step == 0) => &mut tally.old,
                    () if steps.iter().all(|(step, last)| step == last) => &mut tally.new,
                    () => &mut tally.between,
                };
                *count += 1;
                tally.treated += usize::from(is_chosen(index));
                tally.taken_back += usize::from(taken_back);
            }
            Err(why) => tally.broken.push(format!("{}: {why}", cut.what)),
        }
    });
    let tally = tally.into_inner().unwrap();
    tally.broken.iter().take(12).for_each(|why| println!("  {why}"));
    assert!(tally.broken.is_empty(), "{}, {what}: {} broken, see above", story.name, tally.broken.len());
    let count = |wanted: fn(&Op) -> bool| recording.ops.iter().filter(|op| wanted(op)).count();
    let (writes, syncs) = (count(|op| matches!(op, Op::Write(..))), count(|op| matches!(op, Op::Sync)));
    let numbers = [writes, syncs, all.len(), tally.old, tally.between, tally.new, tally.broken.len()];
    let treated = [tally.treated, tally.taken_back, tally.treated];
    let numbers = numbers.iter().chain(&treated).map(usize::to_string);
    let cells: Vec<String> = [story.name.to_owned(), what.to_owned()].into_iter().chain(numbers).collect();
    row(&cells, 9);
}

/// Judges a state; and has it cleaned, and undone at once and after that clean. Whether a run was taken back first.
fn treat(story: &Story, judge: &Judge, cut: &Cut, treat: bool) -> Result<(Vec<Step>, bool), String> {
    let steps = judge.judge(&cut.disk)?;
    if !treat {
        return Ok((steps, false));
    }
    let (next, taken_back) = cleaned_again((story.policy)(), &cut.disk, &cut.store)?;
    let after = judge.judge(&next.end).map_err(|why| format!("after the next clean: {why}"))?;
    if after.iter().any(|(step, last)| step != last) {
        return Err(format!("the next clean left {after:?}"));
    }
    for (name, disk, store) in
        [("an undo", &cut.disk, &cut.store), ("clean, then undo", &next.end, &next.store)]
    {
        let back = undone(disk, store).map_err(|why| format!("{name}: {why}"))?;
        if !back.end.is_empty() {
            return Err(format!("{name}: the disk is not as it was made"));
        }
    }
    Ok((steps, taken_back))
}

fn run(story: &Story) {
    if !story.made.1.contains(&"--filesystem") && common::practice(story.made.1).is_none() {
        return;
    }
    on_disk(story.made);
    let clean = cleaned((story.policy)(), &Overlay::new(), &Snapshot::default()).unwrap();
    all_in_the_journal(&clean);
    let judge = Judge::of(&clean);
    tell(story, &judge, &clean, 6, "clean");
    let undo = undone(&clean.end, &clean.store).unwrap();
    assert!(undo.end.is_empty(), "{}: the disk is not as it was made", story.name);
    tell(story, &judge, &undo, 4, "undo");
    // The control: a mirror that is ahead is seen.
    let alternate = judge
        .parts
        .iter()
        .find(|part| matches!(&part.kind, Kind::Hive { role: HiveRole::SystemAlternate, .. }));
    if let Some(part) = alternate {
        let runs = || {
            part.extents.runs.iter().map(|run| judge.start + run.place..judge.start + run.place + run.length)
        };
        let inside = |place: &u64| runs().any(|run| run.contains(place));
        let ahead: Overlay =
            clean.end.iter().filter(|(place, _)| inside(place)).map(|(a, b)| (*a, *b)).collect();
        assert!(judge.judge(&ahead).unwrap_err().contains("SYSTEM.ALT has"), "{}", story.name);
    }
    // And a sector that is nobody's.
    let mut strange = clean.end.clone();
    cut_disk::write(&mut strange, judge.start + 512 * 3, [0x5a; SECTOR]);
    assert!(judge.judge(&strange).unwrap_err().contains("of no file of ours"), "{}", story.name);
}

#[test]
fn nt_4_and_2000() {
    STORIES[..4].iter().for_each(run);
}

#[test]
fn xp_and_2003() {
    STORIES[4..].iter().for_each(run);
}

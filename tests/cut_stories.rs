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
#[path = "common/cut_draw.rs"]
mod cut_draw;
#[allow(dead_code, reason = "power_cut.rs uses all of it")]
#[path = "common/cut_judge.rs"]
mod cut_judge;
#[path = "common/cut_parts.rs"]
mod cut_parts;
#[path = "common/cut_story.rs"]
mod cut_story;

use std::collections::BTreeSet;
use std::sync::Mutex;

use common::Journal;
use cut_disk::{Cut, Made, Op, Overlay, Recording, SECTOR, Snapshot, cuts, in_parallel, on_disk};
use cut_draw::{Dice, Wanted, build, draw, without_syncs};
use cut_parts::{Judge, Kind, Step};
use cut_story::{chosen, cleaned, cleaned_again, row, undone};
use deblast::change::HiveRole;
use deblast::policy::{Hibernation, Policy, Remove, RestorePoints, Suspects};
use deblast::store::Store;

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

/// Judges so many states, and has the chosen ones treated.
fn tally(
    story: &Story,
    judge: &Judge,
    count: usize,
    state: impl Fn(usize) -> Cut + Sync,
    is_chosen: impl Fn(usize) -> bool + Sync,
) -> Tally {
    let tally = Mutex::new(Tally::default());
    in_parallel(&vec![(); count], |index, ()| {
        let cut = state(index);
        let outcome = treat(story, judge, &cut, is_chosen(index));
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
    tally
}

impl Tally {
    /// The cells of a row: story, run, writes, syncs, states, and what was counted of them.
    fn cells(&self, story: &Story, what: &str, recording: &Recording, states: usize) -> Vec<String> {
        let count = |wanted: fn(&Op) -> bool| recording.ops.iter().filter(|op| wanted(op)).count();
        let (writes, syncs) = (count(|op| matches!(op, Op::Write(..))), count(|op| matches!(op, Op::Sync)));
        let numbers = [writes, syncs, states, self.old, self.between, self.new, self.broken.len()];
        let treated = [self.treated, self.taken_back, self.treated];
        let numbers = numbers.iter().chain(&treated).map(usize::to_string);
        [story.name.to_owned(), what.to_owned()].into_iter().chain(numbers).collect()
    }
}

fn tell(story: &Story, judge: &Judge, recording: &Recording, most: usize, what: &str) {
    let all = cuts(recording);
    let is_chosen = chosen(all.len(), most);
    let tally = tally(story, judge, all.len(), |index| all[index].clone(), is_chosen);
    assert!(tally.broken.is_empty(), "{}, {what}: {} broken, see above", story.name, tally.broken.len());
    row(&tally.cells(story, what, recording, all.len()), 9);
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

/// Whether its disk can be made here.
fn can_be_made(story: &Story) -> bool {
    story.made.1.contains(&"fat32") || story.made.1.contains(&"fat16") || common::practice(&SMALL).is_some()
}

fn run(story: &Story) {
    if !can_be_made(story) {
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

/// Disks as large as the maker makes them in seconds, with thousands of files and more to cure than the stories above.
const LARGE: &[Story] = &[
    Story {
        name: "NT 4.0, NTFS 1.2, 256 MB, 4,000 files",
        made: (
            "large-nt4.img",
            &["--windows", "nt4", "--infect", "all", "--files", "4000", "--size", "256M"],
        ),
        policy: all_of_it,
    },
    Story {
        name: "2000, NTFS, 288 MB, 5,000 files",
        made: (
            "large-2000.img",
            &[
                "--windows",
                "2000",
                "--infect",
                "all",
                "--files",
                "5000",
                "--size",
                "288M",
                "--software-size",
                "4",
            ],
        ),
        policy: all_of_it,
    },
    Story {
        name: "2003, FAT32, 256 MB, 4,000 files, a dirty hive",
        made: (
            "large-2003.img",
            &[
                "--windows",
                "2003",
                "--filesystem",
                "fat32",
                "--infect",
                "all",
                "--files",
                "4000",
                "--size",
                "256M",
                "--software-size",
                "4",
                "--state",
                "dirty-hive",
            ],
        ),
        policy: all_of_it,
    },
    Story {
        name: "XP, FAT32, 320 MB, 5,000 files",
        made: (
            "large-xp-fat.img",
            &[
                "--filesystem",
                "fat32",
                "--infect",
                "all",
                "--files",
                "5000",
                "--size",
                "320M",
                "--software-size",
                "8",
            ],
        ),
        policy: all_of_it,
    },
    Story {
        name: "XP, NTFS, 320 MB, 6,000 files",
        made: (
            "large-xp.img",
            &["--infect", "all", "--files", "6000", "--size", "320M", "--software-size", "8"],
        ),
        policy: all_of_it,
    },
];

/// One in so many of the states that are drawn is treated.
const TREATED: usize = 5;

/// Draws states of clean and undo on each of these disks, prints a row for each, and gives how many there were and how many
/// were broken.
fn draw_on(stories: &[Story], wanted: &Wanted) -> (usize, usize) {
    let (mut states, mut broken) = (0, 0);
    for (number, story) in stories.iter().enumerate() {
        on_disk(story.made);
        let clean = cleaned((story.policy)(), &Overlay::new(), &Snapshot::default()).unwrap();
        let judge = Judge::of(&clean);
        let undo = undone(&clean.end, &clean.store).unwrap();
        assert!(undo.end.is_empty(), "{}: the disk is not as it was made", story.name);
        for (of_story, what, recording) in [(0, "clean", clean), (1, "undo", undo)] {
            let run = number * 2 + of_story;
            let recording = if wanted.unsynced { without_syncs(&recording) } else { recording };
            // A run of few states leaves its share to those that follow.
            let share = (wanted.count - states).div_ceil(stories.len() * 2 - run);
            let drawn = draw(&recording, share, &mut Dice(wanted.seed.wrapping_add(run as u64)));
            let state = |index: usize| build(&recording, &drawn[index]);
            let is_chosen = |index: usize| index.is_multiple_of(TREATED);
            let tally = tally(story, &judge, drawn.len(), state, is_chosen);
            println!("| {} |", tally.cells(story, what, &recording, drawn.len()).join(" | "));
            states += drawn.len();
            broken += tally.broken.len();
        }
    }
    (states, broken)
}

/// What `scripts/cut` runs: thousands of states of larger disks.
#[test]
fn larger_disks_at_random() {
    let Some(wanted) = cut_draw::wanted() else { return };
    assert!(LARGE.iter().all(can_be_made), "the disks cannot be made here");
    let (states, broken) = draw_on(LARGE, &wanted);
    println!("drawn: {states} states, broken: {broken}");
    assert!(broken == 0, "{broken} states are broken, see above");
}

/// The draw itself, on one small disk; without syncs it finds what is broken.
#[test]
fn a_random_draw_sees_missing_syncs() {
    let story = &STORIES[3];
    if !can_be_made(story) {
        return;
    }
    let wanted = |unsynced| Wanted { count: 60, seed: 1, unsynced };
    let (states, broken) = draw_on(std::slice::from_ref(story), &wanted(false));
    assert!(states == 60 && broken == 0, "{broken} of {states} are broken, see above");
    let (states, broken) = draw_on(std::slice::from_ref(story), &wanted(true));
    println!("control: without syncs, {states} states, {broken} broken");
    assert!(broken > 30, "the draw does not see missing syncs: {broken} of {states}");
}

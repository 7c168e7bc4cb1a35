//! The power is cut to the disk and to the store at the same moment, below the real program.
//!
//! `deblast clean` and `deblast undo` run on a file system of the tests that holds both and keeps a tape of all that
//! reaches it; from the tape every state is rebuilt that the rule of stage_states.rs allows: the journal torn, a backup
//! half there, the folder of the run half made. In each state every file but the worm is whole and each hive as before or
//! after one of its edits; the next clean ends clean, and an undo gives the disk back byte for byte, at once as after that
//! clean.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/cut_disk.rs"]
mod cut_disk;
#[allow(dead_code, reason = "power_cut.rs uses all of it")]
#[path = "common/cut_judge.rs"]
mod cut_judge;
#[path = "common/cut_story.rs"]
mod cut_story;
#[path = "common/mounted_states.rs"]
mod mounted_states;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/stage_play.rs"]
mod stage_play;
#[path = "common/stage_states.rs"]
mod stage_states;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use common::{Ran, START, skip};
use cut_disk::{Made, Overlay, Snapshot, in_parallel, on_disk, partition, practice, reader};
use cut_judge::{Judge, Stand};
use cut_story::{chosen, cleaned, row, undone};
use deblast::change::FileId;
use deblast::path::WinPath;
use deblast::policy::Policy;
use deblast::volume::{Window, open_volume, recognise};
use stage::{DISK_NODE, Op};
use stage_play::{bytes_of, judge_of, play, program, staged};
use stage_states::{State, states};

use mounted_states::{Bits, Harm, apply, flags, intervals, others, torn, whole};

const PRACTICE: Made = NTFS;
const NTFS: Made = ("stage-cuts-ntfs.img", &["--files", "10", "--size", "12M"]);
const FAT: Made = ("stage-cuts-fat.img", &["--files", "10", "--size", "40M", "--filesystem", "fat32"]);

#[derive(Debug, Default)]
struct Tally {
    ops: usize,
    states: usize,
    old: usize,
    between: usize,
    new: usize,
    treated: usize,
    broken: Vec<String>,
}

/// Judges every state, and has about `most` of them treated by the next clean and by an undo.
fn tell(judge: &Judge, tape: &[Op], states: &[State], most: usize) -> Tally {
    let tally = Mutex::new(Tally { ops: tape.len(), states: states.len(), ..Tally::default() });
    let is_chosen = chosen(states.len(), most);
    in_parallel(states, |index, state| {
        let outcome = judge_one(judge, state, is_chosen(index));
        let mut tally = tally.lock().unwrap();
        tally.treated += usize::from(is_chosen(index));
        match outcome {
            Ok(Stand::Old) => tally.old += 1,
            Ok(Stand::Between) => tally.between += 1,
            Ok(Stand::New) => tally.new += 1,
            Err(why) => tally.broken.push(format!("{}: {why}", state.what)),
        }
    });
    tally.into_inner().unwrap()
}

fn judge_one(judge: &Judge, state: &State, treat: bool) -> Result<Stand, String> {
    let found = judge.judge(&state.disk)?;
    let cured = (judge.software[0].last(), judge.system[0].last());
    let stand = match found.worm {
        _ if state.disk.is_empty() => Stand::Old,
        Stand::New if judge.values(found) == cured => Stand::New,
        _ => Stand::Between,
    };
    if !treat {
        return Ok(stand);
    }
    let next = cleaned(Policy::default(), &state.disk, &state.store)?;
    let after = judge.judge(&next.end)?;
    if after.worm != Stand::New || judge.values(after) != cured {
        return Err(format!("the next clean left {after:?}"));
    }
    for (name, disk, store) in
        [("an undo", &state.disk, &state.store), ("clean, then undo", &next.end, &next.store)]
    {
        let back = undone(disk, store).map_err(|why| format!("{name}: {why}"))?;
        if !back.end.is_empty() {
            return Err(format!("{name}: the disk is not as it was made"));
        }
    }
    Ok(stand)
}

impl Tally {
    fn close(self, disk: &str, what: &str) {
        self.broken.iter().take(12).for_each(|why| println!("  {why}"));
        assert!(self.broken.is_empty(), "{disk}, {what}: {} broken, see above", self.broken.len());
        assert!(self.states > 45 && self.between > 30 && self.new > 3, "{disk}, {what}: too few");
        let numbers =
            [self.ops, self.states, self.old, self.between, self.new, self.broken.len(), self.treated];
        let numbers = numbers.iter().map(usize::to_string);
        row(&[disk.to_owned(), what.to_owned()].into_iter().chain(numbers).collect::<Vec<_>>(), 8);
    }
}

/// The number of the journal's node on a tape.
fn journal_of(tape: &[Op]) -> u64 {
    let node = tape.iter().find_map(|op| match op {
        Op::Create { name, node, .. } if name == "journal" => Some(*node),
        _ => None,
    });
    node.expect("a journal is made")
}

fn is_of(op: &Op, wanted: u64) -> bool {
    match op {
        Op::Write { node, .. } | Op::Truncate { node, .. } | Op::Sync { node } | Op::Create { node, .. } => {
            *node == wanted
        }
        Op::Remove { .. } | Op::Rename { .. } => false,
    }
}

/// Controls: the same run with its journal written behind the change, and with a journal that is never synced.
#[test]
fn a_journal_that_comes_too_late_is_seen_to_break() {
    let nothing = Snapshot::default();
    let Some(clean) = play(&Overlay::new(), &nothing, "clean") else { return };
    let judge = judge_of(&clean.store);
    let journal = journal_of(&clean.tape);
    let last = clean.tape.iter().rposition(|op| is_of(op, DISK_NODE)).unwrap();
    let (before, after) = clean.tape.split_at(last + 1);
    let of_journal = |wanted: bool| before.iter().filter(move |op| is_of(op, journal) == wanted);
    let late: Vec<Op> = of_journal(false).chain(of_journal(true)).chain(after).cloned().collect();
    let is_its_sync = |op: &&Op| matches!(op, Op::Sync { node } if *node == journal);
    let unsynced: Vec<Op> = clean.tape.iter().filter(|op| !is_its_sync(op)).cloned().collect();
    for (name, tape) in [("the journal behind the change", late), ("the journal not synced", unsynced)] {
        let all = states(&Overlay::new(), &nothing, &tape);
        assert!(all.last().unwrap().disk == clean.disk, "the same run in another order");
        // Where the disk is as it was, nothing can be wrong yet.
        let half: Vec<State> = all.into_iter().filter(|state| !state.disk.is_empty()).collect();
        let tally = tell(&judge, &tape, &half, 12);
        println!("control: {name:<40} {} states treated, {} broken", tally.treated, tally.broken.len());
        assert!(tally.broken.len() > 2, "the harness does not see it: {name}");
    }
}

fn clean_then_undo(made: Made, name: &str, most: usize) {
    on_disk(made);
    let nothing = Snapshot::default();
    let Some(clean) = play(&Overlay::new(), &nothing, "clean") else { return };
    let judge = judge_of(&clean.store);
    let all = states(&Overlay::new(), &nothing, &clean.tape);
    assert!(all.last().unwrap().disk == clean.disk, "the tape gives the end");
    tell(&judge, &clean.tape, &all, most).close(name, "clean");

    let Some(undo) = play(&clean.disk, &clean.store, "undo") else { return };
    assert!(undo.disk.is_empty(), "the practice disk is back, byte for byte");
    let all = states(&clean.disk, &clean.store, &undo.tape);
    assert!(all.last().unwrap().disk == undo.disk, "the tape gives the end");
    tell(&judge, &undo.tape, &all, most / 2).close(name, "undo");
}

#[test]
fn disk_and_store_are_cut_at_the_same_moment_on_ntfs() {
    clean_then_undo(NTFS, "NTFS", 48);
}

#[test]
fn disk_and_store_are_cut_at_the_same_moment_on_fat() {
    clean_then_undo(FAT, "FAT32", 24);
}

const TARGET: &str = "/WINDOWS/system32/msblast.exe";

/// Where the bits of the worm's file lie on the practice disk.
fn bits() -> Bits {
    let (start, size) = partition(&practice().bytes);
    let window = Window::new(reader(&Overlay::new()), start, size);
    let recognised = recognise(&window).unwrap();
    let volume = open_volume(std::sync::Arc::new(window), recognised).unwrap();
    let facts = volume.find(&WinPath::new(&TARGET.replace('/', r"\"))).unwrap().unwrap();
    let FileId::Ntfs { record, .. } = facts.id else { panic!("no NTFS") };
    let place = |id: FileId, offset: u64| {
        START + usize::try_from(volume.extents(id).unwrap().place(offset, 1).unwrap()).unwrap()
    };
    let bitmap = FileId::Ntfs { record: 6, sequence: 6 };
    let mut clusters = Vec::new();
    for run in &volume.allocation(facts.id).unwrap().runs {
        for cluster in run.place / 4096..(run.place + run.length) / 4096 {
            clusters.push((place(bitmap, cluster / 8), u8::try_from(cluster % 8).unwrap()));
        }
    }
    assert!(!clusters.is_empty());
    Bits { record: place(FileId::Ntfs { record: 0, sequence: 1 }, record * 1024), clusters }
}

/// `--remove now` on NTFS: what ntfs-3g writes through the loop device, cut anywhere, leaves no other file worse off, and the
/// flag stands from before its first write until after its last.
#[test]
fn the_mount_is_cut_too() {
    on_disk(NTFS);
    let Some(stage) = staged(&Overlay::new(), &Snapshot::default()) else { return };
    let home = tempfile::tempdir().unwrap();
    let ran = Ran::of(program(&stage, home.path(), "clean").args(["--remove", "now"])).exits(0);
    ran.says("removed: through a mount");
    let tape = stage.take_tape();
    // What follows the journal's end is of the names.
    let journal = journal_of(&tape);
    let closed = tape.iter().rposition(|op| is_of(op, DISK_NODE)).unwrap();
    let begun = tape[..closed].iter().rposition(|op| is_of(op, journal)).unwrap();
    let mut disk = bytes_of(&Overlay::new());
    for op in &tape[..begun] {
        if let Op::Write { node: DISK_NODE, offset, bytes } = op {
            apply(&mut disk, &(usize::try_from(*offset).unwrap(), bytes.clone()));
        }
    }
    let bits = bits();
    let (before, has_name) = others(&disk, TARGET).unwrap();
    assert!(has_name && before.len() > 20, "{}", before.len());
    let all = intervals(&tape[begun..]);
    let is_clear = |disk: &[u8]| flags(disk) == [Some(false); 2];
    assert!(is_clear(&disk) && all.len() > 5, "{} intervals", all.len());
    let mut counted: BTreeMap<(&str, Harm), usize> = BTreeMap::new();
    let (mut seen, mut flagged) = (BTreeSet::new(), 0);
    let mut harms = Vec::new();
    for (number, interval) in all.iter().enumerate() {
        // The flag: its two sectors first, and again last.
        let ours = number < 2 || number + 2 >= all.len();
        let kinds = [("whole", whole(&disk, interval)), ("torn", torn(&disk, interval))];
        for (kind, states) in kinds.into_iter().filter(|(kind, _)| !(ours && *kind == "torn")) {
            for state in states {
                if seen.insert(deblast::digest::Sha256::of(&state)) {
                    harms.push((number, ours, kind, state));
                }
            }
        }
        interval.iter().for_each(|write| apply(&mut disk, write));
    }
    assert!(disk == stage.disk_bytes(), "the tape gives the end");
    assert!(is_clear(&disk), "the flag is clear again");
    let results = Mutex::new(Vec::new());
    in_parallel(&harms, |_, (number, ours, kind, state)| {
        let harm = bits.judge(state, &before, TARGET);
        results.lock().unwrap().push((*number, *ours, *kind, harm, flags(state)));
    });
    for (number, ours, kind, harm, flags) in results.into_inner().unwrap() {
        let name = if ours { "flag" } else { kind };
        *counted.entry((name, harm)).or_default() += 1;
        if !ours {
            flagged += 1;
            assert!(
                flags.iter().any(|flag| *flag == Some(true)),
                "interval {number}, {kind}: no flag: {flags:?}"
            );
            if kind == "whole" {
                assert_eq!(flags, [Some(true); 2], "interval {number}");
                assert!(harm < Harm::Others, "interval {number}: whole writes, and {harm:?}");
            }
        }
    }
    let count = |kind: &str, harm: Harm| counted.get(&(kind, harm)).copied().unwrap_or(0);
    let writes: usize = all.iter().map(Vec::len).sum();
    println!("{writes} writes in {} intervals, {flagged} states with the flag: {counted:?}", all.len());
    for kind in ["flag", "whole", "torn"] {
        let numbers =
            [Harm::Fine, Harm::Target, Harm::Others, Harm::Unmountable].map(|harm| count(kind, harm));
        let cells = ["--remove now".to_owned(), kind.to_owned()].into_iter();
        row(&cells.chain(numbers.iter().map(usize::to_string)).collect::<Vec<_>>(), 6);
    }
}

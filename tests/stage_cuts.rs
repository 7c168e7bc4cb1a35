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
#[path = "common/stage.rs"]
mod stage;
#[path = "common/stage_states.rs"]
mod stage_states;

use std::process::Command;
use std::sync::{Arc, Mutex};

use common::{Ran, skip};
use cut_disk::{Made, Overlay, SECTOR, Snapshot, in_parallel, on_disk, practice, write};
use cut_judge::{Judge, Stand, Way, edits_of, files};
use cut_story::{chosen, cleaned, undone};
use deblast::change::HiveRole;
use deblast::policy::Policy;
use stage::{DISK_NODE, Op, Stage};
use stage_states::{State, states};

const PRACTICE: Made = NTFS;
const NTFS: Made = ("stage-cuts-ntfs.img", &["--files", "10", "--size", "12M"]);
const FAT: Made = ("stage-cuts-fat.img", &["--files", "10", "--size", "40M", "--filesystem", "fat32"]);

/// What a run of the real program did to the stage.
struct Played {
    tape: Vec<Op>,
    disk: Overlay,
    store: Snapshot,
}

fn bytes_of(disk: &Overlay) -> Vec<u8> {
    let mut bytes = vec![0; practice().bytes.len()];
    cut_disk::read(disk, 0, &mut bytes);
    bytes
}

/// What a disk holds that the practice disk does not.
fn overlay_of(bytes: &[u8]) -> Overlay {
    let mut overlay = Overlay::new();
    let sectors = bytes.as_chunks::<SECTOR>().0.iter().zip(practice().bytes.as_chunks::<SECTOR>().0);
    for (number, (now, _)) in sectors.enumerate().filter(|(_, (now, then))| now != then) {
        write(&mut overlay, (number * SECTOR) as u64, *now);
    }
    overlay
}

/// Runs the real program on a stage.
fn play(disk: &Overlay, store: &Snapshot, command: &str) -> Option<Played> {
    let plain = |bytes: &Arc<Vec<u8>>| bytes.as_ref().clone();
    let files: Vec<_> =
        store.0.iter().map(|(path, bytes)| (path.clone(), bytes.as_ref().map(plain))).collect();
    let stage = Stage::with(bytes_of(disk), &files)?;
    let home = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_deblast"));
    program.args([command, "--yes", "--json", "--signatures", common::PRACTICE, "--store"]);
    program.arg(stage.store()).arg(stage.disk()).env("HOME", home.path());
    Ran::of(&mut program).exits(0);
    let files = stage.store_files().into_iter().map(|(path, bytes)| (path, bytes.map(Arc::new)));
    Some(Played {
        tape: stage.take_tape(),
        disk: overlay_of(&stage.disk_bytes()),
        store: Snapshot(files.collect()),
    })
}

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

/// A judge of the practice disk, the cleaned one, and all between.
fn judge_of(store: &Snapshot) -> Judge {
    let files = files();
    let way = |extents, role| Way::new(files.content(&Overlay::new(), extents), edits_of(store, role));
    let (software, system) = (way(&files.software, HiveRole::Software), way(&files.system, HiveRole::System));
    Judge::new(files, vec![software], vec![system])
}

impl Tally {
    fn close(self, story: &str) {
        println!(
            "{story:<32} {:>4} ops {:>5} states: {:>5} old {:>4} between {:>4} new; {:>4} treated; {} broken",
            self.ops,
            self.states,
            self.old,
            self.between,
            self.new,
            self.treated,
            self.broken.len()
        );
        self.broken.iter().take(12).for_each(|why| println!("  {why}"));
        assert!(self.broken.is_empty(), "{story}: {} broken, see above", self.broken.len());
        assert!(self.states > 45 && self.between > 30 && self.new > 3, "{story}: too few");
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
    tell(&judge, &clean.tape, &all, most).close(&format!("{name}, clean"));

    let Some(undo) = play(&clean.disk, &clean.store, "undo") else { return };
    assert!(undo.disk.is_empty(), "the practice disk is back, byte for byte");
    let all = states(&clean.disk, &clean.store, &undo.tape);
    assert!(all.last().unwrap().disk == undo.disk, "the tape gives the end");
    tell(&judge, &undo.tape, &all, most / 2).close(&format!("{name}, undo"));
}

#[test]
fn disk_and_store_are_cut_at_the_same_moment_on_ntfs() {
    clean_then_undo(NTFS, "NTFS", 48);
}

#[test]
fn disk_and_store_are_cut_at_the_same_moment_on_fat() {
    clean_then_undo(FAT, "FAT32", 24);
}

//! Faults at every call of disk and store in turn, below the real program: what the user sees, what the disk holds, and
//! what the next run makes of it. Signals at each step; two runs at once; clocks that are far off; a journal that is
//! damaged record by record.
//!
//! The table of docs/faults.md is what these tests find: each row is checked, and `DEBLAST_CUTS=all` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/cut_disk.rs"]
mod cut_disk;
#[allow(dead_code, reason = "power_cut.rs uses all of it")]
#[path = "common/cut_judge.rs"]
mod cut_judge;
#[path = "common/cut_story.rs"]
mod cut_story;
#[path = "common/fault_scene.rs"]
mod fault_scene;
#[path = "common/fault_table.rs"]
mod fault_table;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/stage_play.rs"]
mod stage_play;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use common::{Ran, skip};
use cut_disk::{Made, Overlay, Snapshot, in_parallel};
use cut_judge::Stand;
use cut_story::{chosen, undone};
use deblast::policy::Policy;
use fault_scene::{EIO, ENODEV, ENOSPC, EROFS, Scene, Wanted, Whole, whole};
use fault_table::tell;
use rustix::process::Signal;
use stage::{Call, DISK, Fate, Fault, Kind, Stage};
use stage_play::{overlay_of, program, snapshot_of, staged};

const PRACTICE: Made = NTFS;
const NTFS: Made = ("faults.img", &["--files", "10", "--size", "12M"]);
const FAT: Made = ("faults-fat.img", &["--files", "10", "--size", "36M", "--filesystem", "fat32"]);

const CLEAN: Scene = Scene { command: "clean", made: NTFS };
const UNDO: Scene = Scene { command: "undo", made: NTFS };
const CLEAN_FAT: Scene = Scene { command: "clean", made: FAT };
const UNDO_FAT: Scene = Scene { command: "undo", made: FAT };

fn changes(call: &Call) -> bool {
    call.kind.changes()
}

fn looks(call: &Call) -> bool {
    !call.kind.changes()
}

fn changes_the_disk(call: &Call) -> bool {
    changes(call) && call.path == Path::new(DISK)
}

/// Fates of a call that changes something.
fn of_changes(call: &Call) -> Vec<Fate> {
    let is_disk = call.path == Path::new(DISK);
    let mut fates = vec![Fate::Fails(EIO), Fate::Vanishes(ENODEV)];
    if !is_disk {
        fates.extend([Fate::Fails(ENOSPC), Fate::Fails(EROFS)]);
    }
    if call.kind == Kind::Write {
        fates.push(Fate::Short(if is_disk { EIO } else { ENOSPC }));
    }
    fates
}

fn of_looks(call: &Call) -> Vec<Fate> {
    match call.path == Path::new(DISK) {
        true => vec![Fate::Fails(EIO), Fate::Vanishes(ENODEV)],
        false => vec![Fate::Fails(EIO)],
    }
}

fn of_signals(_: &Call) -> Vec<Fate> {
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL].map(Fate::Signal).to_vec()
}

#[test]
fn a_call_that_changes_fails() {
    tell("Calls that change disk or store", &[(CLEAN, 37), (CLEAN_FAT, 13)], changes, of_changes);
}

#[test]
fn a_signal_comes_at_a_call_that_changes() {
    tell("Signals", &[(CLEAN, 25), (CLEAN_FAT, 9)], changes, of_signals);
}

#[test]
fn a_call_that_looks_fails() {
    tell("Calls that look", &[(CLEAN, 31), (CLEAN_FAT, 11)], looks, of_looks);
}

#[test]
fn a_call_that_changes_fails_in_an_undo() {
    tell("Undo: calls that change disk or store", &[(UNDO, 23), (UNDO_FAT, 9)], changes, of_changes);
}

#[test]
fn a_signal_comes_at_a_call_of_an_undo_that_changes() {
    tell("Undo: signals", &[(UNDO, 17), (UNDO_FAT, 7)], changes, of_signals);
}

#[test]
fn a_call_that_looks_fails_in_an_undo() {
    tell("Undo: calls that look", &[(UNDO, 19), (UNDO_FAT, 9)], looks, of_looks);
}

/// The second of two runs on one disk is refused while the first writes; where it was faster, the first one is.
#[test]
fn of_two_runs_at_once_one_writes() {
    let Some(whole) = whole(CLEAN) else { return };
    // Held in a read of the disk right before the first write: the image is locked by then. A write would hold the
    // kernel's own lock of the file, which the second run would wait for.
    let reads = |call: &Call| call.kind == Kind::Read && call.path == Path::new(DISK);
    let calls = &whole.played.calls;
    let first_write = calls.iter().position(changes_the_disk).unwrap();
    let last_read = calls[..first_write].iter().filter(|call| reads(call)).count() - 1;
    // Or in a write of the store, before the image is locked.
    let is_readme = |call: &Call| call.kind == Kind::Write && call.path.ends_with("README.txt");
    let moments: [(&str, Wanted, usize); 2] =
        [("the first is writing", reads, last_read), ("the first is recording", is_readme, 0)];
    for (moment, wanted, nth) in moments {
        let stage = staged(&Overlay::new(), &Snapshot::default()).unwrap();
        stage.arm(Fault { wanted, nth, fate: Fate::Waits });
        let home = tempfile::tempdir().unwrap();
        let first =
            program(&stage, home.path(), "clean").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        stage.wait();
        let second = Ran::of(&mut program(&stage, home.path(), "clean"));
        stage.let_go();
        let first = first.unwrap().wait_with_output().unwrap();
        let first_said = String::from_utf8_lossy(&first.stdout).into_owned();
        let disk = overlay_of(&stage.disk_bytes());
        let found = whole.judge.judge(&disk).unwrap();
        assert_eq!(found.worm, Stand::New, "{moment}");
        match moment {
            "the first is writing" => {
                second.exits(2).says("another run holds this image");
                assert_eq!(first.status.code(), Some(0), "{first_said}");
            }
            _ => {
                second.exits(0);
                assert_eq!(first.status.code(), Some(2), "{first_said}");
                assert!(first_said.contains("the file has changed since it was inspected"), "{first_said}");
            }
        }
        assert!(!String::from_utf8_lossy(&first.stderr).contains("panicked"));
        let back = undone(&disk, &snapshot_of(&stage)).unwrap();
        assert!(back.end.is_empty(), "{moment}: the disk is not as it was made");
    }
}

/// The same for two undos.
#[test]
fn of_two_undos_at_once_one_writes() {
    let Some(clean) = whole(CLEAN) else { return };
    let Some(undo) = whole(UNDO) else { return };
    let reads = |call: &Call| call.kind == Kind::Read && call.path == Path::new(DISK);
    let calls = &undo.played.calls;
    let first_write = calls.iter().position(changes_the_disk).unwrap();
    let last_read = calls[..first_write].iter().filter(|call| reads(call)).count() - 1;
    let stage = staged(&clean.played.disk, &clean.played.store).unwrap();
    stage.arm(Fault { wanted: reads, nth: last_read, fate: Fate::Waits });
    let home = tempfile::tempdir().unwrap();
    let first = program(&stage, home.path(), "undo").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    stage.wait();
    let second = Ran::of(&mut program(&stage, home.path(), "undo"));
    stage.let_go();
    let first = first.unwrap().wait_with_output().unwrap();
    let first_said = String::from_utf8_lossy(&first.stdout).into_owned();
    second.exits(2).says("another run holds this image");
    assert_eq!(first.status.code(), Some(0), "{first_said}");
    assert!(overlay_of(&stage.disk_bytes()).is_empty(), "the disk is not as it was made");
}

/// A journal that is damaged: nothing is written from it, or all of it comes back all the same.
#[test]
fn a_damaged_journal_never_leaves_the_disk_in_between() {
    let Some(Whole { played, .. }) = whole(CLEAN) else { return };
    let at = played.store.0.iter().position(|(path, _)| path.ends_with("journal")).unwrap();
    let journal = played.store.0[at].1.clone().unwrap();
    let lines: Vec<usize> = (0..journal.len()).filter(|&at| journal[at] == b'\n').map(|at| at + 1).collect();
    let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, window) in [0].iter().chain(&lines).copied().collect::<Vec<_>>().windows(2).enumerate() {
        let (start, end) = (window[0], window[1]);
        for (what, place) in
            [("checksum", start + 3), ("text", usize::midpoint(start, end)), ("end", end - 1)]
        {
            let mut bytes = journal.to_vec();
            bytes[place] ^= 1;
            damaged.push((format!("record {number}, its {what} flipped"), bytes));
        }
        damaged.push((format!("cut before record {number}"), journal[..start].to_vec()));
        damaged.push((format!("cut in record {number}"), journal[..usize::midpoint(start, end)].to_vec()));
        let zeros = |from: usize| [&journal[..from], &vec![0; journal.len() - from]].concat();
        damaged.push((format!("zeros from record {number}"), zeros(start)));
        damaged.push((format!("without record {number}"), [&journal[..start], &journal[end..]].concat()));
        damaged.push((format!("record {number} twice"), [&journal[..end], &journal[start..]].concat()));
    }
    // The whole run, and one that was cut in the midst of a hive.
    let half: Overlay = played.disk.iter().take(played.disk.len() * 2 / 3).map(|(a, b)| (*a, *b)).collect();
    let is_chosen = chosen(damaged.len(), 29);
    let outcomes = Mutex::new([0, 0]);
    let count = damaged.len();
    in_parallel(&damaged, |index, (what, bytes)| {
        if !is_chosen(index) {
            return;
        }
        let mut store = Snapshot(played.store.0.clone());
        store.0[at].1 = Some(std::sync::Arc::new(bytes.clone()));
        for disk in [&played.disk, &half] {
            let end = match undone(disk, &store) {
                Ok(back) => back.end,
                Err(_) => {
                    let (_, after) = cut_disk::record(disk, &store, |patient, folder| {
                        let settings = cut_story::settings(folder, Policy::default());
                        let last = (&deblast::cleanup::Which::Last, deblast::cleanup::undo::Only::All);
                        deblast::cleanup::undo(patient, &settings, last, &mut |_| true, &mut |_| {}).map(drop)
                    });
                    after.end
                }
            };
            assert!(
                end == *disk || end.is_empty(),
                "{what}: the disk is neither as it was found nor as it was made"
            );
            outcomes.lock().unwrap()[usize::from(end.is_empty())] += 1;
        }
    });
    let [left, back] = outcomes.into_inner().unwrap();
    println!(
        "{count} journals damaged; of those tried {left} disks left as they were, {back} taken back whole"
    );
    assert!(left > 10);
}

/// The clock decides nothing: a clean, and what takes it back, at any time.
#[test]
fn a_clock_that_is_far_off_changes_nothing() {
    let Some(Whole { judge, .. }) = whole(CLEAN) else { return };
    if Command::new("faketime").arg("--version").output().is_err() {
        skip("faketime is not installed");
        return;
    }
    let at = |moment: &str, stage: &Stage, home: &Path, command: &str| {
        let program = program(stage, home, command);
        let mut faked = Command::new("faketime");
        faked.arg("-f").arg(moment).arg(program.get_program()).args(program.get_args()).env("HOME", home);
        Ran::of(&mut faked).exits(0)
    };
    // Back in time from run to run; forward; and backwards while it runs.
    for [first, second] in [
        ["@2099-12-31 23:59:59", "@1980-01-01 00:00:00"],
        ["@1970-01-02 00:00:00", "@2099-01-01 00:00:00"],
        ["-10y x-60", "+0"],
    ] {
        let stage = staged(&Overlay::new(), &Snapshot::default()).unwrap();
        let home = tempfile::tempdir().unwrap();
        at(first, &stage, home.path(), "clean");
        let found = judge.judge(&overlay_of(&stage.disk_bytes())).unwrap();
        assert_eq!(found.worm, Stand::New, "{first}");
        let cured = stage.disk_bytes();
        at(second, &stage, home.path(), "clean").says("clean");
        assert!(stage.disk_bytes() == cured, "{second}: a second clean changes no byte");
        at(second, &stage, home.path(), "undo");
        assert!(overlay_of(&stage.disk_bytes()).is_empty(), "{first}, then {second}: not as it was made");
        // The next clean counts on, whatever the clock says.
        at(second, &stage, home.path(), "clean");
        let runs: Vec<String> = std::fs::read_dir(stage.store())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("000"))
            .collect();
        assert!(runs.iter().any(|run| run.starts_with("0002-")), "{runs:?}");
    }
}

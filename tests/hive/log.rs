//! Transaction logs: which apply, what replaying gives, and that a replay may be cut anywhere.

use deblast::change::ValueData;
use deblast::hive::Hive;
use deblast::hive::check::survey;
use deblast::hive::edit::{Group, Room, Step, edit, edit_within};
use deblast::hive::log::{Kind, Log, replay, replay_script};
use deblast::hive::tree::actual_tree;

use crate::common::{RUN, Random, data, delete, made, set, tight, written};
use crate::corpus::real;
use crate::stopped::{put, stopped, sum};

const DIRTY: &str = "msuhanov+yarp/hives_for_tests/OldDirtyHive/OldDirtyHive";
const XP_NTUSER: &str = "log2timeline+dfwinreg/history/test_data/NTUSER.DAT.ff40afc3";
const XP_LOG: &str = "log2timeline+dfwinreg/history/test_data/NTUSER.DAT.LOG.eb3651cd";
const NEW_DIRTY: &str = "msuhanov+yarp/hives_for_tests/NewDirtyHive1/NewDirtyHive";

/// A hive before and after some edits.
fn pair(minor: u32) -> (Vec<u8>, Hive) {
    let before = made(minor);
    let mut after = before.clone();
    let edits = [delete(RUN, "windows auto update"), set("None", "x", data(3, &[7; 300]))];
    edit(&mut after, &edits, 0x01C3_7000_0000_0000).unwrap();
    (before.into_bytes(), after)
}

#[test]
fn replay_gives_what_windows_made_of_it() {
    let Some(dirty) = real(DIRTY) else { return };
    let log = Log::parse(real(&format!("{DIRTY}.LOG1")).unwrap()).unwrap();
    let golden = real("msuhanov+yarp/hives_for_tests/OldDirtyHive/RecoveredHive_Windows7").unwrap();
    assert_eq!((log.kind(), log.pages()), (Kind::Dirt, 64));
    let ours = replay(dirty.clone(), &log).unwrap();
    let hive = Hive::parse(ours.clone()).unwrap();
    let found = survey(&hive);
    assert_eq!((hive.dirty(), found.problems, found.keys, found.values), (None, vec![], 5_003, 1));

    // Windows 7 then opened it under another name, which wrote the base block, the first bin's time and a key's.
    let differing: Vec<usize> = (0..golden.len()).filter(|&at| ours[at] != golden[at]).collect();
    let (header, bins): (Vec<usize>, Vec<usize>) = differing.iter().partition(|&&at| at < 4096);
    let allowed = |at: usize| matches!(at, 4..20 | 48..112 | 508..512);
    assert!(header.iter().all(|&at| allowed(at)), "{header:x?}");
    let (time, key): (Vec<usize>, Vec<usize>) = bins.iter().partition(|&&at| at < 4096 + 32);
    assert!(time.iter().all(|at| (4096 + 20..4096 + 28).contains(at)), "{time:x?}");
    let root = hive.root().unwrap().offset().file_offset() as usize;
    let stamps = key.iter().all(|&at| key[0] / 8 == at / 8 || key[key.len() - 1] - key[0] < 8);
    assert!(stamps && key.len() <= 8, "one key's time: {key:x?}, root at {root:#x}");
    println!("replayed; {} bytes differ from what Windows 7 wrote in the end", differing.len());

    let script = replay_script(&dirty, &log).unwrap();
    assert!(written(&dirty, &script) == ours, "on disk as in memory");
    cut(&dirty, &log, &script, &ours);
    let error = log.applies_to(&ours).err().unwrap().to_string();
    assert!(error.contains("the hive is clean"), "{error}");
}

/// Any subset of the pages may be written when the replay is cut: the hive is still dirty, and the same log, replayed
/// again, ends in the same.
fn cut(dirty: &[u8], log: &Log, script: &[Group], wanted: &[u8]) {
    assert_eq!(script.iter().map(|group| group.step).collect::<Vec<_>>(), [Step::Pages, Step::Header]);
    assert_eq!(script[1].sectors.len(), 1, "the base block is one sector");
    let pages = &script[0].sectors;
    let mut random = Random(3);
    for round in 0..2 * pages.len() + 20 {
        let mut group = script[0].clone();
        let mut index = 0;
        group.sectors.retain(|_| {
            index += 1;
            match round {
                one if one < pages.len() => index <= one,
                missing if missing < 2 * pages.len() => index != missing - pages.len() + 1,
                _ => random.below(2) == 0,
            }
        });
        let left = written(dirty, [&group]);
        assert!(Hive::parse(left.clone()).map_or(true, |hive| hive.dirty().is_some()));
        let again = replay_script(&left, log).unwrap();
        assert!(written(&left, &again) == wanted, "round {round}");
        assert!(replay(left, log).unwrap() == wanted, "round {round}");
    }
    // Control: with the base block first the hive calls itself clean, and pages are missing.
    let early = written(dirty, [&script[1]]);
    assert!(log.applies_to(&early).is_err() && early != wanted);
}

#[test]
fn logs_of_both_types_are_replayed_and_cut() {
    for minor in [3, 5] {
        for kind in [1, 2] {
            let (before, after) = pair(minor);
            let (dirty, log) = stopped(&before, after.as_bytes(), kind);
            let log = Log::parse(log).unwrap();
            let ours = replay(dirty.clone(), &log).unwrap();
            assert!(ours == after.as_bytes(), "1.{minor} type {kind}");
            cut(&dirty, &log, &replay_script(&dirty, &log).unwrap(), &ours);
        }
    }
}

#[test]
fn a_damaged_base_block_comes_back_from_the_log() {
    let (before, after) = pair(5);
    let (mut dirty, log) = stopped(&before, after.as_bytes(), 1);
    let log = Log::parse(log).unwrap();
    put(&mut dirty, 40, &[0xEE; 8]);
    let error = replay(dirty.clone(), &log).err().unwrap().to_string();
    assert!(error.contains("first hive bin (its base block is damaged)"), "{error}");
    // Windows writes the first bin, with the new time, after the base block and before the rest.
    put(&mut dirty, 4096 + 20, &after.last_written().to_le_bytes());
    let recovered = Hive::parse(replay(dirty.clone(), &log).unwrap()).unwrap();
    assert_eq!(recovered.dirty(), None);
    assert_eq!(actual_tree(&recovered, &[]).unwrap(), actual_tree(&after, &[]).unwrap());
    let script = replay_script(&dirty, &log).unwrap();
    cut(&dirty, &log, &script, recovered.as_bytes());
}

#[test]
fn a_log_that_does_not_apply_is_refused_in_words() {
    let (before, after) = pair(3);
    let (dirty, good) = stopped(&before, after.as_bytes(), 1);
    let applies = |hive: &[u8], log: &[u8]| {
        let why = Log::parse(log.to_vec()).and_then(|log| log.applies_to(hive).map(|()| log));
        why.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(applies(&dirty, &good), Ok(()));
    let spoilt = |at: usize, bytes: &[u8]| {
        let mut log = good.clone();
        put(&mut log, at, bytes);
        sum(&mut log);
        applies(&dirty, &log).err().unwrap()
    };
    for (at, bytes, words) in [
        (0, &b"rege"[..], "expected signature \"regf\""),
        (8, &[0xFF; 4], "Windows had not finished writing it: its sequence numbers are"),
        (
            12,
            &[1; 8],
            "of another writing: it has the time 0x101010101010101, the hive's base block has 0x1c3",
        ),
        (24, &[5], "another hive's: its minor version is 0x5, the hive's 0x3"),
        (24, &[9], "expected version 1.3 to 1.6"),
        (28, &[0], "0, which is a hive and no log"),
        (28, &[7], "expected file type 1, 2 or 6"),
        (28, &[6], "a log of"),
        (36, &[0x88], "another hive's: its cell of the root key"),
        (40, &[1, 2, 3, 4], "size of the bins a multiple of 4096"),
        (512, b"DIRP", "the word DIRT"),
    ] {
        let error = spoilt(at, bytes);
        let words =
            if words == "a log of" { "one of Windows 8.1 or later (log entries, HvLE)" } else { words };
        assert!(error.contains(words), "{error}");
    }
    let mut log = good.clone();
    log[508] ^= 1;
    assert!(applies(&dirty, &log).err().unwrap().contains("expected checksum 0x"));
    assert!(applies(&before, &good).err().unwrap().contains("the hive is clean"));
    assert!(applies(&good, &good).is_err(), "a log for a hive");
    // Another hive that was written in the same instant: its file has another name.
    let (mut other, mut log) = (dirty.clone(), good.clone());
    put(&mut other, 48, b"a\0\0\0");
    put(&mut log, 48, b"b\0\0\0");
    sum(&mut other);
    sum(&mut log);
    let error = applies(&other, &log).err().unwrap();
    assert!(error.contains(r#"another hive's: it is of "b", the hive is "a""#), "{error}");
    for length in 0..good.len() {
        assert!(applies(&dirty, &good[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn real_logs_that_do_not_apply_are_refused() {
    let Some(log) = real(XP_LOG) else { return };
    let log = Log::parse(log).unwrap();
    let error = replay(real(XP_NTUSER).unwrap(), &log).err().unwrap().to_string();
    assert!(error.contains("the hive is clean"), "{error}");
    let error = log.applies_to(&real(DIRTY).unwrap()).err().unwrap().to_string();
    assert!(error.contains("it is cut short: 24 pages need 13312 bytes, it has 1024"), "{error}");

    let old = real(&format!("{DIRTY}.LOG1")).unwrap();
    let dirty = real(DIRTY).unwrap();
    for length in (0..old.len()).step_by(64).chain([old.len() - 1]) {
        let cut = Log::parse(old[..length].to_vec()).and_then(|log| log.applies_to(&dirty));
        assert!(cut.is_err(), "cut to {length} bytes");
    }
    let new_dirty = real(NEW_DIRTY).unwrap();
    for number in [1, 2] {
        let log = Log::parse(real(&format!("{NEW_DIRTY}.LOG{number}")).unwrap()).unwrap();
        assert_eq!(log.kind(), Kind::HvLe);
        let error = replay(new_dirty.clone(), &log).err().unwrap().to_string();
        assert!(error.contains("Windows 8.1 or later"), "{error}");
    }
    let error = Log::parse(old).unwrap().applies_to(&new_dirty).err().unwrap().to_string();
    assert!(error.contains("another writing"), "{error}");
}

#[test]
fn a_hive_that_grows_by_its_log() {
    let before = tight(5);
    let mut after = before.clone();
    let grow = [set("None", "large", data(3, &[9; 12_000])), set("None", "z", ValueData::sz("z"))];
    edit_within(&mut after, &grow, 0x01C3_7000_0000_0000, Room::Grow).unwrap();
    let grown = after.as_bytes().len();
    assert!(grown > before.as_bytes().len());
    let (dirty, log) = stopped(before.as_bytes(), after.as_bytes(), 2);
    let log = Log::parse(log).unwrap();
    assert_eq!(log.file_length(), grown as u64);
    assert!(replay(dirty.clone(), &log).unwrap() == after.as_bytes(), "in memory it grows");
    let error = replay_script(&dirty, &log).err().unwrap().to_string();
    let length = before.as_bytes().len();
    assert!(error.contains(&format!("grows to {grown} bytes by it, and its file has {length}")), "{error}");
    let mut longer = dirty;
    longer.resize(grown, 0);
    cut(&longer, &log, &replay_script(&longer, &log).unwrap(), after.as_bytes());
}

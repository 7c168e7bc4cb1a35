//! A disk whose Windows was stopped while it wrote SOFTWARE: the hive is dirty and its transaction log holds the rest. It
//! is judged as Windows would find it, completed from its log before it is cured, and is dirty again after an undo.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::hives::{by_hivexml, by_regf, differences, value};
use deblast::change::ValueData;
use deblast::hive::Hive;
use deblast::hive::edit::{Edit, edit};
use deblast::path::RegPath;

use common::{Case, Journal, OLE, RUN, RUN_VALUE, SOFTWARE, WORM, changed_sectors, utf16};

const PAGE: usize = 512;
const BINS: usize = 4096;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Sets both sequence numbers and the time of a base block, and its checksum after them.
fn stamp(base: &mut [u8], sequences: (u32, u32), time: u64) {
    base[4..8].copy_from_slice(&sequences.0.to_le_bytes());
    base[8..12].copy_from_slice(&sequences.1.to_le_bytes());
    base[12..20].copy_from_slice(&time.to_le_bytes());
    let sum = (0..508).step_by(4).fold(0, |sum, at| sum ^ word(base, at));
    base[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// What Windows leaves when it is stopped while it brings a hive from `old` to `new`: the hive with a new time, the first
/// sequence number raised and every other dirty page written; the log with all of the pages. Written from the regf
/// specification, not by the code under test.
fn stopped(old: &[u8], new: &[u8], log_type: u32) -> (Vec<u8>, Vec<u8>) {
    assert_eq!(old.len(), new.len(), "the edit fits into the hive");
    let sequence = word(old, 4) + 1;
    let time = u64::from_le_bytes(old[12..20].try_into().unwrap()) + 10_000_000;
    let mut new = new.to_vec();
    new[BINS + 20..BINS + 28].copy_from_slice(&time.to_le_bytes());
    let pages: Vec<usize> =
        (BINS..old.len()).step_by(PAGE).filter(|&at| old[at..at + PAGE] != new[at..at + PAGE]).collect();
    assert!(pages.len() > 3, "something was being written");
    let mut dirty = old.to_vec();
    for page in pages.iter().skip(1).step_by(2) {
        dirty[*page..page + PAGE].copy_from_slice(&new[*page..page + PAGE]);
    }
    stamp(&mut dirty[..PAGE], (sequence, sequence - 1), time);
    let mut log = old[..PAGE].to_vec();
    log[28..32].copy_from_slice(&log_type.to_le_bytes());
    stamp(&mut log, (sequence, sequence), time);
    log.extend_from_slice(b"DIRT");
    let mut bitmap = vec![0_u8; (old.len() - BINS) / PAGE / 8];
    for page in &pages {
        let bit = (page - BINS) / PAGE;
        bitmap[bit / 8] |= 1 << (bit % 8);
    }
    log.extend_from_slice(&bitmap);
    log.resize(log.len().next_multiple_of(PAGE), 0);
    for page in pages {
        log.extend_from_slice(&new[page..page + PAGE]);
    }
    (dirty, log)
}

/// What Windows was writing: two values more, inside the length that the hive has.
fn with_values(old: &[u8]) -> Vec<u8> {
    let set = |key: &str, value: &str, text: &str| Edit::Set {
        key: RegPath::new(key),
        value: value.to_owned(),
        to: ValueData::sz(text),
    };
    let edits = [set(OLE, "InTheLog", "this was safe in the log"), set(RUN, "AlsoInTheLog", "harmless.exe")];
    let mut hive = Hive::parse(old.to_vec()).unwrap();
    edit(&mut hive, &edits, u64::from_le_bytes(old[12..20].try_into().unwrap()) + 10_000_000).unwrap();
    hive.into_bytes()
}

/// A practice disk whose SOFTWARE was being written: the hive as it is, and as Windows wanted it.
struct Dirty {
    case: Case,
    dirty: Vec<u8>,
    new: Vec<u8>,
    log: Vec<u8>,
}

/// Makes one.
fn dirty_case(log_type: u32) -> Option<Dirty> {
    let mut case = Case::practice()?;
    let old = case.file(SOFTWARE);
    let new = with_values(&old);
    let (dirty, log) = stopped(&old, &new, log_type);
    let log_path = format!("{SOFTWARE}.LOG");
    case.mounted(true, |root| {
        fs::write(root.join(SOFTWARE), &dirty).unwrap();
        fs::write(root.join(&log_path), &log).unwrap();
    });
    case.settle();
    assert_eq!(case.file(SOFTWARE), dirty);
    Some(Dirty { case, dirty, new, log })
}

#[test]
fn a_dirty_hive_is_replayed_then_cured_and_nothing_of_its_log_is_lost() {
    for log_type in [1, 2] {
        let Some(Dirty { case, dirty, new, log }) = dirty_case(log_type) else { return };
        let files = case.digests();
        let ran = case.scan().exits(1);
        case.must_be_as_at_first(&ran);
        ran.require(ran.at("/verdict") == "infected", "judged as it is after its log");
        let notes = ran.at("/targets/0/installs/0/notes").to_string();
        ran.require(notes.contains("dirty") && notes.contains("transaction log"), "said so");

        let ran = case.clean(&[]).exits(0);
        ran.require(ran.at("/verdict") == "cleaned", "cured");
        ran.require(ran.remarks().contains("is replayed before it is edited"), "said so in the plan");
        let after = case.file(SOFTWARE);
        assert_eq!(word(&after, 4), word(&after, 8), "clean");
        let wanted = BTreeSet::from([format!("{RUN} [{RUN_VALUE}]"), format!("{OLE} [EnableDCOM]")]);
        for found in [
            differences(&by_hivexml(&new), &by_hivexml(&after)),
            differences(&by_regf(&new), &by_regf(&after)),
        ] {
            ran.require(found == wanted, &format!("what was in the log, and our changes: {found:?}"));
        }
        assert_eq!(value(&after, OLE, "InTheLog").unwrap().1, utf16("this was safe in the log\0"));
        assert!(value(&after, RUN, "AlsoInTheLog").is_some());
        assert_eq!(value(&after, OLE, "EnableDCOM"), Some((1, utf16("N\0"))));
        assert_eq!(case.file(&format!("{SOFTWARE}.LOG")), log, "the log is left alone");
        assert!(case.file(WORM).iter().all(|&byte| byte == 0));
        let now = case.digests();
        let changed: Vec<&String> =
            files.iter().filter(|(path, digest)| now[*path] != **digest).map(|(path, _)| path).collect();
        ran.require(changed.len() == 3, &format!("the worm and two hives, found {changed:?}"));
        let journal = Journal::read(&case.runs()[0]);
        ran.require(
            changed_sectors(&case.original, &case.bytes()).is_subset(&journal.sectors()),
            "every changed sector in the journal, the replayed ones too",
        );
        let cleaned = case.bytes();
        let again = case.clean(&[]).exits(0);
        case.must_hold(&cleaned, &again, "no byte to change");

        let undone = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&undone);
        assert_eq!(case.file(SOFTWARE), dirty, "dirty again, with the log that completes it");
    }
}

/// Cut after every number of writes: the next run takes the torn replay back, replays again, and cures.
#[test]
fn a_cut_replay_is_replayed_again() {
    let Some(Dirty { case, .. }) = dirty_case(1) else { return };
    case.clean(&[]).exits(0);
    let cleaned = case.file(SOFTWARE);
    let journal = Journal::read(&case.runs()[0]);
    let intents = journal.sectors().len();
    for count in (0..intents).step_by(3) {
        let mut image = case.original.clone();
        journal.replay(&mut image, count);
        fs::write(case.path("disk.img"), &image).unwrap();
        let ran = case.clean(&[]).exits(0);
        let tree = by_hivexml(&case.file(SOFTWARE));
        ran.require(
            differences(&by_hivexml(&cleaned), &tree).is_empty(),
            &format!("cured after {count} writes"),
        );
        let undone = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&undone);
    }
}

/// By values too: another change was made since, so the hive is not taken back by sectors.
#[test]
fn what_was_replayed_stays_when_the_values_are_taken_back() {
    let Some(Dirty { case, new, .. }) = dirty_case(1) else { return };
    case.clean(&[]).exits(0);
    case.edit_hive(SOFTWARE, &format!("[\\{OLE}]\n\"Since\"=\"x\""));
    let ran = case.undo(&[]).exits(0);
    let found = differences(&by_hivexml(&new), &by_hivexml(&case.file(SOFTWARE)));
    let wanted = BTreeSet::from([format!("{OLE} [Since]")]);
    ran.require(found == wanted, &format!("the other change, the log's, and ours taken back: {found:?}"));
}

#[test]
fn a_log_that_does_not_apply_leaves_everything_alone() {
    let Some(Dirty { mut case, log, .. }) = dirty_case(1) else { return };
    let mut other = log.clone();
    stamp(&mut other[..PAGE], (77, 77), 1);
    for wrong in [Vec::new(), log[..log.len() - 1].to_vec(), other] {
        case.mounted(true, |root| fs::write(root.join(format!("{SOFTWARE}.LOG")), &wrong).unwrap());
        case.settle();
        let ran = case.clean(&[]).exits(2);
        case.must_be_as_at_first(&ran);
        ran.require(ran.at("/verdict") == "undetermined", "nothing can be said");
        let problems = ran.at("/targets/0/installs/0/problems").to_string();
        ran.require(
            problems.contains("dirty") && problems.contains("shut it down properly"),
            "why, and what to do",
        );
    }
}

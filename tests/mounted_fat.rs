//! `--remove now` and `--store disk` on FAT32 and FAT16, where nothing is mounted: judged by fsck.fat and The Sleuth Kit, also after every
//! sector write that it was cut behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::volume::extract;
use common::{Case, Ran, SECTOR, START, changed_sectors, digest, judge, unhex};
use serde_json::Value;

const NOW: [&str; 2] = ["--remove", "now"];

fn practice(filesystem: &'static str) -> Option<Case> {
    Case::with(&["--files", "60", "--size", "40M", "--filesystem", filesystem])
}

/// What fsck.fat says of the volume on a disk, without changing it.
#[track_caller]
fn fsck(disk: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume.img");
    extract(disk, &volume);
    let output = Command::new("fsck.fat").arg("-n").arg(&volume).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = |line: &&str| !line.contains(" files, ") && !line.starts_with("fsck.fat ");
    text.lines().filter(counts).collect::<Vec<_>>().join("\n").replace(volume.to_str().unwrap(), "")
}

/// Every file with its digest, by The Sleuth Kit; what is deleted is left out.
#[track_caller]
fn files(disk: &Path) -> BTreeMap<String, String> {
    let text = judge(Command::new("fls").args(["-r", "-u", "-p", "-F", "-o", "63"]).arg(disk));
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .filter(|line| line.starts_with("r/r "))
        .map(|line| {
            let (inode, path) = line[4..].split_once(":\t").unwrap();
            let bytes = judge(Command::new("icat").args(["-o", "63"]).arg(disk).arg(inode));
            (path.to_owned(), digest(&bytes))
        })
        .collect()
}

/// The sectors that the journal has for the names, in their order.
fn name_writes(case: &Case) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    let text = fs::read_to_string(case.runs()[0].join("journal")).unwrap();
    let header = text.lines().next().unwrap().split_once(' ').unwrap().1;
    let header: Value = serde_json::from_str(header).unwrap();
    let write = |write: &Value| {
        let bytes = |name: &str| unhex(write[name].as_str().unwrap());
        (START + write["place"].as_u64().unwrap() as usize, bytes("before"), bytes("after"))
    };
    header["name_writes"].as_array().unwrap().iter().map(write).collect()
}

/// Without the worm and what the run edits.
fn others(mut files: BTreeMap<String, String>) -> BTreeMap<String, String> {
    files.retain(|path, _| {
        let path = path.to_lowercase();
        !path.contains("msblast") && !path.contains("system32/config/")
    });
    files
}

#[test]
fn the_name_goes_sector_by_sector_and_nothing_else_is_touched() {
    for filesystem in ["fat32", "fat16"] {
        let Some(case) = practice(filesystem) else { return };
        let before = files(&case.disk);
        assert!(
            before.keys().any(|path| path.to_lowercase().ends_with("system32/msblast.exe")),
            "{before:?}"
        );
        let at_first = fsck(&case.disk);
        let ran = case.clean(&NOW).exits(0);
        let worm = ran.finding("worm_file");
        let name = worm["evidence"]["name"].as_str().unwrap();
        assert!(name.starts_with("removed: sector by sector"), "{name}");
        let after = files(&case.disk);
        assert!(!after.keys().any(|path| path.to_lowercase().ends_with("msblast.exe")), "{after:?}");
        assert_eq!(others(after), others(before), "{filesystem}");
        assert_eq!(fsck(&case.disk), at_first, "{filesystem}");
        // What changed is what the journal names.
        let journal = common::Journal::read(&case.runs()[0]);
        let writes = name_writes(&case);
        let mut expected = case.original.clone();
        journal.replay(&mut expected, usize::MAX);
        for (place, before, after) in &writes {
            assert!(expected[*place..place + SECTOR] == before[..], "{filesystem}: {place:#x} before");
            expected[*place..place + SECTOR].copy_from_slice(after);
        }
        assert!(changed_sectors(&expected, &case.bytes()).is_empty(), "{filesystem}");
        case.scan().exits(0);
        // Its bytes stay in the store.
        let undone = case.undo(&[]).exits(1);
        undone.says("the run has removed its name");
    }
}

#[test]
fn a_removal_that_is_cut_anywhere_hurts_no_other_file() {
    for filesystem in ["fat32", "fat16"] {
        let Some(case) = practice(filesystem) else { return };
        case.clean(&NOW).exits(0);
        let (end, writes) = (case.bytes(), name_writes(&case));
        let mut disk = end.clone();
        for (place, _, before) in writes.iter().rev().map(|(place, before, after)| (place, after, before)) {
            disk[*place..place + SECTOR].copy_from_slice(before);
        }
        fs::write(&case.disk, &disk).unwrap();
        let before = others(files(&case.disk));
        for (count, (place, _, after)) in writes.iter().enumerate() {
            disk[*place..place + SECTOR].copy_from_slice(after);
            fs::write(&case.disk, &disk).unwrap();
            assert_eq!(others(files(&case.disk)), before, "{filesystem}, cut after {}", count + 1);
            let told = fsck(&case.disk);
            let what = format!("{filesystem}, cut after {}: {told}", count + 1);
            // What Windows repairs, and only where the flag has it look; nothing of another file's.
            assert!(!["share", "Truncating", "Bad", "Orphan"].iter().any(|bad| told.contains(bad)), "{what}");
            if count + 1 < writes.len() {
                assert!(told.contains("Dirty bit"), "{what}");
            }
            let last_flag = writes.len() - 3;
            if [3, last_flag - 1, writes.len() - 1].contains(&count) {
                let next = case.clean(&NOW).exits(0);
                assert_eq!(others(files(&case.disk)), before, "{what}");
                drop(next);
                fs::write(&case.disk, &disk).unwrap();
            }
        }
        assert!(disk == end);
    }
}

const COMMON: &str = "Documents and Settings/All Users/Application Data";

fn on_disk(case: &Case, words: &[&str]) -> Ran {
    let all: Vec<&str> = words.iter().chain(&["--json", "--store", "disk"]).copied().collect();
    Ran::of(&mut case.on_disk(&all))
}

/// Without what lies in the store's folder.
fn outside(mut files: BTreeMap<String, String>) -> BTreeMap<String, String> {
    files.retain(|path, _| !path.starts_with(&format!("{COMMON}/Deblast/")));
    files
}

/// A file of the disk, by The Sleuth Kit.
#[track_caller]
fn content(case: &Case, path: &str) -> Vec<u8> {
    let text = judge(Command::new("fls").args(["-r", "-u", "-p", "-F", "-o", "63"]).arg(&case.disk));
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.ends_with(&format!(":\t{path}")));
    let inode = line.unwrap_or_else(|| panic!("no {path} in {text}"))[4..].split_once(':').unwrap().0;
    judge(Command::new("icat").args(["-o", "63"]).arg(&case.disk).arg(inode))
}

#[test]
fn a_store_on_the_disk_takes_the_whole_cycle() {
    for filesystem in ["fat32", "fat16"] {
        let Some(case) = practice(filesystem) else { return };
        let (before, at_first) = (files(&case.disk), fsck(&case.disk));
        let (worm, _) =
            before.iter().find(|(path, _)| path.to_lowercase().ends_with("system32/msblast.exe")).unwrap();
        let worm = content(&case, worm);
        let ran = on_disk(&case, &["clean", "--yes"]).exits(0);
        assert_eq!(ran.at("/verdict"), "cleaned");
        ran.says("FAT volume, which has no permissions").says("sector by sector before anything else");
        assert_eq!(fsck(&case.disk), at_first, "{filesystem}");
        let id = ran.at("/run_id").as_str().unwrap().to_owned();
        let store = format!("{COMMON}/Deblast/{id}");
        let journal = String::from_utf8(content(&case, &format!("{store}/journal"))).unwrap();
        ran.require(journal.contains(r#"{"record":"closed","words":"verified"}"#), "a closed journal");
        let report: Value = serde_json::from_slice(&content(&case, &format!("{store}/report.json"))).unwrap();
        ran.require(report == ran.json(), "the report to be the one that was told");
        let kept = content(&case, &format!("{store}/quarantine/0001.bin"));
        assert!(kept.iter().map(|byte| byte ^ 0xa5).eq(worm), "{filesystem}: the quarantine");
        let after = files(&case.disk);
        assert_ne!(outside(after.clone()), after, "the store is there");
        assert_eq!(outside(others(after)), others(before.clone()), "{filesystem}");

        assert_eq!(case.scan().at("/verdict"), "clean");
        let now = case.bytes();
        let again = on_disk(&case, &["clean", "--yes"]).exits(0);
        case.must_hold(&now, &again, "a second clean to change nothing");
        on_disk(&case, &["undo", "--yes"]).exits(0);
        assert_eq!(outside(files(&case.disk)), before, "{filesystem}: every file as before");
        assert_eq!(fsck(&case.disk), at_first, "{filesystem}");
        // The folder is there by now, and takes a second run beside the first.
        let ran = on_disk(&case, &["clean", "--yes", "--remove", "now"]).exits(0);
        ran.require(ran.at("/run_id").as_str().unwrap().starts_with("0002-"), "the second run of that store");
        ran.says("does not go with --store disk");
        assert_eq!(fsck(&case.disk), at_first, "{filesystem}");
        on_disk(&case, &["undo", "--yes"]).exits(0);
        assert_eq!(outside(files(&case.disk)), before, "{filesystem}: every file as before");
    }
}

/// What a program wrote into the disk, in its order, as strace saw it: place and bytes.
fn writes_of(log: &str) -> Vec<(usize, Vec<u8>)> {
    let write = |line: &str| {
        let (_, call) = line.split_once("pwrite64(")?;
        let mut parts = call.split('"');
        let bytes = parts.nth(1)?.replace("\\x", "");
        let numbers = parts.next()?.split(')').next()?;
        let place = numbers.rsplit(", ").next()?.parse().ok()?;
        Some((place, unhex(&bytes)))
    };
    log.lines().filter_map(write).collect()
}

#[test]
fn a_store_that_is_cut_in_the_making_hurts_no_other_file_on_fat32() {
    a_store_that_is_cut("fat32");
}

#[test]
fn a_store_that_is_cut_in_the_making_hurts_no_other_file_on_fat16() {
    a_store_that_is_cut("fat16");
}

#[track_caller]
fn a_store_that_is_cut(filesystem: &'static str) {
    {
        let Some(case) = practice(filesystem) else { return };
        let before = files(&case.disk);
        let log = case.path("strace.log");
        let all = ["clean", "--yes", "--json", "--store", "disk"];
        let plain = case.on_disk(&all);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-xx", "-s", "2000000", "-e", "trace=pwrite64", "-o"]).arg(&log);
        traced.arg(plain.get_program()).args(plain.get_args());
        Ran::of(&mut traced).exits(0);
        let writes = writes_of(&fs::read_to_string(&log).unwrap());
        let mut replayed = case.original.clone();
        for (place, bytes) in &writes {
            replayed[*place..place + bytes.len()].copy_from_slice(bytes);
        }
        assert!(replayed == case.bytes(), "{filesystem}: strace saw every write");
        // The boot sector, which has the flag, is written twice: the second time ends the folder's making.
        let mut boots = writes.iter().enumerate().filter(|(_, (place, _))| *place == START);
        let (set, end) = (boots.next().unwrap().0, boots.next().unwrap().0);
        assert!(end > set + 10, "{set} {end}");
        let mut disk = case.original.clone();
        let step = (end / 4).max(1);
        for (count, (place, bytes)) in writes.iter().enumerate().take(end + 1) {
            disk[*place..place + bytes.len()].copy_from_slice(bytes);
            if count > set && count + 12 < end && count % step != 0 {
                continue;
            }
            fs::write(&case.disk, &disk).unwrap();
            let what = format!("{filesystem}, cut after {} of {}", count + 1, end + 1);
            assert_eq!(outside(files(&case.disk)), before, "{what}");
            let told = fsck(&case.disk);
            assert!(!["share", "Truncating", "Bad"].iter().any(|bad| told.contains(bad)), "{what}: {told}");
            assert_eq!(told.contains("Dirty bit"), count < end, "{what}: {told}");
        }
    }
}

#[test]
fn a_store_on_a_volume_that_windows_must_check_is_refused() {
    for (filesystem, at, bit) in [("fat32", 65, 1), ("fat16", 37, 1)] {
        let Some(mut case) = practice(filesystem) else { return };
        let mut bytes = case.bytes();
        bytes[START + at] |= bit;
        fs::write(&case.disk, &bytes).unwrap();
        case.settle();
        let ran = on_disk(&case, &["clean", "--yes"]).exits(2);
        ran.says("dirty flag").says("another disk or stick");
        case.must_be_as_at_first(&ran);
    }
}

//! `--remove now` on FAT32 and FAT16, where nothing is mounted: judged by fsck.fat and The Sleuth Kit, also after every
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
use common::{Case, SECTOR, START, changed_sectors, digest, judge, unhex};
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

//! Copies in System Restore of Windows XP: told and counted, made inert where that is asked for, and given back. Also
//! the disk with everything on it, cured in one run.

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
use std::path::Path;

use common::hives::value;
use common::{Case, PENDING, RUN, RUN_VALUE, Ran, SESSION, SYSTEM};

const POINT: &str = "System Volume Information/_restore{3F1A7C52-9E0B-4D6A-8C11-5B2E7D904A63}/RP1";
const SNAPSHOT: &str = "snapshot/_REGISTRY_MACHINE_SOFTWARE";
const ALL: [&str; 5] = ["--companions", "--restore-points", "quarantine", "--suspects", "quarantine"];

fn case() -> Option<Case> {
    Case::with(&["--windows", "xp", "--infect", "all", "--files", "60", "--size", "16M"])
}

fn path(below: &str) -> String {
    format!("{POINT}/{below}")
}

#[track_caller]
fn found(ran: &Ran, below: &str) -> serde_json::Value {
    let end = format!("\\{}", below.replace('/', "\\"));
    let all = ran.findings("restore_point");
    let found = all.into_iter().find(|finding| finding["where"].as_str().unwrap().ends_with(&end));
    found.unwrap_or_else(|| ran.fail(&format!("nothing found of {below}")))
}

/// The disk without all but what is in the restore point.
fn only_the_point() -> Option<Case> {
    let mut case = case()?;
    case.clean(&["--companions", "--suspects", "quarantine"]).exits(1);
    fs::remove_dir_all(case.store()).unwrap();
    case.settle();
    Some(case)
}

#[test]
fn copies_are_told_and_counted_and_no_infection() {
    let Some(case) = only_the_point() else { return };
    let ran = case.scan().exits(1);
    ran.require(ran.at("/verdict") == "clean", "no infection");
    ran.require(ran.at("/targets/0/installs/0/suspects") == 2, "both counted");
    for below in ["A0000001.exe", SNAPSHOT] {
        let finding = found(&ran, below);
        ran.require(finding["grade"] != "information", "graded");
        ran.require(finding["why"].as_str().unwrap().contains("--restore-points"), "what would cure it");
    }
    ran.require(found(&ran, "A0000001.exe")["grade"] == "confirmed", "confirmed by its digest");
    ran.require(found(&ran, SNAPSHOT)["evidence"]["value"] == RUN_VALUE, "the value that it holds");
    let held = value(&case.ntfscat(&path(SNAPSHOT)), RUN, RUN_VALUE);
    ran.require(held.is_some(), "another reader to see that value");
    let here = |finding: &serde_json::Value| finding["where"].as_str().unwrap().contains("_restore");
    ran.require(!ran.findings("worm_file").iter().any(here), "nobody else's concern");
    let ran = case.clean(&[]).exits(1);
    ran.require(found(&ran, SNAPSHOT)["outcome"] == "left", "left by default");
    let steps = ran.at("/next_steps").to_string();
    ran.require(
        steps.contains("`deblast clean --restore-points quarantine "),
        "the step that is left to take",
    );
    let text = Ran::of(&mut case.on_disk(&["scan"])).exits(1);
    text.says("copies in restore points that are left: 2");
    case.must_be_as_at_first(&ran);
}

#[test]
fn quarantined_on_request_and_given_back() {
    let Some(case) = only_the_point() else { return };
    let before = case.digests();
    let ran = case.clean(&["--restore-points", "quarantine"]).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned");
    for below in ["A0000001.exe", SNAPSHOT] {
        let finding = found(&ran, below);
        ran.require(finding["outcome"] == "verified", "verified");
        let name = finding["evidence"]["name"].as_str().unwrap();
        ran.require(name.starts_with("stays: change.log"), "what becomes of its name");
        let bytes = case.ntfscat(&path(below));
        assert!(!bytes.is_empty() && bytes.iter().all(|&byte| byte == 0), "{below} is not inert");
    }
    let after = case.digests();
    let changed: BTreeSet<&String> = before.keys().filter(|path| before[*path] != after[*path]).collect();
    assert_eq!(changed, [&path("A0000001.exe"), &path(SNAPSHOT)].into(), "nothing else changed");

    let cured = case.bytes();
    let again = case.clean(&["--restore-points", "quarantine"]).exits(0);
    again.require(again.at("/verdict") == "clean", "clean now");
    let snapshot = found(&again, SNAPSHOT);
    again.require(snapshot["grade"] == "information", "a zeroed snapshot is inert, not unreadable");
    again.require(snapshot["what"].as_str().unwrap().contains("inert"), "said so");
    case.must_hold(&cured, &again, "a second run to change nothing");
    case.must_be_as_at_first(&case.undo(&[]).exits(0));
}

#[test]
fn a_snapshot_that_cannot_be_read_stops_nothing_and_one_without_the_value_is_nothing() {
    let Some(mut case) = case() else { return };
    let rewrite = |case: &Case, work: &dyn Fn(&Path)| case.mounted(true, |root| work(&root.join(POINT)));
    rewrite(&case, &|point| {
        fs::write(point.join(SNAPSHOT), vec![0x55; 70_000]).unwrap();
        // a snapshot of a user's hive, and names that are not those of a snapshot's place
        fs::copy(
            point.join("../../../Documents and Settings/Zoë/NTUSER.DAT"),
            point.join("snapshot/_REGISTRY_USER_NTUSER_S-1-5-21-1003"),
        )
        .unwrap();
        fs::write(point.join("_REGISTRY_MACHINE_SOFTWARE"), b"elsewhere").unwrap();
    });
    case.settle();
    let ran = case.scan().exits(1);
    let broken = found(&ran, SNAPSHOT);
    ran.require(broken["grade"] == "information", "unreadable: information");
    ran.require(broken["why"].as_str().unwrap().contains("not established"), "what that means");
    let user = found(&ran, "_REGISTRY_USER_NTUSER_S-1-5-21-1003");
    ran.require(user["evidence"]["value"] == RUN_VALUE, "the user's value, that of B");
    ran.require(ran.findings("restore_point").len() == 3, "the copy and two snapshots");
    let ran = case.clean(&ALL).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned, whatever could not be read");
    assert_eq!(case.ntfscat(&path(SNAPSHOT)), vec![0x55; 70_000]);
    case.must_be_as_at_first(&case.undo(&[]).exits(0));
}

#[test]
fn a_snapshot_too_large_for_memory_is_left_in_words() {
    let Some(case) = Case::with(&["--windows", "xp", "--infect", "all", "--files", "60", "--size", "64M"])
    else {
        return;
    };
    case.mounted(true, |root| {
        let file = root.join(POINT).join(SNAPSHOT);
        // bytes behind the bins are no part of the hive
        let mut bytes = fs::read(&file).unwrap();
        bytes.resize((16 << 20) + 512, 0x11);
        fs::write(&file, bytes).unwrap();
    });
    let ran = case.clean(&ALL).exits(1);
    let finding = found(&ran, SNAPSHOT);
    ran.require(finding["outcome"] == "left", "left");
    let why = finding["why"].as_str().unwrap();
    ran.require(why.contains("16777728") && why.contains("16777216"), "its size and the limit");
    ran.require(found(&ran, "A0000001.exe")["outcome"] == "verified", "the rest is cured");
}

#[test]
fn everything_at_once_is_cured_in_one_run() {
    for windows in ["xp", "2000", "nt4", "2003"] {
        let Some(case) =
            Case::with(&["--windows", windows, "--infect", "all", "--files", "60", "--size", "16M"])
        else {
            return;
        };
        let ran = case.clean(&ALL).exits(0);
        ran.require(ran.at("/verdict") == "cleaned", "cleaned");
        let findings = ran.at("/targets/0/installs/0/findings");
        for finding in findings.as_array().unwrap().iter().filter(|finding| finding["grade"] != "information")
        {
            let is_filter = finding["check"] == "packet_filter" || finding["check"] == "patch";
            ran.require(is_filter || finding["outcome"] == "verified", &format!("{finding} cured"));
        }
        let after = case.scan().exits(0);
        after.require(after.at("/verdict") == "clean", "clean afterwards");
        after.require(after.at("/targets/0/installs/0/suspects") == 0, "no suspects");
        if windows == "xp" {
            let pending = value(&case.ntfscat(SYSTEM), SESSION, PENDING).unwrap().1;
            let text = String::from_utf16_lossy(
                &pending.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect::<Vec<_>>(),
            );
            assert!(text.contains(r"\system32\wins\svchost.exe") && !text.contains("_restore"), "{text}");
        }
        case.must_be_as_at_first(&case.undo(&[]).exits(0));
    }
}

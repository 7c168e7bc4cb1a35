//! Traces of the worm: each kind is found and told, none of them is counted or changed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;

use serde_json::Value;

use common::{Case, Ran};

const BIN: &str = "RECYCLER/S-1-5-21-1801674531-1645522239-725345543-1003";
const CURE: [&str; 5] = ["--companions", "--restore-points", "quarantine", "--suspects", "quarantine"];

/// The only trace whose words hold this.
#[track_caller]
fn trace(ran: &Ran, words: &str) -> Value {
    let mut found: Vec<Value> = ran.findings("traces");
    found.retain(|finding| finding["what"].as_str().unwrap().contains(words));
    ran.require(found.len() == 1, &format!("one trace with {words:?}"));
    let found = found.remove(0);
    ran.require(found["grade"] == "information" && found["action"].is_null(), "information, nothing planned");
    found
}

/// INFO2 of Windows 2000 and later, by its published description.
fn info2(paths: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [5_u32, 0, 0, 800, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
    for path in paths {
        let start = bytes.len();
        bytes.extend(path.as_bytes());
        bytes.resize(start + 280, 0);
        bytes.extend(common::utf16(path));
        bytes.resize(start + 800, 0);
    }
    bytes
}

#[test]
fn each_kind_is_told_and_a_disk_with_traces_alone_is_clean() {
    let Some(mut case) =
        Case::with(&["--windows", "xp", "--infect", "all", "--files", "60", "--size", "16M"])
    else {
        return;
    };
    case.mounted(true, |root| {
        let paths = [
            r"C:\My Documents\msblast.exe",
            r"C:\web\index.exe",
            r"C:\WINDOWS\system32\mspatch.exe",
            r"C:\a.txt",
        ];
        fs::write(root.join(BIN).join("INFO2"), info2(&paths)).unwrap();
        fs::write(root.join("WINDOWS/system32/TFTP4711"), b"no program").unwrap();
        fs::write(root.join("WINDOWS/system32/TFTP9"), vec![b'M'; 65_537]).unwrap();
        fs::write(root.join("TFTP5"), b"MZ elsewhere").unwrap();
        let prefetch = root.join("WINDOWS/Prefetch");
        for name in ["MSBLAST.EXE-00000001.pf", "INDEX.EXE-00000001.pf", "SVCHOST.EXE-00000001.pf"] {
            fs::write(prefetch.join(name), b"x").unwrap();
        }
        fs::write(root.join("WINDOWS/system32/MSBLAST.EXE-00000002.pf"), b"x").unwrap();
    });
    // What is no trace goes first.
    case.clean(&CURE).exits(0);
    fs::remove_dir_all(case.store()).unwrap();
    case.settle();

    let ran = case.scan().exits(0);
    ran.require(ran.at("/verdict") == "clean", "clean");
    ran.require(ran.at("/targets/0/installs/0/suspects") == 0, "nothing counted");
    let prefetch: Vec<Value> = ran.findings("traces");
    let prefetch = |path: &str| {
        let mut found = prefetch.clone();
        found.retain(|finding| {
            finding["where"].as_str().unwrap().to_lowercase().contains(&path.to_lowercase())
        });
        found
    };
    let of_worm = prefetch(r"Prefetch\MSBLAST.EXE");
    ran.require(of_worm.len() == 2, "both prefetch files of the worm");
    let there: Vec<&Value> = of_worm
        .iter()
        .filter(|f| f["evidence"]["data"] == r"\DEVICE\HARDDISKVOLUME1\WINDOWS\SYSTEM32\MSBLAST.EXE")
        .collect();
    ran.require(there.len() == 1, "the path that the known hash stands for");
    ran.require(there[0]["where"].as_str().unwrap().contains("09FF84F2"), "the published hash");
    let elsewhere = of_worm.iter().find(|f| f["evidence"]["data"].is_null()).unwrap();
    ran.require(elsewhere["why"].as_str().unwrap().contains("another folder"), "a hash of another folder");
    ran.require(prefetch("MSBLAST.EXE-00000002").is_empty(), "only Windows' own folder has prefetch files");
    ran.require(prefetch("INDEX.EXE").is_empty(), "a common name elsewhere is nothing");
    ran.require(prefetch("SVCHOST.EXE").is_empty(), "Windows' own is nothing");

    let tftp = trace(&ran, "TFTP transfer");
    let data = tftp["evidence"]["data"].as_str().unwrap();
    ran.require(data.contains("TFTP123 of 3072 bytes begins as a program"), "the cut transfer");
    ran.require(data.contains("TFTP4711 of 10 bytes is no program"), "the other");
    ran.require(!data.contains("TFTP9") && !data.contains("TFTP5"), "not the large one, nor one elsewhere");

    let bin = trace(&ran, "Recycle Bin");
    let data = bin["evidence"]["data"].as_str().unwrap();
    ran.require(data == r"C:\My Documents\msblast.exe; C:\WINDOWS\system32\mspatch.exe", "the deleted files");
    let event = trace(&ran, "event 7031");
    ran.require(event["what"].as_str().unwrap().contains("1 times"), "how often");
    ran.require(event["evidence"]["data"].as_str().unwrap().starts_with("2003-"), "when");
    let action = trace(&ran, "restarts itself");
    ran.require(action["evidence"]["data"] == "restart Windows after 60000 ms", "the delay");

    let text = Ran::of(&mut case.on_disk(&["scan"])).exits(0);
    text.says("event 7031").says("TFTP123").says("Recycle Bin").says("09FF84F2");
    let reports = case.path("reports");
    fs::create_dir_all(&reports).unwrap();
    Ran::of(&mut case.on_disk(&["scan", "--report-dir", reports.to_str().unwrap()])).exits(0);
    let files: Vec<_> = fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().path()).collect();
    let html = files.iter().find(|path| path.extension().is_some_and(|e| e == "html")).unwrap();
    let html = fs::read_to_string(html).unwrap();
    assert!(html.contains("event 7031") && html.contains("TFTP123"), "the page shows them");
    case.must_be_as_at_first(&text);
    let again = case.clean(&CURE).exits(0);
    case.must_be_as_at_first(&again);
}

#[test]
fn a_healthy_disk_has_none_but_the_failure_action() {
    let Some(case) =
        Case::with(&["--windows", "xp", "--infect", "none", "--patched", "--files", "60", "--size", "16M"])
    else {
        return;
    };
    let ran = case.scan().exits(0);
    ran.require(ran.findings("traces").len() == 1, "one");
    trace(&ran, "restarts itself");
}

#[test]
fn what_cannot_be_read_is_told_and_stops_nothing() {
    let Some(case) =
        Case::with(&["--windows", "2000", "--infect", "none", "--patched", "--files", "60", "--size", "64M"])
    else {
        return;
    };
    case.mounted(true, |root| {
        let log = fs::File::create(root.join("WINNT/system32/config/SysEvent.Evt")).unwrap();
        log.set_len((16 << 20) + 1).unwrap();
        fs::write(root.join(BIN).join("INFO2"), vec![0xFF; 5000]).unwrap();
    });
    let ran = case.scan().exits(0);
    let found = trace(&ran, "could not be read");
    ran.require(found["why"].as_str().unwrap().contains("16777217"), "its size");
}

//! The patch, from file to verdict: a Windows that has it is clean with DCOM on, and not a byte of it is changed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::process::Command;

use common::{Case, OLE, Ran, SOFTWARE, judge};
use serde_json::{Value, json};

const PATCHED: &[&str] = &["--infect", "none", "--patched", "--files", "50", "--size", "16M"];
const UNPATCHED: &[&str] = &["--infect", "none", "--files", "50", "--size", "16M"];

/// The bytes of a file version where they stand in VS_FIXEDFILEINFO, behind its signature.
fn fixed(numbers: [u16; 4]) -> Vec<u8> {
    let [a, b, c, d] = numbers.map(u16::to_le_bytes);
    [&0xfeef_04bd_u32.to_le_bytes()[..], &[0, 0, 1, 0], &b, &a, &d, &c].concat()
}

/// Where one file's bytes lie on the disk, found by its whole content, which must be there once for each copy.
fn places(case: &Case, path: &str) -> Vec<usize> {
    let offset = (common::START / common::SECTOR).to_string();
    let mut icat = Command::new("icat");
    let inode = inode(case, path);
    let content = judge(icat.args(["-o", &offset]).arg(&case.disk).arg(inode));
    let disk = case.bytes();
    let found: Vec<usize> =
        (0..disk.len()).step_by(512).filter(|at| disk[*at..].starts_with(&content)).collect();
    assert!(!found.is_empty(), "{path} lies in one piece");
    found
}

fn inode(case: &Case, path: &str) -> String {
    let offset = (common::START / common::SECTOR).to_string();
    let list = judge(Command::new("fls").args(["-r", "-p", "-F", "-o", &offset]).arg(&case.disk));
    let list = String::from_utf8_lossy(&list).into_owned();
    let line = list.lines().find(|line| line.ends_with(&format!("\t{path}"))).expect(path);
    line.split([' ', ':']).nth(1).unwrap().to_owned()
}

/// Gives every copy of a file on the disk another version.
fn set_version(case: &mut Case, path: &str, from: [u16; 4], to: [u16; 4]) {
    let mut disk = case.bytes();
    for place in places(case, path) {
        let old = fixed(from);
        let near = disk[place..place + 0x20000].windows(old.len()).position(|part| part == old);
        let at = place + near.expect("the version stands in the file");
        disk[at..at + old.len()].copy_from_slice(&fixed(to));
    }
    std::fs::write(&case.disk, disk).unwrap();
    case.settle();
}

fn patch(ran: &Ran) -> (Value, Vec<Value>) {
    let findings = ran.findings("patch");
    (ran.at("/targets/0/installs/0/hole/patch"), findings)
}

fn steps(ran: &Ran) -> String {
    ran.at("/next_steps")
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_patched_windows_is_clean_with_dcom_on_and_no_byte_is_changed() {
    let Some(case) = Case::with(PATCHED) else { return };
    let dcom = common::hives::value(&ntfs_file(&case, SOFTWARE), OLE, "EnableDCOM").expect("the value");
    assert_eq!(dcom.1, common::utf16("Y\0"));
    let scan = case.scan().exits(0);
    let (state, findings) = patch(&scan);
    scan.require(state == "fixed", "fixed").require(findings.len() == 1, "one finding");
    let finding = &findings[0];
    assert_eq!(finding["grade"], "information");
    assert_eq!(finding["where"], "\\WINDOWS\\system32\\rpcrt4.dll");
    assert_eq!(finding["evidence"]["file_version"], "5.1.2600.1361");
    let bulletins = json!({ "MS03-026": "fixed", "MS03-039": "fixed", "MS04-012": "fixed" });
    assert_eq!(finding["evidence"]["bulletins"], bulletins);
    let record: String = finding["evidence"]["mft_record"].to_string();
    assert!(inode(&case, "WINDOWS/system32/rpcrt4.dll").starts_with(&format!("{record}-")), "{record}");
    assert!(finding["why"].as_str().unwrap().contains("the registry names KB828741 too"), "{finding}");
    scan.require(scan.at("/verdict") == "clean", "clean");
    scan.require(scan.at("/targets/0/installs/0/hole/dcom") == "on", "DCOM on");
    scan.require(scan.at("/targets/0/installs/0/hole/closed") == true, "the hole closed");
    scan.require(!steps(&scan).contains("KB828741"), "no advice to install what is in");
    let clean = case.clean(&[]).exits(0);
    clean.require(clean.at("/verdict") == "clean", "clean");
    case.must_be_as_at_first(&clean);
    assert!(case.runs().is_empty());
    // Asked for, DCOM is disabled all the same.
    let asked = case.clean(&["--dcom", "disable"]).exits(0);
    asked.require(asked.at("/targets/0/installs/0/hole/dcom") == "off", "DCOM off");
}

fn ntfs_file(case: &Case, path: &str) -> Vec<u8> {
    let offset = (common::START / common::SECTOR).to_string();
    judge(Command::new("icat").args(["-o", &offset]).arg(&case.disk).arg(inode(case, path)))
}

#[test]
fn a_patched_windows_with_the_worm_is_rid_of_it_and_keeps_dcom() {
    let Some(case) = Case::with(&["--patched", "--files", "50", "--size", "16M"]) else { return };
    let clean = case.clean(&[]).exits(0);
    clean.require(clean.at("/verdict") == "cleaned", "cleaned");
    clean.require(clean.at("/targets/0/installs/0/hole/dcom") == "on", "DCOM on still");
    let undo = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undo);
}

#[test]
fn an_unpatched_windows_is_exposed_and_told_what_to_install() {
    let Some(case) = Case::with(UNPATCHED) else { return };
    let scan = case.scan().exits(1);
    let (state, findings) = patch(&scan);
    assert_eq!((state, findings[0]["grade"].clone()), (json!("vulnerable"), json!("confirmed")));
    assert_eq!(findings[0]["evidence"]["file_version"], "5.1.2600.1106");
    let bulletins = json!({ "MS03-026": "vulnerable", "MS03-039": "vulnerable", "MS04-012": "vulnerable" });
    assert_eq!(findings[0]["evidence"]["bulletins"], bulletins);
    scan.require(scan.at("/verdict") == "exposed", "exposed");
    scan.require(
        steps(&scan).contains("`Windowsxp-kb828741-x86-enu /quiet /norestart`"),
        "the update's name",
    );
    let clean = case.clean(&[]).exits(0);
    clean.require(clean.at("/targets/0/installs/0/hole/dcom") == "off", "DCOM off");
}

#[test]
fn one_file_left_behind_is_not_the_patch() {
    let Some(mut case) = Case::with(PATCHED) else { return };
    let (new, old) = ([5, 1, 2600, 1361], [5, 1, 2600, 1106]);
    set_version(&mut case, "WINDOWS/system32/rpcss.dll", new, old);
    let scan = case.scan().exits(1);
    let (state, findings) = patch(&scan);
    scan.require(state == "not_established", "not established");
    assert_eq!(findings[0]["where"], "\\WINDOWS\\system32\\rpcss.dll");
    assert!(findings[0]["why"].as_str().unwrap().contains("in part only"), "{}", findings[0]);
    // What cannot be told is taken for open, and stops no clean.
    let clean = case.clean(&[]).exits(0);
    clean.require(clean.at("/verdict") == "cleaned", "cleaned");
}

#[test]
fn the_file_that_the_bar_is_of_decides() {
    let Some(mut case) = Case::with(PATCHED) else { return };
    let version = |revision| [5, 1, 2600, revision];
    let file = "WINDOWS/system32/rpcrt4.dll";
    for (from, to, state) in [
        (1361, 1254, "fixed"),
        (1254, 1230, "fixed"),
        (1230, 1229, "vulnerable"),
        (1229, 109, "not_established"),
    ] {
        set_version(&mut case, file, version(from), version(to));
        let scan = case.scan();
        let (found, findings) = patch(&scan);
        scan.require(found == state, state);
        let closed = state == "fixed";
        scan.require(scan.code == Some(i32::from(!closed)), "the exit code");
        if to == 1230 {
            scan.require(
                steps(&scan).contains("later ones of the same service (MS03-039, MS04-012)"),
                "advice",
            );
            assert_eq!(findings[0]["evidence"]["bulletins"]["MS03-039"], "vulnerable");
        }
        if to == 109 {
            assert!(findings[0]["why"].as_str().unwrap().contains("no file of Windows XP Service Pack 1"));
        }
    }
}

#[test]
fn a_program_that_is_damaged_is_told_and_stops_nothing() {
    let Some(mut case) = Case::with(PATCHED) else { return };
    let mut disk = case.bytes();
    let at = places(&case, "WINDOWS/system32/ole32.dll");
    for at in at {
        disk[at..at + 512].fill(0);
    }
    std::fs::write(&case.disk, disk).unwrap();
    case.settle();
    let scan = case.scan().exits(1);
    let (state, findings) = patch(&scan);
    scan.require(state == "not_established", "not established");
    let why = findings[0]["why"].as_str().unwrap();
    assert!(why.contains("\\WINDOWS\\system32\\ole32.dll") && why.contains("begins with \"MZ\""), "{why}");
    case.clean(&[]).exits(0);
}

/// Every system with the update of MS04-012 and without it: the file that decides, its version, and the step to take.
#[test]
fn each_system_is_judged_by_its_own_files() {
    let small = ["--infect", "none", "--files", "50", "--size", "16M"];
    for (system, root, file, fixed, old, update) in [
        (
            &["--windows", "nt4"][..],
            "WINNT",
            "rpcrt4.dll",
            "4.0.1381.7230",
            "4.0.1381.335",
            "Windowsnt4workstation-kb828741-x86-enu /q /z",
        ),
        (
            &["--windows", "nt4", "--server"],
            "WINNT",
            "rpcrt4.dll",
            "4.0.1381.7230",
            "4.0.1381.335",
            "Windowsnt4server-kb828741-x86-enu",
        ),
        (&["--windows", "2000"], "WINNT", "rpcrt4.dll", "5.0.2195.6904", "5.0.2195.6700", "Update Rollup 1"),
        (
            &["--windows", "2000", "--service-pack", "2"],
            "WINNT",
            "rpcrt4.dll",
            "5.0.2195.6904",
            "5.0.2195.2951",
            "Windows2000-kb828741-x86-enu /quiet /norestart",
        ),
        (
            &["--windows", "xp", "--service-pack", "0"],
            "WINDOWS",
            "rpcrt4.dll",
            "5.1.2600.135",
            "5.1.2600.0",
            "Windowsxp-kb828741-x86-enu",
        ),
        (
            &["--windows", "2003", "--server"],
            "WINDOWS",
            "rpcrt4.dll",
            "5.2.3790.137",
            "5.2.3790.0",
            "Windowsserver2003-kb828741-x86-enu",
        ),
    ] {
        let with = |more: &[&str]| Case::with(&[&small, system, more].concat());
        let Some(case) = with(&["--patched"]) else { return };
        let place = format!("\\{root}\\system32\\{file}");
        let clean = case.clean(&[]).exits(0);
        let (state, findings) = patch(&clean);
        clean.require(state == "fixed" && clean.at("/verdict") == "clean", "fixed and clean");
        clean.require(findings[0]["where"] == place.as_str(), &place);
        clean.require(findings[0]["evidence"]["file_version"] == fixed, fixed);
        clean.require(findings[0]["evidence"]["bulletins"]["MS04-012"] == "fixed", "MS04-012");
        case.must_be_as_at_first(&clean);
        let Some(case) = with(&[]) else { return };
        let scan = case.scan().exits(1);
        let (state, findings) = patch(&scan);
        scan.require(state == "vulnerable" && scan.at("/verdict") == "exposed", "vulnerable and exposed");
        scan.require(findings[0]["evidence"]["file_version"] == old, old);
        scan.require(steps(&scan).contains(update), update);
    }
}

#[test]
fn a_service_pack_that_contains_the_fix_is_believed_with_its_files() {
    for system in [["xp", "2"], ["xp", "3"], ["2003", "1"], ["2003", "2"]] {
        let [windows, pack] = system;
        let options = [
            "--windows",
            windows,
            "--service-pack",
            pack,
            "--infect",
            "none",
            "--files",
            "50",
            "--size",
            "16M",
        ];
        let server: &[&str] = if windows == "2003" { &["--server"] } else { &[] };
        let Some(case) = Case::with(&[&options, server].concat()) else { return };
        let clean = case.clean(&[]).exits(0);
        let (state, findings) = patch(&clean);
        clean.require(state == "fixed" && clean.at("/verdict") == "clean", "fixed and clean");
        assert!(findings[0]["why"].as_str().unwrap().contains("contains the fixes"), "{}", findings[0]);
        case.must_be_as_at_first(&clean);
    }
}

#[test]
fn a_terminal_server_has_files_of_its_own() {
    let options = [
        "--windows",
        "nt4",
        "--server",
        "--terminal-server",
        "--infect",
        "none",
        "--files",
        "50",
        "--size",
        "16M",
    ];
    let Some(case) = Case::with(&[&options[..], &["--patched"]].concat()) else { return };
    let clean = case.clean(&[]).exits(0);
    let (state, findings) = patch(&clean);
    clean.require(state == "fixed", "fixed");
    clean.require(findings[0]["evidence"]["file_version"] == "4.0.1381.33551", "its own file");
    clean
        .require(clean.at("/targets/0/installs/0/product_suites") == json!(["Terminal Server"]), "the suite");
    let product = clean.at("/targets/0/installs/0/product");
    assert!(product.as_str().unwrap().ends_with(", Terminal Server Edition"), "{product}");
    case.must_be_as_at_first(&clean);
    let Some(case) = Case::with(&options) else { return };
    let scan = case.scan().exits(1);
    let (state, findings) = patch(&scan);
    scan.require(state == "vulnerable", "vulnerable");
    assert!(findings[0]["why"].as_str().unwrap().contains("4.0.1381.33474"), "by its own bar");
    scan.require(steps(&scan).contains("Windowsnt4terminalserver-kb828741-x86-enu"), "its own update");
}

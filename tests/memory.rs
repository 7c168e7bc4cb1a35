//! A machine with too little memory: what the disk makes large is reckoned first, so a run ends in words with both figures and
//! before anything is written, never by the allocator or the kernel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::process::Command;

use common::{Case, Ran, START, digest, judge, practice, skip};

/// A disk whose SOFTWARE has 4 MiB, so that to read and clean it takes 5.5 MiB.
const LARGE: &[&str] = &["--filesystem", "fat16", "--files", "50", "--size", "32M", "--software-size", "4"];

/// The command on a machine that has so many KiB: its /proc/meminfo is another file, in a mount namespace of its own.
fn having(case: &Case, kib: u64, command: &Command) -> Command {
    let meminfo = case.path("meminfo");
    fs::write(&meminfo, format!("MemTotal: 65536 kB\nMemFree: 900 kB\nMemAvailable: {kib} kB\n")).unwrap();
    let mut unshared = Command::new("unshare");
    unshared.args(["-m", "sh", "-c", "mount --bind \"$1\" /proc/meminfo && shift && exec \"$@\"", "sh"]);
    unshared.arg(meminfo).arg(command.get_program()).args(command.get_args());
    unshared
}

fn cannot_unshare() -> bool {
    let made = Command::new("unshare").args(["-m", "true"]).output();
    let cannot = !made.is_ok_and(|output| output.status.success());
    if cannot {
        skip("no mount namespace can be made here (root and unshare are needed)");
    }
    cannot
}

fn cleaning(case: &Case, options: &[&str]) -> Command {
    let store = case.store();
    let mut command = case.on_disk(&["clean", "--yes", "--json", "--store", store.to_str().unwrap()]);
    command.args(options);
    command
}

#[test]
fn a_hive_that_does_not_fit_leaves_the_disk_as_it_is_and_says_both_figures() {
    if cannot_unshare() {
        return;
    }
    let Some(case) = Case::with(LARGE) else { return };
    for words in ["scan", "clean"] {
        let command = match words {
            "scan" => case.on_disk(&["scan", "--json"]),
            _ => cleaning(&case, &[]),
        };
        let ran = Ran::of(&mut having(&case, 5 << 10, &command)).exits(2);
        ran.says("system32\\\\config\\\\software): it needs 5.5 MiB of memory, and 5.0 MiB are free");
        ran.says("use a machine with more memory");
        ran.require(ran.at("/targets/0/installs/0/verdict") == "undetermined", "an undetermined install");
        case.must_be_as_at_first(&ran);
        ran.require(case.runs().is_empty(), "no folder in the store");
    }
    // A little more, and it is cured.
    Ran::of(&mut having(&case, 6 << 10, &cleaning(&case, &[]))).exits(0);
}

#[test]
fn a_machine_with_next_to_nothing_does_not_begin() {
    if cannot_unshare() {
        return;
    }
    let Some(case) = Case::with(LARGE) else { return };
    let ran = Ran::of(&mut having(&case, 3 << 10, &cleaning(&case, &[]))).exits(2);
    ran.says("cannot inspect the disk: it needs 4.0 MiB of memory, and 3.0 MiB are free");
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_plan_that_takes_more_than_looking_did_is_refused_before_the_first_write() {
    if cannot_unshare() {
        return;
    }
    let Some(mut case) = Case::with(LARGE) else { return };
    let worm: Vec<u8> = (0..3_u32 << 20).map(|at| (at % 249) as u8).collect();
    let (file, known) = (case.path("large.exe"), case.path("large.hsb"));
    fs::write(&file, &worm).unwrap();
    fs::write(&known, format!("{}:{}:Practice.Large\n", digest(&worm), worm.len())).unwrap();
    let volume = format!("{}@@{START}", case.disk.display());
    judge(Command::new("mcopy").args(["-i", &volume]).arg(&file).arg("::/WINDOWS/system32/large.exe"));
    case.settle();
    let options = ["--signatures", known.to_str().unwrap()];
    let mut scan = case.on_disk(&["scan", "--json"]);
    scan.args(options);
    // All of it in quarantine, and encoded, read back and decoded: four times 3 MiB, and what is small.
    Ran::of(&mut having(&case, 10 << 10, &scan)).exits(1).says("Practice.Large");
    let ran = Ran::of(&mut having(&case, 10 << 10, &cleaning(&case, &options))).exits(2);
    ran.says("cannot carry out the plan: it needs 13.1 MiB of memory, and 10.0 MiB are free");
    case.must_be_as_at_first(&ran);
    ran.require(case.runs().is_empty(), "no folder in the store");
    Ran::of(&mut having(&case, 14 << 10, &cleaning(&case, &options))).exits(0);
}

/// Not by what /proc/meminfo says but by a limit on the address space that bites: whatever it is, the run is whole or not begun.
#[test]
fn under_any_limit_a_clean_is_whole_or_refused_in_words() {
    let Some(original) = practice(LARGE) else { return };
    let limited = |mib: u64, command: &Command| {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--as={}", mib << 20)).arg(command.get_program()).args(command.get_args());
        limited
    };
    let case = Case::of(original.clone());
    let starts = |mib: &u64| Ran::of(&mut limited(*mib, &case.command(&["--version"]))).code == Some(0);
    let least = (4..200).find(starts).expect("it starts with 200 MiB") + 1;
    let (mut refused, mut cleaned) = (0, 0);
    for mib in least..least + 14 {
        let case = Case::of(original.clone());
        let ran = Ran::of(&mut limited(mib, &cleaning(&case, &[])));
        match ran.code {
            Some(0) => cleaned += 1,
            Some(2) => {
                refused += 1;
                ran.says("MiB of memory, and ").says("MiB are free");
                case.must_be_as_at_first(&ran);
            }
            _ => ran.fail(&format!("expected it to end in words under {mib} MiB of address space")),
        }
    }
    assert!(refused > 3 && cleaned > 3, "{refused} refused, {cleaned} cleaned, from {least} MiB on");
}

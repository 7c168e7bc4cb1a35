//! Signatures of the technician's: listed, checked before use, found on a disk by digest whatever the name, under
//! `--deep` whatever the size; and ClamAV's own scanner as the judge of what a hash set is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Case, PRACTICE, Ran, WORM, digest, skip};
use serde_json::Value;

fn signatures(words: &[&str]) -> Ran {
    Ran::of(Command::new(env!("CARGO_BIN_EXE_deblast")).arg("signatures").args(words))
}

/// A digest by coreutils, not by us.
fn sum(algorithm: &str, bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let text = common::judge(Command::new(format!("{algorithm}sum")).arg(file.path()));
    String::from_utf8(text).unwrap().split(' ').next().unwrap().to_owned()
}

fn scan(case: &Case, set: &Path, more: &[&str]) -> Ran {
    let words = [&["scan", "--json", "--signatures", set.to_str().unwrap()], more].concat();
    Ran::of(case.command(&words).arg(&case.disk))
}

fn at(ran: &Ran, path: &str) -> Option<Value> {
    ran.findings("worm_file").into_iter().find(|f| f["where"].as_str().unwrap().eq_ignore_ascii_case(path))
}

#[test]
fn the_list_tells_digests_grades_and_sources_and_where_a_line_stands() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("mine.HSB");
    let (sha1, sha256) = (sum("sha1", b"one"), sum("sha256", b"two"));
    std::fs::write(&set, format!("# mine\n{sha1}:3:Mine.One\n{sha256}:*:Mine.Two:73\n")).unwrap();
    let ran = signatures(&["list", "--signatures", set.to_str().unwrap(), "--signatures", PRACTICE]).exits(0);
    for words in [
        "md5       5ae700c1dffb00cef492844a4db6cd69",
        "SANS ISC",
        "W32/Lovsan.worm.a",
        "Practice stand-in A",
        "msblast.exe",
        "no digest is known: probable at most",
        "index.exe, root32.exe (harmless programs use them too)",
        "RpcPatch, RpcTftpd",
        &format!("Mine.One  {sha1}  3 bytes  confirmed  {}, line 2", set.display()),
        &format!("Mine.Two  {sha256}  any size  confirmed  {}, line 3", set.display()),
    ] {
        ran.require(ran.stdout.contains(words), words);
    }
    let sources = ran.stdout.lines().filter(|line| line.starts_with("  source ")).count();
    let entries = ran.stdout.lines().filter(|line| line.starts_with("  grade ")).count();
    ran.require(sources == entries && sources >= 14, "a source for each");
    signatures(&["list", "--signatures", "/nonexistent.toml"]).exits(2);
}

#[test]
fn a_check_tells_every_problem_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let md5 = sum("md5", b"x");
    let good = file("good.hdb", &format!("{md5}:1:X\n{md5}:*:Y:73\n"));
    let ran = signatures(&["check", &good, PRACTICE]).exits(0);
    ran.require(ran.stdout.is_empty(), "no problem")
        .says("lines with MD5 2")
        .says("1 of any size")
        .says("collide");
    let bad = file("bad.hdb", &format!("{md5}:1:X\n{md5}:0:Y\n#\n\nnonsense\n"));
    let ran = signatures(&["check", &good, &bad]).exits(1);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split('\t').collect()).collect();
    let places: Vec<(&str, &str)> = lines.iter().map(|line| (line[0], line[1])).collect();
    ran.require(places == [(bad.as_str(), "2"), (&bad, "4"), (&bad, "5")], "lines 2, 4 and 5 of the bad one");
    let toml =
        "[[signature]]\nfamily='A'\nnames=['a.exe']\nsource='s'\n\n[[signature]]\nfamily='B'\nsource='s'\n";
    let ran = signatures(&["check", &file("bad.toml", toml)]).exits(1);
    ran.require(ran.stdout.contains("\t6\t\"B\": it has no names"), "the line of the second signature");
    let ran = signatures(&["check", &file("worse.toml", "[[signature]]\nfamily='A'\nsouce='s'\n")]).exits(1);
    ran.require(ran.stdout.contains("\t3\t"), "the line of the wrong word");
    signatures(&["check", &bad, "/nonexistent.hsb"]).exits(2).says("nonexistent");
    signatures(&["check", folder.path().to_str().unwrap()]).exits(2);
    signatures(&["check"]).exits(2);
}

/// Lines that are a hash set and lines that are none, tried on `clamscan -d`: both must agree on each.
#[test]
fn clamav_takes_what_we_take_and_refuses_what_we_refuse() {
    if Command::new("clamscan").arg("--version").output().is_err() {
        return skip("clamscan is not installed; scripts/install-deps does that");
    }
    let folder = tempfile::tempdir().unwrap();
    let content = b"an inert text that a hash set names";
    let target = folder.path().join("target.bin");
    std::fs::write(&target, content).unwrap();
    let size = content.len();
    let (md5, sha1, sha256) = (sum("md5", content), sum("sha1", content), sum("sha256", content));
    let taken = [
        ("hdb", format!("{md5}:{size}:Stand.In\n")),
        ("hsb", format!("{sha1}:{size}:Stand.In\n")),
        ("hsb", format!("{}:{size}:Stand.In", sha256.to_uppercase())),
        ("hdb", format!("{sha256}:{size}:Stand.In\r\n")),
        ("hsb", format!("# a comment\n{md5}:{size}:Stand.In:73\n")),
        ("hsb", format!("{sha1}:*:Stand.In:73\n")),
        ("hsb", format!("{sha256}:*:Stand.In:73:255\n")),
    ];
    let refused = [
        ("hdb", format!("{md5}:{size}\n")),
        ("hdb", format!("{md5}:{size}:\n")),
        ("hsb", format!("{sha1}:{size}:Stand.In:73:200:3\n")),
        ("hsb", format!("{sha1}:*:Stand.In\n")),
        ("hsb", format!("{sha1}:*:Stand.In:72\n")),
        ("hsb", format!("{sha1}:0:Stand.In\n")),
        ("hsb", format!("{sha1}:-1:Stand.In\n")),
        ("hsb", format!("{sha1}:0x10:Stand.In\n")),
        ("hsb", format!("{sha1}:4294967296:Stand.In\n")),
        ("hsb", format!("{}:{size}:Stand.In\n", &sha1[1..])),
        ("hsb", format!("z{}:{size}:Stand.In\n", &sha256[1..])),
        ("hsb", format!("{sha1}:{size}:Stand.In\n\n{sha256}:{size}:Stand.In\n")),
        ("hsb", String::new()),
    ];
    let all = taken.iter().map(|case| (case, true)).chain(refused.iter().map(|case| (case, false)));
    for ((kind, text), good) in all {
        let set = folder.path().join(format!("set.{kind}"));
        std::fs::write(&set, text).unwrap();
        let clamav = Ran::of(Command::new("clamscan").args(["--no-summary", "-d"]).arg(&set).arg(&target));
        clamav.require(
            clamav.code == Some(if good { 1 } else { 2 }),
            &format!("ClamAV: {good}: {kind} {text:?}"),
        );
        let ours = signatures(&["check", set.to_str().unwrap()]);
        ours.require(ours.code == Some(i32::from(!good)), &format!("ours: {good}: {kind} {text:?}"));
        if good {
            clamav.says("Stand.In");
        }
        std::fs::remove_file(&set).unwrap();
    }
}

#[test]
fn a_set_that_is_not_all_right_stops_the_run_before_the_disk_is_looked_at() {
    let Some(case) = Case::practice() else { return };
    let set = case.path("set.hsb");
    std::fs::write(&set, format!("{}:6176:X\nbroken\n", sum("sha1", b"x"))).unwrap();
    let ran = scan(&case, &set, &[]).exits(2);
    ran.says("line 2").says("signatures check").require(ran.stdout.is_empty(), "no report");
    case.must_be_as_at_first(&ran);
}

/// Where the stand-in lies in the next tests: another folder, another name, no program's ending.
const ELSEWHERE: &str = "Documents and Settings/All Users/holiday.bmp";
const ELSEWHERE_ON_WINDOWS: &str = r"\Documents and Settings\All Users\holiday.bmp";

/// A disk without the worm, the stand-in put elsewhere, `longer` bytes longer than it is.
fn with_stand_in_elsewhere(longer: usize) -> Option<(Case, Vec<u8>)> {
    let infected = Case::practice()?;
    let mut stand_in = infected.file(WORM);
    stand_in.extend(std::iter::repeat_n(b'+', longer));
    let mut case = Case::with(&["--infect", "none", "--files", "60", "--size", "16M"])?;
    case.mounted(true, |root| std::fs::write(root.join(ELSEWHERE), &stand_in).unwrap());
    case.settle();
    Some((case, stand_in))
}

#[test]
fn a_digest_is_found_under_another_name_by_its_size_and_cured() {
    let Some((case, stand_in)) = with_stand_in_elsewhere(0) else { return };
    for (kind, algorithm) in [("hdb", "md5"), ("hsb", "sha1"), ("hsb", "sha256")] {
        let set = case.path(&format!("{algorithm}.{kind}"));
        let line = format!("{}:{}:Mine.Stand-In\n", sum(algorithm, &stand_in), stand_in.len());
        std::fs::write(&set, line).unwrap();
        let ran = scan(&case, &set, &[]).exits(1);
        let found = at(&ran, ELSEWHERE_ON_WINDOWS).unwrap_or_else(|| ran.fail("not found"));
        ran.require(found["grade"] == "confirmed", "confirmed");
        let title = format!("Mine.Stand-In ({algorithm}.{kind}, line 1)");
        ran.require(found["evidence"]["signature"] == title.as_str(), &title);
        ran.require(ran.findings("worm_file").len() == 1, "nothing else");
        case.must_be_as_at_first(&ran);
    }
    let set = case.path("sha1.hsb");
    let words = ["clean", "--yes", "--json", "--signatures", set.to_str().unwrap(), "--store"];
    let ran = Ran::of(case.command(&words).arg(case.store()).arg(&case.disk)).exits(0);
    ran.require(at(&ran, ELSEWHERE_ON_WINDOWS).unwrap()["outcome"] == "verified", "cured");
    assert!(case.file(ELSEWHERE).iter().all(|&byte| byte == 0));
}

#[test]
fn a_program_of_any_size_is_found_under_deep_alone() {
    let Some((case, stand_in)) = with_stand_in_elsewhere(1234) else { return };
    let set = case.path("any.hsb");
    std::fs::write(&set, format!("{}:*:Mine.Any:73\n", digest(&stand_in))).unwrap();
    let ran = scan(&case, &set, &[]).exits(1);
    ran.require(at(&ran, ELSEWHERE_ON_WINDOWS).is_none(), "not without --deep");
    ran.require(ran.remarks().contains("--deep alone"), "said so")
        .require(ran.at("/options/deep") == false, "deep");
    let ran = scan(&case, &set, &["--deep", "--progress", "json"]).exits(1);
    let found = at(&ran, ELSEWHERE_ON_WINDOWS).unwrap_or_else(|| ran.fail("not found under --deep"));
    ran.require(found["grade"] == "confirmed" && ran.findings("worm_file").len() == 1, "confirmed, it alone");
    ran.require(ran.at("/options/deep") == true, "the report says so").says("hashing files");
    ran.require(!ran.remarks().contains("--deep"), "nothing left to say of it");
    case.must_be_as_at_first(&ran);
    // By MD5 alone nothing is proved: told, and left.
    std::fs::write(&set, format!("{}:*:Mine.Any:73\n", sum("md5", &stand_in))).unwrap();
    let ran = scan(&case, &set, &["--deep"]).exits(1);
    ran.require(at(&ran, ELSEWHERE_ON_WINDOWS).unwrap()["grade"] == "suspect", "a suspect");
    // What is no program is not hashed, whatever digest is known of it.
    case.mounted(true, |root| {
        let path = root.join(ELSEWHERE);
        let mut text = std::fs::read(&path).unwrap();
        text[0] = b'm';
        std::fs::write(&path, &text).unwrap();
        std::fs::write(&set, format!("{}:*:Mine.Any:73\n", digest(&text))).unwrap();
    });
    let ran = scan(&case, &set, &["--deep"]);
    ran.require(at(&ran, ELSEWHERE_ON_WINDOWS).is_none(), "no program");
}

/// A small program lies in its MFT record, and has no place of its own.
#[test]
fn a_resident_program_is_found_under_deep() {
    let Some(case) = Case::with(&["--infect", "none", "--files", "60", "--size", "16M"]) else { return };
    let small = b"MZ, and that is all of it";
    case.mounted(true, |root| std::fs::write(root.join(ELSEWHERE), small).unwrap());
    let set = case.path("any.hsb");
    std::fs::write(&set, format!("{}:*:Mine.Small:73\n", digest(small))).unwrap();
    let ran = scan(&case, &set, &["--deep"]);
    ran.require(at(&ran, ELSEWHERE_ON_WINDOWS).is_some(), "found");
}

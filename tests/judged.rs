//! Every hive after every kind of edit, shown to all outside judges at once by `scripts/judge`: accepted wherever the
//! original was. hivexml, hivexregedit, reged, the regf crate, python-registry and libregf share no code with Deblast.
//!
//! Hives of the corpus where it is there, and made ones. Those of more than 256 KiB are shown after all edits, and not after each;
//! `DEBLAST_JUDGE=all cargo test --test judged -- --nocapture` shows each edit of each hive.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use deblast::change::ValueData;
use deblast::hive::Hive;
use deblast::hive::check::survey;
use deblast::hive::edit::{Edit, Room, edit_within};
use deblast::hive::log::{Log, replay};

#[allow(dead_code, reason = "shared with the tests of the engine, which use more of it")]
#[path = "hive/common.rs"]
mod common;
#[path = "hive/kinds.rs"]
mod kinds;
#[path = "common/skip.rs"]
mod skip;
#[allow(dead_code, reason = "shared with the tests of the engine, which use more of it")]
#[path = "hive/stopped.rs"]
mod stopped;

use common::{NOW, data, delete, made, set, tight};
use skip::skip;

/// Above this many bytes a hive is not shown after each single edit.
const LARGE: usize = 256 * 1024;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/hive");
const JUDGES: [&str; 6] = ["hivexml", "hivexregedit", "reged", "regf", "python-registry", "libregf"];
/// Edits that are no single ones.
const ALL: &str = "all of them, one after the other";
const TYPES: &str = "a value of each type: made, set in place, grown";
const RECOVERED: &str = "recovered from a log, then edited";
const ORIGINAL: &str = "the original";

/// What the judges said: file to judge to whether it is accepted, and why not.
type Said = BTreeMap<String, BTreeMap<String, (bool, String)>>;

/// Shows files to the judges. None, after a word: one of them cannot be asked.
#[track_caller]
fn judge(files: &[PathBuf]) -> Option<(Said, i32)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/judge");
    let output = Command::new(script).args(files).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut said = Said::new();
    let mut absent = BTreeSet::new();
    for line in text.lines() {
        let mut parts = line.split('\t');
        let (file, judge, word) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let why = parts.next().unwrap_or_default().to_owned();
        if word == "absent" {
            absent.insert(format!("{judge}: {why}"));
        }
        said.entry(file.to_owned()).or_default().insert(judge.to_owned(), (word == "accepted", why));
    }
    if !absent.is_empty() {
        skip(&format!("judges that cannot be asked: {absent:?}"));
        return None;
    }
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.len() == files.len(),
        "a word on each of {} files, found {}: {told}",
        files.len(),
        said.len()
    );
    Some((said, output.status.code().unwrap()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Hives that an edit is allowed on: sound and clean ones of the corpus, and some that the regf crate made.
fn hives() -> Vec<(String, Hive)> {
    let mut hives = Vec::new();
    for (name, hive) in [("made, 1.3", made(3)), ("made, 1.5", made(5)), ("made tight, 1.5", tight(5))] {
        hives.push((name.to_owned(), hive));
    }
    if !Path::new(CORPUS).is_dir() {
        println!("skipped: no corpus of real hives beside this checkout");
    }
    for file in files(Path::new(CORPUS)) {
        let Ok(hive) = Hive::parse(fs::read(&file).unwrap()) else { continue };
        if hive.dirty().is_none() && survey(&hive).sound() {
            hives.push((file.strip_prefix(CORPUS).unwrap().display().to_string(), hive));
        }
    }
    hives
}

fn edited(hive: &Hive, edits: &[Edit]) -> Hive {
    let mut after = hive.clone();
    edit_within(&mut after, edits, NOW, Room::Grow).unwrap();
    after
}

/// Each type made with two bytes more than fit inline, then set to as many others, then grown; two are deleted again.
fn of_each_type() -> Vec<Edit> {
    let texts = |text: &str| ValueData::sz(text).data;
    let contents =
        [(1_u32, texts("one"), texts("two")), (2, texts("%a%"), texts("%b%")), (7, texts("x"), texts("y"))];
    let numbers =
        [(4, vec![1, 0, 0, 0], vec![2, 0, 0, 0]), (11, vec![1; 8], vec![2; 8]), (5, vec![0; 4], vec![9; 4])];
    let others = [
        (0, vec![], vec![1]),
        (3, vec![1; 6], vec![2; 6]),
        (6, texts("a link"), texts("a knot")),
        (8, vec![8; 40], vec![9; 40]),
    ];
    let mut edits = Vec::new();
    for (kind, first, second) in contents.into_iter().chain(numbers).chain(others) {
        let name = format!("of type {kind}");
        edits.push(set("", &name, data(kind, &first)));
        edits.push(set("", &name, data(kind, &second)));
        let grown = [second, [0x20, 0x00].repeat(100)].concat();
        edits.push(set("", &name, data(kind, &grown)));
    }
    edits.extend([delete("", "of type 1"), delete("", "of type 8")]);
    edits
}

/// The hive as its log completes it, with one more edit on top.
fn recovered(hive: &Hive, edits: &[Edit]) -> Hive {
    let after = edited(hive, edits);
    let (dirty, log) = stopped::stopped(hive.as_bytes(), after.as_bytes(), 1);
    let whole = replay(dirty, &Log::parse(log).unwrap()).unwrap();
    edited(&Hive::parse(whole).unwrap(), &[set("", "after the log", ValueData::sz("once more"))])
}

/// Each state of a hive that is shown, with the kind of edit that made it.
fn states(hive: &Hive, each: bool) -> Vec<(&'static str, Hive)> {
    let edits = kinds::edits(hive);
    let all: Vec<Edit> = edits.iter().map(|(_, edit, ..)| edit.clone()).collect();
    let mut states = vec![
        (ORIGINAL, hive.clone()),
        (ALL, edited(hive, &all)),
        (TYPES, edited(hive, &of_each_type())),
        (RECOVERED, recovered(hive, &all)),
    ];
    if each {
        states.extend(edits.into_iter().map(|(kind, edit, ..)| (kind, edited(hive, &[edit]))));
    }
    states
}

#[test]
fn every_judge_accepts_every_edit_of_what_it_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let every = std::env::var_os("DEBLAST_JUDGE").is_some_and(|which| which == "all");
    let mut shown = Vec::new();
    for (index, (name, hive)) in hives().into_iter().enumerate() {
        let each = every || hive.as_bytes().len() <= LARGE;
        for (number, (kind, state)) in states(&hive, each).into_iter().enumerate() {
            let file = folder.path().join(format!("{index}-{number}"));
            fs::write(&file, state.as_bytes()).unwrap();
            shown.push((name.clone(), kind, file));
        }
    }
    // A file that no judge may accept: else their silence would prove nothing.
    let broken = folder.path().join("broken");
    let mut bytes = made(5).into_bytes();
    let root = 4096 + stopped::word(&bytes, 36) as usize;
    let list = 4096 + stopped::word(&bytes, root + 4 + 28) as usize;
    let inside_the_root = u32::try_from(root - 4096 + 8).unwrap();
    stopped::put(&mut bytes, list + 8, &inside_the_root.to_le_bytes());
    fs::write(&broken, bytes).unwrap();

    let files: Vec<PathBuf> = shown.iter().map(|(.., file)| file.clone()).chain([broken.clone()]).collect();
    let Some((said, code)) = judge(&files) else { return };
    assert_eq!(code, 1, "one refuses at least the broken one");
    let told = |file: &Path, judge: &str| &said[file.to_str().unwrap()][judge];
    for judge in JUDGES {
        assert!(!told(&broken, judge).0, "{judge} accepts a hive whose list of keys leads where no cell is");
    }

    let mut originals: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (name, kind, file) in shown.iter().filter(|(_, kind, _)| *kind == ORIGINAL) {
        for judge in JUDGES {
            let (accepted, why) = told(file, judge);
            originals.insert((name, judge), *accepted);
            if !accepted {
                println!("{name}, {kind}: {judge} refuses: {why}");
            }
        }
    }
    // Kind to judge to how many of how many it accepts.
    let mut table: BTreeMap<&str, BTreeMap<&str, (usize, usize)>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, kind, file) in &shown {
        for judge in JUDGES.into_iter().filter(|judge| originals[&(name.as_str(), *judge)]) {
            let (accepted, why) = told(file, judge);
            let cell = table.entry(*kind).or_default().entry(judge).or_default();
            *cell = (cell.0 + usize::from(*accepted), cell.1 + 1);
            if !accepted {
                wrong.push(format!("{name}, {kind}: {judge} refuses: {why}"));
            }
        }
    }
    println!("| edit | {} |\n|---|{}", JUDGES.join(" | "), "---|".repeat(JUDGES.len()));
    for (kind, judges) in &table {
        let cells =
            JUDGES.map(|judge| judges.get(judge).map_or("-".into(), |(yes, of)| format!("{yes} of {of}")));
        println!("| {kind} | {} |", cells.join(" | "));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(table[RECOVERED].values().all(|(_, of)| *of >= 3), "each judge is asked of some hives");
}

/// A volume that is in order, one that is not, and what is neither hive nor volume: lines, exit codes, nothing written.
#[test]
fn volumes_are_judged_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let make = |program: &str, words: &[&str], file: &str, size: u64| {
        fs::File::create(path(file)).unwrap().set_len(size).unwrap();
        let sbin = "/usr/sbin:/usr/bin:/sbin:/bin";
        Command::new(program)
            .args(words)
            .arg(path(file))
            .env("PATH", sbin)
            .output()
            .is_ok_and(|ran| ran.status.success())
    };
    if !make("mkntfs", &["-F", "-Q", "-q"], "ntfs", 4 << 20) || !make("mkfs.fat", &[], "fat", 4 << 20) {
        skip("mkntfs or mkfs.fat is not there");
        return;
    }
    // Both on one disk, and the FAT once more with its two tables unlike.
    let mut disk = vec![0; 1 << 20];
    let (ntfs, mut fat) = (fs::read(path("ntfs")).unwrap(), fs::read(path("fat")).unwrap());
    for (index, (kind, start)) in [(7_u8, 2048_u32), (6, 2048 + 8192)].into_iter().enumerate() {
        let entry = 446 + 16 * index;
        disk[entry + 4] = kind;
        disk[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
        disk[entry + 12..entry + 16].copy_from_slice(&8192_u32.to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend(&ntfs);
    disk.extend(&fat);
    fs::write(path("disk"), &disk).unwrap();
    let reserved = 512 * usize::from(fat[14]);
    fat[reserved + 3..reserved + 12].fill(0x11);
    fs::write(path("bad"), &fat).unwrap();
    fs::write(path("text"), "no hive and no volume").unwrap();

    let run = |names: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/judge");
        let output = Command::new(script).args(names.iter().map(|name| path(name))).output().unwrap();
        let before = format!("{}/", folder.path().display());
        let text = String::from_utf8(output.stdout).unwrap().replace(&before, "");
        (text, output.status.code().unwrap())
    };
    let (text, code) = run(&["ntfs", "disk"]);
    let lines = [
        "ntfs\tntfsinfo",
        "ntfs\tntfsls",
        "ntfs\tntfsfix",
        "disk: partition 1\tntfsinfo",
        "disk: partition 1\tntfsls",
        "disk: partition 1\tntfsfix",
        "disk: partition 2\tfsck.fat",
    ];
    let wanted: String = lines.iter().map(|line| format!("{line}\taccepted\n")).collect();
    assert_eq!((text.as_str(), code), (wanted.as_str(), 0));
    let (text, code) = run(&["bad"]);
    assert!(text.starts_with("bad\tfsck.fat\trefused\t") && code == 1, "{code}: {text}");
    assert_eq!(run(&["text"]), (String::new(), 2));
    assert_eq!(run(&["nothing"]), (String::new(), 2));
    assert!(
        fs::read(path("ntfs")).unwrap() == ntfs && fs::read(path("disk")).unwrap() == disk,
        "nothing written"
    );
    assert!(fs::read(path("bad")).unwrap() == fat, "nothing written");
}

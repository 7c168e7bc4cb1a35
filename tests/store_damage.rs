//! Each file of a store damaged by hand, and replaced by what nobody expects there: an undo gives the disk back to the byte, or
//! ends in words with no byte written; it never hangs, never panics, and writes nothing behind a link.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Case, Ran, judge};

/// One thing that is done to one file of a run's folder.
struct Way {
    name: &'static str,
    /// The file's path, the same file of another disk's run, and a file outside the store.
    apply: fn(&Path, &Path, &Path),
}

const WAYS: &[Way] = &[
    Way {
        name: "cut in the middle",
        apply: |file, _, _| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        },
    },
    Way { name: "empty", apply: |file, _, _| fs::write(file, b"").unwrap() },
    Way {
        name: "other bytes of the right length",
        apply: |file, _, _| {
            let length = fs::read(file).unwrap().len();
            fs::write(file, (0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>()).unwrap();
        },
    },
    Way {
        name: "one bit flipped",
        apply: |file, _, _| {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        },
    },
    Way {
        name: "longer than it was",
        apply: |file, _, _| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, [bytes.as_slice(), &[0x20; 4096]].concat()).unwrap();
        },
    },
    Way { name: "that of another disk", apply: |file, other, _| assert!(fs::copy(other, file).is_ok()) },
    Way { name: "missing", apply: |file, _, _| fs::remove_file(file).unwrap() },
    Way {
        name: "a link to the same bytes elsewhere",
        apply: |file, _, outside| {
            fs::rename(file, outside).unwrap();
            symlink(outside, file).unwrap();
        },
    },
    Way {
        name: "a link to nowhere",
        apply: |file, _, outside| {
            fs::remove_file(file).unwrap();
            symlink(outside.join("nowhere"), file).unwrap();
        },
    },
    Way {
        name: "a folder",
        apply: |file, _, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
    },
    Way {
        name: "a pipe that nobody writes to",
        apply: |file, _, _| {
            fs::remove_file(file).unwrap();
            judge(Command::new("mkfifo").arg(file));
        },
    },
];

/// The files of a run's folder.
fn files(run: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => files.extend(fs::read_dir(&entry).unwrap().map(|entry| entry.unwrap().path())),
            false => files.push(entry),
        }
    }
    let mut below: Vec<PathBuf> =
        files.iter().map(|file| file.strip_prefix(run).unwrap().to_owned()).collect();
    below.sort();
    below
}

#[test]
fn a_store_damaged_in_any_file_gives_the_disk_back_or_writes_nothing() {
    let (Some(case), Some(other)) = (Case::practice(), Case::with(&["--files", "70", "--size", "20M"]))
    else {
        return;
    };
    case.clean(&[]).exits(0);
    other.clean(&[]).exits(0);
    let cleaned = case.bytes();
    let run = case.runs()[0].clone();
    let kept = case.path("kept");
    judge(Command::new("cp").arg("-a").arg(case.store()).arg(&kept));
    let kept_run = kept.join(run.file_name().unwrap());
    let (mut back, mut refused) = (0, 0);
    let all = files(&run);
    let of_backups = all.iter().filter(|file| file.starts_with("backup")).skip(1).cloned();
    let too_many: Vec<PathBuf> = of_backups.collect();
    for file in all.into_iter().filter(|file| !too_many.contains(file)) {
        // What the journal has the digests of is part of the record, backups too, though an undo does not read them.
        let told_of = !["README.txt", "report.json"].map(Path::new).contains(&file.as_path());
        for way in WAYS {
            let what = format!("{}: {}", file.display(), way.name);
            fs::remove_dir_all(case.store()).unwrap();
            judge(Command::new("cp").arg("-a").arg(&kept).arg(case.store()));
            fs::write(&case.disk, &cleaned).unwrap();
            let outside = case.path("outside");
            let _ = fs::remove_file(&outside);
            (way.apply)(&run.join(&file), &other.runs()[0].join(&file), &outside);
            let outside_before = fs::read(&outside).ok();
            // A pipe would be waited for.
            let is_file = fs::metadata(run.join(&file)).is_ok_and(|found| found.is_file());
            let is_same =
                is_file && fs::read(run.join(&file)).unwrap() == fs::read(kept_run.join(&file)).unwrap();

            let store = case.store();
            let undo = case.on_disk(&["undo", "--yes", "--json", "--store", store.to_str().unwrap()]);
            let mut patient = Command::new("timeout");
            patient.arg("60").arg(undo.get_program()).args(undo.get_args());
            let ran = Ran::of(patient.env("HOME", case.path("home")));
            ran.require(ran.code != Some(124), &format!("{what}: an end within a minute"));
            ran.require(!format!("{}{}", ran.stdout, ran.stderr).contains("panicked"), &what);
            ran.require(fs::read(&outside).ok() == outside_before, &format!("{what}: nothing followed out"));
            match ran.code {
                Some(0) if way.name == "that of another disk" && file == Path::new("journal") => {
                    ran.says("nothing is to be taken back");
                    case.must_hold(&cleaned, &ran, &format!("{what}: nothing to be written"));
                }
                Some(0) => {
                    // A journal is held by its records, whose torn end is dropped; all else that it has a digest of by that.
                    let may_differ = !told_of || file == Path::new("journal");
                    ran.require(is_same || may_differ, &format!("{what}: a refusal"));
                    back += 1;
                    case.must_hold(&case.original, &ran, &format!("{what}: every byte back"));
                }
                Some(1 | 2) => {
                    refused += 1;
                    case.must_hold(&cleaned, &ran, &format!("{what}: nothing to be written"));
                    ran.require(told_of, &format!("{what}: an undo that goes without it"));
                    // Why, and of which file or run.
                    let name = file.file_name().unwrap().to_str().unwrap();
                    let all = format!("{}{}", ran.stdout, ran.stderr);
                    let run = run.file_name().unwrap().to_str().unwrap();
                    ran.require(all.contains(name) || all.contains(run), &format!("{what}: told in words"));
                }
                _ => ran.fail(&format!("{what}: expected an end in words")),
            }
        }
    }
    println!("{back} disks given back, {refused} left as they were");
    assert!(back > 20 && refused > 20, "{back} given back, {refused} left as they were");
}

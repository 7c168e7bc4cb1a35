//! Values that start the worm in the hives of users, and in that of the system's own account: each is cured and taken
//! back; one that cannot be read or written stops no other. Hives are read by hivexml and the `regf` crate.

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

use common::windows::{NT4, W2000, Windows, XP, edited, merged};
use common::{Case, RUN, RUN_VALUE, Ran};

const RUN_ONCE: &str = r"Microsoft\Windows\CurrentVersion\RunOnce";

/// `KEY`'s value that starts a worm, as the text of a .reg file has it.
fn start(key: &str, name: &str, data: &str) -> String {
    format!("[\\Software\\{key}]\n\"{name}\"=\"{}\"", data.replace('\\', r"\\").replace('"', "\\\""))
}

/// A disk whose SOFTWARE starts nothing: each value that does stands in the hives of `users`, by path and text. Those that
/// are not there are made from that of the practice disk's user.
fn with(windows: &Windows, filesystem: &str, users: &[(&str, &str)]) -> Option<Case> {
    let size = if filesystem == "fat32" { "36M" } else { "12M" };
    let options = ["--windows", windows.word, "--filesystem", filesystem, "--files", "50", "--size", size];
    let mut case = Case::with(&options)?;
    let (software, user) = (windows.hive("software"), windows.user());
    let files = case.files(&[software.clone(), user.clone(), windows.hive("DEFAULT")]);
    let mut all =
        vec![(software.clone(), merged(&files[&software], &format!("[\\{RUN}]\n\"{RUN_VALUE}\"=-")))];
    for (path, text) in users {
        let template = files.get(*path).unwrap_or(&files[&user]);
        all.push(((*path).to_owned(), merged(template, text)));
    }
    let all: Vec<(&str, Option<&[u8]>)> =
        all.iter().map(|(path, bytes)| (path.as_str(), Some(bytes.as_slice()))).collect();
    case.put(&all);
    case.settle();
    Some(case)
}

/// The hive, key and name of each value, with what became of it.
fn told(ran: &Ran) -> BTreeSet<(String, String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let of = |finding: &serde_json::Value| {
        let evidence = &finding["evidence"];
        let [hive, key, value] = ["hive", "key", "value"].map(|name| text(&evidence[name]));
        (hive, key, value, text(&finding["outcome"]))
    };
    ran.findings("autostart").iter().map(of).collect()
}

fn line(path: &str, key: &str, name: &str, outcome: &str) -> (String, String, String, String) {
    let hive = format!("\\{}", path.replace('/', "\\"));
    (hive, format!("Software\\{key}"), name.to_owned(), outcome.to_owned())
}

fn notes(ran: &Ran) -> String {
    let notes = ran.at("/targets/0/installs/0/notes");
    notes.as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_values_of_several_users_are_cured_and_taken_back() {
    for (windows, filesystem) in [(&NT4, "fat16"), (&W2000, "ntfs"), (&XP, "fat32")] {
        // FAT is filled without making folders: there one user must do.
        let other = match filesystem {
            "ntfs" => format!("{}/Anna/NTUSER.DAT", windows.homes),
            _ => format!("{}/Default User/NTUSER.DAT", windows.homes),
        };
        let (user, system) = (windows.user(), windows.hive("DEFAULT"));
        let short = format!("C:\\{}\\system32\\MSBLAST.EXE -x", windows.root);
        let Some(case) = with(
            windows,
            filesystem,
            &[
                (&user, &start(RUN, RUN_VALUE, "msblast.exe")),
                (&other, &start(RUN_ONCE, RUN_VALUE, &short)),
                (&system, &start(RUN, "something else", "\"msblast.exe\" I just want")),
            ],
        ) else {
            return;
        };
        let lines = |outcome: &str| {
            BTreeSet::from([
                line(&user, RUN, RUN_VALUE, outcome),
                line(&other, RUN_ONCE, RUN_VALUE, outcome),
                line(&system, RUN, "something else", outcome),
            ])
        };
        let scan = case.scan().exits(1);
        scan.require(scan.at("/verdict") == "infected", "infected");
        scan.require(told(&scan) == lines("none"), &format!("{:?}", told(&scan)));
        case.must_be_as_at_first(&scan);
        let paths = [user.clone(), other.clone(), system.clone()];
        let before = case.files(&paths);
        let clean = case.clean(&[]).exits(0);
        clean.require(told(&clean) == lines("verified"), &format!("{:?}", told(&clean)));
        for (path, after) in case.files(&paths) {
            let found = edited(&case, &path, &before[&path], &after);
            let hive = format!("\\{}", path.replace('/', "\\"));
            let wanted = lines("").into_iter().filter(|line| line.0 == hive);
            let wanted: BTreeSet<String> =
                wanted.map(|(_, key, name, _)| format!("{key} [{name}]")).collect();
            clean.require(found == wanted, &format!("{path}: {wanted:?}, found {found:?}"));
        }
        case.scan().exits(0);
        let undone = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&undone);
    }
}

/// One hive is noise, one is cut short: both are named, and stop nothing.
#[test]
fn a_hive_of_a_user_that_cannot_be_read_stops_nothing() {
    let user = XP.user();
    let Some(mut case) = with(&XP, "ntfs", &[(&user, &start(RUN, RUN_VALUE, "msblast.exe"))]) else { return };
    let sound = case.file(&user);
    let (noise, short) = (format!("{}/Noise/NTUSER.DAT", XP.homes), format!("{}/Short/NTUSER.DAT", XP.homes));
    case.put(&[(&noise, Some(&[0xa7; 9000])), (&short, Some(&sound[..sound.len() / 2]))]);
    case.settle();
    let clean = case.clean(&[]).exits(0);
    clean.require(clean.at("/verdict") == "cleaned", "cleaned");
    clean.require(
        told(&clean) == BTreeSet::from([line(&user, RUN, RUN_VALUE, "verified")]),
        "the other user's",
    );
    for name in ["Noise\\NTUSER.DAT could not be read", "Short\\NTUSER.DAT could not be read"] {
        clean.require(notes(&clean).contains(name), name);
    }
    clean.require(case.file(&noise) == [0xa7; 9000], "untouched");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

/// What NTFS keeps compressed is read, and not written in place: what it holds is left in words, the rest is cured.
#[test]
fn a_compressed_hive_of_a_user_is_left_in_words() {
    let user = W2000.user();
    let Some(mut case) = with(&W2000, "ntfs", &[(&user, &start(RUN, RUN_VALUE, "msblast.exe"))]) else {
        return;
    };
    let sound = case.file(&user);
    let other = format!("{}/Packed/NTUSER.DAT", W2000.homes);
    case.mounted(true, |root| {
        let folder = root.join(W2000.homes).join("Packed");
        fs::create_dir_all(&folder).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&folder, "system.ntfs_attrib", &0x810_u32.to_le_bytes(), flags).unwrap();
        fs::write(folder.join("NTUSER.DAT"), &sound).unwrap();
    });
    case.settle();
    let clean = case.clean(&[]).exits(1);
    clean.require(clean.at("/verdict") == "infected", "infected: a value is left");
    let wanted =
        BTreeSet::from([line(&user, RUN, RUN_VALUE, "verified"), line(&other, RUN, RUN_VALUE, "left")]);
    clean.require(told(&clean) == wanted, &format!("{:?}", told(&clean)));
    let all = clean.findings("autostart");
    let left = all.iter().find(|finding| finding["outcome"] == "left").unwrap();
    clean.require(left["why"].as_str().unwrap().contains("compressed"), "why");
    clean.require(clean.finding("worm_file")["outcome"] == "verified", "the worm inert");
    clean.require(case.file(&other) == sound, "untouched");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

/// Two records of the file table claim the path of one user's hive: which of them Windows loads is told by no one, so
/// neither is written.
#[test]
fn a_hive_that_two_files_claim_to_be_is_not_written() {
    let (user, other) = (XP.user(), format!("{}/Anna/NTUSER.DAT", XP.homes));
    let text = start(RUN, RUN_VALUE, "msblast.exe");
    let Some(mut case) = with(&XP, "ntfs", &[(&user, &text), (&other, &text)]) else { return };
    // The name in the record of the second one, and its parent: as chkdsk finds it where a directory was lost.
    let listing = case.listing();
    let folder = |path: &str| -> u64 {
        let id = &listing[path.rsplit_once('/').unwrap().0];
        id.split('-').next().unwrap().parse().unwrap()
    };
    let (from, to) = (folder(&other), folder(&user));
    let mut disk = case.bytes();
    let record: usize = listing[&other].split('-').next().unwrap().parse().unwrap();
    let places: Vec<usize> = (0..disk.len() - 1024)
        .step_by(512)
        .filter(|&at| {
            disk[at..].starts_with(b"FILE") && disk[at + 0x2c..at + 0x30] == (record as u32).to_le_bytes()
        })
        .collect();
    let name = common::utf16("NTUSER.DAT");
    let mut moved = 0;
    for at in places {
        for field in at..at + 1024 - name.len() {
            let parent = field.wrapping_sub(0x42);
            if disk[field..].starts_with(&name) && parent >= at {
                let number = u64::from_le_bytes(disk[parent..parent + 8].try_into().unwrap());
                if number & 0xffff_ffff_ffff == from {
                    let sequence = sequence_of(&disk, to);
                    disk[parent..parent + 8].copy_from_slice(&(to | sequence << 48).to_le_bytes());
                    moved += 1;
                }
            }
        }
    }
    assert!(moved > 0, "the record names its folder");
    fs::write(&case.disk, disk).unwrap();
    case.settle();
    let before = case.file(&user);
    let clean = case.clean(&[]);
    clean.require(notes(&clean).contains("is claimed by more than one file"), "why");
    clean.require(told(&clean).is_empty(), "no value of either is believed");
    clean.require(case.file(&user) == before, "neither is written");
    clean.exits(0);
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

/// The sequence number of an MFT record of NTFS 3.1, which bears its own number.
fn sequence_of(disk: &[u8], record: u64) -> u64 {
    let number = u32::try_from(record).unwrap().to_le_bytes();
    let is_it = |at: &usize| disk[*at..].starts_with(b"FILE") && disk[at + 0x2c..at + 0x30] == number;
    let at = (0..disk.len() - 1024).step_by(512).find(is_it).unwrap();
    u16::from_le_bytes([disk[at + 16], disk[at + 17]]).into()
}

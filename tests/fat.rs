//! Windows on FAT32 and FAT16: found, cleaned and given back as on NTFS; trouble is refused and changes nothing.
//! Judged by mtools, fsck.fat and The Sleuth Kit.

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

use common::hives::value;
use common::volume::extract;
use common::{
    Case, DELETION, Journal, OLE, PENDING, RUN, RUN_VALUE, Ran, SECTOR, SESSION, SOFTWARE, START, SYSTEM,
    WORM, changed_sectors, judge, quarantined, unhex, utf16,
};
use serde_json::Value;

const KINDS: [&str; 2] = ["fat32", "fat16"];
const SMALL: [&str; 4] = ["--files", "60", "--size", "40M"];

fn with(filesystem: &'static str, options: &[&'static str]) -> Option<Case> {
    Case::with(&[&SMALL[..], &["--filesystem", filesystem], options].concat())
}

/// The findings of all checks, without what tells where on its volume a file is.
fn findings(ran: &Ran) -> Vec<Value> {
    let mut all = ran.at("/targets/0/installs/0/findings").as_array().unwrap().clone();
    for finding in &mut all {
        let evidence = finding["evidence"].as_object_mut().unwrap();
        let places = ["mft_record", "directory_entry"].map(|name| evidence.remove(name));
        assert!(places.iter().flatten().count() <= 1);
    }
    all
}

/// What fsck.fat says of the volume, without changing it.
#[track_caller]
fn fsck(case: &Case) -> String {
    let volume = case.path("fsck.img");
    extract(&case.disk, &volume);
    let output = Command::new("fsck.fat").args(["-n", "-v"]).arg(&volume).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A file by mtools.
#[track_caller]
fn mtype(case: &Case, path: &str) -> Vec<u8> {
    let volume = case.path("mtools.img");
    extract(&case.disk, &volume);
    judge(Command::new("mtype").arg("-i").arg(&volume).arg(format!("::{path}")).env("LC_ALL", "C.UTF-8"))
}

/// The clusters of a file, by mtools, in their order.
#[track_caller]
fn clusters(case: &Case, path: &str) -> Vec<u32> {
    let volume = case.path("mtools.img");
    extract(&case.disk, &volume);
    let text = judge(Command::new("mshowfat").arg("-i").arg(&volume).arg(format!("::{path}")));
    let text = String::from_utf8(text).unwrap();
    let runs = text.split(['<', '>']).skip(1).step_by(2);
    runs.flat_map(|run| {
        let mut ends = run.split('-').map(|number| number.parse::<u32>().unwrap());
        let first = ends.next().unwrap();
        first..=ends.next().unwrap_or(first)
    })
    .collect()
}

/// Where the FATs are, by the boot sector.
struct Fats {
    wide: bool,
    first: usize,
    size: usize,
}

impl Fats {
    fn of(disk: &[u8]) -> Self {
        let number = |at: usize| usize::from(u16::from_le_bytes([disk[START + at], disk[START + at + 1]]));
        let wide = number(22) == 0;
        let sectors = if wide { number(36) } else { number(22) };
        Self { wide, first: START + number(14) * SECTOR, size: sectors * SECTOR }
    }

    /// Puts a number into the entry of a cluster, in both FATs.
    fn link(&self, disk: &mut [u8], cluster: u32, to: u32) {
        for fat in 0..2 {
            let start = self.first + fat * self.size;
            if self.wide {
                let at = start + cluster as usize * 4;
                disk[at..at + 4].copy_from_slice(&to.to_le_bytes());
            } else {
                let at = start + cluster as usize * 2;
                disk[at..at + 2].copy_from_slice(&(to as u16).to_le_bytes());
            }
        }
    }
}

#[test]
fn the_same_tree_gives_the_same_findings_as_on_ntfs() {
    let Some(ntfs) = Case::with(&SMALL) else { return };
    let (scanned, cleaned) = (ntfs.scan().exits(1), ntfs.clean(&[]).exits(0));
    for kind in KINDS {
        let case = with(kind, &[]).unwrap();
        let ran = case.scan().exits(1);
        assert_eq!(findings(&ran), findings(&scanned), "{kind}");
        assert!(findings(&ran).len() >= 3);
        let volume = ran.at("/targets/0/volumes/0");
        ran.require(volume["filesystem"] == kind.to_uppercase().as_str(), "the file system");
        ran.require(volume["problem"].is_null() && volume["state"] == serde_json::json!([]), "nothing amiss");
        case.must_be_as_at_first(&ran);
        let ran = case.clean(&[]).exits(0);
        assert_eq!(findings(&ran), findings(&cleaned), "{kind}");
        let undone = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&undone);
    }
}

#[test]
fn clean_writes_what_the_journal_says_and_undo_gives_the_disk_back() {
    for kind in KINDS {
        let Some(case) = with(kind, &[]) else { return };
        let (worm, metadata, told) = (mtype(&case, WORM), case.metadata(), fsck(&case));
        let files = case.listing();
        let ran = case.clean(&[]).exits(0);

        // by others: the worm, the hives, the names and times, what fsck.fat has to say
        ran.require(mtype(&case, WORM) == vec![0; worm.len()], "the worm to read as zeros, by mtools");
        ran.require(case.file(WORM) == vec![0; worm.len()], "the worm to read as zeros, by icat");
        let (software, system) = (mtype(&case, SOFTWARE), mtype(&case, SYSTEM));
        ran.require(value(&software, RUN, RUN_VALUE).is_none(), "the Run value to be gone");
        ran.require(value(&software, OLE, "EnableDCOM") == Some((1, utf16("N\0"))), "DCOM to be off");
        let pending = value(&system, SESSION, PENDING).unwrap().1;
        let deletion = utf16(DELETION);
        ran.require(
            pending.windows(deletion.len()).any(|part| part == deletion),
            "the deletion to be pending",
        );
        ran.require(case.metadata() == metadata, "names, sizes and times as before, by fls");
        ran.require(fsck(&case) == told, "fsck.fat to have nothing new to say");
        for path in files.keys().filter(|path| path.ends_with(".dll")).take(5) {
            ran.require(mtype(&case, path) == Case::of(case.original.clone()).file(path), path);
        }

        // the journal: every sector that changed is named
        let runs = case.runs();
        let journal = Journal::read(&runs[0]);
        let mut image = case.original.clone();
        journal.replay(&mut image, usize::MAX);
        case.must_hold(&image, &ran, "the journal to lead from the disk before to the disk after");
        let changed = changed_sectors(&case.original, &image);
        ran.require(
            !changed.is_empty() && changed.is_subset(&journal.sectors()),
            "each sector in the journal",
        );
        let id = &journal.header["files"][journal.file("msblast.exe")]["id"];
        let place = ran.finding("worm_file")["evidence"]["directory_entry"].clone();
        ran.require(id["filesystem"] == "fat" && id["entry"] == place, "the identity");

        // the quarantine
        ran.require(quarantined(&runs[0].join("quarantine/0001.bin")) == worm, "the worm in quarantine");
        let manifest = fs::read_to_string(runs[0].join("quarantine/manifest.json")).unwrap();
        let entry: Value = serde_json::from_str::<Value>(&manifest).unwrap()["files"][0].clone();
        let entries = unhex(entry["directory_entries"].as_str().unwrap());
        let at = START + usize::try_from(place.as_u64().unwrap()).unwrap() + 32;
        ran.require(case.original[at - entries.len()..at] == entries, "its directory entries");
        ran.require(entries[entries.len() - 32..].starts_with(b"MSBLAST EXE"), "its 8.3 name");
        ran.require(entry.get("mft_record").is_none(), "no MFT record");

        let cleaned = case.bytes();
        let again = case.clean(&[]).exits(0);
        case.must_hold(&cleaned, &again, "a second clean to change nothing");
        let undone = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&undone);
    }
}

/// The power is cut behind each write; the next clean ends clean, the next undo gives the disk back.
#[test]
fn a_run_that_was_cut_is_finished_or_taken_back() {
    for kind in KINDS {
        let Some(case) = with(kind, &[]) else { return };
        case.clean(&[]).exits(0);
        let cleaned = case.bytes();
        let journal = Journal::read(&case.runs()[0]);
        for cut in (0..journal.intents.len()).step_by(3) {
            let mut image = case.original.clone();
            journal.replay(&mut image, cut);
            let torn = Case::of(image);
            judge(Command::new("cp").arg("-r").arg(case.store()).arg(torn.store()));
            let ran = torn.undo(&[]).exits(0);
            torn.must_hold(&case.original, &ran, &format!("the disk as it was, cut behind {cut} writes"));
            let ran = torn.clean(&[]).exits(0);
            ran.require(mtype(&torn, WORM) == vec![0; 6176], "the worm to be inert");
            ran.require(torn.bytes().len() == cleaned.len(), "the same disk");
        }
    }
}

/// Chains that share a cluster with the worm's file or with a hive: refused, the other named, no byte changed.
#[test]
fn chains_that_share_a_cluster_are_refused() {
    const OTHER: &str = "WINDOWS/explorer.exe";
    for kind in KINDS {
        let Some(case) = with(kind, &[]) else { return };
        let other = case.listing().keys().find(|path| path.ends_with("ntoskrnl.exe")).cloned();
        let other = other.unwrap_or_else(|| OTHER.to_owned());
        let others = clusters(&case, &other);
        let fats = Fats::of(&case.original);
        for (victim, number) in [(WORM, 0), (WORM, 1), (SOFTWARE, 3), (SYSTEM, 0)] {
            let target = clusters(&case, victim)[number];
            let mut image = case.original.clone();
            fats.link(&mut image, others[0], target);
            let shared = Case::of(image);
            shared.scan().exits(1);
            let ran = shared.clean(&[]).exits(2);
            shared.must_be_as_at_first(&ran);
            ran.says(&format!("\\\\{}", other.replace('/', "\\\\")));
            ran.says("uses it too");
            ran.says("chkdsk");
        }
        // The hive's own chain, made a loop.
        let software = clusters(&case, SOFTWARE);
        let mut image = case.original.clone();
        fats.link(&mut image, *software.last().unwrap(), software[1]);
        let looped = Case::of(image);
        let ran = looped.clean(&[]);
        looped.must_be_as_at_first(&ran);
        ran.require(ran.code == Some(2), "exit code 2").says("its chain goes on behind");
    }
}

#[test]
fn a_hibernated_windows_forbids_writing() {
    for kind in KINDS {
        let Some(case) = with(kind, &["--state", "hibernated"]) else { return };
        let ran = case.clean(&[]).exits(2);
        ran.says("is hibernated").says("hiberfil.sys");
        case.must_be_as_at_first(&ran);
    }
}

#[test]
fn a_dirty_volume_is_cleaned_and_stays_as_dirty_as_it_was() {
    for kind in KINDS {
        let Some(case) = with(kind, &["--state", "dirty"]) else { return };
        let ran = case.clean(&[]).exits(0);
        ran.says("its dirty flag is set").says("not shut down cleanly");
        let (before, now) = (case.original[START..].chunks(SECTOR), case.bytes());
        let fats = Fats::of(&now);
        let reserved_and_fats = (fats.first + 2 * fats.size - START) / SECTOR;
        for (index, sector) in before.take(reserved_and_fats).enumerate() {
            let at = START + index * SECTOR;
            ran.require(now[at..at + SECTOR] == *sector, "boot sector and FATs not to be touched");
        }
        let undone = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&undone);
    }
}

/// FATs that differ somewhere else are said and no obstacle; where a file to be written is concerned they are one.
#[test]
fn fats_that_differ_are_said() {
    for kind in KINDS {
        let Some(case) = with(kind, &[]) else { return };
        let fats = Fats::of(&case.original);
        let width = if fats.wide { 4 } else { 2 };
        let mut image = case.original.clone();
        let own = fats.first + fats.size + clusters(&case, WORM)[0] as usize * width;
        image[own] ^= 0x10;
        let concerned = Case::of(image);
        let ran = concerned.clean(&[]).exits(2);
        ran.says("its two FATs differ over 1 clusters").says("FAT 2 has");
        concerned.must_be_as_at_first(&ran);

        let mut image = case.original.clone();
        let entry = |cluster: usize| fats.first + cluster * width;
        let is_free =
            |&cluster: &usize| image[entry(cluster)..entry(cluster + 1)].iter().all(|&byte| byte == 0);
        let free = (2..).find(is_free).unwrap();
        image[entry(free) + fats.size..entry(free + 1) + fats.size].fill(0xff);
        let elsewhere = Case::of(image);
        let ran = elsewhere.clean(&[]).exits(0);
        ran.says(&format!("the first of them {free}"));
        let undone = elsewhere.undo(&[]).exits(0);
        elsewhere.must_be_as_at_first(&undone);
    }
}

/// FAT has no sequence numbers: a new file may have the worm's entry and clusters. It is not given the worm's bytes.
#[test]
fn a_new_file_in_the_same_place_is_left() {
    for kind in KINDS {
        let Some(case) = with(kind, &[]) else { return };
        let ran = case.clean(&[]).exits(0);
        let place = ran.finding("worm_file")["evidence"]["directory_entry"].as_u64().unwrap();
        let mut bytes = case.bytes();
        let at = START + usize::try_from(place).unwrap();
        assert_eq!(&bytes[at..at + 11], b"MSBLAST EXE");
        bytes[at..at + 11].copy_from_slice(b"NEWFILE DAT");
        fs::write(&case.disk, &bytes).unwrap();
        let ran = case.undo(&[]).exits(1);
        ran.require(ran.remarks().contains("no longer that file"), "the reason in words");
        ran.require(mtype(&case, "WINDOWS/system32/NEWFILE.DAT") == vec![0; 6176], "not to be touched");
        ran.require(value(&mtype(&case, SOFTWARE), RUN, RUN_VALUE).is_some(), "the rest to be taken back");
    }
}

#[test]
fn a_directory_that_cannot_be_read_leaves_the_verdict_open() {
    for kind in KINDS {
        let Some(case) = with(kind, &["--infect", "none"]) else { return };
        case.scan().exits(1);
        let mut image = case.original.clone();
        let folder = clusters(&case, "WINDOWS/system32");
        Fats::of(&image).link(&mut image, folder[0], 1);
        let damaged = Case::of(image);
        let ran = damaged.scan().exits(2);
        ran.says("parts of the file table could not be read").says("expected the cluster behind");
        let ran = damaged.clean(&[]).exits(2);
        damaged.must_be_as_at_first(&ran);
    }
}

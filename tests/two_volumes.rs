//! A disk with two partitions and a Windows on each: one run over both, taken back whole or one partition alone.

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
use std::ops::Range;
use std::process::Command;

use common::hives::value;
use common::{Case, Journal, RUN, RUN_VALUE, Ran, SECTOR, SOFTWARE, START, WORM, judge};

/// Where the boot sector keeps how many sectors lie before the volume, and its serial number.
const HIDDEN: usize = 0x1c;
const SERIAL: usize = 0x48;

/// Two practice disks as one: the second volume behind the first, with a serial number of its own.
struct Two {
    case: Case,
    /// The places of the two volumes on the disk.
    volumes: [Range<usize>; 2],
}

/// The volume of a practice disk, as its partition table tells.
fn volume_of(disk: &[u8]) -> &[u8] {
    let sectors = u32::from_le_bytes(disk[446 + 12..446 + 16].try_into().unwrap());
    &disk[START..START + usize::try_from(sectors).unwrap() * SECTOR]
}

impl Two {
    fn new() -> Option<Self> {
        let mut disk = common::practice(&["--files", "60", "--size", "16M"])?;
        let other = common::practice(&["--files", "30", "--size", "14M"])?;
        let first = START..START + volume_of(&disk).len();
        let mut second = volume_of(&other).to_vec();
        let start = disk.len() + START;
        let sectors = |bytes: usize| u32::try_from(bytes / SECTOR).unwrap().to_le_bytes();
        // The boot sector has a copy in the partition's last sector.
        let last = second.len() - SECTOR;
        for at in [0, last] {
            second[at + HIDDEN..at + HIDDEN + 4].copy_from_slice(&sectors(start));
            second[at + SERIAL + 7] ^= 0x55;
        }
        // Entry 2 of the partition table: not active, NTFS, beyond what cylinders can tell.
        let mut entry = [0, 0xfe, 0xff, 0xff, 7, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        entry[8..12].copy_from_slice(&sectors(start));
        entry[12..].copy_from_slice(&sectors(second.len()));
        disk[446 + 16..446 + 32].copy_from_slice(&entry);
        disk.resize(start, 0);
        disk.extend_from_slice(&second);
        let volumes = [first, start..disk.len()];
        Some(Self { case: Case::of(disk), volumes })
    }

    /// One partition's image alone, of this state of the whole disk, with a copy of the store.
    fn part(&self, index: usize, disk: &[u8]) -> Case {
        let part = Case::of(disk[self.volumes[index].clone()].to_vec());
        judge(Command::new("cp").arg("-r").arg(self.case.store()).arg(part.store()));
        part
    }

    fn original(&self, index: usize) -> &[u8] {
        &self.case.original[self.volumes[index].clone()]
    }

    /// The files of a journal that lie on one of the volumes.
    fn files_on(&self, journal: &Journal, index: usize) -> BTreeSet<usize> {
        let start = self.volumes[index].start;
        let on = |file: &serde_json::Value| {
            let volume = usize::try_from(file["volume"].as_u64().unwrap()).unwrap();
            journal.header["volumes"][volume]["start"] == start
        };
        let files = journal.header["files"].as_array().unwrap().iter();
        files.enumerate().filter(|(_, file)| on(file)).map(|(index, _)| index).collect()
    }
}

/// A file of a volume's image, by The Sleuth Kit.
#[track_caller]
fn file(volume: &[u8], path: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("volume.img");
    fs::write(&image, volume).unwrap();
    let listing = String::from_utf8(judge(Command::new("fls").args(["-r", "-p", "-u"]).arg(&image))).unwrap();
    let line = listing.lines().find(|line| line.ends_with(&format!(":\t{path}"))).unwrap();
    let id = line.split_once(":\t").unwrap().0.rsplit(' ').next().unwrap();
    judge(Command::new("icat").arg(&image).arg(id))
}

#[track_caller]
fn must_be_cured(volume: &[u8], ran: &Ran) {
    ran.require(file(volume, WORM).iter().all(|&byte| byte == 0), "an inert worm");
    ran.require(value(&file(volume, SOFTWARE), RUN, RUN_VALUE).is_none(), "no Run value");
}

#[track_caller]
fn verdicts(ran: &Ran) -> Vec<String> {
    let installs = ran.at("/targets/0/installs");
    installs.as_array().unwrap().iter().map(|install| install["verdict"].as_str().unwrap().into()).collect()
}

#[test]
fn both_are_listed_cured_in_one_run_and_taken_back() {
    let Some(two) = Two::new() else { return };
    let case = &two.case;
    let ran = case.scan().exits(1);
    assert_eq!(verdicts(&ran), ["infected", "infected"]);
    let ran = case.clean(&[]).exits(0);
    assert_eq!(verdicts(&ran), ["cleaned", "cleaned"]);
    assert_eq!(case.runs().len(), 1, "one run");
    let cleaned = case.bytes();
    for volume in &two.volumes {
        must_be_cured(&cleaned[volume.clone()], &ran);
    }
    let journal = Journal::read(&case.runs()[0]);
    for index in 0..2 {
        assert_eq!(two.files_on(&journal, index).len(), 3, "the worm and two hives of each");
    }
    let ran = case.clean(&[]).exits(0);
    case.must_hold(&cleaned, &ran, "a second clean to change no byte");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_run_of_both_is_taken_back_on_one_alone() {
    let Some(two) = Two::new() else { return };
    two.case.clean(&[]).exits(0);
    let cleaned = two.case.bytes();
    for index in 0..2 {
        let part = two.part(index, &cleaned);
        let at_first = part.bytes();
        let ran = part.storing(&["undo", "--dry-run", "--json"], &[]).exits(1);
        part.must_hold(&at_first, &ran, "a dry run to change no byte");
        let ran = part.undo(&[]).exits(1);
        part.must_hold(two.original(index), &ran, "that part's bytes back");
        let remarks = ran.remarks();
        let left: Vec<&str> = remarks.lines().filter(|line| line.starts_with("left:")).collect();
        ran.require(left.len() == 4, "the four changes of the other part to be left");
        ran.require(
            left.iter().all(|line| line.contains("the target does not have the volume")),
            "why they are left",
        );
        ran.require(left.iter().any(|line| line.contains("msblast.exe")), "the other's worm to be named");
        ran.require(left.iter().any(|line| line.contains(RUN_VALUE)), "the other's Run value to be named");
        let ran = part.undo(&[]).exits(0);
        part.must_hold(two.original(index), &ran, "nothing more to change");
        // The other part was not reached: the whole disk, put together again, can still be taken back.
        let mut whole = cleaned.clone();
        whole[two.volumes[index].clone()].copy_from_slice(&part.bytes());
        let again = Case::of(whole);
        judge(Command::new("cp").arg("-r").arg(two.case.store()).arg(again.store()));
        let ran = again.undo(&[]).exits(0);
        again.must_hold(&two.case.original, &ran, "every byte of both back");
    }
}

/// The run was cut; only the partition on which it was is treated further.
#[test]
fn a_run_that_was_cut_in_one_is_taken_back_there_before_it_is_cured() {
    let Some(two) = Two::new() else { return };
    two.case.clean(&[]).exits(0);
    let journal = Journal::read(&two.case.runs()[0]);
    for index in [1, 0] {
        let files = two.files_on(&journal, index);
        let own: Vec<usize> =
            (0..journal.intents.len()).filter(|&at| files.contains(&journal.intents[at].file)).collect();
        // Behind the first write of that volume, in the midst of a hive, before the last.
        let cuts = [own[own.len() / 2], own[0] + 1, own[own.len() - 1]];
        for &cut in if index == 1 { &cuts[..] } else { &cuts[..1] } {
            let mut torn = two.case.original.clone();
            journal.replay(&mut torn, cut);
            let part = two.part(index, &torn);
            let before = part.bytes();
            let ran = part.storing(&["clean", "--dry-run", "--json"], &[]).exits(2);
            part.must_hold(&before, &ran, "a dry run to change no byte");
            let ran = part.clean(&[]).exits(0);
            ran.require(verdicts(&ran) == ["cleaned"], &format!("a cure, cut behind {cut}"));
            ran.says("was cut, was taken back first");
            must_be_cured(&part.bytes(), &ran);
            let ran = part.undo(&[]).exits(0);
            part.must_hold(two.original(index), &ran, &format!("every byte of it back, cut behind {cut}"));

            // On the whole disk the same.
            let whole = Case::of(torn);
            judge(Command::new("cp").arg("-r").arg(two.case.store()).arg(whole.store()));
            let ran = whole.undo(&[]).exits(0);
            whole.must_hold(&two.case.original, &ran, "every byte of both back");
        }
    }
}

/// A later run lies on the volume that cannot be opened: the earlier one on the other volume must not pass for the last.
#[test]
fn a_later_run_on_a_volume_that_cannot_be_opened_is_not_passed_over() {
    let Some(two) = Two::new() else { return };
    let first = Case::of(two.original(0).to_vec());
    first.clean(&[]).exits(0);
    let second = Case::of(two.original(1).to_vec());
    judge(Command::new("cp").arg("-r").arg(first.store()).arg(second.store()));
    second.clean(&[]).exits(0);
    let mut disk = two.case.original.clone();
    disk[two.volumes[0].clone()].copy_from_slice(&first.bytes());
    disk[two.volumes[1].clone()].copy_from_slice(&second.bytes());
    // Where the file table lies: far beyond the volume.
    let start = two.volumes[1].start;
    disk[start + 0x30..start + 0x38].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let whole = Case::of(disk);
    judge(Command::new("cp").arg("-r").arg(second.store()).arg(whole.store()));
    let [earlier, later] = &whole.runs()[..] else { panic!("{:?}", whole.runs()) };
    let name = |run: &std::path::Path| run.file_name().unwrap().to_str().unwrap().to_owned();
    let ran = whole.undo(&[]).exits(2);
    ran.says("cannot be told; name one with --run").says(&name(later));
    whole.must_be_as_at_first(&ran);
    let ran = whole.undo(&["--run", &name(earlier)]).exits(0);
    ran.require(
        whole.bytes()[two.volumes[0].clone()] == *two.original(0),
        "the one that was named taken back",
    );
}

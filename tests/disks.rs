//! Disks as technicians find them: a Windows on a logical drive, on a GPT, on a drive that is not C:; and those that are
//! read and judged and never written, each named in words.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use common::hives::{multi, value};
use common::{
    Case, Journal, PENDING, RUN, RUN_VALUE, Ran, SECTOR, SESSION, SOFTWARE, START, SYSTEM, WORM,
    changed_sectors, judge,
};

/// Where a boot sector keeps how many sectors lie before the volume.
const HIDDEN: usize = 0x1c;

/// The volume of the usual practice disk; `drive`: the letter that its SystemRoot is to have.
fn windows(drive: char) -> Option<Vec<u8>> {
    let case = Case::practice()?;
    if drive != 'C' {
        case.edit_hive(
            SOFTWARE,
            &format!("[\\Microsoft\\Windows NT\\CurrentVersion]\n\"SystemRoot\"=\"{drive}:\\\\WINDOWS\""),
        );
    }
    let disk = case.bytes();
    let sectors = u32::from_le_bytes(disk[446 + 12..446 + 16].try_into().unwrap());
    Some(disk[START..START + usize::try_from(sectors).unwrap() * SECTOR].to_vec())
}

fn number(sectors: usize) -> [u8; 4] {
    u32::try_from(sectors).unwrap().to_le_bytes()
}

fn entry(disk: &mut [u8], at: usize, kind: u8, first: usize, count: usize) {
    let mut entry = vec![0, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff];
    entry.extend(number(first));
    entry.extend(number(count));
    disk[at..at + 16].copy_from_slice(&entry);
}

/// Puts a volume at a sector of a disk that is made as large as it takes.
fn put(disk: &mut Vec<u8>, sector: usize, volume: &[u8]) {
    let start = sector * SECTOR;
    disk.resize(disk.len().max(start + volume.len()), 0);
    disk[start..start + volume.len()].copy_from_slice(volume);
    for at in [start, start + volume.len() - SECTOR] {
        disk[at + HIDDEN..at + HIDDEN + 4].copy_from_slice(&number(sector));
    }
}

/// A disk as Windows XP lays it out: a small partition, then the Windows on a logical drive.
fn on_a_logical_drive(volume: &[u8]) -> (Vec<u8>, usize) {
    let (primary, extended) = (16065 - 63, 16065);
    let mut disk = vec![0; (extended + 63) * SECTOR];
    let count = volume.len() / SECTOR;
    entry(&mut disk, 446, 0x83, 63, primary);
    disk[446] = 0x80;
    entry(&mut disk, 462, 0x0f, extended, count + 63);
    let boot_record = extended * SECTOR;
    entry(&mut disk, boot_record + 446, 7, 63, count);
    for at in [510, boot_record + 510] {
        disk[at..at + 2].copy_from_slice(&[0x55, 0xaa]);
    }
    put(&mut disk, extended + 63, volume);
    (disk, extended + 63)
}

/// A file of the volume at a sector, by The Sleuth Kit.
#[track_caller]
fn file(case: &Case, sector: usize, path: &str) -> Vec<u8> {
    let offset = sector.to_string();
    let listing = judge(Command::new("fls").args(["-r", "-p", "-u", "-o", &offset]).arg(&case.disk));
    let listing = String::from_utf8(listing).unwrap();
    let line = listing.lines().find(|line| line.ends_with(&format!(":\t{path}"))).unwrap();
    let id = line.split_once(":\t").unwrap().0.rsplit(' ').next().unwrap().to_owned();
    judge(Command::new("icat").args(["-o", &offset]).arg(&case.disk).arg(id))
}

/// The whole way on a disk whose Windows lies at a sector and calls itself a drive.
#[track_caller]
fn scanned_cleaned_and_taken_back(disk: Vec<u8>, sector: usize, drive: char) {
    let case = Case::of(disk);
    let ran = case.scan().exits(1);
    ran.require(ran.at("/targets/0/installs/0/verdict") == "infected", "a worm to be found");
    let start = ran.at("/targets/0/installs/0/volume/start");
    ran.require(start == sector * SECTOR, "the volume's start");
    case.must_be_as_at_first(&ran);
    let ran = case.clean(&[]).exits(0);
    ran.require(file(&case, sector, WORM).iter().all(|&byte| byte == 0), "an inert worm");
    ran.require(value(&file(&case, sector, SOFTWARE), RUN, RUN_VALUE).is_none(), "no Run value");
    let pending = value(&file(&case, sector, SYSTEM), SESSION, PENDING).unwrap();
    let wanted = format!("\\??\\{drive}:\\WINDOWS\\system32\\msblast.exe");
    assert_eq!(pending, (7, multi(&[&wanted, ""])), "what Windows is to delete");
    let journal = Journal::read(&case.runs()[0]);
    assert!(
        changed_sectors(&case.original, &case.bytes()).is_subset(&journal.sectors()),
        "only what the journal names"
    );
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_windows_on_a_logical_drive_d() {
    let Some(volume) = windows('D') else { return };
    let (disk, sector) = on_a_logical_drive(&volume);
    scanned_cleaned_and_taken_back(disk, sector, 'D');
}

#[test]
fn a_windows_on_a_gpt() {
    let Some(volume) = windows('F') else { return };
    let mut disk = vec![0; 2048 * SECTOR];
    put(&mut disk, 2048, &volume);
    disk.resize(disk.len() + (1 << 20), 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    fs::write(&path, &disk).unwrap();
    let script = format!(
        "label: gpt\nstart=2048, size={}, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n",
        volume.len() / SECTOR
    );
    let mut sfdisk = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    scanned_cleaned_and_taken_back(fs::read(&path).unwrap(), 2048, 'F');
}

/// The usual practice disk with room behind its partition.
fn practice() -> Option<(Vec<u8>, usize)> {
    let mut disk = common::practice(&["--files", "60", "--size", "16M"])?;
    let end = START + volume_size(&disk);
    disk.resize(disk.len().max(end) + (4 << 20), 0);
    Some((disk, end))
}

fn volume_size(disk: &[u8]) -> usize {
    let sectors = u32::from_le_bytes(disk[446 + 12..446 + 16].try_into().unwrap());
    usize::try_from(sectors).unwrap() * SECTOR
}

/// A disk that is judged like any other, and of which no byte is written whatever is asked for.
#[track_caller]
fn judged_and_never_written(disk: Vec<u8>, words: &[&str]) -> Ran {
    let case = Case::of(disk);
    let ran = case.scan().exits(1);
    ran.require(ran.at("/targets/0/installs/0/verdict") == "infected", "a verdict all the same");
    words.iter().for_each(|words| {
        ran.says(words);
    });
    for options in [&[][..], &["--hibernation", "discard"]] {
        let ran = case.clean(options).exits(2);
        words.iter().for_each(|words| {
            ran.says(words);
        });
        let why = ran.at("/targets/0/installs/0/problems").to_string();
        ran.require(why.contains("this Windows was left as it is"), "why nothing was done");
        case.must_be_as_at_first(&ran);
        ran.require(case.runs().is_empty(), "no folder of a run");
    }
    let ran = Ran::of(case.command(&["list"]).arg(&case.disk));
    words.iter().for_each(|words| {
        ran.says(words);
    });
    ran
}

#[test]
fn members_by_the_type_of_their_partition() {
    let Some((disk, _)) = practice() else { return };
    for (kind, words) in [
        (0x42, "dynamic disk"),
        (0x87, "fault-tolerant set of Windows NT"),
        (0x86, "fault-tolerant set of Windows NT"),
        (0xc7, "fault-tolerant set of Windows NT"),
    ] {
        let mut disk = disk.clone();
        disk[446 + 4] = kind;
        judged_and_never_written(disk, &[words, "other members", "removed in that Windows itself"]);
    }
}

#[test]
fn members_by_a_signature_at_the_end_of_the_disk() {
    let Some((disk, _)) = practice() else { return };
    let sectors = disk.len() / SECTOR;
    for (back, text, words) in [
        (2, "Intel Raid ISM Cfg Sig. 1.3.00", "Intel Matrix"),
        (63, "Promise Technology, Inc.", "Promise FastTrak"),
        (1, "$XIDE$", "LSI MegaRAID"),
    ] {
        let mut disk = disk.clone();
        let place = (sectors - back) * SECTOR;
        disk[place..place + text.len()].copy_from_slice(text.as_bytes());
        let place = format!("{place:#x}");
        judged_and_never_written(disk, &[words, &place, "other members", "Put the set together"]);
    }
}

/// The block of md at the end of a partition: the volume inside ends before it.
#[test]
fn a_partition_that_is_a_member_of_md() {
    let Some((mut disk, end)) = practice() else { return };
    let size = (volume_size(&disk) + (1 << 20)) / 4096 * 4096;
    entry(&mut disk, 446, 7, START / SECTOR, size / SECTOR);
    let place = size - 8192;
    assert!(START + place > end);
    let mut block = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &[1]);
    put(72, &[1]);
    put(92, &[2]);
    put(144, &(place as u64 / 512).to_le_bytes());
    put(220, &[2]);
    put(256, &[0, 0, 1, 0]);
    let sum: u64 = block[..260].chunks(4).map(|w| u64::from(u32::from_le_bytes(w.try_into().unwrap()))).sum();
    block[216..220].copy_from_slice(&u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap().to_le_bytes());
    disk[START + place..START + place + 4096].copy_from_slice(&block);
    judged_and_never_written(disk.clone(), &["Linux RAID (md 1.0)", "other members"]);
    // One byte of it wrong: no member, and cured like any other.
    disk[START + place + 100] ^= 1;
    Case::of(disk).clean(&[]).exits(0);
}

#[test]
fn what_is_linux_own_on_the_disk_is_no_obstacle() {
    let Some((disk, end)) = practice() else { return };
    let first = end / SECTOR;
    let count = disk.len() / SECTOR - first;
    for (kind, at, text) in [
        (0x8e, 512, &b"LABELONE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0LVM2 001"[..]),
        (0x83, 0, b"LUKS\xba\xbe\0\x01"),
        (0x82, 4086, b"SWAPSPACE2"),
    ] {
        let mut disk = disk.clone();
        entry(&mut disk, 462, kind, first, count);
        disk[end + at..end + at + text.len()].copy_from_slice(text);
        let case = Case::of(disk);
        let ran = case.clean(&[]).exits(0);
        let journal = Journal::read(&case.runs()[0]);
        assert!(changed_sectors(&case.original, &case.bytes()).is_subset(&journal.sectors()));
        ran.require(
            ran.at("/targets/0/volumes/1/problem").is_null(),
            "nothing to say of the other partition",
        );
    }
}

/// The three forms that BitLocker's volumes have had, each as blkid knows it.
#[test]
fn bitlocker_of_every_age() {
    const SIZE: usize = 4 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume.img");
    let guid = |text: &str| {
        let bytes = common::unhex(&text.replace('-', ""));
        // The first three groups are numbers in little-endian order.
        [&[bytes[3], bytes[2], bytes[1], bytes[0], bytes[5], bytes[4], bytes[7], bytes[6]][..], &bytes[8..]]
            .concat()
    };
    let own = guid("4967D63B-2E29-4AD8-8399-F6A339E3D001");
    let metadata: u64 = 65536;
    let vista = (&b"\xeb\x52\x90-FVE-FS-"[..], None);
    let seven = (&b"\xeb\x58\x90-FVE-FS-"[..], Some(160));
    let to_go = (&b"\xeb\x58\x90MSWIN4.1"[..], Some(424));
    for (head, at) in [vista, seven, to_go] {
        let mut volume = vec![0; SIZE];
        volume[..11].copy_from_slice(head);
        volume[11..13].copy_from_slice(&[0, 2]);
        volume[510..512].copy_from_slice(&[0x55, 0xaa]);
        if let Some(at) = at {
            volume[at..at + 16].copy_from_slice(&own);
            volume[at + 16..at + 24].copy_from_slice(&metadata.to_le_bytes());
            volume[65536..65544].copy_from_slice(b"-FVE-FS-");
        }
        fs::write(&path, &volume).unwrap();
        let theirs = judge(Command::new("/usr/sbin/blkid").args(["-p", "-o", "export"]).arg(&path));
        let theirs = String::from_utf8(theirs).unwrap();
        assert!(theirs.contains("TYPE=BitLocker\n"), "blkid says {theirs}");
        let case = Case::of(volume.clone());
        let ran = case.scan().exits(2);
        ran.says("BitLocker").says("unlock or decrypt it");
        let ran = case.clean(&[]).exits(2);
        case.must_be_as_at_first(&ran);
        // A letter wrong, and it is none.
        volume[if at == Some(424) { 424 } else { 4 }] ^= 0x20;
        let ran = Case::of(volume).scan().exits(2);
        ran.require(!ran.stdout.contains("BitLocker"), "no BitLocker");
    }
}

//! Hibernated machines: which files are live, what is refused for their sake, and sessions that are given up on request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::ops::Range;
use std::process::Command;

use common::hives::value;
use common::{Case, Journal, RUN, RUN_VALUE, Ran, SECTOR, SOFTWARE, START, WORM, changed_sectors, judge};

const HIBERNATION: &str = "hiberfil.sys";
/// Where a part of a disk keeps how many sectors lie before it.
const HIDDEN: usize = 0x1c;

/// A file with these bytes at its beginning, as large as makes it lie in clusters of its own.
fn hibernation_file(head: &[u8]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes.extend((0..40_000_u32).map(|n| (n % 251) as u8));
    bytes
}

/// The usual practice disk with such a file in the root of its volume.
fn asleep(head: &[u8]) -> Option<Case> {
    let mut case = Case::practice()?;
    case.mounted(true, |root| fs::write(root.join(HIBERNATION), hibernation_file(head)).unwrap());
    case.settle();
    Some(case)
}

/// Where on the disk the file's first sector lies, by istat.
#[track_caller]
fn first_sector(case: &Case) -> usize {
    first_sector_of(case, case.listing().get(HIBERNATION).unwrap())
}

/// The same for the file with this number of an MFT record.
#[track_caller]
fn first_sector_of(case: &Case, id: &str) -> usize {
    let text = judge(Command::new("istat").args(["-o", "63"]).arg(&case.disk).arg(id));
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.contains("$DATA (128-"));
    lines.next().unwrap();
    let cluster: usize = lines.next().unwrap().split_whitespace().next().unwrap().parse().unwrap();
    START + cluster * 4096
}

#[track_caller]
fn must_be_cured(case: &Case, ran: &Ran) {
    ran.require(case.file(WORM).iter().all(|&byte| byte == 0), "an inert worm");
    ran.require(value(&case.file(SOFTWARE), RUN, RUN_VALUE).is_none(), "no Run value");
}

#[track_caller]
fn refused(case: &Case, options: &[&str], words: &[&str]) -> Ran {
    let ran = case.clean(options).exits(2);
    case.must_be_as_at_first(&ran);
    ran.require(case.runs().is_empty(), "no folder of a run");
    words.iter().for_each(|words| {
        ran.says(words);
    });
    ran
}

#[test]
fn live_signatures_are_refused_in_words() {
    for head in ["hibr", "HIBR", "link", "LINK", "brkp", "HiBr"] {
        let Some(case) = asleep(head.as_bytes()) else { return };
        refused(
            &case,
            &[],
            &["is hibernated", HIBERNATION, head, "shut it down properly", "--hibernation discard"],
        );
        let ran = case.scan().exits(1);
        case.must_be_as_at_first(&ran);
        let state = ran.at("/targets/0/volumes/0/state").to_string();
        ran.require(state.contains("is hibernated"), "the state of the volume");
    }
}

#[test]
fn unknown_heads_count_as_live() {
    for head in [&b"RSTR"[..], &[0, 0, 0, 1], &[0xff; 4], b"wak\0"] {
        let Some(case) = asleep(head) else { return };
        refused(&case, &[], &["is hibernated", "unknown, and counts as live"]);
    }
}

#[test]
fn zeros_and_wake_are_not_live() {
    for head in [&[0; 4096][..], b"wake", b"WAKE", b"Wake"] {
        let Some(case) = asleep(head) else { return };
        let ran = case.clean(&[]).exits(0);
        must_be_cured(&case, &ran);
        let ran = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&ran);
    }
}

/// Windows keeps it in clusters, as it is; anything else is not what we know, and may be live.
#[test]
fn files_that_are_not_as_windows_makes_them_count_as_live() {
    for (bytes, words) in
        [(&b"\0\0\0\0 and more"[..], "resident"), (b"wake", "resident"), (b"h", "resident"), (b"", "")]
    {
        let Some(mut case) = Case::practice() else { return };
        case.mounted(true, |root| fs::write(root.join(HIBERNATION), bytes).unwrap());
        case.settle();
        if words.is_empty() {
            case.clean(&[]).exits(0);
        } else {
            refused(&case, &[], &[words, "counts as live"]);
            // Nor can it be given up in place.
            refused(&case, &["--hibernation", "discard"], &["cannot be done here"]);
        }
    }
}

#[test]
fn only_the_root_counts() {
    let Some(mut case) = Case::practice() else { return };
    case.mounted(true, |root| {
        fs::write(root.join("WINDOWS").join(HIBERNATION), hibernation_file(b"hibr")).unwrap()
    });
    case.settle();
    case.clean(&[]).exits(0);
}

#[test]
fn discard_gives_the_session_up_first_and_undo_brings_it_back() {
    let Some(case) = asleep(b"hibr") else { return };
    let place = first_sector(&case);
    assert_eq!(&case.original[place..place + 4], b"hibr", "istat's place");

    let ran = case.storing(&["clean", "--dry-run", "--json"], &["--hibernation", "discard"]).exits(1);
    case.must_be_as_at_first(&ran);
    ran.says("the session of that hibernated Windows is given up").says("what was not saved in it is lost");

    let ran = case.clean(&["--hibernation", "discard"]).exits(0);
    ran.says("what was not saved in it is lost");
    must_be_cured(&case, &ran);
    let change = ran.at("/changes/0");
    ran.require(change["path"].as_str().unwrap().contains(HIBERNATION), "the hibernation file first");
    ran.require(change["outcome"] == "verified", "it to be verified");
    ran.require(ran.at("/options/policy/hibernation") == "discard", "the option in the report");
    let journal = Journal::read(&case.runs()[0]);
    assert_eq!((journal.intents[0].place, journal.intents[0].after.clone()), (place, vec![0; SECTOR]));
    let cleaned = case.bytes();
    assert!(
        changed_sectors(&case.original, &cleaned).is_subset(&journal.sectors()),
        "only what the journal names"
    );
    assert!(cleaned[place..place + SECTOR].iter().all(|&byte| byte == 0));
    // The rest of the file as it was.
    assert_eq!(case.file(HIBERNATION)[SECTOR..], hibernation_file(b"hibr")[SECTOR..]);

    let ran = case.scan().exits(0);
    ran.require(!ran.stdout.contains("is hibernated"), "a disk that is not hibernated");
    let ran = case.clean(&[]).exits(0);
    case.must_hold(&cleaned, &ran, "a second clean to change no byte");

    let ran = case.undo(&[]).exits(0);
    ran.says("hibernated as it was before the run");
    case.must_be_as_at_first(&ran);
    case.scan().exits(1).says("is hibernated");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn undo_of_a_part_leaves_the_session_given_up() {
    let Some(case) = asleep(b"hibr") else { return };
    let place = first_sector(&case);
    case.clean(&["--hibernation", "discard"]).exits(0);
    case.undo(&["--only", "protection"]).exits(0);
    assert!(case.bytes()[place..place + SECTOR].iter().all(|&byte| byte == 0));
}

/// A session that wakes after another start of Windows would write an old state over a new one.
#[test]
fn undo_wakes_no_session_up_once_windows_has_run() {
    let Some(case) = asleep(b"hibr") else { return };
    let place = first_sector(&case);
    case.clean(&["--hibernation", "discard"]).exits(0);
    // Windows opens its page file and writes to a hive's record: here a file's times change, nothing that we wrote.
    case.mounted(true, |root| {
        let file = fs::File::options().write(true).open(root.join(HIBERNATION)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_100_000_000))
            .unwrap();
    });
    let ran = case.undo(&[]).exits(1);
    ran.says("a Windows has run on this disk since");
    assert!(case.bytes()[place..place + SECTOR].iter().all(|&byte| byte == 0), "the sector stays zero");
    assert!(case.file(WORM).starts_with(b"MZ"), "all else comes back");
}

/// A Windows that was switched off right after its start has written its log, and not yet what the log tells of.
#[test]
fn undo_wakes_no_session_up_once_the_log_has_been_written() {
    let Some(case) = asleep(b"hibr") else { return };
    let place = first_sector(&case);
    case.clean(&["--hibernation", "discard"]).exits(0);
    let mut disk = case.bytes();
    let log = first_sector_of(&case, "2");
    assert!(disk[log..log + SECTOR].iter().all(|&byte| byte == 0xff), "mkntfs' empty log");
    disk[log..log + 4].copy_from_slice(b"RSTR");
    fs::write(&case.disk, disk).unwrap();
    case.undo(&[]).exits(1).says("a Windows has run on this disk since");
    assert!(case.bytes()[place..place + SECTOR].iter().all(|&byte| byte == 0), "the sector stays zero");
    assert!(case.file(WORM).starts_with(b"MZ"), "all else comes back");
}

#[test]
fn nothing_is_given_up_where_nothing_is_to_be_done() {
    let Some(mut case) = Case::with(&["--infect", "none", "--patched", "--files", "60", "--size", "16M"])
    else {
        return;
    };
    case.mounted(true, |root| fs::write(root.join(HIBERNATION), hibernation_file(b"hibr")).unwrap());
    case.settle();
    let ran = case.clean(&["--hibernation", "discard", "--dcom", "leave"]);
    case.must_be_as_at_first(&ran);
    assert!(case.runs().is_empty());
}

/// The power fails at each write of a run that gives a session up; the next run takes back what was done, and then goes by
/// its own option.
#[test]
fn a_cut_run_is_taken_back_first() {
    let Some(case) = asleep(b"hibr") else { return };
    case.clean(&["--hibernation", "discard"]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let last = journal.intents.len();
    for cut in [1, 2, last / 2, last - 1] {
        let mut torn = case.original.clone();
        journal.replay(&mut torn, cut);
        let again = |options: &[&str], code| {
            let other = Case::of(torn.clone());
            judge(Command::new("cp").arg("-r").arg(case.store()).arg(other.store()));
            let ran = other.clean(options).exits(code);
            ran.says("was cut, was taken back first");
            (other, ran)
        };
        let (other, ran) = again(&[], 2);
        ran.says("is hibernated");
        other.must_hold(&case.original, &ran, &format!("all of it back, cut behind {cut}"));
        let (other, ran) = again(&["--hibernation", "discard"], 0);
        must_be_cured(&other, &ran);
        let ran = other.undo(&[]).exits(0);
        other.must_hold(&case.original, &ran, &format!("every byte back, cut behind {cut}"));
    }
}

/// Cut right behind the sector of the session, and Windows started before the next run: nothing wakes it up, and the disk
/// can be cleaned.
#[test]
fn a_cut_run_whose_session_cannot_wake_holds_up_nothing() {
    let Some(case) = asleep(b"hibr") else { return };
    case.clean(&["--hibernation", "discard"]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let mut torn = case.original.clone();
    journal.replay(&mut torn, 1);
    let other = Case::of(torn);
    judge(Command::new("cp").arg("-r").arg(case.store()).arg(other.store()));
    other.mounted(true, |root| {
        let file = fs::File::options().write(true).open(root.join(HIBERNATION)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_100_000_000))
            .unwrap();
    });
    let ran = other.clean(&[]).exits(0);
    ran.says("it stays given up");
    must_be_cured(&other, &ran);
}

/// Two volumes: a live file alone on the first, the Windows that is infected on the second.
struct Two {
    case: Case,
    volumes: [Range<usize>; 2],
}

fn volume_of(disk: &[u8]) -> &[u8] {
    let sectors = u32::from_le_bytes(disk[446 + 12..446 + 16].try_into().unwrap());
    &disk[START..START + usize::try_from(sectors).unwrap() * SECTOR]
}

impl Two {
    /// The first volume made by mkntfs and filled through a mount; or made by mkfs.fat and filled by mcopy.
    fn new(head: &[u8], fat32: bool) -> Option<Self> {
        let second = volume_of(&common::practice(&["--files", "60", "--size", "16M"])?).to_vec();
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("first.img");
        let sectors = if fat32 { 80_325 - 63 } else { 16_065 - 63 };
        fs::write(&image, vec![0; sectors * SECTOR]).unwrap();
        if fat32 {
            judge(Command::new("/usr/sbin/mkfs.fat").args(["-F", "32", "-s", "1", "-h", "63"]).arg(&image));
            let file = folder.path().join(HIBERNATION);
            fs::write(&file, hibernation_file(head)).unwrap();
            judge(Command::new("mcopy").arg("-i").arg(&image).arg(&file).arg("::"));
        } else {
            judge(
                Command::new("/usr/sbin/mkntfs")
                    .args(["-F", "-Q", "-q", "-p", "63", "-H", "255", "-S", "63", "-s", "512"])
                    .arg(&image),
            );
        }
        let mut disk = common::practice(&["--files", "60", "--size", "16M"]).unwrap()[..START].to_vec();
        disk.extend(fs::read(&image).unwrap());
        let start = disk.len();
        let entry = |kind: u8, first: usize, count: usize| {
            let number = |n: usize| u32::try_from(n / SECTOR).unwrap().to_le_bytes();
            let mut entry = vec![0, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff];
            entry.extend(number(first));
            entry.extend(number(count));
            entry
        };
        disk[446..462].copy_from_slice(&entry(if fat32 { 0x0c } else { 7 }, START, start - START));
        disk[462..478].copy_from_slice(&entry(7, start, second.len()));
        disk.extend_from_slice(&second);
        let hidden = u32::try_from(start / SECTOR).unwrap().to_le_bytes();
        for at in [start, disk.len() - SECTOR] {
            disk[at + HIDDEN..at + HIDDEN + 4].copy_from_slice(&hidden);
        }
        let volumes = [START..start, start..disk.len()];
        let mut case = Case::of(disk);
        // The helper mounts the volume at sector 63, which is the first.
        if !fat32 {
            case.mounted(true, |root| fs::write(root.join(HIBERNATION), hibernation_file(head)).unwrap());
        }
        case.settle();
        Some(Self { case, volumes })
    }

    fn worm(&self) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("second.img");
        fs::write(&image, &self.case.bytes()[self.volumes[1].clone()]).unwrap();
        judge(Command::new("ntfscat").arg(&image).arg(WORM))
    }
}

#[test]
fn a_live_file_on_one_volume_keeps_the_other_from_being_written() {
    for fat32 in [false, true] {
        let Some(two) = Two::new(b"hibr", fat32) else { return };
        refused(&two.case, &[], &["is hibernated", "--hibernation discard"]);
        let ran = two.case.clean(&["--hibernation", "discard"]).exits(0);
        ran.require(two.worm().iter().all(|&byte| byte == 0), "an inert worm on the second volume");
        let journal = Journal::read(&two.case.runs()[0]);
        assert!(two.volumes[0].contains(&journal.intents[0].place), "the session first");
        assert!(journal.intents[1..].iter().all(|intent| two.volumes[1].contains(&intent.place)));
        assert!(changed_sectors(&two.case.original, &two.case.bytes()).is_subset(&journal.sectors()));
        let ran = two.case.undo(&[]).exits(0);
        two.case.must_be_as_at_first(&ran);
        let Some(two) = Two::new(&[0; 4096], fat32) else { return };
        two.case.clean(&[]).exits(0);
    }
}

/// A volume of the disk that may hold a live file, and cannot be asked.
#[test]
fn what_cannot_be_asked_whether_it_sleeps_is_refused() {
    let Some(two) = Two::new(&[0; 4096], false) else { return };
    let disk = two.case.original.clone();
    let start = two.volumes[0].start;
    // BitLocker: its boot sector, by what blkid calls it.
    let mut encrypted = disk.clone();
    encrypted[start..start + 11].copy_from_slice(b"\xeb\x52\x90-FVE-FS-");
    let case = Case::of(encrypted);
    refused(&case, &[], &["BitLocker", "not established", "decrypt it"]);
    refused(&case, &["--hibernation", "discard"], &["BitLocker", "not established"]);
    // The file table gone.
    let mut torn = disk.clone();
    let cluster = usize::from(torn[start + 13]) * SECTOR;
    let mft = usize::try_from(u64::from_le_bytes(torn[start + 48..start + 56].try_into().unwrap())).unwrap();
    torn[start + mft * cluster..start + mft * cluster + 65536].fill(0xee);
    refused(&Case::of(torn), &[], &["whether a Windows on it is hibernated is not established", "chkdsk"]);
    // No boot sector: nothing can start from it, so nothing wakes.
    let mut lost = disk;
    lost[start..start + SECTOR].fill(0xee);
    let case = Case::of(lost);
    let ran = case.clean(&[]).exits(2);
    ran.require(ran.at("/changes/0/outcome") == "verified", "the other volume cured");
}

/// A loop device with its partitions; none, with a word, where this machine makes none.
struct Loop(String);

impl Loop {
    fn of(case: &Case) -> Option<Self> {
        let made =
            Command::new("/usr/sbin/losetup").args(["-P", "--show", "-f"]).arg(&case.disk).output().ok()?;
        let node = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        if !made.status.success() || node.is_empty() {
            common::skip("no loop device can be made here");
            return None;
        }
        let own = Self(node);
        let name = own.0.trim_start_matches("/dev/").to_owned();
        // Not every kernel reads the table of a loop device by itself (losetup -P): partx tells it.
        for _ in 0..50 {
            if fs::metadata(format!("/sys/class/block/{name}p2")).is_ok() {
                break;
            }
            let _ = Command::new("/usr/bin/partx").args(["-u", &own.0]).output();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if fs::metadata(own.part(2)).is_ok() {
            return Some(own);
        }
        // Where no udev runs, sysfs tells the numbers and the nodes are made by hand.
        for number in [1, 2] {
            let dev = fs::read_to_string(format!("/sys/class/block/{name}p{number}/dev")).ok();
            let Some((major, minor)) = dev.as_deref().and_then(|dev| dev.trim().split_once(':')) else {
                common::skip("this kernel makes no partitions of loop devices");
                return None;
            };
            if fs::metadata(own.part(number)).is_err() {
                judge(Command::new("mknod").args([&own.part(number), "b", major, minor]));
            }
        }
        Some(own)
    }

    fn part(&self, number: usize) -> String {
        format!("{}p{number}", self.0)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/losetup").args(["-d", &self.0]).status();
        for number in [1, 2] {
            let _ = fs::remove_file(self.part(number));
        }
    }
}

/// `deblast WORDS... NODE` with the store of a case.
fn on_node(case: &Case, words: &[&str], node: &str) -> Ran {
    let mut command = case.command(words);
    command.args(["--signatures", common::PRACTICE, "--store"]).arg(case.store()).arg(node);
    Ran::of(&mut command)
}

#[test]
fn the_other_partitions_of_a_partitions_disk_are_asked() {
    let Some(two) = Two::new(b"hibr", false) else { return };
    let Some(node) = Loop::of(&two.case) else { return };
    for options in [&[][..], &["--hibernation", "discard"]] {
        let words = [&["clean", "--yes", "--json"], options].concat();
        let ran = on_node(&two.case, &words, &node.part(2)).exits(2);
        ran.says("is hibernated").says("name the whole disk").says(&node.0);
        two.case.must_be_as_at_first(&ran);
    }
    // The whole disk: as asked.
    let ran = on_node(&two.case, &["clean", "--yes", "--json", "--hibernation", "discard"], &node.0).exits(0);
    ran.says("what was not saved in it is lost");
    // Then the partition is free, and holds no worm any more.
    on_node(&two.case, &["scan", "--json"], &node.part(2));
    let ran = on_node(&two.case, &["undo", "--yes", "--json"], &node.0).exits(0);
    two.case.must_be_as_at_first(&ran);
}

#[test]
fn a_machine_asleep_on_another_disk_is_told_and_stops_nothing() {
    let (Some(two), Some(other)) = (Two::new(&[0; 4096], false), Two::new(b"hibr", false)) else { return };
    let (Some(node), Some(sleeper)) = (Loop::of(&two.case), Loop::of(&other.case)) else { return };
    let mut command =
        two.case.command(&["clean", "--yes", "--json", "--signatures", common::PRACTICE, "--store"]);
    let ran = Ran::of(command.arg(two.case.store()).args([&node.0, &sleeper.0])).exits(2);
    ran.require(ran.remarks().contains("on another disk"), "the warning");
    ran.require(ran.remarks().contains(&sleeper.0), "the other disk's name");
    ran.require(ran.at("/targets/0/installs/0/verdict") == "cleaned", "the first disk to be cleaned");
    ran.require(ran.at("/targets/1/installs/0/verdict") == "undetermined", "the second to be refused");
    other.case.must_be_as_at_first(&ran);
}

//! The mounted way: `--remove now` and `--store disk`, judged by ntfsls, ntfscat, ntfsfix, The Sleuth Kit and the table of mounts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;
#[path = "common/mount.rs"]
mod mount;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::hives::{multi, value};
use common::volume::extract;
use common::{
    Case, DELETION, Journal, PENDING, Ran, SECTOR, SESSION, SOFTWARE, START, SYSTEM, WORM, changed_sectors,
    digest, judge, quarantined,
};
use mount::{
    Tools, is_flagged, loops_of, mounted_at, mounts, must_be_released, others_must_be_as_before, practice,
};

const NOW: [&str; 2] = ["--remove", "now"];

/// Sectors of the disk that hold the attributes of these files, as istat tells; an MFT record where they are resident.
fn sectors_of(disk: &Path, files: &[&str]) -> BTreeSet<usize> {
    let mut sectors = BTreeSet::new();
    for file in files {
        let text = judge(Command::new("istat").args(["-o", "63"]).arg(disk).arg(file));
        let text = String::from_utf8_lossy(&text).into_owned();
        let (_, lists) = text.split_once("\nAttributes:").unwrap();
        let clusters = lists.lines().filter(|line| !line.starts_with("Type:"));
        for cluster in
            clusters.flat_map(|line| line.split_whitespace().filter_map(|n| n.parse::<usize>().ok()))
        {
            sectors.extend((START + cluster * 4096..START + (cluster + 1) * 4096).step_by(SECTOR));
        }
    }
    sectors
}

/// Whether ntfsfix, which only looks, has nothing more to say than of the disk as it was.
#[track_caller]
fn ntfsfix(disk: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume.img");
    extract(disk, &volume);
    let output = Command::new("ntfsfix").arg("-n").arg(&volume).output().unwrap();
    String::from_utf8_lossy(&output.stdout).replace(volume.to_str().unwrap(), "")
}

/// Names in a folder of the volume, by ntfsls.
#[track_caller]
fn ntfsls(case: &Case, folder: &str) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let volume = place.path().join("volume.img");
    extract(&case.disk, &volume);
    let text = judge(Command::new("ntfsls").args(["-a", "-x", "-p", folder]).arg(&volume));
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_name_is_gone_and_nothing_else_has_changed() {
    let Some(case) = practice() else { return };
    let (before, worm) = (case.digests(), case.file(WORM));
    let record = case.listing()[WORM].clone();
    let said = ntfsfix(&case.disk);
    assert!(ntfsls(&case, "/WINDOWS/system32").contains(&"msblast.exe".to_owned()));
    // What the mount may touch: the MFT and its copy, both bitmaps, the index of the folder, and that of the folder
    // above, which holds the time of the folder.
    let folders = ["WINDOWS", "WINDOWS/system32"].map(|path| case.listing()[path].clone());
    let mut allowed = sectors_of(&case.disk, &["0", "1", "6", &folders[0], &folders[1]]);

    let ran = case.clean(&NOW).exits(0);
    must_be_released(&case);
    assert_eq!(ran.at("/verdict"), "cleaned");
    let finding = ran.finding("worm_file");
    let name = finding["evidence"]["name"].as_str().unwrap();
    ran.require(name.starts_with("removed"), "the name to be removed");
    ran.require(finding["outcome"] == "verified", "the file to be verified");
    ran.require(!is_flagged(&case), "the dirty flag to be clear");
    assert!(!ntfsls(&case, "/WINDOWS/system32").contains(&"msblast.exe".to_owned()));
    assert_eq!(ntfsfix(&case.disk), said, "ntfsfix has nothing more to say");
    others_must_be_as_before(&before, &case.digests(), &[WORM, SOFTWARE]);
    ran.require(value(&case.file(SYSTEM), SESSION, PENDING).is_none(), "no entry for Windows");
    let journal = Journal::read(&case.runs()[0]);
    allowed.extend(journal.sectors());
    let changed = changed_sectors(&case.original, &case.bytes());
    let strange: Vec<_> = changed.difference(&allowed).collect();
    ran.require(strange.is_empty(), &format!("only these to change, not {strange:?}"));
    assert!(changed.difference(&journal.sectors()).count() > 0, "the mount has written something");
    let unlinks = &journal.header["unlinks"];
    assert_eq!(unlinks[0]["file"]["id"]["record"].to_string(), record.split('-').next().unwrap());
    let text = fs::read_to_string(case.runs()[0].join("journal")).unwrap();
    ran.require(text.contains(r#"{"record":"unlinked","files":[0]}"#), "the journal to say that it is gone");

    let now = case.bytes();
    let again = case.clean(&NOW).exits(0);
    case.must_hold(&now, &again, "a second clean to change nothing");
    assert_eq!(again.at("/verdict"), "clean");

    let ran = case.undo(&[]).exits(1);
    ran.says("nothing brings that back").says("quarantine/0001.bin");
    assert_eq!(quarantined(&case.runs()[0].join("quarantine/0001.bin")), worm);
    others_must_be_as_before(&before, &case.digests(), &[WORM]);
}

#[test]
fn inert_files_of_earlier_runs_lose_their_names() {
    let Some(case) = practice() else { return };
    case.clean(&["--remove", "never"]).exits(0);
    let before = case.digests();
    let made_inert = case.bytes();
    let ran = case.clean(&[]).exits(0);
    case.must_hold(&made_inert, &ran, "an inert file to ask for nothing");
    assert_eq!(ran.finding("worm_file")["grade"], "information");

    let dry = case.storing(&["clean", "--dry-run", "--json"], &NOW);
    case.must_hold(&made_inert, &dry, "a dry run to change nothing");
    dry.says("remove the name");
    let ran = case.clean(&NOW).exits(0);
    must_be_released(&case);
    let finding = ran.finding("worm_file");
    ran.require(
        finding["evidence"]["name"].as_str().unwrap().starts_with("removed"),
        "the name to be removed",
    );
    ran.require(finding["outcome"] == "verified", "that to be verified");
    ran.require(!case.has_file(WORM) && !is_flagged(&case), "the name to be gone, the flag clear");
    others_must_be_as_before(&before, &case.digests(), &[WORM]);
    // What the first run recorded can still be taken back, but for the name.
    case.undo(&[]).exits(1).says("its bytes lie encoded in");
    assert_eq!(case.clean(&["--remove", "never"]).exits(0).at("/verdict"), "cleaned");
}

/// Makes the volume's files by a mount, as somebody else would, and takes that for the original.
fn with_files(write: impl FnOnce(&Path)) -> Option<Case> {
    let mut case = practice()?;
    case.mounted(true, write);
    case.settle();
    Some(case)
}

#[test]
fn all_hard_links_and_the_short_name_go() {
    let link = "Documents and Settings/another name.exe";
    let long = "Documents and Settings/a long name of the worm.exe";
    let Some(case) = with_files(|root| {
        fs::hard_link(root.join(WORM), root.join(link)).unwrap();
        fs::copy(root.join(WORM), root.join(long)).unwrap();
        let name = "system.ntfs_dos_name=LONGWORM.EXE";
        let set = "import os,sys; n,v=sys.argv[2].split('='); os.setxattr(sys.argv[1], n, v.encode())";
        judge(Command::new("python3").args(["-c", set]).arg(root.join(long)).arg(name));
    }) else {
        return;
    };
    let before = case.digests();
    assert!(ntfsls(&case, "/Documents and Settings").contains(&"LONGWORM.EXE".to_owned()));
    let ran = case.clean(&NOW).exits(0);
    must_be_released(&case);
    let any = [WORM, link, long].iter().any(|path| case.has_file(path));
    ran.require(!any && !is_flagged(&case), "all of the names to be gone");
    let left = ntfsls(&case, "/Documents and Settings");
    ran.require(!left.iter().any(|name| name.contains("LONGWORM")), "the short name to be gone");
    others_must_be_as_before(&before, &case.digests(), &[WORM, link, long, SOFTWARE]);
}

#[test]
fn a_resident_worm_goes_with_its_record() {
    let tiny = b"MZ a stand-in so small that it lies in its MFT record".to_vec();
    let path = "WINDOWS/system32/teekids.exe";
    let Some(case) = with_files(|root| fs::write(root.join(path), &tiny).unwrap()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let signatures = folder.path().join("tiny.toml");
    let text = format!(
        "[[signature]]\nfamily = \"Tiny stand-in\"\nvariant = \"A\"\nnames = [\"teekids.exe\"]\nsize = {}\nsha256 = \"{}\"\n\
         grade = \"confirmed\"\nsource = \"this test; harmless\"\n",
        tiny.len(),
        digest(&tiny)
    );
    fs::write(&signatures, text).unwrap();
    let more = ["--signatures", signatures.to_str().unwrap()];
    let of_tiny = |ran: &Ran| {
        let all = ran.findings("worm_file");
        all.into_iter().find(|finding| finding["where"].as_str().unwrap().ends_with("teekids.exe")).unwrap()
    };
    let at_boot = case.clean(&more).exits(1);
    let finding = of_tiny(&at_boot);
    at_boot.require(finding["outcome"] == "left", "a resident file to be left").says("--remove now");
    assert_eq!(case.file(path), tiny, "a resident file is not written");

    let ran = case.clean(&[&more[..], &NOW].concat()).exits(0);
    must_be_released(&case);
    let finding = of_tiny(&ran);
    ran.require(finding["outcome"] == "verified", "it to be verified");
    ran.require(
        finding["evidence"]["name"].as_str().unwrap().starts_with("removed"),
        "its name to be removed",
    );
    ran.require(!case.has_file(path) && !is_flagged(&case), "it to be gone");
    let run = case.runs().pop().unwrap();
    let kept = Journal::read(&run).header["unlinks"].as_array().unwrap().clone();
    let kept = kept.iter().find_map(|unlink| unlink["kept"].as_str()).unwrap().to_owned();
    assert_eq!(quarantined(&run.join("quarantine").join(&kept)), tiny);
    let undo = case.undo(&["--run", run.file_name().unwrap().to_str().unwrap()]);
    undo.exits(1).says(&kept).says("nothing brings that back");
}

#[test]
fn where_it_cannot_be_mounted_windows_deletes_the_name() {
    let fallback = |case: &Case, ran: &Ran, words: &str| {
        must_be_released(case);
        ran.says("names cannot be removed now").says(words);
        let finding = ran.finding("worm_file");
        let name = finding["evidence"]["name"].as_str().unwrap();
        ran.require(name.starts_with("pending"), "the name to be pending");
        let entry = value(&case.file(SYSTEM), SESSION, PENDING);
        ran.require(entry == Some((7, multi(&[DELETION, ""]))), "an entry for Windows");
        let changed = changed_sectors(&case.original, &case.bytes());
        let journal = Journal::read(&case.runs()[0]);
        ran.require(
            changed == journal.sectors() || changed.is_subset(&journal.sectors()),
            "only journalled sectors",
        );
    };
    let Some(dirty) = Case::with(&["--files", "60", "--size", "16M", "--state", "dirty"]) else { return };
    let ran = dirty.clean(&NOW).exits(0);
    fallback(&dirty, &ran, "dirty flag");
    let ran = dirty.clean(&NOW).exits(0);
    ran.require(is_flagged(&dirty), "the flag to be left for Windows");

    // Nor is a FAT volume mounted; its names go otherwise (mounted_fat.rs).
    let Some(fat) = Case::with(&["--files", "60", "--filesystem", "fat16", "--size", "40M"]) else { return };
    let ran = fat.clean(&NOW).exits(0);
    must_be_released(&fat);
    let name = ran.finding("worm_file")["evidence"]["name"].clone();
    ran.require(name.as_str().unwrap().starts_with("removed: sector"), "the name to be removed");
    // An unclean log is never wiped: nothing is mounted, neither for names nor for a store.
    let options = ["--files", "60", "--size", "16M", "--state", "unclean-log"];
    let Some(unclean) = Case::with(&options) else { return };
    let ran = on_disk(&unclean, &["clean", "--yes"]).exits(2);
    ran.says("another disk or stick");
    unclean.must_be_as_at_first(&ran);
    let ran = unclean.clean(&NOW).exits(0);
    fallback(&unclean, &ran, "log");

    let Some(case) = practice() else { return };
    let tools = tempfile::tempdir().unwrap();
    let store = case.store();
    let mut command =
        case.on_disk(&["clean", "--yes", "--json", "--remove", "now", "--store", store.to_str().unwrap()]);
    let ran = Ran::of(command.env("PATH", tools.path())).exits(0);
    fallback(&case, &ran, "no ntfs-3g");
}

#[test]
fn a_mount_that_fails_leaves_the_inert_file() {
    let Some(case) = practice() else { return };
    let before = case.digests();
    let tools = Tools::new("echo 'this driver has a bad day' >&2; exit 15");
    let ran = Ran::of(&mut tools.clean(&case)).exits(0);
    must_be_released(&case);
    ran.says("this driver has a bad day");
    let finding = ran.finding("worm_file");
    ran.require(finding["outcome"] == "verified", "the inert file to be verified");
    ran.require(finding["evidence"]["name"].as_str().unwrap().starts_with("stays"), "its name to stay");
    ran.require(case.has_file(WORM) && !is_flagged(&case), "the flag to be turned back");
    let changed = changed_sectors(&case.original, &case.bytes());
    ran.require(
        changed.is_subset(&Journal::read(&case.runs()[0]).sectors()),
        "only journalled sectors to change",
    );
    others_must_be_as_before(&before, &case.digests(), &[WORM, SOFTWARE]);
    // The next run takes the name.
    case.clean(&NOW).exits(0).require(!case.has_file(WORM), "the name to be gone");
}

/// A volume that only looks as if it were mounted read-write.
#[test]
fn what_is_mounted_read_only_is_not_believed() {
    let Some(case) = practice() else { return };
    let tools = Tools::new("shift 2; exec \"$REAL\" -o no_detach,ro,noatime \"$@\"");
    let ran = Ran::of(&mut tools.clean(&case)).exits(0);
    must_be_released(&case);
    let name = ran.finding("worm_file")["evidence"]["name"].clone();
    ran.require(name.as_str().unwrap().starts_with("stays"), "the name to stay").says("read-write");
    ran.require(case.has_file(WORM) && !is_flagged(&case), "nothing to be left of it");
}

/// Somebody writes into the inert file just before it is mounted: it is no longer what was inspected.
#[test]
fn a_file_that_has_changed_keeps_its_name() {
    let Some(case) = practice() else { return };
    let record = case.listing()[WORM].clone();
    let place = sectors_of(&case.disk, &[&record]).into_iter().next().unwrap() - START;
    assert!(case.bytes()[START + place..].starts_with(b"MZ"), "the first sector of the worm's file");
    let place = place + 5;
    let write = format!("printf x | dd of=\"$3\" bs=1 seek={place} conv=notrunc status=none\n");
    let tools = Tools::new(&format!("{write}exec \"$REAL\" \"$@\""));
    let ran = Ran::of(&mut tools.clean(&case));
    must_be_released(&case);
    ran.says("it is not the file that was inspected");
    let name = ran.finding("worm_file")["evidence"]["name"].clone();
    ran.require(name.as_str().unwrap().starts_with("stays"), "the name to stay");
    ran.require(case.has_file(WORM) && !is_flagged(&case), "the file to be there, the flag clear");
}

/// Somebody makes a file between our looking and our mount: then nobody can vouch for the rest, and Windows is to check
/// it.
#[test]
fn more_than_the_names_leaves_the_flag_set() {
    let Some(case) = practice() else { return };
    let other = case.path("other");
    fs::create_dir(&other).unwrap();
    let other = other.to_str().unwrap();
    let before = format!(
        "\"$REAL\" -o no_detach \"$3\" {other} & until mountpoint -q {other}; do sleep 0.01; done\n\
         touch {other}/WINDOWS/intruder.txt; until umount {other}; do sleep 0.1; done; wait"
    );
    let tools = Tools::new(&format!("{before}\nexec \"$REAL\" \"$@\""));
    let ran = Ran::of(&mut tools.clean(&case));
    must_be_released(&case);
    ran.require(case.has_file("WINDOWS/intruder.txt"), "the intruder to be there");
    ran.require(is_flagged(&case), "the flag to be left set");
    ran.says("is left set").says("more has changed in the file table");
    let name = ran.finding("worm_file")["evidence"]["name"].clone();
    assert_eq!(name.as_str().unwrap().starts_with("removed"), !case.has_file(WORM), "{name}");
}

/// An ntfs-3g that does not end well may have left half of a change anywhere: Windows is to check the volume, though the
/// file table is as it should be.
#[test]
fn a_mount_that_ends_badly_leaves_the_flag_set() {
    let tools = Tools::new("\"$REAL\" \"$@\"; exit 3");
    let Some(case) = practice() else { return };
    let ran = Ran::of(&mut tools.clean(&case));
    must_be_released(&case);
    ran.says("is left set").require(is_flagged(&case), "the flag to be left set");

    let Some(case) = with_common_app_data() else { return };
    let mut command = case.on_disk(&["clean", "--yes", "--json", "--store", "disk"]);
    let path = std::env::var("PATH").unwrap();
    let ran = Ran::of(command.env("PATH", format!("{}:{path}", tools.folder.path().display()))).exits(2);
    must_be_released(&case);
    ran.says("is left set").require(is_flagged(&case), "the flag to be left set");
    ran.require(case.file(WORM).starts_with(b"MZ"), "nothing to be written raw");
}

/// Starts a clean whose mount is slow, and waits until its first write is under way.
fn start_slow_clean(case: &Case) -> Child {
    let tools = Tools::slow();
    let mut command = tools.clean(case);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let worm_named = || mounted_at(case).is_some_and(|point| point.join("WINDOWS").exists());
    while !worm_named() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anything was mounted");
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was mounted");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn what_a_killed_run_left_mounted_is_released_by_the_next() {
    let Some(case) = practice() else { return };
    let before = case.digests();
    let mut child = start_slow_clean(&case);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(mounted_at(&case).is_some(), "it was killed while the volume was mounted");
    assert!(is_flagged(&case), "the flag is set while it is mounted");

    // Looking releases it, too; then nothing of it is left and the flag tells.
    let ran = case.scan();
    must_be_released(&case);
    ran.require(is_flagged(&case), "the flag to stay for Windows").says("dirty flag");
    ran.require(ran.at("/targets/0/installs/0/findings").is_array(), "the disk to be judged");
    let ran = case.clean(&NOW).exits(0);
    must_be_released(&case);
    ran.require(is_flagged(&case), "the flag still to stay for Windows");
    others_must_be_as_before(&before, &case.digests(), &[WORM, SOFTWARE, SYSTEM]);
    let now = case.bytes();
    let ran = case.clean(&NOW).exits(0);
    case.must_hold(&now, &ran, "the next clean to change nothing");
}

#[test]
fn an_end_that_is_asked_for_waits_until_the_volume_is_unmounted() {
    let Some(case) = practice() else { return };
    let before = case.digests();
    for signal in ["INT", "TERM"] {
        fs::write(&case.disk, &case.original).unwrap();
        let child = start_slow_clean(&case);
        judge(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
        let output = child.wait_with_output().unwrap();
        must_be_released(&case);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code().is_some(), "{signal}: it ends by itself: {:?}\n{text}", output.status);
        assert!(!is_flagged(&case), "{signal}: the flag is clear again");
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let name =
            report.pointer("/targets/0/installs/0/findings/1/evidence/name").unwrap().as_str().unwrap();
        assert_eq!(
            name.starts_with("removed"),
            !case.has_file(WORM),
            "{signal}: the report tells what is: {name}"
        );
        others_must_be_as_before(&before, &case.digests(), &[WORM, SOFTWARE]);
    }
}

/// A real node: written past the kernel's cache, held alone, and mounted over itself.
#[test]
fn a_block_device_is_mounted_over_its_own_node() {
    let Some(case) = practice() else { return };
    let before = case.digests();
    let node = judge(Command::new("losetup").args(["-f", "--show"]).arg(&case.disk));
    let node = String::from_utf8(node).unwrap().trim().to_owned();
    let store = case.store();
    let clean = || {
        let words =
            ["clean", "--yes", "--json", "--remove", "now", "--signatures", common::PRACTICE, "--store"];
        Ran::of(case.command(&words).arg(&store).arg(&node))
    };
    let (ran, again) = (clean(), clean());
    let left: Vec<String> =
        mounts().into_iter().filter(|line| line.contains("/run/deblast") && line.contains(&node)).collect();
    judge(Command::new("losetup").args(["-d", &node]));
    must_be_released(&case);
    let (ran, again) = (ran.exits(0), again.exits(0));
    ran.require(left.is_empty(), "nothing to be left mounted");
    let name = ran.finding("worm_file")["evidence"]["name"].clone();
    ran.require(name.as_str().unwrap().starts_with("removed"), "the name to be removed");
    assert_eq!(again.at("/verdict"), "clean");
    ran.require(!case.has_file(WORM) && !is_flagged(&case), "it to be gone from the image behind the node");
    others_must_be_as_before(&before, &case.digests(), &[WORM, SOFTWARE]);
}

/// A mount and a loop device that are somebody else's are left alone, and the disk with them.
#[test]
fn what_others_have_mounted_is_left_alone() {
    let Some(case) = practice() else { return };
    let size = case.original.len() - START;
    let node = judge(
        Command::new("losetup")
            .args(["-f", "--show", "-o", &START.to_string(), "--sizelimit", &size.to_string()])
            .arg(&case.disk),
    );
    let node = String::from_utf8(node).unwrap().trim().to_owned();
    let ran = case.clean(&NOW).exits(2);
    let still = loops_of(&case);
    judge(Command::new("losetup").args(["-d", &node]));
    ran.says("is attached to");
    assert_eq!(still, [node], "it was left alone");
    case.must_be_as_at_first(&ran);
}

const COMMON: &str = "Documents and Settings/All Users/Application Data";

/// A disk whose SOFTWARE names Common AppData, with MFT records that were used before and are free.
fn with_common_app_data() -> Option<Case> {
    let mut case = practice()?;
    case.mounted(true, |root| {
        fs::create_dir_all(root.join(COMMON)).unwrap();
        let spare = root.join("spare");
        fs::create_dir(&spare).unwrap();
        (0..60).for_each(|n| fs::write(spare.join(format!("{n}.txt")), b"spare").unwrap());
        fs::remove_dir_all(&spare).unwrap();
    });
    let key = r"[\Microsoft\Windows\CurrentVersion\Explorer\Shell Folders]";
    let parents = "[\\Microsoft\\Windows\\CurrentVersion\\Explorer]";
    let value = r#""Common AppData"="C:\\Documents and Settings\\All Users\\Application Data""#;
    case.edit_hive(SOFTWARE, &format!("{parents}\n\n{key}\n{value}"));
    case.settle();
    Some(case)
}

fn on_disk(case: &Case, words: &[&str]) -> Ran {
    let all: Vec<&str> = words.iter().chain(&["--json", "--store", "disk"]).copied().collect();
    Ran::of(&mut case.on_disk(&all))
}

#[test]
fn a_store_on_the_disk_takes_the_whole_cycle() {
    let Some(case) = with_common_app_data() else { return };
    let (before, said) = (case.digests(), ntfsfix(&case.disk));
    let worm = case.file(WORM);
    let ran = on_disk(&case, &["clean", "--yes"]).exits(0);
    must_be_released(&case);
    assert_eq!(ran.at("/verdict"), "cleaned");
    ran.require(!is_flagged(&case), "the dirty flag to be clear");
    assert_eq!(ntfsfix(&case.disk), said, "ntfsfix has nothing more to say");
    let id = ran.at("/run_id").as_str().unwrap().to_owned();
    let store = format!("{COMMON}/Deblast/{id}");
    // The store as ntfs-3g reads it: complete, closed, and the report in the room kept for it.
    let text = |name: &str| String::from_utf8(case.ntfscat(&format!("/{store}/{name}"))).unwrap();
    let journal = text("journal");
    ran.require(journal.contains(r#"{"record":"closed","words":"verified"}"#), "the journal to be closed");
    let report: serde_json::Value = serde_json::from_str(&text("report.json")).unwrap();
    ran.require(report == ran.json(), "the report to be the one that was told");
    let kept: Vec<u8> =
        case.ntfscat(&format!("/{store}/quarantine/0001.bin")).iter().map(|b| b ^ 0xa5).collect();
    assert_eq!(kept, worm);
    // Files that lie outside the store: all as before but what the cure names.
    let outside = |files: BTreeMap<String, String>| -> BTreeMap<String, String> {
        files.into_iter().filter(|(name, _)| !name.starts_with(&format!("{COMMON}/Deblast"))).collect()
    };
    others_must_be_as_before(&before, &outside(case.digests()), &[WORM, SOFTWARE, SYSTEM]);
    // For SYSTEM and the Administrators alone.
    let acl = case.mounted(false, |root| {
        let get = "import os,sys; sys.stdout.write(os.getxattr(sys.argv[1], 'system.ntfs_acl').hex())";
        let of = |name: &str| {
            let path = root.join(&store).join(name);
            String::from_utf8(judge(Command::new("python3").args(["-c", get]).arg(path))).unwrap()
        };
        [of("journal"), of("quarantine"), of("backup"), of("..")]
    });
    for acl in acl {
        let (system, administrators) = ("010100000000000512000000", "01020000000000052000000020020000");
        ran.require(acl.contains(system) && acl.contains(administrators), "both to have it");
        let aces = acl.matches("ff011f00").count();
        ran.require(aces == 2, &format!("nobody else to have it: {acl}"));
    }
    assert_eq!(case.scan().at("/verdict"), "clean");
    let now = case.bytes();
    let again = on_disk(&case, &["clean", "--yes"]).exits(0);
    case.must_hold(&now, &again, "a second clean to change nothing");

    let ran = on_disk(&case, &["undo", "--yes"]).exits(0);
    must_be_released(&case);
    ran.require(outside(case.digests()) == before, "every file to be as before");
    let now = case.bytes();
    let again = on_disk(&case, &["undo", "--yes"]).exits(0);
    again.says("nothing is to be taken back");
    case.must_hold(&now, &again, "a second undo to change nothing");
    // The next clean counts on from the run that lies there.
    let ran = on_disk(&case, &["clean", "--yes", "--remove", "now"]).exits(0);
    ran.require(ran.at("/run_id").as_str().unwrap().starts_with("0002-"), "the second run of that store");
    ran.require(!case.has_file(WORM) && !is_flagged(&case), "the name to be gone");
    let id = ran.at("/run_id").as_str().unwrap().to_owned();
    let journal = String::from_utf8(case.ntfscat(&format!("/{COMMON}/Deblast/{id}/journal"))).unwrap();
    ran.require(journal.contains(r#"{"record":"unlinked","files":[0]}"#), "the journal to tell it");
    let left = on_disk(&case, &["undo", "--yes"]).exits(1);
    left.says("nothing brings that back").says("Deblast on this disk");
}

#[test]
fn a_store_on_the_disk_is_refused_where_it_could_do_harm() {
    let refused = |case: &Case, words: &str| {
        let ran = on_disk(case, &["clean", "--yes"]).exits(2);
        must_be_released(case);
        ran.says(words).says("another disk or stick");
        case.must_be_as_at_first(&ran);
    };
    let Some(mut case) = with_common_app_data() else { return };
    let key = r"[\Microsoft\Windows\CurrentVersion\Explorer\Shell Folders]";
    case.edit_hive(SOFTWARE, &format!("{key}\n{}", r#""Common AppData"="D:\\Application Data""#));
    case.settle();
    refused(&case, "on another volume");
    case.edit_hive(SOFTWARE, &format!("{key}\n{}", r#""Common AppData"="C:\\Nowhere""#));
    case.settle();
    refused(&case, "there is no such folder");
    let Some(full) = with_common_app_data() else { return };
    let mut flagged = full.bytes();
    let at = |range: std::ops::Range<usize>| {
        u64::from_le_bytes(flagged[START + range.start..START + range.end].try_into().unwrap()) as usize
    };
    for cluster in [at(0x30..0x38), at(0x38..0x40)] {
        let record = START + cluster * 4096 + 3 * 1024;
        let mut offset = record + usize::from(flagged[record + 0x14]);
        while flagged[offset] != 0x70 {
            offset += usize::from(flagged[offset + 4]) | usize::from(flagged[offset + 5]) << 8;
        }
        let flags = offset + usize::from(flagged[offset + 20]) + 10;
        flagged[flags] |= 1;
    }
    let case = Case::of(flagged);
    assert!(is_flagged(&case));
    refused(&case, "dirty flag");
    // No record that was used before is free: the MFT would have to grow.
    let Some(mut case) = with_common_app_data() else { return };
    case.mounted(true, |root| {
        (0..70).for_each(|n| fs::write(root.join(format!("{n}.txt")), b"takes a record").unwrap());
    });
    case.settle();
    refused(&case, "MFT would have to grow");
}

/// Users may make folders in Common AppData: what lies in one of theirs is nothing that this disk is written by.
#[test]
fn a_store_that_a_user_has_made_is_not_believed() {
    let Some(mut case) = with_common_app_data() else { return };
    on_disk(&case, &["clean", "--yes"]).exits(0);
    case.mounted(true, |root| {
        // Owner and group S-1-5-21-1-2-3-1003, and everybody may do everything.
        let set = "import os,struct,sys
sid=bytes([1,5,0,0,0,0,0,5])+struct.pack('<5I',21,1,2,3,1003)
all=bytes([1,1,0,0,0,0,0,1,0,0,0,0])
ace=bytes([0,3])+struct.pack('<HI',8+len(all),0x1f01ff)+all
acl=bytes([2,0])+struct.pack('<HHH',8+len(ace),1,0)+ace
os.setxattr(sys.argv[1],'system.ntfs_acl',bytes([1,0,4,0x80])+struct.pack('<4I',20+len(acl),20+len(acl)+len(sid),0,20)+acl+sid+sid)";
        let folder = root.join(COMMON).join("Deblast");
        judge(Command::new("python3").args(["-c", set]).arg(folder));
    });
    case.settle();
    for words in [&["clean", "--yes"][..], &["undo", "--yes"]] {
        let ran = on_disk(&case, words).exits(2);
        ran.says("S-1-5-21-1-2-3-1003");
        case.must_be_as_at_first(&ran);
    }
}

//! Practice disks are what they say, by tools that are neither ours nor the maker's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::volume::extract;
use common::{Case, ROOT, Ran, digest, judge};

const SMALL: [&str; 4] = ["--files", "60", "--size", "40M"];

fn with(options: &[&'static str]) -> Option<Case> {
    Case::with(&[&SMALL, options].concat())
}

/// What the script says when it refuses; no disk must be there then.
#[track_caller]
fn refused(options: &[&str], words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("refused.img");
    let mut script = Command::new(Path::new(ROOT).join("scripts/make-practice-disk"));
    let ran = Ran::of(script.arg(&out).args(options)).exits(2);
    ran.says(words);
    ran.require(fs::read_dir(folder.path()).unwrap().count() == 0, "nothing is left behind");
}

/// The text of a tool of FAT on the volume of `case`, which must have nothing to complain of.
#[track_caller]
fn fat_tool(case: &Case, words: &[&str]) -> String {
    let volume = case.path("volume.img");
    extract(&case.disk, &volume);
    let mut command = Command::new(words[0]);
    command.args(["-i", volume.to_str().unwrap()]).args(&words[1..]).env("LC_ALL", "C.UTF-8");
    String::from_utf8_lossy(&judge(&mut command)).into_owned()
}

/// Digests of all files of a FAT volume, copied off it by mtools.
#[track_caller]
fn fat_digests(case: &Case) -> BTreeMap<String, String> {
    fn collect(folder: &Path, root: &Path, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, root, into);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                into.insert(name, digest(&fs::read(&path).unwrap()));
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    fat_tool(case, &["mcopy", "-s", "-Q", "::*", folder.path().to_str().unwrap()]);
    let mut digests = BTreeMap::new();
    collect(folder.path(), folder.path(), &mut digests);
    digests
}

/// The type of the first entry in the MBR.
fn partition_type(case: &Case) -> u8 {
    case.bytes()[446 + 4]
}

/// fsck.fat's account of the volume; it must be clean.
#[track_caller]
fn fsck(case: &Case) -> String {
    let volume = case.path("fsck.img");
    extract(&case.disk, &volume);
    String::from_utf8(judge(Command::new("fsck.fat").args(["-n", "-v"]).arg(&volume))).unwrap()
}

#[test]
fn every_file_system_bears_the_same_files() {
    let Some(ntfs) = with(&[]) else { return };
    let mut files = ntfs.digests();
    // the second name of one file, which FAT cannot have
    let linked = files.remove("Documents and Settings/Zoë/My Documents/linked here.txt");
    assert_eq!(linked.as_ref(), files.get("Documents and Settings/All Users/Documents/linked.txt"));
    for (filesystem, kind, bits) in [("fat32", 0x0c, "32 bit"), ("fat16", 0x06, "16 bit")] {
        let case = with(&["--filesystem", filesystem]).unwrap();
        assert_eq!(partition_type(&case), kind);
        let told = fsck(&case);
        assert!(told.contains(&format!("2 FATs, {bits} entries")), "{told}");
        assert!(told.contains("63 hidden sectors"), "{told}");
        assert_eq!(fat_digests(&case), files, "{filesystem}");
        let attributes = fat_tool(&case, &["mattrib", "::/NTDETECT.COM", "::/boot.ini"]);
        let flags: Vec<&str> = attributes.lines().map(|line| line[..9].trim()).collect();
        assert_eq!(flags, ["SHR", "SH"], "{attributes}");
        let listed = fat_tool(&case, &["mdir", "-a", "::/Documents and Settings"]);
        assert!(listed.contains("Default User"), "{listed}");
    }
}

#[test]
fn the_same_options_give_the_same_bytes() {
    for options in [&[][..], &["--filesystem", "fat32"], &["--filesystem", "fat16", "--infect", "none"]] {
        let Some(first) = with(options) else { continue };
        // not through the helper, which keeps what it has made
        let out = first.path("again.img");
        let mut script = Command::new(Path::new(ROOT).join("scripts/make-practice-disk"));
        judge(script.arg(&out).args(SMALL).args(options));
        assert!(fs::read(&out).unwrap() == first.original, "{options:?}");
    }
}

#[test]
fn clusters_are_as_long_as_asked() {
    for cluster in [512_usize, 2048, 16384, 65536] {
        let option: &'static str = cluster.to_string().leak();
        let Some(ntfs) = with(&["--cluster", option]) else { return };
        let told = judge(Command::new("fsstat").args(["-o", "63"]).arg(&ntfs.disk));
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(&format!("Cluster Size: {cluster}\n")), "{told}");
        assert!(ntfs.has_file("WINDOWS/system32/msblast.exe"));
    }
    for (filesystem, cluster, size) in
        [("fat32", "1K", "96M"), ("fat16", "8K", "40M"), ("fat16", "64K", "300M")]
    {
        let case =
            Case::with(&["--files", "60", "--size", size, "--filesystem", filesystem, "--cluster", cluster]);
        let bytes = cluster.trim_end_matches('K').parse::<usize>().unwrap() * 1024;
        let told = fsck(&case.unwrap());
        assert!(told.contains(&format!("{bytes} bytes per cluster")), "{told}");
    }
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    refused(&["--filesystem", "fat32", "--size", "16M"], "65525");
    refused(&["--filesystem", "fat32", "--cluster", "64K"], "not on fat32");
    refused(&["--filesystem", "fat16", "--state", "unclean-log"], "has no journal");
    refused(&["--state", "asleep"], "expected clean, dirty, hibernated, unclean-log or dirty-hive");
    refused(&["--filesystem", "fat12"], "expected ntfs, fat32 or fat16");
    refused(&["--cluster", "3000"], "a power of two");
    refused(
        &["--filesystem", "fat16", "--size", "12M", "--files", "3000"],
        "ask for fewer --files or a larger --size",
    );
}

/// What a tool says of the volume of `case`: its exit code and both outputs.
#[track_caller]
fn told(case: &Case, tool: &[&str]) -> (Option<i32>, String) {
    let volume = case.path("told.img");
    extract(&case.disk, &volume);
    let ran = Ran::of(Command::new(tool[0]).args(&tool[1..]).arg(&volume));
    (ran.code, ran.stdout + &ran.stderr)
}

#[test]
fn states_of_ntfs_are_what_ntfs_3g_takes_them_for() {
    const PROBE: [&str; 2] = ["ntfs-3g.probe", "--readwrite"];
    let Some(clean) = with(&[]) else { return };
    assert_eq!(told(&clean, &PROBE).0, Some(0));
    assert!(!told(&clean, &["ntfsinfo", "-m"]).1.contains("scheduled for check"));

    let dirty = with(&["--state", "dirty"]).unwrap();
    assert!(told(&dirty, &["ntfsinfo", "-m"]).1.contains("scheduled for check"));
    assert_eq!(told(&dirty, &["ntfsinfo", "-f", "-m"]).0, Some(0), "the mirror agrees with the MFT");
    assert_eq!(common::changed_sectors(&clean.original, &dirty.original).len(), 2);

    let unclean = with(&["--state", "unclean-log"]).unwrap();
    let (code, words) = told(&unclean, &PROBE);
    assert_eq!(code, Some(15), "the code for an unclean log: {words}");
    assert!(unclean.digests() == clean.digests(), "nothing else differs");

    let hibernated = with(&["--state", "hibernated"]).unwrap();
    let (code, words) = told(&hibernated, &PROBE);
    assert_eq!(code, Some(14), "the code for a hibernated Windows: {words}");
}

#[test]
fn states_of_fat_are_what_fsck_takes_them_for() {
    for filesystem in ["fat32", "fat16"] {
        let dirty = with(&["--filesystem", filesystem, "--state", "dirty"]).unwrap();
        let (code, words) = told(&dirty, &["fsck.fat", "-n"]);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("Dirty bit is set"), "{words}");
        let clean = with(&["--filesystem", filesystem]).unwrap();
        assert_eq!(
            common::changed_sectors(&clean.original, &dirty.original).len(),
            3,
            "boot sector, both FATs"
        );
        let hibernated = with(&["--filesystem", filesystem, "--state", "hibernated"]).unwrap();
        fsck(&hibernated);
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("hiberfil.sys");
        fat_tool(&hibernated, &["mcopy", "::/hiberfil.sys", copy.to_str().unwrap()]);
        assert!(fs::read(copy).unwrap().starts_with(b"hibr"));
    }
}

/// The hive that the disk bears, completed from its log by the reader of the `regf` crate, is the clean disk's.
#[test]
fn a_dirty_hive_is_completed_by_its_log() {
    use regf::transaction_log::OldFormatLog;

    let Some(case) = with(&["--state", "dirty-hive"]) else { return };
    let whole = with(&[]).unwrap().file(common::SOFTWARE);
    let hive = case.file(common::SOFTWARE);
    let log = case.file(&format!("{}.LOG", common::SOFTWARE));
    assert!(regf::RegistryHive::from_bytes(hive.clone()).unwrap().is_dirty());
    let read = OldFormatLog::parse(std::io::Cursor::new(&log)).unwrap();
    assert_eq!(read.base_block.file_type, 1);
    assert!(read.can_apply_to(u64::from_le_bytes(hive[12..20].try_into().unwrap())));
    let mut completed = hive.clone();
    for page in &read.dirty_pages {
        let start = 4096 + page.offset as usize;
        completed[start..start + 512].copy_from_slice(&page.data);
    }
    let differing: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != completed[at]).collect();
    // sequence numbers, times and checksum of the base block, and the first bin's time
    assert!(differing.iter().all(|at| matches!(at, 4..20 | 508..512 | 4116..4124)), "{differing:x?}");
    let stale = (4124..whole.len()).filter(|&at| whole[at] != hive[at]).count();
    assert!(stale > 0, "without the log it is another hive");
}

/// The disk that is part of the program is what the script makes today, and what it says: infected, and curable.
#[test]
fn the_disk_of_the_program_is_what_the_script_makes() {
    let Some(case) = Case::with(&["--files", "8", "--size", "12M", "--packs-small"]) else { return };
    let practice = deblast::practice::Practice::create().unwrap();
    let embedded = fs::read(practice.disk()).unwrap();
    let signatures = fs::read(practice.signatures()).unwrap();
    assert_eq!(digest(&signatures), digest(&fs::read(common::PRACTICE).unwrap()));
    let told = Case::of(embedded).clean(&[]).exits(0);
    told.require(told.at("/verdict") == "cleaned", "cleaned");
    if Command::new("faketime").arg("--version").output().is_err() {
        return common::skip("without faketime no two practice disks are the same");
    }
    let made = digest(&case.original);
    assert_eq!(
        digest(&fs::read(practice.disk()).unwrap()),
        made,
        "scripts/refresh-practice-disk makes it anew"
    );
}

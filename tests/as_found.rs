//! Disks as technicians find them: each file system in its cluster sizes, each state of trouble. What is said of it, what
//! the verdict is, and which bytes change: all by one table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use common::{Case, Journal, SECTOR, changed_sectors};

/// What becomes of a disk.
enum Becomes {
    /// Cured, and the report says this of the volume or the hive.
    Cured(&'static [&'static str]),
    /// Left as it is, with these words.
    Refused(&'static [&'static str]),
}

fn small(filesystem: &'static str, cluster: &'static str, state: &'static str) -> Vec<&'static str> {
    let size = match (filesystem, cluster) {
        ("ntfs", "64K") => "48M",
        ("ntfs", _) => "24M",
        // 65 525 clusters at least are what makes it FAT32.
        ("fat32", "512") => "40M",
        ("fat32", "4K") => "280M",
        (_, "8K") => "80M",
        _ => "24M",
    };
    let mut options = vec!["--filesystem", filesystem, "--state", state, "--files", "40", "--size", size];
    if !cluster.is_empty() {
        options.extend(["--cluster", cluster]);
    }
    options
}

#[track_caller]
fn must_become(options: &[&str], becomes: &Becomes) {
    let Some(case) = Case::with(options) else { return };
    let scanned = case.scan();
    case.must_be_as_at_first(&scanned);
    let ran = case.clean(&[]);
    let words = match becomes {
        Becomes::Cured(words) => words,
        Becomes::Refused(words) => {
            let ran = ran.exits(2);
            case.must_be_as_at_first(&ran);
            ran.require(case.runs().is_empty(), "no folder of a run");
            ran.require(ran.at("/verdict") == "undetermined", "undetermined");
            words.iter().for_each(|words| {
                ran.says(words);
            });
            return;
        }
    };
    scanned.exits(1);
    let ran = ran.exits(0);
    ran.require(ran.at("/verdict") == "cleaned", &format!("{options:?} to be cleaned"));
    for check in ["autostart", "worm_file", "dcom"] {
        ran.require(ran.finding(check)["outcome"] == "verified", check);
    }
    words.iter().for_each(|words| {
        ran.says(words);
    });
    let (before, after) = (&case.original, case.bytes());
    let changed = changed_sectors(before, &after);
    ran.require(!changed.is_empty(), "something changed");
    let named = Journal::read(&case.runs()[0]).sectors();
    ran.require(changed.is_subset(&named), "every changed sector in the journal");
    assert!(named.iter().all(|place| place.is_multiple_of(SECTOR)));
    let again = case.clean(&[]).exits(0);
    case.must_hold(&after, &again, "no byte to change");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

#[test]
fn every_cluster_size_is_cured_and_taken_back() {
    for cluster in ["512", "1K", "2K", "4K", "8K", "16K", "32K", "64K"] {
        must_become(&small("ntfs", cluster, "clean"), &Becomes::Cured(&[]));
    }
    for cluster in ["512", "4K"] {
        must_become(&small("fat32", cluster, "clean"), &Becomes::Cured(&[]));
    }
    for cluster in ["2K", "8K"] {
        must_become(&small("fat16", cluster, "clean"), &Becomes::Cured(&[]));
    }
}

#[test]
fn every_trouble_has_its_words() {
    let dirty = Becomes::Cured(&["dirty flag is set", "scan again"]);
    let unclean = Becomes::Cured(&["$LogFile is unclean", "scan again"]);
    let asleep = Becomes::Refused(&["is hibernated", "hiberfil.sys", "shut it down properly"]);
    let dirty_hive = Becomes::Cured(&["is dirty", "transaction log"]);
    must_become(&small("ntfs", "", "dirty"), &dirty);
    must_become(&small("ntfs", "", "unclean-log"), &unclean);
    for (filesystem, cluster) in [("ntfs", ""), ("fat32", "512"), ("fat16", "")] {
        must_become(&small(filesystem, cluster, "hibernated"), &asleep);
        must_become(&small(filesystem, cluster, "dirty-hive"), &dirty_hive);
    }
    let fat_dirty = Becomes::Cured(&["scan again"]);
    must_become(&small("fat32", "512", "dirty"), &fat_dirty);
    must_become(&small("fat16", "", "dirty"), &fat_dirty);
}

/// A copy that was broken off: nothing proves what else uses the sectors, so none is written.
#[test]
fn a_disk_that_is_cut_short_is_not_written() {
    for (filesystem, size, short) in [("ntfs", "24M", 1), ("fat32", "48M", 30)] {
        let options = ["--filesystem", filesystem, "--files", "40", "--size", size];
        let Some(mut case) = Case::with(&options) else { return };
        let mut cut = case.bytes();
        cut.truncate(cut.len() - (short << 20));
        std::fs::write(&case.disk, cut).unwrap();
        case.settle();
        let ran = case.clean(&[]).exits(2);
        case.must_be_as_at_first(&ran);
        ran.require(case.runs().is_empty(), "no folder of a run");
        ran.says("an incomplete copy").says("copy the disk again");
    }
}

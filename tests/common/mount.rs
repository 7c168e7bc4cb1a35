//! What a run leaves of its mounts, and an ntfs-3g of a test's own.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Case, START, judge, skip};

/// The dirty flag of the volume: the flags word of $VOLUME_INFORMATION in record 3 and in its copy.
#[track_caller]
pub(crate) fn is_flagged(case: &Case) -> bool {
    let bytes = case.bytes();
    let at = |range: std::ops::Range<usize>| {
        u64::from_le_bytes(bytes[START + range.start..START + range.end].try_into().unwrap()) as usize
    };
    let flags = [at(0x30..0x38), at(0x38..0x40)].map(|cluster| {
        let record = &bytes[START + cluster * 4096 + 3 * 1024..][..1024];
        assert_eq!(&record[..4], b"FILE");
        let mut offset = usize::from(record[0x14]);
        while record[offset] != 0x70 {
            offset += usize::from(record[offset + 4]) | usize::from(record[offset + 5]) << 8;
        }
        record[offset + usize::from(record[offset + 20]) + 10] & 1
    });
    assert_eq!(flags[0], flags[1], "the flag in $MFT and in $MFTMirr");
    flags[0] == 1
}

/// No mount and no loop device of this disk.
#[track_caller]
pub(crate) fn must_be_released(case: &Case) {
    assert!(loops_of(case).is_empty(), "a loop device is left: {:?}", loops_of(case));
    // By the folder that it is mounted in: what is left mounted over a loop device that is gone is seen too. Others of the same time
    // lie over loop devices of their own disks.
    let ours: Vec<String> = mounts()
        .into_iter()
        .filter(|line| line.contains(" /run/deblast/mounts/"))
        .filter(|line| !line.starts_with("/dev/loop") || is_gone(line))
        .collect();
    assert!(ours.is_empty(), "left mounted: {ours:?}");
}

/// Whether the loop device of a line of the table of mounts has no file any more.
fn is_gone(line: &str) -> bool {
    let device = line.split(' ').next().unwrap_or_default().trim_start_matches("/dev/");
    !Path::new("/sys/class/block").join(device).join("loop/backing_file").exists()
}

pub(crate) fn loops_of(case: &Case) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/block").unwrap() {
        let entry = entry.unwrap();
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(backing.trim()) == case.disk {
            found.push(format!("/dev/{}", entry.file_name().to_str().unwrap()));
        }
    }
    found
}

pub(crate) fn mounts() -> Vec<String> {
    fs::read_to_string("/proc/self/mounts").unwrap().lines().map(str::to_owned).collect()
}

/// Where the run has mounted the disk, if it has.
pub(crate) fn mounted_at(case: &Case) -> Option<PathBuf> {
    let loops = loops_of(case);
    let of_disk = |line: &String| loops.iter().any(|node| line.starts_with(&format!("{node} ")));
    mounts().into_iter().find(of_disk).map(|line| line.split(' ').nth(1).unwrap().into())
}

/// Every loop device may be another test's for a moment; without any there is nothing to try.
pub(crate) fn practice() -> Option<Case> {
    let case = Case::practice()?;
    let loops = Command::new("losetup").arg("-f").output().is_ok_and(|output| output.status.success());
    if !loops {
        skip("there is no loop device to lay over the practice disk");
        return None;
    }
    Some(case)
}

/// Everything but the worm and what the cure edits is as it was.
#[track_caller]
pub(crate) fn others_must_be_as_before(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    but: &[&str],
) {
    let others = |files: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        files.clone().into_iter().filter(|(name, _)| !but.contains(&name.as_str())).collect()
    };
    assert_eq!(others(before), others(after), "the other files");
}

/// Holds each sync up.
pub(crate) const SLOWLY: &str =
    "strace -qq -f -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_enter=400ms";

/// A folder with an ntfs-3g of the test's own, which goes before the real one.
pub(crate) struct Tools {
    pub(crate) folder: tempfile::TempDir,
}

impl Tools {
    /// `REAL` is the real one; its arguments are those that it was given, `-o OPTIONS NODE POINT`.
    pub(crate) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let real = judge(Command::new("sh").args(["-c", "command -v ntfs-3g"]));
        let real = String::from_utf8(real).unwrap();
        let path = folder.path().join("ntfs-3g");
        fs::write(&path, format!("#!/bin/sh\nREAL={}\n{script}\n", real.trim())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// An ntfs-3g that takes its time to write: each sync is held up.
    pub(crate) fn slow() -> Self {
        Self::new(&format!("exec {SLOWLY} \"$REAL\" \"$@\""))
    }

    pub(crate) fn clean(&self, case: &Case) -> Command {
        let store = case.store();
        let mut command = case.on_disk(&[
            "clean",
            "--yes",
            "--json",
            "--remove",
            "now",
            "--store",
            store.to_str().unwrap(),
        ]);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.folder.path().display()));
        command
    }
}

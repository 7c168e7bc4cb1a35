//! The four Windows of practice disks on whatever file system: their hives, and files put there by tools that are not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use super::hives::{Tree, by_hivexml, by_regf, differences, merge};
use super::volume::extract;
use super::{Case, Ran, START, judge};

/// One Windows, as `--windows` names it.
pub struct Windows {
    pub word: &'static str,
    /// The folder of Windows.
    pub root: &'static str,
    /// The folder of the profiles.
    pub homes: &'static str,
    /// The minor version of its own hives.
    pub minor: u32,
}

pub const NT4: Windows = Windows { word: "nt4", root: "WINNT", homes: "WINNT/Profiles", minor: 3 };
pub const W2000: Windows = Windows { word: "2000", root: "WINNT", homes: "Documents and Settings", minor: 3 };
pub const XP: Windows = Windows { word: "xp", root: "WINDOWS", homes: "Documents and Settings", minor: 5 };
pub const S2003: Windows =
    Windows { word: "2003", root: "WINDOWS", homes: "Documents and Settings", minor: 5 };

impl Windows {
    /// A file in its system folder.
    pub fn system32(&self, name: &str) -> String {
        format!("{}/system32/{name}", self.root)
    }

    /// A hive of the machine.
    pub fn hive(&self, name: &str) -> String {
        self.system32(&format!("config/{name}"))
    }

    /// The hive of the practice disk's one user.
    pub fn user(&self) -> String {
        format!("{}/Zoë/NTUSER.DAT", self.homes)
    }

    /// Whether SYSTEM has a mirror.
    pub fn has_alternate(&self) -> bool {
        self.minor == 3
    }

    /// The hives that a run may write, by their paths.
    pub fn hives(&self) -> Vec<String> {
        let mut all = vec![self.hive("software"), self.hive("system"), self.user()];
        all.extend(self.has_alternate().then(|| self.hive("SYSTEM.ALT")));
        all
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A hive as one of the other type: SYSTEM.ALT as a primary one, which is all that other readers know, and back. The
/// checksum is an exclusive or, so a wrong one stays wrong.
pub fn other_type(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[28] ^= 1;
    bytes[508] ^= 1;
    bytes
}

/// A hive as a primary one.
pub fn primary(bytes: &[u8]) -> Vec<u8> {
    if word(bytes, 28) == 1 { other_type(bytes) } else { bytes.to_vec() }
}

/// The two letters that each allocated cell begins with, by walking the bins.
#[track_caller]
pub fn cells(bytes: &[u8]) -> BTreeMap<usize, [u8; 2]> {
    let (mut found, mut bin) = (BTreeMap::new(), 4096);
    let end = 4096 + word(bytes, 40) as usize;
    while bin < end {
        assert_eq!(&bytes[bin..bin + 4], b"hbin", "at {bin:#x}");
        let size = word(bytes, bin + 8) as usize;
        let mut at = bin + 32;
        while at < bin + size {
            let length = word(bytes, at) as i32;
            assert!(length != 0, "a cell of no length at {at:#x}");
            if length < 0 {
                found.insert(at, [bytes[at + 4], bytes[at + 5]]);
            }
            at += length.unsigned_abs() as usize;
        }
        assert_eq!(at, bin + size, "the cells tile the bin");
        bin += size;
    }
    found
}

/// Type and data of the values of a hive, SYSTEM.ALT too, by the `regf` crate.
#[track_caller]
pub fn tree(bytes: &[u8]) -> Tree<(u32, Vec<u8>)> {
    by_regf(&primary(bytes))
}

/// One value; none too where its key is not there.
#[track_caller]
pub fn value_of(bytes: &[u8], key: &str, name: &str) -> Option<(u32, Vec<u8>)> {
    tree(bytes).get(key)?.get(name).cloned()
}

/// The places at which two states of a hive differ, by two readers that are not ours; holds the format against what it
/// was, and has `deblast hive check` look at the second.
#[track_caller]
pub fn edited(case: &Case, path: &str, before: &[u8], after: &[u8]) -> BTreeSet<String> {
    assert_eq!(word(before, 24), word(after, 24), "{path}: the version of the format");
    if word(before, 24) == 3 {
        let (old, new) = (cells(before), cells(after));
        let alien =
            |(at, kind): &(&usize, &[u8; 2])| [b"lh", b"db"].contains(kind) && old.get(*at) != Some(*kind);
        assert_eq!(new.iter().find(alien), None, "{path}: format 1.3 has no lh and no db");
    }
    // Others' writers leave remarks of their own; there is none more.
    let [checked, again] = [before, after].map(|bytes| {
        let plain = case.path("hive-to-check");
        fs::write(&plain, bytes).unwrap();
        Ran::of(case.command(&["hive", "check"]).arg(&plain))
    });
    again.require((again.code, &again.stdout) == (checked.code, &checked.stdout), "the problems of before");
    let (before, after) = (primary(before), primary(after));
    let found = differences(&by_regf(&before), &by_regf(&after));
    assert_eq!(
        differences(&by_hivexml(&before), &by_hivexml(&after)),
        found,
        "{path}: by hivexml and by regf"
    );
    found
}

impl Case {
    /// Whether the volume is FAT, by the partition's type.
    fn is_fat(&self) -> bool {
        self.bytes()[446 + 4] != 7
    }

    /// Several files of the volume, of NTFS or FAT.
    #[track_caller]
    pub fn files(&self, paths: &[String]) -> BTreeMap<String, Vec<u8>> {
        let listing = self.listing();
        let read = |path: &String| {
            let id = listing.get(path).unwrap_or_else(|| panic!("no {path} on the disk"));
            judge(Command::new("icat").args(["-o", "63"]).arg(&self.disk).arg(id))
        };
        paths.iter().map(|path| (path.clone(), read(path))).collect()
    }

    /// Changes the volume as somebody else would: writes files and, where there are no bytes, removes them. On FAT in folders
    /// that are there.
    #[track_caller]
    pub fn put(&self, files: &[(&str, Option<&[u8]>)]) {
        if !self.is_fat() {
            self.mounted(true, |root| {
                for (path, bytes) in files {
                    let path = root.join(path);
                    match bytes {
                        Some(bytes) => {
                            fs::create_dir_all(path.parent().unwrap()).unwrap();
                            fs::write(path, bytes).unwrap();
                        }
                        None => fs::remove_file(path).unwrap(),
                    }
                }
            });
            return;
        }
        let volume = self.path("put.img");
        extract(&self.disk, &volume);
        for (path, bytes) in files {
            let target = format!("::{path}");
            let mut command;
            if let Some(bytes) = bytes {
                let source = self.path("put.file");
                fs::write(&source, bytes).unwrap();
                command = Command::new("mcopy");
                command.args(["-o", "-i"]).arg(&volume).arg(source).arg(target);
            } else {
                command = Command::new("mdel");
                command.arg("-i").arg(&volume).arg(target);
            }
            judge(command.env("LC_ALL", "C.UTF-8"));
        }
        let disk = fs::File::options().write(true).open(&self.disk).unwrap();
        disk.write_all_at(&fs::read(&volume).unwrap(), START as u64).unwrap();
    }

    /// Edits a hive by hivexregedit, and its mirror where there is one to be kept alike.
    #[track_caller]
    pub fn edit(&self, windows: &Windows, path: &str, reg: &str) {
        let bytes = merged(&self.files(&[path.to_owned()])[path], reg);
        let alternate = windows.hive("SYSTEM.ALT");
        let mirror = (windows.has_alternate() && path == windows.hive("system")).then(|| other_type(&bytes));
        let mut files = vec![(path, Some(bytes.as_slice()))];
        if let Some(mirror) = &mirror {
            files.push((&alternate, Some(mirror)));
        }
        self.put(&files);
    }
}

/// A hive after a merge.
#[track_caller]
pub fn merged(bytes: &[u8], reg: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (hive, text) = (folder.path().join("hive"), folder.path().join("edit.reg"));
    fs::write(&hive, bytes).unwrap();
    merge(&hive, &text, reg);
    fs::read(&hive).unwrap()
}

/// Does `work` to each of `items` in two threads, and says of every one that fails which it was.
#[track_caller]
pub fn two_at_once<T: Sync>(items: &[T], name: impl Fn(&T) -> String + Sync, work: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let work = std::panic::AssertUnwindSafe(|| work(item));
                    if std::panic::catch_unwind(work).is_err() {
                        println!("^^^^^ that was {}", name(item));
                        failed.lock().unwrap().push(name(item));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {}", failed.join("; "));
}

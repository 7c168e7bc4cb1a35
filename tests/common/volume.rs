//! The practice disk's volume, by ntfs-3g and The Sleuth Kit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Case, SECTOR, START, digest, judge};

/// The volume as a file of its own, for tools that know no partitions.
#[track_caller]
pub fn extract(disk: &Path, out: &Path) {
    let bytes = fs::read(disk).unwrap();
    let sectors = u32::from_le_bytes(bytes[446 + 12..446 + 16].try_into().unwrap());
    let end = START + usize::try_from(sectors).unwrap() * SECTOR;
    fs::write(out, &bytes[START..end]).unwrap();
}

/// Whether something is mounted there.
pub fn is_mounted(point: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == point.to_str())
}

/// Unmounts; lazily where it stays busy. A child that another test is just starting holds our files for a moment, and
/// the mount is busy then.
pub fn unmount(point: &Path) {
    let umount = |options: &[&str]| {
        let mut command = Command::new("umount");
        command.args(options).arg(point).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let begun = Instant::now();
    while !umount(&[]) {
        if begun.elapsed() > Duration::from_secs(10) {
            umount(&["-l"]);
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Unmounts whatever happens.
struct Mount {
    point: PathBuf,
    daemon: Child,
}

impl Mount {
    #[track_caller]
    fn new(volume: &Path, point: &Path, options: &str) -> Self {
        fs::create_dir_all(point).unwrap();
        let mut command = Command::new("ntfs-3g");
        command.args(["-o", &format!("no_detach,noatime,streams_interface=windows,{options}")]);
        command.arg(volume).arg(point).stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon = command.spawn().unwrap();
        let begun = Instant::now();
        while !is_mounted(point) {
            assert!(daemon.try_wait().unwrap().is_none(), "ntfs-3g did not mount {}", volume.display());
            assert!(begun.elapsed() < Duration::from_secs(10), "ntfs-3g takes too long");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { point: point.to_owned(), daemon }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let begun = Instant::now();
        unmount(&self.point);
        // ntfs-3g has written its last when it ends, not when umount does; nor does a test wait for ever.
        while begun.elapsed() < Duration::from_secs(20) {
            if matches!(self.daemon.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        assert!(std::thread::panicking(), "ntfs-3g did not end after the volume was unmounted");
    }
}

impl Case {
    /// Does something with the mounted volume; what it writes ends up on the disk where `write` is asked for.
    #[track_caller]
    pub fn mounted<T>(&self, write: bool, work: impl FnOnce(&Path) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume.img");
        extract(&self.disk, &volume);
        let options = if write { "rw,compression" } else { "ro" };
        let mount = Mount::new(&volume, &folder.path().join("mounted"), options);
        let result = work(&mount.point);
        drop(mount);
        if write {
            let disk = fs::File::options().write(true).open(&self.disk).unwrap();
            disk.write_all_at(&fs::read(&volume).unwrap(), START as u64).unwrap();
        }
        result
    }

    /// A file by ntfscat.
    #[track_caller]
    pub fn ntfscat(&self, path: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("volume.img");
        extract(&self.disk, &volume);
        judge(Command::new("ntfscat").arg(volume).arg(path))
    }

    /// Names and identities of all files and streams, by fls.
    #[track_caller]
    pub fn listing(&self) -> BTreeMap<String, String> {
        let text = judge(Command::new("fls").args(["-r", "-p", "-u", "-o", "63"]).arg(&self.disk));
        let text = String::from_utf8(text).unwrap();
        let line = |line: &str| {
            let (id, name) = line.split_once(":\t").unwrap();
            (name.to_owned(), id.rsplit(' ').next().unwrap().to_owned())
        };
        text.lines().map(line).collect()
    }

    /// Names, sizes and times of all files, deleted ones too, as fls tells them.
    #[track_caller]
    pub fn metadata(&self) -> String {
        let text = judge(Command::new("fls").args(["-r", "-m", "/", "-o", "63"]).arg(&self.disk));
        String::from_utf8(text).unwrap()
    }

    /// A file by icat.
    #[track_caller]
    pub fn file(&self, path: &str) -> Vec<u8> {
        let listing = self.listing();
        let id = listing.get(path).unwrap_or_else(|| panic!("no {path} on the disk"));
        judge(Command::new("icat").args(["-o", "63"]).arg(&self.disk).arg(id))
    }

    #[track_caller]
    pub fn has_file(&self, path: &str) -> bool {
        self.listing().contains_key(path)
    }

    /// Digests of all files, read through a mount.
    #[track_caller]
    pub fn digests(&self) -> BTreeMap<String, String> {
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
        self.mounted(false, |root| {
            let mut digests = BTreeMap::new();
            collect(root, root, &mut digests);
            digests
        })
    }

    /// Changes a hive as somebody else would: hivexregedit, and the file written through a mount.
    #[track_caller]
    pub fn edit_hive(&self, path: &str, reg: &str) {
        self.mounted(true, |root| {
            let folder = tempfile::tempdir().unwrap();
            let (hive, text) = (folder.path().join("hive"), folder.path().join("edit.reg"));
            fs::copy(root.join(path), &hive).unwrap();
            super::hives::merge(&hive, &text, reg);
            fs::write(root.join(path), fs::read(&hive).unwrap()).unwrap();
        });
    }
}

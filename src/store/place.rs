//! Whether a place is fit to hold the record of a run: it must outlive the machine and must not be the patient.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, major, minor, statfs, statvfs};

use crate::error::{Context, Error, Result};

/// Magic numbers of file systems that live in memory (linux/magic.h).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const OVERLAYFS: u64 = 0x794c_7630;

/// How a place was judged fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Bytes that are free there.
    pub room: u64,
    /// What the technician must know about it.
    pub warning: Option<String>,
}

/// Looks at a folder, or the nearest one above it that exists.
///
/// # Errors
/// It lies on a read-only medium, on one of the targets, or (unless the user named it) in memory; or the user named it
/// and the folder above it is missing.
pub fn judge(place: &Path, targets: &[PathBuf], named_by_user: bool) -> Result<Fit> {
    const DOING: &str = "use the store";
    let refuse = |why: String| {
        Err(Error::refused(DOING, why)
            .device(place)
            .hint("give a place on another disk or stick with --store"))
    };
    if named_by_user {
        refuse_missing_parent(place, DOING)?;
    }
    let absolute = std::path::absolute(place).doing(DOING)?;
    let existing = absolute.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let at = |e: rustix::io::Errno| Error::io(DOING, e.into()).device(existing);
    let volume = statvfs(existing).map_err(at)?;
    if volume.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return refuse("it lies on a read-only medium".to_owned());
    }
    if let Some(target) = targets.iter().find(|target| lies_on(existing, target)) {
        return refuse(format!("it lies on {}, which is a target of this run", target.display()));
    }
    // The type's width differs between architectures; the magic numbers have 32 bits.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let kind = statfs(existing).map_err(at)?.f_type as u64 & 0xffff_ffff;
    let in_memory = match kind {
        TMPFS | RAMFS => true,
        OVERLAYFS => overlay_in_memory(existing),
        _ => false,
    };
    let warning = match (in_memory, named_by_user) {
        (false, _) => None,
        (true, true) => Some(format!(
            "the store {} lies in memory: it is gone when this machine is switched off, and with it what undo needs",
            place.display()
        )),
        (true, false) => return refuse("it lies in memory and would not outlive this machine".to_owned()),
    };
    Ok(Fit { room: volume.f_bavail.saturating_mul(volume.f_frsize), warning })
}

/// Refuses a place that the user named whose folder above is missing: a stick that is not mounted, or a word mistyped,
/// must not become a folder on this machine.
///
/// # Errors
/// The folder that it would be made in does not exist.
pub fn refuse_missing_parent(place: &Path, doing: &str) -> Result<()> {
    let absolute = std::path::absolute(place).doing(doing)?;
    let Some(parent) = absolute.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    let missing = parent.ancestors().take_while(|folder| !folder.exists()).last();
    let why = match missing {
        Some(missing) => format!("{} does not exist; is the stick mounted?", missing.display()),
        None => format!("{} is no folder", parent.display()),
    };
    Err(Error::refused(doing, why)
        .device(place)
        .hint("name another place, or make the folder it is to lie in"))
}

/// Whether the writable layer of the overlay that `folder` lies on is in memory. Where that cannot be told, it counts
/// as in memory: a record that is lost cannot be taken back.
fn overlay_in_memory(folder: &Path) -> bool {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return true };
    let upper = table
        .lines()
        .filter(|line| line.contains(" - overlay "))
        .filter(|line| line.split(' ').nth(4).is_some_and(|point| folder.starts_with(point)))
        .max_by_key(|line| line.split(' ').nth(4).map(str::len))
        .and_then(|line| line.split(',').find_map(|option| option.strip_prefix("upperdir=")))
        .map(PathBuf::from);
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let kind = upper.and_then(|path| statfs(&path).ok()).map(|s| s.f_type as u64 & 0xffff_ffff);
    kind.is_none_or(|kind| matches!(kind, TMPFS | RAMFS | OVERLAYFS))
}

/// Whether a folder's file system lies on a block device or on a part of it.
fn lies_on(folder: &Path, target: &Path) -> bool {
    let Ok(node) = fs::metadata(target) else { return false };
    if !node.file_type().is_block_device() {
        return false;
    }
    let name_of =
        |device: u64| fs::canonicalize(format!("/sys/dev/block/{}:{}", major(device), minor(device))).ok();
    let Ok(folder) = fs::metadata(folder) else { return false };
    let (Some(place), Some(target)) = (name_of(folder.dev()), name_of(node.rdev())) else { return false };
    // A partition's sysfs folder lies in that of its disk; two partitions of one disk share the disk as parent.
    let disk = if target.join("partition").exists() { target.parent() } else { Some(target.as_path()) };
    disk.is_some_and(|disk| place.starts_with(disk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_taken_only_when_named() {
        let memory = Path::new("/dev/shm");
        if !memory.is_dir() {
            println!("skipped: no /dev/shm here");
            return;
        }
        let named = judge(&memory.join("deblast-store"), &[], true).unwrap();
        assert!(named.warning.unwrap().contains("lies in memory"));
        let error = judge(&memory.join("deblast-store"), &[], false).unwrap_err().to_string();
        assert!(error.contains("outlive") && error.contains("--store"), "{error}");
    }
}

//! Block devices as sysfs shows them: model and serial number, and which disks are attached to this machine.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt};
use std::path::{Path, PathBuf};

use super::live_image::{booted_from, booted_id};
use crate::error::Result;
use crate::volume::{Roots, SECTOR};

/// What the kernel tells of a block device.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) removable: bool,
}

/// A disk that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its node.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// Why it must be left alone, if it must: this machine runs from it, or has a part of it mounted.
    pub in_use: Option<String>,
}

/// The whole disks that are attached and have a medium, in the order of their names: no loop, RAM, device mapper, RAID,
/// optical or floppy device. Those that this machine uses are among them, with the reason.
///
/// # Errors
/// The table of mounts cannot be read.
pub fn attached(roots: &Roots) -> Result<Vec<Attached>> {
    const LEFT_OUT: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
    let booted = booted_id(roots);
    let mut found = Vec::new();
    for name in roots.block_names() {
        let left_out = LEFT_OUT.iter().any(|prefix| name.starts_with(prefix));
        if left_out || roots.attribute(&name, "partition").is_some() {
            continue;
        }
        let sectors: u64 = roots.attribute(&name, "size").and_then(|size| size.parse().ok()).unwrap_or(0);
        if sectors == 0 {
            continue;
        }
        let is_booted = || booted.as_deref().is_some_and(|id| booted_from(&node(&name), id));
        let in_use = match roots.block_in_use(&name)? {
            None if is_booted() => Some("this machine was booted from it".to_owned()),
            used => used,
        };
        found.push(Attached { path: node(&name), size: sectors.saturating_mul(SECTOR), in_use });
    }
    Ok(found)
}

/// Model, serial number and whether the medium can be removed; a partition has those of its disk.
pub(super) fn facts(path: &Path, roots: &Roots) -> Facts {
    name(path, roots).map_or_else(Facts::default, |name| facts_of(&name, roots))
}

/// The kernel's name of a block device's node; none for a plain file.
pub(super) fn name(path: &Path, roots: &Roots) -> Option<String> {
    let metadata = std::fs::metadata(path).ok().filter(|node| node.file_type().is_block_device())?;
    roots.block_name(rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()))
}

/// The node of a block device by the kernel's name of it.
pub(super) fn node(name: &str) -> PathBuf {
    // In names of nodes below a folder sysfs writes `!` for the slash (`cciss!c0d0`).
    Path::new("/dev").join(name.replace('!', "/"))
}

pub(super) fn facts_of(name: &str, roots: &Roots) -> Facts {
    let disk = roots.disk_of(name).unwrap_or_else(|| name.to_owned());
    let first = |files: &[&str]| files.iter().find_map(|file| roots.attribute(&disk, file));
    Facts {
        model: first(&["device/model", "device/name"]),
        serial: first(&["device/serial", "serial", "device/cid"]).or_else(|| page_80(&disk, roots)),
        removable: roots.attribute(&disk, "removable").as_deref() == Some("1"),
    }
}

/// The serial number in SCSI's vital product data page 80: four bytes of header, then text.
fn page_80(disk: &str, roots: &Roots) -> Option<String> {
    let page = roots.binary_attribute(disk, "device/vpd_pg80")?;
    let text = String::from_utf8_lossy(page.get(4..)?)
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_owned();
    (!text.is_empty()).then_some(text)
}

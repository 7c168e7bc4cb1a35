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

/// A disk that is attached, and where it is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugged {
    /// Its node.
    pub path: PathBuf,
    /// Number that the kernel gives to each disk that appears (since 5.15): the same node may be another disk.
    pub sequence: Option<u64>,
    /// The socket that it is in, the same for whatever is plugged in there: `usb 1-2.3`, `ata3`.
    pub socket: String,
    /// Size in bytes.
    pub size: u64,
    /// Model, as the kernel tells.
    pub model: Option<String>,
    /// Serial number, as the kernel tells.
    pub serial: Option<String>,
    /// Why it must be left alone, if it must.
    pub in_use: Option<String>,
}

/// The same as [`attached`], with what tells one disk and one socket from others.
///
/// # Errors
/// As [`attached`].
pub fn plugged(roots: &Roots) -> Result<Vec<Plugged>> {
    let tell = |disk: Attached| {
        let name = disk.path.strip_prefix("/dev").unwrap_or(&disk.path).to_string_lossy().replace('/', "!");
        let Facts { model, serial, .. } = facts_of(&name, roots);
        Plugged {
            sequence: roots.attribute(&name, "diskseq").and_then(|number| number.parse().ok()),
            socket: socket(&name, roots).unwrap_or_else(|| name.clone()),
            path: disk.path,
            size: disk.size,
            model,
            serial,
            in_use: disk.in_use,
        }
    };
    Ok(attached(roots)?.into_iter().map(tell).collect())
}

/// The socket, from the path of the device in sysfs, whose parts are the buses that lead to it.
fn socket(name: &str, roots: &Roots) -> Option<String> {
    let path = std::fs::canonicalize(roots.sys.join("class/block").join(name)).ok()?;
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let is_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let is_port = |part: &str| {
        part.split_once('-').is_some_and(|(bus, ports)| is_digits(bus) && ports.split('.').all(is_digits))
    };
    let is_address = |part: &str| part.split(':').count() == 4 && part.split(':').all(is_digits);
    let is_ata = |part: &str| part.strip_prefix("ata").is_some_and(is_digits);
    let is_pci = |part: &str| part.len() == 12 && part.split(':').count() == 3 && part.contains('.');
    let last = |test: &dyn Fn(&str) -> bool| parts.iter().rev().copied().find(|part| test(part));
    // Host, channel, target, unit: two disks on one cable of IDE differ in the target alone.
    let unit = last(&is_address).and_then(|address| address.split_once(':')).map(|(_, unit)| unit);
    if let Some(port) = last(&is_port) {
        // A dock with several slots is one device with several units.
        let unit = unit.filter(|unit| *unit != "0:0:0").map(|unit| format!(" {unit}")).unwrap_or_default();
        return Some(format!("usb {port}{unit}"));
    }
    if let Some(ata) = last(&is_ata) {
        let unit = unit.filter(|unit| *unit != "0:0:0").map(|unit| format!(" {unit}")).unwrap_or_default();
        return Some(format!("{ata}{unit}"));
    }
    let unit = unit.map(|unit| format!(" {unit}")).unwrap_or_default();
    last(&is_pci).map(|address| format!("pci {}{unit}", address.trim_start_matches("0000:")))
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

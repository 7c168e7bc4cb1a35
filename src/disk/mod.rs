//! Disks from outside: what a target is, how it is partitioned, which disks are attached.
//!
//! Knows block devices and partition tables, not what is in the volumes beyond their first sector.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::volume::{Device, DeviceKind, RawDevice, ReadAt, Recognised, Roots, SECTOR, recognise_sector};

mod block;
pub mod live_image;
mod partition;
pub mod raid;
#[cfg(test)]
mod tests;
mod uevent;

pub use block::{Attached, Plugged, attached, plugged};
pub use partition::{Partition, PartitionKind, Table};
pub use uevent::Uevents;

/// What a target is.
pub type Kind = DeviceKind;

/// One target as found: a whole disk, a partition's node, an image of either.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The node or image file.
    pub path: PathBuf,
    /// Block device or image.
    pub kind: Kind,
    /// Size in bytes.
    pub size: u64,
    /// Model, as the kernel tells.
    pub model: Option<String>,
    /// Serial number, as the kernel tells.
    pub serial: Option<String>,
    /// How it is partitioned.
    pub table: Table,
    /// Its partitions, in the order of their numbers; one with number 0 where the target is a volume itself.
    pub partitions: Vec<Partition>,
    /// What is odd about the table, in sentences without a full stop.
    pub notes: Vec<String>,
    /// Why nothing on it may be written: it is a member of a set.
    pub forbids_writing: Vec<String>,
    /// Whether its medium can be removed.
    pub removable: bool,
}

/// Looks at one target: opens it for reading and reads its partition table.
///
/// # Errors
/// The target cannot be opened. A table that cannot be read is no error: [`Table::Unreadable`], with a note.
pub fn inspect(path: &Path) -> Result<Disk> {
    inspect_at(path, &Roots::default())
}

/// The same with the root of sysfs given.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_at(path: &Path, roots: &Roots) -> Result<Disk> {
    let device = RawDevice::new(path)?;
    let reader = device.open_read()?;
    let facts = match device.kind() {
        DeviceKind::BlockDevice => block::facts(path, roots),
        DeviceKind::Image => block::Facts::default(),
    };
    Ok(inspect_reader(reader, path, device.kind(), facts))
}

fn inspect_reader(reader: Arc<dyn ReadAt>, path: &Path, kind: Kind, facts: block::Facts) -> Disk {
    let size = reader.size();
    let mut notes = Vec::new();
    let (table, partitions) = match partition::read(reader.as_ref(), &mut notes) {
        Ok(found) => found,
        Err(error) => {
            notes.push(error.to_string());
            (Table::Unreadable, Vec::new())
        }
    };
    let forbids_writing = raid::look(reader.as_ref(), table, &partitions, &mut notes);
    let block::Facts { model, serial, removable } = facts;
    Disk {
        path: path.to_owned(),
        kind,
        size,
        model,
        serial,
        table,
        partitions,
        notes,
        forbids_writing,
        removable,
    }
}

/// The disk that a partition's node is of, and where on it the partition begins, in bytes; none where the path is no
/// partition's node.
pub fn parent(path: &Path, roots: &Roots) -> Option<(PathBuf, u64)> {
    let name = block::name(path, roots)?;
    let disk = roots.disk_of(&name)?;
    let start: u64 = roots.attribute(&name, "start")?.parse().ok()?;
    Some((block::node(&disk), start.saturating_mul(SECTOR)))
}

/// What tells a disk from others, for a name: its serial number, else what its node or file is called.
pub fn identity(path: &Path) -> String {
    let serial = block::facts(path, &Roots::default()).serial;
    serial.unwrap_or_else(|| path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned())
}

/// What a target lies on, by a path that all targets of it share: the node of the whole disk, or the image file.
pub fn lies_on(path: &Path) -> PathBuf {
    let whole = parent(path, &Roots::default()).map(|(disk, _)| disk);
    let whole = whole.unwrap_or_else(|| path.to_owned());
    whole.canonicalize().unwrap_or(whole)
}

/// Whether a place holds the first sector of a volume.
fn is_volume(recognised: Recognised) -> bool {
    matches!(recognised, Recognised::Ntfs | Recognised::Fat { .. } | Recognised::BitLocker)
}

/// Whether a volume begins at `start`; no where that cannot be read.
fn volume_at(device: &dyn ReadAt, start: u64) -> bool {
    let mut sector = [0; 512];
    device.read_at(start, &mut sector).is_ok() && is_volume(recognise_sector(&sector))
}

//! First step: which disks there are, and how each is opened.

use std::path::{Path, PathBuf};

use crate::disk::{self, Disk};
use crate::error::Result;
use crate::volume::{Device, RawDevice, Roots, mount, refuse_in_use};

/// A disk, partition or image that a run looks at.
pub struct Patient {
    /// What is known about it without reading its volumes.
    pub disk: Disk,
    /// The only way to its bytes.
    pub device: Box<dyn Device>,
    /// The whole disk, where the target is a partition's node: looked at, never written.
    pub whole: Option<Whole>,
}

/// The disk that a target is a partition of.
pub struct Whole {
    /// Its node.
    pub path: PathBuf,
    /// Where on it the target begins, in bytes.
    pub start: u64,
}

impl Patient {
    /// Opens one target for looking at it; refused while it is mounted or held by another program. What a run of ours
    /// that was killed has left mounted is released first.
    ///
    /// # Errors
    /// It cannot be opened or read, or is in use.
    pub fn open(path: &Path) -> Result<Self> {
        mount::release_leftovers()?;
        refuse_in_use(path)?;
        disk::live_image::refuse_booted(path)?;
        Self::open_to_list(path)
    }

    /// Opens one target for listing it: one that is in use may be looked at, if nothing rests on what is read.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn open_to_list(path: &Path) -> Result<Self> {
        let whole = disk::parent(path, &Roots::default()).map(|(path, start)| Whole { path, start });
        Ok(Self { disk: disk::inspect(path)?, device: Box::new(RawDevice::new(path)?), whole })
    }

    /// A patient whose bytes are reached by a device of the caller's: tests record and cut what passes there.
    ///
    /// # Errors
    /// The disk's partition table cannot be read.
    pub fn with_device(device: Box<dyn Device>) -> Result<Self> {
        Ok(Self { disk: disk::inspect(device.path())?, device, whole: None })
    }
}

/// The targets of a run: those that were named, else every attached disk but those that this machine uses.
///
/// # Errors
/// The list of block devices cannot be read.
pub fn targets(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let attached = disk::attached(&Roots::default())?;
    Ok(attached.into_iter().filter(|disk| disk.in_use.is_none()).map(|disk| disk.path).collect())
}

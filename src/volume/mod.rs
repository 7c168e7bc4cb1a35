//! File systems as bytes on a device: what is where, and the only ways to read and to write it.
//!
//! Reading goes through [`ReadAt`], which cannot write. Writing goes through [`Sectors`], whole sectors that are
//! compared first, and exists only on the exclusive handle that [`Device::open_write`] gives: writing while
//! inspecting does not compile. Places of a file come from [`Extents`] alone. Why in place: ARCHITECTURE.md, "Writing
//! safely".

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

pub(crate) mod bytes;
mod compressed;
mod data;
mod directory;
mod extents;
mod fat;
mod file_system;
mod flag;
mod in_use;
mod log_file;
mod lznt1;
mod mft;
pub mod mount;
mod ntfs;
mod overlay;
mod owner;
mod paths;
mod private;
mod proof;
mod raw;
mod recognise;
mod record;
mod recorder;
mod second;
pub mod signals;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use extents::{Extents, Run};
pub use fat::{FatVolume, label as fat_label};
pub use file_system::{
    Candidate, FileFacts, FileSystem, NewFile, Owner, Scan, SectorChange, Storage, open_volume,
};
pub use flag::FlagSector;
pub(crate) use in_use::names_in;
pub use in_use::{Roots, refuse_in_use, refuse_in_use_at};
pub use ntfs::NtfsVolume;
pub use overlay::Overlay;
pub use raw::{DeviceKind, RawDevice};
pub(crate) use recognise::recognise_sector;
pub use recognise::{FatKind, Recognised, recognise};
pub use record::{Name, Namespace};

/// Decodes one compression unit of NTFS (LZNT1) into `out`; false where it is damaged. For the tests of bad input, which
/// reach it through no volume.
#[doc(hidden)]
pub fn decode_lznt1(input: &[u8], out: &mut [u8]) -> bool {
    lznt1::decode(input, out).is_ok()
}

/// Unit of all writing, in bytes. Devices with larger sectors are written through the kernel's cache.
pub const SECTOR: u64 = 512;

/// All reading of a device, image or part of one.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` from byte `offset` on, wholly or not at all.
    ///
    /// # Errors
    /// A failed or short read, with the offset (in this reader, not in what it is a window of).
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Size in bytes.
    fn size(&self) -> u64;
}

/// All writing to an opened device or image: tests stand here to count, fail and cut every call.
pub trait Sectors: Send {
    /// Fills `buf` from the device itself, past our own caches where the device allows.
    ///
    /// # Errors
    /// `offset` (bytes from the start of the target) or the length is no multiple of [`SECTOR`]; a failed read.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Replaces `before` by `after` (both of one length), after reading the place again: nothing is written unless
    /// it holds exactly `before`.
    ///
    /// # Errors
    /// `offset` or the length is no multiple of [`SECTOR`]; lengths that differ; a place beyond the end; a mismatch,
    /// at the first byte that differs; a failed read or write.
    fn overwrite(&mut self, offset: u64, before: &[u8], after: &[u8]) -> Result<()>;

    /// Writes sectors that cannot be read, as a power cut in mid-write can leave one: the drive maps them anew. Only
    /// for taking back, where every other sector told which state the disk is in.
    ///
    /// # Errors
    /// They can be read after all, and then must be compared first; `offset` or the length is no multiple of
    /// [`SECTOR`]; a failed write.
    fn replace_unreadable(&mut self, offset: u64, after: &[u8]) -> Result<()>;

    /// Returns when all that was written is on the medium.
    ///
    /// # Errors
    /// The flush failed: what was written since the last one may be lost.
    fn sync(&mut self) -> Result<()>;
}

/// A target that can be opened: a block device, an image, or a test's stand-in for one.
pub trait Device: Send + Sync {
    /// The node or image file.
    fn path(&self) -> &Path;

    /// Opens for reading only; nobody is locked out.
    ///
    /// # Errors
    /// The target cannot be opened, or is neither a block device nor a plain file.
    fn open_read(&self) -> Result<Arc<dyn ReadAt>>;

    /// Refuses what can be seen to take no write before anything is asked or written. Opens nothing.
    ///
    /// # Errors
    /// The target is read-only, in words.
    fn refuse_read_only(&self) -> Result<()> {
        Ok(())
    }

    /// Opens for reading and writing, alone.
    ///
    /// # Errors
    /// The target is in use, in words; or cannot be opened.
    fn open_write(&self) -> Result<Box<dyn Sectors>>;

    /// Has the kernel forget what it holds of the target in memory, so that the next read asks the device.
    ///
    /// # Errors
    /// The target cannot be opened, or the kernel refuses.
    fn drop_caches(&self) -> Result<()>;
}

/// A part of a reader, as a reader: a partition of a disk.
#[derive(Clone)]
pub struct Window {
    inner: Arc<dyn ReadAt>,
    start: u64,
    size: u64,
}

impl Window {
    /// `size` bytes of `inner` from byte `start` on; clipped where `inner` ends earlier.
    pub fn new(inner: Arc<dyn ReadAt>, start: u64, size: u64) -> Self {
        let size = size.min(inner.size().saturating_sub(start));
        Self { inner, start, size }
    }

    /// Where it begins in the inner reader, in bytes.
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl ReadAt for Window {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(offset, buf.len(), self.size)?;
        self.inner.read_at(self.start.saturating_add(offset), buf).map_err(|error| {
            error.within(format!("read {} bytes of the part at {:#x}", buf.len(), self.start)).offset(offset)
        })
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// Refuses a read or write that does not lie wholly inside `size` bytes.
pub(crate) fn check_bounds(offset: u64, length: usize, size: u64) -> Result<()> {
    let end = offset.checked_add(bytes::len64(length));
    if end.is_none_or(|end| end > size) {
        return Err(Error::mismatch(
            format!("read {length} bytes"),
            offset,
            format!("a place inside the {size} bytes that there are"),
            "one that reaches beyond the end",
        ));
    }
    Ok(())
}

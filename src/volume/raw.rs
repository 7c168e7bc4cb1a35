//! Block devices and image files: read-only while inspecting, alone while writing.
//!
//! Reading opens O_RDONLY and locks nobody out. Writing opens a block device O_RDWR|O_EXCL (a lock that mounts
//! respect, both ways: measured) and O_DIRECT where the node allows 512-byte blocks; an image under an exclusive flock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FlockOperation, OFlags};

use super::{Device, ReadAt, SECTOR, Sectors, bytes, check_bounds, refuse_in_use};
use crate::error::{Context, Error, Result};

/// Alignment in memory that satisfies O_DIRECT on all devices in use.
const ALIGNMENT: usize = 4096;

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A block device node.
    BlockDevice,
    /// A plain file.
    Image,
}

/// A block device node or an image file.
#[derive(Clone, Debug)]
pub struct RawDevice {
    path: PathBuf,
    kind: DeviceKind,
}

impl RawDevice {
    /// Looks at what `path` is (links are followed), opening nothing.
    ///
    /// # Errors
    /// It does not exist, or is neither a block device nor a plain file.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let doing = "open the target";
        let kind = std::fs::metadata(&path).doing(doing).map_err(|e| e.device(&path))?.file_type();
        let kind = match kind {
            kind if kind.is_block_device() => DeviceKind::BlockDevice,
            kind if kind.is_file() => DeviceKind::Image,
            _ => {
                let why = "it is neither a block device nor an image file";
                return Err(Error::refused(doing, why).device(path));
            }
        };
        Ok(Self { path, kind })
    }

    /// Whether it is a block device or an image.
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn open(&self, options: &OpenOptions) -> io::Result<(File, u64)> {
        let file = options.open(&self.path)?;
        let size = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
        Ok((file, size))
    }

    fn open_exclusive(&self) -> Result<RawSectors> {
        let doing = "open the device for writing, alone";
        let explain = |error: io::Error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                Error::refused(doing, "it or a part of it is mounted or held by another program")
                    .hint("unmount it, or end the other program, and start again")
            }
            _ => Error::io(doing, error),
        };
        let options = |flags: OFlags| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(flags.bits().cast_signed());
            options
        };
        // O_DIRECT may be refused at the open, or only when a block of 512 bytes is asked for.
        if let Ok((file, size)) = self.open(&options(OFlags::EXCL | OFlags::DIRECT)) {
            let mut sectors = RawSectors { file, path: self.path.clone(), size, direct: true };
            let mut probe = [0; 512];
            if size < SECTOR || sectors.read(0, &mut probe).is_ok() {
                return Ok(sectors);
            }
        }
        let (file, size) = self.open(&options(OFlags::EXCL)).map_err(explain)?;
        Ok(RawSectors { file, path: self.path.clone(), size, direct: false })
    }

    fn open_locked(&self) -> Result<RawSectors> {
        let doing = "open the image for writing, alone";
        let (file, size) = self.open(OpenOptions::new().read(true).write(true)).doing(doing)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => Error::refused(doing, "another run holds this image")
                .hint("wait until it has ended, and start again"),
            other => Error::io(doing, other.into()),
        })?;
        Ok(RawSectors { file, path: self.path.clone(), size, direct: false })
    }
}

impl Device for RawDevice {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open_read(&self) -> Result<Arc<dyn ReadAt>> {
        let (file, size) = self
            .open(OpenOptions::new().read(true))
            .doing("open the target for reading")
            .map_err(|error| error.device(&self.path))?;
        Ok(Arc::new(RawReader { file, path: self.path.clone(), size }))
    }

    fn refuse_read_only(&self) -> Result<()> {
        let refuse = |why: &str, hint: &str| {
            Err(Error::refused("write to the target", why).device(&self.path).hint(hint))
        };
        let node = std::fs::metadata(&self.path)
            .doing("look at the target")
            .map_err(|error| error.device(&self.path))?;
        match self.kind {
            DeviceKind::BlockDevice => {
                let (major, minor) = (rustix::fs::major(node.rdev()), rustix::fs::minor(node.rdev()));
                let flag = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/ro"));
                match flag.is_ok_and(|flag| flag.trim() == "1") {
                    true => refuse(
                        "the device is read-only (a write blocker?)",
                        "attach it so that it can be written, or clean an image of it",
                    ),
                    false => Ok(()),
                }
            }
            // Root may write all the same, but who took the permission away meant the image to stay as it is.
            DeviceKind::Image if node.permissions().readonly() => {
                refuse("the image is read-only", "give permission to write it, or clean a copy of it")
            }
            DeviceKind::Image => Ok(()),
        }
    }

    fn open_write(&self) -> Result<Box<dyn Sectors>> {
        refuse_in_use(&self.path)?;
        self.refuse_read_only()?;
        let sectors = match self.kind {
            DeviceKind::BlockDevice => self.open_exclusive(),
            DeviceKind::Image => self.open_locked(),
        };
        Ok(Box::new(sectors.map_err(|error| error.device(&self.path))?))
    }

    fn drop_caches(&self) -> Result<()> {
        let doing = "have the kernel forget what it holds of the target";
        let advise = || -> io::Result<()> {
            let file = File::open(&self.path)?;
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
            Ok(())
        };
        advise().doing(doing).map_err(|error| error.device(&self.path))
    }
}

/// A target opened for reading only.
struct RawReader {
    file: File,
    path: PathBuf,
    size: u64,
}

impl ReadAt for RawReader {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let place = |error: Error| error.device(&self.path).offset(offset);
        check_bounds(offset, buf.len(), self.size).map_err(place)?;
        self.file.read_exact_at(buf, offset).doing(format!("read {} bytes", buf.len())).map_err(place)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// A target opened for writing, nobody else writing to it.
struct RawSectors {
    file: File,
    path: PathBuf,
    size: u64,
    direct: bool,
}

impl RawSectors {
    fn check(&self, doing: &str, offset: u64, length: usize) -> Result<()> {
        let place = |error: Error| error.device(&self.path).offset(offset);
        if !offset.is_multiple_of(SECTOR) || !bytes::len64(length).is_multiple_of(SECTOR) {
            let why = format!("{length} bytes at {offset:#x} are not whole sectors of {SECTOR} bytes");
            return Err(place(Error::refused(doing, why)));
        }
        check_bounds(offset, length, self.size).map_err(|error| place(error.within(doing)))
    }

    fn read_raw(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if !self.direct {
            return self.file.read_exact_at(buf, offset);
        }
        with_aligned(buf.len(), |aligned| {
            self.file.read_exact_at(aligned, offset)?;
            buf.copy_from_slice(aligned);
            Ok(())
        })
    }

    fn write_raw(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        if !self.direct {
            return self.file.write_all_at(buf, offset);
        }
        with_aligned(buf.len(), |aligned| {
            aligned.copy_from_slice(buf);
            self.file.write_all_at(aligned, offset)
        })
    }
}

impl Sectors for RawSectors {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let doing = format!("read {} bytes", buf.len());
        self.check(&doing, offset, buf.len())?;
        self.read_raw(offset, buf).doing(doing).map_err(|error| error.device(&self.path).offset(offset))
    }

    fn overwrite(&mut self, offset: u64, before: &[u8], after: &[u8]) -> Result<()> {
        let doing = format!("overwrite {} bytes", after.len());
        self.check(&doing, offset, after.len())?;
        let place = |error: Error| error.device(&self.path).offset(offset);
        if before.len() != after.len() {
            let why = format!("{} bytes before, {} after", before.len(), after.len());
            return Err(place(Error::refused(doing, why)));
        }
        let mut found = vec![0; before.len()];
        self.read_raw(offset, &mut found)
            .doing(format!("read {} bytes again", found.len()))
            .map_err(place)?;
        let differs = before.iter().zip(&found).position(|(expected, found)| expected != found);
        if let Some(at) = differs {
            let byte = |bytes: &[u8]| format!("{:02x}", bytes.get(at).copied().unwrap_or(0));
            return Err(Error::mismatch(
                doing,
                offset + bytes::len64(at),
                format!("the bytes that the plan was made from ({} here)", byte(before)),
                format!("others ({} here); nothing was written there", byte(&found)),
            )
            .device(&self.path)
            .hint("something has changed the disk since it was inspected: scan it again"));
        }
        self.write_raw(offset, after).doing(doing).map_err(place)
    }

    fn replace_unreadable(&mut self, offset: u64, after: &[u8]) -> Result<()> {
        let doing = format!("replace {} unreadable bytes", after.len());
        self.check(&doing, offset, after.len())?;
        let place = |error: Error| error.device(&self.path).offset(offset);
        if self.read_raw(offset, &mut vec![0; after.len()]).is_ok() {
            return Err(place(Error::refused(doing, "they can be read now"))
                .hint("run again: what is there is looked at first"));
        }
        self.write_raw(offset, after).doing(doing).map_err(place)
    }

    fn sync(&mut self) -> Result<()> {
        self.file
            .sync_data()
            .doing("have the device write all it was given to the medium")
            .map_err(|error| error.device(&self.path))
    }
}

/// Gives `work` a buffer whose address O_DIRECT accepts.
fn with_aligned(length: usize, work: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0u8; length + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    match buffer.get_mut(start..start.saturating_add(length)) {
        Some(aligned) => work(aligned),
        None => Err(io::Error::other("no aligned memory")),
    }
}

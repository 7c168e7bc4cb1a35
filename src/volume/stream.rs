//! A device as a stream, for the crates that read a file system through one. It refuses every write.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::{ReadAt, bytes};

/// A [`ReadAt`] as a stream that cannot be written.
pub(super) struct Stream {
    device: Arc<dyn ReadAt>,
    at: u64,
}

impl Stream {
    /// Begins at the first byte of the device.
    pub(super) fn new(device: Arc<dyn ReadAt>) -> Self {
        Self { device, at: 0 }
    }

    /// What it reads.
    pub(super) fn device(&self) -> &Arc<dyn ReadAt> {
        &self.device
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.device.size().saturating_sub(self.at);
        let length = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let Some(part) = buf.get_mut(..length) else { return Ok(0) };
        self.device.read_at(self.at, part).map_err(io::Error::other)?;
        self.at += bytes::len64(length);
        Ok(length)
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.device.size().checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::other("a place before the beginning"))?;
        Ok(self.at)
    }
}

impl Write for Stream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the volume is open for reading only"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

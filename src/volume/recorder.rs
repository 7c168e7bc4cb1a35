//! A device as a stream that takes writes without doing any: they land in memory, and reading sees them. So the crate
//! that knows how a file system is written shows what it would write, before anything is.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::bytes::{len_of, len64};
use super::{Overlay, ReadAt, SECTOR};

/// See the module.
pub(super) struct Recorder {
    written: Arc<Mutex<Overlay>>,
    at: u64,
}

impl Recorder {
    /// Begins at the first byte of what `written` is of, and writes into `written`.
    pub(super) fn new(written: Arc<Mutex<Overlay>>) -> Self {
        Self { written, at: 0 }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Overlay) -> io::Result<T>) -> io::Result<T> {
        work(&mut self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Read for Recorder {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let at = self.at;
        let length = self.with(|overlay| {
            let rest = overlay.size().saturating_sub(at);
            let length = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let Some(part) = buf.get_mut(..length) else { return Ok(0) };
            overlay.read_at(at, part).map_err(io::Error::other)?;
            Ok(length)
        })?;
        self.at += len64(length);
        Ok(length)
    }
}

impl Seek for Recorder {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.with(|overlay| Ok(overlay.size()))?.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::other("a place before the beginning"))?;
        Ok(self.at)
    }
}

impl Write for Recorder {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let at = self.at;
        // At most up to the end of a sector: who writes more asks again.
        let inside = at % SECTOR;
        let length = buf.len().min(len_of(SECTOR - inside));
        self.with(|overlay| {
            let mut sector = vec![0; len_of(SECTOR)];
            overlay.read_at(at - inside, &mut sector).map_err(io::Error::other)?;
            let part = sector.get_mut(len_of(inside)..).unwrap_or_default();
            part.iter_mut().zip(buf.iter().take(length)).for_each(|(to, from)| *to = *from);
            overlay.replace(at - inside, &sector);
            Ok(())
        })?;
        self.at += len64(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

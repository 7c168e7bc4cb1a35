//! Where a file's bytes lie: its data runs, as inspected. The only way from a file offset to a place on the device.

use std::ops::Range;

use super::{ReadAt, SECTOR, bytes};
use crate::error::{Error, Result};

/// One contiguous stretch of a file's data. All numbers in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it begins in the file.
    pub file_offset: u64,
    /// Where it begins in the volume.
    pub place: u64,
    /// How long it is.
    pub length: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.file_offset.saturating_add(self.length)
    }
}

/// The data runs of one file as inspected, without holes, in the order of the file. All numbers in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// The runs, each beginning where the one before ends.
    pub runs: Vec<Run>,
    /// Size of the file.
    pub size: u64,
    /// Initialised size: what lies behind it reads as zeros, whatever the clusters hold.
    pub initialised: u64,
    /// Allocated size.
    pub allocated: u64,
}

impl Extents {
    /// End of what may be read or written in place: the initialised size, rounded up to a whole sector.
    pub fn usable(&self) -> u64 {
        self.initialised.checked_next_multiple_of(SECTOR).unwrap_or(self.initialised)
    }

    /// The place in the volume of `length` bytes at `file_offset`.
    ///
    /// # Errors
    /// Refused where they do not lie in one run, or reach beyond the initialised size (rounded up to a sector).
    pub fn place(&self, file_offset: u64, length: u64) -> Result<u64> {
        let doing = || format!("find the place of {length} bytes of the file");
        let end = file_offset
            .checked_add(length)
            .ok_or_else(|| Error::refused(doing(), "no file is that long").offset(file_offset))?;
        if end > self.usable() {
            let why = format!(
                "they reach beyond the file's initialised size of {} bytes, where the disk holds nothing of the file",
                self.initialised
            );
            return Err(Error::refused(doing(), why).offset(file_offset));
        }
        let run = self
            .run_at(file_offset)
            .ok_or_else(|| Error::refused(doing(), "no data run holds them").offset(file_offset))?;
        if end > run.end() {
            let why = format!("they lie in more than one data run (this one ends at {:#x})", run.end());
            return Err(Error::refused(doing(), why).offset(file_offset));
        }
        Ok(run.place + (file_offset - run.file_offset))
    }

    /// Takes a range of the file, on sector borders, apart into stretches that are contiguous on the volume.
    ///
    /// # Errors
    /// Refused where the range is not on sector borders, or not wholly inside runs and the initialised size
    /// (rounded up to a sector).
    pub fn sectors(&self, range: Range<u64>) -> Result<impl Iterator<Item = Run> + '_> {
        let doing = || format!("take bytes {:#x} to {:#x} of the file apart", range.start, range.end);
        if !range.start.is_multiple_of(SECTOR) || !range.end.is_multiple_of(SECTOR) || range.end < range.start
        {
            return Err(Error::refused(doing(), format!("not on borders of {SECTOR}-byte sectors")));
        }
        let mut at = range.start;
        while at < range.end {
            let upto = self.run_at(at).map_or(range.end, Run::end).min(range.end);
            self.place(at, upto - at).map_err(|error| error.within(doing()))?;
            at = upto;
        }
        Ok(self.pieces(range))
    }

    /// The parts of the runs that lie in a range of the file.
    pub(super) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Run> + '_ {
        let (from, to) = (range.start, range.end);
        let first = self.runs.partition_point(|run| run.end() <= from);
        let runs = self.runs.iter().skip(first);
        runs.take_while(move |run| run.file_offset < to && from < to).map(move |run| {
            let start = run.file_offset.max(from);
            let end = run.end().min(to);
            Run { file_offset: start, place: run.place + (start - run.file_offset), length: end - start }
        })
    }

    /// Fills `buf` from the file's runs, holes and the initialised size left out of account.
    ///
    /// # Errors
    /// A failed read; a range that no runs hold.
    pub(super) fn read_at(&self, device: &dyn ReadAt, offset: u64, buf: &mut [u8]) -> Result<()> {
        let length = bytes::len64(buf.len());
        let mut rest = buf;
        let mut at = offset;
        for piece in self.pieces(offset..offset.saturating_add(length)) {
            if piece.file_offset != at {
                break;
            }
            let Some(now) = rest.split_off_mut(..bytes::len_of(piece.length)) else { break };
            device.read_at(piece.place, now)?;
            at += piece.length;
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(Error::refused(format!("read {length} bytes of the file"), "no data run holds them all")
            .offset(at))
    }

    fn run_at(&self, file_offset: u64) -> Option<&Run> {
        let first = self.runs.partition_point(|run| run.end() <= file_offset);
        self.runs.get(first).filter(|run| run.file_offset <= file_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_runs() -> Extents {
        let runs = vec![
            Run { file_offset: 0, place: 0x10000, length: 4096 },
            Run { file_offset: 4096, place: 0x4000, length: 8192 },
        ];
        Extents { runs, size: 9000, initialised: 8300, allocated: 12288 }
    }

    #[test]
    fn places_and_refusals() {
        let e = two_runs();
        assert_eq!(e.place(512, 512).unwrap(), 0x10200);
        assert_eq!(e.place(4096, 4096).unwrap(), 0x4000);
        assert_eq!(e.place(8192, 512).unwrap(), 0x5000, "the sector that the initialised size ends in");
        let words = e.place(8192, 1024).unwrap_err().to_string();
        assert!(words.contains("initialised size of 8300"), "{words}");
        let words = e.place(3584, 1024).unwrap_err().to_string();
        assert!(words.contains("more than one data run"), "{words}");
        assert!(e.place(u64::MAX, 512).is_err());
    }

    #[test]
    fn a_range_comes_apart_at_run_borders() {
        let e = two_runs();
        let pieces: Vec<Run> = e.sectors(3584..8704).unwrap().collect();
        assert_eq!(
            pieces,
            [
                Run { file_offset: 3584, place: 0x10e00, length: 512 },
                Run { file_offset: 4096, place: 0x4000, length: 4608 },
            ]
        );
        assert_eq!(e.sectors(512..512).unwrap().count(), 0);
        assert!(e.sectors(0..100).is_err());
        assert!(e.sectors(0..9216).is_err(), "beyond the initialised size");
    }
}

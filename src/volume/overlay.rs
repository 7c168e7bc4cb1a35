//! A volume as it would be: its bytes with some sectors replaced, in memory only.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::{len_of, len64};
use super::{ReadAt, SECTOR, check_bounds};
use crate::error::Result;

/// A reader with some sectors replaced. A replaced sector is never asked of the reader below.
pub struct Overlay {
    inner: Arc<dyn ReadAt>,
    sectors: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// `inner`, with nothing replaced.
    pub fn new(inner: Arc<dyn ReadAt>) -> Self {
        Self { inner, sectors: BTreeMap::new() }
    }

    /// The reader below.
    pub(super) fn inner(&self) -> Arc<dyn ReadAt> {
        self.inner.clone()
    }

    /// The replaced sectors, by their places.
    pub(super) fn sectors(&self) -> &BTreeMap<u64, Vec<u8>> {
        &self.sectors
    }

    /// Replaces the sectors from byte `place` on, a multiple of [`SECTOR`], by `bytes`; a last part of a sector is left out.
    pub fn replace(&mut self, place: u64, bytes: &[u8]) {
        let places = (place..).step_by(len_of(SECTOR));
        for (place, sector) in places.zip(bytes.chunks_exact(len_of(SECTOR))) {
            self.sectors.insert(place, sector.to_vec());
        }
    }
}

impl ReadAt for Overlay {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(offset, buf.len(), self.size())?;
        let end = offset + len64(buf.len());
        let first = offset - offset % SECTOR;
        let (mut at, mut rest) = (offset, buf);
        // What is not replaced is read in stretches as long as can be.
        for (&place, sector) in self.sectors.range(first..end) {
            let Some(before) = rest.split_off_mut(..len_of(place.saturating_sub(at))) else { break };
            if !before.is_empty() {
                self.inner.read_at(at, before)?;
                at = place;
            }
            let from = sector.get(len_of(at - place)..).unwrap_or_default();
            let length = from.len().min(rest.len());
            let Some(part) = rest.split_off_mut(..length) else { break };
            part.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            at += len64(length);
        }
        if rest.is_empty() { Ok(()) } else { self.inner.read_at(at, rest) }
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Memory;
    use super::*;

    #[test]
    fn every_range_reads_as_if_the_sectors_had_been_written() {
        let original: Vec<u8> = (0..4096_u32).map(|at| (at % 251) as u8).collect();
        let mut overlay = Overlay::new(Memory::new(original.clone()));
        let mut written = original;
        for (place, bytes) in [(512, vec![0xaa; 1024]), (2048, vec![0xbb; 512]), (3584, vec![0xcc; 512])] {
            overlay.replace(place, &bytes);
            written[place as usize..place as usize + bytes.len()].copy_from_slice(&bytes);
        }
        for start in (0..4096).step_by(100) {
            for end in (start..=4096).step_by(64) {
                let mut found = vec![0; end - start];
                overlay.read_at(start as u64, &mut found).unwrap();
                assert_eq!(found, written[start..end], "{start} to {end}");
            }
        }
        assert!(overlay.read_at(4000, &mut [0; 100]).is_err());
    }
}

//! Files that NTFS compressed: their data runs taken apart into compression units.
//!
//! A unit is 2^n clusters of the file, n in the attribute's header. Where all of them are allocated, the unit is stored as it is; where
//! none is, it is zeros; else its first clusters hold it compressed, and the others are a hole. Source: the Linux-NTFS
//! documentation ("Compression").

use super::bytes::{len_of, len64};
use super::lznt1;
use super::record::ClusterRun;
use crate::error::{Error, Result};

const DOING: &str = "read the compressed data";
/// Windows compresses units of 16 clusters of at most 4 KiB; anything far beyond is damage, and would cost memory.
const MOST: u64 = 1 << 20;

/// How a file is cut into units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// Bytes in a cluster.
    pub(super) cluster: u64,
    /// log2 of the clusters in a unit.
    pub(super) exponent: u8,
}

impl Units {
    /// Bytes in a unit.
    ///
    /// # Errors
    /// A size that NTFS does not have.
    pub(super) fn size(self) -> Result<u64> {
        let size =
            1_u64.checked_shl(self.exponent.into()).and_then(|clusters| clusters.checked_mul(self.cluster));
        let chunk = len64(lznt1::CHUNK);
        size.filter(|size| self.exponent > 0 && size.is_multiple_of(chunk) && *size <= MOST).ok_or_else(
            || {
                let why = format!(
                    "expected compression units of 4 KiB to 1 MiB, found units of 2^{} clusters of {} bytes",
                    self.exponent, self.cluster
                );
                Error::refused(DOING, why)
            },
        )
    }

    /// The first `end` bytes of the file, unit by unit, in its order. `runs` tile the file; `read` fills a buffer from a place
    /// in the volume.
    ///
    /// # Errors
    /// A unit with a hole before its data; damaged chunks, with their place; those of `read` and `take`.
    pub(super) fn read(
        self,
        runs: &[ClusterRun],
        end: u64,
        read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let size = self.size()?;
        let (mut raw, mut out) = (vec![0; len_of(size)], vec![0; len_of(size)]);
        let mut first = 0;
        let mut at = 0;
        while at < end {
            let length = size.min(end - at);
            // Clusters of the unit, as pieces: byte offset in the unit, place, length.
            let unit = at / self.cluster..(at + size) / self.cluster;
            while runs.get(first).is_some_and(|run| run.vcn + run.count <= unit.start) {
                first += 1;
            }
            let mut pieces = Vec::new();
            let (mut allocated, mut present) = (0, 0);
            let in_unit = runs.iter().skip(first).take_while(|run| run.vcn < unit.end);
            for run in in_unit {
                let start = run.vcn.max(unit.start);
                let count = (run.vcn + run.count).min(unit.end) - start;
                if let Some(lcn) = run.lcn {
                    if allocated != present {
                        let place = lcn * self.cluster;
                        let (expected, found) = ("a unit whose clusters come first", "a hole before them");
                        return Err(Error::mismatch(DOING, place, expected, found));
                    }
                    pieces.push((
                        allocated * self.cluster,
                        (lcn + (start - run.vcn)) * self.cluster,
                        count * self.cluster,
                    ));
                    allocated += count;
                }
                present += count;
            }
            let out = out.get_mut(..len_of(length)).unwrap_or_default();
            if allocated == 0 {
                out.fill(0);
            } else {
                for &(offset, place, length) in &pieces {
                    let part = raw.get_mut(len_of(offset)..len_of(offset + length)).unwrap_or_default();
                    read(place, part)?;
                }
                let raw = raw.get(..len_of(allocated * self.cluster)).unwrap_or_default();
                if allocated == present {
                    out.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
                } else {
                    lznt1::decode(raw, out).map_err(|damage| {
                        let at = len64(damage.at);
                        let piece = pieces.iter().rfind(|(offset, ..)| *offset <= at);
                        let place = piece.map_or(0, |(offset, place, _)| place + (at - offset));
                        Error::mismatch(DOING, place, damage.expected, damage.found)
                    })?;
                }
            }
            take(out)?;
            at += length;
        }
        Ok(())
    }
}

//! The file allocation table: which cluster follows which. Read in blocks, never whole: that of a large FAT32 volume
//! has up to 1 GiB.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::boot::Geometry;
use crate::error::{Error, Result};
use crate::volume::bytes::{len_of, u16_at, u32_at};
use crate::volume::{FatKind, ReadAt};

/// Bytes that are read at once; a multiple of the entries of FAT16 and FAT32. A FAT12 table is smaller as a whole.
const BLOCK: u64 = 64 << 10;
/// How many blocks are remembered: 32 MiB.
const BLOCK_LIMIT: usize = 512;
/// Bytes that one sequential pass reads at once.
const PASS: u64 = 1 << 20;

/// What an entry of the FAT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The chain goes on with this cluster.
    Next(u32),
    /// The chain ends here.
    End,
    /// The cluster is free.
    Free,
    /// The cluster is marked bad.
    Bad,
    /// A number that no cluster has.
    Wrong(u32),
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Next(cluster) => write!(f, "cluster {cluster}"),
            Self::End => f.write_str("the end of the chain"),
            Self::Free => f.write_str("that it is free"),
            Self::Bad => f.write_str("that it is bad"),
            Self::Wrong(number) => write!(f, "{number:#x}, which no cluster has"),
        }
    }
}

/// A chain as far as it could be followed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Clusters in their order, those that follow each other on the volume put together.
    pub(super) runs: Vec<Range<u32>>,
    /// How many clusters.
    pub(super) count: u64,
    /// Whether it ends there as a chain should; else it goes on.
    pub(super) ended: bool,
}

impl Chain {
    fn push(&mut self, cluster: u32) {
        match self.runs.last_mut().filter(|run| run.end == cluster) {
            Some(run) => run.end = cluster.saturating_add(1),
            None => self.runs.push(cluster..cluster.saturating_add(1)),
        }
        self.count += 1;
    }
}

/// The FATs of one volume.
pub(super) struct Table {
    pub(super) device: Arc<dyn ReadAt>,
    pub(super) geometry: Geometry,
    blocks: Mutex<HashMap<u64, Arc<[u8]>>>,
}

impl Table {
    pub(super) fn new(device: Arc<dyn ReadAt>, geometry: Geometry) -> Self {
        Self { device, geometry, blocks: Mutex::default() }
    }

    /// The entry of a cluster in the FAT that Windows reads, as it stands there.
    pub(super) fn raw(&self, cluster: u32) -> Result<u32> {
        let at = u64::from(cluster) * self.geometry.kind.bits() / 8;
        // 12-bit entries cross borders of blocks, but no FAT12 has two blocks.
        let block = self.block(at / BLOCK)?;
        Ok(entry(self.geometry.kind, &block, len_of(at % BLOCK), cluster))
    }

    fn block(&self, number: u64) -> Result<Arc<[u8]>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(block) = blocks.get(&number) {
            return Ok(block.clone());
        }
        if blocks.len() >= BLOCK_LIMIT {
            blocks.clear();
        }
        let start = number * BLOCK;
        let mut bytes = vec![0; len_of(self.geometry.fat_size.saturating_sub(start).min(BLOCK))];
        let place = self.place(self.geometry.live_fats().start) + start;
        self.device.read_at(place, &mut bytes).map_err(|error| error.within("read the FAT"))?;
        let bytes: Arc<[u8]> = bytes.into();
        blocks.insert(number, bytes.clone());
        Ok(bytes)
    }

    /// Has the next look at the FAT read it anew: the store may have been put on the volume since.
    pub(super) fn forget(&self) {
        self.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    /// Place of a FAT by its number from 0.
    fn place(&self, fat: u64) -> u64 {
        self.geometry.fat + fat * self.geometry.fat_size
    }

    /// What the FAT that Windows reads says of a cluster.
    pub(super) fn link(&self, cluster: u32) -> Result<Link> {
        Ok(self.meaning(self.raw(cluster)?))
    }

    fn meaning(&self, raw: u32) -> Link {
        let (bad, first_end) = match self.geometry.kind {
            FatKind::Fat12 => (0xff7, 0xff8),
            FatKind::Fat16 => (0xfff7, 0xfff8),
            FatKind::Fat32 => (0x0fff_fff7, 0x0fff_fff8),
        };
        match raw {
            0 => Link::Free,
            raw if raw >= first_end => Link::End,
            raw if self.geometry.holds(raw) => Link::Next(raw),
            raw if raw == bad => Link::Bad,
            raw => Link::Wrong(raw),
        }
    }

    /// Follows a chain from its first cluster over at most `most` clusters: a loop ends there like any chain that is
    /// too long.
    ///
    /// # Errors
    /// The first cluster is none of the volume's; the chain runs into a free or bad cluster or out of the volume; a
    /// failed read.
    pub(super) fn chain(&self, first: u32, most: u64) -> Result<Chain> {
        let (mut chain, error) = self.chain_so_far(first, most);
        match error {
            None => Ok(std::mem::take(&mut chain)),
            Some(error) => Err(error),
        }
    }

    /// The same, with what was met before the damage.
    pub(super) fn chain_so_far(&self, first: u32, most: u64) -> (Chain, Option<Error>) {
        let mut chain = Chain::default();
        let doing = || format!("follow the chain of clusters from {first}");
        if !self.geometry.holds(first) {
            let why = format!("there is no such cluster; they are numbered 2 to {}", self.geometry.last());
            return (chain, Some(Error::refused(doing(), why)));
        }
        let mut at = first;
        while chain.count < most {
            chain.push(at);
            match self.link(at) {
                Ok(Link::Next(next)) => at = next,
                Ok(Link::End) => {
                    chain.ended = true;
                    break;
                }
                Ok(other) => {
                    let place = self.place(self.geometry.live_fats().start)
                        + u64::from(at) * self.geometry.kind.bits() / 8;
                    let expected = format!("the cluster behind cluster {at}, or the end");
                    return (chain, Some(Error::mismatch(doing(), place, expected, other.to_string())));
                }
                Err(error) => return (chain, Some(error.within(doing()))),
            }
        }
        (chain, None)
    }

    /// One sequential pass over the entries of one FAT, by its number from 0: `take` gets each cluster and what it is
    /// told of it there. `progress` gets the bytes read so far.
    ///
    /// # Errors
    /// A failed read, and those of `take`.
    pub(super) fn pass(
        &self,
        fat: u64,
        take: &mut dyn FnMut(u32, Link) -> Result<()>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let bits = self.geometry.kind.bits();
        let end = (u64::from(self.geometry.last()) + 1).saturating_mul(bits).div_ceil(8);
        let mut buffer = vec![0; len_of(PASS.min(end))];
        let (mut start, mut cluster) = (0, 0);
        while start < end {
            let piece = buffer.get_mut(..len_of(PASS.min(end - start))).unwrap_or_default();
            let doing = || format!("read FAT {}", fat + 1);
            self.device.read_at(self.place(fat) + start, piece).map_err(|error| error.within(doing()))?;
            let upto = (start + PASS).min(end) * 8 / bits;
            while u64::from(cluster) < upto {
                let at = len_of(u64::from(cluster) * bits / 8 - start);
                let raw = entry(self.geometry.kind, piece, at, cluster);
                if self.geometry.holds(cluster) {
                    take(cluster, self.meaning(raw))?;
                }
                cluster = cluster.saturating_add(1);
            }
            start = (start + PASS).min(end);
            progress(start);
        }
        Ok(())
    }

    /// How many bytes of one FAT a pass reads.
    pub(super) fn pass_size(&self) -> u64 {
        (u64::from(self.geometry.last()) + 1).saturating_mul(self.geometry.kind.bits()).div_ceil(8)
    }

    /// The clusters of which two FATs that should be alike say different things: how many, and the first.
    ///
    /// # Errors
    /// A failed read.
    pub(super) fn differences(&self) -> Result<Option<(u64, u32)>> {
        let live = self.geometry.live_fats();
        if live.end - live.start < 2 {
            return Ok(None);
        }
        let (bits, size) = (self.geometry.kind.bits(), self.pass_size());
        let (mut one, mut two) = (vec![0; len_of(PASS.min(size))], vec![0; len_of(PASS.min(size))]);
        let (mut start, mut found) = (0, None);
        while start < size {
            let length = len_of(PASS.min(size - start));
            let (Some(one), Some(two)) = (one.get_mut(..length), two.get_mut(..length)) else { break };
            self.device.read_at(self.place(live.start) + start, one)?;
            self.device.read_at(self.place(live.start + 1) + start, two)?;
            if one != two {
                let from = start.saturating_mul(8).div_ceil(bits);
                let upto = ((start + PASS).min(size)).saturating_mul(8) / bits;
                for cluster in from.max(2)..upto {
                    let number = u32::try_from(cluster).unwrap_or(0);
                    let at = len_of(cluster * bits / 8 - start);
                    let both =
                        [&*one, &*two].map(|fat| self.meaning(entry(self.geometry.kind, fat, at, number)));
                    if both[0] != both[1] {
                        let (count, first) = found.unwrap_or((0, number));
                        found = Some((count + 1, first));
                    }
                }
            }
            start += PASS;
        }
        Ok(found)
    }
}

/// The entry of a cluster, `at` bytes into a piece of a FAT; 0 (free) where the piece ends before it.
fn entry(kind: FatKind, piece: &[u8], at: usize, cluster: u32) -> u32 {
    match kind {
        FatKind::Fat12 => {
            let pair = u16_at(piece, at).unwrap_or(0);
            u32::from(if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 })
        }
        FatKind::Fat16 => u32::from(u16_at(piece, at).unwrap_or(0)),
        // The upper four bits are reserved, and no part of the number.
        FatKind::Fat32 => u32_at(piece, at).unwrap_or(0) & 0x0fff_ffff,
    }
}

//! Free cells of a hive: taking new cells out of them and giving old ones back.
//!
//! Nothing is maintained on disk but the sizes of cells: Windows rebuilds its free lists when it loads a hive. What
//! does not fit is refused here; [`edit`](super::edit) may then let the hive grow. Source: the regf spec, "Cell".

use std::collections::{BTreeMap, BTreeSet};

use super::Hive;
use super::cell::{BASE_BLOCK, byte_range, u32_at};
use crate::error::{Error, Result};

/// A cell or a run of free ones: offset from the first bin, and size with the four bytes of the size itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) at: u32,
    pub(super) size: u32,
}

/// The free cells: offset to size.
#[derive(Clone)]
pub(super) struct Space(BTreeMap<u32, u32>);

/// New cells, not yet written.
#[derive(Default)]
pub(super) struct Taken {
    /// In the order in which they were asked for.
    pub(super) cells: Vec<Extent>,
    /// Sizes that lie inside what is a free cell until `visible` is written; a later one overrides an earlier one.
    pub(super) hidden: Vec<(u32, i32)>,
    /// Sizes at the start of a free cell: each makes what was carved out of that cell visible, at once.
    pub(super) visible: Vec<(u32, i32)>,
    /// Remainders made here: their sizes are hidden.
    fresh: BTreeSet<u32>,
}

impl Space {
    /// Finds all free cells.
    pub(super) fn of(hive: &Hive) -> Result<Self> {
        let bins = hive.bins();
        let mut free = BTreeMap::new();
        let mut bin = 0;
        while bin < bins.len() {
            let size = u32_at(bins, bin + 8).unwrap_or(0) as usize;
            let good = byte_range(bins, bin, 4) == Some(b"hbin") && size.is_multiple_of(4096);
            if !good || size == 0 || size > bins.len() - bin {
                return Err(wrong(bin, "a hive bin that ends inside the hive"));
            }
            let mut at = bin + 32;
            while at < bin + size {
                let raw = u32_at(bins, at).unwrap_or(0);
                let (is_free, length) =
                    if raw < 0x8000_0000 { (true, raw) } else { (false, raw.wrapping_neg()) };
                if length == 0 || !length.is_multiple_of(8) || length as usize > bin + size - at {
                    return Err(wrong(at, "a cell that ends inside its hive bin"));
                }
                if is_free && let Ok(at) = u32::try_from(at) {
                    free.insert(at, length);
                }
                at += length as usize;
            }
            bin += size;
        }
        Ok(Self(free))
    }

    /// A cell that has become free, with nothing free next to it.
    pub(super) fn add(&mut self, cell: Extent) {
        self.0.insert(cell.at, cell.size);
    }

    /// Takes a cell for each length of payload, in bytes.
    ///
    /// Out of one free cell where one holds them all, the smallest such: fewest sectors are touched then. Otherwise
    /// each, the longest first, out of the smallest that holds it.
    pub(super) fn take(&mut self, payloads: &[usize]) -> Result<Taken> {
        let mut taken = Taken::default();
        let sizes: Vec<u64> =
            payloads.iter().map(|&length| (length as u64 + 4).next_multiple_of(8)).collect();
        let total: u64 = sizes.iter().sum();
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        let together = self.best_fit(total);
        if together.is_none() {
            order.sort_by_key(|&index| std::cmp::Reverse(sizes.get(index).copied()));
        }
        let mut next = together;
        taken.cells = vec![Extent { at: 0, size: 0 }; sizes.len()];
        for index in order {
            let size = sizes.get(index).copied().unwrap_or_default();
            let Some(at) = next.or_else(|| self.best_fit(size)) else {
                let largest = self.0.values().max().copied().unwrap_or_default();
                let why = format!(
                    "the hive has no room: {total} bytes are needed, of them {size} in one piece, and the largest \
                     free cell has {largest}"
                );
                return Err(Error::refused("make room in the hive", why));
            };
            let cell = self.carve(at, size, &mut taken);
            if let Some(slot) = taken.cells.get_mut(index) {
                *slot = cell;
            }
            next = together.map(|_| cell.at + cell.size);
        }
        Ok(taken)
    }

    /// The smallest free cell of at least `size` bytes; of equal ones the first.
    fn best_fit(&self, size: u64) -> Option<u32> {
        let fitting = self.0.iter().filter(|(_, length)| u64::from(**length) >= size);
        fitting.min_by_key(|(at, length)| (**length, **at)).map(|(at, _)| *at)
    }

    /// Cuts `size` bytes off the start of the free cell at `at`.
    fn carve(&mut self, at: u32, size: u64, taken: &mut Taken) -> Extent {
        let length = self.0.remove(&at).unwrap_or_default();
        // The free cell was chosen to hold them, so they fit into 32 bits.
        let size = u32::try_from(size).unwrap_or(length).min(length);
        if length > size {
            self.0.insert(at + size, length - size);
            taken.fresh.insert(at + size);
            taken.hidden.push((at + size, signed(length - size)));
        }
        let header = (at, -signed(size));
        if taken.fresh.remove(&at) {
            taken.hidden.push(header)
        } else {
            taken.visible.push(header)
        }
        Extent { at, size }
    }

    /// Gives cells back, merged with the free ones next to them; gives the one size to write for each run.
    ///
    /// Cells of two bins never touch, since a bin starts with its header; so no run leaves its bin.
    pub(super) fn release(&mut self, cells: &[Extent]) -> Vec<Extent> {
        self.0.extend(cells.iter().map(|cell| (cell.at, cell.size)));
        let mut runs = Vec::new();
        for cell in cells {
            // A cell already merged into the run of another one is no longer there.
            let Some(mut size) = self.0.remove(&cell.at) else { continue };
            let mut at = cell.at;
            while let Some((&before, &length)) = self.0.range(..at).next_back()
                && before + length == at
            {
                self.0.remove(&before);
                (at, size) = (before, size + length);
            }
            while let Some(length) = self.0.remove(&(at + size)) {
                size += length;
            }
            self.0.insert(at, size);
            runs.retain(|run: &Extent| run.at < at || run.at >= at + size);
            runs.push(Extent { at, size });
        }
        runs
    }
}

/// The size of a free cell as its header has it; a hive is below 2 GiB.
pub(super) fn signed(size: u32) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

fn wrong(at: usize, expected: &str) -> Error {
    Error::mismatch("find the free cells of the hive", (at + BASE_BLOCK) as u64, expected, "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(at: u32, size: u32) -> Extent {
        Extent { at, size }
    }

    #[test]
    fn carves_out_of_one_cell_and_only_its_first_size_is_visible() {
        let mut space = Space([(0x20, 16), (0x100, 64), (0x200, 4000)].into());
        let taken = space.take(&[8, 20]).unwrap();
        assert_eq!(taken.cells, [extent(0x100, 16), extent(0x110, 24)]);
        assert_eq!(taken.visible, [(0x100, -16)]);
        assert_eq!(taken.hidden, [(0x110, 48), (0x128, 24), (0x110, -24)]);
        assert_eq!(space.0, [(0x20, 16), (0x128, 24), (0x200, 4000)].into());
    }

    #[test]
    fn spreads_over_cells_and_fills_one_exactly() {
        let mut space = Space([(0x20, 16), (0x100, 32)].into());
        let taken = space.take(&[12, 28]).unwrap();
        assert_eq!(taken.cells, [extent(0x20, 16), extent(0x100, 32)]);
        assert_eq!((taken.visible.len(), taken.hidden.len()), (2, 0));
        let why = space.take(&[1]).err().unwrap().to_string();
        assert!(
            why.ends_with("8 bytes are needed, of them 8 in one piece, and the largest free cell has 0"),
            "{why}"
        );
    }

    #[test]
    fn merges_both_ways_with_one_size_a_run() {
        let mut space = Space([(0x20, 16), (0x50, 8), (0x200, 8)].into());
        let runs = space.release(&[extent(0x40, 16), extent(0x30, 16), extent(0x300, 8)]);
        assert_eq!(runs, [extent(0x20, 56), extent(0x300, 8)]);
        assert_eq!(space.0, [(0x20, 56), (0x200, 8), (0x300, 8)].into());
    }
}

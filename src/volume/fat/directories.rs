//! Directories: reading one, and walking them all from the root. FAT has no file table; what files there are stands in
//! the directories alone.

use std::collections::BTreeSet;

use super::boot::{ENTRY, FIRST_CLUSTER};
use super::entries::{Entry, Listing, has_end, list};
use super::table::Table;
use crate::error::{Error, Result};
use crate::path::WinPath;
use crate::volume::FatKind;
use crate::volume::bytes::{len_of, len64};

/// Largest directory in bytes: 65 536 entries, where Windows ends too.
const DIRECTORY_LIMIT: u64 = 65_536 * ENTRY;
/// How many directories are remembered for the paths of files.
const COUNT_LIMIT: usize = 1 << 20;
/// How many directories a path can have here; Windows ends at 128 by the length of a path.
const DEPTH_LIMIT: u16 = 512;

/// The bytes of one directory, up to its end mark.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) bytes: Vec<u8>,
    /// Byte in the directory, place in the volume, length: ascending by the first.
    pub(super) stretches: Vec<(u64, u64, u64)>,
}

impl Directory {
    /// Place in the volume of a byte of the directory.
    pub(super) fn place(&self, at: usize) -> u64 {
        let at = len64(at);
        let index = self.stretches.partition_point(|(start, _, _)| *start <= at);
        let stretch = index.checked_sub(1).and_then(|index| self.stretches.get(index));
        stretch.map_or(0, |(start, place, _)| place + (at - start))
    }

    pub(super) fn listing(&self, kind: FatKind) -> Listing {
        list(&self.bytes, kind == FatKind::Fat32)
    }
}

/// Reads the directory with that first cluster (0: the root directory), as far as it can be read.
pub(super) fn read(table: &Table, first: u32) -> (Directory, Option<Error>) {
    read_claiming(table, first, &mut |_| true)
}

/// The same; `claim` says of each cluster whether it may be read, or belongs to another directory already.
fn read_claiming(
    table: &Table,
    first: u32,
    claim: &mut dyn FnMut(u32) -> bool,
) -> (Directory, Option<Error>) {
    let geometry = &table.geometry;
    let mut directory = Directory::default();
    if first == 0 && geometry.root_size > 0 {
        directory.bytes = vec![0; len_of(geometry.root_size)];
        directory.stretches.push((0, geometry.root, geometry.root_size));
        let outcome = table.device.read_at(geometry.root, &mut directory.bytes);
        if outcome.is_err() {
            directory.bytes.clear();
        }
        return (directory, outcome.err().map(|error| error.within("read the root directory")));
    }
    let doing = || format!("read the directory at cluster {first}");
    let belongs = |cluster| {
        let why = format!("its cluster {cluster} belongs to another directory, or to itself once more");
        Error::refused(doing(), why).offset(geometry.place(cluster))
    };
    // Asked before the chain is followed: a million entries may name one long chain.
    if geometry.holds(first) && !claim(first) {
        return (directory, Some(belongs(first)));
    }
    let most = DIRECTORY_LIMIT.div_ceil(geometry.cluster);
    let (chain, mut damage) = table.chain_so_far(first, most);
    if damage.is_none() && !chain.ended {
        let why =
            format!("its chain does not end within {DIRECTORY_LIMIT} bytes, more than a directory can have");
        damage = Some(Error::refused(doing(), why).offset(geometry.place(first)));
    }
    for run in &chain.runs {
        for cluster in run.clone() {
            let place = geometry.place(cluster);
            if !directory.bytes.is_empty() && !claim(cluster) {
                return (directory, Some(belongs(cluster)));
            }
            let at = directory.bytes.len();
            directory.bytes.resize(at + len_of(geometry.cluster), 0);
            let piece = directory.bytes.get_mut(at..).unwrap_or_default();
            if let Err(error) = table.device.read_at(place, piece) {
                directory.bytes.truncate(at);
                return (directory, Some(error.within(doing())));
            }
            let is_last = has_end(piece);
            directory.stretches.push((len64(at), place, geometry.cluster));
            if is_last {
                // What the chain says behind the end mark is no part of the directory, but still its chain.
                return (directory, damage);
            }
        }
    }
    (directory, damage)
}

/// One directory met on the walk.
struct Node {
    parent: usize,
    name: String,
    cluster: u32,
    depth: u16,
}

/// All directories of a volume: their paths, and which place belongs to which.
#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Place, length, node; ascending after [`Tree::walk`].
    stretches: Vec<(u64, u64, usize)>,
}

/// What the walk tells: an entry, with the directory that holds it, or damage.
pub(super) enum Met<'a> {
    /// A file or directory, `.` and `..` left out.
    Entry {
        /// The directory.
        node: usize,
        /// Its bytes.
        directory: &'a Directory,
        /// The entry.
        entry: &'a Entry,
    },
    /// What could not be read.
    Damaged(Error),
}

impl Tree {
    /// Walks all directories from the root; each cluster of a directory is read once, however they may be linked. The
    /// nearest one ahead on the volume is next, so that the heads of a disk pass over it few times. `progress` is told
    /// bytes read and bytes known of.
    ///
    /// # Errors
    /// Those of `take`.
    pub(super) fn walk(
        table: &Table,
        take: &mut dyn FnMut(&Tree, Met<'_>) -> Result<()>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Tree> {
        let geometry = &table.geometry;
        let root = Node { parent: 0, name: String::new(), cluster: geometry.root_cluster, depth: 0 };
        let mut tree = Tree { nodes: vec![root], stretches: Vec::new() };
        let mut claimed = Claimed::default();
        let mut waiting = BTreeSet::from([(geometry.root_cluster, 0)]);
        let (mut position, mut done) = (0, 0);
        while let Some(next) =
            waiting.range((position, 0)..).next().copied().or_else(|| waiting.first().copied())
        {
            waiting.remove(&next);
            let (cluster, node) = next;
            position = cluster;
            let (directory, damage) = read_claiming(table, cluster, &mut |cluster| claimed.claim(cluster));
            done += len64(directory.bytes.len());
            tree.stretches
                .extend(directory.stretches.iter().map(|(_, place, length)| (*place, *length, node)));
            if let Some(error) = damage {
                let error = error.path(tree.path(node));
                take(&tree, Met::Damaged(error))?;
            }
            for entry in directory.listing(geometry.kind).entries.iter().filter(|entry| !entry.is_dot()) {
                take(&tree, Met::Entry { node, directory: &directory, entry })?;
                if entry.is_directory() {
                    match tree.add(node, entry, geometry.holds(entry.cluster)) {
                        Ok(below) => drop(waiting.insert((entry.cluster, below))),
                        Err(why) => {
                            let place = directory.place(entry.at());
                            let error = Error::refused("read the directory", why)
                                .path(tree.path(node).join(&entry.name))
                                .offset(place);
                            take(&tree, Met::Damaged(error))?;
                        }
                    }
                }
            }
            progress(done, done + len64(waiting.len()) * geometry.cluster);
        }
        tree.stretches.sort_unstable();
        Ok(tree)
    }

    fn add(&mut self, parent: usize, entry: &Entry, has_cluster: bool) -> Result<usize, String> {
        let depth = self.nodes.get(parent).map_or(0, |node| node.depth) + 1;
        if !has_cluster {
            return Err(format!(
                "its entry has {} as its first cluster, and there is no such one",
                entry.cluster
            ));
        }
        if depth >= DEPTH_LIMIT {
            return Err(format!("it is more than {DEPTH_LIMIT} directories deep"));
        }
        if self.nodes.len() >= COUNT_LIMIT {
            return Err(format!("there are more than {COUNT_LIMIT} directories"));
        }
        self.nodes.push(Node { parent, name: entry.name.clone(), cluster: entry.cluster, depth });
        Ok(self.nodes.len() - 1)
    }

    /// Path of a directory.
    pub(super) fn path(&self, node: usize) -> WinPath {
        let (mut parts, mut at) = (Vec::new(), node);
        while let Some(node) = self.nodes.get(at).filter(|_| at != 0) {
            parts.push(node.name.as_str());
            at = node.parent;
        }
        WinPath::from_parts(parts.iter().rev())
    }

    /// The directory that a place of the volume belongs to, and its first cluster.
    pub(super) fn directory_at(&self, place: u64) -> Option<(usize, u32)> {
        let index = self.stretches.partition_point(|(start, _, _)| *start <= place).checked_sub(1)?;
        let (start, length, node) = *self.stretches.get(index)?;
        (place - start < length).then_some(())?;
        Some((node, self.nodes.get(node)?.cluster))
    }
}

/// One bit for each cluster, as far as clusters were claimed: at most 32 MiB.
#[derive(Default)]
struct Claimed(Vec<u64>);

impl Claimed {
    /// Whether the cluster was not claimed before.
    fn claim(&mut self, cluster: u32) -> bool {
        let index = u64::from(cluster.saturating_sub(FIRST_CLUSTER));
        let (word, bit) = (len_of(index / 64), 1 << (index % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let Some(word) = self.0.get_mut(word) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::boot::Geometry;
    use super::*;
    use crate::volume::ReadAt;

    /// A device of zeros that counts its reads.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl ReadAt for Counting {
        fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<()> {
            self.0.fetch_add(1, Ordering::SeqCst);
            buf.fill(0);
            Ok(())
        }

        fn size(&self) -> u64 {
            1 << 30
        }
    }

    /// Else a volume of a million entries that name one chain is followed for minutes.
    #[test]
    fn the_chain_of_a_directory_that_was_read_is_not_followed_again() {
        let mut boot = vec![0; 512];
        boot[..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
        // 512 bytes in a sector, 1 sector in a cluster, 32 reserved, 2 FATs of 1024 sectors, root at cluster 2.
        boot[11..17].copy_from_slice(&[0, 2, 1, 32, 0, 2]);
        boot[21] = 0xf8;
        boot[32..36].copy_from_slice(&120_000_u32.to_le_bytes());
        boot[36..40].copy_from_slice(&1024_u32.to_le_bytes());
        boot[44] = 2;
        let device = Arc::new(Counting::default());
        let table = Table::new(device.clone(), Geometry::of(&boot).unwrap());
        let (directory, damage) = read_claiming(&table, 5, &mut |_| false);
        assert!(directory.bytes.is_empty());
        assert!(damage.unwrap().to_string().contains("belongs to another directory"));
        assert_eq!(device.0.load(Ordering::SeqCst), 0, "nothing was read for it");
    }
}

//! A FAT12, FAT16 or FAT32 volume from outside: the one walk over its directories, single files, their data and places.
//!
//! All structures are decoded by us (boot.rs, table.rs, entries.rs, directories.rs), without a panic and without an end
//! that depends on what they hold: no chain is followed longer than its file, no directory read twice. The crate
//! `fatfs` is the second reader (second.rs): it follows a chain that loops for ever, and does not tell where an entry or
//! a cluster stands, which is what writing in place needs.
//!
//! FAT keeps times as the clock on the wall showed them, without a time zone, and a date alone for the last access;
//! [`FileFacts::times`] has them as such, and 0 for the change of the record, which FAT does not keep.

mod boot;
mod directories;
mod entries;
mod label;
mod placement;
mod proof;
mod removal;
mod second;
mod table;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use boot::Geometry;
use directories::{Directory, Met, Tree};
use entries::Entry;
pub use label::label;
use table::{Chain, Table};

use super::bytes::len_of;
use super::file_system::{Candidate, FileFacts, FileSystem, Scan, Storage};
use super::record::{Name, Namespace};
use super::{Extents, FatKind, FlagSector, NewFile, ReadAt, Run, SECTOR, SectorChange};
use crate::change::{FileId, VolumeId};
use crate::error::{Error, Result};
use crate::memory;
use crate::path::WinPath;

/// The attribute of a directory; that the root has, which has no entry.
const DIRECTORY: u32 = 0x10;
/// Bytes that are read at once of a file.
const PIECE: u64 = 1 << 20;

/// An opened FAT volume.
pub struct FatVolume {
    table: Table,
    /// What the first FAT and the boot sector say is amiss, in words.
    state: Vec<String>,
    tree: Mutex<Option<Arc<Tree>>>,
}

/// An entry as it stands on the volume now.
struct Found {
    path: WinPath,
    entry: Entry,
    /// Place of the 8.3 entry.
    place: u64,
    directory: Arc<Directory>,
}

impl Found {
    fn id(&self) -> FileId {
        FileId::Fat { entry: self.place, cluster: self.entry.cluster }
    }

    fn facts(&self) -> FileFacts {
        facts_of(&self.entry, self.id(), self.path.clone())
    }
}

impl FatVolume {
    /// Opens a volume: `device` must begin at its boot sector.
    ///
    /// # Errors
    /// No FAT boot sector, in words; one of which readers differ; a FAT whose first entries cannot be read.
    pub fn open(device: Arc<dyn ReadAt>) -> Result<Self> {
        let doing = "open the FAT volume";
        let mut sector = vec![0; len_of(SECTOR)];
        device.read_at(0, &mut sector).map_err(|error| error.within(doing))?;
        let geometry = Geometry::of(&sector).map_err(|error| error.within(doing))?;
        geometry.refuse_doubtful(&sector).map_err(|error| error.within(doing))?;
        let mut volume =
            Self { table: Table::new(device, geometry), state: Vec::new(), tree: Mutex::default() };
        volume.state = volume.read_flags().map_err(|error| error.within(doing))?;
        Ok(volume)
    }

    /// What the boot sector and the FAT's second entry say of how the volume was left.
    fn read_flags(&self) -> Result<Vec<String>> {
        let mut words = Vec::new();
        let mut say = |is_so: bool, what: &str| {
            if is_so {
                words.push(what.to_owned());
            }
        };
        let geometry = &self.table.geometry;
        say(geometry.flags & 1 != 0, "the boot sector has it as dirty");
        say(geometry.flags & 2 != 0, "the boot sector asks for a test of its sectors");
        let (clean, sound) = match geometry.kind {
            FatKind::Fat12 => return Ok(words),
            FatKind::Fat16 => (1 << 15, 1 << 14),
            FatKind::Fat32 => (1 << 27, 1 << 26),
        };
        let second = self.table.raw(1)?;
        say(second & clean == 0, "the FAT has it as not shut down cleanly");
        say(second & sound == 0, "the FAT has it as having met errors of the disk");
        Ok(words)
    }

    /// Which FAT.
    pub fn kind(&self) -> FatKind {
        self.table.geometry.kind
    }

    /// Bytes in a cluster.
    pub fn cluster_size(&self) -> u64 {
        self.table.geometry.cluster
    }

    /// The label in the root directory, if it has one.
    pub fn label(&self) -> Option<String> {
        directories::read(&self.table, self.table.geometry.root_cluster).0.listing(self.kind()).label
    }

    /// All directories; walked once.
    fn tree(&self) -> Result<Arc<Tree>> {
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = &*tree {
            return Ok(tree.clone());
        }
        // What is damaged hides only itself.
        let walked = Arc::new(Tree::walk(&self.table, &mut |_, _| Ok(()), &mut |_, _| {})?);
        *tree = Some(walked.clone());
        Ok(walked)
    }

    /// The entry that an id names, read again; none where it is no longer that file.
    fn entry(&self, id: FileId) -> Result<Option<Found>> {
        let FileId::Fat { entry: place, cluster } = id else { return Ok(None) };
        let tree = self.tree()?;
        let Some((node, first)) = tree.directory_at(place) else { return Ok(None) };
        let (directory, damage) = directories::read(&self.table, first);
        let mut entries = directory.listing(self.kind()).entries.into_iter();
        let entry = entries.find(|entry| directory.place(entry.at()) == place && !entry.is_dot());
        match (entry, damage) {
            (Some(entry), _) if entry.cluster == cluster => {
                let path = tree.path(node).join(&entry.name);
                Ok(Some(Found { path, entry, place, directory: Arc::new(directory) }))
            }
            (None, Some(error)) => Err(error),
            _ => Ok(None),
        }
    }

    fn file(&self, id: FileId) -> Result<Found> {
        self.entry(id)?.ok_or_else(|| {
            Error::refused(format!("read {id}"), "it is no longer there, or is another file by now")
        })
    }

    /// The clusters of a file's data; those of its chain that lie behind the size are left out.
    fn chain(&self, entry: &Entry) -> Result<Chain> {
        let count = entry.size.div_ceil(self.cluster_size());
        if entry.is_directory() {
            return Err(Error::refused("find the clusters", "it is a directory"));
        }
        if count == 0 {
            return Ok(Chain { ended: entry.cluster == 0, ..Chain::default() });
        }
        let all = u64::from(self.table.geometry.clusters);
        if count > all {
            let why =
                format!("its size of {} bytes asks for {count} clusters, and there are {all}", entry.size);
            return Err(Error::refused("find the clusters", why));
        }
        let chain = self.table.chain(entry.cluster, count)?;
        if chain.count < count {
            let why = format!(
                "its chain ends after {} clusters of {} bytes, and its size of {} bytes asks for {count}",
                chain.count,
                self.cluster_size(),
                entry.size
            );
            return Err(Error::refused("find the clusters", why));
        }
        Ok(chain)
    }

    fn runs(&self, chain: &Chain) -> Vec<Run> {
        let geometry = &self.table.geometry;
        let mut at = 0;
        let run = |clusters: &Range<u32>| {
            let length = u64::from(clusters.end.saturating_sub(clusters.start)) * geometry.cluster;
            let run = Run { file_offset: at, place: geometry.place(clusters.start), length };
            at += length;
            run
        };
        chain.runs.iter().map(run).collect()
    }

    fn read_file(&self, found: &Found, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let size = found.entry.size;
        let mut buffer = vec![0; len_of(PIECE.min(size))];
        for run in self.runs(&self.chain(&found.entry)?) {
            let end = run.length.min(size.saturating_sub(run.file_offset));
            let mut at = 0;
            while at < end {
                let piece = buffer.get_mut(..len_of(PIECE.min(end - at))).unwrap_or_default();
                self.table.device.read_at(run.place + at, piece)?;
                take(piece)?;
                at += PIECE;
            }
        }
        Ok(())
    }

    /// The root directory, which has no entry: its id has 0 for the place, where the boot sector stands.
    fn root(&self) -> FileFacts {
        FileFacts {
            id: FileId::Fat { entry: 0, cluster: self.table.geometry.root_cluster },
            path: WinPath::default(),
            paths: vec![WinPath::default()],
            short_name: None,
            size: 0,
            initialised: 0,
            storage: Storage::Resident,
            attributes: DIRECTORY,
            times: [0; 4],
            streams: Vec::new(),
            is_directory: true,
            is_orphan: false,
        }
    }
}

impl FileSystem for FatVolume {
    fn id(&self, start: u64) -> VolumeId {
        let geometry = &self.table.geometry;
        VolumeId { start, size: geometry.size, serial: u64::from(geometry.serial) }
    }

    fn version_in_words(&self) -> Option<String> {
        None
    }

    fn is_dirty(&self) -> bool {
        !self.state.is_empty()
    }

    fn state_in_words(&self) -> Vec<String> {
        let mut words = self.state.clone();
        match self.table.differences() {
            Ok(None) => {}
            Ok(Some((count, first))) => words.push(format!(
                "its two FATs differ over {count} clusters, the first of them {first}; the first FAT is believed, as \
                 Windows does"
            )),
            Err(error) => words.push(format!("its two FATs could not be compared: {error}")),
        }
        words
    }

    fn is_truncated(&self) -> bool {
        self.table.device.size() < self.table.geometry.size
    }

    fn scan(
        &self,
        wanted: &mut dyn FnMut(&Candidate<'_>) -> bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Scan> {
        let mut scan = Scan::default();
        let tree = Tree::walk(
            &self.table,
            &mut |tree, met| {
                match met {
                    Met::Damaged(error) => scan.problem(error),
                    Met::Entry { node, directory, entry } => {
                        scan.records += 1;
                        scan.in_use += 1;
                        let id = FileId::Fat { entry: directory.place(entry.at()), cluster: entry.cluster };
                        let names = names_of(entry);
                        let candidate = Candidate {
                            id,
                            names: &names,
                            size: entry.size,
                            initialised: entry.size,
                            attributes: u32::from(entry.attributes),
                            is_directory: entry.is_directory(),
                            storage: &storage_of(entry),
                            streams: &[],
                        };
                        if wanted(&candidate) {
                            scan.files.push(facts_of(entry, id, tree.path(node).join(&entry.name)));
                        }
                    }
                }
                Ok(())
            },
            progress,
        )?;
        scan.files.sort_by_key(|file| file.id);
        *self.tree.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tree));
        Ok(scan)
    }

    fn facts(&self, id: FileId) -> Result<Option<FileFacts>> {
        let root = self.root();
        if id == root.id {
            return Ok(Some(root));
        }
        Ok(self.entry(id)?.map(|found| found.facts()))
    }

    fn find(&self, path: &WinPath) -> Result<Option<FileFacts>> {
        let mut at = self.root();
        let mut first = self.table.geometry.root_cluster;
        for part in path.parts() {
            if !at.is_directory {
                return Ok(None);
            }
            let (directory, damage) = directories::read(&self.table, first);
            let mut entries = directory.listing(self.kind()).entries.into_iter();
            let Some(entry) = entries.find(|entry| entry.is_named(part) && !entry.is_dot()) else {
                // It may stand in what could not be read.
                return damage.map_or(Ok(None), |error| Err(error.path(path)));
            };
            let id = FileId::Fat { entry: directory.place(entry.at()), cluster: entry.cluster };
            first = entry.cluster;
            let below = at.path.join(&entry.name);
            at = facts_of(&entry, id, below);
        }
        Ok(Some(at))
    }

    fn read(&self, id: FileId, max: u64) -> Result<Vec<u8>> {
        let doing = || format!("read {id}");
        let found = self.file(id)?;
        let size = found.entry.size;
        if size > max {
            let why = format!("it has {size} bytes, more than the {max} that are allowed here");
            return Err(Error::refused(doing(), why));
        }
        let mut all = memory::buffer("read the data", size).map_err(|error| error.within(doing()))?;
        let take = &mut |piece: &[u8]| {
            all.extend_from_slice(piece);
            Ok(())
        };
        self.read_file(&found, take).map_err(|error| error.within(doing()))?;
        Ok(all)
    }

    fn read_pieces(&self, id: FileId, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.read_file(&self.file(id)?, take).map_err(|error| error.within(format!("read {id}")))
    }

    fn extents(&self, id: FileId) -> Result<Extents> {
        let doing = || format!("find the clusters of {id}");
        let entry = self.file(id)?.entry;
        let chain = self.chain(&entry).map_err(|error| error.within(doing()))?;
        if !chain.ended {
            let why = format!(
                "its chain goes on behind the {} clusters that its size of {} bytes asks for",
                chain.count, entry.size
            );
            return Err(
                Error::refused(doing(), why).hint("have Windows check the volume (chkdsk), then scan again")
            );
        }
        let allocated = chain.count * self.cluster_size();
        Ok(Extents { runs: self.runs(&chain), size: entry.size, initialised: entry.size, allocated })
    }

    fn record_bytes(&self, id: FileId) -> Result<Vec<u8>> {
        let found = self.file(id)?;
        Ok(found.directory.bytes.get(found.entry.bytes.clone()).unwrap_or_default().to_vec())
    }

    fn prove_unshared(
        &self,
        plan: &[(FileId, Range<u64>)],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        proof::prove_unshared(self, plan, progress)
    }

    fn dirty_flag(&self) -> Result<Vec<FlagSector>> {
        removal::flag(self)
    }

    fn removal(&self, files: &[FileId]) -> Option<Result<Vec<SectorChange>>> {
        Some(removal::removal(self, files))
    }

    fn placement(&self, above: &WinPath, files: &[NewFile]) -> Option<Result<Vec<Vec<SectorChange>>>> {
        Some(placement::placement(self, above, files))
    }

    fn room(&self, files: u64) -> Result<(u64, u64)> {
        // FAT has no file table that could be full.
        Ok((placement::room(self, files)?, u64::MAX))
    }

    fn read_again(&self, id: FileId, max: u64) -> Result<Vec<u8>> {
        second::read_again(self, id, max)
    }
}

fn storage_of(entry: &Entry) -> Storage {
    if entry.size == 0 { Storage::Resident } else { Storage::Plain }
}

fn names_of(entry: &Entry) -> Vec<Name> {
    let name =
        |name: &String, namespace| Name { parent: 0, parent_sequence: 0, name: name.clone(), namespace };
    match &entry.short_name {
        None => vec![name(&entry.name, Namespace::Win32AndDos)],
        Some(short) => vec![name(&entry.name, Namespace::Win32), name(short, Namespace::Dos)],
    }
}

fn facts_of(entry: &Entry, id: FileId, path: WinPath) -> FileFacts {
    FileFacts {
        id,
        paths: vec![path.clone()],
        path,
        short_name: entry.short_name.clone(),
        size: entry.size,
        initialised: entry.size,
        storage: storage_of(entry),
        attributes: u32::from(entry.attributes),
        times: entry.times,
        streams: Vec::new(),
        is_directory: entry.is_directory(),
        is_orphan: false,
    }
}

//! What every file system offers: the one scan, single files, their data and places. The path of a cure knows no more
//! of a volume than this.

use std::ops::Range;
use std::sync::Arc;

use super::{Extents, FatVolume, FlagSector, Name, NtfsVolume, ReadAt, Recognised};
use crate::change::{FileId, VolumeId};
use crate::error::{Error, Result};
use crate::path::WinPath;

/// How many problems of a scan are kept in words; all are counted.
const PROBLEM_LIMIT: usize = 100;

/// What a scan tells of a file at no further read.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its identity.
    pub id: FileId,
    /// All its names, in all directories and name spaces.
    pub names: &'a [Name],
    /// Size of the unnamed $DATA in bytes.
    pub size: u64,
    /// Initialised size of the unnamed $DATA in bytes.
    pub initialised: u64,
    /// Attributes (read-only 1, hidden 2, system 4 and so on) of $STANDARD_INFORMATION.
    pub attributes: u32,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Where the unnamed $DATA is.
    pub storage: &'a Storage,
    /// Names of its other $DATA streams.
    pub streams: &'a [String],
}

/// How the unnamed $DATA of a file is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the MFT record (or there is none).
    Resident,
    /// In clusters of its own, as it is.
    Plain,
    /// LZNT1-compressed.
    Compressed,
    /// With holes.
    Sparse,
    /// By EFS.
    Encrypted,
    /// In clusters told by other MFT records than the file's own, in words.
    AttributeList(String),
}

/// What is known of one file or directory.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// Its identity.
    pub id: FileId,
    /// Path by its first long name; below `$Orphan` where its directory is no more.
    pub path: WinPath,
    /// Paths by all long names (hard links).
    pub paths: Vec<WinPath>,
    /// The first 8.3 name beside a long one.
    pub short_name: Option<String>,
    /// Size of the unnamed $DATA in bytes.
    pub size: u64,
    /// Initialised size of the unnamed $DATA in bytes: behind it the file reads as zeros.
    pub initialised: u64,
    /// Where the unnamed $DATA is.
    pub storage: Storage,
    /// Attributes (read-only 1, hidden 2, system 4 and so on) of $STANDARD_INFORMATION or the directory entry.
    pub attributes: u32,
    /// Created, modified, record changed, accessed: units of 100 ns since 1601, in UTC on NTFS, and on FAT as the clock
    /// on the wall showed it (no record changed: 0; a day alone as accessed).
    pub times: [u64; 4],
    /// Names of its other $DATA streams.
    pub streams: Vec<String>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Whether none of its names leads to the root: a directory above is no more, or is another one by now.
    pub is_orphan: bool,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The files that were wanted, in the order of the disk.
    pub files: Vec<FileFacts>,
    /// Records looked at.
    pub records: u64,
    /// Base records in use among them.
    pub in_use: u64,
    /// What could not be read, the first 100.
    pub problems: Vec<Error>,
    /// How many problems there were.
    pub problem_count: u64,
}

impl Scan {
    pub(super) fn problem(&mut self, error: Error) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEM_LIMIT {
            self.problems.push(error);
        }
    }
}

/// One sector that is to be written, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectorChange {
    /// Offset in the volume, in bytes.
    pub place: u64,
    /// What it holds before.
    pub before: Vec<u8>,
    /// What it is to hold.
    pub after: Vec<u8>,
}

/// Who owns a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This file system keeps no owners.
    NotKept,
    /// None could be told.
    Unknown,
    /// This security identifier: `S-1-5-32-544`.
    Is(String),
}

/// One file or folder that is to be put on a volume.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Its path below the folder that is there already.
    pub path: WinPath,
    /// What it holds; none: it is a folder.
    pub bytes: Option<Vec<u8>>,
}

/// An opened volume, read only.
pub trait FileSystem: Send + Sync {
    /// Identity of the volume that begins `start` bytes into its disk.
    fn id(&self, start: u64) -> VolumeId;

    /// Version of the file system, where it has one: `3.1`.
    fn version_in_words(&self) -> Option<String>;

    /// Whether Windows will check the volume at its next start.
    fn is_dirty(&self) -> bool;

    /// Why the file system's own log is unclean, in words: Windows has work to finish in it at its next start. None where it is
    /// clean, or there is no log.
    fn unclean_log(&self) -> Option<String> {
        None
    }

    /// What else is particular about how the volume was left, in words; it may read for that.
    fn state_in_words(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the device ends before the volume does: a truncated image, or a partition table that is wrong.
    fn is_truncated(&self) -> bool;

    /// The one pass over all files, and collects what `wanted` says yes to. `progress` is told bytes done and bytes in
    /// all. Memory grows with the files collected, not with those that there are.
    ///
    /// # Errors
    /// The file table cannot be read at all. Single damaged files are in [`Scan::problems`].
    fn scan(
        &self,
        wanted: &mut dyn FnMut(&Candidate<'_>) -> bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Scan>;

    /// Reads what is known of one file again; none where it is no longer that file.
    ///
    /// # Errors
    /// Its record is damaged.
    fn facts(&self, id: FileId) -> Result<Option<FileFacts>>;

    /// Finds a file by its path through the directories, letter case left out of account; long and 8.3 names.
    ///
    /// # Errors
    /// A directory is damaged; the found file's record is.
    fn find(&self, path: &WinPath) -> Result<Option<FileFacts>>;

    /// The whole data of a file of at most `max` bytes.
    ///
    /// # Errors
    /// Refused where it is encrypted or larger, or the id is no longer that file; a failed read.
    fn read(&self, id: FileId, max: u64) -> Result<Vec<u8>>;

    /// The data of a file in pieces of at most 1 MiB, in their order. What lies behind the initialised size reads as
    /// zeros.
    ///
    /// # Errors
    /// As [`Self::read`], and those of `take`.
    fn read_pieces(&self, id: FileId, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// Who owns a file or folder.
    ///
    /// # Errors
    /// The id is no longer that file; its record or the volume's table of descriptors is damaged.
    fn owner(&self, id: FileId) -> Result<Owner> {
        let _ = id;
        Ok(Owner::NotKept)
    }

    /// Where the data of a file lies, for writing in place.
    ///
    /// # Errors
    /// Refused where it is not stored in clusters of its own as it is; where its runs contradict its sizes; where the
    /// id is no longer that file.
    fn extents(&self, id: FileId) -> Result<Extents>;

    /// Where the bytes lie that make up a file's data: as [`Self::extents`]; of a compressed file all of its clusters,
    /// one after the other, so that offsets count in what is allocated and not in the file.
    ///
    /// # Errors
    /// As [`Self::extents`], but for compressed files.
    fn allocation(&self, id: FileId) -> Result<Extents> {
        self.extents(id)
    }

    /// What names the file, exactly as it stands on the device: NTFS its base MFT record, fix-ups not applied; FAT its
    /// directory entries, those of the long name first.
    ///
    /// # Errors
    /// The id is no longer that file; a failed read.
    fn record_bytes(&self, id: FileId) -> Result<Vec<u8>>;

    /// The second pass, before the first write: proves that nothing in use but the named file itself claims a cluster
    /// of its range (bytes in the volume), that this file does, once, and that the volume has it in use.
    ///
    /// # Errors
    /// Refused, naming the other owner and the place; a record that cannot be read and so may claim anything.
    fn prove_unshared(&self, plan: &[(FileId, Range<u64>)], progress: &mut dyn FnMut(u64, u64))
    -> Result<()>;

    /// The sectors that change when the dirty flag is turned, in the order in which they are written.
    ///
    /// # Errors
    /// Refused where it cannot be turned raw, in words.
    fn dirty_flag(&self) -> Result<Vec<FlagSector>> {
        Err(Error::refused("turn the dirty flag", "this file system has none that is known here"))
    }

    /// Every sector that is written to remove these files from their folders and give their clusters back, in their order,
    /// each synced before the next; the dirty flag is set by the first and cleared by the last. None where that takes a mount.
    ///
    /// # Errors
    /// In it, refused: the volume is dirty or damaged; a file shares its clusters; more than these files would change.
    fn removal(&self, files: &[FileId]) -> Option<Result<Vec<SectorChange>>> {
        let _ = files;
        None
    }

    /// Every sector that is written to put these files below a folder that is there, folders before what is in them, in
    /// groups: each is synced before the next, and the dirty flag is set meanwhile. Only the first may be there already,
    /// a folder. None where that takes a mount.
    ///
    /// # Errors
    /// In it, refused: the volume is dirty, damaged or full; more than what is free would change.
    fn placement(&self, above: &WinPath, files: &[NewFile]) -> Option<Result<Vec<Vec<SectorChange>>>> {
        let _ = (above, files);
        None
    }

    /// Bytes that are free for what `files` new files and folders hold, and MFT records that are free and were written
    /// before, so that a new file takes one of them.
    ///
    /// # Errors
    /// It cannot be told on this file system, in words.
    fn room(&self, files: u64) -> Result<(u64, u64)> {
        let _ = files;
        Err(Error::refused("tell what is free", "this version does not put files on this file system"))
    }

    /// The whole data of a file of at most `max` bytes, as a reader finds it that is not ours. Of a compressed file, that reader
    /// finds the record and its clusters, and our decoder reads them.
    ///
    /// # Errors
    /// The id is another file by now; that reader cannot read it; the file is larger.
    fn read_again(&self, id: FileId, max: u64) -> Result<Vec<u8>>;
}

/// Opens the volume that begins at the start of `device`, by what its first sector says.
///
/// # Errors
/// The file system is damaged beyond reading, or none that is read here; in words.
pub fn open_volume(device: Arc<dyn ReadAt>, recognised: Recognised) -> Result<Box<dyn FileSystem>> {
    match recognised {
        Recognised::Ntfs => Ok(Box::new(NtfsVolume::open(device)?)),
        Recognised::Fat { .. } => Ok(Box::new(FatVolume::open(device)?)),
        other => Err(Error::refused("open the volume", format!("{other} is not read by this version"))),
    }
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resident => "resident",
            Self::Plain => "plain",
            Self::Compressed => "compressed",
            Self::Sparse => "sparse",
            Self::Encrypted => "encrypted",
            Self::AttributeList(words) => words,
        })
    }
}

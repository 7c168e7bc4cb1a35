//! The record of a run, kept off the patient: a folder a run with the journal, backups, the quarantine and the report.
//!
//! Everything is written whole, synced with its folder, and read back; nothing is ever overwritten.

pub mod journal;
pub mod place;
pub mod quarantine;
pub mod runs;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::digest::{Hasher, Sha256};
use crate::error::{Context, Error, Result};
use crate::memory;
use journal::StoredFile;
pub use runs::{RunFolder, Store};

/// What to do where the record cannot be made that a run needs before it writes.
const NOTHING_DONE: &str = "give another store with --store; nothing was done to the disk";

/// To open a pipe is then an error, or nothing that anybody waits for.
const NO_WAITING: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Writes a new file of a run folder, has it reach the medium, and reads it back.
///
/// # Errors
/// The file exists, the medium is full or failing, or what is read back is not what was written.
fn write_new(path: &Path, bytes: &[u8]) -> Result<Sha256> {
    let write = || -> std::io::Result<Vec<u8>> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        sync_folder(path)?;
        read_again(path)
    };
    let again = write().doing("write the record of the run").map_err(|e| e.device(path))?;
    if again != bytes {
        return Err(Error::refused(
            "trust the record of the run",
            "what was read back is not what was written",
        )
        .device(path)
        .hint("the medium of the store is failing; give another one with --store"));
    }
    Ok(Sha256::of(bytes))
}

/// Opens what must be a plain file. A store may have been in other hands: a pipe would be waited for without an end, and a
/// device has none.
fn open_plain(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(NO_WAITING).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no plain file")),
    }
}

/// Reads a file past what the kernel remembers of it, as far as the file system allows.
fn read_again(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = open_plain(path)?;
    // A file system that cannot forget (tmpfs) answers from memory; then memory is where the file is.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    // A store may be planted, and a file in it be larger than any memory.
    let mut bytes =
        memory::buffer("read the record", file.metadata()?.len()).map_err(std::io::Error::other)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Hands the bytes of a file over, piece by piece.
pub type Feed<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

/// A file whose bytes are hashed on their way.
struct Hashing {
    file: File,
    hasher: Hasher,
}

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Digest of a file read past what the kernel remembers of it.
fn digest_again(path: &Path) -> std::io::Result<Sha256> {
    let mut file = open_plain(path)?;
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish().sha256),
            length => hasher.update(piece.get(..length).unwrap_or_default()),
        }
    }
}

/// Has the name of a new file reach the medium too.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

impl RunFolder {
    /// Keeps a copy of a file of the patient, compressed, as `backup/NAME.gz`. `feed` hands the file's bytes over in
    /// pieces, so that no copy of it has to fit into memory.
    ///
    /// # Errors
    /// As for every file of the store: it exists, or the medium is full or failing; and those of `feed`.
    pub fn back_up(&self, name: &str, feed: Feed<'_>) -> Result<StoredFile> {
        const DOING: &str = "write the backup";
        let name = Path::new("backup").join(format!("{name}.gz"));
        let path = self.path().join(&name);
        let place = |e: Error| e.device(&path).hint(NOTHING_DONE);
        self.make_folder("backup")?;
        let file = OpenOptions::new().write(true).create_new(true).open(&path).doing(DOING).map_err(place)?;
        let mut encoder = GzEncoder::new(Hashing { file, hasher: Hasher::default() }, Compression::default());
        feed(&mut |piece| encoder.write_all(piece).doing(DOING).map_err(place))?;
        let Hashing { file, hasher } = encoder.finish().doing(DOING).map_err(place)?;
        file.sync_all().and_then(|()| sync_folder(&path)).doing(DOING).map_err(place)?;
        let sha256 = hasher.finish().sha256;
        if digest_again(&path).doing(DOING).map_err(place)? != sha256 {
            return Err(Error::refused("trust the backup", "what was read back is not what was written")
                .device(&path)
                .hint("the medium of the store is failing; give another one with --store"));
        }
        Ok(StoredFile { name, sha256 })
    }

    /// Keeps a text beside the journal.
    ///
    /// # Errors
    /// As for every file of the store.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        write_new(&self.path().join(name), text.as_bytes()).map(drop).map_err(|e| e.hint(NOTHING_DONE))
    }

    /// Keeps the report beside the journal, once all is over.
    ///
    /// # Errors
    /// As for every file of the store.
    pub fn write_report(&self, json: &str) -> Result<()> {
        write_new(&self.path().join("report.json"), json.as_bytes()).map(drop).map_err(|e| {
            e.hint("the disk is as the report tells that was shown, and undo needs only the journal; --report-dir keeps it elsewhere")
        })
    }

    fn make_folder(&self, name: &str) -> Result<()> {
        let path = self.path().join(name);
        let made = match std::fs::create_dir(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            _ => sync_folder(&path),
        };
        made.doing("make a folder in the store").map_err(|e| e.device(path))
    }
}

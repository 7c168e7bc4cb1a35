//! The record of a run, kept off the patient: a folder a run with the journal, backups, the quarantine and the report.
//!
//! Everything is written whole, synced with its folder, and read back; nothing is ever overwritten.

pub mod journal;
pub mod place;
pub mod quarantine;
pub mod runs;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::digest::Sha256;
use crate::error::{Context, Error, Result};
use journal::StoredFile;
pub use runs::{RunFolder, Store};

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
    let again = write()
        .doing("write the record of the run")
        .map_err(|e| e.device(path).hint("give another store with --store; nothing was done to the disk"))?;
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

/// Reads a file past what the kernel remembers of it, as far as the file system allows.
fn read_again(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    // A file system that cannot forget (tmpfs) answers from memory; then memory is where the file is.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
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
    /// Keeps a copy of a file of the patient, compressed, as `backup/NAME.gz`.
    ///
    /// # Errors
    /// As for every file of the store: it exists, or the medium is full or failing.
    pub fn back_up(&self, name: &str, bytes: &[u8]) -> Result<StoredFile> {
        let name = Path::new("backup").join(format!("{name}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let packed = encoder.write_all(bytes).and_then(|()| encoder.finish()).doing("compress the backup")?;
        self.make_folder("backup")?;
        let sha256 = write_new(&self.path().join(&name), &packed)?;
        Ok(StoredFile { name, sha256 })
    }

    /// Keeps a text beside the journal.
    ///
    /// # Errors
    /// As for every file of the store.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        write_new(&self.path().join(name), text.as_bytes()).map(drop)
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

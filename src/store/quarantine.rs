//! Where the bytes of the worm go: `quarantine/NNNN.bin` with a manifest that says what each was.
//!
//! The bytes are kept combined with one constant byte by exclusive or, and under a number: neither Windows nor an
//! antivirus on the technician's own machine starts them or takes them away, and undo finds them again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::{Journal, StoredFile};
use super::{NOTHING_DONE, RunFolder, read_again, write_new};
use crate::change::FileId;
use crate::digest::Digests;
use crate::error::{Context, Error, Result};
use crate::path::WinPath;
use crate::printable::to_json_pretty;

const KEY: u8 = 0xa5;
const MANIFEST: &str = "quarantine/manifest.json";
/// Version of the manifest's format.
const SCHEMA: &str = "deblast.quarantine/1";

/// One file in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the file in the quarantine folder.
    pub name: String,
    /// All of its long paths on the patient's volume.
    pub paths: Vec<WinPath>,
    /// Its 8.3 name, where it has one of its own.
    pub short_name: Option<String>,
    /// Identity inside the volume.
    pub id: FileId,
    /// Digests and size of the original bytes.
    pub content: Digests,
    /// Times of creation, change, MFT change (NTFS) and access, as FILETIME: UTC on NTFS, the clock on the wall on FAT.
    pub times: [u64; 4],
    /// File attributes of $STANDARD_INFORMATION or the directory entry.
    pub attributes: u32,
    /// Names of its other data streams, which stay on the disk.
    pub streams: Vec<String>,
    /// NTFS: the whole MFT record as it was, in hex: names, times, and where its security descriptor stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mft_record: Option<String>,
    /// FAT: its directory entries as they were, in hex, those of the long name first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_entries: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    schema: String,
    /// How the bytes are kept.
    encoding: String,
    files: Vec<Entry>,
}

fn encoded(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ KEY).collect()
}

fn path_of(name: &str) -> PathBuf {
    Path::new("quarantine").join(name)
}

/// Name in the quarantine of the file with this number.
pub fn name_of(number: usize) -> String {
    format!("{:04}.bin", number + 1)
}

impl RunFolder {
    /// Keeps the bytes of one file, and reads them back.
    ///
    /// # Errors
    /// As for every file of the store.
    pub fn keep(&self, entry: &Entry, bytes: &[u8]) -> Result<StoredFile> {
        self.make_folder("quarantine")?;
        let name = path_of(&entry.name);
        let sha256 =
            write_new(&self.path().join(&name), &encoded(bytes)).map_err(|e| e.hint(NOTHING_DONE))?;
        let kept = StoredFile { name, sha256 };
        if Digests::of(&self.kept(&kept)?) != entry.content {
            return Err(Error::refused(
                "trust the quarantine",
                "its bytes are not those that were inspected",
            )
            .device(self.path())
            .hint("the file has changed since it was inspected; scan again"));
        }
        Ok(kept)
    }

    /// Writes the manifest over all files that were kept.
    ///
    /// # Errors
    /// As for every file of the store.
    pub fn write_manifest(&self, files: Vec<Entry>) -> Result<StoredFile> {
        let encoding = format!("every byte combined with {KEY:#04x} by exclusive or");
        let manifest = Manifest { schema: SCHEMA.to_owned(), encoding, files };
        let text = to_json_pretty(&manifest).map_err(|e| Error::library("write the manifest", e))?;
        let sha256 =
            write_new(&self.path().join(MANIFEST), text.as_bytes()).map_err(|e| e.hint(NOTHING_DONE))?;
        Ok(StoredFile { name: MANIFEST.into(), sha256 })
    }

    /// The original bytes of a file that was kept.
    ///
    /// # Errors
    /// It cannot be read, or is not what the journal says.
    pub fn kept(&self, stored: &StoredFile) -> Result<Vec<u8>> {
        self.read_stored(stored).map(|bytes| encoded(&bytes))
    }

    /// Refuses a folder in which any file that the journal relies on is not what the journal says.
    ///
    /// # Errors
    /// One of them cannot be read, or its digest is another.
    pub fn check_stored(&self, journal: &Journal) -> Result<()> {
        journal.header.stored.iter().try_for_each(|stored| self.read_stored(stored).map(drop))
    }

    /// Reads a file that the journal relies on; refused unless it is what the journal says.
    ///
    /// # Errors
    /// It cannot be read, or its digest is another.
    pub fn read_stored(&self, stored: &StoredFile) -> Result<Vec<u8>> {
        let inside = stored.name.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(Error::refused(
                "read the store",
                "the journal names a place outside the run's folder",
            )
            .device(&stored.name));
        }
        let path = self.path().join(&stored.name);
        let bytes = read_again(&path).doing("read the store").map_err(|e| e.device(&path))?;
        let found = crate::digest::Sha256::of(&bytes);
        if found != stored.sha256 {
            return Err(Error::mismatch(
                "trust the store",
                0,
                format!("SHA-256 {}", stored.sha256),
                found.to_string(),
            )
            .device(path)
            .hint("the store was changed or is damaged; nothing is taken back from it"));
        }
        Ok(bytes)
    }
}

/// The bytes of quarantined files, read once each and kept while a run works with them.
#[derive(Default)]
pub struct Quarantine {
    files: BTreeMap<(String, String), Vec<u8>>,
}

impl Quarantine {
    /// Makes the original bytes of one file known.
    pub fn add(&mut self, run: &str, name: &str, bytes: Vec<u8>) {
        self.files.insert((run.to_owned(), name.to_owned()), bytes);
    }

    /// `length` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// The file is not known, or ends before `offset`.
    pub fn bytes(&self, run: &str, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let missing = || {
            Error::refused(
                "read the quarantine",
                format!("the journal names bytes that {name} does not hold"),
            )
            .path(run)
            .offset(offset)
        };
        let file = self.files.get(&(run.to_owned(), name.to_owned())).ok_or_else(missing)?;
        let start = usize::try_from(offset).map_err(|_| missing())?;
        let length = usize::try_from(length).map_err(|_| missing())?;
        let end = start.checked_add(length).ok_or_else(missing)?;
        file.get(start..end).map(<[u8]>::to_vec).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn entry(bytes: &[u8]) -> Entry {
        Entry {
            name: name_of(0),
            paths: vec![WinPath::new("a\\b.exe")],
            short_name: None,
            id: FileId::Ntfs { record: 1, sequence: 1 },
            content: Digests::of(bytes),
            times: [0; 4],
            attributes: 0x20,
            streams: Vec::new(),
            mft_record: None,
            directory_entries: None,
        }
    }

    #[test]
    fn keeps_bytes_that_no_scanner_knows_and_gives_them_back() {
        let folder = tempfile::tempdir().unwrap();
        let run = Store::at(folder.path()).begin("2030-01-02T03:04:05Z".parse().unwrap()).unwrap();
        let bytes = b"MZ some program";
        let kept = run.keep(&entry(bytes), bytes).unwrap();
        let on_disk = std::fs::read(run.path().join("quarantine/0001.bin")).unwrap();
        assert!(!on_disk.starts_with(b"MZ"));
        assert_eq!(run.kept(&kept).unwrap(), bytes);
        std::fs::write(run.path().join("quarantine/0001.bin"), b"changed").unwrap();
        assert!(run.kept(&kept).unwrap_err().to_string().contains("nothing is taken back"));
        let outside = StoredFile { name: "../x".into(), sha256: kept.sha256 };
        assert!(run.read_stored(&outside).unwrap_err().to_string().contains("outside"));
    }

    #[test]
    fn refuses_bytes_that_are_not_those_inspected() {
        let folder = tempfile::tempdir().unwrap();
        let run = Store::at(folder.path()).begin("2030-01-02T03:04:05Z".parse().unwrap()).unwrap();
        assert!(run.keep(&entry(b"inspected"), b"different").is_err());
    }
}

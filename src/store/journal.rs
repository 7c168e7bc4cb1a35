//! The journal of a run: what it will write, sector by sector, before it writes any.
//!
//! One line a record: a checksum, a blank, JSON. The checksum covers the line before it too, so lines can be neither
//! dropped nor moved unseen. The first record is the [`Header`] with the confirmed plan; then every [`Intent`]; then
//! `ready`, from which on the disk may be written; last, once all is verified, `closed`. All but the last are known
//! from the plan, so they reach the medium in one piece before the first write, in a file of its full length: later
//! appending never needs room, and cutting the power at any moment loses no record that a write has relied on.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::quarantine::Quarantine;
use super::sync_folder;
use crate::change::{Change, FileChange, FileId, VolumeId, hex_bytes};
use crate::digest::Sha256;
use crate::error::{Context, Error, Result};
use crate::path::WinPath;

/// Version of the format. A sample of every version stays readable.
pub const SCHEMA: &str = "deblast.journal/1";
/// Room kept behind the records for those that come later, in bytes.
const RESERVE: u64 = 4096;
/// What the JSON of `ready` begins with. No other record's does, and none holds it: quotes inside are escaped.
const READY: &[u8] = br#" {"record":"ready""#;
/// No run writes more bytes than this: hives are edited by the sector, and files made inert have a limit of their own.
const MOST_WRITTEN: u64 = 1 << 30;
/// Hex digits of a checksum.
const CHECKSUM: usize = 32;

/// What a run was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunKind {
    /// A cure.
    Clean,
    /// The taking back of another run, made as a new edit.
    Undo {
        /// RUN-ID of that other run.
        of: String,
    },
}

/// A file of the patient that the run writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TouchedFile {
    /// Index into the header's volumes.
    pub volume: usize,
    /// Path inside the volume.
    pub path: WinPath,
    /// Identity inside the volume.
    pub id: FileId,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the content before the run.
    pub before: Sha256,
    /// Places of its data runs: offset in the volume and length, in bytes.
    pub runs: Vec<(u64, u64)>,
    /// Whether NTFS keeps it compressed: its runs then hold its clusters one after the other, and not its bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compressed: bool,
}

impl TouchedFile {
    /// Where in the file (of a compressed one, in its clusters) a place of the volume lies, if its data runs hold it.
    pub fn offset_of(&self, place: u64) -> Option<u64> {
        let mut offset = 0_u64;
        for &(start, length) in &self.runs {
            match place.checked_sub(start) {
                Some(inside) if inside < length => return offset.checked_add(inside),
                _ => offset = offset.checked_add(length)?,
            }
        }
        None
    }
}

impl Intent {
    /// The places of its sectors.
    pub fn sectors(&self) -> impl Iterator<Item = u64> + use<> {
        (self.place..self.place.saturating_add(self.length)).step_by(512)
    }
}

/// One change, with the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedChange {
    /// Index into the header's files.
    pub file: usize,
    /// The change.
    pub change: Change,
}

/// A file in the run's folder that the journal relies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Path inside the run's folder.
    pub name: PathBuf,
    /// Digest of the bytes as they lie there.
    pub sha256: Sha256,
}

/// A file whose names the run removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlinkedFile {
    /// Index into the header's volumes.
    pub volume: usize,
    /// The file, with the digests of its bytes before the run.
    pub file: FileChange,
    /// Its paths by all long names.
    pub paths: Vec<WinPath>,
    /// Its name in the quarantine, where it goes with its bytes; none where it holds zeros by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// One sector that removing names writes, where no mount is needed for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameWrite {
    /// Index into the header's volumes.
    pub volume: usize,
    /// Offset in the volume, in bytes.
    pub place: u64,
    /// What is there before.
    #[serde(with = "hex_bytes")]
    pub before: Vec<u8>,
    /// What is there afterwards.
    #[serde(with = "hex_bytes")]
    pub after: Vec<u8>,
}

/// First record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub tool: String,
    /// RUN-ID.
    pub run_id: String,
    /// What the run was for.
    #[serde(flatten)]
    pub kind: RunKind,
    /// When it began, by the clock of the machine.
    pub started: String,
    /// Node or image that was written. Told only; never what a disk is known by.
    pub target: PathBuf,
    /// Serial number of the disk, where it told one. Orders candidates only.
    pub serial: Option<String>,
    /// The volumes that it wrote.
    pub volumes: Vec<VolumeId>,
    /// The files that it wrote.
    pub files: Vec<TouchedFile>,
    /// The confirmed plan.
    pub changes: Vec<RecordedChange>,
    /// The files whose names it removes through a mount once all of this is verified and the journal closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlinks: Vec<UnlinkedFile>,
    /// The sectors that go with these names on FAT, in the order of writing, each synced before the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_writes: Vec<NameWrite>,
    /// What else of the run's folder undo needs.
    pub stored: Vec<StoredFile>,
    /// Where in the journal's file `ready` stands, in bytes: it tells a record that was never written from one that was
    /// damaged. Filled in when the journal is made; always of the same length.
    #[serde(with = "fixed_width")]
    pub ready_at: u64,
}

/// A number as ten digits, so that the length of a record does not hang on it.
mod fixed_width {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{number:010}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a place holds, or is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// These bytes.
    Bytes(#[serde(with = "hex_bytes")] Vec<u8>),
    /// Zero bytes.
    Zeros,
    /// Bytes of a file that lies in quarantine.
    Quarantined {
        /// RUN-ID of the run that put it there.
        run: String,
        /// Its name in the quarantine.
        name: String,
        /// Where in the original file they begin.
        offset: u64,
    },
}

impl Side {
    /// The bytes themselves.
    ///
    /// # Errors
    /// The quarantine does not hold what the journal names.
    pub fn bytes(&self, length: u64, quarantine: &Quarantine) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Zeros => Ok(vec![0; usize::try_from(length).unwrap_or(0)]),
            Self::Quarantined { run, name, offset } => quarantine.bytes(run, name, *offset, length),
        }
    }
}

/// One write of whole sectors that are contiguous on the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The writes of one group may reach the medium in any order; between two groups the medium is synced. Ascending.
    pub group: u32,
    /// Index into the header's files.
    pub file: usize,
    /// Offset in the volume, in bytes.
    pub place: u64,
    /// Length in bytes.
    pub length: u64,
    /// What is there before.
    pub before: Side,
    /// What is there afterwards.
    pub after: Side,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Record {
    Header(Box<Header>),
    Intent(Intent),
    Ready {
        intents: usize,
    },
    Closed {
        words: String,
    },
    /// Behind `closed`: which of the header's `unlinks` are gone.
    Unlinked {
        files: Vec<usize>,
    },
}

/// A journal that can be relied on: complete up to `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// What the run was.
    pub header: Header,
    /// All of its writes, in the order of their groups.
    pub intents: Vec<Intent>,
    /// How it ended, if its end was recorded.
    pub closed: Option<String>,
    /// Which of the header's unlinks were recorded as gone.
    pub unlinked: Vec<usize>,
}

/// What a journal's file turned out to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A journal that allowed writing.
    Ready(Journal),
    /// Torn before `ready`: the run wrote nothing to any disk. What could be read of it.
    NeverReady(Option<Journal>),
}

/// The journal of the run that is under way.
#[derive(Debug)]
pub struct OpenJournal {
    file: File,
    path: PathBuf,
    end: u64,
    chain: String,
}

fn checksum(chain: &str, json: &str) -> String {
    let mut digest = Sha256::of(format!("{chain} {json}").as_bytes()).to_string();
    digest.truncate(CHECKSUM);
    digest
}

fn append(text: &mut String, chain: &mut String, record: &Record) -> Result<()> {
    let json =
        serde_json::to_string(record).map_err(|e| Error::library("write a record of the journal", e))?;
    *chain = checksum(chain, &json);
    text.push_str(&format!("{chain} {json}\n"));
    Ok(())
}

impl Journal {
    /// All records before `ready`, then that one, as they will stand in the file, and the last checksum.
    fn encode(header: &Header, intents: &[Intent]) -> Result<(String, String, String)> {
        let records = |ready_at: usize| -> Result<(String, String)> {
            let (mut text, mut chain) = (String::new(), String::new());
            let header = Header { ready_at: ready_at as u64, ..header.clone() };
            append(&mut text, &mut chain, &Record::Header(Box::new(header)))?;
            for intent in intents {
                append(&mut text, &mut chain, &Record::Intent(intent.clone()))?;
            }
            Ok((text, chain))
        };
        let (text, mut chain) = records(records(0)?.0.len())?;
        let mut ready = String::new();
        append(&mut ready, &mut chain, &Record::Ready { intents: intents.len() })?;
        Ok((text, ready, chain))
    }

    /// Bytes that the journal of this plan takes on the store.
    ///
    /// # Errors
    /// The plan cannot be written down.
    pub fn length(header: &Header, intents: &[Intent]) -> Result<u64> {
        let (text, ready, _) = Self::encode(header, intents)?;
        Ok((text.len() + ready.len()) as u64 + RESERVE)
    }

    /// Writes the journal at its full length and has it reach the medium: after this the disk may be written.
    ///
    /// # Errors
    /// The file exists, or the medium is full or failing; nothing was done to the disk then.
    pub fn create(path: &Path, header: &Header, intents: &[Intent]) -> Result<OpenJournal> {
        let (text, ready, chain) = Self::encode(header, intents)?;
        let end = (text.len() + ready.len()) as u64;
        let write = || -> std::io::Result<File> {
            let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
            file.write_all(&vec![0; text.len() + ready.len() + RESERVE as usize])?;
            file.sync_all()?;
            sync_folder(path)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())?;
            // What `ready` vouches for is on the medium before it: its pages may arrive in any order.
            file.sync_all()?;
            file.write_all(ready.as_bytes())?;
            file.sync_all()?;
            Ok(file)
        };
        let file = write().doing("write the journal").map_err(|e| {
            e.device(path).hint("give another store with --store; nothing was done to the disk")
        })?;
        match Self::load(path)? {
            Loaded::Ready(again)
                if Header { ready_at: header.ready_at, ..again.header.clone() } == *header
                    && again.intents == intents =>
            {
                Ok(OpenJournal { file, path: path.to_owned(), end, chain })
            }
            _ => Err(Error::refused("trust the journal", "what was read back is not what was written")
                .device(path)
                .hint("the medium of the store is failing; give another one with --store")),
        }
    }

    /// Reads a journal. A torn tail is dropped; anything else that is amiss is an error.
    ///
    /// # Errors
    /// The file cannot be read; is of another version; or is damaged in the middle.
    pub fn load(path: &Path) -> Result<Loaded> {
        match super::read_again(path) {
            // Cut before it was made.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Loaded::NeverReady(None)),
            bytes => bytes
                .doing("read the journal")
                .and_then(|bytes| Self::decode(&bytes))
                .map_err(|e| e.device(path)),
        }
    }

    /// Reads the bytes of a journal's file, as [`Self::load`].
    ///
    /// # Errors
    /// It is of another version, or damaged in the middle.
    pub fn from_bytes(bytes: &[u8]) -> Result<Loaded> {
        Self::decode(bytes)
    }

    /// The bytes of a journal's file up to `ready`, as [`Self::create`] writes them.
    ///
    /// # Errors
    /// The plan cannot be written down.
    pub fn bytes(header: &Header, intents: &[Intent]) -> Result<Vec<u8>> {
        let (text, ready, _) = Self::encode(header, intents)?;
        Ok([text, ready].concat().into_bytes())
    }

    /// The first record alone, if it is sound.
    pub fn load_header(path: &Path) -> Option<Header> {
        let bytes = super::read_again(path).ok()?;
        let (json, ..) = next_line(&bytes, "")?;
        match serde_json::from_str(json).ok()? {
            Record::Header(header) => Some(*header),
            _ => None,
        }
    }

    fn decode(bytes: &[u8]) -> Result<Loaded> {
        const DOING: &str = "read the journal";
        let (mut header, mut intents, mut ready, mut closed) = (None, Vec::new(), false, None);
        let mut unlinked = Vec::new();
        let (mut chain, mut at) = (String::new(), 0_usize);
        let mut rest = bytes;
        while let Some((json, sum, length)) = next_line(rest, &chain) {
            let record = serde_json::from_str(json).map_err(|e| {
                Error::library(DOING, e)
                    .offset(at as u64)
                    .hint("it may be of a newer version; use that version of Deblast")
            })?;
            match (record, &mut header, ready) {
                (Record::Header(found), None, _) => {
                    if found.schema != SCHEMA {
                        return Err(Error::mismatch(DOING, at as u64, SCHEMA, found.schema));
                    }
                    header = Some(*found);
                }
                (Record::Intent(intent), Some(_), false) => intents.push(intent),
                (Record::Ready { intents: count }, Some(_), false) if count == intents.len() => ready = true,
                (Record::Closed { words }, Some(_), true) => closed = Some(words),
                (Record::Unlinked { files }, Some(_), true) => unlinked = files,
                _ => {
                    return Err(Error::mismatch(DOING, at as u64, "records in their order", "another order"));
                }
            }
            chain = sum;
            at += length;
            rest = bytes.get(at..).unwrap_or_default();
        }
        // What follows the last good line may be torn, or room kept. But before `ready` stood there all else was on the
        // medium, so where it stands, readable or not by the checksums, a bad line is damage.
        let slot =
            header.as_ref().and_then(|header: &Header| bytes.get(usize::try_from(header.ready_at).ok()?..));
        let says_ready = match slot {
            // The file had its full length on the medium before its first record, so one that ends here was cut short.
            Some(slot) => slot.split_inclusive(|&byte| byte == b'\n').next().is_none_or(is_whole),
            None if header.is_some() => true,
            None => rest.split_inclusive(|&byte| byte == b'\n').any(is_whole_ready),
        };
        let more_lines = rest.iter().filter(|&&byte| byte == b'\n').count() > 1;
        if (says_ready && !ready) || (ready && more_lines) {
            let found = "a damaged record with others behind it";
            return Err(Error::mismatch(DOING, at as u64, "a record whose checksum is right", found).hint(
                "the store is damaged; take the disk back from the backups and the quarantine by hand",
            ));
        }
        let journal = header.map(|header| Self { header, intents, closed, unlinked });
        if let Some(journal) = &journal {
            journal.validate()?;
        }
        match journal {
            Some(journal) if ready => Ok(Loaded::Ready(journal)),
            other => Ok(Loaded::NeverReady(other)),
        }
    }

    /// Refuses indexes, places and lengths that point nowhere, so that no later step has to doubt them or reckon with
    /// an overflow.
    fn validate(&self) -> Result<()> {
        let volume = |file: &TouchedFile| self.header.volumes.get(file.volume);
        let inside =
            |place: u64, length: u64, size: u64| place.checked_add(length).is_some_and(|end| end <= size);
        let good_volumes = self.header.volumes.iter().all(|v| v.start.checked_add(v.size).is_some());
        let good_runs = self.header.files.iter().all(|file| {
            let whole = file.runs.iter().try_fold(0_u64, |sum, (_, length)| sum.checked_add(*length));
            let size = volume(file).map_or(0, |volume| volume.size);
            let most = if file.compressed { Some(size) } else { whole };
            whole.is_some_and(|whole| whole <= size)
                && most.is_some_and(|most| file.size <= most)
                && file.runs.iter().all(|&(place, length)| inside(place, length, size))
        });
        let in_file = |intent: &Intent| {
            self.header.files.get(intent.file).is_some_and(|file| {
                let holds = |&(start, length): &(u64, u64)| {
                    intent.place >= start && inside(intent.place - start, intent.length, length)
                };
                file.runs.iter().any(holds)
            })
        };
        let written: Option<u64> =
            self.intents.iter().try_fold(0_u64, |sum, intent| sum.checked_add(intent.length));
        if !good_volumes
            || !good_runs
            || !self.intents.iter().all(in_file)
            || written.is_none_or(|written| written > MOST_WRITTEN)
        {
            let found = "a place or length outside them";
            return Err(Error::mismatch(
                "read the journal",
                0,
                "writes inside the files that it names",
                found,
            ));
        }
        let files = self.header.files.len();
        let good_files = self.header.files.iter().all(|file| file.volume < self.header.volumes.len());
        let good_changes = self.header.changes.iter().all(|change| change.file < files)
            && self.header.unlinks.iter().all(|unlink| unlink.volume < self.header.volumes.len())
            && self.header.name_writes.iter().all(|write| {
                let size = self.header.volumes.get(write.volume).map_or(0, |volume| volume.size);
                write.before.len() == 512
                    && write.after.len() == 512
                    && write.place.is_multiple_of(512)
                    && inside(write.place, 512, size)
            })
            && self.unlinked.iter().all(|&unlink| unlink < self.header.unlinks.len());
        let good_side = |side: &Side, length: u64| match side {
            Side::Bytes(bytes) => bytes.len() as u64 == length,
            Side::Zeros | Side::Quarantined { .. } => true,
        };
        let good_intents = self.intents.iter().all(|i| {
            i.file < files
                && i.length > 0
                && i.length.is_multiple_of(512)
                && i.place.is_multiple_of(512)
                && good_side(&i.before, i.length)
                && good_side(&i.after, i.length)
        }) && self.intents.is_sorted_by_key(|i| i.group);
        if good_files && good_changes && good_intents {
            Ok(())
        } else {
            Err(Error::mismatch("read the journal", 0, "records that fit each other", "some that do not"))
        }
    }
}

/// Whether a line is all there, be its checksum right or not: a torn one lacks its end, or holds zeros of the room kept.
fn is_whole(line: &[u8]) -> bool {
    line.ends_with(b"\n") && !line.contains(&0)
}

/// Whether a line ends in a `ready` record that is all there, be its checksum right or not. One that is torn lacks its
/// end, its beginning, or digits of its checksum.
fn is_whole_ready(line: &[u8]) -> bool {
    let at = line.windows(READY.len()).position(|window| window == READY);
    let digits = at.and_then(|at| line.get(at.checked_sub(CHECKSUM)?..at));
    line.ends_with(b"\n") && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// The JSON, checksum and length of the line that `rest` begins with, if it is whole and its checksum right.
fn next_line<'a>(rest: &'a [u8], chain: &str) -> Option<(&'a str, String, usize)> {
    let length = rest.iter().position(|&byte| byte == b'\n')? + 1;
    let line = std::str::from_utf8(rest.get(..length - 1)?).ok()?;
    let (sum, json) = line.split_once(' ')?;
    (sum == checksum(chain, json)).then(|| (json, sum.to_owned(), length))
}

impl OpenJournal {
    /// Records how the run ended.
    ///
    /// # Errors
    /// The medium is failing; what was done to the disk is safe all the same.
    pub fn close(&mut self, words: &str) -> Result<()> {
        self.add(&Record::Closed { words: words.to_owned() })
    }

    /// Records which of the header's `unlinks` are gone.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub fn note_unlinked(&mut self, files: Vec<usize>) -> Result<()> {
        self.add(&Record::Unlinked { files })
    }

    /// Writes a record into the room that was kept.
    fn add(&mut self, record: &Record) -> Result<()> {
        let mut text = String::new();
        append(&mut text, &mut self.chain, record)?;
        let mut write = || -> std::io::Result<()> {
            self.file.seek(SeekFrom::Start(self.end))?;
            self.file.write_all(text.as_bytes())?;
            self.file.sync_all()
        };
        write().doing("add a record to the journal").map_err(|e| e.device(&self.path))?;
        self.end += text.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Header, Vec<Intent>) {
        let header = Header {
            schema: SCHEMA.to_owned(),
            tool: "0.1.0".to_owned(),
            run_id: "0001-20300102-030405".to_owned(),
            kind: RunKind::Clean,
            started: "2030-01-02T03:04:05Z".to_owned(),
            target: "/dev/sdx".into(),
            serial: None,
            volumes: vec![VolumeId { start: 32256, size: 1 << 20, serial: 7 }],
            files: vec![TouchedFile {
                volume: 0,
                path: WinPath::new("a"),
                id: FileId::Ntfs { record: 40, sequence: 2 },
                size: 600,
                before: Sha256::of(b"a"),
                runs: vec![(4096, 1024)],
                compressed: false,
            }],
            changes: Vec::new(),
            unlinks: Vec::new(),
            name_writes: Vec::new(),
            stored: Vec::new(),
            ready_at: 0,
        };
        let intent = |group, place, after| Intent {
            group,
            file: 0,
            place,
            length: 512,
            before: Side::Bytes(vec![1; 512]),
            after,
        };
        (header, vec![intent(0, 4096, Side::Zeros), intent(1, 4608, Side::Bytes(vec![2; 512]))])
    }

    fn created() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (header, intents) = sample();
        let mut open = Journal::create(&path, &header, &intents).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!(length, Journal::length(&header, &intents).unwrap());
        open.close("verified").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), length, "closing takes room that was kept");
        let bytes = std::fs::read(&path).unwrap();
        (folder, path, bytes)
    }

    #[test]
    fn comes_back_as_written() {
        let (_folder, path, _) = created();
        let (header, intents) = sample();
        let closed = Some("verified".to_owned());
        let Loaded::Ready(mut found) = Journal::load(&path).unwrap() else { panic!("it was made ready") };
        assert!(found.header.ready_at > 0);
        found.header.ready_at = 0;
        assert_eq!(found, Journal { header, intents, closed, unlinked: Vec::new() });
    }

    /// Every cut of the file: before `ready` is whole nothing was allowed, afterwards nothing is lost.
    #[test]
    fn a_torn_tail_is_dropped() {
        let (_folder, _path, bytes) = created();
        let text = std::str::from_utf8(&bytes).unwrap().trim_end_matches('\0');
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let ready_end: usize = lines[..4].iter().map(|line| line.len()).sum();
        for cut in 0..text.len() {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            match Journal::decode(&torn).unwrap() {
                Loaded::Ready(journal) => {
                    assert!(cut >= ready_end, "ready at {cut}");
                    assert_eq!(journal.intents, sample().1);
                    assert_eq!(journal.closed, None);
                }
                Loaded::NeverReady(_) => assert!(cut < ready_end, "not ready at {cut}"),
            }
        }
    }

    /// While the records are written their pages may arrive in any order; `ready` only after all of them.
    #[test]
    fn a_page_that_never_arrived_is_no_damage() {
        let (_folder, _path, bytes) = created();
        let text = std::str::from_utf8(&bytes).unwrap();
        let ready = text.find(" {\"record\":\"ready\"").unwrap() - CHECKSUM;
        for page in (0..ready).step_by(512) {
            let mut torn = bytes.clone();
            torn[ready..].fill(0);
            torn[page..(page + 512).min(ready)].fill(0);
            assert!(matches!(Journal::decode(&torn).unwrap(), Loaded::NeverReady(_)), "page at {page}");
        }
        let mut torn = bytes.clone();
        torn[ready..ready + 10].fill(0);
        torn[ready + 60..].fill(0);
        assert!(matches!(Journal::decode(&torn).unwrap(), Loaded::NeverReady(_)), "the beginning of `ready`");
    }

    #[test]
    fn damage_in_the_middle_is_no_torn_tail() {
        let (_folder, _path, bytes) = created();
        let second = bytes.iter().position(|&b| b == b'\n').unwrap() + 50;
        let mut damaged = bytes.clone();
        damaged[second] ^= 1;
        let error = Journal::decode(&damaged).unwrap_err().to_string();
        assert!(error.contains("damaged record"), "{error}");
        let ready = std::str::from_utf8(&bytes).unwrap().find("ready\",\"intents").unwrap();
        let mut damaged = bytes.clone();
        damaged[ready] ^= 1;
        assert!(Journal::decode(&damaged).is_err(), "`ready` itself");
        let lines: Vec<&[u8]> = bytes.split_inclusive(|&b| b == b'\n').collect();
        let dropped = [lines[0], lines[2], lines[3], lines[4]].concat();
        assert!(Journal::decode(&dropped).is_err(), "a line that is gone is seen");
    }

    #[test]
    fn numbers_that_point_nowhere_are_refused() {
        let spoil: [fn(&mut Header, &mut Vec<Intent>); 7] = [
            |header, _| header.files[0].volume = 5,
            |header, _| header.files[0].runs = vec![(u64::MAX - 512, 1024)],
            |header, _| header.volumes[0].start = u64::MAX - 5,
            |header, _| header.files[0].size = 1 << 40,
            |_, intents| intents[0].place = u64::MAX - 511,
            |_, intents| intents[0].place = 8192,
            |_, intents| {
                intents[0].length = 1 << 42;
                intents[0].before = Side::Zeros;
            },
        ];
        for (case, spoil) in spoil.into_iter().enumerate() {
            let (mut header, mut intents) = sample();
            spoil(&mut header, &mut intents);
            let folder = tempfile::tempdir().unwrap();
            let error = Journal::create(&folder.path().join("journal"), &header, &intents).unwrap_err();
            assert!(error.to_string().contains("journal"), "case {case}: {error}");
        }
    }
}

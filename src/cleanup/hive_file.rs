//! A hive of the patient as it will be once its transaction log is replayed: what every step reads, and what apply makes
//! of it on the disk.

use crate::change::HiveRole;
use crate::cleanup::inspect::MAX_HIVE;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::hive::log::{Log, replay, replay_script};
use crate::hive::script::Group;
use crate::hive::{BASE_BLOCK, Hive};
use crate::memory;
use crate::path::WinPath;
use crate::volume::{FileFacts, FileSystem};
use crate::windows::install::config_hive;

/// A hive, read.
pub struct HiveFile {
    /// The hive as it is, or as it is after its log.
    pub hive: Hive,
    /// Digest of the file as it is.
    pub sha256: Sha256,
    /// What the log adds, where the hive was dirty.
    pub replayed: Option<Replayed>,
}

/// A log that a dirty hive needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Pages of 512 bytes that it writes.
    pub pages: usize,
    /// Why the hive is dirty, in words.
    pub why: String,
}

/// The log of a hive, by its place beside it: `software.LOG`. None where there is no such file.
pub fn find_log(volume: &dyn FileSystem, hive: &WinPath) -> Result<Option<FileFacts>> {
    volume.find(&WinPath::new(&format!("{}.LOG", hive.as_str())))
}

/// Memory for a hive's file of this size, to be read, edited or taken back: one copy of it, what the checker, the proof by trees
/// and the list of free cells keep (measured: a twentieth), and what the program takes beside it.
pub fn memory_for(size: u64) -> u64 {
    size.saturating_add(size / 8).saturating_add(memory::LEAST)
}

/// Refuses a hive for which the machine has too little memory, be it to be read or to be cleaned: so that what was begun can be
/// ended. The kernel would end the program in the middle of it.
///
/// # Errors
/// There is less, with both figures.
pub fn refuse_lack(facts: &FileFacts) -> Result<()> {
    // The second reader takes SYSTEM.ALT for a hive only as a copy.
    let copies =
        1 + u64::from(config_hive(&facts.path).is_some_and(|(_, role)| role == HiveRole::SystemAlternate));
    let needed = memory_for(facts.size.saturating_mul(copies));
    memory::refuse_lack("read the hive and clean it", needed).map_err(|error| error.path(&facts.path))
}

/// Reads a hive; one that is dirty as its log completes it.
///
/// # Errors
/// The file cannot be read or is no hive; it is dirty, and no log that applies to it lies beside it; the machine has too little
/// memory.
pub fn read(volume: &dyn FileSystem, facts: &FileFacts) -> Result<HiveFile> {
    refuse_lack(facts)?;
    let bytes = volume.read(facts.id, MAX_HIVE).map_err(|e| e.path(&facts.path))?;
    let sha256 = Sha256::of(&bytes);
    let (hive, replayed) = settle(volume, &facts.path, bytes)?;
    Ok(HiveFile { hive, sha256, replayed })
}

/// A hive's file as it will be after its log, where it needs one.
///
/// # Errors
/// It is no hive; it is dirty, and no log that applies to it lies beside it.
pub fn settle(volume: &dyn FileSystem, path: &WinPath, bytes: Vec<u8>) -> Result<(Hive, Option<Replayed>)> {
    let Some(why) = dirty(&bytes) else {
        return Ok((Hive::parse(bytes).map_err(|e| e.path(path))?, None));
    };
    let log = log_for(volume, path, &why)?;
    let bytes = replay(bytes, &log).map_err(|error| refused(path, &why, error))?;
    let hive = Hive::parse(bytes).map_err(|e| e.path(path))?;
    match hive.dirty() {
        Some(still) => {
            Err(Error::refused("read the hive", format!("it is dirty after its log too ({still})"))
                .path(path))
        }
        None => Ok((hive, Some(Replayed { pages: log.pages(), why }))),
    }
}

/// The groups of sectors that replay the log on the disk; none for a hive that is clean.
///
/// # Errors
/// As [`settle`]; and the hive would grow beyond its file.
pub fn script(volume: &dyn FileSystem, path: &WinPath, bytes: &[u8]) -> Result<Vec<Group>> {
    match dirty(bytes) {
        None => Ok(Vec::new()),
        Some(why) => {
            replay_script(bytes, &log_for(volume, path, &why)?).map_err(|error| refused(path, &why, error))
        }
    }
}

/// Why a hive's file needs its log. A base block that cannot be believed counts: the log may hold a good one. What is no
/// hive at all, or shorter than a base block, is left to the reader's own words.
fn dirty(bytes: &[u8]) -> Option<String> {
    let is_hive = bytes.starts_with(b"regf") && bytes.len() >= BASE_BLOCK;
    Hive::dirty_base_block(bytes).filter(|_| is_hive)
}

fn log_for(volume: &dyn FileSystem, path: &WinPath, why: &str) -> Result<Log> {
    let found = find_log(volume, path)?;
    let facts = found.ok_or_else(|| {
        refused(path, why, Error::refused("replay the transaction log", "there is no log beside it"))
    })?;
    let bytes = volume.read(facts.id, MAX_HIVE).map_err(|e| e.path(&facts.path))?;
    Log::parse(bytes).map_err(|error| refused(path, why, error.path(&facts.path)))
}

fn refused(path: &WinPath, why: &str, error: Error) -> Error {
    error
        .within(format!("read the hive, which is dirty ({why})"))
        .path(path)
        .hint("start that Windows once and shut it down properly, then scan again")
}

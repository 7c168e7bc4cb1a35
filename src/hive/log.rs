//! Transaction logs (`SOFTWARE.LOG`): completing what Windows was doing to a hive when it was stopped.
//!
//! A log of type 1 (Windows XP to 7) or 2 (NT 4.0, 2000) holds a copy of the hive's base block, a bitmap behind the
//! word DIRT with a bit for each 512-byte page of the bins, and those pages. Spec, "Old format". Windows writes it
//! before it writes to the hive, and brings the hive from it to its new state when it finds the hive dirty. A log of
//! type 6 (Windows 8.1 and later, log entries HvLE) is recognised, and refused when it would have to be replayed.
//!
//! [`replay`] does so in memory, for reading; [`replay_script`] as groups of sectors: the pages, in any order, then
//! the base block. Until that last sector is written the hive is dirty and this log, which is left alone, applies
//! to it, so that whatever cuts the replay, the next one finishes it.

use super::cell::{BASE_BLOCK, byte_range, span, u32_at, u64_at};
use super::script::{Group, SECTOR, SectorPatch, Step, put};
use super::{BINS_SIZE, CHECKSUM, LAST_WRITTEN, ROOT, SEQUENCE_1, SEQUENCE_2, checksum};
use crate::change::utf16_units;
use crate::error::{Error, Result};

/// Place of the word DIRT, and of the bitmap.
const DIRTY_VECTOR: usize = SECTOR;
const BITMAP: usize = DIRTY_VECTOR + 4;
/// Where the base block has the minor version and the type of file.
const MINOR: usize = 24;
const TYPE: usize = 28;
/// The name of the hive's file, or the end of a long one, in UTF-16. Spec, "Base block".
const NAME: usize = 48;
const NAME_LENGTH: usize = 64;
/// Time of last writing in the first hive bin: a copy of the one in the base block. Spec, "Hive bin".
const BIN_TIME: usize = 20;

/// How a log holds what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Dirty pages behind a bitmap: NT 4.0 to Windows 7.
    Dirt,
    /// Log entries: Windows 8.1 and later.
    HvLe,
}

/// A transaction log, its base block and bitmap validated.
pub struct Log {
    bytes: Vec<u8>,
    kind: Kind,
    /// Numbers of the dirty pages, counted in 512 bytes from the first hive bin, rising.
    pages: Vec<u32>,
    /// Where in the log the first of them is.
    first_page: usize,
}

impl Log {
    /// Takes a whole log file. That pages are missing at its end is told by [`Log::applies_to`], since the log of a
    /// clean hive may well be cut short.
    ///
    /// Errors: no log, an empty one, or one that Windows had not finished.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        const DOING: &str = "read the transaction log";
        let wrong = |at: usize, expected: &str, found: String| {
            Err(Error::mismatch(DOING, at as u64, expected, found))
        };
        if bytes.len() < SECTOR {
            return wrong(0, "a base block of 512 bytes", format!("a file of {} bytes", bytes.len()));
        }
        let field = |at| u32_at(&bytes, at).unwrap_or(u32::MAX);
        if !bytes.starts_with(b"regf") {
            return wrong(0, "signature \"regf\"", format!("{:#010x}", field(0)));
        }
        let kind = match field(TYPE) {
            1 | 2 => Kind::Dirt,
            6 => Kind::HvLe,
            0 => return wrong(TYPE, "file type 1, 2 or 6 (log)", "0, which is a hive and no log".into()),
            other => return wrong(TYPE, "file type 1, 2 or 6 (log)", format!("{other:#x}")),
        };
        if field(CHECKSUM) != checksum(&bytes) {
            let expected = format!("checksum {:#010x}", checksum(&bytes));
            return wrong(CHECKSUM, &expected, format!("{:#010x}", field(CHECKSUM)));
        }
        let mut log = Self { kind, pages: Vec::new(), first_page: 0, bytes: Vec::new() };
        if kind == Kind::HvLe {
            return Ok(Self { bytes, ..log });
        }
        let (one, two) = (field(SEQUENCE_1), field(SEQUENCE_2));
        if one != two {
            let why =
                format!("Windows had not finished writing it: its sequence numbers are {one} and {two}");
            return Err(
                Error::refused(DOING, why).hint("the hive is then as it was before; no log is needed")
            );
        }
        if field(20) != 1 || !(3..=6).contains(&field(MINOR)) || field(32) != 1 {
            let found = format!("{}.{}, format {}", field(20), field(MINOR), field(32));
            return wrong(20, "version 1.3 to 1.6, format 1", found);
        }
        let bins = field(BINS_SIZE);
        if bins == 0 || bins % 4096 != 0 || bins >= 0x8000_0000 {
            let expected = "size of the bins a multiple of 4096 above 0, below 2 GiB";
            return wrong(BINS_SIZE, expected, format!("{bins:#x}"));
        }
        if byte_range(&bytes, DIRTY_VECTOR, 4) != Some(b"DIRT") {
            let found = byte_range(&bytes, DIRTY_VECTOR, 4).unwrap_or_default();
            return wrong(DIRTY_VECTOR, "the word DIRT of a dirty vector", format!("bytes {found:02x?}"));
        }
        let length = bins as usize / SECTOR / 8;
        let Some(bitmap) = byte_range(&bytes, BITMAP, length) else {
            let expected = format!("a dirty vector of {length} bytes");
            return wrong(BITMAP, &expected, format!("a log that ends at byte {:#x}", bytes.len()));
        };
        for (byte, at) in bitmap.iter().zip((0..).step_by(8)) {
            log.pages.extend((0..8).filter(|bit| byte >> bit & 1 == 1).map(|bit| at + bit));
        }
        log.first_page = (BITMAP + length).next_multiple_of(SECTOR);
        Ok(Self { bytes, ..log })
    }

    /// How it holds what it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many pages of 512 bytes it would write.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Length in bytes that the hive's file must have to be brought to the state that the log tells of.
    pub fn file_length(&self) -> u64 {
        BASE_BLOCK as u64 + u64::from(self.field(BINS_SIZE))
    }

    /// Whether replaying this log is what Windows would do to the hive, whose whole file is given; the error says
    /// why not.
    ///
    /// The hive must be dirty; the log whole; and of the same writing as the hive: its time is that of the hive's base
    /// block, or of the first hive bin where the base block itself is damaged. Stricter than Windows, where the base
    /// block is good: version, root key and name must be the same too, as they are in a copy of it.
    pub fn applies_to(&self, hive: &[u8]) -> Result<()> {
        let refused = |why: String| Err(Error::refused("replay the transaction log", why));
        let intact = is_intact(hive);
        let base = |at| u32_at(hive, at).unwrap_or_default();
        if intact && base(TYPE) != 0 {
            return refused("the file to be completed is itself a log".into());
        }
        if intact && base(SEQUENCE_1) == base(SEQUENCE_2) {
            return refused(
                "the hive is clean; the log tells of what the hive already has, or of less".into(),
            );
        }
        if self.kind == Kind::HvLe {
            let why =
                "the log is one of Windows 8.1 or later (log entries, HvLE), which are not replayed here";
            return Err(Error::refused("replay the transaction log", why)
                .hint("start that Windows once and shut it down properly"));
        }
        let end = self.first_page + self.pages.len() * SECTOR;
        if end > self.bytes.len() {
            let (pages, length) = (self.pages.len(), self.bytes.len());
            return refused(format!("it is cut short: {pages} pages need {end} bytes, it has {length}"));
        }
        let Some(bin) = byte_range(hive, BASE_BLOCK, 32).filter(|bin| bin.starts_with(b"hbin")) else {
            return refused("where the first hive bin should be in the hive there is none".into());
        };
        let time = self.time();
        let (place, found) = match intact {
            true => ("base block", u64_at(hive, LAST_WRITTEN)),
            false => ("first hive bin (its base block is damaged)", u64_at(bin, BIN_TIME)),
        };
        if found != Some(time) {
            let found = found.unwrap_or_default();
            return refused(format!(
                "it is of another writing: it has the time {time:#x}, the hive's {place} has {found:#x}"
            ));
        }
        // Else a replay that is cut behind this page could not be begun again, and one that is not would leave no hive.
        if self.dirty_pages().any(|(at, page)| at == BASE_BLOCK && !page.starts_with(b"hbin")) {
            return refused("its page for the first hive bin holds none".into());
        }
        if !intact && self.dirty_pages().any(|(at, page)| at == BASE_BLOCK && u64_at(page, BIN_TIME) != found)
        {
            return refused("its first hive bin has another time than its base block".into());
        }
        if intact {
            for (at, what) in [(MINOR, "minor version"), (ROOT, "cell of the root key")] {
                if base(at) != self.field(at) {
                    let (ours, theirs) = (self.field(at), base(at));
                    return refused(format!(
                        "it is another hive's: its {what} is {ours:#x}, the hive's {theirs:#x}"
                    ));
                }
            }
            let (ours, theirs) = (name(&self.bytes), name(hive));
            if !ours.is_empty() && !theirs.is_empty() && ours != theirs {
                return refused(format!("it is another hive's: it is of {ours:?}, the hive is {theirs:?}"));
            }
        }
        Ok(())
    }

    fn field(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at).unwrap_or_default()
    }

    fn time(&self) -> u64 {
        u64_at(&self.bytes, LAST_WRITTEN).unwrap_or_default()
    }

    /// Each dirty page, with its place in the hive's file.
    fn dirty_pages(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.pages.iter().zip(0..).filter_map(|(&page, index)| {
            let bytes = byte_range(&self.bytes, self.first_page + index * SECTOR, SECTOR)?;
            Some((BASE_BLOCK + page as usize * SECTOR, bytes))
        })
    }

    /// The base block's first sector as it will be: the hive's own where it is good, else the log's copy of it.
    fn base_block(&self, hive: &[u8]) -> Vec<u8> {
        let intact = is_intact(hive);
        let (from, sequence) = match intact {
            true => (hive, u32_at(hive, SEQUENCE_1).unwrap_or_default()),
            false => (self.bytes.as_slice(), self.field(SEQUENCE_1).wrapping_add(1)),
        };
        let mut sector = from.get(..SECTOR).unwrap_or_default().to_vec();
        for (at, word) in
            [(SEQUENCE_1, sequence), (SEQUENCE_2, sequence), (TYPE, 0), (BINS_SIZE, self.field(BINS_SIZE))]
        {
            put(&mut sector, at, &word.to_le_bytes());
        }
        let sum = checksum(&sector);
        put(&mut sector, CHECKSUM, &sum.to_le_bytes());
        sector
    }
}

/// The hive's whole file as it is after the log, for reading.
///
/// Errors: the log does not apply ([`Log::applies_to`]); the file is too short for the hive that the log tells of, and
/// the log does not hold all of what is missing.
pub fn replay(mut hive: Vec<u8>, log: &Log) -> Result<Vec<u8>> {
    log.applies_to(&hive)?;
    let sector = log.base_block(&hive);
    let length = usize::try_from(log.file_length()).unwrap_or(usize::MAX);
    if hive.len() < length {
        let missing = (length - hive.len()).div_ceil(SECTOR);
        let held = log.dirty_pages().filter(|(at, _)| at + SECTOR > hive.len()).count();
        if held < missing {
            let why = format!("the hive lacks {missing} pages at its end, of which the log holds {held}");
            return Err(Error::refused("replay the transaction log", why));
        }
        hive.resize(length, 0);
    }
    for (at, page) in log.dirty_pages() {
        put(&mut hive, at, page);
    }
    put(&mut hive, 0, &sector);
    Ok(hive)
}

/// The sectors that do the same to the file; a group of pages (where any differ), then the base block alone.
///
/// Errors: as [`replay`]; and a file shorter than [`Log::file_length`], which its owner may make longer first.
pub fn replay_script(hive: &[u8], log: &Log) -> Result<Vec<Group>> {
    log.applies_to(hive)?;
    if (hive.len() as u64) < log.file_length() {
        let (wanted, found) = (log.file_length(), hive.len());
        let why = format!(
            "the hive grows to {wanted} bytes by it, and its file has {found}; it must not grow here"
        );
        return Err(Error::refused("replay the transaction log", why)
            .hint("start that Windows once and shut it down properly, then scan again"));
    }
    let patch = |at: usize, after: &[u8]| {
        let before = span(at, SECTOR).and_then(|range| hive.get(range))?;
        let (before, after) = (before.to_vec(), after.to_vec());
        (before != after).then_some(SectorPatch { offset: at as u64, before, after })
    };
    let pages: Vec<SectorPatch> = log.dirty_pages().filter_map(|(at, page)| patch(at, page)).collect();
    let header: Vec<SectorPatch> = patch(0, &log.base_block(hive)).into_iter().collect();
    let mut groups = Vec::new();
    for (step, sectors) in [(Step::Pages, pages), (Step::Header, header)] {
        if !sectors.is_empty() {
            groups.push(Group { edit: 0, step, sectors });
        }
    }
    Ok(groups)
}

/// Whether the base block can be believed.
fn is_intact(hive: &[u8]) -> bool {
    hive.starts_with(b"regf") && u32_at(hive, CHECKSUM) == Some(checksum(hive))
}

/// The name of the hive's file as a base block has it.
fn name(base_block: &[u8]) -> String {
    let field = byte_range(base_block, NAME, NAME_LENGTH).unwrap_or_default();
    let units: Vec<u16> = utf16_units(field).take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units)
}

//! Registry hives as files: reading, checking and editing them, with no knowledge of what Windows keeps in them.
//!
//! - [`Hive`]: the whole file in memory, its base block validated.
//! - [`read`]: keys and values. [`check`]: everything that Windows or a stricter reader would find amiss.
//! - [`log`]: the transaction log that completes a dirty hive. [`edit`]: values set and deleted, keys created. Both
//!   as ordered groups of sectors ([`script`]), safe to be cut anywhere.
//! - [`tree`]: proof that the difference between two states is exactly the edits. [`second`]: a reader not ours.
//!
//! Limits, on purpose: keys are never deleted, and nothing here does I/O.
//! Source: the regf specification by msuhanov (below: spec); the words are its words.

use crate::error::{Error, Result};

mod alloc;
mod cell;
pub mod check;
pub mod edit;
pub mod log;
mod name;
pub mod read;
pub mod script;
pub mod second;
pub mod tree;

pub use cell::{BASE_BLOCK, CellOffset};
use cell::{byte_range, u32_at, u64_at};

/// Fields of the base block that more than one file needs. Spec, "Base block".
const SEQUENCE_1: usize = 4;
const SEQUENCE_2: usize = 8;
const LAST_WRITTEN: usize = 12;
const FILE_TYPE: usize = 28;
const ROOT: usize = 36;
const BINS_SIZE: usize = 40;
const CHECKSUM: usize = 508;

/// The whole file of one hive.
#[derive(Clone)]
pub struct Hive {
    bytes: Vec<u8>,
    /// End of the bins, from the start of the file; bytes behind it are no part of the hive but are kept.
    end: usize,
}

impl Hive {
    /// Takes a whole file and validates its base block. A dirty hive is accepted; see [`Hive::dirty`].
    ///
    /// Errors: the file is no hive file (primary, or the alternate of SYSTEM) of version 1.3 to 1.6, or is shorter than its bins.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        const DOING: &str = "read the base block";
        if bytes.len() < BASE_BLOCK {
            let found = format!("a file of {} bytes", bytes.len());
            return Err(Error::mismatch(DOING, 0, format!("a base block of {BASE_BLOCK} bytes"), found));
        }
        if !bytes.starts_with(b"regf") {
            let found = format!("bytes {:02x?}", bytes.get(..4).unwrap_or_default());
            return Err(Error::mismatch(DOING, 0, "signature \"regf\"", found));
        }
        let field = |at: usize, name: &str, expected: &str, good: fn(u32) -> bool| {
            let found = u32_at(&bytes, at).unwrap_or(u32::MAX);
            match good(found) {
                true => Ok(found),
                false => Err(Error::mismatch(
                    DOING,
                    at as u64,
                    format!("{name} {expected}"),
                    format!("{found:#x}"),
                )),
            }
        };
        field(20, "major version", "1", |n| n == 1)?;
        field(24, "minor version", "3 to 6", |n| (3..=6).contains(&n))?;
        if bytes.get(512..516) == Some(b"DIRT") {
            return Err(Error::mismatch(DOING, 512, "a hive", "the dirty vector of a transaction log"));
        }
        field(FILE_TYPE, "file type", "0 (primary) or 1 (SYSTEM.ALT)", |n| n <= 1)?;
        field(32, "file format", "1", |n| n == 1)?;
        let size = field(BINS_SIZE, "size of the bins", "a multiple of 4096 above 0, below 2 GiB", |n| {
            n != 0 && n % 4096 == 0 && n < 0x8000_0000
        })?;
        let end = BASE_BLOCK + size as usize;
        if end > bytes.len() {
            let found = format!("a file of {} bytes", bytes.len());
            return Err(Error::mismatch(DOING, BINS_SIZE as u64, format!("bins up to byte {end}"), found)
                .hint("the file is cut short; restore the hive from a backup"));
        }
        Ok(Self { bytes, end })
    }

    /// Why the hive is dirty, in words; none when it is clean. What a dirty hive holds may be a half-made change,
    /// which its transaction log completes.
    pub fn dirty(&self) -> Option<String> {
        Self::dirty_base_block(&self.bytes)
    }

    /// The same of a file that need not be a hive yet: its log may bring it a base block that can be believed.
    pub fn dirty_base_block(bytes: &[u8]) -> Option<String> {
        let field = |at| u32_at(bytes, at).unwrap_or_default();
        let (stored, computed) = (field(CHECKSUM), checksum(bytes));
        if stored != computed {
            return Some(format!("the checksum is {stored:#010x}, computed {computed:#010x}"));
        }
        let (one, two) = (field(SEQUENCE_1), field(SEQUENCE_2));
        (one != two).then(|| format!("the sequence numbers differ: {one} and {two}"))
    }

    /// Minor version, 3 to 6: NT 4.0, 2000 and all user hives have 3, system hives of XP and 2003 have 5.
    pub fn minor(&self) -> u32 {
        self.base(24)
    }

    /// When the hive was last written, as a FILETIME: 100 ns since 1601.
    pub fn last_written(&self) -> u64 {
        u64_at(&self.bytes, LAST_WRITTEN).unwrap_or_default()
    }

    /// The whole file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A field of the base block.
    fn base(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at).unwrap_or_default()
    }

    /// The bins, without base block and without what may follow them in the file.
    fn bins(&self) -> &[u8] {
        self.bytes.get(BASE_BLOCK..self.end).unwrap_or_default()
    }

    /// The body of an allocated cell, from behind its size to its end.
    fn cell(&self, at: CellOffset, what: &str) -> Result<&[u8]> {
        let wrong = |expected: &str, found: String| {
            Err(Error::mismatch(format!("read the {what}"), at.file_offset(), expected, found))
        };
        if !at.raw().is_multiple_of(8) {
            return wrong("a cell at a multiple of 8", format!("offset {:#x}", at.raw()));
        }
        let bins = self.bins();
        let start = at.raw() as usize;
        let Some(size) = u32_at(bins, start) else {
            return wrong("a cell inside the bins", format!("bins of {:#x} bytes", bins.len()));
        };
        let length = size.wrapping_neg() as usize;
        if size < 0x8000_0000 {
            return wrong("an allocated cell", format!("size {size:#x}, which is free"));
        }
        if !length.is_multiple_of(8) {
            return wrong("a cell size that is a multiple of 8", format!("{length}"));
        }
        match byte_range(bins, start, length).and_then(|cell| cell.get(4..)) {
            Some(body) => Ok(body),
            None => wrong("a cell that ends inside the bins", format!("a size of {length} bytes")),
        }
    }
}

/// The checksum that a base block must have. Spec, "Base block": the XOR of the 127 words before it, where 0 and
/// 0xFFFFFFFF are given neighbouring values, being reserved.
fn checksum(base_block: &[u8]) -> u32 {
    let words = base_block.get(..CHECKSUM).unwrap_or_default().as_chunks::<4>().0;
    match words.iter().fold(0, |sum, word| sum ^ u32::from_le_bytes(*word)) {
        0 => 1,
        0xFFFF_FFFF => 0xFFFF_FFFE,
        sum => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base_block() -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        bytes[..4].copy_from_slice(b"regf");
        for (at, value) in [(20, 1_u32), (24, 5), (32, 1), (BINS_SIZE, 4096)] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let sum = checksum(&bytes);
        bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn each_field_of_the_base_block_is_refused_with_its_place() {
        assert!(Hive::parse(base_block()).unwrap().dirty().is_none());
        for (at, value, words) in [
            (0, 0, "offset 0x0): expected signature \"regf\""),
            (20, 2, "offset 0x14): expected major version 1, found 0x2"),
            (24, 2, "offset 0x18): expected minor version 3 to 6, found 0x2"),
            (28, 2, "offset 0x1c): expected file type 0 (primary) or 1 (SYSTEM.ALT), found 0x2"),
            (32, 0, "offset 0x20): expected file format 1, found 0x0"),
            (40, 100, "offset 0x28): expected size of the bins a multiple of 4096"),
            (40, 8192, "expected bins up to byte 12288, found a file of 8192 bytes"),
        ] {
            let mut bytes = base_block();
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            let error = Hive::parse(bytes).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(Hive::parse(vec![]).is_err());
    }

    #[test]
    fn dirty_says_why() {
        let mut bytes = base_block();
        bytes[SEQUENCE_1] = 7;
        let words = Hive::parse(bytes.clone()).unwrap().dirty().unwrap();
        assert!(words.starts_with("the checksum is 0x"), "{words}");
        let sum = checksum(&bytes);
        bytes[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
        let words = Hive::parse(bytes).unwrap().dirty().unwrap();
        assert_eq!(words, "the sequence numbers differ: 7 and 0");
    }

    #[test]
    fn reserved_checksums_are_replaced() {
        assert_eq!(checksum(&[0; 512]), 1);
        let mut block = [0; 512];
        block[..4].fill(0xFF);
        assert_eq!(checksum(&block), 0xFFFF_FFFE);
    }
}

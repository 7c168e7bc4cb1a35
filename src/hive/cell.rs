//! Places and bytes: where a cell lies, and how fields are taken out of it without ever reading past its end.
//!
//! Source: the regf specification by msuhanov (below: spec), "Hive bin" and "Cell".

use std::fmt;
use std::ops::Range;

/// Length in bytes of the base block; offsets of cells count from behind it.
pub const BASE_BLOCK: usize = 4096;

/// What stands in a file where there is no cell.
pub(super) const NIL: u32 = 0xFFFF_FFFF;

/// Place of a cell, in bytes from the first hive bin. Never 0xFFFFFFFF, which means "no cell".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellOffset(u32);

impl CellOffset {
    /// The offset as a field of the hive holds it; none for 0xFFFFFFFF.
    pub fn new(raw: u32) -> Option<Self> {
        (raw != NIL).then_some(Self(raw))
    }

    /// The offset as a field of the hive holds it.
    pub fn raw(self) -> u32 {
        self.0
    }

    /// Bytes from the start of the file: the one place that adds the base block.
    pub fn file_offset(self) -> u64 {
        u64::from(self.0) + BASE_BLOCK as u64
    }
}

impl fmt::Display for CellOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.file_offset())
    }
}

/// The bytes `start..start + length`, or none where they do not all exist.
pub(super) fn byte_range(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(span(start, length)?)
}

/// `start..start + length` without overflow.
pub(super) fn span(start: usize, length: usize) -> Option<Range<usize>> {
    Some(start..start.checked_add(length)?)
}

/// A little-endian 16-bit field.
pub(super) fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    Some(u16::from_le_bytes(byte_range(bytes, start, 2)?.try_into().ok()?))
}

/// A little-endian 32-bit field.
pub(super) fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    Some(u32::from_le_bytes(byte_range(bytes, start, 4)?.try_into().ok()?))
}

/// A little-endian 64-bit field.
pub(super) fn u64_at(bytes: &[u8], start: usize) -> Option<u64> {
    Some(u64::from_le_bytes(byte_range(bytes, start, 8)?.try_into().ok()?))
}

/// Offsets of fields from the start of a cell's body, i.e. from behind its four-byte size. Spec, "Key node".
pub(super) mod nk {
    pub(in crate::hive) const FLAGS: usize = 2;
    pub(in crate::hive) const LAST_WRITTEN: usize = 4;
    pub(in crate::hive) const PARENT: usize = 16;
    pub(in crate::hive) const SUBKEYS: usize = 20;
    pub(in crate::hive) const SUBKEYS_LIST: usize = 28;
    pub(in crate::hive) const VOLATILE_LIST: usize = 32;
    /// Count of values, then at +4 the offset of their list: an aligned pair of eight bytes.
    pub(in crate::hive) const VALUES: usize = 36;
    pub(in crate::hive) const VALUES_LIST: usize = 40;
    pub(in crate::hive) const SECURITY: usize = 44;
    pub(in crate::hive) const CLASS: usize = 48;
    /// Longest name of a subkey, in bytes of UTF-16; the upper half holds flags from Windows XP SP3 on.
    pub(in crate::hive) const MAX_NAME: usize = 52;
    pub(in crate::hive) const MAX_VALUE_NAME: usize = 60;
    pub(in crate::hive) const MAX_VALUE_DATA: usize = 64;
    pub(in crate::hive) const NAME_LENGTH: usize = 72;
    pub(in crate::hive) const CLASS_LENGTH: usize = 74;
    pub(in crate::hive) const NAME: usize = 76;

    /// Flag: the key is the root of its hive.
    pub(in crate::hive) const ROOT: u16 = 0x4;
    /// Flag: the name is Latin-1, one byte a character.
    pub(in crate::hive) const COMPRESSED: u16 = 0x20;
    /// Flag: a predefined handle; the count of values is then a handle and there is no list.
    pub(in crate::hive) const PREDEFINED: u16 = 0x40;
}

/// The same for key values. Spec, "Key value".
pub(super) mod vk {
    pub(in crate::hive) const NAME_LENGTH: usize = 2;
    /// Length of the data, then at +4 the data or its cell: an aligned pair of eight bytes.
    pub(in crate::hive) const LENGTH: usize = 4;
    pub(in crate::hive) const DATA: usize = 8;
    pub(in crate::hive) const TYPE: usize = 12;
    pub(in crate::hive) const FLAGS: usize = 16;
    pub(in crate::hive) const NAME: usize = 20;

    /// Flag: the name is Latin-1, one byte a character.
    pub(in crate::hive) const COMPRESSED: u16 = 1;
    /// Bit of the length: the data, at most four bytes, stands in the data field itself.
    pub(in crate::hive) const INLINE: u32 = 0x8000_0000;
}

/// Most data bytes that one cell holds where big data exists (minor version above 3). Spec, "Big data".
pub(super) const SEGMENT: usize = 16344;

/// Most levels of keys that Windows loads.
pub(super) const MAX_DEPTH: usize = 512;

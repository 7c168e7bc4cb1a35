//! Entries of a directory: 8.3 names, the long names before them, deleted ones told apart. Sources: Microsoft's FAT
//! specification (fatgen103) 6 and 7; the letter case flags of Windows NT as the kernel's vfat driver documents them.

use std::ops::Range;

use super::boot::ENTRY;
use crate::path::same_name;
use crate::volume::bytes::{len_of, u8_at, u16_at, u32_at};
use crate::volume::record::text;

/// Attribute bits.
const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
/// How many entries a long name has at most.
const LONG_NAME_LIMIT: u8 = 20;
/// UTF-16 units in one entry of a long name.
const UNITS: usize = 13;
/// 1601-01-01 to 1980-01-01 in days.
const DAYS_TO_1980: u64 = 138_426;

/// One file or directory of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its entries in the directory's bytes, those of the long name first, the 8.3 one last.
    pub(super) bytes: Range<usize>,
    /// The name that Windows shows: the long one, or else the 8.3 one.
    pub(super) name: String,
    /// The 8.3 name beside a long one that differs from it.
    pub(super) short_name: Option<String>,
    /// Attribute bits.
    pub(super) attributes: u8,
    /// First cluster; 0 where it has no data.
    pub(super) cluster: u32,
    /// Size in bytes; 0 for a directory.
    pub(super) size: u64,
    /// Created, modified, (never told), accessed: units of 100 ns since 1601, as the clock on the wall showed them.
    pub(super) times: [u64; 4],
}

impl Entry {
    /// Byte in the directory where the 8.3 entry stands.
    pub(super) fn at(&self) -> usize {
        self.bytes.end.saturating_sub(len_of(ENTRY))
    }

    pub(super) fn is_directory(&self) -> bool {
        self.attributes & DIRECTORY != 0
    }

    /// Whether it is `.` or `..`, which name directories that have their own entries elsewhere.
    pub(super) fn is_dot(&self) -> bool {
        self.name == "." || self.name == ".."
    }

    /// Whether a name means this entry, letter case left out of account.
    pub(super) fn is_named(&self, name: &str) -> bool {
        same_name(&self.name, name) || self.short_name.as_deref().is_some_and(|short| same_name(short, name))
    }
}

/// What stands in a directory's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Files and directories, in their order.
    pub(super) entries: Vec<Entry>,
    /// The volume label, where there is one (in the root directory).
    pub(super) label: Option<String>,
}

/// Whether the end mark stands in these bytes of a directory: no reader looks behind it.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    bytes.chunks_exact(len_of(ENTRY)).any(|entry| entry.first() == Some(&0))
}

/// Takes the bytes of a directory apart. `wide` says whether entries have 32-bit cluster numbers (FAT32); elsewhere OS/2
/// and Windows NT keep something else in the upper half.
pub(super) fn list(bytes: &[u8], wide: bool) -> Listing {
    let mut listing = Listing::default();
    let mut long = LongName::default();
    for (index, entry) in bytes.chunks_exact(len_of(ENTRY)).enumerate() {
        let at = index * len_of(ENTRY);
        let (first, attributes) = (u8_at(entry, 0).unwrap_or(0), u8_at(entry, 11).unwrap_or(0));
        match first {
            0 => break,
            0xe5 => long = LongName::default(),
            _ if attributes & 0x3f == LONG_NAME => long.add(entry, at),
            _ if attributes & LABEL != 0 => {
                long = LongName::default();
                let label = oem_text(entry.get(..11).unwrap_or_default());
                listing.label.get_or_insert(label.trim_end().to_owned());
            }
            _ => {
                let (before, name) = std::mem::take(&mut long).of(entry, at);
                listing.entries.push(read(entry, before..at + len_of(ENTRY), name, wide));
            }
        }
    }
    listing
}

fn read(entry: &[u8], bytes: Range<usize>, long: Option<String>, wide: bool) -> Entry {
    let narrow = |at| u32::from(u16_at(entry, at).unwrap_or(0));
    let short = short_name(entry, long.is_none());
    let attributes = u8_at(entry, 11).unwrap_or(0);
    let date = |at| u16_at(entry, at).unwrap_or(0);
    Entry {
        bytes,
        short_name: long.as_ref().filter(|long| !same_name(long, &short)).map(|_| short.clone()),
        name: long.unwrap_or(short),
        attributes,
        cluster: narrow(26) | if wide { narrow(20) << 16 } else { 0 },
        size: if attributes & DIRECTORY == 0 { u64::from(u32_at(entry, 28).unwrap_or(0)) } else { 0 },
        times: [
            file_time(date(16), date(14), u8_at(entry, 13).unwrap_or(0)),
            file_time(date(24), date(22), 0),
            0,
            file_time(date(18), 0, 0),
        ],
    }
}

/// The 8.3 name; in small letters where Windows NT's flags say so and no long name says otherwise.
fn short_name(entry: &[u8], honour_case: bool) -> String {
    let mut raw: Vec<u8> = entry.get(..11).unwrap_or_default().to_vec();
    // 0xe5 means deleted, so a name that begins with it begins with 5 instead.
    if let Some(first) = raw.first_mut().filter(|first| **first == 5) {
        *first = 0xe5;
    }
    let case = if honour_case { u8_at(entry, 12).unwrap_or(0) } else { 0 };
    let part = |range: Range<usize>, flag: u8| {
        let text = oem_text(raw.get(range).unwrap_or_default());
        let text = text.trim_end_matches(' ');
        if case & flag != 0 { text.to_lowercase() } else { text.to_owned() }
    };
    match (part(0..8, 0x08), part(8..11, 0x10)) {
        (base, extension) if extension.is_empty() => base,
        (base, extension) => format!("{base}.{extension}"),
    }
}

/// Checksum of an 8.3 name, which the entries of its long name repeat.
pub(super) fn checksum(name: &[u8]) -> u8 {
    name.iter().fold(0, |sum: u8, &byte| sum.rotate_right(1).wrapping_add(byte))
}

/// The entries of a long name as they come: the last piece first.
#[derive(Default)]
struct LongName {
    start: usize,
    /// Number of the piece that must come next; 0 when all have come.
    missing: u8,
    sum: u8,
    /// UTF-16LE bytes, the pieces in the order of the name.
    bytes: Vec<u8>,
}

impl LongName {
    fn add(&mut self, entry: &[u8], at: usize) {
        let (order, sum) = (u8_at(entry, 0).unwrap_or(0), u8_at(entry, 13).unwrap_or(0));
        let number = order & 0x3f;
        if order & 0x40 != 0 && (1..=LONG_NAME_LIMIT).contains(&number) {
            *self = Self { start: at, missing: number, sum, bytes: Vec::new() };
        }
        if self.missing == 0 || number != self.missing || sum != self.sum {
            *self = Self::default();
            return;
        }
        let pieces = [1..11, 14..26, 28..32].map(|range| entry.get(range).unwrap_or_default());
        let mut piece = pieces.concat();
        piece.append(&mut self.bytes);
        self.bytes = piece;
        self.missing -= 1;
    }

    /// Where the entries of the file with this 8.3 entry begin, and its long name, if these are its.
    fn of(self, entry: &[u8], at: usize) -> (usize, Option<String>) {
        let own = checksum(entry.get(..11).unwrap_or_default());
        if self.bytes.is_empty() || self.missing != 0 || self.sum != own {
            return (at, None);
        }
        let units = self.bytes.as_chunks::<2>().0;
        let end = units.iter().position(|unit| *unit == [0, 0]).unwrap_or(units.len());
        debug_assert!(units.len().is_multiple_of(UNITS));
        let name = text(self.bytes.get(..end * 2).unwrap_or_default());
        if name.is_empty() { (at, None) } else { (self.start, Some(name)) }
    }
}

/// A date and time of FAT, in units of 100 ns since 1601; 0 where there is none. FAT keeps what the clock on the wall
/// showed, and no time zone: the number is that time, not UTC.
fn file_time(date: u16, time: u16, hundredths: u8) -> u64 {
    let field = |word: u16, shift: u32, bits: u32| u64::from((word >> shift) & ((1 << bits) - 1));
    let (year, month, day) = (field(date, 9, 7), field(date, 5, 4), field(date, 0, 5));
    if !(1..=12).contains(&month) || day == 0 {
        return 0;
    }
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let before = BEFORE_MONTH.get(len_of(month - 1)).copied().unwrap_or(0);
    // 1980 is a leap year, and 2100, the only year until 2107 that is none against the rule of four, is 120 on.
    let leap_days = year.div_ceil(4) - u64::from(year > 120)
        + u64::from(year.is_multiple_of(4) && year != 120 && month > 2);
    let days = DAYS_TO_1980 + year * 365 + leap_days + before + day - 1;
    let seconds = field(time, 11, 5) * 3600 + field(time, 5, 6) * 60 + field(time, 0, 5) * 2;
    (days * 86_400 + seconds) * 10_000_000 + u64::from(hundredths) * 100_000
}

/// Text of an 8.3 name, which is in the OEM code page of the Windows that wrote it. Which one that was does not stand on
/// the volume; 850 (Western Europe) is taken, whose letters are mostly those of 437 (USA) too. ASCII is right in all.
fn oem_text(bytes: &[u8]) -> String {
    let decode = |&byte: &u8| match byte {
        b'\\' | b'/' => char::REPLACEMENT_CHARACTER,
        byte => oem_char(byte),
    };
    bytes.iter().map(decode).collect()
}

/// A character of code page 850.
pub(super) fn oem_char(byte: u8) -> char {
    const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀\
                         ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";
    match byte {
        0..0x80 => char::from(byte),
        _ => UPPER.chars().nth(usize::from(byte) - 0x80).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 8.3 entry of a file.
    fn short(name: &[u8; 11], attributes: u8) -> Vec<u8> {
        let mut entry = vec![0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry
    }

    /// The entries of a long name, as they stand before the 8.3 one.
    fn long(name: &str, short: &[u8; 11]) -> Vec<Vec<u8>> {
        let mut units: Vec<u16> = name.encode_utf16().collect();
        if !units.len().is_multiple_of(UNITS) {
            units.push(0);
            units.resize(units.len().next_multiple_of(UNITS), 0xffff);
        }
        let pieces = units.chunks(UNITS);
        let count = pieces.len();
        let mut entries: Vec<Vec<u8>> = pieces
            .enumerate()
            .map(|(index, piece)| {
                let bytes: Vec<u8> = piece.iter().flat_map(|unit| unit.to_le_bytes()).collect();
                let mut entry = vec![0; 32];
                entry[0] = (index as u8 + 1) | if index + 1 == count { 0x40 } else { 0 };
                entry[1..11].copy_from_slice(&bytes[..10]);
                entry[11] = 0x0f;
                entry[13] = checksum(short);
                entry[14..26].copy_from_slice(&bytes[10..22]);
                entry[28..32].copy_from_slice(&bytes[22..]);
                entry
            })
            .collect();
        entries.reverse();
        entries
    }

    fn names(entries: &[Vec<u8>]) -> Vec<(String, Option<String>)> {
        let listing = list(&entries.concat(), true);
        listing.entries.into_iter().map(|entry| (entry.name, entry.short_name)).collect()
    }

    fn one(name: &str, short: Option<&str>) -> Vec<(String, Option<String>)> {
        vec![(name.to_owned(), short.map(str::to_owned))]
    }

    #[test]
    fn long_names_stand_only_with_their_own_short_one() {
        const SHORT: &[u8; 11] = b"ALONGN~1TXT";
        let name = "A long name, of some pieces.txt";
        let mut entries = long(name, SHORT);
        assert_eq!(entries.len(), 3);
        entries.push(short(SHORT, 0x20));
        assert_eq!(names(&entries), one(name, Some("ALONGN~1.TXT")));
        let found = list(&entries.concat(), true).entries.remove(0);
        assert_eq!((found.bytes.clone(), found.at()), (0..128, 96));
        let without = one("ALONGN~1.TXT", None);
        let mut other = entries.clone();
        other[3][0] = b'B';
        assert_eq!(
            names(&other),
            one("BLONGN~1.TXT", None),
            "another file was put there by a system without long names"
        );
        let mut torn = entries.clone();
        torn.remove(1);
        assert_eq!(names(&torn), without, "a piece is missing");
        let mut swapped = entries.clone();
        swapped.swap(1, 2);
        assert_eq!(names(&swapped), without);
        let mut deleted = entries.clone();
        deleted[1][0] = 0xe5;
        assert_eq!(names(&deleted), without);
        let mut ended = entries.clone();
        ended[0][0] = 0;
        assert_eq!(names(&ended), [], "nothing is looked at behind the end mark");
        let mut endless = entries;
        endless[0][0] = 0x40 | 21;
        assert_eq!(names(&endless), without, "more pieces than a name can have");
    }

    #[test]
    fn short_names_as_windows_shows_them() {
        let with = |name: &[u8; 11], case: u8| {
            let mut entry = short(name, 0x20);
            entry[12] = case;
            names(&[entry]).remove(0).0
        };
        assert_eq!(with(b"MSBLAST EXE", 0), "MSBLAST.EXE");
        assert_eq!(with(b"MSBLAST EXE", 0x18), "msblast.exe");
        assert_eq!(with(b"MSBLAST EXE", 0x08), "msblast.EXE");
        assert_eq!(with(b"WINDOWS    ", 0), "WINDOWS");
        assert_eq!(with(b"\x8e\x99\x9a     TXT", 0), "ÄÖÜ.TXT");
        assert_eq!(with(b"\x05A      TXT", 0), "ÕA.TXT");
        assert_eq!(with(b"A\\B/C   TXT", 0), "A\u{fffd}B\u{fffd}C.TXT");
        let listing = list(&[short(b"LABEL      ", 8), short(b"\xe5GONE   TXT", 0x20)].concat(), true);
        assert_eq!((listing.entries.len(), listing.label.as_deref()), (0, Some("LABEL")));
    }

    #[test]
    fn times_are_the_wall_clocks() {
        let date = |year: u16, month: u16, day: u16| (year - 1980) << 9 | month << 5 | day;
        let seconds = |date, time, hundredths| file_time(date, time, hundredths) / 10_000_000;
        // By `date -u +%s` and the 11 644 473 600 seconds from 1601 to 1970.
        let unix = |text: u64| text + 11_644_473_600;
        assert_eq!(seconds(date(1980, 1, 1), 0, 0), unix(315_532_800));
        assert_eq!(seconds(date(2003, 8, 11), 13 << 11 | 37 << 5 | 21, 100), unix(1_060_609_063));
        assert_eq!(seconds(date(2004, 2, 29), 0, 0), unix(1_078_012_800));
        assert_eq!(seconds(date(2004, 3, 1), 0, 0), unix(1_078_099_200));
        assert_eq!(seconds(date(2100, 3, 1), 0, 0), unix(4_107_542_400));
        assert_eq!(seconds(date(2107, 12, 31), 0, 0), unix(4_354_732_800));
        assert_eq!(file_time(0, 0, 0), 0, "none");
    }
}

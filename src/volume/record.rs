//! One MFT record taken apart: fix-ups (update sequence array), header, attributes, names, mapping pairs.
//!
//! Source: the Linux-NTFS documentation (FILE record, attribute header, $FILE_NAME, data runs). Nothing is assumed of
//! the record's own number in its header, which came with NTFS 3.1.

use super::bytes::{len_of, len64, slice_at, u8_at, u16_at, u32_at, u64_at};
use super::recognise::Geometry;
use crate::error::{Error, Result};

/// Attribute type codes.
pub(super) mod kind {
    pub(in crate::volume) const STANDARD_INFORMATION: u32 = 0x10;
    pub(in crate::volume) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in crate::volume) const FILE_NAME: u32 = 0x30;
    pub(in crate::volume) const SECURITY_DESCRIPTOR: u32 = 0x50;
    pub(in crate::volume) const VOLUME_NAME: u32 = 0x60;
    pub(in crate::volume) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in crate::volume) const DATA: u32 = 0x80;
    pub(in crate::volume) const INDEX_ROOT: u32 = 0x90;
    pub(in crate::volume) const INDEX_ALLOCATION: u32 = 0xa0;
    pub(in crate::volume) const BITMAP: u32 = 0xb0;
    pub(in crate::volume) const END: u32 = 0xffff_ffff;
}

/// Flags of an attribute's data.
pub(super) mod data_flag {
    pub(in crate::volume) const COMPRESSED: u16 = 0x00ff;
    pub(in crate::volume) const ENCRYPTED: u16 = 0x4000;
    pub(in crate::volume) const SPARSE: u16 = 0x8000;
}

/// Sectors end in the update sequence number every 512 bytes, whatever the size of the device's sectors.
const STRIDE: usize = 512;

/// In which of the name spaces a $FILE_NAME stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Any characters, letter case told apart.
    Posix,
    /// A long name with a DOS name beside it.
    Win32,
    /// The 8.3 name beside a long one.
    Dos,
    /// A long name that is a good DOS name itself.
    Win32AndDos,
}

/// One $FILE_NAME: a name and the directory it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// MFT record of the directory.
    pub parent: u64,
    /// Sequence number that the directory must have, else the name is an orphan.
    pub parent_sequence: u16,
    /// The name. A backslash in it (POSIX) and unpaired surrogates are shown as U+FFFD.
    pub name: String,
    /// Its name space.
    pub namespace: Namespace,
}

/// A stretch of clusters of one attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClusterRun {
    /// First cluster in the attribute.
    pub(super) vcn: u64,
    /// First cluster in the volume; none for a hole.
    pub(super) lcn: Option<u64>,
    /// Number of clusters, never 0.
    pub(super) count: u64,
}

/// Number and sequence number out of a file reference.
pub(super) fn reference(value: u64) -> (u64, u16) {
    (value & 0xffff_ffff_ffff, u16::try_from(value >> 48).unwrap_or(0))
}

/// Checks the update sequence of a record as read from the device, and puts the bytes back that it displaced.
pub(super) fn fix_up(record: &mut [u8], place: u64) -> Result<()> {
    let doing = "apply the fix-ups of the MFT record";
    let array = usize::from(u16_at(record, 4).unwrap_or(0));
    let count = usize::from(u16_at(record, 6).unwrap_or(0));
    if count != record.len() / STRIDE + 1 || array < 8 || array + count * 2 > STRIDE - 2 {
        let expected =
            format!("an update sequence array of {} words in the first sector", record.len() / STRIDE + 1);
        return Err(Error::mismatch(doing, place + 4, expected, format!("{count} words at {array:#x}")));
    }
    let number = u16_at(record, array).unwrap_or(0);
    for i in 1..count {
        let at = i * STRIDE - 2;
        let found = u16_at(record, at).unwrap_or(0);
        if found != number {
            let expected = format!("update sequence number {number:#06x} at the end of each sector");
            let found = format!("{found:#06x}: the record was written in part only");
            return Err(Error::mismatch(doing, place + len64(at), expected, found));
        }
    }
    for i in 1..count {
        let kept = u16_at(record, array + i * 2).unwrap_or(0).to_le_bytes();
        if let Some(end) = record.get_mut(i * STRIDE - 2..i * STRIDE) {
            end.copy_from_slice(&kept);
        }
    }
    Ok(())
}

/// An MFT record in memory, its fix-ups applied.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) bytes: &'a [u8],
    /// Its number, from its place in the MFT.
    pub(super) number: u64,
    /// Its byte offset in the volume.
    pub(super) place: u64,
}

impl<'a> Record<'a> {
    pub(super) fn sequence(&self) -> u16 {
        u16_at(self.bytes, 0x10).unwrap_or(0)
    }

    pub(super) fn is_in_use(&self) -> bool {
        u16_at(self.bytes, 0x16).unwrap_or(0) & 1 != 0
    }

    pub(super) fn is_directory(&self) -> bool {
        u16_at(self.bytes, 0x16).unwrap_or(0) & 2 != 0
    }

    /// The base record, where this is an extension of one.
    pub(super) fn base(&self) -> Option<(u64, u16)> {
        u64_at(self.bytes, 0x20).filter(|&base| base != 0).map(reference)
    }

    /// The attributes in their order; ends behind the first that is damaged.
    pub(super) fn attributes(&self) -> impl Iterator<Item = Result<Attribute<'a>>> + 'a {
        let record = *self;
        let used = len_of(u64::from(u32_at(record.bytes, 0x18).unwrap_or(0))).min(record.bytes.len());
        let bytes = record.bytes.get(..used).unwrap_or_default();
        let mut next = Some(usize::from(u16_at(bytes, 0x14).unwrap_or(0)));
        std::iter::from_fn(move || {
            let at = next.take()?;
            let place = record.place + len64(at);
            if u32_at(bytes, at) == Some(kind::END) {
                return None;
            }
            match Attribute::parse(bytes, at, place) {
                Some((attribute, length)) => {
                    next = Some(at + length);
                    Some(Ok(attribute))
                }
                None => Some(Err(Error::mismatch(
                    format!("read the attributes of MFT record {}", record.number),
                    place,
                    "an attribute that lies inside the record",
                    "one with lengths or offsets that do not fit",
                ))),
            }
        })
    }
}

/// One attribute of a record.
pub(super) struct Attribute<'a> {
    pub(super) kind: u32,
    name: &'a [u8],
    pub(super) flags: u16,
    pub(super) body: Body<'a>,
    place: u64,
}

/// Where an attribute's data is.
pub(super) enum Body<'a> {
    /// In the record.
    Resident(&'a [u8]),
    /// In clusters.
    NonResident(NonResident<'a>),
}

/// Header of non-resident data. Sizes in bytes, only meaningful where `lowest` is 0.
pub(super) struct NonResident<'a> {
    /// First VCN that this attribute's runs describe.
    pub(super) lowest: u64,
    highest: u64,
    pairs: &'a [u8],
    pub(super) allocated: u64,
    pub(super) size: u64,
    pub(super) initialised: u64,
    /// log2 of the clusters in a compression unit.
    pub(super) unit: u8,
    /// What is allocated of compressed or sparse data, holes left out.
    pub(super) packed: Option<u64>,
}

impl<'a> Attribute<'a> {
    fn parse(record: &'a [u8], at: usize, place: u64) -> Option<(Self, usize)> {
        let length = len_of(u64::from(u32_at(record, at + 4)?));
        if length < 0x18 || !length.is_multiple_of(8) {
            return None;
        }
        let bytes = slice_at(record, at, length)?;
        let name_length = usize::from(u8_at(bytes, 9)?) * 2;
        let name = match name_length {
            0 => &[],
            _ => slice_at(bytes, usize::from(u16_at(bytes, 10)?), name_length)?,
        };
        let body = if u8_at(bytes, 8)? == 0 {
            let value = len_of(u64::from(u32_at(bytes, 16)?));
            Body::Resident(slice_at(bytes, usize::from(u16_at(bytes, 20)?), value)?)
        } else {
            Body::NonResident(NonResident {
                lowest: u64_at(bytes, 16)?,
                highest: u64_at(bytes, 24)?,
                pairs: bytes.get(usize::from(u16_at(bytes, 32)?)..)?,
                allocated: u64_at(bytes, 40)?,
                size: u64_at(bytes, 48)?,
                initialised: u64_at(bytes, 56)?,
                unit: u8_at(bytes, 34)?,
                packed: u64_at(bytes, 64),
            })
        };
        let attribute = Self { kind: u32_at(bytes, 0)?, name, flags: u16_at(bytes, 12)?, body, place };
        Some((attribute, length))
    }

    pub(super) fn is_named(&self) -> bool {
        !self.name.is_empty()
    }

    pub(super) fn name(&self) -> String {
        text(self.name)
    }

    /// The value of a resident attribute.
    pub(super) fn resident(&self) -> Option<&'a [u8]> {
        match &self.body {
            Body::Resident(value) => Some(value),
            Body::NonResident(_) => None,
        }
    }

    /// The $FILE_NAME in this attribute.
    pub(super) fn file_name(&self) -> Result<Name> {
        let parse = || {
            let value = self.resident()?;
            let (parent, parent_sequence) = reference(u64_at(value, 0)?);
            let namespace = match u8_at(value, 0x41)? {
                0 => Namespace::Posix,
                1 => Namespace::Win32,
                2 => Namespace::Dos,
                3 => Namespace::Win32AndDos,
                _ => return None,
            };
            let name = text(slice_at(value, 0x42, usize::from(u8_at(value, 0x40)?) * 2)?);
            Some(Name { parent, parent_sequence, name, namespace })
        };
        parse().ok_or_else(|| {
            self.error("read $FILE_NAME", "a name inside its attribute", "one that does not fit")
        })
    }

    /// Decodes the mapping pairs; nothing for resident data.
    pub(super) fn runs(&self, geometry: &Geometry) -> Result<Vec<ClusterRun>> {
        let Body::NonResident(data) = &self.body else { return Ok(Vec::new()) };
        let wrong = |found: String| self.error("read the data runs", "runs inside the volume", &found);
        let clusters = geometry.size.div_ceil(geometry.cluster);
        let (mut runs, mut at, mut vcn, mut lcn) = (Vec::new(), 0, data.lowest, 0i64);
        while let Some(head) = u8_at(data.pairs, at).filter(|&head| head != 0) {
            let (counts, offsets) = (usize::from(head & 15), usize::from(head >> 4));
            let count = signed(data.pairs, at + 1, counts).and_then(|count| u64::try_from(count).ok());
            let count = count.filter(|&count| count != 0 && count <= 1 << 48);
            let count = count.ok_or_else(|| wrong(format!("a run of no length after VCN {vcn}")))?;
            let delta = if offsets == 0 { None } else { signed(data.pairs, at + 1 + counts, offsets) };
            if offsets != 0 && delta.is_none() {
                return Err(wrong(format!("a run at VCN {vcn} that is cut off")));
            }
            let place = match delta {
                None => None,
                // Windows NT before 2000 (NTFS 1.2) wrote holes as a run at cluster -1.
                Some(delta) if lcn.checked_add(delta) == Some(-1) => {
                    lcn = -1;
                    None
                }
                Some(delta) => {
                    lcn = lcn
                        .checked_add(delta)
                        .ok_or_else(|| wrong("a cluster number too large".to_owned()))?;
                    let first = u64::try_from(lcn).ok();
                    let inside =
                        first.filter(|first| first.checked_add(count).is_some_and(|end| end <= clusters));
                    Some(inside.ok_or_else(|| {
                        wrong(format!("clusters {lcn} to {}", lcn.wrapping_add_unsigned(count)))
                    })?)
                }
            };
            runs.push(ClusterRun { vcn, lcn: place, count });
            // Not even the end of a hole may be beyond what a file offset can say.
            let end = vcn.checked_add(count).filter(|vcn| vcn.checked_mul(geometry.cluster).is_some());
            vcn = end.ok_or_else(|| wrong("more clusters than can be".to_owned()))?;
            at += 1 + counts + offsets;
        }
        if vcn != data.highest.wrapping_add(1) {
            let found = format!(
                "runs that end before VCN {vcn} where the header says {}",
                data.highest.wrapping_add(1)
            );
            return Err(wrong(found));
        }
        Ok(runs)
    }

    pub(super) fn error(&self, doing: &str, expected: &str, found: &str) -> Error {
        Error::mismatch(doing, self.place, expected, found)
    }
}

/// A little-endian number of 1 to 8 bytes, its sign extended.
fn signed(bytes: &[u8], at: usize, length: usize) -> Option<i64> {
    let bytes = slice_at(bytes, at, length).filter(|bytes| (1..=8).contains(&bytes.len()))?;
    let negative = bytes.last()? & 0x80 != 0;
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Some(i64::from_le_bytes(wide))
}

/// UTF-16LE as text that can stand in a path.
pub(super) fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    String::from_utf16_lossy(&units).replace('\\', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fix_ups_are_checked_before_any_byte_changes() {
        let mut record = vec![0u8; 1024];
        record[4..8].copy_from_slice(&[0x30, 0, 3, 0]);
        record[0x30..0x36].copy_from_slice(&[7, 0, 0xaa, 0xbb, 0xcc, 0xdd]);
        record[510..512].copy_from_slice(&[7, 0]);
        let torn = record.clone();
        let words = fix_up(&mut record, 0x4000).unwrap_err().to_string();
        assert!(words.contains("offset 0x43fe") && words.contains("written in part only"), "{words}");
        assert_eq!(record, torn);
        record[1022..].copy_from_slice(&[7, 0]);
        fix_up(&mut record, 0).unwrap();
        assert_eq!((&record[510..512], &record[1022..]), (&[0xaa, 0xbb][..], &[0xcc, 0xdd][..]));
        record[6] = 9;
        assert!(fix_up(&mut record, 0).is_err(), "a count that does not fit");
    }

    #[test]
    fn mapping_pairs_forwards_backwards_and_holes() {
        let geometry =
            Geometry { sector: 512, cluster: 4096, size: 4096 * 1000, mft: 4, record: 1024, serial: 1 };
        let decode = |pairs: &[u8], highest: u64| {
            let body = NonResident {
                lowest: 0,
                highest,
                pairs,
                allocated: 0,
                size: 0,
                initialised: 0,
                unit: 0,
                packed: None,
            };
            let kind = kind::DATA;
            Attribute { kind, name: &[], flags: 0, body: Body::NonResident(body), place: 0 }.runs(&geometry)
        };
        // 8 clusters at 0x100; 4 at 0x100 - 0x10; a hole of 2; 1 at + 1.
        let runs = decode(&[0x21, 8, 0, 1, 0x11, 4, 0xf0, 0x01, 2, 0x11, 1, 1, 0], 14).unwrap();
        let lcns: Vec<_> = runs.iter().map(|run| (run.vcn, run.lcn, run.count)).collect();
        assert_eq!(lcns, [(0, Some(0x100), 8), (8, Some(0xf0), 4), (12, None, 2), (14, Some(0xf1), 1)]);
        assert!(decode(&[0x21, 8, 0, 1, 0], 9).is_err(), "shorter than the header says");
        assert!(decode(&[0x21, 8, 0, 0x7f, 0], 7).is_err(), "outside the volume");
        assert!(decode(&[0x21, 8], 7).is_err(), "cut off");
        assert!(decode(&[0x11, 0, 1, 0], 0).is_err(), "no length");
        assert_eq!(decode(&[0x11, 3, 0xff, 0x11, 2, 6, 0], 4).unwrap()[0].lcn, None, "hole of NTFS 1.2");
        assert_eq!(decode(&[0], u64::MAX).unwrap(), []);
    }
}

//! Data of a file: all attributes of its base record and extensions ($ATTRIBUTE_LIST), its runs put together, its
//! bytes read.

use std::collections::BTreeSet;

use super::bytes::{len_of, len64, u16_at, u32_at, u64_at};
use super::compressed::Units;
use super::mft::Mft;
use super::record::{Attribute, Body, ClusterRun, Record, data_flag, kind, reference};
use super::{Extents, Run};
use crate::error::{Error, Result};
use crate::memory;

/// Longest $ATTRIBUTE_LIST that is followed, in bytes (what Windows itself allows).
const LIST_LIMIT: u64 = 256 << 10;
/// How many extension records of one file are read.
const EXTENSION_LIMIT: usize = 4096;
/// How much of a file is read at once, in bytes.
const PIECE: u64 = 1 << 20;
/// Holes of this many bytes are read whatever the volume's size.
const HOLES: u64 = 1 << 30;
/// What can be done about EFS.
pub(super) const DECRYPT: &str = "only its owner can read it: on its own Windows, kept off every network, decrypt it (cipher /d) or delete it";
/// The only method of compression that NTFS has.
const LZNT1: u16 = 1;

/// Shows all attributes of a base record to `visit`, then those of the extension records that its $ATTRIBUTE_LIST
/// names (`true`).
pub(super) fn for_each_attribute(
    mft: &Mft,
    base: &Record<'_>,
    visit: &mut dyn FnMut(&Attribute<'_>, bool) -> Result<()>,
) -> Result<()> {
    let mut list = None;
    for attribute in base.attributes() {
        let attribute = attribute?;
        if attribute.kind == kind::ATTRIBUTE_LIST {
            let doing = || format!("read $ATTRIBUTE_LIST of MFT record {}", base.number);
            let mut content = Content::default();
            content.add(mft, &attribute, false)?;
            list = Some(content.read(mft, LIST_LIMIT).map_err(|error| error.within(doing()))?);
        }
        visit(&attribute, false)?;
    }
    let Some(list) = list else { return Ok(()) };
    for (number, sequence) in extensions(&list, base)? {
        let doing = || format!("follow $ATTRIBUTE_LIST of MFT record {}", base.number);
        let owned = mft.record(number).map_err(|error| error.within(doing()))?;
        let extension = owned.as_ref().map(super::mft::OwnedRecord::record);
        let extension = extension
            .filter(|record| record.sequence() == sequence)
            .filter(|record| record.base() == Some((base.number, base.sequence())));
        let Some(extension) = extension else {
            let expected = format!("MFT record {number} sequence {sequence} as an extension of this one");
            return Err(Error::mismatch(doing(), base.place, expected, "another, or none"));
        };
        for attribute in extension.attributes() {
            visit(&attribute?, true)?;
        }
    }
    Ok(())
}

/// The extension records that an attribute list names, each once.
fn extensions(list: &[u8], base: &Record<'_>) -> Result<BTreeSet<(u64, u16)>> {
    let doing = || format!("read $ATTRIBUTE_LIST of MFT record {}", base.number);
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < list.len() && u32_at(list, at).is_some_and(|kind| kind != 0 && kind != kind::END) {
        let length = usize::from(u16_at(list, at + 4).unwrap_or(0));
        let (true, Some(value)) = (length >= 0x1a, u64_at(list, at + 16)) else {
            let found = format!("one of {length} bytes at {at:#x} of the list");
            return Err(Error::mismatch(doing(), base.place, "an entry of 26 bytes or more", found));
        };
        let (number, sequence) = reference(value);
        if number != base.number {
            found.insert((number, sequence));
        }
        if found.len() > EXTENSION_LIMIT {
            return Err(Error::refused(doing(), format!("more than {EXTENSION_LIMIT} extension records")));
        }
        at += length;
    }
    Ok(found)
}

/// The attribute of a type and name (empty: unnamed), put together from all its parts; none where the file has none.
pub(super) fn content(mft: &Mft, base: &Record<'_>, kind: u32, name: &str) -> Result<Option<Content>> {
    let mut content = None;
    for_each_attribute(mft, base, &mut |attribute, in_extension| {
        if attribute.kind == kind && attribute.name() == name {
            content.get_or_insert_with(Content::default).add(mft, attribute, in_extension)?;
        }
        Ok(())
    })?;
    if let Some(content) = &mut content {
        content.runs.sort_by_key(|run| run.vcn);
    }
    Ok(content)
}

/// One attribute's data: its bytes where resident, else its runs in the order of the file. Sizes in bytes.
#[derive(Default)]
pub(super) struct Content {
    resident: Option<Vec<u8>>,
    pub(super) runs: Vec<ClusterRun>,
    pub(super) size: u64,
    pub(super) initialised: u64,
    pub(super) allocated: u64,
    pub(super) flags: u16,
    pub(super) in_extension: bool,
    unit: u8,
    packed: Option<u64>,
    seen_first: bool,
}

impl Content {
    /// Adds one part.
    fn add(&mut self, mft: &Mft, attribute: &Attribute<'_>, in_extension: bool) -> Result<()> {
        self.in_extension |= in_extension;
        let is_first = match &attribute.body {
            Body::Resident(_) => true,
            Body::NonResident(data) => data.lowest == 0,
        };
        if is_first && self.seen_first {
            return Err(attribute.error("put the data together", "one unnamed attribute of the type", "two"));
        }
        self.seen_first |= is_first;
        match &attribute.body {
            Body::Resident(value) => {
                self.size = len64(value.len());
                self.initialised = self.size;
                self.resident = Some(value.to_vec());
                self.flags = attribute.flags;
            }
            Body::NonResident(data) => {
                if data.lowest == 0 {
                    (self.size, self.initialised) = (data.size, data.initialised);
                    (self.allocated, self.flags) = (data.allocated, attribute.flags);
                    (self.unit, self.packed) = (data.unit, data.packed);
                }
                self.runs.extend(attribute.runs(&mft.geometry)?);
            }
        }
        Ok(())
    }

    pub(super) fn is_resident(&self) -> bool {
        self.resident.is_some()
    }

    /// Refuses runs that do not tile the file from its first byte to its last, and so many that they cannot all be the file's:
    /// what is read of a file, and held in memory, is so bounded by the volume, and where its boot sector lies by the device.
    fn check(&self, mft: &Mft) -> Result<()> {
        let doing = "put the data runs together";
        let cluster = mft.geometry.cluster;
        let there = mft.geometry.size.min(mft.device.size());
        let (mut vcn, mut on_disk, mut holes) = (0, 0_u64, 0_u64);
        for run in &self.runs {
            if run.vcn != vcn {
                let why = format!("expected a run for VCN {vcn}, found one for {}", run.vcn);
                return Err(Error::refused(doing, why));
            }
            vcn += run.count;
            let sum = if run.lcn.is_some() { &mut on_disk } else { &mut holes };
            *sum = sum.saturating_add(run.count.saturating_mul(cluster));
        }
        let held = vcn.saturating_mul(cluster);
        if on_disk > there.next_multiple_of(cluster) {
            let why = format!("runs for {on_disk} bytes, where the volume has {there}");
            return Err(Error::refused(doing, why));
        }
        if self.size > on_disk && holes > HOLES.max(there) {
            let why = format!("its holes are {holes} bytes, where the volume has {there}");
            return Err(Error::refused(doing, why));
        }
        if held < self.size || self.initialised > self.size {
            let why = format!(
                "the sizes contradict each other: runs for {held} bytes, size {}, initialised size {}",
                self.size, self.initialised
            );
            return Err(Error::refused(doing, why));
        }
        Ok(())
    }

    /// The runs as places, for data without holes.
    pub(super) fn extents(&self, mft: &Mft) -> Result<Extents> {
        if let Some(hole) = self.runs.iter().find(|run| run.lcn.is_none()) {
            let why = format!("a hole at VCN {}, though the file is not marked sparse", hole.vcn);
            return Err(Error::refused("put the data runs together", why));
        }
        let runs = self.places(mft, self.allocated)?;
        Ok(Extents { runs, size: self.size, initialised: self.initialised, allocated: self.allocated })
    }

    /// The clusters of compressed data as places, one after the other: offsets count in what is allocated.
    pub(super) fn packed_extents(&self, mft: &Mft) -> Result<Extents> {
        let doing = "put the data runs together";
        let none = || Error::refused(doing, "compressed data whose header tells no compressed size");
        let packed = self.packed.ok_or_else(none)?;
        let span =
            self.runs.last().map_or(0, |run| (run.vcn + run.count).saturating_mul(mft.geometry.cluster));
        if span != self.allocated {
            let why =
                format!("runs for {span} bytes with their holes, where the header says {}", self.allocated);
            return Err(Error::refused(doing, why));
        }
        let runs = self.places(mft, packed)?;
        if runs.is_empty() {
            return Err(Error::refused(doing, "it is all hole, and has no cluster of its own"));
        }
        Ok(Extents { runs, size: self.size, initialised: packed, allocated: packed })
    }

    /// The runs without the holes, as places; `allocated` is how many bytes they must be.
    fn places(&self, mft: &Mft, allocated: u64) -> Result<Vec<Run>> {
        let cluster = mft.geometry.cluster;
        self.check(mft)?;
        let mut runs: Vec<Run> = Vec::new();
        let mut held = 0;
        for (lcn, count) in self.runs.iter().filter_map(|run| Some((run.lcn?, run.count))) {
            let next = Run { file_offset: held, place: lcn * cluster, length: count * cluster };
            held += next.length;
            match runs.last_mut().filter(|last| last.place + last.length == next.place) {
                Some(last) => last.length += next.length,
                None => runs.push(next),
            }
        }
        if held != allocated {
            let why = format!("runs for {held} bytes, where {allocated} are allocated");
            return Err(Error::refused("put the data runs together", why));
        }
        Ok(runs)
    }

    /// The whole data, at most `max` bytes of it.
    pub(super) fn read(&self, mft: &Mft, max: u64) -> Result<Vec<u8>> {
        if self.size > max {
            let why = format!("it has {} bytes, more than the {max} that are allowed here", self.size);
            return Err(Error::refused("read the data", why));
        }
        // A size is only believed, and memory taken for it, where the runs bear it out.
        if self.resident.is_none() {
            self.check(mft)?;
        }
        let mut all = memory::buffer("read the data", self.size)?;
        self.read_pieces(mft, &mut |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(all)
    }

    /// The data in pieces, in its order. Holes, and what lies behind the initialised size, are zeros.
    pub(super) fn read_pieces(&self, mft: &Mft, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Some(bytes) = &self.resident {
            return take(bytes);
        }
        if self.flags & data_flag::ENCRYPTED != 0 {
            let error = Error::refused("read the data", "it is encrypted (EFS)");
            return Err(error.hint(DECRYPT));
        }
        let cluster = mft.geometry.cluster;
        self.check(mft)?;
        if self.flags & data_flag::COMPRESSED != 0 {
            return self.read_compressed(mft, take);
        }
        let mut buffer = vec![0; len_of(PIECE.min(self.size))];
        for run in &self.runs {
            let start = run.vcn * cluster;
            let end = (start + run.count * cluster).min(self.size);
            let mut at = start;
            while at < end {
                let length = (end - at).min(PIECE);
                let piece = buffer.get_mut(..len_of(length)).unwrap_or_default();
                let (on_disk, zeros) =
                    piece.split_at_mut(len_of(self.initialised.saturating_sub(at).min(length)));
                zeros.fill(0);
                match run.lcn {
                    _ if on_disk.is_empty() => {}
                    Some(lcn) => mft.device.read_at(lcn * cluster + (at - start), on_disk)?,
                    None => on_disk.fill(0),
                }
                take(piece)?;
                at += length;
            }
        }
        Ok(())
    }

    fn read_compressed(&self, mft: &Mft, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let method = self.flags & data_flag::COMPRESSED;
        if method != LZNT1 {
            let why = format!("it is compressed by method {method}, which is not known; LZNT1 is {LZNT1}");
            return Err(Error::refused("read the data", why));
        }
        let units = Units { cluster: mft.geometry.cluster, exponent: self.unit };
        let end = self.initialised;
        units.read(&self.runs, end, &mut |place, buf| mft.device.read_at(place, buf), take)?;
        let zeros = vec![0; len_of(PIECE.min(self.size - end))];
        let mut at = end;
        while at < self.size {
            let length = (self.size - at).min(PIECE);
            take(zeros.get(..len_of(length)).unwrap_or_default())?;
            at += length;
        }
        Ok(())
    }
}

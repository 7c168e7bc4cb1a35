//! $MFT itself: where it lies, single records, and the sequential walk over all of them in disk order.

use std::sync::Arc;

use super::bytes::{len_of, len64, slice_at, u16_at};
use super::data;
use super::recognise::Geometry;
use super::record::{Attribute, Body, Record, fix_up, kind};
use super::{Extents, ReadAt, Run};
use crate::error::{Error, Result};

/// How much the walk reads at once, in bytes.
const BLOCK: u64 = 1 << 20;

/// Where a volume's MFT lies.
pub(super) struct Mft {
    pub(super) device: Arc<dyn ReadAt>,
    pub(super) geometry: Geometry,
    pub(super) extents: Extents,
    /// $BITMAP of $MFT: which records are in use; empty where it cannot be read.
    bitmap: Vec<u8>,
}

/// A single record, owned.
pub(super) struct OwnedRecord {
    bytes: Vec<u8>,
    number: u64,
    place: u64,
}

impl OwnedRecord {
    pub(super) fn record(&self) -> Record<'_> {
        Record { bytes: &self.bytes, number: self.number, place: self.place }
    }
}

/// What the walk meets.
pub(super) enum Met<'a> {
    /// A record in use, base or extension.
    InUse(Record<'a>),
    /// A record that is, or may be, in use and cannot be read.
    Damaged(Error),
    /// A record not in use.
    Free,
}

impl Mft {
    /// Finds the MFT from its first record, with its attribute list if it has one.
    pub(super) fn open(device: Arc<dyn ReadAt>, geometry: Geometry) -> Result<Self> {
        let place = geometry.mft.saturating_mul(geometry.cluster);
        let mut bytes = vec![0; len_of(geometry.record)];
        device.read_at(place, &mut bytes)?;
        if bytes.get(..4) != Some(b"FILE") {
            let found = format!("{:?}", String::from_utf8_lossy(bytes.get(..4).unwrap_or_default()));
            return Err(Error::mismatch("read the first MFT record", place, "the signature \"FILE\"", found));
        }
        fix_up(&mut bytes, place)?;
        let first = Record { bytes: &bytes, number: 0, place };
        // Until its data is known as a whole, records are found through the runs of the first record alone: those of
        // its extensions must lie there, as they do on Windows.
        let mut mft = Self { device, geometry, extents: Extents::default(), bitmap: Vec::new() };
        for attribute in first.attributes() {
            mft.extend(&attribute?)?;
        }
        if mft.extents.size == 0 {
            let (expected, found) = ("non-resident unnamed $DATA", "none");
            return Err(Error::mismatch("find the MFT", place, expected, found));
        }
        let mut more = Vec::new();
        data::for_each_attribute(&mft, &first, &mut |attribute, in_extension| {
            if in_extension && attribute.kind == kind::DATA && !attribute.is_named() {
                more.extend(attribute.runs(&mft.geometry)?);
            }
            Ok(())
        })?;
        more.sort_by_key(|run| run.vcn);
        for run in more {
            mft.push_run(run.vcn, run.lcn, run.count, place)?;
        }
        let held = mft.extents.runs.iter().fold(0_u64, |sum, run| sum.saturating_add(run.length));
        // Runs may overlap, and a boot sector may lie: what is walked is bounded by what is there.
        if held > mft.device.size().next_multiple_of(geometry.cluster) {
            let expected = format!("an MFT inside the {} bytes that there are", mft.device.size());
            return Err(Error::mismatch("find the MFT", place, expected, format!("runs for {held} bytes")));
        }
        if held < mft.extents.initialised {
            let expected = format!("data runs for {} bytes of the MFT", mft.extents.initialised);
            return Err(Error::mismatch("find the MFT", place, expected, format!("runs for {held} bytes")));
        }
        // Without it every record counts as perhaps in use, so that damage is reported rather than passed over.
        if let Ok(Some(content)) = data::content(&mft, &first, kind::BITMAP, "") {
            mft.bitmap = content.read(&mft, 1 << 26).unwrap_or_default();
        }
        Ok(mft)
    }

    fn extend(&mut self, attribute: &Attribute<'_>) -> Result<()> {
        let Body::NonResident(data) = &attribute.body else { return Ok(()) };
        if attribute.kind != kind::DATA || attribute.is_named() {
            return Ok(());
        }
        if data.lowest == 0 {
            self.extents.size = data.size;
            self.extents.initialised = data.initialised.min(data.size);
            self.extents.allocated = data.allocated;
        }
        for run in attribute.runs(&self.geometry)? {
            self.push_run(run.vcn, run.lcn, run.count, 0)?;
        }
        Ok(())
    }

    fn push_run(&mut self, vcn: u64, lcn: Option<u64>, count: u64, place: u64) -> Result<()> {
        let file_offset = vcn.saturating_mul(self.geometry.cluster);
        let expected_offset = self.extents.runs.last().map_or(0, |run| run.file_offset + run.length);
        let (Some(lcn), true) = (lcn, file_offset == expected_offset) else {
            let expected = format!("a data run for byte {expected_offset:#x} of the MFT");
            return Err(Error::mismatch("find the MFT", place, expected, "a gap"));
        };
        let length = count.saturating_mul(self.geometry.cluster);
        self.extents.runs.push(Run { file_offset, place: lcn.saturating_mul(self.geometry.cluster), length });
        Ok(())
    }

    /// Number of records that may be in use.
    pub(super) fn count(&self) -> u64 {
        self.extents.initialised / self.geometry.record
    }

    /// One record as it stands on the device, fix-ups not applied, and its place in the volume.
    pub(super) fn raw(&self, number: u64) -> Result<(Vec<u8>, u64)> {
        let doing = || format!("read MFT record {number}");
        if number >= self.count() {
            let why = format!("the MFT has only {} records", self.count());
            return Err(Error::refused(doing(), why));
        }
        let offset = number * self.geometry.record;
        let mut bytes = vec![0; len_of(self.geometry.record)];
        self.extents
            .read_at(self.device.as_ref(), offset, &mut bytes)
            .map_err(|error| error.within(doing()))?;
        let place = self.extents.pieces(offset..offset + 1).next().map_or(0, |run| run.place);
        Ok((bytes, place))
    }

    /// One record in use; none where it is free or was never written.
    pub(super) fn record(&self, number: u64) -> Result<Option<OwnedRecord>> {
        let (mut bytes, place) = self.raw(number)?;
        match self.look(number, place, &mut bytes) {
            Met::InUse(_) => Ok(Some(OwnedRecord { bytes, number, place })),
            Met::Damaged(error) => Err(error),
            Met::Free => Ok(None),
        }
    }

    /// How many records are free by $BITMAP and were written before. The first 64 are kept for the MFT itself.
    pub(super) fn free_records(&self) -> Result<u64> {
        let mut free = 0;
        for number in (64..self.count()).filter(|&number| !self.may_be_in_use(number)) {
            free += u64::from(self.raw(number)?.0.starts_with(b"FILE"));
        }
        Ok(free)
    }

    /// Whether $BITMAP of $MFT has the record in use; yes where that cannot be told.
    fn may_be_in_use(&self, number: u64) -> bool {
        let byte = self.bitmap.get(len_of(number / 8));
        byte.is_none_or(|byte| byte >> (number % 8) & 1 != 0)
    }

    fn look<'a>(&self, number: u64, place: u64, bytes: &'a mut [u8]) -> Met<'a> {
        let doing = || format!("read MFT record {number}");
        let signature =
            |found: String| Met::Damaged(Error::mismatch(doing(), place, "the signature \"FILE\"", found));
        match bytes.get(..4) {
            Some(b"FILE") => {
                let flagged = u16_at(bytes, 0x16).unwrap_or(0) & 1 != 0;
                match fix_up(bytes, place) {
                    Err(error) if flagged || self.may_be_in_use(number) => {
                        Met::Damaged(error.within(doing()))
                    }
                    Err(_) => Met::Free,
                    Ok(()) => {
                        let record = Record { bytes, number, place };
                        if record.is_in_use() { Met::InUse(record) } else { Met::Free }
                    }
                }
            }
            Some(b"BAAD") => signature("\"BAAD\": Windows found it torn".to_owned()),
            found if self.may_be_in_use(number) => signature(match found {
                Some(&[0, 0, 0, 0]) => "zeros, though $MFT has it in use".to_owned(),
                found => format!(
                    "{:?}, though $MFT has it in use",
                    String::from_utf8_lossy(found.unwrap_or_default())
                ),
            }),
            _ => Met::Free,
        }
    }

    /// Reads all records, in blocks, in disk order, and shows each to `visit` once.
    ///
    /// `progress` is told bytes done and bytes in all. A block that cannot be read is read again record by record.
    pub(super) fn walk(
        &self,
        visit: &mut dyn FnMut(Met<'_>) -> Result<()>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let size = self.geometry.record;
        let end = self.count() * size;
        let mut runs: Vec<Run> = self.extents.pieces(0..end).collect();
        runs.sort_by_key(|run| run.place);
        let mut buffer = vec![0; len_of(BLOCK.max(size))];
        let mut done = 0;
        progress(0, end);
        for run in runs {
            // Records that begin in this run; with clusters smaller than a record, the last may end in another.
            let first = run.file_offset.next_multiple_of(size);
            let run_end = run.file_offset + run.length;
            let mut at = first;
            while at + size <= run_end {
                let length = ((run_end - at).min(len64(buffer.len())) / size) * size;
                let place = run.place + (at - run.file_offset);
                self.walk_block(at, place, buffer.get_mut(..len_of(length)).unwrap_or_default(), visit)?;
                at += length;
                done += length;
                progress(done, end);
            }
            if at < run_end {
                self.visit_alone(at / size, visit)?;
                done += size;
                progress(done, end);
            }
        }
        Ok(())
    }

    fn walk_block(
        &self,
        offset: u64,
        place: u64,
        block: &mut [u8],
        visit: &mut dyn FnMut(Met<'_>) -> Result<()>,
    ) -> Result<()> {
        let size = self.geometry.record;
        let readable = self.device.read_at(place, block).is_ok();
        for (number, bytes) in (offset / size..).zip(block.chunks_exact_mut(len_of(size))) {
            if readable {
                visit(self.look(number, place + (number * size - offset), bytes))?;
            } else {
                self.visit_alone(number, visit)?;
            }
        }
        Ok(())
    }

    fn visit_alone(&self, number: u64, visit: &mut dyn FnMut(Met<'_>) -> Result<()>) -> Result<()> {
        match self.raw(number) {
            Ok((mut bytes, place)) => visit(self.look(number, place, &mut bytes)),
            Err(error) => visit(Met::Damaged(error)),
        }
    }

    /// The value of a resident attribute of a record, as (attribute type, value).
    pub(super) fn resident_values(&self, number: u64) -> Result<Vec<(u32, Vec<u8>)>> {
        let Some(owned) = self.record(number)? else {
            let why = "it is not in use";
            return Err(Error::refused(format!("read MFT record {number}"), why));
        };
        let mut values = Vec::new();
        for attribute in owned.record().attributes() {
            let attribute = attribute?;
            if let Some(value) = attribute.resident() {
                values.push((attribute.kind, slice_at(value, 0, value.len()).unwrap_or_default().to_vec()));
            }
        }
        Ok(values)
    }
}

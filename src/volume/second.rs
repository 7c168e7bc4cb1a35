//! A second, independent reader of files: the crate ntfs, which nothing else here uses. What was written counts as
//! verified only when a reader that is not ours finds it in the same file.
//!
//! It does not do the work itself since it cannot follow an MFT whose runs stand in an attribute list, and fails in the
//! directories of volumes with 64 KiB clusters (0.4.0). Files are asked for by their record, so neither matters here.

use std::io::BufReader;
use std::sync::Arc;

use ::ntfs::attribute_value::NtfsAttributeValue;
use ::ntfs::{Ntfs, NtfsAttribute, NtfsAttributeFlags, NtfsError, NtfsReadSeek as _};

use super::compressed::Units;
use super::record::ClusterRun;
use super::stream::Stream;
use super::{ReadAt, bytes};
use crate::change::FileId;
use crate::error::{Error, Result};
use crate::fence::fenced;
use crate::memory;

const DOING: &str = "read the file with the second reader";
/// log2 of the clusters in a compression unit, as Windows and ntfs-3g write it; the crate does not tell it.
const UNIT: u8 = 4;

/// The whole unnamed $DATA of a file of at most `max` bytes, as the ntfs crate reads it.
///
/// # Errors
/// The record is another file by now; the crate cannot read it; the file is larger.
pub(super) fn read_again(device: Arc<dyn ReadAt>, id: FileId, max: u64) -> Result<Vec<u8>> {
    // Nothing mutable is shared with the closure. The crate asserts here and there on damaged volumes.
    fenced(DOING, "ntfs", || read(device, id, max))
}

fn read(device: Arc<dyn ReadAt>, id: FileId, max: u64) -> Result<Vec<u8>> {
    let library = |error: NtfsError| Error::library(DOING, error);
    let FileId::Ntfs { record, sequence } = id else {
        return Err(Error::refused(DOING, format!("{id} is no file of an NTFS volume")));
    };
    let mut stream = BufReader::new(Stream::new(device));
    let volume = Ntfs::new(&mut stream).map_err(library)?;
    let file = volume.file(&mut stream, record).map_err(library)?;
    if file.sequence_number() != sequence {
        let found = format!("sequence {}", file.sequence_number());
        return Err(Error::mismatch(
            DOING,
            file.position().value().map_or(0, u64::from),
            id.to_string(),
            found,
        ));
    }
    let none = || Error::refused(DOING, "it finds no unnamed $DATA");
    let data = file.data(&mut stream, "").ok_or_else(none)?.map_err(library)?;
    let attribute = data.to_attribute().map_err(library)?;
    if attribute.flags().contains(NtfsAttributeFlags::COMPRESSED) && !attribute.is_resident() {
        return read_compressed(volume.cluster_size().into(), &attribute, &mut stream, max);
    }
    let mut value = attribute.value(&mut stream).map_err(library)?;
    if value.len() > max {
        return Err(Error::refused(DOING, format!("it has {} bytes, more than {max}", value.len())));
    }
    let mut content = memory::buffer(DOING, value.len())?;
    content.resize(bytes::len_of(value.len()), 0);
    value.read_exact(&mut stream, &mut content).map_err(library)?;
    Ok(content)
}

/// The crate leaves compressed bytes as they are: it tells the clusters, and our decoder reads them.
fn read_compressed(
    cluster: u64,
    attribute: &NtfsAttribute<'_, '_>,
    stream: &mut BufReader<Stream>,
    max: u64,
) -> Result<Vec<u8>> {
    let library = |error: NtfsError| Error::library(DOING, error);
    let size = attribute.value_length();
    let value = attribute.value(stream).map_err(library)?;
    let NtfsAttributeValue::NonResident(value) = value else {
        return Err(Error::refused(DOING, "its data runs stand in an attribute list"));
    };
    if size > max {
        return Err(Error::refused(DOING, format!("it has {size} bytes, more than {max}")));
    }
    let (mut runs, mut vcn) = (Vec::new(), 0_u64);
    for run in value.data_runs() {
        let run = run.map_err(library)?;
        let count = run.allocated_size() / cluster;
        let lcn = run.data_position().value().map(|place| u64::from(place) / cluster);
        runs.push(ClusterRun { vcn, lcn, count });
        vcn = vcn.saturating_add(count);
    }
    let device = stream.get_ref().device().clone();
    let mut content = memory::buffer(DOING, size)?;
    let units = Units { cluster, exponent: UNIT };
    units.read(&runs, size, &mut |place, buf| device.read_at(place, buf), &mut |piece| {
        content.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(content)
}

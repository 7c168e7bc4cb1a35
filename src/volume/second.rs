//! A second, independent reader of files: the crate ntfs, which nothing else here uses. What was written counts as
//! verified only when a reader that is not ours finds it in the same file.
//!
//! It does not do the work itself since it cannot follow an MFT whose runs stand in an attribute list, and fails in the
//! directories of volumes with 64 KiB clusters (0.4.0). Files are asked for by their record, so neither matters here.

use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::ntfs::{Ntfs, NtfsError, NtfsReadSeek as _};

use super::stream::Stream;
use super::{ReadAt, bytes};
use crate::change::FileId;
use crate::error::{Error, Result};

const DOING: &str = "read the file with the second reader";

/// The whole unnamed $DATA of a file of at most `max` bytes, as the ntfs crate reads it.
///
/// # Errors
/// The record is another file by now; the crate cannot read it; the file is larger.
pub(super) fn read_again(device: Arc<dyn ReadAt>, id: FileId, max: u64) -> Result<Vec<u8>> {
    // Nothing mutable is shared with the closure. The crate asserts here and there on damaged volumes.
    let read = catch_unwind(AssertUnwindSafe(|| read(device, id, max)));
    read.unwrap_or_else(|_| Err(Error::library(DOING, "the ntfs crate panicked")))
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
    let mut value = attribute.value(&mut stream).map_err(library)?;
    if value.len() > max {
        return Err(Error::refused(DOING, format!("it has {} bytes, more than {max}", value.len())));
    }
    let mut content = vec![0; bytes::len_of(value.len())];
    value.read_exact(&mut stream, &mut content).map_err(library)?;
    Ok(content)
}

//! A second, independent reader of values: the crate nt-hive, which nothing else here uses. What we wrote counts as
//! verified only when a reader that is not ours sees it too.
//!
//! nt-hive 0.3 has gaps, each fenced here, and only this file knows them:
//! - it asserts (panics) on a list entry or data of 0xFFFFFFFF, so lists on the way are looked through by our own
//!   reader first and the data of an empty value is not asked for. A panic for any other reason is caught and told as
//!   an error; the panic hook of the program would still speak, but no such case is known;
//! - it takes a value of more than 16344 bytes for big data in version 1.3 too, which has none;
//! - it does not know types above REG_QWORD.

use super::cell::{SEGMENT, u32_at};
use super::{CHECKSUM, FILE_TYPE, Hive, checksum};
use crate::change::{ValueData, ValueType};
use crate::error::{Cause, Error, Result};
use crate::fence::fenced;
use crate::path::RegPath;

const DOING: &str = "read a value with the second reader";

/// What nt-hive reads as the value of that name, "" for the default one; none where the key or the value does not
/// exist.
///
/// Errors: with [`Cause::Refused`] the second reader cannot read this value, which says nothing against the hive
/// (see [`unreadable`]); with any other cause it finds the hive wrong, dirty included.
pub fn read_value(hive: &Hive, key: &RegPath, value: &str) -> Result<Option<ValueData>> {
    look_through(hive, key).map_err(|error| error.within(DOING).path(key))?;
    // Nothing mutable is shared with the closure, so nothing can be left half changed.
    let read = fenced(DOING, "nt-hive", || match primary(hive) {
        Some(copy) => read(&copy, key, value),
        None => read(hive.as_bytes(), key, value),
    });
    read.map_err(|error| error.path(key))
}

/// SYSTEM.ALT as nt-hive takes it, which knows no file type but that of a primary hive; none for a primary hive.
fn primary(hive: &Hive) -> Option<Vec<u8>> {
    let mut copy = (u32_at(hive.as_bytes(), FILE_TYPE) != Some(0)).then(|| hive.as_bytes().to_vec())?;
    copy.get_mut(FILE_TYPE..FILE_TYPE + 4)?.fill(0);
    let sum = checksum(&copy).to_le_bytes();
    copy.get_mut(CHECKSUM..CHECKSUM + 4)?.copy_from_slice(&sum);
    Some(copy)
}

/// Whether an error of [`read_value`] means that the second reader is not able to read such a value.
pub fn unreadable(error: &Error) -> bool {
    matches!(error.cause, Cause::Refused(_))
}

/// Reads every list that nt-hive may read on its way to the key: our reader tells of an entry of 0xFFFFFFFF.
fn look_through(hive: &Hive, path: &RegPath) -> Result<()> {
    let mut key = hive.root()?;
    for part in path.parts() {
        match key.subkey(part)? {
            Some(subkey) => key = subkey,
            None => return Ok(()),
        }
    }
    key.values().map(|_| ())
}

fn read(bytes: &[u8], path: &RegPath, value: &str) -> Result<Option<ValueData>> {
    let library = |error: nt_hive::NtHiveError| Error::library(DOING, error.to_string());
    let hive = nt_hive::Hive::new(bytes).map_err(library)?;
    let mut key = hive.root_key_node().map_err(library)?;
    for part in path.parts() {
        match key.subkey(part).transpose().map_err(library)? {
            Some(subkey) => key = subkey,
            None => return Ok(None),
        }
    }
    let Some(value) = key.value(value).transpose().map_err(library)? else { return Ok(None) };
    let kind = match value.data_type() {
        Ok(kind) => ValueType(kind as u32),
        Err(error) => return Err(Error::refused(DOING, error.to_string())),
    };
    let size = value.data_size() as usize;
    if size == 0 {
        return Ok(Some(ValueData { kind, data: Vec::new() }));
    }
    if hive.minor_version() <= 3 && size > SEGMENT {
        return Err(Error::refused(DOING, format!("{size} bytes of data in one cell of a 1.3 hive")));
    }
    let data = value.data().and_then(nt_hive::KeyValueData::into_vec).map_err(library)?;
    Ok(Some(ValueData { kind, data }))
}

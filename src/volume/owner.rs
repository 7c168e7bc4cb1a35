//! Who owns a file on NTFS: the owner of its security descriptor, which NT 4.0 keeps in an attribute of the file, and
//! 2000 and later in `$Secure`, by the number in $STANDARD_INFORMATION. Sources: the Linux-NTFS documentation of
//! $SECURITY_DESCRIPTOR and $Secure; [MS-DTYP] 2.4.2 and 2.4.6 for the identifier and the descriptor.

use std::fmt::Write as _;

use super::bytes::{array_at, len_of, slice_at, u8_at, u32_at, u64_at};
use super::data;
use super::mft::Mft;
use super::record::{Record, kind};
use crate::error::{Error, Result};

/// MFT record of `$Secure`, and its stream of descriptors.
const SECURE: u64 = 9;
const STREAM: &str = "$SDS";
/// Where $STANDARD_INFORMATION of 2000 and later has the number of the descriptor.
const SECURITY_ID: usize = 0x34;
/// Header of an entry of the stream: hash, number, place in the stream, size with this header.
const HEADER: usize = 20;
/// A stream longer than this is not searched.
const LIMIT: u64 = 64 << 20;

/// The owner, as people write an identifier: `S-1-5-32-544`. None where the file has no descriptor that tells.
///
/// # Errors
/// The record or `$Secure` cannot be read.
pub(super) fn owner(mft: &Mft, record: &Record<'_>) -> Result<Option<String>> {
    if let Some(own) = data::content(mft, record, kind::SECURITY_DESCRIPTOR, "")? {
        return Ok(owner_of(&own.read(mft, LIMIT)?));
    }
    let Some(standard) = data::content(mft, record, kind::STANDARD_INFORMATION, "")? else { return Ok(None) };
    let standard = standard.read(mft, LIMIT)?;
    let Some(id) = u32_at(&standard, SECURITY_ID).filter(|&id| id != 0) else { return Ok(None) };
    let doing = "read the security descriptors of $Secure";
    let secure = mft.record(SECURE).map_err(|error| error.within(doing))?;
    let secure = secure.ok_or_else(|| Error::refused(doing, "there is no $Secure"))?;
    let Some(stream) = data::content(mft, &secure.record(), kind::DATA, STREAM)? else { return Ok(None) };
    let stream = stream.read(mft, LIMIT).map_err(|error| error.within(doing))?;
    Ok(descriptor(&stream, id).and_then(owner_of))
}

/// The descriptor of a number. Entries begin every 16 bytes at most; each names its own place, so that the copies that
/// stand behind every 256 KiB are told apart.
fn descriptor(stream: &[u8], id: u32) -> Option<&[u8]> {
    (0..stream.len()).step_by(16).find_map(|at| {
        let is_it = u32_at(stream, at + 4) == Some(id) && u64_at(stream, at + 8) == Some(at as u64);
        let size = len_of(u64::from(u32_at(stream, at + 16)?));
        slice_at(stream, at, size).filter(|_| is_it)?.get(HEADER..)
    })
}

/// The owner of a self-relative descriptor.
fn owner_of(descriptor: &[u8]) -> Option<String> {
    let at = len_of(u64::from(u32_at(descriptor, 4).filter(|&at| at != 0)?));
    let identifier = descriptor.get(at..)?;
    let authority: [u8; 6] = array_at(identifier, 2)?;
    let authority = authority.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut words = format!("S-{}-{authority}", u8_at(identifier, 0)?);
    for index in 0..usize::from(u8_at(identifier, 1)?) {
        // Writing to a String does not fail.
        let _ = write!(words, "-{}", u32_at(identifier, 8 + 4 * index)?);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn administrators() -> Vec<u8> {
        let mut bytes = vec![1, 0, 4, 0x80, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0]);
        bytes
    }

    #[test]
    fn an_owner_is_told_as_people_write_it() {
        let whole = administrators();
        assert_eq!(owner_of(&whole).as_deref(), Some("S-1-5-32-544"));
        for length in 0..whole.len() {
            assert_eq!(owner_of(&whole[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn a_descriptor_is_found_by_its_number_and_place() {
        let mut stream = vec![0; 64];
        let entry = |id: u32, at: u64, body: &[u8]| {
            let mut entry = vec![0; 4];
            entry.extend(id.to_le_bytes());
            entry.extend(at.to_le_bytes());
            entry.extend((HEADER as u32 + body.len() as u32).to_le_bytes());
            entry.extend(body);
            entry
        };
        stream.extend(entry(0x101, 0, b"another place"));
        stream.resize(112, 0);
        stream.extend(entry(0x101, 112, &administrators()));
        assert_eq!(descriptor(&stream, 0x101).and_then(owner_of).as_deref(), Some("S-1-5-32-544"));
        assert_eq!(descriptor(&stream, 0x102), None);
        stream.truncate(stream.len() - 1);
        assert_eq!(descriptor(&stream, 0x101), None);
    }
}

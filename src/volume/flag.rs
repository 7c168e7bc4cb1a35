//! The dirty flag of NTFS, turned raw: one sector of $MFT's record 3, then the same sector of $MFTMirr.
//!
//! A volume that is mounted read-write here has it set meanwhile, since ntfs-3g never sets it: whatever cuts the
//! mount, Windows then checks the volume at its next start. The update sequence number stays as it is, so only one
//! sector of the record differs, and a sector is written wholly or not at all.

use super::bytes::{len_of, len64, u8_at, u16_at, u32_at};
use super::mft::Mft;
use super::record::kind;
use super::{Extents, SECTOR};
use crate::error::{Error, Result};

/// MFT record of $Volume.
const VOLUME: u64 = 3;
/// MFT record of $MFTMirr.
const MIRROR: u64 = 1;
/// Where the flags stand in $VOLUME_INFORMATION, in bytes.
const FLAGS: usize = 10;
/// The flag.
const DIRTY: u8 = 1;

/// One sector that changes when the dirty flag is turned. They are written in their order, each synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagSector {
    /// Offset in the volume, in bytes.
    pub place: u64,
    /// What it holds with the flag clear.
    pub clear: Vec<u8>,
    /// What it holds with the flag set.
    pub set: Vec<u8>,
}

/// The sectors that hold the dirty flag: that of $MFT, then that of $MFTMirr.
pub(super) fn sectors(mft: &Mft) -> Result<Vec<FlagSector>> {
    let doing = "find the dirty flag";
    let (record, place) = mft.raw(VOLUME)?;
    let flags = offset(mft)?;
    let stride = len_of(SECTOR);
    let sector = flags / stride * stride;
    if is_displaced(flags) {
        let why = "it lies where the update sequence number stands in the record";
        return Err(Error::refused(doing, why).offset(place + len64(flags)));
    }
    let now = record.get(sector..sector + stride).unwrap_or_default().to_vec();
    let own = place_of(&mft.extents, VOLUME * mft.geometry.record + len64(sector))?;
    let mirror = super::data::content(
        mft,
        &mft.record(MIRROR)?.ok_or_else(|| Error::refused(doing, "there is no $MFTMirr"))?.record(),
        kind::DATA,
        "",
    )?
    .ok_or_else(|| Error::refused(doing, "$MFTMirr has no data"))?
    .extents(mft)?;
    let copy = place_of(&mirror, VOLUME * mft.geometry.record + len64(sector))?;
    let mut found = vec![0; stride];
    mft.device.read_at(copy, &mut found)?;
    if found != now {
        return Err(Error::mismatch(doing, copy, "in $MFTMirr the same sector as in $MFT", "another")
            .hint("have that Windows check the volume (chkdsk /f)"));
    }
    let with = |set: bool| {
        let mut bytes = now.clone();
        if let Some(byte) = bytes.get_mut(flags - sector) {
            *byte = if set { *byte | DIRTY } else { *byte & !DIRTY };
        }
        bytes
    };
    let at = |place| FlagSector { place, clear: with(false), set: with(true) };
    Ok(vec![at(own), at(copy)])
}

/// Whether what stands at this offset of a record is displaced by the update sequence number: the last word of each
/// sector holds that, and the bytes are in the array.
fn is_displaced(offset: usize) -> bool {
    let stride = len_of(SECTOR);
    offset % stride >= stride - 2
}

/// Where the flags word stands in the record, in bytes.
fn offset(mft: &Mft) -> Result<usize> {
    let missing = || Error::refused("find the dirty flag", "there is no $VOLUME_INFORMATION");
    let owned = mft.record(VOLUME)?.ok_or_else(missing)?;
    let record = owned.record();
    let mut at = usize::from(u16_at(record.bytes, 0x14).unwrap_or(0));
    // Each attribute was found to lie inside the record.
    for attribute in record.attributes() {
        if attribute?.kind == kind::VOLUME_INFORMATION {
            let value = usize::from(u16_at(record.bytes, at + 20).ok_or_else(missing)?);
            let length = u32_at(record.bytes, at + 16).ok_or_else(missing)?;
            let is_resident = u8_at(record.bytes, at + 8) == Some(0);
            return if is_resident && length >= 12 { Ok(at + value + FLAGS) } else { Err(missing()) };
        }
        at += len_of(u64::from(u32_at(record.bytes, at + 4).ok_or_else(missing)?));
    }
    Err(missing())
}

fn place_of(extents: &Extents, offset: u64) -> Result<u64> {
    extents.place(offset, SECTOR)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Memory, mkntfs, tool_text};
    use super::super::{FileSystem as _, NtfsVolume};
    use super::*;

    /// Both sectors in turn, judged by ntfsinfo; with the flag cleared again the volume is as it was.
    #[test]
    fn two_sectors_set_the_flag_and_clear_it() {
        for cluster in [512, 4096, 65536] {
            let folder = tempfile::tempdir().unwrap();
            let image = folder.path().join("volume.img");
            mkntfs(&image, 32 << 20, cluster);
            let original = std::fs::read(&image).unwrap();
            let flag = NtfsVolume::open(Memory::new(original.clone())).unwrap().dirty_flag().unwrap();
            assert_eq!(flag.len(), 2, "clusters of {cluster}");
            let mut bytes = original.clone();
            for sector in &flag {
                let place = len_of(sector.place);
                assert!(
                    bytes[place..place + 512] == sector.clear[..],
                    "what is there, clusters of {cluster}"
                );
                assert_eq!(sector.clear.iter().zip(&sector.set).filter(|(a, b)| a != b).count(), 1);
                bytes[place..place + 512].copy_from_slice(&sector.set);
            }
            let volume = NtfsVolume::open(Memory::new(bytes.clone())).unwrap();
            assert!(volume.is_dirty());
            std::fs::write(&image, &bytes).unwrap();
            let told = tool_text("ntfsinfo", &["-f", "-m", image.to_str().unwrap()]);
            assert!(told.contains("DIRTY"), "clusters of {cluster}: {told}");
            let again = volume.dirty_flag().unwrap();
            assert_eq!(again, flag, "the same sectors, whichever way it stands");
            for sector in &again {
                let place = len_of(sector.place);
                bytes[place..place + 512].copy_from_slice(&sector.clear);
            }
            assert!(bytes == original);

            let mirror = len_of(flag[1].place);
            bytes[mirror + 20] ^= 0x10;
            let volume = NtfsVolume::open(Memory::new(bytes)).unwrap();
            let error = volume.dirty_flag().unwrap_err().to_string();
            assert!(error.contains("$MFTMirr") && error.contains("chkdsk"), "{error}");
        }
    }

    #[test]
    fn the_last_word_of_a_sector_is_never_turned() {
        let displaced: Vec<usize> = (0..1024).filter(|&offset| is_displaced(offset)).collect();
        assert_eq!(displaced, [510, 511, 1022, 1023]);
    }
}

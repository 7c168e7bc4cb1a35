//! The file that a hive is in: read whole, copied, overwritten sector by sector.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::Backup;
use crate::error::{Context as _, Error, Result};
use crate::hive::edit::{Edit, Group};
use crate::hive::{Hive, second};
use crate::volume::{Device as _, RawDevice};

/// A hive's bins end below 2 GiB; what follows them in the file is not worth more memory.
const LARGEST: u64 = 1 << 31;

/// A whole plain file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    const DOING: &str = "read the file";
    let place = |error: Error| error.device(path);
    let metadata = std::fs::metadata(path).doing(DOING).map_err(place)?;
    if !metadata.is_file() {
        return Err(place(Error::refused(DOING, "it is no plain file")));
    }
    if metadata.len() > LARGEST {
        let why = format!("it has {} bytes; a hive has at most {LARGEST}", metadata.len());
        return Err(place(Error::refused(DOING, why)));
    }
    std::fs::read(path).doing(DOING).map_err(place)
}

/// The time as a FILETIME: 100 ns since 1601.
pub(super) fn now() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_nanos() / 100).unwrap_or(0) + 116_444_736_000_000_000
}

/// The file as it will be once it is made long enough, if it is not.
pub(super) fn lengthened(bytes: &[u8], length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok().filter(|&length| length > bytes.len())?;
    let mut longer = bytes.to_vec();
    longer.resize(length, 0);
    Some(longer)
}

/// Writes a new file, and returns when it is on the medium.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let doing = "write a new file";
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // The name, too, must be on the medium.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().doing(doing).map_err(|error| error.device(path))
}

/// Copies the hive as it is.
pub(super) fn backup(backup: &Backup, bytes: &[u8]) -> Result<()> {
    let Backup::File(path) = backup else { return Ok(()) };
    write_new(path, bytes)
        .doing("back the hive up first")
        .map_err(|error| error.hint("nothing was written; give another file, or none, with --backup"))
}

/// Where the hive as it was can be found, as the end of a sentence.
pub(super) fn where_it_was(backup: &Backup) -> String {
    match backup {
        Backup::None => String::new(),
        Backup::File(path) => format!("; the hive as it was is {}", path.display()),
    }
}

/// Writes the groups, each synced, and reads the file again, which must then begin with `wanted`.
pub(super) fn write(path: &Path, groups: &[Group], wanted: &[u8]) -> Result<()> {
    let device = RawDevice::new(path)?;
    let length = wanted.len() as u64;
    let found = std::fs::metadata(path).doing("look at the file")?.len();
    if found < length {
        // Bytes behind the bins are no part of the hive, so a cut here leaves it as it was.
        let lengthen = || -> std::io::Result<()> {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(length)?;
            file.sync_all()
        };
        lengthen().doing("make the file longer").map_err(|error| error.device(path))?;
    }
    let mut sectors = device.open_write()?;
    let mut written = 0;
    for group in groups {
        for patch in &group.sectors {
            sectors.overwrite(patch.offset, &patch.before, &patch.after).map_err(|error| {
                let left = match written {
                    0 => "nothing was written",
                    _ => "give the same command again: the hive is as before the edit or after it, or its log still applies",
                };
                error.within("write the hive").hint(left)
            })?;
            written += 1;
        }
        sectors.sync()?;
    }
    drop(sectors);
    device.drop_caches()?;
    if read(path)?.starts_with(wanted) {
        return Ok(());
    }
    Err(Error::refused("verify what was written", "the file does not hold what was written to it")
        .device(path))
}

/// A reader that is not ours must see the edited value too. Asked before anything is written, of the very bytes that
/// [`write`] finds in the file afterwards.
pub(super) fn second_opinion(hive: &Hive, edit: Option<&Edit>) -> Result<()> {
    const DOING: &str = "verify the edit";
    let Some((edit, name)) = edit.and_then(|edit| Some((edit, edit.value()?))) else { return Ok(()) };
    let wanted = if let Edit::Set { to, .. } = edit { Some(to) } else { None };
    match second::read_value(hive, edit.key(), name) {
        Err(error) if second::unreadable(&error) => Ok(()),
        Ok(found) if found.as_ref() == wanted => Ok(()),
        Ok(_) => Err(Error::refused(DOING, "a second reader reads the value otherwise; nothing was written")),
        Err(error) => Err(error.within(DOING)),
    }
}

//! A second, independent reader of files: the crate fatfs, which nothing else here uses. What was written counts as
//! verified only when a reader that is not ours finds it in the same file.
//!
//! It does not do the work itself (0.3.6): it follows a chain that loops for ever, and does not tell where an entry or a
//! cluster stands. So it is asked by path, and only for what our own reader could follow to the end.

use std::sync::Arc;

use fatfs::{FsOptions, OemCpConverter};

use super::entries::oem_char;
use super::{FatVolume, directories};
use crate::change::FileId;
use crate::error::{Error, Result};
use crate::fence::fenced;
use crate::memory;
use crate::path::WinPath;
use crate::volume::bytes::len_of;
use crate::volume::stream::Stream;
use crate::volume::{FileFacts, FileSystem as _, ReadAt};

const DOING: &str = "read the file with the second reader";

/// The whole data of a file of at most `max` bytes, as the fatfs crate reads it.
///
/// # Errors
/// The id is another file by now; the crate cannot read it; the file is larger.
pub(super) fn read_again(volume: &FatVolume, id: FileId, max: u64) -> Result<Vec<u8>> {
    let gone = || Error::refused(DOING, format!("{id} is no longer there, or is another file by now"));
    let facts = volume.facts(id)?.ok_or_else(gone)?;
    if facts.size > max {
        return Err(Error::refused(DOING, format!("it has {} bytes, more than {max}", facts.size)));
    }
    refuse_endless(volume, &facts)?;
    let device = volume.table.device.clone();
    // Nothing mutable is shared with the closure. The crate unwraps here and there on damaged volumes.
    fenced(DOING, "fatfs", || read(device, &facts))
}

/// Refuses what that crate would not come to the end of: a chain on the way to the file, or its own, that does not end,
/// and a path that leads to another entry than the one that is meant.
pub(super) fn refuse_endless(volume: &FatVolume, facts: &FileFacts) -> Result<()> {
    let mut above = WinPath::default();
    for part in facts.path.parts() {
        let found = volume.find(&above)?.map(|facts| facts.id);
        let Some(FileId::Fat { cluster, .. }) = found else { break };
        let (_, damage) = directories::read(&volume.table, cluster);
        if let Some(error) = damage {
            return Err(error.path(&above).within(DOING));
        }
        above = above.join(part);
    }
    if volume.find(&facts.path)?.map(|found| found.id) != Some(facts.id) {
        let why = "another entry of its directory has the same name";
        return Err(Error::refused(DOING, why).path(&facts.path));
    }
    if facts.size > 0 {
        volume.extents(facts.id).map_err(|error| error.within(DOING))?;
    }
    Ok(())
}

fn read(device: Arc<dyn ReadAt>, facts: &FileFacts) -> Result<Vec<u8>> {
    let library = |error: std::io::Error| Error::library(DOING, error).path(&facts.path);
    let options = FsOptions::new().update_accessed_date(false).oem_cp_converter(&CodePage);
    let volume = fatfs::FileSystem::new(Stream::new(device), options).map_err(library)?;
    let path: Vec<&str> = facts.path.parts().collect();
    let mut file = volume.root_dir().open_file(&path.join("/")).map_err(library)?;
    let mut content = memory::buffer(DOING, facts.size)?;
    content.resize(len_of(facts.size), 0);
    std::io::Read::read_exact(&mut file, &mut content).map_err(library)?;
    if std::io::Read::read(&mut file, &mut [0]).map_err(library)? != 0 {
        return Err(Error::refused(DOING, format!("it goes on behind {} bytes", facts.size)));
    }
    Ok(content)
}

/// 8.3 names as our own reader has them, so that a path of ours leads somewhere.
#[derive(Debug)]
pub(super) struct CodePage;

impl OemCpConverter for CodePage {
    fn decode(&self, byte: u8) -> char {
        oem_char(byte)
    }

    /// Asked for new names only, which nobody makes through a stream that cannot be written.
    fn encode(&self, letter: char) -> Option<u8> {
        (0..=u8::MAX).find(|&byte| oem_char(byte) == letter)
    }
}

//! Full paths of collected files: parents walked by direct reads, with a small cache, loops and depth bounded.

use std::collections::HashMap;

use super::data;
use super::mft::Mft;
use super::ntfs::ROOT;
use super::record::{Name, Namespace, kind};
use crate::error::Error;
use crate::path::WinPath;

/// How many directories a path can have here; Windows ends at some 16 000 by the length of a path, in practice at 128.
const DEPTH_LIMIT: usize = 512;
/// How many directories are remembered.
const CACHE_LIMIT: usize = 4096;

/// Directories met so far: record number to sequence number and name.
pub(super) struct Parents<'a> {
    mft: &'a Mft,
    known: HashMap<u64, Option<(u16, Name)>>,
    /// Why the first directory that could not be read was not: what lies below it seems to be nowhere.
    pub(super) failed: Option<Error>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(mft: &'a Mft) -> Self {
        Self { mft, known: HashMap::new(), failed: None }
    }

    /// The path of record `number` by one of its names, and whether it leads to the root.
    pub(super) fn path(&mut self, number: u64, name: &Name) -> (WinPath, bool) {
        if number == ROOT {
            return (WinPath::default(), true);
        }
        let mut parts = vec![name.name.clone()];
        let mut above = (name.parent, name.parent_sequence);
        let mut rooted = false;
        while parts.len() < DEPTH_LIMIT {
            let Some((sequence, name)) = self.directory(above.0) else { break };
            if sequence != above.1 {
                break;
            }
            if above.0 == ROOT {
                rooted = true;
                break;
            }
            parts.push(name.name.clone());
            above = (name.parent, name.parent_sequence);
        }
        if !rooted {
            // A loop has gathered the same names again and again: one round says as much.
            parts.truncate(if parts.len() == DEPTH_LIMIT { 1 } else { DEPTH_LIMIT });
            parts.push("$Orphan".to_owned());
        }
        (WinPath::from_parts(parts.iter().rev()), rooted)
    }

    /// Sequence number and long name of a directory; none where there is no such directory.
    fn directory(&mut self, number: u64) -> Option<(u16, Name)> {
        if let Some(known) = self.known.get(&number) {
            return known.clone();
        }
        if self.known.len() >= CACHE_LIMIT {
            self.known.clear();
        }
        let read = self.read(number);
        self.known.insert(number, read.clone());
        read
    }

    fn read(&mut self, number: u64) -> Option<(u16, Name)> {
        let owned = match self.mft.record(number) {
            Ok(found) => found?,
            Err(error) => {
                self.failed = self.failed.take().or(Some(error).filter(Error::is_io));
                return None;
            }
        };
        let record = owned.record();
        if !record.is_directory() || record.base().is_some() {
            return None;
        }
        let mut names = Vec::new();
        // A damaged attribute behind the name does no harm to the path.
        let _ = data::for_each_attribute(self.mft, &record, &mut |attribute, _| {
            if attribute.kind == kind::FILE_NAME {
                names.push(attribute.file_name()?);
            }
            Ok(())
        });
        let long = names.iter().position(|name| name.namespace != Namespace::Dos).unwrap_or(0);
        (long < names.len()).then(|| (record.sequence(), names.swap_remove(long)))
    }
}

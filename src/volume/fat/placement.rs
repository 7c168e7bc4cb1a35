//! Putting a folder with its files on a volume, as sectors to be written raw: nothing is mounted.
//!
//! The crate `fatfs` does it on a copy in memory. What it changed is taken only where it is clusters that were free and
//! that nothing names, their entries in every FAT, entries of the one directory that were free, the counters of FSInfo.
//!
//! Order, each group synced, the dirty flag set meanwhile: the clusters; the FATs; the directory; FSInfo. A cut leaves
//! the flag set, and at worst clusters that no file has, or the folder; no other file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use fatfs::FsOptions;

use super::boot::ENTRY;
use super::directories::{Directory, Met, Tree};
use super::removal::{COUNTERS, DELETED, TIME, flag, fs_info, with_flag_set};
use super::second::{CodePage, refuse_endless};
use super::table::Link;
use super::{FatVolume, directories};
use crate::change::FileId;
use crate::error::{Error, Result};
use crate::fence::fenced;
use crate::path::WinPath;
use crate::volume::bytes::{len_of, u32_at};
use crate::volume::recorder::Recorder;
use crate::volume::{FileSystem as _, NewFile, Overlay, ReadAt as _, SECTOR, SectorChange};

const DOING: &str = "work out how the folder is put on the volume";
/// Groups of sectors, in the order of writing: clusters, FATs, directory, FSInfo.
const GROUPS: usize = 4;

/// Every sector that putting these files and folders below a folder writes, in groups.
pub(super) fn placement(
    volume: &FatVolume,
    above: &WinPath,
    files: &[NewFile],
) -> Result<Vec<Vec<SectorChange>>> {
    if volume.is_dirty() {
        return Err(Error::refused(DOING, "its dirty flag is set, so Windows must check it first"));
    }
    if volume.table.differences()?.is_some() {
        return Err(Error::refused(DOING, "its two FATs differ, so Windows must check it first"));
    }
    let flags = flag(volume)?;
    // The store's folder may be there from an earlier run.
    let (mut parent, mut new) = (above.clone(), files);
    if let Some((first, rest)) = files.split_first() {
        let place = above.join(first.path.as_str());
        if first.bytes.is_none() && volume.find(&place)?.is_some_and(|found| found.is_directory) {
            (parent, new) = (place, rest);
        }
    }
    for file in new {
        let place = above.join(file.path.as_str());
        if volume.find(&place)?.is_some() {
            return Err(Error::refused(DOING, "it is there already").path(place));
        }
    }
    let facts = volume.find(&parent)?.filter(|facts| facts.is_directory);
    let facts = facts.ok_or_else(|| Error::refused(DOING, "there is no such folder").path(&parent))?;
    refuse_endless(volume, &facts)?;
    let FileId::Fat { entry, cluster } = facts.id else {
        return Err(Error::refused(DOING, "it is no folder of a FAT volume").path(&parent));
    };
    let (directory, damage) = directories::read(&volume.table, cluster);
    if let Some(error) = damage {
        return Err(error.path(&parent).within(DOING));
    }
    let overlay = Overlay::new(volume.table.device.clone());
    let written = Arc::new(Mutex::new(overlay));
    // Nothing but the copy in memory is shared with the closure, and it is thrown away with an error.
    fenced(DOING, "fatfs", || make(written.clone(), above, new))?;
    mend_dots(&written, above, new)?;
    let sectors = written.lock().unwrap_or_else(PoisonError::into_inner).sectors().clone();
    // The root has no entry; the time in that of another folder stays, as Windows leaves it.
    let stays = if entry > 0 { entry + TIME.start..entry + TIME.end } else { 0..0 };
    let mut may = May { volume, directory, fs_info: fs_info(volume)?, taken: BTreeSet::new() };
    let mut groups = vec![Vec::new(); GROUPS];
    let mut then = Overlay::new(volume.table.device.clone());
    for (place, mut after) in sectors {
        let mut before = vec![0; len_of(SECTOR)];
        volume.table.device.read_at(place, &mut before)?;
        for (at, (before, after)) in (place..).zip(before.iter().zip(&mut after)) {
            if stays.contains(&at) {
                *after = *before;
            }
        }
        if before == after {
            continue;
        }
        then.replace(place, &after);
        let rank = may.rank(place, &before, &after)?;
        let mut change = SectorChange { place, before, after };
        with_flag_set(&mut change, &flags);
        if let Some(group) = groups.get_mut(rank) {
            group.push(change);
        }
    }
    may.refuse_named()?;
    if let Some(directory) = groups.get_mut(2) {
        // The 8.3 entry, which makes the folder visible, comes behind those of its long name.
        directory.sort_by_key(|change: &SectorChange| may.at(change.place));
    }
    let then = FatVolume::open(Arc::new(then))?;
    check(&then, &may, above, cluster, new)?;
    Ok(groups)
}

fn make(written: Arc<Mutex<Overlay>>, above: &WinPath, files: &[NewFile]) -> Result<()> {
    let library = |error: std::io::Error| Error::library(DOING, error);
    let options = FsOptions::new().update_accessed_date(false).oem_cp_converter(&CodePage);
    let volume = fatfs::FileSystem::new(Recorder::new(written), options).map_err(library)?;
    for file in files {
        let place = above.join(file.path.as_str());
        let parts: Vec<&str> = place.parts().collect();
        let at = |error: std::io::Error| library(error).path(&place);
        match &file.bytes {
            None => drop(volume.root_dir().create_dir(&parts.join("/")).map_err(at)?),
            Some(bytes) => {
                let mut file = volume.root_dir().create_file(&parts.join("/")).map_err(at)?;
                std::io::Write::write_all(&mut file, bytes).map_err(at)?;
                std::io::Write::flush(&mut file).map_err(at)?;
            }
        }
    }
    volume.unmount().map_err(library)
}

/// That crate (0.3.6) puts a long name before `.` and `..` of a folder that it makes, where no other driver has one.
fn mend_dots(written: &Mutex<Overlay>, above: &WinPath, files: &[NewFile]) -> Result<()> {
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    let mut then = Overlay::new(written.inner());
    written.sectors().iter().for_each(|(place, bytes)| then.replace(*place, bytes));
    let then = FatVolume::open(Arc::new(then))?;
    for file in files.iter().filter(|file| file.bytes.is_none()) {
        let Some(FileId::Fat { cluster, .. }) =
            then.find(&above.join(file.path.as_str()))?.map(|found| found.id)
        else {
            continue;
        };
        let place = then.table.geometry.place(cluster);
        let mut sector = vec![0; len_of(SECTOR)];
        written.read_at(place, &mut sector)?;
        let entries: Vec<Vec<u8>> = sector.chunks(len_of(ENTRY)).take(4).map(<[u8]>::to_vec).collect();
        let [one, dot, two, dots] = entries.as_slice() else { continue };
        let is_long = |entry: &[u8]| entry.get(11) == Some(&0x0f);
        if is_long(one) && is_long(two) && dot.starts_with(b".  ") && dots.starts_with(b".. ") {
            let mut deleted = vec![0; len_of(ENTRY)];
            deleted.iter_mut().take(1).for_each(|byte| *byte = DELETED);
            let mended = [dot.as_slice(), dots, &deleted, &deleted].concat();
            sector.iter_mut().zip(mended).for_each(|(to, from)| *to = from);
            written.replace(place, &sector);
        }
    }
    Ok(())
}

/// What is there then: all of it, the folder above as it was but for the one name, the FATs alike, the count right.
fn check(then: &FatVolume, may: &May<'_>, above: &WinPath, cluster: u32, files: &[NewFile]) -> Result<()> {
    let refuse = |why: &str| Err(Error::refused(DOING, format!("the fatfs crate {why}")));
    for file in files {
        let place = above.join(file.path.as_str());
        let found = then.find(&place)?;
        let is_right = match (&found, &file.bytes) {
            (None, _) => false,
            (Some(found), None) => found.is_directory,
            (Some(found), Some(bytes)) => then.read(found.id, found.size)? == *bytes,
        };
        if !is_right {
            return refuse(&format!("has not made {place} as it should be"));
        }
    }
    let kind = then.kind();
    let (before, mut after) =
        (may.directory.listing(kind), directories::read(&then.table, cluster).0.listing(kind));
    let name = files.first().and_then(|file| file.path.parts().last().map(str::to_owned));
    let count = after.entries.len();
    after.entries.retain(|entry| name.as_deref().is_none_or(|name| entry.name != name));
    if after != before || count > before.entries.len() + 1 {
        return refuse("would bring back other names in that folder");
    }
    if then.table.differences()?.is_some() {
        return refuse("leaves FATs that differ");
    }
    for cluster in &may.taken {
        if then.table.link(*cluster)? == Link::Free {
            return refuse("writes a cluster that it leaves free");
        }
    }
    if let Some(place) = may.fs_info {
        let counts = |device: &dyn crate::volume::ReadAt| -> Result<u32> {
            let mut sector = vec![0; len_of(SECTOR)];
            device.read_at(place, &mut sector)?;
            Ok(u32_at(&sector, len_of(COUNTERS.start)).unwrap_or(u32::MAX))
        };
        let (before, after) =
            (counts(may.volume.table.device.as_ref())?, counts(then.table.device.as_ref())?);
        let taken = u32::try_from(may.taken.len()).unwrap_or(u32::MAX);
        // All bits set: nobody has counted.
        if before != u32::MAX && before.checked_sub(taken) != Some(after) {
            let why = format!("FSInfo counts {before} free clusters, and {taken} are taken");
            return Err(Error::refused(DOING, why));
        }
    }
    Ok(())
}

/// What may change.
struct May<'a> {
    volume: &'a FatVolume,
    /// The one that gets the new name, as it is.
    directory: Directory,
    fs_info: Option<u64>,
    /// Clusters that were free and change in the FATs or themselves.
    taken: BTreeSet<u32>,
}

impl May<'_> {
    /// The group that a changed sector belongs to.
    fn rank(&mut self, place: u64, before: &[u8], after: &[u8]) -> Result<usize> {
        let mut ranks = BTreeMap::new();
        for (at, (before, after)) in (place..).zip(before.iter().zip(after)) {
            if before != after {
                let rank = self.kind_of(at, *before, *after)?;
                ranks.insert(rank.unwrap_or(GROUPS), at);
            }
        }
        match ranks.pop_last() {
            Some((rank, _)) if rank < GROUPS && ranks.is_empty() => Ok(rank),
            other => Err(Error::refused(
                DOING,
                "more would change than free clusters and free entries of the folder: it may be full",
            )
            .offset(other.map_or(place, |(_, at)| at))),
        }
    }

    fn kind_of(&mut self, at: u64, before: u8, after: u8) -> Result<Option<usize>> {
        let table = &self.volume.table;
        let geometry = &table.geometry;
        for fat in 0..geometry.fats {
            let start = geometry.fat + fat * geometry.fat_size;
            let Some(inside) = at.checked_sub(start).filter(|inside| *inside < geometry.fat_size) else {
                continue;
            };
            let width = geometry.kind.bits() / 8;
            let cluster = u32::try_from(inside / width).unwrap_or(0);
            // The upper four bits of FAT32 are reserved and stay.
            let stay = if width == 4 && inside % width == 3 { 0xf0 } else { 0 };
            let is_free = geometry.holds(cluster) && table.link(cluster)? == Link::Free;
            if !is_free || before & stay != after & stay {
                return Ok(None);
            }
            self.taken.insert(cluster);
            return Ok(Some(1));
        }
        if let Some(index) = self.at(at) {
            return Ok(self.was_free(index).then_some(2));
        }
        if let Some(cluster) = geometry.cluster_at(at) {
            if table.link(cluster)? != Link::Free {
                return Ok(None);
            }
            self.taken.insert(cluster);
            return Ok(Some(0));
        }
        let inside = self.fs_info.and_then(|place| at.checked_sub(place));
        Ok(inside.filter(|inside| COUNTERS.contains(inside)).map(|_| 3))
    }

    /// Where in the directory's bytes a place of the volume is.
    fn at(&self, place: u64) -> Option<u64> {
        let stretches = self.directory.stretches.iter();
        let mut found = stretches.filter_map(|(at, start, length)| {
            place.checked_sub(*start).filter(|inside| inside < length).map(|inside| at + inside)
        });
        found.next()
    }

    /// Whether the entry there was deleted, or stands behind the end mark.
    fn was_free(&self, index: u64) -> bool {
        let upto = len_of(index / ENTRY);
        let firsts = self.directory.bytes.chunks_exact(len_of(ENTRY)).take(upto + 1);
        let mut firsts = firsts.filter_map(|entry| entry.first().copied());
        let own = firsts.clone().nth(upto);
        own == Some(DELETED) || firsts.any(|first| first == 0)
    }

    /// Refuses where anything names a cluster that is to be taken, though the FATs have it as free: it is somebody's.
    fn refuse_named(&self) -> Result<()> {
        let table = &self.volume.table;
        let refuse = |cluster: u32, who: String| {
            let why = format!("cluster {cluster} is free by the FATs, and {who} names it");
            Err(Error::refused(DOING, why).hint("have Windows check the volume (chkdsk), then scan again"))
        };
        if self.taken.contains(&table.geometry.root_cluster) {
            return refuse(table.geometry.root_cluster, "the boot sector".to_owned());
        }
        let take = &mut |tree: &Tree, met: Met<'_>| match met {
            Met::Damaged(error) => Err(error.within(DOING)),
            Met::Entry { node, entry, .. } if self.taken.contains(&entry.cluster) => {
                refuse(entry.cluster, tree.path(node).join(&entry.name).to_string())
            }
            Met::Entry { .. } => Ok(()),
        };
        Tree::walk(table, take, &mut |_, _| {})?;
        for fat in 0..table.geometry.fats {
            let take = &mut |cluster: u32, link: Link| match link {
                Link::Next(next) if self.taken.contains(&next) => refuse(next, format!("cluster {cluster}")),
                _ => Ok(()),
            };
            table.pass(fat, take, &mut |_| {})?;
        }
        Ok(())
    }
}

/// Bytes that are free for what `files` new files and folders hold: each may leave the rest of a cluster unused.
pub(super) fn room(volume: &FatVolume, files: u64) -> Result<u64> {
    let mut free = 0_u64;
    let take = &mut |_: u32, link: Link| {
        free += u64::from(link == Link::Free);
        Ok(())
    };
    volume.table.pass(volume.table.geometry.live_fats().start, take, &mut |_| {})?;
    Ok(free.saturating_sub(files).saturating_mul(volume.cluster_size()))
}

//! Removing a file's name and giving its clusters back, as sectors to be written raw: nothing is mounted.
//!
//! The crate `fatfs` does it on a copy in memory. What it changed is taken only where it is what may change: the first
//! byte of each of the file's directory entries, the FAT entries of its chain in every FAT, the counters of FSInfo.
//!
//! Order, each sector synced: the dirty flag; the directory entry; the FATs; FSInfo; the flag again. A cut leaves the
//! flag set, and at worst clusters that no file has, which Windows gives back when it checks the volume.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use fatfs::FsOptions;

use super::boot::ENTRY;
use super::second::{CodePage, refuse_endless};
use super::table::Link;
use super::{FatVolume, Found};
use crate::change::FileId;
use crate::error::{Error, Result};
use crate::fence::fenced;
use crate::path::WinPath;
use crate::volume::bytes::{len_of, u16_at};
use crate::volume::recorder::Recorder;
use crate::volume::{FatKind, FileSystem as _, FlagSector, Overlay, ReadAt as _, SECTOR, SectorChange};

const DOING: &str = "work out how the name is removed";
/// First byte of an entry that is deleted.
pub(super) const DELETED: u8 = 0xe5;
/// Where in an entry the time and date of the last write stand.
pub(super) const TIME: std::ops::Range<u64> = 22..26;
/// Where in FSInfo the number of free clusters and the hint for the next one stand.
pub(super) const COUNTERS: std::ops::Range<u64> = 488..496;

/// The sectors of the dirty flag: the second entry of each FAT (where a set bit means clean), then the boot sector.
pub(super) fn flag(volume: &FatVolume) -> Result<Vec<FlagSector>> {
    let geometry = &volume.table.geometry;
    let (at, bit, boot) = match geometry.kind {
        FatKind::Fat12 => return Err(Error::refused("find the dirty flag", "FAT12 has none")),
        FatKind::Fat16 => (3, 0x80, 37),
        FatKind::Fat32 => (7, 0x08, 65),
    };
    if geometry.only_fat.is_some() {
        let why = "only one of its FATs is in use";
        return Err(Error::refused("find the dirty flag", why));
    }
    let mut flags = Vec::new();
    let fats = (0..geometry.fats).map(|fat| (geometry.fat + fat * geometry.fat_size, at, bit, false));
    for (place, at, bit, set) in fats.chain([(0, boot, 1, true)]) {
        let mut now = vec![0; len_of(SECTOR)];
        volume.table.device.read_at(place, &mut now)?;
        let with = |is_set: bool| {
            let mut bytes = now.clone();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if is_set { *byte | bit } else { *byte & !bit };
            }
            bytes
        };
        flags.push(FlagSector { place, clear: with(!set), set: with(set) });
    }
    Ok(flags)
}

/// Has a change be one of a sector that holds a part of the dirty flag, set, where it is one.
pub(super) fn with_flag_set(change: &mut SectorChange, flags: &[FlagSector]) {
    for flag in flags.iter().filter(|flag| flag.place == change.place) {
        for (at, (clear, set)) in flag.clear.iter().zip(&flag.set).enumerate() {
            let bytes = [change.before.get_mut(at), change.after.get_mut(at)];
            bytes.into_iter().flatten().filter(|_| clear != set).for_each(|byte| *byte = *set);
        }
    }
}

/// Place of FSInfo, where there is one.
pub(super) fn fs_info(volume: &FatVolume) -> Result<Option<u64>> {
    let geometry = &volume.table.geometry;
    let mut boot = vec![0; len_of(SECTOR)];
    volume.table.device.read_at(0, &mut boot)?;
    let number = u64::from(u16_at(&boot, 48).unwrap_or(0));
    Ok((geometry.kind == FatKind::Fat32).then_some(number * geometry.sector))
}

/// Every sector that removing these files writes, in the order of writing.
pub(super) fn removal(volume: &FatVolume, files: &[FileId]) -> Result<Vec<SectorChange>> {
    if volume.is_dirty() {
        return Err(Error::refused(DOING, "its dirty flag is set, so Windows must check it first"));
    }
    if volume.table.differences()?.is_some() {
        return Err(Error::refused(DOING, "its two FATs differ, so Windows must check it first"));
    }
    let flags = flag(volume)?;
    let mut work = Work { volume, now: BTreeMap::new(), changes: Vec::new() };
    // With the flag clear, as it is: that crate counts no free clusters on a dirty volume.
    for id in files {
        work.remove(*id)?;
    }
    let clear = flag(&work.volume_now()?)?;
    let turned = |flag: FlagSector, set: bool| {
        let (before, after) = if set { (flag.clear, flag.set) } else { (flag.set, flag.clear) };
        SectorChange { place: flag.place, before, after }
    };
    let mut changes: Vec<SectorChange> = flags.iter().map(|sector| turned(sector.clone(), true)).collect();
    for mut change in work.changes {
        with_flag_set(&mut change, &flags);
        changes.push(change);
    }
    changes.extend(clear.into_iter().map(|sector| turned(sector, false)));
    Ok(changes)
}

struct Work<'a> {
    volume: &'a FatVolume,
    /// What has changed so far, by place.
    now: BTreeMap<u64, Vec<u8>>,
    changes: Vec<SectorChange>,
}

impl Work<'_> {
    fn write(&mut self, place: u64, after: Vec<u8>) -> Result<()> {
        let mut before = vec![0; len_of(SECTOR)];
        self.overlay().read_at(place, &mut before)?;
        if before != after {
            self.now.insert(place, after.clone());
            self.changes.push(SectorChange { place, before, after });
        }
        Ok(())
    }

    fn overlay(&self) -> Overlay {
        let mut overlay = Overlay::new(self.volume.table.device.clone());
        self.now.iter().for_each(|(place, bytes)| overlay.replace(*place, bytes));
        overlay
    }

    fn volume_now(&self) -> Result<FatVolume> {
        FatVolume::open(Arc::new(self.overlay()))
    }

    fn remove(&mut self, id: FileId) -> Result<()> {
        let volume = self.volume_now()?;
        let found = volume.file(id)?;
        if found.entry.is_directory() {
            return Err(Error::refused(DOING, "it is a directory").path(&found.path));
        }
        let may = May::of(&volume, &found)?;
        refuse_endless(&volume, &found.facts())?;
        let written = Arc::new(Mutex::new(self.overlay()));
        // Nothing but the copy in memory is shared with the closure, and it is thrown away with an error.
        fenced(DOING, "fatfs", || remove(written.clone(), &found))?;
        let sectors = written.lock().unwrap_or_else(PoisonError::into_inner).sectors().clone();
        let mut changed = Vec::new();
        for (place, mut after) in sectors {
            let mut before = vec![0; len_of(SECTOR)];
            volume.table.device.read_at(place, &mut before)?;
            for (at, (before, after)) in (place..).zip(before.iter().zip(&mut after)) {
                if may.stays.contains(&at) {
                    *after = *before;
                }
            }
            if before != after {
                changed.push((may.rank(place, &before, &after)?, place, after));
            }
        }
        changed.sort();
        for (_, place, after) in changed {
            self.write(place, after)?;
        }
        self.check(id, &may)
    }

    /// What is there then: no such file, its clusters free, the FATs alike.
    fn check(&self, id: FileId, may: &May) -> Result<()> {
        let refuse = |why: &str| Err(Error::refused(DOING, format!("the fatfs crate {why}")));
        let then = self.volume_now()?;
        if then.facts(id)?.is_some() {
            return refuse("leaves the name");
        }
        for cluster in &may.clusters {
            if then.table.link(*cluster)? != Link::Free {
                return refuse("leaves a cluster in use");
            }
        }
        if then.table.differences()?.is_some() { refuse("leaves FATs that differ") } else { Ok(()) }
    }
}

fn remove(written: Arc<Mutex<Overlay>>, found: &Found) -> Result<()> {
    let library = |error: std::io::Error| Error::library(DOING, error).path(&found.path);
    let options = FsOptions::new().update_accessed_date(false).oem_cp_converter(&CodePage);
    let volume = fatfs::FileSystem::new(Recorder::new(written), options).map_err(library)?;
    let path: Vec<&str> = found.path.parts().collect();
    volume.root_dir().remove(&path.join("/")).map_err(library)?;
    volume.unmount().map_err(library)
}

/// What may change when one file goes.
struct May {
    /// Places of its directory entries.
    entries: BTreeSet<u64>,
    /// Places of the time in its folder's own entry, which the crate sets and Windows does not: it stays.
    stays: std::ops::Range<u64>,
    clusters: BTreeSet<u32>,
    /// Places of the FATs, with the length of each.
    fats: Vec<u64>,
    fat_size: u64,
    kind: FatKind,
    fs_info: Option<u64>,
}

impl May {
    fn of(volume: &FatVolume, found: &Found) -> Result<Self> {
        let geometry = &volume.table.geometry;
        let starts = found.entry.bytes.clone().step_by(len_of(ENTRY));
        let (mut clusters, mut ranges) = (BTreeSet::new(), Vec::new());
        if found.entry.size > 0 {
            let runs = volume.extents(found.id())?.runs;
            ranges.extend(runs.iter().map(|run| (found.id(), run.place..run.place + run.length)));
            clusters.extend(volume.chain(&found.entry)?.runs.into_iter().flatten());
        } else if found.entry.cluster != 0 {
            return Err(Error::refused(DOING, "it is empty, and has a chain of clusters").path(&found.path));
        }
        volume.prove_unshared(&ranges, &mut |_, _| {})?;
        let mut folder: Vec<&str> = found.path.parts().collect();
        folder.pop();
        let above = folder.iter().fold(WinPath::default(), |path, part| path.join(part));
        let stays = match volume.find(&above)?.map(|facts| facts.id) {
            // The root has no entry.
            Some(FileId::Fat { entry, .. }) if entry > 0 => entry + TIME.start..entry + TIME.end,
            _ => 0..0,
        };
        Ok(Self {
            stays,
            entries: starts.map(|at| found.directory.place(at)).collect(),
            clusters,
            fats: (0..geometry.fats).map(|fat| geometry.fat + fat * geometry.fat_size).collect(),
            fat_size: geometry.fat_size,
            kind: geometry.kind,
            fs_info: fs_info(volume)?,
        })
    }

    /// Where a changed sector comes in the order of writing: the directory's from the last one back, since that names
    /// the file, then the FATs, then FSInfo.
    fn rank(&self, place: u64, before: &[u8], after: &[u8]) -> Result<(u8, u64)> {
        let mut rank = 0;
        for (at, (before, after)) in (place..).zip(before.iter().zip(after)) {
            if before == after {
                continue;
            }
            rank = self.kind_of(at, *before, *after).ok_or_else(|| {
                Error::refused(DOING, "the fatfs crate would change more than the name and its clusters")
                    .offset(at)
            })?;
        }
        Ok((rank, if rank == 0 { u64::MAX - place } else { place }))
    }

    fn kind_of(&self, at: u64, before: u8, after: u8) -> Option<u8> {
        if self.entries.contains(&at) {
            return (after == DELETED).then_some(0);
        }
        for start in &self.fats {
            let Some(inside) = at.checked_sub(*start).filter(|inside| *inside < self.fat_size) else {
                continue;
            };
            let width = self.kind.bits() / 8;
            let is_own = u32::try_from(inside / width).is_ok_and(|c| self.clusters.contains(&c));
            // The upper four bits of FAT32 are reserved and stay.
            let kept = if width == 4 && inside % width == 3 { before & 0xf0 } else { 0 };
            return (is_own && after == kept).then_some(1);
        }
        let inside = at.checked_sub(self.fs_info?)?;
        COUNTERS.contains(&inside).then_some(2)
    }
}

//! Hibernated machines: a Windows that sleeps has the disk's contents in memory, and writes them over ours when it wakes.
//!
//! Windows 2000 and later keep that memory in the file hiberfil.sys in the root of the volume that they start from. While
//! it is live no volume of its disk is written. The technician can give the session up: `--hibernation discard` overwrites
//! the file's first sector, as an action like any other, first in the order.
//!
//! Taking that back would wake the session up again, so it is done only where nothing tells that a Windows has run in
//! between: it would wake with a memory of files that are no longer so. What tells is [`witness`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::change::{Change, FileId, HibernationChange};
use crate::cleanup::discover::Patient;
use crate::cleanup::inspect::{Exam, Opened};
use crate::cleanup::plan::{Action, ActionKind, Content, Plan, Write};
use crate::digest::Sha256;
use crate::disk::{self, Attached, Disk, Kind, Partition};
use crate::error::{Error, Result};
use crate::path::{WinPath, same_name};
use crate::volume::{
    Device, FatKind, FileFacts, FileSystem, RawDevice, ReadAt, Recognised, Roots, Storage, Window,
    open_volume, recognise,
};

const SECTOR: u64 = 512;
/// Where Windows keeps the memory of a hibernated machine, in the root of a volume.
pub const FILE: &str = "hiberfil.sys";
/// Where it keeps pages of memory: opened at each start.
const PAGE_FILE: &str = "pagefile.sys";
/// The log of NTFS: a Windows that mounts the volume writes its restart pages at once.
const LOG_FILE: &str = "$LogFile";
/// How much of it holds both of them, in bytes.
const LOG_HEAD: usize = 128 << 10;
/// What a technician does with a sleeping machine.
const WAKE: &str = "start it and shut it down properly (Windows 8 and later hibernate at every shutdown: choose Restart, \
                    then switch off), and run again";

/// A hibernation file that is live.
#[derive(Clone, Debug)]
pub struct Asleep {
    /// Its path.
    pub path: WinPath,
    /// Its identity.
    pub id: FileId,
    /// What tells that it is live.
    sign: String,
}

impl Asleep {
    /// Why its disk is not written, and what to do.
    pub fn in_words(&self) -> String {
        format!(
            "a Windows on this disk is hibernated ({}, {}): it has the disk's contents in memory and would write them over \
             ours; {WAKE}, or give its session up with --hibernation discard",
            self.path, self.sign
        )
    }
}

/// Looks at the root of a volume. `claimants`: the files of that name which its file table has in the root.
///
/// # Errors
/// Why it cannot be told.
pub fn look(volume: &dyn FileSystem, claimants: &[&FileFacts]) -> Result<Option<Asleep>, String> {
    let path = WinPath::new(FILE);
    let found = volume.find(&path);
    let in_root = match &found {
        Ok(found) => found.as_ref(),
        // The file table has one, live: nothing more is to be known.
        Err(_) => None,
    };
    let asleep =
        claimants.iter().copied().chain(in_root).filter(|file| !file.is_directory).find_map(|file| {
            Some(Asleep { path: path.clone(), id: file.id, sign: sign_of_life(volume, file)? })
        });
    match (asleep, found) {
        (Some(asleep), _) => Ok(Some(asleep)),
        (None, Ok(_)) => Ok(None),
        (None, Err(error)) => Err(error.to_string()),
    }
}

/// What says that a hibernation file is live, if it is. Its first four bytes tell: zeros, or `wake` in any letters, mean
/// that the machine has been resumed or shut down since; anything else, known or not, counts as a machine asleep.
fn sign_of_life(volume: &dyn FileSystem, file: &FileFacts) -> Option<String> {
    match &file.storage {
        _ if file.size == 0 => return None,
        // Windows keeps it in clusters of its own as it is, since it writes it past the file system.
        storage @ (Storage::Resident | Storage::Compressed | Storage::Encrypted) => {
            return Some(format!("which is {storage} and so not as Windows makes it; it counts as live"));
        }
        Storage::Plain | Storage::Sparse | Storage::AttributeList(_) => {}
    }
    let mut head = Vec::new();
    let stop = || Error::refused("read on", "the beginning is enough");
    let read = volume.read_pieces(file.id, &mut |piece| {
        head.extend(piece.iter().take(4));
        Err(stop())
    });
    match head.as_slice() {
        [0, 0, 0, 0] => None,
        [a, b, c, d] => {
            let text = String::from_utf8_lossy(&[*a, *b, *c, *d]).into_owned();
            let known = ["hibr", "link", "brkp"].iter().any(|known| same_name(known, &text));
            match known {
                _ if same_name(&text, "wake") => None,
                true => Some(format!("which begins with {text:?}")),
                false => Some(format!("which begins with {text:?}, unknown, and counts as live")),
            }
        }
        [] => Some(format!(
            "whose beginning cannot be read and counts as live: {}",
            read.err().map(|error| error.to_string()).unwrap_or_default()
        )),
        _ => Some("which is shorter than its signature and counts as live".to_owned()),
    }
}

/// Why a volume that is not read keeps its disk from being written, if it does: it may hold a live file.
///
/// What Windows cannot start from is no such volume: a partition whose first sector is no boot sector (its loader reads the
/// file by that sector), FAT12 (too small for the memory of a machine), and whatever is not Windows'.
pub fn not_established(recognised: Recognised, why: &str) -> Option<String> {
    match recognised {
        Recognised::Empty | Recognised::Unknown | Recognised::Fat { kind: FatKind::Fat12 } => None,
        Recognised::BitLocker => Some(
            "whether a Windows on it is hibernated is not established, since BitLocker encrypts it, and one that is would \
             write its own state over ours: decrypt it on its own Windows (manage-bde -off), shut that down properly, and \
             run again; or clean an image of the other partition alone"
                .to_owned(),
        ),
        Recognised::Ntfs | Recognised::Fat { .. } => Some(format!(
            "whether a Windows on it is hibernated is not established ({why}), and one that is would write its own state \
             over ours: have that Windows check the volume (chkdsk /f) and shut it down properly, and run again"
        )),
    }
}

/// Looks at one volume that is no target. None where nothing is asleep on it; else why that forbids writing.
fn look_at(partition: &Partition, reader: &Arc<dyn ReadAt>) -> Option<String> {
    let window: Arc<dyn ReadAt> = Arc::new(Window::new(reader.clone(), partition.start, partition.size));
    let recognised = recognise(window.as_ref()).unwrap_or(Recognised::Unknown);
    // What nothing can start from is not asked.
    not_established(recognised, "")?;
    let looked = match recognised {
        Recognised::BitLocker => Err(String::new()),
        _ => open_volume(window, recognised)
            .map_err(|error| error.to_string())
            .and_then(|volume| look(volume.as_ref(), &[])),
    };
    let why = match looked {
        Ok(asleep) => {
            let Asleep { path, sign, .. } = asleep?;
            format!("a Windows is hibernated ({path}, {sign})")
        }
        Err(why) => not_established(recognised, &why)?,
    };
    Some(format!("partition {} at {:#x}: {why}", partition.number, partition.start))
}

/// Why a partition must not be written for the sake of the others of its disk.
pub fn on_siblings(whole: &Disk, reader: &Arc<dyn ReadAt>, own_start: u64) -> Vec<String> {
    let others = whole.partitions.iter().filter(|partition| partition.start != own_start);
    others
        .filter_map(|partition| look_at(partition, reader))
        .map(|why| {
            format!(
                "on the same disk, {}, {why}; it may have this partition's contents in memory and would write them over \
                 ours: {WAKE}; to give its session up, name the whole disk {} with --hibernation discard",
                whole.path.display(),
                whole.path.display()
            )
        })
        .collect()
}

/// Machines asleep on other disks than the patient's: said, and no reason to stop. An image has no other disks.
pub fn elsewhere(patient: &Patient, targets: &[PathBuf]) -> Vec<String> {
    if patient.disk.kind == Kind::Image {
        return Vec::new();
    }
    let attached = disk::attached(&Roots::default()).unwrap_or_default();
    let mut others: Vec<PathBuf> = attached.into_iter().map(|Attached { path, .. }| path).collect();
    others.extend(targets.iter().cloned());
    others.sort();
    others.dedup();
    let own = patient.whole.as_ref().map_or(&patient.disk.path, |whole| &whole.path);
    let is_other =
        |path: &&PathBuf| *path != own && **path != patient.disk.path && !is_part_of(path, own.as_path());
    others.iter().filter(is_other).flat_map(|path| on_disk(path)).collect()
}

fn is_part_of(path: &Path, disk: &Path) -> bool {
    disk::parent(path, &Roots::default()).is_some_and(|(parent, _)| parent == disk)
}

/// What sleeps on one disk. One that cannot be read is none of ours to judge here.
fn on_disk(path: &Path) -> Vec<String> {
    let device = RawDevice::new(path).ok().filter(|device| device.kind() == Kind::BlockDevice);
    let reader = device.and_then(|device| device.open_read().ok());
    let (Some(reader), Ok(disk)) = (reader, disk::inspect(path)) else { return Vec::new() };
    let sleeping = disk.partitions.iter().filter_map(|partition| look_at(partition, &reader));
    sleeping
        .map(|why| {
            format!(
                "on another disk, {}, {why}; if it is of the same machine and used this disk, it would write its own state \
                 over ours",
                path.display()
            )
        })
        .collect()
}

/// What tells whether a Windows has run on a disk: the records that name the files it opens and writes at every start
/// (hibernation file, page file, hives), and the restart pages of NTFS' log, as they stand on the disk: one that was cut off
/// may have written no more than the log. What is written here in place changes none of them.
pub fn witness(exam: &Exam) -> Option<Sha256> {
    let mut bytes = Vec::new();
    for volume in &exam.volumes {
        let Some(opened) = &volume.opened else { continue };
        let hives =
            volume.installs.iter().flat_map(|install| install.hives.values()).map(|hive| hive.facts.id);
        let files = [FILE, PAGE_FILE].map(|name| opened.files.find(&WinPath::new(name)));
        let files = files.into_iter().collect::<Result<Vec<_>>>().ok()?;
        for id in files.into_iter().flatten().map(|facts| facts.id).chain(hives) {
            bytes.extend(opened.files.record_bytes(id).ok()?);
        }
        if let Some(log) = opened.files.find(&WinPath::new(LOG_FILE)).ok()? {
            bytes.extend(head_of(opened.files.as_ref(), log.id).ok()?);
        }
    }
    Some(Sha256::of(&bytes))
}

/// The beginning of the log.
fn head_of(files: &dyn FileSystem, id: FileId) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let enough = || Error::refused("read on", "the beginning is enough");
    let read = files.read_pieces(id, &mut |piece| {
        head.extend(piece.iter().take(LOG_HEAD - head.len()));
        if head.len() < LOG_HEAD { Ok(()) } else { Err(enough()) }
    });
    if head.len() < LOG_HEAD { read.map(|()| head) } else { Ok(head) }
}

/// The actions that give up every session on this disk.
///
/// # Errors
/// Why one cannot be given up.
pub fn discard(exam: &Exam, plan: &mut Plan) -> Result<Vec<Action>, String> {
    let mut actions = Vec::new();
    for (exam_volume, volume) in exam.volumes.iter().enumerate() {
        let Some(asleep) = &volume.asleep else { continue };
        let words = |error: Error| {
            format!("{}, and that cannot be done here: {}", asleep.in_words(), error.path(&asleep.path))
        };
        let (Some(opened), Some(id)) = (&volume.opened, volume.id) else {
            return Err(words(Error::refused("give its session up", "its volume was not opened")));
        };
        let witness = witness(exam)
            .ok_or_else(|| words(Error::refused("give its session up", "the disk cannot be read in full")))?;
        let extents = opened.files.extents(asleep.id).map_err(words)?;
        let place = extents.place(0, SECTOR).map_err(words)?;
        let mut before = vec![0; SECTOR as usize];
        opened.reader.read_at(place, &mut before).map_err(words)?;
        let (path, file) = (asleep.path.clone(), asleep.id);
        let change = HibernationChange { path: path.clone(), id: file, sector: Sha256::of(&before), witness };
        plan.notes.push(format!(
            "{path} is live, and its first sector is overwritten: the session of that hibernated Windows is given up, and \
             what was not saved in it is lost; undo brings it back only as long as no Windows has run in between"
        ));
        plan.discards.push((exam_volume, file));
        actions.push(Action {
            volume: plan.volume(id),
            exam_volume,
            path,
            id: file,
            extents,
            compressed: false,
            before: None,
            changes: vec![(Change::Hibernation(change), Vec::new())],
            kind: ActionKind::Discard,
            writes: vec![Write {
                group: 0,
                place,
                length: SECTOR,
                before: Content::Bytes(before),
                after: Content::Zeros,
            }],
        });
    }
    Ok(actions)
}

/// The hibernation file that an action is about, if it is about one.
pub fn change_of(action: &Action) -> Option<&HibernationChange> {
    action.changes.iter().find_map(|(change, _)| match change {
        Change::Hibernation(change) => Some(change),
        Change::Value(_) | Change::File(_) => None,
    })
}

/// Proves that writing a sector back puts back what was there before, and nothing else: the file of that name in the
/// root, its first sector, over the zeros of the run.
///
/// # Errors
/// The journal names anything else.
pub fn prove_taking_back(opened: &Opened, action: &Action, change: &HibernationChange) -> Result<()> {
    let refuse = |why: &str| Error::refused("bring the hibernated session back", why).path(&action.path);
    let is_it = opened
        .files
        .find(&WinPath::new(FILE))?
        .is_some_and(|facts| facts.id == action.id && action.path == WinPath::new(FILE));
    if !is_it {
        return Err(refuse("it is not the hibernation file in the root of the volume"));
    }
    let place = action.extents.place(0, SECTOR)?;
    let fits = action.writes.iter().all(|write| {
        write.place == place
            && matches!(&write.after, Content::Bytes(bytes) if Sha256::of(bytes) == change.sector)
    });
    if fits { Ok(()) } else { Err(refuse("it is not the sector that the journal's digest names")) }
}

/// Looks at the first sector of a hibernation file that was written: the file is too large to be read for this.
///
/// # Errors
/// It does not hold what was written.
pub fn verify(action: &Action, opened: &Opened, is_asleep: bool) -> Result<()> {
    let wrong = |why: &str| Error::refused("verify what was written", why).path(&action.path);
    for write in &action.writes {
        let mut found = vec![0; usize::try_from(write.length).unwrap_or(0)];
        opened.reader.read_at(write.place, &mut found)?;
        let as_planned = match &write.after {
            Content::Zeros => found.iter().all(|&byte| byte == 0),
            after => *after == Content::Bytes(found),
        };
        if !as_planned {
            return Err(wrong("its first sector is not as planned").offset(write.place));
        }
    }
    if matches!(action.kind, ActionKind::Discard) && is_asleep {
        return Err(wrong("a hibernation file of that volume is still live"));
    }
    Ok(())
}

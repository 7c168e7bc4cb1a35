//! `--store disk`: the record of a run on the patient's own volume, where no other place can be had.
//!
//! The folder `Deblast` in the Common AppData that SOFTWARE names. What lies there is read by our own readers into a
//! folder in memory, and used like any other store. A new run's folder is made there first; then one mount (on FAT,
//! sectors that are worked out in memory), over before the first raw write, puts it on the disk with every file at its
//! full length; from there journal and report are written raw inside their own extents. An undo only reads it, and
//! leaves it there.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::change::{FileId, HiveRole};
use crate::cleanup::discover::Patient;
use crate::cleanup::hive_file;
use crate::cleanup::inspect::{Exam, InstallExam};
use crate::cleanup::remove_now::{census, obstacle, reopen, turn_flag};
use crate::error::{Context, Error, Result};
use crate::path::{RegPath, WinPath};
use crate::store::{RunFolder, Store, place};
use crate::volume::mount::Mounted;
use crate::volume::{
    Candidate, FileFacts, FileSystem, NewFile, Owner, SectorChange, Sectors, refuse_in_use, signals,
};

const DOING: &str = "keep the record on the patient's own disk";
const ELSEWHERE: &str = "give a folder on another disk or stick with --store";
/// What is said where nobody can vouch for the volume any more.
const LEFT_SET: &str = "its dirty flag is left set, so that Windows checks the volume at its next start";
/// Who may own what is taken for a store of ours: the Administrators, SYSTEM.
const OWNERS: [&str; 2] = ["S-1-5-32-544", "S-1-5-18"];
/// Name of the store's folder.
const FOLDER: &str = "Deblast";
/// The keys that name Common AppData: the one as it is, the other with %variables%.
const SHELL_FOLDERS: [&str; 2] = [
    "Microsoft\\Windows\\CurrentVersion\\Explorer\\Shell Folders",
    "Microsoft\\Windows\\CurrentVersion\\Explorer\\User Shell Folders",
];
/// Where copies of stores lie while a run uses them: in memory.
const BASE: &str = "/run/deblast/stores";
/// Room kept for the report, in bytes.
const REPORT: usize = 256 << 10;
const REPORT_NAME: &str = "report.json";
/// A file of a store larger than this is none of ours.
const MAX_FILE: u64 = 1 << 30;
const SECTOR: usize = 512;

/// A store on a patient's disk, and the copy of it that this run works with.
pub struct DiskStore {
    staging: PathBuf,
    exam_volume: usize,
    start: u64,
    size: u64,
    /// The folder that SOFTWARE names, where the store's lies.
    above: WinPath,
    /// The folder on the volume.
    folder: WinPath,
    /// Whether putting a folder there takes a mount.
    mounts: bool,
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // Best effort: it lies in memory.
        let _ = std::fs::remove_dir_all(&self.staging);
    }
}

impl DiskStore {
    /// Finds the store of a patient and reads what lies there.
    ///
    /// # Errors
    /// No install names a place for it; it cannot be read.
    pub fn fetch(exam: &Exam) -> Result<Self> {
        let refuse = |error: Error| error.within(DOING).hint(ELSEWHERE);
        let (exam_volume, place) = find_place(exam).map_err(refuse)?;
        let none = || refuse(Error::refused(DOING, "its volume could not be opened"));
        let volume = exam.volumes.get(exam_volume).ok_or_else(none)?;
        let opened = volume.opened.as_ref().ok_or_else(none)?;
        let facts = opened.files.find(&place)?.ok_or_else(none)?;
        let store = Self {
            mounts: matches!(facts.id, FileId::Ntfs { .. }),
            above: place.clone(),
            staging: new_staging()?,
            exam_volume,
            start: volume.start,
            size: opened.reader.size(),
            folder: place.join(FOLDER),
        };
        let files = store.own_files(opened.files.as_ref())?;
        let size = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        store.refuse_full_memory(size).map_err(refuse)?;
        for file in files {
            let Some(here) = store.staged(&file.path) else { continue };
            let bytes = opened.files.read(file.id, MAX_FILE).map_err(|error| error.path(&file.path))?;
            let write = || -> std::io::Result<()> {
                here.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                std::fs::write(&here, &bytes)
            };
            write().doing("copy the store into memory").map_err(|error| error.device(&here))?;
        }
        Ok(store)
    }

    /// Its files on the volume. Refused where one of them, or the folder, is not the Administrators' or SYSTEM's: users may
    /// make folders in Common AppData, and what a store says is written to the disk.
    fn own_files(&self, files: &dyn FileSystem) -> Result<Vec<FileFacts>> {
        let found = files_of(files, &self.folder)?;
        let folders = found.iter().filter_map(|file| file.path.parent()).chain([self.folder.clone()]);
        let folders: BTreeSet<WinPath> = folders.collect();
        let folders = folders.iter().filter_map(|folder| files.find(folder).transpose());
        for file in found.iter().cloned().map(Ok).chain(folders) {
            let file = file?;
            let owner = match files.owner(file.id).map_err(|error| error.path(&file.path))? {
                Owner::NotKept => continue,
                Owner::Is(owner) if OWNERS.contains(&owner.as_str()) => continue,
                Owner::Is(owner) => format!("it belongs to {owner}"),
                Owner::Unknown => "its owner cannot be told".to_owned(),
            };
            let why =
                format!("{owner}, neither to the Administrators nor to SYSTEM: anybody may have made it");
            return Err(Error::refused(DOING, why)
                .path(&file.path)
                .hint("look at that folder, and rename it if it is not a store of yours"));
        }
        Ok(found)
    }

    /// Refuses a copy for which there is no room in memory. `bytes`: what it takes.
    fn refuse_full_memory(&self, bytes: u64) -> Result<()> {
        let free = place::judge(&self.staging, &[], true)?.room;
        if free < bytes {
            let why =
                format!("its copy takes {bytes} bytes in this machine's memory, and {free} are free there");
            return Err(Error::refused(DOING, why).device(&self.staging));
        }
        Ok(())
    }

    /// Whether putting a folder there changes sectors that removing names without a mount is planned on.
    pub fn changes_planned_sectors(&self) -> bool {
        !self.mounts
    }

    /// What the technician must know of how it is kept, in words.
    pub fn ways(&self) -> (&'static str, Option<&'static str>) {
        match self.mounts {
            true => ("through a mount", None),
            false => (
                "sector by sector",
                Some(
                    "the record lies on a FAT volume, which has no permissions: whoever uses that Windows can read \
                     it, the copies of its registry hives too",
                ),
            ),
        }
    }

    /// The copy, as a store.
    pub fn store(&self) -> Store {
        Store::at(&self.staging)
    }

    /// Its folder on the volume.
    pub fn folder(&self) -> &WinPath {
        &self.folder
    }

    /// Writes the report into the room kept for it.
    ///
    /// # Errors
    /// It is longer than that; as [`Self::mirror`].
    pub fn keep_report(&self, patient: &Patient, run: &RunFolder, json: &str) -> Result<()> {
        if json.len() > REPORT {
            let why = format!("at {} bytes it is longer than the {REPORT} that were kept", json.len());
            return Err(Error::refused("keep the report on the disk", why));
        }
        std::fs::write(run.path().join(REPORT_NAME), json).doing("keep the report on the disk")?;
        self.mirror(patient, run, REPORT_NAME)
    }

    /// Words in which the copy's place is named, with the place on the disk instead.
    pub fn in_words(&self, words: &str) -> String {
        words.replace(&self.staging.display().to_string(), &format!("{} on this disk", self.folder))
    }

    /// Where a file of the store lies in the copy; none for a name that no store has.
    fn staged(&self, path: &WinPath) -> Option<PathBuf> {
        let mut found = self.staging.clone();
        for part in path.parts().skip(self.folder.parts().count()) {
            if part.contains('/') || matches!(part, "." | "..") {
                return None;
            }
            found.push(part);
        }
        Some(found)
    }

    /// Refuses a volume that cannot take a record of `bytes` in `files` files and folders; says how much is free.
    ///
    /// # Errors
    /// Its dirty flag is set, its log unclean, it is too full, or its MFT would have to grow.
    pub fn room(&self, exam: &Exam, bytes: u64, files: u64) -> Result<u64> {
        let refuse = |why: String| Err(Error::refused(DOING, why).hint(ELSEWHERE));
        let opened = exam.volumes.get(self.exam_volume).and_then(|volume| volume.opened.as_ref());
        let Some(opened) = opened else { return refuse("its volume could not be opened".to_owned()) };
        if let Some(why) = obstacle(opened.files.as_ref()) {
            return refuse(why);
        }
        let (free, records) = opened.files.room(files).map_err(|error| error.hint(ELSEWHERE))?;
        if records < files {
            return refuse(format!(
                "it takes {files} MFT records, and {records} are free: the MFT would have to grow"
            ));
        }
        let needed = bytes.saturating_add(REPORT as u64);
        if free < needed {
            return refuse(format!("the record takes {needed} bytes, and {free} are free there"));
        }
        // The run's folder is made in memory first.
        self.refuse_full_memory(needed).map_err(|error| error.hint(ELSEWHERE))?;
        Ok(free)
    }

    /// Puts the folder of a run on the disk, through one mount, or on FAT sector by sector.
    ///
    /// # Errors
    /// Any step fails, or more than that folder has changed: then the dirty flag stays set.
    pub fn publish(&self, patient: &Patient, run: &RunFolder) -> Result<()> {
        let files = reopen(patient, self.start, self.size)?;
        if let Some(why) = obstacle(files.as_ref()) {
            return Err(Error::refused(DOING, why).hint(ELSEWHERE));
        }
        std::fs::write(run.path().join(REPORT_NAME), vec![b'\n'; REPORT]).doing(DOING)?;
        let flag = files.dirty_flag()?;
        let before = census(files.as_ref(), &[])?;
        let had_folder = files.find(&self.folder)?.is_some();
        let groups = match self.mounts {
            true => Vec::new(),
            false => self.groups(files.as_ref(), run)?,
        };
        let mut sectors = patient.device.open_write()?;
        let held = signals::hold_signals()?;
        turn_flag(sectors.as_mut(), self.start, &flag, true)?;
        patient.device.drop_caches()?;
        let place = (self.start, self.size);
        let (written, ended) = match self.mounts {
            // What was not written whole is for Windows to check.
            false => (Ok(()), write_groups(sectors.as_mut(), self.start, &groups)),
            true => match Mounted::ntfs(patient.device.path(), place, &held) {
                Ok(mounted) => (mounted.copy_in(run.path(), &self.folder, run.id()), mounted.release()),
                // Nothing was written through it.
                Err(error) => (Err(error), Ok(())),
            },
        };
        // An ntfs-3g that did not end well may have left half of a change where the file table does not show it.
        ended.map_err(|error| error.within(DOING).hint(LEFT_SET))?;
        refuse_in_use(patient.device.path()).map_err(|error| error.within(DOING).hint(LEFT_SET))?;
        let files = reopen(patient, self.start, self.size)?;
        // All that is new must be this folder; all else must be as it was.
        let mut news = below(files.as_ref(), &self.folder.join(run.id()), &names_in(run.path())?)?;
        if !had_folder {
            news.extend(files.find(&self.folder)?.map(|folder| folder.id));
        }
        if census(files.as_ref(), &news)?.0 != before.0 {
            return Err(
                Error::refused(DOING, "more has changed in the file table than this folder").hint(LEFT_SET)
            );
        }
        let compared = written.and_then(|()| self.compare(files.as_ref(), run));
        turn_flag(sectors.as_mut(), self.start, &files.dirty_flag()?, false)?;
        compared.map_err(|error| error.within(DOING).hint(ELSEWHERE))
    }

    /// The sectors that put the folder of a run there, where that takes no mount.
    fn groups(&self, files: &dyn FileSystem, run: &RunFolder) -> Result<Vec<Vec<SectorChange>>> {
        let folder = |path: WinPath| NewFile { path, bytes: None };
        let store = WinPath::new(FOLDER);
        let top = store.join(run.id());
        let mut new = vec![folder(store), folder(top.clone())];
        for (name, path) in tree(run.path())? {
            let place = name.iter().fold(top.clone(), |place, part| place.join(&part.to_string_lossy()));
            let bytes = match path.is_dir() {
                true => None,
                false => {
                    let read = std::fs::read(&path).doing("read the copy of the store");
                    Some(read.map_err(|error| error.device(&path))?)
                }
            };
            new.push(NewFile { path: place, bytes });
        }
        let none = || Err(Error::refused(DOING, "this volume takes a mount"));
        let groups = files.placement(&self.above, &new).unwrap_or_else(none);
        groups.map_err(|error| error.hint(ELSEWHERE))
    }

    /// Holds what our own reader finds on the disk against what was to be put there.
    fn compare(&self, files: &dyn FileSystem, run: &RunFolder) -> Result<()> {
        for (name, path) in tree(run.path())?.into_iter().filter(|(_, path)| path.is_file()) {
            let place = self.on_disk(run, &name);
            let wanted =
                std::fs::read(&path).doing("read the copy of the store").map_err(|e| e.device(&path))?;
            let found = files.find(&place)?;
            let found = found.ok_or_else(|| Error::refused(DOING, "it is not there").path(&place))?;
            if files.read(found.id, MAX_FILE)? != wanted {
                let why = "what was read back is not what was written";
                return Err(Error::refused(DOING, why).path(&place));
            }
        }
        Ok(())
    }

    fn on_disk(&self, run: &RunFolder, name: &Path) -> WinPath {
        let folder = self.folder.join(run.id());
        name.iter().fold(folder, |path, part| path.join(&part.to_string_lossy()))
    }

    /// Writes what has changed in one file of the copy into the file on the disk, raw and inside its own extents. The copy
    /// may be shorter; it is never longer.
    ///
    /// # Errors
    /// The file on the disk is not what it was made; a failed write.
    pub fn mirror(&self, patient: &Patient, run: &RunFolder, name: &str) -> Result<()> {
        let place = self.on_disk(run, Path::new(name));
        let write = || -> Result<()> {
            let files = reopen(patient, self.start, self.size)?;
            let gone = || Error::refused(DOING, "it is not there any more");
            let facts: FileFacts = files.find(&place)?.ok_or_else(gone)?;
            let extents = files.extents(facts.id)?;
            let mut wanted = std::fs::read(run.path().join(name)).doing("read the copy of the store")?;
            let size = usize::try_from(extents.size).unwrap_or(usize::MAX);
            if wanted.len() > size || extents.initialised < extents.size {
                let why =
                    format!("{} bytes do not fit into the {} that were kept", wanted.len(), extents.size);
                return Err(Error::refused(DOING, why));
            }
            wanted.resize(size, b'\n');
            let mut sectors = patient.device.open_write()?;
            for (offset, after) in (0_u64..).step_by(SECTOR).zip(wanted.chunks(SECTOR)) {
                let at = self.start + extents.place(offset, SECTOR as u64)?;
                let mut before = vec![0; SECTOR];
                sectors.read(at, &mut before)?;
                // Behind the end of the file the last sector stays as it is.
                let mut whole = before.clone();
                whole.iter_mut().zip(after).for_each(|(to, from)| *to = *from);
                if whole != before {
                    sectors.overwrite(at, &before, &whole)?;
                }
            }
            sectors.sync()
        };
        write().map_err(|error| error.path(&place))
    }
}

/// Writes the groups in their order, each sector compared first, each group synced before the next.
fn write_groups(sectors: &mut dyn Sectors, start: u64, groups: &[Vec<SectorChange>]) -> Result<()> {
    groups.iter().try_for_each(|group| {
        for change in group {
            sectors.overwrite(start + change.place, &change.before, &change.after)?;
        }
        sectors.sync()
    })
}

/// Everything in a folder, by its path from there, folders before what is in them.
fn tree(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    let mut next = vec![PathBuf::new()];
    while let Some(name) = next.pop() {
        for entry in std::fs::read_dir(folder.join(&name)).doing("read the copy of the store")? {
            let entry = entry.doing("read the copy of the store")?;
            let name = name.join(entry.file_name());
            if entry.path().is_dir() {
                next.push(name.clone());
            }
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn names_in(folder: &Path) -> Result<BTreeSet<String>> {
    let names = tree(folder)?.into_iter();
    let mut names: BTreeSet<String> =
        names.filter_map(|(name, _)| Some(name.file_name()?.to_string_lossy().into_owned())).collect();
    names.extend(folder.file_name().map(|name| name.to_string_lossy().into_owned()));
    Ok(names)
}

/// The files and folders of these names at a place of the volume and below it.
fn below(files: &dyn FileSystem, folder: &WinPath, names: &BTreeSet<String>) -> Result<Vec<FileId>> {
    let wanted = &mut |file: &Candidate<'_>| file.names.iter().any(|name| names.contains(&name.name));
    let scan = files.scan(wanted, &mut |_, _| {})?;
    let ours = scan.files.into_iter().filter(|file| file.path == *folder || file.path.is_below(folder));
    Ok(ours.map(|file| file.id).collect())
}

/// The files of a store, by the names that only stores use; others that lie there are nobody's concern.
fn files_of(files: &dyn FileSystem, folder: &WinPath) -> Result<Vec<FileFacts>> {
    const NAMES: [&str; 4] = ["journal", "README.txt", REPORT_NAME, "manifest.json"];
    let is_ours = |name: &str| NAMES.contains(&name) || name.ends_with(".bin") || name.ends_with(".gz");
    let wanted =
        &mut |file: &Candidate<'_>| !file.is_directory && file.names.iter().any(|name| is_ours(&name.name));
    let scan = files.scan(wanted, &mut |_, _| {})?;
    Ok(scan.files.into_iter().filter(|file| !file.is_orphan && file.path.is_below(folder)).collect())
}

/// The volume and folder that SOFTWARE of an install has as Common AppData.
fn find_place(exam: &Exam) -> Result<(usize, WinPath)> {
    let mut last = Error::refused("find Common AppData", "there is no Windows on this disk");
    for (index, volume) in exam.volumes.iter().enumerate() {
        let Some(opened) = &volume.opened else { continue };
        for install in &volume.installs {
            match common_app_data(install, opened.files.as_ref()) {
                Ok(place) => return Ok((index, place)),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

fn common_app_data(install: &InstallExam, files: &dyn FileSystem) -> Result<WinPath> {
    const DOING: &str = "find Common AppData";
    let refuse = |why: String| Err(Error::refused(DOING, why).path(&install.evidence.root));
    let Some(software) = install.hives.get(&HiveRole::Software) else {
        return refuse("SOFTWARE could not be read".to_owned());
    };
    let hive = hive_file::read(files, &software.facts)?.hive;
    for key in SHELL_FOLDERS {
        let Some(key) = hive.key(&RegPath::new(key))? else { continue };
        let Some(value) = key.value("Common AppData")? else { continue };
        let Some(text) = value.data()?.text() else { continue };
        let mut letters = text.chars();
        let drive = letters.next().map(|letter| letter.to_ascii_uppercase());
        let (true, Some(drive)) = (letters.as_str().starts_with(":\\"), drive) else { continue };
        if Some(drive) != install.evidence.identity.drive {
            return refuse(format!("it is {text}, on another volume than this Windows"));
        }
        let place = WinPath::new(letters.as_str().trim_start_matches(':'));
        return match files.find(&place)? {
            Some(found) if found.is_directory => Ok(found.path),
            _ => refuse(format!("it is {text}, and there is no such folder")),
        };
    }
    refuse("SOFTWARE names no folder for it".to_owned())
}

/// A folder in memory of this run's own.
fn new_staging() -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let path = Path::new(BASE).join(format!("{}-{number}", std::process::id()));
    let make = || -> std::io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(BASE)?;
        // A run that was killed leaves its copy; it holds hives.
        for entry in std::fs::read_dir(BASE)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.split('-').next().unwrap_or_default().to_owned();
            if !owner.is_empty() && !Path::new("/proc").join(owner).exists() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        DirBuilder::new().mode(0o700).create(&path)
    };
    make().doing("make a place for the copy of the store").map_err(|error| error.device(&path))?;
    Ok(path)
}

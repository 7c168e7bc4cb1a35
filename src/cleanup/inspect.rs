//! Second step: one pass over each volume and its hives for everything that the checks want. Reads only.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::{HiveRole, VolumeId};
use crate::checks::{Check, Evidence, FileEvidence, Gleaned, Noticed, ProgramEvidence, Wants};
use crate::cleanup::discover::{Patient, Whole};
use crate::cleanup::hibernation::{self, Asleep};
use crate::cleanup::hive_file::Replayed;
use crate::cleanup::sweep::{Sweep, Swept, read_content};
use crate::digest::Sha256;
use crate::disk::{self, Partition, raid};
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::finding::Finding;
use crate::hive::check::Problem;
use crate::memory;
use crate::path::{RegPath, WinPath, same_name};
use crate::volume::{
    Device as _, FileFacts, FileSystem, RawDevice, ReadAt, Recognised, Scan, Window, open_volume, recognise,
};
use crate::windows::install::{config_hive, may_be_hive};
use crate::windows::{boot_ini, file_version};

mod hives;

/// A hive larger than this is not read: the largest real ones are far below (the registry of these Windows lives in
/// the paged pool), so it is damage or an attack on the tool's memory.
pub const MAX_HIVE: u64 = 512 << 20;
/// What is said of every volume that Windows itself will still change at its next start.
pub(super) const SCAN_AGAIN: &str = "scan again after that";
/// A boot.ini larger than this is none.
const MAX_BOOT_INI: u64 = 64 << 10;
/// A program larger than this is not read for its version: those that are asked for have about 1 MiB.
const MAX_PROGRAM: u64 = 16 << 20;

/// Memory that inspecting takes whatever lies on the disk: a piece of the file table and of a file, and the facts.
const MEMORY: u64 = 4 << 20;

/// What inspecting one patient found.
pub struct Exam {
    /// Its volumes, in the order of the disk.
    pub volumes: Vec<VolumeExam>,
    /// Why nothing on it may be written that no single volume tells: the disk is a member of a set, or another partition of
    /// it holds a hibernated Windows.
    pub forbids_writing: Vec<String>,
}

impl Exam {
    /// Why nothing on the disk may be written, whatever is planned.
    pub fn forbidden(&self) -> Option<String> {
        let volumes = self.volumes.iter().filter_map(|volume| {
            let why = volume.forbids_writing.as_ref()?;
            Some(format!("volume at {:#x}: {why}", volume.start))
        });
        self.forbids_writing.iter().cloned().chain(volumes).next()
    }
}

/// What inspecting one volume found.
pub struct VolumeExam {
    /// Byte offset on the target.
    pub start: u64,
    /// File system in words.
    pub filesystem: String,
    /// Version of the file system, where it has one.
    pub version: Option<String>,
    /// What is particular about it, in words.
    pub state: Vec<String>,
    /// Why the verdict cannot rest on what was read of it; none where all was read, or nothing can be there.
    pub problem: Option<String>,
    /// Its identity, where it could be read.
    pub id: Option<VolumeId>,
    /// Why nothing on the whole disk may be written: the volume has members elsewhere, or it cannot be told whether a
    /// Windows on it is hibernated.
    pub forbids_writing: Option<String>,
    /// The hibernated Windows on it, which has the whole disk's contents in memory.
    pub asleep: Option<Asleep>,
    /// The Windows installs on it.
    pub installs: Vec<InstallExam>,
    /// The opened volume, and its bytes.
    pub opened: Option<Opened>,
}

/// An opened volume.
pub struct Opened {
    /// Its files.
    pub files: Box<dyn FileSystem>,
    /// Its bytes.
    pub reader: Arc<dyn ReadAt>,
}

/// What inspecting one install found.
pub struct InstallExam {
    /// All the facts.
    pub evidence: Evidence,
    /// What the checks made of them.
    pub findings: Vec<Finding>,
    /// Its hives.
    pub hives: BTreeMap<HiveRole, HiveExam>,
    /// Where the Session Manager's key is for the next start, if it could be told.
    pub session_manager: Option<RegPath>,
    /// Why the verdict cannot rest on what was read of it.
    pub problems: Vec<String>,
    /// Why it is not cured, once a plan was made.
    pub refused: Option<String>,
    /// What the technician should know about it.
    pub notes: Vec<String>,
}

/// What inspecting one hive found.
pub struct HiveExam {
    /// The file.
    pub facts: FileFacts,
    /// Its transaction log, if there is one.
    pub log: Option<FileFacts>,
    /// Digest of the file.
    pub sha256: Option<Sha256>,
    /// What its log adds, where it is dirty: all that is said of the hive is said of it as it is after that.
    pub replayed: Option<Replayed>,
    /// What the checker said of it.
    pub problems: Vec<Problem>,
    /// Why it must not be written.
    pub unwritable: Option<String>,
}

/// Inspects all volumes of a patient.
///
/// # Errors
/// The machine has too little memory; the patient cannot be opened or a volume's first sector not be read. Anything amiss inside a volume is in its exam.
pub fn inspect(patient: &Patient, checks: &[Box<dyn Check + '_>], sink: Sink<'_>) -> Result<Exam> {
    memory::refuse_lack("inspect the disk", MEMORY)?;
    let device = patient.device.open_read()?;
    sink(Event::Target { path: patient.disk.path.clone(), size: patient.disk.size });
    let mut volumes = Vec::new();
    for partition in &patient.disk.partitions {
        let window: Arc<dyn ReadAt> = Arc::new(Window::new(device.clone(), partition.start, partition.size));
        volumes.push(inspect_volume(partition, window, checks, sink)?);
    }
    let mut forbids_writing = patient.disk.forbids_writing.clone();
    forbids_writing.extend(patient.whole.as_ref().map(of_whole).unwrap_or_default());
    Ok(Exam { volumes, forbids_writing })
}

/// Why a partition must not be written for the sake of the disk that it is of.
fn of_whole(whole: &Whole) -> Vec<String> {
    let open = || Ok((disk::inspect(&whole.path)?, RawDevice::new(&whole.path)?.open_read()?));
    let (disk, reader) = match open() {
        Ok(opened) => opened,
        Err(error) => {
            let error: Error = error;
            return vec![format!(
                "the disk that this partition is of cannot be looked at, so whether a Windows on it is hibernated is not \
                 established: {error}"
            )];
        }
    };
    let own = disk.partitions.iter().find(|partition| partition.start == whole.start);
    let kind = own.and_then(|own| Some(format!("{}: {}", own.kind, own.kind.forbids_writing(true)?)));
    let of_disk = disk.forbids_writing.iter().map(|why| format!("{}: {why}", whole.path.display()));
    of_disk.chain(kind).chain(hibernation::on_siblings(&disk, &reader, whole.start)).collect()
}

fn inspect_volume(
    partition: &Partition,
    window: Arc<dyn ReadAt>,
    checks: &[Box<dyn Check + '_>],
    sink: Sink<'_>,
) -> Result<VolumeExam> {
    let recognised = recognise(window.as_ref())?;
    sink(Event::Volume { start: partition.start, filesystem: recognised.to_string() });
    let mut exam = VolumeExam {
        start: partition.start,
        filesystem: recognised.to_string(),
        version: None,
        state: Vec::new(),
        problem: None,
        id: None,
        forbids_writing: partition
            .kind
            .forbids_writing(matches!(recognised, Recognised::Fat { .. }))
            .map(|why| format!("{}: {why}", partition.kind)),
        asleep: None,
        installs: Vec::new(),
        opened: None,
    };
    match recognised {
        Recognised::Ntfs | Recognised::Fat { .. } => {
            let member = raid::md(window.as_ref());
            if let Err(error) = inspect_files(&mut exam, recognised, window, checks, sink) {
                forbid(&mut exam, hibernation::not_established(recognised, &error.to_string()));
                exam.problem = Some(error.to_string());
            }
            // A volume that covers the place was made after the set; one of a set ends before it.
            let end = exam.id.map_or(0, |id| id.size);
            match member {
                Some(member) if member.place < end => exam.state.push(member.remains()),
                Some(member) => forbid(&mut exam, Some(member.forbids())),
                None => {}
            }
        }
        Recognised::BitLocker => {
            exam.problem = Some(
                "the volume is encrypted by BitLocker; unlock or decrypt it on the Windows that it belongs to"
                    .to_owned(),
            );
            forbid(&mut exam, hibernation::not_established(recognised, ""));
        }
        Recognised::Unknown if partition.kind.may_hold_windows() => {
            exam.problem = Some(
                "the partition should hold a volume of Windows, and its first sector is none; \
                 have the disk looked at before anything is written to it"
                    .to_owned(),
            );
        }
        Recognised::Unknown | Recognised::Empty => {}
    }
    Ok(exam)
}

/// Adds a reason to write nothing; the first stands.
fn forbid(exam: &mut VolumeExam, why: Option<String>) {
    exam.forbids_writing = exam.forbids_writing.take().or(why);
}

fn inspect_files(
    exam: &mut VolumeExam,
    recognised: Recognised,
    window: Arc<dyn ReadAt>,
    checks: &[Box<dyn Check + '_>],
    sink: Sink<'_>,
) -> Result<()> {
    let volume = open_volume(window.clone(), recognised)?;
    exam.version = volume.version_in_words();
    exam.id = Some(volume.id(exam.start));
    if volume.is_dirty() {
        exam.state.push(format!("its dirty flag is set: Windows checks it at the next start; {SCAN_AGAIN}"));
    }
    if let Some(why) = volume.unclean_log() {
        exam.state.push(format!("{why}; Windows finishes its work there at the next start; {SCAN_AGAIN}"));
    }
    exam.state.extend(volume.state_in_words());
    if volume.is_truncated() {
        let why =
            "the device ends before the volume does: an incomplete copy, or a partition table that is wrong";
        exam.problem = Some(format!("{why}; copy the disk again, whole"));
        forbid(exam, Some(format!("{why}, so nothing proves what else uses the sectors")));
    }
    let wants = Wants::of(checks);
    let (scan, swept) = read_files(volume.as_ref(), window.as_ref(), &wants, checks, sink)?;
    exam.state.extend(swept.in_words());
    if let Some(first) = scan.problems.first() {
        let others = match scan.problem_count {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        exam.problem = Some(format!("parts of the file table could not be read: {first}{others}"));
    }
    let in_root = |name: &str| scan.files.iter().find(|file| file.path == WinPath::new(name));
    let claimants: Vec<&FileFacts> =
        scan.files.iter().filter(|file| file.paths.contains(&WinPath::new(hibernation::FILE))).collect();
    match hibernation::look(volume.as_ref(), &claimants) {
        Ok(asleep) => exam.asleep = asleep,
        Err(why) => forbid(exam, hibernation::not_established(recognised, &why)),
    }
    let mut roots: BTreeMap<WinPath, BTreeMap<HiveRole, Vec<FileFacts>>> = BTreeMap::new();
    for file in scan.files.iter().filter(|file| !file.is_orphan) {
        if let Some((root, role)) = file.paths.iter().find_map(config_hive) {
            roots.entry(root).or_default().entry(role).or_default().push(file.clone());
        }
    }
    // A mirror without the hives themselves is no Windows.
    roots.retain(|_, hives| hives.keys().any(|role| *role != HiveRole::SystemAlternate));
    let boot = match in_root("boot.ini").map(|file| volume.read(file.id, MAX_BOOT_INI)) {
        Some(Ok(text)) => Some(boot_ini::parse(&text)),
        Some(Err(error)) => {
            exam.state.push(format!("boot.ini could not be read: {error}"));
            None
        }
        None => None,
    };
    let owners: Vec<WinPath> = roots.keys().cloned().collect();
    for (index, (root, hives)) in roots.into_iter().enumerate() {
        let mine = |file: &FileFacts| match owners.iter().position(|owner| file.path.is_below(owner)) {
            Some(owner) => owner == index,
            None => index == 0,
        };
        let mut install = InstallExam {
            evidence: Evidence { root, ..Evidence::default() },
            findings: Vec::new(),
            hives: BTreeMap::new(),
            session_manager: None,
            problems: Vec::new(),
            refused: None,
            notes: Vec::new(),
        };
        if let Some(entries) = &boot {
            let mine = entries.iter().find(|entry| entry.root == install.evidence.root);
            install.notes.extend(match mine {
                None => Some(format!("boot.ini does not name {}", install.evidence.root)),
                Some(entry) if entry.title.is_empty() => None,
                Some(entry) => Some(format!("boot.ini offers it as {:?}", entry.title)),
            });
        }
        install.read_hives(volume.as_ref(), hives, &wants);
        install.read_programs(volume.as_ref(), &wants);
        install.read_user_hives(volume.as_ref(), scan.files.iter().filter(|file| mine(file)), &wants);
        for file in scan.files.iter().filter(|file| mine(file)) {
            let short = file.short_name.as_deref();
            let mut names = file.paths.iter().map(WinPath::file_name).chain(short);
            if names.any(|name| wants.name(name)) {
                let content = read_content(volume.as_ref(), file.id)
                    .map_err(|error| error.path(&file.path).to_string());
                install.evidence.files.push(FileEvidence { facts: file.clone(), content });
            }
        }
        let noticed = scan.files.iter().filter(|file| mine(file) && !file.is_orphan);
        noticed.for_each(|file| install.read_noticed(volume.as_ref(), file, checks));
        install.evidence.files.extend(swept.kept.iter().filter(|file| mine(&file.facts)).cloned());
        install.notes.extend(install.evidence.identity.contradictions.iter().cloned());
        sink(Event::Install {
            root: install.evidence.root.to_string(),
            product: install.evidence.identity.title(),
        });
        install.findings = checks.iter().flat_map(|check| check.judge(&install.evidence)).collect();
        for finding in &install.findings {
            sink(Event::Found {
                grade: finding.grade.to_string(),
                what: format!("{}: {} ({})", finding.check, finding.what, finding.place),
            });
        }
        exam.installs.push(install);
    }
    exam.opened = Some(Opened { files: volume, reader: window });
    Ok(())
}

impl InstallExam {
    /// Reads the versions of the wanted programs: those that Windows loads, so by the directories.
    fn read_programs(&mut self, volume: &dyn FileSystem, wants: &Wants) {
        for below in &wants.programs {
            let path = self.evidence.root.join(below.as_str());
            let (id, version) = match volume.find(&path) {
                Ok(None) => continue,
                Ok(Some(facts)) => {
                    let read = volume.read(facts.id, MAX_PROGRAM);
                    (Some(facts.id), read.and_then(|bytes| file_version::read(&bytes)))
                }
                Err(error) => (None, Err(error)),
            };
            let version = version.map_err(|error| error.path(&path).to_string());
            self.evidence.programs.insert(below.clone(), ProgramEvidence { id, version });
        }
    }
}

impl InstallExam {
    /// Has the checks glean what they want to know of a file that one of them may notice.
    fn read_noticed(&mut self, volume: &dyn FileSystem, file: &FileFacts, checks: &[Box<dyn Check + '_>]) {
        for check in checks.iter().filter(|check| check.notices(file.path.file_name())) {
            let Some(max) = check.asks(file, &self.evidence.root) else { continue };
            let told = match max {
                0 => Ok(Gleaned::Name),
                max if file.size > max => {
                    let why = format!("it has {} bytes, and no more than {max} are read", file.size);
                    Err(Error::refused("read the file", why))
                }
                max => volume.read(file.id, max).and_then(|bytes| check.gleans(file, bytes)),
            };
            let told = told.map_err(|error| error.path(&file.path).to_string());
            self.evidence.noticed.push(Noticed { by: check.name(), facts: file.clone(), told });
        }
    }
}

/// The one pass over all files: what is wanted by name, and what is found by size or among all programs.
fn read_files(
    volume: &dyn FileSystem,
    device: &dyn ReadAt,
    wants: &Wants,
    checks: &[Box<dyn Check + '_>],
    sink: Sink<'_>,
) -> Result<(Scan, Swept)> {
    // Both the walk and what is read between its blocks tell how far they are.
    let told = RefCell::new(sink);
    let tell = |what, done, total| (told.borrow_mut())(Event::Progress { what, done, total });
    let mut sweep = Sweep::new(volume, device, wants, checks);
    let scan = volume.scan(
        &mut |candidate| {
            let mut names = candidate.names.iter().map(|name| name.name.as_str());
            if candidate.is_directory {
                false
            } else if names.clone().any(|name| wants.name(name)) {
                true
            } else {
                let is_noticed = names.clone().any(|name| checks.iter().any(|check| check.notices(name)));
                sweep.offer(candidate.id, candidate.size, &mut |done, total| {
                    tell("hashing files", done, total)
                });
                is_noticed
                    || names.any(|name| {
                        may_be_hive(name) || same_name(name, "boot.ini") || same_name(name, hibernation::FILE)
                    })
            }
        },
        &mut |done, total| tell("reading the file table", done, total),
    )?;
    let swept = sweep.finish(&mut |done, total| tell("hashing files", done, total));
    Ok((scan, swept))
}

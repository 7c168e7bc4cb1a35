//! Second step: one pass over each volume and its hives for everything that the checks want. Reads only.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::{HiveRole, VolumeId};
use crate::checks::{Check, Content, Evidence, FileEvidence, Wants};
use crate::cleanup::discover::Patient;
use crate::cleanup::hive_file::Replayed;
use crate::digest::{Hasher, Sha256};
use crate::disk::Partition;
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::finding::Finding;
use crate::hive::check::Problem;
use crate::path::{RegPath, WinPath, same_name};
use crate::volume::{FileFacts, FileSystem, ReadAt, Recognised, Window, open_volume, recognise};
use crate::windows::boot_ini;
use crate::windows::install::{config_hive, is_user_hive, may_be_hive};

mod hives;

/// A hive larger than this is not read: the largest real ones are far below (the registry of these Windows lives in
/// the paged pool), so it is damage or an attack on the tool's memory.
pub const MAX_HIVE: u64 = 512 << 20;
/// Where Windows 2000 and later keep the memory of a hibernated machine, in the root of any volume.
const HIBERNATION_FILE: &str = "hiberfil.sys";
/// A boot.ini larger than this is none.
const MAX_BOOT_INI: u64 = 64 << 10;

/// What inspecting one patient found.
pub struct Exam {
    /// Its volumes, in the order of the disk.
    pub volumes: Vec<VolumeExam>,
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
    /// Why nothing on the whole disk may be written: a Windows on it is hibernated and has its contents in memory, or
    /// the volume has members elsewhere.
    pub forbids_writing: Option<String>,
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
/// The patient cannot be opened or a volume's first sector not be read. Anything amiss inside a volume is in its exam.
pub fn inspect(patient: &Patient, checks: &[Box<dyn Check + '_>], sink: Sink<'_>) -> Result<Exam> {
    let device = patient.device.open_read()?;
    sink(Event::Target { path: patient.disk.path.clone(), size: patient.disk.size });
    let mut volumes = Vec::new();
    for partition in &patient.disk.partitions {
        let window: Arc<dyn ReadAt> = Arc::new(Window::new(device.clone(), partition.start, partition.size));
        volumes.push(inspect_volume(partition, window, checks, sink)?);
    }
    Ok(Exam { volumes })
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
        forbids_writing: partition.kind.forbids_writing().map(|why| format!("{}: {why}", partition.kind)),
        installs: Vec::new(),
        opened: None,
    };
    match recognised {
        Recognised::Ntfs => {
            if let Err(error) = inspect_files(&mut exam, recognised, window, checks, sink) {
                exam.problem = Some(error.to_string());
            }
        }
        Recognised::Fat { .. } => {
            exam.problem =
                Some("this version does not read FAT volumes; a Windows on it would not be seen".to_owned());
        }
        Recognised::BitLocker => {
            exam.problem = Some(
                "the volume is encrypted by BitLocker; unlock or decrypt it on the Windows that it belongs to"
                    .to_owned(),
            );
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
        exam.state.push(
            "its dirty flag is set: Windows checks it at the next start; scan again after that".to_owned(),
        );
    }
    if volume.is_truncated() {
        exam.problem =
            Some("the device ends before the volume does: parts of it could not be read".to_owned());
    }
    let wants = Wants::of(checks);
    let scan = volume.scan(
        &mut |candidate| {
            !candidate.is_directory
                && candidate.names.iter().any(|name| {
                    wants.file(&name.name, candidate.size)
                        || may_be_hive(&name.name)
                        || same_name(&name.name, "boot.ini")
                        || same_name(&name.name, HIBERNATION_FILE)
                })
        },
        &mut |done, total| sink(Event::Progress { what: "reading the file table", done, total }),
    )?;
    if let Some(first) = scan.problems.first() {
        let others = match scan.problem_count {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        exam.problem = Some(format!("parts of the file table could not be read: {first}{others}"));
    }
    let in_root = |name: &str| scan.files.iter().find(|file| file.path == WinPath::new(name));
    if let Some(file) = in_root(HIBERNATION_FILE) {
        exam.forbids_writing = hibernated(volume.as_ref(), file).or(exam.forbids_writing.take());
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
        let mine = |file: &&FileFacts| match owners.iter().position(|owner| file.path.is_below(owner)) {
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
        let users: Vec<FileFacts> =
            scan.files.iter().filter(mine).filter(|file| is_user_hive(&file.path)).cloned().collect();
        install.read_user_hives(volume.as_ref(), &users, &wants);
        for file in scan.files.iter().filter(mine) {
            if file.paths.iter().any(|path| wants.file(path.file_name(), file.size)) {
                let content = read_content(volume.as_ref(), file).map_err(|error| error.to_string());
                install.evidence.files.push(FileEvidence { facts: file.clone(), content });
            }
        }
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

/// Why a hibernation file forbids writing, if it does. Its first four bytes tell: zeros, or `wake` in any letters, mean
/// that the machine has been resumed or shut down since; anything else, known or not, counts as a machine asleep.
fn hibernated(volume: &dyn FileSystem, file: &FileFacts) -> Option<String> {
    let mut head = Vec::new();
    let stop = || Error::refused("read on", "the beginning is enough");
    let read = volume.read_pieces(file.id, &mut |piece| {
        head.extend(piece.iter().take(4));
        Err(stop())
    });
    let asleep = match head.as_slice() {
        [0, 0, 0, 0] => false,
        [a, b, c, d] => !same_name(&String::from_utf8_lossy(&[*a, *b, *c, *d]), "wake"),
        _ => file.size > 0 && read.is_err(),
    };
    asleep.then(|| {
        format!(
            "a Windows on this disk is hibernated ({} says so): it has the disk's contents in memory and would write \
             them over ours; start it, shut it down properly, and run again",
            file.path
        )
    })
}

/// Reads a whole file once, for its digests and for what else its bytes tell.
fn read_content(volume: &dyn FileSystem, file: &FileFacts) -> Result<Content> {
    let (mut hasher, mut head) = (Hasher::default(), Vec::new());
    let mut all_zero = true;
    volume
        .read_pieces(file.id, &mut |piece| {
            hasher.update(piece);
            all_zero = all_zero && piece.iter().all(|&byte| byte == 0);
            let missing = 512_usize.saturating_sub(head.len());
            head.extend(piece.iter().take(missing));
            Ok(())
        })
        .map_err(|error| error.path(&file.path))?;
    let digests = hasher.finish();
    Ok(Content {
        all_zero: all_zero && digests.size > 0,
        first_sector_zero: !head.is_empty() && head.iter().all(|&byte| byte == 0),
        executable: head.starts_with(b"MZ"),
        digests,
    })
}

//! The checks, one file each. A check says what it wants to know, judges what was found, and proposes changes; it
//! reads nothing itself, so one pass over a volume serves all of them.
//!
//! A new check is a new file and one line in [`all`].

mod autostart;
mod companion;
mod dcom;
mod packet_filter;
mod patch;
mod restore_point;
mod traces;
mod worm_file;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::change::{Change, FileId, HiveRole, ValueData};
use crate::digest::Digests;
use crate::error::{Error, Result};
use crate::finding::{CheckName, Finding};
use crate::hive::read::Key;
use crate::path::{RegPath, WinPath, fold_name};
use crate::policy::Policy;
use crate::threat::Signatures;
use crate::volume::FileFacts;
use crate::windows::control_set::Select;
use crate::windows::event_log::EventRecord;
use crate::windows::file_version::FileVersion;
use crate::windows::install::Identity;

/// What a check wants to know.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// Files of these base names, in [`fold_name`]'s form.
    pub names: HashSet<String>,
    /// Files of these sizes in bytes; kept only where [`Check::keeps`] says so.
    pub sizes: HashSet<u64>,
    /// The same, as sorted lists that may be long and are shared.
    pub more_sizes: Vec<Arc<[u32]>>,
    /// Every file that begins as a program does; kept only where [`Check::keeps`] says so.
    pub all_programs: bool,
    /// Keys, with all their values.
    pub keys: Vec<KeyWant>,
    /// Programs whose version is asked for, by their paths below the system root.
    pub programs: Vec<WinPath>,
}

/// Keys that a check wants, with all their values. A part of the path that is `*` stands for every subkey there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWant {
    /// Where.
    pub base: KeyBase,
    /// The path below it.
    pub path: RegPath,
}

/// Where a wanted key is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBase {
    /// In SOFTWARE.
    Software,
    /// In SYSTEM.
    System,
    /// In the control sets that count (Current and Default) of SYSTEM, and of SYSTEM.ALT where Windows keeps it.
    ControlSets,
    /// In each user's hive.
    Users,
}

impl KeyWant {
    /// A key in SOFTWARE.
    pub fn software(path: &str) -> Self {
        Self { base: KeyBase::Software, path: RegPath::new(path) }
    }

    /// A key in the control sets.
    pub fn control_sets(path: &str) -> Self {
        Self { base: KeyBase::ControlSets, path: RegPath::new(path) }
    }

    /// A key in each user's hive.
    pub fn users(path: &str) -> Self {
        Self { base: KeyBase::Users, path: RegPath::new(path) }
    }

    /// The paths in one hive, given the control sets of it that count; none where the hive is not meant.
    pub fn paths_in(&self, role: &HiveRole, sets: &[RegPath]) -> Vec<RegPath> {
        match (self.base, role) {
            (KeyBase::Software, HiveRole::Software)
            | (KeyBase::System, HiveRole::System)
            | (KeyBase::Users, HiveRole::User(_)) => vec![self.path.clone()],
            (KeyBase::ControlSets, HiveRole::System | HiveRole::SystemAlternate) => {
                sets.iter().map(|set| set.join(self.path.as_str())).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether SYSTEM has a mirror that takes its edits too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mirror {
    /// This Windows keeps none.
    #[default]
    None,
    /// SYSTEM.ALT is sound.
    Usable,
    /// SYSTEM.ALT is missing, dirty or damaged, in words: it is left alone.
    Unusable(String),
}

impl Wants {
    /// What all of the checks want.
    pub fn of(checks: &[Box<dyn Check + '_>]) -> Self {
        let mut all = Self::default();
        for check in checks {
            let wants = check.wants();
            all.names.extend(wants.names);
            all.sizes.extend(wants.sizes);
            all.more_sizes.extend(wants.more_sizes);
            all.all_programs |= wants.all_programs;
            all.keys.extend(wants.keys);
            all.programs.extend(wants.programs);
        }
        all
    }

    /// Whether a file of this name is to be looked at.
    pub fn name(&self, name: &str) -> bool {
        self.names.contains(&fold_name(name))
    }

    /// Whether a file of this size in bytes is to be looked at, whatever its name.
    pub fn size(&self, size: u64) -> bool {
        let short = u32::try_from(size);
        self.sizes.contains(&size)
            || self.more_sizes.iter().any(|list| short.is_ok_and(|size| list.binary_search(&size).is_ok()))
    }
}

/// What the bytes of a file tell.
#[derive(Clone, Debug)]
pub struct Content {
    /// Digests and size.
    pub digests: Digests,
    /// Nothing but zero bytes.
    pub all_zero: bool,
    /// The first 512 bytes (or all of a shorter file) are zero.
    pub first_sector_zero: bool,
    /// Starts with `MZ`, as every program for these Windows does.
    pub executable: bool,
}

/// A file that some check wanted.
#[derive(Clone, Debug)]
pub struct FileEvidence {
    /// What its record tells.
    pub facts: FileFacts,
    /// What its bytes tell, or why they could not be read.
    pub content: Result<Content, String>,
}

impl FileEvidence {
    /// All names that the file goes by: one for each hard link, and its 8.3 name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.facts.paths.iter().map(|path| path.file_name()).chain(self.facts.short_name.as_deref())
    }
}

/// A file that a check noticed by its name and place, and what the check made of its bytes: the bytes themselves are
/// gone, since such files may be large, and many.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// Which check.
    pub by: CheckName,
    /// What its record tells.
    pub facts: FileFacts,
    /// What its bytes tell, or why they could not be read.
    pub told: Result<Gleaned, String>,
}

/// What the bytes of a noticed file tell.
#[derive(Clone, Debug)]
pub enum Gleaned {
    /// Nothing was asked of them.
    Name,
    /// How it begins.
    Head {
        /// Starts with `MZ`, as every program for these Windows does.
        is_program: bool,
    },
    /// Paths of deleted files.
    Deleted(Vec<String>),
    /// Records of an event log, those that count.
    Events(Vec<EventRecord>),
    /// A registry snapshot.
    Snapshot(restore_point::Snapshot),
}

/// A key that some check wanted.
#[derive(Clone, Debug, Default)]
pub struct KeyEvidence {
    /// Its values in their order: name, and data or why it could not be read.
    pub values: Vec<(String, Result<ValueData, String>)>,
}

impl KeyEvidence {
    /// What a key of a hive holds.
    ///
    /// # Errors
    /// Its list of values is damaged.
    pub fn of(key: &Key<'_>) -> Result<Self> {
        let mut evidence = Self::default();
        for value in key.values()? {
            evidence.values.push((value.name(), value.data().map_err(|error| error.to_string())));
        }
        Ok(evidence)
    }

    /// One value's data by name.
    pub fn value(&self, name: &str) -> Option<&Result<ValueData, String>> {
        self.values.iter().find(|(own, _)| crate::path::same_name(own, name)).map(|(_, data)| data)
    }
}

/// A program whose version was asked for, and that is there.
#[derive(Clone, Debug)]
pub struct ProgramEvidence {
    /// Its identity; none where the directories could not be searched for it.
    pub id: Option<FileId>,
    /// Its version, or why that could not be read.
    pub version: Result<FileVersion, String>,
}

/// All that one pass found out about one install. No judgement reads again after it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// System root.
    pub root: WinPath,
    /// Which Windows it is.
    pub identity: Identity,
    /// The wanted keys that exist, of the hives that could be read.
    pub keys: BTreeMap<(HiveRole, RegPath), KeyEvidence>,
    /// Hives that could not be read, and why.
    pub unread_hives: BTreeMap<HiveRole, String>,
    /// Which control sets count.
    pub select: Select,
    /// SYSTEM.ALT.
    pub mirror: Mirror,
    /// The wanted files.
    pub files: Vec<FileEvidence>,
    /// The wanted programs that are there, by their paths below the system root.
    pub programs: BTreeMap<WinPath, ProgramEvidence>,
    /// The files that checks noticed.
    pub noticed: Vec<Noticed>,
}

impl Evidence {
    /// The files that one check noticed.
    pub fn noticed_by(&self, check: CheckName) -> impl Iterator<Item = &Noticed> {
        self.noticed.iter().filter(move |noticed| noticed.by == check)
    }

    /// A wanted key, if it exists.
    pub fn key(&self, hive: &HiveRole, path: &RegPath) -> Option<&KeyEvidence> {
        self.keys.get(&(hive.clone(), path.clone()))
    }

    /// All keys of one hive that were wanted and exist.
    pub fn keys_of(&self, hive: &HiveRole) -> impl Iterator<Item = (&RegPath, &KeyEvidence)> {
        self.keys.iter().filter(move |((of, _), _)| of == hive).map(|((_, path), key)| (path, key))
    }
}

/// One question that Deblast asks of an install.
pub trait Check {
    /// The name that its findings carry.
    fn name(&self) -> CheckName;
    /// What it wants to know.
    fn wants(&self) -> Wants;
    /// Whether a file that was looked at for its size, or as any program, and not for its name, belongs to the evidence.
    /// On a large disk these are many, and all but the matches are dropped on the spot.
    fn keeps(&self, _content: &Content) -> bool {
        false
    }
    /// Whether a file of this base name may be one that this check notices; asked of every name on the volume.
    fn notices(&self, _name: &str) -> bool {
        false
    }
    /// How many bytes of a noticed file are to be read, 0 where its record says all; none where its place is not the one
    /// that counts. A file that is longer is not read.
    fn asks(&self, _facts: &FileFacts, _root: &WinPath) -> Option<u64> {
        None
    }
    /// What the whole bytes of such a file tell. One is in memory at a time.
    ///
    /// # Errors
    /// They are not what the name promises.
    fn gleans(&self, facts: &FileFacts, _bytes: Vec<u8>) -> Result<Gleaned> {
        Err(Error::refused("read the file", "no check knows its form").path(&facts.path))
    }
    /// What it makes of the evidence. Pure: the same evidence gives the same findings.
    fn judge(&self, evidence: &Evidence) -> Vec<Finding>;
    /// The changes that would cure one of its findings under a settled policy; none where it is to be left, and then
    /// the finding's `why` says so already or the policy does.
    fn cure(&self, finding: &Finding, policy: &Policy) -> Vec<Change>;
}

/// All checks, in the order in which reports tell of them.
pub fn all(signatures: &Signatures) -> Vec<Box<dyn Check + '_>> {
    vec![
        Box::new(autostart::Autostart { signatures }),
        Box::new(worm_file::WormFile { signatures }),
        Box::new(dcom::Dcom),
        Box::new(packet_filter::PacketFilter),
        Box::new(patch::Patch),
        Box::new(companion::Companion { signatures }),
        Box::new(restore_point::RestorePoint { signatures }),
        Box::new(traces::Traces { signatures }),
    ]
}

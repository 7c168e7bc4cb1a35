//! What a check found: data, not an error.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::change::{Change, FileId, HiveRole, Purpose, ValueChange, ValueData, ValueEdit};
use crate::digest::{Digests, Md5, Sha1, Sha256};
use crate::path::{RegPath, WinPath};

/// The checks, by the names that reports use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// Registry values that start a worm.
    Autostart,
    /// The worm's own files.
    WormFile,
    /// Whether DCOM answers remote activation.
    Dcom,
    /// Whether TCP/IP filtering closes the ports.
    PacketFilter,
    /// Whether MS03-026 or a successor is installed.
    Patch,
    /// W32/Welchia, also called Nachi.
    Companion,
    /// Copies in System Restore.
    RestorePoint,
    /// What the worm left behind without being able to start.
    Traces,
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Autostart => "autostart",
            Self::WormFile => "worm_file",
            Self::Dcom => "dcom",
            Self::PacketFilter => "packet_filter",
            Self::Patch => "patch",
            Self::Companion => "companion",
            Self::RestorePoint => "restore_point",
            Self::Traces => "traces",
        })
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Size and digest are those of a known worm, or a registry value says what only the worm writes.
    Confirmed,
    /// Name, place and Run value agree.
    Probable,
    /// Something about it is the worm's, not enough to act on by default.
    Suspect,
    /// Told for completeness; asks for nothing and is never counted.
    Information,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Confirmed => "confirmed",
            Self::Probable => "probable",
            Self::Suspect => "suspect",
            Self::Information => "information",
        })
    }
}

/// What became of the action that a finding asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was to be done.
    #[default]
    None,
    /// It stands in the plan, which was not carried out.
    Planned,
    /// Carried out, not verified yet.
    Done,
    /// Carried out, and seen on the disk afterwards.
    Verified,
    /// Not acted on, by policy or because it could not be.
    Left,
    /// Tried, and not seen on the disk afterwards.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Planned => "planned",
            Self::Done => "done",
            Self::Verified => "verified",
            Self::Left => "left",
            Self::Failed => "failed",
        })
    }
}

/// The facts that a finding rests on; each is there only where it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Family and variant of the signature that matched, with its aliases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Digests and size of the file.
    #[serde(flatten, skip_serializing_if = "Option::is_none", deserialize_with = "all_digests_or_none")]
    pub digests: Option<Digests>,
    /// MFT record number of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mft_record: Option<u64>,
    /// On FAT: byte offset in the volume of the file's directory entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory_entry: Option<u64>,
    /// Hive that holds the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hive: Option<String>,
    /// Key inside that hive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Type and data of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// File version, four numbers with dots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_version: Option<String>,
    /// Which bulletins' fixes the files hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulletins: Option<Bulletins>,
    /// What became of an inert file's name: `pending`, `stays` or `removed`, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Reads the digests back; serde would take some of them without the others, or a wrong one, for none at all.
fn all_digests_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digests>, D::Error> {
    #[derive(Deserialize)]
    struct Told {
        size: Option<u64>,
        md5: Option<Md5>,
        sha1: Option<Sha1>,
        sha256: Option<Sha256>,
    }
    let told = Told::deserialize(deserializer)?;
    match (told.size, told.md5, told.sha1, told.sha256) {
        (None, None, None, None) => Ok(None),
        (Some(size), Some(md5), Some(sha1), Some(sha256)) => Ok(Some(Digests { size, md5, sha1, sha256 })),
        _ => Err(serde::de::Error::custom("size, md5, sha1 and sha256 are told together or not at all")),
    }
}

impl Facts {
    /// The facts that name a file inside its volume.
    pub fn of_file(id: FileId) -> Self {
        match id {
            FileId::Ntfs { record, .. } => Self { mft_record: Some(record), ..Self::default() },
            FileId::Fat { entry, .. } => Self { directory_entry: Some(entry), ..Self::default() },
        }
    }
}

/// Whether the hole that MS03-026 closes is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchState {
    /// MS03-026 or a successor is installed.
    Fixed,
    /// It is not.
    Vulnerable,
    /// It could not be told; counts as open.
    NotEstablished,
}

/// Whether the files hold the fix of each bulletin that closes the worm's way in or replaces one that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bulletins {
    /// KB823980: the hole of CA-2003-20.
    #[serde(rename = "MS03-026")]
    pub ms03_026: PatchState,
    /// KB824146: further holes of the same service; replaces it.
    #[serde(rename = "MS03-039")]
    pub ms03_039: PatchState,
    /// KB828741: replaces both.
    #[serde(rename = "MS04-012")]
    pub ms04_012: PatchState,
}

/// Whether DCOM answers remote activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DcomState {
    /// Off, by a value that this Windows honours.
    Off,
    /// Off by the value, but this Windows does not honour it.
    OffNotHonoured,
    /// On.
    On,
    /// It could not be told; counts as on.
    NotEstablished,
}

/// Whether TCP/IP filtering keeps the worm's ports shut on every interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterState {
    /// Established as on for every interface.
    On,
    /// Off.
    Off,
    /// It could not be told; counts as off.
    NotEstablished,
}

/// What a finding means for the verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bearing {
    /// A worm or its start.
    Infection,
    /// A copy that a restore would bring back.
    RestorableCopy,
    /// One part of the question whether the hole is open.
    Patch(PatchState),
    /// One part of the question whether the hole is open.
    Dcom(DcomState),
    /// One part of the question whether the hole is open.
    Filter(FilterState),
    /// Something that the verdict needs could not be read.
    Unreadable,
    /// None.
    #[default]
    Nothing,
}

/// The thing on the disk that a finding is about: what a cure would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// Nothing that could be changed.
    #[default]
    Nothing,
    /// A registry value, there or missing.
    Value {
        /// Hive that holds it.
        hive: HiveRole,
        /// Key inside that hive.
        key: RegPath,
        /// Name of the value.
        name: String,
        /// Type and data as inspected.
        data: Option<ValueData>,
    },
    /// A file.
    File {
        /// Identity inside the volume.
        id: FileId,
        /// One of its paths.
        path: WinPath,
        /// Digests as inspected.
        digests: Digests,
    },
    /// Several values that only count together, as the changes that a cure would make.
    Several(Vec<Change>),
}

impl Subject {
    /// The change that a cure makes to a value; none where this is no value.
    pub fn value_change(&self, edit: ValueEdit, purpose: Purpose) -> Option<Change> {
        let Self::Value { hive, key, name, data } = self else { return None };
        Some(Change::Value(ValueChange {
            hive: hive.clone(),
            key: key.clone(),
            name: name.clone(),
            before: data.clone(),
            edit,
            purpose,
            pairs: Vec::new(),
        }))
    }
}

/// One thing that a check found in one install.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check.
    pub check: CheckName,
    /// How sure it is.
    pub grade: Grade,
    /// What it is, in a few words.
    pub what: String,
    /// Path, or hive, key and value.
    #[serde(rename = "where")]
    pub place: String,
    /// The facts it rests on.
    #[serde(rename = "evidence")]
    pub facts: Facts,
    /// What was planned for it, in words; none where nothing was.
    #[serde(deserialize_with = "Option::deserialize")]
    pub action: Option<String>,
    /// What became of that.
    pub outcome: Outcome,
    /// Why it has this grade, and why it was left where it was.
    pub why: String,
    /// What it means for the verdict. A stored report does not tell it: the verdict is given already.
    #[serde(skip)]
    pub bearing: Bearing,
    /// What a cure would change; not told by a stored report either.
    #[serde(skip)]
    pub subject: Subject,
}

//! What a run changes, as data: one [`Change`] is one registry value or one file. Also the identities that tie a
//! change to a volume and a file.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digests, Sha256};
use crate::path::{RegPath, WinPath};

/// Type of a registry value as stored in its key value cell. Unknown numbers stay representable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueType(pub u32);

impl ValueType {
    /// REG_NONE.
    pub const NONE: Self = Self(0);
    /// REG_SZ: UTF-16LE text with a terminating NUL.
    pub const SZ: Self = Self(1);
    /// REG_EXPAND_SZ: like REG_SZ, with `%variables%`.
    pub const EXPAND_SZ: Self = Self(2);
    /// REG_BINARY.
    pub const BINARY: Self = Self(3);
    /// REG_DWORD, little-endian.
    pub const DWORD: Self = Self(4);
    /// REG_MULTI_SZ: strings, each with its NUL, and one more NUL.
    pub const MULTI_SZ: Self = Self(7);
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "REG_NONE",
            1 => "REG_SZ",
            2 => "REG_EXPAND_SZ",
            3 => "REG_BINARY",
            4 => "REG_DWORD",
            5 => "REG_DWORD_BIG_ENDIAN",
            6 => "REG_LINK",
            7 => "REG_MULTI_SZ",
            8 => "REG_RESOURCE_LIST",
            9 => "REG_FULL_RESOURCE_DESCRIPTOR",
            10 => "REG_RESOURCE_REQUIREMENTS_LIST",
            11 => "REG_QWORD",
            other => return write!(f, "type {other:#x}"),
        };
        f.write_str(name)
    }
}

/// Type and data of one registry value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueData {
    /// The type field.
    #[serde(rename = "type")]
    pub kind: ValueType,
    /// The data bytes exactly as stored.
    #[serde(with = "hex_bytes")]
    pub data: Vec<u8>,
}

impl ValueData {
    /// A REG_SZ with its terminating NUL.
    pub fn sz(text: &str) -> Self {
        Self { kind: ValueType::SZ, data: utf16_bytes(text.encode_utf16().chain([0])) }
    }

    /// The text up to the first NUL, for the types that hold text; readers must accept a missing NUL and odd length.
    pub fn text(&self) -> Option<String> {
        if !matches!(self.kind, ValueType::SZ | ValueType::EXPAND_SZ | ValueType::MULTI_SZ) {
            return None;
        }
        let units: Vec<u16> = utf16_units(&self.data).take_while(|&unit| unit != 0).collect();
        Some(String::from_utf16_lossy(&units))
    }

    /// Every string of a REG_MULTI_SZ, empty ones too; the one that ends the list is not among them.
    fn texts(&self) -> Option<Vec<String>> {
        if self.kind != ValueType::MULTI_SZ {
            return None;
        }
        let units: Vec<u16> = utf16_units(&self.data).collect();
        let mut texts: Vec<String> = units.split(|&unit| unit == 0).map(String::from_utf16_lossy).collect();
        // Behind the NUL of the last string, and behind that of the end.
        for _ in 0..2 {
            texts.pop_if(|text| text.is_empty());
        }
        Some(texts)
    }

    /// The number, for a REG_DWORD of four bytes.
    pub fn dword(&self) -> Option<u32> {
        let bytes: [u8; 4] = self.data.as_slice().try_into().ok()?;
        (self.kind == ValueType::DWORD).then(|| u32::from_le_bytes(bytes))
    }
}

impl fmt::Display for ValueData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(texts) = self.texts().filter(|texts| texts.len() > 1) {
            // Nothing is left out: what Windows will do at its next start may stand behind the first.
            write!(f, "{}", self.kind)?;
            return texts.iter().try_for_each(|text| write!(f, " {text:?}"));
        }
        match (self.text(), self.dword()) {
            (Some(text), _) => write!(f, "{} {text:?}", self.kind),
            (_, Some(number)) => write!(f, "{} {number:#010x}", self.kind),
            _ => {
                write!(f, "{} ({} bytes)", self.kind, self.data.len())?;
                self.data.iter().take(16).try_for_each(|byte| write!(f, " {byte:02x}"))?;
                f.write_str(if self.data.len() > 16 { " …" } else { "" })
            }
        }
    }
}

impl fmt::Debug for ValueData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// UTF-16LE units of a byte string; an odd last byte is left out.
pub fn utf16_units(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair))
}

/// UTF-16LE bytes of units.
pub fn utf16_bytes(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    units.into_iter().flat_map(u16::to_le_bytes).collect()
}

/// Identity of a volume, as far as its boot sector and its place tell. A place in it is an offset from `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeId {
    /// Byte offset of the volume on its disk; 0 for an image of the volume alone.
    pub start: u64,
    /// Size in bytes as the boot sector tells.
    pub size: u64,
    /// Serial number in the boot sector.
    pub serial: u64,
}

/// Identity of a file inside one volume, good for as long as that file exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "filesystem", rename_all = "lowercase")]
pub enum FileId {
    /// NTFS: number of the base MFT record and its sequence number.
    Ntfs {
        /// MFT record number.
        record: u64,
        /// Sequence number; grows each time the record is reused.
        sequence: u16,
    },
    /// FAT: where its directory entry stands, and where its data begins. Both can be given out again after the file was
    /// deleted, so that a file that a run wrote is asked for its path, size and clusters too.
    Fat {
        /// Byte offset in the volume of its 8.3 directory entry.
        entry: u64,
        /// Number of its first cluster; 0 for a file without data.
        cluster: u32,
    },
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ntfs { record, sequence } => write!(f, "MFT record {record} sequence {sequence}"),
            Self::Fat { entry, cluster } => {
                write!(f, "directory entry at {entry:#x} with first cluster {cluster}")
            }
        }
    }
}

/// Which hive of an install, in the order in which a cure writes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HiveRole {
    /// `system32\config\software`, HKEY_LOCAL_MACHINE\SOFTWARE.
    Software,
    /// `system32\config\system`, HKEY_LOCAL_MACHINE\SYSTEM.
    System,
    /// `system32\config\system.alt`: the mirror of SYSTEM that NT 4.0 and 2000 load where SYSTEM fails them (Q151247).
    #[serde(rename = "SYSTEM.ALT")]
    SystemAlternate,
    /// A user's `NTUSER.DAT`, by its path; HKEY_CURRENT_USER of that user.
    User(WinPath),
}

impl fmt::Display for HiveRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software => f.write_str("SOFTWARE"),
            Self::System => f.write_str("SYSTEM"),
            Self::SystemAlternate => f.write_str("SYSTEM.ALT"),
            Self::User(path) => fmt::Display::fmt(path, f),
        }
    }
}

/// Why a value is changed: decides which `undo --only` takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Removes what started the worm.
    Disinfection,
    /// Closes the hole: DCOM, packet filter.
    Protection,
    /// Has Windows delete an inert file's name.
    NameRemoval,
}

/// What is done to one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ValueEdit {
    /// The value is deleted.
    Delete,
    /// The value is created or replaced.
    Set {
        /// New type and data.
        to: ValueData,
    },
}

/// One registry value that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueChange {
    /// Which hive of the install.
    pub hive: HiveRole,
    /// Key inside that hive.
    pub key: RegPath,
    /// Name of the value.
    pub name: String,
    /// Type and data before; none where the value did not exist.
    pub before: Option<ValueData>,
    /// What is done.
    pub edit: ValueEdit,
    /// Why.
    pub purpose: Purpose,
    /// For a list that others add to (PendingFileRenameOperations): the pairs that are ours, as source paths.
    /// Taking back by value withdraws exactly these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<String>,
}

impl ValueChange {
    /// Type and data afterwards; none where the value is deleted.
    pub fn after(&self) -> Option<&ValueData> {
        match &self.edit {
            ValueEdit::Delete => None,
            ValueEdit::Set { to } => Some(to),
        }
    }

    /// `SOFTWARE\key\[name]`, for showing.
    pub fn place(&self) -> String {
        format!("{}\\{} [{}]", self.hive, self.key, self.name)
    }
}

/// One file whose bytes go to the quarantine and that is then overwritten with zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Path inside the volume (one of its long names, where it has several).
    pub path: WinPath,
    /// Identity inside the volume.
    pub id: FileId,
    /// Digests and size as inspected.
    pub digests: Digests,
}

/// A hibernation file whose first sector is overwritten with zeros: the session in it is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HibernationChange {
    /// Path inside the volume.
    pub path: WinPath,
    /// Identity inside the volume.
    pub id: FileId,
    /// Digest of its first sector as inspected.
    pub sector: Sha256,
    /// Digest that tells, when the run is taken back, whether a Windows has run on the disk in between.
    pub witness: Sha256,
}

/// One change of one value or one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A registry value.
    Value(ValueChange),
    /// A file made inert.
    File(FileChange),
    /// A hibernated session given up.
    Hibernation(HibernationChange),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(v) => match (&v.edit, &v.before) {
                (ValueEdit::Delete, _) => write!(f, "delete the value {}", v.place()),
                (ValueEdit::Set { to }, Some(before)) => {
                    write!(f, "change the value {} from {before} to {to}", v.place())
                }
                (ValueEdit::Set { to }, None) => write!(f, "create the value {} as {to}", v.place()),
            },
            Self::File(file) => {
                write!(
                    f,
                    "quarantine {} ({} bytes) and overwrite it with zeros",
                    file.path, file.digests.size
                )
            }
            Self::Hibernation(file) => write!(
                f,
                "overwrite the first sector of {} with zeros: the hibernated session is given up, and its unsaved work lost",
                file.path
            ),
        }
    }
}

impl Change {
    /// What taking this change back does to the disk, in words.
    pub fn reversed(&self) -> String {
        match self {
            Self::Value(v) => match (&v.before, &v.edit) {
                (Some(before), ValueEdit::Delete) => format!("put back the value {} ({before})", v.place()),
                (Some(before), ValueEdit::Set { .. }) => {
                    format!("change the value {} back to {before}", v.place())
                }
                (None, _) => format!("delete the value {} again, which the run created", v.place()),
            },
            Self::File(file) => {
                format!("give {} its {} bytes back from quarantine", file.path, file.digests.size)
            }
            Self::Hibernation(file) => {
                format!("give {} its first sector back: that Windows is hibernated again", file.path)
            }
        }
    }
}

/// Bytes as lower-case hex in JSON.
pub mod hex_bytes {
    use super::{Deserialize, Deserializer, Serializer};

    /// Writes the bytes as one hex string.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(bytes))
    }

    /// Reads one hex string.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).ok_or_else(|| serde::de::Error::custom("expected an even number of hex digits"))
    }

    /// The bytes as lower-case hex.
    pub fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |n: u8| char::from(DIGITS.get(usize::from(n)).copied().unwrap_or(b'?'));
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    fn decode(text: &str) -> Option<Vec<u8>> {
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let digits = digits?;
        let (pairs, rest) = digits.as_chunks::<2>();
        rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Windows will delete at its next start may stand behind the first string, and behind an empty one.
    #[test]
    fn every_string_of_a_list_is_told() {
        let list =
            |texts: &str| ValueData { kind: ValueType::MULTI_SZ, data: utf16_bytes(texts.encode_utf16()) };
        let told = |texts| list(texts).to_string();
        assert_eq!(told("a\0\0b\0\0\0"), "REG_MULTI_SZ \"a\" \"\" \"b\" \"\"");
        assert_eq!(told("tcp\0udp\0\0"), "REG_MULTI_SZ \"tcp\" \"udp\"");
        assert_eq!(told("0\0\0"), "REG_MULTI_SZ \"0\"");
        assert_eq!(told(""), "REG_MULTI_SZ \"\"");
    }

    #[test]
    fn text_accepts_what_windows_leaves() {
        let value = |data: &[u8]| ValueData { kind: ValueType::SZ, data: data.to_vec() };
        assert_eq!(value(b"N\0\0\0").text().as_deref(), Some("N"));
        assert_eq!(value(b"N\0").text().as_deref(), Some("N"), "no NUL");
        assert_eq!(value(b"N\0\0\0x").text().as_deref(), Some("N"), "odd length, text behind the NUL");
        assert_eq!(ValueData::sz("N").data, b"N\0\0\0");
        assert_eq!(ValueData { kind: ValueType::BINARY, data: vec![1] }.text(), None);
    }

    #[test]
    fn json_round_trip() {
        let value = ValueData::sz("msblast.exe");
        let json = serde_json::to_string(&value).unwrap();
        assert!(json.starts_with("{\"type\":1,\"data\":\"6d007300"), "{json}");
        assert_eq!(serde_json::from_str::<ValueData>(&json).unwrap(), value);
        assert!(serde_json::from_str::<ValueData>("{\"type\":1,\"data\":\"abc\"}").is_err());
    }
}

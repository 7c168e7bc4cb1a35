//! Paths of Windows, compared as Windows compares them.
//!
//! Both kinds fold letters the way the registry and NTFS do: unit by unit of UTF-16, to upper case, and never
//! more than one unit for one (so `ß` stays `ß`). The text is kept as it was found, for showing.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// Folds one UTF-16 code unit to upper case as Windows' simple upcase table does: where the upper case of a
/// character is not exactly one unit, the character stays.
pub fn upcase_unit(unit: u16) -> u16 {
    if unit < 0x80 {
        return if (b'a' as u16..=b'z' as u16).contains(&unit) { unit - 32 } else { unit };
    }
    let Some(c) = char::from_u32(u32::from(unit)) else { return unit };
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(u), None) => u16::try_from(u32::from(u)).unwrap_or(unit),
        _ => unit,
    }
}

/// Compares two names as Windows does, letter case left out of account.
pub fn compare_names(a: &str, b: &str) -> Ordering {
    a.encode_utf16().map(upcase_unit).cmp(b.encode_utf16().map(upcase_unit))
}

/// Whether two names are the same to Windows.
pub fn same_name(a: &str, b: &str) -> bool {
    compare_names(a, b) == Ordering::Equal
}

/// Upper-cased copy of a name, for use as a key of a map.
pub fn fold_name(name: &str) -> String {
    String::from_utf16_lossy(&name.encode_utf16().map(upcase_unit).collect::<Vec<u16>>())
}

macro_rules! windows_path {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text apart at backslashes; leading, trailing and doubled ones are dropped.
            pub fn new(text: &str) -> Self {
                Self(text.split('\\').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\\"))
            }

            /// Makes a path of parts; none may hold a backslash.
            pub fn from_parts<S: AsRef<str>>(parts: impl IntoIterator<Item = S>) -> Self {
                let mut path = Self::default();
                for part in parts {
                    path = path.join(part.as_ref());
                }
                path
            }

            /// The path with `more` (one part or several) behind it.
            pub fn join(&self, more: &str) -> Self {
                if self.0.is_empty() { Self::new(more) } else { Self::new(&format!("{}\\{more}", self.0)) }
            }

            /// The parts from the root on.
            pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
                self.0.split('\\').filter(|part| !part.is_empty())
            }

            /// The last part; empty for the root.
            pub fn file_name(&self) -> &str {
                self.parts().next_back().unwrap_or("")
            }

            /// The path without its last part, or none for the root.
            pub fn parent(&self) -> Option<Self> {
                let mut parts: Vec<&str> = self.parts().collect();
                parts.pop()?;
                Some(Self::from_parts(parts))
            }

            /// Whether this path lies below `folder` (not the folder itself), letter case left out of account.
            pub fn is_below(&self, folder: &Self) -> bool {
                let mut mine = self.parts();
                folder.parts().all(|part| mine.next().is_some_and(|own| same_name(own, part)))
                    && mine.next().is_some()
            }

            /// The text without a leading backslash.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                compare_names(&self.0, &other.0)
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                fold_name(&self.0).hash(state);
            }
        }
    };
}

windows_path! {
    /// A path inside one volume, from its root: `WINDOWS\system32\msblast.exe`. Shown with a leading backslash.
    WinPath
}

windows_path! {
    /// A key's path inside one hive, from its root: `Microsoft\Windows\CurrentVersion\Run`.
    RegPath
}

impl fmt::Display for WinPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\\{}", self.0)
    }
}

impl fmt::Display for RegPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_as_windows_does() {
        assert_eq!(WinPath::new("\\WINDOWS\\System32\\"), WinPath::new("windows\\SYSTEM32"));
        assert_ne!(WinPath::new("a\\b"), WinPath::new("ab"));
        assert!(same_name("ÄÖÜ", "äöü"));
        assert!(!same_name("straße", "STRASSE"), "one unit never becomes two");
    }

    #[test]
    fn walks_up_and_down() {
        let path = WinPath::new("WINDOWS\\system32\\msblast.exe");
        assert_eq!(path.file_name(), "msblast.exe");
        assert_eq!(path.parent(), Some(WinPath::new("WINDOWS\\system32")));
        assert!(path.is_below(&WinPath::new("windows")));
        assert!(!path.is_below(&path));
        assert!(!WinPath::new("WINDOWS2\\x").is_below(&WinPath::new("WINDOWS")));
        assert_eq!(WinPath::default().parent(), None);
        assert_eq!(path.to_string(), "\\WINDOWS\\system32\\msblast.exe");
    }
}

//! `PendingFileRenameOperations`: files that the Session Manager deletes or renames at the next start, after AUTOCHK
//! and with NTFS's own journal behind it (KB202071; MoveFileEx).
//!
//! The data is REG_MULTI_SZ in type only: pairs of strings, source then destination, where an empty destination
//! deletes the source. Readers that stop at the first empty string see half of it, so the bytes are taken apart here.

use crate::change::{ValueData, ValueType, utf16_bytes, utf16_units};
use crate::path::{WinPath, same_name};

/// Key below a control set.
pub const KEY: &str = "Control\\Session Manager";
/// Name of the value.
pub const VALUE: &str = "PendingFileRenameOperations";

/// Pairs of source and destination, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending(Vec<(Vec<u16>, Vec<u16>)>);

impl Pending {
    /// Takes the value's data apart, or says why it had better be left alone.
    pub fn parse(value: &ValueData) -> Result<Self, String> {
        if value.kind != ValueType::MULTI_SZ {
            return Err(format!("{VALUE} is {}, not REG_MULTI_SZ", value.kind));
        }
        if !value.data.len().is_multiple_of(2) {
            return Err(format!("{VALUE} has an odd number of bytes ({})", value.data.len()));
        }
        let units: Vec<u16> = utf16_units(&value.data).collect();
        let Some((0, strings)) = units.split_last().map(|(last, rest)| (*last, rest)) else {
            return Err(format!("{VALUE} does not end in an empty string"));
        };
        let mut parts: Vec<&[u16]> = strings.split(|&unit| unit == 0).collect();
        // Each string ends in a NUL, so a whole number of them leaves one empty part behind the last.
        if parts.pop().is_none_or(|rest| !rest.is_empty()) {
            return Err(format!("{VALUE} does not end in an empty string"));
        }
        let (pairs, odd) = parts.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(format!("{VALUE} holds {} strings, no whole number of pairs", parts.len()));
        }
        Ok(Self(pairs.iter().map(|[source, target]| (source.to_vec(), target.to_vec())).collect()))
    }

    /// The value's data again.
    pub fn to_value(&self) -> ValueData {
        let units = self
            .0
            .iter()
            .flat_map(|(source, target)| source.iter().chain(&[0]).chain(target).chain(&[0]))
            .copied()
            .chain([0]);
        ValueData { kind: ValueType::MULTI_SZ, data: utf16_bytes(units) }
    }

    /// Whether this source is to be deleted already.
    pub fn deletes(&self, source: &str) -> bool {
        self.0.iter().any(|pair| is_deletion_of(pair, source))
    }

    /// Appends the deletion of `source`, once.
    pub fn append(&mut self, source: &str) {
        if !self.deletes(source) {
            self.0.push((source.encode_utf16().collect(), Vec::new()));
        }
    }

    /// Takes out the deletion of `source`; whether it was there. Other pairs keep their order.
    pub fn withdraw(&mut self, source: &str) -> bool {
        let found = self.0.iter().position(|pair| is_deletion_of(pair, source));
        if let Some(index) = found {
            self.0.remove(index);
        }
        found.is_some()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_deletion_of((source, target): &(Vec<u16>, Vec<u16>), wanted: &str) -> bool {
    target.is_empty() && same_name(&String::from_utf16_lossy(source), wanted)
}

/// A file's path as the Session Manager wants it: `\??\C:\WINDOWS\system32\x.exe`.
pub fn nt_path(drive: char, path: &WinPath) -> String {
    format!("\\??\\{drive}:{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> ValueData {
        ValueData { kind: ValueType::MULTI_SZ, data: utf16_bytes(text.encode_utf16()) }
    }

    #[test]
    fn appends_and_withdraws_exactly_one_pair() {
        let existing = value("\\??\\C:\\a\0\0\\??\\C:\\b\0!\\??\\C:\\c\0\0");
        let mut pending = Pending::parse(&existing).unwrap();
        pending.append("\\??\\C:\\x");
        pending.append("\\??\\c:\\X");
        let with = pending.to_value();
        assert_eq!(with, value("\\??\\C:\\a\0\0\\??\\C:\\b\0!\\??\\C:\\c\0\\??\\C:\\x\0\0\0"));
        assert!(!pending.withdraw("\\??\\C:\\b"), "a rename is not ours");
        assert!(pending.withdraw("\\??\\C:\\x"));
        assert_eq!(pending.to_value(), existing);
        let mut fresh = Pending::default();
        fresh.append("\\??\\C:\\x");
        assert_eq!(fresh.to_value(), value("\\??\\C:\\x\0\0\0"));
        assert!(fresh.withdraw("\\??\\C:\\x") && fresh.is_empty());
    }

    #[test]
    fn leaves_alone_what_is_not_well_formed() {
        for (text, word) in
            [("", "empty string"), ("a\0b\0c\0\0", "pairs"), ("a\0\0", "pairs"), ("a\0b", "empty string")]
        {
            assert!(Pending::parse(&value(text)).unwrap_err().contains(word), "{text:?}");
        }
        assert_eq!(Pending::parse(&value("\0")).unwrap(), Pending::default());
        let mut odd = value("a\0\0\0");
        odd.data.push(0);
        assert!(Pending::parse(&odd).unwrap_err().contains("odd"));
        assert!(Pending::parse(&ValueData::sz("a")).unwrap_err().contains("REG_SZ"));
    }
}

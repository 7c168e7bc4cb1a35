//! Control sets: the SYSTEM hive of an offline Windows has no CurrentControlSet, only `Select` and the sets it names.

use crate::error::{Error, Result};
use crate::hive::Hive;
use crate::path::RegPath;

/// The numbers in the `Select` key, as far as they stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// The set that was in use when Windows ran last.
    pub current: Option<u32>,
    /// The set that the next start uses.
    pub default: Option<u32>,
}

impl Select {
    /// Reads `Select` of a SYSTEM hive.
    pub fn read(system: &Hive) -> Result<Self> {
        let select = RegPath::new("Select");
        let Some(key) = system.key(&select)? else {
            return Err(Error::refused("find the control sets", "the hive has no key Select").path("SYSTEM"));
        };
        let number = |name: &str| -> Result<Option<u32>> {
            Ok(key.value(name)?.map(|value| value.data()).transpose()?.and_then(|data| data.dword()))
        };
        Ok(Self { current: number("Current")?, default: number("Default")? })
    }

    /// Path of a set's key: `ControlSet001` for 1.
    pub fn path(number: u32) -> RegPath {
        RegPath::new(&format!("ControlSet{number:03}"))
    }

    /// The sets that count: the one that ran last and the one that starts next, each once.
    pub fn sets(&self) -> impl Iterator<Item = RegPath> {
        let next = self.default.filter(|next| self.current != Some(*next));
        self.current.into_iter().chain(next).map(Self::path)
    }

    /// Path of a key in the set that the next start uses.
    pub fn in_default(&self, below: &str) -> Option<RegPath> {
        self.default.map(|number| Self::path(number).join(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_that_matters_is_named_once() {
        let sets = |current, default| {
            let select = Select { current, default };
            select.sets().map(|set| set.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(sets(Some(1), Some(1)), ["ControlSet001"]);
        assert_eq!(sets(Some(1), Some(2)), ["ControlSet001", "ControlSet002"]);
        assert_eq!(sets(None, Some(2)), ["ControlSet002"]);
        assert_eq!(sets(Some(2), None), ["ControlSet002"]);
        assert!(sets(None, None).is_empty());
        assert_eq!(Select::path(12).as_str(), "ControlSet012");
        let select = Select { current: Some(1), default: Some(2) };
        assert_eq!(
            select.in_default("Control\\Windows"),
            Some(RegPath::new("ControlSet002\\Control\\Windows"))
        );
    }
}

//! What the technician decided, as data: the same for every front end.

use serde::Serialize;

use crate::finding::PatchState;

/// What to do with DCOM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dcom {
    /// Disable it unless the patch verdict is `fixed`.
    #[default]
    Auto,
    /// Disable it.
    Disable,
    /// Leave it as it is.
    Leave,
}

/// What to do with files that only look like a worm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suspects {
    /// Report them.
    #[default]
    Leave,
    /// Quarantine them like the worm.
    Quarantine,
}

/// How the name of a file that was made inert goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remove {
    /// Windows deletes it at its next start (PendingFileRenameOperations).
    #[default]
    AtBoot,
    /// The volume is mounted read-write and the name unlinked, where that can be done; else as at boot.
    Now,
    /// The inert file stays.
    Never,
}

/// Everything that the technician decides about a cure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// DCOM.
    pub dcom: Dcom,
    /// Suspects.
    pub suspects: Suspects,
    /// Names of inert files.
    pub remove: Remove,
}

impl Policy {
    /// The policy with every `auto` decided for one install, from what is known about its patch. What is not
    /// established counts as open.
    #[must_use]
    pub fn settled(&self, patch: PatchState) -> Self {
        let dcom = match (self.dcom, patch) {
            (Dcom::Auto, PatchState::Fixed) => Dcom::Leave,
            (Dcom::Auto, PatchState::Vulnerable | PatchState::NotEstablished) => Dcom::Disable,
            (decided, _) => decided,
        };
        Self { dcom, ..self.clone() }
    }
}

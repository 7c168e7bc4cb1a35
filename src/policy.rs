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

/// What to do with TCP/IP filtering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PacketFilter {
    /// Switch it on where the hole is open, EnableDCOM is not honoured, and the product is a workstation.
    #[default]
    Auto,
    /// Switch it on.
    On,
    /// Never switch it on. What is on stays on.
    Off,
}

/// What to do with copies of a worm in System Restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestorePoints {
    /// Report them.
    #[default]
    Report,
    /// Quarantine them like the worm.
    Quarantine,
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

/// What to do with a hibernated Windows on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hibernation {
    /// Write nothing to the disk.
    #[default]
    Refuse,
    /// Give its session up, and what was not saved in it.
    Discard,
}

/// What every `auto` is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Whether the patch is in; what is not established counts as open.
    pub patch: PatchState,
    /// Whether this Windows acts on EnableDCOM; none where that is not known.
    pub honours_enable_dcom: Option<bool>,
    /// Whether ProductType says that it is a workstation.
    pub is_workstation: bool,
}

/// Everything that the technician decides about a cure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// DCOM.
    pub dcom: Dcom,
    /// TCP/IP filtering.
    pub packet_filter: PacketFilter,
    /// Whether W32/Welchia is cured too.
    pub companions: bool,
    /// Copies in System Restore.
    pub restore_points: RestorePoints,
    /// Suspects.
    pub suspects: Suspects,
    /// Names of inert files.
    pub remove: Remove,
    /// Hibernated Windows.
    pub hibernation: Hibernation,
}

impl Policy {
    /// The policy with every `auto` decided for one install.
    #[must_use]
    pub fn settled(&self, situation: Situation) -> Self {
        let is_open = situation.patch != PatchState::Fixed;
        let dcom = match self.dcom {
            Dcom::Auto if is_open => Dcom::Disable,
            Dcom::Auto => Dcom::Leave,
            decided => decided,
        };
        let is_needed = is_open && situation.honours_enable_dcom == Some(false) && situation.is_workstation;
        let packet_filter = match self.packet_filter {
            PacketFilter::Auto if is_needed => PacketFilter::On,
            PacketFilter::Auto => PacketFilter::Off,
            decided => decided,
        };
        Self { dcom, packet_filter, ..self.clone() }
    }
}

//! From which file version on each bulletin's fix is in, branch by branch: Microsoft kept a line of files of its own for
//! each system and service pack, so a number says nothing about another branch's files.
//!
//! Every number has a source; one that has none is [`Bar::Unknown`] and decides nothing. Sources: the file tables of
//! MS04-012; for MS03-026 and MS03-039 the published checks of OVAL (definitions 20, 194, 264, 296, 1202, 1813, 2343,
//! 4224) and Nessus (plug-in 11790); KB826955 and the bulletins for the service packs that contain the fixes. The
//! revisions that XP and Server 2003 gave all their files, 0 at first, then 1106 (XP SP1), 2180 (XP SP2) and 1830 (2003
//! SP1), are in Microsoft's debugger documentation and in every list of builds.

use std::ops::RangeInclusive;

use crate::windows::file_version::FileVersion;
use crate::windows::install::Identity;

/// From which revision on a file holds a bulletin's fix.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bar {
    /// No source tells.
    Unknown,
    /// From this one on.
    From(u16),
    /// From the first on; and exactly the second: Server 2003's files of the same fix came in two lines (GDR and QFE)
    /// that share their numbers, and between the two a number does not tell the line.
    FromOrExactly(u16, u16),
}

impl Bar {
    /// Whether a file of this revision holds the fix; none where no source tells.
    pub(super) fn is_met(self, revision: u16) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::From(bar) => Some(revision >= bar),
            Self::FromOrExactly(bar, exactly) => Some(revision >= bar || revision == exactly),
        }
    }
}

/// The bulletins, in the order of [`Branch::bars`]. Each contains those before it.
pub(super) const BULLETINS: [&str; 3] = ["MS03-026", "MS03-039", "MS04-012"];

/// One line of files.
#[derive(Debug)]
pub(super) struct Branch {
    /// Its system and service pack.
    pub(super) name: &'static str,
    /// The first three numbers of its files' versions.
    numbers: [u16; 3],
    /// The last.
    revisions: RangeInclusive<u16>,
    /// The last number of every file that no update has replaced, where all have the same.
    pub(super) untouched: Option<u16>,
    /// The files that the updates bring, below system32.
    pub(super) files: [&'static str; 3],
    /// Bulletin by bulletin, a bar for each file.
    pub(super) bars: [[Bar; 3]; 3],
    /// Why its files hold the fix from the beginning, where they do.
    pub(super) contains: Option<&'static str>,
}

impl Branch {
    /// The revision of a file of this branch; none for one of another.
    pub(super) fn revision(&self, version: FileVersion) -> Option<u16> {
        let FileVersion([major, minor, build, revision]) = version;
        ([major, minor, build] == self.numbers && self.revisions.contains(&revision)).then_some(revision)
    }

    /// The version that a bar asks of a file, in words.
    pub(super) fn shown(&self, revision: u16) -> String {
        let [major, minor, build] = self.numbers;
        FileVersion([major, minor, build, revision]).to_string()
    }
}

/// What Windows NT 4.0 has in a program of its own, the others have in a library.
const FILES_NT4: [&str; 3] = ["rpcrt4.dll", "rpcss.exe", "ole32.dll"];
const FILES: [&str; 3] = ["rpcrt4.dll", "rpcss.dll", "ole32.dll"];

use Bar::{From, FromOrExactly, Unknown};

const NOTHING: [Bar; 3] = [Unknown, Unknown, Unknown];

static NT4: Branch = Branch {
    name: "Windows NT 4.0 Service Pack 6a",
    numbers: [4, 0, 1381],
    revisions: 0..=32_999,
    untouched: None,
    files: FILES_NT4,
    bars: [[From(7219), From(7224), Unknown], NOTHING, [From(7230), From(7263), From(7263)]],
    contains: None,
};

static NT4_TERMINAL_SERVER: Branch = Branch {
    name: "Windows NT 4.0 Terminal Server Edition Service Pack 6",
    numbers: [4, 0, 1381],
    revisions: 33_000..=u16::MAX,
    untouched: None,
    files: FILES_NT4,
    bars: [[From(33_474), Unknown, Unknown], NOTHING, [From(33_551), From(33_562), From(33_562)]],
    contains: None,
};

static WINDOWS_2000: Branch = Branch {
    name: "Windows 2000 Service Pack 2 to 4",
    numbers: [5, 0, 2195],
    revisions: 0..=u16::MAX,
    untouched: None,
    files: FILES,
    bars: [
        [From(6753), Unknown, Unknown],
        [From(6802), From(6810), Unknown],
        [From(6904), From(6906), From(6906)],
    ],
    contains: None,
};

static XP: Branch = Branch {
    name: "Windows XP without a service pack",
    numbers: [5, 1, 2600],
    revisions: 0..=1105,
    untouched: Some(0),
    files: FILES,
    // MS03-039 left rpcrt4.dll as MS03-026 had it, so it cannot tell one from the other.
    bars: [[From(109), Unknown, Unknown], NOTHING, [From(135), From(135), From(136)]],
    contains: None,
};

static XP_SP1: Branch = Branch {
    name: "Windows XP Service Pack 1",
    numbers: [5, 1, 2600],
    revisions: 1106..=2179,
    untouched: Some(1106),
    files: FILES,
    bars: [
        [From(1230), Unknown, Unknown],
        [From(1254), Unknown, Unknown],
        [From(1361), From(1361), From(1362)],
    ],
    contains: None,
};

static XP_SP2: Branch = Branch {
    name: "Windows XP Service Pack 2 or later",
    numbers: [5, 1, 2600],
    revisions: 2180..=u16::MAX,
    untouched: None,
    files: FILES,
    bars: [[From(2180); 3]; 3],
    contains: Some("Service Pack 2 contains the fixes (KB826955, MS04-012)"),
};

static SERVER_2003: Branch = Branch {
    name: "Windows Server 2003 without a service pack",
    numbers: [5, 2, 3790],
    revisions: 0..=1829,
    untouched: Some(0),
    files: FILES,
    bars: [
        [From(59), Unknown, Unknown],
        [From(76), Unknown, Unknown],
        [FromOrExactly(141, 137), FromOrExactly(142, 132), FromOrExactly(139, 138)],
    ],
    contains: None,
};

static SERVER_2003_SP1: Branch = Branch {
    name: "Windows Server 2003 Service Pack 1 or later",
    numbers: [5, 2, 3790],
    revisions: 1830..=u16::MAX,
    untouched: None,
    files: FILES,
    bars: [[From(1830); 3]; 3],
    contains: Some("Service Pack 1 contains the fixes (MS03-026, MS04-012)"),
};

/// Names of all files that any branch asks for.
pub(super) const ALL_FILES: [&str; 4] = ["rpcrt4.dll", "rpcss.dll", "rpcss.exe", "ole32.dll"];

/// The branch whose files an install should have, or why none is known. `rpcrt4`: the version of that file, which
/// tells a Terminal Server Edition where SYSTEM could not be read.
pub(super) fn branch(identity: &Identity, rpcrt4: Option<FileVersion>) -> Result<&'static Branch, String> {
    let version = identity.version.as_deref().ok_or("which Windows it is could not be read")?;
    let expected = match version {
        "4.0" => "1381",
        "5.0" => "2195",
        "5.1" => "2600",
        "5.2" => "3790",
        other => return Err(format!("this is Windows version {other}, of which the bulletins do not tell")),
    };
    if let Some(build) = identity.build.as_deref().filter(|build| *build != expected) {
        return Err(format!("its build is {build}, and the bulletins tell of {expected}"));
    }
    let Some(pack) = identity.agreed_service_pack() else {
        return Err(match (identity.service_pack, identity.service_pack_of_system) {
            (Some(software), Some(system)) => {
                format!("its service pack is {software} by SOFTWARE and {system} by SYSTEM")
            }
            _ => "its service pack could not be read".to_owned(),
        });
    };
    let is_terminal_server = || {
        let by_file = || rpcrt4.is_some_and(|FileVersion([.., revision])| revision >= 33_000);
        identity.is_terminal_server().unwrap_or_else(by_file)
    };
    match (version, pack) {
        ("4.0", 6) if is_terminal_server() => Ok(&NT4_TERMINAL_SERVER),
        ("4.0", 6) => Ok(&NT4),
        ("5.0", 2..=4) => Ok(&WINDOWS_2000),
        ("5.1", 0) => Ok(&XP),
        ("5.1", 1) => Ok(&XP_SP1),
        ("5.1", _) => Ok(&XP_SP2),
        ("5.2", 0) => Ok(&SERVER_2003),
        ("5.2", _) => Ok(&SERVER_2003_SP1),
        _ => Err(format!("no bulletin tells of service pack {pack} of this Windows")),
    }
}

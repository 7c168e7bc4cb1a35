//! What happens during a run, as data: every step tells a sink and prints nothing.

use std::path::PathBuf;

use serde::Serialize;

/// One thing that happened. Scripts read these as JSON lines (`--progress json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A target is being looked at.
    Target {
        /// Device node or image file.
        path: PathBuf,
        /// Size in bytes.
        size: u64,
    },
    /// A volume of it was recognised.
    Volume {
        /// Byte offset on the target.
        start: u64,
        /// File system in words.
        filesystem: String,
    },
    /// Part of a longer piece of work is done.
    Progress {
        /// What is being done, in words.
        what: &'static str,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A Windows was found.
    Install {
        /// Its system root.
        root: String,
        /// Product and service pack.
        product: String,
    },
    /// A check found something.
    Found {
        /// How sure it is.
        grade: String,
        /// The check, what, and where.
        what: String,
    },
    /// The record of the run is safe: from here the disk is written.
    StoreReady {
        /// The run's folder.
        folder: PathBuf,
    },
    /// One file of the patient was written and synced: a hive edited, a worm made inert, or either taken back.
    Written {
        /// The file.
        path: String,
        /// Sectors of 512 bytes that changed.
        sectors: u64,
    },
    /// What was written was read back from the device and judged again.
    Verified {
        /// Whether all of it is as planned.
        good: bool,
    },
    /// A target is over.
    Over {
        /// The verdict on it.
        verdict: String,
        /// Exit code of a run on it alone.
        exit_code: u8,
        /// Model of the disk, as it tells.
        model: Option<String>,
        /// Its serial number.
        serial: Option<String>,
        /// Name of the computer that it is of, where its installs agree on one.
        computer_name: Option<String>,
        /// The files that its report went into, where it has some of its own.
        reports: Vec<PathBuf>,
    },
    /// Something that the technician should know.
    Note {
        /// A sentence.
        text: String,
    },
}

/// Where events go.
pub type Sink<'a> = &'a mut dyn FnMut(Event);

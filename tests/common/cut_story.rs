//! Runs of the library on a disk and a store that a cut has left, and what is counted of them.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use deblast::cleanup::undo::Only;
use deblast::cleanup::verdict::Verdict;
use deblast::cleanup::{Settings, Which, clean, undo};
use deblast::policy::Policy;
use deblast::store::Store;
use deblast::threat::Signatures;
use jiff::Timestamp;

use crate::cut_disk::{Overlay, Recording, Snapshot, record};

/// A clock that goes on: no two runs begin at the same time.
fn ticking() -> Timestamp {
    static NOW: AtomicI64 = AtomicI64::new(1_060_000_000);
    Timestamp::from_second(NOW.fetch_add(1, Ordering::Relaxed)).unwrap()
}

pub(crate) fn settings(store: &Path, policy: Policy) -> Settings {
    let mut signatures = Signatures::builtin().unwrap();
    signatures.add_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/practice.toml")).unwrap();
    Settings {
        targets: Vec::new(),
        signatures,
        policy,
        store: Store::at(store),
        store_named: true,
        dry_run: false,
        options: serde_json::Value::Null,
        clock: ticking,
        stop: || false,
    }
}

/// A clean that must end with the disk clean or cleaned.
pub(crate) fn cleaned(policy: Policy, disk: &Overlay, store: &Snapshot) -> Result<Recording, String> {
    let (treated, recording) = record(disk, store, |patient, store| {
        clean(patient, &settings(store, policy), &mut |_| true, &mut |_| {})
    });
    let treated = treated.map_err(|error| error.to_string())?;
    let verdicts: Vec<Verdict> = treated.target.installs.iter().map(|install| install.verdict).collect();
    match verdicts[..] {
        [Verdict::Clean | Verdict::Cleaned] => Ok(recording),
        _ => Err(format!("clean ended {verdicts:?}: {:?}", treated.target.remarks)),
    }
}

/// An undo of the last run that must take back all of it.
pub(crate) fn undone(disk: &Overlay, store: &Snapshot) -> Result<Recording, String> {
    let (treated, recording) = record(disk, store, |patient, store| {
        let settings = settings(store, Policy::default());
        undo(patient, &settings, (&Which::Last, Only::All), &mut |_| true, &mut |_| {})
    });
    let treated = treated.map_err(|error| error.to_string())?;
    match treated.exit_code {
        Some(0) => Ok(recording),
        code => Err(format!("undo ended {code:?}: {:?}", treated.target.remarks)),
    }
}

/// How many of so many states are treated: all where `DEBLAST_CUTS=all`, else about `most`, spread evenly, the last
/// among them.
pub(crate) fn chosen(count: usize, most: usize) -> impl Fn(usize) -> bool {
    let all = std::env::var_os("DEBLAST_CUTS").is_some_and(|value| value == "all");
    let step = if all { 1 } else { count.div_ceil(most).max(1) };
    move |index| index % step == 0 || index + 1 == count
}

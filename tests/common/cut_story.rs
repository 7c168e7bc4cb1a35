//! Runs of the library on a disk and a store that a cut has left, and what is counted of them.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]

use std::path::Path;
use std::sync::Mutex;
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
        signatures: signatures.into(),
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
    cleaned_again(policy, disk, store).map(|(recording, _)| recording)
}

/// The same; and whether a run that was cut was taken back first.
pub(crate) fn cleaned_again(
    policy: Policy,
    disk: &Overlay,
    store: &Snapshot,
) -> Result<(Recording, bool), String> {
    let (treated, recording) = record(disk, store, |patient, store| {
        clean(patient, &settings(store, policy), &mut |_| true, &mut |_| {})
    });
    let treated = treated.map_err(|error| error.to_string())?;
    let verdicts: Vec<Verdict> = treated.target.installs.iter().map(|install| install.verdict).collect();
    match verdicts[..] {
        [Verdict::Clean | Verdict::Cleaned] => {
            let was_cut = |remark: &String| remark.contains("which was cut, was taken back first");
            Ok((recording, treated.target.remarks.iter().any(was_cut)))
        }
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

/// Which of so many are tried: all where `DEBLAST_CUTS=all`, about as many as it says where that is a number, else about
/// `most`; always the same, the last among them.
pub(crate) fn chosen(count: usize, most: usize) -> impl Fn(usize) -> bool {
    let asked = std::env::var("DEBLAST_CUTS").unwrap_or_default();
    let most = if asked == "all" { count } else { asked.parse().unwrap_or(most) };
    // No multiple of 2, 3 or 5: what comes in turn is met in all its kinds.
    let is_good = |step: &usize| [2, 3, 5].iter().all(|factor| !step.is_multiple_of(*factor));
    let step = (count.div_ceil(most.max(1)).max(1)..).find(is_good).unwrap_or(1);
    move |index| index.is_multiple_of(step) || index + 1 == count
}

/// Prints a row of docs/power-cuts.md, which is known by its first two cells, and fails where that tells something else.
/// Cells behind `fixed` hang on how many states were treated, and are not held to it. With `DEBLAST_CUTS` the row is
/// written instead: see [`chosen`] for how many it treats.
pub(crate) fn row(cells: &[String], fixed: usize) {
    static WRITING: Mutex<()> = Mutex::new(());
    let new = format!("| {} |", cells.join(" | "));
    println!("{new}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/power-cuts.md");
    let _alone = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut document = std::fs::read_to_string(&path).unwrap();
    let parts = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let same = |line: &&str, count: usize| {
        let told = parts(line);
        line.starts_with("| ") && told.len() == cells.len() && told[..count] == cells[..count]
    };
    let old = document.lines().find(|line| same(line, 2)).map(str::to_owned);
    if std::env::var_os("DEBLAST_CUTS").is_some() {
        let old = old.unwrap_or_else(|| panic!("docs/power-cuts.md has no row for {:?}", &cells[..2]));
        document = document.replace(&old, &new);
        std::fs::write(&path, document).unwrap();
        return;
    }
    assert!(
        document.lines().any(|line| same(&line, fixed)),
        "docs/power-cuts.md has no such row but {old:?}: {new}"
    );
}

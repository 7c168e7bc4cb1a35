//! The power is cut during a clean of a disk with FAT32: after every sector write, and with the writes between two
//! syncs in any order, as in power_cut.rs. Every file but the worm is whole in each state; the next clean ends clean,
//! the next undo gives the disk back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/cut_disk.rs"]
mod cut_disk;
#[allow(dead_code, reason = "power_cut.rs uses all of it")]
#[path = "common/cut_judge.rs"]
mod cut_judge;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use deblast::change::HiveRole;
use deblast::cleanup::undo::Only;
use deblast::cleanup::verdict::Verdict;
use deblast::cleanup::{Settings, Which, clean, undo};
use deblast::policy::Policy;
use deblast::store::Store;
use deblast::threat::Signatures;
use jiff::Timestamp;

use cut_disk::{Overlay, Recording, Snapshot, cuts, in_parallel, record};
use cut_judge::{Judge, Stand, Way, edits_of, files};

/// The practice disk: its file, and how it is made.
const PRACTICE: (&str, &[&str]) =
    ("fat-power-cut.img", &["--files", "10", "--size", "40M", "--filesystem", "fat32"]);
/// Every state is judged; every one of so many is cleaned and undone, too.
const TREATED: usize = 5;

fn ticking() -> Timestamp {
    static NOW: AtomicI64 = AtomicI64::new(1_060_000_000);
    Timestamp::from_second(NOW.fetch_add(1, Ordering::Relaxed)).unwrap()
}

fn settings(store: &Path) -> Settings {
    let mut signatures = Signatures::builtin().unwrap();
    signatures.add_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/practice.toml")).unwrap();
    Settings {
        targets: Vec::new(),
        signatures,
        policy: Policy::default(),
        store: Store::at(store),
        store_named: true,
        dry_run: false,
        options: serde_json::Value::Null,
        clock: ticking,
        stop: || false,
    }
}

fn cleaned(disk: &Overlay, store: &Snapshot) -> Recording {
    let (treated, recording) = record(disk, store, |patient, store| {
        clean(patient, &settings(store), &mut |_| true, &mut |_| {}).unwrap()
    });
    let verdicts: Vec<Verdict> = treated.target.installs.iter().map(|install| install.verdict).collect();
    assert!(matches!(verdicts[..], [Verdict::Clean | Verdict::Cleaned]), "{:?}", treated.target.remarks);
    recording
}

#[test]
fn a_clean_that_is_cut_anywhere_can_be_finished_and_taken_back() {
    let recording = cleaned(&Overlay::new(), &Snapshot::default());
    let files = files();
    let way =
        |extents, role| Way::new(files.content(&Overlay::new(), extents), edits_of(&recording.store, role));
    let (software, system) = (way(&files.software, HiveRole::Software), way(&files.system, HiveRole::System));
    let judge = Judge::new(files, vec![software], vec![system]);
    let cuts = cuts(&recording);
    let treated = Mutex::new(0);
    in_parallel(&cuts, |index, cut| {
        judge.judge(&cut.disk).unwrap_or_else(|why| panic!("{}: {why}", cut.what));
        if index % TREATED != 0 && index + 1 != cuts.len() {
            return;
        }
        let next = cleaned(&cut.disk, &cut.store);
        let after = judge.judge(&next.end).unwrap();
        assert_eq!(after.worm, Stand::New, "{}", cut.what);
        assert!(judge.values(after) == (judge.software[0].last(), judge.system[0].last()), "{}", cut.what);
        let (outcome, undone) = record(&cut.disk, &cut.store, |patient, store| {
            undo(patient, &settings(store), (&Which::Last, Only::All), &mut |_| true, &mut |_| {}).unwrap()
        });
        assert_eq!(outcome.exit_code, Some(0), "{}: {:?}", cut.what, outcome.target.remarks);
        assert!(undone.end.is_empty(), "{}: the disk is not as it was made", cut.what);
        *treated.lock().unwrap() += 1;
    });
    println!("{} states, {} of them treated", cuts.len(), treated.lock().unwrap());
    assert!(cuts.len() > 40 && *treated.lock().unwrap() > 4);
}

//! The power is cut while a Windows 2000 gets its cure and TCP/IP filtering, in SYSTEM and then in SYSTEM.ALT, and while that
//! is taken back: after every sector write, and with the writes between two syncs in any order, as in power_cut.rs. The
//! mirror is never ahead of SYSTEM, so that whichever the loader takes is a whole hive; the next clean ends clean, the
//! next undo gives the disk back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/cut_disk.rs"]
mod cut_disk;
#[allow(dead_code, reason = "power_cut.rs uses all of it")]
#[path = "common/cut_judge.rs"]
mod cut_judge;

use std::collections::BTreeSet;
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
use cut_judge::{Found, Judge, Stand, Way, edits_of, files};

/// The practice disk: its file, and how it is made. Before Service Pack 3 the cure takes TCP/IP filtering too.
const PRACTICE: (&str, &[&str]) = (
    "alternate-power-cut.img",
    &["--windows", "2000", "--service-pack", "2", "--filesystem", "fat32", "--files", "10", "--size", "36M"],
);
/// Every state is judged; so many of them, spread evenly, are cleaned and undone, too.
const TREATED: usize = 24;

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

fn undone(disk: &Overlay, store: &Snapshot) -> Recording {
    let (outcome, recording) = record(disk, store, |patient, store| {
        undo(patient, &settings(store), (&Which::Last, Only::All), &mut |_| true, &mut |_| {}).unwrap()
    });
    assert_eq!(outcome.exit_code, Some(0), "{:?}", outcome.target.remarks);
    recording
}

/// How far SYSTEM and SYSTEM.ALT are: the mirror begins when SYSTEM is done, and goes back before it.
fn in_order(judge: &Judge, found: Found) -> Result<(usize, usize), String> {
    let last = judge.system[0].steps() - 1;
    let (system, alternate) = (found.system.1, found.alternate.unwrap().1);
    match alternate == 0 || system == last {
        true => Ok((system, alternate)),
        false => Err(format!("SYSTEM.ALT has {alternate} edits, SYSTEM {system} of {last}")),
    }
}

#[test]
fn the_mirror_is_never_ahead_of_system_whatever_is_cut() {
    let cleaning = cleaned(&Overlay::new(), &Snapshot::default());
    let files = files();
    let way =
        |extents, role| Way::new(files.content(&Overlay::new(), extents), edits_of(&cleaning.store, role));
    let software = way(&files.software, HiveRole::Software);
    let system = way(&files.system, HiveRole::System);
    let alternate = way(files.alternate.as_ref().unwrap(), HiveRole::SystemAlternate);
    assert_eq!(
        (system.steps(), alternate.steps()),
        (1 + 6, 1 + 6),
        "one deletion, five values of the filter"
    );
    let mut judge = Judge::new(files, vec![software], vec![system]);
    judge.alternate = vec![alternate];

    let all = cuts(&cleaning);
    let (treated, seen) = (Mutex::new(0), Mutex::new(BTreeSet::new()));
    in_parallel(&all, |index, cut| {
        let found = judge.judge(&cut.disk).unwrap_or_else(|why| panic!("{}: {why}", cut.what));
        let stand = in_order(&judge, found).unwrap_or_else(|why| panic!("{}: {why}", cut.what));
        seen.lock().unwrap().insert(stand);
        if index % (all.len() / TREATED) != 0 && index + 1 != all.len() {
            return;
        }
        let next = cleaned(&cut.disk, &cut.store);
        let after = judge.judge(&next.end).unwrap();
        assert_eq!(after.worm, Stand::New, "{}", cut.what);
        assert_eq!(in_order(&judge, after), Ok((6, 6)), "{}", cut.what);
        assert!(undone(&cut.disk, &cut.store).end.is_empty(), "{}: not as it was made", cut.what);
        *treated.lock().unwrap() += 1;
    });
    let treated = treated.into_inner().unwrap();
    let seen = seen.into_inner().unwrap();
    println!("{} states, {treated} of them treated; SYSTEM and SYSTEM.ALT at {seen:?}", all.len());
    assert!(treated >= TREATED && seen.contains(&(0, 0)) && seen.contains(&(6, 0)) && seen.contains(&(6, 6)));

    let back = undone(&cleaning.end, &cleaning.store);
    assert!(back.end.is_empty(), "not as it was made");
    let all = cuts(&back);
    in_parallel(&all, |_, cut| {
        let found = judge.judge(&cut.disk).unwrap_or_else(|why| panic!("undo, {}: {why}", cut.what));
        in_order(&judge, found).unwrap_or_else(|why| panic!("undo, {}: {why}", cut.what));
    });
    println!("{} states of the undo", all.len());
    assert!(all.len() > 40);

    // The control: SYSTEM.ALT before SYSTEM is seen.
    let file = judge.files.alternate.as_ref().unwrap();
    let mut ahead = Overlay::new();
    let (first, last) = (judge.files.place(file, 0), judge.files.place(file, file.size - 512));
    ahead.extend(cleaning.end.range(first..=last).map(|(place, sector)| (*place, *sector)));
    let found = judge.judge(&ahead).unwrap();
    assert!(in_order(&judge, found).unwrap_err().contains("SYSTEM.ALT has 6 edits"));
}

//! The power is cut: a whole disk rebuilt as of every sector write of a run, and each state judged and treated again.
//!
//! A run on a practice disk is recorded, every sector write and every sync. Between two syncs the medium may have
//! taken the writes in any order, so of each interval every prefix is rebuilt, each single write missing, and each
//! alone (all subsets of up to four). In each state every file but the worm must be whole and each hive as before or
//! after one of its edits; the next `clean` must end verified, and the next `undo` give the disk back.
//!
//! The controls show that the harness sees damage: the same writes in the wrong order, and without the syncs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/cut_disk.rs"]
mod cut_disk;
#[path = "common/cut_judge.rs"]
mod cut_judge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock};

use deblast::change::{HiveRole, ValueData};
use deblast::cleanup::discover::Patient;
use deblast::cleanup::undo::Only;
use deblast::cleanup::verdict::Verdict;
use deblast::cleanup::{Settings, Treated, Which, clean, undo};
use deblast::hive::Hive;
use deblast::hive::edit::{Edit, edit};
use deblast::path::RegPath;
use deblast::policy::Policy;
use deblast::store::Store;
use deblast::threat::Signatures;
use jiff::Timestamp;

use cut_disk::{
    Cut, Op, Overlay, Recording, SECTOR, copy_of, cuts, in_parallel, partition, practice, record, write,
};
use cut_judge::{
    Files, Judge, Stand, Values, Way, edits_of, files, hivexml, judge_hive, ntfscat, ntfsls, values,
};

/// A clock that goes on: no two runs begin at the same time.
fn ticking() -> Timestamp {
    static NOW: AtomicI64 = AtomicI64::new(1_060_000_000);
    Timestamp::from_second(NOW.fetch_add(1, Ordering::Relaxed)).unwrap()
}

/// The clock of a machine whose battery is dead: every run begins when the BIOS was made, so that two runs may write
/// the very same bytes.
fn dead() -> Timestamp {
    Timestamp::from_second(1_041_379_200).unwrap()
}

type Clock = fn() -> Timestamp;

fn settings(store: &Path, clock: Clock) -> Settings {
    let mut signatures = Signatures::builtin().unwrap();
    signatures.add_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/practice.toml")).unwrap();
    Settings {
        signatures,
        policy: Policy::default(),
        store: Store::at(store),
        store_named: true,
        dry_run: false,
        options: serde_json::Value::Null,
        clock,
    }
}

fn run_clean(patient: &Patient, store: &Path, clock: Clock) -> Treated {
    clean(patient, &settings(store, clock), &mut |_| true, &mut |_| {}).unwrap()
}

fn run_undo(patient: &Patient, store: &Path, only: Only, clock: Clock) -> Treated {
    undo(patient, &settings(store, clock), (&Which::Last, only), &mut |_| true, &mut |_| {}).unwrap()
}

fn record_clean(disk: &Overlay, store: &Path, clock: Clock) -> (Result<(), String>, Recording) {
    let (treated, recording) = record(disk, store, |patient, store| run_clean(patient, store, clock));
    let verdicts: Vec<Verdict> = treated.target.installs.iter().map(|install| install.verdict).collect();
    let good = matches!(verdicts.as_slice(), [Verdict::Clean | Verdict::Cleaned]);
    (
        good.then_some(()).ok_or_else(|| format!("clean ended {verdicts:?}: {:?}", treated.target.remarks)),
        recording,
    )
}

fn record_undo(disk: &Overlay, store: &Path, only: Only, clock: Clock) -> (Result<(), String>, Recording) {
    let (treated, recording) = record(disk, store, |patient, store| run_undo(patient, store, only, clock));
    let good = treated.exit_code == Some(0);
    let why = || format!("undo ended {:?}: {:?}", treated.exit_code, treated.target.remarks);
    (good.then_some(()).ok_or_else(why), recording)
}

/// The first run of every story: the practice disk is cleaned.
struct Cleaned {
    recording: Recording,
    software: Vec<Edit>,
    system: Vec<Edit>,
}

fn cleaned() -> &'static Cleaned {
    static CLEANED: OnceLock<Cleaned> = OnceLock::new();
    CLEANED.get_or_init(|| {
        let empty = tempfile::tempdir().unwrap();
        let (outcome, recording) = record_clean(&Overlay::new(), empty.path(), ticking);
        outcome.unwrap();
        let edits = |role| edits_of(recording.store.path(), role);
        let (software, system) = (edits(HiveRole::Software), edits(HiveRole::System));
        assert_eq!((software.len(), system.len()), (2, 1), "the cure of the practice disk");
        Cleaned { recording, software, system }
    })
}

/// The ways of the two hives from the practice disk to the cleaned one.
fn ways(files: &Files) -> (Vec<Way>, Vec<Way>) {
    let original = |extents| files.content(&Overlay::new(), extents);
    let software = Way::new(original(&files.software), cleaned().software.clone());
    let system = Way::new(original(&files.system), cleaned().system.clone());
    (vec![software], vec![system])
}

/// A judge of the practice disk, the cleaned one, and all between.
fn judge() -> Judge {
    let files = files();
    let (software, system) = ways(&files);
    Judge::new(files, software, system)
}

/// What was counted of one story.
#[derive(Default)]
struct Count {
    writes: usize,
    syncs: usize,
    states: usize,
    old: usize,
    between: usize,
    new: usize,
    hives: usize,
    cleaned: usize,
    undone: usize,
    broken: Vec<String>,
}

impl Count {
    fn of(recording: &Recording) -> Self {
        let count = |wanted: fn(&Op) -> bool| recording.ops.iter().filter(|op| wanted(op)).count();
        Self {
            writes: count(|op| matches!(op, Op::Write(..))),
            syncs: count(|op| matches!(op, Op::Sync)),
            ..Self::default()
        }
    }

    fn stand(&mut self, stand: Stand) {
        self.states += 1;
        match stand {
            Stand::Old => self.old += 1,
            Stand::Between => self.between += 1,
            Stand::New => self.new += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.syncs += other.syncs;
        self.states += other.states;
        self.old += other.old;
        self.between += other.between;
        self.new += other.new;
        self.hives += other.hives;
        self.cleaned += other.cleaned;
        self.undone += other.undone;
        self.broken.extend(other.broken);
    }

    /// Prints the figures, and fails if a state was broken.
    fn close(self, story: &str) {
        println!(
            "{story:<44} {:>4} writes {:>4} syncs {:>5} states: {:>4} old {:>4} between {:>4} new, {:>3} hives; \
             next clean {:>4} good, next undo {:>4} good; {} broken",
            self.writes,
            self.syncs,
            self.states,
            self.old,
            self.between,
            self.new,
            self.hives,
            self.cleaned,
            self.undone,
            self.broken.len()
        );
        for broken in self.broken.iter().take(12) {
            println!("  {broken}");
        }
        assert!(self.broken.is_empty(), "{story}: {} broken, see above", self.broken.len());
        assert!(self.states > 0);
    }
}

/// A run, and what must hold after cutting it anywhere.
struct Story<'a> {
    recording: &'a Recording,
    judge: &'a Judge,
    clock: Clock,
    /// Every one of so many states is treated again.
    each: usize,
    /// What the next clean must leave.
    after_clean: &'a After,
    /// The undos that are tried, and what each must leave.
    after_undo: &'a [(Only, After)],
}

/// What a disk must be; nothing is said where nothing is given.
#[derive(Default)]
struct After {
    /// Byte for byte.
    bytes: Option<Overlay>,
    software: Option<Values>,
    system: Option<Values>,
    /// Old or new.
    worm: Option<Stand>,
}

impl After {
    fn check(&self, files: &Files, disk: &Overlay) -> Result<(), String> {
        if self.bytes.as_ref().is_some_and(|bytes| bytes != disk) {
            return Err("the disk is not that disk byte for byte".to_owned());
        }
        for (wanted, extents, name) in
            [(&self.software, &files.software, "SOFTWARE"), (&self.system, &files.system, "SYSTEM")]
        {
            if let Some(wanted) = wanted
                && values(&files.content(disk, extents))? != *wanted
            {
                return Err(format!("{name} has other values"));
            }
        }
        let worm = files.content(disk, &files.worm);
        let good = match self.worm {
            Some(Stand::Old) => worm == files.content(&Overlay::new(), &files.worm),
            Some(_) => worm.iter().all(|&byte| byte == 0),
            None => true,
        };
        good.then_some(()).ok_or_else(|| "the worm's file is something else".to_owned())
    }
}

impl Story<'_> {
    fn tell(&self) -> Count {
        let count = Mutex::new(Count::of(self.recording));
        let (first, last) = (self.stand_of(&self.recording.start), self.stand_of(&self.recording.end));
        let cuts = cuts(self.recording);
        in_parallel(&cuts, |index, cut| {
            let broken = |what: &str, why: String| {
                count.lock().unwrap().broken.push(format!("{}: {what}: {why}", cut.what));
            };
            match self.judge.judge(&cut.disk) {
                Ok(_) => {
                    let stand = match self.stand_of(&cut.disk) {
                        stand if stand == first => Stand::Old,
                        stand if stand == last => Stand::New,
                        _ => Stand::Between,
                    };
                    count.lock().unwrap().stand(stand);
                }
                Err(why) => return broken("the disk", why),
            }
            if index % self.each != 0 && index + 1 != cuts.len() {
                return;
            }
            match self.clean_next(cut) {
                Ok(()) => count.lock().unwrap().cleaned += 1,
                Err(why) => broken("the next clean", why),
            }
            for (only, after) in self.after_undo {
                match self.undo_next(cut, *only, after) {
                    Ok(()) => count.lock().unwrap().undone += 1,
                    Err(why) => broken("the next undo", format!("{only:?}: {why}")),
                }
            }
        });
        let mut count = count.into_inner().unwrap();
        count.hives = self.judge.hives();
        count
    }

    /// What the three files hold, as far as anybody who reads them sees.
    fn stand_of(&self, disk: &Overlay) -> Result<(Stand, Values, Values), String> {
        let files = &self.judge.files;
        let verdict = self.judge.judge(disk)?;
        let of = |ways: &[Way], (way, step): (usize, usize)| ways[way].step(step).clone();
        let _ = files;
        Ok((verdict.worm, of(&self.judge.software, verdict.software), of(&self.judge.system, verdict.system)))
    }

    fn clean_next(&self, cut: &Cut) -> Result<(), String> {
        let (outcome, next) = record_clean(&cut.disk, cut.store.path(), self.clock);
        outcome?;
        self.judge.judge(&next.end)?;
        self.after_clean.check(&self.judge.files, &next.end)
    }

    fn undo_next(&self, cut: &Cut, only: Only, after: &After) -> Result<(), String> {
        let (outcome, next) = record_undo(&cut.disk, cut.store.path(), only, self.clock);
        outcome?;
        after.check(&self.judge.files, &next.end)?;
        // What is as asked stays so: doing it again writes nothing.
        let (outcome, again) = record_undo(&next.end, next.store.path(), only, self.clock);
        outcome?;
        (only != Only::All || again.end == next.end)
            .then_some(())
            .ok_or_else(|| "doing it again writes again".to_owned())
    }
}

/// The disk as `clean` leaves it, by values.
fn as_cleaned(judge: &Judge) -> After {
    After {
        bytes: None,
        software: Some(judge.software[0].last().clone()),
        system: Some(judge.system[0].last().clone()),
        worm: Some(Stand::New),
    }
}

fn as_made() -> After {
    After { bytes: Some(Overlay::new()), ..After::default() }
}

#[test]
fn clean_is_cut_at_every_sector() {
    let judge = judge();
    let story = Story {
        recording: &cleaned().recording,
        judge: &judge,
        clock: ticking,
        each: 1,
        after_clean: &as_cleaned(&judge),
        after_undo: &[(Only::All, as_made())],
    };
    story.tell().close("clean");
}

#[test]
fn undo_by_sectors_is_cut_at_every_sector() {
    let judge = judge();
    let first = &cleaned().recording;
    let (outcome, recording) = record_undo(&first.end, first.store.path(), Only::All, ticking);
    outcome.unwrap();
    assert!(recording.end.is_empty(), "the practice disk is back, byte for byte");
    let story = Story {
        recording: &recording,
        judge: &judge,
        clock: ticking,
        each: 1,
        after_clean: &as_cleaned(&judge),
        after_undo: &[(Only::All, as_made())],
    };
    story.tell().close("undo, by sectors");
}

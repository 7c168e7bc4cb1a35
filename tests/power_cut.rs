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
use deblast::cleanup::undo::Only;
use deblast::cleanup::verdict::Verdict;
use deblast::cleanup::{Settings, Which, clean, undo};
use deblast::hive::Hive;
use deblast::hive::edit::{Edit, edit};
use deblast::path::RegPath;
use deblast::policy::{Dcom, Policy, Remove};
use deblast::store::Store;
use deblast::threat::Signatures;
use jiff::Timestamp;

use cut_disk::{
    Cut, Op, Overlay, Recording, SECTOR, Snapshot, cuts, in_parallel, partition, practice, record, write,
};
use cut_judge::{Files, Judge, Stand, Values, Way, edits_of, files, hivexml, judge_hive, ntfscat, ntfsls};

/// The practice disk of all stories here: its file, and how it is made.
const PRACTICE: (&str, &[&str]) = ("power-cut.img", &["--files", "10", "--size", "12M"]);

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
        targets: Vec::new(),
        signatures: signatures.into(),
        policy: Policy::default(),
        store: Store::at(store),
        store_named: true,
        dry_run: false,
        options: serde_json::Value::Null,
        clock,
        stop: || false,
    }
}

fn record_clean_by(
    policy: Policy,
    disk: &Overlay,
    store: &Snapshot,
    clock: Clock,
) -> (Result<(), String>, Recording) {
    let (treated, recording) = record(disk, store, |patient, store| {
        let settings = Settings { policy, ..settings(store, clock) };
        clean(patient, &settings, &mut |_| true, &mut |_| {}).unwrap()
    });
    let verdicts: Vec<Verdict> = treated.target.installs.iter().map(|install| install.verdict).collect();
    let good = matches!(verdicts.as_slice(), [Verdict::Clean | Verdict::Cleaned]);
    let why = || format!("clean ended {verdicts:?}: {:?}", treated.target.remarks);
    (good.then_some(()).ok_or_else(why), recording)
}

fn record_clean(disk: &Overlay, store: &Snapshot, clock: Clock) -> (Result<(), String>, Recording) {
    record_clean_by(Policy::default(), disk, store, clock)
}

fn record_undo_of(
    which: &Which,
    disk: &Overlay,
    store: &Snapshot,
    only: Only,
    clock: Clock,
) -> (Result<(), String>, Recording) {
    let (treated, recording) = record(disk, store, |patient, store| {
        undo(patient, &settings(store, clock), (which, only), &mut |_| true, &mut |_| {}).unwrap()
    });
    let good = treated.exit_code == Some(0);
    let why = || format!("undo ended {:?}: {:?}", treated.exit_code, treated.target.remarks);
    (good.then_some(()).ok_or_else(why), recording)
}

fn record_undo(
    disk: &Overlay,
    store: &Snapshot,
    only: Only,
    clock: Clock,
) -> (Result<(), String>, Recording) {
    record_undo_of(&Which::Last, disk, store, only, clock)
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
        let (outcome, recording) = record_clean(&Overlay::new(), &Snapshot::default(), ticking);
        outcome.unwrap();
        let edits = |role| edits_of(&recording.store, role);
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
        // One judge, which remembers: its last count is that of all.
        self.hives = self.hives.max(other.hives);
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
    /// Every state is judged; every one of so many is treated again, too.
    each: usize,
    /// How many runs there are that an undo of the last one may take back.
    runs: usize,
    /// What the next clean must leave, one of these.
    after_clean: &'a [After],
    /// The undos that are tried, and what each must leave.
    after_undo: &'a [(Only, After)],
}

/// What a disk must be.
enum After {
    /// The practice disk, byte for byte.
    AsMade,
    /// Its files hold this.
    Holds { software: Values, system: Values, worm: Stand },
}

impl After {
    fn check(&self, judge: &Judge, disk: &Overlay) -> Result<(), String> {
        let (software, system, worm) = match self {
            Self::AsMade if disk.is_empty() => return Ok(()),
            Self::AsMade => return Err("the disk is not as it was made, byte for byte".to_owned()),
            Self::Holds { software, system, worm } => (software, system, worm),
        };
        let found = judge.judge(disk)?;
        let (software_now, system_now) = judge.values(found);
        let wrong = [
            (software_now != software, "SOFTWARE"),
            (system_now != system, "SYSTEM"),
            (found.worm != *worm, "the worm's file"),
        ];
        match wrong.iter().find(|(wrong, _)| *wrong) {
            Some((_, name)) => Err(format!("{name} holds something else")),
            None => Ok(()),
        }
    }
}

impl Story<'_> {
    fn tell(&self) -> Count {
        let count = Mutex::new(Count::of(self.recording));
        let (first, last) = (self.holds(&self.recording.start), self.holds(&self.recording.end));
        let cuts = cuts(self.recording);
        in_parallel(&cuts, |index, cut| {
            let broken = |what: &str, why: String| {
                count.lock().unwrap().broken.push(format!("{}: {what}: {why}", cut.what));
            };
            let stand = match self.judge.judge(&cut.disk).map(|_| self.holds(&cut.disk)) {
                Err(why) => return broken("the disk", why),
                Ok(holds) if holds == first => Stand::Old,
                Ok(holds) if holds == last => Stand::New,
                Ok(_) => Stand::Between,
            };
            count.lock().unwrap().stand(stand);
            if index % self.each != 0 && index + 1 != cuts.len() {
                return;
            }
            match self.clean_next(cut) {
                Ok(()) => count.lock().unwrap().cleaned += 1,
                Err(why) => broken("the next clean", why),
            }
            for (only, after) in self.after_undo {
                match self.undo_next(cut, *only, after, index % 3 == 0) {
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
    fn holds(&self, disk: &Overlay) -> (Stand, &Values, &Values) {
        let found = self.judge.judge(disk).unwrap();
        let (software, system) = self.judge.values(found);
        (found.worm, software, system)
    }

    fn clean_next(&self, cut: &Cut) -> Result<(), String> {
        let (outcome, next) = record_clean(&cut.disk, &cut.store, self.clock);
        outcome?;
        self.after_clean.iter().map(|after| after.check(self.judge, &next.end)).reduce(Result::or).unwrap()
    }

    fn undo_next(&self, cut: &Cut, only: Only, after: &After, again: bool) -> Result<(), String> {
        let (mut disk, mut store) = (cut.disk.clone(), cut.store.clone());
        for _ in 0..self.runs {
            let (outcome, next) = record_undo(&disk, &store, only, self.clock);
            outcome?;
            (disk, store) = (next.end, next.store);
        }
        after.check(self.judge, &disk)?;
        if !again {
            return Ok(());
        }
        // What is as asked stays so: doing it again writes nothing.
        let (outcome, again) = record_undo(&disk, &store, only, self.clock);
        outcome?;
        again.ops.is_empty().then_some(()).ok_or_else(|| "doing it again writes again".to_owned())
    }
}

/// The disk as `clean` leaves it, by values.
fn as_cleaned(judge: &Judge) -> After {
    After::Holds {
        software: judge.software[0].last().clone(),
        system: judge.system[0].last().clone(),
        worm: Stand::New,
    }
}

/// The disk as it was made, by values.
fn as_before(judge: &Judge) -> After {
    After::Holds {
        software: judge.software[0].first().clone(),
        system: judge.system[0].first().clone(),
        worm: Stand::Old,
    }
}

#[test]
fn clean_is_cut_at_every_sector() {
    let judge = judge();
    let story = Story {
        recording: &cleaned().recording,
        judge: &judge,
        clock: dead,
        each: 1,
        runs: 1,
        after_clean: &[as_cleaned(&judge)],
        after_undo: &[(Only::All, After::AsMade)],
    };
    story.tell().close("clean");
}

/// The cleaned disk taken back by sectors.
fn undone() -> Recording {
    let first = &cleaned().recording;
    let (outcome, recording) = record_undo(&first.end, &first.store, Only::All, ticking);
    outcome.unwrap();
    assert!(recording.end.is_empty(), "the practice disk is back, byte for byte");
    recording
}

#[test]
fn undo_by_sectors_is_cut_at_every_sector() {
    let judge = judge();
    let story = Story {
        recording: &undone(),
        judge: &judge,
        clock: dead,
        each: 1,
        runs: 1,
        after_clean: &[as_cleaned(&judge)],
        after_undo: &[(Only::All, After::AsMade)],
    };
    story.tell().close("undo, by sectors");
}

/// What the next run does is cut as well: taking back, and cleaning again after it. Of some of the first cuts every
/// second cut is judged, and every ninth of those is treated a third time. One clock ticks, the others stand.
fn cut_twice(name: &str, story: &Story<'_>, sample: &[usize]) {
    let mut total = [Count::default(), Count::default()];
    let cuts = cuts(story.recording);
    for (number, &index) in sample.iter().enumerate() {
        let (cut, clock): (_, Clock) = (&cuts[index], if number == 1 { ticking } else { dead });
        let next = [
            record_clean(&cut.disk, &cut.store, clock),
            record_undo(&cut.disk, &cut.store, Only::All, clock),
        ];
        for ((outcome, recording), total) in next.into_iter().zip(&mut total) {
            outcome.unwrap();
            if recording.ops.is_empty() {
                continue;
            }
            total.add(Story { recording: &recording, clock, each: 9, ..*story }.tell());
        }
    }
    let [clean, undo] = total;
    clean.close(&format!("{name}, cut; clean, cut again"));
    undo.close(&format!("{name}, cut; undo, cut again"));
}

#[test]
fn the_next_run_is_cut_too() {
    let judge = judge();
    let story = |recording| Story {
        recording,
        judge: &judge,
        clock: dead,
        each: 9,
        runs: 1,
        after_clean: &[],
        after_undo: &[],
    };
    let (after_clean, after_undo) = ([as_cleaned(&judge)], [(Only::All, After::AsMade)]);
    let (first, second) = (&cleaned().recording, undone());
    let first = Story { after_clean: &after_clean, after_undo: &after_undo, ..story(first) };
    let second = Story { after_clean: &after_clean, after_undo: &after_undo, ..story(&second) };
    cut_twice("clean", &first, &[1, 7, 30, 44]);
    cut_twice("undo", &second, &[2, 24, 46]);
}

/// A judge of an undo by values: it knows the ways from where the undo began, too.
fn judge_of_undo(recording: &Recording) -> Judge {
    let files = files();
    let (mut software, mut system) = ways(&files);
    let way =
        |extents, role| Way::new(files.content(&recording.start, extents), edits_of(&recording.store, role));
    software.push(way(&files.software, HiveRole::Software));
    system.push(way(&files.system, HiveRole::System));
    Judge::new(files, software, system)
}

#[test]
fn undo_of_the_protection_alone_is_cut_at_every_sector() {
    let first = &cleaned().recording;
    let (outcome, recording) = record_undo(&first.end, &first.store, Only::Protection, ticking);
    outcome.unwrap();
    let judge = judge_of_undo(&recording);
    let lifted = After::Holds {
        software: judge.software[1].last().clone(),
        system: judge.system[0].last().clone(),
        worm: Stand::New,
    };
    let story = Story {
        recording: &recording,
        judge: &judge,
        clock: ticking,
        each: 1,
        runs: 1,
        after_clean: &[as_cleaned(&judge)],
        after_undo: &[(Only::Protection, lifted), (Only::All, as_before(&judge))],
    };
    story.tell().close("undo --only protection");
}

#[test]
fn undo_of_the_files_alone_is_cut_at_every_sector() {
    let first = &cleaned().recording;
    let (outcome, recording) = record_undo(&first.end, &first.store, Only::Files, ticking);
    outcome.unwrap();
    let judge = judge_of_undo(&recording);
    let given_back = After::Holds {
        software: judge.software[0].last().clone(),
        system: judge.system[0].first().clone(),
        worm: Stand::Old,
    };
    let story = Story {
        recording: &recording,
        judge: &judge,
        clock: dead,
        each: 2,
        runs: 1,
        after_clean: &[as_cleaned(&judge)],
        after_undo: &[(Only::Files, given_back), (Only::All, as_before(&judge))],
    };
    story.tell().close("undo --only files");
    let all = &[(Only::All, as_before(&judge))];
    cut_twice("undo --only files", &Story { after_undo: all, ..story }, &[3, 38]);
}

/// SOFTWARE as somebody else has edited it since: one value more, by a plain edit of the hive.
fn edited_since(disk: &Overlay, files: &Files) -> Overlay {
    let mut hive = Hive::parse(files.content(disk, &files.software)).unwrap();
    let more = Edit::Set {
        key: RegPath::new(r"Microsoft\Windows\CurrentVersion"),
        value: "SinceThen".to_owned(),
        to: ValueData::sz("set by somebody else"),
    };
    let mut disk = disk.clone();
    for patch in edit(&mut hive, &[more], 0x01C4_0000_0000_0000).unwrap().iter().flat_map(|g| &g.sectors) {
        let place = files.place(&files.software, patch.offset);
        write(&mut disk, place, patch.after.as_slice().try_into().unwrap());
    }
    disk
}

/// SOFTWARE goes by values, SYSTEM and the worm's file by sectors.
#[test]
fn a_mixed_undo_is_cut_at_every_sector() {
    let first = &cleaned().recording;
    let start = edited_since(&first.end, &files());
    let (outcome, recording) = record_undo(&start, &first.store, Only::All, ticking);
    outcome.unwrap();
    let mut judge = judge_of_undo(&recording);
    // A clean of what this undo leaves goes its own way back.
    let back = judge.files.content(&recording.end, &judge.files.software);
    judge.software.push(Way::new(back, cleaned().software.clone()));
    let holds = |software: &Values, system: &Values, worm| After::Holds {
        software: software.clone(),
        system: system.clone(),
        worm,
    };
    let (software, system) = (&judge.software[1], &judge.system[0]);
    let story = Story {
        recording: &recording,
        judge: &judge,
        clock: dead,
        each: 2,
        runs: 1,
        // Where SYSTEM was taken back already and SOFTWARE not, the worm's file is inert and its name stays.
        after_clean: &[
            holds(software.first(), system.last(), Stand::New),
            holds(software.first(), system.first(), Stand::New),
        ],
        after_undo: &[(Only::All, holds(software.last(), system.first(), Stand::Old))],
    };
    story.tell().close("undo, SOFTWARE by values, the rest by sectors");
    cut_twice("mixed undo", &story, &[20, 40]);
}

/// A clean after an undo by sectors, both by a clock that stands: two runs whose journals name the same writes.
#[test]
fn two_runs_alike_are_no_riddle() {
    let judge = judge();
    let (outcome, first) = record_clean(&Overlay::new(), &Snapshot::default(), dead);
    outcome.unwrap();
    let (outcome, back) = record_undo(&first.end, &first.store, Only::All, dead);
    outcome.unwrap();
    let (outcome, recording) = record_clean(&back.end, &back.store, dead);
    outcome.unwrap();
    assert!(recording.end == first.end, "the same run once more");
    let story = Story {
        recording: &recording,
        judge: &judge,
        clock: dead,
        each: 3,
        runs: 1,
        after_clean: &[as_cleaned(&judge)],
        after_undo: &[(Only::All, After::AsMade)],
    };
    story.tell().close("clean, undone before, the clock dead");
}

/// Files given back, and cleaned again: the old runs name sectors that the new one writes.
#[test]
fn a_clean_after_files_were_given_back_is_cut_at_every_sector() {
    let first = &cleaned().recording;
    let (outcome, back) = record_undo(&first.end, &first.store, Only::Files, dead);
    outcome.unwrap();
    let judge = judge_of_undo(&back);
    let (outcome, recording) = record_clean(&back.end, &back.store, dead);
    outcome.unwrap();
    let story = Story {
        recording: &recording,
        judge: &judge,
        clock: dead,
        each: 2,
        runs: 2,
        after_clean: &[as_cleaned(&judge)],
        after_undo: &[(Only::All, as_before(&judge))],
    };
    story.tell().close("clean after undo --only files");
}

/// One clean left DCOM and the name, a second one did the rest: both write SOFTWARE. Cut: the second; and taking back
/// the first while the second is in force.
#[test]
fn one_run_over_another_is_cut_at_every_sector() {
    let least = Policy { dcom: Dcom::Leave, remove: Remove::Never, ..Policy::default() };
    let (_, first) = record_clean_by(least, &Overlay::new(), &Snapshot::default(), ticking);
    let (outcome, second) = record_clean(&first.end, &first.store, dead);
    outcome.unwrap();
    let id = Store::at(first.store.lay_out().path()).runs().unwrap()[0].id().to_owned();
    let (outcome, back) = record_undo_of(&Which::Run(id), &second.end, &second.store, Only::All, ticking);
    outcome.unwrap();
    let (outcome, last) = record_undo(&back.end, &back.store, Only::All, ticking);
    outcome.unwrap();
    let files = files();
    let (mut software, system) = ways(&files);
    for recording in [&first, &second, &back, &last] {
        let start = files.content(&recording.start, &files.software);
        software.push(Way::new(start, edits_of(&recording.store, HiveRole::Software)));
    }
    let judge = Judge::new(files, software, system);
    let story = |recording, runs| Story {
        recording,
        judge: &judge,
        clock: dead,
        each: 2,
        runs,
        after_clean: &[],
        after_undo: &[],
    };
    // A file that is inert already is not asked to be deleted: then SYSTEM stays as it was.
    let stays = After::Holds {
        software: judge.software[0].last().clone(),
        system: judge.system[0].first().clone(),
        worm: Stand::New,
    };
    let after_clean = [as_cleaned(&judge), stays];
    let as_made = [(Only::All, After::AsMade)];
    let as_before = [(Only::All, as_before(&judge))];
    let over = Story { after_clean: &after_clean, after_undo: &as_made, ..story(&second, 2) };
    over.tell().close("clean over another clean");
    let under = Story { after_clean: &after_clean, after_undo: &as_before, ..story(&back, 3) };
    under.tell().close("undo of a run below another, by values");
}

/// The journal of the newest run of a store.
fn journal_of(store: &Path) -> std::path::PathBuf {
    Store::at(store).runs().unwrap().first().unwrap().journal_path()
}

/// The store is cut before its journal is ready: nothing was written to the disk then, and nothing hinders anybody.
#[test]
fn a_journal_that_was_never_ready_hinders_nothing() {
    let recording = &cleaned().recording;
    let whole = std::fs::read(journal_of(recording.store.lay_out().path())).unwrap();
    let lines: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] == b'\n').map(|at| at + 1).collect();
    let [.., ready, _closed] = lines[..] else { panic!("a journal of {} lines", lines.len()) };
    let before_ready = lines[lines.len() - 3];
    // Missing; empty; at its full length but zeros; cut in the midst of the header, an intent, and `ready`; and with
    // each of its pages not there yet, which can be only before `ready` is written.
    let mut journals: Vec<Option<Vec<u8>>> = vec![None, Some(Vec::new()), Some(vec![0; whole.len()])];
    for end in [100, lines[0], lines[0] + 1, lines[3] + 200, ready - 40, ready - 1] {
        let mut torn = whole.clone();
        torn[end..].fill(0);
        journals.push(Some(torn));
        // The file has its full length before its first record, so one that holds that is never shorter.
        if end < lines[0] {
            journals.push(Some(whole[..end].to_vec()));
        }
    }
    for page in (0..before_ready).step_by(4096) {
        let mut torn = whole.clone();
        torn[before_ready..].fill(0);
        let end = (page + 4096).min(before_ready);
        torn[page..end].fill(0);
        journals.push(Some(torn));
    }
    let judge = judge();
    in_parallel(&journals, |index, journal| {
        let store = cuts(recording)[0].store.lay_out();
        let path = journal_of(store.path());
        std::fs::remove_file(&path).unwrap();
        if let Some(bytes) = journal {
            std::fs::write(&path, bytes).unwrap();
        }
        let store = Snapshot::of(store.path());
        let (outcome, undone) = record_undo(&Overlay::new(), &store, Only::All, ticking);
        outcome.unwrap_or_else(|why| panic!("journal {index}: {why}"));
        assert!(undone.ops.is_empty(), "journal {index}: nothing is to be taken back");
        let (outcome, next) = record_clean(&Overlay::new(), &store, dead);
        outcome.unwrap_or_else(|why| panic!("journal {index}: {why}"));
        as_cleaned(&judge).check(&judge, &next.end).unwrap();
        let (outcome, back) = record_undo(&next.end, &next.store, Only::All, ticking);
        outcome.unwrap();
        assert!(back.end.is_empty(), "journal {index}");
    });
    println!("{:<44} {:>4} journals, all harmless", "the store cut before `ready`", journals.len());
}

/// The last record, `closed`, is torn, or was never begun.
#[test]
fn a_torn_last_record_loses_nothing() {
    let recording = &cleaned().recording;
    let whole = std::fs::read(journal_of(recording.store.lay_out().path())).unwrap();
    let lines: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] == b'\n').map(|at| at + 1).collect();
    let [.., ready, closed] = lines[..] else { panic!("a journal of {} lines", lines.len()) };
    let ends = [ready, ready + 1, ready + 31, ready + 33, closed - 2, closed - 1];
    in_parallel(&ends, |_, &end| {
        let store = recording.store.lay_out();
        let mut torn = whole.clone();
        torn[end..].fill(0);
        std::fs::write(journal_of(store.path()), &torn).unwrap();
        let store = Snapshot::of(store.path());
        let (outcome, next) = record_clean(&recording.end, &store, ticking);
        outcome.unwrap();
        assert!(next.ops.is_empty(), "it is clean already");
        let (outcome, back) = record_undo(&recording.end, &store, Only::All, ticking);
        outcome.unwrap();
        assert!(back.end.is_empty(), "the practice disk is back, byte for byte");
    });
    println!("{:<44} {:>4} journals, all good", "the record `closed` torn", ends.len());
}

/// The same by judges that share no line with us: the volume's files by ntfs-3g's tools, the hives by hivex.
#[test]
fn other_readers_agree() {
    let judge = judge();
    let cuts = cuts(&cleaned().recording);
    // The first cut that is found so, and with it one of each kind of state.
    let mut kinds = BTreeMap::new();
    for cut in &cuts {
        kinds.entry(judge.judge(&cut.disk).unwrap()).or_insert(cut);
    }
    let (start, size) = partition(&practice().bytes);
    let folder = tempfile::tempdir().unwrap();
    let volume = |disk: &Overlay, name: &str| {
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        cut_disk::read(disk, start, &mut bytes);
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let written = [cut_judge::WORM, cut_judge::SOFTWARE, cut_judge::SYSTEM];
    let original = volume(&Overlay::new(), "original");
    let paths = ntfsls(&original);
    assert!(written.iter().all(|path| paths.iter().any(|known| known == path)), "{paths:?}");
    let others: Vec<&String> = paths.iter().filter(|path| !written.contains(&path.as_str())).collect();
    let before: Vec<Vec<u8>> = others.iter().map(|path| ntfscat(&original, path)).collect();
    let mut trees: BTreeMap<(usize, (usize, usize)), String> = BTreeMap::new();
    for (number, (found, cut)) in kinds.iter().enumerate() {
        let image = volume(&cut.disk, "cut");
        for (index, (path, extents, step)) in [
            (cut_judge::SOFTWARE, &judge.files.software, found.software),
            (cut_judge::SYSTEM, &judge.files.system, found.system),
        ]
        .into_iter()
        .enumerate()
        {
            let bytes = ntfscat(&image, path);
            assert!(bytes == judge.files.content(&cut.disk, extents), "{path}, {}", cut.what);
            let tree = hivexml(&bytes);
            let known = trees.entry((index, step)).or_insert_with(|| tree.clone());
            assert!(*known == tree, "hivex sees two trees in states alike: {path}, {}", cut.what);
        }
        if [0, kinds.len() / 2, kinds.len() - 1].contains(&number) {
            assert_eq!(ntfsls(&image), paths);
            for (path, before) in others.iter().zip(&before) {
                assert!(ntfscat(&image, path) == *before, "{path}, {}", cut.what);
            }
        }
    }
    let different: BTreeSet<&String> = trees.values().collect();
    assert_eq!(different.len(), trees.len(), "hivex tells the states apart");
    let (states, files) = (kinds.len(), others.len());
    println!("{:<44} {states:>4} states by hivex, 3 of them with {files} other files", "other readers");
}

/// The bytes of one hive through a run: what it held at first, and each sector write: interval, offset in the file,
/// the sector before and after.
type HiveWrite = (usize, usize, [u8; SECTOR], [u8; SECTOR]);

fn hive_writes(files: &Files, extents: &deblast::volume::Extents) -> (Vec<u8>, Vec<HiveWrite>) {
    let recording = &cleaned().recording;
    let places: BTreeMap<u64, usize> = (0..extents.size)
        .step_by(SECTOR)
        .map(|offset| (files.place(extents, offset), usize::try_from(offset).unwrap()))
        .collect();
    let mut now = files.content(&recording.start, extents);
    let (start, mut interval, mut writes) = (now.clone(), 0, Vec::new());
    for op in &recording.ops {
        match op {
            Op::Sync => interval += 1,
            Op::Open(_) => {}
            Op::Write(place, after) => {
                if let Some(&at) = places.get(place) {
                    let before = now[at..at + SECTOR].try_into().unwrap();
                    now[at..at + SECTOR].copy_from_slice(after);
                    writes.push((interval, at, before, *after));
                }
            }
        }
    }
    (start, writes)
}

/// Control: the groups of a hive's edit in reverse, each write changing the bytes that it changes in the right order.
#[test]
fn the_reverse_order_is_seen_to_break() {
    let files = files();
    let (software, system) = ways(&files);
    for (name, ways, extents) in
        [("SOFTWARE", &software, &files.software), ("SYSTEM", &system, &files.system)]
    {
        let (mut hive, writes) = hive_writes(&files, extents);
        let (mut states, mut broken) = (0, 0);
        let mut intervals: Vec<usize> = writes.iter().map(|write| write.0).collect();
        intervals.dedup();
        for interval in intervals.into_iter().rev() {
            for (_, at, before, after) in writes.iter().filter(|write| write.0 == interval) {
                for (index, (before, after)) in before.iter().zip(after).enumerate() {
                    if before != after {
                        hive[at + index] = *after;
                    }
                }
            }
            states += 1;
            broken += usize::from(judge_hive(ways, hive.clone()).is_err());
        }
        println!("{:<44} {states:>4} states, {broken} broken", format!("control: {name} in reverse"));
        assert!(broken > 0, "{name}: the harness does not see a wrong order");
    }
}

/// Control: without the syncs any one sector may be missing at the end, or be as an earlier write left it.
#[test]
fn missing_syncs_are_seen_to_break() {
    let files = files();
    let (software, system) = ways(&files);
    for (name, ways, extents) in
        [("SOFTWARE", &software, &files.software), ("SYSTEM", &system, &files.system)]
    {
        let (mut hive, writes) = hive_writes(&files, extents);
        for (_, at, _, after) in &writes {
            hive[*at..at + SECTOR].copy_from_slice(after);
        }
        judge_hive(ways, hive.clone()).expect("all written is good");
        let mut broken = 0;
        for (_, at, before, _) in &writes {
            let mut missing = hive.clone();
            missing[*at..at + SECTOR].copy_from_slice(before);
            broken += usize::from(judge_hive(ways, missing).is_err());
        }
        let states = writes.len();
        println!("{:<44} {states:>4} states, {broken} broken", format!("control: {name} without syncs"));
        assert!(broken > 0, "{name}: the harness does not see missing syncs");
    }
}

/// Control: the recorded run itself, its syncs left out, rebuilt and judged as every story is.
#[test]
fn a_run_without_syncs_is_seen_to_break() {
    let judge = judge();
    let whole = &cleaned().recording;
    let (_, mut unsynced) = record(&whole.start, &whole.store, |_, _| ());
    unsynced.ops = whole.ops.iter().filter(|op| !matches!(op, Op::Sync)).copied().chain([Op::Sync]).collect();
    unsynced.stores.clone_from(&whole.stores);
    unsynced.end.clone_from(&whole.end);
    let cuts = cuts(&unsynced);
    let broken = cuts.iter().filter(|cut| judge.judge(&cut.disk).is_err()).count();
    println!("{:<44} {:>4} states, {broken} broken", "control: clean without syncs", cuts.len());
    assert!(broken > 0, "the harness does not see missing syncs");
}

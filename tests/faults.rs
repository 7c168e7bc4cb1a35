//! Faults at every call of disk and store in turn, below the real program: what the user sees, what the disk holds, and
//! what the next run makes of it. Signals at each step; two runs at once; clocks that are far off; a journal that is
//! damaged record by record.
//!
//! The table of docs/faults.md is what these tests find: each row is checked, and `DEBLAST_CUTS=all` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/cut_disk.rs"]
mod cut_disk;
#[allow(dead_code, reason = "power_cut.rs uses all of it")]
#[path = "common/cut_judge.rs"]
mod cut_judge;
#[path = "common/cut_story.rs"]
mod cut_story;
#[path = "common/stage.rs"]
mod stage;
#[path = "common/stage_play.rs"]
mod stage_play;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use common::{Ran, skip};
use cut_disk::{Made, Overlay, Snapshot, in_parallel};
use cut_judge::{Judge, Stand};
use cut_story::{chosen, cleaned, undone};
use deblast::policy::Policy;
use rustix::process::Signal;
use stage::{Call, DISK, Fate, Fault, Kind, STORE, Stage};
use stage_play::{Played, judge_of, overlay_of, play, program, snapshot_of, staged};

const PRACTICE: Made = ("faults.img", &["--files", "10", "--size", "12M"]);

const EIO: i32 = 5;
const ENODEV: i32 = 19;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// A whole clean that nothing hinders: what it calls, and a judge of all that it can leave.
struct Whole {
    played: Played,
    judge: Judge,
}

fn whole() -> Option<&'static Whole> {
    static WHOLE: OnceLock<Option<Whole>> = OnceLock::new();
    let make = || {
        let played = play(&Overlay::new(), &Snapshot::default(), "clean")?;
        let judge = judge_of(&played.store);
        Some(Whole { played, judge })
    };
    WHOLE.get_or_init(make).as_ref()
}

/// What a call is about, in words that stand in the table.
fn place(call: &Call) -> &'static str {
    let text = call.path.to_str().unwrap();
    let in_run = text.strip_prefix(STORE).unwrap_or(text).trim_start_matches('/');
    let below = in_run.split_once('/').map_or("", |(_, below)| below);
    match below {
        _ if text == DISK => "the disk",
        "README.txt" => "README.txt",
        "journal" => "the journal",
        "report.json" => "report.json",
        _ if below.starts_with("backup") => "a backup",
        _ if below.starts_with("quarantine") => "the quarantine",
        _ => "the store's folders",
    }
}

fn in_words(fate: Fate) -> &'static str {
    match fate {
        Fate::Fails(EIO) => "I/O error",
        Fate::Fails(ENOSPC) => "no space left",
        Fate::Fails(EROFS) => "read-only",
        Fate::Short(_) => "short write",
        Fate::Vanishes(_) => "gone from then on",
        Fate::Signal(Signal::INT) => "SIGINT",
        Fate::Signal(Signal::TERM) => "SIGTERM",
        Fate::Signal(Signal::HUP) => "SIGHUP",
        Fate::Signal(_) => "SIGKILL",
        _ => "another",
    }
}

/// What the kernel says of an error.
fn cause(fate: Fate) -> Option<String> {
    match fate {
        Fate::Fails(errno) | Fate::Vanishes(errno) | Fate::Short(errno) => {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            Some(text.split(" (os").next().unwrap().to_owned())
        }
        Fate::Signal(_) | Fate::Waits => None,
    }
}

/// The sentences by which the user learns how far a run came, the strongest first.
const TOLD: &[&str] = &[
    "part of it is written; run again with the same store, and it is taken back first",
    "what was written has been taken back",
    "interrupted: what is being written is brought to its end",
    "the disk was written and could not be read again",
    "the disk is written, but",
    "no byte was written",
    "interrupted: what was written is named by the journal",
    "interrupted: no disk was written",
    "the disk is as the report tells that was shown",
    "left: cannot",
];

/// How a run ended that met a fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ended {
    exit: String,
    told: String,
    disk: &'static str,
    next: &'static str,
}

/// Which calls can meet a fault: those that one of these takes.
type Wanted = fn(&Call) -> bool;

fn changes(call: &Call) -> bool {
    call.kind.changes()
}

fn looks(call: &Call) -> bool {
    !call.kind.changes()
}

fn changes_the_disk(call: &Call) -> bool {
    changes(call) && call.path == Path::new(DISK)
}

/// Runs a clean that meets a fault, looks at what the user sees and at what is left, and has the next run treat it.
fn meet(whole: &Whole, wanted: Wanted, nth: usize, fate: Fate) -> Result<(Call, Ended), String> {
    let stage = staged(&Overlay::new(), &Snapshot::default()).ok_or("no stage")?;
    stage.arm(Fault { wanted, nth, fate });
    let home = tempfile::tempdir().unwrap();
    let ran = Ran::of(&mut program(&stage, home.path(), "clean"));
    let call = stage.disarm().ok_or_else(|| format!("the fault {nth} met no call"))?;
    let all = format!("{}\n{}", ran.stdout, ran.stderr);
    let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    let at = |why: &str| format!("{nth} {call:?} {fate:?}: {why}; exit {:?}: {all}", ran.code);
    if all.contains("panicked") || all.contains("RUST_BACKTRACE") {
        return Err(at("a panic is told"));
    }
    let (disk, store) = (overlay_of(&stage.disk_bytes()), snapshot_of(&stage));
    let found = whole.judge.judge(&disk).map_err(|why| at(&why))?;
    let cured = (whole.judge.software[0].last(), whole.judge.system[0].last());
    let stand = match found.worm {
        _ if disk.is_empty() => "as before",
        Stand::New if whole.judge.values(found) == cured => "cured",
        _ => "half written",
    };
    if stand != "cured" && stand != "as before" && all.contains("no byte was written") {
        return Err(at("bytes were written"));
    }
    if stand == "cured" && all.contains("nothing was done to the disk") {
        return Err(at("the disk was written"));
    }
    let told = TOLD.iter().find(|words| all.contains(**words)).map(|words| (*words).to_owned());
    let error = cause(fate).is_some_and(|cause| all.contains(&cause));
    let killed = fate == Fate::Signal(Signal::KILL);
    let told = match (told, &ran.code) {
        (Some(told), _) => told,
        (None, _) if killed => "nothing: it was killed".to_owned(),
        (None, _) if all.contains("a signal asked this program to end") => {
            "a signal asked it to end".to_owned()
        }
        (None, _) if error => "the error alone".to_owned(),
        (None, Some(0)) => "nothing: it needs no more".to_owned(),
        (None, _) => return Err(at("the user is told nothing")),
    };
    if ran.code.is_none() && !killed {
        return Err(at("a signal ended it without a word"));
    }
    if ran.code != Some(0) && cause(fate).is_some() && !error {
        return Err(at("the cause is not told"));
    }
    if ran.code == Some(0) && stand != "cured" {
        return Err(at("called done, and it is not"));
    }
    // Where one file could not be read, the others are cured, and the report says what is left.
    let in_part = told == "left: cannot" && matches!(ran.code, Some(1 | 2));
    if stand == "half written" && !killed && !in_part && !told.starts_with("part of it") {
        return Err(at("half of it is written, and nobody says so"));
    }
    let stand = if in_part && stand == "half written" { "cured in part" } else { stand };
    let verdict = serde_json::from_str::<serde_json::Value>(&ran.stdout).ok();
    if verdict.is_some_and(|report| report["verdict"] == "cleaned") && stand != "cured" {
        return Err(at("called cleaned, and it is not"));
    }
    let exit = ran.code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
    // All works again.
    let next =
        cleaned(Policy::default(), &disk, &store).map_err(|why| at(&format!("the next run: {why}")))?;
    let after = whole.judge.judge(&next.end)?;
    if after.worm != Stand::New || whole.judge.values(after) != cured {
        return Err(at(&format!("the next run left {after:?}")));
    }
    let mut back = undone(&next.end, &next.store).map_err(|why| at(&format!("undo: {why}")))?;
    if in_part {
        // Two runs share the cure.
        back = undone(&back.end, &back.store).map_err(|why| at(&format!("the second undo: {why}")))?;
    }
    if !back.end.is_empty() {
        return Err(at("undo does not give the disk back"));
    }
    let next = match stand {
        "half written" => "takes it back, then cures",
        "cured" if next.ops.is_empty() => "finds it clean",
        // Every value is as it should be, and the last sectors of a hive are not written yet.
        "cured" if killed || told.starts_with("part of it") => "takes it back, then cures",
        "cured" => return Err(at("the next run writes a disk that is cured")),
        _ => "cures",
    };
    Ok((call, Ended { exit, told, disk: stand, next }))
}

/// A row of the table without what is counted: where the fault was met, and how the run ended.
type Row = (&'static str, Ended);

/// Which calls met which faults.
type Met = BTreeSet<(String, &'static str)>;

#[derive(Default)]
struct Table(Mutex<(BTreeMap<Row, Met>, Vec<String>)>);

impl Table {
    fn meet(&self, whole: &Whole, wanted: Wanted, nth: usize, fate: Fate) {
        let met = meet(whole, wanted, nth, fate);
        let mut inner = self.0.lock().unwrap();
        match met {
            Ok((call, ended)) => {
                let kind = format!("{:?}", call.kind).to_lowercase();
                inner.0.entry((place(&call), ended)).or_default().insert((kind, in_words(fate)));
            }
            Err(why) => inner.1.push(why),
        }
    }

    /// Prints the rows, and holds them against the document.
    fn close(self, heading: &str) {
        let (rows, wrong) = self.0.into_inner().unwrap();
        let mut text = String::new();
        for ((place, ended), met) in &rows {
            let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (kind, fate) in met {
                of.entry(fate).or_default().insert(kind);
            }
            let join = |kinds: &BTreeSet<&str>| kinds.iter().copied().collect::<Vec<_>>().join(", ");
            let of: Vec<String> =
                of.iter().map(|(fate, kinds)| format!("{fate} ({})", join(kinds))).collect();
            let Ended { exit, told, disk, next } = ended;
            text.push_str(&format!("| {place} | {} | {exit} | {told} | {disk} | {next} |\n", of.join("; ")));
        }
        println!("{heading}\n{text}");
        wrong.iter().take(12).for_each(|why| println!("  WRONG {why:.9000}"));
        assert!(wrong.is_empty(), "{} faults end wrong, see above", wrong.len());
        assert!(!rows.is_empty());
        let document = Path::new(common::ROOT).join("docs/faults.md");
        if std::env::var_os("DEBLAST_CUTS").is_some() {
            write_section(&document, heading, &text);
        }
        let document = std::fs::read_to_string(document).unwrap();
        let strange: Vec<String> = rows
            .iter()
            .flat_map(|(row, met)| met.iter().map(move |(kind, fate)| (row, kind, fate)))
            .filter(|((place, ended), kind, fate)| !is_told(&document, place, ended, kind, fate))
            .map(|told| format!("{told:?}"))
            .collect();
        assert!(strange.is_empty(), "docs/faults.md does not tell of it:\n{}", strange.join("\n"));
    }
}

/// Puts a table below its heading.
fn write_section(document: &Path, heading: &str, rows: &str) {
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let old = std::fs::read_to_string(document).unwrap();
    let heading = format!("## {heading}\n");
    let (before, rest) = old.split_once(&heading).expect("its heading in docs/faults.md");
    let (words, table) = rest.split_once("\n| where |").unwrap();
    let after = table.split_once("\n\n").map_or("", |(_, after)| after);
    let head = "| where | fault (calls) | exit code | what the user is told | the disk | the next run |";
    let end = if after.is_empty() { String::new() } else { format!("\n{after}") };
    let new = format!("{before}{heading}{words}\n{head}\n|---|---|---|---|---|---|\n{rows}{end}");
    std::fs::write(document, new).unwrap();
}

/// Whether the document has a row that says this.
fn is_told(document: &str, place: &str, ended: &Ended, kind: &str, fate: &str) -> bool {
    document.lines().filter(|line| line.starts_with("| ")).any(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[of, faults, exit, told, disk, next] = cells.as_slice() else { return false };
        let ends = [exit, told, disk, next] == [&ended.exit, &ended.told, ended.disk, ended.next];
        if fate.starts_with("SIG") {
            // Where between two calls a signal is heard is the scheduler's to say.
            return ends;
        }
        let same = of == place && ends;
        same && faults.split("; ").any(|fault| {
            let (name, kinds) = fault.split_once(" (").unwrap_or((fault, ""));
            name == fate && kinds.trim_end_matches(')').split(", ").any(|known| known == kind)
        })
    })
}

/// Each of so many calls with each fate that `fates` has for it; a fixed sample unless all are asked for.
fn each(
    wanted: Wanted,
    most: usize,
    fates: fn(&Call) -> Vec<Fate>,
) -> Option<(Vec<(usize, Fate)>, &'static Whole)> {
    let whole = whole()?;
    let calls: Vec<&Call> = whole.played.calls.iter().filter(|call| wanted(call)).collect();
    // In turn, so that a sample has all kinds.
    let mut all = Vec::new();
    for (nth, call) in calls.iter().enumerate() {
        all.extend(fates(call).into_iter().map(|fate| (nth, fate)));
    }
    let is_chosen = chosen(all.len(), most);
    let count = all.len();
    let some: Vec<(usize, Fate)> =
        all.into_iter().enumerate().filter(|(index, _)| is_chosen(*index)).map(|(_, one)| one).collect();
    println!("{} calls, {count} faults, {} of them tried", calls.len(), some.len());
    Some((some, whole))
}

#[test]
fn a_call_that_changes_fails() {
    let fates = |call: &Call| {
        let mut fates = vec![Fate::Fails(EIO), Fate::Vanishes(ENODEV)];
        if call.path != Path::new(DISK) {
            fates.push(Fate::Fails(ENOSPC));
            fates.push(Fate::Fails(EROFS));
        }
        if call.kind == Kind::Write {
            fates.push(Fate::Short(if call.path == Path::new(DISK) { EIO } else { ENOSPC }));
        }
        fates
    };
    let Some((faults, whole)) = each(changes, 37, fates) else { return };
    let table = Table::default();
    in_parallel(&faults, |_, (nth, fate)| table.meet(whole, changes, *nth, *fate));
    table.close("Calls that change disk or store");
}

#[test]
fn a_signal_comes_at_a_call_that_changes() {
    let fates = |_: &Call| [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL].map(Fate::Signal).to_vec();
    let Some((faults, whole)) = each(changes, 25, fates) else { return };
    let table = Table::default();
    in_parallel(&faults, |_, (nth, fate)| table.meet(whole, changes, *nth, *fate));
    table.close("Signals");
}

#[test]
fn a_call_that_looks_fails() {
    let fates = |call: &Call| match call.path == Path::new(DISK) {
        true => vec![Fate::Fails(EIO), Fate::Vanishes(ENODEV)],
        false => vec![Fate::Fails(EIO)],
    };
    let Some((faults, whole)) = each(looks, 31, fates) else { return };
    let table = Table::default();
    in_parallel(&faults, |_, (nth, fate)| table.meet(whole, looks, *nth, *fate));
    table.close("Calls that look");
}

/// The second of two runs on one disk is refused while the first writes; where it was faster, the first one is.
#[test]
fn of_two_runs_at_once_one_writes() {
    let Some(whole) = whole() else { return };
    // Held in a read of the disk right before the first write: the image is locked by then. A write would hold the
    // kernel's own lock of the file, which the second run would wait for.
    let reads = |call: &Call| call.kind == Kind::Read && call.path == Path::new(DISK);
    let calls = &whole.played.calls;
    let first_write = calls.iter().position(changes_the_disk).unwrap();
    let last_read = calls[..first_write].iter().filter(|call| reads(call)).count() - 1;
    // Or in a write of the store, before the image is locked.
    let is_readme = |call: &Call| call.kind == Kind::Write && call.path.ends_with("README.txt");
    let moments: [(&str, Wanted, usize); 2] =
        [("the first is writing", reads, last_read), ("the first is recording", is_readme, 0)];
    for (moment, wanted, nth) in moments {
        let stage = staged(&Overlay::new(), &Snapshot::default()).unwrap();
        stage.arm(Fault { wanted, nth, fate: Fate::Waits });
        let home = tempfile::tempdir().unwrap();
        let first =
            program(&stage, home.path(), "clean").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        stage.wait();
        let second = Ran::of(&mut program(&stage, home.path(), "clean"));
        stage.let_go();
        let first = first.unwrap().wait_with_output().unwrap();
        let first_said = String::from_utf8_lossy(&first.stdout).into_owned();
        let disk = overlay_of(&stage.disk_bytes());
        let found = whole.judge.judge(&disk).unwrap();
        assert_eq!(found.worm, Stand::New, "{moment}");
        match moment {
            "the first is writing" => {
                second.exits(2).says("another run holds this image");
                assert_eq!(first.status.code(), Some(0), "{first_said}");
            }
            _ => {
                second.exits(0);
                assert_eq!(first.status.code(), Some(2), "{first_said}");
                assert!(first_said.contains("the file has changed since it was inspected"), "{first_said}");
            }
        }
        assert!(!String::from_utf8_lossy(&first.stderr).contains("panicked"));
        let back = undone(&disk, &snapshot_of(&stage)).unwrap();
        assert!(back.end.is_empty(), "{moment}: the disk is not as it was made");
    }
}

/// A journal that is damaged: nothing is written from it, or all of it comes back all the same.
#[test]
fn a_damaged_journal_never_leaves_the_disk_in_between() {
    let Some(Whole { played, .. }) = whole() else { return };
    let at = played.store.0.iter().position(|(path, _)| path.ends_with("journal")).unwrap();
    let journal = played.store.0[at].1.clone().unwrap();
    let lines: Vec<usize> = (0..journal.len()).filter(|&at| journal[at] == b'\n').map(|at| at + 1).collect();
    let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, window) in [0].iter().chain(&lines).copied().collect::<Vec<_>>().windows(2).enumerate() {
        let (start, end) = (window[0], window[1]);
        for (what, place) in
            [("checksum", start + 3), ("text", usize::midpoint(start, end)), ("end", end - 1)]
        {
            let mut bytes = journal.to_vec();
            bytes[place] ^= 1;
            damaged.push((format!("record {number}, its {what} flipped"), bytes));
        }
        damaged.push((format!("cut before record {number}"), journal[..start].to_vec()));
        damaged.push((format!("cut in record {number}"), journal[..usize::midpoint(start, end)].to_vec()));
        let zeros = |from: usize| [&journal[..from], &vec![0; journal.len() - from]].concat();
        damaged.push((format!("zeros from record {number}"), zeros(start)));
        damaged.push((format!("without record {number}"), [&journal[..start], &journal[end..]].concat()));
        damaged.push((format!("record {number} twice"), [&journal[..end], &journal[start..]].concat()));
    }
    // The whole run, and one that was cut in the midst of a hive.
    let half: Overlay = played.disk.iter().take(played.disk.len() * 2 / 3).map(|(a, b)| (*a, *b)).collect();
    let is_chosen = chosen(damaged.len(), 29);
    let outcomes = Mutex::new([0, 0]);
    let count = damaged.len();
    in_parallel(&damaged, |index, (what, bytes)| {
        if !is_chosen(index) {
            return;
        }
        let mut store = Snapshot(played.store.0.clone());
        store.0[at].1 = Some(std::sync::Arc::new(bytes.clone()));
        for disk in [&played.disk, &half] {
            let end = match undone(disk, &store) {
                Ok(back) => back.end,
                Err(_) => {
                    let (_, after) = cut_disk::record(disk, &store, |patient, folder| {
                        let settings = cut_story::settings(folder, Policy::default());
                        let last = (&deblast::cleanup::Which::Last, deblast::cleanup::undo::Only::All);
                        deblast::cleanup::undo(patient, &settings, last, &mut |_| true, &mut |_| {}).map(drop)
                    });
                    after.end
                }
            };
            assert!(
                end == *disk || end.is_empty(),
                "{what}: the disk is neither as it was found nor as it was made"
            );
            outcomes.lock().unwrap()[usize::from(end.is_empty())] += 1;
        }
    });
    let [left, back] = outcomes.into_inner().unwrap();
    println!(
        "{count} journals damaged; of those tried {left} disks left as they were, {back} taken back whole"
    );
    assert!(left > 10);
}

/// The clock decides nothing: a clean, and what takes it back, at any time.
#[test]
fn a_clock_that_is_far_off_changes_nothing() {
    let Some(Whole { judge, .. }) = whole() else { return };
    if Command::new("faketime").arg("--version").output().is_err() {
        skip("faketime is not installed");
        return;
    }
    let at = |moment: &str, stage: &Stage, home: &Path, command: &str| {
        let program = program(stage, home, command);
        let mut faked = Command::new("faketime");
        faked.arg("-f").arg(moment).arg(program.get_program()).args(program.get_args()).env("HOME", home);
        Ran::of(&mut faked).exits(0)
    };
    // Back in time from run to run; forward; and backwards while it runs.
    for [first, second] in [
        ["@2099-12-31 23:59:59", "@1980-01-01 00:00:00"],
        ["@1970-01-02 00:00:00", "@2099-01-01 00:00:00"],
        ["-10y x-60", "+0"],
    ] {
        let stage = staged(&Overlay::new(), &Snapshot::default()).unwrap();
        let home = tempfile::tempdir().unwrap();
        at(first, &stage, home.path(), "clean");
        let found = judge.judge(&overlay_of(&stage.disk_bytes())).unwrap();
        assert_eq!(found.worm, Stand::New, "{first}");
        let cured = stage.disk_bytes();
        at(second, &stage, home.path(), "clean").says("clean");
        assert!(stage.disk_bytes() == cured, "{second}: a second clean changes no byte");
        at(second, &stage, home.path(), "undo");
        assert!(overlay_of(&stage.disk_bytes()).is_empty(), "{first}, then {second}: not as it was made");
        // The next clean counts on, whatever the clock says.
        at(second, &stage, home.path(), "clean");
        let runs: Vec<String> = std::fs::read_dir(stage.store())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("000"))
            .collect();
        assert!(runs.iter().any(|run| run.starts_with("0002-")), "{runs:?}");
    }
}

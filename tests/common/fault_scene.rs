//! One run of the real program that meets a fault: what the user sees, what the disk holds, and what the next run makes of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use deblast::policy::Policy;
use rustix::process::Signal;

use crate::common::Ran;
use crate::cut_disk::{Made, Overlay, Recording, Snapshot, on_disk};
use crate::cut_judge::{Judge, Stand};
use crate::cut_story::{cleaned, undone};
use crate::stage::{Call, DISK, Fate, Fault, STORE};
use crate::stage_play::{Played, judge_of, overlay_of, play, program, snapshot_of, staged};

pub(crate) const EIO: i32 = 5;
pub(crate) const ENODEV: i32 = 19;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// What is run, and on which practice disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scene {
    pub(crate) command: &'static str,
    pub(crate) made: Made,
}

/// A scene that nothing hinders: where it begins, what it calls, and a judge of all that it can leave.
pub(crate) struct Whole {
    scene: Scene,
    disk: Overlay,
    store: Snapshot,
    pub(crate) played: Played,
    pub(crate) judge: Judge,
}

/// The same for every test of a process; none, with a word, where there is no stage.
pub(crate) fn whole(scene: Scene) -> Option<&'static Whole> {
    static SCENES: Mutex<BTreeMap<Scene, &'static Whole>> = Mutex::new(BTreeMap::new());
    on_disk(scene.made);
    let mut scenes = SCENES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = scenes.get(&scene) {
        return Some(known);
    }
    let clean = play(&Overlay::new(), &Snapshot::default(), "clean")?;
    let judge = judge_of(&clean.store);
    let whole = match scene.command {
        "clean" => Whole { scene, disk: Overlay::new(), store: Snapshot::default(), played: clean, judge },
        command => {
            let played = play(&clean.disk, &clean.store, command)?;
            Whole { scene, disk: clean.disk, store: clean.store, played, judge }
        }
    };
    let whole = Box::leak(Box::new(whole));
    scenes.insert(scene, whole);
    Some(whole)
}

/// What a call is about, in words that stand in the table.
pub(crate) fn place(call: &Call) -> &'static str {
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

pub(crate) fn in_words(fate: Fate) -> &'static str {
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
pub(crate) struct Ended {
    pub(crate) exit: String,
    pub(crate) told: String,
    pub(crate) disk: &'static str,
    pub(crate) next: &'static str,
}

/// Which calls can meet a fault: those that one of these takes.
pub(crate) type Wanted = fn(&Call) -> bool;

/// How far a run came, by the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Nothing,
    Half,
    All,
    /// An undo that could not tell a sector went by values: all are back, and not each byte.
    ByValues,
}

impl Whole {
    fn is_undo(&self) -> bool {
        self.scene.command == "undo"
    }

    /// `name_stays`: SYSTEM could not be written, and does not have the inert file deleted.
    fn is_cured(&self, disk: &Overlay, name_stays: bool) -> Result<bool, String> {
        let found = self.judge.judge(disk)?;
        let (software, system) = self.judge.values(found);
        let asks = system == self.judge.system[0].last();
        let asks = asks || name_stays && system == self.judge.system[0].first();
        Ok(found.worm == Stand::New && software == self.judge.software[0].last() && asks)
    }

    fn reached(&self, disk: &Overlay, name_stays: bool) -> Result<Reached, String> {
        let is_cured = self.is_cured(disk, name_stays)?;
        let found = self.judge.judge(disk)?;
        let as_made = (self.judge.software[0].first(), self.judge.system[0].first());
        Ok(match self.is_undo() {
            _ if *disk == self.disk => Reached::Nothing,
            true if disk.is_empty() => Reached::All,
            true if found.worm == Stand::Old && self.judge.values(found) == as_made => Reached::ByValues,
            false if is_cured => Reached::All,
            _ => Reached::Half,
        })
    }

    /// The same in the words of the table.
    fn in_words(&self, reached: Reached) -> &'static str {
        match reached {
            Reached::Nothing => "as before",
            Reached::Half => "half written",
            Reached::All if self.is_undo() => "given back",
            Reached::ByValues => "given back by values",
            Reached::All => "cured",
        }
    }
}

/// Runs the scene with a fault in it, looks at what the user sees and at what is left, and has the next run treat it.
pub(crate) fn meet(whole: &Whole, wanted: Wanted, nth: usize, fate: Fate) -> Result<(Call, Ended), String> {
    let stage = staged(&whole.disk, &whole.store).ok_or("no stage")?;
    stage.arm(Fault { wanted, nth, fate });
    let home = tempfile::tempdir().unwrap();
    let ran = Ran::of(&mut program(&stage, home.path(), whole.scene.command));
    let call = stage.disarm().ok_or_else(|| format!("the fault {nth} met no call"))?;
    let all = format!("{}\n{}", ran.stdout, ran.stderr);
    let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    let at = |why: &str| format!("{nth} {call:?} {fate:?}: {why}; exit {:?}: {all}", ran.code);
    if all.contains("panicked") || all.contains("RUST_BACKTRACE") {
        return Err(at("a panic is told"));
    }
    let (disk, store) = (overlay_of(&stage.disk_bytes()), snapshot_of(&stage));
    drop(stage);
    let name_stays = all.contains("the inert file's name stays: cannot read");
    let reached = whole.reached(&disk, name_stays).map_err(|why| at(&why))?;
    if reached == Reached::Half && all.contains("no byte was written") {
        return Err(at("bytes were written"));
    }
    if reached == Reached::All && all.contains("nothing was done to the disk") {
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
    // In other words, where the call was only tried again or the place is what matters.
    let in_words = ["they can be read now", "it cannot be read"].iter().any(|words| all.contains(words));
    if ran.code != Some(0) && cause(fate).is_some() && !error && !in_words {
        return Err(at("the cause is not told"));
    }
    if ran.code == Some(0) && !matches!(reached, Reached::All | Reached::ByValues) {
        return Err(at("called done, and it is not"));
    }
    // Where one file could not be read, the others are cured, and the report says what is left.
    let in_part = told == "left: cannot" && matches!(ran.code, Some(1 | 2));
    if reached == Reached::Half && !killed && !in_part && !told.starts_with("part of it") {
        return Err(at("half of it is written, and nobody says so"));
    }
    let in_part_now = in_part && reached == Reached::Half;
    let stand = if in_part_now { "cured in part" } else { whole.in_words(reached) };
    let verdict = serde_json::from_str::<serde_json::Value>(&ran.stdout).ok();
    if verdict.is_some_and(|report| report["verdict"] == "cleaned") && reached != Reached::All {
        return Err(at("called cleaned, and it is not"));
    }
    let exit = ran.code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
    // All works again.
    let next = next_clean(whole, &disk, &store, (in_part, name_stays)).map_err(|why| at(&why))?;
    let next = match (reached, whole.is_undo()) {
        (_, true) => next_undo(whole, &disk, &store, reached).map_err(|why| at(&why))?,
        (Reached::Half, false) if !in_part_now => "takes it back, then cures",
        (Reached::All, false) if next.ops.is_empty() => "finds it clean",
        // Every value is as it should be, and the last sectors of a hive are not written yet.
        (Reached::All, false) if killed || told.starts_with("part of it") => "takes it back, then cures",
        (Reached::All, false) => return Err(at("the next run writes a disk that is cured")),
        _ => "cures",
    };
    Ok((call, Ended { exit, told, disk: stand, next }))
}

/// The next clean, which must cure; and the undo of it, which must give the disk back byte for byte.
fn next_clean(
    whole: &Whole,
    disk: &Overlay,
    store: &Snapshot,
    (in_part, name_stays): (bool, bool),
) -> Result<Recording, String> {
    let next = cleaned(Policy::default(), disk, store).map_err(|why| format!("the next run: {why}"))?;
    if !whole.is_cured(&next.end, name_stays)? {
        return Err("the next run does not cure".to_owned());
    }
    let mut back = undone(&next.end, &next.store).map_err(|why| format!("undo: {why}"))?;
    if in_part {
        // Two runs share the cure.
        back = undone(&back.end, &back.store).map_err(|why| format!("the second undo: {why}"))?;
    }
    // What was given back by values is so again.
    let by_values = whole.reached(disk, false)? == Reached::ByValues && back.end == *disk;
    match back.end.is_empty() || by_values {
        true => Ok(next),
        false => Err("undo does not give the disk back".to_owned()),
    }
}

/// The next undo, which must give the disk back byte for byte.
fn next_undo(
    whole: &Whole,
    disk: &Overlay,
    store: &Snapshot,
    reached: Reached,
) -> Result<&'static str, String> {
    let back = undone(disk, store).map_err(|why| format!("the next undo: {why}"))?;
    match reached {
        Reached::ByValues if back.end == *disk => Ok("finds nothing to take back"),
        _ if !back.end.is_empty() => Err("the next undo does not give the disk back".to_owned()),
        Reached::All if back.ops.is_empty() => Ok("finds nothing to take back"),
        Reached::All | Reached::ByValues => Err("the next undo writes a disk that is given back".to_owned()),
        Reached::Half | Reached::Nothing if whole.disk.is_empty() => {
            Err("there was nothing to undo".to_owned())
        }
        Reached::Half => Ok("takes the rest back"),
        Reached::Nothing => Ok("takes it back"),
    }
}

//! The path of a run: discover, inspect, plan, confirm, apply, verify, report; and taking a run back, which is a plan
//! like any other. One file a step; this one strings them together for every front end. Knows no worm by name.

mod advice;
pub mod apply;
pub mod discover;
pub mod inspect;
pub mod plan;
pub mod report;
pub mod report_text;
pub mod state;
pub mod undo;
pub mod verdict;
pub mod verify;

use std::path::PathBuf;

use jiff::Timestamp;

use crate::change::{Change, Purpose};
use crate::checks::{self, Check};
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::finding::Outcome;
use crate::policy::{Policy, Remove};
use crate::store::journal::RunKind;
use crate::store::quarantine::Quarantine;
use crate::store::{RunFolder, Store, place};
use crate::threat::Signatures;
use apply::{Failure, Reached, Record};
use discover::Patient;
use inspect::{Exam, InstallExam, inspect};
use plan::{ActionKind, Plan, confirm, plan};
use report::{ChangedFile, Machine, Parts, Report, TargetReport};
use undo::{Only, RunOnDisk, Runs, Undo, plan_undo, runs_of};
use verify::{Verified, verify};

/// 100 ns steps between 1601, where FILETIME begins, and 1970.
const FILETIME_OF_1970: i128 = 116_444_736_000_000_000;

/// What every run needs to know.
pub struct Settings {
    /// What worms look like.
    pub signatures: Signatures,
    /// What the technician decided.
    pub policy: Policy,
    /// Where records go and come from.
    pub store: Store,
    /// Whether the technician named that place.
    pub store_named: bool,
    /// Stop after the plan.
    pub dry_run: bool,
    /// What was asked, for the report.
    pub options: serde_json::Value,
    /// The clock: a test's may stand still.
    pub clock: fn() -> Timestamp,
}

/// What the technician is asked to say yes to.
pub enum Question<'a> {
    /// A cure.
    Clean(&'a Plan),
    /// Taking a run back.
    Undo(&'a Undo),
    /// Taking back a run that was cut, before anything else.
    TakeBackFirst(&'a Undo),
}

/// Answers a question: true is yes.
pub type Decide<'a> = &'a mut dyn FnMut(&Question<'_>) -> bool;

/// Which run is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest of which the disk still holds a change.
    Last,
    /// The one with this id.
    Run(String),
}

/// What became of one patient.
pub struct Treated {
    /// For the report.
    pub target: TargetReport,
    /// The files that were written.
    pub changes: Vec<ChangedFile>,
    /// The run's folder, where one was made.
    pub run: Option<RunFolder>,
    /// The exit code where the verdict does not give it.
    pub exit_code: Option<u8>,
    /// What to do next.
    pub next_steps: Vec<String>,
}

/// RFC 3339, to the second.
pub(crate) fn in_words(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn filetime(now: Timestamp) -> u64 {
    u64::try_from(now.as_nanosecond() / 100 + FILETIME_OF_1970).unwrap_or(0)
}

/// Does `treat` to each target in turn and makes the report. A target that fails holds up no other.
///
/// # Errors
/// No target at all could be listed; the report cannot be written as JSON.
pub fn run(
    named: &[PathBuf],
    settings: &Settings,
    machine: Machine,
    treat: &mut dyn FnMut(&Patient) -> Result<Treated>,
) -> Result<(Report, Vec<RunFolder>)> {
    let started = in_words((settings.clock)());
    let mut parts = Parts {
        times: (started, String::new()),
        machine,
        options: settings.options.clone(),
        targets: Vec::new(),
        changes: Vec::new(),
        exit_code: None,
        next_steps: Vec::new(),
    };
    let mut runs = Vec::new();
    for path in discover::targets(named)? {
        match Patient::open(&path).and_then(|patient| treat(&patient)) {
            Ok(treated) => {
                parts.targets.push(treated.target);
                parts.changes.extend(treated.changes);
                parts.exit_code = parts.exit_code.max(treated.exit_code);
                let news = treated.next_steps.into_iter().filter(|step| !parts.next_steps.contains(step));
                let news: Vec<String> = news.collect();
                parts.next_steps.extend(news);
                runs.extend(treated.run);
            }
            Err(error) => parts.targets.push(TargetReport::unread(&path, &error)),
        }
    }
    parts.times.1 = in_words((settings.clock)());
    Ok((Report::new(parts)?, runs))
}

/// Puts the report beside the journals of the runs that it tells of. Done last, so that a store that fails now loses
/// nothing but this copy.
///
/// # Errors
/// The store cannot be written any more.
pub fn keep_report(report: &Report, runs: &[RunFolder]) -> Result<()> {
    let json = report.to_json()?;
    runs.iter().try_for_each(|run| run.write_text("report.json", &json))
}

/// Inspects and judges; reads only.
///
/// # Errors
/// The patient cannot be read at all.
pub fn scan(patient: &Patient, settings: &Settings, sink: Sink<'_>) -> Result<Treated> {
    let exam = inspect(patient, &checks::all(&settings.signatures), sink)?;
    let target = TargetReport::of(patient, &exam, None, &[]);
    let next_steps = advice::next_steps(&target);
    Ok(Treated { target, changes: Vec::new(), run: None, exit_code: None, next_steps })
}

/// The whole path for one patient. A run that was cut is taken back first.
///
/// # Errors
/// The patient or the store cannot be read at all. Whatever goes wrong later is in the report.
pub fn clean(patient: &Patient, settings: &Settings, decide: Decide<'_>, sink: Sink<'_>) -> Result<Treated> {
    let checks = checks::all(&settings.signatures);
    let mut exam = inspect(patient, &checks, sink)?;
    let mut remarks = Vec::new();
    let held =
        take_back_unfinished(patient, settings, &checks, &mut exam, (&mut remarks, None), decide, sink)?;
    if let Some(words) = held {
        let target = TargetReport::of(patient, &exam, None, &[words]);
        return Ok(finish(target, remarks, Vec::new(), None));
    }
    let now = (settings.clock)();
    let plan = plan(&mut exam, &checks, &settings.policy, filetime(now));
    plan.notes.iter().for_each(|note| sink(Event::Note { text: note.clone() }));
    remarks.extend(plan.notes.iter().cloned());
    if plan.is_empty() {
        let target = TargetReport::of(patient, &exam, None, &[]);
        return Ok(finish(target, remarks, Vec::new(), None));
    }
    let room = match judge_store(patient, settings, &plan, &exam) {
        Ok(room) => room,
        Err(error) => {
            settle_findings(&mut exam, |outcome| if settings.dry_run { outcome } else { Outcome::Left });
            remarks.push(error.to_string());
            let undetermined = if settings.dry_run { Vec::new() } else { vec![error.to_string()] };
            let target = TargetReport::of(patient, &exam, None, &undetermined);
            return Ok(finish(target, remarks, Vec::new(), None));
        }
    };
    for words in room.words {
        sink(Event::Note { text: words.clone() });
        remarks.push(words);
    }
    let confirmed = match confirm(plan, &mut |plan| decide(&Question::Clean(plan)) && !settings.dry_run) {
        Ok(confirmed) => confirmed,
        Err(_) => {
            remarks.push("the plan was not carried out: no byte was written".to_owned());
            let target = TargetReport::of(patient, &exam, None, &[]);
            return Ok(finish(target, remarks, Vec::new(), None));
        }
    };
    let record = Record { store: &settings.store, kind: RunKind::Clean, now, backups: room.backups };
    match apply::apply(&confirmed, patient, &exam, &record, Quarantine::default(), sink) {
        Ok(applied) => {
            verify_clean(patient, &checks, exam, confirmed.plan(), applied, settings, remarks, sink)
        }
        Err(failure) => Ok(failed(patient, exam, &failure, remarks)),
    }
}

/// Reads everything again from the device, holds it against the plan, and closes the journal.
#[allow(clippy::too_many_arguments, reason = "the last step of one path, called from one place")]
fn verify_clean(
    patient: &Patient,
    checks: &[Box<dyn Check + '_>],
    mut exam: Exam,
    plan: &Plan,
    applied: apply::Applied,
    settings: &Settings,
    mut remarks: Vec<String>,
    sink: Sink<'_>,
) -> Result<Treated> {
    let after = patient.device.drop_caches().and_then(|()| inspect(patient, checks, sink));
    let (after, results) = match after {
        Ok(after) => {
            let results = verify(plan, &after);
            (Some(after), results)
        }
        Err(error) => {
            remarks.push(format!("the disk was written and could not be read again: {error}"));
            (None, Vec::new())
        }
    };
    note_outcomes(&mut exam, plan, &results, settings.policy.remove);
    let good = after.is_some() && results.iter().all(|result| result.wrong.is_none());
    sink(Event::Verified { good });
    let undetermined: Vec<String> =
        results.iter().filter(|result| result.disagree).filter_map(|result| result.wrong.clone()).collect();
    let changes = changed_files(patient, plan, &results);
    let mut target = TargetReport::of(patient, &exam, after.as_ref(), &undetermined);
    let mut run = None;
    if let Some((folder, mut journal)) = applied.record {
        target.run_id = Some(folder.id().to_owned());
        if let Err(error) = journal.close(if good { "verified" } else { "not verified" }) {
            remarks.push(format!("the disk is written, but {error}"));
        }
        run = Some(folder);
    }
    Ok(finish(target, remarks, changes, run))
}

fn finish(
    mut target: TargetReport,
    remarks: Vec<String>,
    changes: Vec<ChangedFile>,
    run: Option<RunFolder>,
) -> Treated {
    target.remarks.extend(remarks);
    let next_steps = advice::next_steps(&target);
    Treated { target, changes, run, exit_code: None, next_steps }
}

fn failed(patient: &Patient, mut exam: Exam, failure: &Failure, mut remarks: Vec<String>) -> Treated {
    let outcome = match failure.reached {
        Reached::Nothing => Outcome::Left,
        Reached::TakenBack | Reached::Unfinished => Outcome::Failed,
    };
    settle_findings(&mut exam, |_| outcome);
    remarks.push(failure_words(failure));
    let undetermined = match failure.reached {
        Reached::Nothing => vec![failure_words(failure)],
        Reached::TakenBack | Reached::Unfinished => Vec::new(),
    };
    finish(TargetReport::of(patient, &exam, None, &undetermined), remarks, Vec::new(), None)
}

fn failure_words(failure: &Failure) -> String {
    let reached = match failure.reached {
        Reached::Nothing => "no byte was written",
        Reached::TakenBack => "what was written has been taken back",
        Reached::Unfinished => {
            "part of it is written; run again with the same store, and it is taken back first"
        }
    };
    format!("{}; {reached}", failure.error)
}

fn installs_mut(exam: &mut Exam) -> impl Iterator<Item = &mut InstallExam> {
    exam.volumes.iter_mut().flat_map(|volume| &mut volume.installs)
}

/// Gives every finding that stands in the plan another outcome.
fn settle_findings(exam: &mut Exam, outcome: impl Fn(Outcome) -> Outcome) {
    for finding in installs_mut(exam).flat_map(|install| &mut install.findings) {
        if finding.outcome == Outcome::Planned {
            finding.outcome = outcome(finding.outcome);
        }
    }
}

/// Notes in each finding what became of the changes that it asked for.
fn note_outcomes(exam: &mut Exam, plan: &Plan, results: &[Verified], remove: Remove) {
    let mut installs: Vec<&mut InstallExam> = installs_mut(exam).collect();
    for (index, action) in plan.actions.iter().enumerate() {
        let result = results.get(index);
        let good = result.is_some_and(|result| result.wrong.is_none());
        for (change, asked) in &action.changes {
            for &(install, finding) in asked {
                let finding = installs.get_mut(install).and_then(|install| install.findings.get_mut(finding));
                let Some(finding) = finding else { continue };
                if matches!(change, Change::Value(value) if value.purpose == Purpose::NameRemoval) {
                    // A name that stays is no failure of the cure.
                    finding.facts.name = Some(if good {
                        "pending: Windows deletes it at its next start (whether it has the right to is not established)"
                            .to_owned()
                    } else {
                        "stays: what has Windows delete it could not be verified".to_owned()
                    });
                    continue;
                }
                finding.outcome = match (good, finding.outcome) {
                    (_, Outcome::Failed) | (false, _) => Outcome::Failed,
                    (true, _) => Outcome::Verified,
                };
                if let Some(wrong) = result.and_then(|result| result.wrong.as_ref()) {
                    finding.why.push_str(&format!("; {wrong}"));
                }
                if matches!(change, Change::File(_)) && finding.facts.name.is_none() {
                    finding.facts.name = Some(match remove {
                        Remove::Never => "stays: it was asked for".to_owned(),
                        Remove::AtBoot => "stays: see the remarks on this disk for the reason".to_owned(),
                    });
                }
            }
        }
    }
}

fn changed_files(patient: &Patient, plan: &Plan, results: &[Verified]) -> Vec<ChangedFile> {
    let words = |kind: &ActionKind, change: &Change| match kind {
        ActionKind::WriteBack | ActionKind::Restore => format!("taken back: {change}"),
        ActionKind::MakeInert | ActionKind::EditHive { .. } => change.to_string(),
    };
    let target = patient.disk.path.display().to_string();
    plan.actions
        .iter()
        .zip(results)
        .map(|(action, result)| ChangedFile {
            target: target.clone(),
            path: result.path.to_string(),
            sha256_before: result.before,
            sha256_after: result.after,
            what: action.changes.iter().map(|(change, _)| words(&action.kind, change)).collect(),
            outcome: if result.wrong.is_none() { Outcome::Verified } else { Outcome::Failed },
            why: result.wrong.clone(),
        })
        .collect()
}

/// What the store has room for.
struct Room {
    backups: bool,
    words: Vec<String>,
}

fn judge_store(patient: &Patient, settings: &Settings, plan: &Plan, exam: &Exam) -> Result<Room> {
    let root = settings.store.root();
    let fit = place::judge(root, std::slice::from_ref(&patient.disk.path), settings.store_named)?;
    let (least, with_backups) = apply::store_needs(plan, patient, exam)?;
    if fit.room < least {
        let why = format!("the record of this run takes {least} bytes, and {} are free there", fit.room);
        return Err(Error::refused("use the store", why)
            .device(root)
            .hint("make room there, or give another place with --store"));
    }
    let backups = fit.room >= with_backups;
    let mut words = vec![format!(
        "the record goes to {} and takes at most {} bytes of {} free",
        root.display(),
        if backups { with_backups } else { least },
        fit.room
    )];
    words.extend(fit.warning);
    if !backups {
        words.push("there is no room for backups of the hives; undo rests on the journal alone".to_owned());
    }
    Ok(Room { backups, words })
}

/// Takes back every run that was cut, the newest first, but not `except`. Words, where that must be done and was not.
fn take_back_unfinished(
    patient: &Patient,
    settings: &Settings,
    checks: &[Box<dyn Check + '_>],
    exam: &mut Exam,
    (remarks, except): (&mut Vec<String>, Option<&Which>),
    decide: Decide<'_>,
    sink: Sink<'_>,
) -> Result<Option<String>> {
    // Each round takes one run back, and a run that is taken back is no longer unfinished.
    let mut rounds = settings.store.runs()?.len() + 1;
    loop {
        let Runs { held: runs, notes, unusable } = runs_of(&settings.store, exam)?;
        if let Some(first) = unusable.first().or(notes.first()) {
            sink(Event::Note { text: first.clone() });
        }
        let wanted = |run: &RunOnDisk| match except {
            Some(Which::Run(id)) => run.run.id() == id,
            Some(Which::Last) => !run.is_undo(),
            None => false,
        };
        let unfinished = runs.into_iter().take_while(|run| !(except.is_some() && wanted(run)));
        let Some(held) = unfinished.into_iter().find(RunOnDisk::is_unfinished) else { return Ok(None) };
        let id = held.run.id().to_owned();
        rounds = rounds.saturating_sub(1);
        let stuck = |why: &str| format!("the run {id} was cut and must be taken back first: {why}");
        if rounds == 0 {
            return Ok(Some(stuck("it stays unfinished however often that is done")));
        }
        let now = (settings.clock)();
        let undo = plan_undo(held, patient, exam, Only::All, filetime(now))?;
        let yes = !settings.dry_run && decide(&Question::TakeBackFirst(&undo));
        if !yes {
            return Ok(Some(stuck("that was not carried out, so no byte was written")));
        }
        sink(Event::Note { text: format!("the run {id} was cut; it is taken back first") });
        match carry_out(undo, patient, settings, exam, now, sink) {
            Ok(_) => {
                remarks.push(format!("the run {id}, which was cut, was taken back first"));
                patient.device.drop_caches()?;
                *exam = inspect(patient, checks, sink)?;
            }
            Err(failure) => return Ok(Some(stuck(&failure_words(&failure)))),
        }
    }
}

/// Confirms (the question was asked) and applies an undo.
fn carry_out(
    undo: Undo,
    patient: &Patient,
    settings: &Settings,
    exam: &Exam,
    now: Timestamp,
    sink: Sink<'_>,
) -> Result<(plan::ConfirmedPlan, apply::Applied), Failure> {
    let kind = RunKind::Undo { of: undo.run_id.clone() };
    let record = Record { store: &settings.store, kind, now, backups: true };
    let confirmed = confirm(undo.plan, &mut |_| true).map_err(|_| Failure {
        error: Error::refused("take the run back", "it was not confirmed"),
        reached: Reached::Nothing,
    })?;
    let applied = apply::apply(&confirmed, patient, exam, &record, undo.quarantine, sink)?;
    Ok((confirmed, applied))
}

/// The runs of the store that belong to a patient, for showing: id, when, what, and whether the disk still holds it.
///
/// # Errors
/// The patient or the store cannot be read.
pub fn list_runs(patient: &Patient, settings: &Settings, sink: Sink<'_>) -> Result<Vec<String>> {
    let exam = inspect(patient, &checks::all(&settings.signatures), sink)?;
    let Runs { held: runs, notes, unusable } = runs_of(&settings.store, &exam)?;
    let mut lines: Vec<String> = runs
        .iter()
        .map(|held| {
            let standings = held.all_standings(&exam);
            let in_force = standings.iter().filter(|(_, s)| *s == undo::Standing::InForce).count();
            let state = if held.is_unfinished() { ", unfinished" } else { "" };
            let header = &held.journal.header;
            let kind = match &header.kind {
                RunKind::Clean => "clean".to_owned(),
                RunKind::Undo { of } => format!("undo of {of}"),
            };
            let count = standings.len();
            format!(
                "{}  {}  {kind}, {in_force} of {count} changes in force{state}",
                held.run.id(),
                header.started
            )
        })
        .collect();
    lines.extend(notes);
    lines.extend(unusable);
    Ok(lines)
}

/// Takes a run back. The exit code goes by what was asked, not by the verdict.
///
/// # Errors
/// The patient or the store cannot be read, or there is no such run for this disk.
pub fn undo(
    patient: &Patient,
    settings: &Settings,
    (which, only): (&Which, Only),
    decide: Decide<'_>,
    sink: Sink<'_>,
) -> Result<Treated> {
    let checks = checks::all(&settings.signatures);
    let mut exam = inspect(patient, &checks, sink)?;
    let mut remarks = Vec::new();
    let done = |exam: &Exam, after: Option<&Exam>, remarks, changes, run, code| {
        let mut treated = finish(TargetReport::of(patient, exam, after, &[]), remarks, changes, run);
        treated.target.run_id = treated.run.as_ref().map(|run| run.id().to_owned());
        treated.exit_code = Some(code);
        Ok(treated)
    };
    let held = take_back_unfinished(
        patient,
        settings,
        &checks,
        &mut exam,
        (&mut remarks, Some(which)),
        decide,
        sink,
    )?;
    if let Some(words) = held {
        remarks.push(words);
        return done(&exam, None, remarks, Vec::new(), None, 2);
    }
    let Runs { held: runs, notes, unusable } = runs_of(&settings.store, &exam)?;
    let Some(held) = choose(runs, which, &exam)? else {
        remarks.extend(notes);
        if !unusable.is_empty() {
            remarks.extend(unusable);
            remarks.push("nothing was taken back: whether anything is left cannot be told".to_owned());
            return done(&exam, None, remarks, Vec::new(), None, 2);
        }
        remarks.push(format!(
            "no run in {} has left a change on this disk: nothing is to be taken back",
            settings.store.root().display()
        ));
        return done(&exam, None, remarks, Vec::new(), None, 0);
    };
    let now = (settings.clock)();
    let undo = plan_undo(held, patient, &exam, only, filetime(now))?;
    remarks.push(format!("the run {} is what is taken back", undo.run_id));
    remarks.extend(undo.plan.notes.iter().cloned());
    remarks.extend(undo.already.iter().map(|change| format!("as before the run already: {change}")));
    remarks.extend(undo.left.iter().map(|(change, why)| format!("left: {change}: {why}")));
    let code = u8::from(!undo.left.is_empty());
    if undo.plan.is_empty() {
        return done(&exam, None, remarks, Vec::new(), None, code);
    }
    if !decide(&Question::Undo(&undo)) || settings.dry_run {
        remarks.push("the plan was not carried out: no byte was written".to_owned());
        return done(&exam, None, remarks, Vec::new(), None, if settings.dry_run { code } else { 2 });
    }
    if undo.plan.journalled().next().is_some() {
        let room = judge_store(patient, settings, &undo.plan, &exam);
        match room {
            Ok(room) => remarks.extend(room.words),
            Err(error) => {
                remarks.push(error.to_string());
                return done(&exam, None, remarks, Vec::new(), None, 2);
            }
        }
    }
    let (confirmed, applied) = match carry_out(undo, patient, settings, &exam, now, sink) {
        Ok(carried) => carried,
        Err(failure) => {
            remarks.push(failure_words(&failure));
            return done(&exam, None, remarks, Vec::new(), None, 2);
        }
    };
    patient.device.drop_caches()?;
    let after = inspect(patient, &checks, sink)?;
    let results = verify(confirmed.plan(), &after);
    let good = results.iter().all(|result| result.wrong.is_none());
    sink(Event::Verified { good });
    let mut run = None;
    if let Some((folder, mut journal)) = applied.record {
        if let Err(error) = journal.close(if good { "verified" } else { "not verified" }) {
            remarks.push(format!("the disk is written, but {error}"));
        }
        run = Some(folder);
    }
    let changes = changed_files(patient, confirmed.plan(), &results);
    done(&exam, Some(&after), remarks, changes, run, if good { code } else { 2 })
}

fn choose(runs: Vec<RunOnDisk>, which: &Which, exam: &Exam) -> Result<Option<RunOnDisk>> {
    match which {
        Which::Last => {
            let mut runs: Vec<RunOnDisk> = runs.into_iter().filter(|run| !run.is_undo()).collect();
            // Disks that were imaged from one master have volumes and files of the same identity. A run that the bytes
            // prove goes before one that identities and values merely allow. The order is stable: newest first.
            runs.sort_by_key(|run| std::cmp::Reverse(run.proof()));
            Ok(runs.into_iter().find(|run| {
                run.all_standings(exam).iter().any(|(_, standing)| *standing == undo::Standing::InForce)
            }))
        }
        Which::Run(id) => {
            let known: Vec<String> = runs.iter().map(|run| run.run.id().to_owned()).collect();
            let found = runs.into_iter().find(|run| run.run.id() == id);
            found.map(Some).ok_or_else(|| {
                Error::refused("take the run back", format!("no run {id} of this store belongs to this disk"))
                    .hint(match known.as_slice() {
                        [] => "none does; is it another store, or another disk?".to_owned(),
                        known => format!("those that do: {}", known.join(", ")),
                    })
            })
        }
    }
}

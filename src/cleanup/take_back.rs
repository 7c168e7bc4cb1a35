//! Taking runs back: the whole path of an undo, and what every cure does first with a run that was cut.

use std::collections::BTreeSet;
use std::fmt;

use crate::change::Change;
use crate::checks;
use crate::cleanup::apply::{Applied, Failure, Reached, Record, apply};
use crate::cleanup::discover::Patient;
use crate::cleanup::disk_store::DiskStore;
use crate::cleanup::held::{RunOnDisk, Runs, Standing, is_on, runs_of};
use crate::cleanup::inspect::{Exam, inspect};
use crate::cleanup::plan::{ConfirmedPlan, confirm};
use crate::cleanup::session::{Session, changed_files};
use crate::cleanup::undo::{Only, Undo, plan_undo};
use crate::cleanup::verify::verify;
use crate::cleanup::{Decide, Question, Settings, Treated, Which, filetime};
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::store::Store;
use crate::store::journal::RunKind;

/// Takes back every run that was cut, the newest first; where `for_undo` names a run, only those newer than it. Words,
/// where that must be done and was not.
pub(super) fn take_back_unfinished(
    session: &mut Session<'_>,
    for_undo: Option<&Which>,
    decide: Decide<'_>,
    sink: Sink<'_>,
) -> Result<Option<String>> {
    let settings = session.settings;
    // Each run is taken back once: then it is no longer unfinished, or something is wrong with the disk.
    let (mut done, mut settled) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let Runs { held, unusable, .. } = runs_of(&session.store, &session.exam)?;
        if let (None, Some(run)) = (for_undo, unusable.first()) {
            return Ok(Some(format!(
                "{}; a run that may have been cut on this disk cannot be told, so nothing is written \
                 (where it is of another disk, move its folder out of the store)",
                run.why
            )));
        }
        let may_be_cut = |run: &&RunOnDisk| run.journal.closed.is_none() && run.is_illegible();
        if let (None, Some(run)) = (for_undo, held.iter().find(may_be_cut)) {
            return Ok(Some(format!(
                "the run {} may have been cut, and too many of the sectors that it wrote cannot be read to tell: nothing \
                 is written; copy the disk to a sound one",
                run.run.id()
            )));
        }
        let is_wanted = |run: &RunOnDisk| match for_undo {
            Some(Which::Run(id)) => run.run.id() == id,
            Some(Which::Last) => !run.is_undo(),
            None => false,
        };
        let mut unfinished: Vec<RunOnDisk> =
            held.into_iter().take_while(|run| !is_wanted(run)).filter(RunOnDisk::is_unfinished).collect();
        unfinished.retain(|run| !settled.contains(run.run.id()));
        // A disk may have been put back to what an older run left half done. Where the whole of a run fits, it goes
        // before one that fits in part: runs of one disk write much the same. The order is stable: newest first.
        unfinished.sort_by_key(|run| !run.fits_as_a_whole());
        let Some(cut) = unfinished.into_iter().next() else { return Ok(None) };
        let id = cut.run.id().to_owned();
        let stuck = |why: &str| Ok(Some(format!("the run {id} was cut and must be taken back first: {why}")));
        if !done.insert(id.clone()) {
            return stuck("it was, and is unfinished still; the disk may be failing");
        }
        let undo = plan_undo(
            cut,
            session.patient,
            (&session.exam, &settings.signatures),
            Only::All,
            filetime((settings.clock)()),
        );
        let is_session = |change: &Change| matches!(change, Change::Hibernation(_));
        let sessions_only = !undo.left.is_empty() && undo.left.iter().all(|(change, _)| is_session(change));
        if undo.plan.is_empty() && sessions_only {
            // All that the run did was to give a session up, and that stays so.
            session
                .remarks
                .extend(undo.left.iter().map(|(change, why)| format!("left of run {id}: {change}: {why}")));
            settled.insert(id);
            continue;
        }
        if settings.dry_run || !decide(&Question::TakeBackFirst(&undo)) {
            return stuck("that was not carried out, so no byte was written");
        }
        sink(Event::Note { text: format!("the run {id} was cut; it is taken back first") });
        session
            .remarks
            .extend(undo.left.iter().map(|(change, why)| format!("left of run {id}: {change}: {why}")));
        let (confirmed, applied) = match carry_out(session, undo, sink) {
            Ok(carried) => carried,
            Err(failure) => {
                let words = session.note_failure(failure);
                return stuck(&words);
            }
        };
        let Some(exam) = session.look_again(sink) else {
            return stuck("it was, and the disk could not be read again");
        };
        let results = verify(confirmed.plan(), &exam);
        session.exam = exam;
        if !session.record(confirmed.plan(), &results, applied.record, sink).good {
            return stuck("it was, and not all of it could be verified");
        }
        session.remarks.push(format!("the run {id}, which was cut, was taken back first"));
    }
}

/// Applies an undo; the question was asked.
fn carry_out(session: &Session<'_>, undo: Undo, sink: Sink<'_>) -> Result<(ConfirmedPlan, Applied), Failure> {
    let nothing = |error| Failure { error: Box::new(error), reached: Reached::Nothing, run: None };
    let (kind, now) = (RunKind::Undo { of: undo.run_id }, (session.settings.clock)());
    let confirmed = confirm(undo.plan, &mut |_| true)
        .map_err(|_| nothing(Error::refused("take the run back", "it was not confirmed")))?;
    let plan = confirmed.plan();
    let backups = match plan.journalled().next() {
        Some(_) => session.room_to_take_back(plan).map_err(nothing)?.backups,
        None => false,
    };
    let record =
        Record { store: &session.store, kind, now, backups, publish: None, stop: session.settings.stop };
    let applied = apply(&confirmed, session.patient, &session.exam, &record, undo.quarantine, sink)?;
    Ok((confirmed, applied))
}

/// A run of the store that belongs to a disk, for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRun {
    /// RUN-ID.
    pub id: String,
    /// When it began, by the clock of the machine.
    pub started: String,
    /// The run that it took back; none where it is a cure.
    pub undo_of: Option<String>,
    /// Changes that the disk still holds.
    pub in_force: usize,
    /// Changes in all.
    pub changes: usize,
    /// Whether it was cut, so that the disk is neither as before nor as after it.
    pub unfinished: bool,
}

impl ListedRun {
    /// `others`: all runs of the disk. What a newer one has proven to be its own is not in force by this one.
    fn of(held: &RunOnDisk, others: &[RunOnDisk], exam: &Exam) -> Self {
        let standings = held.all_standings(exam);
        let newer = || {
            let later = others.iter().take_while(|other| other.run.id() != held.run.id());
            later.filter(|other| !other.is_undo())
        };
        let is_anothers = |change: &Change| {
            !held.is_proven() && newer().any(|other| other.is_proven() && other.has_the_same(held, change))
        };
        let header = &held.journal.header;
        Self {
            id: held.run.id().to_owned(),
            started: header.started.clone(),
            undo_of: match &header.kind {
                RunKind::Clean => None,
                RunKind::Undo { of } => Some(of.clone()),
            },
            in_force: standings
                .iter()
                .filter(|(change, standing)| *standing == Standing::InForce && !is_anothers(change))
                .count(),
            changes: standings.len(),
            unfinished: held.is_unfinished(),
        }
    }
}

impl fmt::Display for ListedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  ", self.id, self.started)?;
        match &self.undo_of {
            None => f.write_str("clean")?,
            Some(id) => write!(f, "undo of {id}")?,
        }
        let unfinished = if self.unfinished { ", unfinished" } else { "" };
        write!(f, ", {} of {} changes in force{unfinished}", self.in_force, self.changes)
    }
}

/// The runs of the store that belong to a patient, for showing: id, when, what, and whether the disk still holds it.
///
/// # Errors
/// The patient or the store cannot be read.
pub fn list_runs(patient: &Patient, settings: &Settings, sink: Sink<'_>) -> Result<Vec<String>> {
    let exam = inspect(patient, &checks::all(&settings.signatures), sink)?;
    let disk_store = settings.store.is_on_patient().then(|| DiskStore::fetch(&exam)).transpose()?;
    let store = disk_store.as_ref().map_or_else(|| settings.store.clone(), DiskStore::store);
    let (runs, notes) = listed(&store, &exam)?;
    Ok(runs.iter().map(ListedRun::to_string).chain(notes).collect())
}

/// The runs of a store that belong to a disk, newest first, and what else there is to say of the store.
fn listed(store: &Store, exam: &Exam) -> Result<(Vec<ListedRun>, Vec<String>)> {
    let Runs { held, notes, unusable } = runs_of(store, exam)?;
    let runs = held.iter().map(|run| ListedRun::of(run, &held, exam)).collect();
    Ok((runs, notes.into_iter().chain(unusable.into_iter().map(|run| run.why)).collect()))
}

/// Inspects and judges in one pass with telling which runs of the store belong to the patient, newest first; reads only.
/// A store that cannot be read is a remark: the patient is judged without it.
///
/// # Errors
/// The patient cannot be read at all.
pub fn look(patient: &Patient, settings: &Settings, sink: Sink<'_>) -> Result<(Treated, Vec<ListedRun>)> {
    let mut session = Session::begin(patient, settings, sink)?;
    let (runs, notes) = match listed(&session.store, &session.exam) {
        Ok(listed) => listed,
        Err(error) => (Vec::new(), vec![format!("which runs belong to this disk cannot be told: {error}")]),
    };
    session.remarks.extend(notes);
    Ok((session.end(None, &[]), runs))
}

/// Why nobody can say that no run has left a change: where a run has written, there is a volume that could not be opened.
fn cannot_be_told(store: &Store, exam: &Exam) -> Result<Option<String>> {
    let starts = exam.volumes.iter().filter(|volume| volume.id.is_none() && volume.problem.is_some());
    let starts: Vec<u64> = starts.map(|volume| volume.start).collect();
    Ok(store.runs()?.iter().filter(|_| !starts.is_empty()).find_map(|run| {
        let header = run.load_header()?;
        let start = header.volumes.iter().find(|volume| starts.contains(&volume.start))?.start;
        Some(format!(
            "nothing was taken back: the volume at {start:#x} could not be opened, so whether the run {} has left a \
             change on it cannot be told",
            run.id()
        ))
    }))
}

/// Why nobody can say that a run is the last on this disk: a later one may have written the volume that could not be opened.
fn may_hide_a_later(store: &Store, exam: &Exam, than: &str) -> Result<Option<String>> {
    let hidden = exam.volumes.iter().find(|volume| volume.id.is_none() && volume.problem.is_some());
    let Some(start) = hidden.map(|volume| volume.start) else { return Ok(None) };
    let runs = store.runs()?;
    let mut later = runs.iter().filter(|run| run.id() > than);
    let run = later.find(|run| {
        let header = run.load_header();
        header.is_some_and(|header| !header.volumes.iter().any(|volume| is_on(volume, exam)))
    });
    Ok(run.map(|run| {
        format!(
            "nothing was taken back: the volume at {start:#x} could not be opened, so whether the later run {} has left a \
             change on it cannot be told; name one with --run",
            run.id()
        )
    }))
}

/// Takes a run back. The exit code goes by what was asked, not by the verdict: 0 all of it is as before the run, 1
/// something was left because it has changed since, 2 refused or failed.
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
    if !settings.store.is_on_patient() && !settings.store.root().is_dir() {
        return Err(Error::refused("take a run back", "there is no such store")
            .device(settings.store.root())
            .hint("give the folder that the run was recorded in with --store"));
    }
    let mut session = Session::begin(patient, settings, sink)?;
    session.exit_code = Some(2);
    if let Which::Run(id) = which {
        // Before anything is written: a run that was mistyped must cost nothing.
        let Runs { held, .. } = runs_of(&session.store, &session.exam)?;
        must_be_held(id, &held)?;
    }
    if let Some(words) = take_back_unfinished(&mut session, Some(which), decide, sink)? {
        session.remarks.push(words);
        return Ok(session.end(None, &[]));
    }
    let Runs { held, notes, unusable } = match runs_of(&session.store, &session.exam) {
        Ok(runs) => runs,
        Err(error) => {
            session.remarks.push(error.to_string());
            return Ok(session.end(None, &[]));
        }
    };
    let illegible = held.iter().find(|run| !run.is_undo() && run.is_illegible());
    let illegible = illegible.map(|run| run.run.id().to_owned());
    let chosen = choose(held, which, &session.exam);
    let chosen_id = chosen.as_ref().map(|run| run.run.id().to_owned());
    session.remarks.extend(unusable.iter().map(|run| run.why.clone()));
    // Run ids begin with their number, padded, so their order is that of the runs.
    let blind =
        *which == Which::Last && unusable.iter().any(|run| chosen_id.as_ref().is_none_or(|id| run.id > *id));
    if blind {
        let words =
            "nothing was taken back: which run is the last on this disk cannot be told; name one with --run";
        session.remarks.push(words.to_owned());
        return Ok(session.end(None, &[]));
    }
    if let Some(id) = chosen_id.filter(|_| *which == Which::Last)
        && let Some(words) = may_hide_a_later(&session.store, &session.exam, &id)?
    {
        session.remarks.push(words);
        return Ok(session.end(None, &[]));
    }
    let Some(held) = chosen else {
        session.remarks.extend(notes);
        if let Some(id) = illegible {
            let words = format!(
                "nothing was taken back: sectors that the run {id} wrote cannot be read, so what is left of it \
                 cannot be told; copy the disk to a sound one, or name the run with --run"
            );
            session.remarks.push(words);
            return Ok(session.end(None, &[]));
        }
        if let Some(words) = cannot_be_told(&session.store, &session.exam)? {
            session.remarks.push(words);
            return Ok(session.end(None, &[]));
        }
        session.exit_code = Some(0);
        let store = settings.store.root().display();
        let words = format!("no run in {store} has left a change on this disk: nothing is to be taken back");
        session.remarks.push(words);
        return Ok(session.end(None, &[]));
    };
    let mut undo =
        plan_undo(held, patient, (&session.exam, &settings.signatures), only, filetime((settings.clock)()));
    session.remarks.push(format!("the run {} is what is taken back", undo.run_id));
    session.remarks.extend(undo.already.iter().map(|change| format!("as before the run already: {change}")));
    session.remarks.extend(undo.left.iter().map(|(change, why)| format!("left: {change}: {why}")));
    let code = u8::from(!undo.left.is_empty());
    if undo.plan.is_empty() {
        session.remarks.extend(undo.plan.notes);
        session.exit_code = Some(code);
        return Ok(session.end(None, &[]));
    }
    if undo.plan.journalled().next().is_some() {
        match session.room_to_take_back(&undo.plan) {
            Ok(room) => undo.plan.notes.extend(room.words),
            Err(error) => {
                session.remarks.push(error.to_string());
                return Ok(session.end(None, &[]));
            }
        }
    }
    session.remarks.extend(undo.plan.notes.iter().cloned());
    if !decide(&Question::Undo(&undo)) || settings.dry_run {
        session.changes = changed_files(patient, &undo.plan, &[]);
        session.remarks.push("the plan was not carried out: no byte was written".to_owned());
        session.exit_code = settings.dry_run.then_some(code).or(Some(2));
        return Ok(session.end(None, &[]));
    }
    let planned = undo.plan.changes().count();
    let (confirmed, applied) = match carry_out(&session, undo, sink) {
        Ok(carried) => carried,
        Err(failure) => {
            session.note_failure(failure);
            return Ok(session.end(None, &[]));
        }
    };
    let after = session.look_again(sink);
    let results = after.as_ref().map(|after| verify(confirmed.plan(), after)).unwrap_or_default();
    if session.record(confirmed.plan(), &results, applied.record, sink).good {
        session.remarks.push(format!("taken back and verified: {planned} changes"));
        session.exit_code = Some(code);
    }
    // What was found before is what the run had left behind; the report tells what is there now.
    if let Some(after) = after {
        session.exam = after;
    }
    Ok(session.end(None, &[]))
}

fn must_be_held(id: &str, held: &[RunOnDisk]) -> Result<()> {
    if held.iter().any(|run| run.run.id() == id) {
        return Ok(());
    }
    let known: Vec<&str> = held.iter().map(|run| run.run.id()).collect();
    let hint = match known.as_slice() {
        [] => "none does; is it another store, or another disk?".to_owned(),
        known => format!("those that do: {}", known.join(", ")),
    };
    let why = format!("no run {id} of this store belongs to this disk");
    Err(Error::refused("take the run back", why).hint(hint))
}

fn choose(runs: Vec<RunOnDisk>, which: &Which, exam: &Exam) -> Option<RunOnDisk> {
    let id = match which {
        Which::Run(id) => id.clone(),
        Which::Last => {
            let in_force = |run: &&RunOnDisk| {
                run.all_standings(exam).iter().any(|(_, standing)| *standing == Standing::InForce)
            };
            // Disks that were imaged from one master have volumes and files of the same identity: where the bytes prove
            // one run on a file, another that its identity and values merely allow is of another disk.
            let cures = || runs.iter().filter(|run| !run.is_undo());
            let is_anothers = |run: &&RunOnDisk| {
                !run.is_proven() && cures().any(|other| other.is_proven() && other.shares_a_file(run))
            };
            cures().find(|run| in_force(run) && !is_anothers(run))?.run.id().to_owned()
        }
    };
    runs.into_iter().find(|run| run.run.id() == id)
}

//! Taking runs back: the whole path of an undo, and what every cure does first with a run that was cut.

use crate::checks;
use crate::cleanup::apply::{Applied, Failure, Reached, Record, apply};
use crate::cleanup::discover::Patient;
use crate::cleanup::inspect::{Exam, inspect};
use crate::cleanup::plan::{ConfirmedPlan, confirm};
use crate::cleanup::session::{Session, changed_files, failure_words};
use crate::cleanup::undo::{Only, RunOnDisk, Runs, Standing, Undo, plan_undo, runs_of};
use crate::cleanup::verify::verify;
use crate::cleanup::{Decide, Question, Settings, Treated, Which, filetime};
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
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
    // Each round takes one run back, and a run that is taken back is no longer unfinished.
    for _ in 0..=settings.store.runs()?.len() {
        let Runs { held, unusable, .. } = runs_of(&settings.store, &session.exam)?;
        if let (None, Some(why)) = (for_undo, unusable.first()) {
            return Ok(Some(format!(
                "{why}; a run that may have been cut on this disk cannot be told, so nothing is written \
                 (where it is of another disk, move its folder out of the store)"
            )));
        }
        let is_wanted = |run: &RunOnDisk| match for_undo {
            Some(Which::Run(id)) => run.run.id() == id,
            Some(Which::Last) => !run.is_undo(),
            None => false,
        };
        let Some(cut) = held.into_iter().take_while(|run| !is_wanted(run)).find(RunOnDisk::is_unfinished)
        else {
            return Ok(None);
        };
        let id = cut.run.id().to_owned();
        let stuck = |why: &str| Ok(Some(format!("the run {id} was cut and must be taken back first: {why}")));
        let now = (settings.clock)();
        let undo = plan_undo(cut, session.patient, &session.exam, Only::All, filetime(now))?;
        if settings.dry_run || !decide(&Question::TakeBackFirst(&undo)) {
            return stuck("that was not carried out, so no byte was written");
        }
        sink(Event::Note { text: format!("the run {id} was cut; it is taken back first") });
        match carry_out(session, undo, sink) {
            Ok((_, Applied { record: Some((_, mut journal)) })) => {
                // Whether it closes changes nothing: the disk's bytes tell how the run stands.
                let _ = journal.close("taken back first");
            }
            Ok(_) => {}
            Err(failure) => {
                let words = failure_words(&failure);
                session.run = failure.run;
                return stuck(&words);
            }
        }
        session.remarks.push(format!("the run {id}, which was cut, was taken back first"));
        match session.look_again(sink) {
            Some(exam) => session.exam = exam,
            None => return stuck("it was, and the disk could not be read again"),
        }
    }
    Ok(Some(
        "a run that was cut stays unfinished however often it is taken back; the disk may be failing"
            .to_owned(),
    ))
}

/// Applies an undo; the question was asked.
fn carry_out(session: &Session<'_>, undo: Undo, sink: Sink<'_>) -> Result<(ConfirmedPlan, Applied), Failure> {
    let nothing = |error| Failure { error: Box::new(error), reached: Reached::Nothing, run: None };
    let (kind, now) = (RunKind::Undo { of: undo.run_id }, (session.settings.clock)());
    let confirmed = confirm(undo.plan, &mut |_| true)
        .map_err(|_| nothing(Error::refused("take the run back", "it was not confirmed")))?;
    let plan = confirmed.plan();
    let mut backups = false;
    if plan.journalled().next().is_some() {
        let room = session.room(plan).map_err(nothing)?;
        room.words.into_iter().for_each(|text| sink(Event::Note { text }));
        backups = room.backups;
    }
    let record = Record { store: &session.settings.store, kind, now, backups };
    let applied = apply(&confirmed, session.patient, &session.exam, &record, undo.quarantine, sink)?;
    Ok((confirmed, applied))
}

/// The runs of the store that belong to a patient, for showing: id, when, what, and whether the disk still holds it.
///
/// # Errors
/// The patient or the store cannot be read.
pub fn list_runs(patient: &Patient, settings: &Settings, sink: Sink<'_>) -> Result<Vec<String>> {
    let exam = inspect(patient, &checks::all(&settings.signatures), sink)?;
    let Runs { held, notes, unusable } = runs_of(&settings.store, &exam)?;
    let describe = |held: &RunOnDisk| {
        let standings = held.all_standings(&exam);
        let in_force = standings.iter().filter(|(_, standing)| *standing == Standing::InForce).count();
        let unfinished = if held.is_unfinished() { ", unfinished" } else { "" };
        let header = &held.journal.header;
        let kind = match &header.kind {
            RunKind::Clean => "clean".to_owned(),
            RunKind::Undo { of } => format!("undo of {of}"),
        };
        let (id, count) = (held.run.id(), standings.len());
        format!("{id}  {}  {kind}, {in_force} of {count} changes in force{unfinished}", header.started)
    };
    Ok(held.iter().map(describe).chain(notes).chain(unusable).collect())
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
    let mut session = Session::begin(patient, settings, sink)?;
    session.exit_code = Some(2);
    if let Some(words) = take_back_unfinished(&mut session, Some(which), decide, sink)? {
        session.remarks.push(words);
        return Ok(session.end(None, &[]));
    }
    let Runs { held, notes, unusable } = runs_of(&settings.store, &session.exam)?;
    let Some(held) = choose(held, which, &session.exam)? else {
        session.remarks.extend(notes);
        if unusable.is_empty() {
            session.exit_code = Some(0);
            let store = settings.store.root().display();
            let words =
                format!("no run in {store} has left a change on this disk: nothing is to be taken back");
            session.remarks.push(words);
        } else {
            session.remarks.extend(unusable);
            session
                .remarks
                .push("nothing was taken back: whether anything is left cannot be told".to_owned());
        }
        return Ok(session.end(None, &[]));
    };
    let now = (settings.clock)();
    let undo = plan_undo(held, patient, &session.exam, only, filetime(now))?;
    session.remarks.push(format!("the run {} is what is taken back", undo.run_id));
    session.remarks.extend(undo.plan.notes.iter().cloned());
    session.remarks.extend(undo.already.iter().map(|change| format!("as before the run already: {change}")));
    session.remarks.extend(undo.left.iter().map(|(change, why)| format!("left: {change}: {why}")));
    let code = u8::from(!undo.left.is_empty());
    if undo.plan.is_empty() {
        session.exit_code = Some(code);
        return Ok(session.end(None, &[]));
    }
    if !decide(&Question::Undo(&undo)) || settings.dry_run {
        session.changes = changed_files(patient, &undo.plan, &[]);
        session.remarks.push("the plan was not carried out: no byte was written".to_owned());
        session.exit_code = settings.dry_run.then_some(code).or(Some(2));
        return Ok(session.end(None, &[]));
    }
    let (confirmed, applied) = match carry_out(&session, undo, sink) {
        Ok(carried) => carried,
        Err(failure) => {
            session.note_failure(failure);
            return Ok(session.end(None, &[]));
        }
    };
    let after = session.look_again(sink);
    let results = after.as_ref().map(|after| verify(confirmed.plan(), after)).unwrap_or_default();
    if session.record(confirmed.plan(), &results, applied.record, sink) {
        session.exit_code = Some(code);
    }
    // What was found before is what the run had left behind; the report tells what is there now.
    if let Some(after) = after {
        session.exam = after;
    }
    Ok(session.end(None, &[]))
}

fn choose(runs: Vec<RunOnDisk>, which: &Which, exam: &Exam) -> Result<Option<RunOnDisk>> {
    match which {
        Which::Last => {
            let mut runs: Vec<RunOnDisk> = runs.into_iter().filter(|run| !run.is_undo()).collect();
            // Disks that were imaged from one master have volumes and files of the same identity. A run that the bytes
            // prove goes before one that identities and values merely allow. The order is stable: newest first.
            runs.sort_by_key(|run| std::cmp::Reverse(run.proof()));
            Ok(runs.into_iter().find(|run| {
                run.all_standings(exam).iter().any(|(_, standing)| *standing == Standing::InForce)
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

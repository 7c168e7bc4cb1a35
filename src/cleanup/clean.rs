//! The whole path of a cure for one patient: the steps strung together, and what became of each finding.

use crate::change::{Change, Purpose};
use crate::cleanup::apply::{self, Publish, Reached, Record};
use crate::cleanup::discover::Patient;
use crate::cleanup::hibernation;
use crate::cleanup::inspect::{Exam, InstallExam};
use crate::cleanup::plan::{Plan, confirm, plan};
use crate::cleanup::remove_now::{changed_file, remove_now};
use crate::cleanup::session::{Session, changed_files};
use crate::cleanup::take_back::take_back_unfinished;
use crate::cleanup::verify::{Verified, verify};
use crate::cleanup::{Decide, Question, Settings, Treated, filetime};
use crate::error::Result;
use crate::event::Sink;
use crate::finding::Outcome;
use crate::policy::Remove;
use crate::store::RunFolder;
use crate::store::journal::RunKind;
use crate::store::quarantine::Quarantine;

/// The whole path for one patient. A run that was cut is taken back first.
///
/// # Errors
/// The patient or the store cannot be read at all. Whatever goes wrong later is in the report.
pub fn clean(patient: &Patient, settings: &Settings, decide: Decide<'_>, sink: Sink<'_>) -> Result<Treated> {
    let mut session = Session::begin(patient, settings, sink)?;
    if let Some(words) = take_back_unfinished(&mut session, None, decide, sink)? {
        return Ok(session.end(None, &[words]));
    }
    let now = (settings.clock)();
    let mut policy = settings.policy.clone();
    let store_alone = policy.remove == Remove::Now
        && session.disk_store.as_ref().is_some_and(|disk| disk.changes_planned_sectors());
    if store_alone {
        policy.remove = Remove::AtBoot;
    }
    let mut plan = plan(&mut session.exam, &session.checks, &policy, filetime(now));
    if !plan.is_empty() {
        let words = "the names of inert files are left to Windows: on FAT, --remove now does not go with --store disk, \
                     which writes the same FATs";
        plan.notes.extend(store_alone.then(|| words.to_owned()));
        plan.notes.extend(hibernation::elsewhere(patient, &settings.targets));
    }
    for note in &plan.notes {
        session.remark(note.clone(), sink);
    }
    if plan.is_empty() {
        return Ok(session.end(None, &[]));
    }
    let (backups, words) = match patient.device.refuse_read_only().and_then(|()| session.room(&plan)) {
        Ok(room) => (room.backups, room.words),
        Err(error) if settings.dry_run => {
            (false, vec![format!("the plan could not be carried out here: {error}")])
        }
        Err(error) => {
            settle_findings(&mut session.exam, Outcome::Left);
            return Ok(session.end(None, &[error.to_string()]));
        }
    };
    for words in words {
        // Where the record goes belongs to what is said yes to, however progress is shown.
        plan.notes.push(words.clone());
        session.remark(words, sink);
    }
    let confirmed = match confirm(plan, &mut |plan| decide(&Question::Clean(plan)) && !settings.dry_run) {
        Ok(confirmed) => confirmed,
        Err(plan) => {
            session.changes = changed_files(patient, &plan, &[]);
            session.changes.extend(plan.unlinks.iter().map(|unlink| changed_file(patient, unlink, None)));
            session.remarks.push("the plan was not carried out: no byte was written".to_owned());
            return Ok(session.end(None, &[]));
        }
    };
    let (store, disk_store) = (session.store.clone(), session.disk_store.clone());
    let put = |run: &RunFolder| disk_store.as_ref().map_or(Ok(()), |disk| disk.publish(patient, run));
    let publish: Option<Publish<'_>> = disk_store.as_ref().map(|_| &put as Publish<'_>);
    let record = Record { store: &store, kind: RunKind::Clean, now, backups, publish, stop: settings.stop };
    let applied = match apply::apply(&confirmed, patient, &session.exam, &record, Quarantine::default(), sink)
    {
        Ok(applied) => applied,
        Err(failure) => {
            let written = !matches!(failure.reached, Reached::Nothing | Reached::Stored);
            settle_findings(&mut session.exam, if written { Outcome::Failed } else { Outcome::Left });
            let words = session.note_failure(failure);
            return Ok(session.end(None, &[words]));
        }
    };
    let plan = confirmed.plan();
    let after = session.look_again(sink);
    let results = after.as_ref().map(|after| verify(plan, after)).unwrap_or_default();
    note_outcomes(&mut session.exam, plan, &results, settings.policy.remove);
    let recorded = session.record(plan, &results, applied.record, sink);
    let mut undetermined: Vec<String> =
        results.iter().filter(|result| result.disagree).filter_map(|result| result.wrong.clone()).collect();
    let mut last = None;
    if !plan.unlinks.is_empty() {
        let good = recorded.good && after.is_some();
        let removed = remove_now(&mut session, plan, after.as_ref(), good, recorded.journal, sink);
        last = removed.exam;
        undetermined.extend(removed.undetermined);
    }
    Ok(session.end(last.as_ref().or(after.as_ref()), &undetermined))
}

fn installs_mut(exam: &mut Exam) -> impl Iterator<Item = &mut InstallExam> {
    exam.volumes.iter_mut().flat_map(|volume| &mut volume.installs)
}

/// Gives every finding that stands in the plan another outcome.
fn settle_findings(exam: &mut Exam, outcome: Outcome) {
    for finding in installs_mut(exam).flat_map(|install| &mut install.findings) {
        if finding.outcome == Outcome::Planned {
            finding.outcome = outcome;
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
                let planned = plan.names.iter().find(|(asked, _)| *asked == (install, finding));
                let finding = installs.get_mut(install).and_then(|install| install.findings.get_mut(finding));
                let Some(finding) = finding else { continue };
                if matches!(change, Change::Value(value) if value.purpose == Purpose::NameRemoval) {
                    // A name that stays is no failure of the cure.
                    let words = match good {
                        true => {
                            "pending: Windows deletes it at its next start; whether it has the right to is not established"
                        }
                        false => "stays: what has Windows delete it could not be verified",
                    };
                    finding.facts.name = Some(words.to_owned());
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
                    finding.facts.name = match remove {
                        Remove::Never => Some("stays: it was asked for".to_owned()),
                        // Else a change in SYSTEM, which comes behind the files, has it deleted.
                        Remove::AtBoot | Remove::Now => planned.map(|(_, words)| words.clone()),
                    };
                }
            }
        }
    }
}

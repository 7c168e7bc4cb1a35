//! Sixth step: what was written is read again from the device, by two readers, and must be the plan and nothing else.

use std::collections::BTreeMap;

use crate::change::{Change, ValueChange, ValueData};
use crate::cleanup::hibernation;
use crate::cleanup::hive_file;
use crate::cleanup::inspect::{Exam, MAX_HIVE};
use crate::cleanup::plan::{Action, ActionKind, Content, Plan, Write};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::hive::check::{Class, Problem, check};
use crate::hive::edit::Edit;
use crate::hive::tree::actual_tree;
use crate::hive::{Hive, second};
use crate::path::WinPath;
use crate::volume::FileSystem;

/// How one action was found afterwards.
pub struct Verified {
    /// The file.
    pub path: WinPath,
    /// Digest of its content before the run.
    pub before: Option<Sha256>,
    /// Digest of its content now, if it could be read.
    pub after: Option<Sha256>,
    /// What is amiss; none when all is as planned.
    pub wrong: Option<String>,
    /// What there is to know of it though nothing is amiss.
    pub note: Option<String>,
    /// Whether the two readers disagree, so that nothing can be said.
    pub disagree: bool,
}

/// Looks at every action of a plan in `exam`, which was made anew from the device after the writing.
pub fn verify(plan: &Plan, exam: &Exam) -> Vec<Verified> {
    plan.actions
        .iter()
        .map(|action| {
            let mut verified = Verified {
                path: action.path.clone(),
                before: action.before,
                after: None,
                wrong: None,
                note: None,
                disagree: false,
            };
            if let Err(error) = verify_action(action, exam, &mut verified) {
                verified.wrong = Some(error.path(&action.path).to_string());
            }
            verified
        })
        .collect()
}

fn verify_action(action: &Action, exam: &Exam, verified: &mut Verified) -> Result<()> {
    let wrong = |why: &str| Error::refused("verify what was written", why).path(&action.path);
    let volume = exam.volumes.get(action.exam_volume);
    let opened = volume.and_then(|volume| volume.opened.as_ref()).ok_or_else(|| {
        let why = volume.and_then(|volume| volume.problem.as_deref()).unwrap_or("it is not there");
        wrong(&format!("its volume cannot be opened any more: {why}"))
    })?;
    if hibernation::change_of(action).is_some() {
        let is_asleep = exam.volumes.get(action.exam_volume).is_some_and(|volume| volume.asleep.is_some());
        verified.note =
            Some("a file of its size is not read whole: its first sector is as planned".to_owned());
        return hibernation::verify(action, opened, is_asleep);
    }
    // One copy in memory at a time: a hive may be half of what the machine has.
    let most = MAX_HIVE.max(action.extents.size);
    let theirs = opened.files.read_again(action.id, most).map(|theirs| Sha256::of(&theirs));
    let bytes = opened.files.read(action.id, most)?;
    let now = Sha256::of(&bytes);
    if !theirs.as_ref().is_ok_and(|theirs| *theirs == now) {
        verified.disagree = true;
        let found = theirs.err().map_or_else(|| "other bytes in it".to_owned(), |error| error.to_string());
        return Err(wrong(&format!("a second reader of the volume finds {found}")));
    }
    verified.after = Some(now);
    match &action.kind {
        ActionKind::Discard => return Err(wrong("it names no hibernation file")),
        ActionKind::MakeInert => {
            if bytes.iter().any(|&byte| byte != 0) || bytes.len() as u64 != action.extents.size {
                return Err(wrong("the file does not read as zeros"));
            }
        }
        ActionKind::Restore => {
            let wanted = action.changes.iter().find_map(|(change, _)| match change {
                Change::File(file) => Some(file.digests.sha256),
                Change::Value(_) | Change::Hibernation(_) => None,
            });
            if wanted != Some(now) {
                return Err(wrong("the file does not hold the bytes from quarantine"));
            }
        }
        ActionKind::WriteBack { before_run } => {
            // A sector may be taken back through several versions; the last one counts.
            let last: BTreeMap<u64, &Write> =
                action.writes.iter().map(|write| (write.place, write)).collect();
            for (place, write) in last {
                let mut found = vec![0; usize::try_from(write.length).unwrap_or(0)];
                opened.reader.read_at(place, &mut found)?;
                if write.after != Content::Bytes(found) {
                    return Err(wrong("a sector is not as it was before the run").offset(place));
                }
            }
            verify_values_before(action, opened.files.as_ref(), bytes, verified)?;
            if now != *before_run {
                verified.note = Some(
                    "all that the run wrote is as before it; other bytes of the file have changed since"
                        .to_owned(),
                );
            }
        }
        ActionKind::EditHive { edits, expected_tree, problems } => {
            verify_hive(action, bytes, edits, *expected_tree, problems, verified)?;
        }
    }
    Ok(())
}

fn verify_hive(
    action: &Action,
    bytes: Vec<u8>,
    edits: &[Edit],
    expected_tree: Sha256,
    problems: &[Problem],
    verified: &mut Verified,
) -> Result<()> {
    let wrong = |why: String| Error::refused("verify what was written", why).path(&action.path);
    let hive = Hive::parse(bytes)?;
    if let Some(dirty) = hive.dirty() {
        return Err(wrong(format!("the hive is dirty: {dirty}")));
    }
    let found = check(&hive);
    if !same_problems(&found, problems) {
        let news: Vec<String> =
            found.iter().filter(|p| !problems.contains(p)).map(ToString::to_string).collect();
        return Err(wrong(format!("the checker finds what was not there before: {}", news.join("; "))));
    }
    if actual_tree(&hive, edits)? != expected_tree {
        return Err(wrong("the hive differs from before by more or less than the plan".to_owned()));
    }
    for (change, _) in &action.changes {
        let Change::Value(change) = change else { continue };
        let key = hive.key(&change.key)?;
        let ours = match key {
            Some(key) => key.value(&change.name)?.map(|value| value.data()).transpose()?,
            None => None,
        };
        if ours.as_ref() != change.after() {
            return Err(wrong(format!("{} is not as planned", change.place())));
        }
        second_opinion(&hive, change, change.after(), verified)?;
    }
    Ok(())
}

/// The values of a hive that was taken back sector by sector, by both readers.
fn verify_values_before(
    action: &Action,
    volume: &dyn FileSystem,
    bytes: Vec<u8>,
    verified: &mut Verified,
) -> Result<()> {
    let values: Vec<&ValueChange> = action
        .changes
        .iter()
        .filter_map(|(change, _)| match change {
            Change::Value(value) => Some(value),
            Change::File(_) | Change::Hibernation(_) => None,
        })
        .collect();
    if values.is_empty() {
        return Ok(());
    }
    let (hive, _) = hive_file::settle(volume, &action.path, bytes)?;
    let wrong = |why: String| Error::refused("verify what was written", why).path(&action.path);
    let structure = |problem: &&Problem| problem.class == Class::Structure;
    if let Some(problem) = check(&hive).iter().find(structure) {
        return Err(wrong(format!("the hive is not sound: {problem}")));
    }
    for change in values {
        let key = hive.key(&change.key)?;
        let value = key.map(|key| key.value(&change.name)).transpose()?.flatten();
        if value.map(|value| value.data()).transpose()? != change.before {
            return Err(wrong(format!("{} is not as it was before the run", change.place())));
        }
        second_opinion(&hive, change, change.before.as_ref(), verified)?;
    }
    Ok(())
}

/// Whether two checks told the same, in whatever order: an edit may change the order in which cells are reached.
pub(super) fn same_problems(a: &[Problem], b: &[Problem]) -> bool {
    let sorted = |problems: &[Problem]| {
        let mut problems = problems.to_vec();
        problems.sort();
        problems
    };
    sorted(a) == sorted(b)
}

/// The same value by nt-hive, a reader that is not ours. What it cannot read by a known fault of its own is no
/// disagreement.
fn second_opinion(
    hive: &Hive,
    change: &ValueChange,
    wanted: Option<&ValueData>,
    verified: &mut Verified,
) -> Result<()> {
    let theirs = match second::read_value(hive, &change.key, &change.name) {
        Err(error) if second::unreadable(&error) => return Ok(()),
        theirs => theirs,
    };
    let agree = theirs.as_ref().is_ok_and(|theirs| theirs.as_ref() == wanted);
    if agree {
        return Ok(());
    }
    verified.disagree = true;
    let found = match theirs {
        Ok(Some(value)) => value.to_string(),
        Ok(None) => "no such value".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Error::refused(
        "verify what was written",
        format!("a second reader reads {} as {found}", change.place()),
    ))
}

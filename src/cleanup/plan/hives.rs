//! The edits of a hive as one action; and of SYSTEM.ALT, the mirror that NT 4.0 and 2000 load where SYSTEM fails them,
//! which takes every edit of SYSTEM on its own terms, after SYSTEM.

use super::{Action, ActionKind, Content, Place, Plan, SECTOR, Wanted, Write};
use crate::change::{Change, HiveRole, Purpose, ValueChange, ValueData, ValueEdit, VolumeId};
use crate::checks::Mirror;
use crate::cleanup::hive_file::{self, Replayed};
use crate::cleanup::inspect::{HiveExam, InstallExam, MAX_HIVE, Opened};
use crate::cleanup::verify::same_problems;
use crate::digest::Sha256;
use crate::error::Error;
use crate::hive::check::{Class, check};
use crate::hive::edit::{Edit, Room, edit_within};
use crate::hive::tree::expected_tree;
use crate::windows::pending::Pending;

/// The actions for all changes of one hive of an install, and of its mirror where it has one. Changes that cannot be
/// made are given back with the reason; an error says why none of them can.
pub(super) fn edit(
    install: &InstallExam,
    role: &HiveRole,
    mut wanted: Vec<Wanted>,
    place: &Place<'_>,
    now: u64,
    plan: &mut Plan,
) -> Result<(Vec<Action>, Left), String> {
    let exam = install.hives.get(role).ok_or_else(|| format!("there is no hive {role}"))?;
    if let Some(why) = &exam.unwritable {
        return Err(why.clone());
    }
    let is_mirrored = *role == HiveRole::System && install.evidence.mirror != Mirror::None;
    let mut refused = Left::new();
    loop {
        let (action, mut lost) = edit_one(exam, wanted.clone(), place, now, plan)?;
        let kept = without(&wanted, &lost);
        let (mirror, lacking) = match is_mirrored {
            true => edit_mirror(install, &kept, place, now, plan),
            false => (None, Left::new()),
        };
        // What the mirror does not take would come undone where Windows falls back to it. A worm's service is stopped all
        // the same: half of that is better than none.
        let (must, may): (Left, Left) =
            lacking.into_iter().partition(|((change, _), _)| change.purpose != Purpose::Disinfection);
        let mut is_settled = must.is_empty();
        lost.extend(must);
        let torn: Left = without(&kept, &lost)
            .into_iter()
            .filter_map(|wanted| falls_with(&wanted, &lost).map(|why| (wanted, why)))
            .collect();
        is_settled &= torn.is_empty();
        lost.extend(torn);
        wanted = without(&wanted, &lost);
        refused.append(&mut lost);
        if is_settled {
            if action.is_some() {
                note_replay(exam, plan);
            }
            plan.notes.extend(may.into_iter().map(|((change, _), why)| {
                format!("{} is changed in SYSTEM and not in SYSTEM.ALT: {why}", change.place())
            }));
            return Ok((action.into_iter().chain(mirror).collect(), refused));
        }
        if wanted.is_empty() {
            return Ok((Vec::new(), refused));
        }
    }
}

/// Those of the changes that are not lost.
fn without(wanted: &[Wanted], lost: &Left) -> Vec<Wanted> {
    let is_lost = |change: &ValueChange| lost.iter().any(|((other, _), _)| other == change);
    wanted.iter().filter(|(change, _)| !is_lost(change)).cloned().collect()
}

/// Why a change falls with those that are lost: half of what closes the hole closes nothing, so the values that one
/// finding asks for are all set or none.
fn falls_with((change, asked): &Wanted, lost: &Left) -> Option<String> {
    let together = |((other, by), _): &&(Wanted, String)| {
        [change, other].iter().all(|change| change.purpose == Purpose::Protection)
            && by.iter().any(|finding| asked.contains(finding))
    };
    lost.iter().find(together).map(|((other, _), why)| {
        format!("its values count only together, and {} cannot be set: {why}", other.place())
    })
}

fn note_replay(exam: &HiveExam, plan: &mut Plan) {
    if let Some(Replayed { pages, .. }) = &exam.replayed {
        plan.notes.push(format!(
            "{} is dirty: its transaction log ({pages} pages) is replayed before it is edited, and taken back with the run",
            exam.facts.path
        ));
    }
}

/// The action on SYSTEM.ALT that mirrors changes of SYSTEM, and those of them that it does not take.
fn edit_mirror(
    install: &InstallExam,
    system: &[Wanted],
    place: &Place<'_>,
    now: u64,
    plan: &mut Plan,
) -> (Option<Action>, Left) {
    let all = |why: &str| {
        let why = format!("SYSTEM.ALT does not take it: {why}");
        (None, system.iter().map(|wanted| (wanted.clone(), why.clone())).collect())
    };
    let exam = match (&install.evidence.mirror, install.hives.get(&HiveRole::SystemAlternate)) {
        (Mirror::Usable, Some(exam)) => exam,
        (Mirror::Unusable(why), _) => return all(why),
        _ => return all("it was not read"),
    };
    let (mut mirrored, mut lacking) = (Vec::new(), Left::new());
    for (change, asked) in system {
        match mirror_of(install, change) {
            Ok(None) => {}
            Ok(Some(mirror)) => mirrored.push((mirror, asked.clone())),
            Err(why) => lacking.push(((change.clone(), asked.clone()), why)),
        }
    }
    if mirrored.is_empty() {
        return (None, lacking);
    }
    match edit_one(exam, mirrored, place, now, plan) {
        Ok((action, left)) => {
            for ((mirror, _), why) in left {
                let same = |(change, _): &&Wanted| change.key == mirror.key && change.name == mirror.name;
                lacking.extend(system.iter().find(same).map(|wanted| (wanted.clone(), why)));
            }
            (action, lacking)
        }
        Err(why) => all(&why),
    }
}

/// The change of SYSTEM.ALT that mirrors one of SYSTEM, from what stands there; none where it is so already.
fn mirror_of(install: &InstallExam, change: &ValueChange) -> Result<Option<ValueChange>, String> {
    let hive = HiveRole::SystemAlternate;
    let key = install.evidence.key(&hive, &change.key);
    let key = key.ok_or_else(|| format!("SYSTEM.ALT has no key {}", change.key))?;
    let before = key.value(&change.name).cloned().transpose()?;
    let to = match (&change.edit, change.pairs.is_empty()) {
        (ValueEdit::Delete, _) => None,
        (ValueEdit::Set { to }, true) => Some(to.clone()),
        (ValueEdit::Set { .. }, false) => Some(with_pairs(before.as_ref(), &change.pairs)?),
    };
    if to == before {
        return Ok(None);
    }
    let edit = to.map_or(ValueEdit::Delete, |to| ValueEdit::Set { to });
    Ok(Some(ValueChange { hive, before, edit, ..change.clone() }))
}

fn with_pairs(before: Option<&ValueData>, pairs: &[String]) -> Result<ValueData, String> {
    let mut list = before.map(Pending::parse).transpose()?.unwrap_or_default();
    pairs.iter().for_each(|pair| list.append(pair));
    Ok(list.to_value())
}

fn to_edit(change: &ValueChange) -> Edit {
    let (key, value) = (change.key.clone(), change.name.clone());
    match &change.edit {
        ValueEdit::Delete => Edit::Delete { key, value },
        ValueEdit::Set { to } => Edit::Set { key, value, to: to.clone() },
    }
}

/// Changes that could not be planned, each with the reason.
type Left = Vec<(Wanted, String)>;

/// One action for all changes of a hive. Changes for which the hive has no room are given back with the reason.
fn edit_one(
    exam: &HiveExam,
    wanted: Vec<Wanted>,
    place: &Place<'_>,
    now: u64,
    plan: &mut Plan,
) -> Result<(Option<Action>, Left), String> {
    let words = |error: Error| error.path(&exam.facts.path).to_string();
    hive_file::refuse_lack(&exam.facts).map_err(|error| error.to_string())?;
    // One copy in memory at a time: a hive may be half of what the machine has.
    if let Some(sha256) = exam.sha256 {
        place.agree(exam.facts.id, sha256, MAX_HIVE).map_err(words)?;
    }
    let bytes = place.opened.files.read(exam.facts.id, MAX_HIVE).map_err(words)?;
    let before = Some(Sha256::of(&bytes));
    if exam.sha256 != before {
        return Err(format!(
            "{} reads differently than a moment ago; the disk may be failing",
            exam.facts.path
        ));
    }
    let extents = place.opened.files.extents(exam.facts.id).map_err(words)?;
    // What the hive lacks comes first, from its log; the edits are made to the hive as it is then.
    let replay = hive_file::script(place.opened.files.as_ref(), &exam.facts.path, &bytes).map_err(words)?;
    let settle =
        |bytes| hive_file::settle(place.opened.files.as_ref(), &exam.facts.path, bytes).map_err(words);
    let (mut hive, _) = settle(bytes)?;
    let room = Room::InFile(extents.size.min(extents.initialised));
    let edits_of =
        |wanted: &[Wanted]| wanted.iter().map(|(change, _)| to_edit(change)).collect::<Vec<Edit>>();
    let (mut kept, mut left): (Vec<Wanted>, Left) = (wanted, Vec::new());
    let mut edits = edits_of(&kept);
    let mut expected = expected_tree(&hive, &edits).map_err(words)?;
    let groups = match edit_within(&mut hive, &edits, now, room) {
        Ok(groups) => groups,
        Err(_) => {
            // One has no room. They are tried one after the other, so that it costs only itself; which of them fit is
            // known only then, so the hive is read once more and all of those are made in one go.
            let mut fitting = Vec::new();
            for (change, asked) in kept {
                match edit_within(&mut hive, &[to_edit(&change)], now, room) {
                    Ok(_) => fitting.push((change, asked)),
                    Err(error) => left.push(((change, asked), error.path(&exam.facts.path).to_string())),
                }
            }
            if fitting.is_empty() {
                return Ok((None, left));
            }
            drop(hive);
            (hive, _) = settle(place.opened.files.read(exam.facts.id, MAX_HIVE).map_err(words)?)?;
            edits = edits_of(&fitting);
            expected = expected_tree(&hive, &edits).map_err(words)?;
            kept = fitting;
            edit_within(&mut hive, &edits, now, room).map_err(words)?
        }
    };
    let problems = check(&hive);
    if !same_problems(&problems, &exam.problems)
        || problems.iter().any(|problem| problem.class == Class::Structure)
    {
        let found: Vec<String> =
            problems.iter().filter(|p| !exam.problems.contains(p)).map(ToString::to_string).collect();
        return Err(format!("the edit of {} would not be sound: {}", exam.facts.path, found.join("; ")));
    }
    let mut writes = Vec::new();
    for (group, patches) in (0..).zip(replay.into_iter().chain(groups)) {
        for patch in patches.sectors {
            let place = extents.place(patch.offset, SECTOR).map_err(words)?;
            let (before, after) = (Content::Bytes(patch.before), Content::Bytes(patch.after));
            writes.push(Write { group, place, length: SECTOR, before, after });
        }
    }
    let action = Action {
        volume: plan.volume(place.volume),
        exam_volume: place.exam_volume,
        path: exam.facts.path.clone(),
        id: exam.facts.id,
        extents,
        compressed: false,
        before,
        changes: kept.into_iter().map(|(change, asked)| (Change::Value(change), asked)).collect(),
        kind: ActionKind::EditHive { edits, expected_tree: expected, problems },
        writes,
    };
    Ok((Some(action), left))
}

/// Changes that could not be planned, with the reason.
pub(in crate::cleanup) type LeftValues = Vec<(ValueChange, String)>;

/// A value change that no finding asked for: undo makes these.
pub(in crate::cleanup) fn edit_for_undo(
    exam: &HiveExam,
    wanted: Vec<ValueChange>,
    (exam_volume, volume, opened): (usize, VolumeId, &Opened),
    now: u64,
    plan: &mut Plan,
) -> Result<(Option<Action>, LeftValues), String> {
    let place = Place { exam_volume, volume, opened, install: 0 };
    let wanted = wanted.into_iter().map(|change| (change, Vec::new())).collect();
    let (action, left) = edit_one(exam, wanted, &place, now, plan)?;
    if action.is_some() {
        note_replay(exam, plan);
    }
    Ok((action, left.into_iter().map(|((change, _), why)| (change, why)).collect()))
}

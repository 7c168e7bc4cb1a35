//! Taking a run back: a plan built from its journal, through the same confirm, apply and verify as a cure.
//!
//! Where the device holds, byte for byte, a state that the run can have left, its sectors are written back in reverse.
//! A file that has been written by somebody else since is taken back value by value, as a new edit with a journal of
//! its own; what has changed again is left, and named.

use crate::change::{Change, FileChange, Purpose, ValueChange, VolumeId};
use crate::cleanup::compressed;
use crate::cleanup::discover::Patient;
use crate::cleanup::held::{HiveNow, InertFile, RunOnDisk, Standing};
use crate::cleanup::hibernation;
use crate::cleanup::hive_file;
use crate::cleanup::inspect::{Exam, MAX_HIVE, Opened};
use crate::cleanup::plan::{Action, ActionKind, Content, Plan, Write, edit_for_undo};
use crate::digest::{Digests, Sha256};
use crate::error::{Error, Result};
use crate::hive::check::{Class, check};
use crate::hive::tree::tree_without;
use crate::memory;
use crate::path::RegPath;
use crate::store::journal::{Side, TouchedFile};
use crate::store::quarantine::{Quarantine, name_of};
use crate::threat::Signatures;
use crate::windows::install::hive_role;

const SECTOR: u64 = 512;
const NOT_ITS_BYTES: &str = "it would not give the file the bytes that its digest names";

/// Which changes of a run are taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Only {
    /// All of them.
    #[default]
    All,
    /// What closed the hole.
    Protection,
    /// The files' bytes, and first the entries that have Windows delete them.
    Files,
}

impl Only {
    fn takes(self, change: &Change) -> bool {
        match (self, change) {
            (Self::All, _) | (Self::Files, Change::File(_)) => true,
            (Self::Protection, Change::Value(value)) => value.purpose == Purpose::Protection,
            (Self::Files, Change::Value(value)) => value.purpose == Purpose::NameRemoval,
            (Self::Protection, Change::File(_)) | (_, Change::Hibernation(_)) => false,
        }
    }
}

/// What taking a run back would do.
pub struct Undo {
    /// RUN-ID of the run that is taken back.
    pub run_id: String,
    /// What is written.
    pub plan: Plan,
    /// What is left, and why.
    pub left: Vec<(Change, String)>,
    /// What is as before the run already.
    pub already: Vec<Change>,
    /// What the plan takes from the quarantine.
    pub quarantine: Quarantine,
    /// The pairs of entries for deletion that are left, each with the run's volume whose SYSTEM holds it: a path alone
    /// is the same on every volume.
    left_pairs: Vec<(usize, String)>,
}

/// Plans taking back what `only` names of a run, the last written file first. `now` is a FILETIME.
///
/// `signatures`: what a taking back that was cut may make inert again must be known by them.
pub fn plan_undo(
    held: RunOnDisk,
    patient: &Patient,
    (exam, signatures): (&Exam, &Signatures),
    only: Only,
    now: u64,
) -> Undo {
    let mut undo = Undo {
        run_id: held.run.id().to_owned(),
        plan: Plan::default(),
        left: Vec::new(),
        already: Vec::new(),
        quarantine: Quarantine::default(),
        left_pairs: Vec::new(),
    };
    if let (Some(then), Some(now)) = (&held.journal.header.serial, &patient.disk.serial)
        && then != now
    {
        undo.plan.notes.push(format!(
            "the run was made on a disk that told the serial number {then}, this one tells {now}; \
             its bytes are those of the run, so it is a copy or another dock"
        ));
    }
    if told_by_absence(&held, exam) {
        undo.plan.notes.push(
            "nothing but values that are not there tells that this run was on this disk: see that it is the disk that was \
             cleaned, or a copy of it"
                .to_owned(),
        );
    }
    for (index, file) in held.journal.header.files.iter().enumerate().rev() {
        let earlier = undo.left.len();
        // One that fails stops no other.
        if let Err(error) = plan_file(&held, (exam, signatures), only, index, now, &mut undo) {
            let of_file = held.journal.header.changes.iter().filter(|change| change.file == index);
            let taken = of_file.map(|recorded| &recorded.change).filter(|change| only.takes(change));
            let left: Vec<_> = taken.map(|change| (change.clone(), error.to_string())).collect();
            undo.left.extend(left);
        }
        let news = undo.left.iter().skip(earlier).filter_map(|(change, _)| match change {
            Change::Value(value) => Some(&value.pairs),
            Change::File(_) | Change::Hibernation(_) => None,
        });
        undo.left_pairs.extend(news.flatten().map(|pair| (file.volume, pair.clone())));
    }
    for (file, why) in held.gone_with_bytes(exam) {
        let change = Change::File(file.clone());
        if only.takes(&change) {
            undo.left.push((change, why));
        }
    }
    undo.plan.discards = held.discards();
    undo.quarantine = held.quarantine;
    undo
}

/// Whether all that is in force of a run is what it deleted: another disk of the same make may lack the same values.
fn told_by_absence(held: &RunOnDisk, exam: &Exam) -> bool {
    let files = 0..held.journal.header.files.len();
    let standings = files.flat_map(|index| held.standings(exam, index));
    let in_force: Vec<&Change> = standings
        .filter(|(_, standing)| matches!(standing, Standing::InForce))
        .map(|(change, _)| change)
        .collect();
    let is_absence = |change: &&Change| match change {
        Change::Value(value) => value.after().is_none(),
        Change::File(_) | Change::Hibernation(_) => false,
    };
    !in_force.is_empty() && in_force.iter().all(is_absence)
}

fn plan_file(
    held: &RunOnDisk,
    (exam, signatures): (&Exam, &Signatures),
    only: Only,
    index: usize,
    now: u64,
    undo: &mut Undo,
) -> Result<()> {
    let Some(file) = held.journal.header.files.get(index) else { return Ok(()) };
    let Some(Some(fit)) = held.files.get(index) else {
        let all = held.standings(exam, index).into_iter().filter(|(change, _)| only.takes(change));
        undo.left.extend(all.filter_map(|(change, standing)| match standing {
            Standing::Changed(why) => Some((change.clone(), why)),
            Standing::InForce | Standing::TakenBack => None,
        }));
        return Ok(());
    };
    let opened = held.opened(exam, file)?;
    let exam_volume = held.exam_volume(file).unwrap_or_default();
    let volume = opened.files.id(exam.volumes.get(exam_volume).map_or(0, |volume| volume.start));
    let mut in_force = Vec::new();
    for (change, standing) in held.standings(exam, index) {
        match standing {
            _ if !only.takes(change) => {}
            Standing::InForce => in_force.push(change.clone()),
            Standing::TakenBack => undo.already.push(change.clone()),
            Standing::Changed(why) => undo.left.push((change.clone(), why)),
        }
    }
    if in_force.is_empty() {
        return Ok(());
    }
    let compressed = file.compressed && compressed::is_compressed(opened, file.id)?;
    let blank = |plan: &mut Plan, kind, id, extents, before| Action {
        volume: plan.volume(volume),
        exam_volume,
        path: file.path.clone(),
        id,
        extents,
        compressed,
        before,
        changes: Vec::new(),
        kind,
        writes: Vec::new(),
    };
    let doomed = in_force.iter().any(|change| match change {
        Change::File(change) => still_to_be_deleted(held, file.volume, change, undo).is_some(),
        Change::Value(_) | Change::Hibernation(_) => false,
    });
    if only == Only::All
        && !doomed
        && let Some(groups) = fit.write_back()
    {
        let session = in_force.iter().find_map(|change| match change {
            Change::Hibernation(change) => Some(change.clone()),
            Change::Value(_) | Change::File(_) => None,
        });
        let before = match session {
            // As large as the machine's memory.
            Some(_) => None,
            None => opened.files.read(file.id, MAX_HIVE.max(file.size)).ok().map(|bytes| Sha256::of(&bytes)),
        };
        let extents = opened.files.allocation(file.id)?;
        let kind = ActionKind::WriteBack { before_run: file.before };
        let mut action = blank(&mut undo.plan, kind, file.id, extents, before);
        for (group, writes) in (0..).zip(groups) {
            action.writes.extend(writes.into_iter().map(|write| Write {
                group,
                place: write.place,
                length: SECTOR,
                before: write.before.map_or(Content::Unreadable, Content::Bytes),
                after: Content::Bytes(write.after),
            }));
        }
        action.changes = in_force.into_iter().map(|change| (change, Vec::new())).collect();
        match &session {
            Some(session) => {
                hibernation::prove_taking_back(opened, &action, session)?;
                undo.plan.notes.push(format!(
                    "{} is live again afterwards: that Windows is hibernated as it was before the run, and wakes with what \
                     it had in memory",
                    file.path
                ));
            }
            None => prove_write_back(held, opened, index, &action, signatures)?,
        }
        undo.plan.actions.push(action);
        return Ok(());
    }
    let mut values = Vec::new();
    for change in in_force {
        match change {
            Change::Value(value) => values.push(value),
            // Its sector comes back with the whole of the run or not at all.
            Change::Hibernation(_) => {}
            Change::File(change) => {
                if let Some(why) = still_to_be_deleted(held, file.volume, &change, undo) {
                    undo.left.push((Change::File(change), why));
                    continue;
                }
                let Some(inert) = held.inert_file(exam, file, index, &change)? else { continue };
                let extents = opened.files.allocation(inert.id)?;
                let before = Some(Sha256::of(&inert.now));
                let mut action = blank(&mut undo.plan, ActionKind::Restore, inert.id, extents, before);
                action.writes = match compressed {
                    true => compressed::restore(held, opened, index, &action.extents)?,
                    false => restore(held, index, opened, &action, &inert)?,
                };
                action.changes.push((Change::File(change), Vec::new()));
                undo.plan.actions.push(action);
            }
        }
    }
    if !values.is_empty() {
        plan_values(held, exam, file, values, (exam_volume, volume, opened), now, undo);
    }
    Ok(())
}

/// Proves that writing the sectors of a journal back does what its changes say and nothing else: a journal that was
/// planted or damaged must not reach any other byte of any file.
fn prove_write_back(
    held: &RunOnDisk,
    opened: &Opened,
    index: usize,
    action: &Action,
    signatures: &Signatures,
) -> Result<()> {
    let Some(file) = held.journal.header.files.get(index) else { return Ok(()) };
    let changes = || {
        let of_file = held.journal.header.changes.iter().filter(|recorded| recorded.file == index);
        of_file.map(|recorded| &recorded.change)
    };
    let refuse = |why: &str| {
        Err(Error::refused("take the file back sector by sector", why)
            .path(&file.path)
            .hint("the journal is not one that this program wrote; nothing is taken back from it"))
    };
    if action.compressed {
        return match compressed::may_write_back(held, opened, index, action, signatures)? {
            true => Ok(()),
            false => refuse(NOT_ITS_BYTES),
        };
    }
    let mut then: Vec<(u64, &[u8])> = Vec::new();
    for write in &action.writes {
        let (Some(offset), Content::Bytes(bytes)) = (file.offset_of(write.place), &write.after) else {
            return refuse("it names a place outside the file");
        };
        then.push((offset, bytes));
    }
    let most = MAX_HIVE.max(file.size);
    let read = || match opened.files.read(file.id, most) {
        Ok(now) => Ok(now),
        Err(error) if action.extents.size > most => Err(error),
        Err(_) => read_around(opened, action, &then),
    };
    let now = read()?;
    let taken_back = |mut content: Vec<u8>| {
        for (offset, bytes) in &then {
            let start = usize::try_from(*offset).unwrap_or(usize::MAX);
            let part = content.get_mut(start..).unwrap_or_default();
            part.iter_mut().zip(*bytes).for_each(|(old, new)| *old = *new);
        }
        content
    };
    let values: Vec<&ValueChange> = changes()
        .filter_map(|change| match change {
            Change::Value(value) => Some(value),
            Change::File(_) | Change::Hibernation(_) => None,
        })
        .collect();
    if values.is_empty() {
        let wanted = changes().find_map(|change| match change {
            Change::File(file) => Some(&file.digests),
            Change::Value(_) | Change::Hibernation(_) => None,
        });
        let before = taken_back(now.clone());
        // Either its bytes come back over zeros, or (where a taking back was cut) zeros over its bytes.
        let zeros = |a: &[u8], b: &[u8]| a.iter().zip(b).all(|(a, b)| a == b || *a == 0);
        let fits = if held.is_undo() {
            // Anybody's file can be named so: only the worm's own bytes are made inert. Sector 0 comes back last, so one
            // that lacks it is torn, and holds nothing that starts.
            let digests = Digests::of(&with_all_writes(held, file, index, &now)?);
            let torn = now.iter().take(SECTOR as usize).all(|&byte| byte == 0);
            zeros(&before, &now)
                && wanted == Some(&digests)
                && (torn || signatures.by_digest(&digests).is_some())
        } else {
            zeros(&now, &before) && wanted.is_some_and(|wanted| wanted.sha256 == Sha256::of(&before))
        };
        return if fits { Ok(()) } else { refuse(NOT_ITS_BYTES) };
    }
    // The path tells which hive it is to be, so the file must be the one that bears it. A folder above it that cannot be
    // read looks like none; the way down from the root has the error.
    let by_name = opened.files.facts(file.id)?.is_some_and(|facts| facts.paths.contains(&file.path));
    if !by_name && opened.files.find(&file.path)?.is_none_or(|facts| facts.id != file.id) {
        return refuse("it is not the file at the path that the journal names");
    }
    let places: Vec<(&RegPath, &str)> =
        values.iter().map(|change| (&change.key, change.name.as_str())).collect();
    // What stands there now; as a hive, one in memory at a time. Where a sector is missing it may be none.
    let standing = hive_file::settle(opened.files.as_ref(), &file.path, now)
        .ok()
        .and_then(|(hive, _)| tree_without(&hive, &places).ok());
    let now = read()?;
    // A hive that the run found dirty is so again: its log, which nobody has written, completes it as it did then.
    let (hive, _) = hive_file::settle(opened.files.as_ref(), &file.path, taken_back(now))?;
    let sound = !check(&hive).iter().any(|problem| problem.class == Class::Structure);
    // A journal that somebody planted could have other values ride along with those that it names.
    if standing.is_some_and(|standing| tree_without(&hive, &places).ok() != Some(standing)) {
        return refuse("it would change more of the hive than the values that it names");
    }
    for change in values {
        let role = hive_role(&file.path);
        let key = hive.key(&change.key)?;
        let value = key.map(|key| key.value(&change.name)).transpose()?.flatten();
        let value = value.map(|value| value.data()).transpose()?;
        if !sound || role.as_ref() != Some(&change.hive) || value != change.before {
            return refuse("it would not leave a sound hive with the values as they were");
        }
    }
    Ok(())
}

/// A file's content where sectors of it cannot be read: those that are written back count as written back already. One
/// that is not leaves nothing to prove anything by, and is the error.
fn read_around(opened: &Opened, action: &Action, then: &[(u64, &[u8])]) -> Result<Vec<u8>> {
    let mut content = memory::buffer("read the file", action.extents.size)?;
    content.resize(usize::try_from(action.extents.size).unwrap_or(0), 0);
    for (offset, part) in (0_u64..).step_by(SECTOR as usize).zip(content.chunks_mut(SECTOR as usize)) {
        if offset >= action.extents.usable() {
            break;
        }
        let mut sector = vec![0; SECTOR as usize];
        let place = action.extents.place(offset, SECTOR)?;
        if let Err(error) = opened.reader.read_at(place, &mut sector) {
            // The writes go back through the versions of a sector; the last one is what it will hold.
            let written = then.iter().rfind(|(at, _)| *at == offset).ok_or(error)?;
            sector = written.1.to_vec();
        }
        part.iter_mut().zip(&sector).for_each(|(to, from)| *to = *from);
    }
    Ok(content)
}

/// A file's content as it would be with all of the run's writes.
fn with_all_writes(held: &RunOnDisk, file: &TouchedFile, index: usize, now: &[u8]) -> Result<Vec<u8>> {
    let mut whole = now.to_vec();
    for intent in held.journal.intents.iter().filter(|intent| intent.file == index) {
        let bytes = intent.after.bytes(intent.length, &held.quarantine)?;
        for (place, sector) in intent.sectors().zip(bytes.chunks(SECTOR as usize)) {
            let start = file.offset_of(place).and_then(|offset| usize::try_from(offset).ok());
            let part = whole.get_mut(start.unwrap_or(usize::MAX)..).unwrap_or_default();
            part.iter_mut().zip(sector).for_each(|(old, new)| *old = *new);
        }
    }
    Ok(whole)
}

/// Why a file's bytes must not come back: the entry that has Windows delete it is one that had to be left. Files come
/// after SYSTEM in the order of taking back, so what is left of it is known.
fn still_to_be_deleted(held: &RunOnDisk, volume: usize, file: &FileChange, undo: &Undo) -> Option<String> {
    let path = file.path.to_string();
    let left = undo.left_pairs.iter().any(|(of, pair)| *of == volume && pair.ends_with(&path));
    left.then(|| {
        format!(
            "its entry for deletion at the next start is left, so Windows would delete it again; its bytes lie encoded in {}",
            held.run.path().join("quarantine").display()
        )
    })
}

fn plan_values(
    held: &RunOnDisk,
    exam: &Exam,
    file: &TouchedFile,
    values: Vec<ValueChange>,
    place: (usize, VolumeId, &Opened),
    now: u64,
    undo: &mut Undo,
) {
    let leave_all = |undo: &mut Undo, values: &[ValueChange], why: &str| {
        undo.left.extend(values.iter().map(|value| (Change::Value(value.clone()), why.to_owned())));
    };
    let hive = match HiveNow::read(held, exam, file) {
        Ok(hive) => hive,
        Err(error) => return leave_all(undo, &values, &error.to_string()),
    };
    let Some(hive_exam) = hive.exam.filter(|exam| exam.unwritable.is_none()) else {
        let why = hive.exam.and_then(|exam| exam.unwritable.clone());
        return leave_all(
            undo,
            &values,
            &why.unwrap_or_else(|| "its hive could not be inspected".to_owned()),
        );
    };
    let mut reversed = Vec::new();
    for value in &values {
        match hive.reverse(value) {
            Ok(change) => reversed.push(change),
            Err(why) => undo.left.push((Change::Value(value.clone()), why)),
        }
    }
    drop(hive.hive);
    match edit_for_undo(hive_exam, reversed, place, now, &mut undo.plan) {
        Ok((action, left)) => {
            undo.plan.actions.extend(action);
            undo.left.extend(left.into_iter().map(|(change, why)| (Change::Value(change), why)));
        }
        Err(why) => leave_all(undo, &values, &why),
    }
}

/// The writes that give a file its bytes back: all sectors that read as zeros and should not, the first one last.
fn restore(
    held: &RunOnDisk,
    index: usize,
    opened: &Opened,
    action: &Action,
    inert: &InertFile,
) -> Result<Vec<Write>> {
    let mut writes: Vec<Write> = Vec::new();
    let sector = SECTOR as usize;
    for (offset, (now, wanted)) in
        (0_u64..).step_by(sector).zip(inert.now.chunks(sector).zip(inert.original.chunks(sector)))
    {
        if now == wanted {
            continue;
        }
        let place = action.extents.place(offset, SECTOR)?;
        let (before, after) = if wanted.len() == sector {
            let side = Side::Quarantined { run: held.run.id().to_owned(), name: name_of(index), offset };
            (Content::Zeros, Content::Earlier(side))
        } else {
            // Behind the file's end the last sector holds what it held.
            let mut before = vec![0; sector];
            opened.reader.read_at(place, &mut before)?;
            let rest = before.iter().skip(wanted.len());
            let after = wanted.iter().chain(rest).copied().collect();
            (Content::Bytes(before), Content::Bytes(after))
        };
        writes.push(Write { group: u32::from(offset == 0), place, length: SECTOR, before, after });
    }
    // Sector 0 makes the file whole again, so it goes last.
    writes.sort_by_key(|write| write.group);
    Ok(writes)
}

//! Fifth step, after the yes: the only place where bytes of a patient change.
//!
//! Order: the proof that nobody else owns what is written; the store ready and synced; then, group by group, each
//! sector compared with what was inspected, written, and synced before the next group.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use crate::change::{Change, FileId, hex_bytes};
use crate::cleanup::discover::Patient;
use crate::cleanup::hive_file;
use crate::cleanup::inspect::{Exam, Opened};
use crate::cleanup::plan::{Action, ActionKind, ConfirmedPlan, Content, Plan};
use crate::cleanup::remove_now::Unlink;
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::memory;
use crate::store::journal::{
    Header, Journal, OpenJournal, RecordedChange, RunKind, SCHEMA, StoredFile, TouchedFile, UnlinkedFile,
};
use crate::store::quarantine::{Entry, Quarantine, name_of};
use crate::store::{RunFolder, Store};
use crate::volume::{Sectors, signals};

const SECTOR: usize = 512;

/// What lies in a run's folder, for whoever finds it.
const README: &str = "This folder is the record of one run of Deblast on one disk. Undo needs it: keep it for as long as the\n\
disk may have to be taken back (deblast undo TARGET --store THE-FOLDER-ABOVE-THIS).\n\n\
journal      what was written, sector by sector, with the bytes before and after\n\
backup/      registry hives as they were before the run, compressed by gzip\n\
quarantine/  the worm's bytes, encoded so that they cannot start; manifest.json tells what each was\n\
report.json  what was found and done\n\n\
It holds copies of registry hives, and so of what they hold: treat it as you treat that machine's disk, and wipe it\n\
when it is no longer needed.\n";

/// Where and how a run is recorded.
pub struct Record<'a> {
    /// The store.
    pub store: &'a Store,
    /// What the run is for.
    pub kind: RunKind,
    /// When it begins.
    pub now: Timestamp,
    /// Whether there is room for backups of the hives.
    pub backups: bool,
    /// Puts the run's folder where it is to stay, before the first write.
    pub publish: Option<Publish<'a>>,
    /// Whether to stop before the next file is written.
    pub stop: fn() -> bool,
}

/// See [`Record`].
pub type Publish<'a> = &'a dyn Fn(&RunFolder) -> Result<()>;

/// How far a failed run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No byte of the disk was written.
    Nothing,
    /// Nothing was written but the store on the patient's own disk.
    Stored,
    /// What was written has been taken back.
    TakenBack,
    /// Some of it stands; the journal names it, and the next run takes it back first.
    Unfinished,
}

/// A run that failed.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: Box<Error>,
    /// How far it got.
    pub reached: Reached,
    /// Its folder, where its journal may be needed.
    pub run: Option<RunFolder>,
}

/// A run whose writes are all on the disk.
#[derive(Debug)]
pub struct Applied {
    /// Its folder and its journal, open still; none where an earlier run's journal names all that was written.
    pub record: Option<(RunFolder, OpenJournal)>,
}

/// One write of contiguous sectors, by its place on the device.
struct DeviceWrite {
    /// Offset on the device, in bytes.
    place: u64,
    /// None where the sectors cannot be read.
    before: Option<Vec<u8>>,
    after: Vec<u8>,
}

impl DeviceWrite {
    /// Sector by sector: its place, what is there before and after.
    fn sectors(&self) -> impl Iterator<Item = (u64, Option<&[u8]>, &[u8])> {
        let before = self.before.as_deref().map(|before| before.chunks(SECTOR));
        let before = before.into_iter().flatten().map(Some).chain(std::iter::repeat(None));
        (self.place..)
            .step_by(SECTOR)
            .zip(before.zip(self.after.chunks(SECTOR)))
            .map(|(place, (before, after))| (place, before, after))
    }
}

/// The writes of one file: groups, each synced before the next.
struct Batch {
    /// The file, for showing.
    path: String,
    groups: Vec<Vec<DeviceWrite>>,
}

/// Bytes that the record of this plan takes on the store: without the backups, and with them (uncompressed, so that
/// it is enough whatever they shrink to).
///
/// # Errors
/// The plan cannot be written down.
pub fn store_needs(plan: &Plan, patient: &Patient, exam: &Exam) -> Result<(u64, u64)> {
    let now = Timestamp::UNIX_EPOCH;
    let run_id = "0000-00000000-000000";
    let mut header = header(plan, patient, run_id, RunKind::Clean, now);
    let inert = || plan.actions.iter().filter(|action| matches!(action.kind, ActionKind::MakeInert));
    for index in 0..=inert().count() + plan.unlinks.len() {
        // Digests and names have the same length whatever they hold.
        let sha256 = crate::digest::Sha256::of(b"");
        header.stored.push(StoredFile { name: format!("quarantine/{}", name_of(index)).into(), sha256 });
    }
    let journal = Journal::length(&header, &plan.intents(run_id))?;
    // The manifest holds an MFT record or directory entries in hex beside a few names; README and report are small.
    let kept = plan.unlinks.iter().filter(|unlink| unlink.keeps_bytes).map(|unlink| unlink.file.digests.size);
    let quarantined = inert().map(|action| action.extents.size).chain(kept);
    let quarantine: u64 = quarantined.map(|size| size + (16 << 10)).sum();
    let without = journal + quarantine + (256 << 10);
    let backups: u64 = backup_sources(plan, exam).map(|(_, _, size)| size + (4 << 10)).sum();
    Ok((without, without + backups))
}

/// Refuses a plan for whose carrying out and verifying the machine has too little memory.
///
/// # Errors
/// There is less, with both figures.
pub fn refuse_lack(plan: &Plan) -> Result<()> {
    let length =
        |content: &Content, length: u64| if matches!(content, Content::Bytes(_)) { length } else { 0 };
    let writes = || plan.actions.iter().flat_map(|action| &action.writes);
    // What is written and what it replaces.
    let written: u64 = writes().map(|write| 2 * write.length).sum();
    // As a journal's text, in hex: the intents, the text, the zeros that make room for it, what is read back.
    let told: u64 = writes()
        .map(|write| 7 * (length(&write.before, write.length) + length(&write.after, write.length)))
        .sum();
    let inert = plan.actions.iter().filter(|action| matches!(action.kind, ActionKind::MakeInert));
    let unlinked = plan.unlinks.iter().filter(|unlink| unlink.keeps_bytes);
    let kept = inert.map(|action| action.extents.size).chain(unlinked.map(|unlink| unlink.file.digests.size));
    // All that goes to the quarantine, and of one file at a time what is encoded, read back and decoded.
    let (kept, largest) =
        kept.fold((0, 0), |(sum, largest): (u64, u64), size| (sum + size, largest.max(size)));
    let read_again = plan.actions.iter().map(|action| match action.kind {
        ActionKind::Discard => 0,
        _ => hive_file::memory_for(action.extents.size),
    });
    let needed =
        (kept + (3 * largest).max(told).max(written) + memory::LEAST).max(read_again.max().unwrap_or(0));
    memory::refuse_lack("carry out the plan", needed)
}

fn header(plan: &Plan, patient: &Patient, run_id: &str, kind: RunKind, now: Timestamp) -> Header {
    let touched = |(_, action): (usize, &Action)| TouchedFile {
        volume: action.volume,
        path: action.path.clone(),
        id: action.id,
        size: action.extents.size,
        before: action.before.unwrap_or_else(|| crate::digest::Sha256::of(b"")),
        runs: action.extents.runs.iter().map(|run| (run.place, run.length)).collect(),
        compressed: action.compressed,
    };
    let changes = plan.journalled().flat_map(|(file, action)| {
        action.changes.iter().map(move |(change, _)| RecordedChange { file, change: change.clone() })
    });
    Header {
        schema: SCHEMA.to_owned(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: run_id.to_owned(),
        kind,
        started: crate::cleanup::in_words(now),
        target: patient.disk.path.clone(),
        serial: patient.disk.serial.clone(),
        volumes: plan.volumes.clone(),
        files: plan.journalled().map(touched).collect(),
        changes: changes.collect(),
        unlinks: unlinked_files(plan),
        name_writes: plan.name_writes.clone(),
        stored: Vec::new(),
        ready_at: 0,
    }
}

/// What a journal says of the names that are removed. Bytes that go with their name are in the quarantine behind those
/// of the files that are written.
fn unlinked_files(plan: &Plan) -> Vec<UnlinkedFile> {
    let first = plan.journalled().count();
    let unlinked = |(index, unlink): (usize, &Unlink)| UnlinkedFile {
        volume: unlink.volume,
        file: unlink.file.clone(),
        paths: unlink.paths.clone(),
        kept: unlink.keeps_bytes.then(|| name_of(first + index)),
    };
    plan.unlinks.iter().enumerate().map(unlinked).collect()
}

/// The hives that the plan edits and their logs: where, under which name, how large.
fn backup_sources<'a>(
    plan: &'a Plan,
    exam: &'a Exam,
) -> impl Iterator<Item = (&'a Opened, crate::volume::FileFacts, u64)> + 'a {
    plan.actions.iter().filter(|action| matches!(action.kind, ActionKind::EditHive { .. })).flat_map(
        |action| {
            let volume = exam.volumes.get(action.exam_volume);
            let opened = volume.and_then(|volume| volume.opened.as_ref());
            let hive = volume
                .into_iter()
                .flat_map(|volume| &volume.installs)
                .flat_map(|install| install.hives.values())
                .find(|hive| hive.facts.id == action.id);
            let files =
                hive.into_iter().flat_map(|hive| [Some(hive.facts.clone()), hive.log.clone()]).flatten();
            files.filter_map(move |facts| opened.map(|opened| (opened, facts.clone(), facts.size)))
        },
    )
}

/// Carries out a confirmed plan. `quarantine` holds what the plan takes from earlier runs.
///
/// # Errors
/// With how far it got. A run that wrote nothing leaves no folder in the store.
pub fn apply(
    confirmed: &ConfirmedPlan,
    patient: &Patient,
    exam: &Exam,
    record: &Record<'_>,
    mut quarantine: Quarantine,
    sink: Sink<'_>,
) -> Result<Applied, Failure> {
    let nothing = |error: Error| Failure { error: Box::new(error), reached: Reached::Nothing, run: None };
    let plan = confirmed.plan();
    if let Some(why) = exam.forbidden().or_else(|| asleep(plan, exam)) {
        return Err(nothing(Error::refused("write the disk", why).device(&patient.disk.path)));
    }
    refuse_lack(plan).map_err(nothing)?;
    prove(plan, exam, sink).map_err(nothing)?;
    let run = match plan.journalled().next().is_some() || !plan.unlinks.is_empty() {
        true => Some(record.store.begin(record.now).map_err(nothing)?),
        false => None,
    };
    let mut published = false;
    let mut staged = || -> Result<_> {
        let mut journal = None;
        if let Some(run) = &run {
            let mut header = header(plan, patient, run.id(), record.kind.clone(), record.now);
            header.stored = prepare(plan, exam, run, record.backups, &mut quarantine)?;
            journal = Some(Journal::create(&run.journal_path(), &header, &plan.intents(run.id()))?);
            if let Some(publish) = record.publish {
                published = true;
                publish(run)?;
                // Nothing of the plan may have moved.
                prove(plan, exam, sink)?;
            }
            sink(Event::StoreReady { folder: run.path().to_owned() });
        }
        Ok((journal, batches(plan, run.as_ref().map_or("", RunFolder::id), &quarantine)?))
    };
    let outcome = match staged() {
        Ok((journal, batches)) => execute(patient, &batches, record.stop, sink).map(|()| journal),
        Err(error) => Err(nothing(error)),
    };
    let outcome = outcome.map_err(|failure| match failure.reached {
        Reached::Nothing if published => Failure { reached: Reached::Stored, ..failure },
        _ => failure,
    });
    match (outcome, run) {
        (Ok(journal), run) => Ok(Applied { record: run.zip(journal) }),
        (Err(failure), Some(run)) if failure.reached == Reached::Nothing => {
            // Best effort: a folder that stays tells, by the disk's bytes, that nothing of it was written.
            let _ = std::fs::remove_dir_all(run.path());
            Err(failure)
        }
        (Err(failure), run) => Err(Failure { run, ..failure }),
    }
}

/// Why nothing is written for the sake of a hibernated Windows; one whose session the plan gives up counts no more.
fn asleep(plan: &Plan, exam: &Exam) -> Option<String> {
    exam.volumes.iter().enumerate().find_map(|(index, volume)| {
        let asleep = volume.asleep.as_ref()?;
        (!plan.discards.contains(&(index, asleep.id))).then(|| asleep.in_words())
    })
}

/// The second pass: every cluster that is written belongs to the planned file alone.
fn prove(plan: &Plan, exam: &Exam, sink: Sink<'_>) -> Result<()> {
    let mut by_volume: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for action in &plan.actions {
        let ranges = action.writes.iter().map(|write| (action.id, write.place..write.place + write.length));
        by_volume.entry(action.exam_volume).or_default().extend(ranges);
    }
    for (volume, ranges) in by_volume {
        let opened =
            exam.volumes.get(volume).and_then(|volume| volume.opened.as_ref()).ok_or_else(|| {
                Error::refused("write the volume", "it was not opened when the plan was made")
            })?;
        opened.files.prove_unshared(&ranges, &mut |done, total| {
            sink(Event::Progress { what: "proving that nothing else is written", done, total });
        })?;
    }
    Ok(())
}

/// Fills the run's folder with everything but the journal.
fn prepare(
    plan: &Plan,
    exam: &Exam,
    run: &RunFolder,
    backups: bool,
    quarantine: &mut Quarantine,
) -> Result<Vec<StoredFile>> {
    run.write_text("README.txt", README)?;
    let (mut stored, mut entries) = (Vec::new(), Vec::new());
    let mut used = HashSet::new();
    for (opened, facts, _) in backup_sources(plan, exam).filter(|_| backups) {
        let mut name = facts.path.parts().collect::<Vec<_>>().join("_");
        name.retain(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if !used.insert(name.clone()) {
            name = format!("{name}-{}", used.len());
            used.insert(name.clone());
        }
        stored.push(run.back_up(&name, &mut |take| opened.files.read_pieces(facts.id, take))?);
    }
    let inert = plan.journalled().filter(|(_, action)| matches!(action.kind, ActionKind::MakeInert));
    let inert = inert.flat_map(|(index, action)| {
        let files = action.changes.iter().filter_map(|(change, _)| match change {
            Change::File(file) => Some(file),
            Change::Value(_) | Change::Hibernation(_) => None,
        });
        files.map(move |file| (name_of(index), action.exam_volume, file))
    });
    let unlinked = plan.unlinks.iter().zip(unlinked_files(plan));
    let unlinked = unlinked.filter_map(|(unlink, file)| Some((file.kept?, unlink.exam_volume, &unlink.file)));
    for (name, exam_volume, file) in inert.chain(unlinked) {
        let opened = exam.volumes.get(exam_volume).and_then(|volume| volume.opened.as_ref());
        let opened =
            opened.ok_or_else(|| Error::refused("quarantine the file", "its volume was not opened"))?;
        let facts = opened.files.facts(file.id)?.ok_or_else(|| {
            Error::refused("quarantine the file", "its MFT record or directory entry is no longer that file")
                .path(&file.path)
        })?;
        let bytes = opened.files.read(file.id, file.digests.size).map_err(|e| e.path(&file.path))?;
        let content = crate::digest::Digests::of(&bytes);
        if file.digests.sha256 != content.sha256 {
            return Err(Error::mismatch(
                "quarantine the file",
                0,
                format!("SHA-256 {}", file.digests.sha256),
                content.sha256.to_string(),
            )
            .path(&file.path)
            .hint("the file has changed since it was inspected; scan again"));
        }
        let record = hex_bytes::encode(&opened.files.record_bytes(file.id)?);
        let (mft_record, directory_entries) = match file.id {
            FileId::Ntfs { .. } => (Some(record), None),
            FileId::Fat { .. } => (None, Some(record)),
        };
        let entry = Entry {
            name,
            paths: facts.paths,
            short_name: facts.short_name,
            id: file.id,
            content,
            times: facts.times,
            attributes: facts.attributes,
            streams: facts.streams,
            mft_record,
            directory_entries,
        };
        stored.push(run.keep(&entry, &bytes)?);
        quarantine.add(run.id(), &entry.name, bytes);
        entries.push(entry);
    }
    if !entries.is_empty() {
        stored.push(run.write_manifest(entries)?);
    }
    Ok(stored)
}

/// The writes of a plan, file by file, by their places on the device.
fn batches(plan: &Plan, run_id: &str, quarantine: &Quarantine) -> Result<Vec<Batch>> {
    let own_index = |action: &Action| plan.journalled().find(|(_, own)| std::ptr::eq(*own, action));
    plan.actions
        .iter()
        .map(|action| {
            let file = own_index(action).map_or(0, |(file, _)| file);
            let start = plan.volumes.get(action.volume).map_or(0, |volume| volume.start);
            let mut groups: BTreeMap<u32, Vec<DeviceWrite>> = BTreeMap::new();
            for write in &action.writes {
                let bytes = |content: &Content| {
                    let side = content.side(run_id, file);
                    side.map(|side| side.bytes(write.length, quarantine)).transpose()
                };
                groups.entry(write.group).or_default().push(DeviceWrite {
                    place: start + write.place,
                    before: bytes(&write.before)?,
                    after: bytes(&write.after)?.unwrap_or_default(),
                });
            }
            Ok(Batch { path: action.path.to_string(), groups: groups.into_values().collect() })
        })
        .collect()
}

/// Opens the patient for writing, alone; compares every sector that will be written with what is expected there; then
/// writes.
fn execute(patient: &Patient, batches: &[Batch], stop: fn() -> bool, sink: Sink<'_>) -> Result<(), Failure> {
    let nothing = |error: Error| Failure { error: Box::new(error), reached: Reached::Nothing, run: None };
    // A signal then ends this as `stop` does: between two files, and with what was written taken back.
    let _held = signals::hold_signals().map_err(nothing)?;
    let mut sectors = patient.device.open_write().map_err(nothing)?;
    compare_first(sectors.as_mut(), batches).map_err(nothing)?;
    signals::note_writing();
    let mut attempted: Vec<Vec<&DeviceWrite>> = Vec::new();
    for batch in batches {
        if stop() || signals::is_stopped() {
            let why = match signals::is_stopped() {
                true => "a signal asked this program to end",
                false => "it was asked to stop",
            };
            let why = Error::refused("write the disk", why).path(&batch.path);
            let reached = match take_back(sectors.as_mut(), &attempted) {
                _ if attempted.is_empty() => Reached::Nothing,
                Ok(()) => Reached::TakenBack,
                Err(_) => Reached::Unfinished,
            };
            return Err(Failure { error: Box::new(why), reached, run: None });
        }
        let mut count = 0;
        for group in &batch.groups {
            attempted.push(Vec::new());
            let written = group
                .iter()
                .try_for_each(|write| {
                    if let Some(last) = attempted.last_mut() {
                        last.push(write);
                    }
                    match &write.before {
                        Some(before) => sectors.overwrite(write.place, before, &write.after),
                        None => sectors.replace_unreadable(write.place, &write.after),
                    }
                })
                .and_then(|()| sectors.sync());
            if let Err(error) = written {
                let reached = match take_back(sectors.as_mut(), &attempted) {
                    Ok(()) => Reached::TakenBack,
                    Err(_) => Reached::Unfinished,
                };
                return Err(Failure { error: Box::new(error.path(&batch.path)), reached, run: None });
            }
            count += group.iter().map(|write| (write.after.len() / SECTOR) as u64).sum::<u64>();
        }
        sink(Event::Written { path: batch.path.clone(), sectors: count });
    }
    Ok(())
}

/// Every sector, as it must be before the first write that touches it: a disk that is not as it was inspected is
/// refused before anything is half done.
fn compare_first(sectors: &mut dyn Sectors, batches: &[Batch]) -> Result<()> {
    let mut seen = HashSet::new();
    for write in batches.iter().flat_map(|batch| &batch.groups).flatten() {
        for (place, before, _) in write.sectors() {
            let first = seen.insert(place);
            let Some(before) = before.filter(|_| first) else { continue };
            let mut now = vec![0; SECTOR];
            sectors.read(place, &mut now)?;
            if now != before {
                return Err(Error::mismatch(
                    "write the disk",
                    place,
                    "the bytes that the plan was made from",
                    "others: something has written to the disk since",
                )
                .hint("nothing was written; run again"));
            }
        }
    }
    Ok(())
}

/// Writes back what was attempted, last group first, sector by sector where it stands. The last write may be the one that
/// failed, in the midst of a sector too.
fn take_back(sectors: &mut dyn Sectors, attempted: &[Vec<&DeviceWrite>]) -> Result<()> {
    let mut may_be_torn = true;
    for group in attempted.iter().rev() {
        for write in group.iter().rev() {
            for (place, before, after) in write.sectors() {
                let stuck = || Error::refused("take back what was written", "a sector holds neither version");
                // What could not be read before has nothing to go back to.
                let before = before.ok_or_else(|| stuck().offset(place))?;
                let mut now = vec![0; SECTOR];
                sectors.read(place, &mut now)?;
                if now == before {
                    continue;
                }
                if now != after && !(may_be_torn && is_torn(&now, before, after)) {
                    return Err(stuck().offset(place));
                }
                sectors.overwrite(place, &now, before)?;
            }
            may_be_torn = false;
        }
        sectors.sync()?;
    }
    Ok(())
}

/// Whether a sector is new up to some byte and old behind it, as a write that ended early leaves it in an image file.
fn is_torn(now: &[u8], before: &[u8], after: &[u8]) -> bool {
    let new = now.iter().zip(after).take_while(|(now, after)| now == after).count();
    now.get(new..) == before.get(new..)
}

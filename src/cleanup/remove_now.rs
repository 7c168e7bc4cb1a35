//! `--remove now`: the names of inert files go once all that was written raw is verified and the journal closed: on
//! NTFS through a mount, on FAT by sectors that the journal names. The one way of a run beside apply.rs that changes a
//! patient, and only its names.
//!
//! A cut leaves the dirty flag set, so that Windows checks the volume at its next start; the flag is cleared only
//! when the volume was unmounted well and everything but these names is as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::{FileChange, FileId};
use crate::cleanup::discover::Patient;
use crate::cleanup::inspect::{Exam, InstallExam, VolumeExam};
use crate::cleanup::plan::Plan;
use crate::cleanup::report::ChangedFile;
use crate::cleanup::session::Session;
use crate::digest::{Digests, Hasher, Sha256};
use crate::error::{Error, Result};
use crate::event::Sink;
use crate::finding::{CheckName, Grade, Outcome};
use crate::path::WinPath;
use crate::store::journal::{NameWrite, OpenJournal};
use crate::volume::mount::{self, Doomed, Mounted};
use crate::volume::signals::{self, HeldSignals};
use crate::volume::{
    FileFacts, FileSystem, FlagSector, ReadAt, Sectors, Window, open_volume, recognise, refuse_in_use,
};

const DOING: &str = "remove the names of inert files";

/// One file that is to lose its names.
#[derive(Clone, Debug)]
pub struct Unlink {
    /// Index into the plan's volumes.
    pub volume: usize,
    /// Index of the volume in the exam that the plan was made from.
    pub exam_volume: usize,
    /// The file, with the digests of its bytes as inspected.
    pub file: FileChange,
    /// Its paths by all long names.
    pub paths: Vec<WinPath>,
    /// Whether that takes a mount.
    pub mounts: bool,
    /// Whether it goes with its bytes, which lie in its MFT record: they are in the quarantine by then. Else it holds
    /// nothing but zeros by then.
    pub keeps_bytes: bool,
    /// The finding that asked for it, by install and finding.
    pub asked: (usize, usize),
}

impl Unlink {
    /// Plans the removal of a file's names; none where no folder leads to it.
    pub(super) fn of(
        facts: &FileFacts,
        file: &FileChange,
        exam_volume: usize,
        asked: (usize, usize),
    ) -> Option<Self> {
        let (file, paths) = (file.clone(), facts.paths.clone());
        // Its place among the plan's volumes is known once the plan keeps it.
        let (volume, keeps_bytes) = (0, false);
        let mounts = matches!(file.id, FileId::Ntfs { .. });
        (!facts.is_orphan).then_some(Self { volume, exam_volume, file, paths, mounts, keeps_bytes, asked })
    }

    /// What it does to the disk, in words.
    pub fn in_words(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
        let names = paths.join(" and ");
        match self.keeps_bytes {
            false if !self.mounts => {
                format!("remove the name {names} sector by sector, once all else is verified")
            }
            false => format!("remove the name {names} through a mount, once all else is verified"),
            true => format!(
                "quarantine {} ({} bytes, in its MFT record) and remove its name {names} through a mount, once all \
                 else is verified",
                self.file.path, self.file.digests.size
            ),
        }
    }

    fn accepts(&self, bytes: &[u8]) -> bool {
        match self.keeps_bytes {
            true => Digests::of(bytes) == self.file.digests,
            false => bytes.iter().all(|&byte| byte == 0),
        }
    }
}

/// Why the names on this volume cannot be removed now; none where they can.
pub(super) fn obstacle(files: &dyn FileSystem) -> Option<String> {
    let dirty = files.is_dirty().then(|| "its dirty flag is set, so Windows must check it first".to_owned());
    let flag = || files.dirty_flag().err().map(|error| error.to_string());
    let tools = || match files.removal(&[]) {
        Some(removal) => removal.err().map(|error| error.to_string()),
        None => mount::obstacle(),
    };
    files.unclean_log().or(dirty).or_else(tools).or_else(flag)
}

/// Works out the sectors that removing the names writes, on volumes where that takes no mount. What cannot go so stays.
pub(super) fn plan_sectors(exam: &mut Exam, plan: &mut Plan) {
    let mut by_volume: BTreeMap<usize, Vec<Unlink>> = BTreeMap::new();
    for unlink in std::mem::take(&mut plan.unlinks) {
        by_volume.entry(unlink.exam_volume).or_default().push(unlink);
    }
    for (exam_volume, mut unlinks) in by_volume {
        let opened = exam.volumes.get(exam_volume).and_then(|volume| volume.opened.as_ref());
        let mut stay = Vec::new();
        if let Some(opened) = opened {
            let files = opened.files.as_ref();
            unlinks.retain(|unlink| match files.removal(&[unlink.file.id]) {
                Some(Err(error)) => {
                    stay.push((unlink.asked, error.to_string()));
                    false
                }
                _ => true,
            });
            let doomed: Vec<FileId> = unlinks.iter().map(|unlink| unlink.file.id).collect();
            match files.removal(&doomed).filter(|_| !doomed.is_empty()) {
                Some(Ok(sectors)) => {
                    let volume = unlinks.first().map_or(0, |unlink| unlink.volume);
                    plan.name_writes.extend(sectors.into_iter().map(|sector| NameWrite {
                        volume,
                        place: sector.place,
                        before: sector.before,
                        after: sector.after,
                    }));
                }
                Some(Err(error)) => {
                    stay.extend(unlinks.drain(..).map(|unlink| (unlink.asked, error.to_string())));
                }
                None => {}
            }
        }
        plan.unlinks.extend(unlinks);
        for (asked, why) in stay {
            plan.names_stay([asked], &why);
            let mut installs = exam.volumes.iter_mut().flat_map(|volume| &mut volume.installs);
            let finding = installs.nth(asked.0).and_then(|install| install.findings.get_mut(asked.1));
            if let Some(finding) = finding.filter(|finding| finding.grade == Grade::Information) {
                // Inert already, and nothing else is done to it.
                (finding.action, finding.outcome) = (None, Outcome::Left);
            }
        }
    }
}

/// What became of all of them.
#[derive(Default)]
pub(super) struct Removed {
    /// What was found afterwards, where anything was done.
    pub(super) exam: Option<Exam>,
    /// Why nothing can be said of the disk any more.
    pub(super) undetermined: Vec<String>,
}

/// Removes the names that the plan has for it. `good`: all that was written raw has been verified, in `after`.
pub(super) fn remove_now(
    session: &mut Session<'_>,
    plan: &Plan,
    after: Option<&Exam>,
    good: bool,
    mut journal: Option<OpenJournal>,
    sink: Sink<'_>,
) -> Removed {
    let mut removed = Removed::default();
    let mut outcomes: Vec<Result<(), String>> =
        vec![Err("what was written before could not be verified".to_owned()); plan.unlinks.len()];
    let mut by_volume: BTreeMap<usize, Vec<(usize, &Unlink)>> = BTreeMap::new();
    for (index, unlink) in plan.unlinks.iter().enumerate() {
        by_volume.entry(unlink.exam_volume).or_default().push((index, unlink));
    }
    for (exam_volume, unlinks) in by_volume {
        let volume = after.filter(|_| good).and_then(|after| after.volumes.get(exam_volume));
        let Some(volume) = volume else { continue };
        let mut told = vec![Err("nothing was done".to_owned()); unlinks.len()];
        let files: Vec<&Unlink> = unlinks.iter().map(|(_, unlink)| *unlink).collect();
        let by_sectors = files.first().is_some_and(|unlink| !unlink.mounts);
        let outcome = match by_sectors {
            true => by_sectors_on(session.patient, volume, plan, &files, &mut told),
            false => on_volume(session.patient, volume, &files, &mut told),
        };
        match outcome {
            Ok(Ended::Clean) => {}
            Ok(Ended::LeftDirty(why)) => {
                session.remark(
                    format!(
                        "the dirty flag of the volume at {:#x} is left set, so that Windows checks it at its next \
                         start: {why}",
                        volume.start
                    ),
                    sink,
                );
            }
            Err(error) => {
                let words = error.to_string();
                told.iter_mut().filter(|told| told.is_err()).for_each(|told| *told = Err(words.clone()));
            }
        }
        for ((index, _), told) in unlinks.iter().zip(told) {
            if let Some(outcome) = outcomes.get_mut(*index) {
                *outcome = told;
            }
        }
    }
    if good && after.is_some() {
        removed.exam = session.look_again(sink);
        match &removed.exam {
            Some(exam) => confirm_gone(exam, plan, &mut outcomes),
            None => removed.undetermined.push("what the mount left could not be read again".to_owned()),
        }
    }
    for (unlink, outcome) in plan.unlinks.iter().zip(&outcomes) {
        note(session, unlink, outcome, sink);
    }
    if let Some(journal) = &mut journal {
        let gone = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok());
        if let Err(error) = journal.note_unlinked(gone.map(|(index, _)| index).collect()) {
            session.remarks.push(format!("the names are removed, but {error}"));
        }
        session.mirror_journal();
    }
    removed
}

/// Says in the finding and among the files that were touched what became of one.
fn note(session: &mut Session<'_>, unlink: &Unlink, outcome: &Result<(), String>, sink: Sink<'_>) {
    let mut installs = session.exam.volumes.iter_mut().flat_map(|volume| &mut volume.installs);
    let finding = installs.nth(unlink.asked.0).and_then(|install| install.findings.get_mut(unlink.asked.1));
    if let Some(finding) = finding {
        finding.facts.name = Some(match outcome {
            Ok(()) if !unlink.mounts => "removed: sector by sector, and not found there any more".to_owned(),
            Ok(()) => "removed: through a mount, and not found there any more".to_owned(),
            Err(why) => format!("stays: {why}"),
        });
        // A file that was made inert keeps the outcome of that.
        if finding.outcome == Outcome::Planned {
            finding.outcome = if outcome.is_ok() { Outcome::Verified } else { Outcome::Left };
        }
    }
    if let Err(why) = outcome {
        session.remark(format!("the name of {} stays: {why}", unlink.file.path), sink);
    }
    session.changes.push(changed_file(session.patient, unlink, Some(outcome)));
}

/// One file for the report; without an outcome, as planned.
pub(super) fn changed_file(
    patient: &Patient,
    unlink: &Unlink,
    outcome: Option<&Result<(), String>>,
) -> ChangedFile {
    let size = usize::try_from(unlink.file.digests.size).unwrap_or(0);
    let before = match unlink.keeps_bytes {
        true => unlink.file.digests.sha256,
        false => Sha256::of(&vec![0; size]),
    };
    ChangedFile {
        target: patient.disk.path.display().to_string(),
        path: unlink.file.path.to_string(),
        sha256_before: Some(before),
        sha256_after: None,
        what: vec![unlink.in_words()],
        outcome: match outcome {
            None => Outcome::Planned,
            Some(Ok(())) => Outcome::Verified,
            Some(Err(_)) => Outcome::Left,
        },
        why: outcome.and_then(|outcome| outcome.clone().err()),
    }
}

/// How the flag was left.
enum Ended {
    Clean,
    LeftDirty(String),
}

/// All of one volume, in one mount. `told`: what became of each; an error is about those that are errors there.
fn on_volume(
    patient: &Patient,
    volume: &VolumeExam,
    unlinks: &[&Unlink],
    told: &mut [Result<(), String>],
) -> Result<Ended> {
    let opened = volume.opened.as_ref().ok_or_else(|| Error::refused(DOING, "its volume was not opened"))?;
    if let Some(why) = obstacle(opened.files.as_ref()) {
        return Err(Error::refused(DOING, why));
    }
    let flag = opened.files.dirty_flag()?;
    let doomed: Vec<FileId> = unlinks.iter().map(|unlink| unlink.file.id).collect();
    let before = census(opened.files.as_ref(), &doomed)?;
    // Held until the flag is turned back: nobody else writes the target meanwhile.
    let mut sectors = patient.device.open_write()?;
    let held = signals::hold_signals()?;
    turn_flag(sectors.as_mut(), volume.start, &flag, true)?;
    patient.device.drop_caches()?;
    let mounted = through_mount(patient, (volume.start, opened.reader.size()), unlinks, told, &held);
    let ended = mounted.and_then(|()| {
        let files = reopen(patient, volume.start, opened.reader.size())?;
        let mut expected = before;
        for (unlink, _) in unlinks.iter().zip(told.iter()).filter(|(_, told)| told.is_ok()) {
            expected.1.remove(&unlink.file.id);
        }
        if census(files.as_ref(), &doomed)? != expected {
            return Err(Error::refused(DOING, "more has changed in the file table than these names")
                .hint("have that Windows check the volume (chkdsk /f)"));
        }
        turn_flag(sectors.as_mut(), volume.start, &files.dirty_flag()?, false)
    });
    Ok(match ended {
        Ok(()) => Ended::Clean,
        Err(error) => {
            let words = error.to_string();
            told.iter_mut().filter(|told| told.is_err()).for_each(|told| *told = Err(words.clone()));
            Ended::LeftDirty(words)
        }
    })
}

/// All of one volume where the plan knows every sector. What fails is written back.
fn by_sectors_on(
    patient: &Patient,
    volume: &VolumeExam,
    plan: &Plan,
    unlinks: &[&Unlink],
    told: &mut [Result<(), String>],
) -> Result<Ended> {
    let opened = volume.opened.as_ref().ok_or_else(|| Error::refused(DOING, "its volume was not opened"))?;
    if let Some(why) = obstacle(opened.files.as_ref()) {
        return Err(Error::refused(DOING, why));
    }
    let index = unlinks.first().map_or(0, |unlink| unlink.volume);
    let writes: Vec<&NameWrite> = plan.name_writes.iter().filter(|write| write.volume == index).collect();
    let doomed: Vec<FileId> = unlinks.iter().map(|unlink| unlink.file.id).collect();
    // Against the disk as it is now: nothing of it may have moved since the plan.
    let again = opened.files.removal(&doomed).transpose()?.unwrap_or_default();
    let same = again.len() == writes.len()
        && again
            .iter()
            .zip(&writes)
            .all(|(a, b)| (a.place, &a.before, &a.after) == (b.place, &b.before, &b.after));
    if !same {
        return Err(Error::refused(DOING, "the folders or FATs have changed since the plan was made"));
    }
    for unlink in unlinks {
        let bytes = opened.files.read(unlink.file.id, unlink.file.digests.size)?;
        if !unlink.accepts(&bytes) {
            return Err(Error::refused(DOING, "it is not inert").path(&unlink.file.path));
        }
    }
    let before = census(opened.files.as_ref(), &doomed)?;
    let mut sectors = patient.device.open_write()?;
    let _held = signals::hold_signals()?;
    if let Err(error) = write_names(sectors.as_mut(), volume.start, &writes) {
        return match write_names_back(sectors.as_mut(), volume.start, &writes) {
            Ok(()) => Err(error),
            Err(_) => Ok(Ended::LeftDirty(error.to_string())),
        };
    }
    let files = reopen(patient, volume.start, opened.reader.size())?;
    let after = census(files.as_ref(), &doomed)?;
    if after.0 != before.0 || !after.1.is_empty() || files.is_dirty() {
        let why = "more has changed in the folders than these names";
        // The flag is the first sector of all: without it Windows would not look.
        let _ = turn_flag(sectors.as_mut(), volume.start, &files.dirty_flag()?, true);
        return Ok(Ended::LeftDirty(why.to_owned()));
    }
    told.iter_mut().for_each(|told| *told = Ok(()));
    Ok(Ended::Clean)
}

/// Writes the sectors in their order, each compared first and synced before the next.
fn write_names(sectors: &mut dyn Sectors, start: u64, writes: &[&NameWrite]) -> Result<()> {
    writes.iter().try_for_each(|write| {
        sectors.overwrite(start + write.place, &write.before, &write.after)?;
        sectors.sync()
    })
}

/// Writes back, in reverse, what of these sectors was written: however far that came.
fn write_names_back(sectors: &mut dyn Sectors, start: u64, writes: &[&NameWrite]) -> Result<()> {
    let done = written_so_far(writes, &mut |place, buf| sectors.read(start + place, buf))?;
    let done = done.ok_or_else(|| Error::refused(DOING, "a sector holds neither version"))?;
    writes.iter().take(done).rev().try_for_each(|write| {
        sectors.overwrite(start + write.place, &write.after, &write.before)?;
        sectors.sync()
    })
}

/// How many of these writes, which follow each other, the volume holds; none where it holds something else.
fn written_so_far(
    writes: &[&NameWrite],
    read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
) -> Result<Option<usize>> {
    let (mut now, mut then) = (BTreeMap::new(), BTreeMap::new());
    for write in writes {
        let mut sector = vec![0; write.after.len()];
        read(write.place, &mut sector)?;
        now.insert(write.place, sector);
        then.entry(write.place).or_insert(&write.before);
    }
    let mut done = None;
    for count in 0..=writes.len() {
        if now.iter().all(|(place, sector)| then.get(place).is_some_and(|then| *then == sector)) {
            done = Some(count);
        }
        if let Some(write) = writes.get(count) {
            then.insert(write.place, &write.after);
        }
    }
    Ok(done)
}

fn through_mount(
    patient: &Patient,
    place: (u64, u64),
    unlinks: &[&Unlink],
    told: &mut [Result<(), String>],
    held: &HeldSignals,
) -> Result<()> {
    let mounted = match Mounted::ntfs(patient.device.path(), place, held) {
        Ok(mounted) => mounted,
        Err(error) => {
            let words = error.to_string();
            told.iter_mut().for_each(|told| *told = Err(words.clone()));
            // Nothing was written through it, so the flag may go again; unless it could not be released.
            return refuse_in_use(patient.device.path());
        }
    };
    for (unlink, told) in unlinks.iter().zip(told.iter_mut()) {
        if signals::is_stopped() {
            *told = Err("a signal asked this program to end".to_owned());
            continue;
        }
        let FileId::Ntfs { record, .. } = unlink.file.id else { continue };
        let doomed = Doomed { record, size: unlink.file.digests.size, paths: &unlink.paths };
        *told = mounted.unlink(&doomed, &|bytes| unlink.accepts(bytes)).map_err(|error| error.to_string());
    }
    mounted.release()
}

/// Turns the dirty flag: the sector of $MFT first, then that of $MFTMirr, each synced. One that fails is turned back as
/// far as the device lets it.
pub(super) fn turn_flag(sectors: &mut dyn Sectors, start: u64, flag: &[FlagSector], set: bool) -> Result<()> {
    const DOING: &str = "turn the dirty flag";
    for (index, sector) in flag.iter().enumerate() {
        let (before, after) = if set { (&sector.clear, &sector.set) } else { (&sector.set, &sector.clear) };
        let place = start + sector.place;
        let written = sectors.overwrite(place, before, after).and_then(|()| sectors.sync());
        if let Err(error) = written {
            for done in flag.iter().take(index + 1).rev() {
                let (before, after) = if set { (&done.clear, &done.set) } else { (&done.set, &done.clear) };
                let _ = sectors.overwrite(start + done.place, after, before).and_then(|()| sectors.sync());
            }
            return Err(error.within(DOING));
        }
    }
    Ok(())
}

/// The volume as it is now, past what anybody remembers.
pub(super) fn reopen(patient: &Patient, start: u64, size: u64) -> Result<Box<dyn FileSystem>> {
    patient.device.drop_caches()?;
    let window: Arc<dyn ReadAt> = Arc::new(Window::new(patient.device.open_read()?, start, size));
    let recognised = recognise(window.as_ref())?;
    open_volume(window, recognised)
}

/// What the file table tells of every file (identity, names, sizes, attributes, streams): of the named ones in words,
/// of all others as one digest.
pub(super) type Census = (Sha256, BTreeMap<FileId, String>);

pub(super) fn census(files: &dyn FileSystem, named: &[FileId]) -> Result<Census> {
    let (mut hasher, mut apart) = (Hasher::default(), BTreeMap::new());
    let scan = files.scan(
        &mut |file| {
            let (id, names, streams) = (file.id, file.names, file.streams);
            let (size, initialised, attributes) = (file.size, file.initialised, file.attributes);
            let told =
                format!("{id}|{names:?}|{size}|{initialised}|{attributes}|{}|{streams:?}\n", file.storage);
            if named.contains(&id) {
                apart.insert(id, told);
            } else {
                hasher.update(told.as_bytes());
            }
            false
        },
        &mut |_, _| {},
    )?;
    hasher.update(format!("{} problems", scan.problem_count).as_bytes());
    Ok((hasher.finish().sha256, apart))
}

/// Looks for each name that was removed in the last exam, made from the device.
fn confirm_gone(exam: &Exam, plan: &Plan, outcomes: &mut [Result<(), String>]) {
    for (unlink, outcome) in plan.unlinks.iter().zip(outcomes) {
        if outcome.is_err() {
            continue;
        }
        let opened = exam.volumes.get(unlink.exam_volume).and_then(|volume| volume.opened.as_ref());
        let gone = || -> Result<bool> {
            let files = &opened.ok_or_else(|| Error::refused(DOING, "its volume cannot be opened"))?.files;
            let mut is_gone = files.facts(unlink.file.id)?.is_none();
            for path in &unlink.paths {
                is_gone &= files.find(path)?.is_none();
            }
            Ok(is_gone)
        };
        *outcome = match gone() {
            Ok(true) => Ok(()),
            Ok(false) => Err("it was removed, and is there still".to_owned()),
            Err(error) => Err(error.to_string()),
        };
    }
}

/// The file of a finding that is inert already, by its bytes: an earlier run left it so.
pub(super) fn inert_already(install: &InstallExam, index: usize) -> Option<(&FileFacts, FileChange)> {
    let finding = install.findings.get(index)?;
    let crate::finding::Subject::File { id, path, digests } = &finding.subject else { return None };
    let file = install.evidence.files.iter().find(|file| file.facts.id == *id)?;
    let is_inert = matches!(finding.check, CheckName::WormFile | CheckName::Companion)
        && finding.grade == Grade::Information
        && file.content.as_ref().is_ok_and(|content| content.all_zero);
    let change = FileChange { path: path.clone(), id: *id, digests: digests.clone() };
    is_inert.then_some((&file.facts, change))
}

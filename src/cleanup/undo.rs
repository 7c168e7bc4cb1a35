//! Taking a run back: a plan built from its journal, through the same confirm, apply and verify as a cure.
//!
//! Where the device holds, byte for byte, a state that the run can have left, its sectors are written back in reverse.
//! A file that has been written by somebody else since is taken back value by value, as a new edit with a journal of
//! its own; what has changed again is left, and named.

use crate::change::{Change, FileChange, FileId, Purpose, ValueChange, ValueData, ValueEdit, VolumeId};
use crate::cleanup::discover::Patient;
use crate::cleanup::inspect::{Exam, HiveExam, MAX_HIVE, Opened};
use crate::cleanup::plan::{Action, ActionKind, Content, Plan, Write, edit_hive_for_undo, without_pairs};
use crate::cleanup::state::{Fit, State};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::hive::Hive;
use crate::store::journal::{Journal, Loaded, RecordedChange, RunKind, Side, TouchedFile};
use crate::store::quarantine::{Quarantine, name_of};
use crate::store::{RunFolder, Store};
use crate::volume::FileFacts;

const SECTOR: u64 = 512;
const OTHER_FILE: &str = "its MFT record is no longer that file";

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
            (Self::Protection, Change::File(_)) => false,
        }
    }
}

/// A run of a store, held against a disk that it belongs to.
pub struct RunOnDisk {
    /// Its folder.
    pub run: RunFolder,
    /// Its journal.
    pub journal: Journal,
    /// For each of its volumes, the volume of the exam.
    volumes: Vec<usize>,
    /// All of its writes together.
    whole: State,
    /// The writes of each of its files.
    files: Vec<Fit>,
    /// The bytes that its journal names.
    quarantine: Quarantine,
}

/// How one change of a run stands on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As the run left it, or half done.
    InForce,
    /// As it was before the run.
    TakenBack,
    /// Neither: in words.
    Changed(String),
}

/// A file that lacks some or all of its bytes.
struct InertFile {
    id: FileId,
    now: Vec<u8>,
    original: Vec<u8>,
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
}

/// The runs of a store, held against a patient.
#[derive(Default)]
pub struct Runs {
    /// Those that belong to it, newest first.
    pub held: Vec<RunOnDisk>,
    /// What there is to know of others, and needs nothing to be done.
    pub notes: Vec<String>,
    /// Why runs that may belong to it cannot be used: where there are any, nobody can say that nothing is left.
    pub unusable: Vec<String>,
}

/// The runs of the store that belong to this patient, and what is wrong with others.
///
/// # Errors
/// The store cannot be read.
pub fn runs_of(store: &Store, exam: &Exam) -> Result<Runs> {
    let mut runs = Runs::default();
    for run in store.runs()? {
        let id = run.id().to_owned();
        match run.load() {
            Ok(Loaded::Ready(journal)) => match RunOnDisk::hold(run, journal, exam) {
                Ok(held) => runs.held.extend(held),
                Err(error) => runs.unusable.push(format!("the run {id} cannot be used: {error}")),
            },
            Ok(Loaded::NeverReady(_)) => {
                runs.notes.push(format!("the run {id} was cut before it wrote anything to a disk"));
            }
            Err(error) => match run_volumes(&run) {
                Some(volumes) if !volumes.iter().any(|volume| is_on(volume, exam)) => {
                    runs.notes.push(format!("the run {id} is damaged, and of another disk: {error}"));
                }
                _ => runs.unusable.push(error.to_string()),
            },
        }
    }
    Ok(runs)
}

/// The volumes of a run whose journal is damaged behind its first record.
fn run_volumes(run: &RunFolder) -> Option<Vec<VolumeId>> {
    run.load_header().map(|header| header.volumes)
}

/// Whether a volume of this identity is among those that were inspected.
fn is_on(wanted: &VolumeId, exam: &Exam) -> bool {
    let same = |id: VolumeId| id.serial == wanted.serial && id.size == wanted.size;
    exam.volumes.iter().filter_map(|volume| volume.id).any(same)
}

impl RunOnDisk {
    /// Holds a run against a disk; none where it belongs to another one.
    fn hold(run: RunFolder, journal: Journal, exam: &Exam) -> Result<Option<Self>> {
        let find = |wanted: &VolumeId| {
            let fits = |volume: &&(usize, VolumeId)| {
                volume.1.serial == wanted.serial && volume.1.size == wanted.size
            };
            let known: Vec<_> = exam
                .volumes
                .iter()
                .enumerate()
                .filter_map(|(index, volume)| Some((index, volume.id?)))
                .collect();
            let same_start = known.iter().filter(fits).find(|(_, id)| id.start == wanted.start);
            same_start.or_else(|| known.iter().find(fits)).map(|(index, _)| *index)
        };
        let Some(volumes) = journal.header.volumes.iter().map(find).collect::<Option<Vec<usize>>>() else {
            return Ok(None);
        };
        let quarantine = quarantine_of(&run, &journal)?;
        let mut held = Self { run, journal, volumes, whole: State::Foreign, files: Vec::new(), quarantine };
        let mut moved = false;
        for file in 0..held.journal.header.files.len() {
            let mut fit = held.fit(exam, |intent_file| intent_file == file)?;
            if !held.is_in_place(exam, file) {
                // What lies at its places is no longer this file's, whatever it is.
                fit.state = State::Foreign;
                moved = true;
            }
            held.files.push(fit);
        }
        // Places of different volumes are told apart by file, so the whole is judged by one volume at a time; a run
        // writes one volume wholly before the next.
        held.whole = match held.journal.header.volumes.len() {
            1 if !moved => held.fit(exam, |_| true)?.state,
            _ => held.combined(),
        };
        let known = held.whole != State::Foreign || held.files.iter().any(|fit| fit.state != State::Foreign);
        let belongs = known || held.identities_fit(exam);
        Ok(belongs.then_some(held))
    }

    fn fit(&self, exam: &Exam, wanted: impl Fn(usize) -> bool) -> Result<Fit> {
        let intents: Vec<_> = self.journal.intents.iter().filter(|intent| wanted(intent.file)).collect();
        let file = intents.first().and_then(|intent| self.journal.header.files.get(intent.file));
        let opened = file.map(|file| self.opened(exam, file)).transpose()?;
        Fit::of(intents, &self.quarantine, &mut |place, buf| match opened {
            Some(opened) => opened.reader.read_at(place, buf),
            None => Ok(()),
        })
    }

    /// Whether a file still lies where the run wrote it: every place of the journal is the same part of the same file.
    fn is_in_place(&self, exam: &Exam, index: usize) -> bool {
        let Some(file) = self.journal.header.files.get(index) else { return false };
        let Ok(now) = self.opened(exam, file).and_then(|opened| opened.ntfs.extents(file.id)) else {
            return false;
        };
        let mut offset = 0;
        let then: Vec<(u64, u64, u64)> = file
            .runs
            .iter()
            .map(|&(place, length)| {
                offset += length;
                (offset - length, place, length)
            })
            .collect();
        let offset_then = |place: u64| {
            let run = then.iter().find(|(_, start, length)| (*start..start + length).contains(&place));
            run.map(|(offset, start, _)| offset + (place - start))
        };
        let intents = self.journal.intents.iter().filter(|intent| intent.file == index);
        let mut sectors =
            intents.flat_map(|intent| (intent.place..intent.place + intent.length).step_by(SECTOR as usize));
        sectors.all(|place| {
            offset_then(place).is_some_and(|offset| now.place(offset, SECTOR).is_ok_and(|now| now == place))
        })
    }

    /// The state of the whole from the states of its files, which are written one after the other.
    fn combined(&self) -> State {
        let states: Vec<State> = self.files.iter().map(|fit| fit.state).collect();
        let done = states.iter().take_while(|state| **state == State::After).count();
        match states.get(done..) {
            Some([]) => State::After,
            Some(rest) if rest.iter().all(|s| *s == State::Before) => {
                if done == 0 {
                    State::Before
                } else {
                    State::Between
                }
            }
            Some([State::Between, rest @ ..]) if rest.iter().all(|s| *s == State::Before) => State::Between,
            _ => State::Foreign,
        }
    }

    fn opened<'a>(&self, exam: &'a Exam, file: &TouchedFile) -> Result<&'a Opened> {
        self.exam_volume(file)
            .and_then(|index| exam.volumes.get(index)?.opened.as_ref())
            .ok_or_else(|| Error::refused("read the volume of the run", "it was not opened"))
    }

    fn exam_volume(&self, file: &TouchedFile) -> Option<usize> {
        self.volumes.get(file.volume).copied()
    }

    /// Whether any file that the run wrote is still there under its identity and name.
    fn identities_fit(&self, exam: &Exam) -> bool {
        self.journal.header.files.iter().any(|file| {
            let facts = self.opened(exam, file).ok().and_then(|opened| opened.ntfs.facts(file.id).ok()?);
            facts.is_some_and(|facts| facts.paths.contains(&file.path))
        })
    }

    /// Whether the disk was left in the midst of this run, or of taking it back.
    pub fn is_unfinished(&self) -> bool {
        self.whole == State::Between || self.files.iter().any(|fit| fit.state == State::Between)
    }

    /// How well the bytes of the disk prove that it was this run that wrote them: wholly, in a hive at least, or not.
    /// A file's zeros prove little, for the runs of two disks write the same.
    pub fn proof(&self) -> u8 {
        let journal = &self.journal;
        let is_hive = |index: usize| {
            let mut changes = journal.header.changes.iter().filter(|recorded| recorded.file == index);
            changes.any(|recorded| matches!(recorded.change, Change::Value(_)))
        };
        let fits = |(index, fit): (usize, &Fit)| fit.state != State::Foreign && is_hive(index);
        match self.whole {
            State::Foreign => u8::from(self.files.iter().enumerate().any(fits)),
            _ => 2,
        }
    }

    /// Whether this run is itself the taking back of another.
    pub fn is_undo(&self) -> bool {
        matches!(self.journal.header.kind, RunKind::Undo { .. })
    }

    /// How each change of one file stands.
    fn standings(&self, exam: &Exam, index: usize) -> Vec<(&Change, Standing)> {
        let of_file = |recorded: &&RecordedChange| recorded.file == index;
        let changes = self.journal.header.changes.iter().filter(of_file).map(|recorded| &recorded.change);
        let (Some(file), Some(fit)) = (self.journal.header.files.get(index), self.files.get(index)) else {
            return Vec::new();
        };
        let hive = HiveNow::read(self, exam, file);
        changes
            .map(|change| {
                let standing = match (fit.state, change) {
                    (State::Before, _) => Standing::TakenBack,
                    (State::After | State::Between, _) => Standing::InForce,
                    (_, Change::File(change)) => match self.inert_file(exam, file, index, change) {
                        Ok(Some(_)) => Standing::InForce,
                        Ok(None) => Standing::TakenBack,
                        Err(error) => Standing::Changed(error.to_string()),
                    },
                    (State::Foreign, Change::Value(change)) => match &hive {
                        Ok(hive) => hive.standing(change),
                        Err(error) => Standing::Changed(error.to_string()),
                    },
                };
                (change, standing)
            })
            .collect()
    }

    /// How every change stands.
    pub fn all_standings(&self, exam: &Exam) -> Vec<(&Change, Standing)> {
        (0..self.journal.header.files.len()).flat_map(|index| self.standings(exam, index)).collect()
    }

    /// What the volume tells of a file that this run wrote; none where its record is another file by now.
    fn same_file(&self, exam: &Exam, file: &TouchedFile) -> Result<Option<FileFacts>> {
        let facts = self.opened(exam, file)?.ntfs.facts(file.id)?;
        Ok(facts.filter(|facts| facts.size == file.size && !facts.is_directory))
    }

    /// The sectors of an inert file that lack their bytes, with all that is needed to give them back; none where it
    /// has all of its bytes.
    ///
    /// Refused where its record is another file by now, or where it holds anything but its bytes and zeros.
    fn inert_file(
        &self,
        exam: &Exam,
        file: &TouchedFile,
        index: usize,
        change: &FileChange,
    ) -> Result<Option<InertFile>> {
        let kept = self.run.path().join("quarantine").join(name_of(index));
        let refuse = |why: &str| {
            Error::refused("give the file its bytes back", why)
                .path(&file.path)
                .hint(format!("its bytes lie encoded in {}", kept.display()))
        };
        let opened = self.opened(exam, file)?;
        let facts = self.same_file(exam, file)?.ok_or_else(|| refuse(OTHER_FILE))?;
        let now = opened.ntfs.read(file.id, file.size)?;
        if Sha256::of(&now) == change.digests.sha256 {
            return Ok(None);
        }
        let original = self.quarantine.bytes(self.run.id(), &name_of(index), 0, file.size)?;
        let sector = SECTOR as usize;
        let fits = now
            .chunks(sector)
            .zip(original.chunks(sector))
            .all(|(now, original)| now == original || now.iter().all(|&byte| byte == 0));
        if !fits {
            return Err(refuse("it is no longer inert: something else was written into it"));
        }
        Ok(Some(InertFile { id: facts.id, now, original }))
    }
}

/// The bytes that a journal names, from its own folder and from those of earlier runs.
fn quarantine_of(run: &RunFolder, journal: &Journal) -> Result<Quarantine> {
    let mut quarantine = Quarantine::default();
    // Also what is not read below must be what the journal says: a store that was changed in one place is not trusted.
    run.check_stored(journal)?;
    let sides = journal.intents.iter().flat_map(|intent| [&intent.before, &intent.after]);
    let mut wanted: Vec<(&str, &str)> = sides
        .filter_map(|side| match side {
            Side::Quarantined { run, name, .. } => Some((run.as_str(), name.as_str())),
            Side::Bytes(_) | Side::Zeros => None,
        })
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    for (id, name) in wanted {
        let folder = run.sibling(id)?;
        let stored = if id == run.id() {
            journal.header.stored.clone()
        } else {
            match folder.load()? {
                Loaded::Ready(journal) => journal.header.stored,
                Loaded::NeverReady(_) => Vec::new(),
            }
        };
        let path = std::path::Path::new("quarantine").join(name);
        let stored = stored.iter().find(|stored| stored.name == path).ok_or_else(|| {
            Error::refused("read the quarantine", "the journal does not name the file").path(name)
        })?;
        quarantine.add(id, name, folder.kept(stored)?);
    }
    Ok(quarantine)
}

/// A hive of the patient as it is now.
struct HiveNow<'a> {
    exam: Option<&'a HiveExam>,
    hive: Hive,
}

impl<'a> HiveNow<'a> {
    fn read(run: &RunOnDisk, exam: &'a Exam, file: &TouchedFile) -> Result<Self> {
        let opened = run.opened(exam, file)?;
        let facts = opened.ntfs.find(&file.path)?.ok_or_else(|| {
            Error::refused("read the hive", "there is no such file any more").path(&file.path)
        })?;
        let hive = Hive::parse(opened.ntfs.read(facts.id, MAX_HIVE)?).map_err(|e| e.path(&file.path))?;
        if let Some(dirty) = hive.dirty() {
            return Err(Error::refused("take the value back", format!("the hive is dirty ({dirty})"))
                .path(&file.path)
                .hint("start that Windows once and shut it down properly, then undo again"));
        }
        let exam = run.exam_volume(file).and_then(|index| exam.volumes.get(index)).and_then(|volume| {
            volume.installs.iter().flat_map(|i| i.hives.values()).find(|h| h.facts.id == facts.id)
        });
        Ok(Self { exam, hive })
    }

    fn value(&self, change: &ValueChange) -> Result<Option<ValueData>> {
        let Some(key) = self.hive.key(&change.key)? else { return Ok(None) };
        key.value(&change.name)?.map(|value| value.data()).transpose()
    }

    fn standing(&self, change: &ValueChange) -> Standing {
        let now = match self.value(change) {
            Ok(now) => now,
            Err(error) => return Standing::Changed(error.to_string()),
        };
        if now == change.before {
            return Standing::TakenBack;
        }
        if now.as_ref() == change.after() {
            return Standing::InForce;
        }
        if !change.pairs.is_empty() {
            // A list that others write too: only our pairs count, and Windows takes them out as it carries them out.
            return match now.as_ref().map(|now| without_pairs(change, now)) {
                Some(Ok((_, true))) => Standing::InForce,
                Some(Ok((_, false))) | None => Standing::TakenBack,
                Some(Err(why)) => Standing::Changed(why),
            };
        }
        let now = now.map_or_else(|| "gone".to_owned(), |value| value.to_string());
        Standing::Changed(format!("{} is {now} now, which this run did not write", change.place()))
    }

    /// The change that takes one change back, from what the value is now.
    fn reverse(&self, change: &ValueChange) -> Result<ValueChange, String> {
        let now = self.value(change).map_err(|error| error.to_string())?;
        let to = match &now {
            Some(now) if !change.pairs.is_empty() => without_pairs(change, now)?.0,
            _ => change.before.clone(),
        };
        let edit = match to {
            Some(to) => ValueEdit::Set { to },
            None => ValueEdit::Delete,
        };
        Ok(ValueChange { before: now, edit, pairs: Vec::new(), ..change.clone() })
    }
}

/// Plans taking back what `only` names of a run, the last written file first. `now` is a FILETIME.
///
/// # Errors
/// A volume of the run cannot be read any more.
pub fn plan_undo(held: RunOnDisk, patient: &Patient, exam: &Exam, only: Only, now: u64) -> Result<Undo> {
    let mut undo = Undo {
        run_id: held.run.id().to_owned(),
        plan: Plan::default(),
        left: Vec::new(),
        already: Vec::new(),
        quarantine: Quarantine::default(),
    };
    if let (Some(then), Some(now)) = (&held.journal.header.serial, &patient.disk.serial)
        && then != now
    {
        undo.plan.notes.push(format!(
            "the run was made on a disk that told the serial number {then}, this one tells {now}; \
             its bytes are those of the run, so it is a copy or another dock"
        ));
    }
    for index in (0..held.journal.header.files.len()).rev() {
        plan_file(&held, exam, only, index, now, &mut undo)?;
    }
    undo.quarantine = held.quarantine;
    Ok(undo)
}

fn plan_file(
    held: &RunOnDisk,
    exam: &Exam,
    only: Only,
    index: usize,
    now: u64,
    undo: &mut Undo,
) -> Result<()> {
    let (Some(file), Some(fit)) = (held.journal.header.files.get(index), held.files.get(index)) else {
        return Ok(());
    };
    let opened = held.opened(exam, file)?;
    let exam_volume = held.exam_volume(file).unwrap_or_default();
    let volume = opened.ntfs.id(exam.volumes.get(exam_volume).map_or(0, |volume| volume.start));
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
    let blank = |plan: &mut Plan, kind, id, extents, before| Action {
        volume: plan.volume(volume),
        exam_volume,
        path: file.path.clone(),
        id,
        extents,
        before,
        changes: Vec::new(),
        kind,
        writes: Vec::new(),
    };
    let doomed = in_force.iter().any(|change| match change {
        Change::File(file) => still_to_be_deleted(held, file, undo).is_some(),
        Change::Value(_) => false,
    });
    if only == Only::All
        && !doomed
        && let Some(groups) = fit.write_back()
    {
        let before = opened.ntfs.read(file.id, MAX_HIVE.max(file.size)).ok().map(|bytes| Sha256::of(&bytes));
        let extents = opened.ntfs.extents(file.id)?;
        let mut action = blank(&mut undo.plan, ActionKind::WriteBack, file.id, extents, before);
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
        undo.plan.actions.push(action);
        return Ok(());
    }
    let mut values = Vec::new();
    for change in in_force {
        match change {
            Change::Value(value) => values.push(value),
            Change::File(change) => {
                if let Some(why) = still_to_be_deleted(held, &change, undo) {
                    undo.left.push((Change::File(change), why));
                    continue;
                }
                let Some(inert) = held.inert_file(exam, file, index, &change)? else { continue };
                let extents = opened.ntfs.extents(inert.id)?;
                let before = Some(Sha256::of(&inert.now));
                let mut action = blank(&mut undo.plan, ActionKind::Restore, inert.id, extents, before);
                action.writes = restore(held, index, opened, &action, &inert)?;
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

/// Why a file's bytes must not come back: the entry that has Windows delete it is one that had to be left. Files come
/// after SYSTEM in the order of taking back, so what is left of it is known.
fn still_to_be_deleted(held: &RunOnDisk, file: &FileChange, undo: &Undo) -> Option<String> {
    let names_it = |pair: &String| pair.ends_with(&file.path.to_string());
    let left = undo.left.iter().any(|(change, _)| match change {
        Change::Value(value) => value.pairs.iter().any(names_it),
        Change::File(_) => false,
    });
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
    match edit_hive_for_undo(hive_exam, reversed, place, now, &mut undo.plan) {
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

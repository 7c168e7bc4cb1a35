//! The runs of a store held against a disk: which belong to it, in which state it is of each, and how each change stands.
//!
//! All of it is told from the disk's bytes and values, never from a mark in the store.

use crate::change::{
    Change, FileChange, FileId, HibernationChange, ValueChange, ValueData, ValueEdit, VolumeId,
};
use crate::cleanup::compressed;
use crate::cleanup::hibernation;
use crate::cleanup::hive_file;
use crate::cleanup::inspect::{Exam, HiveExam, Opened};
use crate::cleanup::names::without_pairs;
use crate::cleanup::state::{Fit, State};
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::hive::Hive;
use crate::store::journal::{Journal, Loaded, RecordedChange, RunKind, Side, TouchedFile, UnlinkedFile};
use crate::store::quarantine::{Quarantine, name_of};
use crate::store::{RunFolder, Store};
use crate::volume::{FileFacts, Storage};

const SECTOR: u64 = 512;
const UNLINKED: &str = "the run has removed its name, and nothing brings that back";
const OTHER_FILE: &str = "its MFT record or directory entry is no longer that file";

/// A run of a store, held against a disk that it belongs to.
pub struct RunOnDisk {
    /// Its folder.
    pub run: RunFolder,
    /// Its journal.
    pub journal: Journal,
    /// For each of its volumes, the volume of the exam; none where the target does not have it.
    volumes: Vec<Option<usize>>,
    /// All of its writes together, as far as the target has their volumes.
    whole: State,
    /// The writes of each of its files; none where the target does not have the volume.
    pub(super) files: Vec<Option<Fit>>,
    /// The bytes that its journal names.
    pub(super) quarantine: Quarantine,
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

/// A file that lacks some or all of its bytes; of a compressed one, what can be read of it, and no original.
pub(super) struct InertFile {
    pub(super) id: FileId,
    pub(super) now: Vec<u8>,
    pub(super) original: Vec<u8>,
}

/// The runs of a store, held against a patient.
#[derive(Default)]
pub struct Runs {
    /// Those that belong to it, newest first.
    pub held: Vec<RunOnDisk>,
    /// What there is to know of others, and needs nothing to be done.
    pub notes: Vec<String>,
    /// Why runs that may belong to it cannot be used: where there are any, nobody can say that nothing is left.
    pub unusable: Vec<Unusable>,
}

/// A run that cannot be used.
pub struct Unusable {
    /// RUN-ID.
    pub id: String,
    /// Why.
    pub why: String,
}

/// The runs of the store that belong to this patient, and what is wrong with others.
///
/// # Errors
/// The store cannot be read.
pub fn runs_of(store: &Store, exam: &Exam) -> Result<Runs> {
    let mut runs = Runs::default();
    for run in store.runs()? {
        let id = run.id().to_owned();
        let mut unusable = |why: String| runs.unusable.push(Unusable { id: id.clone(), why });
        match run.load() {
            Ok(Loaded::Ready(journal)) => match RunOnDisk::hold(run, journal, exam) {
                Ok(held) => runs.held.extend(held),
                Err(error) => unusable(format!("the run {id} cannot be used: {error}")),
            },
            // A run that ended has a report, and had a journal.
            Ok(Loaded::NeverReady(_)) if run.has_report() => {
                unusable(format!(
                    "the run {id} has a report, but its journal is gone or torn: the store is damaged"
                ));
            }
            Ok(Loaded::NeverReady(_)) => {
                runs.notes.push(format!("the run {id} was cut before it wrote anything to a disk"));
            }
            Err(error) => match run_volumes(&run) {
                Some(volumes) if !volumes.iter().any(|volume| is_on(volume, exam)) => {
                    runs.notes.push(format!("the run {id} is damaged, and of another disk: {error}"));
                }
                _ => unusable(error.to_string()),
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
pub(super) fn is_on(wanted: &VolumeId, exam: &Exam) -> bool {
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
        let volumes: Vec<Option<usize>> = journal.header.volumes.iter().map(find).collect();
        if volumes.iter().all(Option::is_none) {
            return Ok(None);
        }
        let quarantine = quarantine_of(&run, &journal)?;
        let mut held = Self { run, journal, volumes, whole: State::Foreign, files: Vec::new(), quarantine };
        for index in 0..held.journal.header.files.len() {
            let mut fit = held.fit(exam, index)?;
            if let Some(fit) = fit.as_mut().filter(|_| !held.is_in_place(exam, index)) {
                // What lies at its places is no longer this file's, whatever it is.
                fit.state = State::Foreign;
                fit.unreadable = 0;
            }
            held.files.push(fit);
        }
        held.whole = held.combined();
        let known = held.files.iter().flatten().any(|fit| fit.state != State::Foreign);
        let belongs = known || held.identities_fit(exam) || held.removed_a_name(exam);
        if !belongs {
            // A disk that is gone meanwhile fits no run either.
            let volumes = held.volumes.iter().flatten().filter_map(|index| exam.volumes.get(*index));
            for opened in volumes.filter_map(|volume| volume.opened.as_ref()) {
                opened.reader.read_at(0, &mut vec![0; SECTOR as usize])?;
            }
        }
        Ok(belongs.then_some(held))
    }

    /// The writes of one file, held against its volume; none where the target does not have that.
    fn fit(&self, exam: &Exam, index: usize) -> Result<Option<Fit>> {
        let Some(file) = self.journal.header.files.get(index) else { return Ok(None) };
        if self.exam_volume(file).is_none() {
            return Ok(None);
        }
        let opened = self.opened(exam, file)?;
        let intents = self.journal.intents.iter().filter(|intent| intent.file == index);
        Fit::of(intents, &self.quarantine, &mut |place, buf| opened.reader.read_at(place, buf)).map(Some)
    }

    /// Whether a file still lies where the run wrote it: every place of the journal is the same part of the same file.
    /// The journal's own numbers were checked when it was read.
    pub(super) fn is_in_place(&self, exam: &Exam, index: usize) -> bool {
        let Some(file) = self.journal.header.files.get(index) else { return false };
        let Ok(now) = self.opened(exam, file).and_then(|opened| opened.files.allocation(file.id)) else {
            return false;
        };
        let is_compressed =
            self.opened(exam, file).and_then(|opened| compressed::is_compressed(opened, file.id));
        if !is_compressed.is_ok_and(|is_compressed| is_compressed == file.compressed) {
            return false;
        }
        if matches!(file.id, FileId::Fat { .. }) && !matches!(self.same_file(exam, file), Ok(Some(_))) {
            return false;
        }
        let intents = self.journal.intents.iter().filter(|intent| intent.file == index);
        let mut sectors = intents.flat_map(|intent| intent.sectors());
        sectors.all(|place| {
            file.offset_of(place)
                .is_some_and(|offset| now.place(offset, SECTOR).is_ok_and(|now| now == place))
        })
    }

    /// The state of the whole from the states of its files, which are written one after the other.
    fn combined(&self) -> State {
        let states: Vec<State> = self.files.iter().flatten().map(|fit| fit.state).collect();
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

    pub(super) fn opened<'a>(&self, exam: &'a Exam, file: &TouchedFile) -> Result<&'a Opened> {
        self.exam_volume(file)
            .and_then(|index| exam.volumes.get(index)?.opened.as_ref())
            .ok_or_else(|| Error::refused("read the volume of the run", "it was not opened"))
    }

    pub(super) fn exam_volume(&self, file: &TouchedFile) -> Option<usize> {
        self.volumes.get(file.volume).copied().flatten()
    }

    /// Whether a file of which the run removed the names is gone from a volume of this target. Nothing else is left to
    /// tell a run by that did no more.
    fn removed_a_name(&self, exam: &Exam) -> bool {
        self.journal.header.files.is_empty() && self.unlinks_gone(exam).next().is_some()
    }

    fn unlinks_gone<'a>(&'a self, exam: &'a Exam) -> impl Iterator<Item = &'a UnlinkedFile> {
        self.journal.header.unlinks.iter().filter(|unlink| {
            let volume = self.volumes.get(unlink.volume).copied().flatten();
            let opened = volume.and_then(|index| exam.volumes.get(index)?.opened.as_ref());
            opened.is_some_and(|opened| matches!(opened.files.facts(unlink.file.id), Ok(None)))
        })
    }

    /// Whether any file that the run wrote is still there under its identity and name.
    fn identities_fit(&self, exam: &Exam) -> bool {
        self.journal.header.files.iter().any(|file| {
            let facts = self.opened(exam, file).ok().and_then(|opened| opened.files.facts(file.id).ok()?);
            facts.is_some_and(|facts| facts.paths.contains(&file.path))
        })
    }

    /// Whether the disk was left in the midst of this run, or of taking it back. A sector that cannot be read counts only
    /// while the end of the run is not recorded: later it is a disk that is failing, and no reason to bring a worm back.
    pub fn is_unfinished(&self) -> bool {
        let fits = || self.files.iter().flatten();
        let torn = self.journal.closed.is_none()
            && fits().any(|fit| fit.unreadable > 0 && fit.state != State::Foreign);
        torn || self.whole == State::Between || fits().any(|fit| fit.state == State::Between)
    }

    /// Whether all places of the run together are in a state that it can have left.
    pub fn fits_as_a_whole(&self) -> bool {
        self.whole != State::Foreign
    }

    /// Whether so much of what it wrote cannot be read that nobody can say what is left of it.
    pub fn is_illegible(&self) -> bool {
        self.files.iter().flatten().any(|fit| fit.unreadable > 0 && fit.state == State::Foreign)
    }

    /// Whether the bytes of the disk prove that it was this run that wrote them: a hive holds its sectors, whose times no
    /// other run writes. A file's zeros prove nothing, and neither does a hive that is as before the run.
    pub fn is_proven(&self) -> bool {
        let is_hive = |index: usize| {
            let mut changes = self.journal.header.changes.iter().filter(|recorded| recorded.file == index);
            changes.any(|recorded| matches!(recorded.change, Change::Value(_)))
        };
        self.files.iter().enumerate().any(|(index, fit)| {
            let written = |fit: &Fit| matches!(fit.state, State::After | State::Between);
            fit.as_ref().is_some_and(written) && is_hive(index)
        })
    }

    /// Whether this run and another wrote a file of the same place and name: runs of disks that were imaged from one
    /// master do.
    pub fn shares_a_file(&self, other: &Self) -> bool {
        let key = |run: &Self, file: &TouchedFile| (run.exam_volume(file), file.path.clone());
        self.journal.header.files.iter().any(|file| {
            self.exam_volume(file).is_some()
                && other.journal.header.files.iter().any(|theirs| key(other, theirs) == key(self, file))
        })
    }

    /// Whether this run has made the same change as another one: the same value of the same hive, or the same file.
    pub fn has_the_same(&self, other: &Self, change: &Change) -> bool {
        let mut own = self.journal.header.changes.iter().map(|recorded| &recorded.change);
        self.shares_a_file(other)
            && own.any(|own| match (own, change) {
                (Change::Value(own), Change::Value(value)) => {
                    (&own.hive, &own.key, own.name.to_lowercase())
                        == (&value.hive, &value.key, value.name.to_lowercase())
                }
                (Change::File(own), Change::File(file)) => own.id == file.id,
                _ => false,
            })
    }

    /// Whether this run is itself the taking back of another.
    pub fn is_undo(&self) -> bool {
        matches!(self.journal.header.kind, RunKind::Undo { .. })
    }

    /// How each change of one file stands.
    pub(super) fn standings(&self, exam: &Exam, index: usize) -> Vec<(&Change, Standing)> {
        let of_file = |recorded: &&RecordedChange| recorded.file == index;
        let changes = self.journal.header.changes.iter().filter(of_file).map(|recorded| &recorded.change);
        let Some(file) = self.journal.header.files.get(index) else { return Vec::new() };
        let Some(Some(fit)) = self.files.get(index) else {
            let missing =
                || Standing::Changed("the target does not have the volume that holds it".to_owned());
            return changes.map(|change| (change, missing())).collect();
        };
        let is_hive = || {
            self.journal.header.changes.iter().any(|of| of_file(&of) && matches!(of.change, Change::Value(_)))
        };
        let hive = if fit.state == State::Foreign && is_hive() {
            HiveNow::read(self, exam, file)
        } else {
            Err(Error::refused("read the hive", "it is none"))
        };
        changes
            .map(|change| {
                let standing = match (fit.state, change) {
                    (State::Before, _) if fit.unreadable == 0 => Standing::TakenBack,
                    (_, Change::Hibernation(change)) => self.given_up(exam, fit.state, change),
                    (State::Before, _) => Standing::InForce,
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

    /// The files that this run removed from their folders with their bytes, which were never written over, and that are
    /// gone; each with where its bytes lie.
    pub(super) fn gone_with_bytes<'a>(&'a self, exam: &'a Exam) -> Vec<(&'a FileChange, String)> {
        let words = |name: &String| {
            let kept = self.run.path().join("quarantine").join(name);
            format!("{UNLINKED}; its bytes lie encoded in {}", kept.display())
        };
        self.unlinks_gone(exam)
            .filter_map(|unlink| Some((&unlink.file, words(unlink.kept.as_ref()?))))
            .collect()
    }

    /// How a hibernated session that was given up stands. It may wake again only where no Windows has run since: it would
    /// write what it has in memory over what that one has written.
    fn given_up(&self, exam: &Exam, state: State, change: &HibernationChange) -> Standing {
        let is_ours = state != State::Foreign && self.fits_as_a_whole();
        if is_ours && hibernation::witness(exam).is_some_and(|now| now == change.witness) {
            return Standing::InForce;
        }
        Standing::Changed(
            "a Windows has run on this disk since, or it cannot be told that none has: a session that wakes with a memory \
             of how the disk was would write it over what is there now; it stays given up, and its sector lies in the journal"
                .to_owned(),
        )
    }

    /// The volume of the exam and identity of each hibernation file whose session this run gives up.
    pub(super) fn discards(&self) -> Vec<(usize, FileId)> {
        let of = |recorded: &RecordedChange| match &recorded.change {
            Change::Hibernation(change) => {
                let file = self.journal.header.files.get(recorded.file)?;
                Some((self.exam_volume(file)?, change.id))
            }
            Change::Value(_) | Change::File(_) => None,
        };
        self.journal.header.changes.iter().filter_map(of).collect()
    }

    /// How every change stands.
    pub fn all_standings(&self, exam: &Exam) -> Vec<(&Change, Standing)> {
        (0..self.journal.header.files.len()).flat_map(|index| self.standings(exam, index)).collect()
    }

    /// What the volume tells of a file that this run wrote; none where its record or entry is another file by now.
    fn same_file(&self, exam: &Exam, file: &TouchedFile) -> Result<Option<FileFacts>> {
        let files = &self.opened(exam, file)?.files;
        let facts = files.facts(file.id)?.filter(|facts| facts.size == file.size && !facts.is_directory);
        Ok(facts.filter(|facts| match file.id {
            FileId::Ntfs { .. } => true,
            // No sequence number: a new file may have the same entry and first cluster, hence the path and the chain.
            FileId::Fat { .. } => {
                let runs = files.extents(file.id).map(|extents| {
                    extents.runs.iter().map(|run| (run.place, run.length)).collect::<Vec<_>>()
                });
                facts.paths.contains(&file.path) && runs.is_ok_and(|runs| runs == file.runs)
            }
        }))
    }

    /// The sectors of an inert file that lack their bytes, with all that is needed to give them back; none where it
    /// has all of its bytes.
    ///
    /// Refused where its record is another file by now, or where it holds anything but its bytes and zeros.
    pub(super) fn inert_file(
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
        let unlinked = self.journal.header.unlinks.iter().any(|unlink| unlink.file.id == change.id);
        let gone = if unlinked { UNLINKED } else { OTHER_FILE };
        let facts = self.same_file(exam, file)?.ok_or_else(|| refuse(gone))?;
        if facts.storage == Storage::Compressed {
            if !file.compressed || !self.is_in_place(exam, index) {
                return Err(refuse("Windows has compressed it, or moved its clusters, since the run"));
            }
            return compressed::inert(self, opened, index, change).map_err(|error| error.path(&file.path));
        }
        let now = opened.files.read(file.id, file.size)?;
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
pub(super) struct HiveNow<'a> {
    pub(super) exam: Option<&'a HiveExam>,
    pub(super) hive: Hive,
}

impl<'a> HiveNow<'a> {
    pub(super) fn read(run: &RunOnDisk, exam: &'a Exam, file: &TouchedFile) -> Result<Self> {
        let opened = run.opened(exam, file)?;
        let facts = opened.files.find(&file.path)?.ok_or_else(|| {
            Error::refused("read the hive", "there is no such file any more").path(&file.path)
        })?;
        let hive = hive_file::read(opened.files.as_ref(), &facts)?.hive;
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
    pub(super) fn reverse(&self, change: &ValueChange) -> Result<ValueChange, String> {
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

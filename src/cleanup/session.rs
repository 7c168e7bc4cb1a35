//! One run on one patient, as far as it has come: what both a cure and a taking back need around their own steps.

use std::borrow::Cow;
use std::sync::Arc;

use crate::checks::{self, Check};
use crate::cleanup::apply::{Failure, Reached, refuse_lack, store_needs};
use crate::cleanup::discover::Patient;
use crate::cleanup::disk_store::DiskStore;
use crate::cleanup::inspect::{Exam, inspect};
use crate::cleanup::plan::Plan;
use crate::cleanup::report::{ChangedFile, TargetReport};
use crate::cleanup::report_text::{done_to_the_disk, human_need, human_size};
use crate::cleanup::verify::Verified;
use crate::cleanup::{KeptRun, Settings, Treated, advice};
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::finding::Outcome;
use crate::store::journal::OpenJournal;
use crate::store::{RunFolder, Store, place};

/// See the module.
pub(super) struct Session<'a> {
    pub(super) patient: &'a Patient,
    pub(super) settings: &'a Settings,
    pub(super) checks: Vec<Box<dyn Check + 'a>>,
    /// What was found before anything was done.
    pub(super) exam: Exam,
    /// What is to be said of this patient in the report.
    pub(super) remarks: Vec<String>,
    /// The files that were written.
    pub(super) changes: Vec<ChangedFile>,
    /// The folders of runs that were made: where one was taken back first, its own too.
    pub(super) runs: Vec<RunFolder>,
    /// Where this run is recorded, and earlier ones were.
    pub(super) store: Store,
    /// Where that is a copy of what lies on the patient's own disk.
    pub(super) disk_store: Option<Arc<DiskStore>>,
    /// The exit code where the verdict does not give it.
    pub(super) exit_code: Option<u8>,
}

/// What the store has room for.
pub(super) struct Room {
    /// Backups of the hives too.
    pub(super) backups: bool,
    /// What the technician should know.
    pub(super) words: Vec<String>,
}

/// How a run was recorded.
pub(super) struct Recorded {
    /// Whether all that it wrote was verified.
    pub(super) good: bool,
    /// Its journal, closed over all that was written raw.
    pub(super) journal: Option<OpenJournal>,
}

impl<'a> Session<'a> {
    /// Inspects the patient.
    pub(super) fn begin(patient: &'a Patient, settings: &'a Settings, sink: Sink<'_>) -> Result<Self> {
        let checks = checks::all(&settings.signatures);
        let exam = inspect(patient, &checks, sink)?;
        let disk_store = match settings.store.is_on_patient() {
            true => Some(Arc::new(DiskStore::fetch(&exam)?)),
            false => None,
        };
        let store = disk_store.as_ref().map_or_else(|| settings.store.clone(), |disk| disk.store());
        let mut remarks = Vec::new();
        let any_size = settings.signatures.any_size();
        if any_size > 0 && !settings.signatures.deep() {
            let lines =
                if any_size == 1 { "line of the hash sets gives" } else { "lines of the hash sets give" };
            remarks.push(format!("{any_size} {lines} no size, which is looked for under --deep alone"));
        }
        Ok(Self {
            patient,
            settings,
            checks,
            exam,
            remarks,
            changes: Vec::new(),
            runs: Vec::new(),
            store,
            disk_store,
            exit_code: None,
        })
    }

    /// What became of the patient. `after`: the exam made when all was written. `undetermined`: why nothing can be said.
    pub(super) fn end(self, after: Option<&Exam>, undetermined: &[String]) -> Treated {
        let mut target = TargetReport::of(self.patient, &self.exam, after, undetermined);
        target.remarks.extend(self.remarks);
        target.run_id = self.runs.last().map(|run| run.id().to_owned());
        let wrote =
            self.changes.iter().any(|change| change.outcome != Outcome::Planned) || !self.runs.is_empty();
        let next_steps = advice::next_steps(&target, self.settings, wrote);
        let mut changes = self.changes;
        if let Some(disk) = &self.disk_store {
            let findings = target.installs.iter_mut().flat_map(|install| &mut install.findings);
            let whys = findings.map(|finding| &mut finding.why).chain(&mut target.remarks);
            let whys = whys.chain(changes.iter_mut().flat_map(|change| &mut change.why));
            whys.for_each(|words| *words = disk.in_words(words));
        }
        let runs = self.runs.into_iter().map(|run| KeptRun {
            run,
            on_disk: self.disk_store.clone().map(|disk| (disk, self.patient.disk.path.clone())),
        });
        Treated { target, changes, runs: runs.collect(), exit_code: self.exit_code, next_steps }
    }

    /// Says something at once and in the report.
    pub(super) fn remark(&mut self, words: String, sink: Sink<'_>) {
        sink(Event::Note { text: words.clone() });
        self.remarks.push(words);
    }

    /// Reads everything again from the device. None, with the reason in the remarks, where that fails: what was written
    /// is then on the disk, and nobody can say more.
    pub(super) fn look_again(&mut self, sink: Sink<'_>) -> Option<Exam> {
        let again =
            self.patient.device.drop_caches().and_then(|()| inspect(self.patient, &self.checks, sink));
        again
            .map_err(|error| {
                self.remarks.push(format!("the disk was written and could not be read again: {error}"));
            })
            .ok()
    }

    /// Records how the run ended and which files it wrote.
    pub(super) fn record(
        &mut self,
        plan: &Plan,
        results: &[Verified],
        record: Option<(RunFolder, OpenJournal)>,
        sink: Sink<'_>,
    ) -> Recorded {
        let good = results.len() == plan.actions.len() && results.iter().all(|result| result.wrong.is_none());
        sink(Event::Verified { good });
        self.changes.extend(changed_files(self.patient, plan, results));
        let mut open = None;
        if let Some((folder, mut journal)) = record {
            if let Err(error) = journal.close(if good { "verified" } else { "not verified" }) {
                self.remarks.push(format!("the disk is written, but {error}"));
            }
            self.runs.push(folder);
            self.mirror_journal();
            open = Some(journal);
        }
        Recorded { good, journal: open }
    }

    /// Has what was added to the journal reach the patient's own disk, where that is the store.
    pub(super) fn mirror_journal(&mut self) {
        let (Some(disk), Some(run)) = (&self.disk_store, self.runs.last()) else { return };
        if let Err(error) = disk.mirror(self.patient, run, "journal") {
            self.remarks.push(format!("the disk is written, but {error}"));
        }
    }

    /// Notes that a run failed; its folder stays with the report where something of it may stand.
    pub(super) fn note_failure(&mut self, failure: Failure) -> String {
        let words = failure_words(&failure);
        self.remarks.push(words.clone());
        self.runs.extend(failure.run);
        words
    }

    /// The same for taking a run back. A store on the patient's own disk is only read then.
    pub(super) fn room_to_take_back(&self, plan: &Plan) -> Result<Room> {
        match self.disk_store {
            Some(_) => Err(Error::refused(
                "take the run back",
                "others have written since, so it takes a journal of its own, and the store on the disk is only read",
            )
            .hint("nothing was written")),
            None => self.room(plan),
        }
    }

    fn room_on_disk(&self, disk: &DiskStore, plan: &Plan) -> Result<Room> {
        // What every run has: four folders; journal, README, report and manifest. And what lies in them.
        let files = 8 + 2 * (plan.actions.len() + plan.unlinks.len()) as u64;
        let (least, with_backups) = store_needs(plan, self.patient, &self.exam)?;
        let (takes, free, backups) = match disk.room(&self.exam, with_backups, files) {
            Ok(free) => (with_backups, free, true),
            Err(_) => (least, disk.room(&self.exam, least, files)?, false),
        };
        let (way, warning) = disk.ways();
        let mut words = vec![format!(
            "the record goes to {} on this disk itself, {way} before anything else, and takes at most {}; {} are free there",
            disk.folder(),
            human_need(takes),
            human_size(free)
        )];
        words.extend(warning.map(str::to_owned));
        if !backups {
            words.push(
                "there is no room for backups of the hives; undo rests on the journal alone".to_owned(),
            );
        }
        Ok(Room { backups, words })
    }

    /// Whether the store is fit for the record of this plan, and the machine's memory for all of it.
    pub(super) fn room(&self, plan: &Plan) -> Result<Room> {
        refuse_lack(plan)?;
        if let Some(disk) = &self.disk_store {
            return self.room_on_disk(disk, plan);
        }
        let root = self.settings.store.root();
        let mut targets = Cow::from(&self.settings.targets);
        if !targets.contains(&self.patient.disk.path) {
            targets.to_mut().push(self.patient.disk.path.clone());
        }
        let fit = place::judge(root, &targets, self.settings.store_named)?;
        let (least, with_backups) = store_needs(plan, self.patient, &self.exam)?;
        if fit.room < least {
            let why = format!(
                "the record of this run takes {}, and {} are free there",
                human_need(least),
                human_size(fit.room)
            );
            return Err(Error::refused("use the store", why)
                .device(root)
                .hint("make room there, or give another place with --store"));
        }
        let backups = fit.room >= with_backups;
        let takes = if backups { with_backups } else { least };
        let mut words = vec![format!(
            "the record goes to {} and takes at most {}; {} are free there",
            root.display(),
            human_need(takes),
            human_size(fit.room)
        )];
        words.extend(fit.warning);
        if !backups {
            words.push(
                "there is no room for backups of the hives; undo rests on the journal alone".to_owned(),
            );
        }
        Ok(Room { backups, words })
    }
}

/// Why a run failed and how far it got.
pub(super) fn failure_words(failure: &Failure) -> String {
    let reached = match failure.reached {
        Reached::Nothing => "no byte was written",
        Reached::Stored => "nothing but the store's own folder was written",
        Reached::TakenBack => "what was written has been taken back",
        Reached::Unfinished => {
            "part of it is written; run again with the same store, and it is taken back first"
        }
    };
    format!("{}; {reached}", failure.error)
}

/// The files of a plan for the report; without results, as planned.
pub(super) fn changed_files(patient: &Patient, plan: &Plan, results: &[Verified]) -> Vec<ChangedFile> {
    let target = patient.disk.path.display().to_string();
    plan.actions
        .iter()
        .enumerate()
        .map(|(index, action)| {
            let result = results.get(index);
            let wrong = result.and_then(|result| result.wrong.clone());
            ChangedFile {
                target: target.clone(),
                path: action.path.to_string(),
                sha256_before: action.before,
                sha256_after: result.and_then(|result| result.after),
                what: done_to_the_disk(action),
                outcome: match (result, &wrong) {
                    (None, _) => Outcome::Planned,
                    (Some(_), None) => Outcome::Verified,
                    (Some(_), Some(_)) => Outcome::Failed,
                },
                why: wrong.or_else(|| result.and_then(|result| result.note.clone())),
            }
        })
        .collect()
}

//! What a guided run does to disks, one job at a time, and where its reports go. Asks and shows nothing itself.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::cleanup::discover::{Patient, targets};
use crate::cleanup::landmarks::Landmarks;
use crate::cleanup::report::{Machine, Report};
use crate::cleanup::report_files::{About, ReportFiles};
use crate::cleanup::shown::{Proposal, name_of};
use crate::cleanup::undo::Only;
use crate::cleanup::{
    Decide, KeptRun, ListedRun, Question, Settings, Treated, Which, clean, keep_report, look, run, undo,
};
use crate::cli::configuration::Wishes;
use crate::cli::{GuidedTask, Options, Task, store_at};
use crate::error::Result;
use crate::event::{Event, Sink};
use crate::finding::Outcome;
use crate::policy::{Hibernation, Policy};
use crate::volume::mount::{hold_signals, is_stopped};

/// Whether the run under way is asked to stop before the next file.
static STOP: AtomicBool = AtomicBool::new(false);

/// Has the run under way stop before the next file is written, or no more.
pub(super) fn ask_to_stop(stop: bool) {
    STOP.store(stop, Ordering::SeqCst);
}

/// What every report of practice says.
const PRACTICE: &str =
    "this was practice: the disk is a file that was made for it, and nothing real was touched";

/// Answers a proposal: true is yes.
pub(super) type Answer<'a> = &'a mut dyn FnMut(&Proposal) -> bool;

/// One way to treat a patient.
type Treat<'a> = dyn FnMut(&Patient, &Settings, Decide<'_>, Sink<'_>) -> Result<Treated> + 'a;

/// The whole of a guided run.
pub(super) struct Work {
    options: Options,
    settings: Settings,
    /// On the practice disk.
    is_practice: bool,
    /// Where the live image's writable medium is mounted.
    medium: Option<PathBuf>,
}

/// What became of a job, and where that is written down.
pub(super) struct Done {
    /// What was found and done.
    pub(super) report: Report,
    /// The files that the report went into.
    pub(super) files: Vec<PathBuf>,
    /// Where the record of the run is, if there is one.
    pub(super) records: Vec<String>,
    /// What could not be written down.
    pub(super) troubles: Vec<String>,
    /// A plan was shown and answered with no, so that no byte was written.
    pub(super) declined: bool,
}

/// How a plan was answered.
#[derive(Default)]
struct Answered {
    yes: bool,
    no: bool,
    /// What was said yes to in spite of a warning.
    warning: Option<&'static str>,
}

impl Work {
    /// Reads the signatures, and tries whether reports can be written where they are to go.
    ///
    /// # Errors
    /// A signature file or the folder for reports cannot be used.
    pub(super) fn new(options: &Options, task: &GuidedTask) -> Result<Self> {
        if let Some(folder) = &options.places.reports {
            ReportFiles::create(folder, Timestamp::now(), &About::default())?.discard();
        }
        let options = options.job(Task::Scan);
        let mut settings = options.settings(Vec::new())?;
        settings.stop = || STOP.load(Ordering::SeqCst) || is_stopped();
        Ok(Self { options, settings, is_practice: task.practice, medium: task.medium.clone() })
    }

    /// The disks to look at: those that were named, else every attached one that this machine does not use.
    ///
    /// # Errors
    /// The list of block devices cannot be read.
    pub(super) fn find(&mut self) -> Result<Vec<PathBuf>> {
        self.settings.targets = targets(&self.options.targets)?;
        Ok(self.settings.targets.clone())
    }

    /// What is decided about a clean.
    pub(super) fn policy(&self) -> &Policy {
        &self.settings.policy
    }

    /// Decides it.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.settings.policy = policy.clone();
        self.options.policy = policy;
    }

    /// Where records go, in words.
    pub(super) fn store(&self) -> String {
        match self.settings.store.is_on_patient() {
            true => "the disk itself, in its folder Deblast".to_owned(),
            false => self.settings.store.root().display().to_string(),
        }
    }

    /// Has records go elsewhere.
    pub(super) fn set_store(&mut self, place: PathBuf) {
        self.settings.store = store_at(place);
        self.settings.store_named = true;
        self.options.store = self.settings.store.clone();
        self.options.store_named = true;
    }

    /// Inspects and judges a disk, and tells which runs of the store belong to it. Reads only.
    ///
    /// # Errors
    /// The files for the report cannot be made.
    pub(super) fn look(&mut self, target: &Path, sink: Sink<'_>) -> Result<(Done, Vec<ListedRun>)> {
        let mut runs = Vec::new();
        let done =
            self.job(Task::Scan, target, &mut |_| false, sink, &mut |patient, settings, _, sink| {
                let (treated, listed) = look(patient, settings, sink)?;
                runs = listed;
                Ok(treated)
            })?;
        Ok((done, runs))
    }

    /// The whole path of a cure; a run that was cut is taken back first.
    ///
    /// # Errors
    /// The files for the report cannot be made.
    pub(super) fn clean(&mut self, target: &Path, answer: Answer<'_>, sink: Sink<'_>) -> Result<Done> {
        self.job(Task::Clean, target, answer, sink, &mut clean)
    }

    /// Takes a run back, or a part of it.
    ///
    /// # Errors
    /// The files for the report cannot be made.
    pub(super) fn undo(
        &mut self,
        target: &Path,
        (id, only): (&str, Only),
        answer: Answer<'_>,
        sink: Sink<'_>,
    ) -> Result<Done> {
        let which = Which::Run(id.to_owned());
        let task = Task::Undo { which: which.clone(), only };
        self.job(task, target, answer, sink, &mut |patient, settings, decide, sink| {
            patient.device.refuse_read_only()?;
            undo(patient, settings, (&which, only), decide, sink)
        })
    }

    /// Writes a report into a folder that was named for it.
    ///
    /// # Errors
    /// It cannot be written there.
    pub(super) fn save(report: &Report, folder: &Path) -> Result<Vec<PathBuf>> {
        let targets: Vec<PathBuf> = report.targets.iter().map(|target| PathBuf::from(&target.path)).collect();
        let about = About::of(&report.machine, &targets);
        let mut files = ReportFiles::create(folder, Timestamp::now(), &about)?;
        files.write(report)?;
        Ok(files.paths().map(Path::to_owned).collect())
    }

    /// Writes a `deblast.toml` that repeats a clean as it is decided now; in words what became of it.
    ///
    /// # Errors
    /// It cannot be written there.
    pub(super) fn save_batch(&self, folder: &Path) -> Result<Vec<String>> {
        let typed = self.options.as_batch(self.medium.as_deref())?;
        let (path, kept) = Wishes::batch(&typed)?.save(folder)?;
        let mut words = vec![path.display().to_string()];
        words.extend(kept.map(|kept| format!("the one that was there is now {}", kept.display())));
        words.push(format!(
            "it runs `deblast {}` on every disk, asks nothing, and switches off",
            typed.join(" ")
        ));
        if self.options.policy.hibernation == Hibernation::Discard {
            words.push(
                "the giving up of hibernated sessions is left out: it is decided disk by disk".to_owned(),
            );
        }
        Ok(words)
    }

    /// Does one thing to one disk: with its questions put as proposals, its landmarks told, and its report kept.
    fn job(
        &mut self,
        task: Task,
        target: &Path,
        answer: Answer<'_>,
        sink: Sink<'_>,
        treat: &mut Treat<'_>,
    ) -> Result<Done> {
        let machine = Machine::of_firmware();
        let about = About::of(&machine, &[target.to_owned()]);
        let folder = self.options.places.reports.as_deref();
        let make = || folder.map(|folder| ReportFiles::create(folder, Timestamp::now(), &about)).transpose();
        let mut files = None;
        // What is being written is taken back before a signal is obeyed.
        let mut held = None;
        let mut obstacle = None;
        let landmarks = RefCell::new(Landmarks::open(self.options.places.landmarks.as_deref())?);
        let mut sink = |event: Event| {
            landmarks.borrow_mut().note(target, &event);
            sink(event);
        };
        let is_undo = matches!(task, Task::Undo { .. });
        self.settings.options = self.options.job(task).for_report();
        let (settings, is_practice) = (&self.settings, self.is_practice);
        let mut answered = Answered::default();
        let (report, runs) = run(target, settings, &machine, &mut |patient| {
            let disk = name_of(patient);
            let mut decide = |question: &Question<'_>| {
                let proposal = Proposal::of(&disk, question);
                landmarks.borrow_mut().asking(target);
                let mut yes = answer(&proposal);
                // Made before a disk is touched; a look, and a plan that is declined, leave none behind half made.
                if yes && held.is_none() {
                    let ready = make().and_then(|made| Ok((made, hold_signals()?)));
                    match ready {
                        Ok((made, hold)) => (files, held) = (made, Some(hold)),
                        Err(error) => (yes, obstacle) = (false, Some(error)),
                    }
                }
                answered.yes |= yes;
                answered.no |= !yes;
                answered.warning = proposal.warning.filter(|_| yes);
                yes
            };
            let mut treated = treat(patient, settings, &mut decide, &mut sink)?;
            treated.target.remarks.extend(answered.warning.filter(|_| is_undo).map(str::to_owned));
            treated.target.remarks.extend(is_practice.then(|| PRACTICE.to_owned()));
            Ok(treated)
        })?;
        landmarks.borrow_mut().verdicts(&report);
        if let Some(error) = obstacle {
            return Err(error);
        }
        let wrote = answered.yes
            || !runs.is_empty()
            || report.changes.iter().any(|change| change.outcome != Outcome::Planned);
        let declined = answered.no && !wrote;
        if files.is_none() && !declined {
            files = make()?;
        }
        Ok(keep(report, &runs, files, declined))
    }
}

/// Writes a report wherever it goes, the copy that lasts longest first. One that only tells of a declined plan goes nowhere.
fn keep(report: Report, runs: &[KeptRun], files: Option<ReportFiles>, declined: bool) -> Done {
    let mut done = Done {
        report,
        files: Vec::new(),
        records: runs.iter().map(KeptRun::place).collect(),
        troubles: Vec::new(),
        declined,
    };
    done.troubles.extend(keep_report(&done.report, runs).err().map(|error| error.to_string()));
    if let Some(mut files) = files {
        done.troubles.extend(files.write(&done.report).err().map(|error| error.to_string()));
        done.files = files.paths().map(Path::to_owned).collect();
    }
    done
}

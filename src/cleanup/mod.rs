//! The path of a run: discover, inspect, plan, confirm, apply, verify, report; and taking a run back, which is a plan
//! like any other. One file a step; this one strings them together for every front end. Knows no worm by name.

mod advice;
pub mod apply;
pub mod bench;
mod clean;
mod compressed;
pub mod crew;
pub mod discover;
pub mod disk_store;
pub mod held;
pub mod hibernation;
pub mod hive_file;
pub mod inspect;
mod installers;
pub mod landmarks;
pub mod ledger;
mod names;
pub mod pace;
pub mod plan;
pub mod remove_now;
pub mod report;
pub mod report_files;
pub mod report_html;
pub mod report_merge;
pub mod report_text;
mod session;
pub mod shown;
pub mod state;
mod sweep;
mod take_back;
pub mod undo;
pub mod verdict;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::change::{Change, Purpose};
use crate::error::{Error, Result};
use crate::event::Sink;
use crate::policy::Policy;
use crate::store::{RunFolder, Store};
use crate::threat::Signatures;
use crate::volume::signals;
pub use clean::clean;
use discover::Patient;
use disk_store::DiskStore;
use plan::Plan;
use report::{ChangedFile, Machine, Parts, Report, TargetReport};
use session::Session;
pub use take_back::{ListedRun, list_runs, look, undo};
use undo::Undo;

/// 100 ns steps between 1601, where FILETIME begins, and 1970.
const FILETIME_OF_1970: i128 = 116_444_736_000_000_000;

/// What every run needs to know.
#[derive(Clone)]
pub struct Settings {
    /// What worms look like: read once, for as many disks as there are.
    pub signatures: Arc<Signatures>,
    /// What the technician decided.
    pub policy: Policy,
    /// All targets of this run: a store on any of them is none.
    pub targets: Vec<PathBuf>,
    /// Where records go and come from.
    pub store: Store,
    /// Whether the technician named that place.
    pub store_named: bool,
    /// Stop after the plan.
    pub dry_run: bool,
    /// What was asked, for the report.
    pub options: serde_json::Value,
    /// The clock: a test's may stand still.
    pub clock: fn() -> Timestamp,
    /// Whether to stop before the next file is written; what was written is taken back then.
    pub stop: fn() -> bool,
}

/// What the technician is asked to say yes to.
pub enum Question<'a> {
    /// A cure.
    Clean(&'a Plan),
    /// Taking a run back.
    Undo(&'a Undo),
    /// Taking back a run that was cut, before anything else.
    TakeBackFirst(&'a Undo),
}

impl Question<'_> {
    /// What must be said whoever answers, be it `--yes`: that an undo brings back what the run removed. None where it
    /// does not, as with the protection alone.
    pub fn warning(&self) -> Option<&'static str> {
        let brings_back = |change: &Change| match change {
            Change::File(_) => true,
            Change::Value(value) => value.purpose == Purpose::Disinfection,
            Change::Hibernation(_) => false,
        };
        match self {
            Self::Undo(undo) if undo.plan.changes().any(brings_back) => Some(
                "this brings back what the run removed: do not start that Windows with a network connected",
            ),
            Self::Clean(plan) if !plan.discards.is_empty() => {
                Some("this gives up the session of a hibernated Windows: what was not saved in it is lost")
            }
            Self::Clean(_) | Self::Undo(_) | Self::TakeBackFirst(_) => None,
        }
    }
}

/// Answers a question: true is yes.
pub type Decide<'a> = &'a mut dyn FnMut(&Question<'_>) -> bool;

/// Which run is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest of which the disk still holds a change.
    Last,
    /// The one with this id.
    Run(String),
}

/// The folder of a run that was made.
pub struct KeptRun {
    run: RunFolder,
    /// Where it is a copy of what lies on the patient's own disk: that, and the patient's path.
    on_disk: Option<(Arc<DiskStore>, PathBuf)>,
}

impl KeptRun {
    /// Where it is, in words.
    pub fn place(&self) -> String {
        match &self.on_disk {
            None => self.run.path().display().to_string(),
            Some((disk, _)) => disk.in_words(&self.run.path().display().to_string()),
        }
    }
}

/// What became of one patient.
pub struct Treated {
    /// For the report.
    pub target: TargetReport,
    /// The files that were written.
    pub changes: Vec<ChangedFile>,
    /// The folders of runs that were made.
    pub runs: Vec<KeptRun>,
    /// The exit code where the verdict does not give it.
    pub exit_code: Option<u8>,
    /// What to do next.
    pub next_steps: Vec<String>,
}

/// RFC 3339, to the second.
pub(crate) fn in_words(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn filetime(now: Timestamp) -> u64 {
    u64::try_from(now.as_nanosecond() / 100 + FILETIME_OF_1970).unwrap_or(0)
}

/// Does `treat` to one target and makes the report. What fails is told in it.
///
/// # Errors
/// The report cannot be written as JSON.
pub fn run(
    target: &Path,
    settings: &Settings,
    machine: &Machine,
    treat: &mut dyn FnMut(&Patient) -> Result<Treated>,
) -> Result<(Report, Vec<KeptRun>)> {
    let started = in_words((settings.clock)());
    let treated = if signals::is_stopped() {
        Err(Error::refused("look at the target", "a signal asked this program to end"))
    } else {
        Patient::open(target).and_then(|patient| treat(&patient))
    };
    told(target, settings, machine, started, treated)
}

/// The report on a target, of which this became, since then.
fn told(
    target: &Path,
    settings: &Settings,
    machine: &Machine,
    started: String,
    treated: Result<Treated>,
) -> Result<(Report, Vec<KeptRun>)> {
    let treated = treated.unwrap_or_else(|error| Treated {
        target: TargetReport::unread(target, &error),
        changes: Vec::new(),
        runs: Vec::new(),
        exit_code: None,
        next_steps: Vec::new(),
    });
    let report = Report::new(Parts {
        times: (started, in_words((settings.clock)())),
        machine: machine.clone(),
        options: settings.options.clone(),
        targets: vec![treated.target],
        changes: treated.changes,
        exit_code: treated.exit_code,
        next_steps: treated.next_steps,
    })?;
    Ok((report, treated.runs))
}

/// Puts the report beside the journals of the runs that it tells of: beside all of them, whichever fails.
///
/// # Errors
/// The store cannot be written any more; the first failure.
pub fn keep_report(report: &Report, runs: &[KeptRun]) -> Result<()> {
    let json = report.to_json()?;
    let keep = |kept: &KeptRun| match &kept.on_disk {
        None => kept.run.write_report(&json),
        Some((disk, path)) => disk.keep_report(&Patient::open(path)?, &kept.run, &json),
    };
    runs.iter().map(keep).fold(Ok(()), Result::and)
}

/// Inspects and judges; reads only.
///
/// # Errors
/// The patient cannot be read at all.
pub fn scan(patient: &Patient, settings: &Settings, sink: Sink<'_>) -> Result<Treated> {
    Ok(Session::begin(patient, settings, sink)?.end(None, &[]))
}

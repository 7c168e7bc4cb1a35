//! What is written down of a run while it goes on: the reports as files, a log of events, and the landmarks of the live image.
//! Several threads write into it at once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::cleanup::in_words;
use crate::cleanup::landmarks::Landmarks;
use crate::cleanup::report::{Machine, Report};
use crate::cleanup::report_files::{About, ReportFiles};
use crate::disk;
use crate::error::{Context as _, Error, Result};
use crate::event::Event;
use crate::printable::to_json;

/// An event with the target that it is about: what `--progress json` and the log tell.
#[derive(Serialize)]
pub struct Told<'a> {
    /// When, by the clock of the machine; the log alone tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Device node or image file.
    pub target: &'a Path,
    /// What happened.
    #[serde(flatten)]
    pub event: &'a Event,
}

impl<'a> Told<'a> {
    /// An event of a target.
    pub fn of(target: &'a Path, event: &'a Event) -> Self {
        Self { time: None, target, event }
    }
}

/// Where it goes.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The folder for reports.
    pub reports: Option<PathBuf>,
    /// The file for the log, a JSON object a line. It grows at its end.
    pub log: Option<PathBuf>,
    /// The file for landmarks.
    pub landmarks: Option<PathBuf>,
}

/// Where reports go.
enum Filing {
    /// Nowhere.
    Nowhere,
    /// The run has one target: its report is that of the run.
    One(Mutex<Option<ReportFiles>>),
    /// Each target has one, beside that of the run.
    Each(Mutex<Option<ReportFiles>>),
    /// Each target has one, and there is no end of them.
    Stream(PathBuf, Option<String>),
}

/// See the module.
pub struct Ledger {
    filing: Filing,
    /// Files of targets that are worked on.
    open: Mutex<BTreeMap<PathBuf, ReportFiles>>,
    log: Option<(Mutex<File>, PathBuf)>,
    landmarks: Mutex<Landmarks>,
    clock: fn() -> Timestamp,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Of a run on these targets. All that can be opened is, before a disk is touched.
    ///
    /// # Errors
    /// A file cannot be made or opened.
    pub fn of_run(
        places: &Places,
        machine: &Machine,
        targets: &[PathBuf],
        clock: fn() -> Timestamp,
    ) -> Result<Self> {
        let filing = match &places.reports {
            None => Filing::Nowhere,
            Some(folder) => {
                let files = ReportFiles::create(folder, clock(), &About::of(machine, targets))?;
                let files = Mutex::new(Some(files));
                if targets.len() == 1 { Filing::One(files) } else { Filing::Each(files) }
            }
        };
        Self::open(places, filing, clock)
    }

    /// Of disks that come and go.
    ///
    /// # Errors
    /// The folder for reports or a file cannot be made or opened.
    pub fn of_bench(places: &Places, machine: &Machine, clock: fn() -> Timestamp) -> Result<Self> {
        let filing = match &places.reports {
            None => Filing::Nowhere,
            Some(folder) => {
                ReportFiles::create(folder, clock(), &About::default())?.discard();
                Filing::Stream(folder.clone(), machine.identity().map(str::to_owned))
            }
        };
        Self::open(places, filing, clock)
    }

    fn open(places: &Places, filing: Filing, clock: fn() -> Timestamp) -> Result<Self> {
        let log = |path: &PathBuf| -> Result<(Mutex<File>, PathBuf)> {
            let file = OpenOptions::new().append(true).create(true).open(path);
            Ok((Mutex::new(file.doing("open the log").map_err(|e| e.device(path))?), path.clone()))
        };
        Ok(Self {
            filing,
            open: Mutex::default(),
            log: places.log.as_ref().map(log).transpose()?,
            landmarks: Mutex::new(Landmarks::open(places.landmarks.as_deref())?),
            clock,
        })
    }

    /// Makes the files for the report on a target, before it is touched.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn begin(&self, target: &Path) -> Result<()> {
        // Those of an earlier try at it are free again.
        self.forget(target);
        if let Some(files) = self.files(target)? {
            locked(&self.open).insert(target.to_owned(), files);
        }
        Ok(())
    }

    fn files(&self, target: &Path) -> Result<Option<ReportFiles>> {
        let disk = disk::identity(target);
        match &self.filing {
            Filing::Nowhere | Filing::One(_) => Ok(None),
            Filing::Each(run) => locked(run).as_ref().map(|run| run.create_for(&disk)).transpose(),
            Filing::Stream(folder, machine) => {
                let about = About { machine: machine.clone(), disk: Some(disk) };
                ReportFiles::create(folder, (self.clock)(), &about).map(Some)
            }
        }
    }

    /// Notes an event of a target. How far something has come is not for the log.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note(&self, target: &Path, event: &Event) -> Result<()> {
        locked(&self.landmarks).note(target, event);
        match event {
            Event::Progress { .. } => Ok(()),
            event => self.log(target, event),
        }
    }

    /// Notes that a plan is shown and a yes awaited.
    pub fn asking(&self, target: &Path) {
        locked(&self.landmarks).asking(target);
    }

    fn log(&self, target: &Path, event: &Event) -> Result<()> {
        let Some((file, path)) = &self.log else { return Ok(()) };
        let told = Told { time: Some(in_words((self.clock)())), target, event };
        let mut line = to_json(&told).map_err(|e| Error::library("write the log", e))?;
        line.push('\n');
        // A whole line in one piece: others may write into the same file.
        locked(file).write_all(line.as_bytes()).doing("write the log").map_err(|e| e.device(path))
    }

    /// Takes the report on one target that is over, and tells that in the log. Whatever can be written is.
    ///
    /// # Errors
    /// The first that failed.
    pub fn over(&self, target: &Path, report: &Report) -> Result<Event> {
        locked(&self.landmarks).verdicts(report);
        let made = match locked(&self.open).remove(target) {
            Some(files) => Ok(Some(files)),
            None => self.files(target),
        };
        let mut reports = Vec::new();
        let written = made.and_then(|files| {
            let Some(mut files) = files else { return Ok(()) };
            reports.extend(files.paths().map(Path::to_owned));
            files.write(report)
        });
        let told = report.targets.first();
        let event = Event::Over {
            verdict: report.verdict.to_string(),
            exit_code: report.exit_code,
            model: told.and_then(|target| target.disk.model.clone()),
            serial: told.and_then(|target| target.disk.serial.clone()),
            computer_name: report.machine.computer_name.clone(),
            reports,
        };
        let logged = self.log(target, &event);
        written.and(logged).map(|()| event)
    }

    /// Notes that a target is gone before it was over.
    pub fn pulled(&self, target: &Path) {
        locked(&self.landmarks).pulled(target);
        let text = "the disk was pulled before it was over".to_owned();
        // Whoever works on it meets the same trouble and tells it.
        let _ = self.log(target, &Event::Note { text });
    }

    /// Takes the files for the report on a target away again: it is begun anew later.
    pub fn forget(&self, target: &Path) {
        if let Some(files) = locked(&self.open).remove(target) {
            files.discard();
        }
    }

    /// Takes the report of the whole run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn close(&self, report: &Report) -> Result<()> {
        let (Filing::One(run) | Filing::Each(run)) = &self.filing else { return Ok(()) };
        locked(run).take().map_or(Ok(()), |mut files| files.write(report))
    }
}

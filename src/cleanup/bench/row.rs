//! The board and its rows: each a socket, the disk in it, and how far that is.

use std::path::PathBuf;
use std::time::Duration;

use crate::cleanup::pace::Progress;
use crate::cleanup::report::Report;
use crate::cleanup::report_text::headline;
use crate::cleanup::verdict::Verdict;
use crate::disk::Plugged;
use crate::event::Event;

/// How far a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Others come first.
    Waits,
    /// It is read.
    Looks,
    /// It is written: it must not be pulled.
    Writes,
    /// What was written is read again.
    Verifies,
    /// It may be pulled.
    Over,
    /// Nothing is done to it.
    LeftAlone,
}

impl Step {
    /// In a word or two.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waits => "waits",
            Self::Looks => "looking",
            Self::Writes => "WRITING",
            Self::Verifies => "verifying",
            Self::Over => "done",
            Self::LeftAlone => "left alone",
        }
    }
}

/// What came of a disk, to be read from across a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Clean, or cleaned and verified, the hole closed: exit code 0.
    Pass,
    /// A person must look: something was left, or could not be told.
    Look,
    /// A cure was tried and not verified, or the disk was pulled too early.
    Fail,
}

impl Mark {
    /// In four letters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Look => "LOOK",
            Self::Fail => "FAIL",
        }
    }
}

/// All rows, as front ends show them.
#[derive(Clone, Copy, Debug)]
pub struct Board<'a> {
    /// One a socket, in the order in which the sockets were first used.
    pub rows: &'a [Row],
    /// Why no further disk is begun.
    pub closed: Option<&'a str>,
    /// The clock of the rows.
    pub now: Duration,
}

impl Board<'_> {
    /// Disks that are worked on now.
    pub fn at_work(&self) -> usize {
        self.rows.iter().filter(|row| row.runs).count()
    }

    /// Disks of which that came.
    pub fn count(&self, mark: Mark) -> usize {
        self.rows.iter().filter(|row| row.mark == Some(mark)).count()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) id: u64,
    /// Number of the socket, from 1.
    pub slot: usize,
    /// The disk in it, or that was in it last.
    pub disk: Plugged,
    /// Whether it is there still.
    pub is_there: bool,
    /// What Windows it holds.
    pub windows: Vec<String>,
    /// How far it is.
    pub step: Step,
    /// How far a longer step is.
    pub progress: Option<Progress>,
    /// What came of it.
    pub mark: Option<Mark>,
    /// What came of it, or why nothing is done, in words.
    pub words: String,
    /// Where its report is.
    pub reports: Vec<PathBuf>,
    /// The worst exit code of the disks in this socket.
    pub exit_code: u8,
    /// A worker is at it.
    pub(super) runs: bool,
    /// It was gone while the worker was at it.
    pub(super) was_pulled: bool,
    /// It is worked on when no other is.
    pub(super) is_alone: bool,
}

impl Row {
    pub(crate) fn new(id: u64, slot: usize, disk: Plugged) -> Self {
        Self {
            id,
            slot,
            disk,
            is_there: true,
            windows: Vec::new(),
            step: Step::Waits,
            progress: None,
            mark: None,
            words: String::new(),
            reports: Vec::new(),
            exit_code: 0,
            runs: false,
            was_pulled: false,
            is_alone: false,
        }
    }

    pub(crate) fn leave_alone(&mut self, why: String) {
        (self.step, self.words) = (Step::LeftAlone, why);
    }

    pub(crate) fn begin(&mut self) {
        (self.step, self.runs) = (Step::Looks, true);
    }

    pub(super) fn wait_alone(&mut self) {
        (self.step, self.runs, self.is_alone, self.progress) = (Step::Waits, false, true, None);
        self.words = "waits until it has the memory to itself".to_owned();
        if !self.is_there {
            self.leave_alone("pulled before it was begun".to_owned());
        }
    }

    /// It is gone. True: too early.
    pub(crate) fn pulled(&mut self) -> bool {
        self.is_there = false;
        if self.step == Step::Waits {
            self.leave_alone("pulled before it was begun".to_owned());
        }
        self.was_pulled = self.runs;
        if self.was_pulled {
            self.words = PULLED.to_owned();
            self.mark = Some(Mark::Fail);
        }
        self.was_pulled
    }

    pub(crate) fn hear(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Target { .. } if self.step == Step::Writes => {
                (self.step, self.progress) = (Step::Verifies, None);
            }
            Event::StoreReady { .. } | Event::Written { .. } => {
                (self.step, self.progress) = (Step::Writes, None);
            }
            Event::Progress { what, done, total } => {
                self.progress = Some(Progress::after(self.progress.as_ref(), (what, *done, *total), now));
            }
            Event::Install { product, .. } if !self.windows.contains(product) => {
                self.windows.push(product.clone());
            }
            Event::Over { reports, .. } => self.reports.clone_from(reports),
            _ => {}
        }
    }

    /// Its worker has ended without a word.
    pub(super) fn lost(&mut self) {
        (self.step, self.progress, self.runs, self.exit_code) = (Step::Over, None, false, 2);
        self.mark = Some(Mark::Fail);
        self.words = "the work on it has ended without a result; run it again with the same store".to_owned();
    }

    pub(crate) fn end(&mut self, report: &Report, trouble: Option<&str>) {
        let head = headline(report);
        (self.step, self.progress, self.runs) = (Step::Over, None, false);
        let code = if self.was_pulled || trouble.is_some() { 2 } else { report.exit_code };
        self.exit_code = self.exit_code.max(code);
        self.words = format!("{}: {}", head.word, head.sentence);
        let mark = match (report.verdict, report.exit_code) {
            _ if self.was_pulled => Mark::Fail,
            (Verdict::Failed, _) => Mark::Fail,
            (_, 0) => Mark::Pass,
            _ => Mark::Look,
        };
        if self.was_pulled {
            self.words = PULLED.to_owned();
        } else if let Some(trouble) = trouble {
            self.words = format!("{}; but {trouble}", self.words);
        }
        self.mark = Some(if trouble.is_some() && mark == Mark::Pass { Mark::Look } else { mark });
    }
}

const PULLED: &str = "PULLED TOO EARLY: plug it in again; what is half done is taken back first";

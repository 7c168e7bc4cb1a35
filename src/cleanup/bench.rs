//! Disks that come and go: each that appears is cleaned as it was decided for all, by a worker of its own, and has a row on
//! the board. Front ends wait for what happens and show the rows.
//!
//! A disk that was there at the start is left alone unless it is asked for: it may be anybody's. One that is pulled too
//! early is told; when it appears again the journal in the store says what is half done, and that is taken back first,
//! as in every run.

mod row;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cleanup::crew::Crew;
use crate::cleanup::discover::Patient;
use crate::cleanup::ledger::Ledger;
use crate::cleanup::report::{Machine, Report};
use crate::cleanup::{KeptRun, Question, Settings, clean, in_words, keep_report, told};
use crate::disk::{Plugged, Uevents, plugged};
use crate::error::{Context as _, Result};
use crate::event::{Event, Sink};
use crate::fence::apart;
use crate::finding::Outcome;
use crate::memory::{self, Share};
use crate::volume::Roots;
pub use row::{Board, Mark, Row, Step};

/// Partitions and the like are told one by one when a disk appears: all of that is one look.
const SETTLING: Duration = Duration::from_millis(250);
/// How often is looked where the kernel does not tell.
const DEAF: Duration = Duration::from_secs(1);
/// The same where it does: a message can be lost.
const HEARING: Duration = Duration::from_secs(30);

/// What the threads tell.
enum News {
    /// Disks have come or gone.
    Plugs,
    /// Of the row with this number.
    Event(u64, Event),
    /// It is over: the report, and what could not be written down.
    Over(u64, Box<Report>, Option<String>),
    /// It needs more memory than was left beside the others; nothing was done.
    Short(u64),
    /// The thread has come to its end: its last word, whatever became of it.
    Ended(u64),
}

/// What every worker needs.
struct Hub {
    settings: Settings,
    machine: Machine,
    ledger: Ledger,
}

/// See the module.
pub struct Bench {
    hub: Arc<Hub>,
    roots: Roots,
    start: Instant,
    /// How many are worked on at once.
    most: usize,
    tell: Sender<News>,
    news: Receiver<News>,
    /// Whether the kernel tells of disks that come and go.
    hears: bool,
    looked: Option<Instant>,
    /// Disks that are there and were there before, by node and number.
    there: BTreeSet<(PathBuf, Option<u64>)>,
    rows: Vec<Row>,
    next: u64,
    closed: Option<String>,
}

/// Something that happened, for front ends that tell it in lines.
pub struct Happened {
    /// Index of the row.
    pub row: usize,
    /// What it was; none where the row itself says it: a disk has come or gone.
    pub event: Option<Event>,
    /// Where the disk is over: its report.
    pub report: Option<Box<Report>>,
}

impl Bench {
    /// Begins to wait for disks. `jobs`: how many are worked on at once, where that was said. `present`: also work on those that
    /// are there already.
    ///
    /// # Errors
    /// There is no store that can be written, or the list of disks cannot be read.
    pub fn open(
        settings: Settings,
        machine: Machine,
        ledger: Ledger,
        jobs: Option<usize>,
        present: bool,
    ) -> Result<Self> {
        let mut bench = Self::over(Roots::default(), settings, machine, ledger, jobs)?;
        if !present {
            bench.there = plugged(&bench.roots)?.iter().map(key).collect();
        }
        let tell = bench.tell.clone();
        if let Ok(ear) = Uevents::listen() {
            let listen = move || {
                while let Ok(heard) = ear.wait(HEARING) {
                    std::thread::sleep(if heard { SETTLING } else { Duration::ZERO });
                    if tell.send(News::Plugs).is_err() {
                        break;
                    }
                }
            };
            let thread = std::thread::Builder::new().name("uevents".to_owned()).stack_size(128 << 10);
            bench.hears = thread.spawn(listen).is_ok();
        }
        Ok(bench)
    }

    fn over(
        roots: Roots,
        settings: Settings,
        machine: Machine,
        ledger: Ledger,
        jobs: Option<usize>,
    ) -> Result<Self> {
        try_store(&settings)?;
        let (tell, news) = channel();
        Ok(Self {
            hub: Arc::new(Hub { settings, machine, ledger }),
            roots,
            start: Instant::now(),
            most: jobs.unwrap_or(usize::MAX).min(usize::try_from(memory::workers()).unwrap_or(usize::MAX)),
            tell,
            news,
            hears: false,
            looked: None,
            there: BTreeSet::new(),
            rows: Vec::new(),
            next: 0,
            closed: None,
        })
    }

    /// How all of it stands.
    pub fn board(&self) -> Board<'_> {
        Board { rows: &self.rows, closed: self.closed.as_deref(), now: self.start.elapsed() }
    }

    /// The rows, one a socket, in the order in which the sockets were first used.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Disks that are worked on now.
    pub fn at_work(&self) -> usize {
        self.board().at_work()
    }

    /// Why no further disk is begun; none where each that appears is.
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// Has no further disk begun, and says why.
    pub fn close(&mut self, why: impl Into<String>) {
        let why = self.closed.get_or_insert(why.into()).clone();
        for row in self.rows.iter_mut().filter(|row| row.step == Step::Waits) {
            row.leave_alone(format!("not begun: {why}"));
        }
    }

    /// The worst exit code of all disks that were worked on; 2 where something could not be written down.
    pub fn exit_code(&self) -> u8 {
        self.rows.iter().map(|row| row.exit_code).max().unwrap_or(0)
    }

    /// Waits for something to happen, no longer than that.
    ///
    /// # Errors
    /// The list of disks cannot be read.
    pub fn wait(&mut self, patience: Duration) -> Result<Vec<Happened>> {
        let mut happened = Vec::new();
        let rest = if self.hears { HEARING } else { DEAF };
        if self.looked.is_none_or(|looked| looked.elapsed() >= rest) {
            self.look(&mut happened)?;
        }
        let mut next = if happened.is_empty() { self.news.recv_timeout(patience) } else { self.more() };
        while let Ok(news) = next {
            match news {
                News::Plugs => self.look(&mut happened)?,
                News::Event(id, event) => self.hear(id, event, &mut happened),
                News::Over(id, report, trouble) => self.end(id, report, trouble, &mut happened),
                News::Short(id) => {
                    if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
                        row.wait_alone();
                    }
                }
                News::Ended(id) => {
                    let index = self.rows.iter().position(|row| row.id == id && row.runs);
                    if let Some((index, row)) = index.and_then(|at| Some((at, self.rows.get_mut(at)?))) {
                        row.lost();
                        happened.push(Happened { row: index, event: None, report: None });
                    }
                }
            }
            next = self.more();
        }
        self.begin();
        Ok(happened)
    }

    fn more(&self) -> std::result::Result<News, RecvTimeoutError> {
        self.news.try_recv().map_err(|_| RecvTimeoutError::Timeout)
    }

    /// Looks which disks are there.
    fn look(&mut self, happened: &mut Vec<Happened>) -> Result<()> {
        self.looked = Some(Instant::now());
        let now = plugged(&self.roots)?;
        let keys: BTreeSet<_> = now.iter().map(key).collect();
        for index in 0..self.rows.len() {
            let Some(row) = self.rows.get_mut(index).filter(|row| row.is_there) else { continue };
            if !keys.contains(&key(&row.disk)) {
                let was_early = row.pulled();
                if was_early {
                    self.hub.ledger.pulled(&row.disk.path);
                }
                happened.push(Happened { row: index, event: None, report: None });
            }
        }
        for disk in now {
            if self.there.contains(&key(&disk)) {
                continue;
            }
            self.next += 1;
            let free =
                self.rows.iter().position(|row| row.disk.socket == disk.socket && !row.is_there && !row.runs);
            let index = free.unwrap_or(self.rows.len());
            let mut row = Row::new(self.next, index + 1, disk);
            if let Some(why) = row.disk.in_use.clone() {
                row.leave_alone(why);
            } else if let Some(why) = &self.closed {
                row.leave_alone(format!("not begun: {why}"));
            }
            match self.rows.get_mut(index) {
                Some(old) => {
                    row.exit_code = old.exit_code;
                    *old = row;
                }
                None => self.rows.push(row),
            }
            happened.push(Happened { row: index, event: None, report: None });
        }
        self.there = keys;
        Ok(())
    }

    fn hear(&mut self, id: u64, event: Event, happened: &mut Vec<Happened>) {
        let now = self.start.elapsed();
        let Some(index) = self.rows.iter().position(|row| row.id == id) else { return };
        if let Some(row) = self.rows.get_mut(index) {
            row.hear(&event, now);
        }
        happened.push(Happened { row: index, event: Some(event), report: None });
    }

    fn end(&mut self, id: u64, report: Box<Report>, trouble: Option<String>, happened: &mut Vec<Happened>) {
        // What was pulled is often known by its errors before the kernel tells.
        let _ = self.look(happened);
        if let Some(index) = self.rows.iter().position(|row| row.id == id) {
            if let Some(row) = self.rows.get_mut(index) {
                row.end(&report, trouble.as_deref());
            }
            happened.push(Happened { row: index, event: None, report: Some(report) });
        }
        // What lies on one disk fails with that disk alone.
        if let Some(why) = trouble.filter(|_| !self.hub.settings.store.is_on_patient()) {
            self.close(why);
        }
    }

    /// Begins with the disks that wait, as many as may be worked on at once.
    fn begin(&mut self) {
        loop {
            let at_work = self.at_work();
            let is_alone = self.rows.iter().any(|row| row.runs && row.is_alone);
            let may =
                |row: &&mut Row| row.step == Step::Waits && row.is_there && (at_work == 0 || !row.is_alone);
            if at_work >= self.most || is_alone {
                return;
            }
            let Some(row) = self.rows.iter_mut().find(may) else { return };
            let (hub, tell, id, path) = (self.hub.clone(), self.tell.clone(), row.id, row.disk.path.clone());
            let thread = std::thread::Builder::new().name(format!("disk {id}"));
            let work = move || {
                let send = |news: Wrap| drop(tell.send(news(id)));
                // Whatever becomes of it, its end is told.
                let work = || {
                    hub.work(&path, &send);
                    Ok(())
                };
                let _ = apart("work on this disk", work);
                drop(tell.send(News::Ended(id)));
            };
            match thread.spawn(work).doing("start a thread for this disk") {
                Ok(_) => row.begin(),
                // Those that are at work give theirs back.
                Err(_) if at_work > 0 => return,
                Err(error) => row.leave_alone(error.to_string()),
            }
        }
    }
}

impl Drop for Bench {
    /// However it is left: what is being written is brought to its end, or taken back, before the program may end.
    fn drop(&mut self) {
        self.close("this bench is over");
        while self.at_work() > 0 {
            match self.news.recv_timeout(DEAF) {
                Ok(News::Over(id, ..) | News::Short(id) | News::Ended(id)) => {
                    self.rows.iter_mut().filter(|row| row.id == id).for_each(|row| row.runs = false);
                }
                Ok(News::Plugs | News::Event(..)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

type Wrap = Box<dyn FnOnce(u64) -> News>;

impl Hub {
    /// All that is done to one disk.
    fn work(&self, path: &Path, tell: &(dyn Fn(Wrap) + Sync)) {
        if let Err(error) = try_store(&self.settings) {
            let begun = in_words((self.settings.clock)());
            let why = "the record cannot be written any more".to_owned();
            if let Ok((report, _)) = told(path, &self.settings, &self.machine, begun, Err(error)) {
                // The store's failure is the trouble that is told.
                let _ = self.ledger.over(path, &report);
                tell(Box::new(move |id| News::Over(id, Box::new(report), Some(why))));
            }
            return;
        }
        let settings = Settings { targets: vec![path.to_owned()], ..self.settings.clone() };
        let troubles: Mutex<Option<String>> = Mutex::default();
        let trouble = |error: crate::error::Error| {
            troubles.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
        };
        let share = Share::take();
        let crew = Crew {
            settings: &settings,
            machine: self.machine.clone(),
            jobs: Some(1),
            treat: &|patient: &Patient, sink: Sink<'_>| {
                self.ledger.begin(path)?;
                clean(patient, &settings, &mut |_: &Question<'_>| !settings.dry_run, sink)
            },
            tell: &|_, event| {
                let _ = self.ledger.note(path, &event).map_err(trouble);
                tell(Box::new(|id| News::Event(id, event)));
            },
            over: &|_, report: &Report, runs: &[KeptRun]| {
                let wrote = !runs.is_empty()
                    || report.changes.iter().any(|change| change.outcome != Outcome::Planned);
                if share.fell_short() && !wrote {
                    self.ledger.forget(path);
                    tell(Box::new(News::Short));
                    return true;
                }
                let kept = keep_report(report, runs);
                let told =
                    self.ledger.over(path, report).map(|event| tell(Box::new(|id| News::Event(id, event))));
                let _ = kept.and(told).map_err(trouble);
                let why = troubles.lock().unwrap_or_else(PoisonError::into_inner).take();
                let report = Box::new(report.clone());
                tell(Box::new(|id| News::Over(id, report, why)));
                true
            },
        };
        // What it returns was told already; where it could not be made, the end of this thread tells.
        drop(crew.work());
    }
}

/// What tells a disk that has just appeared from one that was there.
fn key(disk: &Plugged) -> (PathBuf, Option<u64>) {
    (disk.path.clone(), disk.sequence)
}

/// Refuses a store that cannot be written, where one is needed.
fn try_store(settings: &Settings) -> Result<()> {
    match settings.dry_run || settings.store.is_on_patient() {
        true => Ok(()),
        false => settings.store.try_out(settings.store_named),
    }
}

#[cfg(test)]
mod tests;

//! What the worker tells, and what becomes of the state by it.

use crate::cleanup::ListedRun;
use crate::cleanup::pace::Progress;
use crate::cleanup::report_text::printable;
use crate::cleanup::shown::line_of;
use crate::event::Event;
use crate::tui::app::{App, Effect, News, Overlay, Running, Screen, Stage};
use crate::tui::disk::DiskView;
use crate::tui::work::Done;

/// Lines of the log that are kept: a scan of many disks on a machine with little memory must end all the same.
const LOG_LINES: usize = 2000;

impl App {
    pub(super) fn hear(&mut self, news: News) -> Vec<Effect> {
        match news {
            News::Found(paths) => {
                self.found = true;
                self.disks = paths.into_iter().map(DiskView::at).collect();
            }
            News::Looking(disk) => self.running = Some(Running::new(disk, false)),
            News::Looked(index, done, runs) => self.looked(index, *done, runs),
            News::Event(event) => self.note(event),
            News::Asked(proposal) => {
                let Some(running) = self.running.as_mut().filter(|running| !running.abandoned) else {
                    return vec![Effect::Answer(false)];
                };
                running.stage = Stage::Asked;
                running.progress = None;
                self.proposal = Some(*proposal);
                self.asked_since = None;
                // What could be stopped has come to its end.
                self.overlay.take_if(|overlay| *overlay == Overlay::Stop);
                self.show(Screen::Plan);
            }
            News::Ended(done) => self.ended(*done),
            News::Failed(words) => {
                self.log(format!("NOT DONE: {words}"));
                let is_shown = self.running.take().is_none_or(|running| !running.abandoned);
                self.proposal = None;
                if is_shown && matches!(self.screen, Screen::Plan | Screen::Work | Screen::Runs) {
                    self.home();
                }
                self.found = true;
                self.tell(format!("Not done: {words}"));
            }
            News::Store(place) => {
                self.tell(format!("The record of the next run goes to {place}."));
                self.store = place;
            }
            News::Saved(Ok(files)) => self.tell(format!("Saved: {}", files.join(", "))),
            News::Saved(Err(words)) => self.tell(format!("Not saved: {words}")),
            News::Free => {
                self.jobs = self.jobs.saturating_sub(1);
                if self.jobs == 0 {
                    self.running = None;
                }
            }
            News::Gone(why) => self.worker_gone(why),
        }
        Vec::new()
    }

    /// The worker has died, by a fault of this program or for want of memory.
    fn worker_gone(&mut self, why: Option<String>) {
        let record = self.running.take().filter(|running| running.stage == Stage::Writing);
        let record = record.map(|running| running.record.unwrap_or_else(|| self.store.clone()));
        (self.proposal, self.is_gone) = (None, true);
        self.overlay.take_if(|overlay| *overlay == Overlay::Stop);
        self.found = true;
        self.home();
        let why = why.map(|why| format!(" ({})", printable(&why))).unwrap_or_default();
        let place = record
            .as_deref()
            .map(|record| format!("; the disk was being written, the record is in {record}"));
        self.log(format!("THE WORK HAS ENDED WITHOUT A RESULT{why}{}", place.unwrap_or_default()));
        self.tell(match record {
            Some(record) => format!(
                "The work has ended without a result{why}, while the disk was being written. The record is in {record}: leave \
                 (q), start again with the same store, and what is half done is taken back first."
            ),
            None => format!(
                "The work has ended without a result{why}. No byte was being written. Leave (q), and start again."
            ),
        });
    }

    fn looked(&mut self, index: usize, done: Done, runs: Vec<ListedRun>) {
        if self.running.as_ref().is_some_and(|running| running.disk == index) {
            self.running = None;
        }
        done.files.iter().for_each(|file| self.log(format!("report: {}", file.display())));
        let Some(disk) = self.disks.get_mut(index) else { return };
        disk.looked(done, runs);
        // A disk that is half written goes before all others.
        let cut = disk.unfinished().map(|run| (disk.name(), run.id.clone()));
        if let Some((name, id)) = cut
            && self.screen == Screen::Disks
        {
            self.disk = index;
            self.selected = index;
            self.tell(format!(
                "The run {id} on {name} was cut: the disk is neither as before it nor as after it. Take it back first: \
                 u shows it. Nothing is written before you have said yes."
            ));
        }
    }

    fn ended(&mut self, done: Done) {
        let running = self.running.take();
        // Whoever answered with no has gone on already.
        if done.declined {
            return;
        }
        self.proposal = None;
        let index = running.as_ref().map_or(self.disk, |running| running.disk);
        done.records.iter().for_each(|place| self.log(format!("record of the run: {place}")));
        done.files.iter().for_each(|file| self.log(format!("report: {}", file.display())));
        if let Some(disk) = self.disks.get_mut(index) {
            disk.treated(done);
        }
        self.overlay.take_if(|overlay| *overlay == Overlay::Stop);
        // Nobody waits for what was given up before there was a plan; it stands in the list.
        if running.is_none_or(|running| !running.abandoned) {
            self.disk = index;
            self.home();
            self.open_screen(Screen::Report);
        }
    }

    fn note(&mut self, event: Event) {
        let line = line_of(&event);
        if let Some(running) = &mut self.running {
            let is_look = !running.writes;
            match &event {
                Event::Progress { what, done, total } => running.go_on(what, *done, *total, self.now),
                Event::StoreReady { folder } => {
                    running.stage = Stage::Writing;
                    running.record = Some(folder.display().to_string());
                }
                // Names are removed behind the first verification.
                Event::Written { .. } => running.stage = Stage::Writing,
                Event::Target { .. } if running.stage == Stage::Writing => {
                    running.stage = Stage::Verifying;
                    running.progress = None;
                }
                Event::Volume { .. } | Event::Install { .. } | Event::Found { .. } if is_look => {
                    let index = running.disk;
                    if let Some(disk) = self.disks.get_mut(index) {
                        disk.so_far.extend(line.clone());
                    }
                }
                _ => {}
            }
        }
        if let Some(line) = line {
            self.log(line);
        }
    }

    fn log(&mut self, line: String) {
        self.log.push(printable(&line));
        if self.log.len() > LOG_LINES {
            self.log.drain(..LOG_LINES / 10);
        }
    }
}

impl Running {
    fn go_on(&mut self, what: &'static str, done: u64, total: u64, now: std::time::Duration) {
        self.progress = Some(Progress::after(self.progress.as_ref(), (what, done, total), now));
    }
}

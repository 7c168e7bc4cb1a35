//! The thread that does the work, so that keys are answered meanwhile. It tells [`News`]; when it ends without a last
//! one, its end of the channel closes, and that is told as a failure.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::cleanup::shown::Proposal;
use crate::error::{Context as _, Result};
use crate::event::Event;
use crate::tui::app::{Job, News};
use crate::tui::work::{Work, ask_to_stop};

/// The front end's ends of the channels to it.
pub(super) struct Worker {
    pub(super) jobs: Sender<Job>,
    pub(super) answers: Sender<bool>,
    pub(super) news: Receiver<News>,
}

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub(super) fn start(work: Work) -> Result<Self> {
        let (jobs, todo) = channel();
        let (answers, answered) = channel();
        let (tell, news) = channel();
        let run = move || {
            let mut hand = Hand { work, answered, tell };
            while let Ok(job) = todo.recv() {
                hand.work(job);
            }
        };
        std::thread::Builder::new()
            .name("work".to_owned())
            .spawn(run)
            .doing("start the thread that works")?;
        Ok(Self { jobs, answers, news })
    }
}

struct Hand {
    work: Work,
    answered: Receiver<bool>,
    tell: Sender<News>,
}

impl Hand {
    fn work(&mut self, job: Job) {
        ask_to_stop(false);
        let tell = self.tell.clone();
        // Nobody listening any more is no reason to stop a cure.
        let say = |news| drop(tell.send(news));
        let mut sink = |event: Event| say(News::Event(event));
        let answered = &self.answered;
        let mut ask = |proposal: &Proposal| {
            say(News::Asked(Box::new(proposal.clone())));
            answered.recv().unwrap_or(false)
        };
        let done = match job {
            Job::Find => self.find(),
            Job::Look(index, path) => self.look(index, &path),
            Job::Clean(path, policy) => {
                self.work.set_policy(policy);
                self.work.clean(&path, &mut ask, &mut sink).map(|done| say(News::Ended(Box::new(done))))
            }
            Job::Undo(path, id, only) => {
                let done = self.work.undo(&path, (&id, only), &mut ask, &mut sink);
                done.map(|done| say(News::Ended(Box::new(done))))
            }
            Job::Store(place) => {
                self.work.set_store(place);
                say(News::Store(self.work.store()));
                Ok(())
            }
            Job::Save(report, folder) => {
                let saved = Work::save(&report.0, &folder).map_err(|error| error.to_string());
                let names =
                    |files: Vec<PathBuf>| files.iter().map(|file| file.display().to_string()).collect();
                say(News::Saved(saved.map(names)));
                Ok(())
            }
        };
        if let Err(error) = done {
            drop(self.tell.send(News::Failed(error.to_string())));
        }
        drop(self.tell.send(News::Free));
    }

    fn find(&mut self) -> Result<()> {
        let found = self.work.find()?;
        drop(self.tell.send(News::Found(found.clone())));
        found.iter().enumerate().try_for_each(|(index, path)| self.look(index, path))
    }

    fn look(&mut self, index: usize, path: &Path) -> Result<()> {
        drop(self.tell.send(News::Looking(index)));
        let tell = self.tell.clone();
        let (done, runs) = self.work.look(path, &mut |event| drop(tell.send(News::Event(event))))?;
        drop(self.tell.send(News::Looked(index, Box::new(done), runs)));
        Ok(())
    }
}

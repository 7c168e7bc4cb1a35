//! The thread that does the work, so that keys are answered meanwhile. It tells [`News`]; when it ends without a last
//! one, its end of the channel closes, and that is told as a failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::cleanup::shown::Proposal;
use crate::error::{Context as _, Result};
use crate::event::Event;
use crate::tui::app::{Job, News};
use crate::tui::work::{Work, ask_to_stop};

/// The front end's ends of the channels to it. Let go, it stops at the next file and takes back what was written: only
/// then the program may end.
pub(super) struct Worker {
    ends: Option<Ends>,
    news: Receiver<News>,
    thread: Option<JoinHandle<()>>,
    needed: Arc<AtomicUsize>,
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
        let mut hand = Hand { work, answered, tell };
        let run = move || {
            while let Ok((job, needed)) = todo.recv() {
                hand.work(job);
                drop(needed);
            }
        };
        let thread = std::thread::Builder::new()
            .name("work".to_owned())
            .spawn(run)
            .doing("start the thread that works")?;
        Ok(Self { ends: Some(Ends { jobs, answers }), news, thread: Some(thread), needed: Arc::default() })
    }

    /// Gives it a job. One that is gone tells so by its channel.
    pub(super) fn start_job(&self, job: Job) {
        // From the moment that it is asked for, not from that in which the thread comes to it.
        let needed = matches!(job, Job::Save(..) | Job::Batch(..)).then(|| Needed::new(&self.needed));
        let _ = self.ends.as_ref().map(|ends| ends.jobs.send((job, needed)));
    }

    /// Answers the plan that it waits with.
    pub(super) fn answer(&self, yes: bool) {
        let needed = yes.then(|| Needed::new(&self.needed));
        let _ = self.ends.as_ref().map(|ends| ends.answers.send((yes, needed)));
    }

    pub(super) fn news(&self) -> &Receiver<News> {
        &self.news
    }

    /// Waits until it leaves no disk half written and no file half made; a look is cut off as it is. What it has told
    /// meanwhile can still be heard.
    pub(super) fn end(&mut self) {
        self.ends = None;
        ask_to_stop(true);
        let thread = self.thread.take().filter(|_| self.needed.load(Ordering::SeqCst) > 0);
        // A panic of it was told already.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

struct Hand {
    work: Work,
    answered: Receiver<Asked<bool>>,
    tell: Sender<News>,
}

/// What is sent to the thread by.
struct Ends {
    jobs: Sender<Asked<Job>>,
    answers: Sender<Asked<bool>>,
}

/// What is asked of the thread, and that it must not be cut off.
type Asked<T> = (T, Option<Needed>);

/// What is done must not be cut off while this lives. It goes with what is asked for.
struct Needed(Arc<AtomicUsize>);

impl Needed {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Needed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Hand {
    fn work(&mut self, job: Job) {
        ask_to_stop(false);
        let tell = self.tell.clone();
        // Nobody listening any more is no reason to stop a cure.
        let say = |news| drop(tell.send(news));
        let mut sink = |event: Event| {
            #[cfg(debug_assertions)]
            if matches!(event, Event::Written { .. }) {
                crate::tui::fault::strike("work-writing");
                crate::tui::fault::linger();
            }
            say(News::Event(event));
        };
        let answered = &self.answered;
        let mut needed = Vec::new();
        let mut ask = |proposal: &Proposal| {
            say(News::Asked(Box::new(proposal.clone())));
            let (yes, guard) = answered.recv().unwrap_or((false, None));
            needed.extend(guard);
            yes
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
                let names =
                    |files: Vec<PathBuf>| files.iter().map(|file| file.display().to_string()).collect();
                let saved = Work::save(&report.0, &folder).map(names);
                say(News::Saved(saved.map_err(|error| error.to_string())));
                Ok(())
            }
            Job::Batch(policy, folder) => {
                self.work.set_policy(policy);
                let saved = self.work.save_batch(&folder);
                say(News::Saved(saved.map_err(|error| error.to_string())));
                Ok(())
            }
        };
        if let Err(error) = done {
            say(News::Failed(error.to_string()));
        }
        say(News::Free);
        drop(needed);
    }

    fn find(&mut self) -> Result<()> {
        let found = self.work.find()?;
        drop(self.tell.send(News::Found(found.clone())));
        found.iter().enumerate().try_for_each(|(index, path)| self.look(index, path))
    }

    fn look(&mut self, index: usize, path: &Path) -> Result<()> {
        drop(self.tell.send(News::Looking(index)));
        #[cfg(debug_assertions)]
        crate::tui::fault::strike("work");
        let tell = self.tell.clone();
        let (done, runs) = self.work.look(path, &mut |event| drop(tell.send(News::Event(event))))?;
        drop(self.tell.send(News::Looked(index, Box::new(done), runs)));
        Ok(())
    }
}

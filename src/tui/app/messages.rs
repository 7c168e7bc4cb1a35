//! What the state hears and what it asks for: keys and news come in, jobs and answers go out.

use std::path::PathBuf;

use crate::cleanup::ListedRun;
use crate::cleanup::report::Report;
use crate::cleanup::shown::Proposal;
use crate::cleanup::undo::Only;
use crate::event::Event;
use crate::policy::Policy;
use crate::tui::keys::Press;
use crate::tui::work::Done;

/// What happened.
pub(in crate::tui) enum Msg {
    /// A key was pressed.
    Key(Press),
    /// A key came in one go with others, as pasted text and a line's noise do.
    Burst(Press),
    /// Time has gone on.
    Tick,
    /// The state stands on the terminal; what was typed before that is thrown away where a plan appeared.
    Drawn,
    /// The worker tells something.
    News(News),
}

/// What the worker tells.
pub(in crate::tui) enum News {
    /// These disks are attached.
    Found(Vec<PathBuf>),
    /// This one is being looked at.
    Looking(usize),
    /// It was looked at.
    Looked(usize, Box<Done>, Vec<ListedRun>),
    /// Something happened on the way.
    Event(Event),
    /// A plan waits for an answer.
    Asked(Box<Proposal>),
    /// A clean or an undo has ended.
    Ended(Box<Done>),
    /// A job could not be done at all.
    Failed(String),
    /// Records go there now.
    Store(String),
    /// Something was written into these files, or not.
    Saved(Result<Vec<String>, String>),
    /// A job is over, however it ended.
    Free,
    /// Nothing comes any more; why, where that is known.
    Gone(Option<String>),
}

/// What the worker is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Job {
    /// Find the disks and look at each.
    Find,
    /// Look at one again.
    Look(usize, PathBuf),
    /// Plan a clean, ask, and carry it out.
    Clean(PathBuf, Policy),
    /// The same for taking a run back.
    Undo(PathBuf, String, Only),
    /// Have records go elsewhere.
    Store(PathBuf),
    /// Write a report into a folder.
    Save(Box<SavedReport>, PathBuf),
    /// Write into a folder what repeats a clean as decided.
    Batch(Policy, PathBuf),
}

/// A report on its way to a folder.
#[derive(Clone, Debug)]
pub(in crate::tui) struct SavedReport(pub(in crate::tui) Report);

// Jobs are compared in tests alone, and there by the hash that the report has of itself.
impl PartialEq for SavedReport {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for SavedReport {}

/// What is to be done after a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Effect {
    /// Give the worker a job.
    Start(Job),
    /// Answer the plan that it waits with.
    Answer(bool),
    /// Have it stop before the next file is written.
    Stop,
    /// Leave the program.
    Leave,
    /// Leave it, and have the machine switched off.
    PowerOff,
}

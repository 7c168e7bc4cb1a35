//! What stands above a screen and takes the keys: questions, a line that is typed, help, a note.

use std::path::PathBuf;

use crate::tui::app::{App, Effect, Job, SavedReport, Stage};
use crate::tui::disk::{DISCARD, DiskView};
use crate::tui::keys::{Action, Press, action};

/// The longest line that can be typed.
const LONGEST: usize = 400;

/// What stands above the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Overlay {
    /// All keys, scrolled by so many lines.
    Help(usize),
    /// Whether to leave.
    Leave,
    /// Whether to switch the machine off.
    PowerOff,
    /// Whether to stop what is being written.
    Stop,
    /// A line, as far as it is typed.
    Entry(Entry, String),
    /// Something to be read.
    Note(String),
}

/// What a line is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Entry {
    /// The word that gives a session up.
    Word,
    /// A place for records.
    Store,
    /// A folder for the report.
    Save,
    /// A folder for the file that repeats a clean.
    Batch,
}

impl App {
    /// Shows words once nothing else stands above the screen: what somebody types there is not taken from them.
    pub(super) fn tell(&mut self, words: impl Into<String>) {
        self.notes.push_back(words.into());
    }

    pub(super) fn answer_overlay(&mut self, overlay: Overlay, press: Press, is_burst: bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.overlay = match (overlay, press) {
            (Overlay::Leave, Press::Char('q') | Press::Break) => {
                effects.push(Effect::Leave);
                None
            }
            (Overlay::PowerOff, Press::Char('o')) if !is_burst => {
                effects.push(Effect::PowerOff);
                None
            }
            (Overlay::Stop, Press::Char('s')) => {
                effects.extend(self.stop());
                None
            }
            (Overlay::Help(from), press) => {
                let (page, most) = (self.reach.page.get(), self.reach.most.get());
                match action(press) {
                    Some(Action::Up | Action::PageUp) => Some(Overlay::Help(from.saturating_sub(page))),
                    Some(Action::Down | Action::PageDown) => {
                        Some(Overlay::Help(from.saturating_add(page).min(most)))
                    }
                    _ => None,
                }
            }
            (Overlay::Leave | Overlay::PowerOff | Overlay::Stop | Overlay::Note(_), _) => None,
            (Overlay::Entry(..), Press::Esc | Press::Break) => None,
            (Overlay::Entry(entry, text), Press::Enter) => {
                effects = self.entered(entry, text);
                None
            }
            (Overlay::Entry(entry, text), press) => Some(Overlay::Entry(entry, typed(text, press))),
        };
        effects
    }

    /// A line was typed to its end. An empty one changes nothing.
    fn entered(&mut self, entry: Entry, text: String) -> Vec<Effect> {
        match entry {
            Entry::Word if text == DISCARD => self.carry_out(),
            Entry::Word => {
                self.tell(format!("Only the word {DISCARD} carries this plan out. No byte was written."));
                Vec::new()
            }
            _ if text.is_empty() => Vec::new(),
            Entry::Store => {
                self.disks.iter_mut().for_each(|disk| disk.stale = true);
                vec![self.begin(Job::Store(PathBuf::from(text)))]
            }
            Entry::Batch => {
                let policy = self.policy.clone();
                vec![self.begin(Job::Batch(policy, PathBuf::from(text)))]
            }
            Entry::Save => match self.disk().and_then(DiskView::report) {
                Some(report) => {
                    let report = Box::new(SavedReport(report.clone()));
                    vec![self.begin(Job::Save(report, PathBuf::from(text)))]
                }
                None => Vec::new(),
            },
        }
    }

    fn stop(&mut self) -> Option<Effect> {
        let running = self.running.as_mut().filter(|running| running.stage == Stage::Writing)?;
        running.stopping = true;
        Some(Effect::Stop)
    }
}

fn typed(mut text: String, press: Press) -> String {
    match press {
        Press::Char(c) if text.chars().count() < LONGEST => text.push(c),
        Press::Backspace => drop(text.pop()),
        _ => {}
    }
    text
}

//! What the keys of each screen may ask for at a moment: the footer and the help are made from it, and no other key does
//! anything.

use std::time::Duration;

use crate::cleanup::shown::Kind;
use crate::tui::app::{App, Screen};
use crate::tui::keys::Action;

/// How long a plan must stand there before `y` counts: nobody has read it sooner.
const SETTLE: Duration = Duration::from_millis(300);

impl App {
    /// Whether a plan stands there that could be read by now.
    fn may_say_yes(&self) -> bool {
        let since = self.asked_since.filter(|_| self.proposal.is_some() && !self.is_too_small.get());
        since.is_some_and(|since| self.now.saturating_sub(since) >= SETTLE)
    }

    /// What the keys of this screen may ask for; the footer shows these, and no other key does anything.
    pub(in crate::tui) fn offers(&self) -> Vec<Action> {
        use Action::{
            Back, Batch, Clean, Down, First, Help, Last, Less, Log, LookAgain, More, Open, PageDown, PageUp,
            PowerOff, Redraw, Report, Save, Store, Switches, Theme, Undo, Up, Yes,
        };
        let seen = self.disk().is_some_and(|disk| disk.done.is_some());
        let mut offers = match (self.screen, self.is_idle()) {
            (Screen::Disks, true) if seen => {
                vec![Open, Clean, Undo, Report, Switches, LookAgain, Store, Save, Log]
            }
            (Screen::Disks, true) => vec![LookAgain, Log],
            (Screen::Disks, false) if seen => vec![Open, Report, Log],
            (Screen::Disks, false) => vec![Log],
            (Screen::Findings, true) => vec![Clean, Undo, Report, Switches, Log],
            (Screen::Findings, false) => vec![Report, Log],
            (Screen::Report, true) => {
                vec![Open, Undo, Save, LookAgain, Clean, Switches, Batch, Store, Log]
            }
            (Screen::Report, false) => vec![Open, Log],
            (Screen::Plan, _) => {
                let is_clean = self.proposal.as_ref().is_some_and(|asked| asked.kind == Kind::Clean);
                let mut offers = if self.may_say_yes() { vec![Yes] } else { Vec::new() };
                offers.extend(is_clean.then_some(Switches));
                offers.extend(self.proposal.is_some().then_some(Log));
                offers
            }
            (Screen::Runs, true) if self.disk().is_some_and(|disk| !disk.offered_runs().is_empty()) => {
                vec![Open]
            }
            (Screen::Runs, _) => Vec::new(),
            (Screen::Parts, _) => vec![Open],
            (Screen::Switches, true) => vec![More, Less, Open, Batch],
            (Screen::Switches, false) => vec![More, Less, Open],
            (Screen::Log | Screen::Work, _) => Vec::new(),
        };
        if self.is_practice {
            // Nothing of it outlives it, and the live image is not to look for a stand-in.
            offers.retain(|action| ![Batch, Store, Save].contains(action));
        }
        if self.live && self.is_idle() && matches!(self.screen, Screen::Disks | Screen::Report) {
            offers.push(PowerOff);
        }
        offers.extend([Help, Back, Theme, Redraw, Up, Down, PageUp, PageDown, First, Last]);
        offers
    }

    /// Whether what is offered changes by time alone.
    pub(in crate::tui) fn is_settling(&self) -> bool {
        self.asked_since.is_some() && self.proposal.is_some() && !self.may_say_yes()
    }
}

//! The state of the guided screens and how a key changes it. Draws nothing, reads nothing, writes nothing: what is to be
//! done comes out as [`Effect`]s. What the worker tells is heard in `news`, what keys may ask for is in `offers`, what stands
//! above a screen in `overlay`.

mod messages;
mod news;
mod offers;
mod overlay;

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use crate::cleanup::pace::Progress;
use crate::cleanup::shown::Proposal;
use crate::cleanup::undo::Only;
use crate::policy::Policy;
use crate::tui::disk::{self, DiskView, PARTS};
use crate::tui::keys::{Action, Press, action};
use crate::tui::switches::SWITCHES;
use crate::tui::theme::Theme;
pub(super) use messages::{Effect, Job, Msg, News, SavedReport};
pub(super) use overlay::{Entry, Overlay};

/// Rows that a page key goes on by until something was drawn.
const PAGE: usize = 5;
/// How far the text that is shown can be scrolled: told by whoever draws it.
#[derive(Debug)]
pub(super) struct Reach {
    /// Lines in all but those of one page.
    pub(super) most: Cell<usize>,
    /// Lines of a page.
    pub(super) page: Cell<usize>,
}

impl Reach {
    /// There is nothing to scroll.
    pub(super) fn none(&self) {
        self.most.set(0);
    }
}

/// Which screen is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Disks,
    Findings,
    Plan,
    Work,
    Report,
    Runs,
    Parts,
    Switches,
    Log,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The disk is read.
    Reading,
    /// A plan is shown.
    Asked,
    /// The disk is written.
    Writing,
    /// What was written is read again.
    Verifying,
}

/// What the worker does with a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) disk: usize,
    pub(super) stage: Stage,
    /// Whether it may write: a clean or an undo, not a look.
    pub(super) writes: bool,
    pub(super) progress: Option<Progress>,
    pub(super) stopping: bool,
    /// The answer is no before the plan is there.
    pub(super) abandoned: bool,
    /// Where its record is.
    pub(super) record: Option<String>,
}

impl Running {
    fn new(disk: usize, writes: bool) -> Self {
        Self {
            disk,
            stage: Stage::Reading,
            writes,
            progress: None,
            stopping: false,
            abandoned: false,
            record: None,
        }
    }
}

/// What is known at the start.
pub(super) struct Setup {
    pub(super) policy: Policy,
    /// Where records go, in words.
    pub(super) store: String,
    pub(super) theme: Theme,
    /// The disk is the one for practice.
    pub(super) is_practice: bool,
    /// The machine may be switched off from here.
    pub(super) live: bool,
    /// Where a medium for reports and the like is mounted.
    pub(super) medium: Option<PathBuf>,
}

/// The whole state.
pub(super) struct App {
    pub(super) screen: Screen,
    pub(super) overlay: Option<Overlay>,
    pub(super) disks: Vec<DiskView>,
    /// The disk that is chosen.
    pub(super) disk: usize,
    /// The line that is chosen on the screen's list.
    pub(super) selected: usize,
    /// Lines that the text is scrolled by.
    pub(super) scroll: usize,
    pub(super) reach: Reach,
    /// The terminal is too small to show anything: told by whoever draws.
    pub(super) is_too_small: Cell<bool>,
    pub(super) running: Option<Running>,
    /// The disks were found.
    pub(super) found: bool,
    pub(super) proposal: Option<Proposal>,
    /// The run whose parts are shown.
    pub(super) run: Option<String>,
    pub(super) policy: Policy,
    /// Where records go.
    pub(super) store: String,
    pub(super) theme: Theme,
    pub(super) log: Vec<String>,
    /// The time of the last message.
    pub(super) now: Duration,
    pub(super) is_practice: bool,
    /// The machine may be switched off from here.
    pub(super) live: bool,
    medium: Option<PathBuf>,
    /// Words that wait until nothing else stands above the screen.
    notes: VecDeque<String>,
    /// Since when the plan has stood on the terminal.
    asked_since: Option<Duration>,
    /// Jobs that the worker has not ended.
    jobs: usize,
    /// The worker has died.
    is_gone: bool,
    /// A clean is planned anew when the switches are left.
    replan: bool,
    /// The screens that lead back to the list of disks, each with its line and how far it was scrolled.
    trail: Vec<(Screen, usize, usize)>,
}

impl App {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup { policy, store, theme, is_practice, live, medium } = setup;
        Self {
            screen: Screen::Disks,
            overlay: None,
            disks: Vec::new(),
            disk: 0,
            selected: 0,
            scroll: 0,
            reach: Reach { most: Cell::new(0), page: Cell::new(PAGE) },
            is_too_small: Cell::new(false),
            running: None,
            found: false,
            proposal: None,
            run: None,
            policy,
            store,
            theme,
            log: Vec::new(),
            now: Duration::ZERO,
            is_practice,
            live,
            medium,
            notes: VecDeque::new(),
            asked_since: None,
            jobs: 0,
            is_gone: false,
            replan: false,
            trail: Vec::new(),
        }
    }

    pub(super) fn disk(&self) -> Option<&DiskView> {
        self.disks.get(self.disk)
    }

    /// The worst of all disks; where the work has died nothing can be said.
    pub(super) fn exit_code(&self) -> u8 {
        if self.is_gone { 2 } else { disk::exit_code(&self.disks) }
    }

    /// Which of the six steps is shown, from 0.
    pub(super) fn step(&self) -> usize {
        let stage = self.running.as_ref().filter(|running| running.writes).map(|running| running.stage);
        match (self.screen, stage) {
            (Screen::Report, _) => 5,
            (Screen::Work, Some(Stage::Verifying)) => 4,
            (Screen::Work, Some(Stage::Writing)) => 3,
            (Screen::Plan | Screen::Switches | Screen::Runs | Screen::Parts | Screen::Work, _) => 2,
            (Screen::Disks, _) if !self.found => 0,
            (Screen::Disks | Screen::Findings | Screen::Log, _) => 1,
        }
    }

    /// Whether a byte of a disk may be written at this moment.
    pub(super) fn is_writing(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.writes && running.stage == Stage::Writing)
    }

    /// Whether the next job can begin.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.jobs == 0 && !self.is_gone
    }

    /// What must still be said to somebody who has left the screens: how the work has died.
    pub(super) fn last_words(&self) -> Option<&str> {
        self.log.last().filter(|_| self.is_gone).map(String::as_str)
    }

    /// Whether a plan must be drawn before it can be answered.
    pub(super) fn awaits_drawing(&self) -> bool {
        self.screen == Screen::Plan
            && self.proposal.is_some()
            && self.asked_since.is_none()
            && self.overlay.is_none()
            && !self.is_too_small.get()
    }

    /// Changes the state by a message. `now` is the time since the start.
    pub(super) fn update(&mut self, msg: Msg, now: Duration) -> Vec<Effect> {
        self.now = now;
        let effects = match msg {
            Msg::Tick => Vec::new(),
            Msg::Drawn => {
                self.asked_since = Some(now);
                Vec::new()
            }
            Msg::News(news) => self.hear(news),
            Msg::Key(press) => self.press(press, false),
            Msg::Burst(press) => self.press(press, true),
        };
        if self.overlay.is_none() {
            self.overlay = self.notes.pop_front().map(Overlay::Note);
        }
        if self.overlay.is_some() || self.is_too_small.get() {
            // What hides the plan has its reading begin anew.
            self.asked_since = None;
        }
        effects
    }

    fn press(&mut self, press: Press, is_burst: bool) -> Vec<Effect> {
        if let Some(overlay) = self.overlay.take() {
            return self.answer_overlay(overlay, press, is_burst);
        }
        match action(press).filter(|action| self.offers().contains(action)) {
            // Where nothing can be seen, one thing alone can be decided.
            Some(Action::Back) if self.is_too_small.get() && !self.is_at_work() => {
                self.overlay = Some(Overlay::Leave);
                Vec::new()
            }
            Some(_) if self.is_too_small.get() => Vec::new(),
            Some(Action::Yes) if is_burst => {
                self.tell(
                    "A y came in one go with other keys, as pasted text and a line's noise do, and does not count. No byte \
                     was written.",
                );
                Vec::new()
            }
            Some(action) => self.act(action),
            None => Vec::new(),
        }
    }

    /// Whether the disk is written, or what was written is read again.
    pub(super) fn is_at_work(&self) -> bool {
        self.screen == Screen::Work && self.running.is_some()
    }

    /// Shows a screen from its start. What has happened last is what a log is opened for.
    fn show(&mut self, screen: Screen) {
        self.screen = screen;
        self.scroll = if matches!(screen, Screen::Log | Screen::Work) { usize::MAX } else { 0 };
        self.selected = if screen == Screen::Disks { self.disk } else { 0 };
    }

    /// Shows a screen that leads back to this one.
    fn open_screen(&mut self, screen: Screen) {
        self.trail.push((self.screen, self.selected, self.scroll));
        self.show(screen);
    }

    /// Shows the list of disks.
    fn home(&mut self) {
        self.trail.clear();
        self.show(Screen::Disks);
    }

    /// Shows the screen that led here, as it was left; those that have nothing to show any more are passed over.
    fn back_a_screen(&mut self) {
        while let Some((screen, selected, scroll)) = self.trail.pop() {
            let is_over = match screen {
                Screen::Plan => self.proposal.is_none(),
                Screen::Work => self.running.is_none(),
                _ => false,
            };
            if !is_over {
                (self.screen, self.selected, self.scroll) = (screen, selected, scroll);
                return;
            }
        }
        self.home();
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Help => self.overlay = Some(Overlay::Help(0)),
            Action::Up => self.move_by(-1),
            Action::Down => self.move_by(1),
            Action::PageUp => self.scroll_by(-1, self.reach.page.get()),
            Action::PageDown => self.scroll_by(1, self.reach.page.get()),
            // The terminal does that by itself.
            Action::Redraw => {}
            Action::First => self.scroll = 0,
            Action::Last => self.scroll_by(1, usize::MAX),
            Action::Less => self.turn(true),
            Action::More => self.turn(false),
            Action::Log => self.open_screen(Screen::Log),
            Action::Report => self.open_screen(Screen::Report),
            Action::Theme => self.theme = self.theme.next(),
            Action::Save => {
                let folder = self.medium.as_ref().map(|medium| medium.join("reports").display().to_string());
                self.overlay = Some(Overlay::Entry(Entry::Save, folder.unwrap_or_default()));
            }
            Action::Batch => {
                let folder = self.medium.as_ref().map(|medium| medium.display().to_string());
                self.overlay = Some(Overlay::Entry(Entry::Batch, folder.unwrap_or_default()));
            }
            Action::Store => self.overlay = Some(Overlay::Entry(Entry::Store, String::new())),
            Action::PowerOff => self.overlay = Some(Overlay::PowerOff),
            Action::Clean => return self.start_clean(),
            Action::Undo => return self.open_runs(),
            Action::Switches => return self.open_switches(),
            Action::LookAgain => return self.find(),
            Action::Yes => return self.say_yes(),
            Action::Open => return self.open(),
            Action::Back => return self.back(),
        }
        Vec::new()
    }

    /// How many lines the screen's list has; 0 where it has none and the text is scrolled.
    fn list_length(&self) -> usize {
        match self.screen {
            Screen::Disks => self.disks.len(),
            Screen::Findings => self.disk().map_or(0, |disk| disk.findings().len()),
            Screen::Runs => self.disk().map_or(0, |disk| disk.offered_runs().len()),
            Screen::Parts => PARTS.len(),
            Screen::Switches => SWITCHES.len(),
            Screen::Plan | Screen::Work | Screen::Report | Screen::Log => 0,
        }
    }

    fn move_by(&mut self, step: isize) {
        match self.list_length() {
            0 => self.scroll_by(step, 1),
            length => {
                self.selected = self.selected.saturating_add_signed(step).min(length - 1);
                self.scroll = 0;
                if self.screen == Screen::Disks {
                    self.disk = self.selected;
                }
            }
        }
    }

    /// Scrolls the text by so many lines. The end of a log stays its end while it grows.
    fn scroll_by(&mut self, direction: isize, lines: usize) {
        let most = self.reach.most.get();
        let from = self.scroll.min(most);
        let to = if direction < 0 { from.saturating_sub(lines) } else { from.saturating_add(lines) };
        let follows = to >= most && matches!(self.screen, Screen::Log | Screen::Work);
        self.scroll = if follows { usize::MAX } else { to.min(most) };
    }

    /// Takes the next choice of a switch, or the one before.
    fn turn(&mut self, back: bool) {
        let Some(switch) = SWITCHES.get(self.selected) else { return };
        let (at, count) = ((switch.get)(&self.policy), switch.choices.len());
        let next = if back { at + count - 1 } else { at + 1 } % count.max(1);
        if let Some(choice) = switch.choices.get(next) {
            (choice.set)(&mut self.policy);
        }
    }

    fn open(&mut self) -> Vec<Effect> {
        match self.screen {
            Screen::Disks => self.open_screen(Screen::Findings),
            Screen::Report => self.home(),
            Screen::Switches => self.turn(false),
            Screen::Runs => {
                let run =
                    self.disk().and_then(|disk| disk.offered_runs().get(self.selected).copied().cloned());
                if let Some(run) = run {
                    self.run = Some(run.id);
                    if run.unfinished {
                        // Half of it is no state to leave a disk in: there is nothing to choose.
                        return self.start_undo(Only::All);
                    }
                    self.open_screen(Screen::Parts);
                }
            }
            Screen::Parts => {
                if let Some((only, _, _)) = PARTS.get(self.selected) {
                    return self.start_undo(*only);
                }
            }
            Screen::Findings | Screen::Plan | Screen::Work | Screen::Log => {}
        }
        Vec::new()
    }

    fn back(&mut self) -> Vec<Effect> {
        match self.screen {
            Screen::Disks => self.overlay = Some(Overlay::Leave),
            Screen::Findings | Screen::Runs | Screen::Parts | Screen::Log | Screen::Report => {
                self.back_a_screen();
            }
            Screen::Switches if self.replan => return self.start_clean(),
            Screen::Switches => self.back_a_screen(),
            Screen::Plan => return self.leave_plan(),
            Screen::Work if self.is_writing() => {
                let is_stopping = self.running.as_ref().is_some_and(|running| running.stopping);
                match is_stopping {
                    true => self.tell("It stops before the next file; what was written is taken back. Wait."),
                    false => self.overlay = Some(Overlay::Stop),
                }
            }
            Screen::Work => self.tell(
                "What was written is being read again; it takes no harm from waiting. This ends by itself.",
            ),
        }
        Vec::new()
    }

    /// The plan is not carried out, whether it is there already or not.
    fn leave_plan(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.proposal.take().is_some() {
            self.running = None;
            effects.push(Effect::Answer(false));
        } else if let Some(running) = &mut self.running {
            running.abandoned = true;
        }
        self.tell("Not carried out: no byte was written.");
        self.back_a_screen();
        effects
    }

    /// Has the worker do something.
    fn begin(&mut self, job: Job) -> Effect {
        self.jobs += 1;
        Effect::Start(job)
    }

    /// Has it do something with the disk.
    fn start(&mut self, job: Job, writes: bool) -> Vec<Effect> {
        self.running = Some(Running::new(self.disk, writes));
        vec![self.begin(job)]
    }

    /// Finds the disks and looks at each; what was told of them before is let go.
    pub(super) fn find(&mut self) -> Vec<Effect> {
        (self.disk, self.found) = (0, false);
        self.disks.clear();
        self.home();
        vec![self.begin(Job::Find)]
    }

    fn start_clean(&mut self) -> Vec<Effect> {
        let Some(path) = self.disk().map(|disk| disk.path.clone()) else { return Vec::new() };
        match std::mem::take(&mut self.replan) {
            // The plan led to the switches, and what led to it leads to the new one.
            true => {
                self.trail.pop();
                self.show(Screen::Plan);
            }
            false => self.open_screen(Screen::Plan),
        }
        let policy = self.policy.clone();
        self.start(Job::Clean(path, policy), true)
    }

    fn start_undo(&mut self, only: Only) -> Vec<Effect> {
        let Some((path, id)) = self.disk().map(|disk| disk.path.clone()).zip(self.run.clone()) else {
            return Vec::new();
        };
        self.open_screen(Screen::Plan);
        self.start(Job::Undo(path, id, only), true)
    }

    fn open_runs(&mut self) -> Vec<Effect> {
        self.open_screen(Screen::Runs);
        let index = self.disk;
        match self.disk() {
            Some(disk) if disk.stale => {
                let job = Job::Look(index, disk.path.clone());
                self.start(job, false)
            }
            _ => Vec::new(),
        }
    }

    fn open_switches(&mut self) -> Vec<Effect> {
        let was_asked = self.screen == Screen::Plan && self.proposal.take().is_some();
        self.open_screen(Screen::Switches);
        self.replan = was_asked;
        if !was_asked {
            return Vec::new();
        }
        self.running = None;
        vec![Effect::Answer(false)]
    }

    fn say_yes(&mut self) -> Vec<Effect> {
        match &self.proposal {
            Some(asked) if asked.discards => {
                self.overlay = Some(Overlay::Entry(Entry::Word, String::new()));
                Vec::new()
            }
            Some(_) => self.carry_out(),
            None => Vec::new(),
        }
    }

    fn carry_out(&mut self) -> Vec<Effect> {
        if self.proposal.take().is_none() {
            return Vec::new();
        }
        if let Some(running) = &mut self.running {
            running.stage = Stage::Writing;
            running.progress = None;
        }
        self.show(Screen::Work);
        vec![Effect::Answer(true)]
    }
}

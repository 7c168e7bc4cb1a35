//! The state of the guided screens and how a message changes it. Draws nothing, reads nothing, writes nothing: what is
//! to be done comes out as [`Effect`]s.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use crate::cleanup::ListedRun;
use crate::cleanup::report::{Report, TargetReport};
use crate::cleanup::report_text::printable;
use crate::cleanup::shown::{Kind, Proposal, line_of, name};
use crate::cleanup::undo::Only;
use crate::event::Event;
use crate::finding::{Finding, Grade};
use crate::policy::Policy;
use crate::tui::keys::{Action, Press, action};
use crate::tui::switches::SWITCHES;
use crate::tui::work::Done;

/// The word that gives a hibernated session up.
pub(super) const DISCARD: &str = "discard";
/// Lines of the log that are kept: a scan of many disks on a machine with little memory must end all the same.
const LOG_LINES: usize = 2000;
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

/// What happened.
pub(super) enum Msg {
    /// A key was pressed.
    Key(Press),
    /// Time has gone on.
    Tick,
    /// The worker tells something.
    News(News),
}

/// What the worker tells.
pub(super) enum News {
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
    /// The report was written into these files, or not.
    Saved(Result<Vec<PathBuf>, String>),
    /// Nothing comes any more.
    Gone,
}

/// What the worker is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
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
}

/// A report on its way to a folder.
#[derive(Clone, Debug)]
pub(super) struct SavedReport(pub(super) Report);

// Jobs are compared in tests alone, and there by the hash that the report has of itself.
impl PartialEq for SavedReport {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for SavedReport {}

/// What is to be done after a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Give the worker a job.
    Start(Job),
    /// Answer the plan that it waits with.
    Answer(bool),
    /// Have it stop before the next file is written.
    Stop,
    /// Leave the program.
    Leave,
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

/// What stands above the screen and takes the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    /// All keys, scrolled by so many lines.
    Help(usize),
    /// Whether to leave.
    Leave,
    /// Whether to stop what is being written.
    Stop,
    /// The word that gives a session up.
    Word(String),
    /// A folder for records.
    StorePath(String),
    /// A folder for the report.
    SavePath(String),
    /// Something to be read.
    Note(String),
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

/// How far a longer piece of work is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) what: &'static str,
    pub(super) done: u64,
    pub(super) total: u64,
    /// When it began.
    pub(super) since: Duration,
}

/// What the worker does.
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
}

/// A disk as it was seen last.
#[derive(Default)]
pub(super) struct DiskView {
    pub(super) path: PathBuf,
    pub(super) done: Option<Done>,
    pub(super) runs: Vec<ListedRun>,
    /// The disk was written since its runs were listed.
    pub(super) stale: bool,
}

impl DiskView {
    pub(super) fn report(&self) -> Option<&Report> {
        self.done.as_ref().map(|done| &done.report)
    }

    pub(super) fn target(&self) -> Option<&TargetReport> {
        self.report().and_then(|report| report.targets.first())
    }

    pub(super) fn name(&self) -> String {
        match self.target() {
            Some(target) => {
                name(&self.path, target.size, target.disk.model.as_deref(), target.disk.serial.as_deref())
            }
            None => name(&self.path, None, None, None),
        }
    }

    pub(super) fn unfinished(&self) -> Option<&ListedRun> {
        self.runs.iter().find(|run| run.unfinished && !self.stale)
    }

    /// The cures among its runs, and undos that were cut; newest first.
    pub(super) fn offered_runs(&self) -> Vec<&ListedRun> {
        self.runs.iter().filter(|run| run.undo_of.is_none() || run.unfinished).collect()
    }

    /// All findings, those that count first, each with its install's number.
    pub(super) fn findings(&self) -> Vec<(usize, &Finding)> {
        let installs = self.target().map(|target| target.installs.as_slice()).unwrap_or_default();
        let all = installs.iter().enumerate();
        let mut found: Vec<(usize, &Finding)> = all
            .flat_map(|(index, install)| install.findings.iter().map(move |finding| (index, finding)))
            .collect();
        found
            .sort_by_key(|(install, finding)| (finding.grade == Grade::Information, *install, finding.grade));
        found
    }
}

/// The parts of a run that can be taken back, the usual one first.
pub(super) const PARTS: [(Only, &str, &str); 3] = [
    (
        Only::Protection,
        "the protection alone",
        "DCOM and packet filter as before: the usual step once the patch is in",
    ),
    (Only::All, "all of it", "the worm and what starts it come back"),
    (Only::Files, "the files' bytes", "the bytes come back; what started them does not"),
];

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
    pub(super) running: Option<Running>,
    /// The disks were found.
    pub(super) found: bool,
    pub(super) proposal: Option<Proposal>,
    /// The run whose parts are shown.
    pub(super) run: Option<String>,
    pub(super) policy: Policy,
    /// Where records go.
    pub(super) store: String,
    pub(super) log: Vec<String>,
    /// The time of the last message.
    pub(super) now: Duration,
    /// A clean is planned anew when the switches are left.
    replan: bool,
    /// The screen that the log, the switches or the report were opened from.
    before: Screen,
}

impl App {
    pub(super) fn new(policy: Policy, store: String) -> Self {
        Self {
            screen: Screen::Disks,
            overlay: None,
            disks: Vec::new(),
            disk: 0,
            selected: 0,
            scroll: 0,
            reach: Reach { most: Cell::new(0), page: Cell::new(PAGE) },
            running: None,
            found: false,
            proposal: None,
            run: None,
            policy,
            store,
            log: Vec::new(),
            now: Duration::ZERO,
            replan: false,
            before: Screen::Disks,
        }
    }

    pub(super) fn disk(&self) -> Option<&DiskView> {
        self.disks.get(self.disk)
    }

    /// The worst of what was told last of each disk; where a run is left unfinished, or there is no disk, nothing can be
    /// said.
    pub(super) fn exit_code(&self) -> u8 {
        let code = |disk: &DiskView| match disk.unfinished() {
            Some(_) => 2,
            None => disk.report().map_or(2, |report| report.exit_code),
        };
        self.disks.iter().map(code).max().unwrap_or(2)
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

    fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// What the keys of this screen may ask for; the footer shows these, and no other key does anything.
    pub(super) fn offers(&self) -> Vec<Action> {
        let seen = self.disk().is_some_and(|disk| disk.done.is_some());
        let mut offers = match self.screen {
            Screen::Disks if seen && self.is_idle() => vec![
                Action::Open,
                Action::Clean,
                Action::Undo,
                Action::Report,
                Action::Switches,
                Action::LookAgain,
                Action::Store,
                Action::Save,
                Action::Log,
            ],
            Screen::Disks if self.is_idle() => vec![Action::LookAgain, Action::Log],
            Screen::Disks if seen => vec![Action::Open, Action::Report, Action::Log],
            Screen::Disks => vec![Action::Log],
            Screen::Findings if self.is_idle() => {
                vec![Action::Clean, Action::Undo, Action::Report, Action::Switches, Action::Log]
            }
            Screen::Findings => vec![Action::Report, Action::Log],
            Screen::Plan if self.proposal.as_ref().is_some_and(|asked| asked.kind == Kind::Clean) => {
                vec![Action::Yes, Action::Switches, Action::Log]
            }
            Screen::Plan if self.proposal.is_some() => vec![Action::Yes, Action::Log],
            Screen::Plan | Screen::Log | Screen::Work => vec![],
            Screen::Report if self.is_idle() => vec![
                Action::Open,
                Action::Undo,
                Action::Save,
                Action::Clean,
                Action::LookAgain,
                Action::Store,
                Action::Log,
            ],
            Screen::Report => vec![Action::Open, Action::Log],
            Screen::Runs | Screen::Parts => vec![Action::Open],
            Screen::Switches => vec![Action::More, Action::Less, Action::Open],
        };
        offers.extend([Action::Help, Action::Back, Action::Up, Action::Down]);
        offers.extend([Action::PageUp, Action::PageDown, Action::First, Action::Last]);
        offers
    }

    /// Changes the state by a message. `now` is the time since the start.
    pub(super) fn update(&mut self, msg: Msg, now: Duration) -> Vec<Effect> {
        self.now = now;
        match msg {
            Msg::Tick => Vec::new(),
            Msg::News(news) => self.hear(news),
            Msg::Key(press) => match self.overlay.take() {
                Some(overlay) => self.answer_overlay(overlay, press),
                None => match action(press).filter(|action| self.offers().contains(action)) {
                    Some(action) => self.act(action),
                    None => Vec::new(),
                },
            },
        }
    }

    pub(super) fn go(&mut self, screen: Screen) {
        if matches!(screen, Screen::Log | Screen::Switches | Screen::Report)
            && !matches!(self.screen, Screen::Log | Screen::Switches | Screen::Report)
        {
            self.before = self.screen;
        }
        self.screen = screen;
        self.scroll = 0;
        self.selected = if screen == Screen::Disks { self.disk } else { 0 };
        if screen == Screen::Log {
            // What has happened last is what is asked for.
            self.scroll = usize::MAX;
        }
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Help => self.overlay = Some(Overlay::Help(0)),
            Action::Up => self.move_by(-1),
            Action::Down => self.move_by(1),
            Action::PageUp => {
                self.scroll = self.scroll.min(self.reach.most.get()).saturating_sub(self.reach.page.get())
            }
            Action::PageDown => {
                self.scroll = self.scroll.saturating_add(self.reach.page.get()).min(self.reach.most.get())
            }
            Action::First => self.scroll = 0,
            Action::Last => self.scroll = self.reach.most.get(),
            Action::Less => self.turn(true),
            Action::More => self.turn(false),
            Action::Log => self.go(Screen::Log),
            Action::Report => self.go(Screen::Report),
            Action::Save => self.overlay = Some(Overlay::SavePath(String::new())),
            Action::Store => self.overlay = Some(Overlay::StorePath(String::new())),
            Action::Clean => return self.start_clean(),
            Action::Undo => return self.open_runs(),
            Action::Switches => return self.open_switches(),
            Action::LookAgain => {
                self.go(Screen::Disks);
                self.found = false;
                self.disks.clear();
                self.disk = 0;
                return vec![Effect::Start(Job::Find)];
            }
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
            0 => {
                let from = self.scroll.min(self.reach.most.get());
                self.scroll = from.saturating_add_signed(step).min(self.reach.most.get());
            }
            length => {
                self.selected = self.selected.saturating_add_signed(step).min(length - 1);
                self.scroll = 0;
                if self.screen == Screen::Disks {
                    self.disk = self.selected;
                }
            }
        }
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
            Screen::Disks => self.go(Screen::Findings),
            Screen::Report => {
                let back = if self.before == Screen::Findings { Screen::Findings } else { Screen::Disks };
                self.go(back);
            }
            Screen::Switches => self.turn(false),
            Screen::Runs => {
                let run = self
                    .disk()
                    .and_then(|disk| disk.offered_runs().get(self.selected).map(|run| (*run).clone()));
                if let Some(run) = run {
                    self.run = Some(run.id.clone());
                    if run.unfinished {
                        // Half of it is no state to leave a disk in: there is nothing to choose.
                        return self.start_undo(Only::All);
                    }
                    self.go(Screen::Parts);
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
            Screen::Findings | Screen::Runs => self.go(Screen::Disks),
            Screen::Parts => self.go(Screen::Runs),
            Screen::Log | Screen::Report => {
                let before = match self.before {
                    Screen::Plan if self.proposal.is_none() => Screen::Disks,
                    Screen::Work if self.is_idle() => Screen::Disks,
                    before => before,
                };
                self.go(before);
            }
            Screen::Switches if self.replan => {
                self.replan = false;
                return self.start_clean();
            }
            Screen::Switches => {
                let before = if self.before == Screen::Plan { Screen::Disks } else { self.before };
                self.go(before);
            }
            Screen::Plan => {
                self.go(Screen::Disks);
                if self.proposal.take().is_some() {
                    self.running = None;
                    self.overlay = Some(Overlay::Note("Not carried out: no byte was written.".to_owned()));
                    return vec![Effect::Answer(false)];
                }
                if let Some(running) = &mut self.running {
                    running.abandoned = true;
                }
            }
            Screen::Work if self.is_writing() => self.overlay = Some(Overlay::Stop),
            Screen::Work => {
                let words = "What was written is being read again; it takes no harm from waiting. This ends by itself.";
                self.overlay = Some(Overlay::Note(words.to_owned()));
            }
        }
        Vec::new()
    }

    fn start(&mut self, job: Job, writes: bool) -> Vec<Effect> {
        self.running = Some(Running {
            disk: self.disk,
            stage: Stage::Reading,
            writes,
            progress: None,
            stopping: false,
            abandoned: false,
        });
        vec![Effect::Start(job)]
    }

    fn start_clean(&mut self) -> Vec<Effect> {
        let Some(path) = self.disk().map(|disk| disk.path.clone()) else { return Vec::new() };
        self.go(Screen::Plan);
        let policy = self.policy.clone();
        self.start(Job::Clean(path, policy), true)
    }

    fn start_undo(&mut self, only: Only) -> Vec<Effect> {
        let Some((path, id)) = self.disk().map(|disk| disk.path.clone()).zip(self.run.clone()) else {
            return Vec::new();
        };
        self.go(Screen::Plan);
        self.start(Job::Undo(path, id, only), true)
    }

    fn open_runs(&mut self) -> Vec<Effect> {
        self.go(Screen::Runs);
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
        self.go(Screen::Switches);
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
                self.overlay = Some(Overlay::Word(String::new()));
                Vec::new()
            }
            Some(_) => self.carry_out(),
            None => Vec::new(),
        }
    }

    fn carry_out(&mut self) -> Vec<Effect> {
        self.proposal = None;
        if let Some(running) = &mut self.running {
            running.stage = Stage::Writing;
            running.progress = None;
        }
        self.go(Screen::Work);
        vec![Effect::Answer(true)]
    }

    fn answer_overlay(&mut self, overlay: Overlay, press: Press) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.overlay = match (overlay, press) {
            (Overlay::Leave, Press::Char('q')) => {
                effects.push(Effect::Leave);
                None
            }
            (Overlay::Stop, Press::Char('s')) => {
                if let Some(running) = self.running.as_mut().filter(|running| running.stage == Stage::Writing)
                {
                    running.stopping = true;
                    effects.push(Effect::Stop);
                }
                None
            }
            (Overlay::Help(from), press) => match action(press) {
                Some(Action::Up | Action::PageUp) => {
                    Some(Overlay::Help(from.saturating_sub(self.reach.page.get())))
                }
                Some(Action::Down | Action::PageDown) => {
                    Some(Overlay::Help(from.saturating_add(self.reach.page.get()).min(self.reach.most.get())))
                }
                _ => None,
            },
            (Overlay::Leave | Overlay::Stop | Overlay::Note(_), _) => None,
            (_, Press::Esc) => None,
            (Overlay::Word(word), Press::Enter) => {
                if word == DISCARD {
                    effects = self.carry_out();
                }
                None
            }
            (Overlay::StorePath(path), Press::Enter) if !path.is_empty() => {
                self.store.clone_from(&path);
                self.disks.iter_mut().for_each(|disk| disk.stale = true);
                effects.push(Effect::Start(Job::Store(PathBuf::from(path))));
                None
            }
            (Overlay::SavePath(path), Press::Enter) if !path.is_empty() => {
                if let Some(report) = self.disk().and_then(DiskView::report) {
                    let report = Box::new(SavedReport(report.clone()));
                    effects.push(Effect::Start(Job::Save(report, PathBuf::from(path))));
                }
                None
            }
            (Overlay::StorePath(_) | Overlay::SavePath(_), Press::Enter) => None,
            (Overlay::Word(text), press) => Some(Overlay::Word(typed(text, press))),
            (Overlay::StorePath(text), press) => Some(Overlay::StorePath(typed(text, press))),
            (Overlay::SavePath(text), press) => Some(Overlay::SavePath(typed(text, press))),
        };
        effects
    }

    fn hear(&mut self, news: News) -> Vec<Effect> {
        match news {
            News::Found(paths) => {
                self.found = true;
                self.disks = paths.into_iter().map(|path| DiskView { path, ..DiskView::default() }).collect();
                self.disk = 0;
                if self.disks.is_empty() {
                    self.running = None;
                }
            }
            News::Looking(disk) => {
                let (stage, progress) = (Stage::Reading, None);
                self.running =
                    Some(Running { disk, stage, writes: false, progress, stopping: false, abandoned: false });
            }
            News::Looked(index, done, runs) => self.looked(index, *done, runs),
            News::Event(event) => self.note(event),
            News::Asked(proposal) => {
                if self.running.as_ref().is_none_or(|running| running.abandoned) {
                    self.running = None;
                    return vec![Effect::Answer(false)];
                }
                if let Some(running) = &mut self.running {
                    running.stage = Stage::Asked;
                    running.progress = None;
                }
                self.proposal = Some(*proposal);
                self.overlay = None;
                self.go(Screen::Plan);
            }
            News::Ended(done) => self.ended(*done),
            News::Failed(words) => {
                self.log(format!("NOT DONE: {words}"));
                self.running = None;
                self.proposal = None;
                if matches!(self.screen, Screen::Plan | Screen::Work | Screen::Runs) {
                    self.go(Screen::Disks);
                }
                self.overlay = Some(Overlay::Note(format!("Not done: {words}")));
            }
            News::Saved(Ok(files)) => {
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                self.overlay = Some(Overlay::Note(format!("Saved: {}", files.join(", "))));
            }
            News::Saved(Err(words)) => self.overlay = Some(Overlay::Note(format!("Not saved: {words}"))),
            News::Gone => {
                let was_writing = self.is_writing();
                self.running = None;
                self.proposal = None;
                let more = match was_writing {
                    true => " What it left is taken back first by the next run with the same store.",
                    false => " No byte was being written.",
                };
                self.overlay = Some(Overlay::Note(format!(
                    "The work ended without a result; leave and start again.{more}"
                )));
            }
        }
        Vec::new()
    }

    fn looked(&mut self, index: usize, done: Done, runs: Vec<ListedRun>) {
        if self.running.as_ref().is_some_and(|running| running.disk == index) {
            self.running = None;
        }
        if let Some(disk) = self.disks.get_mut(index) {
            done.files.iter().for_each(|file| self.log.push(format!("report: {}", file.display())));
            *disk = DiskView { path: disk.path.clone(), done: Some(done), runs, stale: false };
        }
        // A disk that is half written goes before all others.
        let cut =
            self.disks.get(index).and_then(|disk| disk.unfinished().map(|run| (disk.name(), run.id.clone())));
        if let Some((name, id)) = cut
            && matches!(self.screen, Screen::Disks)
        {
            self.disk = index;
            self.selected = index;
            let words = format!(
                "The run {id} on {name} was cut: the disk is neither as before it nor as after it. Take it back first: \
                 u shows it. Nothing is written before you have said yes."
            );
            self.overlay = Some(Overlay::Note(words));
        }
    }

    fn ended(&mut self, done: Done) {
        // Whoever answered with no has gone on already.
        if done.declined {
            return;
        }
        let index = self.running.as_ref().map_or(self.disk, |running| running.disk);
        self.running = None;
        self.proposal = None;
        for line in &done.records {
            self.log(format!("record of the run: {line}"));
        }
        if let Some(disk) = self.disks.get_mut(index) {
            disk.done = Some(done);
            disk.stale = true;
        }
        self.disk = index;
        self.overlay = None;
        self.before = Screen::Disks;
        self.screen = Screen::Work;
        self.go(Screen::Report);
        self.before = Screen::Disks;
    }

    fn note(&mut self, event: Event) {
        if let Some(running) = &mut self.running {
            match &event {
                Event::Progress { what, done, total } => {
                    let now = self.now;
                    let since = running
                        .progress
                        .as_ref()
                        .filter(|progress| progress.what == *what && progress.done <= *done);
                    let since = since.map_or(now, |progress| progress.since);
                    running.progress = Some(Progress { what, done: *done, total: *total, since });
                }
                // Names are removed behind the first verification.
                Event::StoreReady { .. } | Event::Written { .. } => running.stage = Stage::Writing,
                Event::Target { .. } if running.stage == Stage::Writing => {
                    running.stage = Stage::Verifying;
                    running.progress = None;
                }
                _ => {}
            }
        }
        if let Some(line) = line_of(&event) {
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

fn typed(mut text: String, press: Press) -> String {
    match press {
        Press::Char(c) if text.chars().count() < 400 => text.push(c),
        Press::Backspace => drop(text.pop()),
        _ => {}
    }
    text
}

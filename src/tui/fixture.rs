//! States for the tests of the screens: made by messages alone, from reports of practice runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crate::cleanup::ListedRun;
use crate::cleanup::report::Report;
use crate::cleanup::shown::{Kind, Proposal};
use crate::cleanup::verdict::Verdict;
use crate::event::Event;
use crate::policy::Policy;
use crate::tui::app::{App, Effect, Msg, News, Setup};
use crate::tui::keys::Press;
use crate::tui::theme::{Palette, Theme};
use crate::tui::work::Done;

pub(super) const DISK: &str = "/dev/sda (37 GiB, ST340014A, 5JX0ABCD)";
pub(super) const RUN: &str = "0001-20030816-120000";

pub(super) fn report(name: &str) -> Report {
    static READ: Mutex<BTreeMap<String, Report>> = Mutex::new(BTreeMap::new());
    let read = || {
        let path = format!("{}/tests/tui/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    READ.lock().unwrap().entry(name.to_owned()).or_insert_with(read).clone()
}

/// A look at a disk of which nothing may be written.
pub(super) fn refused() -> Done {
    let mut done = done("found");
    done.report.verdict = Verdict::Undetermined;
    done.report.exit_code = 2;
    done.report.reasons = vec![
        r"\WINDOWS on /dev/sda: this Windows was left as it is: a Windows on this disk is hibernated; start it and shut it down properly, or give its session up with --hibernation discard"
            .to_owned(),
    ];
    done
}

pub(super) fn done(name: &str) -> Done {
    let records = if name == "cleaned" { vec![format!("/var/lib/deblast/{RUN}")] } else { Vec::new() };
    let files = ["json", "txt", "html"]
        .map(|end| PathBuf::from(format!("/media/stick/deblast-20030816-120000.{end}")));
    Done { report: report(name), files: files.to_vec(), records, troubles: Vec::new(), declined: false }
}

pub(super) fn run(unfinished: bool) -> ListedRun {
    ListedRun {
        id: RUN.to_owned(),
        started: "2003-08-16T12:00:00Z".to_owned(),
        undo_of: None,
        in_force: if unfinished { 2 } else { 4 },
        changes: 4,
        unfinished,
    }
}

pub(super) fn proposal(kind: Kind) -> Proposal {
    let file =
        |path: &str, what: &[&str]| (path.to_owned(), what.iter().map(|what| (*what).to_owned()).collect());
    Proposal {
        kind,
        disk: DISK.to_owned(),
        run_id: (kind != Kind::Clean).then(|| RUN.to_owned()),
        files: vec![
            file(
                r"\WINDOWS\system32\msblast.exe",
                &[r"quarantine \WINDOWS\system32\msblast.exe (6176 bytes) and overwrite it with zeros"],
            ),
            file(
                r"\WINDOWS\system32\config\software",
                &[
                    r"delete the value SOFTWARE\Microsoft\Windows\CurrentVersion\Run [windows auto update]",
                    r#"change the value SOFTWARE\Microsoft\Ole [EnableDCOM] from REG_SZ "Y" to REG_SZ "N""#,
                ],
            ),
        ],
        unlinks: Vec::new(),
        left: Vec::new(),
        notes: vec![
            "the record goes to /var/lib/deblast and takes at most 1.3 MiB; 2 GiB are free there".to_owned(),
        ],
        warning: (kind == Kind::Undo).then_some(
            "this brings back what the run removed: do not start that Windows with a network connected",
        ),
        discards: false,
    }
}

pub(super) fn setup() -> Setup {
    Setup {
        policy: Policy::default(),
        store: "/var/lib/deblast".to_owned(),
        theme: Theme { unicode: true, dark: false, palette: Palette::Colour },
        is_practice: false,
        live: false,
        medium: None,
    }
}

/// An app that messages are given to.
pub(super) struct Played {
    pub(super) app: App,
    pub(super) now: Duration,
    pub(super) effects: Vec<Effect>,
}

impl Played {
    pub(super) fn new() -> Self {
        Self::of(setup())
    }

    fn of(setup: Setup) -> Self {
        let mut app = App::new(setup);
        app.find();
        Self { app, now: Duration::ZERO, effects: Vec::new() }
    }

    /// Two disks, of which the first was looked at.
    pub(super) fn seen(unfinished: bool) -> Self {
        Self::new().sees(unfinished)
    }

    fn sees(self, unfinished: bool) -> Self {
        let mut played = self;
        played.hear(News::Found(vec!["/dev/sda".into(), "/dev/sdb".into()]));
        played.hear(News::Looking(0));
        played.hear(News::Event(Event::Target { path: "/dev/sda".into(), size: 40_020_664_320 }));
        let runs = if unfinished { vec![run(true)] } else { Vec::new() };
        played.hear(News::Looked(0, Box::new(done("found")), runs));
        played.hear(News::Free);
        played
    }

    /// A plan that waits for the yes.
    pub(super) fn asked() -> Self {
        let mut played = Self::seen(false);
        played.keys("c");
        played.ask(proposal(Kind::Clean));
        played
    }

    /// The disk is written.
    pub(super) fn writing() -> Self {
        let mut played = Self::asked();
        played.keys("y");
        played.hear(News::Event(Event::StoreReady { folder: format!("/var/lib/deblast/{RUN}").into() }));
        played.hear(News::Event(Event::Written {
            path: r"\WINDOWS\system32\msblast.exe".to_owned(),
            sectors: 13,
        }));
        played
    }

    /// What was written is read again.
    pub(super) fn verifying() -> Self {
        let mut played = Self::writing();
        played.hear(News::Event(Event::Target { path: "/dev/sda".into(), size: 40_020_664_320 }));
        let progress =
            |done| News::Event(Event::Progress { what: "reading the file table", done, total: 64 << 20 });
        played.hear(progress(1 << 20));
        played.now += Duration::from_secs(4);
        played.hear(progress(40 << 20));
        played
    }

    /// It has ended.
    pub(super) fn cleaned() -> Self {
        let mut played = Self::verifying();
        played.hear(News::Ended(Box::new(done("cleaned"))));
        played.hear(News::Free);
        played
    }

    /// The same from another start.
    pub(super) fn cleaned_by(setup: Setup) -> Self {
        let mut played = Self::of(setup).sees(false);
        played.keys("c");
        played.ask(proposal(Kind::Clean));
        played.keys("y");
        played.hear(News::Ended(Box::new(done("cleaned"))));
        played.hear(News::Free);
        played
    }

    /// A plan comes, is drawn, and stands there for a while.
    pub(super) fn ask(&mut self, proposal: Proposal) {
        self.hear(News::Asked(Box::new(proposal)));
        self.tell(Msg::Drawn);
        self.now += Duration::from_secs(1);
        self.tell(Msg::Tick);
    }

    pub(super) fn tell(&mut self, msg: Msg) {
        self.effects.extend(self.app.update(msg, self.now));
    }

    pub(super) fn hear(&mut self, news: News) {
        self.tell(Msg::News(news));
    }

    pub(super) fn press(&mut self, press: Press) {
        self.tell(Msg::Key(press));
    }

    pub(super) fn keys(&mut self, keys: &str) {
        keys.chars().for_each(|key| self.press(Press::Char(key)));
    }
}

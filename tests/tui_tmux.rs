//! The guided screens as somebody types at them: the real binary in tmux, driven by keys alone, the disk judged
//! afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Case, Ran, digest, judge, skip};

/// A terminal with the program on it.
struct Screen {
    socket: String,
    exit: PathBuf,
}

impl Screen {
    /// None, with a word, where there is no tmux.
    fn open(case: &Case, size: (u16, u16), options: &[&str]) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skip("there is no tmux to draw the screens on");
            return None;
        }
        let store = case.store();
        let command = case.on_disk(&[&["--store", store.to_str().unwrap()], options].concat());
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let exit = case.path("exit");
        let home = case.path("");
        let shell = format!(
            "HOME={0} {1}; echo $? > {2}; sleep 600",
            home.display(),
            words.join(" "),
            exit.display()
        );
        let socket = case.path("tmux").to_str().unwrap().to_owned();
        let (width, height) = (size.0.to_string(), size.1.to_string());
        judge(
            Command::new("tmux")
                .args(["-S", &socket, "-f", "/dev/null", "new-session", "-d"])
                .args(["-x", &width, "-y", &height, &shell]),
        );
        let screen = Self { socket, exit };
        screen.tmux(&["set", "-g", "status", "off"]);
        screen.tmux(&["resize-window", "-x", &width, "-y", &height]);
        Some(screen)
    }

    fn tmux(&self, words: &[&str]) -> String {
        String::from_utf8(judge(Command::new("tmux").args(["-S", &self.socket]).args(words))).unwrap()
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until these words are shown.
    #[track_caller]
    fn awaits(&self, words: &str) -> &Self {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if self.shown().contains(words) {
                return self;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("expected {words:?} on the screen:\n{}", self.shown());
    }

    fn key(&self, key: &str) -> &Self {
        self.tmux(&["send-keys", key]);
        self
    }

    /// Waits until the program has ended; its exit code.
    #[track_caller]
    fn ends(&self) -> i32 {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Ok(code) = fs::read_to_string(&self.exit).unwrap_or_default().trim().parse() {
                return code;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it did not end:\n{}", self.shown());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}

/// The main job by keys: looked at, cleaned with two keys, verified; then taken back, to the byte.
#[test]
fn a_clean_and_its_undo_by_keys_alone() {
    let Some(case) = Case::practice() else { return };
    let folder = case.path("reports");
    let reports = ["--report-dir", folder.to_str().unwrap()];
    let Some(screen) = Screen::open(&case, (80, 25), &reports) else { return };
    screen.awaits("INFECTED").key("c").awaits("Nothing has been written yet");
    assert_eq!(digest(&case.bytes()), digest(&case.original), "before the yes");
    screen.key("y").awaits("C L E A N E D").awaits("Next steps");
    // The store counts one run; batch, which knows nothing of the screens, finds a clean disk.
    assert_eq!(case.runs().len(), 1);
    case.scan().exits(0);
    screen.key("u").awaits("4 of 4 changes in force").key("Enter").awaits("the protection alone");
    screen.key("Down").key("Enter").awaits("WARNING: this brings back").key("y").awaits("D O N E");
    assert_eq!(digest(&case.bytes()), digest(&case.original), "the undo to the byte");
    screen.key("q").awaits("Disks").key("q").awaits("Leave?").key("q");
    assert_eq!(screen.ends(), 0);
    // What is left on the screen when it is left.
    screen.awaits("DONE").awaits("report:");
    let names = fs::read_dir(&folder).unwrap().count();
    assert_eq!(names, 4 * 3, "a look, a clean, a look for its runs, an undo: three files each");
}

/// Enter and nothing else, from start to end, at the smallest terminal.
#[test]
fn enter_alone_changes_no_byte() {
    let Some(case) = Case::practice() else { return };
    let Some(screen) = Screen::open(&case, (60, 18), &[]) else { return };
    screen.awaits("INFECTED");
    for _ in 0..30 {
        screen.key("Enter");
    }
    screen.key("c").awaits("Nothing has been written yet");
    for _ in 0..30 {
        screen.key("Enter");
    }
    std::thread::sleep(Duration::from_millis(500));
    screen.awaits("Nothing has been written yet").key("q").awaits("no byte was written");
    screen.key("Enter").key("q").awaits("Leave?").key("q");
    assert_eq!(screen.ends(), 1);
    assert_eq!(digest(&case.bytes()), digest(&case.original));
    assert!(!case.store().exists());
}

/// A terminal that is made smaller and larger meanwhile, too small at last: it is drawn anew each time.
#[test]
fn the_terminal_may_change_its_size() {
    let Some(case) = Case::practice() else { return };
    let Some(screen) = Screen::open(&case, (132, 43), &[]) else { return };
    screen.awaits("INFECTED");
    for (size, words) in
        [(("60", "18"), "q leave"), (("40", "10"), "Deblast needs 60"), (("100", "37"), "q leave")]
    {
        screen.tmux(&["resize-window", "-x", size.0, "-y", size.1]);
        screen.awaits(words);
    }
    screen.key("q").awaits("Leave?").key("x").key("q").key("q");
    assert_eq!(screen.ends(), 1);
}

/// A dumb terminal has no cursor to place: the questions.
#[test]
fn a_dumb_terminal_gets_questions() {
    let Some(case) = Case::practice() else { return };
    let mut terminal = Command::new("sh");
    let store = case.store();
    let command = case.on_disk(&["--store", store.to_str().unwrap()]);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    terminal.args(["-c", "printf 'q\\n' | TERM=dumb script -qec \"$1\" /dev/null", "sh", &words.join(" ")]);
    let ran = Ran::of(&mut terminal).exits(1);
    ran.says("A number from 1 to 8, or q:");
    ran.require(!ran.stdout.contains('\u{1b}'), "no control sequence");
}

/// A serial line may be read by a script, which tells nobody where its cursor is: nothing is asked of it.
#[test]
fn a_terminal_that_answers_no_question_is_drawn_on() {
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    let command = case.on_disk(&["--store", store.to_str().unwrap()]);
    let words: Vec<&str> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let mut terminal = Command::new("sh");
    let typed =
        "{ sleep 3; printf q; sleep 1; printf q; } | script -qec \"stty cols 80 rows 25; $1\" /dev/null";
    terminal.env("TERM", "vt100").env("LC_ALL", "C").args(["-c", typed, "sh", &words.join(" ")]);
    let ran = Ran::of(&mut terminal).exits(1);
    ran.says("Inspect").says("INFECTED").says("Leave?");
    ran.require(!ran.stdout.contains("\u{1b}[6n"), "the place of the cursor not to be asked for");
    case.must_be_as_at_first(&ran);
}

/// The terminal is closed in the midst of the writes, again and again at other moments: the next run completes or takes
/// back, and what it leaves is one of the two whole states.
#[test]
fn a_terminal_that_closes_leaves_what_the_next_run_settles() {
    let Some(case) = Case::practice() else { return };
    for moment in [0, 15, 40, 80, 150] {
        fs::write(&case.disk, &case.original).unwrap();
        let _ = fs::remove_dir_all(case.store());
        let Some(screen) = Screen::open(&case, (80, 25), &[]) else { return };
        screen.awaits("INFECTED").key("c").awaits("Nothing has been written yet").key("y");
        std::thread::sleep(Duration::from_millis(moment));
        drop(screen);
        // Whoever was writing is gone with its terminal.
        std::thread::sleep(Duration::from_millis(500));
        let next = case.clean(&[]);
        next.exits(0);
        case.scan().exits(0);
        // Runs that were cut and taken back first have nothing left to undo.
        case.undo(&[]).exits(0);
        assert_eq!(digest(&case.bytes()), digest(&case.original), "after {moment} ms");
    }
}

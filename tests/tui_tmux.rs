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
use std::sync::atomic::{AtomicU32, Ordering};
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
        let store = case.store();
        let command = case.on_disk(&[&["--store", store.to_str().unwrap()], options].concat());
        Self::run(case, size, "", &command)
    }

    /// The same with variables of its environment, and without a disk where there is none to name.
    fn run(case: &Case, size: (u16, u16), variables: &str, command: &Command) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skip("there is no tmux to draw the screens on");
            return None;
        }
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let exit = case.path("exit");
        let home = case.path("");
        let shell = format!(
            "HOME={0} {variables} {1}; echo $? > {2}; sleep 600",
            home.display(),
            words.join(" "),
            exit.display()
        );
        // One of its own: the server of an earlier screen may not have ended yet.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let socket = case.path(&format!("tmux-{}", COUNT.fetch_add(1, Ordering::SeqCst)));
        let socket = socket.to_str().unwrap().to_owned();
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

    /// The program itself, below the shell of the terminal.
    fn pid(&self) -> String {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        fs::read_to_string(children).unwrap().split_whitespace().next().unwrap().to_owned()
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

/// What is typed at a terminal that can do nothing.
fn on_a_terminal(command: &mut Command, answers: &str) -> Ran {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let mut terminal = Command::new("sh");
    let script = "printf '%s' \"$2\" | TERM=dumb script -qec \"$1\" /dev/null";
    terminal.args(["-c", script, "sh", &words.join(" "), answers]);
    Ran::of(&mut terminal)
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
    screen.awaits("y carry out").key("y").awaits("C L E A N E D").awaits("Next steps");
    // The store counts one run; batch, which knows nothing of the screens, finds a clean disk.
    assert_eq!(case.runs().len(), 1);
    case.scan().exits(0);
    screen.key("u").awaits("4 of 4 changes in force").key("Enter").awaits("the protection alone");
    screen
        .key("Down")
        .key("Enter")
        .awaits("WARNING: this brings back")
        .awaits("y carry out")
        .key("y")
        .awaits("D O N E");
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
    // Back to the findings, where those Enters led, and out.
    screen.key("Enter").awaits("Findings on").key("q").awaits("q leave").key("q").awaits("Leave?").key("q");
    assert_eq!(screen.ends(), 1);
    assert_eq!(digest(&case.bytes()), digest(&case.original));
    assert!(!case.store().exists());
}

/// Where the live image has started it the machine may be switched off: that is asked once, and left as a wish.
#[test]
fn switching_off_is_a_wish_in_the_landmarks() {
    let Some(case) = Case::practice() else { return };
    let landmarks = case.path("landmarks");
    let options = ["--live", "--landmarks", landmarks.to_str().unwrap()];
    let Some(screen) = Screen::open(&case, (80, 25), &options) else { return };
    screen
        .awaits("o power off")
        .key("o")
        .awaits("Switch the machine off?")
        .key("Enter")
        .awaits("o power off");
    screen.key("o").awaits("Switch the machine off?").key("o");
    assert_eq!(screen.ends(), 1);
    let told = fs::read_to_string(&landmarks).unwrap();
    assert_eq!(told.lines().filter(|line| *line == "WANT poweroff").count(), 1, "{told}");
    assert_eq!(told.lines().last(), Some("WANT poweroff"), "{told}");
    assert_eq!(digest(&case.bytes()), digest(&case.original));
    // By numbers too: the last, and only y is yes. Left otherwise, nothing is wished for.
    fs::remove_file(&landmarks).unwrap();
    let store = case.store();
    let words = [&["--plain", "--store", store.to_str().unwrap()], &options[..]].concat();
    for (answers, wished) in [("10\n\n10\nyes\nq\n", 0), ("10\ny\n", 1)] {
        let mut command = case.on_disk(&words);
        let ran = on_a_terminal(&mut command, answers).exits(1);
        ran.says("switch this machine off");
        let told = fs::read_to_string(&landmarks).unwrap();
        ran.require(told.matches("WANT").count() == wished, &told);
    }
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
    let store = case.store();
    let ran = on_a_terminal(&mut case.on_disk(&["--store", store.to_str().unwrap()]), "q\n").exits(1);
    ran.says("A number from 1 to 9, or q:");
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
        screen.awaits("INFECTED").key("c").awaits("y carry out").key("y");
        std::thread::sleep(Duration::from_millis(moment));
        drop(screen);
        is_gone_with_its_terminal(&case);
        let next = case.clean(&[]);
        next.exits(0);
        case.scan().exits(0);
        // Runs that were cut and taken back first have nothing left to undo.
        case.undo(&[]).exits(0);
        assert_eq!(digest(&case.bytes()), digest(&case.original), "after {moment} ms");
    }
}

/// Waits until nobody works on the disk any more.
#[track_caller]
fn is_gone_with_its_terminal(case: &Case) {
    let is_there = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut words = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        words.any(|words| {
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains("deblast\0") && words.contains(case.disk.to_str().unwrap())
        })
    };
    let begun = Instant::now();
    while is_there() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it lives on without its terminal");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nobody is left behind, busy with a terminal that is gone: while it waits, while it asks, while something is typed.
#[test]
fn a_terminal_that_closes_takes_the_program_with_it() {
    let Some(case) = Case::practice() else { return };
    for keys in [&[][..], &["c"], &["p"], &["Enter"]] {
        let Some(screen) = Screen::open(&case, (80, 25), &[]) else { return };
        screen.awaits("INFECTED");
        for key in keys {
            screen.key(key);
            std::thread::sleep(Duration::from_millis(300));
        }
        drop(screen);
        is_gone_with_its_terminal(&case);
    }
    assert_eq!(digest(&case.bytes()), digest(&case.original));
}

/// What was typed before the plan could be read is no yes to it; what comes in one go with other keys is none either.
#[test]
fn a_yes_typed_ahead_changes_no_byte() {
    let Some(case) = Case::practice() else { return };
    let Some(screen) = Screen::open(&case, (80, 25), &[]) else { return };
    screen.awaits("INFECTED").tmux(&["send-keys", "c", "y"]);
    screen.awaits("y carry out");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(digest(&case.bytes()), digest(&case.original));
    // As somebody pastes by accident, or a line makes noise.
    screen.tmux(&["send-keys", "-l", "may"]);
    screen.awaits("does not count");
    assert_eq!(digest(&case.bytes()), digest(&case.original));
    assert!(!case.store().exists());
    screen.key("Enter").awaits("y carry out").key("q").awaits("no byte was written");
}

/// From the start to the undo, and not a file is left, nor a disk looked at but that one.
#[test]
fn practice_leaves_nothing() {
    let Some(case) = Case::practice() else { return };
    let folder = case.path("tmp");
    fs::create_dir(&folder).unwrap();
    let variables = format!("TMPDIR={}", folder.display());
    let command = case.command(&["--practice"]);
    let Some(screen) = Screen::run(&case, (80, 25), &variables, &command) else { return };
    screen.awaits("PRACTICE").awaits("INFECTED").key("c").awaits("y carry out");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "one disk, in that folder");
    screen.key("y").awaits("C L E A N E D").awaits("Nothing real was touched");
    screen.key("u").awaits("4 of 4 changes in force").key("Enter").awaits("the protection alone");
    screen.key("Down").key("Enter").awaits("y carry out").key("y").awaits("D O N E");
    screen.key("q").awaits("Disks").key("q").awaits("Leave?").key("q");
    assert_eq!(screen.ends(), 0);
    screen.awaits("That was practice");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert!(!case.store().exists() && !case.path(".local").exists());
    // By numbers, and left by a signal.
    let words = format!("{} --practice --plain", env!("CARGO_BIN_EXE_deblast"));
    let script = format!("printf '2\\ny\\nq\\n' | {variables} script -qec '{words}' /dev/null");
    let ran = Ran::of(Command::new("sh").args(["-c", &script])).exits(0);
    ran.says("PRACTICE.").says("VERDICT: CLEANED").says("nothing real was touched").says("That was practice");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    drop(screen);
    fs::remove_file(case.path("exit")).unwrap();
    let Some(screen) = Screen::run(&case, (80, 25), &variables, &command) else { return };
    screen.awaits("INFECTED");
    judge(Command::new("kill").args(["-TERM", &screen.pid()]));
    assert_eq!(screen.ends(), 2);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// A guided run is saved; what that file says does the same to another copy of the disk, unasked.
#[test]
fn a_saved_run_does_the_same_in_a_batch() {
    let Some(case) = Case::practice() else { return };
    let Some(screen) = Screen::open(&case, (100, 37), &[]) else { return };
    let stick = case.path("stick");
    fs::create_dir(&stick).unwrap();
    fs::write(stick.join("deblast.toml"), "mode = \"shell\"\n").unwrap();
    // Decided otherwise than usual: DCOM is left, and the name stays.
    screen.awaits("INFECTED").key("s").awaits("< auto >").key("Right").key("Right").awaits("< leave >");
    for _ in 0..5 {
        screen.key("Down");
    }
    screen.key("Right").key("Right").awaits("< never >").key("q").awaits("Disks").key("c");
    screen.awaits("y carry out").key("y").awaits("Report on").awaits("verified: 2 of 2").key("b");
    screen.awaits("Save as a batch file").tmux(&["send-keys", "-l", stick.to_str().unwrap()]);
    screen.key("Enter").awaits("deblast-1.toml");
    let saved = fs::read_to_string(stick.join("deblast.toml")).unwrap();
    let saved: toml::Table = saved.parse().unwrap();
    assert_eq!((saved["mode"].as_str(), saved["end"].as_str()), (Some("batch"), Some("poweroff")));
    assert_eq!(fs::read_to_string(stick.join("deblast-1.toml")).unwrap(), "mode = \"shell\"\n");
    let options = saved["options"].as_str().unwrap();
    assert!(options.starts_with("clean --yes --dcom leave --remove never "), "{options}");
    let copy = Case::of(case.original.clone());
    let typed = format!("{} {options} {}", env!("CARGO_BIN_EXE_deblast"), copy.disk.display());
    Ran::of(Command::new("sh").args(["-c", &typed])).exits(1).says("VERDICT: EXPOSED");
    // Hives tell when they were written last: the same places, not the same bytes.
    let places = |case: &Case| common::changed_sectors(&case.original, &case.bytes());
    assert_eq!(places(&copy), places(&case));
    let verdicts = [&copy, &case].map(|case| case.scan().exits(1).at("/verdict"));
    assert_eq!(verdicts[0], verdicts[1]);
}

/// The key goes through colours, high contrast and none; NO_COLOR and --theme decide how it begins.
#[test]
fn colours_are_changed_by_a_key() {
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    let coloured = |screen: &Screen| {
        let shown = screen.tmux(&["capture-pane", "-p", "-e"]);
        let has = |codes: &[&str]| codes.iter().any(|code| shown.contains(code));
        (has(&["38;5;1m", "38;5;6m", "[31m", "[36m"]), has(&["48;5;0m", "[40m"]))
    };
    for (variables, option, seen) in [
        ("", "--theme=auto", [(true, false), (false, true), (false, false), (true, false)]),
        ("NO_COLOR=1", "--theme=auto", [(false, false), (true, false), (false, true), (false, false)]),
        ("", "--theme=high-contrast", [(false, true), (false, false), (true, false), (false, true)]),
    ] {
        let command = case.on_disk(&["--store", store.to_str().unwrap(), option]);
        let Some(screen) = Screen::run(&case, (80, 25), variables, &command) else { return };
        screen.awaits("INFECTED");
        let words = screen.shown();
        for seen in seen {
            std::thread::sleep(Duration::from_millis(600));
            assert_eq!(coloured(&screen), seen, "{variables} {option}");
            assert_eq!(screen.shown(), words, "the same words");
            screen.key("t");
        }
    }
}

/// A signal that asks it to end: the terminal is given back; in the midst of the writes the disk is taken back, or was
/// done already.
#[test]
fn a_signal_loses_nothing() {
    let Some(case) = Case::practice() else { return };
    let cleaned = Case::of(case.original.clone());
    cleaned.clean(&[]).exits(0);
    let whole = common::changed_sectors(&case.original, &cleaned.bytes());
    for (signal, moment) in
        [("TERM", None), ("HUP", None), ("TERM", Some(0)), ("TERM", Some(30)), ("INT", Some(80))]
    {
        fs::write(&case.disk, &case.original).unwrap();
        let _ = fs::remove_dir_all(case.store());
        let _ = fs::remove_file(case.path("exit"));
        let Some(screen) = Screen::open(&case, (80, 25), &[]) else { return };
        screen.awaits("INFECTED");
        if let Some(moment) = moment {
            screen.key("c").awaits("y carry out").key("y");
            std::thread::sleep(Duration::from_millis(moment));
        }
        judge(Command::new("kill").args([&format!("-{signal}"), &screen.pid()]));
        assert_eq!(screen.ends(), 2);
        screen.awaits("A signal has ended Deblast.");
        let places = common::changed_sectors(&case.original, &case.bytes());
        assert!(
            places.is_empty() || places == whole,
            "{signal} {moment:?}: neither before nor after: {places:?}"
        );
    }
}

/// The same where it is certain that the writes have begun and not ended: the disk is as before when it has ended.
#[test]
fn a_signal_in_the_midst_of_the_writes_has_them_taken_back() {
    if !cfg!(debug_assertions) {
        skip("writes are slowed down in a program with debug assertions alone");
        return;
    }
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    for signal in ["TERM", "HUP"] {
        let _ = fs::remove_file(case.path("exit"));
        let command = case.on_disk(&["--store", store.to_str().unwrap()]);
        let Some(screen) = Screen::run(&case, (80, 25), "DEBLAST_FAULT=slow", &command) else { return };
        screen.awaits("INFECTED").key("c").awaits("y carry out").key("y").awaits("  written: ");
        assert_ne!(digest(&case.bytes()), digest(&case.original), "the writes have begun");
        judge(Command::new("kill").args([&format!("-{signal}"), &screen.pid()]));
        assert_eq!(screen.ends(), 2);
        assert_eq!(digest(&case.bytes()), digest(&case.original), "{signal}");
        screen.awaits("A signal has ended Deblast.");
    }
}

/// A fault of the program itself, on either thread, at rest and in the midst of the writes: the terminal is given back or
/// kept, the record is named, and the next run settles the disk.
#[test]
fn a_fault_gives_the_terminal_back_and_names_the_record() {
    if !cfg!(debug_assertions) {
        skip("faults are injected into a program with debug assertions alone");
        return;
    }
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    for (fault, told) in [
        ("screen", "a fault that was asked for"),
        ("screen-writing", "a fault that was asked for"),
        ("work", "No byte was being written"),
        ("work-writing", "The record is in"),
    ] {
        fs::write(&case.disk, &case.original).unwrap();
        let _ = fs::remove_dir_all(&store);
        let _ = fs::remove_file(case.path("exit"));
        let command = case.on_disk(&["--store", store.to_str().unwrap()]);
        let variables = format!("RUST_BACKTRACE=0 DEBLAST_FAULT={fault}");
        let Some(screen) = Screen::run(&case, (100, 37), &variables, &command) else { return };
        if fault.ends_with("-writing") {
            screen.awaits("INFECTED").key("c").awaits("y carry out").key("y");
        }
        screen.awaits(told);
        if fault.starts_with("work") {
            screen.key("Enter").key("q").awaits("Leave?").key("q");
            assert_eq!(screen.ends(), 2, "{fault}");
            screen.awaits("WITHOUT A RESULT");
        } else {
            assert_eq!(screen.ends(), 101, "{fault}");
            screen.awaits(told);
        }
        if fault == "screen-writing" {
            // Its worker brings it to an end that is told.
            screen.awaits("disk.img");
        }
        case.clean(&[]).exits(0);
        case.undo(&[]).exits(0);
        assert_eq!(digest(&case.bytes()), digest(&case.original), "{fault}");
    }
}

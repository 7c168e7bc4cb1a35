//! The mirror over real terminals, and what is started with what.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::*;

/// The far side of a console: what the technician or the bench sees and types.
struct Terminal {
    near: OwnedFd,
    far: File,
}

/// A folder like /dev with a console on a terminal of its own.
fn plug(folder: &Path, name: &str, size: Option<(u16, u16)>) -> Terminal {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&far).unwrap();
    let path = PathBuf::from(std::ffi::OsString::from_vec(ptsname(&far, Vec::new()).unwrap().into_bytes()));
    let near = File::options().read(true).write(true).open(&path).unwrap();
    match size {
        Some((ws_col, ws_row)) => {
            tcsetwinsize(&near, Winsize { ws_col, ws_row, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        }
        None => {
            let mut modes = tcgetattr(&near).unwrap();
            modes.set_speed(9600).unwrap();
            tcsetattr(&near, OptionalActions::Now, &modes).unwrap();
        }
    }
    std::os::unix::fs::symlink(&path, folder.join(name)).unwrap();
    Terminal { near: near.into(), far: far.into() }
}

/// Reads all that arrives, in its own thread.
fn listen(terminal: &Terminal) -> Receiver<Vec<u8>> {
    let mut far = terminal.far.try_clone().unwrap();
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = far.read(&mut bytes) {
            if send.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

fn heard(from: &Receiver<Vec<u8>>) -> String {
    let mut all = Vec::new();
    while let Ok(bytes) = from.recv_timeout(Duration::from_millis(300)) {
        all.extend(bytes);
    }
    String::from_utf8_lossy(&all).into_owned()
}

struct Bench {
    folder: tempfile::TempDir,
    screen: Terminal,
    line: Terminal,
    consoles: Consoles,
    fifo: File,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let screen = plug(folder.path(), "tty1", Some((128, 48)));
        let line = plug(folder.path(), "ttyS0", None);
        // A third that does not exist, as on machines without a second serial port.
        let names = ["tty1", "ttyS0", "ttyS9"].map(str::to_owned);
        let consoles = Consoles::open(folder.path(), &names, &["ttyS0".to_owned()]);
        assert_eq!(consoles.0.len(), 2);
        let fifo = fifo(&folder.path().join("landmarks")).unwrap();
        Self { folder, screen, line, consoles, fifo }
    }

    fn shell(&self, script: &str) -> Command {
        // Whoever runs the tests in the background has them, and all they start, ignore Ctrl-C.
        let mut command = in_a_session(Path::new("env"));
        command.args(["--default-signal=INT", "sh", "-c", script]).current_dir(self.folder.path());
        command
    }
}

#[test]
fn both_consoles_show_all_and_landmarks_are_whole_lines_of_the_serial_one() {
    let mut bench = Bench::new();
    let (screen, line) = (listen(&bench.screen), listen(&bench.line));
    let script = "printf 'a prompt without an end'; stty size; \
                  for i in 1 2 3 4 5; do echo \"TARGET /dev/sda state$i\" >>landmarks; printf 'x\\n\\033[31mred'; done; \
                  printf '\\nDEBLAST DONE 7\\n'; exit 3";
    let command = bench.shell(script);
    let status = mirror::run(&mut bench.consoles, command, &bench.fifo).unwrap().status;
    assert_eq!(status.code(), Some(3));
    bench.consoles.landmark("DONE 0");
    bench.consoles.drain();
    let (screen, line) = (heard(&screen), heard(&line));
    // As large as both can show, but for the row that is the landmarks'.
    for text in [&screen, &line] {
        assert!(text.contains("a prompt without an end"), "{text}");
        assert!(text.contains("23 80"), "{text}");
        assert_eq!(text.matches("\x1b[31mred").count(), 5, "{text}");
    }
    assert!(!screen.contains("DEBLAST TARGET") && !screen.contains("DEBLAST DONE 0"), "{screen}");
    let begun: Vec<&str> = line.split("\r\n").filter(|text| text.starts_with("DEBLAST ")).collect();
    // What a program writes does not pass for one. How its text and its landmarks follow each other is left open.
    let (text, marks): (Vec<&str>, Vec<&str>) = begun.iter().partition(|line| line.starts_with("DEBLAST  "));
    assert_eq!(text, ["DEBLAST  DONE 7"], "{line}");
    let mut expected: Vec<String> = (1..=5).map(|i| format!("DEBLAST TARGET /dev/sda state{i}")).collect();
    expected.push("DEBLAST DONE 0".to_owned());
    assert_eq!(marks, expected, "{line}");
    assert!(line.ends_with("DEBLAST DONE 0\r\n"), "{line}");
}

#[test]
fn either_console_types_and_control_c_reaches_the_program_alone() {
    let mut bench = Bench::new();
    let (screen, line) = (listen(&bench.screen), listen(&bench.line));
    let (mut at_screen, mut at_line) =
        (bench.screen.far.try_clone().unwrap(), bench.line.far.try_clone().unwrap());
    let typist = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        at_screen.write_all(b"one\r").unwrap();
        std::thread::sleep(Duration::from_millis(400));
        at_line.write_all(b"two\r").unwrap();
        std::thread::sleep(Duration::from_millis(400));
        at_line.write_all(b"\x03").unwrap();
    });
    let script = "read a; read b; echo got:$a:$b; sleep 60";
    let start = Instant::now();
    let command = bench.shell(script);
    let status = mirror::run(&mut bench.consoles, command, &bench.fifo).unwrap().status;
    typist.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "Ctrl-C did not end it");
    assert!(!status.success());
    for text in [heard(&screen), heard(&line)] {
        assert!(text.contains("got:one:two"), "{text}");
    }
}

#[test]
fn a_slow_line_loses_nothing_and_a_dead_one_stops_nobody() {
    let mut bench = Bench::new();
    let screen = listen(&bench.screen);
    // A line at which nobody reads for a while: 400 kB are far more than its terminal and we hold.
    let mut far = bench.line.far.try_clone().unwrap();
    let (send, line) = channel();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = far.read(&mut bytes) {
            if send.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let script = "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo \"$i aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"; \
                  done; echo 'VERDICT x clean' >>landmarks; echo end";
    let command = bench.shell(script);
    let status = mirror::run(&mut bench.consoles, command, &bench.fifo).unwrap().status;
    assert!(status.success());
    let line = heard(&line);
    for i in [1, 2000, 4000] {
        assert!(line.contains(&format!("\n{i} aaa")) || line.starts_with("1 aaa"), "{i} is missing");
    }
    assert!(line.contains("\r\nDEBLAST VERDICT x clean\r\n") && line.contains("end"));
    assert!(heard(&screen).contains("end"));

    // One whose far side is gone is dropped; the other goes on.
    let Bench { screen: kept, line: gone, mut consoles, fifo, folder } = bench;
    drop((gone.near, gone.far));
    let mut command = in_a_session(Path::new("echo"));
    command.arg("still here");
    mirror::run(&mut consoles, command, &fifo).unwrap();
    assert!(heard(&screen).contains("still here"));
    drop((kept, folder));
}

#[test]
fn what_is_left_running_holds_up_nobody() {
    let mut bench = Bench::new();
    let (screen, _line) = (listen(&bench.screen), listen(&bench.line));
    // One that writes on, one that is silent: both deaf to the end of their terminal.
    for work in ["echo noise", "sleep 1"] {
        let script = format!("(trap '' HUP; while :; do {work}; done) & echo $! >left; echo own output");
        let start = Instant::now();
        let command = bench.shell(&script);
        assert!(mirror::run(&mut bench.consoles, command, &bench.fifo).unwrap().status.success());
        assert!(start.elapsed() < Duration::from_secs(20), "{work}: {:?}", start.elapsed());
        let text = heard(&screen);
        assert!(text.contains("own output") && text.contains("left running in the background was ended"));
        let left = std::fs::read_to_string(bench.folder.path().join("left")).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", left.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{work}: it runs still: {stat}");
    }
}

#[test]
fn consoles_are_restored() {
    let bench = Bench::new();
    let is_raw =
        |terminal: &Terminal| !tcgetattr(&terminal.near).unwrap().local_modes.contains(LocalModes::ICANON);
    assert!(is_raw(&bench.screen) && is_raw(&bench.line));
    let Bench { screen, line, consoles, .. } = bench;
    drop(consoles);
    assert!(!is_raw(&screen) && !is_raw(&line));
}

#[test]
fn a_question_is_answered_on_any_console() {
    let mut bench = Bench::new();
    let screen = listen(&bench.screen);
    let mut at_line = bench.line.far.try_clone().unwrap();
    let typist = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        at_line.write_all(b"/dex\x7fv/sda\r").unwrap();
    });
    assert_eq!(bench.consoles.ask("Which? "), "/dev/sda");
    typist.join().unwrap();
    assert!(heard(&screen).starts_with("\x1b%GWhich? /dex\x08 \x08v/sda"));
}

fn texts(words: &[std::ffi::OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_str().unwrap().to_owned()).collect()
}

#[test]
fn the_medium_completes_what_the_options_do_not_name() {
    let folder = tempfile::tempdir().unwrap();
    let point = folder.path().to_owned();
    std::fs::create_dir(point.join("signatures")).unwrap();
    for name in ["b.HSB", "a.toml", "README.TXT"] {
        std::fs::write(point.join("signatures").join(name), "").unwrap();
    }
    let medium = Medium { point: point.clone(), is_writable: true };
    assert_eq!(medium.signatures().1, ["README.TXT"]);
    let words = |line: &str, medium: Option<&Medium>| {
        texts(&arguments(&words(line).unwrap(), medium, Path::new("/l")))
            .join(" ")
            .replace(point.to_str().unwrap(), "M")
    };
    let signatures = "--signatures M/signatures/a.toml --signatures M/signatures/b.HSB";
    let told = words("clean --yes -- /dev/sda", Some(&medium));
    assert_eq!(
        told,
        format!("clean --landmarks /l --store M/store --report-dir M/reports {signatures} --yes -- /dev/sda")
    );
    assert_eq!(
        words("scan", Some(&medium)),
        format!("scan --landmarks /l --report-dir M/reports {signatures}")
    );
    let own = words("clean --store=disk --report-dir /x", Some(&medium));
    assert_eq!(own, format!("clean --landmarks /l {signatures} --store=disk --report-dir /x"));
    let listing = words("undo --list /dev/sda", Some(&medium));
    assert_eq!(listing, format!("undo --landmarks /l --store M/store {signatures} --list /dev/sda"));
    assert_eq!(words("clean --yes", None), "clean --landmarks /l --yes");
    let guided = |medium: Option<&Medium>| {
        let words = texts(&program::guided(medium, Path::new("/l"))).join(" ");
        words.replace(point.to_str().unwrap(), "M")
    };
    let kept = format!("--store M/store --report-dir M/reports {signatures}");
    assert_eq!(guided(Some(&medium)), format!("--live --medium M --landmarks /l {kept}"));
    assert_eq!(guided(None), "--live --landmarks /l");
    assert_eq!(texts(&program::practice(Path::new("/l"))).join(" "), "--practice --live --landmarks /l");
    assert_eq!(words("list", Some(&medium)), "list");
    let locked = Medium { is_writable: false, ..medium };
    assert!(!words("clean", Some(&locked)).contains("--report-dir"));
    // What it has kept can still be listed.
    assert_eq!(guided(Some(&locked)), format!("--live --landmarks /l --store M/store {signatures}"));
}

#[test]
fn practice_is_refused_where_there_is_no_room_for_it() {
    let meminfo = |kib: u64| format!("MemTotal:       {kib} kB\nMemFree:         3000 kB\n");
    assert!(too_small_for_practice(&meminfo(52_000)).unwrap().contains("128 MiB"));
    // As the two kernels say on a machine of 128 MiB.
    for kib in [81_920, 113_980] {
        assert_eq!(too_small_for_practice(&meminfo(kib)), None);
    }
    assert_eq!(too_small_for_practice("nothing known"), None);
}

#[test]
fn a_request_reaches_us_by_the_pipe_alone() {
    let mut bench = Bench::new();
    let line = listen(&bench.line);
    let script = "printf 'WANT reboot\\r\\nDEBLAST WANT reboot\\r\\n'; echo 'WANT poweroff' >>landmarks; echo 'VERDICT x clean' >>landmarks";
    let command = bench.shell(script);
    let ended = mirror::run(&mut bench.consoles, command, &bench.fifo).unwrap();
    assert_eq!(ended.wants, ["poweroff"]);
    let line = heard(&line);
    assert!(line.contains("\r\nDEBLAST VERDICT x clean\r\n"), "{line}");
    assert!(!line.contains("poweroff") && !line.contains("DEBLAST WANT"), "{line}");
}

#[test]
fn a_key_that_sends_more_than_a_byte_arrives_as_one() {
    let mut bench = Bench::new();
    let line = listen(&bench.line);
    let mut far = bench.line.far.try_clone().unwrap();
    let typist = std::thread::spawn(move || {
        // As a line of 1200 baud brings them, and then one that is whole by itself.
        for (bytes, pause) in
            [(b"\x1b[B".as_slice(), 8), (b"\x1bOP", 8), (b"\x1b[15~", 8), (b"\x1b", 300), (b"x", 0)]
        {
            for byte in bytes {
                std::thread::sleep(Duration::from_millis(pause));
                far.write_all(&[*byte]).unwrap();
            }
            std::thread::sleep(Duration::from_millis(400));
        }
    });
    // Each read takes what is there at once.
    let script = "stty raw -echo; for i in 1 2 3 4 5; do dd bs=100 count=1 2>/dev/null | od -An -c | tr -d ' \\n'; printf ';'; done; stty sane";
    let command = bench.shell(script);
    mirror::run(&mut bench.consoles, command, &bench.fifo).unwrap();
    typist.join().unwrap();
    let line = heard(&line);
    assert!(line.contains("033[B;033OP;033[15~;033;x;"), "{line}");
}

#[test]
fn a_program_that_draws_knows_the_line_and_leaves_a_console_that_shows_lines() {
    let mut bench = Bench::new();
    let line = listen(&bench.line);
    // Ended in the midst of its screen.
    let script =
        "stty speed; printf '\\033[?1049hdrawn'; echo 'TARGET x looking' >>landmarks; sleep 1; kill -9 $$";
    let command = bench.shell(script);
    let ended = mirror::run(&mut bench.consoles, command, &bench.fifo).unwrap();
    assert!(!ended.status.success());
    bench.consoles.landmark("DONE 2");
    let line = heard(&line);
    // As the kernel has set the line up.
    assert!(line.contains("9600"), "{line}");
    assert!(line.contains("\x1b[24;1H\r\nDEBLAST TARGET x looking\r\n\x1b[2K"), "{line:?}");
    assert!(line.ends_with("\x1b[?25h\r\nDEBLAST DONE 2\r\n"), "{line:?}");
}

#[test]
fn a_batch_asks_nobody() {
    let refused = |line: &str| unattended(&words(line).unwrap());
    for line in
        ["", "--plain", "/dev/sda", "live", "clean", "clean /dev/sda -- --yes", "undo --last", "clean --list"]
    {
        assert!(refused(line).is_some(), "{line:?}");
    }
    assert!(refused("clean").unwrap().contains("clean needs --yes or --dry-run"));
    for line in [
        "scan",
        "list",
        "clean --yes",
        "clean --dry-run /dev/sda",
        "undo --list /dev/sda",
        "undo --yes",
        "hive x",
    ] {
        assert_eq!(refused(line), None, "{line:?}");
    }
}

#[test]
fn hooks_stay_on_the_medium() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("h.sh"), "").unwrap();
    let medium = Medium { point: folder.path().to_owned(), is_writable: true };
    assert_eq!(hook_path(&medium, "h.sh").unwrap(), folder.path().join("h.sh"));
    for bad in ["../x", "/bin/sh", "", "a/../h.sh"] {
        assert!(hook_path(&medium, bad).unwrap_err().contains("expected"), "{bad}");
    }
    assert!(hook_path(&medium, "no.sh").unwrap_err().contains("no file"));
}

#[test]
fn an_end_that_is_no_exit_code_is_told() {
    use std::os::unix::process::ExitStatusExt as _;
    let status = std::process::ExitStatus::from_raw;
    assert_eq!(outcome(status(1 << 8), false), (1, None));
    for (raw, killed, told) in [(9, true, "memory"), (9, false, "signal 9"), (101 << 8, false, "101")] {
        let (code, words) = outcome(status(raw), killed);
        assert_eq!(code, 2);
        assert!(words.unwrap().contains(told));
    }
}

#[test]
fn a_machine_at_work_is_not_taken_over() {
    assert!(execute().unwrap_err().to_string().contains("live image"));
}

/// What the medium offers as examples is read, asks nobody, and is what the command line takes.
#[test]
fn every_example_is_a_configuration_that_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/examples");
    let names = crate::volume::names_in(&folder);
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let wishes = Wishes::read(&std::fs::read_to_string(folder.join(&name)).unwrap()).unwrap();
        assert!(wishes.mode.is_some(), "{name} says what runs");
        let Some(options) = &wishes.options else { continue };
        let options = words(options).unwrap();
        assert_eq!(unattended(&options), None, "{name}");
        let typed = arguments(&options, None, Path::new("/dev/null"));
        crate::cli::typed(typed).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

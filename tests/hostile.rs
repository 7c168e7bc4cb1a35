//! What a patient's disk says of itself is another's word: names and texts that a terminal would obey, a page would run or a
//! shell would expand are shown as texts by every front end, whatever they hold.
//!
//! The disk is a real one: hostile names in its folders, in its hives and in boot.ini, written by ntfs-3g and hivexregedit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::hives::reg_hex;
use common::{Case, RUN, Ran, SOFTWARE, SYSTEM, WORM, judge, utf16};

/// Clears a screen, sets a title, colours (also by the one byte that some terminals take for both), turns the direction
/// round, and begins a line of its own.
const TERMINAL: &str =
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}gpj\u{200b}\r\nVERDICT: CLEAN\r\u{8}\u{7f}\u{2028}";
/// What a page, a table or a shell would act on.
const MARKUP: &str =
    "<script>alert(1)</script>\"><img src=x onerror=alert(1)>=cmd|' /C calc'!A0`reboot`$(reboot);reboot&";
/// The landmark that a bench waits for.
const LANDMARK: &str = "\r\nDEBLAST DONE 0\r\n";

/// A name that NTFS takes; a slash would end it on the way there.
fn name() -> String {
    format!("{TERMINAL}{MARKUP}{LANDMARK}.exe").replace('/', "\u{2215}")
}

fn text(words: &str) -> Vec<u8> {
    utf16(&format!("{words}\0"))
}

fn disk() -> Option<Case> {
    let mut case = Case::practice()?;
    let worm = case.file(WORM);
    case.mounted(true, |root| {
        fs::write(root.join("WINDOWS/system32").join(name()), &worm).unwrap();
        let boot = format!(
            "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n[operating systems]\r\n\
             multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"{}{MARKUP}\" /fastdetect\r\n",
            TERMINAL.replace(['\r', '\n'], "")
        );
        fs::write(root.join("boot.ini"), boot).unwrap();
    });
    let evil = format!("{TERMINAL}{MARKUP}{LANDMARK}");
    // A name in a .reg file stands on one line and in quotes.
    let named: String = evil.chars().filter(|c| !['\r', '\n', '"', '\\'].contains(c)).collect();
    let about = "Microsoft\\Windows NT\\CurrentVersion";
    case.edit_hive(
        SOFTWARE,
        &format!(
            "[\\{RUN}]\n{}\n{}\n\n[\\{about}]\n{}\n{}\n{}\n",
            reg_hex(&named, 1, &text(&format!("msblast.exe {evil}"))),
            reg_hex("windows auto update", 1, &text("msblast.exe")),
            reg_hex("CSDVersion", 1, &text(&evil)),
            reg_hex("ProductName", 1, &text(&evil)),
            reg_hex("CurrentBuildNumber", 1, &text(&format!("2600{evil}"))),
        ),
    );
    case.edit_hive(
        SYSTEM,
        &format!(
            "[\\ControlSet001\\Control\\ComputerName\\ComputerName]\n{}\n\n[\\ControlSet001\\Control\\Windows]\n{}\n",
            reg_hex("ComputerName", 1, &text(&evil)),
            reg_hex("CSDVersion", 1, &text(&evil)),
        ),
    );
    case.settle();
    Some(case)
}

/// Marks of direction, and what shows nothing by itself.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[track_caller]
fn must_be_text(what: &str, shown: &str) {
    let wrong = shown.chars().find(|c| (c.is_control() && *c != '\n') || is_unseen(*c));
    assert!(wrong.is_none(), "{what} holds {wrong:?}:\n{}", shown.escape_debug());
    assert!(!shown.lines().any(|line| line.starts_with("DEBLAST ")), "{what} forges a landmark:\n{shown}");
    let verdicts = shown.lines().filter(|line| line.trim_start().starts_with("VERDICT: CLEAN ")).count();
    assert_eq!(verdicts, 0, "{what} forges a verdict:\n{shown}");
}

#[track_caller]
fn both(what: &str, ran: &Ran) {
    must_be_text(&format!("{what}, standard output"), &ran.stdout);
    must_be_text(&format!("{what}, standard error"), &ran.stderr);
}

/// All files below a folder.
fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

#[test]
fn nothing_that_a_disk_says_acts_on_whoever_reads_it() {
    let Some(case) = disk() else { return };
    let (store, reports) = (case.store(), case.path("reports"));
    let kept = ["--store", store.to_str().unwrap()];
    let run = |words: &[&str]| Ran::of(&mut case.on_disk(words));

    both("list", &Ran::of(case.command(&["list"]).arg(&case.disk)));
    let scan = run(&["scan", "--progress", "plain", "--color", "never"]).exits(1);
    scan.says("INFECTED").says("\\u{1b}").says("owned");
    both("scan", &scan);
    both("scan --json", &run(&["scan", "--json", "--progress", "json"]).exits(1));
    both("clean --dry-run", &run(&[&["clean", "--dry-run"], &kept[..]].concat()).exits(1));
    let clean = run(&[
        &["clean", "--yes", "--progress", "plain", "--report-dir", reports.to_str().unwrap()],
        &kept[..],
    ]
    .concat())
    .exits(0);
    clean.says("CLEANED");
    both("clean", &clean);
    both("undo --list", &run(&[&["undo", "--list"], &kept[..]].concat()).exits(0));

    // What lasts: reports for people are texts, and no name from the disk names a file of ours.
    let files = [below(&reports), below(&store)].concat();
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_ours = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
        assert!(name.chars().all(is_ours), "a file's name: {name:?}");
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("txt" | "json") => must_be_text(name, &fs::read_to_string(&file).unwrap()),
            Some("html") => {
                let page = fs::read_to_string(&file).unwrap();
                must_be_text(name, &page);
                for word in ["<script", "<img"] {
                    assert!(!page.contains(word), "{name} holds {word}");
                }
            }
            _ => {}
        }
    }
    let report =
        below(&reports).into_iter().find(|file| file.extension().is_some_and(|e| e == "json")).unwrap();
    for format in ["text", "json", "html"] {
        let shown = Ran::of(case.command(&["report", "show", "--format", format]).arg(&report));
        both(&format!("report show --format {format}"), &shown);
    }
    let undo = run(&[&["undo", "--yes", "--progress", "plain"], &kept[..]].concat()).exits(0);
    both("undo", &undo);
    case.must_be_as_at_first(&undo);
}

/// Nobody is left behind by a test that fails.
struct Server<'a>(&'a Path);

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(self.0).arg("kill-server").output();
    }
}

/// The guided ways: numbered questions as they are written, the screens as they are drawn, byte by byte.
#[test]
fn the_guided_ways_show_texts_too() {
    let Some(case) = disk() else { return };
    if Command::new("tmux").arg("-V").output().is_err() {
        return common::skip("there is no tmux to draw the screens in");
    }
    let (store, socket, drawn) = (case.store(), case.path("tmux"), case.path("drawn"));
    let command = case.on_disk(&["--store", store.to_str().unwrap()]);
    let words: Vec<&str> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let words = words.join(" ");
    let tmux = |arguments: &[&str]| judge(Command::new("tmux").arg("-S").arg(&socket).args(arguments));
    let awaits = |wanted: &str| {
        let begun = Instant::now();
        while !String::from_utf8(tmux(&["capture-pane", "-p"])).unwrap().contains(wanted) {
            assert!(begun.elapsed() < Duration::from_secs(60), "expected {wanted:?} on the screen");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let server = Server(&socket);
    // The command is typed only once what it draws is recorded.
    tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "132", "-y", "43", "LC_ALL=C.UTF-8 exec sh"]);
    tmux(&["pipe-pane", "-o", &format!("cat > {}", drawn.display())]);
    tmux(&["send-keys", &format!("clear; {words}"), "Enter"]);
    awaits("INFECTED");
    let steps = [
        ("Enter", "Findings on"),
        ("q", " Disks "),
        ("r", "Report on"),
        ("q", " Disks "),
        ("c", "Nothing has been written yet"),
        ("l", " Log "),
        ("q", "Nothing has been written yet"),
    ];
    for (key, wanted) in steps {
        tmux(&["send-keys", key]);
        awaits(wanted);
    }
    tmux(&["send-keys", "q"]);
    awaits("no byte was written");
    drop(server);
    let drawn = String::from_utf8(fs::read(&drawn).unwrap()).unwrap();
    assert!(drawn.contains("owned"), "the names were drawn: {}", drawn.escape_debug());
    for wrong in [
        "\u{9b}",
        "\u{202e}",
        "\u{200b}",
        "\u{7}",
        "\u{7f}",
        "\u{2028}",
        "\u{1b}]0;owned",
        "\u{1b}[2J\u{1b}]",
    ] {
        assert!(!drawn.contains(wrong), "the screens hold {wrong:?}");
    }
    assert!(case.bytes() == case.original, "only looked at");

    let mut terminal = Command::new("sh");
    terminal.env("TERM", "dumb").args([
        "-c",
        "printf '1\\n2\\nn\\nq\\n' | script -qec \"$1\" /dev/null",
        "sh",
        &words,
    ]);
    let plain = Ran::of(&mut terminal).exits(1);
    plain.says("INFECTED").says("owned").says("Not carried out");
    // Line ends are the terminal's.
    must_be_text("the questions", &plain.stdout.replace("\r\n", "\n"));
}

const COMMON: &str = "Documents and Settings/All Users/Application Data";

/// Folders on the patient's disk that lead somewhere else: nothing is made or removed behind them, neither on this machine
/// nor on the disk.
#[test]
fn no_folder_of_a_disk_leads_out_of_it() {
    let outside = tempfile::tempdir().unwrap();
    let stories = [
        ("Application Data/Deblast", "leads somewhere else"),
        ("Application Data", "there is no such folder"),
    ];
    for (planted, words) in stories {
        let Some(mut case) = Case::practice() else { return };
        case.mounted(true, |root| {
            let link = root.join(COMMON).parent().unwrap().join(planted);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            if link.exists() {
                fs::rename(&link, link.with_file_name("before")).unwrap();
            }
            // On the volume, a file that Interix and ntfs-3g take for a link; every user can make one.
            std::os::unix::fs::symlink(outside.path(), &link).unwrap();
            let spare = root.join("spare");
            fs::create_dir(&spare).unwrap();
            (0..60).for_each(|n| fs::write(spare.join(format!("{n}.txt")), b"spare").unwrap());
            fs::remove_dir_all(&spare).unwrap();
        });
        let explorer = "\\Microsoft\\Windows\\CurrentVersion\\Explorer";
        let value = "\"Common AppData\"=\"C:\\\\Documents and Settings\\\\All Users\\\\Application Data\"";
        case.edit_hive(SOFTWARE, &format!("[{explorer}]\n\n[{explorer}\\Shell Folders]\n{value}"));
        case.settle();
        let ran = Ran::of(&mut case.on_disk(&["clean", "--yes", "--json", "--store", "disk"])).exits(2);
        let found = fs::read_dir(outside.path()).unwrap().count();
        ran.require(found == 0, "nothing outside of the disk");
        ran.says(words).says("another disk or stick");
        ran.require(case.file(WORM).starts_with(b"MZ"), "nothing cured without a record");
    }
}

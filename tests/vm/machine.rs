//! One machine that boots the live image: `scripts/run-vm` with a script, and what came over its serial line.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};

use super::common::{ROOT, skip};

/// How long a machine may take, many times what it takes: a machine of tests is shared, and emulates each instruction.
pub(crate) const LIMIT: &str = "900";
/// What the kernel says where an emulated timer came too late for its first look at it, since the host was busy.
pub(crate) const TOO_LATE: &str = "IO-APIC + timer doesn't work";

/// So many machines run at once, whatever number of threads the test runner has.
static FREE: (Mutex<u32>, Condvar) = (Mutex::new(2), Condvar::new());

/// A place among the machines that may run; given back when it is dropped.
pub(crate) struct Place;

impl Place {
    pub(crate) fn wait() -> Self {
        let mut free = FREE.0.lock().unwrap_or_else(|e| e.into_inner());
        while *free == 0 {
            free = FREE.1.wait(free).unwrap_or_else(|e| e.into_inner());
        }
        *free -= 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *FREE.0.lock().unwrap_or_else(|e| e.into_inner()) += 1;
        FREE.1.notify_one();
    }
}

/// The live image under test; none, with a word, where there is none.
pub(crate) fn image() -> Option<PathBuf> {
    let Some(path) = std::env::var_os("DEBLAST_IMAGE").map(PathBuf::from) else {
        skip("DEBLAST_IMAGE names no live image; scripts/build-image makes one, scripts/test does all of it");
        return None;
    };
    assert!(path.is_file(), "DEBLAST_IMAGE: {} is no file", path.display());
    // The tests of a package run in its folder, wherever the name was typed.
    Some(fs::canonicalize(path).unwrap())
}

/// The live image for tests that take long, which `scripts/test vm` alone asks for; the others hear of each one.
pub(crate) fn image_for_long(test: &str) -> Option<PathBuf> {
    if std::env::var_os("DEBLAST_TESTS").is_some_and(|which| which == "vm") {
        return image();
    }
    use std::io::Write as _;
    // Past the runner, which shows what a passing test prints to nobody.
    let _ = writeln!(
        std::io::stderr(),
        "left out: {test}, a long run in a virtual machine; scripts/test vm runs it"
    );
    None
}

/// What is put together before it is switched on.
pub(crate) struct Machine {
    pub(crate) command: Command,
    pub(crate) folder: tempfile::TempDir,
}

impl Machine {
    /// A machine with these options of `scripts/run-vm`.
    pub(crate) fn new(image: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(Path::new(ROOT).join("scripts/run-vm"));
        command.arg("--iso").arg(image).args(options);
        Self { command, folder: tempfile::tempdir().unwrap() }
    }

    /// With one more option and its file.
    pub(crate) fn with(mut self, option: &str, file: impl AsRef<OsStr>) -> Self {
        self.command.arg(option).arg(file);
        self
    }

    /// Runs it by a script; whatever comes of it.
    #[track_caller]
    pub(crate) fn run(mut self, script: &str) -> Guest {
        let (path, log) = (self.folder.path().join("script"), self.folder.path().join("log"));
        fs::write(&path, script).unwrap();
        self.command.arg("--script").arg(&path).arg("--log").arg(&log).args(["--timeout", LIMIT]);
        let place = Place::wait();
        for attempt in 1.. {
            // run-vm ends the machine whatever happens, in time even where it is killed itself.
            let output = self.command.stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap();
            let serial = fs::read(&log).unwrap_or_default();
            let guest = Guest {
                command: format!("{:?}", self.command),
                came_true: output.status.code() == Some(0),
                said: String::from_utf8_lossy(&output.stderr).into_owned(),
                serial: readable(&String::from_utf8_lossy(&serial)),
            };
            // Long before there is a disk.
            if attempt < 4 && guest.serial.contains(TOO_LATE) {
                println!("attempt {attempt}: the emulated timer came too late; once more");
                continue;
            }
            drop(place);
            return guest;
        }
        unreachable!("the last attempt returns")
    }

    /// Runs it by a script that must come true.
    #[track_caller]
    pub(crate) fn runs(self, script: &str) -> Guest {
        let guest = self.run(script);
        guest.require(guest.came_true, "the script to come true");
        println!("{}", guest.said);
        guest
    }
}

/// A machine that is off again.
pub(crate) struct Guest {
    pub(crate) command: String,
    /// Whether all of the script came true.
    pub(crate) came_true: bool,
    /// What `run-vm` said: the seconds to each thing that was waited for, and what went wrong.
    pub(crate) said: String,
    /// What came over the serial line, without colours and cursor movements.
    pub(crate) serial: String,
}

impl Guest {
    #[track_caller]
    pub(crate) fn fail(&self, why: &str) -> ! {
        let lines: Vec<&str> = self.serial.lines().filter(|line| !line.trim().is_empty()).collect();
        // A screen is one long line.
        let short = |line: &&str| line.chars().take(200).collect::<String>();
        let last = &lines[lines.len().saturating_sub(60)..];
        let end = last.iter().map(short).collect::<Vec<_>>().join("\n");
        panic!(
            "\n===== {why}\ncommand: {}\nrun-vm:\n{}\nthe end of the serial line:\n{end}\n=====\n",
            self.command, self.said
        );
    }

    #[track_caller]
    pub(crate) fn require(&self, holds: bool, what: &str) -> &Self {
        if !holds {
            self.fail(&format!("expected: {what}"));
        }
        self
    }

    /// Whether these words came over the serial line, wherever lines were broken.
    #[track_caller]
    pub(crate) fn says(&self, words: &str) -> &Self {
        let unbroken = self.serial.split_whitespace().collect::<Vec<_>>().join(" ");
        self.require(unbroken.contains(words), &format!("the words {words:?}"))
    }

    /// The landmarks, each of which stands on a line of its own.
    pub(crate) fn landmarks(&self) -> Vec<&str> {
        let words = ["DEBLAST READY", "DEBLAST TARGET ", "DEBLAST VERDICT ", "DEBLAST DONE "];
        self.serial.lines().filter(|line| words.iter().any(|word| line.starts_with(word))).collect()
    }

    /// The landmarks of a batch that meets one disk, in their order, with this verdict and exit code. The disk's name is the
    /// kernel's choice: which of two controllers is looked through first is a race.
    #[track_caller]
    pub(crate) fn reached(&self, verdict: &str, code: i32) -> &Self {
        let found = self.landmarks();
        let starting =
            |word: &str| found.iter().filter_map(|line| line.strip_prefix(word)).collect::<Vec<&str>>();
        let (verdicts, targets) = (starting("DEBLAST VERDICT "), starting("DEBLAST TARGET "));
        let is_one = verdicts.len() == 1 && verdicts[0].ends_with(&format!(" {verdict}"));
        self.require(is_one, &format!("{verdict} as the only verdict, found {found:?}"));
        let disk = verdicts[0].split(' ').next().unwrap_or_default();
        let states: Vec<&str> =
            targets.iter().filter_map(|line| line.strip_prefix(disk)).map(str::trim).collect();
        let whole = states.first() == Some(&"looking") && states.last() == Some(&"done");
        self.require(
            whole && states.len() == targets.len(),
            &format!("{disk} as the only target, found {found:?}"),
        );
        let ready = format!("DEBLAST READY {}", env!("CARGO_PKG_VERSION"));
        self.require(found[0] == ready, &format!("{ready:?} before all others, found {found:?}"));
        let (last, done) = (&found[found.len() - 2..], format!("DEBLAST DONE {code}"));
        self.require(
            last == [format!("DEBLAST VERDICT {}", verdicts[0]), done],
            &format!("the verdict and exit code {code} at the end, found {found:?}"),
        )
    }

    /// All is done, with that exit code.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32) -> &Self {
        let found = self.landmarks();
        let done = format!("DEBLAST DONE {code}");
        self.require(found.last() == Some(&done.as_str()), &format!("{done:?} at the end, found {found:?}"))
    }

    /// No target was written, and no run has ended.
    #[track_caller]
    pub(crate) fn reads_only(&self) -> &Self {
        let wrote = |line: &&str| {
            line.starts_with("DEBLAST DONE")
                || ["writing", "verified"].iter().any(|state| line.ends_with(state))
        };
        let found = self.landmarks().into_iter().find(wrote);
        self.require(found.is_none(), &format!("no landmark of a write, found {found:?}"))
    }

    /// Nothing of Deblast was started.
    #[track_caller]
    pub(crate) fn never_ready(&self) -> &Self {
        self.require(!self.serial.contains("DEBLAST READY"), "no READY")
    }
}

/// The text without what terminals take for commands, and without carriage returns.
pub(crate) fn readable(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text.chars().peekable());
    while let Some(letter) = rest.next() {
        match letter {
            '\x1b' => {
                // CSI, parameters, one final letter; any other sequence has one letter.
                if rest.next() == Some('[') {
                    while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\r' => {}
            other => out.push(other),
        }
    }
    out
}

//! What is started: the wanted command with what the medium adds to it, and the technician's hooks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::volume::names_in;

/// The only other program that init needs; it stands in for many.
const BUSYBOX: &str = "/bin/busybox";
/// What a batch may run: all that asks nobody.
const COMMANDS: [&str; 9] =
    ["list", "scan", "clean", "undo", "watch", "report", "signatures", "filter", "hive"];
/// What the kernel has to give on a machine of 128 MiB, in kB: the 64-bit one keeps 48 MiB of it for itself.
const LEAST_FOR_PRACTICE: u64 = 78 << 10;
/// Endings of signature files that the engine reads.
const SIGNATURES: [&str; 3] = ["toml", "hdb", "hsb"];

/// The mounted medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Medium {
    /// Where it is mounted.
    pub(super) point: PathBuf,
    pub(super) is_writable: bool,
}

impl Medium {
    pub(super) fn store(&self) -> PathBuf {
        self.point.join("store")
    }

    pub(super) fn reports(&self) -> PathBuf {
        self.point.join("reports")
    }

    /// The files of its folder `signatures`, and the names there that are none.
    pub(super) fn signatures(&self) -> (Vec<PathBuf>, Vec<String>) {
        let folder = self.point.join("signatures");
        let is_file = |name: &String| folder.join(name).is_file();
        let is_known = |name: &String| {
            let ending = Path::new(name).extension().map(|e| e.to_string_lossy().to_lowercase());
            ending.is_some_and(|ending| SIGNATURES.contains(&ending.as_str()))
        };
        let (known, others): (Vec<_>, Vec<_>) =
            names_in(&folder).into_iter().filter(is_file).partition(is_known);
        (known.iter().map(|name| folder.join(name)).collect(), others)
    }

    /// The report of the run that has made one, where it is none of those that were there before. Those of single disks have
    /// longer names that begin with it.
    pub(super) fn new_report(&self, before: &[String]) -> Option<PathBuf> {
        let names = self.report_names();
        let new = names.into_iter().filter(|name| !before.contains(name));
        new.min_by_key(String::len).map(|name| self.reports().join(name))
    }

    pub(super) fn report_names(&self) -> Vec<String> {
        names_in(&self.reports()).into_iter().filter(|name| name.ends_with(".json")).collect()
    }
}

/// What is typed behind `deblast`, completed by what the medium has. What the options name themselves stays; so does a
/// command that knows none of these.
pub(super) fn arguments(options: &[String], medium: Option<&Medium>, landmarks: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = options.iter().map(OsString::from).collect();
    let completed = ["scan", "clean", "undo", "watch"];
    let Some(command) = options.first().filter(|word| completed.contains(&word.as_str())) else {
        return words;
    };
    let names = |option: &str| {
        let long = format!("{option}=");
        options.iter().take_while(|word| *word != "--").any(|word| word == option || word.starts_with(&long))
    };
    let wants_store = command != "scan" && !names("--store");
    let wants_reports = !names("--report-dir") && !names("--list");
    words.splice(1..1, added(medium, landmarks, wants_store, wants_reports));
    words
}

fn added(medium: Option<&Medium>, landmarks: &Path, wants_store: bool, wants_reports: bool) -> Vec<OsString> {
    let mut added: Vec<OsString> = vec!["--landmarks".into(), landmarks.into()];
    let Some(medium) = medium else { return added };
    if wants_store {
        added.extend(["--store".into(), medium.store().into()]);
    }
    if medium.is_writable && wants_reports {
        added.extend(["--report-dir".into(), medium.reports().into()]);
    }
    for file in medium.signatures().0 {
        added.extend(["--signatures".into(), file.into()]);
    }
    added
}

/// What starts the guided front end here. It may ask for the machine to be switched off.
pub(super) fn guided(medium: Option<&Medium>, landmarks: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--live".into()];
    if let Some(medium) = medium.filter(|medium| medium.is_writable) {
        words.extend(["--medium".into(), medium.point.clone().into()]);
    }
    words.extend(added(medium, landmarks, true, true));
    words
}

/// The same over the training disk, whose record and reports go with it.
pub(super) fn practice(landmarks: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--practice".into(), "--live".into()];
    words.extend(added(None, landmarks, false, false));
    words
}

/// Why there is no room for the training disk; none where there is.
pub(super) fn too_small_for_practice(meminfo: &str) -> Option<String> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    (total < LEAST_FOR_PRACTICE).then(|| {
        let found = total >> 10;
        format!(
            "practice needs a machine of 128 MiB of memory or more, and here the kernel has {found} MiB to give. \
             Nothing was done; guided mode works"
        )
    })
}

/// Why a batch with these options is refused: it would wait for somebody, and nobody is there.
pub(super) fn unattended(options: &[String]) -> Option<String> {
    let Some(command) = options.first() else {
        return Some(format!("expected one of {} first, found nothing", COMMANDS.join(", ")));
    };
    if !COMMANDS.contains(&command.as_str()) {
        return Some(format!("expected one of {} first, found {command:?}", COMMANDS.join(", ")));
    }
    let answers: &[&str] = match command.as_str() {
        "clean" | "watch" => &["--yes", "--dry-run"],
        "undo" => &["--yes", "--dry-run", "--list"],
        _ => return None,
    };
    let mut given = options.iter().take_while(|word| *word != "--");
    let is_answered = given.any(|word| answers.contains(&word.as_str()));
    (!is_answered).then(|| {
        format!("{command} needs {} in a batch: nobody is there to answer its question", answers.join(" or "))
    })
}

/// A program of busybox, or the system's own of that name where there is no busybox.
pub(super) fn applet(name: &str) -> Command {
    if !Path::new(BUSYBOX).exists() {
        return Command::new(name);
    }
    let mut command = Command::new(BUSYBOX);
    command.arg(name);
    command
}

/// A program in a session of its own, with its standard input as its terminal: Ctrl-C reaches it alone.
pub(super) fn in_a_session(program: &Path) -> Command {
    let mut command = applet("setsid");
    command.arg("-c").arg(program);
    command
}

/// A hook: a script on the medium. Its path stays inside it.
pub(super) fn hook_path(medium: &Medium, named: &str) -> Result<PathBuf, String> {
    let relative = Path::new(named);
    let is_inside = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !is_inside || named.is_empty() {
        return Err(format!(
            "expected a path on the medium without / at its start and without .., found {named:?}"
        ));
    }
    let path = medium.point.join(relative);
    if path.is_file() { Ok(path) } else { Err(format!("there is no file {named:?} on the medium")) }
}

/// The exit code of a program of ours, and what is to be said where it did not end by itself.
pub(super) fn outcome(status: ExitStatus, has_killed_for_memory: bool) -> (u8, Option<String>) {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code @ 0..=2), _) => (u8::try_from(code).unwrap_or(2), None),
        (_, Some(_)) if has_killed_for_memory => {
            let words = "deblast was ended by the kernel: this machine's memory did not suffice";
            (2, Some(words.to_owned()))
        }
        (_, Some(signal)) => (2, Some(format!("deblast was ended by signal {signal}"))),
        (code, None) => {
            let code = code.map_or("none".to_owned(), |code| code.to_string());
            (2, Some(format!("deblast ended in a way that it should not (exit code {code})")))
        }
    }
}

/// How many programs the kernel has ended because memory ran out.
pub(super) fn killed_for_memory() -> u64 {
    let table = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

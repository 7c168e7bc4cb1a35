//! A practice disk of its own for each test, the real binary, and judges that are not ours.
//!
//! When an expectation about a run of the binary fails, its command, folder, exit code and both outputs are shown.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]
#![allow(unreachable_pub, reason = "a module that each topic includes as its own")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests; a failure here is a failed test"
)]

pub mod hives;
mod skip;
pub mod volume;
pub mod windows;

pub use skip::skip;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;
use sha2::Digest as _;
use tempfile::TempDir;

pub const SECTOR: usize = 512;
/// Where the only partition of a practice disk begins, in bytes.
pub const START: usize = 63 * SECTOR;
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
pub const PRACTICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/practice.toml");
pub const WORM: &str = "WINDOWS/system32/msblast.exe";
pub const SOFTWARE: &str = "WINDOWS/system32/config/software";
pub const SYSTEM: &str = "WINDOWS/system32/config/system";
pub const RUN: &str = r"Microsoft\Windows\CurrentVersion\Run";
pub const RUN_VALUE: &str = "windows auto update";
pub const OLE: &str = r"Microsoft\Ole";
pub const SESSION: &str = r"ControlSet001\Control\Session Manager";
pub const PENDING: &str = "PendingFileRenameOperations";
pub const DELETION: &str = r"\??\C:\WINDOWS\system32\msblast.exe";

pub fn digest(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A command that has ended.
pub struct Ran {
    command: String,
    cwd: PathBuf,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            command: format!("{command:?}"),
            cwd: std::env::current_dir().unwrap(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn fail(&self, why: &str) -> ! {
        panic!(
            "\n===== {why}\ncommand: {}\ncwd: {}\nexit code: {:?}\nstdout:\n{}\nstderr:\n{}\n=====\n",
            self.command,
            self.cwd.display(),
            self.code,
            self.stdout,
            self.stderr
        );
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        if self.code != Some(code) {
            self.fail(&format!("expected exit code {code}"));
        }
        if self.stderr.contains("panicked") {
            self.fail("it panicked");
        }
        self
    }

    #[track_caller]
    pub fn require(&self, holds: bool, what: &str) -> &Self {
        if !holds {
            self.fail(&format!("expected: {what}"));
        }
        self
    }

    /// Whether these words stand in what it printed, wherever and in whatever case.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        let all = format!("{}\n{}", self.stdout, self.stderr).to_lowercase();
        // Where a line is broken is no matter.
        let unbroken = all.split_whitespace().collect::<Vec<_>>().join(" ");
        let words_there = [&all, &unbroken].iter().any(|text| text.contains(&words.to_lowercase()));
        self.require(words_there, &format!("the words {words:?}"))
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| self.fail(&format!("expected JSON: {e}")))
    }

    /// A member of the report, by its JSON pointer.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_else(|| self.fail(&format!("no {pointer}")))
    }

    /// The remarks on the first target, joined.
    #[track_caller]
    pub fn remarks(&self) -> String {
        let remarks = self.at("/targets/0/remarks");
        remarks.as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// The findings of one check on the first install.
    #[track_caller]
    pub fn findings(&self, check: &str) -> Vec<Value> {
        let all = self.at("/targets/0/installs/0/findings");
        all.as_array().unwrap().iter().filter(|f| f["check"] == check).cloned().collect()
    }

    /// The only finding of one check on the first install.
    #[track_caller]
    pub fn finding(&self, check: &str) -> Value {
        let mut found = self.findings(check);
        self.require(found.len() == 1, &format!("one finding of {check}"));
        found.remove(0)
    }
}

/// Runs a tool that must succeed, and gives what it printed.
#[track_caller]
pub fn judge(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}; scripts/install-deps installs it"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Why no volume can be mounted here; none where it can.
fn obstacle() -> Option<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        Some("only root may mount the practice disk while it is filled")
    } else if !Path::new("/dev/fuse").exists() {
        Some("there is no /dev/fuse to mount the practice disk with")
    } else {
        None
    }
}

/// The bytes of a practice disk, made once a process for the same options; none, with a word, where it cannot be made.
pub fn practice(options: &[&str]) -> Option<Vec<u8>> {
    static MADE: OnceLock<Mutex<BTreeMap<String, Vec<u8>>>> = OnceLock::new();
    // a FAT volume is filled without a mount
    let fat = options.iter().any(|option| option.starts_with("fat"));
    if let Some(why) = obstacle().filter(|_| !fat) {
        skip(why);
        return None;
    }
    let key = options.join(" ");
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    if !made.contains_key(&key) {
        made.insert(key.clone(), make(options));
    }
    made.get(&key).cloned()
}

/// A practice disk that nobody else asks for, made for this once.
#[track_caller]
pub fn make(options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("practice.img");
    let mut command = Command::new(Path::new(ROOT).join("scripts/make-practice-disk"));
    command.arg(&out).args(options);
    judge(&mut command);
    fs::read(&out).unwrap()
}

/// The report with the hash that it would have had if a run had written it so.
pub fn rehashed(mut report: Value) -> Value {
    report.as_object_mut().unwrap().remove("hash");
    // What serde_json prints has the members in the order of their names, unless some crate of the tests changes that.
    let text = serde_json::to_string(&report).unwrap();
    report["hash"] = Value::from(format!("sha256:{}", digest(text.as_bytes())));
    report
}

/// A disk of its own, and a store.
pub struct Case {
    folder: TempDir,
    pub disk: PathBuf,
    /// The disk's bytes before anything was done to it.
    pub original: Vec<u8>,
}

impl Case {
    /// The usual practice disk: infected by a, small.
    pub fn practice() -> Option<Self> {
        Self::with(&["--files", "60", "--size", "16M"])
    }

    pub fn with(options: &[&str]) -> Option<Self> {
        practice(options).map(Self::of)
    }

    pub fn of(original: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk.img");
        fs::write(&disk, &original).unwrap();
        Self { folder, disk, original }
    }

    /// Takes the disk as it is now for the original.
    pub fn settle(&mut self) {
        self.original = self.bytes();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.disk).unwrap()
    }

    /// The run folders of the store, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(list) = fs::read_dir(self.store()) else { return Vec::new() };
        let mut runs: Vec<_> = list.map(|e| e.unwrap().path()).filter(|path| path.is_dir()).collect();
        runs.sort();
        runs
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deblast"));
        command.args(words);
        // Whatever a test forgets, no state of this machine's user is touched.
        command.env("HOME", self.folder.path()).env("XDG_STATE_HOME", self.folder.path().join("state"));
        command
    }

    /// `deblast WORDS... DISK`, with the stand-in's signatures.
    pub fn on_disk(&self, words: &[&str]) -> Command {
        let mut command = self.command(words);
        command.args(["--signatures", PRACTICE]).arg(&self.disk);
        command
    }

    pub fn scan(&self) -> Ran {
        Ran::of(&mut self.on_disk(&["scan", "--json"]))
    }

    pub fn clean(&self, options: &[&str]) -> Ran {
        self.storing(&["clean", "--yes", "--json"], options)
    }

    pub fn undo(&self, options: &[&str]) -> Ran {
        self.storing(&["undo", "--yes", "--json"], options)
    }

    pub fn storing(&self, words: &[&str], options: &[&str]) -> Ran {
        let store = self.store();
        let all: Vec<&str> =
            words.iter().chain(&["--store", store.to_str().unwrap()]).chain(options).copied().collect();
        Ran::of(&mut self.on_disk(&all))
    }

    #[track_caller]
    pub fn must_be_as_at_first(&self, ran: &Ran) {
        self.must_hold(&self.original, ran, "the disk to be as it was at first");
    }

    #[track_caller]
    pub fn must_hold(&self, bytes: &[u8], ran: &Ran, what: &str) {
        let now = self.bytes();
        if now != bytes {
            let places: Vec<usize> = changed_sectors(bytes, &now).into_iter().collect();
            let first = &places[..places.len().min(20)];
            ran.fail(&format!("expected {what}; {} sectors differ: {first:?}", places.len()));
        }
    }
}

/// Byte offsets of the sectors that differ.
#[track_caller]
pub fn changed_sectors(before: &[u8], after: &[u8]) -> BTreeSet<usize> {
    assert_eq!(before.len(), after.len(), "the disk has another size");
    let pairs = before.chunks(SECTOR).zip(after.chunks(SECTOR)).enumerate();
    pairs.filter(|(_, (before, after))| before != after).map(|(index, _)| index * SECTOR).collect()
}

/// One write of a journal, by its place on the disk.
pub struct Intent {
    pub group: u64,
    pub file: usize,
    pub place: usize,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

/// A journal, read by the description of its format, not by the code that wrote it.
pub struct Journal {
    pub header: Value,
    pub intents: Vec<Intent>,
}

impl Journal {
    #[track_caller]
    pub fn read(run: &Path) -> Self {
        let text = fs::read(run.join("journal")).unwrap();
        let text: Vec<u8> = text.into_iter().take_while(|&byte| byte != 0).collect();
        let (mut header, mut intents, mut chain) = (Value::Null, Vec::new(), String::new());
        for line in String::from_utf8(text).unwrap().lines() {
            let (sum, json) = line.split_once(' ').unwrap();
            assert_eq!(sum, &digest(format!("{chain} {json}").as_bytes())[..32], "a checksum of the journal");
            sum.clone_into(&mut chain);
            let record: Value = serde_json::from_str(json).unwrap();
            match record["record"].as_str().unwrap() {
                "header" => header = record,
                "intent" => intents.push(record),
                _ => {}
            }
        }
        let intents = intents.iter().map(|intent| Self::intent(&header, intent, run)).collect();
        Self { header, intents }
    }

    fn intent(header: &Value, intent: &Value, run: &Path) -> Intent {
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let length = number(&intent["length"]);
        let file = number(&intent["file"]);
        let volume = number(&header["files"][file]["volume"]);
        let side = |side: &Value| {
            if side == "zeros" {
                return vec![0; length];
            }
            if let Some(bytes) = side["bytes"].as_str() {
                return unhex(bytes);
            }
            let kept = &side["quarantined"];
            let folder = run.parent().unwrap().join(kept["run"].as_str().unwrap());
            let path = folder.join("quarantine").join(kept["name"].as_str().unwrap());
            let offset = number(&kept["offset"]);
            quarantined(&path)[offset..offset + length].to_vec()
        };
        Intent {
            group: intent["group"].as_u64().unwrap(),
            file,
            place: number(&header["volumes"][volume]["start"]) + number(&intent["place"]),
            before: side(&intent["before"]),
            after: side(&intent["after"]),
        }
    }

    /// Writes the first `count` intents into an image, each only over what it says is there.
    #[track_caller]
    pub fn replay(&self, image: &mut [u8], count: usize) {
        for intent in self.intents.iter().take(count) {
            let place = intent.place..intent.place + intent.after.len();
            assert!(image[place.clone()] == intent.before, "the journal's bytes before, at {place:?}");
            image[place].copy_from_slice(&intent.after);
        }
    }

    /// All sectors that it names.
    pub fn sectors(&self) -> BTreeSet<usize> {
        let places = |intent: &Intent| (intent.place..intent.place + intent.after.len()).step_by(SECTOR);
        self.intents.iter().flat_map(places).collect()
    }

    /// Index of a file, by the end of its path.
    #[track_caller]
    pub fn file(&self, name: &str) -> usize {
        let files = self.header["files"].as_array().unwrap();
        files.iter().position(|file| file["path"].as_str().unwrap().ends_with(name)).unwrap()
    }
}

/// The original bytes of a file in quarantine, decoded as its manifest says: each byte combined with one constant.
#[track_caller]
pub fn quarantined(path: &Path) -> Vec<u8> {
    let manifest = fs::read_to_string(path.with_file_name("manifest.json")).unwrap();
    assert!(manifest.contains("every byte combined with 0xa5 by exclusive or"), "{manifest}");
    fs::read(path).unwrap().into_iter().map(|byte| byte ^ 0xa5).collect()
}

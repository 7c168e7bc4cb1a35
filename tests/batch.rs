//! What scripts on a bench rely on: exit codes, words, the report as JSON, refusals; and what the binary itself holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::hives::value;
use common::volume::{is_mounted, unmount};
use common::{Case, OLE, RUN_VALUE, Ran, SOFTWARE, START, WORM, digest, judge, skip, utf16};
use serde_json::Value;

/// Compact JSON, the members of every object in the order of their names; written here, so that no feature of a
/// library decides what the hash is taken over.
fn compact(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            let member =
                |name: &&String| format!("{}:{}", Value::from(name.as_str()), compact(&members[*name]));
            format!("{{{}}}", names.iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[track_caller]
fn must_hash(ran: &Ran, mut report: Value) {
    let hash = report.as_object_mut().unwrap().remove("hash").unwrap();
    ran.require(
        hash == format!("sha256:{}", digest(compact(&report).as_bytes())).as_str(),
        "the hash to be right",
    );
}

/// `deblast WORDS...` where no disk is needed.
fn plainly(words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_deblast"));
    Ran::of(command.args(words).env("HOME", folder.path()).env("XDG_STATE_HOME", folder.path()))
}

#[test]
fn wrong_usage_is_told_in_words_with_exit_2() {
    for words in [
        &["no-such-command"][..],
        &["clean", "--no-such-option", "x"],
        &["clean", "--yes", "--dry-run", "x"],
        &["clean", "--dcom", "perhaps", "x"],
        &["undo"],
        &["undo", "--run", "a", "--last", "x"],
        &["scan", "--progress", "loud", "x"],
        &["scan", "--jobs", "0", "x"],
        &["scan", "--jobs", "many", "x"],
    ] {
        let ran = plainly(words).exits(2);
        ran.require(ran.stdout.is_empty() && ran.stderr.contains("--help"), "words on standard error alone");
    }
    plainly(&[]).exits(2).says("usage");
    plainly(&["--help"]).exits(0).says("exit codes");
    plainly(&["--version"]).exits(0).says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn without_a_terminal_nothing_is_asked_and_nothing_done() {
    let Some(case) = Case::practice() else { return };
    for words in [["clean"], ["undo"]] {
        let ran = case.storing(&words, &[]).exits(2);
        ran.says("no terminal").says("--yes").says("--dry-run");
        case.must_be_as_at_first(&ran);
        ran.require(!case.store().exists(), "no store to be made");
    }
}

/// On a terminal of its own, with `answer` typed into it; what was shown there.
#[track_caller]
fn on_a_terminal(command: &Command, answer: &str) -> Ran {
    use std::os::unix::ffi::OsStrExt as _;
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> =
        words.map(|word| format!("'{}'", std::str::from_utf8(word.as_bytes()).unwrap())).collect();
    let mut terminal = Command::new("sh");
    terminal.args(["-c", "printf '%s\\n' \"$1\" | script -qec \"$2\" /dev/null", "sh", answer]);
    Ran::of(terminal.arg(quoted.join(" ")))
}

/// Where the record goes, and how many bytes it takes of how many: part of the question, however progress is shown.
#[test]
fn the_question_tells_where_the_record_goes() {
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    let words = ["clean", "--progress", "none", "--store", store.to_str().unwrap()];
    let ran = on_a_terminal(&case.on_disk(&words), "n").exits(1);
    let (question, _) = ran.stdout.split_once("Carry it out?").unwrap_or_else(|| ran.fail("a question"));
    ran.require(
        question.contains(&format!("The plan for {} (", case.disk.display())),
        "the disk by its name",
    );
    let told = format!("the record goes to {} and takes at most ", store.display());
    ran.require(
        question.contains(&told) && question.contains(" free"),
        "where the record goes, before the yes",
    );
    case.must_be_as_at_first(&ran);
    let ran = on_a_terminal(&case.on_disk(&words), "y").exits(0);
    ran.require(case.runs().len() == 1, "a run, after a yes");
}

/// Only an undo that brings the worm or its start back says so; then whoever answers, and in the report.
#[test]
fn an_undo_warns_of_what_it_brings_back() {
    const WARNING: &str = "this brings back what the run removed";
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    let place = ["--store", store.to_str().unwrap()];
    for only in ["all", "protection", "files"] {
        let warns = only != "protection";
        fs::write(&case.disk, &case.original).unwrap();
        case.clean(&[]).exits(0);
        let undo = [&["undo", "--progress", "none", "--only", only][..], &place].concat();
        let ran = on_a_terminal(&case.on_disk(&undo), "n").exits(2);
        let (question, _) = ran.stdout.split_once("Carry it out?").unwrap_or_else(|| ran.fail("a question"));
        ran.require(question.contains(WARNING) == warns, "the warning before the yes, where it is true");
        let ran = case.undo(&["--only", only]).exits(0);
        ran.require(ran.stderr.contains(WARNING) == warns, "the warning on standard error");
        ran.require(ran.remarks().contains(WARNING) == warns, "the warning in the report");
    }
    fs::write(&case.disk, &case.original).unwrap();
    case.clean(&[]).exits(0);
    let ran = case.undo(&["--progress", "json"]).exits(0);
    ran.require(ran.stderr.lines().any(|line| line.contains(WARNING)), "the warning among the events");
    for line in ran.stderr.lines() {
        ran.require(serde_json::from_str::<Value>(line).is_ok(), "an event a line");
    }
}

#[test]
fn a_target_that_is_not_there_is_undetermined() {
    for command in ["scan", "clean"] {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.img");
        let mut words = vec![command, "--json", missing.to_str().unwrap()];
        if command == "clean" {
            words.push("--yes");
        }
        let ran = plainly(&words).exits(2);
        ran.require(ran.at("/verdict") == "undetermined" && ran.at("/exit_code") == 2, "undetermined");
        ran.require(ran.at("/targets/0/note").as_str().unwrap().contains("missing.img"), "which one");
        must_hash(&ran, ran.json());
    }
}

/// Things that are no disk: words and exit 2, whatever they hold.
#[test]
fn what_is_no_disk_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let noise: Vec<u8> =
        (0_u32..200_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    let mut signed = noise.clone();
    signed[510..512].copy_from_slice(&[0x55, 0xaa]);
    for path in [
        file("text.txt", &b"This is a letter and no disk.\n".repeat(100)),
        file("empty", b""),
        file("short", b"MZ"),
        file("zeros", &vec![0; 1 << 20]),
        file("noise", &noise),
        file("noise with a signature", &signed),
        folder.path().to_owned(),
        PathBuf::from("/dev/null"),
    ] {
        let before = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        for words in [&["scan", "--json"][..], &["clean", "--yes", "--json", "--store", "/nonexistent/store"]]
        {
            let ran = plainly(&[words, &[path.to_str().unwrap()]].concat()).exits(2);
            ran.require(ran.at("/verdict") == "undetermined", "undetermined");
            ran.require(!path.is_file() || fs::read(&path).unwrap() == before, "no byte to change");
        }
        let listed = plainly(&["list", path.to_str().unwrap()]);
        let lines: Vec<&str> = listed.stdout.lines().collect();
        let once: std::collections::BTreeSet<&str> = lines.iter().copied().collect();
        listed.require(once.len() == lines.len(), "no line twice");
        let is_noise = path.file_name().unwrap().to_str().unwrap().starts_with("noise");
        listed.require(!is_noise || listed.code == Some(2), "exit 2 where the table cannot be read");
    }
}

#[test]
fn a_broken_signature_file_stops_before_anything() {
    let Some(case) = Case::practice() else { return };
    let broken = case.path("broken.toml");
    for text in
        ["this is no TOML [", "[[signature]]\nfamily = 1\n", "[[signature]]\nfamily=\"x\"\nsha256=\"zz\"\n"]
    {
        fs::write(&broken, text).unwrap();
        let store = case.store();
        let reports = case.path("reports");
        let ran = Ran::of(&mut case.on_disk(&[
            "clean",
            "--yes",
            "--signatures",
            broken.to_str().unwrap(),
            "--store",
            store.to_str().unwrap(),
            "--report-dir",
            reports.to_str().unwrap(),
        ]))
        .exits(2);
        ran.says("broken.toml").says(": line ");
        ran.require(ran.stderr.trim_end().lines().count() <= 2, "words on one line, and a hint");
        case.must_be_as_at_first(&ran);
        ran.require(!store.exists() && !reports.exists(), "nothing to be made");
    }
    let ran = Ran::of(&mut case.on_disk(&["scan", "--signatures", "/nonexistent/file.toml"])).exits(2);
    ran.says("/nonexistent/file.toml");
    let large = case.path("large.toml");
    fs::File::create(&large).unwrap().set_len((16 << 20) + 1).unwrap();
    for (file, words) in [(large.to_str().unwrap(), "larger than 16 MiB"), ("/dev/zero", "no plain file")] {
        Ran::of(&mut case.on_disk(&["scan", "--signatures", file])).exits(2).says(words);
    }
}

#[test]
fn the_report_is_one_document_and_its_hash_is_right() {
    let Some(case) = Case::practice() else { return };
    let scanned = case.scan().exits(1);
    must_hash(&scanned, scanned.json());
    let cleaned = case.clean(&[]).exits(0);
    must_hash(&cleaned, cleaned.json());
    let undone = case.undo(&[]).exits(0);
    must_hash(&undone, undone.json());
    for ran in [&scanned, &cleaned, &undone] {
        for member in [
            "schema",
            "tool",
            "run_id",
            "started",
            "finished",
            "machine",
            "options",
            "verdict",
            "exit_code",
            "targets",
            "changes",
            "next_steps",
            "hash",
        ] {
            ran.require(ran.json().get(member).is_some(), member);
        }
        ran.require(ran.at("/schema") == "deblast.report/1", "the schema");
    }
    let mut spoilt = cleaned.json();
    spoilt["verdict"] = "clean".into();
    let told = spoilt.as_object_mut().unwrap().remove("hash").unwrap();
    assert_ne!(told, format!("sha256:{}", digest(compact(&spoilt).as_bytes())).as_str(), "a change is seen");
}

#[test]
fn a_folder_for_reports_is_never_overwritten() {
    let Some(case) = Case::practice() else { return };
    let reports = case.path("reports");
    let words = ["scan", "--json", "--report-dir", reports.to_str().unwrap()];
    let list = || -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let first = Ran::of(&mut case.on_disk(&words)).exits(1);
    let once = list();
    let second = Ran::of(&mut case.on_disk(&words)).exits(1);
    let twice = list();
    let kinds = once.len();
    second.require(kinds >= 2 && twice.len() == 2 * kinds, "as many new files for the second run");
    second.require(once.iter().all(|file| twice.contains(file)), "the first run's files as they were");
    for ran in [&first, &second] {
        ran.require(
            twice.iter().any(|(_, bytes)| bytes == ran.stdout.as_bytes()),
            "what was printed in a file",
        );
    }
    // A folder that cannot be made: said before a disk is touched.
    let file = case.path("file");
    fs::write(&file, b"").unwrap();
    let ran = case.clean(&["--report-dir", file.join("x").to_str().unwrap()]).exits(2);
    case.must_be_as_at_first(&ran);
}

#[test]
fn progress_is_on_standard_error_and_never_on_the_other() {
    let Some(case) = Case::practice() else { return };
    let ran = Ran::of(&mut case.on_disk(&["scan", "--json", "--progress", "plain"])).exits(1);
    ran.json();
    ran.require(ran.stderr.contains("looking at"), "lines of progress");
    let ran = Ran::of(&mut case.on_disk(&["scan", "--json", "-v", "--color", "always"])).exits(1);
    ran.json();
    ran.require(
        ran.stderr.contains("looking at") && !ran.stderr.contains('\u{1b}'),
        "the same, and no colour",
    );
    let ran = Ran::of(&mut case.on_disk(&["scan", "--json", "--progress", "json"])).exits(1);
    ran.json();
    ran.require(!ran.stderr.is_empty(), "events");
    for line in ran.stderr.lines() {
        ran.require(serde_json::from_str::<Value>(line).is_ok(), "an event a line");
    }
    let ran = Ran::of(&mut case.on_disk(&["scan", "--json", "--progress", "none"])).exits(1);
    ran.require(ran.stderr.is_empty(), "nothing on standard error");
    let ran = case.scan();
    ran.require(ran.stderr.is_empty(), "nothing on standard error where it is no terminal");
}

/// A reader that goes away, as `head` does, is no failure and no panic.
#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let Some(case) = Case::practice() else { return };
    let mut command = case.on_disk(&["scan", "--json"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.signal().is_none() && !stderr.contains("panicked"), "{} {stderr}", output.status);
    assert_eq!(output.status.code(), Some(1));
}

/// The cure is done when the report is printed: what cannot be printed is kept all the same, and said.
#[test]
fn a_full_standard_output_loses_no_report() {
    let Some(case) = Case::practice() else { return };
    let (store, reports) = (case.store(), case.path("reports"));
    let mut words = vec!["clean", "--yes", "--json", "--store", store.to_str().unwrap()];
    words.extend(["--report-dir", reports.to_str().unwrap()]);
    let mut command = case.on_disk(&words);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let ran = Ran::of(&mut command).exits(2);
    ran.says("cannot print");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(case.runs()[0].join("report.json"));
    ran.require(files.len() == 4, "three files for the report, and one in the store");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        ran.require(text.to_lowercase().contains("cleaned"), &format!("the report in {}", file.display()));
        if file.extension().unwrap() == "json" {
            must_hash(&ran, serde_json::from_str(&text).unwrap());
        }
    }
    case.undo(&[]).exits(0);
}

#[test]
fn many_targets_are_one_report_and_the_worst_counts() {
    let (Some(case), Some(clean)) =
        (Case::practice(), Case::with(&["--infect", "none", "--files", "50", "--size", "16M"]))
    else {
        return;
    };
    let ran = Ran::of(&mut clean.on_disk(&["scan", "--json"])).exits(1);
    ran.require(ran.at("/verdict") == "exposed", "no worm, and the hole open");
    let ran = Ran::of(case.on_disk(&["scan", "--json"]).arg(&clean.disk)).exits(1);
    ran.require(ran.at("/verdict") == "infected", "the worst");
    ran.require(ran.at("/targets").as_array().unwrap().len() == 2, "two targets");
    let ran = Ran::of(case.on_disk(&["scan", "--json"]).arg(case.path("missing"))).exits(2);
    ran.require(ran.at("/verdict") == "undetermined", "one that cannot be read is the worst");
    ran.require(ran.at("/targets/0/installs/0/verdict") == "infected", "and holds up no other");
    let text = Ran::of(case.on_disk(&["clean", "--dry-run"]).arg(&clean.disk)).exits(1);
    for (disk, verdict) in [(&case.disk, "infected"), (&clean.disk, "exposed")] {
        text.says(&format!("  {}: {verdict}", disk.display()))
            .says(&format!(" on {} (planned)", disk.display()));
    }
    // One store, two disks: each finds its own run.
    let ran = Ran::of(
        case.on_disk(&["clean", "--yes", "--json", "--store", case.store().to_str().unwrap()])
            .arg(&clean.disk),
    )
    .exits(0);
    ran.require(case.runs().len() == 2, "a run folder for each");
    let store = case.store();
    let words = ["undo", "--yes", "--json", "--store", store.to_str().unwrap()];
    let ran = Ran::of(&mut clean.on_disk(&words)).exits(0);
    clean.must_be_as_at_first(&ran);
    let ran = Ran::of(&mut case.on_disk(&words)).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_disk_without_a_hole_or_a_worm_is_left_alone() {
    let patched = ["--infect", "none", "--patched", "--files", "50", "--size", "16M"];
    let Some(case) = Case::with(&patched) else { return };
    let ran = case.clean(&[]).exits(0);
    ran.require(ran.at("/verdict") == "clean", "clean");
    case.must_be_as_at_first(&ran);
}

#[test]
fn dcom_left_by_wish_leaves_the_disk_exposed() {
    let Some(case) = Case::practice() else { return };
    let ran = case.clean(&["--dcom", "leave"]).exits(1);
    ran.require(ran.at("/verdict") == "exposed" && ran.at("/exit_code") == 1, "exposed");
    let software = case.file(SOFTWARE);
    ran.require(value(&software, OLE, "EnableDCOM") == Some((1, utf16("Y\0"))), "DCOM as it was");
    ran.require(value(&software, common::RUN, RUN_VALUE).is_none(), "the worm cured all the same");
    ran.require(ran.finding("dcom")["outcome"] == "left", "DCOM left");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// A program of the worm's name and not of its bytes: left by policy and counted, or quarantined when asked for.
#[test]
fn suspects_are_left_and_counted_or_quarantined() {
    const SUSPECT: &str = "Documents and Settings/msblast.exe";
    let Some(mut case) = Case::practice() else { return };
    case.mounted(true, |root| {
        let mut bytes = fs::read(root.join(WORM)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(root.join(SUSPECT), bytes).unwrap();
    });
    case.settle();
    let bytes = case.file(SUSPECT);
    let suspect = |ran: &Ran| {
        let all = ran.findings("worm_file");
        let found = all.into_iter().find(|f| f["where"].as_str().unwrap().contains("Documents and Settings"));
        found.unwrap_or_else(|| ran.fail("expected a finding of the suspect"))
    };
    let ran = case.scan().exits(1);
    ran.require(suspect(&ran)["grade"] == "suspect", "a suspect");
    let ran = case.clean(&[]).exits(1);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned, but for the suspect");
    ran.require(suspect(&ran)["outcome"] == "left", "left by policy");
    ran.require(ran.at("/targets/0/installs/0/suspects") == 1, "counted");
    ran.require(case.file(SUSPECT) == bytes, "its bytes as they were");
    let ran = case.clean(&["--suspects", "quarantine"]).exits(0);
    ran.require(suspect(&ran)["outcome"] == "verified", "quarantined");
    ran.require(case.file(SUSPECT).iter().all(|&byte| byte == 0), "inert");
    // Two runs over one hive, taken back newest first.
    case.undo(&[]).exits(0);
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_dirty_hive_is_refused_in_words() {
    let Some(case) = Case::practice() else { return };
    let hive = case.file(SOFTWARE);
    let mut bytes = case.bytes();
    let place = bytes.windows(512).step_by(512).position(|sector| sector == &hive[..512]).unwrap() * 512;
    bytes[place + 4] ^= 1;
    fs::write(&case.disk, &bytes).unwrap();
    let ran = case.scan().exits(2);
    ran.require(ran.at("/verdict") == "undetermined", "undetermined");
    ran.says("dirty");
    let ran = case.clean(&[]).exits(2);
    case.must_hold(&bytes, &ran, "no byte to change");
    ran.says("dirty");
    ran.require(case.runs().is_empty(), "no run folder");
}

#[test]
fn an_image_that_somebody_holds_is_refused() {
    let Some(case) = Case::practice() else { return };
    // Another program's lock.
    let marker = case.path("locked");
    let mut holder = Command::new("flock")
        .arg(&case.disk)
        .args(["sh", "-c", "echo > \"$1\"; read line", "sh"])
        .arg(&marker)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    while !marker.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let ran = case.clean(&[]);
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    holder.wait().unwrap();
    let ran = ran.exits(2);
    ran.says("another run holds this image");
    case.must_be_as_at_first(&ran);
    ran.require(case.runs().is_empty(), "no run folder");
    case.clean(&[]).exits(0);
}

/// A loop device over the image, with its volume mounted from there.
struct Loop(String, PathBuf);

impl Drop for Loop {
    fn drop(&mut self) {
        if is_mounted(&self.1) {
            unmount(&self.1);
        }
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn an_image_that_is_mounted_is_refused() {
    let Some(case) = Case::practice() else { return };
    let mut command = Command::new("losetup");
    let made = Ran::of(command.args(["-f", "--show", "-r", "-o", &START.to_string()]).arg(&case.disk));
    if made.code != Some(0) {
        skip(&format!("there is no loop device here: {}", made.stderr));
        return;
    }
    let point = case.path("mounted");
    fs::create_dir(&point).unwrap();
    let device = Loop(made.stdout.trim().to_owned(), point.clone());
    let refused = |what: &str| {
        for ran in [case.clean(&[]), case.scan()] {
            let ran = ran.exits(2);
            ran.require(ran.at("/verdict") == "undetermined", "undetermined");
            ran.says(what).says(&device.0);
            case.must_be_as_at_first(&ran);
        }
    };
    refused("loop");
    judge(Command::new("ntfs-3g").args(["-o", "ro"]).arg(&device.0).arg(&point));
    refused("loop");
    drop(device);
    case.clean(&[]).exits(0);
}

#[test]
fn a_store_that_cannot_be_written_ends_before_any_write() {
    let Some(case) = Case::practice() else { return };
    let store = Path::new("/proc/deblast-store");
    let words = ["clean", "--yes", "--json", "--store", store.to_str().unwrap()];
    let ran = Ran::of(&mut case.on_disk(&words)).exits(2);
    case.must_be_as_at_first(&ran);
    ran.require(ran.at("/verdict") == "undetermined", "undetermined");
    ran.says("store");
    ran.require(ran.finding("worm_file")["outcome"] == "left", "left, and nothing done");
    // A file where the store should be.
    let file = case.path("store");
    fs::write(&file, b"not a folder").unwrap();
    let ran = case.clean(&[]).exits(2);
    case.must_be_as_at_first(&ran);
    ran.require(fs::read(&file).unwrap() == b"not a folder", "that file as it was");
}

/// No room for the record: said before any write, and the disk as it was.
#[test]
fn a_store_without_room_ends_before_any_write() {
    let Some(case) = Case::practice() else { return };
    let point = case.path("small");
    fs::create_dir(&point).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&point);
    if Ran::of(&mut mount).code != Some(0) {
        skip("no tmpfs can be mounted here");
        return;
    }
    let ran = Ran::of(&mut case.on_disk(&["clean", "--yes", "--json", "--store", point.to_str().unwrap()]));
    unmount(&point);
    let ran = ran.exits(2);
    case.must_be_as_at_first(&ran);
    ran.says("are free there");
}

#[test]
fn a_hive_with_more_values_still_tells_only_the_worms() {
    let Some(case) = Case::practice() else { return };
    // A harmless program under a name of value that a worm uses too; and the worm's name of value with another's data.
    case.edit_hive(
        SOFTWARE,
        &format!("[\\{}]\n\"Helper\"=\"C:\\\\Program Files\\\\Helper\\\\help.exe\"", common::RUN),
    );
    let ran = case.clean(&[]);
    let helper = value(&case.file(SOFTWARE), common::RUN, "Helper");
    ran.require(helper.is_some(), "a harmless program's value to stay");
    ran.exits(0);
}

/// Many antivirus rules fire on these strings wherever they stand; a rescue tool that is deleted helps nobody.
#[test]
fn the_binary_holds_none_of_the_worms_strings() {
    let mut binary = fs::read(env!("CARGO_BIN_EXE_deblast")).unwrap();
    binary.make_ascii_lowercase();
    for words in
        ["msblast", "love you san", "windows auto update", "penis32", "teekids", "enbiei", "billy gates"]
    {
        for (kind, needle) in [("ASCII", words.as_bytes().to_vec()), ("UTF-16", utf16(words))] {
            let found = binary.windows(needle.len()).position(|window| window == needle);
            assert_eq!(found, None, "{words:?} in {kind} in the binary");
        }
    }
}

#[test]
fn the_practice_signatures_pass_for_what_they_are() {
    let Some(case) = Case::practice() else { return };
    // Without them the stand-in is a program of the worm's name and place, and never confirmed.
    let ran = Ran::of(case.command(&["scan", "--json"]).arg(&case.disk)).exits(1);
    ran.require(
        ran.finding("worm_file")["grade"] == "probable",
        "probable, since a value of the worm's starts it",
    );
}

/// What an undo does is told as what is done to the disk now, whichever way it goes about it.
#[test]
fn an_undo_tells_what_is_done_now() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let store = case.store();
    let words = ["undo", "--progress", "none", "--store", store.to_str().unwrap()];
    let must_tell = |ran: &Ran, told: &str| {
        ran.require(!told.contains("take back:") && !told.contains("taken back:"), "one sense alone");
        ran.require(told.contains(r#"back to REG_SZ "Y""#), "DCOM changed back");
        ran.require(!told.contains(r#"to REG_SZ "N""#), "nothing of what the run did");
        ran.require(told.contains("put back the value SOFTWARE"), "the Run value put back");
        ran.require(told.contains("bytes back from quarantine"), "the file given back");
    };
    let ran = on_a_terminal(&case.on_disk(&words), "n").exits(2);
    let (question, _) = ran.stdout.split_once("Carry it out?").unwrap_or_else(|| ran.fail("a question"));
    must_tell(&ran, question);
    // Value by value, where sectors cannot be written back.
    let by_value = [&words[..], &["--only", "protection"]].concat();
    let ran = on_a_terminal(&case.on_disk(&by_value), "n").exits(2);
    let (question, _) = ran.stdout.split_once("Carry it out?").unwrap_or_else(|| ran.fail("a question"));
    ran.require(question.contains(r#"from REG_SZ "N" to REG_SZ "Y""#), "what is done now");
    let ran = case.undo(&[]).exits(0);
    let told: Vec<String> =
        ran.at("/changes").as_array().unwrap().iter().map(|c| c["what"].to_string()).collect();
    must_tell(&ran, &told.join("\n").replace("\\\"", "\""));
}

/// An undo that did what was asked does not look like a failure, and nothing bids to undo it at once.
#[test]
fn an_undo_tells_its_result_first() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let undo = |options: &[&str]| case.storing(&["undo"], options);
    let ran = undo(&["--dry-run"]).exits(0);
    ran.says("RESULT: NOT CARRIED OUT");
    let ran = undo(&["--yes", "--only", "protection"]).exits(0);
    ran.says("RESULT: DONE").says("The disk now: exposed").says("check that");
    let ran = undo(&["--yes"]).exits(0);
    ran.says("RESULT: DONE - taken back and verified").says("The disk now: infected");
    ran.says("The worm, or what starts it, is back");
    ran.require(!ran.stdout.contains("VERDICT") && !ran.stdout.contains("Clean this disk"), "no failure");
    let ran = undo(&["--yes"]).exits(0);
    ran.says("RESULT: NOTHING TO DO");
}

/// What was only planned is told as such, and anything but `y` is a no that is said.
#[test]
fn a_plan_that_is_not_carried_out_is_told_as_a_plan() {
    let Some(case) = Case::practice() else { return };
    let must_be_a_plan = |ran: &Ran| {
        ran.says("Files that would be written").says("SHA-256 before");
        ran.require(!ran.stdout.contains("Files written") && !ran.stdout.contains("SHA-256 after"), "a plan");
        case.must_be_as_at_first(ran);
    };
    must_be_a_plan(&case.storing(&["clean", "--dry-run"], &[]).exits(1));
    let store = case.store();
    let words = ["clean", "--store", store.to_str().unwrap()];
    let ran = on_a_terminal(&case.on_disk(&words), "yes").exits(1);
    must_be_a_plan(ran.says("not understood as yes: nothing is written"));
    let ran = case.storing(&["clean", "--yes"], &[]).exits(0);
    ran.says("Files written").says("SHA-256 after");
}

/// The verdict line says why nothing can be said: what, and of which target.
#[test]
fn undetermined_names_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, missing) = (folder.path().join("empty.img"), folder.path().join("missing.img"));
    fs::write(&empty, vec![0; 1 << 20]).unwrap();
    let verdict = |paths: &[&Path]| {
        let mut words = vec!["scan"];
        words.extend(paths.iter().map(|path| path.to_str().unwrap()));
        let ran = plainly(&words).exits(2);
        // A long line goes on below, indented.
        let lines = ran.stdout.lines().skip_while(|line| !line.starts_with("VERDICT: UNDETERMINED - "));
        let mut told = String::new();
        for (index, line) in lines.enumerate() {
            if index > 0 && !line.starts_with(' ') {
                break;
            }
            told.push_str(&format!("{} ", line.trim()));
        }
        ran.require(!told.is_empty(), "the verdict");
        told
    };
    let told = verdict(&[&empty]);
    assert!(told.contains(&format!("no Windows was found on {}", empty.display())), "{told}");
    let told = verdict(&[&missing]);
    assert!(told.contains(missing.to_str().unwrap()) && told.contains("No such file"), "{told}");
    let told = verdict(&[&empty, &missing]);
    assert!(told.contains("No such file") && told.contains("and 1 more"), "{told}");
    let Some(case) = Case::practice() else { return };
    let file = case.path("file");
    fs::write(&file, b"").unwrap();
    let ran = Ran::of(&mut case.on_disk(&["clean", "--yes", "--store", file.to_str().unwrap()])).exits(2);
    let line = ran.stdout.lines().find(|line| line.starts_with("VERDICT")).unwrap_or_default();
    ran.require(line.starts_with("VERDICT: UNDETERMINED - ") && !line.contains("no Windows"), "the refusal");
}

/// What cannot be written is refused before a yes is asked for, and is no failed cure.
#[test]
fn a_read_only_target_is_refused_before_anything() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    let must_refuse = |ran: Ran, words: &str| {
        let ran = ran.exits(2);
        ran.says(words).require(!ran.stdout.contains("Carry it out?"), "no question");
        ran.require(case.runs().is_empty(), "no run folder");
        case.must_be_as_at_first(&ran);
        ran
    };
    fs::set_permissions(&case.disk, fs::Permissions::from_mode(0o444)).unwrap();
    let ran = must_refuse(case.clean(&[]), "the image is read-only");
    ran.require(ran.at("/verdict") == "undetermined", "undetermined");
    let words = ["clean", "--store", store.to_str().unwrap()];
    must_refuse(on_a_terminal(&case.on_disk(&words), "y"), "the image is read-only");
    case.scan().exits(1);
    fs::create_dir(&store).unwrap();
    must_refuse(case.undo(&[]), "the image is read-only");
    fs::set_permissions(&case.disk, fs::Permissions::from_mode(0o644)).unwrap();

    let mut command = Command::new("losetup");
    let made = Ran::of(command.args(["-f", "--show", "-r"]).arg(&case.disk));
    if made.code != Some(0) {
        println!("skipped: there is no loop device here: {}", made.stderr);
        return;
    }
    let device = Loop(made.stdout.trim().to_owned(), case.path("nowhere"));
    let words =
        ["clean", "--yes", "--json", "--store", store.to_str().unwrap(), "--signatures", common::PRACTICE];
    let ran = must_refuse(Ran::of(case.command(&words).arg(&device.0)), "a write blocker?");
    ran.require(ran.at("/verdict") == "undetermined", "undetermined");
}

/// A mistyped mount point must not become a folder of this machine's.
#[test]
fn a_place_whose_folder_is_missing_is_not_made() {
    let Some(case) = Case::practice() else { return };
    let stick = case.path("stik");
    let inside = stick.join("deblast");
    let place = inside.to_str().unwrap();
    for words in [
        &["clean", "--yes", "--store", place][..],
        &["clean", "--dry-run", "--store", place],
        &["undo", "--yes", "--store", place],
        &["undo", "--list", "--store", place],
        &["scan", "--report-dir", place],
    ] {
        let ran = Ran::of(&mut case.on_disk(words));
        ran.says(if words[0] == "undo" {
            "no such store"
        } else {
            "stik does not exist; is the stick mounted?"
        });
        ran.require(!stick.exists(), "nothing to be made");
        case.must_be_as_at_first(&ran);
        // A dry run still tells what it found.
        ran.exits(if words[1] == "--dry-run" { 1 } else { 2 });
    }
}

/// A screen's lines: none is longer than it must be, and commands can be copied as they stand.
#[test]
fn the_report_fits_a_screen_and_names_commands_to_copy() {
    let Some(case) = Case::practice() else { return };
    let must_fit = |ran: &Ran, command: &str| {
        let long = |line: &&str| line.chars().count() > 100 && !line.trim().starts_with("deblast ");
        let long: Vec<&str> = ran.stdout.lines().filter(long).collect();
        // What is one path, and no more, cannot be broken.
        ran.require(
            long.iter().all(|line| !line.trim().contains(' ')),
            &format!("short lines, not {long:?}"),
        );
        ran.require(ran.stdout.lines().any(|line| line.trim() == command), &format!("a line {command:?}"));
    };
    let disk = case.disk.display();
    let ran = Ran::of(&mut case.on_disk(&["scan"])).exits(1);
    must_fit(&ran, &format!("deblast clean --signatures {} {disk}", common::PRACTICE));
    let ran = case.storing(&["clean", "--yes"], &[]).exits(0);
    let store = case.store();
    must_fit(&ran, &format!("deblast undo --only protection --store {} {disk}", store.display()));
    let ran = Ran::of(&mut case.on_disk(&["scan"])).exits(0);
    must_fit(&ran, &format!("deblast undo --only protection --store STORE {disk}"));
    let ran = case.storing(&["undo", "--yes"], &[]).exits(0);
    must_fit(
        &ran,
        &format!("deblast clean --signatures {} --store {} {disk}", common::PRACTICE, case.store().display()),
    );
    ran.require(!ran.stdout.contains("Start Windows with"), "nobody to be bidden to start the worm");
}

//! Several disks in one run: each with its verdict and its report, whatever becomes of the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{PRACTICE, Ran, practice, skip};
use serde_json::Value;

/// A folder with disks in it, a store, reports and a log.
struct Bench {
    folder: tempfile::TempDir,
    disks: Vec<PathBuf>,
}

impl Bench {
    fn of(disks: &[&[u8]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disks = disks.iter().enumerate().map(|(number, bytes)| {
            let path = folder.path().join(format!("disk{number}.img"));
            fs::write(&path, bytes).unwrap();
            path
        });
        Self { disks: disks.collect(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn clean(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deblast"));
        let consent = if options.contains(&"--dry-run") { &[][..] } else { &["--yes"] };
        command.arg("clean").args(consent).args(["--json", "--progress", "json", "--signatures", PRACTICE]);
        for (option, name) in [("--store", "store"), ("--report-dir", "reports"), ("--log", "log")] {
            command.arg(option).arg(self.path(name));
        }
        command.args(options).args(&self.disks);
        command.env("HOME", self.folder.path()).env("XDG_STATE_HOME", self.path("state"));
        command
    }

    /// The reports by their names.
    fn reports(&self) -> BTreeMap<String, Value> {
        let names = fs::read_dir(self.path("reports")).unwrap().map(|entry| entry.unwrap());
        let json = names.filter(|entry| entry.path().extension().is_some_and(|end| end == "json"));
        json.map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap())
        })
        .collect()
    }
}

fn verdicts(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let targets = report["targets"].as_array().unwrap();
    targets.iter().map(|target| (text(&target["path"]), text(&target["verdict"]))).collect()
}

#[test]
fn each_disk_has_its_verdict_and_its_report_however_many_are_worked_on_at_once() {
    const SMALL: [&str; 4] = ["--files", "20", "--size", "16M"];
    let make = |more: &[&str]| practice(&[more, &SMALL[..]].concat());
    let Some(infected) = make(&[]) else { return };
    let Some(dirty) = make(&["--state", "dirty-hive"]) else { return };
    let Some(old) = make(&["--windows", "nt4"]) else { return };
    let Some(asleep) = make(&["--state", "hibernated"]) else { return };
    let zeros = vec![0; 1 << 20];
    let wanted = ["cleaned", "undetermined", "cleaned", "cleaned", "undetermined", "undetermined"];
    for jobs in ["1", "2", "6"] {
        let mut bench = Bench::of(&[&infected, &zeros, &dirty, &old, &asleep]);
        bench.disks.push(bench.path("missing.img"));
        let ran = Ran::of(&mut bench.clean(&["--jobs", jobs])).exits(2);
        let report = ran.json();
        let told = verdicts(&report);
        let in_order: Vec<_> = bench.disks.iter().map(|disk| disk.display().to_string()).collect();
        ran.require(
            told.iter().map(|(path, _)| path).eq(&in_order),
            "the targets in the order in which they were given",
        );
        ran.require(told.iter().map(|(_, verdict)| verdict).eq(&wanted), "the verdict of each");
        ran.require(fs::read(&bench.disks[1]).unwrap() == zeros, "a disk without Windows as it was");
        ran.require(fs::read(&bench.disks[4]).unwrap() == asleep, "a hibernated one as it was");

        // One report a disk, whose name begins with that of the run, and one of the run.
        let reports = bench.reports();
        ran.require(reports.len() == 7, "a report of each disk and one of the run");
        let (name, run) = reports.iter().min_by_key(|(name, _)| name.len()).unwrap();
        ran.require(*run == report, "the run's own to be the one that was printed");
        let stem = name.strip_suffix(".json").unwrap();
        for (name, one) in reports.iter().filter(|(other, _)| *other != name) {
            let [(path, verdict)] = &verdicts(one)[..] else { ran.fail("a report of one disk") };
            let disk = PathBuf::from(path).file_stem().unwrap().to_str().unwrap().to_owned();
            ran.require(*name == format!("{stem}-{disk}.json"), "a name that tells run and disk");
            ran.require(told.contains(&(path.clone(), verdict.clone())), "the same verdict in both");
        }
        // The record of each run holds the report on its disk alone.
        for run in fs::read_dir(bench.path("store"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
        {
            let kept: Value = serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
            ran.require(kept["targets"].as_array().unwrap().len() == 1, "one target");
            ran.require(reports.values().any(|report| *report == kept), "the report that was filed");
        }

        // Merged, the report on a disk alone counts, and no disk is blamed for another.
        let csv = bench.path("table.csv");
        let mut merge = Command::new(env!("CARGO_BIN_EXE_deblast"));
        merge.args(["report", "merge", "--csv"]).arg(&csv).arg(bench.path("reports"));
        Ran::of(&mut merge).exits(0);
        let table = fs::read_to_string(&csv).unwrap();
        let names: Vec<&str> = table.lines().next().unwrap().split(',').collect();
        let column = |name: &str| names.iter().position(|other| *other == name).unwrap();
        let newest: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|cells| cells[column("newest")] == "yes")
            .collect();
        for (path, verdict) in &told {
            let rows: Vec<_> =
                newest.iter().filter(|cells| cells[column("target")] == path.as_str()).collect();
            ran.require(rows.len() == 1, "each disk once among the newest");
            let needs = rows[0][column("needs_a_person")] == "yes";
            ran.require(needs == (verdict == "undetermined"), "a person for what is undetermined alone");
        }

        // Events and log say of each line which disk it is about.
        let events: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        ran.require(
            events.iter().all(|event| in_order.iter().any(|path| event["target"] == path.as_str())),
            "a target in each event",
        );
        let log = fs::read_to_string(bench.path("log")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (path, verdict) in &told {
            let over = lines.iter().filter(|line| line["event"] == "over" && line["target"] == path.as_str());
            let over: Vec<_> = over.collect();
            ran.require(
                over.len() == 1 && over[0]["verdict"] == verdict.as_str() && over[0]["time"].is_string(),
                "its end in the log",
            );
        }
        ran.require(lines.iter().all(|line| line["event"] != "progress"), "no progress in the log");
    }
}

/// Two ways to one disk: one after the other, so that the second finds it clean.
#[test]
fn one_disk_by_two_names_is_never_worked_on_twice_at_once() {
    let Some(infected) = practice(&["--files", "20", "--size", "16M"]) else { return };
    let mut bench = Bench::of(&[&infected]);
    let link = bench.path("link.img");
    std::os::unix::fs::symlink(&bench.disks[0], &link).unwrap();
    bench.disks.push(link);
    let ran = Ran::of(&mut bench.clean(&["--jobs", "8"])).exits(0);
    let told: Vec<String> = verdicts(&ran.json()).into_iter().map(|(_, verdict)| verdict).collect();
    ran.require(told == ["cleaned", "clean"], "cleaned by the first, and clean for the second");
}

/// A hive that fits alone and not beside another of its size: it comes once the others are done.
#[test]
fn what_needs_all_the_memory_comes_last_and_alone() {
    let made = Command::new("unshare").args(["-m", "true"]).output();
    if !made.is_ok_and(|output| output.status.success()) {
        return skip("no mount namespace can be made here (root and unshare are needed)");
    }
    let large = ["--filesystem", "fat16", "--files", "10", "--size", "64M", "--software-size", "30"];
    let Some(large) = practice(&large) else { return };
    let bench = Bench::of(&[&large, &large]);
    let meminfo = bench.path("meminfo");
    fs::write(&meminfo, "MemTotal: 131072 kB\nMemFree: 900 kB\nMemAvailable: 67000 kB\n").unwrap();
    // A look is enough: to read the hive takes that much.
    let command = bench.clean(&["--dry-run"]);
    let mut unshared = Command::new("unshare");
    unshared.args(["-m", "sh", "-c", "mount --bind \"$1\" /proc/meminfo && shift && exec \"$@\"", "sh"]);
    unshared.arg(meminfo).arg(command.get_program()).args(command.get_args());
    let ran = Ran::of(&mut unshared).exits(1);
    ran.require(verdicts(&ran.json()).iter().all(|(_, verdict)| verdict == "infected"), "both judged");
    ran.require(
        ran.stderr.contains("needs more memory than is left beside the others"),
        "one of them to wait",
    );
    ran.require(bench.reports().len() == 3, "no report of what was put off");
}

#[test]
fn watch_asks_for_a_yes_and_a_store_before_anything() {
    let bench = Bench::of(&[]);
    let watch = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deblast"));
        command.arg("watch").args(words).env("HOME", bench.folder.path());
        Ran::of(&mut command).exits(2)
    };
    watch(&[]).says("--yes").says("--dry-run");
    watch(&["--yes", "--store", "/proc/no/such"]).says("write to the store");
    watch(&["--yes", "/dev/null"]).says("unexpected argument");
}

/// An idle watch that is asked to end does so in its own way. It only looks, should somebody plug a disk in meanwhile.
#[test]
fn a_signal_ends_watch_in_an_orderly_way() {
    use std::io::{BufRead as _, BufReader};
    let bench = Bench::of(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_deblast"));
    command.args(["watch", "--dry-run", "--report-dir"]).arg(bench.path("reports"));
    command.env("HOME", bench.folder.path()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.next().unwrap().contains("waiting for disks"));
    let sent = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("no further disk is begun")), "{rest:?}");
    assert_eq!(fs::read_dir(bench.path("reports")).unwrap().count(), 0, "no empty report is left");
}

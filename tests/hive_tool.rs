//! `deblast hive` as people type it: what it prints, what it changes, what it refuses, with which exit code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use deblast::change::ValueData;
use deblast::hive::Hive;
use deblast::hive::check::survey;
use tempfile::TempDir;

#[allow(dead_code, reason = "shared with the tests of the engine, which use more of it")]
#[path = "hive/common.rs"]
mod common;
#[allow(dead_code, reason = "shared with the tests of the engine, which use more of it")]
#[path = "hive/stopped.rs"]
mod stopped;

use common::{NOW, RUN, made, ours, set, tight};

struct Bench {
    folder: TempDir,
}

/// What one call gave: exit code, standard output, standard error.
type Said = (i32, String, String);

impl Bench {
    /// A folder with this hive in it, as `hive`.
    fn new(hive: &[u8]) -> Self {
        let bench = Self { folder: TempDir::new().unwrap() };
        fs::write(bench.path("hive"), hive).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn run(&self, words: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_deblast"))
            .current_dir(self.folder.path())
            .arg("hive")
            .args(words)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs what must succeed; gives what it printed.
    fn good(&self, words: &[&str]) -> String {
        let (code, out, err) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {err}");
        out
    }

    /// Runs what must end with this code and these words, and leave the hive as it is.
    fn refused(&self, words: &[&str], wanted: i32, why: &str) {
        let before = self.read("hive");
        let (code, out, err) = self.run(words);
        assert_eq!((code, out.as_str()), (wanted, ""), "{words:?}: {err}");
        assert!(err.contains(why), "{words:?}: {err}");
        assert!(self.read("hive") == before, "{words:?}: the hive is as it was");
    }
}

#[test]
fn list_and_get_print_what_is_there() {
    let bench = Bench::new(made(5).as_bytes());
    assert_eq!(bench.good(&["list", "hive"]), "Classes\\\nDefault\\\nMicrosoft\\\nNone\\\nOne\\\nRoom\\\n");
    let run = bench.good(&["list", "hive", RUN]);
    assert!(run.contains("windows auto update\tREG_SZ\t\"msblast.exe\"\n"), "{run}");
    assert!(run.contains("number\tREG_DWORD\t0x04030201 (67305985)\n"), "{run}");
    assert!(run.contains("empty\tREG_BINARY\t\n"), "{run}");
    assert_eq!(bench.good(&["list", "hive", "Default"]), "(default)\tREG_SZ\t\"the default value\"\n");
    assert_eq!(bench.good(&["get", "hive", RUN, "WINDOWS AUTO UPDATE"]), "REG_SZ\tmsblast.exe\n");
    assert_eq!(bench.good(&["get", "hive", "Default", ""]), "REG_SZ\tthe default value\n");
    let all = bench.good(&["get", "hive", r"\microsoft\OLE\"]);
    assert_eq!(all, "EnableDCOM\tREG_SZ\tY\nLegacyAuthenticationLevel\tREG_SZ\t2 is connect\n");
    bench.refused(&["get", "hive", RUN, "msblast"], 1, "has no value msblast");
    bench.refused(&["list", "hive", "No\\Such"], 1, "there is no key No\\Such");
}

#[test]
fn set_of_each_type_reads_back_and_keeps_a_backup() {
    for hive in [made(3), tight(5)] {
        let bench = Bench::new(hive.as_bytes());
        let (code, out, err) = bench.run(&["set", "hive", r"Microsoft\Ole", "EnableDCOM", "sz", "N"]);
        assert_eq!((code, out.as_str()), (0, ""), "{err}");
        assert!(err.contains("done; the hive as it was is hive.bak"), "{err}");
        assert!(bench.read("hive.bak") == hive.as_bytes(), "the backup is the hive as it was");
        assert_eq!(bench.good(&["get", "hive", r"Microsoft\Ole", "EnableDCOM"]), "REG_SZ\tN\n");

        let before = ["set", "hive", "None", "x", "sz", "y"];
        bench.refused(&before, 2, "cannot back the hive up first");
        assert!(bench.read("hive.bak") == hive.as_bytes(), "and is never overwritten");
        bench.good(&["set", "--backup", "other", "hive", "None", "x", "sz", "y"]);
        assert!(bench.path("other").exists());

        for (kind, data, shown) in [
            ("sz", &["a text"][..], "REG_SZ\ta text\n"),
            ("expand-sz", &["%SystemRoot%\\x"], "REG_EXPAND_SZ\t%SystemRoot%\\x\n"),
            ("multi-sz", &["one", "two", "ΔΩ"], "REG_MULTI_SZ\tone\n\ttwo\n\tΔΩ\n"),
            ("multi-sz", &[], "REG_MULTI_SZ\t\n"),
            ("dword", &["4711"], "REG_DWORD\t0x00001267 (4711)\n"),
            ("binary", &["00 01 ff:7f"], "REG_BINARY\t0001ff7f\n"),
            ("binary", &[""], "REG_BINARY\t\n"),
        ] {
            let mut words = vec!["set", "--backup", "none", "hive", "None", "a value", kind];
            words.extend(data);
            bench.good(&words);
            assert_eq!(bench.good(&["get", "hive", "None", "A VALUE"]), shown);
            assert_eq!(bench.good(&["check", "hive"]), "");
        }
        bench.good(&["set", "--backup", "none", "hive", "None", "x", "sz", "--", "-minus"]);
        assert_eq!(bench.good(&["get", "hive", "None", "x"]), "REG_SZ\t-minus\n");
        let now = bench.read("hive");
        bench.good(&["set", "--backup", "none", "hive", "None", "x", "sz", "--", "-minus"]);
        assert!(bench.read("hive") == now, "what is so already is not written");
    }
}

#[test]
fn keys_are_made_only_when_asked() {
    let bench = Bench::new(tight(5).as_bytes());
    let key = r"Software\New\Key";
    let words = ["set", "hive", key, "n", "dword", "0x10"];
    bench.refused(&words, 1, "there is no key Software; --create-key makes it");
    bench.good(&[&words[..], &["--create-key"]].concat());
    assert_eq!(bench.good(&["get", "hive", key]), "n\tREG_DWORD\t0x00000010 (16)\n");
    assert_eq!(bench.good(&["list", "hive", "software"]), "New\\\n");
    assert_eq!(bench.good(&["check", "hive"]), "");
}

#[test]
fn delete_takes_one_value() {
    let bench = Bench::new(made(3).as_bytes());
    bench.good(&["delete", "hive", RUN, "Windows Auto Update"]);
    let names: Vec<String> =
        ours(&Hive::parse(bench.read("hive")).unwrap(), RUN).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["Synchronize", "Größe", "Ωmega", "number", "empty"]);
    let again = ["delete", "--backup", "none", "hive", RUN, "Windows Auto Update"];
    bench.refused(&again, 1, "has no value Windows Auto Update");
    bench.refused(&["delete", "hive", "No", "x"], 1, "there is no key No\n");
}

#[test]
fn a_full_hive_grows_with_its_file() {
    let hive = tight(5);
    let bench = Bench::new(hive.as_bytes());
    let digits = "ab".repeat(40_000);
    bench.good(&["set", "hive", "None", "large", "binary", &digits]);
    assert_eq!(bench.good(&["get", "hive", "None", "large"]), format!("REG_BINARY\t{digits}\n"));
    let grown = bench.read("hive");
    assert!(grown.len() > hive.as_bytes().len() + 40_000);
    assert_eq!(survey(&Hive::parse(grown).unwrap()).problems, vec![]);
}

#[test]
fn check_tells_every_problem_and_edits_are_refused() {
    let mut bytes = made(5).into_bytes();
    let bench = Bench::new(&bytes);
    let (code, out, err) = bench.run(&["check", "hive"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("sound: version 1.5, 72 keys, 131 values"), "{err}");

    let hive = Hive::parse(bytes.clone()).unwrap();
    let key = hive.key(&deblast::path::RegPath::new("One")).unwrap().unwrap().offset().file_offset() as usize;
    bytes[key + 4 + 36] = 99;
    fs::write(bench.path("hive"), &bytes).unwrap();
    let (code, out, _) = bench.run(&["check", "hive"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("structure\t0x") && out.contains("\t99 values in a list of "), "{out}");
    assert!(out.lines().all(|line| line.split('\t').count() == 3), "{out}");
    bench.refused(&["delete", "hive", RUN, "number"], 2, "it is damaged, and an edit could harm it");
    assert!(!bench.path("hive.bak").exists(), "a refusal leaves no backup");

    for (content, why) in [
        (&b"no hive"[..], "expected a base block of 4096 bytes, found a file of 7 bytes"),
        (&[0; 8192], "expected signature \"regf\""),
    ] {
        fs::write(bench.path("hive"), content).unwrap();
        for verb in [&["check", "hive"][..], &["list", "hive"], &["set", "hive", "", "x", "sz", "y"]] {
            bench.refused(verb, 2, why);
        }
    }
    fs::remove_file(bench.path("hive")).unwrap();
    let (code, _, err) = bench.run(&["check", "hive"]);
    assert_eq!(code, 2);
    assert!(err.contains("cannot read the file (hive): No such file"), "{err}");
}

#[test]
fn data_that_does_not_fit_its_type_changes_nothing() {
    let bench = Bench::new(made(5).as_bytes());
    for (words, why) in [
        (&["sz", "a", "b"][..], "expected one word of data for this type, found 2"),
        (&["dword", "x"], "expected a number from 0 to 4294967295"),
        (&["binary", "0x1"], "expected hexadecimal digits, found 'x'"),
        (&["qword", "1"], "invalid value 'qword'"),
    ] {
        bench.refused(&[&["set", "hive", "None", "n"], words].concat(), 2, why);
    }
    bench.refused(&["recover", "hive"], 2, "no transaction log is given");
}

#[test]
fn a_dirty_hive_is_recovered_or_edited_with_its_log() {
    let before = tight(5);
    let mut after = before.clone();
    let edits = [
        set("None", "by Windows", ValueData::sz("in the log only")),
        set("None", "large", common::data(3, &[9; 9000])),
    ];
    deblast::hive::edit::edit_within(&mut after, &edits, NOW + 9, deblast::hive::edit::Room::Grow).unwrap();
    let (dirty, log) = stopped::stopped(before.as_bytes(), after.as_bytes(), 1);
    let bench = Bench::new(&dirty);
    fs::write(bench.path("hive.LOG"), &log).unwrap();

    let dirty_words = "it is dirty: the sequence numbers differ";
    bench.refused(&["set", "hive", "None", "x", "sz", "y"], 2, dirty_words);
    let (code, out, err) = bench.run(&["get", "hive", "None"]);
    assert_eq!((code, out.as_str()), (0, ""), "read as far as is safe");
    assert!(err.contains("this is how it stands, without what its transaction log would complete"), "{err}");
    assert_eq!(bench.run(&["check", "hive"]).0, 1);
    assert_eq!(bench.run(&["check", "hive", "--log", "hive.LOG"]).0, 0);
    let value = ["get", "hive", "None", "by Windows", "--log", "hive.LOG"];
    assert_eq!(bench.good(&value), "REG_SZ\tin the log only\n");
    assert!(bench.read("hive") == dirty, "reading writes nothing");

    bench.good(&["recover", "hive", "--log", "hive.LOG", "-o", "whole"]);
    assert!(bench.read("whole") == after.as_bytes() && bench.read("hive") == dirty);
    bench.refused(
        &["recover", "hive", "--log", "hive.LOG", "-o", "whole"],
        2,
        "cannot write the completed hive",
    );
    bench.refused(&["recover", "hive", "--log", "whole"], 2, "a hive and no log");

    // Edited in one go: replayed, then set.
    let set = ["set", "hive", "None", "x", "sz", "y", "--log", "hive.LOG"];
    bench.good(&set);
    assert!(bench.read("hive.bak") == dirty && bench.read("hive.LOG") == log, "backup and log as they were");
    assert_eq!(bench.good(&["get", "hive", "None", "by Windows"]), "REG_SZ\tin the log only\n");
    assert_eq!(bench.good(&["get", "hive", "None", "x"]), "REG_SZ\ty\n");
    assert_eq!(bench.good(&["check", "hive"]), "");

    // Completed in place.
    fs::write(bench.path("hive"), &dirty).unwrap();
    bench.good(&["recover", "--backup", "none", "hive", "--log", "whole", "--log", "hive.LOG"]);
    assert!(bench.read("hive") == after.as_bytes());
    bench.refused(&["recover", "hive", "--log", "hive.LOG"], 2, "the hive is clean");
}

#[test]
fn nothing_from_a_hive_reaches_the_terminal_unescaped() {
    let mut hive = made(5);
    let evil = set("None", "\u{1b}]0;x\u{7}", ValueData::sz("a\u{1b}[2J\nb\u{202e}"));
    deblast::hive::edit::edit(&mut hive, &[evil], NOW).unwrap();
    let bench = Bench::new(hive.as_bytes());
    for verb in ["list", "get"] {
        let out = bench.good(&[verb, "hive", "None"]);
        assert!(out.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "{out:?}");
        assert!(out.contains(r"\u{1b}]0;x\u{7}") && out.contains(r"a\u{1b}[2J\u{a}b\u{202e}"), "{out}");
    }
}

#[test]
fn help_says_what_a_stranger_needs() {
    let bench = Bench::new(&[]);
    let help = bench.good(&["set", "--help"]);
    for words in ["Examples:", "multi-sz", "--create-key", "--backup", "FILE.bak", "--log", "Exit codes:"] {
        assert!(help.contains(words), "{words}: {help}");
    }
    assert!(bench.good(&["--help"]).contains("SOFTWARE, SYSTEM, NTUSER.DAT"));
    assert_eq!(bench.run(&[]).0, 2);
}

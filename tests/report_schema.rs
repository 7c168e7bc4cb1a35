//! The report and `docs/report-1.schema.json` are one: real reports of the real binary are held against the schema, and
//! each member that a script may rely on is taken away, renamed or given a wrong word, to see that it would be told.
//!
//! The practice disks need root and /dev/fuse; `scripts/test` installs what else is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use deblast::cleanup::verdict::Verdict;
use deblast::digest::Sha256;
use deblast::finding::{CheckName, DcomState, FilterState, Grade, Outcome, PatchState};
use deblast::windows::install::ProductType;
use jsonschema::Validator;
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema() -> Value {
    let text =
        std::fs::read_to_string(root().join("docs/report-1.schema.json")).expect("the schema is there");
    serde_json::from_str(&text).expect("the schema is JSON")
}

fn validator() -> Validator {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&schema())
        .expect("the schema is a schema of draft 2020-12")
}

fn told(output: &Output) -> String {
    format!(
        "{}\nstdout:\n{}\nstderr:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Every kind of report, each made once by the real binary on a practice disk.
struct Reports {
    _work: tempfile::TempDir,
    all: Vec<(&'static str, Value)>,
    /// The report of the clean that was carried out, as it came to standard output.
    cleaned: Value,
    /// The same as it lies in the folder for reports, and in the store.
    copies: Vec<Value>,
}

fn make_disk(out: &Path, infect: &str) {
    let script = root().join("scripts/make-practice-disk");
    let options = ["--files", "50", "--size", "16M", "--infect", infect];
    let output = Command::new(&script).arg(out).args(options).output().expect("bash is there");
    assert!(output.status.success(), "{} {out:?} {options:?}: {}", script.display(), told(&output));
}

fn deblast(code: i32, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_deblast"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(code), "deblast {arguments:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("deblast {arguments:?}: no JSON ({error}): {}", told(&output)))
}

fn reports() -> &'static Reports {
    static REPORTS: OnceLock<Reports> = OnceLock::new();
    REPORTS.get_or_init(|| {
        let work = tempfile::tempdir().unwrap();
        let path = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
        let (disk, clean_disk, empty, missing) =
            (path("infected.img"), path("clean.img"), path("empty.img"), path("missing.img"));
        make_disk(Path::new(&disk), "a");
        make_disk(Path::new(&clean_disk), "none");
        std::fs::write(&empty, vec![0; 1 << 20]).unwrap();
        let (store, folder) = (path("store"), path("reports"));
        let known = ["--signatures", "fixtures/practice.toml", "--json"];
        let with = |more: &[&str]| more.iter().chain(&known).map(|&s| s.to_owned()).collect::<Vec<_>>();
        let run = |code, words: &[&str]| {
            let words = with(words);
            deblast(code, &words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let infected = run(1, &["scan", &disk]);
        let exposed = run(1, &["scan", &clean_disk]);
        let planned = run(1, &["clean", "--dry-run", "--store", &store, &disk]);
        let cleaned = run(0, &["clean", "--yes", "--store", &store, "--report-dir", &folder, &disk]);
        let again = run(0, &["scan", &disk]);
        let undone = run(0, &["undo", "--yes", "--store", &store, &disk]);
        let nothing = run(0, &["undo", "--yes", "--store", &store, &disk]);
        let no_windows = run(2, &["scan", &empty]);
        let unopened = run(2, &["scan", &missing, &disk]);
        let mut copies: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        copies.retain(|path| path.extension().is_some_and(|e| e == "json"));
        let id = cleaned["run_id"].as_str().expect("a clean that writes has a run");
        copies.push(Path::new(&store).join(id).join("report.json"));
        let copies = copies
            .iter()
            .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
            .collect();
        let all = vec![
            ("scan of an infected disk", infected),
            ("scan of a disk without the worm", exposed),
            ("clean --dry-run", planned),
            ("clean", cleaned.clone()),
            ("scan of a cleaned disk", again),
            ("undo", undone),
            ("undo with nothing to take back", nothing),
            ("scan of a target without Windows", no_windows),
            ("scan of a target that cannot be opened, and of another", unopened),
        ];
        Reports { _work: work, all, cleaned, copies }
    })
}

#[test]
fn every_report_is_as_the_schema_says() {
    let validator = validator();
    for (name, report) in &reports().all {
        let errors: Vec<String> = validator
            .iter_errors(report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}:\n{}\n{report:#}", errors.join("\n"));
    }
}

#[test]
fn the_reports_are_of_every_kind() {
    let of = |name: &str| &reports().all.iter().find(|(own, _)| *own == name).expect(name).1;
    let verdict = |name: &str| of(name)["verdict"].as_str().unwrap().to_owned();
    assert_eq!(verdict("scan of an infected disk"), "infected");
    assert_eq!(verdict("scan of a disk without the worm"), "exposed");
    assert_eq!(verdict("clean"), "cleaned");
    assert_eq!(verdict("scan of a cleaned disk"), "clean");
    assert_eq!(verdict("scan of a target without Windows"), "undetermined");
    let unopened = of("scan of a target that cannot be opened, and of another");
    assert_eq!(unopened["targets"][0]["size"], Value::Null);
    assert!(unopened["targets"][0]["note"].as_str().is_some_and(|note| !note.is_empty()));
    assert_eq!(unopened["targets"][1]["note"], Value::Null, "one that fails holds up no other");
    let outcomes: BTreeSet<&str> = ["clean --dry-run", "clean", "scan of an infected disk"]
        .into_iter()
        .flat_map(|name| of(name)["targets"][0]["installs"][0]["findings"].as_array().unwrap())
        .map(|finding| finding["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, BTreeSet::from(["none", "planned", "verified"]));
    let dry = of("clean --dry-run");
    let planned = dry["changes"].as_array().unwrap();
    assert!(dry["run_id"].is_null() && planned.len() == 3, "a dry run tells what it would write");
    assert!(planned.iter().all(|change| change["outcome"] == "planned" && change["sha256_after"].is_null()));
    for written in ["clean", "undo"] {
        let changes = of(written)["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 3, "{written}: the worm's file, SOFTWARE, SYSTEM");
        assert!(changes.iter().all(|change| change["sha256_before"] != change["sha256_after"]));
    }
}

#[test]
fn all_copies_of_a_report_are_the_same() {
    let reports = reports();
    assert_eq!(reports.copies.len(), 2, "one in the folder for reports, one in the store");
    assert!(reports.copies.iter().all(|copy| *copy == reports.cleaned));
}

/// Compact JSON with the members of every object in the order of their names, whatever order the reader kept.
fn in_order(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            let members = names.into_iter().map(|name| {
                format!(
                    "{}:{}",
                    Value::String(name.clone()),
                    in_order(members.get(name).expect("its own name"))
                )
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(in_order).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[test]
fn the_hash_is_of_the_rest_of_the_report() {
    for (name, report) in &reports().all {
        let mut rest = report.clone();
        let hash = rest.as_object_mut().unwrap().remove("hash").unwrap();
        let found = format!("sha256:{}", Sha256::of(in_order(&rest).as_bytes()));
        assert_eq!(hash.as_str(), Some(found.as_str()), "{name}");
    }
}

/// What scripts may rely on, written out a second time: objects of the report of a clean, and their members.
const PROMISED: &[(&str, &[&str])] = &[
    (
        "",
        &[
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
        ],
    ),
    ("/tool", &["name", "version"]),
    ("/machine", &["maker", "model", "serial", "computer_name"]),
    ("/targets/0", &["path", "kind", "size", "disk", "note", "installs"]),
    ("/targets/0/disk", &["model", "serial"]),
    (
        "/targets/0/installs/0",
        &[
            "volume",
            "system_root",
            "product",
            "product_type",
            "version",
            "build",
            "service_pack",
            "computer_name",
            "verdict",
            "hole",
            "findings",
        ],
    ),
    ("/targets/0/installs/0/volume", &["start", "filesystem", "version", "state"]),
    (
        "/targets/0/installs/0/findings/0",
        &["check", "grade", "what", "where", "evidence", "action", "outcome", "why"],
    ),
    ("/changes/0", &["target", "path", "sha256_before", "sha256_after", "outcome"]),
];

#[test]
fn a_member_that_is_gone_is_told() {
    let validator = validator();
    for (place, members) in PROMISED {
        for member in *members {
            let mut report = reports().cleaned.clone();
            let object = report.pointer_mut(place).and_then(Value::as_object_mut).expect(place);
            assert!(object.remove(*member).is_some(), "{place} has no {member}");
            assert!(!validator.is_valid(&report), "{place} without {member} passes");
        }
    }
}

#[test]
fn a_member_that_nobody_promised_is_told() {
    let validator = validator();
    let evidence = "/targets/0/installs/0/findings/0/evidence";
    for place in PROMISED.iter().map(|(place, _)| *place).chain([evidence]) {
        let mut report = reports().cleaned.clone();
        let object = report.pointer_mut(place).and_then(Value::as_object_mut).expect(place);
        object.insert("more".to_owned(), json!(1));
        assert!(!validator.is_valid(&report), "{place} with one member more passes");
    }
    let mut report = reports().cleaned.clone();
    report["options"]["more"] = json!(1);
    assert!(validator.is_valid(&report), "options are free");
}

#[test]
fn a_wrong_word_is_told() {
    let validator = validator();
    let finding = |member: &str| format!("/targets/0/installs/0/findings/1/{member}");
    let install = |member: &str| format!("/targets/0/installs/0/{member}");
    let cases = [
        ("/schema".to_owned(), json!("deblast.report/2")),
        ("/verdict".to_owned(), json!("fine")),
        ("/verdict".to_owned(), json!(null)),
        ("/exit_code".to_owned(), json!(3)),
        ("/exit_code".to_owned(), json!("0")),
        ("/started".to_owned(), json!("yesterday")),
        ("/run_id".to_owned(), json!("1-2-3")),
        ("/hash".to_owned(), json!("sha256:0")),
        ("/targets/0/kind".to_owned(), json!("floppy")),
        ("/targets/0/size".to_owned(), json!(-1)),
        (install("verdict"), json!("Cleaned")),
        (install("system_root"), json!("WINDOWS")),
        (install("product_type"), json!("home")),
        (finding("check"), json!("worm")),
        (finding("grade"), json!("sure")),
        (finding("outcome"), json!("cured")),
        (finding("evidence/md5"), json!("5AE7")),
        (finding("evidence/name"), json!("gone")),
        ("/changes/0/sha256_after".to_owned(), json!("")),
    ];
    for (place, word) in cases {
        let mut report = reports().cleaned.clone();
        *report.pointer_mut(&place).unwrap_or_else(|| panic!("the report has no {place}")) = word.clone();
        assert!(!validator.is_valid(&report), "{place} = {word} passes");
    }
}

/// All words of an enum as reports spell them. A variant that is missing here does not compile.
macro_rules! words_of {
    ($kind:ident: $($variant:ident),+) => {{
        let _every_variant_is_here = |value: $kind| match value { $($kind::$variant => ()),+ };
        [$($kind::$variant),+].map(|value| serde_json::to_value(value).expect("a word")).to_vec()
    }};
}

#[test]
fn the_schema_has_the_words_of_the_program_and_no_others() {
    let null = [Value::Null];
    let product_types = words_of!(ProductType: Workstation, Server, DomainController);
    let words = [
        (
            "check",
            words_of!(CheckName: Autostart, WormFile, Dcom, PacketFilter, Patch, Companion, RestorePoint, Traces),
        ),
        ("grade", words_of!(Grade: Confirmed, Probable, Suspect, Information)),
        ("outcome", words_of!(Outcome: None, Planned, Done, Verified, Left, Failed)),
        ("verdict", words_of!(Verdict: Clean, Cleaned, Exposed, Infected, Undetermined, Failed)),
        ("patch", words_of!(PatchState: Fixed, Vulnerable, NotEstablished)),
        ("dcom", words_of!(DcomState: Off, OffNotHonoured, On, NotEstablished)),
        ("filter", words_of!(FilterState: On, Off, NotEstablished)),
        ("product_type", [&product_types[..], &null[..]].concat()),
    ];
    let schema = schema();
    for (name, words) in words {
        assert_eq!(schema["$defs"][name]["enum"], Value::Array(words), "$defs/{name}");
    }
}

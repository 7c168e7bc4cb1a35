//! Texts that Deblast writes or people write for it: what was read, written and read again is the same.

use std::io::Cursor;
use std::path::Path;

use deblast::cleanup::report::{Report, Stored};
use deblast::cleanup::{report_html, report_text};
use deblast::digest::Sha256;
use deblast::store::journal::{Journal, Loaded};
use deblast::store::quarantine::Entry;
use deblast::threat::{HashSets, Role, Signature, SignatureGrade, parse_signatures};

fn as_text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// A signature as an entry of a TOML file; written by hand here, since the program never writes one.
fn written(signature: &Signature) -> toml::Table {
    let s = signature;
    let mut table = toml::Table::new();
    let texts = |list: &[String]| toml::Value::Array(list.iter().cloned().map(toml::Value::String).collect());
    let mut set = |name: &str, value: toml::Value| drop(table.insert(name.to_owned(), value));
    set("family", s.family.clone().into());
    set("variant", s.variant.clone().into());
    set("source", s.source.clone().into());
    for (name, list) in [
        ("aliases", &s.aliases),
        ("names", &s.names),
        ("services", &s.services),
        ("run_values", &s.run_values),
    ] {
        set(name, texts(list));
    }
    set("common_names", s.common_names.into());
    set("common_run_values", s.common_run_values.into());
    let role = if s.role == Role::Worm { "worm" } else { "companion" };
    set("role", role.to_owned().into());
    let grade = if s.grade == SignatureGrade::Confirmed { "confirmed" } else { "suspect" };
    set("grade", grade.to_owned().into());
    if let Some(folder) = &s.folder {
        set("folder", folder.clone().into());
    }
    if let Some(size) = s.size {
        set("size", i64::try_from(size).unwrap().into());
    }
    let digests = [
        ("md5", s.md5.map(|digest| digest.to_string())),
        ("sha1", s.sha1.map(|digest| digest.to_string())),
        ("sha256", s.sha256.map(|digest| digest.to_string())),
    ];
    for (name, digest) in digests {
        if let Some(digest) = digest {
            set(name, digest.into());
        }
    }
    table
}

/// A file of signatures.
pub fn signatures(data: &[u8]) {
    let text = as_text(data);
    let Ok(list) = parse_signatures(&text) else { return };
    if list.iter().any(|signature| signature.size.is_some_and(|size| i64::try_from(size).is_err())) {
        // The reader takes such a number, but what writes here has none.
        return;
    }
    let tables = list.iter().map(|signature| toml::Value::Table(written(signature))).collect();
    let mut file = toml::Table::new();
    file.insert("signature".to_owned(), toml::Value::Array(tables));
    let again = parse_signatures(&toml::to_string(&file).unwrap()).expect("what was read can be written");
    assert_eq!(format!("{list:?}"), format!("{again:?}"));
}

/// A hash set: its entries, written as lines, are the same entries.
pub fn hash_set(data: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut sets = HashSets::default();
        let outcome = sets.add_lines(Path::new("a set"), Cursor::new(bytes)).unwrap();
        sets.finish();
        (sets, outcome)
    };
    let (sets, outcome) = read(data);
    assert!(outcome.problems.len() <= 100 && outcome.problem_count >= outcome.problems.len() as u64);
    let listed = |sets: &HashSets| {
        let line = |digest: String, size: Option<u32>, name: &str| match size {
            Some(size) => format!("{digest}:{size}:{name}"),
            None => format!("{digest}:*:{name}:73"),
        };
        let mut lines: Vec<String> =
            sets.entries().map(|(digest, entry)| line(digest, entry.size, entry.name)).collect();
        lines.sort();
        lines
    };
    let lines = listed(&sets);
    // An entry that stands there twice is kept once.
    assert!(lines.len() as u64 <= outcome.entries.iter().sum::<u64>());
    let (again, outcome) = read(lines.join("\n").as_bytes());
    if !lines.is_empty() {
        assert_eq!(outcome.problem_count, 0, "{:?} of {lines:?}", outcome.problems);
    }
    assert_eq!(lines, listed(&again));
    assert_eq!(sets.sizes(), again.sizes());
    assert_eq!(sets.any_size(), again.any_size());
}

/// `deblast.toml`.
pub fn configuration(data: &[u8]) {
    let read_and_write = deblast::cli::read_and_write_configuration;
    let Ok(first) = read_and_write(&as_text(data)) else { return };
    let second = read_and_write(&first).expect("what was written can be read");
    assert_eq!(first, second);
}

/// The lines of a journal with the checksums that they must have, and the place of `ready` in its header.
pub fn with_checksums(data: &[u8]) -> Vec<u8> {
    let text = as_text(data);
    let build = |ready_at: usize| {
        let (mut chain, mut bytes, mut ready) = (String::new(), Vec::new(), 0);
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            if line.starts_with(r#"{"record":"ready""#) && ready == 0 {
                ready = bytes.len();
            }
            let line =
                line.replacen(r#""ready_at":"0000000000""#, &format!(r#""ready_at":"{ready_at:010}""#), 1);
            chain = Sha256::of(format!("{chain} {line}").as_bytes()).to_string();
            chain.truncate(32);
            bytes.extend_from_slice(format!("{chain} {line}\n").as_bytes());
        }
        (bytes, ready)
    };
    let (_, ready) = build(0);
    build(ready).0
}

/// A journal: as it stands, and with right checksums; what is ready is written and read back.
pub fn journal(data: &[u8]) {
    let _ = Journal::from_bytes(data);
    let bytes = with_checksums(data);
    let Ok(Loaded::Ready(journal)) = Journal::from_bytes(&bytes) else { return };
    let header = &journal.header;
    let written = Journal::bytes(header, &journal.intents).unwrap();
    let Loaded::Ready(again) = Journal::from_bytes(&written).expect("what was written can be read") else {
        panic!("a journal that was ready is not any more");
    };
    let mut expected = header.clone();
    expected.ready_at = again.header.ready_at;
    assert!(again.header == expected && again.intents == journal.intents);
    assert!(Journal::length(header, &journal.intents).unwrap() > written.len() as u64);
    // Later steps rest on these without asking again.
    for file in &journal.header.files {
        for intent in
            journal.intents.iter().filter(|intent| journal.header.files.get(intent.file) == Some(file))
        {
            for place in intent.sectors().take(64) {
                assert!(file.offset_of(place).is_some(), "each sector lies in the file that is named");
            }
        }
    }
    // Torn anywhere: never another plan.
    for cut in [written.len() / 3, written.len() * 2 / 3, written.len().saturating_sub(1)] {
        let mut torn = written.clone();
        torn[cut..].fill(0);
        if let Ok(Loaded::Ready(found)) = Journal::from_bytes(&torn) {
            assert!(found.intents == again.intents, "torn at {cut}");
        }
    }
}

/// The manifest of a quarantine: its entries.
pub fn manifest(data: &[u8]) {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Manifest {
        schema: String,
        encoding: String,
        files: Vec<Entry>,
    }
    let Ok(first) = serde_json::from_slice::<Manifest>(data) else { return };
    let text = serde_json::to_string_pretty(&first).unwrap();
    let second: Manifest = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(first, second);
}

/// A stored report: read, written and read again it is the same; shown as text it moves no terminal, and shown as a page
/// it is none but ours.
pub fn report(data: &[u8]) {
    let stored = Stored::of(data);
    let report = match &stored {
        Stored::Sound(report) | Stored::Altered { report, .. } => report,
        Stored::Broken(_) | Stored::Later(_) => return,
    };
    let json = report.to_json().unwrap();
    let again: Report = serde_json::from_str(&json).expect("what was written can be read");
    assert_eq!(again.to_json().unwrap(), json);
    let text = report_text::render(report);
    let moves = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(moves), "control characters reach the terminal");
    let page = report_html::render(report, None).unwrap();
    assert!(
        !page.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')),
        "control characters in the page"
    );
    let ours =
        page.matches("<script").count() + page.matches("<iframe").count() + page.matches("<img").count();
    assert_eq!(ours, 0, "markup of a disk's reaches the page");
}

//! Many reports become one table: a row for each install, the newest report on a disk counts, and no text of a report acts in
//! a spreadsheet or on a page. A thousand take seconds.

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
use std::path::Path;

use common::{Case, Ran, rehashed};
use serde_json::{Value, json};

/// Texts that a disk or firmware may hold.
const HOSTILE: [&str; 8] = [
    "=HYPERLINK(\"http://evil/\",\"click\")",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "<script>alert(1)</script>",
    "a,\"b\"\r\nc;d",
    "\u{1b}[2J\u{202e}\u{9b}",
    "Zo\u{eb} & S\u{f6}hne",
];

/// A report of the machine with this number.
fn numbered(base: &Value, number: usize, verdict: &str, started: &str) -> Value {
    let mut report = base.clone();
    let text = HOSTILE[number % HOSTILE.len()];
    report["started"] = json!(started);
    report["verdict"] = json!(verdict);
    report["exit_code"] = json!(match verdict {
        "clean" | "cleaned" => 0,
        "exposed" | "infected" => 1,
        _ => 2,
    });
    report["machine"]["model"] = json!(text);
    report["targets"][0]["verdict"] = json!(verdict);
    report["targets"][0]["disk"] = json!({"model": text, "serial": format!("S{number:04}")});
    report["targets"][0]["installs"][0]["computer_name"] = json!(format!("{text} {number}"));
    report["targets"][0]["installs"][0]["suspects"] = json!(0);
    rehashed(report)
}

/// Rows of a CSV by the description of the format, RFC 4180.
fn csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted && chars.next_if_eq(&'\n').is_some() => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(row.is_empty() && cell.is_empty(), "the last line ends");
    let names = rows.remove(0);
    let named = |row: Vec<String>| {
        assert_eq!(row.len(), names.len(), "{row:?}");
        names.iter().cloned().zip(row).collect()
    };
    rows.into_iter().map(named).collect()
}

fn base(case: &Case) -> Value {
    case.scan().exits(1).json()
}

fn merge(case: &Case, words: &[&str]) -> Ran {
    Ran::of(case.command(&["report", "merge"]).args(words))
}

#[test]
fn a_thousand_reports_are_counted_right_and_act_nowhere() {
    let Some(case) = Case::practice() else { return };
    let (base, folder) = (base(&case), case.path("bench"));
    let verdicts = ["clean", "cleaned", "exposed", "infected", "undetermined", "failed"];
    let write = |name: &str, report: &Value| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, report.to_string()).unwrap();
    };
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..700 {
        let verdict = verdicts[number * 7 % verdicts.len()];
        *expected.entry(verdict).or_default() += 1;
        let report = numbered(&base, number, verdict, "2003-08-16T12:00:00Z");
        write(&format!("stick {}/deblast-{number}.json", number % 9), &report);
        // Scanned before that, and its report in a store too.
        if number < 300 {
            let older = numbered(&base, number, "infected", "2003-08-15T12:00:00Z");
            write(&format!("older/deblast-{number}.json"), &older);
            write(&format!("store/{number}/report.json"), &report);
            write(&format!("store/{number}/quarantine/manifest.json"), &json!({"no": "report"}));
        }
    }
    let (table, page) = (case.path("bench.csv"), case.path("bench.html"));
    let words =
        [folder.to_str().unwrap(), "--csv", table.to_str().unwrap(), "--html", page.to_str().unwrap()];
    let ran = merge(&case, &words).exits(0);
    let rows = csv(&fs::read_to_string(&table).unwrap());
    ran.require(rows.len() == 1000, &format!("1000 rows, not {}", rows.len()));
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["newest"] == "yes") {
        *counted.entry(row["verdict"].as_str()).or_default() += 1;
        let person = !["clean", "cleaned"].contains(&row["verdict"].as_str());
        assert_eq!(row["needs_a_person"] == "yes", person, "{row:?}");
    }
    assert_eq!(counted, expected);
    for (name, cell) in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{name}: {cell:?}");
        assert!(!cell.chars().any(|c| c.is_control() || c == '\u{202e}'), "{name}: {cell:?}");
    }
    let page = fs::read_to_string(&page).unwrap();
    for (verdict, count) in expected {
        assert!(
            page.contains(&format!("<strong>{verdict}</strong></th><td>{count}: ")),
            "{verdict}: {count}"
        );
    }
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && page.contains("Zo\u{eb} &#38; S"));
    // What is there is not written over, and nothing is read for it.
    merge(&case, &words).exits(2).says("bench.csv");
}

#[test]
fn what_is_no_report_is_named_and_what_was_altered_says_so() {
    let Some(case) = Case::practice() else { return };
    let (base, folder) = (base(&case), case.path("bench"));
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let path = folder.to_str().unwrap();
    merge(&case, &[path]).exits(2).says("none of 0 files is a report");
    let good = numbered(&base, 7, "clean", "2003-08-16T12:00:00Z");
    write("good.json", &good.to_string());
    let rows = csv(&merge(&case, &[path]).exits(0).stdout);
    assert_eq!((rows.len(), rows[0]["verdict"].as_str(), rows[0]["altered"].as_str()), (1, "clean", ""));
    // Somebody makes an infected disk clean, and leaves the hash as it was.
    let mut forged = numbered(&base, 8, "infected", "2003-08-16T12:00:00Z");
    forged["targets"][0]["verdict"] = json!("clean");
    write("forged.json", &forged.to_string());
    let rows = csv(&merge(&case, &[path]).exits(1).stdout);
    let row = rows.iter().find(|row| row["report"].ends_with("forged.json")).unwrap();
    assert!(!row["altered"].is_empty() && row["needs_a_person"] == "yes", "{row:?}");
    // A run that was cut, and a stray file.
    write("cut.json", &good.to_string()[..300]);
    write("stray.json", "[]");
    let html = case.path("page.html");
    let ran = merge(&case, &[path, "--html", html.to_str().unwrap()]).exits(2);
    ran.says("cut.json: left out: its end is missing").says("stray.json: left out");
    let page = fs::read_to_string(html).unwrap();
    assert!(page.contains("Left out") && page.contains("cut.json") && page.contains("TO LOOK AT"), "{page}");
    assert!(Path::new(path).join("good.json").exists());
}

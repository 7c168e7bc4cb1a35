//! What the documents say of the program is so: its commands, its exit codes, the commands that a reader types, and the
//! files and places that are named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use deblast::cleanup::verdict::{Verdict, exit_code};
use deblast::cli::Args;

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "fixtures/README.md",
    "docs/bench.md",
    "docs/live-image.md",
    "docs/live-parameters.md",
    "docs/threat-model.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rows of the table whose heading begins with this word, cell by cell.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let start = format!("| {heading}");
    let rows: Vec<_> = text
        .lines()
        .skip_while(|line| !line.starts_with(&start))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    assert!(!rows.is_empty(), "no table that begins with {heading}");
    rows
}

#[test]
fn the_commands_of_the_readme_are_those_of_the_program() {
    let output = Command::new(env!("CARGO_BIN_EXE_deblast")).arg("--help").output().expect("it starts");
    let help = String::from_utf8(output.stdout).unwrap();
    let of_program: BTreeSet<String> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect();
    let of_readme: BTreeSet<String> = table(&document("README.md"), "command")
        .iter()
        .map(|row| row[0].trim_start_matches("`deblast ").split([' ', '`']).next().unwrap().to_owned())
        .collect();
    assert_eq!(of_readme, of_program, "{help}");
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_program() {
    let of_readme: BTreeSet<(String, String)> = table(&document("README.md"), "verdict of scan")
        .iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].clone()))
        .collect();
    let verdicts = [
        Verdict::Clean,
        Verdict::Cleaned,
        Verdict::Exposed,
        Verdict::Infected,
        Verdict::Undetermined,
        Verdict::Failed,
    ];
    let of_program = verdicts.map(|verdict| (verdict.to_string(), exit_code(verdict, 0).to_string()));
    assert_eq!(of_readme, BTreeSet::from(of_program));
}

/// Lines of fenced blocks, and what stands between backticks elsewhere.
fn typed(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_command_that_a_reader_types_is_understood() {
    let mut count = 0;
    for name in ["README.md", "CONTRIBUTING.md"] {
        for line in typed(&document(name)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // The tables name a command with what may follow it; those are not typed as they stand.
            if words.first() != Some(&"deblast")
                || words.len() < 2
                || line.contains('[')
                || line.contains("COMMAND")
            {
                continue;
            }
            let options = Args::try_parse_from(&words)
                .unwrap_or_else(|error| panic!("{name}: {line}: {error}"))
                .resolve();
            assert!(options.is_ok(), "{name}: {line}");
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} commands were seen");
    assert!(Args::try_parse_from(["deblast", "scan", "--no-such-option"]).is_err());
}

#[test]
fn what_the_documents_name_is_there() {
    const FOLDERS: [&str; 5] = ["src/", "tests/", "scripts/", "docs/", "fixtures/"];
    let mut count = 0;
    for name in DOCUMENTS {
        for line in typed(&document(name)) {
            let Some(path) = line.split_whitespace().find(|word| FOLDERS.iter().any(|f| word.starts_with(f)))
            else {
                continue;
            };
            assert!(root().join(path).exists(), "{name} names {path}");
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} paths were seen");
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for name in DOCUMENTS {
        for link in document(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(name).parent().unwrap();
            let target = folder.join(path);
            assert!(root().join(&target).exists(), "{name} links to {link}");
            if !anchor.is_empty() {
                let text = document(target.to_str().unwrap());
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|line| {
                    line.trim_start_matches(['#', ' '])
                        .to_lowercase()
                        .replace(' ', "-")
                        .replace([',', '.'], "")
                });
                assert!(anchors.any(|own| own == anchor), "{name} links to {link}");
            }
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} links were seen");
}

/// Completions and manual pages are made from the command line's own definitions: each command has its page, and what is hidden has none.
#[test]
fn each_command_has_a_manual_page_and_is_completed() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_deblast")).args(words).output().expect("it starts");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("man1");
    run(&["man", man.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(man.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let commands: BTreeSet<String> = table(&document("README.md"), "command")
        .iter()
        .filter_map(|row| row[0].trim_matches('`').split(' ').nth(1).map(str::to_owned))
        .collect();
    assert!(commands.len() > 8, "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let text = run(&["completions", shell]);
        assert!(commands.iter().all(|name| text.contains(name.as_str())), "{shell}");
    }
    for name in &commands {
        assert!(page(&format!("deblast-{name}.1")).contains(".SH OPTIONS"), "{name}");
    }
    assert!(page("deblast.1").contains("deblast\\-clean(1)"), "the first page names the others");
    assert!(page("deblast-hive-set.1").contains("REG"), "pages of what stands below a command");
    assert!(!man.join("deblast-live.1").exists(), "what is hidden has no page");
    let nowhere = folder.path().join("a/b/c");
    let refused = Command::new(env!("CARGO_BIN_EXE_deblast")).arg("man").arg(nowhere).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

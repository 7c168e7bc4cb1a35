//! `deblast filter`: every port of the advisory once in every dialect and each way, the text as it was agreed, and the
//! real tools that read it, where Debian has them. It has no pfctl, and no Windows or IOS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{ROOT, Ran, skip};

const FORMATS: [&str; 6] = ["nftables", "iptables", "cisco-ios", "pf", "netsh", "ipsecpol"];
const DIRECTIONS: [&str; 3] = ["both", "in", "out"];

fn filter(words: &[&str]) -> Ran {
    Ran::of(Command::new(env!("CARGO_BIN_EXE_deblast")).arg("filter").args(words))
}

fn rules(format: &str, direction: &str) -> String {
    filter(&["--format", format, "--direction", direction]).exits(0).stdout
}

/// The services that the advisory's own text lists, as `135/tcp`.
fn of_the_advisory() -> Vec<String> {
    let text = "* 69/UDP * 135/TCP * 135/UDP * 139/TCP * 139/UDP * 445/TCP * 445/UDP * 4444/TCP";
    text.split("* ").map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect()
}

/// Way, port and protocol of every rule, by the dialect's own words and not by its comments; and the line.
fn read(format: &str, text: &str) -> Vec<(String, String)> {
    let mut chain = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word: &str| {
            let at = words.iter().position(|own| *own == word)?;
            words.get(at + 1).copied()
        };
        let field = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
        let (way, port, protocol) = match format {
            "nftables" => {
                if let Some(name) = line.strip_prefix("chain services_") {
                    chain = name.trim_end_matches(" {").to_owned();
                }
                if !line.contains(" drop ") {
                    continue;
                }
                (chain.clone(), after("dport").unwrap(), words[0])
            }
            "iptables" => {
                if !line.ends_with("-j DROP") {
                    continue;
                }
                let chain = after("-A").unwrap().trim_start_matches("CA-2003-20-");
                (chain.to_owned(), after("--dport").unwrap(), after("-p").unwrap())
            }
            "cisco-ios" => {
                if let Some(name) = line.strip_prefix("ip access-list extended CA-2003-20-") {
                    chain = name.to_lowercase();
                }
                if words.first() != Some(&"deny") {
                    continue;
                }
                assert_eq!(words[2..5], ["any", "any", "eq"], "{line}");
                (chain.clone(), words[5], words[1])
            }
            "pf" => {
                if !line.starts_with("block ") {
                    continue;
                }
                assert_eq!(words[..2], ["block", "drop"], "{line}");
                (words[2].to_owned(), after("port").unwrap(), after("proto").unwrap())
            }
            "netsh" => {
                if !line.contains("add filter ") {
                    continue;
                }
                let way = match (field("srcaddr=").unwrap(), field("dstaddr=").unwrap()) {
                    ("any", "me") => "in",
                    ("me", "any") => "out",
                    other => panic!("{other:?}: {line}"),
                };
                assert!(words.contains(&"mirrored=no"), "a mirrored filter holds for answers too: {line}");
                (way.to_owned(), field("dstport=").unwrap(), field("protocol=").unwrap())
            }
            _ => {
                let Some(spec) = after("-f") else { continue };
                let parts: Vec<&str> = spec.split(':').collect();
                let way = match parts[0] {
                    "*=0" => "in",
                    "0=*" => "out",
                    other => panic!("{other}: {line}"),
                };
                assert!(line.contains("-n BLOCK"), "{line}");
                (way.to_owned(), parts[1], parts[2])
            }
        };
        found.push((format!("{way} {port}/{}", protocol.to_lowercase()), line.to_owned()));
    }
    found
}

#[test]
fn every_service_stands_once_in_every_dialect_and_each_way() {
    for format in FORMATS {
        for direction in DIRECTIONS {
            let text = rules(format, direction);
            let ways: &[&str] = if direction == "both" { &["in", "out"] } else { &[direction] };
            let mut count: BTreeMap<String, u32> = BTreeMap::new();
            for (rule, _) in read(format, &text) {
                *count.entry(rule).or_default() += 1;
            }
            let expected: BTreeMap<String, u32> = ways
                .iter()
                .flat_map(|way| {
                    of_the_advisory().into_iter().map(move |service| (format!("{way} {service}"), 1))
                })
                .collect();
            assert_eq!(expected.len(), 8 * ways.len());
            assert_eq!(count, expected, "{format} {direction}\n{text}");
        }
    }
}

#[test]
fn every_rule_names_the_advisory() {
    for format in FORMATS {
        let text = rules(format, "both");
        assert!(
            text.lines().take(2).any(|line| line.contains("CA-2003-20 (W32/Blaster)")),
            "{format}\n{text}"
        );
        if format == "cisco-ios" {
            let remarks = text.lines().filter(|line| line.contains(" remark CA-2003-20: ")).count();
            assert_eq!(remarks, 18, "one for each entry\n{text}");
            assert!(
                text.lines().all(|line| line.len() <= 107),
                "a remark has at most 100 characters\n{text}"
            );
        } else {
            for (_, line) in read(format, &text) {
                assert!(line.contains("CA-2003-20"), "{format}: {line}");
            }
        }
    }
}

/// What was agreed, in tests/golden/filter. `DEBLAST_GOLDEN=write` writes it anew, for a person to look at.
#[test]
fn the_text_is_what_was_agreed() {
    let folder = Path::new(ROOT).join("tests/golden/filter");
    let mut cases: Vec<(String, Vec<&str>)> =
        FORMATS.iter().map(|format| (format!("{format}.txt"), vec!["--format", format])).collect();
    for format in &FORMATS[..4] {
        let words = vec!["--format", format, "--direction", "in", "--interface", "eth0"];
        cases.push((format!("{format}-in-eth0.txt"), words));
    }
    for (name, words) in cases {
        let printed = filter(&words).exits(0).stdout;
        let path = folder.join(&name);
        if std::env::var_os("DEBLAST_GOLDEN").is_some_and(|what| what == "write") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &printed).unwrap();
        }
        let agreed = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(printed, agreed, "{name}");
    }
}

#[test]
fn batch_files_have_the_line_ends_of_their_windows_and_the_last_rule_sets_the_policy_in_force() {
    for format in ["netsh", "ipsecpol"] {
        for direction in DIRECTIONS {
            let text = rules(format, direction);
            assert!(text.ends_with("\r\n") && text.starts_with("@echo off\r\n"), "{text}");
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            let last = text.lines().last().unwrap();
            let sets = if format == "netsh" { "assign=yes" } else { " -x" };
            assert!(last.ends_with(sets), "{last}");
            assert_eq!(text.matches(sets).count(), 1, "{text}");
        }
    }
}

#[test]
fn an_interface_is_refused_where_it_cannot_be_meant_or_spelt() {
    for format in ["netsh", "ipsecpol"] {
        filter(&["--format", format, "--interface", "eth0"]).exits(2).says("on every interface");
    }
    for name in ["eth0; flush ruleset", "eth0\"", "", "a b", "eth0\npass"] {
        let ran = filter(&["--format", "nftables", "--interface", name]).exits(2);
        ran.says("no name of an interface").require(ran.stdout.is_empty(), "no rules");
    }
    filter(&["--format", "nonsense"]).exits(2);
    filter(&[]).exits(2);
}

fn tool(name: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/sbin", "/usr/bin"].iter().map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        skip(&format!("{name} is not installed; scripts/install-deps does that"));
    }
    found
}

/// A tool of the packet filter, in a network of its own: it needs the rights, and must touch no rule of this machine.
fn alone(tool: &Path, words: &[&str], file: &Path) -> Ran {
    Ran::of(Command::new("unshare").args(["-n", "--"]).arg(tool).args(words).arg(file))
}

/// Whether such a network can be had here.
fn may_be_alone() -> bool {
    let may =
        Command::new("unshare").args(["-n", "--", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        skip("no network namespace can be made here (root and unshare are needed)");
    }
    may
}

#[test]
fn nft_and_iptables_take_the_rules_and_would_refuse_broken_ones() {
    if !may_be_alone() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules");
    let judges: [(&str, &str, &[&str]); 3] = [
        ("nftables", "nft", &["-c", "-f"]),
        ("iptables", "iptables-restore", &["--test"]),
        ("iptables", "ip6tables-restore", &["--test"]),
    ];
    for (format, name, words) in judges {
        let Some(tool) = tool(name) else { continue };
        for direction in DIRECTIONS {
            for interface in [&[][..], &["--interface", "eth0"]] {
                let all = [&["--format", format, "--direction", direction], interface].concat();
                let text = filter(&all).exits(0).stdout;
                std::fs::write(&file, &text).unwrap();
                alone(&tool, words, &file).exits(0);
                // The judge can say no: the same text with one word wrong.
                std::fs::write(&file, text.replacen("dport", "deport", 1)).unwrap();
                let broken = alone(&tool, words, &file);
                broken.require(broken.code != Some(0), "a refusal of a wrong word");
            }
        }
    }
}

/// Loaded for good, and twice: the kernel then holds each rule of the table once, and the forwarding path has both.
#[test]
fn the_nftables_file_can_be_loaded_twice() {
    let (Some(nft), true) = (tool("nft"), may_be_alone()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules");
    std::fs::write(&file, rules("nftables", "both")).unwrap();
    let script = format!("{0} -f {1} && {0} -f {1} && {0} list ruleset", nft.display(), file.display());
    let ran = Ran::of(Command::new("unshare").args(["-n", "--", "sh", "-c", &script])).exits(0);
    ran.require(ran.stdout.matches(" drop comment \"CA-2003-20: ").count() == 16, "sixteen rules");
    ran.require(ran.stdout.matches("jump services_in").count() == 2, "from input and from forward");
}

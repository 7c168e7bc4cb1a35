//! Harmless files and values that look like the worm's by name or by text: each is graded with its reason, none is
//! quarantined unasked, and what is Windows' own in its own place not even when asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Case, RUN, Ran, SOFTWARE, digest};

const CLEAN: [&str; 6] = ["--infect", "none", "--files", "60", "--size", "16M"];

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Begins as a program does; what it is to be called is part of it, so that no two are alike.
fn program(name: &str) -> Vec<u8> {
    let mut bytes = format!("MZ, a harmless program called {name}. ").into_bytes();
    bytes.resize(3000, 0x90);
    bytes
}

/// Path, contents, and the grade that a scan gives it; none: not told of at all.
fn lookalikes() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let about = "The worm msblast.exe says: I just want to say LOVE YOU SAN!! billy gates why do you make this possible ?";
    let mut size_of_the_worm = about.repeat(70).into_bytes();
    size_of_the_worm.truncate(6176);
    let signatures = include_bytes!("../src/threat/builtin.toml").to_vec();
    vec![
        ("Documents and Settings/All Users/msblast.txt", about.into(), None),
        ("Program Files/Scanner/worms.toml", signatures, None),
        ("Program Files/WebEdit/index.exe", program("index"), Some("information")),
        ("Program Files/Patcher/mspatch.exe", program("mspatch"), Some("information")),
        ("WINDOWS/system32/mspatch.exe", program("mspatch of a vendor"), Some("suspect")),
        ("Documents and Settings/All Users/notes.txt", size_of_the_worm.clone(), None),
        ("Program Files/Tool/winlogin.exe", program("winlogin"), Some("information")),
        ("WINDOWS/system32/msblast.exe", Vec::new(), Some("information")),
        ("Documents and Settings/All Users/teekids.jpg", b"\xff\xd8\xff\xe0 a picture".to_vec(), None),
        ("Program Files/Player/enbiei.exe", program("enbiei, a library"), Some("suspect")),
        ("Program Files/Museum/penis32.exe", size_of_the_worm, Some("information")),
        ("Program Files/msblast.exe/readme.txt", b"in a folder that is called so".to_vec(), None),
    ]
}

fn windows_path(path: &str) -> String {
    format!("\\{}", path.replace('/', "\\"))
}

fn disk() -> Option<Case> {
    let mut case = Case::with(&CLEAN)?;
    case.mounted(true, |root| {
        for (path, bytes, _) in lookalikes() {
            write(root, path, &bytes);
        }
    });
    let values = [
        r#""WebEdit"="\"C:\\Program Files\\WebEdit\\index.exe\" /tray""#,
        r#""MSConfig"="C:\\WINDOWS\\PCHealth\\HelpCtr\\Binaries\\MSConfig.exe /auto""#,
        r#""Helper"="C:\\Program Files\\Tool\\winlogin.exe""#,
    ];
    case.edit_hive(SOFTWARE, &format!("[\\{RUN}]\n{}", values.join("\n")));
    case.settle();
    Some(case)
}

#[track_caller]
fn told(ran: &Ran, check: &str) -> BTreeMap<String, String> {
    let findings = ran.findings(check);
    for finding in &findings {
        ran.require(finding["why"].as_str().unwrap().len() > 20, &format!("a reason: {finding}"));
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    findings.iter().map(|finding| (text(&finding["where"]), text(&finding["grade"]))).collect()
}

#[test]
fn each_lookalike_has_its_grade_and_none_is_quarantined() {
    let Some(case) = disk() else { return };
    let scan = Ran::of(case.command(&["scan", "--json", "--deep"]).arg(&case.disk)).exits(1);
    let expected: BTreeMap<String, String> = lookalikes()
        .into_iter()
        .filter_map(|(path, _, grade)| Some((windows_path(path), grade?.to_owned())))
        .collect();
    let found = told(&scan, "worm_file");
    scan.require(found == expected, &format!("{expected:#?}, found {found:#?}"));
    scan.require(scan.at("/verdict") == "exposed", "no worm, the hole open");
    let values = told(&scan, "autostart");
    let grade = |name: &str| values.get(&format!("SOFTWARE\\{RUN} [{name}]")).map(String::as_str);
    scan.require(grade("WebEdit") == Some("information"), "a common name, started by a value of its own");
    scan.require(grade("MSConfig").is_none(), "Windows XP's own value");
    scan.require(grade("Helper") == Some("information"), "common names both, of different worms");
    scan.require(values.len() == 2, "no other value");
    case.must_be_as_at_first(&scan);

    let clean =
        Ran::of(case.command(&["clean", "--yes", "--json", "--store"]).arg(case.store()).arg(&case.disk));
    let clean = clean.exits(1);
    clean.says("cleaned");
    for finding in clean.findings("worm_file").iter().chain(&clean.findings("autostart")) {
        let outcome = finding["outcome"].as_str().unwrap();
        clean.require(["none", "left"].contains(&outcome), &format!("not touched: {finding}"));
    }
    for (path, bytes, _) in lookalikes() {
        clean.require(case.file(path) == bytes, &format!("{path} as it was"));
    }
    let quarantine = case.runs()[0].join("quarantine");
    let kept = std::fs::read_dir(&quarantine).map_or(0, |list| {
        list.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|kind| kind == "bin")))
            .count()
    });
    clean.require(kept == 0, "an empty quarantine");
}

#[test]
fn suspects_go_only_when_asked_and_what_is_information_stays() {
    let Some(case) = disk() else { return };
    let words = ["clean", "--yes", "--json", "--suspects", "quarantine", "--store"];
    let clean = Ran::of(case.command(&words).arg(case.store()).arg(&case.disk)).exits(0);
    for (path, bytes, grade) in lookalikes() {
        let now = case.file(path);
        if grade == Some("suspect") {
            clean.require(now.len() == bytes.len() && now.iter().all(|&b| b == 0), &format!("{path} inert"));
        } else {
            clean.require(now == bytes, &format!("{path} as it was"));
        }
    }
}

/// A signature that borrows the names of Windows' own files, as Welchia does, against Windows' own files.
#[test]
fn a_name_never_quarantines_windows_own_file_and_a_digest_does() {
    let own = [("WINDOWS/system32/svchost.exe", "svchost"), ("WINDOWS/system32/dllcache/tftpd.exe", "tftpd")];
    let Some(mut case) = Case::with(&CLEAN) else { return };
    case.mounted(true, |root| own.iter().for_each(|(path, name)| write(root, path, &program(name))));
    case.edit_hive(SOFTWARE, &format!("[\\{RUN}]\n\"Borrower\"=\"svchost.exe\""));
    case.settle();
    let names = "[[signature]]\nfamily='Borrower'\nnames=['svchost.exe','tftpd.exe']\nrun_values=['Borrower']\n\
                 source='a test'\n";
    let set = case.path("set.toml");
    std::fs::write(&set, names).unwrap();
    let words =
        ["clean", "--yes", "--json", "--suspects", "quarantine", "--signatures", set.to_str().unwrap()];
    let clean = |case: &Case| Ran::of(case.command(&words).arg("--store").arg(case.store()).arg(&case.disk));
    let ran = clean(&case);
    let grades = told(&ran, "worm_file");
    for (path, name) in own {
        ran.require(grades[&windows_path(path)] == "information", &format!("{path}: {grades:?}"));
        ran.require(case.file(path) == program(name), &format!("{path} as it was"));
    }
    let svchost = program("svchost");
    let digest = format!("size={}\nsha256='{}'\n", svchost.len(), digest(&svchost));
    std::fs::write(&set, format!("{names}{digest}")).unwrap();
    let ran = clean(&case).exits(0);
    ran.require(told(&ran, "worm_file")[&windows_path(own[0].0)] == "confirmed", "by its digest");
    assert!(case.file(own[0].0).iter().all(|&byte| byte == 0), "made inert");
    assert_eq!(case.file(own[1].0), program("tftpd"), "its neighbour is not");
}

#[test]
fn a_digest_that_proves_little_takes_nothing_of_windows_own() {
    let (own, other) = ("WINDOWS/system32/svchost.exe", "WINDOWS/system32/other.exe");
    let Some(mut case) = Case::with(&CLEAN) else { return };
    case.mounted(true, |root| [own, other].iter().for_each(|path| write(root, path, &program("svchost"))));
    case.settle();
    let bytes = program("svchost");
    let set = case.path("set.toml");
    let text = format!(
        "[[signature]]\nfamily='Doubtful'\nnames=['doubtful.exe']\ngrade='suspect'\nsize={}\nsha256='{}'\nsource='a test'\n",
        bytes.len(),
        digest(&bytes)
    );
    std::fs::write(&set, text).unwrap();
    let words =
        ["clean", "--yes", "--json", "--suspects", "quarantine", "--signatures", set.to_str().unwrap()];
    let ran = Ran::of(case.command(&words).arg("--store").arg(case.store()).arg(&case.disk)).exits(1);
    let findings = ran.findings("worm_file");
    let at = |path: &str| findings.iter().find(|finding| finding["where"] == windows_path(path)).unwrap();
    ran.require(
        at(own)["grade"] == "suspect" && at(own)["action"].is_null(),
        "Windows' own is told and left",
    );
    ran.require(at(own)["why"].as_str().unwrap().contains("a program of its own"), "why");
    ran.require(at(other)["outcome"] == "verified", "the same bytes elsewhere go");
    assert_eq!(case.file(own), bytes, "as it was");
}

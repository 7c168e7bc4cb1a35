//! The companion, W32/Welchia: told always, cured where `--companions` asks for it, and nothing of Windows' own that has
//! the same names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::hives::{by_hivexml, differences, value};
use common::{Case, PENDING, Ran, changed_sectors};

const DWORD: u32 = 4;
const SERVICES: [(&str, u32); 2] = [("RpcPatch", 2), ("RpcTftpd", 3)];

struct System {
    options: &'static [&'static str],
    root: &'static str,
    /// Control sets that count.
    sets: &'static [u32],
    has_alternate: bool,
}

const SYSTEMS: [System; 4] = [
    System { options: &["--windows", "xp"], root: "WINDOWS", sets: &[1], has_alternate: false },
    System { options: &["--windows", "2000"], root: "WINNT", sets: &[1], has_alternate: true },
    System {
        options: &["--windows", "2000", "--default-set", "2"],
        root: "WINNT",
        sets: &[1, 2],
        has_alternate: true,
    },
    System { options: &["--windows", "nt4"], root: "WINNT", sets: &[1], has_alternate: true },
];

impl System {
    fn case(&self) -> Option<Case> {
        let usual = ["--infect", "welchia", "--files", "60", "--size", "16M"];
        Case::with(&[&usual[..], self.options].concat())
    }

    fn path(&self, below: &str) -> String {
        format!("{}/system32/{below}", self.root)
    }

    /// The hives that hold the services, by their paths.
    fn hives(&self, case: &Case) -> Vec<String> {
        let names: &[&str] = if self.has_alternate { &["system", "system.alt"] } else { &["system"] };
        let listing = case.listing();
        let there = |name: &str| {
            let wanted = self.path(&format!("config/{name}")).to_lowercase();
            listing.keys().find(|path| path.to_lowercase() == wanted).unwrap().clone()
        };
        names.iter().map(|name| there(name)).collect()
    }

    fn places(&self) -> impl Iterator<Item = (String, u32)> {
        let of_set = |set: &u32| {
            SERVICES.map(|(name, start)| (format!("ControlSet{set:03}\\Services\\{name}"), start))
        };
        self.sets.iter().flat_map(of_set)
    }
}

/// The hive under the type of a primary one, for a reader that knows no other: SYSTEM.ALT differs in that alone.
fn as_primary(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[508] ^= bytes[28];
    bytes[28] = 0;
    bytes
}

fn dword(number: u32) -> Option<(u32, Vec<u8>)> {
    Some((DWORD, number.to_le_bytes().to_vec()))
}

/// Files that changed, by their paths in lower case.
fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeSet<String> {
    assert!(before.keys().eq(after.keys()), "names came or went");
    before.iter().filter(|(path, digest)| after[*path] != **digest).map(|(p, _)| p.to_lowercase()).collect()
}

fn graded(ran: &Ran, grade: &str) -> usize {
    ran.findings("companion").iter().filter(|finding| finding["grade"] == grade).count()
}

#[test]
fn it_is_told_and_left_unless_it_is_asked_for() {
    for system in &SYSTEMS {
        let Some(case) = system.case() else { return };
        let count = system.sets.len() * 2 + 2;
        let ran = case.scan().exits(1);
        ran.require(ran.at("/verdict") == "infected", "infected");
        ran.require(graded(&ran, "confirmed") == count, "services and files, all confirmed");
        ran.require(ran.findings("worm_file").is_empty(), "its files to be no concern of another check");
        case.must_be_as_at_first(&ran);

        let ran = case.clean(&[]).exits(1);
        ran.require(ran.at("/verdict") == "infected", "infected still");
        for finding in ran.findings("companion") {
            ran.require(finding["outcome"] == "left" && finding["action"].is_null(), "it to be left");
            ran.require(finding["why"].as_str().unwrap().contains("--companions"), "what would cure it");
        }
        let steps = ran.at("/next_steps").to_string();
        ran.require(
            steps.contains("`deblast clean --companions "),
            "the step that would cure it, not the one taken",
        );
        for hive in system.hives(&case) {
            let bytes = as_primary(case.ntfscat(&hive));
            for (key, start) in system.places() {
                assert_eq!(value(&bytes, &key, "Start"), dword(start), "{hive} {key}");
            }
        }
    }
}

#[test]
fn with_the_option_services_are_disabled_and_files_inert_and_nothing_else() {
    for system in &SYSTEMS {
        let Some(case) = system.case() else { return };
        let before = case.digests();
        let hives: Vec<Vec<u8>> = system.hives(&case).iter().map(|hive| case.ntfscat(hive)).collect();
        let ran = case.clean(&["--companions"]).exits(0);
        ran.require(ran.at("/verdict") == "cleaned", "cleaned");
        for finding in ran.findings("companion") {
            ran.require(finding["outcome"] == "verified", "each finding verified");
        }
        let files = ["dllhost.exe", "svchost.exe"].map(|name| system.path(&format!("wins/{name}")));
        for file in &files {
            let bytes = case.ntfscat(file);
            assert!(!bytes.is_empty() && bytes.iter().all(|&byte| byte == 0), "{file} is not inert");
        }
        let software = system.path("config/software");
        let mut expected: BTreeSet<String> = files
            .iter()
            .cloned()
            .chain(system.hives(&case))
            .chain([software])
            .map(|p| p.to_lowercase())
            .collect();
        if system.root == "WINNT" && system.options.contains(&"2000") {
            // the filter is not needed: Service Pack 4 honours EnableDCOM
            assert!(ran.finding("dcom")["outcome"] == "verified");
        }
        let now = changed(&before, &case.digests());
        expected.retain(|path| before.keys().any(|known| known.to_lowercase() == *path));
        assert_eq!(now, expected, "only these files changed");
        for (hive, old) in system.hives(&case).iter().zip(&hives) {
            let new = case.ntfscat(hive);
            let next = system.sets.last().unwrap();
            let session = format!("ControlSet{next:03}\\Control\\Session Manager [{PENDING}]");
            let starts = system.places().map(|(key, _)| format!("{key} [Start]"));
            let places: BTreeSet<String> = starts.chain([session]).collect();
            assert_eq!(differences(&by_hivexml(old), &by_hivexml(&new)), places, "{hive}");
            for (key, _) in system.places() {
                assert_eq!(value(&as_primary(new.clone()), &key, "Start"), dword(4), "{hive} {key}");
            }
        }

        let cured = case.bytes();
        let again = case.clean(&["--companions"]).exits(0);
        case.must_hold(&cured, &again, "a second run to change nothing");
        again.require(graded(&again, "information") == system.sets.len() * 2 + 2, "information alone");
        case.must_be_as_at_first(&case.undo(&[]).exits(0));
    }
}

#[test]
fn what_only_looks_like_it_is_graded_and_left() {
    let system = &SYSTEMS[0];
    let Some(mut case) = system.case() else { return };
    // an unknown program that its service starts, one that nothing starts, and the stand-in elsewhere
    case.mounted(true, |root| {
        let wins = root.join("WINDOWS/system32/wins");
        let known = fs::read(wins.join("dllhost.exe")).unwrap();
        let mut other = known.clone();
        let end = other.len() - 1;
        other[end] ^= 1;
        fs::write(wins.join("dllhost.exe"), &other).unwrap();
        fs::write(root.join("WINDOWS/system32/dllhost.exe"), &known).unwrap();
        fs::write(root.join("WINDOWS/other.exe"), &known).unwrap();
        fs::write(wins.join("svchost.exe"), b"a text").unwrap();
    });
    case.settle();
    let ran = case.storing(&["clean", "--dry-run", "--json"], &["--companions"]);
    let of = |place: &str| {
        let all = ran.findings("companion");
        all.into_iter().find(|finding| finding["where"].as_str().unwrap().ends_with(place))
    };
    let own = of(r"\system32\wins\dllhost.exe").unwrap();
    ran.require(own["grade"] == "probable" && own["outcome"] == "planned", "probable, planned");
    let text = of(r"\system32\wins\svchost.exe").unwrap();
    ran.require(text["grade"] == "information" && text["action"].is_null(), "a text is left");
    let other = of(r"\WINDOWS\other.exe").unwrap();
    ran.require(other["grade"] == "information" && other["action"].is_null(), "another folder is left");
    ran.require(of(r"\system32\dllhost.exe").is_none(), "Windows' own place to be passed over");
    for (name, start) in SERVICES {
        let service = of(&format!("{name} [Start]")).unwrap();
        ran.require(service["grade"] == "probable", "no digest confirms what it starts");
        ran.require(
            service["evidence"]["data"].as_str().unwrap().starts_with(&start.to_string()),
            "its Start",
        );
    }
    case.must_be_as_at_first(&ran);
    // a service of that name with a program of its own
    case.edit_hive(
        common::SYSTEM,
        "[ControlSet001\\Services\\RpcPatch]\n\"ImagePath\"=\"C:\\\\Program Files\\\\tool.exe\"\n",
    );
    let before = case.bytes();
    let ran = case.clean(&["--companions"]);
    let all = ran.findings("companion");
    let service = all.iter().find(|f| f["where"].as_str().unwrap().contains("RpcPatch")).unwrap();
    ran.require(service["grade"] == "suspect" && service["outcome"] == "left", "the name alone is left");
    assert!(!changed_sectors(&before, &case.bytes()).is_empty(), "the rest is cured");
    assert_eq!(value(&case.ntfscat(common::SYSTEM), r"ControlSet001\Services\RpcPatch", "Start"), dword(2));
}

#[test]
fn the_worm_in_the_companions_place_is_the_worm() {
    let (Some(worm), Some(case)) = (Case::practice(), SYSTEMS[0].case()) else { return };
    let bytes = worm.ntfscat(common::WORM);
    case.mounted(true, |root| fs::write(root.join("WINDOWS/system32/wins/svchost.exe"), &bytes).unwrap());
    let ran = case.clean(&[]).exits(1);
    let found = ran.finding("worm_file");
    ran.require(found["where"].as_str().unwrap().ends_with(r"\wins\svchost.exe"), "the worm's digest there");
    ran.require(found["outcome"] == "verified", "cured without the option");
    let left = ran.findings("companion").iter().filter(|finding| finding["outcome"] == "left").count();
    ran.require(left == 3, "two services and the other file");
}

#[test]
fn windows_own_program_with_a_second_name_in_the_folder_is_left() {
    let Some(mut case) = SYSTEMS[0].case() else { return };
    case.mounted(true, |root| {
        let system32 = root.join("WINDOWS/system32");
        fs::remove_file(system32.join("dllhost.exe")).ok();
        fs::hard_link(system32.join("wins/dllhost.exe"), system32.join("dllhost.exe")).unwrap();
    });
    case.settle();
    let before = case.file("WINDOWS/system32/dllhost.exe");
    let ran = case.clean(&["--companions", "--suspects", "quarantine"]);
    let all = ran.findings("companion");
    let of = |name: &str| all.iter().find(|f| f["where"].as_str().unwrap().ends_with(name)).unwrap();
    let linked = of(r"\wins\dllhost.exe");
    ran.require(
        linked["grade"] == "suspect" && linked["action"].is_null(),
        "told and left, its digest or not",
    );
    ran.require(of(r"\wins\svchost.exe")["outcome"] == "verified", "the other file is cured");
    assert_eq!(case.file("WINDOWS/system32/dllhost.exe"), before, "as it was");
}

//! The path over hives and volumes that real Windows wrote. They lie beside the checkout, are nobody's to copy into it,
//! and are left out with a word where they are missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::hives::{by_hivexml, by_regf, differences, merge, multi, value};
use common::{
    Case, DELETION, Journal, OLE, PENDING, RUN, RUN_VALUE, Ran, SECTOR, SESSION, SOFTWARE, SYSTEM, WORM,
    changed_sectors, digest, utf16,
};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus");
const XP_SYSTEM: &str = "hive/log2timeline+dfwinreg/history/test_data/SYSTEM.e18f3d4d";
const NT4_SYSTEM: &str = "hive/skelsec+aiowinreg/tests/testdata/nt/system.reg";
const PARTIAL_SOFTWARE: &str = "hive/mkorman90+regipy/regipy_tests/data/ntuser_software_partial";

fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(CORPUS).join(name);
    if !path.exists() {
        println!("skipped: {name} is not beside this checkout");
        return None;
    }
    Some(path)
}

/// A practice disk with these hives in place of its own; SOFTWARE after a merge of `reg`.
fn composed(software: Option<&Path>, system: Option<&Path>, reg: &str) -> Option<Case> {
    let mut case = Case::with(&["--files", "50", "--size", "32M"])?;
    case.mounted(true, |root| {
        if let Some(system) = system {
            fs::write(root.join(SYSTEM), fs::read(system).unwrap()).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let (hive, text) = (folder.path().join("hive"), folder.path().join("text"));
        fs::copy(software.unwrap_or(&root.join(SOFTWARE)), &hive).unwrap();
        if !reg.is_empty() {
            merge(&hive, &text, reg);
        }
        fs::write(root.join(SOFTWARE), fs::read(&hive).unwrap()).unwrap();
    });
    case.settle();
    Some(case)
}

/// Scan, clean, second clean, undo: the hives differ in the three values and nothing else, by two readers that are not
/// ours; the journal names every sector; undo leads back to the byte.
#[track_caller]
fn must_be_cured_and_taken_back(case: &Case, dcom_before: Option<(u32, Vec<u8>)>) -> Ran {
    let before = [SOFTWARE, SYSTEM].map(|path| case.file(path));
    let files = case.digests();
    let ran = case.scan().exits(1);
    ran.require(ran.at("/verdict") == "infected", "infected");
    case.must_be_as_at_first(&ran);

    let ran = case.clean(&[]).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned");
    for check in ["autostart", "worm_file", "dcom"] {
        ran.require(ran.finding(check)["outcome"] == "verified", check);
    }
    let after = [SOFTWARE, SYSTEM].map(|path| case.file(path));
    let wanted = [
        BTreeSet::from([format!("{RUN} [{RUN_VALUE}]"), format!("{OLE} [EnableDCOM]")]),
        BTreeSet::from([format!("{SESSION} [{PENDING}]")]),
    ];
    for (index, wanted) in wanted.iter().enumerate() {
        for found in [
            differences(&by_hivexml(&before[index]), &by_hivexml(&after[index])),
            differences(&by_regf(&before[index]), &by_regf(&after[index])),
        ] {
            ran.require(found == *wanted, &format!("{wanted:?}, found {found:?}"));
        }
    }
    ran.require(value(&before[0], OLE, "EnableDCOM") == dcom_before, "DCOM before");
    ran.require(value(&after[0], OLE, "EnableDCOM") == Some((1, utf16("N\0"))), "DCOM after");
    ran.require(value(&after[0], RUN, RUN_VALUE).is_none(), "the Run value gone");
    ran.require(value(&after[1], SESSION, PENDING) == Some((7, multi(&[DELETION, ""]))), "the deletion");
    ran.require(case.file(WORM).iter().all(|&byte| byte == 0), "the worm inert");
    let now = case.digests();
    for (path, digest) in &files {
        let touched = [WORM, SOFTWARE, SYSTEM].contains(&path.as_str());
        ran.require((now[path] != *digest) == touched, path);
    }
    let journal = Journal::read(&case.runs()[0]);
    let mut image = case.original.clone();
    journal.replay(&mut image, usize::MAX);
    case.must_hold(&image, &ran, "the journal to lead to the disk after");
    let (changed, named) = (changed_sectors(&case.original, &image), journal.sectors());
    ran.require(changed.is_subset(&named), "every changed sector in the journal");
    let idle = |place: &usize| case.original[*place..place + SECTOR].iter().all(|&byte| byte == 0);
    ran.require(named.difference(&changed).all(idle), "every sector in the journal changed");

    let again = case.clean(&[]).exits(0);
    case.must_hold(&image, &again, "no byte to change");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
    ran
}

/// What the partial SOFTWARE lacks to be one of Windows XP.
fn completion() -> String {
    format!(
        "[\\Microsoft\\Ole]\n\"EnableDCOM\"=\"Y\"\n\n[\\Microsoft\\Windows NT]\n\n\
         [\\Microsoft\\Windows NT\\CurrentVersion]\n\"ProductName\"=\"Microsoft Windows XP\"\n\"CurrentVersion\"=\"5.1\"\n\
         \"CurrentBuildNumber\"=\"2600\"\n\"CSDVersion\"=\"Service Pack 3\"\n\"SystemRoot\"=\"C:\\\\WINDOWS\"\n\n\
         [\\{RUN}]\n\"{RUN_VALUE}\"=\"msblast.exe\""
    )
}

#[test]
fn hives_of_a_real_xp_are_cured_and_taken_back() {
    let (Some(system), Some(software)) = (corpus(XP_SYSTEM), corpus(PARTIAL_SOFTWARE)) else { return };
    let Some(case) = composed(Some(&software), Some(&system), &completion()) else { return };
    let ran = must_be_cured_and_taken_back(&case, Some((1, utf16("Y\0"))));
    let install = ran.at("/targets/0/installs/0");
    ran.require(
        install["service_pack"] == 3 && install["product_type"] == "workstation",
        "XP SP3, workstation",
    );
}

/// A hive of the format's version 1.3, as NT 4.0 wrote it, on a disk that is otherwise of XP.
#[test]
fn a_real_system_hive_of_nt4_is_cured_and_taken_back() {
    let Some(system) = corpus(NT4_SYSTEM) else { return };
    let Some(case) = composed(None, Some(&system), "") else { return };
    let ran = must_be_cured_and_taken_back(&case, Some((1, utf16("Y\0"))));
    ran.require(ran.at("/targets/0/installs/0/product_type") == "domain_controller", "LanmanNT");
}

/// NT 4.0 keeps SYSTEM.ALT beside SYSTEM, and both must be alike: where there is none SYSTEM is not written, and the
/// report says so.
#[test]
fn the_system_hive_of_nt4_itself_is_not_written() {
    let Some(system) = corpus(NT4_SYSTEM) else { return };
    let nt4 = "[\\Microsoft\\Windows NT\\CurrentVersion]\n\"ProductName\"=\"Microsoft Windows NT\"\n\
               \"CurrentVersion\"=\"4.0\"\n\"CurrentBuildNumber\"=\"1381\"\n\"CSDVersion\"=\"Service Pack 6\"";
    let Some(case) = composed(None, Some(&system), nt4) else { return };
    let ran = case.clean(&[]).exits(0);
    ran.require(case.file(SYSTEM) == fs::read(&system).unwrap(), "SYSTEM not to be touched");
    let name = ran.finding("worm_file")["evidence"]["name"].clone();
    ran.require(name.as_str().unwrap().starts_with("stays"), "the name stays");
    ran.require(ran.remarks().contains("SYSTEM.ALT"), "why, in words");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// The value is not there at all: it is made, and undo takes it away again.
#[test]
fn a_missing_enable_dcom_is_made_and_taken_away_again() {
    let Some(system) = corpus(XP_SYSTEM) else { return };
    let Some(case) = composed(None, Some(&system), "[\\Microsoft\\Ole]\n\"EnableDCOM\"=-") else { return };
    must_be_cured_and_taken_back(&case, None);
}

/// A hive without room for the change: what does not fit is left in words; what needs no room is done.
#[test]
fn a_hive_without_room_costs_only_what_does_not_fit() {
    let Some(case) = Case::practice() else { return };
    // A list of others' operations so long that the whole of it would not fit a second time.
    let system = case.file(SYSTEM);
    let free = "x".repeat(60);
    let strings: Vec<String> =
        (0..90).flat_map(|n| [format!(r"\??\C:\WINDOWS\temp\{free}{n}.tmp"), String::new()]).collect();
    let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
    let data = multi(&strings);
    assert!(data.len() <= 16344, "as much as one cell holds: hivex writes no longer data as Windows does");
    case.edit_hive(SYSTEM, &format!("[\\{SESSION}]\n{}", common::hives::reg_hex(PENDING, 7, &data)));
    assert!(case.file(SYSTEM).len() > system.len(), "the hive has grown");
    let original = case.bytes();
    let ran = case.clean(&[]).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cured all the same");
    let name = ran.finding("worm_file")["evidence"]["name"].as_str().unwrap().to_owned();
    let pending = value(&case.file(SYSTEM), SESSION, PENDING).unwrap().1;
    if pending == data {
        ran.require(name.starts_with("stays") && ran.remarks().contains("name stays"), "why the name stays");
    } else {
        ran.require(name.starts_with("pending") && pending.starts_with(&data[..data.len() - 2]), "appended");
    }
    let ran = case.undo(&[]).exits(0);
    case.must_hold(&original, &ran, "every byte back");
}

/// Damaged hives in place of SOFTWARE: refused in words, and no byte of the disk changes. In place of SYSTEM, which is
/// only asked to have the name deleted: never written, and the rest is cured.
#[test]
fn damaged_hives_are_refused_in_words() {
    for name in ["TruncatedHive", "BadSubkeyHive", "OldDirtyHive/OldDirtyHive", "NewDirtyHive1/NewDirtyHive"]
    {
        let Some(hive) = corpus(&format!("hive/msuhanov+yarp/hives_for_tests/{name}")) else { return };
        let bytes = fs::read(&hive).unwrap();
        let Some(mut case) = Case::practice() else { return };
        case.mounted(true, |root| fs::write(root.join(SOFTWARE), &bytes).unwrap());
        case.settle();
        let ran = case.clean(&[]);
        ran.require(ran.code != Some(0), "no success");
        ran.require(case.file(SOFTWARE) == bytes, "SOFTWARE not to be touched");
        let told = [ran.at("/targets/0/installs/0/problems"), ran.at("/targets/0/installs/0/notes")];
        ran.require(told.iter().any(|told| !told.as_array().unwrap().is_empty()), "why, in words");
        // What cannot be read may hold what starts the worm: then nothing at all is touched.
        case.must_be_as_at_first(&ran);
        ran.require(case.runs().is_empty(), "no run folder");
        let ran = ran.exits(2);
        ran.require(ran.at("/verdict") == "undetermined", &format!("undetermined with {name}"));

        let Some(mut case) = Case::practice() else { return };
        case.mounted(true, |root| fs::write(root.join(SYSTEM), &bytes).unwrap());
        case.settle();
        let ran = case.clean(&[]).exits(0);
        ran.require(case.file(SYSTEM) == bytes, "SYSTEM not to be touched");
        let worm = ran.finding("worm_file");
        ran.require(worm["outcome"] == "verified", "the worm made inert");
        ran.require(worm["evidence"]["name"].as_str().unwrap().starts_with("stays"), "its name stays");
        ran.require(ran.remarks().contains("name stays"), "why, in words");
        let ran = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&ran);
    }
}

/// Volumes that hold no Windows, by other makers, in and out of partition tables: listed, judged as what they are.
#[test]
fn volumes_without_a_windows_are_read_and_left_alone() {
    fn images(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                images(&path, into);
            } else {
                into.push(path);
            }
        }
    }
    let Some(folder) = corpus("image") else { return };
    let mut all = Vec::new();
    images(&folder, &mut all);
    assert!(all.len() >= 4, "{all:?}");
    for image in all {
        let scratch = tempfile::tempdir().unwrap();
        let copy = scratch.path().join("copy.img");
        fs::copy(&image, &copy).unwrap();
        let before = digest(&fs::read(&copy).unwrap());
        let store = scratch.path().join("store");
        for words in
            [&["scan", "--json"][..], &["clean", "--yes", "--json", "--store", store.to_str().unwrap()]]
        {
            let mut command = Command::new(env!("CARGO_BIN_EXE_deblast"));
            let ran = Ran::of(command.args(words).arg(&copy).env("HOME", scratch.path())).exits(2);
            ran.require(ran.at("/verdict") == "undetermined", &format!("no Windows on {}", image.display()));
            ran.require(ran.at("/targets/0/installs").as_array().unwrap().is_empty(), "no install");
            ran.require(!ran.at("/targets/0/volumes").as_array().unwrap().is_empty(), "its volumes told");
            ran.require(digest(&fs::read(&copy).unwrap()) == before, "no byte to change");
            ran.require(!store.exists(), "no store");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_deblast"));
        let ran = Ran::of(command.arg("list").arg(&copy));
        ran.require(matches!(ran.code, Some(0 | 2)), "0, or 2 where a volume cannot be read by this version");
        ran.require(digest(&fs::read(&copy).unwrap()) == before, "no byte to change");
    }
}

/// Filtering on a real SYSTEM: on by edits, wholly taken back by sectors; on again, and taken back by values.
#[test]
fn tcp_ip_filtering_of_a_real_xp_is_switched_on_and_off() {
    let Some(system) = corpus(XP_SYSTEM) else { return };
    let Some(case) = composed(None, Some(&system), "") else { return };
    let before = case.file(SYSTEM);
    let scanned = case.scan().exits(1);
    let filter = scanned.findings("packet_filter");
    scanned.require(filter[0]["why"].as_str().unwrap().contains("EnableSecurityFilters"), "off, and why");

    let on = ["--packet-filter", "on", "--remove", "never"];
    let ran = case.clean(&on).exits(0);
    ran.require(ran.findings("packet_filter")[0]["outcome"] == "verified", "switched on");
    let after = case.file(SYSTEM);
    let interfaces = [
        "{02E6ECEC-3B8D-4DB3-AD37-051418F262D0}",
        "{24B11727-E35C-4821-A1A8-4C693163788B}",
        "{A71D311B-F492-4BD4-8030-F075C99B624A}",
    ];
    let tcpip = "ControlSet001\\Services\\Tcpip\\Parameters";
    assert_eq!(value(&after, tcpip, "EnableSecurityFilters"), Some((4, vec![1, 0, 0, 0])));
    for interface in interfaces {
        let key = format!("{tcpip}\\Interfaces\\{interface}");
        assert_eq!(value(&after, &key, "TCPAllowedPorts"), Some((7, multi(&["65535"]))), "{key}");
        assert_eq!(value(&after, &key, "UDPAllowedPorts"), Some((7, multi(&["0"]))), "{key}");
    }
    let changed = differences(&by_regf(&before), &by_regf(&after));
    ran.require(
        changed.iter().all(|place| place.contains("\\Services\\Tcpip\\Parameters")),
        &format!("nothing else: {changed:?}"),
    );
    let scanned = case.scan().exits(0);
    scanned.require(scanned.at("/targets/0/installs/0/hole/filter") == "on", "the filter read as on");
    let again = case.bytes();
    let idle = case.clean(&on).exits(0);
    case.must_hold(&again, &idle, "no byte to change");

    case.undo(&["--only", "protection"]).exits(0);
    let off = case.file(SYSTEM);
    assert_eq!(by_hivexml(&before), by_hivexml(&off), "the same tree");
    assert_eq!(by_regf(&before), by_regf(&off), "by two readers");
    let plain = case.path("SYSTEM");
    fs::write(&plain, &off).unwrap();
    Ran::of(case.command(&["hive", "check"]).arg(&plain)).exits(0);
    let undone = case.undo(&[]).exits(0);
    undone.require(case.file(SYSTEM) != after, "the rest too");

    let Some(case) = composed(None, Some(&system), "") else { return };
    case.clean(&on).exits(0);
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

//! TCP/IP filtering: switched on where EnableDCOM is not honoured, left on servers, per adapter on NT 4.0, always in
//! SYSTEM.ALT too; an owner's own lists; and all of it taken back. Hives are read by hivexml and the `regf` crate.

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
use std::path::Path;

use common::hives::{multi, reg_hex};
use common::windows::{NT4, W2000, Windows, edited, merged, other_type, tree, two_at_once, value_of};
use common::{Case, DELETION, Journal, OLE, PENDING, Ran, utf16};
use serde_json::Value;

const SWITCH: &str = "EnableSecurityFilters";
/// The interfaces of practice disks: the first has lists that let all in, the second has none.
const INTERFACES: [&str; 2] =
    ["{6B3C1F0E-27D4-4C3B-9E55-0A1B2C3D4E5F}", "{A1D2E3F4-55C6-4B7A-8899-AABBCCDDEEFF}"];

fn parameters(set: u32) -> String {
    format!("ControlSet{set:03}\\Services\\Tcpip\\Parameters")
}

fn interface(set: u32, index: usize) -> String {
    format!("{}\\Interfaces\\{}", parameters(set), INTERFACES[index])
}

fn list(ports: &[&str]) -> Option<(u32, Vec<u8>)> {
    Some((7, multi(ports)))
}

fn one() -> Option<(u32, Vec<u8>)> {
    Some((4, vec![1, 0, 0, 0]))
}

/// A disk of Windows 2000 before Service Pack 3.
fn old_2000(options: &[&str]) -> Option<Case> {
    let usual = ["--windows", "2000", "--service-pack", "2", "--filesystem", "fat32", "--files", "50"];
    Case::with(&[&usual[..], &["--size", "36M"], options].concat())
}

/// The finding about TCP/IP filtering, the one that bears on the verdict.
#[track_caller]
fn filter(ran: &Ran) -> Value {
    let all = ran.findings("packet_filter");
    let found = all.iter().find(|finding| finding["what"].as_str().unwrap().contains("TCP/IP"));
    found.unwrap_or_else(|| ran.fail("a finding about TCP/IP filtering")).clone()
}

#[track_caller]
fn hole(ran: &Ran, name: &str) -> String {
    ran.at(&format!("/targets/0/installs/0/hole/{name}")).as_str().unwrap().to_owned()
}

fn steps(ran: &Ran) -> String {
    ran.at("/next_steps")
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step.as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

fn why(finding: &Value) -> &str {
    finding["why"].as_str().unwrap()
}

/// Holds SYSTEM and SYSTEM.ALT against what they were: both differ in these places and nothing else.
#[track_caller]
fn must_differ(case: &Case, windows: &Windows, before: &Hives, wanted: &BTreeSet<String>) -> Hives {
    let after = Hives::of(case, windows);
    for (path, before, after) in
        [("SYSTEM", &before.system, &after.system), ("SYSTEM.ALT", &before.alternate, &after.alternate)]
    {
        let found = edited(case, path, before, after);
        assert_eq!(&found, wanted, "{path}");
    }
    assert_eq!(tree(&after.system), tree(&after.alternate), "a mirror still");
    after
}

struct Hives {
    software: Vec<u8>,
    system: Vec<u8>,
    alternate: Vec<u8>,
}

impl Hives {
    #[track_caller]
    fn of(case: &Case, windows: &Windows) -> Self {
        let paths = ["software", "system", "SYSTEM.ALT"].map(|name| windows.hive(name));
        let files = case.files(&paths);
        let [software, system, alternate] = paths.map(|path| files[&path].clone());
        Self { software, system, alternate }
    }
}

/// The places that switching the filter on changes in one control set of a practice disk of 2000 and later.
fn places(set: u32) -> BTreeSet<String> {
    BTreeSet::from([
        format!("{} [{SWITCH}]", parameters(set)),
        format!("{} [TCPAllowedPorts]", interface(set, 0)),
        format!("{} [TCPAllowedPorts]", interface(set, 1)),
        format!("{} [UDPAllowedPorts]", interface(set, 1)),
        format!("{} [RawIPAllowedProtocols]", interface(set, 1)),
    ])
}

#[track_caller]
fn must_be_on(system: &[u8], set: u32) {
    assert_eq!(value_of(system, &parameters(set), SWITCH), one());
    for index in 0..2 {
        let key = interface(set, index);
        assert_eq!(value_of(system, &key, "TCPAllowedPorts"), list(&["65535"]), "{key}");
        assert_eq!(value_of(system, &key, "UDPAllowedPorts"), list(&["0"]), "{key}");
        assert_eq!(value_of(system, &key, "RawIPAllowedProtocols"), list(&["0"]), "{key}");
    }
}

#[test]
fn windows_2000_before_service_pack_3_gets_the_filter_in_both_sets_and_the_mirror() {
    let options =
        ["--windows", "2000", "--service-pack", "2", "--default-set", "2", "--files", "50", "--size", "12M"];
    let Some(case) = Case::with(&options) else { return };
    let scan = case.scan().exits(1);
    scan.require(
        why(&scan.finding("dcom")).contains("would not act on N before Service Pack 3"),
        "not honoured",
    );
    scan.require(why(&filter(&scan)).contains("it is what closes the hole here"), "why it is needed");
    case.must_be_as_at_first(&scan);

    let before = Hives::of(&case, &W2000);
    let clean = case.clean(&[]).exits(0);
    clean.require(clean.at("/verdict") == "cleaned", "cleaned");
    clean.require(filter(&clean)["outcome"] == "verified", "the filter verified");
    clean.require(clean.finding("dcom")["outcome"] == "verified", "EnableDCOM verified, for Service Pack 3");
    clean.require(hole(&clean, "dcom") == "off_not_honoured" && hole(&clean, "filter") == "on", "the hole");
    let lifted = steps(&clean);
    clean.require(lifted.contains("lift TCP/IP filtering too"), "how to lift it");
    clean.require(lifted.contains("undo --only protection"), "how to lift it offline");
    let pending = format!("ControlSet002\\Control\\Session Manager [{PENDING}]");
    let filtered: BTreeSet<String> = places(1).union(&places(2)).cloned().collect();
    let mut wanted = filtered.clone();
    wanted.insert(pending.clone());
    let after = must_differ(&case, &W2000, &before, &wanted);
    for hive in [&after.system, &after.alternate] {
        must_be_on(hive, 1);
        must_be_on(hive, 2);
        let deletion = DELETION.replace("WINDOWS", "WINNT");
        assert_eq!(value_of(hive, r"ControlSet002\Control\Session Manager", PENDING), list(&[&deletion, ""]));
    }
    assert_eq!(value_of(&after.software, OLE, "EnableDCOM"), Some((1, utf16("N\0"))));

    let scan = case.scan().exits(0);
    scan.require(
        why(&scan.finding("dcom")).contains("acts on it from Service Pack 3 on only"),
        "not honoured",
    );
    let now = case.bytes();
    let again = case.clean(&[]).exits(0);
    case.must_hold(&now, &again, "no byte to change");

    // What was closed is opened again, and nothing else; then the rest.
    let undone = case.undo(&["--only", "protection"]).exits(0);
    undone.require(steps(&undone).contains("TCP/IP filtering are as they were"), "what is open again");
    let opened = must_differ(&case, &W2000, &before, &BTreeSet::from([pending]));
    assert_eq!(value_of(&opened.software, OLE, "EnableDCOM"), Some((1, utf16("Y\0"))));
    case.scan().exits(1);
    case.undo(&[]).exits(0);
    must_differ(&case, &W2000, &before, &BTreeSet::new());

    let case = Case::of(case.original.clone());
    case.clean(&[]).exits(0);
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

/// The sectors of SYSTEM are all written before the first of SYSTEM.ALT.
#[test]
fn the_mirror_is_written_behind_system() {
    let Some(case) = old_2000(&["--infect", "none"]) else { return };
    case.clean(&[]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let (system, alternate) = (journal.file("\\system"), journal.file("\\SYSTEM.ALT"));
    let groups = |file| journal.intents.iter().filter(move |i| i.file == file).map(|i| i.group);
    assert!(groups(system).max().unwrap() < groups(alternate).min().unwrap());
    assert!(groups(journal.file("\\software")).max().unwrap() < groups(system).min().unwrap());
}

#[test]
fn a_server_is_left_exposed_in_words_until_it_is_asked_for() {
    let Some(case) = old_2000(&["--server", "--infect", "none"]) else { return };
    let before = Hives::of(&case, &W2000);
    let clean = case.clean(&[]).exits(1);
    clean.require(clean.at("/verdict") == "exposed", "exposed");
    let found = filter(&clean);
    clean.require(found["outcome"] == "left" && found["grade"] == "confirmed", "left");
    clean.require(why(&found).contains("shuts a server's own services out"), "why not");
    clean.require(why(&found).contains("--packet-filter on"), "what would do it");
    clean.require(steps(&clean).contains("--packet-filter on`"), "the next step");
    must_differ(&case, &W2000, &before, &BTreeSet::new());

    let clean = case.clean(&["--packet-filter", "on"]).exits(0);
    clean.require(clean.at("/verdict") == "cleaned" && hole(&clean, "filter") == "on", "cleaned");
    let after = must_differ(&case, &W2000, &before, &places(1));
    must_be_on(&after.system, 1);
    // The two runs are taken back one after the other.
    case.undo(&[]).exits(0);
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

#[test]
fn a_workstation_is_left_exposed_where_the_filter_is_forbidden() {
    let Some(case) = old_2000(&["--infect", "none"]) else { return };
    let before = Hives::of(&case, &W2000);
    let clean = case.clean(&["--packet-filter", "off"]).exits(1);
    clean.require(clean.at("/verdict") == "exposed", "exposed");
    clean.require(why(&filter(&clean)).contains("left by policy"), "why");
    must_differ(&case, &W2000, &before, &BTreeSet::new());
    // A newer service pack honours EnableDCOM, and is not filtered unasked.
    let Some(case) =
        Case::with(&["--windows", "2000", "--filesystem", "fat32", "--files", "50", "--size", "36M"])
    else {
        return;
    };
    let clean = case.clean(&[]).exits(0);
    clean.require(hole(&clean, "dcom") == "off" && hole(&clean, "filter") == "off", "by EnableDCOM");
    clean.require(filter(&clean)["action"].is_null(), "no filter planned");
}

#[test]
fn nt4_is_filtered_by_adapter_where_asked_for_and_nothing_rests_on_it() {
    let options = ["--windows", "nt4", "--filesystem", "fat16", "--files", "50", "--size", "12M"];
    let Some(case) = Case::with(&[&options[..], &["--infect", "none"]].concat()) else { return };
    let before = Hives::of(&case, &NT4);
    let clean = case.clean(&["--packet-filter", "on", "--dcom", "leave"]).exits(1);
    clean.require(clean.at("/verdict") == "exposed", "exposed: the filter closes nothing");
    clean.require(hole(&clean, "filter") == "not_established", "not established");
    let found = filter(&clean);
    clean.require(found["outcome"] == "verified" && found["grade"] == "information", "written as asked");
    clean.require(why(&found).contains("where NT 4.0 keeps the lists"), "why nothing rests on it");
    clean.require(steps(&clean).contains("lift TCP/IP filtering too"), "how to lift it");
    let adapter = |name: &str| format!("ControlSet001\\Services\\{name}\\Parameters\\Tcpip");
    let lists = ["TCPAllowedPorts", "UDPAllowedPorts", "RawIPAllowedProtocols"];
    let mut wanted = BTreeSet::from([format!("{} [{SWITCH}]", parameters(1))]);
    for name in ["RTL81391", "NE20002"] {
        wanted.extend(lists.map(|value| format!("{} [{value}]", adapter(name))));
    }
    let after = must_differ(&case, &NT4, &before, &wanted);
    assert_eq!(value_of(&after.alternate, &adapter("NE20002"), lists[0]), list(&["65535"]));
    assert_eq!(value_of(&after.alternate, &adapter("RTL81391"), lists[1]), list(&["0"]));
    let now = case.bytes();
    let again = case.clean(&["--packet-filter", "on", "--dcom", "leave"]).exits(1);
    case.must_hold(&now, &again, "no byte to change");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);

    // Unasked, NT 4.0 is protected by EnableDCOM alone.
    let clean = case.clean(&[]).exits(0);
    clean.require(hole(&clean, "dcom") == "off", "DCOM off");
    must_differ(&case, &NT4, &before, &BTreeSet::new());
}

/// What SYSTEM.ALT cannot take is not done to SYSTEM; all else is cured.
#[test]
fn a_mirror_that_cannot_be_edited_is_left_alone_and_the_filter_refused() {
    let Some(original) = old_2000(&[]) else { return };
    let first = Hives::of(&original, &W2000);
    let alternate = W2000.hive("SYSTEM.ALT");
    let dirty = {
        let mut bytes = first.alternate.clone();
        // the first sequence number one ahead, and the checksum with it
        for at in [4, 508] {
            bytes[at] ^= 1;
        }
        bytes
    };
    let damaged = {
        let mut bytes = first.alternate.clone();
        bytes[4096 + 4096..4096 + 4100].copy_from_slice(b"nibh");
        bytes
    };
    let select = other_type(&merged(&first.system, "[\\Select]\n\"Default\"=dword:00000002"));
    let lacking = other_type(&merged(
        &first.system,
        &format!("[\\ControlSet001\\Control\\Session Manager]\n\n[-\\{}]", interface(1, 1)),
    ));
    let troubles: [(&str, Option<&[u8]>, &str); 5] = [
        ("missing", None, "has no file SYSTEM.ALT"),
        ("dirty", Some(&dirty), "sequence numbers differ"),
        ("damaged", Some(&damaged), "hbin"),
        ("of another start", Some(&select), "Select names other control sets"),
        ("without a key", Some(&lacking), "has no key"),
    ];
    two_at_once(
        &troubles,
        |(name, ..)| format!("SYSTEM.ALT {name}"),
        |(name, bytes, words)| {
            let mut case = Case::of(original.original.clone());
            case.put(&[(&alternate, *bytes)]);
            case.settle();
            let clean = case.clean(&[]).exits(1);
            clean.require(clean.at("/verdict") == "exposed", "exposed: the worm gone, the hole open");
            let found = filter(&clean);
            clean.require(found["outcome"] == "left", "the filter left");
            clean.require(why(&found).contains("SYSTEM.ALT") && why(&found).contains(words), words);
            let times = why(&found).matches("; left: ").count();
            clean.require((1..=2).contains(&times), &format!("a reason is told once, not {times} times"));
            for check in ["autostart", "worm_file", "dcom"] {
                clean.require(clean.finding(check)["outcome"] == "verified", check);
            }
            let worm = clean.finding("worm_file");
            let pending = worm["evidence"]["name"].as_str().unwrap().to_owned();
            let system = case.file(&W2000.hive("system"));
            if *name == "without a key" {
                // The entry for deletion goes where both have its key; no value of the filter does without the others.
                clean.require(pending.starts_with("pending"), "the name goes");
                let places = edited(&case, "SYSTEM", &first.system, &system);
                let session = format!("ControlSet001\\Control\\Session Manager [{PENDING}]");
                clean.require(places == BTreeSet::from([session]), &format!("{places:?}"));
            } else {
                clean.require(pending.starts_with("stays"), "the name stays");
                clean.require(clean.remarks().contains("SYSTEM.ALT"), "why the name stays");
                clean.require(system == first.system, "SYSTEM untouched");
                let told = clean.at("/targets/0/installs/0/notes");
                let told: Vec<&str> = told.as_array().unwrap().iter().filter_map(Value::as_str).collect();
                let alone = told.iter().filter(|note| note.contains(words)).count();
                clean.require(alone == 1, &format!("told once: {told:?}"));
                if let Some(bytes) = bytes {
                    clean.require(case.file(&alternate) == *bytes, "SYSTEM.ALT untouched");
                }
            }
            let undone = case.undo(&[]).exits(0);
            case.must_be_as_at_first(&undone);
        },
    );
}

/// An owner's own list in force is kept but for what lets the worm in; an empty list is not believed.
#[test]
fn an_owners_list_keeps_its_other_ports() {
    let Some(mut case) = old_2000(&["--infect", "none", "--server"]) else { return };
    let values = |tcp: &[&str], udp: &[&str]| {
        [reg_hex("TCPAllowedPorts", 7, &multi(tcp)), reg_hex("UDPAllowedPorts", 7, &multi(udp))].join("\n")
    };
    let lists = |first: &str, second: &str| {
        format!(
            "[\\{}]\n\"{SWITCH}\"=dword:00000001\n\n[\\{}]\n{first}\n\n[\\{}]\n{second}",
            parameters(1),
            interface(1, 0),
            interface(1, 1)
        )
    };
    case.edit(
        &W2000,
        &W2000.hive("system"),
        &lists(&values(&["80", "135"], &["53"]), &values(&["25"], &["0"])),
    );
    case.settle();
    let before = Hives::of(&case, &W2000);
    let scan = case.scan().exits(1);
    scan.require(hole(&scan, "filter") == "off", "it lets the worm in");
    scan.require(why(&filter(&scan)).contains("lets port 135 in"), "which port");
    let clean = case.clean(&["--packet-filter", "on"]).exits(0);
    clean.require(hole(&clean, "filter") == "on", "on");
    let wanted = BTreeSet::from([format!("{} [TCPAllowedPorts]", interface(1, 0))]);
    let after = must_differ(&case, &W2000, &before, &wanted);
    assert_eq!(value_of(&after.system, &interface(1, 0), "TCPAllowedPorts"), list(&["80"]));
    assert_eq!(value_of(&after.system, &interface(1, 0), "UDPAllowedPorts"), list(&["53"]));
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);

    for (tcp, words) in [(&[][..], "empty, which may mean all or none"), (&["ssh"], "no list of ports")] {
        case.edit(&W2000, &W2000.hive("system"), &lists(&values(tcp, &["53"]), &values(&["25"], &["0"])));
        case.settle();
        let scan = case.scan().exits(1);
        scan.require(hole(&scan, "filter") == "off" && why(&filter(&scan)).contains(words), words);
        let clean = case.clean(&["--packet-filter", "on"]).exits(0);
        let system = case.file(&W2000.hive("system"));
        clean.require(value_of(&system, &interface(1, 0), "TCPAllowedPorts") == list(&["65535"]), "one port");
        clean.require(
            value_of(&system, &interface(1, 0), "UDPAllowedPorts") == list(&["53"]),
            "UDP as it was",
        );
        let undone = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&undone);
    }
}

/// A switch without an interface that bears a list keeps nothing out, so it is not set.
#[test]
fn a_windows_without_interfaces_is_not_half_filtered() {
    let Some(mut case) = old_2000(&["--infect", "none"]) else { return };
    let gone = [0, 1].map(|index| format!("[-\\{}]", interface(1, index))).join("\n\n");
    case.edit(&W2000, &W2000.hive("system"), &gone);
    case.settle();
    let before = Hives::of(&case, &W2000);
    let clean = case.clean(&[]).exits(1);
    clean.require(clean.at("/verdict") == "exposed", "exposed");
    must_differ(&case, &W2000, &before, &BTreeSet::new());
}

#[test]
fn the_firewall_of_later_service_packs_is_told() {
    let options = ["--service-pack", "2", "--infect", "none", "--filesystem", "fat32"];
    let Some(mut case) = Case::with(&[&options[..], &["--files", "50", "--size", "36M"]].concat()) else {
        return;
    };
    let told = |case: &Case| {
        let ran = case.scan().exits(0);
        let all = ran.findings("packet_filter");
        let found = all.iter().find(|f| f["what"].as_str().unwrap().starts_with("Windows Firewall")).cloned();
        ran.require(found.iter().all(|found| found["grade"] == "information"), "information");
        found
    };
    assert_eq!(
        told(&case).unwrap()["what"],
        "Windows Firewall is on in StandardProfile, on in DomainProfile"
    );
    let profile = r"ControlSet001\Services\SharedAccess\Parameters\FirewallPolicy\StandardProfile";
    let off = format!("[\\{profile}]\n\"EnableFirewall\"=dword:00000000");
    case.edit(&common::windows::XP, &common::windows::XP.hive("system"), &off);
    case.settle();
    assert_eq!(
        told(&case).unwrap()["what"],
        "Windows Firewall is off in StandardProfile, on in DomainProfile"
    );
    let Some(old) = Case::with(&[
        "--filesystem",
        "fat32",
        "--files",
        "50",
        "--size",
        "36M",
        "--patched",
        "--infect",
        "none",
    ]) else {
        return;
    };
    assert!(told(&old).is_none(), "Service Pack 1 has none");
}

/// A SYSTEM that NT 4.0 itself wrote, of a domain controller, as SYSTEM and as SYSTEM.ALT: the adapter's key is found;
/// nothing is done unasked, and what is asked for is taken back.
#[test]
fn a_real_domain_controller_of_nt4_is_filtered_only_where_asked_for() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/corpus/hive/skelsec+aiowinreg/tests/testdata/nt/system.reg"
    );
    if !Path::new(path).exists() {
        println!("skipped: the corpus is not beside this checkout");
        return;
    }
    let system = fs::read(path).unwrap();
    let options = ["--windows", "nt4", "--filesystem", "fat16", "--files", "50", "--size", "24M"];
    let Some(mut case) = Case::with(&[&options[..], &["--infect", "none"]].concat()) else { return };
    let mirror = other_type(&system);
    case.put(&[(&NT4.hive("system"), Some(&system)), (&NT4.hive("SYSTEM.ALT"), Some(&mirror))]);
    case.settle();
    let before = Hives::of(&case, &NT4);
    let scan = case.scan().exits(1);
    scan.require(scan.at("/targets/0/installs/0/product_type") == "domain_controller", "LanmanNT");
    scan.require(filter(&scan)["evidence"]["data"] == "1 interfaces", "the adapter AMDPCN1 found");
    scan.require(hole(&scan, "filter") == "not_established", "not established");
    let clean = case.clean(&[]).exits(0);
    clean.require(filter(&clean)["action"].is_null() && hole(&clean, "dcom") == "off", "DCOM alone");
    must_differ(&case, &NT4, &before, &BTreeSet::new());

    let clean = case.clean(&["--packet-filter", "on"]).exits(0);
    clean.require(filter(&clean)["outcome"] == "verified", "as asked");
    let key = |set| format!("ControlSet{set:03}\\Services\\AMDPCN1\\Parameters\\Tcpip");
    let after = Hives::of(&case, &NT4);
    for hive in [&after.system, &after.alternate] {
        let port =
            value_of(hive, &key(1), "TCPAllowedPorts").or_else(|| value_of(hive, &key(2), "TCPAllowedPorts"));
        assert_eq!(port, list(&["65535"]));
    }
    let undone = case.undo(&[]).exits(0);
    undone.require(Hives::of(&case, &NT4).system == before.system, "SYSTEM to the byte");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

//! Many disks in one machine: all that are there, and those that somebody plugs in and pulls.

use std::path::Path;
use std::time::Duration;

use crate::common::{Case, Ran};
use crate::cured::{NT4_NTFS, Patient, REPORTS, STORE, XP_FAT32, XP_NTFS};
use crate::desk::Desk;
use crate::machine::{Machine, image_for_long};
use crate::stick::Stick;

const USUAL: u32 = 115_200;

impl Desk {
    /// Plugs a disk into a USB port, as a fixed disk in a case.
    fn plugs(&mut self, id: &str, disk: &Path, more: &str) {
        self.orders(&format!("drive_add 0 if=none,id={id},format=raw,file={}{more}", disk.display()));
        std::thread::sleep(Duration::from_millis(500));
        self.orders(&format!(
            "device_add usb-storage,bus=usbhost.0,drive={id},id=plug-{id},removable=off,serial=PATIENT-{id}"
        ));
    }

    fn pulls(&mut self, id: &str) {
        self.orders(&format!("device_del plug-{id}"));
    }
}

/// Somebody at a bench: plugs a disk in, sees PASS, plugs in the next, pulls it in the midst of the writing, and plugs it in again.
#[test]
fn disks_that_are_plugged_in_are_cleaned_and_one_that_was_pulled_is_finished() {
    let Some(image) = image_for_long("watch") else { return };
    let (Some(first), Some(second)) = (Patient::new(&XP_NTFS), Patient::new(&NT4_NTFS)) else { return };
    let stick = Stick::new(&first.case.path("stick.img"), "DEBLAST");
    stick.configure("mode = \"watch\"\noptions = \"--yes\"\nend = \"poweroff\"\n");
    let there = Patient::new(&XP_FAT32).unwrap();
    let machine = Machine::new(&image, &["--disk-as", "ide"])
        .with("--disk", &there.case.disk)
        .with("--stick", &stick.path);
    let mut desk = machine.sits(USUAL, |_| ());
    desk.shows("Waiting for disks");

    desk.plugs("one", &first.case.disk, "");
    desk.hears("DEBLAST VERDICT /dev/sdc", "cleaned");
    desk.shows("1 PASS");
    desk.shows("it may be pulled");
    println!("{}", desk.shown());
    first.is_cured_by_judges(&desk.so_far());

    // So slow that it is surely pulled in between.
    desk.plugs("two", &second.case.disk, ",throttling.iops-write=2");
    desk.hears("DEBLAST TARGET /dev/sdd", "writing");
    std::thread::sleep(Duration::from_secs(4));
    desk.pulls("two");
    desk.hears("DEBLAST TARGET /dev/sdd", "pulled");
    desk.shows("PULLED TOO EARLY");
    desk.shows("1 FAIL");
    println!("{}", desk.shown());
    let half = second.case.bytes();
    let guest = desk.so_far();
    guest.require(half != second.case.original, "that some of it was written");
    desk.hears("DEBLAST TARGET /dev/sdd", "done");

    desk.plugs("again", &second.case.disk, "");
    desk.counts("DEBLAST VERDICT ", 3);
    desk.shows("2 PASS");
    println!("{}", desk.shown());
    second.is_cured_by_judges(&desk.so_far());
    guest.require(there.case.bytes() == there.case.original, "what was there at the start as it was");

    desk.key("q");
    let guest = desk.goes_off();
    guest.ends(2);
    stick.is_sound();
    let reports: Vec<_> = stick.names(REPORTS).into_iter().filter(|name| name.ends_with(".json")).collect();
    guest.require(reports.len() == 3, "a report of each disk that was plugged in");
    // A case at USB tells no serial number of the disk in it.
    guest.require(reports.iter().all(|name| name.contains("-sd")), "named after the disk's node");

    // And all of it can be taken back, each from its own record.
    for patient in [&first, &second] {
        stick.take(STORE, &patient.case.store());
        let ran = patient.case.undo(&[]).exits(0);
        patient.case.must_be_as_at_first(&ran);
    }
}

/// Eight disks of different systems and states in one boot.
#[test]
fn eight_disks_in_one_boot_each_get_their_verdict() {
    let Some(image) = image_for_long("eight disks") else { return };
    const DISKS: [(&str, &[&str], &str); 8] = [
        ("ide", &[], "cleaned"),
        ("ide", &["--windows", "nt4"], "cleaned"),
        ("ahci", &["--windows", "2000"], "cleaned"),
        ("ahci", &["--windows", "2003"], "cleaned"),
        ("virtio", &["--state", "hibernated"], "undetermined"),
        ("virtio", &["--infect", "none", "--patched"], "clean"),
        ("usb", &["--state", "dirty-hive"], "cleaned"),
        ("usb", &["--infect", "none"], "cleaned"),
    ];
    for jobs in ["1", "8"] {
        let mut cases = Vec::new();
        for (_, options, _) in DISKS {
            let Some(case) = Case::with(&[options, &["--files", "60", "--size", "24M"][..]].concat()) else {
                return;
            };
            cases.push(case);
        }
        let stick = Stick::new(&cases[0].path("stick.img"), "DEBLAST");
        stick.configure(&format!(
            "mode = \"batch\"\noptions = \"clean --yes --jobs {jobs}\"\nend = \"poweroff\"\n"
        ));
        let mut machine = Machine::new(&image, &["--memory", "256"]).with("--stick", &stick.path);
        for ((kind, ..), case) in DISKS.iter().zip(&cases) {
            machine = machine.with("--disk-as", kind).with("--disk", &case.disk);
        }
        let guest = machine.runs("expect DEBLAST READY\nexpect DEBLAST DONE\n");
        guest.ends(2);
        stick.is_sound();
        let reports = cases[0].path("reports");
        stick.take(REPORTS, &reports);
        let names: Vec<_> = std::fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().path()).collect();
        let json: Vec<_> =
            names.iter().filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        guest.require(json.len() == 9, "a report of each disk and one of the run");
        let run = json.iter().min_by_key(|path| path.as_os_str().len()).unwrap();
        let run: serde_json::Value = serde_json::from_slice(&std::fs::read(run).unwrap()).unwrap();
        let mut verdicts: Vec<_> = run["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| target["verdict"].as_str().unwrap())
            .collect();
        let mut wanted: Vec<_> = DISKS.iter().map(|(.., verdict)| *verdict).collect();
        verdicts.sort_unstable();
        wanted.sort_unstable();
        guest.require(verdicts == wanted, &format!("{wanted:?}, and not {verdicts:?}"));
        for ((_, _, wanted), case) in DISKS.iter().zip(&cases) {
            if *wanted == "cleaned" {
                Ran::of(&mut case.on_disk(&["scan"])).exits(0).says("VERDICT: CLEAN");
            } else {
                guest.require(case.bytes() == case.original, "a disk as it was");
            }
        }
    }
}

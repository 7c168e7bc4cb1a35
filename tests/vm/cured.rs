//! A patient that is to be cured: an infected practice disk, and a stick with what the machine shall do.

use std::process::Command;

use super::common::hives::{by_hivexml, by_regf};
use super::common::windows::{NT4, Windows, XP};
use super::common::{Case, OLE, RUN, RUN_VALUE, Ran, judge, volume};
use super::machine::{Guest, Machine};
use super::stick::Stick;

/// What a stick says that shall clean every disk unasked.
pub(crate) const CLEAN: &str = "mode = \"batch\"\noptions = \"clean --yes\"\nend = \"poweroff\"\n";
/// Where the image keeps the record of its runs and its reports, on the medium labelled DEBLAST.
pub(crate) const STORE: &str = "store";
pub(crate) const REPORTS: &str = "reports";

/// A practice disk, by the options that make it.
pub(crate) struct Kind {
    pub(crate) windows: &'static Windows,
    pub(crate) options: &'static [&'static str],
}

pub(crate) const XP_NTFS: Kind = Kind { windows: &XP, options: &["--files", "60", "--size", "16M"] };
pub(crate) const XP_FAT32: Kind =
    Kind { windows: &XP, options: &["--filesystem", "fat32", "--files", "60", "--size", "40M"] };
pub(crate) const NT4_NTFS: Kind =
    Kind { windows: &NT4, options: &["--windows", "nt4", "--files", "60", "--size", "24M"] };

pub(crate) struct Patient {
    pub(crate) case: Case,
    windows: &'static Windows,
}

impl Patient {
    pub(crate) fn new(kind: &Kind) -> Option<Self> {
        Some(Self { case: Case::with(kind.options)?, windows: kind.windows })
    }

    /// Boots that machine with the patient as its only disk and a second stick, which tells what to do.
    #[track_caller]
    pub(crate) fn is_cured(&self, machine: Machine) -> Guest {
        let stick = Stick::new(&self.case.path("stick.img"), "DEBLAST");
        stick.configure(CLEAN);
        let machine = machine.with("--disk", &self.case.disk).with("--stick", &stick.path);
        self.is_cured_by(machine, &stick)
    }

    /// Boots that machine, which has the patient as its only disk, and judges what is then on the disk and on the stick.
    #[track_caller]
    pub(crate) fn is_cured_by(&self, machine: Machine, stick: &Stick) -> Guest {
        let guest = machine.runs("expect DEBLAST READY\nexpect DEBLAST DONE\n");
        guest.reached("cleaned", 0);
        self.is_cured_by_judges(&guest);
        self.report_is_on(stick, &guest);
        self.is_taken_back_from(stick);
        guest
    }

    /// Our own scan, and readers that are not ours.
    #[track_caller]
    pub(crate) fn is_cured_by_judges(&self, guest: &Guest) {
        let scan = self.case.scan().exits(0);
        scan.require(scan.at("/verdict") == "clean", "clean afterwards");
        let path = self.windows.hive("software");
        let software = &self.case.files(std::slice::from_ref(&path))[&path];
        let (xml, regf) = (by_hivexml(software), by_regf(software));
        assert_eq!(xml.len(), regf.len(), "both judges read the same keys");
        guest.require(!xml[RUN].contains_key(RUN_VALUE), "no Run value of the worm, by hivexml");
        guest
            .require(regf[OLE]["EnableDCOM"] == (1, super::common::utf16("N\0")), "EnableDCOM is N, by regf");
        let worm = self.windows.system32("msblast.exe");
        guest.require(self.case.file(&worm).iter().all(|&byte| byte == 0), "an inert worm, by icat");
        if self.case.bytes()[446 + 4] == 7 {
            self.is_sound_by_ntfs_3g(&worm);
        }
    }

    #[track_caller]
    fn is_sound_by_ntfs_3g(&self, worm: &str) {
        let bytes = self.case.ntfscat(worm);
        assert!(!bytes.is_empty() && bytes.iter().all(|&byte| byte == 0), "an inert worm, by ntfscat");
        let volume = self.case.path("judged.img");
        volume::extract(&self.case.disk, &volume);
        let folder = format!("/{}", self.windows.system32("config"));
        let listed = judge(Command::new("ntfsls").args(["-p", &folder]).arg(&volume));
        let listed = String::from_utf8(listed).unwrap().to_lowercase();
        assert!(listed.lines().any(|name| name == "software"), "{listed}");
    }

    /// The report is on the stick, tells the verdict, and is whole.
    #[track_caller]
    fn report_is_on(&self, stick: &Stick, guest: &Guest) {
        let reports = self.case.path("reports");
        stick.take(REPORTS, &reports);
        let files = std::fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().path());
        let (json, others): (Vec<_>, Vec<_>) =
            files.partition(|path| path.extension().is_some_and(|e| e == "json"));
        guest.require(
            json.len() == 1 && others.len() == 2,
            &format!("one report in three forms, {json:?}, {others:?}"),
        );
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json[0]).unwrap()).unwrap();
        guest
            .require(report["verdict"] == "cleaned" && report["exit_code"] == 0, "the verdict in the report");
        Ran::of(self.case.command(&["report", "check"]).arg(&json[0])).exits(0);
    }

    /// The store on the stick brings back every byte, here.
    #[track_caller]
    pub(crate) fn is_taken_back_from(&self, stick: &Stick) {
        stick.take(STORE, &self.case.store());
        assert_eq!(self.case.runs().len(), 1, "one run in the store of the stick");
        let undone = self.case.undo(&[]).exits(0);
        self.case.must_be_as_at_first(&undone);
    }
}

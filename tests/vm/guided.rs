//! The guided screens in the booted image, by keys alone.

use std::path::Path;

use super::common::{Case, PRACTICE, Ran, skip};
use super::cured::{Kind, Patient, REPORTS, STORE};
use super::desk::Desk;
use super::machine::{Guest, Machine};
use super::stick::Stick;

/// What somebody takes along who cures by hand: a stick that says nothing of what to do.
#[track_caller]
pub(crate) fn blank_stick(case: &Case) -> Stick {
    let stick = Stick::new(&case.path("stick.img"), "DEBLAST");
    stick.put("signatures/practice.toml", &std::fs::read(PRACTICE).unwrap());
    stick
}

/// A patient, and the stick that takes the record of what is done to it.
pub(crate) struct Guided {
    pub(crate) patient: Patient,
    pub(crate) stick: Stick,
}

impl Guided {
    #[track_caller]
    pub(crate) fn new(kind: &Kind) -> Option<Self> {
        let patient = Patient::new(kind)?;
        let stick = blank_stick(&patient.case);
        Some(Self { patient, stick })
    }

    /// A machine with both.
    pub(crate) fn machine(&self, image: &Path, options: &[&str]) -> Machine {
        Machine::new(image, options).with("--disk", &self.patient.case.disk).with("--stick", &self.stick.path)
    }

    /// From what was found to a verified clean, judged while the machine is on.
    #[track_caller]
    pub(crate) fn is_cleaned(&self, desk: &mut Desk) {
        clean(desk);
        // Whoever sits there counts from the boot menu on.
        assert!(desk.pressed <= 6, "{} keys", desk.pressed);
        self.patient.is_cured_by_judges(&desk.so_far());
    }

    /// And back, to the byte.
    #[track_caller]
    pub(crate) fn is_taken_back(&self, desk: &mut Desk) {
        take_back(desk);
        let is_as_at_first = self.patient.case.bytes() == self.patient.case.original;
        desk.so_far().require(is_as_at_first, "every byte as it was");
    }

    /// What a run by hand leaves on the stick: the store, whole reports, and a file system without a fault.
    #[track_caller]
    pub(crate) fn stick_is_whole(&self, guest: &Guest, runs: usize) {
        self.stick.is_sound();
        let reports = self.patient.case.path("reports");
        self.stick.take(REPORTS, &reports);
        let files = std::fs::read_dir(&reports).unwrap().map(|entry| entry.unwrap().path());
        let json: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
        let verdict = |path: &std::path::PathBuf| {
            Ran::of(self.patient.case.command(&["report", "check"]).arg(path)).exits(0);
            let report: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            report["verdict"].as_str().unwrap_or_default().to_owned()
        };
        let verdicts: Vec<String> = json.iter().map(verdict).collect();
        for expected in ["infected", "cleaned"] {
            guest.require(
                verdicts.iter().any(|found| found == expected),
                &format!("a report that says {expected}"),
            );
        }
        self.stick.take(STORE, &self.patient.case.store());
        assert_eq!(self.patient.case.runs().len(), runs, "runs in the store of the stick");
    }
}

#[track_caller]
pub(crate) fn clean(desk: &mut Desk) {
    desk.shows("INFECTED");
    desk.key("c").shows("y carry out");
    desk.key("y").shows("C L E A N E D");
}

#[track_caller]
pub(crate) fn take_back(desk: &mut Desk) {
    desk.key("u").shows("changes in force");
    desk.key("Enter").shows("the protection alone");
    desk.key("Down").key("Enter").shows("WARNING: this brings back");
    desk.shows("y carry out");
    desk.key("y").shows("D O N E");
}

/// Off, from the report.
#[track_caller]
pub(crate) fn power_off(mut desk: Desk) -> Guest {
    desk.key("o").shows("Switch the machine off?");
    desk.key("o");
    desk.goes_off()
}

/// The whole path by keys over a serial line of that speed.
#[track_caller]
pub(crate) fn over_a_serial_line(image: &Path, kind: &Kind, options: &[&str], baud: u32) {
    let Some(guided) = Guided::new(kind) else { return skip("no practice disk") };
    let mut desk = guided.machine(image, options).sits(baud, |_| ());
    guided.is_cleaned(&mut desk);
    guided.is_taken_back(&mut desk);
    let guest = power_off(desk);
    // Taken back as asked.
    guest.ends(0);
    guided.stick_is_whole(&guest, 1);
}

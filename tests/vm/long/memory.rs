//! As much as a machine with 64 MiB can hold, and more than it can.

use crate::common::windows::XP;
use crate::cured::{CLEAN, Kind, Patient};
use crate::machine::{Machine, image_for_long};
use crate::stick::Stick;

const SMALL: [&str; 4] = ["--cpu", "pentium2", "--memory", "64"];

/// A Windows that was used for years.
const LARGE: Kind =
    Kind { windows: &XP, options: &["--files", "50000", "--size", "700M", "--software-size", "12"] };

/// One that no machine of 64 MiB can hold.
const TOO_LARGE: Kind =
    Kind { windows: &XP, options: &["--files", "60", "--size", "60M", "--software-size", "24"] };

#[test]
fn a_hive_of_12_mib_among_50000_files_is_cured_in_64_mib() {
    let Some(image) = image_for_long("a large Windows in 64 MiB") else { return };
    let Some(patient) = Patient::new(&LARGE) else { return };
    patient.is_cured(Machine::new(&image, &SMALL));
}

#[test]
fn a_hive_that_does_not_fit_is_refused_with_the_figure_and_nothing_is_written() {
    let Some(image) = image_for_long("a hive too large for 64 MiB") else { return };
    let Some(patient) = Patient::new(&TOO_LARGE) else { return };
    let stick = Stick::new(&patient.case.path("stick.img"), "DEBLAST");
    stick.configure(CLEAN);
    let machine =
        Machine::new(&image, &SMALL).with("--disk", &patient.case.disk).with("--stick", &stick.path);
    let guest = machine.runs("expect DEBLAST READY\nexpect DEBLAST DONE\n");
    guest.reached("undetermined", 2).says("MiB of memory, and");
    guest.require(patient.case.bytes() == patient.case.original, "the disk as it was");
    assert!(
        !stick.names("").iter().any(|name| name == crate::cured::STORE)
            || stick.names(crate::cured::STORE).is_empty()
    );
}

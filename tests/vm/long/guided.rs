//! The guided screens in the booted image: keys alone, from the boot menu to a verified clean, and back.

use crate::cured::{Patient, XP_NTFS};
use crate::desk::Desk;
use crate::machine::{Machine, image_for_long};
use crate::stick::Stick;

/// The patient on a machine with a stick for the record, which says nothing of what to do.
fn machine(image: &std::path::Path, patient: &Patient, options: &[&str]) -> (Machine, Stick) {
    let stick = Stick::new(&patient.case.path("stick.img"), "DEBLAST");
    stick.put("signatures/practice.toml", &std::fs::read(crate::common::PRACTICE).unwrap());
    let machine =
        Machine::new(image, options).with("--disk", &patient.case.disk).with("--stick", &stick.path);
    (machine, stick)
}

/// From what is found to a verified clean by keys at the terminal; what was found, planned and done is kept as it was shown.
#[track_caller]
fn cleans(desk: &mut Desk, key: fn(&mut Desk, &str)) {
    desk.shows("INFECTED");
    key(desk, "c");
    desk.shows("Nothing has been written yet");
    key(desk, "y");
    desk.shows("C L E A N E D");
}

fn by_line(desk: &mut Desk, key: &str) {
    desk.types(key);
}

#[test]
fn keys_over_a_serial_line_clean_a_disk_and_take_that_back() {
    let Some(image) = image_for_long("guided over a serial line") else { return };
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    let (machine, _stick) = machine(&image, &patient, &["--cpu", "qemu64", "--memory", "512"]);
    let mut desk = machine.sits(Some(115_200), |_| ());
    cleans(&mut desk, by_line);
    println!("{}", desk.shown());
    assert!(desk.pressed <= 6, "{} keys", desk.pressed);
    patient.is_cured_by_judges(&desk.so_far());
}

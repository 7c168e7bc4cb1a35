//! Every other way to boot the image, each with a disk to cure.

use std::fs;

use crate::cured::{CLEAN, NT4_NTFS, Patient, XP_FAT32, XP_NTFS};
use crate::machine::{Machine, image_for_long};
use crate::stick::Stick;

/// The image is itself the stick: its own partition says what to do, and takes store and report.
#[track_caller]
fn cured_from_the_stick_itself(test: &str, options: &[&str]) {
    let Some(image) = image_for_long(test) else { return };
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    let copy = patient.case.path("deblast.img");
    fs::copy(&image, &copy).unwrap();
    let stick = Stick::of_image(&copy, 0x0c);
    stick.configure(CLEAN);
    let machine = Machine::new(&copy, options).with("--disk", &patient.case.disk);
    patient.is_cured_by(machine, &stick);
}

#[test]
fn a_pentium_iii_cures_a_disk_from_the_stick_itself() {
    cured_from_the_stick_itself("BIOS and USB", &["--write-stick", "--cpu", "pentium3", "--memory", "128"]);
}

#[test]
fn uefi_64_cures_a_disk_from_the_stick_itself() {
    cured_from_the_stick_itself("UEFI 64 and USB", &["--write-stick", "--firmware", "uefi64"]);
}

#[test]
fn uefi_32_cures_a_disk() {
    let Some(image) = image_for_long("UEFI 32") else { return };
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    patient.is_cured(Machine::new(&image, &["--firmware", "uefi32"]));
}

#[test]
fn a_fat32_xp_is_cured() {
    let Some(image) = image_for_long("an XP on FAT32") else { return };
    let Some(patient) = Patient::new(&XP_FAT32) else { return };
    patient.is_cured(Machine::new(&image, &[]));
}

#[test]
fn an_nt4_is_cured() {
    let Some(image) = image_for_long("an NT 4.0") else { return };
    let Some(patient) = Patient::new(&NT4_NTFS) else { return };
    patient.is_cured(Machine::new(&image, &["--disk-as", "scsi"]));
}

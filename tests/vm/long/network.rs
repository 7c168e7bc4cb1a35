//! Booted from the network, by QEMU's own TFTP server.

use std::process::Command;

use crate::common::{judge, skip};
use crate::cured::{Patient, XP_NTFS};
use crate::machine::{Machine, image_for_long};

/// Boots from what the image's maker left for TFTP servers beside the image; the machine has no CD and no stick but one that
/// tells what to do.
#[track_caller]
fn cured_from_the_network(test: &str, options: &[&str]) {
    let Some(image) = image_for_long(test) else { return };
    let archive = image.with_file_name(format!("{}-pxe.tar", image.file_stem().unwrap().display()));
    if !archive.is_file() {
        return skip(&format!("there is no {}; scripts/build-image makes it", archive.display()));
    }
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    let folder = patient.case.path("tftp");
    std::fs::create_dir(&folder).unwrap();
    judge(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&folder));
    let guest = patient.is_cured(Machine::new(&image, options).with("--pxe", &folder));
    guest.require(!guest.serial.contains("/dev/sr0"), "no CD");
}

#[test]
fn bios_cures_a_disk_from_the_network() {
    cured_from_the_network("PXE, BIOS", &["--cpu", "pentium3", "--memory", "128"]);
}

#[test]
fn uefi_64_cures_a_disk_from_the_network_under_secure_boot() {
    cured_from_the_network("PXE, UEFI", &["--firmware", "uefi64", "--secure-boot", "--memory", "768"]);
}

//! The live image in virtual machines, as a technician boots it: a machine passes by its landmarks on the serial line alone,
//! and what it did to a disk is judged from outside. `DEBLAST_IMAGE` names the image.
//!
//! The tests in this file run wherever the tests run; the others take long and are asked for by `scripts/test vm`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

#[path = "vm/altered.rs"]
mod altered;
mod common;
#[path = "vm/cured.rs"]
mod cured;
#[path = "vm/desk.rs"]
mod desk;
#[path = "vm/guided.rs"]
mod guided;
#[path = "vm/listens.rs"]
mod listens;
#[path = "vm/long/mod.rs"]
mod long;
#[path = "vm/machine.rs"]
mod machine;
#[path = "vm/stick.rs"]
mod stick;

use cured::{Patient, XP_NTFS};
use machine::{Machine, image};

/// The hard case, one of the two that every run of the tests has: a Pentium II of 1999 with 64 MiB, a CD, and a stick.
#[test]
fn a_pentium_ii_with_64_mib_cures_a_disk_from_cd() {
    let Some(image) = image() else { return };
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    let machine = Machine::new(&image, &["--cpu", "pentium2", "--memory", "64", "--disk-as", "ide"]);
    patient.is_cured(machine);
}

/// The same machine, with somebody at a terminal on its serial line: two keys to a verified clean.
#[test]
fn keys_over_a_serial_line_clean_a_disk_and_take_that_back() {
    let Some(image) = image() else { return };
    guided::over_a_serial_line(&image, &XP_NTFS, &["--cpu", "pentium2", "--memory", "64"], 115_200);
}

/// On a machine with a network card, which is where somebody could knock.
#[test]
fn the_booted_image_runs_no_service_and_opens_no_port() {
    let Some(image) = image() else { return };
    listens::with_a_card(&image);
}

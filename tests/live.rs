//! The landmarks of the live image, as a run gives them: what scripts on a bench wait for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use common::{Case, Ran};

/// The lines of a file of landmarks, the disk's path as DISK.
fn landmarks(case: &Case) -> Vec<String> {
    let text = std::fs::read_to_string(case.path("landmarks")).unwrap();
    std::fs::remove_file(case.path("landmarks")).unwrap();
    let disk = case.disk.display().to_string();
    text.lines().map(|line| line.replace(&disk, "DISK")).collect()
}

#[track_caller]
fn must_be(case: &Case, ran: &Ran, expected: &[&str]) {
    let found = landmarks(case);
    ran.require(found == expected, &format!("the landmarks {expected:?}, and they are {found:?}"));
}

#[test]
fn a_run_tells_where_each_target_is() {
    let Some(case) = Case::practice() else { return };
    let file = case.path("landmarks");
    let option = ["--landmarks", file.to_str().unwrap()];

    let ran = Ran::of(case.on_disk(&["scan"]).args(option)).exits(1);
    must_be(&case, &ran, &["TARGET DISK looking", "TARGET DISK done", "VERDICT DISK infected"]);

    // Nothing is written without a yes, and no landmark says so.
    let ran = case.storing(&["clean", "--dry-run"], &option);
    must_be(&case, &ran, &["TARGET DISK looking", "TARGET DISK done", "VERDICT DISK infected"]);

    let done = ["TARGET DISK writing", "TARGET DISK verifying", "TARGET DISK verified", "TARGET DISK done"];
    let ran = case.storing(&["clean", "--yes"], &option).exits(0);
    must_be(
        &case,
        &ran,
        &["TARGET DISK looking", done[0], done[1], done[2], done[3], "VERDICT DISK cleaned"],
    );

    let ran = case.storing(&["undo", "--yes"], &option).exits(0);
    must_be(
        &case,
        &ran,
        &["TARGET DISK looking", done[0], done[1], done[2], done[3], "VERDICT DISK infected"],
    );
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_target_that_cannot_be_read_is_done_too() {
    let Some(case) = Case::practice() else { return };
    std::fs::remove_file(&case.disk).unwrap();
    let file = case.path("landmarks");
    let ran = Ran::of(case.on_disk(&["scan"]).args(["--landmarks", file.to_str().unwrap()])).exits(2);
    must_be(&case, &ran, &["TARGET DISK done", "VERDICT DISK undetermined"]);
}

/// A name out of an image's path must not begin a line of its own.
#[test]
fn a_path_cannot_forge_a_landmark() {
    let Some(mut case) = Case::practice() else { return };
    let file = case.path("landmarks");
    let forged = case.path("x\nDONE 0");
    std::fs::rename(&case.disk, &forged).unwrap();
    case.disk = forged;
    let ran = Ran::of(case.on_disk(&["scan"]).args(["--landmarks", file.to_str().unwrap()])).exits(1);
    let text = std::fs::read_to_string(&file).unwrap();
    ran.require(text.lines().count() == 3 && !text.contains("\nDONE"), &format!("three lines, not {text:?}"));
}

#[test]
fn where_landmarks_cannot_go_nothing_is_begun() {
    let Some(case) = Case::practice() else { return };
    let ran = case.storing(&["clean", "--yes"], &["--landmarks", "/no/such/folder/file"]).exits(2);
    ran.says("landmarks");
    case.must_be_as_at_first(&ran);
}

#[test]
fn the_live_image_does_not_start_on_a_machine_at_work() {
    let ran = Ran::of(std::process::Command::new(env!("CARGO_BIN_EXE_deblast")).arg("live")).exits(2);
    ran.says("live image").says("use scan or clean");
}

//! The guided way by numbered questions: the real binary on a terminal, answered line by line, the disk judged afterwards.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "this file is a test as a whole")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{Case, Journal, Ran, make};

/// `deblast --plain` on a terminal of its own, with one answer a line; what was shown there.
#[track_caller]
fn guided(case: &Case, options: &[&str], answers: &[&str]) -> Ran {
    let store = case.store();
    let mut command = case.on_disk(&[&["--plain", "--store", store.to_str().unwrap()], options].concat());
    on_a_terminal(&mut command, answers)
}

#[track_caller]
fn on_a_terminal(command: &mut Command, answers: &[&str]) -> Ran {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut terminal = Command::new("sh");
    terminal.args(["-c", "words=$1; shift; printf '%s\\n' \"$@\" | script -qec \"$words\" /dev/null", "sh"]);
    terminal.arg(quoted.join(" ")).args(answers);
    for (name, value) in command.get_envs() {
        terminal.env(name, value.unwrap_or_default());
    }
    Ran::of(&mut terminal)
}

fn reports(case: &Case) -> Vec<serde_json::Value> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(case.path("reports")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_by_key(|path| (path.metadata().unwrap().modified().unwrap(), path.clone()));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
}

#[test]
fn a_clean_and_its_undo_by_numbers_alone() {
    let Some(case) = Case::practice() else { return };
    let folder = case.path("reports");
    let reporting = ["--report-dir", folder.to_str().unwrap()];
    let ran = guided(&case, &reporting, &["2", "y", "q"]).exits(0);
    for words in [
        "This only reads",
        "Disk 1: ",
        "VERDICT: INFECTED",
        "Step 3 of 6, Plan. Nothing has been written yet.",
        "the record goes to",
        "Step 5 of 6, Verify",
        "VERDICT: CLEANED",
        "Next steps:",
        "record of the run:",
    ] {
        ran.says(words);
    }
    let verdicts: Vec<_> = reports(&case).iter().map(|report| report["verdict"].clone()).collect();
    ran.require(verdicts == ["infected", "cleaned"], &format!("the reports of both, not {verdicts:?}"));
    case.scan().exits(0).require(case.runs().len() == 1, "one run");
    // The same disk as after a clean in batch: nothing is done here that is not done there.
    let batch = Case::of(case.original.clone());
    batch.clean(&[]).exits(0);
    let places = common::changed_sectors(&case.original, &case.bytes());
    ran.require(
        places == common::changed_sectors(&case.original, &batch.bytes()),
        "the sectors of a batch clean",
    );

    let ran = guided(&case, &[], &["3", "1", "2", "y", "q"]).exits(0);
    ran.says("4 of 4 changes in force").says("this brings back what the run removed").says("RESULT: DONE");
    case.must_be_as_at_first(&ran);
}

#[test]
fn the_protection_alone_is_the_first_part_offered() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let ran = guided(&case, &[], &["3", "1", "1", "y", "q"]).exits(0);
    ran.says("RESULT: DONE").says("exposed");
    ran.require(!ran.stdout.contains("bytes back from quarantine"), "no file to come back");
}

/// Whoever presses Enter, or answers with anything but `y`, changes no byte.
#[test]
fn nothing_but_y_is_yes() {
    let Some(case) = Case::practice() else { return };
    let folder = case.path("reports");
    let ran = guided(&case, &[], &[""; 60]);
    case.must_be_as_at_first(&ran);
    ran.require(!case.store().exists(), "no store");
    for answer in ["", "n", "Y", "yes", "1", "j"] {
        let ran = guided(&case, &["--report-dir", folder.to_str().unwrap()], &["2", answer, "q"]).exits(1);
        ran.says("Carry this plan out?").says("Not carried out: no byte was written.");
        case.must_be_as_at_first(&ran);
        ran.require(!case.store().exists(), "no store");
    }
    // A declined plan has no report beside that of the look.
    let all = reports(&case);
    assert!(all.len() == 6 && all.iter().all(|report| report["options"]["command"] == "scan"), "{all:#?}");
    // Nobody there any more: it ends.
    let ran = guided(&case, &[], &["2"]).exits(1);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_run_that_was_cut_is_offered_first() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let mut half = case.original.clone();
    journal.replay(&mut half, journal.intents.len() / 2);
    assert!(half != case.original && half != case.bytes());
    fs::write(&case.disk, &half).unwrap();
    let ran = guided(&case, &[], &["1", "n", "1", "y", "q"]).exits(0);
    ran.says("was cut. Take it back first.").says("1 take back the run").says("RESULT: DONE");
    case.must_be_as_at_first(&ran);

    // Whoever cleans at once is asked for both.
    fs::write(&case.disk, &half).unwrap();
    let ran = guided(&case, &[], &["3", "y", "y", "q"]).exits(0);
    ran.says("It is taken back before anything else").says("VERDICT: CLEANED");
    fs::write(&case.disk, &half).unwrap();
    let ran = guided(&case, &[], &["3", "n", "q"]).exits(2);
    case.must_hold(&half, &ran, "no byte to be written");
}

#[test]
fn a_hibernated_session_is_given_up_for_a_word_alone() {
    let Some(case) = Case::with(&["--files", "60", "--size", "16M", "--state", "hibernated"]) else { return };
    let ran = guided(&case, &[], &["2", "q"]).exits(2);
    ran.says("hibernated");
    case.must_be_as_at_first(&ran);
    // Decided by the list of switches: the seventh, its second choice.
    for answer in ["y", "", "Discard"] {
        let ran = guided(&case, &[], &["4", "7", "2", "q", "2", answer, "q"]);
        ran.says("Type the word discard").says("Not carried out");
        case.must_be_as_at_first(&ran);
    }
    let ran = guided(&case, &["--hibernation", "discard"], &["2", "discard", "q"]).exits(0);
    ran.says("VERDICT: CLEANED");
}

#[test]
fn the_record_may_go_elsewhere() {
    let Some(case) = Case::practice() else { return };
    let other = case.path("other");
    // A folder that is missing is no store that a technician named; then one that can be made.
    let nowhere = case.path("missing/store");
    let answers = ["5", nowhere.to_str().unwrap(), "2", "5", other.to_str().unwrap(), "2", "y", "q"];
    let ran = guided(&case, &[], &answers).exits(0);
    ran.says("is the stick mounted?").says("VERDICT: CLEANED");
    assert_eq!(
        fs::read_dir(&other).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(),
        1
    );
    assert!(!case.store().exists());
}

#[test]
fn of_several_disks_one_is_chosen() {
    let Some(case) = Case::practice() else { return };
    let second = case.path("second.img");
    let clean = make(&["--files", "60", "--size", "16M", "--infect", "none", "--patched"]);
    fs::write(&second, &clean).unwrap();
    let store = case.store();
    let mut command = case.on_disk(&["--plain", "--store", store.to_str().unwrap()]);
    command.arg(&second);
    let ran = on_a_terminal(&mut command, &["1", "2", "y", "8", "q"]).exits(0);
    ran.says("disk.img: INFECTED").says("second.img: CLEAN").says("disk.img: CLEANED");
    let ran = on_a_terminal(&mut command, &["2", "2", "q"]).exits(0);
    ran.says("second.img: CLEAN. What next?");
    ran.require(!ran.stdout.contains("Carry this plan out?"), "no question where nothing is to be done");
    ran.require(fs::read(&second).unwrap() == clean, "the other disk to be as it was");
}

#[test]
fn without_a_terminal_there_is_no_guide() {
    let Some(case) = Case::practice() else { return };
    let ran = Ran::of(&mut case.on_disk(&["--plain"])).exits(2);
    ran.says("no terminal");
    case.must_be_as_at_first(&ran);
    let ran = Ran::of(&mut case.command(&["no-such-disk"])).exits(2);
    ran.says("no such command, disk or image").says("--help");
}

//! The guided screens elsewhere: on a slow line, at the machine's own keyboard, for practice.

use std::time::Duration;

use crate::cured::{CLEAN, Patient, XP_NTFS};
use crate::guided::{Guided, blank_stick, clean, over_a_serial_line, power_off, take_back};
use crate::machine::{Machine, image_for_long};
use crate::stick::Stick;

const SLOW: u32 = 9600;
const USUAL: u32 = 115_200;

#[test]
fn keys_over_a_line_of_9600_baud_clean_a_disk_and_take_that_back() {
    let Some(image) = image_for_long("guided at 9600 baud") else { return };
    over_a_serial_line(&image, &XP_NTFS, &["--append", "console=ttyS0,9600n8"], SLOW);
}

/// While it reads a disk, what it draws of that must not keep an answer waiting: a whole screen takes two seconds there.
#[test]
fn keys_are_answered_over_a_line_of_9600_baud_while_progress_is_drawn() {
    let Some(image) = image_for_long("keys at 9600 baud") else { return };
    let Some(guided) = Guided::new(&XP_NTFS) else { return };
    let mut desk = guided.machine(&image, &["--append", "console=ttyS0,9600n8"]).sits(SLOW, |_| ());
    desk.shows("INFECTED");
    // Looked at again and again, so that there is always something to draw.
    for _ in 0..3 {
        desk.key("f");
        for (key, words) in [("l", "Log"), ("?", "Keys of this screen")] {
            let answered = desk.key(key).shows(words);
            desk.so_far()
                .require(answered < Duration::from_secs(6), &format!("an answer to {key} within 6 seconds"));
            desk.key("q").shows_no_more(words);
        }
    }
    // What is shown is what stands there: drawn anew it is the same.
    desk.shows("INFECTED");
    std::thread::sleep(Duration::from_secs(5));
    let before = desk.shown();
    let received = desk.received();
    desk.key("Ctrl-L");
    std::thread::sleep(Duration::from_secs(6));
    desk.so_far().require(desk.received() > received + 1000, "the screen drawn anew by Ctrl-L");
    assert_eq!(desk.shown(), before, "nothing was garbled");
    desk.loses_power();
}

/// At the screen, with pictures of what is found, planned and done.
#[track_caller]
fn at_the_keyboard(test: &str, options: &[&str], name: &str) {
    let Some(image) = image_for_long(test) else { return };
    let Some(guided) = Guided::new(&XP_NTFS) else { return };
    let mut desk = guided.machine(&image, options).sits(USUAL, |_| ());
    desk.is_at_keyboard = true;
    desk.shows("INFECTED");
    desk.pictures(&format!("{name}-found"));
    desk.key("c").shows("y carry out");
    desk.pictures(&format!("{name}-plan"));
    desk.key("y").shows("C L E A N E D");
    desk.pictures(&format!("{name}-report"));
    assert!(desk.pressed <= 6, "{} keys", desk.pressed);
    guided.patient.is_cured_by_judges(&desk.so_far());
    guided.is_taken_back(&mut desk);
    let guest = power_off(desk);
    guest.ends(0);
    guided.stick_is_whole(&guest, 1);
}

#[test]
fn keys_at_the_keyboard_of_a_bios_machine_clean_a_disk_and_take_that_back() {
    at_the_keyboard("guided, at the screen of a BIOS", &["--cpu", "pentium3"], "bios");
}

#[test]
fn keys_at_the_keyboard_of_a_uefi_machine_clean_a_disk_and_take_that_back() {
    at_the_keyboard("guided, at the screen of UEFI", &["--firmware", "uefi64"], "uefi");
}

#[test]
fn practice_from_the_boot_menu_touches_no_real_disk() {
    let Some(image) = image_for_long("practice") else { return };
    let Some(guided) = Guided::new(&XP_NTFS) else { return };
    let mut desk = guided.machine(&image, &[]).sits(USUAL, |desk| {
        desk.is_at_keyboard = true;
        desk.shows("Practice: a training disk");
        desk.key("Down").key("Down").key("Enter");
    });
    desk.shows("PRACTICE");
    clean(&mut desk);
    desk.shows("PRACTICE");
    desk.pictures("practice-report");
    take_back(&mut desk);
    let guest = power_off(desk);
    guest.ends(0).require(!guest.serial.contains("/dev/sda"), "no word of the real disk");
    guest.require(guided.patient.case.bytes() == guided.patient.case.original, "the real disk as it was");
    let names = guided.stick.names("");
    guest.require(names == ["signatures"], &format!("nothing new on the stick, found {names:?}"));
}

#[test]
fn practice_is_refused_where_there_is_no_room_for_it() {
    let Some(image) = image_for_long("practice with 64 MiB") else { return };
    let machine = Machine::new(&image, &["--cpu", "pentium2", "--memory", "64"]);
    let desk = machine.with("--append", "deblast.mode=practice deblast.end=poweroff").sits(USUAL, |_| ());
    desk.goes_off().ends(2).says("practice needs a machine of 128 MiB of memory or more");
}

#[test]
fn a_keyboard_map_is_in_use() {
    let Some(image) = image_for_long("a keyboard map") else { return };
    let Some(guided) = Guided::new(&XP_NTFS) else { return };
    guided.stick.put("deblast.toml", b"keymap = \"de\"\n");
    let mut desk = guided.machine(&image, &[]).sits(USUAL, |_| ());
    desk.is_at_keyboard = true;
    desk.shows("INFECTED");
    desk.key("c").shows("y carry out");
    // On a German keyboard these two keys stand in each other's place.
    desk.key("y");
    std::thread::sleep(Duration::from_secs(3));
    desk.shows("y carry out");
    desk.key("z").shows("C L E A N E D");
    guided.patient.is_cured_by_judges(&desk.so_far());
    desk.loses_power();
}

#[test]
fn a_hook_afterwards_knows_the_outcome() {
    let Some(image) = image_for_long("hooks.after") else { return };
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    let stick = Stick::new(&patient.case.path("stick.img"), "DEBLAST");
    stick.configure(&format!("{CLEAN}[hooks]\nafter = \"hooks/after.sh\"\n"));
    stick.put(
        "hooks/after.sh",
        b"cp \"$DEBLAST_REPORT\" told.jsn\necho \"exit $DEBLAST_EXIT_CODE\" >told.txt\n",
    );
    let machine = Machine::new(&image, &[]).with("--disk", &patient.case.disk).with("--stick", &stick.path);
    machine.runs("expect DEBLAST READY\nexpect DEBLAST DONE 0\n").reached("cleaned", 0);
    assert_eq!(stick.file("told.txt"), b"exit 0\n");
    let report: serde_json::Value = serde_json::from_slice(&stick.file("told.jsn")).unwrap();
    assert_eq!(report["verdict"], "cleaned");
    stick.is_sound();
}

#[test]
fn a_write_protected_stick_keeps_nothing_and_nothing_is_cleaned() {
    let Some(image) = image_for_long("a write-protected stick") else { return };
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    let stick = blank_stick(&patient.case);
    stick.configure(CLEAN);
    let before = std::fs::read(&stick.path).unwrap();
    let machine = Machine::new(&image, &[]).with("--disk", &patient.case.disk).with("--locked", &stick.path);
    let guest = machine.runs("expect DEBLAST READY\nexpect DEBLAST DONE 2\n");
    guest.says("the medium is write-protected: no store and no reports can be kept on it");
    guest.require(patient.case.bytes() == patient.case.original, "the disk as it was");
    assert!(std::fs::read(&stick.path).unwrap() == before, "the stick as it was");
}

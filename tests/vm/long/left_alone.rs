//! What a machine must not touch: disks for which nobody said yes, and whatever lies on a patient's own disk.

use std::fs;

use crate::common::{Case, START};
use crate::cured::{CLEAN, NT4_NTFS, XP_FAT32, XP_NTFS};
use crate::machine::{Machine, image_for_long};
use crate::stick::{Stick, entry, set_entry};

/// The practice disk with one more partition behind the volume of Windows: FAT, labelled DEBLAST, with a configuration that
/// would clean every disk.
#[track_caller]
fn with_a_configuration_of_its_own() -> Option<Case> {
    let case = Case::with(XP_NTFS.options)?;
    let mut bytes = case.original.clone();
    let (_, begin, length) = entry(&bytes, 0);
    assert_eq!(begin * 512, START);
    let (begin, length) = (((begin + length) * 512).next_multiple_of(1 << 20), 16 << 20);
    set_entry(&mut bytes, 1, 0x0e, begin, length);
    bytes.resize(begin + length, 0);
    fs::write(&case.disk, &bytes).unwrap();
    Stick::format(&case.disk, begin, length, "DEBLAST").configure(CLEAN);
    Some(Case::of(case.bytes()))
}

#[test]
fn a_configuration_on_a_patients_disk_is_ignored_and_that_is_said() {
    let Some(image) = image_for_long("a configuration on a fixed disk") else { return };
    let Some(case) = with_a_configuration_of_its_own() else { return };
    // A disk in a USB case is no stick: nobody carries it from machine to machine as a tool.
    let usb = Stick::new(&case.path("usb.img"), "DEBLAST");
    usb.configure(CLEAN);
    let before = fs::read(&usb.path).unwrap();
    let machine = Machine::new(&image, &[])
        .with("--disk", &case.disk)
        .with("--disk-as", "usb")
        .with("--disk", &usb.path);
    let mut desk = machine.sits(115_200, |_| ());
    // It is said before a screen would cover it.
    desk.shows("is ignored");
    desk.shows("INFECTED");
    std::thread::sleep(std::time::Duration::from_secs(5));
    let guest = desk.loses_power();
    guest.says("2 is labelled DEBLAST and is ignored: it lies on a fixed disk");
    guest.says("1 is labelled DEBLAST and is ignored: the disk at USB says that its medium is fixed");
    guest.says("medium: none");
    guest.reads_only();
    assert!(case.bytes() == case.original, "the fixed disk is as it was");
    assert!(fs::read(&usb.path).unwrap() == before, "the disk in a USB case is as it was");
}

#[test]
fn a_machine_switched_off_before_a_yes_leaves_every_disk_as_it_was() {
    let Some(image) = image_for_long("guided mode, and no yes") else { return };
    let Some(ntfs) = Case::with(XP_NTFS.options) else { return };
    let [fat, nt4] = [XP_FAT32, NT4_NTFS].map(|kind| Case::with(kind.options).unwrap());
    let stick = Stick::new(&ntfs.path("stick.img"), "DEBLAST");
    stick.put("signatures/practice.toml", &fs::read(crate::common::PRACTICE).unwrap());
    // virtio, whose disks have a row of names of their own
    let machine = Machine::new(&image, &["--disk-as", "virtio"])
        .with("--disk", &ntfs.disk)
        .with("--disk", &fat.disk)
        .with("--disk", &nt4.disk)
        .with("--stick", &stick.path);
    let mut desk = machine.sits(115_200, |_| ());
    for name in ["vda", "vdb", "vdc"] {
        desk.hears(&format!("DEBLAST VERDICT /dev/{name}"), "infected");
    }
    // Offered once all of them were looked at.
    desk.shows("c clean");
    desk.key("c").shows("y carry out");
    desk.hears("DEBLAST TARGET /dev/vda", "asking");
    // Every key but the one that says yes.
    for key in ["Enter", "Down", "c", "Enter"] {
        desk.key(key);
    }
    std::thread::sleep(std::time::Duration::from_secs(5));
    desk.shows("y carry out");
    let guest = desk.loses_power();
    guest.reads_only();
    for (case, name) in [(&ntfs, "the NTFS disk"), (&fat, "the FAT32 disk"), (&nt4, "the NT 4.0 disk")] {
        guest.require(case.bytes() == case.original, &format!("{name} as it was"));
    }
}

//! Secure Boot enforced by firmware with Microsoft's keys: the image boots, and one that was tampered with does not.

use std::fs;
use std::path::Path;

use crate::altered::{change_kernel, unsign_grub};
use crate::cured::{Patient, XP_NTFS};
use crate::machine::{Guest, Machine, image_for_long};
use crate::stick::Stick;

const FIRMWARE: [&str; 3] = ["--firmware", "uefi64", "--secure-boot"];

#[test]
fn a_disk_is_cured_under_secure_boot() {
    let Some(image) = image_for_long("Secure Boot, a cure") else { return };
    let Some(patient) = Patient::new(&XP_NTFS) else { return };
    patient.is_cured(Machine::new(&image, &FIRMWARE));
}

/// What the kernel says of itself, asked in the shell.
#[track_caller]
fn asked(image: &Path, options: &[&str]) -> Guest {
    let folder = tempfile::tempdir().unwrap();
    let stick = Stick::new(&folder.path().join("stick.img"), "DEBLAST");
    stick.configure("mode = \"shell\"\n");
    Machine::new(image, options).with("--stick", &stick.path).runs(
        "expect DEBLAST READY\n\
         sleep 3\n\
         send mkdir -p /tmp/s; mount -t securityfs none /tmp/s; mount -t efivarfs none /sys/firmware/efi/efivars\n\
         send dmesg | grep -i secureboot; echo lock'down' is $(cat /tmp/s/lockdown); echo variable $(tail -c 1 /sys/firmware/efi/efivars/SecureBoot-* | hexdump -C | head -n 1); echo as'ked'\n\
         expect asked\n\
         quit\n",
    )
}

#[test]
fn the_kernel_itself_tells_whether_secure_boot_is_enforced() {
    let Some(image) = image_for_long("Secure Boot, the kernel's word") else { return };
    let on = asked(&image, &FIRMWARE);
    on.says("Secure boot enabled")
        .says("lockdown is none [integrity] confidentiality")
        .says("variable 00000000 01");
    let off = asked(&image, &["--firmware", "uefi64"]);
    off.says("lockdown is [none] integrity confidentiality").says("variable 00000000 00");
}

/// The image, tampered with: refused in these words, and nothing of Deblast starts.
#[track_caller]
fn refused(image: &Path, tamper: impl Fn(&Path), words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tampered.iso");
    fs::copy(image, &copy).unwrap();
    tamper(&copy);
    // The time that the whole image takes to be ready, once more.
    let guest = Machine::new(&copy, &FIRMWARE).run(&format!("expect {words}\nsleep 40\nquit\n"));
    guest.never_ready().require(guest.came_true, "a refusal");
    // The same, where nobody asks for signatures, starts: what was refused was the signature.
    let guest = Machine::new(&copy, &["--firmware", "uefi64"]).run("expect DEBLAST READY\nquit\n");
    guest.require(guest.came_true, "that it starts without Secure Boot");
}

#[test]
fn a_kernel_that_was_changed_is_refused() {
    let Some(image) = image_for_long("Secure Boot, a changed kernel") else { return };
    refused(&image, |copy| change_kernel(copy, "/boot/vmlinuz-amd64"), "bad shim signature");
}

#[test]
fn an_unsigned_grub_is_refused() {
    let Some(image) = image_for_long("Secure Boot, an unsigned GRUB") else { return };
    refused(&image, |copy| unsign_grub(copy, "EFI/BOOT/grubx64.efi"), "Verification failed");
}

#[test]
fn an_unsigned_grub_in_place_of_the_first_loader_is_refused() {
    let Some(image) = image_for_long("Secure Boot, an unsigned loader") else { return };
    refused(&image, |copy| unsign_grub(copy, "EFI/BOOT/BOOTX64.EFI"), "Access Denied");
}

//! Live images that somebody has tampered with.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use super::common::judge;
use super::stick::Stick;

/// Changes one letter of a kernel, in the name of its builder, where it does no harm: without signatures it still starts.
#[track_caller]
pub(crate) fn change_kernel(image: &Path, file: &str) {
    const NAME: &[u8] = b"debian-kernel@";
    let mut xorriso = Command::new("xorriso");
    xorriso.arg("-indev").arg(image).args(["-find", file, "-exec", "report_lba", "--"]);
    let told = String::from_utf8(judge(&mut xorriso)).unwrap();
    // "File data lba:  0 ,  BLOCK ,  BLOCKS ,  BYTES , 'NAME'"
    let line =
        told.lines().find(|line| line.starts_with("File data lba:")).expect("the kernel is in the image");
    let numbers: Vec<u64> = line.split([',', ':']).filter_map(|word| word.trim().parse().ok()).collect();
    let image = fs::File::options().read(true).write(true).open(image).unwrap();
    let mut head = vec![0; 64 << 10];
    image.read_exact_at(&mut head, numbers[1] * 2048).unwrap();
    let at = head.windows(NAME.len()).position(|bytes| bytes == NAME).expect("the name in the kernel's head");
    image.write_all_at(b"D", numbers[1] * 2048 + at as u64).unwrap();
}

/// Puts the image's GRUB, its signature taken off, into a place of the EFI system partition.
#[track_caller]
pub(crate) fn unsign_grub(image: &Path, place: &str) {
    let esp = Stick::of_image(image, 0xef);
    let folder = tempfile::tempdir().unwrap();
    esp.take("EFI/BOOT", folder.path());
    let mut grub = fs::read(folder.path().join("grubx64.efi")).unwrap();
    take_signature_off(&mut grub);
    esp.remove("EFI/BOOT/grubx64.efi"); // there may be no room for two
    esp.put(place, &grub);
}

/// Takes the certificate table off a 64-bit PE program: the directory's fifth entry, and the bytes that it names at the end.
fn take_signature_off(program: &mut Vec<u8>) {
    let word = |at: usize| u32::from_le_bytes(program[at..at + 4].try_into().unwrap()) as usize;
    let header = word(0x3c);
    assert_eq!(&program[header..header + 4], b"PE\0\0");
    let entry = header + 24 + 112 + 4 * 8;
    let (begin, length) = (word(entry), word(entry + 4));
    assert!(length > 0 && begin + length == program.len(), "a signature at the end");
    program[entry..entry + 8].fill(0);
    program.truncate(begin);
}

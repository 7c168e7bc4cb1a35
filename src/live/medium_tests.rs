use std::collections::BTreeSet;

use super::*;
use crate::volume::testing::tool;

const ID: &str = "0123456789abcdef";

/// A machine whose disks are files: sysfs as far as it is looked at, and /dev.
struct Fake {
    folder: tempfile::TempDir,
    machine: Machine,
}

/// How a disk hangs on the machine.
#[derive(Clone, Copy)]
enum At {
    Ata,
    Usb,
    /// A drive at USB that says that its medium is fixed.
    UsbFixed,
}

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots { sys: folder.path().join("sys"), proc: folder.path().join("proc") };
        let machine = Machine { roots, dev: folder.path().join("dev") };
        for path in [machine.dev.clone(), machine.roots.sys.join("class/block")] {
            std::fs::create_dir_all(path).unwrap();
        }
        Self { folder, machine }
    }

    /// A disk or disc; `image` is the ID of the live image on it.
    fn disk(self, name: &str, at: At, image: Option<&str>) -> Self {
        let bus = match at {
            At::Ata => "devices/pci0000:00/ata1/host0",
            At::Usb | At::UsbFixed => "devices/pci0000:00/usb1/1-1/host2",
        };
        let place = self.machine.roots.sys.join(bus).join("block").join(name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("size"), "2048\n").unwrap();
        std::fs::write(place.join("removable"), if matches!(at, At::Usb) { "1\n" } else { "0\n" }).unwrap();
        std::os::unix::fs::symlink(&place, self.machine.roots.sys.join("class/block").join(name)).unwrap();
        let mut bytes = vec![0; 0x9000];
        if let Some(id) = image {
            bytes[0x8000..0x8006].copy_from_slice(b"\x01CD001");
            let field = format!("{:128}", format!("DEBLAST {id}"));
            bytes[0x8000 + 190..0x8000 + 318].copy_from_slice(field.as_bytes());
        }
        std::fs::write(self.machine.dev.join(name), bytes).unwrap();
        self
    }

    /// A partition of a disk above, a FAT volume with this label.
    fn part(self, disk: &str, number: u32, label: &str) -> Self {
        let class = self.machine.roots.sys.join("class/block");
        let name = format!("{disk}{number}");
        let place = std::fs::canonicalize(class.join(disk)).unwrap().join(&name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("size"), "2048\n").unwrap();
        std::fs::write(place.join("partition"), format!("{number}\n")).unwrap();
        std::os::unix::fs::symlink(&place, class.join(&name)).unwrap();
        let node = self.machine.dev.join(&name);
        fat(&node, "16", label);
        self
    }

    fn find(&self, booted: Option<&str>) -> (Option<String>, String) {
        let found = self.machine.find_medium(booted, &mut Known::default());
        let name = found.volume.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        assert!(self.folder.path().exists());
        (name, found.words.join("; "))
    }
}

fn fat(image: &Path, bits: &str, label: &str) {
    let size = if bits == "32" { 40 << 20 } else { 9 << 20 };
    std::fs::File::create(image).unwrap().set_len(size).unwrap();
    let sectors = if bits == "12" { "8" } else { "1" };
    tool("mkfs.fat", &["-F", bits, "-s", sectors, "-n", label, image.to_str().unwrap()]);
}

fn taken(found: (Option<String>, String), name: &str) -> String {
    assert_eq!(found.0.as_deref(), Some(name), "{}", found.1);
    assert!(found.1.starts_with(&format!("medium: /dev/{name}, labelled DEBLAST")), "{}", found.1);
    found.1
}

fn none(found: (Option<String>, String), told: &[&str]) {
    assert_eq!(found.0, None, "{}", found.1);
    assert!(told.iter().all(|part| found.1.contains(part)), "{}", found.1);
}

#[test]
fn booted_from_a_stick_it_is_that_sticks_first_partition() {
    let stick = || Fake::new().disk("sda", At::Usb, Some(ID)).part("sda", 1, "DEBLAST");
    assert!(taken(stick().find(Some(ID)), "sda1").contains("the stick booted from"));
    // One that says that its medium is fixed, as some do, is the stick booted from all the same.
    let fixed = Fake::new().disk("sda", At::UsbFixed, Some(ID)).part("sda", 1, "DEBLAST");
    taken(fixed.find(Some(ID)), "sda1");
    // Another stick is not it, nor is another partition.
    let other = stick().disk("sdb", At::Usb, None).part("sdb", 1, "DEBLAST");
    assert!(taken(other.find(Some(ID)), "sda1").contains("/dev/sdb1 is labelled DEBLAST and is ignored"));
    let second = Fake::new().disk("sda", At::Usb, Some(ID)).part("sda", 3, "DEBLAST");
    none(second.find(Some(ID)), &["no partition 1", "/dev/sda3", "ignored"]);
    // Two of the same image: which one was booted from cannot be told.
    let twins = stick().disk("sdb", At::Usb, Some(ID)).part("sdb", 1, "DEBLAST");
    none(twins.find(Some(ID)), &["/dev/sda1 and /dev/sdb1", "leave one in"]);
}

#[test]
fn booted_from_a_cd_or_the_network_it_is_removable_and_at_usb() {
    let cd = || Fake::new().disk("sr0", At::Ata, Some(ID)).disk("sdb", At::Usb, None);
    for booted in [Some(ID), None] {
        assert!(
            taken(cd().part("sdb", 1, "DEBLAST").find(booted), "sdb1").contains("removable medium at USB")
        );
        // Without partitions.
        let whole = cd();
        fat(&whole.machine.dev.join("sdb"), "32", "DEBLAST");
        taken(whole.find(booted), "sdb");
        none(
            cd().part("sdb", 1, "OTHER").find(booted),
            &["medium: none", "no removable medium labelled DEBLAST"],
        );
        let two = cd().part("sdb", 1, "DEBLAST").disk("sdc", At::Usb, None).part("sdc", 1, "DEBLAST");
        none(two.find(booted), &["/dev/sdb1 and /dev/sdc1"]);
        // Nor one in a dock that bears the image of the disc.
        let image = cd().disk("sdc", At::UsbFixed, Some(ID)).part("sdc", 1, "DEBLAST");
        none(image.find(booted), &["/dev/sdc1 is labelled DEBLAST and is ignored", "medium is fixed"]);
        // A disk in a dock says that it is fixed.
        let dock = Fake::new().disk("sdb", At::UsbFixed, None).part("sdb", 1, "DEBLAST");
        none(dock.find(booted), &["/dev/sdb1 is labelled DEBLAST and is ignored", "medium is fixed"]);
    }
}

#[test]
fn a_fixed_disk_is_never_it() {
    let patient = || Fake::new().disk("sda", At::Ata, None).part("sda", 1, "DEBLAST");
    for booted in [Some(ID), None] {
        none(
            patient().find(booted),
            &["/dev/sda1 is labelled DEBLAST and is ignored: it lies on a fixed disk"],
        );
        let both = patient().disk("sdb", At::Usb, None).part("sdb", 1, "DEBLAST");
        assert!(taken(both.find(booted), "sdb1").contains("/dev/sda1 is labelled DEBLAST and is ignored"));
    }
    // One that holds the image does not stand in the way of a stick, nor make it more than it is.
    let image = || Fake::new().disk("sda", At::Ata, Some(ID));
    taken(image().disk("sdb", At::Usb, None).part("sdb", 1, "DEBLAST").find(Some(ID)), "sdb1");
    let dock = image().disk("sdb", At::UsbFixed, None).part("sdb", 1, "DEBLAST");
    none(dock.find(Some(ID)), &["medium is fixed"]);
    // Not even one that holds the image that was booted.
    let copied = Fake::new().disk("sda", At::Ata, Some(ID)).part("sda", 1, "DEBLAST");
    none(copied.find(Some(ID)), &["it lies on a fixed disk", "it counts as no medium"]);
}

#[test]
fn the_image_booted_from_is_known_by_its_id() {
    let fake = Fake::new().disk("sr0", At::Ata, Some(ID)).disk("sda", At::Ata, Some("feedfeedfeedfeed"));
    let mut known = Known::default();
    assert!(fake.machine.has_image(ID, &mut known));
    assert!(!fake.machine.has_image("0000000000000000", &mut known));
    // What was read once is not read again; a drive that is not ready yet is.
    let again: BTreeSet<_> = known.images.keys().map(|(name, _)| name.clone()).collect();
    assert_eq!(again.into_iter().collect::<Vec<_>>(), ["sda", "sr0"]);
    let slow = Fake::new().disk("sr0", At::Ata, Some(ID));
    let disc = std::fs::read(slow.machine.dev.join("sr0")).unwrap();
    std::fs::write(slow.machine.dev.join("sr0"), b"").unwrap();
    let mut known = Known::default();
    assert!(!slow.machine.has_image(ID, &mut known));
    std::fs::write(slow.machine.dev.join("sr0"), disc).unwrap();
    assert!(slow.machine.has_image(ID, &mut known));
}

#[test]
fn a_disk_that_cannot_be_read_is_asked_three_times() {
    let fake = Fake::new().disk("sda", At::Ata, Some(ID)).disk("sr0", At::Ata, None);
    let disk = std::fs::read(fake.machine.dev.join("sda")).unwrap();
    for name in ["sda", "sr0"] {
        std::fs::write(fake.machine.dev.join(name), b"").unwrap();
    }
    let after = |tries: u8| {
        let mut known = Known::default();
        std::fs::write(fake.machine.dev.join("sda"), b"").unwrap();
        for _ in 0..tries {
            assert!(!fake.machine.has_image(ID, &mut known));
        }
        std::fs::write(fake.machine.dev.join("sda"), &disk).unwrap();
        fake.machine.has_image(ID, &mut known)
    };
    assert!(after(2));
    assert!(!after(3));
}

#[test]
fn windows_new_label_counts_before_the_makers() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("volume");
    let label = || {
        let reader = RawDevice::new(image.clone()).unwrap().open_read().unwrap();
        fat_label(reader.as_ref()).unwrap()
    };
    for bits in ["12", "16", "32"] {
        fat(&image, bits, "DEBLAST");
        assert_eq!(label().as_deref(), Some("DEBLAST"), "FAT{bits}");
        let mut bytes = std::fs::read(&image).unwrap();
        // The second place where it stands is the entry of the root directory.
        let places: Vec<usize> =
            bytes.windows(11).enumerate().filter(|(_, w)| *w == b"DEBLAST    ").map(|(at, _)| at).collect();
        let entry = *places.last().unwrap();
        bytes[entry..entry + 11].copy_from_slice(b"STICK      ");
        std::fs::write(&image, &bytes).unwrap();
        assert_eq!(label().as_deref(), Some("STICK"), "FAT{bits}");
        bytes[entry] = 0xe5;
        std::fs::write(&image, &bytes).unwrap();
        assert_eq!(label().as_deref(), Some("DEBLAST"), "FAT{bits}: the entry is deleted");
    }
    std::fs::write(&image, [0; 4096]).unwrap();
    assert_eq!(label(), None);
}

//! Partition tables that sfdisk makes, the images of the corpus, and a fake sysfs.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use super::*;
use crate::volume::testing::{corpus_files, mkntfs, tool};
use crate::volume::{FileSystem as _, NtfsVolume, Window};

const MIB: u64 = 1 << 20;

/// Partitions an image file of that size by a script for sfdisk.
pub(super) fn sfdisk(path: &Path, size: u64, script: &str) {
    std::fs::File::create(path).unwrap().set_len(size).unwrap();
    let mut child = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sfdisk is needed for this test: scripts/test installs it (package fdisk)");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "sfdisk failed on {script:?}");
}

fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Number, start and size in sectors.
fn places(disk: &Disk) -> Vec<(u32, u64, u64)> {
    disk.partitions.iter().map(|p| (p.number, p.start / 512, p.size / 512)).collect()
}

/// A table as Windows XP writes it: a primary partition at sector 63, logical ones 63 behind their boot records.
fn xp_disk(path: &Path) {
    // Written by hand: sfdisk aligns logical partitions in a way of its own.
    std::fs::File::create(path).unwrap().set_len(16 * MIB).unwrap();
    let entry = |at: u64, status: u8, kind: u8, first: u32, count: u32| {
        let mut bytes = [0; 16];
        (bytes[0], bytes[4]) = (status, kind);
        bytes[8..12].copy_from_slice(&first.to_le_bytes());
        bytes[12..].copy_from_slice(&count.to_le_bytes());
        patch(path, at, &bytes);
    };
    entry(446, 0x80, 7, 63, 8000);
    entry(462, 0, 0x0f, 8127, 12000);
    let (base, second) = (8127 * 512, (8127 + 5000) * 512);
    entry(base + 446, 0, 7, 63, 2000);
    entry(base + 462, 0, 5, 5000, 3063);
    entry(second + 446, 0, 0x0b, 63, 3000);
    for place in [0, base, second] {
        patch(path, place + 510, &[0x55, 0xaa]);
    }
}

#[test]
fn an_mbr_with_logical_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    xp_disk(&path);
    let disk = inspect(&path).unwrap();
    assert_eq!((disk.table, disk.kind, disk.size), (Table::Mbr, Kind::Image, 16 * MIB));
    assert_eq!(places(&disk), [(1, 63, 8000), (5, 8190, 2000), (6, 13190, 3000)]);
    assert!(disk.notes.is_empty(), "{:?}", disk.notes);
    assert!(disk.partitions[0].bootable && !disk.partitions[1].bootable);
    assert_eq!(disk.partitions[0].kind.to_string(), "NTFS, HPFS or exFAT (type 0x07)");
    let listed = tool("sfdisk", &["--dump", path.to_str().unwrap()]);
    let listed = String::from_utf8(listed).unwrap();
    for text in ["start=          63, size=        8000", "start=        8190, size=        2000"] {
        assert!(listed.contains(text), "sfdisk sees another table: {listed}");
    }

    // The chain made a circle.
    patch(&path, (8127 + 5000) * 512 + 462 + 4, &[5, 0, 0, 0, 0x88, 0x13, 0, 0, 1, 0, 0, 0]);
    let disk = inspect(&path).unwrap();
    assert_eq!(disk.partitions.len(), 3);
    assert!(disk.notes.iter().any(|note| note.contains("circle")), "{:?}", disk.notes);
    // The second boot record lost.
    patch(&path, (8127 + 5000) * 512 + 510, &[0, 0]);
    let disk = inspect(&path).unwrap();
    assert_eq!(disk.partitions.len(), 2);
    assert!(disk.notes.iter().any(|note| note.contains("breaks off")), "{:?}", disk.notes);
    // The disk cut short.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(4 * MIB).unwrap();
    let disk = inspect(&path).unwrap();
    assert_eq!(places(&disk), [(1, 63, 8000), (5, 8190, 2)]);
    assert!(
        disk.notes.iter().any(|note| note.contains("only 1024 of 1024000 bytes are there")),
        "{:?}",
        disk.notes
    );
}

#[test]
fn tables_of_sfdisk_and_a_volume_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    sfdisk(&path, 16 * MIB, "label: dos\nunit: sectors\nstart=63, size=16384, type=7, bootable\n");
    let volume = dir.path().join("volume.img");
    mkntfs(&volume, 16384 * 512, 4096);
    patch(&path, 63 * 512, &std::fs::read(&volume).unwrap());
    let disk = inspect(&path).unwrap();
    assert_eq!((disk.table, places(&disk)), (Table::Mbr, vec![(1, 63, 16384)]));
    let start = disk.partitions[0].start;
    let reader = RawDevice::new(&path).unwrap().open_read().unwrap();
    let volume = NtfsVolume::open(Arc::new(Window::new(reader, start, disk.partitions[0].size))).unwrap();
    assert_eq!((volume.id(start).start, volume.id(start).size), (63 * 512, 16383 * 512));
    assert!(!volume.is_truncated());
}

#[test]
fn a_gpt_and_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    let basic = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";
    sfdisk(
        &path,
        16 * MIB,
        &format!("label: gpt\nstart=2048, size=4096, type={basic}\nstart=8192, size=1000, type=U\n"),
    );
    let disk = inspect(&path).unwrap();
    assert_eq!((disk.table, places(&disk)), (Table::Gpt, vec![(1, 2048, 4096), (2, 8192, 1000)]));
    let words: Vec<String> = disk.partitions.iter().map(|p| p.kind.to_string()).collect();
    assert_eq!(words, ["basic data", "EFI system"]);
    assert!(disk.notes.is_empty(), "{:?}", disk.notes);

    patch(&path, 512 + 80, &[1]);
    let disk = inspect(&path).unwrap();
    assert_eq!((disk.table, disk.partitions.len()), (Table::Gpt, 2));
    assert!(
        disk.notes.iter().any(|note| note.contains("its copy at the end of the disk is used")),
        "{:?}",
        disk.notes
    );

    patch(&path, 16 * MIB - 512, &[0; 512]);
    let disk = inspect(&path).unwrap();
    assert_eq!((disk.table, disk.partitions.len()), (Table::Unreadable, 0));
    assert!(disk.notes.last().unwrap().contains("neither the GPT nor its copy is sound"), "{:?}", disk.notes);
}

#[test]
fn a_gpt_of_large_sectors_is_read_and_noted() {
    let dir = tempfile::tempdir().unwrap();
    let (path, large) = (dir.path().join("disk.img"), dir.path().join("large.img"));
    sfdisk(&path, 16 * MIB, "label: gpt\nstart=2048, size=1024\n");
    let bytes = std::fs::read(&path).unwrap();
    // The same structures with units of 4096 bytes: entries begin at LBA 2.
    let mut image = vec![0; 32 * MIB as usize];
    image[..512].copy_from_slice(&bytes[..512]);
    image[4096..4096 + 512].copy_from_slice(&bytes[512..1024]);
    image[8192..8192 + 128 * 128].copy_from_slice(&bytes[1024..1024 + 128 * 128]);
    std::fs::write(&large, image).unwrap();
    let disk = inspect(&large).unwrap();
    assert_eq!((disk.table, disk.partitions[0].start), (Table::Gpt, 2048 * 4096));
    assert!(disk.notes.iter().any(|note| note.contains("sectors of 4096 bytes")), "{:?}", disk.notes);
}

#[test]
fn a_volume_without_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("volume.img");
    mkntfs(&path, 8 * MIB, 4096);
    let disk = inspect(&path).unwrap();
    assert_eq!(disk.table, Table::None);
    let [only] = &disk.partitions[..] else { panic!("{:?}", disk.partitions) };
    assert_eq!((only.number, only.start, only.size, only.kind), (0, 0, 8 * MIB, PartitionKind::Volume));

    // FAT in the first sector, and a sound table in it that leads to a volume: the table is believed.
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(16 * MIB).unwrap();
    tool("mkfs.fat", &["-F", "16", path.to_str().unwrap()]);
    let disk = inspect(&path).unwrap();
    assert_eq!((disk.table, disk.partitions.len()), (Table::None, 1), "code of the boot sector is no table");
    patch(&path, 446, &[0; 64]);
    patch(&path, 450, &[7, 0, 0, 0, 0, 8, 0, 0, 0, 64, 0, 0]);
    assert_eq!(inspect(&path).unwrap().table, Table::None, "leads to no volume");
    let inner = dir.path().join("inner.img");
    mkntfs(&inner, 8 * MIB, 4096);
    patch(&path, 2048 * 512, &std::fs::read(&inner).unwrap());
    let disk = inspect(&path).unwrap();
    assert_eq!((disk.table, places(&disk)), (Table::Mbr, vec![(1, 2048, 16384)]));
    assert!(disk.notes.iter().any(|note| note.contains("taken as the table")), "{:?}", disk.notes);
}

#[test]
fn nothing_known_is_said_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.img");
    for (bytes, table, words) in [
        (vec![0; 4096], Table::None, "empty"),
        (vec![0x5a; 4096], Table::Unreadable, "neither a partition table nor a volume"),
        (vec![1; 100], Table::Unreadable, "less than a sector"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let disk = inspect(&path).unwrap();
        assert_eq!((disk.table, disk.partitions.len()), (table, 0));
        assert!(disk.notes[0].contains(words), "{:?}", disk.notes);
    }
    assert!(inspect(dir.path()).unwrap_err().to_string().contains("neither a block device nor an image"));
}

#[test]
fn every_image_of_the_corpus_is_inspected() {
    for path in corpus_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let disk = inspect(&path).unwrap();
        let reader = RawDevice::new(&path).unwrap().open_read().unwrap();
        let found: Vec<String> = disk
            .partitions
            .iter()
            .map(|p| {
                let window: Arc<dyn ReadAt> = Arc::new(Window::new(reader.clone(), p.start, p.size));
                let recognised = crate::volume::recognise(window.as_ref()).unwrap();
                let scanned = NtfsVolume::open(window).and_then(|volume| {
                    let scan = volume.scan(&mut |_| true, &mut |_, _| {})?;
                    Ok(format!("{} files, {} problems", scan.files.len(), scan.problem_count))
                });
                format!(
                    "{}:{}+{} {recognised} {}",
                    p.number,
                    p.start / 512,
                    p.size / 512,
                    scanned.unwrap_or_else(|e| e.to_string())
                )
            })
            .collect();
        eprintln!("{name}: {:?} {found:?} {:?}", disk.table, disk.notes);
        let (table, start, words) = match name {
            "testfs1" | "ntfs.raw" | "7-ntfs-undel.dd" => (Table::None, 0, "NTFS"),
            "ntfs-fixed.vhd" => (Table::Mbr, 128, "NTFS"),
            "fat-parent.vhd" => (Table::Mbr, 128, "FAT12"),
            "ntfs_img.dd" => (Table::Mbr, 63, "NTFS"),
            _ => continue,
        };
        assert_eq!((disk.table, disk.partitions[0].start / 512), (table, start), "{name}");
        assert!(found[0].contains(words), "{name}: {found:?}");
        if name == "ntfs_img.dd" {
            assert!(
                disk.notes.iter().any(|note| note.contains("beyond the end of the disk")),
                "{:?}",
                disk.notes
            );
        }
    }
}

#[test]
fn attached_disks_of_a_fake_sysfs() {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots { sys: dir.path().join("sys"), proc: dir.path().join("proc") };
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    for (name, size) in [
        ("sda", "1000"),
        ("sdb", "78165360"),
        ("sdc", "0"),
        ("sr0", "900"),
        ("loop0", "9"),
        ("zram0", "8"),
        ("dm-0", "500"),
        ("md127", "5"),
        ("nvme0n1", "4000"),
        ("cciss!c0d0", "70"),
    ] {
        write(&format!("sys/class/block/{name}/size"), size.as_bytes());
    }
    for folder in ["sys/class/block/sda/sda1", "sys/class/block/sda1"] {
        write(&format!("{folder}/partition"), b"1\n");
        write(&format!("{folder}/dev"), b"8:1\n");
        write(&format!("{folder}/size"), b"900\n");
    }
    write("sys/class/block/sdb/device/model", b"ST340014A       \n");
    write("sys/class/block/sdb/device/vpd_pg80", b"\0\x80\0\x0c    5JX0ABCD");
    write("sys/class/block/sdb/removable", b"1\n");
    write("sys/class/block/nvme0n1/holders/dm-0/x", b"");
    write("proc/self/mountinfo", b"27 1 8:1 / / rw - ext4 /dev/root rw\n");
    write("proc/swaps", b"Filename\n");

    let found = attached(&roots).unwrap();
    let names: Vec<(String, bool)> =
        found.iter().map(|disk| (disk.path.display().to_string(), disk.in_use.is_some())).collect();
    let expected =
        [("/dev/cciss/c0d0", false), ("/dev/nvme0n1", true), ("/dev/sda", true), ("/dev/sdb", false)];
    assert_eq!(names, expected.map(|(name, used)| (name.to_owned(), used)));
    assert_eq!(found[2].in_use.as_deref(), Some("/dev/sda1 is mounted at /"));
    assert_eq!(found[3].size, 78_165_360 * 512);

    let facts = block::facts_of("sdb", &roots);
    assert_eq!((facts.model.as_deref(), facts.serial.as_deref()), (Some("ST340014A"), Some("5JX0ABCD")));
    assert!(facts.removable);
    let facts = block::facts_of("sda1", &roots);
    assert_eq!((facts.model, facts.serial, facts.removable), (None, None, false));
}

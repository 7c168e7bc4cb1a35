//! Writing to images and block devices, recognition, and what is in use.

use super::*;

#[test]
fn overwriting_changes_exactly_those_sectors() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("copy.img");
    std::fs::copy(sample(4096), &image).unwrap();
    let device = RawDevice::new(&image).unwrap();
    assert_eq!(device.kind(), DeviceKind::Image);
    let original = std::fs::read(&image).unwrap();
    let volume = open(&image);
    let file = find(&volume, "WINDOWS\\system32\\msblast.exe");
    let extents = volume.extents(file.id).unwrap();
    let place = extents.place(512, 1024).unwrap();
    let before = pattern(1000, 6176)[512..1536].to_vec();
    let mut sectors = device.open_write().unwrap();
    let other = device.open_write().err().unwrap().to_string();
    assert!(other.contains("another run holds this image"), "{other}");

    let mut wrong = before.clone();
    wrong[700] ^= 1;
    let words = sectors.overwrite(place, &wrong, &[0; 1024]).unwrap_err().to_string();
    assert!(words.contains("what") || words.contains("the plan was made from"), "{words}");
    assert!(words.contains(&format!("offset {:#x}", place + 700)), "{words}");
    assert!(sectors.overwrite(place + 1, &[0; 512], &[0; 512]).is_err());
    assert!(sectors.overwrite(place, &[0; 100], &[0; 100]).is_err());
    assert!(sectors.overwrite(place, &before, &[0; 512]).is_err());
    assert!(sectors.overwrite(original.len() as u64, &[0; 512], &[0; 512]).is_err());
    assert_eq!(std::fs::read(&image).unwrap(), original, "refused writes write nothing");

    sectors.overwrite(place, &before, &[0xee; 1024]).unwrap();
    sectors.sync().unwrap();
    device.drop_caches().unwrap();
    let mut expected = original;
    expected[place as usize..place as usize + 1024].fill(0xee);
    assert!(std::fs::read(&image).unwrap() == expected, "other bytes changed");
    let mut back = [0; 1024];
    sectors.read(place, &mut back).unwrap();
    assert_eq!(back, [0xee; 1024]);
    drop(sectors);
    // Tests beside this one start programs: their children hold the lock too, between fork and exec.
    assert!((0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        device.open_write().is_ok()
    }));
}

#[test]
fn a_block_device_is_written_past_the_cache_and_alone() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("copy.img");
    std::fs::copy(sample(4096), &image).unwrap();
    let attach = std::process::Command::new("losetup").args(["-f", "--show"]).arg(&image).output();
    let node = match attach {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        other => {
            eprintln!("skipped: no loop device here ({other:?})");
            return;
        }
    };
    let outcome = std::panic::catch_unwind(|| {
        let words = RawDevice::new(&image).unwrap().open_write().err().unwrap().to_string();
        assert!(words.contains("is attached to /dev/loop"), "{words}");
        let device = RawDevice::new(&node).unwrap();
        assert_eq!(device.kind(), DeviceKind::BlockDevice);
        let before = pattern(1000, 512);
        let volume = open(Path::new(&node));
        let place = volume.extents(find(&volume, "WINDOWS\\system32\\msblast.exe").id).unwrap().runs[0].place;
        let mut sectors = device.open_write().unwrap();
        let words = device.open_write().err().unwrap().to_string();
        assert!(words.contains("held by another program"), "{words}");
        // O_DIRECT (0o40000), which loop devices allow, in the flags of the one descriptor that is open for writing.
        let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let is_node = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to == Path::new(&node))
        };
        let flags: Vec<u32> = fds
            .filter(is_node)
            .filter_map(|entry| {
                std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(entry.file_name())).ok()
            })
            .map(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("flags:").map(|f| f.trim().to_owned()))
                    .unwrap()
            })
            .map(|text| u32::from_str_radix(&text, 8).unwrap())
            .collect();
        assert!(flags.iter().any(|flags| flags & 3 == 2 && flags & 0o40000 != 0), "{flags:x?}");
        assert_eq!(flags.iter().filter(|&flags| flags & 3 != 0).count(), 1, "only one may write: {flags:x?}");
        sectors.overwrite(place, &before, &[0; 512]).unwrap();
        sectors.sync().unwrap();
        device.drop_caches().unwrap();
        drop(sectors);
        mounted(Path::new(&node), |_| {
            let words = device.open_write().err().unwrap().to_string();
            assert!(words.contains("is mounted at"), "{words}");
        });
    });
    tool("losetup", &["-d", &node]);
    outcome.unwrap();
}

#[test]
fn recognition() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("fat.img");
    for (megabytes, bits, kind) in
        [(2, "12", FatKind::Fat12), (20, "16", FatKind::Fat16), (64, "32", FatKind::Fat32)]
    {
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let device = RawDevice::new(&image).unwrap();
        assert_eq!(recognise(device.open_read().unwrap().as_ref()).unwrap(), Recognised::Empty);
        tool("mkfs.fat", &["-F", bits, image.to_str().unwrap()]);
        assert_eq!(recognise(device.open_read().unwrap().as_ref()).unwrap(), Recognised::Fat { kind });
        std::fs::remove_file(&image).unwrap();
    }
    let mut sector = vec![0u8; 512];
    sector[0..11].copy_from_slice(b"\xeb\x58\x90-FVE-FS-");
    assert_eq!(recognise(Memory::new(sector.clone()).as_ref()).unwrap(), Recognised::BitLocker);
    sector[3..11].copy_from_slice(b"NTFS    ");
    assert_eq!(recognise(Memory::new(sector).as_ref()).unwrap(), Recognised::Unknown, "a name is not enough");
}

#[test]
fn what_is_in_use_is_told_by_sysfs() {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots { sys: dir.path().join("sys"), proc: dir.path().join("proc") };
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("sys/class/block/sda/dev", "8:0\n");
    for (part, number) in [("sda1", "8:1"), ("sda2", "8:2"), ("sda3", "8:3")] {
        write(&format!("sys/class/block/sda/{part}/partition"), &part[3..]);
        write(&format!("sys/class/block/{part}/partition"), &part[3..]);
        write(&format!("sys/class/block/{part}/dev"), number);
    }
    let swaps = "Filename\tType\tSize\tUsed\tPriority\n";
    write("proc/swaps", swaps);
    let mountinfo = "22 27 0:21 / /proc rw,relatime - proc proc rw\n";
    write("proc/self/mountinfo", mountinfo);
    let image = dir.path().join("disk image.img");
    std::fs::write(&image, b"").unwrap();
    let image = std::fs::canonicalize(image).unwrap();
    let block = |name: &str| match refuse_in_use_at(Path::new("/dev/x"), Some(name), &roots) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    assert_eq!((block("sda"), block("sda1")), (String::new(), String::new()));
    refuse_in_use_at(&image, None, &roots).unwrap();

    write(
        "proc/self/mountinfo",
        &format!("{mountinfo}30 27 8:2 / /mnt/two\\040words rw shared:1 - ext4 /dev/sda2 rw\n"),
    );
    assert!(block("sda").contains("/dev/sda2 is mounted at /mnt/two words"), "{}", block("sda"));
    assert_eq!(block("sda1"), "", "another part of the disk");
    let escaped = image.to_str().unwrap().replace(' ', "\\040");
    write("proc/self/mountinfo", &format!("31 27 0:50 / /mnt rw - fuse {escaped} rw\n"));
    let words = refuse_in_use_at(&image, None, &roots).unwrap_err().to_string();
    assert!(words.contains("it is mounted at /mnt"), "{words}");
    write("proc/self/mountinfo", "30 27 8:0 / /mnt/disk rw - vfat /dev/sda rw\n");
    assert!(block("sda1").contains("/dev/sda is mounted at /mnt/disk"), "{}", block("sda1"));
    write("proc/self/mountinfo", mountinfo);

    write("proc/swaps", &format!("{swaps}/dev/sda3 partition 100 0 -2\n"));
    assert!(block("sda").contains("/dev/sda3 is swap space"), "{}", block("sda"));
    write("proc/swaps", swaps);
    write("sys/class/block/sda1/holders/dm-0/dev", "253:0");
    write("sys/class/block/dm-0/dm/name", "patient\n");
    assert!(block("sda").contains("/dev/sda1 is held by /dev/dm-0 (patient)"), "{}", block("sda"));
    write("sys/class/block/loop3/loop/backing_file", &format!("{}\n", image.display()));
    let words = refuse_in_use_at(&image, None, &roots).unwrap_err().to_string();
    assert!(words.contains("is attached to /dev/loop3"), "{words}");
}

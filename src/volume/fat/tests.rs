//! The FAT readers against volumes that mkfs.fat and mtools made, judged by The Sleuth Kit, fsck.fat and the crate
//! fatfs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::*;
use crate::volume::bytes::{u16_at, u32_at};
use crate::volume::testing::{Memory, corpus_files, tool, tool_text};
use crate::volume::{RawDevice, Recognised, Window, open_volume, recognise};

mod damage;
mod shared;

/// Bits of the FAT, cluster size, size of the volume in MiB; kept in files with holes.
const KINDS: [(u64, u64, u64); 9] = [
    (12, 512, 2),
    (12, 4096, 12),
    (16, 512, 8),
    (16, 2048, 64),
    (16, 32 << 10, 256),
    (16, 64 << 10, 400),
    (32, 512, 40),
    (32, 4096, 300),
    (32, 32 << 10, 2200),
];
/// Those small enough to be held in memory and damaged.
const SMALL: [(u64, u64, u64); 3] = [KINDS[0], KINDS[2], KINDS[6]];
const WORM: &str = "WINDOWS\\system32\\msblast.exe";
const HIVE: &str = "WINDOWS\\system32\\config\\software";

/// Some bytes that are the same nowhere else.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(length)
    .collect()
}

struct Sample {
    image: PathBuf,
    _dir: tempfile::TempDir,
}

/// One filled volume of each kind, shared by all tests; none changes it.
fn sample(kind: (u64, u64, u64)) -> &'static Path {
    static SAMPLES: [OnceLock<Sample>; 9] = [const { OnceLock::new() }; 9];
    let index = KINDS.iter().position(|&other| other == kind).unwrap();
    &SAMPLES[index].get_or_init(|| make_sample(kind)).image
}

fn make_sample((bits, cluster, size): (u64, u64, u64)) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("volume.img");
    std::fs::File::create(&image).unwrap().set_len(size << 20).unwrap();
    let name = image.to_str().unwrap();
    let (bits, sectors) = (bits.to_string(), (cluster / 512).to_string());
    let entries: &[&str] = if bits == "32" { &[] } else { &["-r", "512"] };
    tool("mkfs.fat", &[&["-F", &bits, "-s", &sectors, "-n", "PRACTICE"], entries, &[name]].concat());
    let tree = dir.path().join("tree");
    let system32 = tree.join("WINDOWS/system32");
    std::fs::create_dir_all(system32.join("config")).unwrap();
    for i in 0..90 {
        std::fs::write(system32.join(format!("file{i:03}.dll")), pattern(i, 40 * i as usize)).unwrap();
    }
    std::fs::write(system32.join("config/software"), pattern(2000, 70_000)).unwrap();
    std::fs::write(system32.join("empty.txt"), b"").unwrap();
    let long = tree.join("Dokumente und Einstellungen ÄÖÜ Ж");
    std::fs::create_dir(&long).unwrap();
    std::fs::write(long.join("a long name.txt"), b"small").unwrap();
    std::fs::write(long.join(format!("{} the longest.txt", "n".repeat(100))), b"longest").unwrap();
    let deep = (0..20).fold(tree.join("deep"), |path, i| path.join(format!("folder {i}")));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("at the bottom"), pattern(9, 3000)).unwrap();
    let copy = |from: &Path, to: &str| tool("mcopy", &["-i", name, "-s", from.to_str().unwrap(), to]);
    for entry in ["WINDOWS", "Dokumente und Einstellungen ÄÖÜ Ж", "deep"] {
        copy(&tree.join(entry), "::");
    }
    // Every third file goes, and what comes next lies in the holes.
    for i in (0..90).step_by(3) {
        tool("mdel", &["-i", name, &format!("::WINDOWS/system32/file{i:03}.dll")]);
    }
    let put = |content: &[u8], to: &str| {
        let file = dir.path().join("file");
        std::fs::write(&file, content).unwrap();
        copy(&file, to);
    };
    put(&pattern(1000, 6176), "::WINDOWS/system32/msblast.exe");
    put(&pattern(3, 200_000), "::in pieces");
    tool("mattrib", &["-i", name, "+h", "+s", "::in pieces"]);
    Sample { image, _dir: dir }
}

fn open(image: &Path) -> FatVolume {
    FatVolume::open(RawDevice::new(image).unwrap().open_read().unwrap()).unwrap()
}

use crate::volume::Device as _;

fn in_memory(kind: (u64, u64, u64)) -> (Vec<u8>, FatVolume) {
    let bytes = std::fs::read(sample(kind)).unwrap();
    let volume = FatVolume::open(Memory::new(bytes.clone())).unwrap();
    (bytes, volume)
}

fn scan_all(volume: &FatVolume) -> Scan {
    volume.scan(&mut |_| true, &mut |_, _| {}).unwrap()
}

#[track_caller]
fn find(volume: &FatVolume, path: &str) -> FileFacts {
    volume.find(&WinPath::new(path)).unwrap().unwrap_or_else(|| panic!("{path} is not there"))
}

fn parts(id: FileId) -> (u64, u32) {
    let FileId::Fat { entry, cluster } = id else { panic!("no FAT file") };
    (entry, cluster)
}

/// What fls lists as allocated: paths, and the addresses of their entries.
fn listed_by_fls(image: &Path, sector: u64) -> BTreeMap<String, u64> {
    let text = tool_text("fls", &["-r", "-p", "-u", "-o", &sector.to_string(), image.to_str().unwrap()]);
    let line = |line: &str| {
        let (head, path) = line.split_once(":\t").unwrap();
        let is_file = !head.to_lowercase().starts_with("v/v") && !path.ends_with("(Volume Label Entry)");
        let address = head.rsplit(' ').next().unwrap().parse().unwrap();
        is_file.then(|| (path.replace('/', "\\"), address))
    };
    text.lines().filter_map(line).collect()
}

/// The address that The Sleuth Kit gives an entry: 3 and its number from the start of the root directory (FAT32: of the
/// data area) on, 32 bytes each.
fn address(volume: &FatVolume, id: FileId) -> u64 {
    3 + (parts(id).0 - volume.table.geometry.root) / 32
}

fn must_be_what_others_read(image: &Path, sector: u64, volume: &FatVolume) -> usize {
    let scan = scan_all(volume);
    assert_eq!(scan.problem_count, 0, "{:?}", scan.problems);
    let ours: BTreeMap<_, _> =
        scan.files.iter().map(|file| (file.path.as_str().to_owned(), address(volume, file.id))).collect();
    assert_eq!(ours, listed_by_fls(image, sector), "{}", image.display());
    assert_eq!(ours.len(), scan.files.len());
    let mut compared = 0;
    for file in scan.files.iter().filter(|file| !file.is_directory) {
        let address = address(volume, file.id).to_string();
        let theirs = tool("icat", &["-o", &sector.to_string(), image.to_str().unwrap(), &address]);
        let read = volume.read(file.id, u64::MAX).unwrap();
        assert!(read == theirs, "{} differs from what icat reads", file.path);
        assert_eq!(file.size, theirs.len() as u64);
        assert!(
            volume.read_again(file.id, u64::MAX).unwrap() == theirs,
            "{}, by the second reader",
            file.path
        );
        assert_eq!(volume.facts(file.id).unwrap().unwrap().path.as_str(), file.path.as_str());
        assert_eq!(find(volume, &file.path.as_str().to_uppercase()).id, file.id);
        compared += 1;
    }
    compared
}

#[test]
fn names_and_places_and_contents_are_those_that_others_read() {
    for kind in KINDS {
        let image = sample(kind);
        let volume = open(image);
        assert_eq!((volume.kind().bits(), volume.cluster_size()), (kind.0, kind.1));
        assert_eq!(volume.label().as_deref(), Some("PRACTICE"));
        assert!(
            !volume.is_dirty() && volume.state_in_words().is_empty() && !volume.is_truncated(),
            "{kind:?}"
        );
        assert_eq!(must_be_what_others_read(image, 0, &volume), 60 + 7, "{kind:?}");
        let told = tool_text("fsck.fat", &["-n", image.to_str().unwrap()]);
        assert!(!told.contains("Dirty") && !told.contains("share"), "{told}");
        let serial = tool_text("blkid", &["-p", "-o", "value", "-s", "UUID", image.to_str().unwrap()]);
        assert_eq!(
            format!("{:X}", volume.id(0).serial),
            serial.trim().replace('-', "").trim_start_matches('0')
        );
    }
}

#[test]
fn facts_of_single_files() {
    for kind in KINDS {
        let volume = open(sample(kind));
        let worm = find(&volume, "windows\\SYSTEM32\\MsBlast.EXE");
        assert_eq!(worm.path.as_str(), WORM);
        assert_eq!((worm.size, worm.initialised, &worm.storage), (6176, 6176, &Storage::Plain));
        assert_eq!((worm.short_name.as_deref(), worm.is_orphan, worm.paths.len()), (None, false, 1));
        assert_eq!(volume.read(worm.id, 6176).unwrap(), pattern(1000, 6176));
        assert!(volume.read(worm.id, 6175).unwrap_err().to_string().contains("6176"));
        let mut all = Vec::new();
        let take = &mut |piece: &[u8]| {
            all.extend_from_slice(piece);
            Ok(())
        };
        volume.read_pieces(find(&volume, HIVE).id, take).unwrap();
        assert_eq!(all, pattern(2000, 70_000));

        let long = find(&volume, "Dokumente und Einstellungen ÄÖÜ Ж\\alongn~1.txt");
        assert_eq!(long.short_name.as_deref(), Some("ALONGN~1.TXT"));
        assert_eq!(long.path.file_name(), "a long name.txt");
        let raw = volume.record_bytes(long.id).unwrap();
        assert_eq!(
            (raw.len(), &raw[64..75]),
            (96, &b"ALONGN~1TXT"[..]),
            "two entries of the long name, then its own"
        );
        assert!(raw[11] == 0x0f && raw[43] == 0x0f);
        let hidden = find(&volume, "in pieces");
        assert_eq!(hidden.attributes & 0x27, 0x26, "hidden, system, changed since the last backup");
        // mcopy gives a file the present time; within a day, for a wall clock in any time zone.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let [created, modified, record, accessed] = worm.times.map(|time| time / 10_000_000);
        for time in [created, modified, accessed] {
            assert!(time.abs_diff(now + 11_644_473_600) < 2 * 86_400, "{time}");
        }
        assert_eq!(record, 0);

        let empty = find(&volume, "WINDOWS\\system32\\empty.txt");
        assert_eq!((empty.size, empty.storage), (0, Storage::Resident));
        assert_eq!(volume.extents(empty.id).unwrap(), Extents::default());
        assert!(volume.find(&WinPath::new("WINDOWS\\no such")).unwrap().is_none());
        assert!(volume.find(&WinPath::new("in pieces\\below a file")).unwrap().is_none());
        assert!(volume.find(&WinPath::new("WINDOWS\\system32\\file003.dll")).unwrap().is_none(), "deleted");
        assert!(find(&volume, "").is_directory, "the root");
        assert!(volume.extents(find(&volume, "WINDOWS").id).unwrap_err().to_string().contains("directory"));

        let (entry, cluster) = parts(worm.id);
        for other in [
            FileId::Fat { entry, cluster: cluster + 1 },
            FileId::Fat { entry: entry + 1, cluster },
            FileId::Fat { entry: volume.table.geometry.place(cluster), cluster },
            FileId::Fat { entry: u64::MAX, cluster },
            FileId::Ntfs { record: 5, sequence: 5 },
        ] {
            assert!(volume.facts(other).unwrap().is_none(), "{other}");
            assert!(volume.read(other, 1 << 20).unwrap_err().to_string().contains("another file"));
        }
    }
}

#[test]
fn a_deleted_file_and_one_in_its_place_are_told_apart() {
    for kind in SMALL {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("volume.img");
        std::fs::copy(sample(kind), &image).unwrap();
        let worm = find(&open(&image), WORM);
        let name = image.to_str().unwrap();
        tool("mdel", &["-i", name, "::WINDOWS/system32/msblast.exe"]);
        assert!(open(&image).facts(worm.id).unwrap().is_none());
        let file = dir.path().join("another.txt");
        std::fs::write(&file, pattern(8, 5000)).unwrap();
        tool("mcopy", &["-i", name, file.to_str().unwrap(), "::WINDOWS/system32/ANOTHER.TXT"]);
        // FAT has no sequence number: the same entry and cluster, given out again, are told apart by name and size.
        let (volume, path) = (open(&image), "WINDOWS\\system32\\another.txt");
        let other = find(&volume, path);
        assert_eq!(volume.read(other.id, 5000).unwrap(), pattern(8, 5000));
        if let Some(facts) = volume.facts(worm.id).unwrap() {
            assert_eq!((facts.id, facts.path.file_name(), facts.size), (other.id, "ANOTHER.TXT", 5000));
        }
    }
}

#[test]
fn extents_are_where_the_bytes_lie() {
    let mut pieces = 0;
    for kind in KINDS {
        let volume = open(sample(kind));
        for path in ["in pieces", WORM, HIVE] {
            let file = find(&volume, path);
            let extents = volume.extents(file.id).unwrap();
            let content = volume.read(file.id, u64::MAX).unwrap();
            let mut raw = Vec::new();
            for piece in extents.sectors(0..extents.usable()).unwrap() {
                assert_eq!(extents.place(piece.file_offset, 512).unwrap(), piece.place);
                let mut bytes = vec![0; piece.length as usize];
                volume.table.device.read_at(piece.place, &mut bytes).unwrap();
                raw.extend_from_slice(&bytes);
            }
            assert_eq!(raw[..content.len()], content);
            assert_eq!(raw.len() as u64, file.size.next_multiple_of(512));
            assert_eq!(extents.allocated, file.size.next_multiple_of(kind.1));
            pieces = pieces.max(extents.runs.len());
        }
    }
    assert!(pieces > 5, "{pieces}: no file is in pieces");
}

#[test]
fn one_pass_reads_each_directory_once() {
    let bytes = std::fs::read(sample(KINDS[6])).unwrap();
    let memory = Memory::new(bytes);
    let volume = FatVolume::open(memory.clone()).unwrap();
    memory.reads.lock().unwrap().clear();
    let mut told = Vec::new();
    let scan = volume.scan(&mut |_| false, &mut |done, all| told.push((done, all))).unwrap();
    let (done, all) = *told.last().unwrap();
    assert_eq!((done, scan.files.len()), (all, 0));
    let reads = memory.reads.lock().unwrap();
    let in_data = reads.iter().filter(|read| read.0 >= volume.table.geometry.data);
    let mut places: Vec<u64> = in_data.map(|read| read.0).collect();
    let count = places.len();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), count, "a cluster of a directory was read twice");
    assert_eq!(count as u64 * 512, done);
    assert!(scan.records > 90 && reads.len() - count <= 9, "{} reads of the FAT", reads.len() - count);
}

#[test]
fn flags_are_said_in_words() {
    for kind in SMALL {
        let (bytes, volume) = in_memory(kind);
        let fat = volume.table.geometry.fat as usize;
        let flags = if kind.0 == 32 { 0x41 } else { 0x25 };
        let words = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            let volume = FatVolume::open(Memory::new(bytes)).unwrap();
            assert_eq!(scan_all(&volume).problem_count, 0, "still read");
            (volume.is_dirty(), volume.state_in_words().join("; "))
        };
        assert_eq!(words(&|bytes| bytes[flags] |= 1), (true, "the boot sector has it as dirty".to_owned()));
        assert!(words(&|bytes| bytes[flags] |= 2).1.contains("asks for a test"));
        let (top, clean, sound) = match kind.0 {
            16 => (fat + 3, 0x80, 0x40),
            _ => (fat + 7, 0x08, 0x04),
        };
        if kind.0 != 12 {
            let (dirty, told) = words(&|bytes| bytes[top] &= !clean);
            assert!(dirty && told.contains("not shut down cleanly"), "{told}");
            let (dirty, told) = words(&|bytes| bytes[top] &= !sound);
            assert!(dirty && told.contains("errors of the disk"), "{told}");
        }
        let second = fat + volume.table.geometry.fat_size as usize;
        let (_, told) = words(&|bytes| bytes[second + 1500] ^= 0x11);
        assert!(told.contains("its two FATs differ over 1 clusters, the first of them "), "{told}");
        assert!(told.contains(&(1500 * 8 / kind.0).to_string()), "{told}");
    }
}

#[test]
fn the_active_fat_of_fat32_is_honoured() {
    let (mut bytes, volume) = in_memory(KINDS[6]);
    let (fat, size) = (volume.table.geometry.fat as usize, volume.table.geometry.fat_size as usize);
    bytes[fat..fat + size].fill(0);
    assert!(scan_all(&FatVolume::open(Memory::new(bytes.clone())).unwrap()).problem_count > 0);
    bytes[40] = 0x81;
    let volume = FatVolume::open(Memory::new(bytes.clone())).unwrap();
    assert!(!volume.is_dirty() && volume.state_in_words().is_empty(), "{:?}", volume.state_in_words());
    let scan = scan_all(&volume);
    assert_eq!(scan.problem_count, 0, "{:?}", scan.problems);
    let worm = find(&volume, WORM);
    assert_eq!(volume.read(worm.id, 6176).unwrap(), pattern(1000, 6176));
    assert_eq!(volume.read_again(worm.id, 6176).unwrap(), pattern(1000, 6176));
    bytes[40] = 0x85;
    let words = FatVolume::open(Memory::new(bytes)).err().unwrap().to_string();
    assert!(words.contains("one of the 2 FATs"), "{words}");
}

#[test]
fn boot_sectors_that_contradict_themselves_are_told() {
    for kind in SMALL {
        let (bytes, _) = in_memory(kind);
        let told = |at: usize, with: &[u8]| {
            let mut bytes = bytes[..1 << 20].to_vec();
            bytes[at..at + with.len()].copy_from_slice(with);
            FatVolume::open(Memory::new(bytes)).err().map_or_else(String::new, |error| error.to_string())
        };
        assert!(told(0, &[0x33]).contains("expected a jump"));
        assert!(told(11, &[0, 1]).contains("512 to 4096 bytes in a sector, found 256"));
        assert!(told(13, &[3]).contains("a power of two"));
        assert!(told(14, &[0, 0]).contains("reserved"));
        assert!(told(16, &[3]).contains("1 or 2 FATs, found 3"));
        assert!(told(21, &[0x12]).contains("media descriptor"));
        assert_eq!(recognise(&*Memory::new(vec![7; 4096])).unwrap(), Recognised::Unknown);
    }
    // At these two numbers of clusters Windows and the specification disagree over what it is.
    let (mut bytes, volume) = in_memory(KINDS[2]);
    let sectors = volume.table.geometry.data / 512 + 4085;
    bytes[19..21].copy_from_slice(&(sectors as u16).to_le_bytes());
    let words = FatVolume::open(Memory::new(bytes)).err().unwrap().to_string();
    assert!(words.contains("FAT12 to Windows NT"), "{words}");
}

/// Bytes cut off behind the volume's middle: what is there is read, the rest is told.
#[test]
fn a_truncated_volume_is_said_to_be_one() {
    for kind in SMALL {
        let (bytes, _) = in_memory(kind);
        let volume = FatVolume::open(Memory::new(bytes[..bytes.len() / 2].to_vec())).unwrap();
        assert!(volume.is_truncated());
        assert_eq!(volume.read(find(&volume, WORM).id, 6176).unwrap(), pattern(1000, 6176));
    }
}

#[test]
fn the_volume_of_the_corpus() {
    for path in corpus_files().iter().filter(|path| path.ends_with("fat-parent.vhd")) {
        let window = Window::new(RawDevice::new(path).unwrap().open_read().unwrap(), 128 * 512, 6016 * 512);
        let recognised = recognise(&window).unwrap();
        assert_eq!(recognised, Recognised::Fat { kind: FatKind::Fat12 });
        let window = Arc::new(window);
        assert!(must_be_what_others_read(path, 128, &FatVolume::open(window.clone()).unwrap()) > 0);
        assert!(!open_volume(window, recognised).unwrap().is_dirty());
    }
}

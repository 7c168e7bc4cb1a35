//! The NTFS readers against volumes that mkntfs and ntfs-3g made, judged by ntfscat and The Sleuth Kit.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::bytes::{u16_at, u32_at, u64_at};
use super::testing::{Memory, corpus, corpus_files, mkntfs, mounted, tool, tool_text};
use super::*;
use crate::change::FileId;
use crate::path::WinPath;

mod device;
mod judged;

const CLUSTERS: [u64; 3] = [512, 4096, 65536];

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

/// One filled volume for each cluster size, shared by all tests that do not change it.
fn sample(cluster: u64) -> &'static Path {
    static SAMPLES: [OnceLock<Sample>; 3] = [const { OnceLock::new() }; 3];
    let index = CLUSTERS.iter().position(|&size| size == cluster).unwrap();
    &SAMPLES[index].get_or_init(|| make_sample(cluster)).image
}

fn make_sample(cluster: u64) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("volume.img");
    mkntfs(&image, if cluster == 65536 { 128 << 20 } else { 32 << 20 }, cluster);
    mounted(&image, |root| {
        let system32 = root.join("WINDOWS/system32");
        std::fs::create_dir_all(system32.join("config")).unwrap();
        for i in 0..150 {
            std::fs::write(system32.join(format!("file{i:03}.dll")), pattern(i, 40 * i as usize)).unwrap();
        }
        for i in (0..150).step_by(3) {
            std::fs::remove_file(system32.join(format!("file{i:03}.dll"))).unwrap();
        }
        std::fs::write(system32.join("msblast.exe"), pattern(1000, 6176)).unwrap();
        std::fs::write(system32.join("empty.txt"), b"").unwrap();
        std::fs::write(system32.join("msblast.exe:Zone.Identifier"), b"[ZoneTransfer]").unwrap();
        let long = root.join("Dokumente und Einstellungen ÄÖÜ Ж");
        std::fs::create_dir(&long).unwrap();
        std::fs::write(long.join("a long name.txt"), b"resident").unwrap();
        let dos = c"LONGNA~1.TXT".to_bytes();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(long.join("a long name.txt"), "system.ntfs_dos_name", dos, flags).unwrap();
        // Two files that grow by turns lie in pieces. Closed after each turn: ntfs-3g gives back at the close what it
        // allocated ahead.
        let append = |name: &str, bytes: &[u8]| {
            let mut file =
                std::fs::OpenOptions::new().create(true).append(true).open(root.join(name)).unwrap();
            file.write_all(bytes).unwrap();
        };
        for i in 0..12 {
            append("few-a", &pattern(i, cluster.max(4096) as usize));
            append("few-b", &pattern(i + 5000, cluster.max(4096) as usize));
        }
        append("few-a", b"a tail that is no whole sector");
        // So many streams that the unnamed one no longer fits in the base record.
        for i in 0..80 {
            append(&format!("many:stream{i}"), &pattern(i, 300));
        }
        append("many", &pattern(7, 6176));
        std::fs::write(root.join("linked"), pattern(3, 5000)).unwrap();
        for i in 0..14 {
            let name = format!("another name of the same file, and a long one, number {i}");
            std::fs::hard_link(root.join("linked"), root.join(name)).unwrap();
        }
        let sparse = std::fs::File::create(root.join("sparse")).unwrap();
        sparse.write_all_at(b"end", 2 << 20).unwrap();
        // 4 KiB clusters are the largest that NTFS compresses.
        if cluster <= 4096 {
            let folder = root.join("compressed");
            std::fs::create_dir(&folder).unwrap();
            rustix::fs::setxattr(&folder, "system.ntfs_attrib", &0x810u32.to_le_bytes(), flags).unwrap();
            std::fs::write(folder.join("text"), "all the same ".repeat(20_000)).unwrap();
        }
    });
    Sample { image, _dir: dir }
}

fn open(image: &Path) -> NtfsVolume {
    NtfsVolume::open(RawDevice::new(image).unwrap().open_read().unwrap()).unwrap()
}

fn in_memory(image: &Path) -> (Arc<Memory>, NtfsVolume) {
    let memory = Memory::new(std::fs::read(image).unwrap());
    let volume = NtfsVolume::open(memory.clone()).unwrap();
    (memory, volume)
}

fn scan_all(volume: &NtfsVolume) -> Scan {
    volume.scan(&mut |_| true, &mut |_, _| {}).unwrap()
}

fn find(volume: &NtfsVolume, path: &str) -> FileFacts {
    volume.find(&WinPath::new(path)).unwrap().unwrap_or_else(|| panic!("{path} is not there"))
}

fn number(id: FileId) -> u64 {
    let FileId::Ntfs { record, .. } = id else { panic!("no NTFS file") };
    record
}

/// What fls lists as allocated: paths and MFT records, streams left out.
fn listed_by_fls(image: &Path, sector: u64) -> Vec<(String, u64)> {
    let text = tool_text("fls", &["-r", "-p", "-u", "-o", &sector.to_string(), image.to_str().unwrap()]);
    let mut names = Vec::new();
    for line in text.lines() {
        let (head, path) = line.split_once(":\t").unwrap();
        let address = head.rsplit(' ').next().unwrap();
        let mut parts = address.split('-');
        let record: u64 = parts.next().unwrap().parse().unwrap();
        let is_stream =
            path.rsplit('/').next().unwrap().contains(':') || !matches!(parts.next(), Some("128" | "144"));
        if !head.starts_with("V/V") && !is_stream && is_compared(path, record) {
            names.push((path.replace('/', "\\"), record));
        }
    }
    names.sort();
    names
}

/// The Sleuth Kit lists files without an unnamed $DATA or $I30 by their other streams alone; a colon in a name (there
/// is one in the corpus) reads like a stream in its list.
fn is_compared(path: &str, record: u64) -> bool {
    record != 9 && !path.contains(':') && !path.starts_with("$Extend/") && !path.starts_with("$Extend\\")
}

fn listed_by_us(scan: &Scan) -> Vec<(String, u64)> {
    let files = scan.files.iter().filter(|file| !file.is_orphan && !file.path.as_str().is_empty());
    let mut names: Vec<_> = files
        .flat_map(|file| file.paths.iter().map(|path| (path.as_str().to_owned(), number(file.id))))
        .collect();
    names.retain(|(path, record)| is_compared(path, *record));
    names.sort();
    names
}

#[test]
fn names_and_sizes_and_contents_are_those_that_others_read() {
    for cluster in CLUSTERS {
        let image = sample(cluster);
        let volume = open(image);
        assert_eq!(volume.cluster_size(), cluster);
        assert_eq!((volume.version(), volume.label(), volume.is_dirty()), ((3, 1), Some("Täst"), false));
        let scan = scan_all(&volume);
        assert_eq!(scan.problem_count, 0, "{:?}", scan.problems);
        assert_eq!(listed_by_us(&scan), listed_by_fls(image, 0), "clusters of {cluster}");
        let mut compared = 0;
        for file in &scan.files {
            if file.is_directory || number(file.id) < 27 {
                continue;
            }
            let theirs =
                tool("ntfscat", &["-f", "-i", &number(file.id).to_string(), image.to_str().unwrap()]);
            let ours = volume.read(file.id, u64::MAX).unwrap();
            assert!(ours == theirs, "{} differs from what ntfscat reads", file.path);
            assert_eq!(file.size, theirs.len() as u64);
            compared += 1;
        }
        assert!(compared > 100, "{compared}");
    }
}

#[test]
fn facts_of_single_files() {
    for cluster in CLUSTERS {
        let volume = open(sample(cluster));
        let worm = find(&volume, "windows\\SYSTEM32\\MsBlast.EXE");
        assert_eq!(worm.path.as_str(), "WINDOWS\\system32\\msblast.exe");
        assert_eq!((worm.size, worm.initialised, &worm.storage), (6176, 6176, &Storage::Plain));
        assert_eq!(worm.streams, ["Zone.Identifier"]);
        assert!(worm.times.iter().all(|&time| time > 125_000_000_000_000_000), "{:?}", worm.times);
        assert_eq!(volume.read(worm.id, 6176).unwrap(), pattern(1000, 6176));
        assert!(volume.read(worm.id, 6175).unwrap_err().to_string().contains("6176"));

        let long = find(&volume, "Dokumente und Einstellungen ÄÖÜ Ж\\longna~1.txt");
        assert_eq!(long.short_name.as_deref(), Some("LONGNA~1.TXT"));
        assert_eq!(long.path.file_name(), "a long name.txt");
        assert_eq!((long.paths.len(), long.storage), (1, Storage::Resident));
        let words = volume.extents(long.id).unwrap_err().to_string();
        assert!(words.contains("resident"), "{words}");

        let linked = find(&volume, "linked");
        assert_eq!(linked.paths.len(), 15, "names of hard links in extension records");
        let sparse = find(&volume, "sparse");
        assert!(volume.read(sparse.id, 4 << 20).unwrap().ends_with(b"\0end"));

        let many = find(&volume, "many");
        assert!(
            matches!(many.storage, Storage::AttributeList(_)),
            "{:?}, clusters of {cluster}",
            many.storage
        );
        assert_eq!((many.streams.len(), many.size), (80, 6176));
        assert_eq!(volume.read(many.id, 6176).unwrap(), pattern(7, 6176));
        let extents = volume.extents(many.id).unwrap();
        assert_eq!(extents.size, 6176, "runs of extension records are followed");
        if cluster <= 4096 {
            let file = find(&volume, "compressed\\text");
            assert_eq!(file.storage, Storage::Compressed);
            assert_eq!(volume.read(file.id, 1 << 20).unwrap(), "all the same ".repeat(20_000).as_bytes());
            let words = volume.extents(file.id).unwrap_err().to_string();
            assert!(words.contains("compressed"), "{words}");
            assert!(volume.allocation(file.id).unwrap().allocated < file.size / 2);
        }
        assert!(volume.find(&WinPath::new("WINDOWS\\no such")).unwrap().is_none());
        assert!(volume.find(&WinPath::new("linked\\below a file")).unwrap().is_none());
        let FileId::Ntfs { record, sequence } = worm.id else { panic!("no NTFS file") };
        let other = FileId::Ntfs { record, sequence: sequence + 1 };
        assert!(volume.facts(other).unwrap().is_none());
        assert!(volume.read(other, 1 << 20).unwrap_err().to_string().contains("another file"));
        assert!(volume.facts(FileId::Ntfs { record: 1 << 40, sequence: 1 }).unwrap().is_none());
        let raw = volume.record_bytes(worm.id).unwrap();
        assert!(raw.len() == 1024 && raw.starts_with(b"FILE"));
    }
}

#[test]
fn extents_are_where_the_bytes_lie() {
    for cluster in CLUSTERS {
        let (memory, volume) = in_memory(sample(cluster));
        for path in ["few-a", "WINDOWS\\system32\\msblast.exe"] {
            let file = find(&volume, path);
            let extents = volume.extents(file.id).unwrap();
            let content = volume.read(file.id, u64::MAX).unwrap();
            let mut raw = Vec::new();
            for piece in extents.sectors(0..extents.usable()).unwrap() {
                assert_eq!(extents.place(piece.file_offset, 512).unwrap(), piece.place);
                raw.extend_from_slice(
                    &memory.bytes[piece.place as usize..(piece.place + piece.length) as usize],
                );
            }
            assert_eq!(raw[..content.len()], content);
            assert_eq!(raw.len() as u64, file.size.next_multiple_of(512));
        }
        let runs = volume.extents(find(&volume, "few-a").id).unwrap().runs.len();
        // With clusters of 512 bytes ntfs-3g leaves so much room behind each file that nothing comes in pieces.
        assert!(runs >= 5 || cluster == 512, "{runs} runs: not fragmented, clusters of {cluster}");
    }
}

#[test]
fn the_scan_reads_little_more_than_the_mft_in_few_calls() {
    let (memory, volume) = in_memory(sample(4096));
    memory.reads.lock().unwrap().clear();
    let mut told = Vec::new();
    let scan = volume
        .scan(&mut |file| file.names.iter().any(|name| name.name == "msblast.exe"), &mut |done, all| {
            told.push((done, all));
        })
        .unwrap();
    assert_eq!(scan.files.len(), 1);
    let (done, all) = *told.last().unwrap();
    assert_eq!(done, all);
    assert_eq!(scan.records, all / 1024);
    let reads = memory.reads.lock().unwrap();
    let large: u64 = reads.iter().filter(|read| read.1 > 1024).map(|read| read.1 as u64).sum();
    // Beside the MFT, one long attribute list.
    assert!((all..all + 4096).contains(&large), "{large} bytes of {all}");
    assert!(reads.iter().filter(|read| read.1 > 1024).count() <= 6, "{reads:?}");
    // Single records: those of attribute lists (the sample has some 60), and each directory of the path once.
    assert!(reads.len() < 120, "{} reads", reads.len());
}

#[test]
fn damaged_records_are_counted_and_said() {
    let (memory, volume) = in_memory(sample(4096));
    let victims = ["file001.dll", "file002.dll", "file004.dll"];
    let ids = victims.map(|name| find(&volume, &format!("WINDOWS\\system32\\{name}")).id);
    let mut bytes = memory.bytes.clone();
    let place = |id| {
        let raw = volume.record_bytes(id).unwrap();
        bytes_of(&memory.bytes, &raw)
    };
    let places = ids.map(place);
    bytes[places[0] + 1022] ^= 0xff;
    bytes[places[1]..places[1] + 4].copy_from_slice(b"BAAD");
    bytes[places[2]..places[2] + 1024].fill(0);
    let damaged = NtfsVolume::open(Memory::new(bytes)).unwrap();
    let scan = scan_all(&damaged);
    assert_eq!((scan.problem_count, scan.problems.len()), (3, 3));
    let words: Vec<String> = scan.problems.iter().map(ToString::to_string).collect();
    assert!(words.iter().any(|text| text.contains("written in part only")), "{words:?}");
    assert!(words.iter().any(|text| text.contains("BAAD")), "{words:?}");
    assert!(words.iter().any(|text| text.contains("zeros, though $MFT has it in use")), "{words:?}");
    assert!(damaged.facts(ids[0]).is_err());
    let rest = scan_all(&volume).files.len() - 3;
    assert_eq!(scan.files.len(), rest);
}

/// Where in `all` the MFT record `raw` stands.
fn bytes_of(all: &[u8], raw: &[u8]) -> usize {
    all.chunks_exact(512).position(|sector| sector == &raw[..512]).unwrap() * 512
}

#[test]
fn a_file_whose_folder_is_no_more_is_an_orphan() {
    let (memory, volume) = in_memory(sample(4096));
    let folder = find(&volume, "WINDOWS");
    let at = bytes_of(&memory.bytes, &volume.record_bytes(folder.id).unwrap());
    let mut bytes = memory.bytes.clone();
    bytes[at + 0x10] += 1;
    let scan = scan_all(&NtfsVolume::open(Memory::new(bytes)).unwrap());
    let worm = scan.files.iter().find(|file| file.path.file_name() == "msblast.exe").unwrap();
    assert!(worm.is_orphan);
    assert_eq!(worm.path.as_str(), "$Orphan\\system32\\msblast.exe");
    // The folder's own path, made a loop: it ends, in words.
    let mut bytes = memory.bytes.clone();
    patch_attribute(&mut bytes[at..at + 1024], 0x30, |attribute| {
        let value = u16_at(attribute, 20).unwrap() as usize;
        let itself = u64::from(sequence_of(folder.id)) << 48 | number(folder.id);
        attribute[value..value + 8].copy_from_slice(&itself.to_le_bytes());
    });
    let scan = scan_all(&NtfsVolume::open(Memory::new(bytes)).unwrap());
    let worm = scan.files.iter().find(|file| file.path.file_name() == "msblast.exe").unwrap();
    assert_eq!((worm.path.as_str(), worm.is_orphan), ("$Orphan\\msblast.exe", true));
}

fn sequence_of(id: FileId) -> u16 {
    let FileId::Ntfs { sequence, .. } = id else { panic!("no NTFS file") };
    sequence
}

/// Changes the first attribute of a type in a record, its fix-ups taken out and put in again.
fn patch_attribute(record: &mut [u8], kind: u32, change: impl FnOnce(&mut [u8])) {
    let array = u16_at(record, 4).unwrap() as usize;
    for i in 1..3 {
        let (end, kept) = (i * 512 - 2, array + i * 2);
        record.copy_within(kept..kept + 2, end);
    }
    let mut at = u16_at(record, 0x14).unwrap() as usize;
    while u32_at(record, at).unwrap() != kind {
        assert!(
            u32_at(record, at + 4).unwrap() >= 0x18,
            "no attribute {kind:#x} up to {at:#x}: {record:02x?}"
        );
        at += u32_at(record, at + 4).unwrap() as usize;
    }
    let length = u32_at(record, at + 4).unwrap() as usize;
    change(&mut record[at..at + length]);
    for i in 1..3 {
        let (end, kept) = (i * 512 - 2, array + i * 2);
        record.copy_within(end..end + 2, kept);
        record.copy_within(array..array + 2, end);
    }
}

fn places(volume: &NtfsVolume, id: FileId) -> Vec<(FileId, std::ops::Range<u64>)> {
    let extents = volume.extents(id).unwrap();
    extents.sectors(0..extents.usable()).unwrap().map(|run| (id, run.place..run.place + run.length)).collect()
}

#[test]
fn the_proof_is_green_on_sound_volumes_and_names_the_other_owner() {
    for cluster in CLUSTERS {
        let (memory, volume) = in_memory(sample(cluster));
        let worm = find(&volume, "WINDOWS\\system32\\msblast.exe");
        let other = find(&volume, "WINDOWS\\system32\\file149.dll");
        let few = find(&volume, "few-a");
        let plan = [places(&volume, worm.id), places(&volume, few.id)].concat();
        let prove = |volume: &NtfsVolume, plan: &[_]| volume.prove_unshared(plan, &mut |_, _| {});
        prove(&volume, &plan).unwrap();
        prove(&volume, &[]).unwrap();

        // A place that is another file's.
        let words = prove(&volume, &[(worm.id, plan.last().unwrap().1.clone())]).unwrap_err().to_string();
        assert!(words.contains("\\few-a uses it too"), "{words}");
        // A place that is nobody's: far behind all files.
        let free = volume.size() / cluster * cluster - 4 * cluster;
        let words = prove(&volume, &[(worm.id, free..free + 512)]).unwrap_err().to_string();
        assert!(words.contains("the file does not use it"), "{words}");
        // Of $MFT, named.
        let mft = bytes_of(&memory.bytes, &volume.record_bytes(worm.id).unwrap()) as u64;
        let words = prove(&volume, &[(worm.id, mft..mft + 512)]).unwrap_err().to_string();
        assert!(words.contains("\\$MFT uses it too"), "{words}");

        // Two records made to share a cluster: the other's data runs become the worm's.
        let first = volume.extents(worm.id).unwrap().runs[0];
        let record = bytes_of(&memory.bytes, &volume.record_bytes(other.id).unwrap());
        let mut bytes = memory.bytes.clone();
        patch_attribute(&mut bytes[record..record + 1024], 0x80, |attribute| {
            assert_eq!(attribute[8], 1, "not resident");
            let pairs = u16_at(attribute, 32).unwrap() as usize;
            let clusters = u64_at(attribute, 24).unwrap() as u8 + 1;
            let lcn = (first.place / cluster) as u32;
            let mut runs = vec![0x41, clusters];
            runs.extend_from_slice(&lcn.to_le_bytes());
            runs.push(0);
            attribute[pairs..pairs + runs.len()].copy_from_slice(&runs);
        });
        let shared = NtfsVolume::open(Memory::new(bytes)).unwrap();
        let words = prove(&shared, &plan).unwrap_err().to_string();
        assert!(words.contains("\\WINDOWS\\system32\\file149.dll uses it too"), "{words}");
        assert!(words.contains("\\WINDOWS\\system32\\msblast.exe"), "{words}");
        assert!(words.contains(&format!("offset {:#x}", first.place)), "{words}");

        // $Bitmap has it free.
        let bitmap = volume.extents(FileId::Ntfs { record: 6, sequence: 6 }).unwrap();
        let lcn = first.place / cluster;
        let mut bytes = memory.bytes.clone();
        bytes[(bitmap.place(lcn / 8 / 512 * 512, 512).unwrap() + lcn / 8 % 512) as usize] &=
            !(1 << (lcn % 8));
        let freed = NtfsVolume::open(Memory::new(bytes)).unwrap();
        let words = prove(&freed, &plan).unwrap_err().to_string();
        assert!(words.contains("$Bitmap has it as free"), "{words}");

        // A record that cannot be read may claim anything.
        let mut bytes = memory.bytes.clone();
        bytes[record + 510] ^= 1;
        let torn = NtfsVolume::open(Memory::new(bytes)).unwrap();
        let words = prove(&torn, &plan).unwrap_err().to_string();
        assert!(words.contains("may claim any of them") && words.contains("chkdsk"), "{words}");
    }
}

#[test]
fn behind_the_initialised_size_there_are_zeros() {
    let (memory, volume) = in_memory(sample(4096));
    let file = find(&volume, "WINDOWS\\system32\\msblast.exe");
    let at = bytes_of(&memory.bytes, &volume.record_bytes(file.id).unwrap());
    let mut bytes = memory.bytes.clone();
    patch_attribute(&mut bytes[at..at + 1024], 0x80, |attribute| {
        attribute[56..64].copy_from_slice(&1000u64.to_le_bytes());
    });
    let volume = NtfsVolume::open(Memory::new(bytes)).unwrap();
    let content = volume.read(file.id, 1 << 20).unwrap();
    assert_eq!(content[..1000], pattern(1000, 1000));
    assert!(content.len() == 6176 && content[1000..].iter().all(|&byte| byte == 0));
    let extents = volume.extents(file.id).unwrap();
    assert_eq!(extents.usable(), 1024);
    assert!(extents.place(1024, 512).is_err());
}

#[test]
fn every_volume_of_the_corpus_is_read_or_refused_in_words() {
    let golden = BTreeMap::from([
        ("testfs1", 0),
        ("ntfs.raw", 0),
        ("7-ntfs-undel.dd", 0),
        ("ntfs-fixed.vhd", 128),
        ("ntfs_img.dd", 63),
    ]);
    for path in corpus_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(&sector) = golden.get(name) else { continue };
        let device = RawDevice::new(&path).unwrap().open_read().unwrap();
        let window = Arc::new(Window::new(device, sector * 512, u64::MAX));
        assert_eq!(recognise(window.as_ref()).unwrap(), Recognised::Ntfs, "{name}");
        let volume = NtfsVolume::open(window).unwrap();
        let scan = scan_all(&volume);
        assert_eq!(scan.problem_count, 0, "{name}: {:?}", scan.problems);
        assert_eq!(listed_by_us(&scan), listed_by_fls(&path, sector), "{name}");
        for file in scan.files.iter().filter(|file| file.storage == Storage::Plain && file.initialised > 0) {
            // $Boot and $BadClus are no plain data; all else is.
            if let Ok(extents) = volume.extents(file.id) {
                let plan: Vec<_> =
                    extents.runs.iter().map(|run| (file.id, run.place..run.place + run.length)).collect();
                volume
                    .prove_unshared(&plan, &mut |_, _| {})
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
    if let Some(corpus) = corpus() {
        let undel =
            corpus.join("sleuthkit+sleuthkit_test_data/from_brian/7-undel-ntfs/7-undel-ntfs/7-ntfs-undel.dd");
        assert_eq!(open(&undel).cluster_size(), 1024);
    }
}

/// Bytes changed at random, thousands of times: words or an answer, never a panic, and never for long.
#[test]
fn damage_anywhere_in_the_metadata_is_survived() {
    let image = sample(512);
    let (memory, volume) = in_memory(image);
    let worm = find(&volume, "WINDOWS\\system32\\msblast.exe");
    let record = bytes_of(&memory.bytes, &volume.record_bytes(worm.id).unwrap());
    let mft = u64_at(&memory.bytes, 48).unwrap() as usize * 512;
    let mut noise = pattern(77, 1 << 16).into_iter();
    let mut random = |limit: usize| {
        let bytes = [noise.next().unwrap(), noise.next().unwrap(), noise.next().unwrap()];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) as usize % limit
    };
    for round in 0..150 {
        let mut bytes = memory.bytes.clone();
        for _ in 0..4 {
            let at = match round % 3 {
                0 => record + random(510),
                1 => mft + random(6 * 1024),
                _ => random(84),
            };
            bytes[at] = random(256) as u8;
        }
        let Ok(volume) = NtfsVolume::open(Memory::new(bytes)) else { continue };
        let _ = volume.scan(&mut |_| true, &mut |_, _| {});
        let _ = volume.find(&worm.path);
        let _ = volume.extents(worm.id);
        let _ = volume.read(worm.id, 1 << 20);
        let _ = volume.prove_unshared(&[(worm.id, 0..4096)], &mut |_, _| {});
    }
}

/// The `ntfs` crate, which shares no code with ours, finds the same records by the same paths.
#[test]
fn a_second_reader_agrees() {
    use ::ntfs::indexes::NtfsFileNameIndex;
    for cluster in [512, 4096] {
        let mut stream = std::io::BufReader::new(std::fs::File::open(sample(cluster)).unwrap());
        let mut theirs = ::ntfs::Ntfs::new(&mut stream).unwrap();
        theirs.read_upcase_table(&mut stream).unwrap();
        let ours = open(sample(cluster));
        assert_eq!(theirs.serial_number(), ours.serial());
        assert_eq!(theirs.size(), ours.size());
        let files = scan_all(&ours).files;
        for file in files.iter().filter(|file| !file.is_orphan && number(file.id) >= 27) {
            for path in &file.paths {
                let mut at = theirs.root_directory(&mut stream).unwrap();
                for part in path.parts() {
                    let index = at.directory_index(&mut stream).unwrap();
                    let mut finder = index.finder();
                    let entry =
                        NtfsFileNameIndex::find(&mut finder, &theirs, &mut stream, &part.to_uppercase());
                    at = entry.unwrap().unwrap().to_file(&theirs, &mut stream).unwrap();
                }
                assert_eq!(
                    (at.file_record_number(), at.sequence_number()),
                    (number(file.id), sequence_of(file.id))
                );
                assert_eq!(find(&ours, &path.as_str().to_uppercase()).id, file.id);
            }
        }
    }
}

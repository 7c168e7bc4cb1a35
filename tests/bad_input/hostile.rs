//! Volumes and hives made to keep a reader busy for ever or to fill its memory: loops in folders and lists, counts beyond all
//! measure, trees without end, lengths that lie. Each ends, in words, within what it may read. docs/fuzzing.md has the bounds.

use std::sync::Arc;

use deblast::hive::Hive;
use deblast::hive::check::survey;
use deblast::hive::tree::actual_tree;
use deblast::path::{RegPath, WinPath};
use deblast::volume::{FileSystem, Recognised, Scan, open_volume};

use crate::properties::volume::{Counting, with_fix_ups};
use crate::properties::{base, hive as hives, number, put, seeds};
use crate::skip::skip;

/// Types of attributes.
const LIST: u32 = 0x20;
const FILE_NAME: u32 = 0x30;
const DATA: u32 = 0x80;

/// The volume of NTFS, to be changed byte by byte.
struct Ntfs {
    bytes: Vec<u8>,
}

impl Ntfs {
    #[track_caller]
    fn new() -> Option<Self> {
        let base = base::ntfs().filter(|base| base.places.len() > 60);
        if base.is_none() {
            skip("a full volume of NTFS cannot be made here");
        }
        Some(Self { bytes: base?.bytes.clone() })
    }

    fn word(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    /// Where attributes of a type begin in the record at a place.
    fn attributes(&self, record: usize, kind: u32) -> Vec<usize> {
        let mut at = record + self.word(record + 0x14);
        let mut found = Vec::new();
        while number(&self.bytes, at) != u32::MAX && at < record + 1024 {
            if number(&self.bytes, at) == kind {
                found.push(at);
            }
            at += number(&self.bytes, at + 4).max(8) as usize;
        }
        found
    }

    /// The place of the record with this name.
    #[track_caller]
    fn record(&self, name: &str) -> usize {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let records = &base::ntfs().unwrap().places[1..];
        let named = |record: &usize| {
            self.attributes(*record, FILE_NAME).iter().any(|at| {
                let value = at + self.word(at + 20);
                usize::from(self.bytes[value + 0x40]) == name.encode_utf16().count()
                    && self.bytes[value + 0x42..].starts_with(&units)
            })
        };
        let is_file = |record: &usize| self.bytes[*record..].starts_with(b"FILE");
        let named = records.iter().map(|(at, _)| *at).filter(is_file).find(named);
        let found = named.unwrap_or_else(|| panic!("no {name}"));
        // The name may stand in an extension record.
        match number(&self.bytes, found + 0x20) {
            0 => found,
            base => records
                .iter()
                .map(|(at, _)| *at)
                .find(|at| is_file(at) && number(&self.bytes, at + 0x2c) == base)
                .unwrap_or_else(|| panic!("no base record {base}")),
        }
    }

    /// Number and sequence number as a reference holds them.
    fn reference(&self, record: usize) -> [u8; 8] {
        let mut reference = [0; 8];
        reference[..4].copy_from_slice(&self.bytes[record + 0x2c..record + 0x30]);
        reference[6..].copy_from_slice(&self.bytes[record + 0x10..record + 0x12]);
        reference
    }

    /// Where each byte of the list of attributes of a record lies.
    #[track_caller]
    fn list(&self, record: usize) -> Vec<usize> {
        let list = self.attributes(record, LIST)[0];
        if self.bytes[list + 8] == 0 {
            let (from, length) = (list + self.word(list + 20), number(&self.bytes, list + 16) as usize);
            return (from..from + length).collect();
        }
        let little = |at: usize, length: usize| {
            let bytes = &self.bytes[at..at + length];
            let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
            bytes.iter().rev().fold(sign, |sum: i64, byte| sum << 8 | i64::from(*byte))
        };
        let (mut at, mut lcn, mut places) = (list + self.word(list + 32), 0, Vec::new());
        while self.bytes[at] != 0 {
            let (counts, offsets) = (usize::from(self.bytes[at] & 15), usize::from(self.bytes[at] >> 4));
            lcn += little(at + 1 + counts, offsets);
            let start = usize::try_from(lcn).unwrap() * 512;
            places.extend(start..start + usize::try_from(little(at + 1, counts)).unwrap() * 512);
            at += 1 + counts + offsets;
        }
        places.truncate(number(&self.bytes, list + 48) as usize);
        places
    }

    /// Gives an attribute one run over so many clusters, and its sizes to match; `lcn` none is a hole.
    fn give_run(&mut self, at: usize, clusters: u64, lcn: Option<u8>) {
        let pairs = at + self.word(at + 32);
        let count = &clusters.to_le_bytes()[..5];
        let head = if lcn.is_some() { 0x15 } else { 0x05 };
        put(&mut self.bytes, pairs, &[&[head], count, lcn.as_slice(), &[0]].concat());
        put(&mut self.bytes, at + 16, &0_u64.to_le_bytes());
        put(&mut self.bytes, at + 24, &(clusters - 1).to_le_bytes());
        for field in [40, 48, 56] {
            put(&mut self.bytes, at + field, &(clusters * 512).to_le_bytes());
        }
    }

    /// A boot sector that tells of so many sectors.
    fn claim(&mut self, sectors: u64) {
        put(&mut self.bytes, 40, &sectors.to_le_bytes());
    }

    fn open(mut self) -> (Arc<Counting>, deblast::error::Result<Box<dyn FileSystem>>) {
        with_fix_ups(base::ntfs().unwrap(), &mut self.bytes);
        let device = Counting::new(self.bytes);
        (device.clone(), open_volume(device, Recognised::Ntfs))
    }
}

/// Scans all of it, within one pass and what the folders on the way up take.
#[track_caller]
fn scanned(device: &Counting, volume: &dyn FileSystem) -> Scan {
    use deblast::volume::ReadAt as _;
    device.taken();
    let scan = volume.scan(&mut |_| true, &mut |_, _| {}).unwrap();
    let taken = device.taken();
    assert!(taken <= 4 * device.size(), "{taken} bytes read of a volume of {}", device.size());
    scan
}

#[track_caller]
fn file<'a>(scan: &'a Scan, name: &str) -> &'a deblast::volume::FileFacts {
    scan.files.iter().find(|file| file.path.file_name() == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn folders_that_lie_in_each_other_end() {
    let Some(mut ntfs) = Ntfs::new() else { return };
    let (above, below) = (ntfs.record("WINDOWS"), ntfs.record("system32"));
    let reference = ntfs.reference(below);
    for at in ntfs.attributes(above, FILE_NAME) {
        let value = at + ntfs.word(at + 20);
        put(&mut ntfs.bytes, value, &reference);
    }
    let (device, volume) = ntfs.open();
    let scan = scanned(&device, volume.unwrap().as_ref());
    let worm = file(&scan, "msblast.exe");
    assert!(worm.is_orphan && worm.path.as_str().len() < 100, "one round says as much as all: {}", worm.path);
}

#[test]
fn a_list_of_attributes_that_names_itself_or_one_record_for_ever_ends() {
    for (which, words) in [("itself", ""), ("the folder", "as an extension of this one")] {
        let Some(mut ntfs) = Ntfs::new() else { return };
        let record = ntfs.record("many");
        let reference = ntfs.reference(if which == "itself" { record } else { ntfs.record("WINDOWS") });
        let list = ntfs.list(record);
        let (mut at, mut entries) = (0, 0);
        while at < list.len() {
            let length = usize::from(ntfs.bytes[list[at + 4]]);
            assert!(length >= 0x1a, "an entry of {length} bytes");
            for (place, byte) in list[at + 16..].iter().zip(reference) {
                ntfs.bytes[*place] = byte;
            }
            at += length;
            entries += 1;
        }
        assert!(entries > 3, "{entries} entries");
        let (device, volume) = ntfs.open();
        let scan = scanned(&device, volume.unwrap().as_ref());
        let told: Vec<String> = scan.problems.iter().map(ToString::to_string).collect();
        match words {
            "" => assert!(told.is_empty(), "{told:?}"),
            words => assert!(told.len() == 1 && told[0].contains(words), "{told:?}"),
        }
    }
}

/// Entries of a list that have no length would never end.
#[test]
fn entries_without_a_length_end_a_list_and_an_index() {
    let Some(mut ntfs) = Ntfs::new() else { return };
    let record = ntfs.record("many");
    let list = ntfs.list(record);
    for place in &list[4..6] {
        ntfs.bytes[*place] = 0;
    }
    let blocks: Vec<usize> = base::ntfs()
        .unwrap()
        .places
        .iter()
        .map(|(at, _)| *at)
        .filter(|at| ntfs.bytes[*at..].starts_with(b"INDX"))
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let first = block + 0x18 + number(&ntfs.bytes, block + 0x18) as usize;
        put(&mut ntfs.bytes, first + 8, &[0, 0]);
    }
    let (device, volume) = ntfs.open();
    let volume = volume.unwrap();
    let scan = scanned(&device, volume.as_ref());
    assert!(scan.problems.iter().any(|told| told.to_string().contains("an entry of 26 bytes or more")));
    let found = volume.find(&WinPath::new("WINDOWS\\system32\\msblast.exe"));
    let words = found.unwrap_err().to_string();
    assert!(words.contains("a damaged block"), "{words}");
}

/// 2^39 clusters of MFT: inside a volume whose boot sector tells of as many, and of one that does not.
#[test]
fn a_file_table_larger_than_the_disk_is_refused() {
    for (claimed, words) in [
        (1_u64 << 52, "expected an MFT inside the 2097152 bytes that there are"),
        (0, "runs inside the volume"),
    ] {
        let Some(mut ntfs) = Ntfs::new() else { return };
        let mft = number(&ntfs.bytes, 48);
        let record = mft as usize * 512;
        let data = ntfs.attributes(record, DATA)[0];
        ntfs.give_run(data, (1 << 39) - 1, Some(u8::try_from(mft).unwrap()));
        if claimed != 0 {
            ntfs.claim(claimed);
        }
        let (device, volume) = ntfs.open();
        let error = volume.err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
        assert!(device.taken() < 1 << 20);
    }
}

/// A hole of 2^39 clusters on a volume whose boot sector tells of as many.
#[test]
fn a_hole_larger_than_the_disk_is_not_read_out() {
    let Some(mut ntfs) = Ntfs::new() else { return };
    let record = ntfs.record("sparse");
    let data = ntfs.attributes(record, DATA)[0];
    ntfs.give_run(data, (1 << 39) - 1, None);
    ntfs.claim(1 << 52);
    let (device, volume) = ntfs.open();
    let volume = volume.unwrap();
    let scan = scanned(&device, volume.as_ref());
    let sparse = file(&scan, "sparse");
    assert_eq!(sparse.size, ((1 << 39) - 1) * 512);
    let error = volume.read_pieces(sparse.id, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("its holes are 281474976710144 bytes, where the volume has 2097152"), "{error}");
    assert!(volume.read(sparse.id, u64::MAX).is_err() && volume.extents(sparse.id).is_err());
}

/// Three runs over the same clusters, each nearly as long as the volume: a file of a few bytes of runs may have thousands.
#[test]
fn runs_that_lie_over_each_other_are_not_read_out() {
    let Some(mut ntfs) = Ntfs::new() else { return };
    let record = ntfs.record("few-a");
    let data = ntfs.attributes(record, DATA)[0];
    let (clusters, pairs) = (3 * 4000_u64, data + ntfs.word(data + 32));
    let run = |lcn| [0x12, 0xa0, 0x0f, lcn];
    put(&mut ntfs.bytes, pairs, &[&run(8)[..], &run(0), &run(0), &[0]].concat());
    put(&mut ntfs.bytes, data + 24, &(clusters - 1).to_le_bytes());
    for field in [40, 48, 56] {
        put(&mut ntfs.bytes, data + field, &(clusters * 512).to_le_bytes());
    }
    let (device, volume) = ntfs.open();
    let volume = volume.unwrap();
    let scan = scanned(&device, volume.as_ref());
    let few = file(&scan, "few-a");
    let error = volume.read_pieces(few.id, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("runs for 6144000 bytes, where the volume has 209"), "{error}");
    assert!(volume.read(few.id, u64::MAX).is_err() && device.taken() < 1 << 20);
}

#[test]
fn a_name_longer_than_its_attribute_is_told() {
    let Some(mut ntfs) = Ntfs::new() else { return };
    let record = ntfs.record("few-a");
    for at in ntfs.attributes(record, FILE_NAME) {
        let value = at + ntfs.word(at + 20);
        ntfs.bytes[value + 0x40] = 255;
    }
    let (device, volume) = ntfs.open();
    let scan = scanned(&device, volume.unwrap().as_ref());
    assert!(scan.problems.iter().any(|told| told.to_string().contains("a name inside its attribute")));
}

/// Changes a hive's bytes, given the place of a key node.
type Damage = Box<dyn FnOnce(&mut Vec<u8>, usize)>;

/// The hive's bytes with one field of the first key's node changed, checksum right.
fn lying(change: impl FnOnce(&mut Vec<u8>, usize)) -> Hive {
    let mut bytes = seeds::hive(5, 60);
    let hive = Hive::parse(bytes.clone()).unwrap();
    let key = hive.key(&RegPath::new("Classes")).unwrap().unwrap().offset().file_offset() as usize + 4;
    change(&mut bytes, key);
    hives::sum(&mut bytes);
    Hive::parse(bytes).unwrap()
}

#[test]
fn lists_of_a_hive_that_lead_in_circles_or_count_without_measure_are_refused() {
    let list = |bytes: &[u8], key: usize| 4096 + number(bytes, key + 28) as usize + 4;
    let own = |key: usize| u32::try_from(key - 4 - 4096).unwrap().to_le_bytes();
    let damages: [(&str, Damage); 6] = [
        (
            "a key below itself",
            Box::new(move |bytes, key| {
                let list = list(bytes, key);
                put(bytes, list + 4, &own(key));
            }),
        ),
        (
            "an index root in itself",
            Box::new(move |bytes, key| {
                let at = list(bytes, key);
                let cell = number(bytes, key + 28);
                put(bytes, at, b"ri");
                put(bytes, at + 4, &cell.to_le_bytes().repeat(60));
            }),
        ),
        ("2^32 subkeys", Box::new(|bytes, key| put(bytes, key + 20, &[0xff; 4]))),
        ("2^32 values", Box::new(|bytes, key| put(bytes, key + 36, &[0xff; 4]))),
        ("a name of 65535 bytes", Box::new(|bytes, key| put(bytes, key + 72, &[0xff; 2]))),
        ("a list of its own node", Box::new(move |bytes, key| put(bytes, key + 28, &own(key)))),
    ];
    for (what, damage) in damages {
        let hive = lying(damage);
        let found = survey(&hive);
        assert!(!found.sound(), "{what}");
        assert!(found.problems.len() <= 1001, "{what}");
        assert!(actual_tree(&hive, &[]).is_err(), "{what}");
        // Whatever is asked of that key, it ends.
        if let Ok(Some(key)) = hive.key(&RegPath::new("Classes")) {
            let _ = (key.subkeys().map(|keys| keys.len()), key.values().map(|values| values.len()));
            let _ = key.subkey("0003").map(|key| key.is_some());
        }
    }
}

/// A tree deeper than Windows loads.
#[test]
fn a_tree_of_600_levels_is_refused_and_ends() {
    use regf::writer::{HiveBuilder, KeyTreeNode};
    let mut root = KeyTreeNode::new("Root");
    root.get_or_create_path(&vec!["k"; 600].join("\\"));
    let bytes = HiveBuilder::from_tree_with_version(root, 1, 5).unwrap().to_bytes().unwrap();
    let hive = Hive::parse(bytes).unwrap();
    assert!(!survey(&hive).sound());
    let words = actual_tree(&hive, &[]).unwrap_err().to_string();
    assert!(words.contains("512 levels"), "{words}");
}

/// A value as long as a hive holds one, all blanks and letters: Windows tries each prefix as a program.
#[test]
fn a_command_line_without_end_names_few_programs() {
    let names = deblast::windows::command_line::program_names(&"a ".repeat(600_000));
    let bytes: usize = names.iter().map(String::len).sum();
    assert!(names.len() < 40_000 && bytes < 8 << 20, "{} names of {bytes} bytes", names.len());
    assert_eq!(names.first().map(String::as_str), Some("a"));
}

/// Found by the property `hive_log`: a log whose page for the first hive bin holds anything else. Its replay left no hive, and
/// could not be begun again once that page was written.
#[test]
fn a_log_that_would_take_the_first_hive_bin_away_is_refused() {
    let mut hive = vec![0; 8192];
    let mut block = vec![0; 512];
    put(&mut block, 0, b"regf");
    for (at, field) in [(4, 7_u32), (8, 7), (20, 1), (24, 3), (28, 1), (32, 1), (40, 4096), (44, 1)] {
        put(&mut block, at, &field.to_le_bytes());
    }
    hives::sum(&mut block);
    let mut log = [&block[..], b"DIRT\x01"].concat();
    log.resize(1024, 0);
    let good = [&log[..], b"hbin", &[0; 508]].concat();
    let bad = [&log[..], &[0x55; 512]].concat();
    put(&mut block, 28, &[0]);
    put(&mut block, 4, &[8]);
    hives::sum(&mut block);
    put(&mut hive, 0, &block);
    put(&mut hive, 4096, b"hbin");
    let replayed = |log: Vec<u8>| {
        let log = deblast::hive::log::Log::parse(log).unwrap();
        deblast::hive::log::replay(hive.clone(), &log).map_err(|error| error.to_string())
    };
    assert!(replayed(good).is_ok());
    let words = replayed(bad).unwrap_err();
    assert!(words.contains("its page for the first hive bin holds none"), "{words}");
}

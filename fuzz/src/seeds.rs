//! What fuzzing starts from: hives that the regf crate makes and real ones where the corpus is there, patches of volumes that
//! hit what is delicate, files and texts of a run on a practice disk. Also the base images themselves need no file.

use std::path::{Path, PathBuf};

use regf::structures::DataType;
use regf::writer::{HiveBuilder, KeyTreeNode, KeyTreeValue};

/// Hives above this many bytes make every run slow, and few features more.
const LARGEST: u64 = 280 << 10;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/hive");
const CORPUS_OF_FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/hive");

/// A hive with keys and values of every shape.
pub fn hive(minor: u32, keys: usize) -> Vec<u8> {
    let mut root = KeyTreeNode::new("Root");
    let value = |name: &str, kind: u32, data: Vec<u8>| KeyTreeValue {
        name: name.into(),
        data_type: DataType::from(kind),
        data,
    };
    root.get_or_create_path("Software\\Run").values = vec![
        value("windows auto update", 1, b"m\0s\0b\0l\0a\0s\0t\0\0\0".to_vec()),
        value("Größe", 3, vec![1; 9]),
        value("Ωmega", 4, vec![1, 2, 3, 4]),
        value("", 1, b"d\0\0\0".to_vec()),
        value("empty", 3, vec![]),
    ];
    root.get_or_create_path("big").values =
        vec![value("b", 3, vec![0xBB; if keys > 20 { 20_000 } else { 700 }])];
    for n in 0..keys {
        root.get_or_create_path(&format!("Classes\\{n:04}")).values =
            vec![value("v", 1, b"x\0\0\0".to_vec())];
    }
    root.sort_recursive();
    HiveBuilder::from_tree_with_version(root, 1, minor).unwrap().to_bytes().unwrap()
}

/// Hives of the corpus, small ones; logs too.
fn corpus(logs: bool) -> Vec<Vec<u8>> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let mut files = Vec::new();
    let folder = [CORPUS, CORPUS_OF_FUZZ].into_iter().map(Path::new).find(|folder| folder.is_dir());
    folder.into_iter().for_each(|folder| walk(folder, &mut files));
    files.sort();
    let small = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|node| node.len() <= LARGEST);
    let is_log = |path: &PathBuf| path.display().to_string().contains(".LOG");
    files
        .iter()
        .filter(|path| small(path) && is_log(path) == logs)
        .filter_map(|path| std::fs::read(path).ok())
        .collect()
}

fn hives() -> Vec<Vec<u8>> {
    let mut all = vec![hive(3, 4), hive(5, 4), hive(3, 60), hive(5, 60)];
    all.extend(corpus(false));
    all
}

/// Hives with what check tells of and lets be edited: wrong hashes and hints, a security that counts too many keys, a second value
/// of one name, a list of values that has none.
fn amiss() -> Vec<Vec<u8>> {
    let cells = |bytes: &[u8], kind: &[u8]| -> Vec<usize> {
        (4096..bytes.len() - 4).step_by(4).filter(|&at| bytes[at..].starts_with(kind)).collect()
    };
    let mut all = Vec::new();
    for minor in [3, 5] {
        let whole = hive(minor, 6);
        let mut listed = whole.clone();
        for at in [&b"lf"[..], b"lh"].into_iter().flat_map(|kind| cells(&whole, kind)) {
            listed[at + 8] ^= 0x55;
        }
        let mut counted = whole.clone();
        cells(&whole, b"sk").into_iter().for_each(|at| counted[at + 12] += 3);
        let mut twice = whole.clone();
        if let Some(at) = whole.windows(5).position(|name| name == b"empty") {
            super::put(&mut twice, at, b"Gr\xf6\xdfe");
        }
        let mut none = whole.clone();
        for at in cells(&whole, b"nk") {
            if super::number(&whole, at + 36) == 0 {
                super::put(&mut none, at + 40, &[0x20, 0, 0, 0]);
            }
        }
        all.extend([listed, counted, twice, none]);
    }
    all
}

/// A program with a version resource, of two sections.
pub fn program() -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    let put = |bytes: &mut Vec<u8>, at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
    let number = |bytes: &mut Vec<u8>, at: usize, number: u32| put(bytes, at, &number.to_le_bytes());
    let half = |bytes: &mut Vec<u8>, at: usize, number: u16| put(bytes, at, &number.to_le_bytes());
    put(&mut bytes, 0, b"MZ");
    number(&mut bytes, 60, 0x80);
    put(&mut bytes, 0x80, b"PE\0\0");
    half(&mut bytes, 0x84, 0x14c);
    half(&mut bytes, 0x86, 2);
    half(&mut bytes, 0x94, 224);
    half(&mut bytes, 0x96, 0x10f);
    half(&mut bytes, 0x98, 0x10b);
    number(&mut bytes, 0x98 + 28, 0x40_0000);
    number(&mut bytes, 0x98 + 32, 0x1000);
    number(&mut bytes, 0x98 + 36, 0x200);
    number(&mut bytes, 0x98 + 56, 0x3000);
    number(&mut bytes, 0x98 + 60, 0x200);
    number(&mut bytes, 0x98 + 92, 16);
    number(&mut bytes, 0x98 + 96 + 16, 0x2000);
    number(&mut bytes, 0x98 + 96 + 20, 0x200);
    for (index, (name, rva, raw)) in
        [(b".text\0\0\0", 0x1000, 0x200), (b".rsrc\0\0\0", 0x2000, 0x400)].into_iter().enumerate()
    {
        let at = 0x98 + 224 + index * 40;
        put(&mut bytes, at, name);
        for (field, value) in [(8, 0x200), (12, rva), (16, 0x200), (20, raw)] {
            number(&mut bytes, at + field, value);
        }
    }
    // Type 16, name 1, language 1033; the data entry; the block.
    for (at, id, below) in [(0, 16, 0x8000_0018), (0x18, 1, 0x8000_0030), (0x30, 1033, 0x48)] {
        half(&mut bytes, 0x400 + at + 14, 1);
        number(&mut bytes, 0x400 + at + 16, id);
        number(&mut bytes, 0x400 + at + 20, below);
    }
    number(&mut bytes, 0x448, 0x2060);
    number(&mut bytes, 0x44c, 92);
    let block = 0x460;
    half(&mut bytes, block, 92);
    half(&mut bytes, block + 2, 52);
    let key: Vec<u8> = "VS_VERSION_INFO\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    put(&mut bytes, block + 6, &key);
    for (at, value) in [(0, 0xfeef_04bd), (4, 0x1_0000), (8, 0x5_0001), (12, 0x0a28_0551)] {
        number(&mut bytes, block + 40 + at, value);
    }
    bytes
}

/// One patch of a volume: place, offset, bytes.
fn patch(place: u16, offset: u16, bytes: &[u8]) -> Vec<u8> {
    let count = u8::try_from(bytes.len() - 1).unwrap();
    [&place.to_le_bytes()[..], &offset.to_le_bytes(), &[count], bytes].concat()
}

fn of_ntfs() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![], patch(1, 0x16, &[0]), patch(0, 48, &[0xff; 8]), patch(0, 13, &[0x80])];
    // Every record: its flags, the first attribute's length, names and data runs somewhere behind.
    for place in 1..90_u16 {
        seeds.push([patch(place, 0x14, &[0x38, 0]), patch(place, 0x3c, &[0xff; 2])].concat());
        seeds.push(patch(place, 0x100 + place, &[0x21, 0x7f, 0, 0x10]));
        seeds.push([patch(place, 0x16, &[3, 0]), patch(place, 0x90, &[5, 0, 0, 0, 0, 0, 5, 0])].concat());
    }
    seeds
}

fn of_fat() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for kind in [0, 24, 31_u8] {
        let one = |patch: Vec<u8>| [&[kind][..], &patch].concat();
        seeds.push(one(vec![]));
        // Chains that lead back, sizes that lie, folders that hold themselves.
        seeds.push(one(patch(1, 6, &[3, 0, 2, 0, 4, 0, 4, 0])));
        seeds.push(one(patch(3, 26, &[2, 0, 0xff, 0xff, 0xff, 0x7f])));
        seeds.push(one(patch(4, 26 + 64, &[2, 0])));
        seeds.push(one(patch(0, 11, &[0, 2, 128])));
    }
    seeds
}

fn of_text(own: &[&str]) -> Vec<Vec<u8>> {
    own.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn of_event_log() -> Vec<u8> {
    let mut record = vec![0; 56];
    let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    record.extend(wide("Source"));
    record.extend(wide("MACHINE"));
    let strings = u32::try_from(record.len()).unwrap();
    record.extend(wide("a"));
    record.resize(record.len().next_multiple_of(4), 0);
    let length = u32::try_from(record.len() + 4).unwrap();
    record.extend(length.to_le_bytes());
    for (at, value) in [(0, length), (16, 1_060_621_200), (36, strings)] {
        record[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    record[4..8].copy_from_slice(b"LfLe");
    record[26] = 1;
    record.repeat(2)
}

/// The seeds of a target.
pub fn of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "hive_read" => hives(),
        "hive_edit" => {
            let script = |number: usize| -> Vec<u8> {
                (0..25).map(|at| u8::try_from((number * 37 + at * 11) % 251).unwrap()).collect()
            };
            let whole = hives().into_iter().enumerate();
            let mut seeds: Vec<_> = whole.map(|(number, hive)| [script(number), hive].concat()).collect();
            // Those with something amiss get each kind of edit at each key: what is amiss must stay so. They may grow.
            for hive in amiss() {
                for (key, kind) in (0..11).flat_map(|key| [0, 1, 2].map(|kind| (key, kind))) {
                    let mut script = vec![3, key, 0, kind];
                    script.resize(25, 5);
                    seeds.push([script, hive.clone()].concat());
                }
            }
            seeds
        }
        "hive_log" => {
            let mut logs = corpus(true);
            logs.push([vec![0; 516], vec![0b11, 1, 0x80], vec![5; 3000]].concat());
            let mut seeds = Vec::new();
            for hive in hives().iter().filter(|hive| hive.len() < 40_000) {
                for log in logs.iter().filter(|log| log.len() < 40_000) {
                    for flags in [0, 1, 2] {
                        let split = u16::try_from(hive.len() / 512).unwrap().to_le_bytes();
                        seeds.push([&[flags][..], &split, &[7, 1], hive, log].concat());
                    }
                }
            }
            seeds
        }
        "ntfs" => of_ntfs(),
        "fat" => of_fat(),
        "lznt1" => vec![
            b"\x38\xb0\x88\x46\x23\x20\x00\x20\x47\x20\x41\x00\x10\xa2\x47\x01\xa0\x45\x20\x44\x00\x08"
                .to_vec(),
            b"\x02\xb0\x02x\xfc\x0f\x00\x00".to_vec(),
            vec![b'a'; 5000],
        ],
        "signatures" => of_text(&[
            include_str!("../../fixtures/practice.toml"),
            "[[signature]]\nfamily='X'\nsource='y'\nnames=['a']\nsize=9223372036854775807\nfolder='b'\nrole='companion'",
        ]),
        "hash_set" => of_text(&[
            "00112233445566778899aabbccddeeff:68:Name\n# text\nda39a3ee5e6b4b0d3255bfef95601890afd80709:*:Other:73\r\n",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:*:N:73:90",
        ]),
        "configuration" => of_text(&[
            "mode = 'batch'\noptions = \"clean --yes 'a b'\"\nend = 'poweroff'\nkeymap = 'de'\n[hooks]\nbefore = 'a.sh'\n",
        ]),
        "journal" => of_text(&[include_str!("../seeds/journal")]),
        "manifest" => of_text(&[include_str!("../seeds/manifest.json")]),
        "report" => of_text(&[include_str!("../seeds/report.json")]),
        "pe_version" => vec![program(), vec![0, 4, 3, 0xff, 0xff, 0xff, 0x7f]],
        "small_files" => {
            let mut seeds = of_text(&[
                "[operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"XP\" /x\r\n",
                "MSBLAST.EXE-09FF84F2.pf",
                "\"C:\\Program Files\\a b.exe\" /x",
            ]);
            seeds.push(of_event_log());
            let pending = "\\??\\C:\\a\0\0!\\??\\C:\\c\0d\0\0";
            seeds.push(pending.encode_utf16().flat_map(u16::to_le_bytes).collect());
            let mut list = [5_u32, 0, 0, 800, 0].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
            list.resize(20 + 280, 0);
            list.extend("C:\\x.exe".encode_utf16().flat_map(u16::to_le_bytes));
            list.resize(20 + 1600, 0);
            seeds.push(list);
            seeds
        }
        _ => Vec::new(),
    }
}

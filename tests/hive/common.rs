//! Hives to test with, and judges that are not ours.

use deblast::change::{ValueData, ValueType};
use deblast::hive::Hive;
use deblast::hive::check::{Class, Problem, check};
use deblast::hive::edit::{Edit, Group, edit};
use deblast::path::RegPath;
use regf::hive::RegistryHive;
use regf::structures::DataType;
use regf::writer::{HiveBuilder, KeyTreeNode, KeyTreeValue};

/// A FILETIME: 2003-08-11, the day of the worm.
pub(crate) const NOW: u64 = 0x01C3_6000_0000_0000;

pub(crate) const RUN: &str = r"Microsoft\Windows\CurrentVersion\Run";

/// A SOFTWARE hive in small, of version 1.`minor`, with a few hundred free bytes where `\Room` had values.
pub(crate) fn made(minor: u32) -> Hive {
    let mut hive = tight(minor);
    let room: Vec<Edit> = (0..4).map(|n| delete("Room", &format!("padding {n}"))).collect();
    edit(&mut hive, &room, NOW).unwrap();
    hive
}

/// The same without free space but what the end of the last bin has.
pub(crate) fn tight(minor: u32) -> Hive {
    let mut root = KeyTreeNode::new("Root");
    let value = |name: &str, kind, data: &[u8]| KeyTreeValue {
        name: name.into(),
        data_type: DataType::from(kind),
        data: data.to_vec(),
    };
    let sz = |name: &str, text: &str| value(name, 1, &ValueData::sz(text).data);
    root.get_or_create_path(RUN).values = vec![
        sz("Synchronize", r"C:\WINDOWS\system32\mobsync.exe /logon"),
        sz("windows auto update", "msblast.exe"),
        sz("Größe", "umlaut in a Latin-1 name"),
        sz("Ωmega", "name in UTF-16"),
        value("number", 4, &[1, 2, 3, 4]),
        value("empty", 3, &[]),
    ];
    root.get_or_create_path(r"Microsoft\Ole").values =
        vec![sz("EnableDCOM", "Y"), sz("LegacyAuthenticationLevel", "2 is connect")];
    root.get_or_create_path("One").values = vec![sz("msblast", "the only value of its key")];
    root.get_or_create_path("None");
    root.get_or_create_path("Default").values = vec![sz("", "the default value")];
    let mut room: Vec<KeyTreeValue> =
        (0..4).map(|n| value(&format!("padding {n}"), 3, &[0xAA; 700])).collect();
    room.push(value("big", 3, &vec![0xBB; 20000]));
    root.get_or_create_path("Room").values = room;
    for n in 0..60 {
        let key = root.get_or_create_path(&format!(r"Classes\CLSID\{{{n:08}}}"));
        key.values = vec![sz("", &format!("class {n}")), sz("ThreadingModel", "Both")];
    }
    root.sort_recursive();
    let bytes = HiveBuilder::from_tree_with_version(root, 1, minor).unwrap().to_bytes().unwrap();
    Hive::parse(bytes).unwrap()
}

pub(crate) fn delete(key: &str, value: &str) -> Edit {
    Edit::Delete { key: RegPath::new(key), value: value.into() }
}

pub(crate) fn set(key: &str, value: &str, to: ValueData) -> Edit {
    Edit::Set { key: RegPath::new(key), value: value.into(), to }
}

pub(crate) fn create(key: &str) -> Edit {
    Edit::CreateKey { key: RegPath::new(key) }
}

pub(crate) fn data(kind: u32, data: &[u8]) -> ValueData {
    ValueData { kind: ValueType(kind), data: data.to_vec() }
}

pub(crate) fn structure(hive: &Hive) -> Vec<Problem> {
    check(hive).into_iter().filter(|problem| problem.class == Class::Structure).collect()
}

/// Values of a key as the crate `regf` reads them: the strictest reader at hand, and not ours.
pub(crate) fn judged(bytes: &[u8], key: &str) -> Vec<(String, u32, Vec<u8>)> {
    there(bytes, key).unwrap()
}

/// The same of a key that may not exist.
pub(crate) fn there(bytes: &[u8], key: &str) -> Option<Vec<(String, u32, Vec<u8>)>> {
    let hive = RegistryHive::from_bytes(bytes.to_vec()).unwrap();
    let values = hive.open_key(key).ok()?.values().unwrap();
    Some(
        values.iter().map(|value| (value.name(), value.raw_data_type(), value.raw_data().unwrap())).collect(),
    )
}

/// Values of a key as our reader reads them.
pub(crate) fn ours(hive: &Hive, key: &str) -> Vec<(String, u32, Vec<u8>)> {
    let key = hive.key(&RegPath::new(key)).unwrap().unwrap();
    key.values()
        .unwrap()
        .iter()
        .map(|value| (value.name(), value.kind().0, value.data().unwrap().data))
        .collect()
}

/// Writes the sectors that `pick` chooses, each at its place, into a copy of the file.
pub(crate) fn written<'a>(bytes: &[u8], groups: impl IntoIterator<Item = &'a Group>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for patch in groups.into_iter().flat_map(|group| &group.sectors) {
        let place = patch.offset as usize..patch.offset as usize + 512;
        assert_eq!(bytes[place.clone()], patch.before[..], "what the sector holds before");
        bytes[place].copy_from_slice(&patch.after);
    }
    bytes
}

/// Knuth's linear congruential generator; the high bits are the good ones.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

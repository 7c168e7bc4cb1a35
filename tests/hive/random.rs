//! Chance: generated hives and edits against a plain model; damage of any kind, which must never be a panic.

use std::collections::BTreeMap;

use deblast::change::ValueData;
use deblast::hive::Hive;
use deblast::hive::check::survey;
use deblast::hive::edit::{Edit, Room, edit_within};
use deblast::hive::log::{Log, replay, replay_script};
use deblast::hive::second;
use deblast::hive::tree::{actual_tree, expected_tree};
use deblast::path::{RegPath, fold_name};
use proptest::collection::vec;
use proptest::prelude::*;
use regf::structures::DataType;
use regf::writer::{HiveBuilder, KeyTreeNode, KeyTreeValue};

use crate::common::{NOW, RUN, Random, create, data, delete, made, ours, set, there, written};
use crate::corpus::every_file;

/// Values of a key in their order: name, type, data.
type Values = Vec<(String, u32, Vec<u8>)>;

/// A key to be generated: an index of the one above it, its name, its values.
type Generated = (usize, String, Vec<(String, (u32, Vec<u8>))>);

/// A hive as a plain map, by the upper-cased path of each key.
type Model = BTreeMap<String, Values>;

/// Names that differ, in one byte a character and in two, some the same but for letter case.
const NAMES: [&str; 10] =
    ["a", "A", "Run", "run value", "Grün", "GRÜN", "ωmega", "ΩMEGA", "日本語", "x 0123456789"];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => (0..NAMES.len()).prop_map(|index| NAMES[index].to_owned()), 1 => "[a-zäöü]{1,40}"]
}

/// Of lengths that matter: inline, a cell, just around what one cell of 1.5 holds, more.
fn content() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let length =
        prop_oneof![8 => 0..6_usize, 8 => 6..300_usize, 1 => 16_340..16_350_usize, 1 => 0..40_000_usize];
    (0..8_u32, length, any::<u8>())
        .prop_map(|(kind, length, seed)| (kind, (0..length).map(|n| (n % 251) as u8 ^ seed).collect()))
}

#[derive(Clone, Debug)]
enum Op {
    Set(usize, String, (u32, Vec<u8>)),
    Delete(usize, usize),
    Create(usize, String),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (any::<usize>(), name(), content()).prop_map(|(key, name, content)| Op::Set(key, name, content)),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(key, value)| Op::Delete(key, value)),
        2 => (any::<usize>(), name()).prop_map(|(key, name)| Op::Create(key, name)),
    ]
}

/// A hive of a few keys and values, and its model.
fn generated(minor: u32, keys: &[Generated]) -> (Hive, Model) {
    let mut root = KeyTreeNode::new("Root");
    let mut model = Model::from([(String::new(), Values::new())]);
    let mut paths = vec![String::new()];
    for (above, name, values) in keys {
        let path = RegPath::new(&paths[above % paths.len()]).join(name).as_str().to_owned();
        if model.contains_key(&fold_name(&path)) {
            continue;
        }
        let mut list = Values::new();
        for (name, (kind, bytes)) in values {
            if list.iter().all(|(other, ..)| fold_name(other) != fold_name(name)) {
                list.push((name.clone(), *kind, bytes.clone()));
            }
        }
        root.get_or_create_path(&path).values = list
            .iter()
            .map(|(name, kind, data)| KeyTreeValue {
                name: name.clone(),
                data_type: DataType::from(*kind),
                data: data.clone(),
            })
            .collect();
        model.insert(fold_name(&path), list);
        paths.push(path);
    }
    root.sort_recursive();
    let bytes = HiveBuilder::from_tree_with_version(root, 1, minor).unwrap().to_bytes().unwrap();
    (Hive::parse(bytes).unwrap(), model)
}

/// Makes the edit in the model; none where it makes no sense there.
fn applied(model: &mut Model, op: &Op) -> Option<Edit> {
    let keys: Vec<String> = model.keys().cloned().collect();
    match op {
        Op::Set(key, name, (kind, bytes)) => {
            let key = &keys[key % keys.len()];
            let values = model.get_mut(key)?;
            match values.iter_mut().find(|(other, ..)| fold_name(other) == fold_name(name)) {
                Some(value) => (value.1, value.2) = (*kind, bytes.clone()),
                None => values.push((name.clone(), *kind, bytes.clone())),
            }
            Some(set(key, name, data(*kind, bytes)))
        }
        Op::Delete(key, value) => {
            let key = &keys[key % keys.len()];
            let values = model.get_mut(key)?;
            let index = value.checked_rem(values.len())?;
            Some(delete(key, &values.remove(index).0))
        }
        Op::Create(key, name) => {
            let key = RegPath::new(&keys[key % keys.len()]).join(name).as_str().to_owned();
            if model.contains_key(&fold_name(&key)) {
                return None;
            }
            model.insert(fold_name(&key), Values::new());
            Some(create(&key))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edits_do_what_a_plain_model_does(
        minor in prop_oneof![Just(3_u32), Just(5)],
        keys in vec((any::<usize>(), name(), vec((name(), content()), 0..6)), 0..12),
        ops in vec(op(), 1..25),
    ) {
        let (before, mut model) = generated(minor, &keys);
        prop_assert_eq!(survey(&before).problems, vec![]);
        let edits: Vec<Edit> = ops.iter().filter_map(|op| applied(&mut model, op)).collect();
        let mut after = before.clone();
        let groups = match edit_within(&mut after, &edits, NOW, Room::Grow) {
            Ok(groups) => groups,
            Err(error) => {
                // The one thing that the model does not know.
                prop_assert!(error.to_string().contains("lies across two sectors"), "{}", error);
                prop_assert!(after.as_bytes() == before.as_bytes());
                return Ok(());
            }
        };
        let found = survey(&after);
        prop_assert_eq!((found.problems, found.leaked), (vec![], 0));
        prop_assert_eq!(found.keys, model.len() as u64);
        prop_assert_eq!(actual_tree(&after, &edits).unwrap(), expected_tree(&before, &edits).unwrap());
        for (path, values) in &model {
            prop_assert_eq!(&ours(&after, path), values, "{}", path);
            let theirs = there(after.as_bytes(), path);
            prop_assert_eq!(theirs.as_ref(), Some(values), "regf: {}", path);
        }
        let mut image = before.as_bytes().to_vec();
        image.resize(after.as_bytes().len(), 0);
        prop_assert!(written(&image, &groups) == after.as_bytes());
    }
}

/// Does with a file, or with what is left of it, everything that is done with hives and logs.
fn handle(bytes: Vec<u8>, log: Option<&Log>) {
    let edits = [
        set(RUN, "number", data(3, &[1; 40])),
        delete("One", "msblast"),
        set("", "new", ValueData::sz("text")),
        create("new key"),
    ];
    if let Ok(own) = Log::parse(bytes.clone()) {
        let _ = own.applies_to(&bytes);
        let _ = replay(made(5).into_bytes(), &own);
    }
    if let Some(log) = log {
        let _ = replay_script(&bytes, log);
    }
    let Ok(mut hive) = Hive::parse(bytes) else { return };
    let sound = survey(&hive).sound();
    let _ = second::read_value(&hive, &RegPath::default(), "new");
    for edit in &edits {
        let one = std::slice::from_ref(edit);
        let tree = expected_tree(&hive, one);
        let before = if sound { None } else { Some(hive.as_bytes().to_vec()) };
        match edit_within(&mut hive, one, NOW, Room::Grow) {
            Ok(_) if sound => {
                let found = survey(&hive);
                assert!(found.sound(), "{edit:?}: {:?}", found.problems);
                assert!(tree.is_err() || tree.unwrap() == actual_tree(&hive, one).unwrap());
            }
            Err(_) => assert!(before.is_none_or(|before| hive.as_bytes() == before)),
            Ok(_) => {}
        }
    }
}

/// Changes a few bytes or words, more often at the beginning, where a hive has most of its structure; cuts it now and
/// then; and makes the checksum right, which hides what is behind it.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(12) {
        let reach = [bytes.len(), bytes.len().min(16 * 1024), bytes.len().min(4096 + 64)][random.below(3)];
        let at = random.below(reach.max(8)) / 4 * 4;
        let word = match random.below(7) {
            0 => 0,
            1 => u32::MAX,
            2 => 8,
            3 => 0x8000_0000,
            4 => random.below(1 << 20) as u32,
            5 => (random.below(1 << 16) as u32 * 8).wrapping_neg(),
            _ => 1 << random.below(32),
        };
        if let Some(place) = bytes.get_mut(at..at + 4) {
            let old = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
            let new = if random.below(3) == 0 { old ^ (1 << random.below(32)) } else { word };
            place.copy_from_slice(&new.to_le_bytes());
        }
    }
    if random.below(12) == 0 {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    if bytes.len() >= 512 && random.below(4) > 0 {
        let (one, word) = (random.below(3), |at: usize| bytes[at..at + 4].to_vec());
        if one > 0 {
            let sequence = word(4);
            bytes[8..12].copy_from_slice(&sequence);
        }
        crate::stopped::sum(bytes);
    }
}

/// Ten thousand damaged files: the corpus, or without it hives of our own making, the small ones more often.
#[test]
fn no_damage_is_a_panic_or_a_hang() {
    const ROUNDS: usize = 10_000;
    let mut files = every_file();
    files.extend([made(3).into_bytes(), made(5).into_bytes()]);
    let logs: Vec<Log> = files.iter().filter_map(|file| Log::parse(file.clone()).ok()).collect();
    files.iter().for_each(|file| handle(file.clone(), None));
    // A large file is handled as often as costs no more than a second or two.
    let shares: Vec<usize> = files.iter().map(|file| (1 << 22) / (file.len() + (1 << 13))).collect();
    let all: usize = shares.iter().sum();
    let mut random = Random(2003);
    let mut rounds = 0;
    for (index, (file, share)) in files.iter().zip(&shares).enumerate() {
        for _ in 0..=ROUNDS * share / all {
            let mut bytes = file.clone();
            damage(&mut bytes, &mut random);
            handle(bytes, logs.get(index % logs.len().max(1)));
            rounds += 1;
        }
    }
    assert!(rounds >= ROUNDS);
    println!("{rounds} damaged files made of {}, no panic", files.len());
}

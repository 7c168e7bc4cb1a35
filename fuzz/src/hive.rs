//! Hives: what check accepts every reader reads; an edit of it changes that value and nothing else; a log may be replayed
//! again at any moment of its replay.

use deblast::change::{ValueData, ValueType};
use deblast::hive::check::{Class, Problem, Survey, survey};
use deblast::hive::edit::{Edit, Group, Room, edit_within};
use deblast::hive::log::{Log, replay, replay_script};
use deblast::hive::read::Key;
use deblast::hive::tree::{actual_tree, expected_tree, tree_without};
use deblast::hive::{Hive, second};
use deblast::path::{RegPath, same_name};

use super::{Choices, number, put};

/// A FILETIME of 2003.
const NOW: u64 = 0x01C3_6000_0000_0000;
/// Keys that are looked at one by one; the tree is always read as a whole.
const MOST: usize = 300;

/// Gives bytes a base block that can be believed, and the first bin its signature; the rest stays as it is.
pub fn with_base_block(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let length = bytes.len().max(8192).next_multiple_of(4096);
    bytes.resize(length, 0);
    put(&mut bytes, 0, b"regf");
    let minor = match number(&bytes, 24) {
        minor @ 3..=5 => minor,
        _ => 5,
    };
    let sequence = number(&bytes, 4);
    let bins = u32::try_from(length - 4096).unwrap();
    for (at, field) in [(8, sequence), (20, 1), (24, minor), (28, 0), (32, 1), (40, bins), (44, 1)] {
        put(&mut bytes, at, &field.to_le_bytes());
    }
    // No DIRT of a log.
    if bytes[512..516] == *b"DIRT" {
        bytes[512] = 0;
    }
    sum(&mut bytes);
    put(&mut bytes, 4096, b"hbin");
    bytes
}

/// Gives a base block the checksum that it must have.
pub fn sum(bytes: &mut [u8]) {
    let sum = (0..508).step_by(4).fold(0, |sum, at| sum ^ number(bytes, at));
    let sum = match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    put(bytes, 508, &sum.to_le_bytes());
}

/// The hive and what check says, where it accepts it.
fn accepted(bytes: Vec<u8>) -> Option<(Hive, Survey)> {
    let hive = Hive::parse(bytes).ok()?;
    let survey = survey(&hive);
    survey.sound().then_some((hive, survey))
}

/// All keys with their paths; no path where the name cannot stand in one.
fn keys(hive: &Hive) -> Vec<(Option<RegPath>, Key<'_>)> {
    let mut found = Vec::new();
    let mut pending = vec![(Some(RegPath::default()), hive.root().unwrap())];
    while let Some((path, key)) = pending.pop() {
        for subkey in key.subkeys().unwrap() {
            let name = subkey.name();
            let plain = !name.is_empty() && !name.contains(['\\', '\u{fffd}', '\0']);
            let below = path.as_ref().filter(|_| plain).map(|path| path.join(&name));
            pending.push((below, subkey));
        }
        found.push((path, key));
    }
    found
}

/// A hive that check accepts never fails in a reader: ours, the tree's, and nt-hive.
pub fn read(data: &[u8]) {
    let raw = Hive::parse(data.to_vec());
    if let Ok(hive) = &raw {
        let _ = survey(hive);
        // Whatever a damaged hive holds, these end.
        let _ = hive.root().and_then(|root| root.subkeys()).map(|keys| keys.len());
        let _ = actual_tree(hive, &[]);
    }
    let Some((hive, survey)) = accepted(with_base_block(data)) else { return };
    let all = keys(&hive);
    assert_eq!(all.len() as u64, survey.keys, "as many keys as check has counted");
    let mut values = 0;
    for (index, (path, key)) in all.iter().enumerate() {
        key.class().unwrap();
        key.security().unwrap();
        let list = key.values().unwrap();
        values += list.len() as u64;
        for value in &list {
            value.data().unwrap();
        }
        let Some(path) = path.as_ref().filter(|_| index < MOST) else { continue };
        let found = hive.key(path).unwrap().expect("a key that is listed is found");
        assert!(same_name(&found.name(), &key.name()));
        for name in list.iter().map(|value| value.name()).take(20) {
            let value = found.value(&name).unwrap();
            if found.offset() == key.offset() {
                assert!(value.is_some(), "a value that is listed is found");
            }
            if let Err(error) = second::read_value(&hive, path, &name) {
                // It may be stricter, never at odds; it has words for both.
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert_eq!(values, survey.values, "as many values as check has counted");
    assert_eq!(actual_tree(&hive, &[]).unwrap(), expected_tree(&hive, &[]).unwrap());
}

/// What the groups up to one make of the file.
fn written(before: &[u8], groups: &[Group]) -> Vec<u8> {
    let mut bytes = before.to_vec();
    for group in groups {
        for patch in &group.sectors {
            let at = usize::try_from(patch.offset).unwrap();
            let end = at + patch.before.len();
            if end > bytes.len() {
                bytes.resize(end, 0);
            }
            assert!(bytes[at..end] == patch.before[..], "what the sector holds before");
            bytes[at..end].copy_from_slice(&patch.after);
        }
    }
    bytes
}

/// The edit that an input chooses.
fn chosen(hive: &Hive, choices: &mut Choices<'_>) -> Option<Edit> {
    let keys: Vec<(RegPath, Key<'_>)> =
        keys(hive).into_iter().filter_map(|(path, key)| Some((path?, key))).collect();
    let (path, key) = &keys[choices.below(keys.len())];
    let names: Vec<String> = key.values().unwrap().iter().map(|value| value.name()).collect();
    let kind = choices.byte();
    let value = match names.get(choices.below(names.len() + 1)) {
        Some(name) => name.clone(),
        None => format!("nëw {}", choices.byte() % 4),
    };
    let key = path.clone();
    Some(match kind % 4 {
        0 => Edit::Delete { key, value },
        1 => Edit::CreateKey { key: key.join(&format!("a key {}", choices.byte() % 3)) },
        _ => {
            // Lengths around the borders: inline, one cell, big data.
            let length = [0, 1, 4, 5, 8, 100, 600, 4000, 16344, 16345, 33000][choices.below(11)];
            let fill = choices.byte();
            let to = ValueData { kind: ValueType(u32::from(choices.byte() % 12)), data: vec![fill; length] };
            Edit::Set { key, value, to }
        }
    })
}

/// What check told, as it must be told again after these edits: class, words and place. A problem of an entry of a list is told
/// without its place, since a list that grows moves; where a key was created also keys may have moved.
fn told(survey: &Survey, edits: &[Edit]) -> Vec<(Class, String, Option<u64>)> {
    const OF_LISTS: [&str; 4] = ["a second value ", "the subkey ", "expected the hash ", "the hint "];
    let created = edits.iter().any(|edit| matches!(edit, Edit::CreateKey { .. }));
    let one = |problem: &Problem| {
        let moves = created || OF_LISTS.iter().any(|words| problem.what.starts_with(words));
        let mut what = problem.what.clone();
        // A new key is counted by the security of its parent: both numbers rise, and are as far apart as they were.
        if let Some((named, counted)) = problem.what.split_once(" keys name this security, it counts ") {
            let number = |text: &str| text.parse::<u32>().unwrap();
            what = format!("{} keys too many", number(counted).wrapping_sub(number(named)));
        }
        (problem.class, what, (!moves).then_some(problem.offset))
    };
    let mut all: Vec<_> = survey.problems.iter().map(one).collect();
    all.sort_unstable();
    all
}

/// A list that a key without entries should not have: the first entry that is made there gets a list of its own.
fn put_right(before: &Hive, edits: &[Edit], problem: &Problem) -> bool {
    edits.iter().any(|edit| {
        let (key, words) = match edit {
            Edit::Set { key, .. } => (Some(key.clone()), "no values, yet a list of them at "),
            Edit::CreateKey { key } => (key.parent(), "no subkeys, yet a list of them at "),
            Edit::Delete { .. } => return false,
        };
        let key = key.and_then(|path| before.key(&path).ok()?);
        let at = key.map(|key| key.offset().file_offset());
        at == Some(problem.offset) && problem.what.starts_with(words)
    })
}

/// An edit of an accepted hive is accepted, changes nothing but what it names, and so does each state between two groups of
/// its sectors; one that is refused changes nothing.
pub fn edit(data: &[u8]) {
    let mut choices = Choices(data);
    let room = choices.byte();
    let mut script = Choices(choices.bytes(24));
    let Some((before, first)) = accepted(with_base_block(choices.0)) else { return };
    let mut edits = Vec::new();
    for _ in 0..1 + room % 3 {
        edits.extend(chosen(&before, &mut script));
    }
    let length = before.as_bytes().len() as u64;
    let room = [Room::FreeCells, Room::Grow, Room::InFile(length)][usize::from(room / 3) % 3];
    let mut after = before.clone();
    let groups = match edit_within(&mut after, &edits, NOW, room) {
        Ok(groups) => groups,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(after.as_bytes() == before.as_bytes(), "refused, and the image is as it was");
            return;
        }
    };
    let second = survey(&after);
    let mut first = first;
    first.problems.retain(|problem| !put_right(&before, &edits, problem));
    assert_eq!(
        told(&first, &edits),
        told(&second, &edits),
        "{edits:?}: the same problems as before: {:?}",
        second.problems
    );
    assert!(second.leaked <= first.leaked, "no cell is lost");
    // The tree is told by cells, so that two keys of one name are no question.
    match expected_tree(&before, &edits) {
        Ok(expected) => assert_eq!(actual_tree(&after, &edits).unwrap(), expected, "{edits:?}"),
        Err(error) => panic!("{edits:?} was made, and has no expected tree: {error}"),
    }
    if !edits.iter().any(|edit| matches!(edit, Edit::CreateKey { .. })) {
        let touched: Vec<(&RegPath, &str)> =
            edits.iter().filter_map(|edit| Some((edit.key(), edit.value()?))).collect();
        assert_eq!(
            tree_without(&before, &touched).unwrap(),
            tree_without(&after, &touched).unwrap(),
            "{edits:?}: nothing but the values that were named"
        );
    }
    // The sectors make of the file what the image is; cut between two groups it is sound.
    let mut file = before.as_bytes().to_vec();
    file.resize(after.as_bytes().len(), 0);
    for cut in 1..=groups.len() {
        let state = written(&file, &groups[..cut]);
        if cut == groups.len() {
            assert!(state == after.as_bytes(), "the groups make the image");
        }
        let hive = Hive::parse(state).unwrap();
        let found = survey(&hive);
        assert!(found.sound(), "{edits:?}, cut behind group {cut}: {:?}", found.problems);
    }
}

/// Replay is idempotent: whatever part of the pages has reached the file, the same log gives the same hive; once its base
/// block is written too, the hive is clean and the log is refused.
pub fn log(data: &[u8]) {
    let mut choices = Choices(data);
    let (flags, split, mut subset) = (choices.byte(), choices.word(), choices.word());
    let at = (split * 512).min(choices.0.len());
    let (hive, log) = choices.0.split_at(at);
    let (mut hive, mut log) = (hive.to_vec(), log.to_vec());
    hive.resize(hive.len().max(8192).next_multiple_of(512), 0);
    log.resize(log.len().max(1024).next_multiple_of(512), 0);
    if flags & 1 == 0 {
        // The log of this very hive: base block, time, names.
        let mut block = hive[..512].to_vec();
        put(&mut block, 0, b"regf");
        let bins = match number(&log, 40) {
            bins if bins != 0 && bins % 4096 == 0 && bins <= 1 << 20 => bins,
            _ => u32::try_from(hive.len() / 4096 * 4096).unwrap().saturating_sub(4096).max(4096),
        };
        for (at, field) in [(4, 7_u32), (8, 7), (20, 1), (24, 3), (28, 1), (32, 1), (40, bins), (44, 1)] {
            put(&mut block, at, &field.to_le_bytes());
        }
        sum(&mut block);
        put(&mut log, 0, &block);
        put(&mut log, 512, b"DIRT");
        for (at, field) in [(4, 8_u32), (8, 7), (28, 0), (40, bins)] {
            put(&mut block, at, &field.to_le_bytes());
        }
        sum(&mut block);
        put(&mut hive, 0, &block);
        put(&mut hive, 4096, b"hbin");
        if flags & 2 != 0 {
            // A base block that was torn: the first bin has the time.
            let time = block[12..20].to_vec();
            put(&mut hive, 4096 + 20, &time);
            hive[508] ^= 0xff;
        }
    }
    let Ok(log) = Log::parse(log) else { return };
    let Ok(whole) = replay(hive.clone(), &log) else { return };
    assert_eq!(Hive::dirty_base_block(&whole), None, "clean once it is replayed");
    assert!(replay(whole.clone(), &log).is_err(), "a clean hive's log is never replayed");
    hive.resize(whole.len().max(hive.len()), 0);
    let groups = replay_script(&hive, &log).expect("what replays in memory replays in sectors");
    assert!(written(&hive, &groups) == whole, "both ways give the same hive");
    // Cut in the middle: some of the pages, never the base block.
    let mut torn = hive.clone();
    let pages = groups.iter().filter(|group| group.step == deblast::hive::edit::Step::Pages);
    for patch in pages.flat_map(|group| &group.sectors) {
        subset = subset.wrapping_mul(0x5851_f42d).wrapping_add(0x1405);
        if subset >> 9 & 1 == 0 {
            put(&mut torn, usize::try_from(patch.offset).unwrap(), &patch.after);
        }
    }
    match replay(torn, &log) {
        Ok(again) => assert!(again == whole, "replayed again after a cut: the same hive"),
        Err(error) => panic!("the log that was being replayed is refused after a cut: {error}"),
    }
}

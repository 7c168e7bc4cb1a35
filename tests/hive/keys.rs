//! New keys: where they go, what their lists become, what is refused.

use deblast::hive::Hive;
use deblast::hive::check::survey;
use deblast::hive::edit::{Edit, Room, Step, edit, edit_within};
use deblast::hive::tree::{actual_tree, expected_tree};
use deblast::path::{RegPath, fold_name};
use regf::hive::RegistryHive;

use crate::common::{NOW, Random, create, data, delete, made, set, tight};
use crate::corpus::{NT4_SYSTEM, XP_NTUSER, XP_SYSTEM, real};
use crate::cut::{cut, cut_within};

/// Makes so many free bytes more, in large pieces.
fn make_room(hive: &mut Hive, bytes: usize) {
    // One value of all of it would be big data, and come in pieces.
    let pieces: Vec<String> = (0..bytes.div_ceil(16_000)).map(|n| format!("piece {n}")).collect();
    let put: Vec<Edit> = pieces.iter().map(|name| set("One", name, data(3, &[1; 16_000]))).collect();
    edit_within(hive, &put, NOW, Room::Grow).unwrap();
    let away: Vec<Edit> = pieces.iter().map(|name| delete("One", name)).collect();
    edit(hive, &away, NOW).unwrap();
}

fn roomy(minor: u32, bytes: usize) -> Hive {
    let mut hive = tight(minor);
    make_room(&mut hive, bytes);
    hive
}

fn names(hive: &Hive, key: &str) -> Vec<String> {
    let key = hive.key(&RegPath::new(key)).unwrap().unwrap();
    key.subkeys().unwrap().iter().map(|key| key.name()).collect()
}

/// Signature of the list of a key's subkeys.
fn list_kind(hive: &Hive, key: &str) -> [u8; 2] {
    let at = hive.key(&RegPath::new(key)).unwrap().unwrap().offset().file_offset() as usize + 4;
    let word = |at: usize| u32::from_le_bytes(hive.as_bytes()[at..at + 4].try_into().unwrap()) as usize;
    let list = 4096 + word(at + 28) + 4;
    hive.as_bytes()[list..list + 2].try_into().unwrap()
}

/// Creates so many keys below None, in no order; gives their names.
fn crowd(hive: &mut Hive, random: &mut Random, from: usize, to: usize) -> Vec<Edit> {
    let mut numbers: Vec<usize> = (from..to).collect();
    for last in (1..numbers.len()).rev() {
        numbers.swap(last, random.below(last + 1));
    }
    let edits: Vec<Edit> = numbers.iter().map(|n| create(&format!(r"None\Key {n:04}"))).collect();
    let tree = expected_tree(hive, &edits).unwrap();
    edit_within(hive, &edits, NOW, Room::Grow).unwrap();
    assert_eq!(actual_tree(hive, &edits).unwrap(), tree);
    edits
}

#[test]
fn lists_change_their_kind_and_part_as_they_grow() {
    for minor in [3, 5] {
        let mut hive = tight(minor);
        let mut random = Random(minor.into());
        let mut next = 0;
        // Entries at which a list is written otherwise: one below it, then that very edit, cut everywhere.
        let steps: &[(usize, &[u8; 2], &[u8; 2])] = match minor {
            3 => &[(507, b"lf", b"li"), (1013, b"li", b"ri"), (1600, b"ri", b"ri")],
            _ => &[(1013, b"lh", b"ri"), (1600, b"ri", b"ri")],
        };
        for (count, before, after) in steps {
            crowd(&mut hive, &mut random, next, *count);
            next = *count + 1;
            assert_eq!(&list_kind(&hive, "None"), *before, "1.{minor}: {count} keys");
            let one = [create(&format!(r"None\Key {count:04}"))];
            make_room(&mut hive, 32_000);
            cut(&hive, &one, "the list changes");
            edit(&mut hive, &one, NOW).unwrap();
            assert_eq!(&list_kind(&hive, "None"), *after, "1.{minor}: {next} keys");
            let found = survey(&hive);
            assert_eq!((found.problems, found.leaked), (vec![], 0), "1.{minor}: {next} keys");
            let wanted: Vec<String> = (0..next).map(|n| format!("Key {n:04}")).collect();
            assert_eq!(names(&hive, "None"), wanted);
            let theirs = RegistryHive::from_bytes(hive.as_bytes().to_vec()).unwrap();
            let theirs = theirs.open_key("None").unwrap().subkeys().unwrap();
            assert_eq!(theirs.iter().map(|key| key.name()).collect::<Vec<_>>(), wanted, "regf");
        }
    }
}

#[test]
fn new_keys_in_real_hives_may_be_cut() {
    for (name, key) in [
        (XP_SYSTEM, r"Select\New"),
        (XP_SYSTEM, r"ControlSet001\Services\Deblast"),
        (NT4_SYSTEM, r"ControlSet001\Services\Deblast"),
        (XP_NTUSER, r"Control Panel\Keyboard\New"),
    ] {
        let Some(bytes) = real(name) else { return };
        let hive = Hive::parse(bytes).unwrap();
        let count = cut_within(&hive, &[create(key)], name, Room::Grow);
        println!("{name}, {key}: {count} cuts, none broken");
    }
}

#[test]
fn names_are_sorted_as_windows_does() {
    let mut hive = roomy(5, 16_000);
    let wanted = ["_", "a", "B", "ä", "Z", "z1", "Ω", "ωx", "日本", "!"];
    let edits: Vec<Edit> = wanted.iter().map(|name| create(&format!(r"None\{name}"))).collect();
    edit(&mut hive, &edits, NOW).unwrap();
    let found = names(&hive, "None");
    let mut sorted = found.clone();
    sorted.sort_by_key(|name| fold_name(name).encode_utf16().collect::<Vec<u16>>());
    assert_eq!((found.len(), &found), (wanted.len(), &sorted));
    assert_eq!(survey(&hive).problems, vec![]);
}

#[test]
fn a_key_across_two_sectors_moves_or_is_refused() {
    for minor in [3, 5] {
        let mut hive = tight(minor);
        // Enough keys that some lie where the count and the list of their subkeys are in two sectors.
        let keys: Vec<String> = (0..400).map(|n| format!(r"None\{n:03}")).collect();
        let all: Vec<Edit> = keys.iter().map(|key| create(key)).collect();
        edit_within(&mut hive, &all, NOW, Room::Grow).unwrap();
        make_room(&mut hive, 16_000);
        let at = |hive: &Hive, key: &str| hive.key(&RegPath::new(key)).unwrap().unwrap().offset().raw();
        let across: Vec<&String> = keys.iter().filter(|key| at(&hive, key) % 512 == 480).collect();
        assert!(across.len() > 1, "{} keys", across.len());
        let key = across[0];
        let with_value = [set(key, "v", data(3, &[1; 30]))];
        edit(&mut hive, &with_value, NOW).unwrap();
        let place = at(&hive, key);
        let edits = [create(&format!(r"{key}\below")), set(&format!(r"{key}\below"), "x", data(4, &[1; 4]))];
        cut(&hive, &edits, "a key that moves");
        let groups = edit(&mut hive, &edits, NOW).unwrap();
        let flip = groups.iter().find(|group| group.step == Step::Flip).unwrap();
        assert_eq!(flip.sectors.len(), 1);
        assert_ne!(at(&hive, key), place, "it has moved");
        let found = survey(&hive);
        assert_eq!((found.problems, found.leaked), (vec![], 0));
    }
    let Some(system) = real(XP_SYSTEM) else { return };
    let mut hive = Hive::parse(system).unwrap();
    let mut pending = vec![RegPath::default()];
    let mut refused = 0;
    while let Some(path) = pending.pop() {
        let key = hive.key(&path).unwrap().unwrap();
        let subkeys = key.subkeys().unwrap();
        let across = key.offset().raw() % 512 == 480 && !subkeys.is_empty();
        pending.extend(subkeys.iter().map(|key| path.join(&key.name())));
        if across && refused < 3 {
            let before = hive.clone();
            let error = edit(&mut hive, &[create(path.join("new").as_str())], NOW).err().unwrap().to_string();
            assert!(error.contains("lies across two sectors"), "{error}");
            assert!(hive.as_bytes() == before.as_bytes());
            refused += 1;
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3);
}

#[test]
fn refusals_of_new_keys_are_in_words() {
    let before = made(5);
    let long = format!(r"None\{}", "k".repeat(256));
    let deep = vec!["d"; 512].join(r"\");
    for (edits, words) in [
        (
            vec![create("none")],
            "cannot create the key none: cannot add it to the keys there: it exists already",
        ),
        (vec![create("")], "it exists already"),
        (vec![create(r"No\Such")], "cannot find the key above it: it does not exist"),
        (vec![create(&long)], "a name of 256 characters; Windows allows 255"),
        (vec![create("New"), create("NEW")], "it exists already"),
        (vec![create("New"), set(r"New\Other", "x", data(3, &[]))], "cannot find the key: it does not exist"),
    ] {
        let mut hive = before.clone();
        let error = edit(&mut hive, &edits, NOW).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
        assert!(hive.as_bytes() == before.as_bytes(), "{words}");
    }
    let mut hive = tight(5);
    let levels: Vec<Edit> = (1..=511).map(|level| create(&deep[..2 * level - 1])).collect();
    edit_within(&mut hive, &levels, NOW, Room::Grow).unwrap();
    assert_eq!(survey(&hive).problems, vec![], "512 levels with the root");
    let error = edit_within(&mut hive, &[create(&deep)], NOW, Room::Grow).err().unwrap().to_string();
    assert!(error.contains("it is on level 512, the last one"), "{error}");
}

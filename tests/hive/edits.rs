//! Each kind of edit, judged by readers that are not ours.

use deblast::change::ValueData;
use deblast::hive::check::survey;
use deblast::hive::edit::{Edit, Step, edit};
use deblast::hive::tree::{actual_tree, expected_tree};
use deblast::hive::{Hive, second};
use deblast::path::{RegPath, same_name};

use crate::common::{
    NOW, RUN, create, data, delete, judged, made, ours, set, structure, there, tight, written,
};

/// Scripts that touch every way of making an edit, each with a word for the failure message.
pub(crate) fn scripts(minor: u32) -> Vec<(&'static str, Vec<Edit>)> {
    let sz = ValueData::sz;
    let ole = r"Microsoft\Ole";
    let mut scripts = vec![
        ("delete the first of several", vec![delete(RUN, "synchronize")]),
        ("delete one in the middle", vec![delete(RUN, "WINDOWS auto UPDATE")]),
        ("delete the last of several", vec![delete(RUN, "empty")]),
        ("delete the only one", vec![delete("One", "msblast")]),
        ("delete the default value", vec![delete("Default", "")]),
        ("delete by Latin-1 name", vec![delete(RUN, "GRÖßE")]),
        ("delete by UTF-16 name", vec![delete(RUN, "ωmega")]),
        ("delete a big one", vec![delete("Room", "big")]),
        ("inline to inline", vec![set(ole, "EnableDCOM", sz("N"))]),
        ("inline to cell", vec![set(ole, "EnableDCOM", sz("never"))]),
        ("cell to inline", vec![set(RUN, "Synchronize", sz("x"))]),
        ("cell to smaller cell", vec![set(RUN, "Synchronize", sz("shorter"))]),
        ("cell to larger cell", vec![set(RUN, "Synchronize", sz(&"long ".repeat(90)))]),
        ("cell to nothing", vec![set(RUN, "Synchronize", data(1, &[]))]),
        ("nothing to cell", vec![set(RUN, "empty", data(3, b"something"))]),
        ("type, inline to inline", vec![set(RUN, "number", data(3, &[9; 4]))]),
        ("type, inline to cell", vec![set(RUN, "number", data(11, &[9; 8]))]),
        ("type, cell to inline", vec![set(RUN, "Synchronize", data(4, &[1, 0, 0, 0]))]),
        ("type, cell to cell", vec![set(RUN, "Ωmega", data(7, &[1; 700]))]),
        ("create inline", vec![set(ole, "new", data(4, &[1, 0, 0, 0]))]),
        ("create in a cell", vec![set(RUN, "new", sz("a new value"))]),
        ("create across sectors", vec![set(RUN, "new", data(3, &[7; 1200]))]),
        ("create in a key without values", vec![set("None", "new", sz("the first value"))]),
        ("create the default value", vec![set("None", "", sz("the default value"))]),
        ("create an empty one", vec![set("None", "new", data(0, &[]))]),
        ("create with a Latin-1 name", vec![set("None", "Çédille", sz("x"))]),
        ("create with a UTF-16 name", vec![set("None", "日本語", sz("x"))]),
        (
            "several",
            vec![
                delete(RUN, "windows auto update"),
                set(ole, "EnableDCOM", sz("N")),
                set("Default", "", sz("another default value, somewhat longer than the first")),
                set(RUN, "tidy", sz("rundll32")),
                delete(RUN, "Synchronize"),
                set(RUN, "tidy", data(4, &[1, 2, 3, 4])),
                delete("One", "msblast"),
                set("One", "again", sz("a value again")),
            ],
        ),
        (
            "new values until lists grow",
            (0..7).map(|n| set("None", &format!("v{n}"), data(4, &[n; 4]))).collect(),
        ),
    ];
    let key = |path: &str| create(path);
    scripts.extend([
        ("the first subkey", vec![key(r"None\New")]),
        ("a subkey in the middle", vec![key(r"Classes\CLSID\{00000030}x")]),
        ("a subkey before all", vec![key(r"Classes\CLSID\!")]),
        ("a subkey behind all, in UTF-16", vec![key(r"Classes\CLSID\Ωmega")]),
        ("a subkey of the root, in Latin-1", vec![key("grün")]),
        (
            "a path of keys with values",
            vec![
                key(r"None\a"),
                key(r"None\a\b"),
                set(r"None\a\b", "value", sz("in a new key")),
                key(r"none\A\B\c"),
                set(r"None\a\b\c", "", sz("the default value")),
                delete(r"None\a\b", "VALUE"),
                key(r"None\A2"),
            ],
        ),
    ]);
    if minor == 3 {
        scripts.push((
            "big data in one plain cell",
            vec![delete("Room", "big"), set("Room", "plain", data(3, &[3; 17000]))],
        ));
    }
    scripts
}

/// What the edits make of the values of a key, done on the list that another reader gave.
fn modelled(
    mut values: Vec<(String, u32, Vec<u8>)>,
    key: &RegPath,
    edits: &[Edit],
) -> Vec<(String, u32, Vec<u8>)> {
    let same = |edit: &&Edit| edit.key() == key && edit.value().is_some();
    for edit in edits.iter().filter(same) {
        let index = values.iter().position(|(name, ..)| same_name(name, edit.value().unwrap()));
        match (edit, index) {
            (Edit::Delete { .. }, index) => drop(values.remove(index.unwrap())),
            (Edit::Set { to, .. }, Some(index)) => {
                values[index] = (values[index].0.clone(), to.kind.0, to.data.clone());
            }
            (Edit::Set { to, value, .. }, None) => values.push((value.clone(), to.kind.0, to.data.clone())),
            (Edit::CreateKey { .. }, _) => unreachable!("it has no value"),
        }
    }
    values
}

#[test]
fn made_hives_are_sound() {
    for minor in [3, 5] {
        for hive in [tight(minor), made(minor)] {
            let survey = survey(&hive);
            assert_eq!((survey.problems, survey.leaked), (vec![], 0), "1.{minor}");
            assert_eq!(hive.minor(), minor);
        }
    }
}

#[test]
fn each_edit_reads_back_in_three_readers() {
    for minor in [3, 5] {
        for (what, edits) in scripts(minor) {
            let before = made(minor);
            let mut after = before.clone();
            let groups = edit(&mut after, &edits, NOW + 1).unwrap();
            assert!(
                written(before.as_bytes(), &groups) == after.as_bytes(),
                "the groups make the image: {what}"
            );
            let found = survey(&after);
            assert_eq!((found.problems, found.leaked), (vec![], 0), "1.{minor} {what}");
            assert_eq!(after.dirty(), None);
            assert_eq!(after.last_written(), NOW + 1);
            assert_eq!(
                expected_tree(&before, &edits).unwrap(),
                actual_tree(&after, &edits).unwrap(),
                "1.{minor} {what}"
            );
            for edit in &edits {
                let key = edit.key();
                let wanted =
                    modelled(there(before.as_bytes(), key.as_str()).unwrap_or_default(), key, &edits);
                assert_eq!(judged(after.as_bytes(), key.as_str()), wanted, "regf: 1.{minor} {what}");
                assert_eq!(ours(&after, key.as_str()), wanted, "ours: 1.{minor} {what}");
                let value = edit.value().unwrap_or("no such value");
                let wanted = wanted.iter().find(|(name, ..)| same_name(name, value));
                match second::read_value(&after, key, value) {
                    Ok(found) => assert_eq!(
                        found,
                        wanted.map(|(_, kind, bytes)| data(*kind, bytes)),
                        "nt-hive: 1.{minor} {what}"
                    ),
                    Err(error) => {
                        assert!(second::unreadable(&error), "{error}");
                        assert_eq!(what, "big data in one plain cell");
                    }
                }
                assert_eq!(after.key(key).unwrap().unwrap().last_written(), NOW + 1);
            }
        }
    }
}

#[test]
fn groups_come_in_order_and_sync_points_are_few() {
    let mut hive = made(5);
    let groups = edit(&mut hive, &[set(RUN, "new", ValueData::sz("text")), delete(RUN, "new")], NOW).unwrap();
    let steps: Vec<(usize, Step)> = groups.iter().map(|group| (group.edit, group.step)).collect();
    use Step::{Contents, Flip, Free, Header, Headers};
    assert_eq!(
        steps,
        [
            (0, Contents),
            (0, Headers),
            (0, Flip),
            (0, Free),
            (0, Header),
            // The last value of several goes by its count alone.
            (1, Flip),
            (1, Free),
            (1, Header)
        ]
    );
    for group in &groups {
        assert!(group.sectors.is_sorted_by(|a, b| a.offset < b.offset));
        let single = matches!(group.step, Flip | Header);
        assert!(!single || group.sectors.len() == 1, "{:?} writes one sector", group.step);
    }
    let groups = edit(&mut hive, &[set(r"Microsoft\Ole", "EnableDCOM", ValueData::sz("N"))], NOW).unwrap();
    let flip = &groups[0].sectors[0];
    let changed = flip.before.iter().zip(&flip.after).filter(|(a, b)| a != b).count();
    assert_eq!((groups[0].step, changed), (Flip, 1), "DCOM off is one byte");
}

#[test]
fn set_then_delete_is_as_before() {
    for minor in [3, 5] {
        let before = made(minor);
        let mut hive = before.clone();
        let there = [set(RUN, "new", ValueData::sz("text")), set("None", "x", data(4, &[1; 4]))];
        edit(&mut hive, &there, NOW + 1).unwrap();
        edit(&mut hive, &[delete(RUN, "new"), delete("None", "x")], NOW + 2).unwrap();
        assert_eq!(actual_tree(&before, &there).unwrap(), actual_tree(&hive, &there).unwrap());
        assert_eq!(survey(&before).free, survey(&hive).free, "no room is lost");
        assert_ne!(actual_tree(&before, &[]).unwrap(), actual_tree(&hive, &[]).unwrap(), "times differ");
    }
}

#[test]
fn an_edit_that_changes_nothing_writes_nothing() {
    let before = made(5);
    let mut hive = before.clone();
    let same = set(r"Microsoft\Ole", "enabledcom", ValueData::sz("Y"));
    assert!(edit(&mut hive, &[same], NOW + 1).unwrap().is_empty());
    assert!(hive.as_bytes() == before.as_bytes());
}

#[test]
fn refusals_are_in_words_and_leave_the_image() {
    let big = data(3, &[1; 16345]);
    let huge = data(3, &[1; 16000]);
    let first = set(r"Microsoft\Ole", "EnableDCOM", ValueData::sz("never"));
    for (second, words) in [
        (
            delete(RUN, "no such"),
            r#"cannot delete the value "no such" of Microsoft\Windows\CurrentVersion\Run: cannot find the value: it does not exist"#,
        ),
        (set("No\\Key", "x", ValueData::sz("x")), "cannot find the key: it does not exist"),
        (
            set("None", "x", big),
            "bytes are needed, of them 16352 in one piece, and the largest free cell has ",
        ),
        (
            set("None", "x", huge),
            "bytes are needed, of them 16008 in one piece, and the largest free cell has ",
        ),
        (set("None", &"n".repeat(16384), ValueData::sz("x")), "a name of 16384 characters"),
    ] {
        let before = made(5);
        let mut hive = before.clone();
        let error = edit(&mut hive, &[first.clone(), second], NOW).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
        assert!(hive.as_bytes() == before.as_bytes(), "{words}");
    }
    let mut bytes = made(5).into_bytes();
    bytes[4] ^= 1;
    let mut dirty = Hive::parse(bytes).unwrap();
    let error = edit(&mut dirty, &[first], NOW).err().unwrap().to_string();
    assert!(error.contains("it is dirty: the checksum is 0x"), "{error}");
}

#[test]
fn a_predefined_handle_and_a_doubled_name_are_refused() {
    let hive = made(3);
    let at = hive.key(&RegPath::new("One")).unwrap().unwrap().offset().file_offset() as usize;
    let mut bytes = hive.into_bytes();
    bytes[at + 4 + 2] |= 0x40;
    let mut hive = Hive::parse(bytes).unwrap();
    let error = edit(&mut hive, &[delete("One", "msblast")], NOW).err().unwrap().to_string();
    assert!(error.contains("predefined handle"), "{error}");

    let hive = made(3);
    let run = hive.key(&RegPath::new(RUN)).unwrap().unwrap();
    let number = run.value("number").unwrap().unwrap().offset().file_offset() as usize;
    let mut bytes = hive.as_bytes().to_vec();
    let name = number + 4 + 20;
    assert_eq!(&bytes[name..name + 6], b"number");
    // "empty" has a letter less.
    bytes[number + 4 + 2] = 5;
    bytes[name..name + 5].copy_from_slice(b"EMPTY");
    let mut hive = Hive::parse(bytes).unwrap();
    let error = edit(&mut hive, &[delete(RUN, "empty")], NOW).err().unwrap().to_string();
    assert!(error.contains("two values have this name"), "{error}");
    assert_eq!(structure(&hive), [], "a doubled name is no problem of structure");
    assert_eq!(survey(&hive).problems.len(), 1);
}

#[test]
fn maxima_are_raised_and_fall_with_the_last_value() {
    let mut hive = made(5);
    let maxima = |hive: &Hive| {
        let at = hive.key(&RegPath::new("None")).unwrap().unwrap().offset().file_offset() as usize + 4;
        let bytes = hive.as_bytes();
        [60, 64].map(|field| u32::from_le_bytes(bytes[at + field..at + field + 4].try_into().unwrap()))
    };
    edit(&mut hive, &[set("None", "abc", data(3, &[1; 10])), set("None", "b", data(3, &[1; 9]))], NOW)
        .unwrap();
    assert_eq!(maxima(&hive), [6, 10]);
    edit(&mut hive, &[delete("None", "abc")], NOW).unwrap();
    assert_eq!(maxima(&hive), [6, 10]);
    edit(&mut hive, &[delete("None", "b")], NOW).unwrap();
    assert_eq!(maxima(&hive), [0, 0]);
}

#[test]
fn the_second_reader_is_fenced() {
    let hive = made(3);
    let read = |hive: &Hive, key: &str, value: &str| second::read_value(hive, &RegPath::new(key), value);
    assert_eq!(read(&hive, RUN, "EMPTY").unwrap(), Some(data(3, &[])), "an empty value");
    assert_eq!(read(&hive, RUN, "no such").unwrap(), None);
    assert_eq!(read(&hive, "no such", "x").unwrap(), None);
    assert_eq!(read(&hive, "Default", "").unwrap(), Some(ValueData::sz("the default value")));
    let error = read(&hive, "Room", "big").err().unwrap();
    assert!(second::unreadable(&error), "{error}");
    assert!(read(&made(5), "Room", "big").unwrap().is_some(), "real big data is read");
    // An entry of 0xFFFFFFFF makes nt-hive assert.
    let at = hive.key(&RegPath::new(RUN)).unwrap().unwrap().offset().file_offset() as usize;
    let mut bytes = hive.into_bytes();
    let list = u32::from_le_bytes(bytes[at + 44..at + 48].try_into().unwrap()) as usize + 4096 + 4;
    bytes[list..list + 4].fill(0xFF);
    let error = read(&Hive::parse(bytes).unwrap(), RUN, "number").err().unwrap();
    assert!(!second::unreadable(&error) && error.to_string().contains("the cell of a key value"), "{error}");
}

//! Each kind of edit on each sound hive of the corpus, judged by readers that are not ours: hivex and regf accept what
//! they accepted before, and see exactly the edit.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use deblast::hive::Hive;
use deblast::hive::check::check;
use deblast::hive::edit::{Edit, Room, edit_within};
use deblast::hive::tree::{actual_tree, expected_tree};
use regf::hive::{RegistryHive, RegistryKey};

use crate::common::{NOW, delete, set};
use crate::corpus::sound;
use crate::kinds::edits;

/// Above this many bytes a hive is shown to the other readers once, after all edits, not after each.
const LARGE: usize = 256 * 1024;

/// Everything in a hive as the crate regf reads it: a line a key, a line a value. None: it refuses the hive.
fn regf_dump(bytes: &[u8]) -> Option<BTreeSet<String>> {
    fn walk(key: &RegistryKey<'_>, path: &str, dump: &mut BTreeSet<String>) -> Option<()> {
        dump.insert(format!("{path} {:?} {}", key.class_name().ok()?, key.is_root()));
        for value in key.values().ok()? {
            dump.insert(format!(
                "{path}|{}|{}|{:02x?}",
                value.name(),
                value.raw_data_type(),
                value.raw_data().ok()?
            ));
        }
        for subkey in key.subkeys().ok()? {
            walk(&subkey, &format!(r"{path}\{}", subkey.name()), dump)?;
        }
        Some(())
    }
    let hive = RegistryHive::from_bytes(bytes.to_vec()).ok()?;
    let mut dump = BTreeSet::new();
    walk(&hive.root_key().ok()?, "", &mut dump)?;
    Some(dump)
}

/// What an edit makes of that dump.
fn modelled(dump: &BTreeSet<String>, edit: &Edit) -> BTreeSet<String> {
    let mut dump = dump.clone();
    let path = match edit.key().as_str() {
        "" => String::new(),
        path => format!(r"\{path}"),
    };
    let Some(name) = edit.value() else {
        dump.insert(format!("{path} None false"));
        return dump;
    };
    let before = format!("{path}|{name}|");
    dump.retain(|line| !line.starts_with(&before));
    if let Edit::Set { to, .. } = edit {
        dump.insert(format!("{before}{}|{:02x?}", to.kind.0, to.data));
    }
    dump
}

/// What a tool prints of a hive; none where it refuses it.
fn printed(program: &str, words: &[&str], bytes: &[u8]) -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut words: Vec<&str> = words.to_vec();
    let path = file.path().to_str().unwrap();
    words.iter_mut().filter(|word| **word == "FILE").for_each(|word| *word = path);
    let output = Command::new(program).args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn hivexml(bytes: &[u8]) -> Option<String> {
    let mut text = printed("hivexml", &["FILE"], bytes)?;
    // Times and places change by every edit.
    for tag in ["mtime", "byte_runs"] {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let parts: Vec<&str> =
            text.split(&open).map(|part| part.split_once(&close).map_or(part, |(_, rest)| rest)).collect();
        text = parts.concat();
    }
    Some(text)
}

fn hivexregedit(bytes: &[u8]) -> Option<BTreeMap<String, usize>> {
    let text = printed("hivexregedit", &["--export", "--prefix", "X", "FILE", r"\"], bytes)?;
    let mut lines = BTreeMap::new();
    text.lines().for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
    Some(lines)
}

/// How many lines the second dump has more, and how many less, than the first.
fn difference(before: &BTreeMap<String, usize>, after: &BTreeMap<String, usize>) -> (usize, usize) {
    let surplus = |a: &BTreeMap<String, usize>, b: &BTreeMap<String, usize>| {
        a.iter().map(|(line, count)| count.saturating_sub(b.get(line).copied().unwrap_or(0))).sum::<usize>()
    };
    (surplus(after, before), surplus(before, after))
}

/// The cells, free ones too, as place in the file and length.
fn cells(bytes: &[u8]) -> Vec<(usize, usize, bool)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut bin, mut cells) = (4096, Vec::new());
    while bin < 4096 + word(40) as usize {
        let end = bin + word(bin + 8) as usize;
        let mut at = bin + 32;
        while at < end {
            let size = (word(at) as i32).unsigned_abs() as usize;
            cells.push((at, size, word(at) >> 31 == 0));
            at += size;
        }
        bin = end;
    }
    cells
}

/// Cells that an edit may change: the key's and its lists, the value's and its data; of a new key the key above with
/// its lists and security.
fn named(hive: &Hive, edit: &Edit) -> BTreeSet<usize> {
    let bytes = hive.as_bytes();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let follow = |at: usize| (word(at) != u32::MAX).then(|| 4096 + word(at) as usize);
    let path = match edit {
        Edit::CreateKey { key } => key.parent().unwrap(),
        _ => edit.key().clone(),
    };
    let key = hive.key(&path).unwrap().unwrap();
    let at = key.offset().file_offset() as usize;
    let mut named = BTreeSet::from([at]);
    let Some(name) = edit.value() else {
        named.extend(follow(at + 4 + 28));
        named.extend(follow(at + 4 + 44));
        if let Some(list) = follow(at + 4 + 28).filter(|list| &bytes[list + 4..list + 6] == b"ri") {
            let count = usize::from(bytes[list + 6]) + 256 * usize::from(bytes[list + 7]);
            named.extend((0..count).filter_map(|leaf| follow(list + 8 + 4 * leaf)));
        }
        return named;
    };
    named.extend(follow(at + 4 + 40));
    if let Some(value) = key.value(name).unwrap() {
        let value = value.offset().file_offset() as usize;
        named.insert(value);
        let data = follow(value + 12).filter(|_| word(value + 8) >> 31 == 0);
        named.extend(data);
        if let Some(record) = data.filter(|_| hive.minor() > 3 && word(value + 8) > 16344) {
            let list = follow(record + 8).unwrap();
            named.insert(list);
            let count = usize::from(bytes[record + 6]) + 256 * usize::from(bytes[record + 7]);
            named.extend((0..count).filter_map(|segment| follow(list + 4 + 4 * segment)));
        }
    }
    named
}

/// Whether every byte that differs lies where the edit may write.
fn only_where_it_may(before: &Hive, after: &Hive, edit: &Edit) {
    let named = named(before, edit);
    let (old, new) = (before.as_bytes(), after.as_bytes());
    let mut may = vec![false; new.len()];
    // Sequence numbers, time, size of the bins, checksum; the first bin's time; bins that are new.
    let fixed = [4..20, 40..44, 508..512, 4096 + 20..4096 + 28, old.len()..new.len()];
    fixed.into_iter().for_each(|range| may[range].fill(true));
    for (at, size, free) in cells(old) {
        if free || named.contains(&at) {
            may[at..at + size].fill(true);
        }
    }
    let end = 4096 + u32::from_le_bytes(old[40..44].try_into().unwrap()) as usize;
    let grown = 4096 + u32::from_le_bytes(new[40..44].try_into().unwrap()) as usize;
    may[end..grown].fill(true);
    for at in 0..old.len() {
        assert!(old[at] == new[at] || may[at], "byte {at:#x} is none of {edit:?}'s");
    }
}

#[test]
fn each_edit_of_each_sound_hive() {
    let have = |program: &str| {
        let there = Command::new(program).output().is_ok();
        if !there {
            println!("skipped: {program} is not there to judge");
        }
        there
    };
    let hivex = have("hivexml") && have("hivexregedit");
    let (mut made, mut shown) = (0, 0);
    for (name, bytes) in sound() {
        let before = Hive::parse(bytes).unwrap();
        let problems = check(&before);
        let dump = regf_dump(before.as_bytes());
        let xml = hivexml(before.as_bytes()).filter(|_| hivex);
        let lines = hivexregedit(before.as_bytes()).filter(|_| hivex);
        let edits = edits(&before);
        for (what, edit, more, less) in &edits {
            let mut after = before.clone();
            edit_within(&mut after, std::slice::from_ref(edit), NOW, Room::Grow)
                .unwrap_or_else(|error| panic!("{name}, {what}: {error}"));
            assert_eq!(check(&after), problems, "{name}, {what}");
            let one = std::slice::from_ref(edit);
            assert_eq!(
                actual_tree(&after, one).unwrap(),
                expected_tree(&before, one).unwrap(),
                "{name}, {what}"
            );
            only_where_it_may(&before, &after, edit);
            made += 1;
            if before.as_bytes().len() > LARGE {
                continue;
            }
            if let Some(dump) = &dump {
                let found = regf_dump(after.as_bytes());
                assert!(found == Some(modelled(dump, edit)), "regf: {name}, {what}");
                shown += 1;
            }
            if let Some(lines) = &lines {
                let found = hivexregedit(after.as_bytes());
                let found = found.unwrap_or_else(|| panic!("hivexregedit: {name}, {what}"));
                assert_eq!(difference(lines, &found), (*more, *less), "hivexregedit: {name}, {what}");
            }
            assert!(xml.is_none() || hivexml(after.as_bytes()).is_some(), "hivexml: {name}, {what}");
        }
        all_and_back(&before, &edits, &name, (dump, xml));
    }
    println!("{made} edits, {shown} of them shown to regf one by one");
}

/// All edits one after the other; then each value as it was again, which hivexml must see as no difference at all but
/// for the new keys, which cannot be deleted and come before.
fn all_and_back(
    before: &Hive,
    edits: &[(&str, Edit, usize, usize)],
    name: &str,
    (dump, xml): (Option<BTreeSet<String>>, Option<String>),
) {
    let mut after = before.clone();
    let all: Vec<Edit> = edits.iter().map(|(_, edit, ..)| edit.clone()).collect();
    edit_within(&mut after, &all, NOW, Room::Grow).unwrap();
    if let Some(dump) = dump {
        let wanted = all.iter().fold(dump, |dump, edit| modelled(&dump, edit));
        assert!(regf_dump(after.as_bytes()) == Some(wanted), "regf: {name}, all edits");
    }
    // A deleted value comes back at the end of its list.
    let there: Vec<&Edit> = all.iter().filter(|edit| matches!(edit, Edit::Set { .. })).collect();
    let mut back = before.clone();
    let sets: Vec<Edit> = there.iter().map(|edit| (*edit).clone()).collect();
    edit_within(&mut back, &sets, NOW, Room::Grow).unwrap();
    let mut undo = BTreeMap::new();
    for edit in there {
        let value = edit.value().unwrap();
        let old = before.key(edit.key()).unwrap().unwrap().value(value).unwrap();
        let edit = match old {
            Some(old) => set(edit.key().as_str(), value, old.data().unwrap()),
            None => delete(edit.key().as_str(), value),
        };
        undo.insert((edit.key().as_str().to_owned(), value.to_owned()), edit);
    }
    let undo: Vec<Edit> = undo.into_values().collect();
    edit_within(&mut back, &undo, NOW, Room::FreeCells).unwrap();
    assert_eq!(actual_tree(before, &sets).unwrap(), actual_tree(&back, &sets).unwrap(), "{name}");
    if let Some(xml) = xml {
        assert!(hivexml(back.as_bytes()) == Some(xml), "hivexml: {name}, set and back");
    }
}

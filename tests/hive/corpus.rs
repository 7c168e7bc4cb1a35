//! Real hives. Their facts are listed in the corpus' README; without the corpus these tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;

use deblast::change::ValueData;
use deblast::hive::check::survey;
use deblast::hive::edit::{Edit, edit};
use deblast::hive::tree::{actual_tree, expected_tree};
use deblast::hive::{Hive, second};

use crate::common::{NOW, data, delete, judged, ours, set, structure};
use crate::cut::{controls, cut};
use crate::skip::skip;

pub(crate) const XP_SYSTEM: &str = "log2timeline+dfwinreg/history/test_data/SYSTEM.e18f3d4d";
pub(crate) const XP_NTUSER: &str = "log2timeline+dfwinreg/history/test_data/NTUSER.DAT.ff40afc3";
pub(crate) const NT4_SYSTEM: &str = "skelsec+aiowinreg/tests/testdata/nt/system.reg";
pub(crate) const PARTIAL: &str = "mkorman90+regipy/regipy_tests/data/ntuser_software_partial";

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/hive"));
    if !folder.is_dir() {
        println!("skipped: no corpus of real hives at {}", folder.display());
        return None;
    }
    Some(folder.to_path_buf())
}

pub(crate) fn real(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(corpus()?.join(name)).unwrap())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Hives with more to them than the tables tell: each was looked at by hand.
const NOT_SOUND: [(&str, &str); 5] = [
    ("NewDirtyHive1/NewDirtyHive", "dirty: the sequence numbers differ: 3 and 2"),
    ("OldDirtyHive/OldDirtyHive", "dirty: the sequence numbers differ: 5 and 4"),
    ("TruncatedHive", "expected bins up to byte 491520, found a file of 12288 bytes"),
    ("BadSubkeyHive", "the key node is said to be at 0x1470, a cell that is already in use"),
    ("corrupt_sub_key_list.hiv", "the key node is said to be at 0x5480, where no cell starts"),
];

/// Every sound hive of the corpus, with its name; none where there is no corpus.
pub(crate) fn sound() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = corpus() else { return Vec::new() };
    let mut sound = Vec::new();
    for file in files(&folder) {
        let name = file.strip_prefix(&folder).unwrap().display().to_string();
        if !name.contains(".LOG") && NOT_SOUND.iter().all(|(bad, _)| !name.ends_with(bad)) {
            sound.push((name, std::fs::read(file).unwrap()));
        }
    }
    sound
}

/// Every file of the corpus, damaged ones and logs too.
pub(crate) fn every_file() -> Vec<Vec<u8>> {
    let Some(folder) = corpus() else { return Vec::new() };
    files(&folder).iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn every_real_hive_is_sound_or_told_in_words() {
    let Some(folder) = corpus() else { return };
    let (mut sound, mut told) = (0, 0);
    for file in files(&folder).iter().filter(|file| !file.display().to_string().contains(".LOG")) {
        let name = file.display().to_string();
        let hive = Hive::parse(std::fs::read(file).unwrap());
        if let Some((_, words)) = NOT_SOUND.iter().find(|(bad, _)| name.ends_with(bad)) {
            let found = match &hive {
                Err(error) => error.to_string(),
                Ok(hive) => structure(hive).first().expect("a problem of structure").to_string(),
            };
            assert!(found.contains(words), "{name}: {found}");
            told += 1;
            continue;
        }
        let hive = hive.unwrap();
        let survey = survey(&hive);
        assert!(survey.sound(), "{name}: {:?}", survey.problems);
        // Only nt-hive's own test hive has one of the lesser class: offreg did not flag its root.
        assert_eq!(
            survey.problems.len(),
            usize::from(name.ends_with("testhive")),
            "{name}: {:?}",
            survey.problems
        );
        assert_eq!(hive.dirty(), None, "{name}");
        assert_eq!(actual_tree(&hive, &[]).unwrap(), expected_tree(&hive, &[]).unwrap());
        sound += 1;
    }
    assert_eq!((sound, told), (24, NOT_SOUND.len()));
}

#[test]
fn golden_facts() {
    for (name, keys, values) in [
        // The root counts as a key.
        (XP_SYSTEM, 10_269, 27_556),
        ("msuhanov+yarp/hives_for_tests/OldDirtyHive/OldDirtyHive", 5_003, 0),
        ("msuhanov+yarp/hives_for_tests/OldDirtyHive/RecoveredHive_Windows7", 5_003, 1),
    ] {
        let Some(bytes) = real(name) else { return };
        let found = survey(&Hive::parse(bytes).unwrap());
        assert_eq!((found.keys, found.values), (keys, values), "{name}");
    }
}

/// Keys of the real hives, and values there, with edits of each kind.
fn real_edits() -> Vec<(&'static str, Vec<Edit>)> {
    let tcpip = r"ControlSet001\Services\Tcpip\Parameters";
    let run = r"Microsoft\Windows\CurrentVersion\Run";
    let keyboard = r"Control Panel\Keyboard";
    vec![
        (
            XP_SYSTEM,
            vec![
                set("Select", "new", ValueData::sz("a value of our own")),
                set(tcpip, "EnableSecurityFilters", data(4, &[1, 0, 0, 0])),
                delete("Select", "Default"),
                set("Select", "Failed", ValueData::sz("another type")),
            ],
        ),
        (
            NT4_SYSTEM,
            vec![
                delete("Select", "Current"),
                set("Select", "Failed", data(4, &[7, 0, 0, 0])),
                set("Select", "wide", data(3, &[1; 6000])),
            ],
        ),
        (
            XP_NTUSER,
            vec![
                set(keyboard, "windows auto update", ValueData::sz("msblast.exe")),
                set(keyboard, "KeyboardDelay", ValueData::sz("3")),
                delete(keyboard, "InitialKeyboardIndicators"),
                delete(keyboard, "windows auto update"),
            ],
        ),
        (
            PARTIAL,
            vec![
                set(run, "windows auto update", ValueData::sz("msblast.exe")),
                set(run, "windows auto update", data(3, &[1; 600])),
                delete(run, "windows auto update"),
            ],
        ),
    ]
}

#[test]
fn real_hives_are_edited_and_cut() {
    for (name, edits) in real_edits() {
        let Some(bytes) = real(name) else { return };
        let before = Hive::parse(bytes).unwrap();
        let problems = survey(&before).problems;
        let mut after = before.clone();
        edit(&mut after, &edits, NOW).unwrap();
        let found = survey(&after);
        assert_eq!((found.problems, found.leaked), (problems, 0), "{name}");
        for edit in &edits {
            let key = edit.key();
            let last = edits.iter().rev().find(|e| e.key() == key && e.value() == edit.value()).unwrap();
            let wanted = if let Edit::Set { to, .. } = last { Some(to.clone()) } else { None };
            assert_eq!(second::read_value(&after, key, edit.value().unwrap()).unwrap(), wanted, "{name}");
            let names: Vec<String> = ours(&after, key.as_str()).into_iter().map(|(name, ..)| name).collect();
            let other: Vec<String> =
                judged(after.as_bytes(), key.as_str()).into_iter().map(|(name, ..)| name).collect();
            assert_eq!(names, other, "{name}");
        }
        hivexml_accepts(after.as_bytes(), name);
        let judged = cut(&before, &edits, name);
        let (reversed, unsynced) = controls(&before, &edits[..1]);
        assert!(reversed > 0 && unsynced > 0, "{name}: the controls break something");
        println!("{name}: {judged} cuts, none broken; controls {reversed} and {unsynced} broken");
    }
}

/// hivex reads the whole tree; it is there on some machines only.
fn hivexml_accepts(bytes: &[u8], name: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    match Command::new("hivexml").arg(file.path()).output() {
        Err(error) => skip(&format!("hivexml cannot be run: {error}")),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "hivexml on {name}: {words}");
        }
    }
}

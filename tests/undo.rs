//! Taking a run back after others have written: value by value, and whatever has changed again is left and named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;

use common::hives::{by_hivexml, by_regf, multi, reg_hex, value};
use common::{
    Case, DELETION, Journal, OLE, PENDING, RUN, RUN_VALUE, Ran, SESSION, SOFTWARE, SYSTEM, WORM, utf16,
};

type Value = Option<(u32, Vec<u8>)>;

fn sz(text: &str) -> Value {
    Some((1, utf16(&format!("{text}\0"))))
}

/// The Run value, EnableDCOM and the pending operations, by the regf crate; hivexml must read both hives too.
#[track_caller]
fn values(case: &Case) -> (Value, Value, Value) {
    let (software, system) = (case.file(SOFTWARE), case.file(SYSTEM));
    for hive in [&software, &system] {
        assert_eq!(by_hivexml(hive).len(), by_regf(hive).len(), "both judges read the same keys");
    }
    (value(&software, RUN, RUN_VALUE), value(&software, OLE, "EnableDCOM"), value(&system, SESSION, PENDING))
}

fn as_at_first() -> (Value, Value, Value) {
    (sz("msblast.exe"), sz("Y"), None)
}

fn as_cleaned() -> (Value, Value, Value) {
    (None, sz("N"), Some((7, multi(&[DELETION, ""]))))
}

#[track_caller]
fn must_hold(case: &Case, wanted: &(Value, Value, Value), ran: &Ran) {
    let found = values(case);
    ran.require(found == *wanted, &format!("the values {wanted:?}, found {found:?}"));
}

/// Another program's value, so large that the hive grows by bins.
fn others_value(case: &Case) -> Vec<u8> {
    let data: Vec<u8> = (0_u32..14_000).map(|n| n.to_le_bytes()[0] | 1).collect();
    let size = case.file(SOFTWARE).len();
    case.edit_hive(SOFTWARE, &format!("[\\Others]\n\n[\\Others\\Program]\n{}", reg_hex("large", 3, &data)));
    assert!(case.file(SOFTWARE).len() > size, "the hive has grown");
    data
}

#[test]
fn a_hive_that_others_wrote_is_taken_back_by_its_values() {
    let Some(case) = Case::practice() else { return };
    let worm = case.file(WORM);
    case.clean(&[]).exits(0);
    let data = others_value(&case);
    let mut wanted = by_regf(&case.file(SOFTWARE));
    let changed = case.bytes();

    let ran = case.storing(&["undo", "--dry-run", "--json"], &[]).exits(0);
    case.must_hold(&changed, &ran, "a dry run to change no byte");
    let ran = case.undo(&[]).exits(0);
    must_hold(&case, &as_at_first(), &ran);
    wanted.get_mut(RUN).unwrap().insert(RUN_VALUE.to_owned(), sz("msblast.exe").unwrap());
    wanted.get_mut(OLE).unwrap().insert("EnableDCOM".to_owned(), sz("Y").unwrap());
    ran.require(by_regf(&case.file(SOFTWARE)) == wanted, "nothing else in SOFTWARE to change");
    ran.require(value(&case.file(SOFTWARE), r"Others\Program", "large") == Some((3, data)), "others' value");
    ran.require(case.file(WORM) == worm, "the worm's bytes to be back");
    let told: String = ran.at("/changes").to_string();
    for words in [RUN_VALUE, "EnableDCOM", PENDING, "msblast.exe"] {
        ran.require(told.contains(words), &format!("the report to name {words}"));
    }
    ran.require(case.runs().len() == 2, "a journal of the undo's own");

    let now = case.bytes();
    let ran = case.undo(&[]).exits(0);
    case.must_hold(&now, &ran, "a second undo to change no byte");
    ran.says("nothing is to be taken back");
}

/// A clean that was cut in the midst of SOFTWARE; then somebody else wrote that hive.
#[test]
fn a_cut_run_over_which_others_wrote_is_taken_back_by_its_values() {
    let Some(case) = Case::practice() else { return };
    let worm = case.file(WORM);
    case.clean(&[]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let software = journal.file("software");
    let of_software: Vec<usize> =
        (0..journal.intents.len()).filter(|&index| journal.intents[index].file == software).collect();
    assert!(of_software.len() >= 4, "enough writes of SOFTWARE to cut between");
    for cut in [of_software[1], of_software[of_software.len() / 2], of_software[of_software.len() - 1]] {
        let mut image = case.original.clone();
        journal.replay(&mut image, cut);
        let torn = Case::of(image);
        common::judge(std::process::Command::new("cp").arg("-r").arg(case.store()).arg(torn.store()));
        let data = others_value(&torn);
        let ran = torn.undo(&[]).exits(0);
        must_hold(&torn, &as_at_first(), &ran);
        let large = value(&torn.file(SOFTWARE), r"Others\Program", "large");
        ran.require(large == Some((3, data)), &format!("others' value, cut behind {cut}"));
        ran.require(torn.file(WORM) == worm, "the worm's bytes to be back");
    }
}

#[test]
fn what_has_changed_again_is_left_and_named() {
    let dcom = (
        format!("[\\{OLE}]\n\"EnableDCOM\"=\"maybe\""),
        "EnableDCOM",
        (sz("msblast.exe"), sz("maybe"), None),
    );
    let run =
        (format!("[\\{RUN}]\n\"{RUN_VALUE}\"=\"other.exe\""), RUN_VALUE, (sz("other.exe"), sz("Y"), None));
    for (reg, name, wanted) in [dcom, run] {
        let Some(case) = Case::practice() else { return };
        let worm = case.file(WORM);
        case.clean(&[]).exits(0);
        case.edit_hive(SOFTWARE, &reg);
        let ran = case.undo(&[]).exits(1);
        must_hold(&case, &wanted, &ran);
        ran.require(case.file(WORM) == worm, "the worm's bytes to be back");
        let left: Vec<String> =
            ran.remarks().lines().filter(|l| l.starts_with("left:")).map(Into::into).collect();
        ran.require(left.len() == 1 && left[0].contains(name), "exactly that change to be named as left");
        ran.require(left[0].contains("which this run did not write"), "why, in words");

        let now = case.bytes();
        let id = case.runs()[0].file_name().unwrap().to_str().unwrap().to_owned();
        let ran = case.undo(&["--run", &id]).exits(1);
        case.must_hold(&now, &ran, "nothing more to change");
        ran.require(ran.remarks().contains("left:"), "it to be named again");
        let ran = case.undo(&[]).exits(0);
        ran.says("nothing is to be taken back");
        case.must_hold(&now, &ran, "nothing more to change");
    }
}

#[test]
fn only_the_protection_then_the_rest() {
    let Some(case) = Case::practice() else { return };
    let worm = case.file(WORM);
    case.clean(&[]).exits(0);
    let ran = case.undo(&["--only", "protection"]).exits(0);
    must_hold(&case, &(None, sz("Y"), as_cleaned().2), &ran);
    ran.require(case.file(WORM).iter().all(|&byte| byte == 0), "the worm to stay inert");
    let now = case.bytes();
    let ran = case.undo(&["--only", "protection"]).exits(0);
    case.must_hold(&now, &ran, "no byte to change the second time");
    let ran = case.undo(&[]).exits(0);
    must_hold(&case, &as_at_first(), &ran);
    ran.require(case.file(WORM) == worm, "the worm's bytes to be back");
}

#[test]
fn only_the_files_then_the_rest() {
    let Some(case) = Case::practice() else { return };
    let worm = case.file(WORM);
    case.clean(&[]).exits(0);
    let ran = case.undo(&["--only", "files"]).exits(0);
    must_hold(&case, &(None, sz("N"), None), &ran);
    ran.require(case.file(WORM) == worm, "the worm's bytes to be back");
    // The deletion must be withdrawn before the bytes are there: else a cut leaves a file that Windows deletes.
    let journal = Journal::read(&case.runs()[1]);
    let (hive, file) = (journal.file("system"), journal.file("msblast.exe"));
    let last_of_hive = journal.intents.iter().rposition(|intent| intent.file == hive).unwrap();
    let first_of_file = journal.intents.iter().position(|intent| intent.file == file).unwrap();
    ran.require(last_of_hive < first_of_file, "the entry to be withdrawn before the bytes come back");
    let ran = case.undo(&[]).exits(0);
    must_hold(&case, &as_at_first(), &ran);
    ran.require(case.file(WORM) == worm, "the worm's bytes to stay");
}

/// After a partial undo was cut, the next undo still ends as it should.
#[test]
fn a_cut_partial_undo_ends_well() {
    let Some(case) = Case::practice() else { return };
    let worm = case.file(WORM);
    case.clean(&[]).exits(0);
    let cleaned = case.bytes();
    case.undo(&["--only", "files"]).exits(0);
    let journal = Journal::read(&case.runs()[1]);
    for cut in [1, journal.intents.len() / 2, journal.intents.len() - 1] {
        let mut image = cleaned.clone();
        journal.replay(&mut image, cut);
        let torn = Case::of(image);
        common::judge(std::process::Command::new("cp").arg("-r").arg(case.store()).arg(torn.store()));
        let ran = torn.undo(&[]).exits(0);
        must_hold(&torn, &as_at_first(), &ran);
        ran.require(torn.file(WORM) == worm, "the worm's bytes to be back");
        torn.must_hold(&case.original, &ran, "every byte as at first, since nobody else wrote");
    }
}

/// What Windows does at its next start: the name is deleted and the list of operations with it.
#[test]
fn after_windows_has_deleted_the_name_values_come_back_and_the_file_is_left() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    case.edit_hive(SYSTEM, &format!("[\\{SESSION}]\n\"{PENDING}\"=-"));
    case.mounted(true, |root| fs::remove_file(root.join(WORM)).unwrap());
    let ran = case.undo(&[]).exits(1);
    must_hold(&case, &as_at_first(), &ran);
    ran.require(!case.has_file(WORM), "the name to stay gone");
    let remarks = ran.remarks();
    let already: Vec<&str> =
        remarks.lines().filter(|line| line.starts_with("as before the run already")).collect();
    ran.require(already.len() == 1 && already[0].contains(PENDING), "the pending operation to be so already");
    let left: Vec<&str> = remarks.lines().filter(|line| line.starts_with("left:")).collect();
    ran.require(left.len() == 1 && left[0].contains("msblast.exe"), "the file to be left");
    let kept = case.runs()[0].join("quarantine/0001.bin");
    ran.require(left[0].contains(kept.to_str().unwrap()), "where its bytes lie");
}

/// The record is in use again, by another file of the same size: it is not the worm's any more.
#[test]
fn a_record_that_is_another_file_by_now_is_left() {
    let Some(case) = Case::practice() else { return };
    let size = case.file(WORM).len();
    case.clean(&[]).exits(0);
    case.mounted(true, |root| {
        fs::remove_file(root.join(WORM)).unwrap();
        for number in 0..8 {
            fs::write(root.join(format!("new file {number}.dat")), vec![0; size]).unwrap();
        }
    });
    let digests = case.digests();
    let ran = case.undo(&[]).exits(1);
    ran.require(ran.remarks().contains("no longer that file"), "the reason in words");
    let now = case.digests();
    for (path, digest) in digests.iter().filter(|(path, _)| path.contains("new file")) {
        ran.require(now[path] == *digest, &format!("{path} not to be touched"));
    }
}

/// Somebody wrote into the inert file: it is theirs now.
#[test]
fn a_file_that_is_no_longer_inert_is_left() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    case.mounted(true, |root| {
        use std::os::unix::fs::FileExt as _;
        let file = fs::File::options().write(true).open(root.join(WORM)).unwrap();
        file.write_all_at(b"somebody's", 1000).unwrap();
    });
    let bytes = case.file(WORM);
    let ran = case.undo(&[]).exits(1);
    ran.require(case.file(WORM) == bytes, "the file not to be touched");
    ran.require(ran.remarks().contains("no longer inert"), "the reason in words");
    must_hold(&case, &as_at_first(), &ran);
}

/// What a newer run has made again is in force by that run alone; the older one, named, takes nothing back under it.
#[test]
fn the_list_counts_a_change_once() {
    let Some(case) = Case::practice() else { return };
    for command in ["clean", "undo", "clean"] {
        case.storing(&[command, "--yes", "--json"], &[]).exits(0);
    }
    let cleaned = case.bytes();
    let store = case.store();
    let list = || {
        let ran =
            Ran::of(&mut case.on_disk(&["undo", "--list", "--store", store.to_str().unwrap()])).exits(0);
        let count = |line: &str| line.split(", ").last().unwrap().to_owned();
        ran.stdout.lines().map(count).collect::<Vec<_>>()
    };
    assert_eq!(list(), ["4 of 4 changes in force", "0 of 4 changes in force"]);
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
    assert_eq!(list(), ["0 of 4 changes in force"; 2]);
    // One change that others have taken back counts no more.
    fs::write(&case.disk, &cleaned).unwrap();
    case.edit_hive(SOFTWARE, &format!("[\\{OLE}]\n\"EnableDCOM\"=\"Y\""));
    assert_eq!(list()[0], "3 of 4 changes in force");
}

#[test]
fn a_store_that_was_tampered_with_is_refused() {
    for (name, spoil) in [("quarantine/0001.bin", 100), ("quarantine/manifest.json", 10), ("journal", 400)] {
        let Some(case) = Case::practice() else { return };
        case.clean(&[]).exits(0);
        let cleaned = case.bytes();
        let path = case.runs()[0].join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[spoil] ^= 1;
        fs::write(&path, bytes).unwrap();
        let ran = case.undo(&[]);
        case.must_hold(&cleaned, &ran, "nothing to be written");
        ran.exits(2);
    }
}

#[test]
fn a_run_of_another_disk_is_not_taken_back() {
    let (Some(case), Some(other)) = (Case::practice(), Case::with(&["--files", "70", "--size", "20M"]))
    else {
        return;
    };
    case.clean(&[]).exits(0);
    let store = case.store();
    let words = ["undo", "--yes", "--json", "--store", store.to_str().unwrap()];
    let ran = Ran::of(&mut other.on_disk(&words)).exits(0);
    ran.says("nothing is to be taken back");
    other.must_be_as_at_first(&ran);
    let id = case.runs()[0].file_name().unwrap().to_str().unwrap().to_owned();
    let ran = Ran::of(&mut other.on_disk(&[&words[..], &["--run", &id]].concat())).exits(2);
    ran.says("belongs to this disk");
    other.must_be_as_at_first(&ran);
}

/// By sectors from a store that cannot be written; by values only from one that can.
#[test]
fn a_read_only_store_serves_an_undo_by_sectors() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let cleaned = case.bytes();
    let image = case.path("store.img");
    let point = case.path("read-only");
    fs::create_dir(&point).unwrap();
    // A squashed copy of the store, mounted: as read-only as a CD.
    fs::write(&image, vec![0; 16 << 20]).unwrap();
    common::judge(std::process::Command::new("mkfs.ext2").arg("-q").arg("-d").arg(case.store()).arg(&image));
    let mounted =
        Ran::of(std::process::Command::new("mount").args(["-o", "ro,loop"]).arg(&image).arg(&point));
    if mounted.code != Some(0) {
        common::skip("no ext2 can be mounted here");
        return;
    }
    let words = ["undo", "--yes", "--json", "--store", point.to_str().unwrap()];
    let by_sectors = Ran::of(&mut case.on_disk(&words));
    let after = case.bytes();
    fs::write(&case.disk, &cleaned).unwrap();
    let by_values = Ran::of(&mut case.on_disk(&[&words[..], &["--only", "protection"]].concat()));
    common::volume::unmount(&point);
    let by_sectors = by_sectors.exits(0);
    by_sectors.require(after == case.original, "every byte back");
    let by_values = by_values.exits(2);
    case.must_hold(&cleaned, &by_values, "nothing written");
    by_values.says("read-only");
}

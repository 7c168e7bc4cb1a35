//! NTFS as technicians find it: compressed, sparse and encrypted files, runs in extension records, clusters that two files share.
//! Judged by ntfscat and The Sleuth Kit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use common::hives::value;
use common::{
    Case, Journal, RUN, RUN_VALUE, Ran, SECTOR, SOFTWARE, START, SYSTEM, WORM, changed_sectors, digest,
    quarantined,
};

/// A worm's name on a file that is compressed in every way: units that shrink, one that does not, a hole, a last part.
const LARGE: &str = "WINDOWS/inf/msblast.exe";
const UNIT: usize = 16 * 4096;

fn small() -> Option<Case> {
    Case::with(&["--files", "60", "--size", "24M"])
}

/// Bytes that nothing compresses.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn set_compressed(folder: &Path) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(folder, "system.ntfs_attrib", &0x810_u32.to_le_bytes(), flags).unwrap();
}

/// Writes a file anew in a folder whose new files are compressed.
fn write_compressed(path: &Path, bytes: &[u8]) {
    let folder = path.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    set_compressed(folder);
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

/// A disk whose worm is compressed, and a larger file of its name.
fn compressed() -> Option<(Case, Vec<u8>)> {
    let mut case = small()?;
    let mut large = b"MZ".to_vec();
    large.extend("inert, and the same again. ".bytes().cycle().take(2 * UNIT - 2));
    large.extend(noise(UNIT));
    large.extend(vec![0; UNIT]);
    large.extend(noise(3000));
    large.extend("and a last part".bytes().cycle().take(9000));
    case.mounted(true, |root| {
        let worm = fs::read(root.join(WORM)).unwrap();
        write_compressed(&root.join(WORM), &worm);
        write_compressed(&root.join(LARGE), &large);
    });
    case.settle();
    Some((case, large))
}

/// What The Sleuth Kit says of how a file's data is stored.
#[track_caller]
fn attributes(case: &Case, path: &str) -> String {
    let id = case.listing()[path].clone();
    let record = id.split('-').next().unwrap().to_owned();
    let text =
        common::judge(std::process::Command::new("istat").args(["-o", "63"]).arg(&case.disk).arg(record));
    String::from_utf8(text).unwrap()
}

#[track_caller]
fn of_path(ran: &Ran, path: &str) -> serde_json::Value {
    let place = path.replace('/', "\\");
    let found =
        ran.findings("worm_file").into_iter().find(|f| f["where"].as_str().unwrap().ends_with(&place));
    found.unwrap_or_else(|| ran.fail(&format!("no finding of {path}")))
}

#[track_caller]
fn must_be_inert(case: &Case, ran: &Ran, length: usize, path: &str) {
    for found in [case.ntfscat(path), case.file(path)] {
        ran.require(found.len() == length, &format!("{path} of {length} bytes, found {}", found.len()));
        ran.require(found.iter().all(|&byte| byte == 0), &format!("{path} to read as zeros"));
    }
}

#[test]
fn a_compressed_worm_is_read_quarantined_made_inert_and_given_back() {
    let Some((case, large)) = compressed() else { return };
    let worm = case.ntfscat(WORM);
    assert!(attributes(&case, WORM).contains("Compressed"), "{}", attributes(&case, WORM));
    assert!(attributes(&case, LARGE).contains("Compressed"), "{}", attributes(&case, LARGE));
    assert_eq!(case.ntfscat(LARGE), large);

    let ran = case.scan().exits(1);
    case.must_be_as_at_first(&ran);
    for (path, bytes) in [(WORM, &worm), (LARGE, &large)] {
        let found = of_path(&ran, path);
        ran.require(found["evidence"]["sha256"] == digest(bytes), &format!("the digest of {path}: {found}"));
    }
    let ran = case.clean(&["--suspects", "quarantine"]).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned");
    for (path, bytes) in [(WORM, &worm), (LARGE, &large)] {
        ran.require(of_path(&ran, path)["outcome"] == "verified", &format!("{path} verified"));
        must_be_inert(&case, &ran, bytes.len(), path);
    }
    let run = case.runs()[0].clone();
    let journal = Journal::read(&run);
    let kept: Vec<Vec<u8>> = fs::read_dir(run.join("quarantine"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "json"))
        .map(|path| quarantined(&path))
        .collect();
    ran.require(kept.contains(&worm) && kept.contains(&large), "both files' own bytes in quarantine");
    let mut image = case.original.clone();
    journal.replay(&mut image, usize::MAX);
    case.must_hold(&image, &ran, "the journal to lead to the disk after");
    ran.require(
        changed_sectors(&case.original, &image).is_subset(&journal.sectors()),
        "every changed sector in the journal",
    );
    // Not what reads as zeros counts, but what the clusters hold, to their last byte.
    for file in journal.header["files"].as_array().unwrap().iter().filter(|file| file["compressed"] == true) {
        for run in file["runs"].as_array().unwrap() {
            let [place, length] = [0, 1].map(|at| usize::try_from(run[at].as_u64().unwrap()).unwrap());
            let clusters = &image[common::START + place..][..length];
            ran.require(clusters.iter().all(|&byte| byte == 0), &format!("zeros in {}", file["path"]));
        }
    }
    assert_eq!(
        journal.header["files"].as_array().unwrap().iter().filter(|f| f["compressed"] == true).count(),
        2
    );
    let again = case.clean(&["--suspects", "quarantine"]).exits(0);
    case.must_hold(&image, &again, "a second clean to change no byte");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

#[test]
fn only_the_files_of_a_run_come_back_compressed_as_they_were() {
    let Some((case, large)) = compressed() else { return };
    let worm = case.ntfscat(WORM);
    case.clean(&["--suspects", "quarantine"]).exits(0);
    let ran = case.undo(&["--only", "files"]).exits(0);
    assert_eq!(case.ntfscat(WORM), worm, "{}", ran.stdout);
    assert_eq!(case.ntfscat(LARGE), large, "{}", ran.stdout);
    ran.require(value(&case.file(SOFTWARE), RUN, RUN_VALUE).is_none(), "the rest of the cure to stay");
    // That undo can itself be taken back, by its own journal.
    let cleaned = case.runs().len();
    let ran = case.clean(&["--suspects", "quarantine"]).exits(0);
    ran.require(case.runs().len() > cleaned, "another run");
    must_be_inert(&case, &ran, worm.len(), WORM);
}

#[test]
fn a_cure_of_a_compressed_worm_that_was_cut_is_taken_back_or_finished() {
    let Some((case, _)) = compressed() else { return };
    case.clean(&["--suspects", "quarantine"]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let of_files = journal.intents.iter().filter(|intent| intent.after.iter().all(|&byte| byte == 0)).count();
    assert!(of_files > 4, "{of_files} writes");
    for cut in 1..of_files {
        let mut torn = case.original.clone();
        journal.replay(&mut torn, cut);
        // The write in progress is torn too, at a border of sectors.
        let next = &journal.intents[cut];
        let half = next.after.len() / 2 / SECTOR * SECTOR;
        torn[next.place..next.place + half].copy_from_slice(&next.after[..half]);
        fs::write(&case.disk, &torn).unwrap();
        let ran = case.undo(&[]).exits(0);
        case.must_be_as_at_first(&ran);
        fs::write(&case.disk, &torn).unwrap();
        let copy = Case::of(torn);
        common::judge(std::process::Command::new("cp").arg("-r").arg(case.store()).arg(copy.store()));
        let ran = copy.clean(&["--suspects", "quarantine"]).exits(0);
        ran.require(ran.at("/verdict") == "cleaned", &format!("cut behind {cut}: cleaned"));
        let ran = copy.undo(&[]).exits(0);
        copy.must_hold(&case.original, &ran, &format!("cut behind {cut}: every byte back"));
    }
}

/// The first place of the MFT record of a file, and its attributes' flags changed: only sector 0 holds the header.
#[track_caller]
fn record_of(disk: &[u8], case: &Case, path: &str) -> usize {
    let listing = case.listing();
    let id: u32 = listing[path].split('-').next().unwrap().parse().unwrap();
    let is_it =
        |at: &usize| disk[*at..].starts_with(b"FILE") && disk[at + 0x2c..at + 0x30] == id.to_le_bytes();
    (START..disk.len()).step_by(SECTOR).find(is_it).unwrap()
}

fn u16_of(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

/// Where in the image the unnamed $DATA attribute of a record begins; it must lie in the record's first sector.
#[track_caller]
fn data_attribute(disk: &[u8], record: usize) -> usize {
    let mut at = record + u16_of(disk, record + 0x14);
    while u16_of(disk, at) != 0x80 {
        at += u16_of(disk, at + 4);
        assert!(at < record + 440, "$DATA in the first sector");
    }
    at
}

/// The disk with a flag set on a file's unnamed $DATA.
fn flagged(flag: u16, path: &str) -> Option<Case> {
    let case = small()?;
    let mut disk = case.bytes();
    let data = data_attribute(&disk, record_of(&disk, &case, path));
    disk[data + 12..data + 14].copy_from_slice(&flag.to_le_bytes());
    Some(Case::of(disk))
}

#[track_caller]
fn must_refuse(case: &Case, words: &[&str]) {
    let ran = case.scan();
    case.must_be_as_at_first(&ran);
    let ran = case.clean(&[]);
    case.must_be_as_at_first(&ran);
    ran.require(ran.code != Some(0), "no success");
    words.iter().for_each(|words| {
        ran.says(words);
    });
}

/// SYSTEM is wanted for the file's name only: the rest is cured, that hive left as it is, and that said.
#[track_caller]
fn must_leave_system(case: &Case, words: &[&str]) {
    let hive = case.file(SYSTEM);
    let ran = case.clean(&[]).exits(0);
    ran.says("the inert file's name stays");
    words.iter().for_each(|words| {
        ran.says(words);
    });
    ran.require(case.file(SYSTEM) == hive, "the hive as it was");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_compressed_hive_is_refused_in_words() {
    for path in [SOFTWARE, SYSTEM] {
        let Some(mut case) = small() else { return };
        case.mounted(true, |root| {
            let hive = fs::read(root.join(path)).unwrap();
            write_compressed(&root.join(path), &hive);
        });
        case.settle();
        assert!(attributes(&case, path).contains("Compressed"));
        let words = ["it is compressed", "compact /u", path.rsplit('/').next().unwrap()];
        if path == SYSTEM {
            must_leave_system(&case, &words)
        } else {
            must_refuse(&case, &words)
        }
        // It is read all the same: what starts the worm is found in it.
        case.scan().exits(1).says(RUN_VALUE);
    }
}

#[test]
fn sparse_and_encrypted_hives_are_refused_in_words() {
    for (flag, words) in [(0x8000, "it is sparse"), (0x4000, "it is encrypted (EFS)")] {
        let Some(case) = flagged(flag, SOFTWARE) else { return };
        must_refuse(&case, &[words, "software"]);
        let Some(case) = flagged(flag, SYSTEM) else { return };
        must_leave_system(&case, &[words, "system"]);
    }
}

#[test]
fn sparse_and_encrypted_worms_are_reported_with_what_to_do() {
    let Some(case) = flagged(0x8000, WORM) else { return };
    let ran = case.clean(&[]);
    let found = of_path(&ran, WORM);
    ran.require(found["outcome"] == "left" && found["grade"] == "confirmed", "found, and left");
    ran.says("it is sparse").says("delete it by hand on its own Windows");
    ran.require(ran.code == Some(1), "still infected");
    assert_eq!(case.file(WORM), small().unwrap().file(WORM), "the worm's clusters as they were");

    let Some(case) = flagged(0x4000, WORM) else { return };
    let ran = case.scan();
    let found = of_path(&ran, WORM);
    ran.require(found["grade"] == "suspect", "by its name alone");
    ran.says("it is encrypted (EFS)").says("only its owner can read it");
    ran.require(ran.code != Some(0), "no clean verdict");
}

/// The data runs of another file made those of the worm, or of a hive.
#[test]
fn a_cluster_that_two_files_claim_is_not_written() {
    for path in [WORM, SOFTWARE, SYSTEM] {
        let Some(case) = small() else { return };
        let mut disk = case.bytes();
        let other = "WINDOWS/system32/rpcss.dll";
        let [own, others] = [path, other].map(|path| data_attribute(&disk, record_of(&disk, &case, path)));
        let pairs = own + u16_of(&disk, own + 32);
        let (counts, places) = (usize::from(disk[pairs] & 15), usize::from(disk[pairs] >> 4));
        let place = disk[pairs + 1 + counts..pairs + 1 + counts + places].to_vec();
        // As many clusters as it has, at the place of the first run of ours.
        let clusters = u8::try_from(u16_of(&disk, others + 24) + 1).unwrap();
        let mut runs = vec![u8::try_from(places << 4 | 1).unwrap(), clusters];
        runs.extend(place);
        runs.push(0);
        let at = others + u16_of(&disk, others + 32);
        disk[at..at + runs.len()].copy_from_slice(&runs);
        let case = Case::of(disk);
        must_refuse(&case, &["rpcss.dll uses it too", "chkdsk", path.rsplit('/').next().unwrap()]);
        assert!(case.runs().is_empty(), "nothing in the store");
    }
}

/// Writes a file anew in so many pieces that its data runs stand in several extension records: all that is free on the
/// volume are single clusters.
fn in_pieces(root: &Path, path: &str, length: usize) {
    let mut bytes = fs::read(root.join(path)).unwrap();
    bytes.resize(length, 0);
    let filler = |number: usize| root.join(format!("between{number}"));
    let fillers = length / 4096 * 2 + 20;
    for number in 0..fillers {
        fs::write(filler(number), noise(4096)).unwrap();
    }
    let mut rest = fs::File::create(root.join("rest")).unwrap();
    while rest.write_all(&[1; 4096]).is_ok() {}
    drop(rest);
    for number in (0..fillers).step_by(2) {
        fs::remove_file(filler(number)).unwrap();
    }
    fs::OpenOptions::new().write(true).truncate(true).open(root.join(path)).unwrap();
    // Its own place is taken too.
    let mut more = fs::File::create(root.join("more")).unwrap();
    let own = bytes.len().min(495_616);
    more.write_all(&vec![1; own]).unwrap();
    fs::write(root.join(path), bytes).unwrap();
    fs::remove_file(root.join("rest")).unwrap();
    fs::remove_file(root.join("more")).unwrap();
}

/// Gives a file so many streams that its unnamed $DATA stands in an extension record.
fn with_an_attribute_list(root: &Path, path: &str) {
    let bytes = fs::read(root.join(path)).unwrap();
    fs::remove_file(root.join(path)).unwrap();
    for stream in 0..80 {
        fs::write(root.join(format!("{path}:stream{stream}")), noise(300)).unwrap();
    }
    fs::write(root.join(path), bytes).unwrap();
}

#[track_caller]
fn must_have_an_attribute_list(case: &Case, path: &str) {
    let text = attributes(case, path);
    assert!(text.contains("$ATTRIBUTE_LIST"), "{path}: {text}");
}

#[test]
fn hives_and_worms_with_an_attribute_list_are_cured_and_taken_back() {
    let Some(mut case) = Case::with(&["--files", "60", "--size", "48M"]) else { return };
    case.mounted(true, |root| {
        [WORM, SOFTWARE, SYSTEM].iter().for_each(|path| with_an_attribute_list(root, path))
    });
    case.settle();
    [WORM, SOFTWARE, SYSTEM].iter().for_each(|path| must_have_an_attribute_list(&case, path));
    let (worm, before) = (case.ntfscat(WORM), case.digests());
    let ran = case.scan().exits(1);
    case.must_be_as_at_first(&ran);
    let ran = case.clean(&[]).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned");
    must_be_inert(&case, &ran, worm.len(), WORM);
    ran.require(case.ntfscat(SOFTWARE) == case.file(SOFTWARE), "ntfscat and icat to agree");
    ran.require(value(&case.ntfscat(SOFTWARE), RUN, RUN_VALUE).is_none(), "the Run value gone");
    let after = case.digests();
    for (path, digest) in &before {
        let touched = [WORM, SOFTWARE, SYSTEM].contains(&path.as_str());
        ran.require((after[path] != *digest) == touched, path);
    }
    let journal = Journal::read(&case.runs()[0]);
    let mut image = case.original.clone();
    journal.replay(&mut image, usize::MAX);
    case.must_hold(&image, &ran, "the journal to lead to the disk after");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// Its runs are known, but the second reader cannot follow them: nothing that is written could be verified.
#[test]
fn a_hive_whose_runs_stand_in_several_records_is_read_and_not_written() {
    let Some(mut case) = Case::with(&["--files", "60", "--size", "48M"]) else { return };
    case.mounted(true, |root| in_pieces(root, SOFTWARE, 2 << 20));
    case.settle();
    must_have_an_attribute_list(&case, SOFTWARE);
    assert_eq!(case.ntfscat(SOFTWARE).len(), 2 << 20);
    case.scan().exits(1).says(RUN_VALUE);
    must_refuse(&case, &["software", "second reader"]);
}

/// Both restart pages of a log of `size` bytes that Windows left open, as it writes them.
fn unclean_log(disk: &mut [u8], place: usize, size: u64) {
    for (page, lsn) in [(place, 7_u64), (place + 4096, 6)] {
        let page = &mut disk[page..page + 4096];
        page.fill(0);
        page[..8].copy_from_slice(b"RSTR\x1e\0\x09\0");
        page[16..24].copy_from_slice(&[0, 16, 0, 0, 0, 16, 0, 0]);
        page[24..30].copy_from_slice(&[0x30, 0, 1, 0, 1, 0]);
        page[0x30..0x38].copy_from_slice(&lsn.to_le_bytes());
        // One client, which has the log open.
        page[0x38..0x40].copy_from_slice(&[1, 0, 0xff, 0xff, 0, 0, 0, 0]);
        page[0x40] = u8::try_from(67 - (64 - size.leading_zeros())).unwrap();
        page[0x44..0x48].copy_from_slice(&[0xd0, 0, 0x30, 0]);
        page[0x48..0x50].copy_from_slice(&size.to_le_bytes());
        page[0x54..0x58].copy_from_slice(&[0x30, 0, 0x40, 0]);
        page[0x68..0x70].copy_from_slice(&lsn.to_le_bytes());
        page[0x70..0x74].fill(0xff);
        page[0x7c] = 8;
        for (at, unit) in "NTFS".encode_utf16().enumerate() {
            page[0x80 + at * 2..0x82 + at * 2].copy_from_slice(&unit.to_le_bytes());
        }
        page[0x1e..0x20].copy_from_slice(&[5, 0]);
        for end in (512..=4096).step_by(512) {
            page[end - 2..end].copy_from_slice(&[5, 0]);
        }
    }
}

#[test]
fn an_unclean_log_is_told_and_is_no_obstacle() {
    for options in [
        &["--files", "60", "--size", "24M"][..],
        &["--files", "60", "--size", "24M", "--infect", "none", "--patched"],
    ] {
        let Some(case) = Case::with(options) else { return };
        let ran = case.scan();
        assert!(!ran.stdout.contains("$LogFile"), "an emptied log is clean: {}", ran.stdout);
        let is_infected = options.len() == 4;
        if !is_infected {
            // The hole closed: nothing is left to be said but what the log makes of it.
            case.clean(&[]).exits(0);
        }
        let mut disk = case.bytes();
        // $LogFile has record 2, and mkntfs fills it with 0xff: its $DATA tells where.
        let is_it =
            |at: &usize| disk[*at..].starts_with(b"FILE") && disk[at + 0x2c..at + 0x30] == [2, 0, 0, 0];
        let record = (START..disk.len()).step_by(SECTOR).find(is_it).unwrap();
        let data = data_attribute(&disk, record);
        let pairs = data + u16_of(&disk, data + 32);
        let (counts, places) = (usize::from(disk[pairs] & 15), usize::from(disk[pairs] >> 4));
        let lcn = disk[pairs + 1 + counts..][..places]
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        let size = u64::from_le_bytes(disk[data + 48..data + 56].try_into().unwrap());
        unclean_log(&mut disk, START + lcn * 4096, size);
        let case = Case::of(disk);
        // ntfs-3g's own judgement of it.
        let volume = case.path("volume.img");
        common::volume::extract(&case.disk, &volume);
        let probe =
            std::process::Command::new("ntfs-3g.probe").arg("--readwrite").arg(&volume).status().unwrap();
        assert_eq!(probe.code(), Some(15), "ntfs-3g finds the journal unclean");
        let ran = case.scan();
        ran.says("$LogFile is unclean").says("Scan the disk again after Windows has started once");
        if is_infected {
            let ran = case.clean(&[]).exits(0);
            ran.says("$LogFile is unclean").require(ran.at("/verdict") == "cleaned", "cleaned");
            let ran = case.undo(&[]).exits(0);
            case.must_be_as_at_first(&ran);
        } else {
            ran.require(ran.code == Some(0), "a clean disk");
        }
    }
}

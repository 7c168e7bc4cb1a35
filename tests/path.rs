//! The path from scan to undo on a practice disk, judged by tools that are not ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use deblast::change::HiveRole;
use deblast::checks;
use deblast::cleanup::discover::Patient;
use deblast::cleanup::inspect::inspect;
use deblast::cleanup::plan::plan;
use deblast::policy::Policy;
use deblast::threat::Signatures;

use common::hives::{by_hivexml, by_regf, differences, merge, multi, reg_hex, value};
use common::{
    Case, DELETION, Journal, OLE, PENDING, PRACTICE, RUN, RUN_VALUE, Ran, SECTOR, SESSION, SOFTWARE, START,
    SYSTEM, WORM, changed_sectors, quarantined, utf16,
};

/// Everything that opens, mounts, writes, or could change a file by its name.
const CALLS: &str = "trace=open,openat,openat2,creat,mount,umount2,fsopen,fsmount,move_mount,open_tree,ioctl,\
write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,copy_file_range,sendfile,splice,mmap,\
rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,chmod,fchmod,fchmodat,utimensat";

/// Runs the command below strace; the calls that it made, a line each.
#[track_caller]
fn traced(case: &Case, words: &[&str], options: &[&str], code: i32) -> (Ran, Vec<String>) {
    let log = case.path("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "16", "-e", CALLS, "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_deblast"));
    command.args(words).args(options).arg(&case.disk);
    let ran = Ran::of(&mut command).exits(code);
    let calls: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(ToOwned::to_owned).collect();
    ran.require(calls.iter().any(|call| call.contains("disk.img")), "strace to have seen the disk opened");
    (ran, calls)
}

#[track_caller]
fn must_not(ran: &Ran, calls: &[String], what: &str, bad: impl Fn(&str) -> bool) {
    if let Some(call) = calls.iter().find(|call| bad(call)) {
        ran.fail(&format!("{what}: {call}"));
    }
}

fn mounts(call: &str) -> bool {
    ["mount(", "umount2(", "fsopen(", "fsmount(", "move_mount(", "open_tree("]
        .iter()
        .any(|c| call.contains(c))
}

#[test]
fn looking_changes_no_byte_and_opens_nothing_for_writing() {
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    std::fs::create_dir(&store).unwrap();
    let store = store.to_str().unwrap();
    let known = ["--signatures", PRACTICE];
    for (words, options, code) in [
        (vec!["list"], vec![], 0),
        (vec!["scan"], known.to_vec(), 1),
        (vec!["scan", "--json"], known.to_vec(), 1),
        (vec!["clean", "--dry-run", "--store", store], known.to_vec(), 1),
        (vec!["undo", "--list", "--store", store], known.to_vec(), 0),
        (vec!["undo", "--dry-run", "--store", store], known.to_vec(), 0),
    ] {
        let (ran, calls) = traced(&case, &words, &options, code);
        case.must_be_as_at_first(&ran);
        must_not(&ran, &calls, "it mounts", mounts);
        must_not(&ran, &calls, "it opens for writing", |call| {
            ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.contains(flag))
                && !call.contains("\"/dev/null\"")
        });
        must_not(&ran, &calls, "it writes elsewhere than on its outputs", |call| {
            let writes = ["write(", "writev(", "pwrite64(", "pwritev(", "pwritev2("];
            writes.iter().any(|c| call.contains(c))
                && !call.contains("write(1<")
                && !call.contains("write(2<")
                // the Rust runtime and clap wake their own threads so
                && !call.contains("<anon_inode:")
        });
        must_not(&ran, &calls, "it changes names or sizes", |call| {
            ["truncate(", "fallocate(", "rename", "unlink", "mkdir", "chmod", "utimens", "copy_file_range("]
                .iter()
                .any(|c| call.contains(c))
        });
        must_not(&ran, &calls, "an ioctl on the disk", |call| {
            call.contains("ioctl(") && call.contains("disk.img")
        });
        must_not(&ran, &calls, "a shared writable mapping", |call| {
            call.contains("mmap(") && call.contains("PROT_WRITE") && call.contains("MAP_SHARED")
        });
        let mut inside = std::fs::read_dir(case.store()).unwrap();
        ran.require(inside.next().is_none(), "nothing to be put into the store");
    }
}

#[test]
fn scan_tells_what_is_there() {
    let Some(case) = Case::practice() else { return };
    let ran = case.scan().exits(1);
    ran.require(ran.at("/verdict") == "infected", "the verdict infected");
    let file = ran.finding("worm_file");
    ran.require(file["where"] == r"\WINDOWS\system32\msblast.exe", "the worm's place");
    ran.require(file["grade"] == "confirmed" && file["outcome"] == "none", "confirmed, nothing done");
    ran.require(ran.finding("autostart")["evidence"]["value"] == RUN_VALUE, "the Run value");
    ran.require(ran.finding("dcom")["grade"] == "confirmed", "DCOM");
    let install = ran.at("/targets/0/installs/0");
    ran.require(install["computer_name"] == "PRACTICE-XP", "the computer's name");
    ran.require(install["service_pack"] == 1 && install["build"] == "2600", "XP SP1");
    ran.require(install["notes"].to_string().contains("boot.ini offers it as"), "its title in the boot menu");
    case.must_be_as_at_first(&ran);
}

/// The whole of a cure, held against the disk as it was by readers that are not ours.
#[test]
fn clean_cures_and_changes_nothing_else() {
    let Some(case) = Case::practice() else { return };
    let before = [SOFTWARE, SYSTEM].map(|path| case.ntfscat(path));
    let (worm, files, metadata) = (case.file(WORM), case.digests(), case.metadata());
    let record = case.listing()[WORM].split('-').next().unwrap().parse::<u64>().unwrap();

    let ran = case.clean(&[]).exits(0);

    // the report
    ran.require(ran.at("/verdict") == "cleaned" && ran.at("/exit_code") == 0, "cleaned");
    let finding = ran.finding("worm_file");
    ran.require(finding["outcome"] == "verified", "the worm's outcome");
    let evidence = &finding["evidence"];
    ran.require(evidence["sha256"] == common::digest(&worm).as_str(), "the worm's SHA-256");
    ran.require(evidence["size"] == worm.len(), "the worm's size");
    ran.require(evidence["mft_record"] == record, "the worm's MFT record, as fls tells it");
    for (name, tool) in [("md5", "md5sum"), ("sha1", "sha1sum")] {
        let file = case.path("worm");
        fs::write(&file, &worm).unwrap();
        let told = String::from_utf8(common::judge(Command::new(tool).arg(&file))).unwrap();
        ran.require(Some(evidence[name].as_str().unwrap()) == told.split(' ').next(), tool);
    }
    ran.require(evidence["name"].as_str().unwrap().starts_with("pending"), "the name to be pending");
    let start = ran.finding("autostart");
    ran.require(start["outcome"] == "verified" && start["evidence"]["value"] == RUN_VALUE, "the Run value");
    ran.require(start["evidence"]["key"] == RUN && start["evidence"]["hive"] == "SOFTWARE", "its key");
    ran.require(ran.finding("dcom")["outcome"] == "verified", "DCOM verified");
    let hole = ran.at("/targets/0/installs/0/hole");
    ran.require(hole["closed"] == true && hole["dcom"] == "off", "the hole closed");
    let changes = ran.at("/changes");
    ran.require(changes.as_array().unwrap().len() == 3, "three files touched");

    // the hives: ntfscat's and icat's bytes, read by hivexml and by the regf crate
    let after = [SOFTWARE, SYSTEM].map(|path| case.ntfscat(path));
    for (index, path) in [SOFTWARE, SYSTEM].iter().enumerate() {
        ran.require(case.file(path) == after[index], "icat and ntfscat to read the same");
        let told = changes
            .as_array()
            .unwrap()
            .iter()
            .find(|change| change["path"].as_str().unwrap().replace('\\', "/").ends_with(path));
        let told = told.unwrap_or_else(|| ran.fail("the hive among the changes"));
        ran.require(told["sha256_before"] == common::digest(&before[index]).as_str(), "its digest before");
        ran.require(told["sha256_after"] == common::digest(&after[index]).as_str(), "its digest after");
    }
    let wanted = [
        BTreeSet::from([format!("{RUN} [{RUN_VALUE}]"), format!("{OLE} [EnableDCOM]")]),
        BTreeSet::from([format!("{SESSION} [{PENDING}]")]),
    ];
    for (index, wanted) in wanted.iter().enumerate() {
        let found = differences(&by_hivexml(&before[index]), &by_hivexml(&after[index]));
        ran.require(found == *wanted, &format!("{wanted:?} by hivexml, found {found:?}"));
        let found = differences(&by_regf(&before[index]), &by_regf(&after[index]));
        ran.require(found == *wanted, &format!("{wanted:?} by regf, found {found:?}"));
    }
    ran.require(value(&before[0], RUN, RUN_VALUE) == Some((1, utf16("msblast.exe\0"))), "the value before");
    ran.require(value(&after[0], RUN, RUN_VALUE).is_none(), "the value gone");
    ran.require(value(&before[0], OLE, "EnableDCOM") == Some((1, utf16("Y\0"))), "DCOM before");
    ran.require(value(&after[0], OLE, "EnableDCOM") == Some((1, utf16("N\0"))), "DCOM after");
    ran.require(
        value(&after[1], SESSION, PENDING) == Some((7, multi(&[DELETION, ""]))),
        "the pending deletion",
    );

    // the worm, and every other file
    let zeros = vec![0; worm.len()];
    ran.require(case.file(WORM) == zeros && case.ntfscat(WORM) == zeros, "the worm to read as zeros");
    let (now, touched) = (case.digests(), [WORM, SOFTWARE, SYSTEM]);
    ran.require(files.len() > 60 && files.keys().eq(now.keys()), "the same files");
    for (path, digest) in &files {
        ran.require((now[path] != *digest) == touched.contains(&path.as_str()), path);
    }
    ran.require(case.metadata() == metadata, "names, sizes and times as before, by fls");

    // the journal: every sector that changed is named, and every one that is named changed
    let runs = case.runs();
    ran.require(runs.len() == 1, "one run folder");
    let journal = Journal::read(&runs[0]);
    let mut image = case.original.clone();
    journal.replay(&mut image, usize::MAX);
    case.must_hold(&image, &ran, "the journal to lead from the disk before to the disk after");
    let (changed, named) = (changed_sectors(&case.original, &image), journal.sectors());
    ran.require(changed.is_subset(&named), "every changed sector in the journal");
    // Zeros over a sector of the worm that was zeros before are no change.
    let idle = |&&place: &&usize| case.original[place..place + SECTOR].iter().all(|&byte| byte == 0);
    ran.require(named.difference(&changed).all(|place| idle(&place)), "every sector in the journal changed");

    // the store
    ran.require(quarantined(&runs[0].join("quarantine/0001.bin")) == worm, "the worm in quarantine");
    ran.require(!fs::read(runs[0].join("quarantine/0001.bin")).unwrap().starts_with(b"MZ"), "made harmless");
    ran.require(
        fs::read_to_string(runs[0].join("report.json")).unwrap() == ran.stdout,
        "the report in the store",
    );
    for (name, hive) in [("software", &before[0]), ("system", &before[1])] {
        let backup = runs[0].join(format!("backup/WINDOWS_system32_config_{name}.gz"));
        ran.require(common::judge(Command::new("gzip").arg("-dc").arg(backup)) == *hive, "a true backup");
    }
    let ntfsfix = case.path("volume.img");
    common::volume::extract(&case.disk, &ntfsfix);
    common::judge(Command::new("ntfsfix").arg("-n").arg(ntfsfix));
}

#[test]
fn clean_mounts_nothing_and_writes_only_disk_and_store() {
    let Some(case) = Case::practice() else { return };
    let store = case.store();
    let store = store.to_str().unwrap();
    let known = ["--signatures", PRACTICE];
    let (ran, calls) = traced(&case, &["clean", "--yes", "--store", store], &known, 0);
    must_not(&ran, &calls, "it mounts", mounts);
    must_not(&ran, &calls, "it opens another file for writing", |call| {
        (call.contains("O_WRONLY") || call.contains("O_RDWR"))
            && ![store, "disk.img", "/dev/null"].iter().any(|place| call.contains(place))
    });
    must_not(&ran, &calls, "it truncates the disk", |call| {
        call.contains("disk.img") && (call.contains("truncate(") || call.contains("O_TRUNC"))
    });
    let (ran, calls) = traced(&case, &["undo", "--yes", "--store", store], &known, 0);
    must_not(&ran, &calls, "it mounts", mounts);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_second_clean_changes_nothing_and_undo_brings_every_byte_back() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let cleaned = case.bytes();

    let ran = case.scan().exits(0);
    ran.require(ran.at("/verdict") == "clean", "a scan to find it clean");
    let ran = case.clean(&[]).exits(0);
    case.must_hold(&cleaned, &ran, "no byte to change");
    ran.require(case.runs().len() == 1, "no second run folder");
    ran.require(ran.at("/run_id").is_null(), "no run id");
    let ran =
        Ran::of(&mut case.on_disk(&["undo", "--list", "--store", case.store().to_str().unwrap()])).exits(0);
    ran.says("4 of 4 changes in force");

    let ran = case.storing(&["undo", "--dry-run", "--json"], &[]).exits(0);
    case.must_hold(&cleaned, &ran, "a dry run to change no byte");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
    ran.require(case.runs().len() == 1, "a whole undo by sectors needs no journal of its own");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
    ran.says("nothing is to be taken back");
    let ran = case.scan().exits(1);
    ran.require(ran.at("/verdict") == "infected", "the worm to be back");
}

/// A copy of the disk, taken back with a copy of the store, from another place: nothing is told from marks.
#[test]
fn a_copy_of_disk_and_store_is_judged_by_itself() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let copy = Case::of(case.bytes());
    common::judge(Command::new("cp").arg("-r").arg(case.store()).arg(copy.store()));
    case.undo(&[]).exits(0);
    let ran = copy.undo(&[]).exits(0);
    copy.must_hold(&case.original, &ran, "the copy to be taken back by itself");
    let ran = case.clean(&[]).exits(0);
    ran.require(case.runs().len() == 2, "a second run on the first disk, whatever the copy has seen");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_run_that_was_cut_is_taken_back_first_whichever_way() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    for cut in [1, 2, journal.intents.len() / 2, journal.intents.len() - 1] {
        let torn = || {
            let mut image = case.original.clone();
            journal.replay(&mut image, cut);
            let torn = Case::of(image);
            common::judge(Command::new("cp").arg("-r").arg(case.store()).arg(torn.store()));
            torn
        };
        let disk = torn();
        let ran = disk.undo(&[]).exits(0);
        disk.must_hold(&case.original, &ran, &format!("undo after a cut behind write {cut} to lead back"));
        let disk = torn();
        let ran = disk.clean(&[]).exits(0);
        ran.require(ran.remarks().contains("was taken back first"), "the cut run to be taken back first");
        let ran = disk.undo(&[]).exits(0);
        disk.must_hold(&case.original, &ran, &format!("clean and undo after a cut behind write {cut}"));
    }
}

#[test]
fn others_pending_operations_are_kept_and_come_back() {
    let Some(mut case) = Case::practice() else { return };
    let others = [r"\??\C:\WINDOWS\temp\a.tmp", "", r"\??\C:\b.tmp", r"!\??\C:\c.dll"];
    let data = multi(&others);
    case.edit_hive(SYSTEM, &format!("[\\{SESSION}]\n{}", reg_hex(PENDING, 7, &data)));
    case.settle();
    assert_eq!(value(&case.file(SYSTEM), SESSION, PENDING), Some((7, data.clone())));
    let ran = case.clean(&[]).exits(0);
    let with: Vec<&str> = others.iter().copied().chain([DELETION, ""]).collect();
    ran.require(
        value(&case.file(SYSTEM), SESSION, PENDING) == Some((7, multi(&with))),
        "ours behind others'",
    );
    // Others write since: then only our pair is taken out.
    let more: Vec<&str> = with.iter().copied().chain([r"\??\C:\later.tmp", ""]).collect();
    let cleaned = case.bytes();
    case.edit_hive(SYSTEM, &format!("[\\{SESSION}]\n{}", reg_hex(PENDING, 7, &multi(&more))));
    let ran = case.undo(&[]).exits(0);
    let without: Vec<&str> = others.iter().copied().chain([r"\??\C:\later.tmp", ""]).collect();
    ran.require(
        value(&case.file(SYSTEM), SESSION, PENDING) == Some((7, multi(&without))),
        "only ours taken out",
    );
    fs::write(&case.disk, cleaned).unwrap();
    let ran = case.undo(&[]).exits(0);
    ran.require(value(&case.file(SYSTEM), SESSION, PENDING) == Some((7, data)), "others' pairs exactly");
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_deletion_that_is_pending_already_is_told_so() {
    let Some(mut case) = Case::practice() else { return };
    let data = multi(&[DELETION, ""]);
    case.edit_hive(SYSTEM, &format!("[\\{SESSION}]\n{}", reg_hex(PENDING, 7, &data)));
    case.settle();
    let system = case.file(SYSTEM);
    let ran = case.clean(&[]).exits(0);
    ran.require(case.file(SYSTEM) == system, "SYSTEM not to be touched");
    let name = ran.finding("worm_file")["evidence"]["name"].as_str().unwrap().to_owned();
    ran.require(
        name.starts_with("pending: ") && name.contains("was there before"),
        "pending, by another's entry",
    );
    ran.require(!ran.remarks().contains("name stays"), "no word of a name that stays");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// Whatever keeps the name's removal from being planned costs the name only, and never the cure.
#[test]
fn a_system_hive_that_cannot_be_edited_costs_only_the_name() {
    let Some(case) = Case::practice() else { return };
    let patient = Patient::open(&case.disk).unwrap();
    let mut signatures = Signatures::builtin().unwrap();
    signatures.add_file(PRACTICE.as_ref()).unwrap();
    let checks = checks::all(&signatures);
    let planned = |role: Option<HiveRole>| {
        let mut exam = inspect(&patient, &checks, &mut |_| {}).unwrap();
        let install = exam.volumes[0].installs.first_mut().unwrap();
        // As if the hive had read otherwise when it was inspected: its edit is refused.
        if let Some(role) = role {
            install.hives.get_mut(&role).unwrap().sha256 = None;
        }
        let plan = plan(&mut exam, &checks, &Policy::default(), 0);
        let files: Vec<String> =
            plan.actions.iter().map(|action| action.path.file_name().to_owned()).collect();
        (files, plan, exam.volumes[0].installs[0].refused.clone())
    };
    assert_eq!(planned(None).0, ["msblast.exe", "software", "system"]);
    let (files, plan, refused) = planned(Some(HiveRole::System));
    assert_eq!((files.as_slice(), refused), (&["msblast.exe".to_owned(), "software".to_owned()][..], None));
    assert!(plan.notes.iter().any(|note| note.contains("name stays") && note.contains("reads differently")));
    assert!(plan.names.iter().any(|(_, words)| words.starts_with("stays: ")), "{:?}", plan.names);
    let (files, plan, refused) = planned(Some(HiveRole::Software));
    assert!(files.is_empty() && plan.is_empty(), "half a cure is none: {files:?}");
    assert!(refused.unwrap().contains("reads differently"));
}

#[test]
fn malformed_pending_operations_are_left_alone() {
    let Some(mut case) = Case::practice() else { return };
    let data = multi(&[r"\??\C:\a.tmp", r"\??\C:\b.tmp", r"\??\C:\c.tmp"]);
    case.edit_hive(SYSTEM, &format!("[\\{SESSION}]\n{}", reg_hex(PENDING, 7, &data)));
    case.settle();
    let system = case.file(SYSTEM);
    let ran = case.clean(&[]).exits(0);
    ran.require(case.file(SYSTEM) == system, "SYSTEM not to be touched");
    ran.require(ran.at("/verdict") == "cleaned", "cleaned all the same");
    let finding = ran.finding("worm_file");
    ran.require(finding["outcome"] == "verified", "the cure verified");
    ran.require(finding["evidence"]["name"].as_str().unwrap().starts_with("stays"), "the name stays");
    ran.require(
        ran.remarks().contains("name stays") && ran.remarks().contains("3 strings"),
        "the reason in words",
    );
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// The worm under another name is known by its bytes where its size is asked for; a text under the worm's name is no
/// worm.
#[test]
fn bytes_tell_and_names_do_not() {
    let Some(mut case) = Case::practice() else { return };
    case.mounted(true, |root| {
        let worm = root.join(WORM);
        fs::rename(&worm, root.join("WINDOWS/system32/harmless.exe")).unwrap();
        fs::write(&worm, "What to do about msblast.exe: see the notes.\r\n".repeat(40)).unwrap();
    });
    case.settle();
    let text = case.file(WORM);
    let ran = case.scan().exits(1);
    let named = |ran: &Ran, name: &str| {
        let found =
            ran.findings("worm_file").into_iter().find(|f| f["where"].as_str().unwrap().ends_with(name));
        found.unwrap_or_else(|| ran.fail(&format!("a finding of {name}")))
    };
    ran.require(named(&ran, "harmless.exe")["grade"] == "confirmed", "the renamed worm confirmed");
    let grade = named(&ran, "msblast.exe")["grade"].clone();
    ran.require(grade == "information" || grade == "suspect", "the text no worm");
    let ran = case.clean(&[]);
    ran.require(case.file(WORM) == text, "the text to be left");
    ran.require(named(&ran, "harmless.exe")["outcome"] == "verified", "the renamed worm made inert");
    ran.require(case.file("WINDOWS/system32/harmless.exe").iter().all(|&byte| byte == 0), "zeros");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// Where the MFT records of a practice disk lie, from its boot sector; the MFT is in one piece there.
fn mft(disk: &[u8]) -> usize {
    let volume = &disk[START..];
    let cluster = usize::from(u16::from_le_bytes([volume[11], volume[12]])) * usize::from(volume[13]);
    START + cluster * usize::try_from(u64::from_le_bytes(volume[0x30..0x38].try_into().unwrap())).unwrap()
}

/// A hive is what the file table and the directories agree on; else nothing of that Windows is written.
#[test]
fn a_hive_that_two_records_claim_is_not_told_by_guessing() {
    const RECORD: usize = 1024;
    for (hive, role) in [(SOFTWARE, "SOFTWARE"), (SYSTEM, "SYSTEM")] {
        let Some(mut case) = Case::practice() else { return };
        case.mounted(true, |root| fs::write(root.join("short-lived"), b"leaves a free record").unwrap());
        let number = |name: &str| case.listing()[name].split('-').next().unwrap().parse::<usize>().unwrap();
        let (free, taken) = (number("short-lived"), number(hive));
        case.mounted(true, |root| fs::remove_file(root.join("short-lived")).unwrap());
        let mut bytes = case.bytes();
        let (free, taken) = (mft(&bytes) + free * RECORD, mft(&bytes) + taken * RECORD);
        assert!(bytes[free..].starts_with(b"FILE") && bytes[free + 22] & 1 == 0, "a free record");
        let own = bytes[free + 44..free + 48].to_vec();
        bytes.copy_within(taken..taken + RECORD, free);
        bytes[free + 44..free + 48].copy_from_slice(&own);
        let mut must_refuse = |bytes: &[u8], words: &str| {
            fs::write(&case.disk, bytes).unwrap();
            case.settle();
            for ran in [case.scan(), case.clean(&[])] {
                let ran = ran.exits(2);
                let problems = ran.at("/targets/0/installs/0/problems").to_string();
                ran.require(problems.contains(role) && problems.contains(words), words);
                ran.require(ran.at("/targets/0/installs/0/verdict") == "undetermined", "undetermined");
                case.must_be_as_at_first(&ran);
            }
        };
        must_refuse(&bytes, "claimed by more than one file");
        // Only the copy is in use: the directory still leads to the other.
        bytes[taken + 22] &= !1;
        must_refuse(&bytes, "and the directory");
        // With the copy free again all is well: it was the second claim that was refused.
        bytes[taken + 22] |= 1;
        bytes[free + 22] &= !1;
        fs::write(&case.disk, &bytes).unwrap();
        case.settle();
        case.clean(&[]).exits(0);
    }
}

#[test]
fn the_name_stays_when_that_was_asked_for() {
    let Some(case) = Case::practice() else { return };
    let system = case.file(SYSTEM);
    let ran = case.clean(&["--remove", "never"]).exits(0);
    ran.require(case.file(SYSTEM) == system, "SYSTEM not to be touched");
    let finding = ran.finding("worm_file");
    ran.require(finding["evidence"]["name"].as_str().unwrap().starts_with("stays"), "the name stays");
    ran.require(case.file(WORM).iter().all(|&byte| byte == 0), "inert all the same");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// The judges themselves: an edit by hivexregedit is seen by both, and nothing else is.
#[test]
fn the_judges_see_one_value() {
    let Some(case) = Case::practice() else { return };
    let before = case.file(SOFTWARE);
    let (hive, text) = (case.path("hive"), case.path("text"));
    fs::write(&hive, &before).unwrap();
    merge(&hive, &text, &format!("[\\{OLE}]\n\"EnableDCOM\"=\"N\""));
    let after = fs::read(&hive).unwrap();
    let wanted = BTreeSet::from([format!("{OLE} [EnableDCOM]")]);
    assert_eq!(differences(&by_regf(&before), &by_regf(&after)), wanted);
    assert_eq!(differences(&by_hivexml(&before), &by_hivexml(&after)), wanted);
    assert_eq!(value(&after, OLE, "EnableDCOM"), Some((1, utf16("N\0"))));
}

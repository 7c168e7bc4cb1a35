//! What a store may have done to a disk: one that was planted or damaged writes nothing but what a run of this program
//! can have left, and never a file that the worm did not own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{
    Case, Journal, PENDING, RUN_VALUE, Ran, SECTOR, SOFTWARE, START, WORM, changed_sectors, digest, judge,
    utf16,
};
use serde_json::{Value, json};

const KERNEL: &str = "WINDOWS/system32/kernel32.dll";
const SAM: &str = "WINDOWS/system32/config/SAM";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(bytes: &[u8]) -> Value {
    json!({ "bytes": hex(bytes) })
}

/// The records of a run's journal.
fn records(run: &Path) -> Vec<Value> {
    let text = fs::read(run.join("journal")).unwrap();
    let text: Vec<u8> = text.into_iter().take_while(|&byte| byte != 0).collect();
    let lines = String::from_utf8(text).unwrap();
    lines.lines().map(|line| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap()).collect()
}

/// Writes records as a journal whose checksums are all right, as somebody who knows the format can.
fn plant(run: &Path, records: &[Value]) {
    let mut records = records.to_vec();
    let intents = records.iter().filter(|record| record["record"] == "intent").count();
    let before_ready = records.iter().position(|record| record["record"] == "ready").unwrap();
    let encode = |record: &Value| match record["record"].as_str().unwrap() {
        "ready" => format!("{{\"record\":\"ready\",\"intents\":{intents}}}"),
        _ => record.to_string(),
    };
    // A checksum of 32 digits, a blank, the record, the end of the line.
    let ready_at: usize = records[..before_ready].iter().map(|record| encode(record).len() + 34).sum();
    records[0]["ready_at"] = json!(format!("{ready_at:010}"));
    let (mut text, mut chain) = (String::new(), String::new());
    for json in records.iter().map(encode) {
        chain = digest(format!("{chain} {json}").as_bytes())[..32].to_owned();
        text.push_str(&format!("{chain} {json}\n"));
    }
    let mut text = text.into_bytes();
    text.resize(text.len() + 4096, 0);
    fs::write(run.join("journal"), text).unwrap();
}

/// A file that no run has any business with.
struct Victim {
    id: Value,
    /// Its only run: offset in the volume.
    place: usize,
    content: Vec<u8>,
}

impl Victim {
    fn of(case: &Case) -> Self {
        let listed = case.listing()[KERNEL].clone();
        let record: u64 = listed.split('-').next().unwrap().parse().unwrap();
        let text = judge(Command::new("istat").args(["-o", "63"]).arg(&case.disk).arg(record.to_string()));
        let text = String::from_utf8(text).unwrap();
        let sequence = text.lines().find_map(|line| line.split_once("Sequence: ")).unwrap().1;
        let sequence: u64 = sequence.trim().parse().unwrap();
        let clusters = text.lines().skip_while(|line| !line.contains("$DATA")).skip(1);
        let clusters: Vec<usize> =
            clusters.flat_map(str::split_whitespace).map_while(|word| word.parse().ok()).collect();
        assert!(clusters.windows(2).all(|pair| pair[1] == pair[0] + 1), "one run");
        let (place, content) = (clusters[0] * 4096, case.file(KERNEL));
        assert_eq!(content.len(), clusters.len() * 4096, "no slack");
        assert!(case.bytes()[START + place..].starts_with(&content));
        Self { id: json!({ "filesystem": "ntfs", "record": record, "sequence": sequence }), place, content }
    }

    fn sector(&self, index: usize) -> &[u8] {
        &self.content[index * SECTOR..][..SECTOR]
    }

    /// As a file that a run touched, under whatever path.
    fn touched(&self, path: &str) -> Value {
        json!({
            "volume": 0, "path": path, "id": self.id, "size": self.content.len(),
            "before": digest(&self.content), "runs": [[self.place, self.content.len()]],
        })
    }

    fn intent(&self, group: u64, file: usize, sector: usize, before: Value, after: Value) -> Value {
        json!({
            "record": "intent", "group": group, "file": file, "place": self.place + sector * SECTOR,
            "length": SECTOR, "before": before, "after": after,
        })
    }

    /// The change of a real run, made to tell of this file.
    fn change(&self, file: usize, header: &Value) -> Value {
        let mut change = header["changes"][0]["change"].clone();
        change["path"] = json!(KERNEL.replace('/', "\\"));
        change["id"] = self.id.clone();
        change["digests"]["size"] = json!(self.content.len());
        change["digests"]["sha256"] = json!(digest(&self.content));
        json!({ "file": file, "change": change })
    }

    /// Replaces all that a journal tells by this file alone: sector 1 as written, sector 2 as not yet written where
    /// `torn`.
    fn alone(&self, records: &mut Vec<Value>, path: &str, change: Value, before: &[Vec<u8>], torn: bool) {
        records.retain(|record| record["record"] != "intent");
        records[0]["files"] = json!([self.touched(path)]);
        records[0]["changes"] = json!([change]);
        let written = before.iter().enumerate();
        let mut intents: Vec<Value> = written
            .map(|(index, before)| self.intent(0, 0, index, bytes(before), bytes(self.sector(index))))
            .collect();
        if torn {
            let next = before.len();
            intents.push(self.intent(1, 0, next, bytes(self.sector(next)), bytes(&[0x41; SECTOR])));
        }
        records.splice(1..1, intents);
    }
}

/// What is written lies in the places of the real run, whatever else was planted.
#[track_caller]
fn must_not_touch(case: &Case, victim: &Victim, cleaned: &[u8], (ran, real): (&Ran, &Journal)) {
    ran.require(!ran.stderr.contains("panicked"), "no panic");
    ran.require(ran.code.is_some_and(|code| code <= 2), "an exit code of its own");
    ran.require(case.file(KERNEL) == victim.content, "kernel32.dll not to be touched");
    let written = changed_sectors(cleaned, &case.bytes());
    ran.require(
        written.is_subset(&real.sectors()),
        "no sector to be written that the real run did not write",
    );
}

#[test]
fn a_planted_journal_does_not_write_another_file() {
    type Plant = fn(&mut Vec<Value>, &Victim, &Case, bool);
    let plants: [(&str, Plant); 5] = [
        ("one more file beside the real ones", |records, victim, _, torn| {
            let header = &mut records[0];
            let file = header["files"].as_array().unwrap().len();
            let change = victim.change(file, header);
            header["files"].as_array_mut().unwrap().push(victim.touched(&KERNEL.replace('/', "\\")));
            header["changes"].as_array_mut().unwrap().push(change);
            let ready = records.iter().position(|record| record["record"] == "ready").unwrap();
            let group = records[ready - 1]["group"].as_u64().unwrap();
            let evil = bytes(&[0x41; SECTOR]);
            records.insert(ready, victim.intent(group + 1, file, 0, evil.clone(), bytes(victim.sector(0))));
            if torn {
                let more = victim.intent(group + 2, file, 1, bytes(victim.sector(1)), evil);
                records.insert(ready + 1, more);
            }
        }),
        ("it alone, with the digest of what is to come", |records, victim, _, torn| {
            let mut change = victim.change(0, &records[0]);
            let evil = [vec![0x41; SECTOR], victim.content[SECTOR..].to_vec()].concat();
            change["change"]["digests"]["sha256"] = json!(digest(&evil));
            victim.alone(records, &KERNEL.replace('/', "\\"), change, &[vec![0x41; SECTOR]], torn);
        }),
        ("it alone, without any change", |records, victim, _, torn| {
            let change = victim.change(0, &records[0]);
            victim.alone(records, &KERNEL.replace('/', "\\"), change, &[vec![0x41; SECTOR]], torn);
            records[0]["changes"] = json!([]);
        }),
        ("an undo whose taking back is zeros", |records, victim, _, torn| {
            let change = victim.change(0, &records[0]);
            victim.alone(records, &KERNEL.replace('/', "\\"), change, &[vec![0; SECTOR]], torn);
            records[0]["kind"] = json!("undo");
            records[0]["of"] = json!("0001-20300102-030405");
        }),
        ("a hive in its place, under the path of SOFTWARE", |records, victim, case, torn| {
            let change = json!({ "file": 0, "change": {
                "change": "value", "hive": "SOFTWARE", "key": "No\\Such", "name": "value",
                "before": null, "edit": { "do": "delete" }, "purpose": "protection",
            }});
            let sam: Vec<Vec<u8>> = case.file(SAM).chunks(SECTOR).map(<[u8]>::to_vec).collect();
            victim.alone(records, &SOFTWARE.replace('/', "\\"), change, &sam, torn);
        }),
    ];
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let (cleaned, victim, run) = (case.bytes(), Victim::of(&case), case.runs()[0].clone());
    let (real, real_journal) = (records(&run), Journal::read(&run));
    plant(&run, &real);
    case.storing(&["undo", "--dry-run", "--json"], &[]).exits(0).says("msblast.exe");
    for (name, change) in plants {
        for torn in [false, true] {
            for close in [true, false] {
                let mut records = real.clone();
                change(&mut records, &victim, &case, torn);
                if !close {
                    records.retain(|record| record["record"] != "closed");
                }
                for command in ["clean", "undo"] {
                    println!("{name}, torn {torn}, closed {close}: {command}");
                    plant(&run, &records);
                    fs::write(&case.disk, &cleaned).unwrap();
                    let ran = case.storing(&[command, "--yes", "--json"], &[]);
                    must_not_touch(&case, &victim, &cleaned, (&ran, &real_journal));
                    if torn && command == "clean" {
                        ran.require(
                            ran.code == Some(2),
                            "a torn run that cannot be taken back to stop a clean",
                        );
                        ran.says("must be taken back first");
                    }
                    for run in &case.runs()[1..] {
                        fs::remove_dir_all(run).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn a_journal_that_points_nowhere_is_refused_in_words() {
    type Plant = fn(&mut Vec<Value>, &Victim);
    let plants: [(&str, Plant); 17] = [
        ("another file's place", |records, victim| {
            records[1]["place"] = json!(victim.place);
        }),
        ("behind the file's run", |records, _| {
            let place = records[1]["place"].as_u64().unwrap();
            records[1]["place"] = json!(place + 8192);
        }),
        ("over the end of the file's run", |records, _| records[1]["length"] = json!(16384)),
        ("a place near 2^64", |records, _| records[1]["place"] = json!(u64::MAX - 511)),
        ("a length of 2^42", |records, _| records[1]["length"] = json!(1_u64 << 42)),
        ("a length near 2^64", |records, _| records[1]["length"] = json!(u64::MAX - 511)),
        ("no length", |records, _| records[1]["length"] = json!(0)),
        ("no whole sector", |records, _| records[1]["length"] = json!(100)),
        ("a run of 2^42 behind the volume", |records, _| {
            records[0]["files"][0]["runs"] = json!([[1_u64 << 42, 1_u64 << 42]]);
        }),
        ("runs that add up beyond 2^64", |records, _| {
            records[0]["files"][0]["runs"] = json!([[0, u64::MAX], [0, u64::MAX]]);
        }),
        ("a volume near 2^64", |records, _| records[0]["volumes"][0]["start"] = json!(u64::MAX - 511)),
        ("no such file", |records, _| records[1]["file"] = json!(99)),
        ("no such volume", |records, _| records[0]["files"][0]["volume"] = json!(7)),
        ("a run id outside the store", |records, _| {
            records[1]["before"]["quarantined"]["run"] = json!("../../0001-20300102-030405");
        }),
        ("a name outside the quarantine", |records, _| {
            records[1]["before"]["quarantined"]["name"] = json!("../../../disk.img");
        }),
        ("a place in quarantine near 2^64", |records, _| {
            records[1]["before"]["quarantined"]["offset"] = json!(u64::MAX);
        }),
        ("a stored file outside the run", |records, _| {
            records[0]["stored"][0]["name"] = json!("../../disk.img");
        }),
    ];
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let (cleaned, victim, run) = (case.bytes(), Victim::of(&case), case.runs()[0].clone());
    let real = records(&run);
    for (name, change) in plants {
        let mut records = real.clone();
        change(&mut records, &victim);
        plant(&run, &records);
        for command in ["clean", "undo"] {
            println!("{name}: {command}");
            let ran = case.storing(&[command, "--yes", "--json"], &[]).exits(2);
            case.must_hold(&cleaned, &ran, "nothing to be written");
            let id = run.file_name().unwrap().to_str().unwrap();
            ran.says(id);
        }
        assert_eq!(case.runs(), std::slice::from_ref(&run), "{name}: no other run");
    }
}

/// Damage of the newest run: nothing may be told from the rest of the store as if there were no such run.
#[test]
fn a_damaged_newest_run_stops_what_rests_on_it_and_no_more() {
    type Damage = fn(&Path);
    fn rewrite(run: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut journal = fs::read(run.join("journal")).unwrap();
        change(&mut journal);
        fs::write(run.join("journal"), journal).unwrap();
    }
    fn ready(journal: &[u8]) -> usize {
        let at = journal.windows(17).position(|window| window == br#"{"record":"ready""#);
        at.unwrap()
    }
    let damages: [(&str, Damage); 7] = [
        ("a byte in the middle", |run| {
            rewrite(run, |journal| {
                let middle = ready(journal) / 2;
                journal[middle] ^= 1;
            });
        }),
        ("a byte of the header", |run| rewrite(run, |journal| journal[200] ^= 1)),
        ("truncated in the middle", |run| {
            rewrite(run, |journal| {
                let middle = ready(journal) / 2;
                journal.truncate(middle);
            });
        }),
        ("truncated to nothing", |run| rewrite(run, Vec::clear)),
        ("deleted", |run| fs::remove_file(run.join("journal")).unwrap()),
        ("a bit of the word ready", |run| {
            rewrite(run, |journal| {
                let at = ready(journal) + 11;
                journal[at] ^= 1;
            });
        }),
        ("a bit of the checksum of ready", |run| {
            rewrite(run, |journal| {
                let at = ready(journal) - 5;
                journal[at] ^= 1;
            });
        }),
    ];
    let Some(case) = Case::practice() else { return };
    let worm = case.file(WORM);
    case.clean(&[]).exits(0);
    case.undo(&[]).exits(0);
    case.clean(&[]).exits(0);
    let cleaned = case.bytes();
    let [older, newest] = <[_; 2]>::try_from(case.runs()).unwrap();
    let id = |run: &Path| run.file_name().unwrap().to_str().unwrap().to_owned();
    let kept = fs::read(newest.join("journal")).unwrap();
    for (name, damage) in damages {
        println!("{name}");
        fs::write(newest.join("journal"), &kept).unwrap();
        fs::write(&case.disk, &cleaned).unwrap();
        damage(&newest);
        for command in ["undo", "clean"] {
            let ran = case.storing(&[command, "--yes", "--json"], &[]).exits(2);
            case.must_hold(&cleaned, &ran, "nothing to be written");
            ran.says(&id(&newest));
        }
        let ran = case.undo(&["--run", &id(&newest)]).exits(2);
        case.must_hold(&cleaned, &ran, "nothing to be written");
        assert_eq!(case.runs().len(), 2, "{name}: no other run");
        // The older one did the same, so by values it can be taken back; the damage is told.
        let ran = case.undo(&["--run", &id(&older)]).exits(0);
        ran.require(case.file(WORM) == worm, "the worm's bytes to be back");
        ran.require(ran.remarks().contains(&id(&newest)), "the damaged run to be named in a remark");
        for run in &case.runs()[2..] {
            fs::remove_dir_all(run).unwrap();
        }
    }
}

/// A run that was cut has no report. Its journal had its full length before its first record, so a shorter one is no
/// torn one: the disk may be in the midst of that run.
#[test]
fn a_truncated_journal_of_a_cut_run_is_no_run_that_wrote_nothing() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let run = case.runs()[0].clone();
    let journal = Journal::read(&run);
    let mut torn = case.original.clone();
    journal.replay(&mut torn, journal.intents.len() / 2);
    fs::write(&case.disk, &torn).unwrap();
    fs::remove_file(run.join("report.json")).unwrap();
    let kept = fs::read(run.join("journal")).unwrap();
    let ready_at: usize = journal.header["ready_at"].as_str().unwrap().parse().unwrap();
    for length in [ready_at / 2, ready_at - 1, ready_at] {
        fs::write(run.join("journal"), &kept[..length]).unwrap();
        for command in ["clean", "undo"] {
            let ran = case.storing(&[command, "--yes", "--json"], &[]).exits(2);
            case.must_hold(&torn, &ran, "nothing to be written");
            ran.says(run.file_name().unwrap().to_str().unwrap());
        }
    }
    fs::write(run.join("journal"), &kept).unwrap();
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

#[test]
fn a_run_that_is_not_there_costs_nothing_even_on_an_unfinished_disk() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let run = case.runs()[0].clone();
    let journal = Journal::read(&run);
    let id = run.file_name().unwrap().to_str().unwrap();
    for cut in [1, journal.intents.len() / 2, journal.intents.len() - 1] {
        let mut image = case.original.clone();
        journal.replay(&mut image, cut);
        fs::write(&case.disk, &image).unwrap();
        for wrong in ["0001-20300102-030405", "0001", "no-such-run", "../x", ""] {
            let ran = case.undo(&["--run", wrong]).exits(2);
            case.must_hold(&image, &ran, "nothing to be written");
        }
        let ran = case.undo(&["--run", "0001-20300102-030405"]).exits(2);
        ran.says("belongs to this disk").says(id);
        assert_eq!(case.runs().len(), 1, "no other run");
        let ran = case.undo(&["--run", id]).exits(0);
        case.must_be_as_at_first(&ran);
    }
}

/// Somebody changed a byte of SOFTWARE that no sector of the run holds.
#[test]
fn what_others_changed_elsewhere_in_the_hive_stays_and_is_told() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let runs = journal.header["files"][journal.file("software")]["runs"].clone();
    assert_eq!(runs.as_array().unwrap().len(), 1, "SOFTWARE lies in one piece");
    let place = START + usize::try_from(runs[0][0].as_u64().unwrap()).unwrap();
    let (hive, text) = (case.file(SOFTWARE), utf16("Microsoft Windows XP"));
    let mut found = hive.windows(text.len()).enumerate().filter(|(_, window)| *window == text);
    let at = found.find_map(|(at, _)| {
        let sector = (place + at) / SECTOR * SECTOR;
        (!journal.sectors().contains(&sector)).then_some(place + at)
    });
    let at = at.expect("a product name outside the run's sectors");
    let mut image = case.bytes();
    image[at] = b'm';
    fs::write(&case.disk, &image).unwrap();

    let ran = case.undo(&[]).exits(0);
    let mut wanted = case.original.clone();
    wanted[at] = b'm';
    case.must_hold(&wanted, &ran, "every byte of the run back, and the other one as it was found");
    assert_eq!(case.runs().len(), 1, "by sectors, so without a journal of its own");
    let changes = ran.at("/changes");
    let of = |name: &str| changes.as_array().unwrap().iter().find(|c| c["path"].to_string().contains(name));
    let why = of("software").unwrap()["why"].to_string();
    ran.require(why.contains("other bytes of the file have changed since"), "the report to say so");
    ran.require(of(r"config\\system").unwrap()["why"].is_null(), "nothing to be said of SYSTEM");
    let told = changes.to_string();
    ran.require(told.contains(RUN_VALUE) && told.contains(PENDING), "the values to be named");
}

/// A journal that names a value and has another one ride along in a sector of the same hive.
#[test]
fn a_planted_journal_changes_no_other_value_of_a_hive() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let (cleaned, run) = (case.bytes(), case.runs()[0].clone());
    let mut records = records(&run);
    let hive = case.file(SOFTWARE);
    let name: Vec<u8> = "Microsoft Windows XP".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at = hive.windows(name.len()).position(|part| part == name).unwrap();
    let sector = &hive[at / SECTOR * SECTOR..][..SECTOR];
    let place = cleaned[START..].chunks(SECTOR).position(|part| part == sector).unwrap() * SECTOR;
    let files = records[0]["files"].as_array().unwrap();
    let path = SOFTWARE.replace('/', "\\").to_lowercase();
    let is_software = |file: &Value| file["path"].as_str().unwrap().to_lowercase().ends_with(&path);
    let file = files.iter().position(is_software).unwrap();
    let first =
        records.iter().position(|record| record["record"] == "intent" && record["file"] == file).unwrap();
    let mut evil = sector.to_vec();
    evil[at % SECTOR] = b'X';
    let intent = json!({
        "record": "intent", "group": records[first]["group"], "file": file, "place": place,
        "length": SECTOR, "before": bytes(&evil), "after": bytes(sector),
    });
    records.insert(first, intent);
    plant(&run, &records);
    let ran = case.undo(&[]);
    ran.require(ran.code != Some(0), "no success");
    ran.says("more of the hive than the values that it names");
    ran.require(case.bytes()[START + place..][..SECTOR] == *sector, "the other value not to be touched");
    ran.require(case.file(SOFTWARE) == hive, "nor anything of that hive");
}

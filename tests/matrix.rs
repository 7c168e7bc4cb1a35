//! Four Windows on each file system that they had, in each state that a technician meets: what is found, what is done about
//! it, and that all of it is taken back to the byte. Hives are read by hivexml and the `regf` crate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::hives::multi;
use common::windows::{NT4, S2003, W2000, Windows, XP, edited, two_at_once, value_of};
use common::{
    Case, Journal, OLE, PENDING, RUN, Ran, SECTOR, SESSION, START, changed_sectors, judge, make, utf16,
};

const RUN_ONCE: &str = r"Microsoft\Windows\CurrentVersion\RunOnce";

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// The patch is in, DCOM on, no worm.
    Patched,
    /// No patch, no worm.
    Exposed,
    /// By this variant.
    Infected(&'static str),
    /// The same, and its value below the Run key of a user alone.
    InUser(&'static str),
    /// The same as `Infected`, and Windows was stopped while it wrote SOFTWARE.
    Dirty(&'static str),
}
use State::{Dirty, Exposed, InUser, Infected, Patched};

struct Cell {
    windows: &'static Windows,
    filesystem: &'static str,
    state: State,
}

impl Cell {
    fn name(&self) -> String {
        let state = match self.state {
            Patched => "patched".to_owned(),
            Exposed => "exposed".to_owned(),
            Infected(letter) => format!("infected by {letter}"),
            InUser(letter) => format!("infected by {letter} in a user's hive"),
            Dirty(letter) => format!("infected by {letter}, dirty hive"),
        };
        format!("{} on {}, {state}", self.windows.word, self.filesystem)
    }

    fn letter(&self) -> Option<&'static str> {
        match self.state {
            Patched | Exposed => None,
            Infected(letter) | InUser(letter) | Dirty(letter) => Some(letter),
        }
    }

    /// As small as mkfs lets such a disk be.
    fn case(&self) -> Case {
        let size = if self.filesystem == "fat32" { "36M" } else { "12M" };
        let mut options = vec!["--windows", self.windows.word, "--filesystem", self.filesystem];
        options.extend(["--files", "50", "--size", size, "--infect", self.letter().unwrap_or("none")]);
        match self.state {
            Patched => options.push("--patched"),
            Dirty(_) => options.extend(["--state", "dirty-hive"]),
            Exposed | Infected(_) | InUser(_) => {}
        }
        let mut case = Case::of(make(&options));
        if let InUser(letter) = self.state {
            let values = variant(letter, self.windows).values;
            for (hive, below, data) in [
                (self.windows.hive("software"), "", "-".to_owned()),
                (self.windows.user(), "Software\\", format!("\"{}\"", values[0].2.replace('\\', r"\\"))),
            ] {
                case.edit(self.windows, &hive, &format!("[\\{below}{RUN}]\n\"{}\"={data}", values[0].1));
            }
            case.settle();
        }
        case
    }

    /// The key of each value that starts the worm, with the hive that holds it, as reports name both.
    fn starts(&self) -> BTreeSet<(String, String, String)> {
        let Some(letter) = self.letter() else { return BTreeSet::new() };
        let values = variant(letter, self.windows).values.into_iter();
        let (hive, below) = match self.state {
            InUser(_) => (format!("\\{}", self.windows.user().replace('/', "\\")), "Software\\"),
            _ => ("SOFTWARE".to_owned(), ""),
        };
        values.map(|(key, name, _)| (hive.clone(), format!("{below}{key}"), name.to_owned())).collect()
    }
}

/// What a variant leaves: files in system32; key, name and data of the values.
struct Variant {
    files: &'static [&'static str],
    values: Vec<(&'static str, &'static str, String)>,
}

fn variant(letter: &str, windows: &Windows) -> Variant {
    let run = |name: &'static str, data: &str| vec![(RUN, name, data.to_owned())];
    let (files, values): (&'static [&'static str], _) = match letter {
        "a" => (&["msblast.exe"], run("windows auto update", "msblast.exe")),
        "b" => (&["penis32.exe"], run("windows auto update", "penis32.exe")),
        "c" => (&["teekids.exe"], run("Microsoft Inet Xp..", "teekids.exe")),
        "d" => {
            let value = |key| (key, "Nonton Antivirus", "mspatch.exe".to_owned());
            (&["mspatch.exe"], vec![value(RUN), value(RUN_ONCE)])
        }
        "e" => (&["mslaugh.exe"], run("windows automation", "mslaugh.exe")),
        "f" => (&["enbiei.exe"], run("www.hidro.4t.com", "enbiei.exe")),
        "t" => {
            let value = |name, file: &str| (RUN, name, format!("C:\\{}\\system32\\{file}", windows.root));
            (
                &["eschlp.exe", "svchosthlp.exe"],
                vec![
                    value("Helper", "eschlp.exe /fstart"),
                    value("MSUpdate", "svchosthlp.exe"),
                    // the name that Windows made of the long one
                    value("SPUpdate", "SVCHOS~1.EXE"),
                ],
            )
        }
        other => panic!("no variant {other}"),
    };
    Variant { files, values }
}

/// Every cell; each variant stands somewhere on both kinds of file system or in a hive that was dirty.
fn cells() -> Vec<Cell> {
    let on = |windows, filesystem, other: State, dirty| {
        [Patched, Exposed, Infected("a"), other, Dirty(dirty)].map(|state| Cell {
            windows,
            filesystem,
            state,
        })
    };
    [
        on(&NT4, "ntfs", InUser("b"), "t"),
        on(&NT4, "fat16", Infected("d"), "c"),
        on(&W2000, "ntfs", Infected("t"), "f"),
        on(&W2000, "fat32", InUser("c"), "e"),
        on(&XP, "ntfs", Infected("e"), "d"),
        on(&XP, "fat32", Infected("t"), "b"),
        on(&S2003, "ntfs", Infected("f"), "a"),
        on(&S2003, "fat32", InUser("b"), "d"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The hive, key and name of each value that a report's autostart findings tell of.
fn told(ran: &Ran) -> BTreeSet<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let place = |finding: &serde_json::Value| {
        let evidence = &finding["evidence"];
        (text(&evidence["hive"]), text(&evidence["key"]), text(&evidence["value"]))
    };
    ran.findings("autostart").iter().map(place).collect()
}

/// Nothing is written to a disk that needs nothing.
#[track_caller]
fn must_be_left_alone(case: &Case) {
    for ran in [case.scan().exits(0), case.clean(&[]).exits(0)] {
        ran.require(ran.at("/verdict") == "clean", "clean");
        let hole = ran.at("/targets/0/installs/0/hole");
        ran.require(
            hole["dcom"] == "on" && hole["patch"] == "fixed" && hole["closed"] == true,
            "the hole closed",
        );
        ran.require(told(&ran).is_empty() && ran.findings("worm_file").is_empty(), "no finding of a worm");
        case.must_be_as_at_first(&ran);
    }
    assert!(case.runs().is_empty(), "no run folder");
}

/// The sectors that hold these files' bytes, as istat tells: clusters on NTFS, sectors on FAT.
fn sectors_of(case: &Case, paths: &[String]) -> BTreeSet<usize> {
    let listing = case.listing();
    let boot = &case.original[START..START + SECTOR];
    let is_ntfs = &boot[3..7] == b"NTFS";
    let unit = if is_ntfs { SECTOR * usize::from(boot[13]) } else { SECTOR };
    let mut sectors = BTreeSet::new();
    for path in paths {
        let text = judge(Command::new("istat").args(["-o", "63"]).arg(&case.disk).arg(&listing[path]));
        let text = String::from_utf8_lossy(&text).into_owned();
        let (_, lists) = text.split_once(if is_ntfs { "\nAttributes:" } else { "\nSectors:" }).unwrap();
        let lines = lists.lines().filter(|line| !line.starts_with("Type:"));
        let numbers = lines.flat_map(|line| line.split_whitespace().filter_map(|n| n.parse::<usize>().ok()));
        let count = sectors.len();
        for number in numbers {
            sectors.extend((START + number * unit..START + (number + 1) * unit).step_by(SECTOR));
        }
        assert!(sectors.len() > count, "{path}: {text}");
    }
    sectors
}

fn try_cell(cell: &Cell) {
    let (windows, case) = (cell.windows, cell.case());
    if cell.state == Patched {
        return must_be_left_alone(&case);
    }
    let files = cell.letter().map(|letter| variant(letter, windows).files).unwrap_or_default();
    let scan = case.scan().exits(1);
    let verdict = if files.is_empty() { "exposed" } else { "infected" };
    scan.require(scan.at("/verdict") == verdict, verdict);
    scan.require(told(&scan) == cell.starts(), &format!("{:?}, found {:?}", cell.starts(), told(&scan)));
    let found: BTreeSet<String> =
        scan.findings("worm_file").iter().map(|f| f["where"].as_str().unwrap().to_owned()).collect();
    let places = files.iter().map(|name| format!("\\{}\\system32\\{name}", windows.root));
    scan.require(found == places.collect(), &format!("the worm's files, found {found:?}"));
    scan.require(scan.finding("dcom")["grade"] == "confirmed", "DCOM on");
    case.must_be_as_at_first(&scan);

    // A dirty hive is told by no reader of others; what it is to be is what its log makes of it.
    let is_dirty = matches!(cell.state, Dirty(_));
    let software = windows.hive("software");
    let hives: Vec<String> =
        windows.hives().into_iter().filter(|path| !is_dirty || *path != software).collect();
    let before = case.files(&hives);
    let clean = case.clean(&[]).exits(0);
    clean.require(clean.at("/verdict") == "cleaned", "cleaned");
    clean.require(told(&clean) == cell.starts(), "the same findings");
    for check in ["autostart", "worm_file", "dcom"] {
        let all = clean.findings(check);
        clean.require(all.iter().all(|finding| finding["outcome"] == "verified"), check);
    }
    let now = case.bytes();
    let mut image = case.original.clone();
    let journal = Journal::read(&case.runs()[0]);
    journal.replay(&mut image, usize::MAX);
    case.must_hold(&image, &clean, "the journal to lead to the disk after");
    clean.require(changed_sectors(&case.original, &image).is_subset(&journal.sectors()), "nothing else");

    // By The Sleuth Kit: every sector that has changed belongs to a hive or to the worm's file.
    let mut own: Vec<String> = windows.hives();
    own.extend(files.iter().map(|name| windows.system32(name)));
    let owned = sectors_of(&case, &own);
    let strange: Vec<usize> = changed_sectors(&case.original, &now).difference(&owned).copied().collect();
    clean.require(strange.is_empty(), &format!("no sector of any other file, found {strange:?}"));
    if matches!(cell.state, Infected("a")) {
        // The control: were SOFTWARE none of them, its sectors would be strange.
        let fewer = sectors_of(&case, &own[1..]);
        let changed = changed_sectors(&case.original, &now);
        clean.require(!changed.is_subset(&fewer), "a file that is none of them to be seen");
    }

    let of_user = |(hive, key, name): &(String, String, String)| {
        (hive != "SOFTWARE").then(|| format!("{key} [{name}]"))
    };
    let pending = format!("{SESSION} [{PENDING}]");
    let deletions: BTreeSet<String> =
        files.iter().map(|name| format!(r"\??\C:\{}\system32\{name}", windows.root)).collect();
    for (path, after) in case.files(&hives) {
        let found = edited(&case, &path, &before[&path], &after);
        let wanted: BTreeSet<String> = if path == software {
            let starts = cell.starts().into_iter().filter(|start| of_user(start).is_none());
            starts
                .map(|(_, key, name)| format!("{key} [{name}]"))
                .chain([format!("{OLE} [EnableDCOM]")])
                .collect()
        } else if path == windows.user() {
            cell.starts().iter().filter_map(of_user).collect()
        } else {
            // SYSTEM and its mirror
            if !files.is_empty() {
                let (kind, data) = value_of(&after, SESSION, PENDING).unwrap();
                let mut strings: Vec<&str> = deletions.iter().flat_map(|name| [name.as_str(), ""]).collect();
                let sorted = multi(&strings);
                strings.rotate_left(2);
                clean.require(kind == 7 && [sorted, multi(&strings)].contains(&data), "the deletions");
            }
            deletions.iter().take(1).map(|_| pending.clone()).collect()
        };
        clean.require(found == wanted, &format!("{path}: {wanted:?}, found {found:?}"));
    }
    let software = &case.files(std::slice::from_ref(&software))[&software];
    clean.require(value_of(software, OLE, "EnableDCOM") == Some((1, utf16("N\0"))), "EnableDCOM is N");
    for (hive, key, name) in cell.starts() {
        clean.require(hive != "SOFTWARE" || value_of(software, &key, &name).is_none(), &name);
    }
    for file in files.iter().map(|name| windows.system32(name)) {
        clean.require(case.file(&file).iter().all(|&byte| byte == 0), &format!("{file} inert"));
    }

    let again = case.scan().exits(0);
    again.require(again.at("/verdict") == "clean" && told(&again).is_empty(), "clean afterwards");
    case.must_hold(&now, &again, "no byte to change");
    let undone = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&undone);
}

#[test]
fn every_windows_in_every_state_is_judged_cured_and_taken_back() {
    if common::practice(&["--files", "50", "--size", "12M"]).is_none() {
        return;
    }
    let cells = cells();
    assert_eq!(cells.len(), 4 * 2 * 5);
    for letter in ["a", "b", "c", "d", "e", "f", "t"] {
        assert!(cells.iter().filter(|cell| cell.letter() == Some(letter)).count() > 1, "{letter}");
    }
    two_at_once(&cells, Cell::name, try_cell);
}

//! The four Windows of practice disks, and what the variants leave on them, by tools that are neither ours nor the
//! maker's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::hives::{Tree, by_hivexml, by_regf, multi};
use common::volume::extract;
use common::{Case, OLE, ROOT, RUN, Ran, digest, judge, utf16};

const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";
const SMALL: [&str; 4] = ["--files", "60", "--size", "40M"];

struct Windows {
    word: &'static str,
    root: &'static str,
    /// The minor version of its hives, and the type of their logs.
    format: (u32, u32),
    version: [&'static str; 2],
    service_pack: u32,
}

const ALL: [Windows; 4] = [
    Windows { word: "nt4", root: "WINNT", format: (3, 2), version: ["4.0", "1381"], service_pack: 6 },
    Windows { word: "2000", root: "WINNT", format: (3, 2), version: ["5.0", "2195"], service_pack: 4 },
    Windows { word: "xp", root: "WINDOWS", format: (5, 1), version: ["5.1", "2600"], service_pack: 1 },
    Windows { word: "2003", root: "WINDOWS", format: (5, 1), version: ["5.2", "3790"], service_pack: 0 },
];

impl Windows {
    fn case(&self, options: &[&str]) -> Option<Case> {
        Case::with(&[&SMALL[..], &["--windows", self.word], options].concat())
    }

    fn system32(&self, name: &str) -> String {
        format!("{}/system32/{name}", self.root)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn sz(text: &str) -> Option<(u32, Vec<u8>)> {
    Some((1, utf16(&format!("{text}\0"))))
}

fn dword(number: u32) -> Option<(u32, Vec<u8>)> {
    Some((4, number.to_le_bytes().to_vec()))
}

/// One value by the `regf` crate; none too where its key is not there.
fn value(hive: &[u8], key: &str, name: &str) -> Option<(u32, Vec<u8>)> {
    by_regf(hive).get(key)?.get(name).cloned()
}

/// Reads a hive by both readers, and holds its format against the one expected.
#[track_caller]
fn sound(bytes: &[u8], minor: u32, path: &str) -> Tree<(u32, Vec<u8>)> {
    assert_eq!((word(bytes, 20), word(bytes, 24)), (1, minor), "{path}");
    let tree = by_regf(bytes);
    let outside = by_hivexml(bytes);
    assert_eq!(tree.len(), outside.len(), "{path}: hivexml reads as many keys");
    let lists = [b"lf", b"lh"].map(|kind| bytes.windows(2).filter(|pair| pair == kind).count());
    if minor < 5 {
        // a pair of such letters may stand in noise; a list begins a cell
        let lh = (4096..bytes.len() - 6).step_by(8).filter(|&at| &bytes[at + 4..at + 6] == b"lh").count();
        assert!(lh == 0 && lists[0] > 0, "{path}: format 1.3 knows no lh");
    }
    tree
}

#[test]
fn every_windows_is_what_its_hives_say() {
    for windows in &ALL {
        let Some(case) = windows.case(&[]) else { return };
        let config = windows.system32("config");
        let mut trees = BTreeMap::new();
        for name in ["software", "system", "SAM", "SECURITY", "DEFAULT"] {
            let path = format!("{config}/{name}");
            let bytes = case.file(&path);
            trees.insert(name, sound(&bytes, windows.format.0, &path));
            if name != "system" || windows.format.0 == 5 {
                let log = case.file(&format!("{path}.LOG"));
                assert_eq!(
                    (word(&log, 28), word(&log, 4)),
                    (windows.format.1, word(&bytes, 4) - 1),
                    "{path}"
                );
            }
        }
        let homes = if windows.word == "nt4" { "WINNT/Profiles" } else { "Documents and Settings" };
        for user in ["Zoë", "Default User"] {
            let path = format!("{homes}/{user}/NTUSER.DAT");
            sound(&case.file(&path), 3, &path);
        }
        let system = case.file(&format!("{config}/system"));
        let (alternate, log) = (format!("{config}/SYSTEM.ALT"), format!("{config}/system.LOG"));
        let told = judge(Command::new("fsstat").args(["-o", "63"]).arg(&case.disk));
        let told = String::from_utf8(told).unwrap();
        // Windows NT 4.0 is on its own form of NTFS, where the maker can make it
        if windows.word != "nt4" {
            assert!(told.contains("Version: Windows XP"), "{told}");
        }
        if windows.format.0 == 3 {
            let mirror = case.file(&alternate);
            assert_eq!(word(&mirror, 28), 1, "the type of an alternate file");
            let differing = (0..system.len()).filter(|&at| system[at] != mirror[at]);
            assert!(differing.into_iter().all(|at| matches!(at, 28..32 | 508..512)), "else a mirror");
        }
        assert_eq!(case.has_file(&alternate), windows.format.0 == 3);
        assert_eq!(case.has_file(&log), windows.format.0 == 5);

        let get = |hive: &str, key: &str, name: &str| trees[hive][key].get(name).cloned();
        assert_eq!(get("software", VERSION, "CurrentVersion"), sz(windows.version[0]));
        assert_eq!(get("software", VERSION, "CurrentBuildNumber"), sz(windows.version[1]));
        assert_eq!(get("software", VERSION, "SystemRoot"), sz(&format!("C:\\{}", windows.root)));
        assert_eq!(get("software", OLE, "EnableDCOM"), sz("Y"));
        assert_eq!(get("software", RUN, "windows auto update"), sz("msblast.exe"));
        let pack = (windows.service_pack > 0).then(|| format!("Service Pack {}", windows.service_pack));
        assert_eq!(get("software", VERSION, "CSDVersion"), pack.and_then(|pack| sz(&pack)));
        for set in ["ControlSet001", "ControlSet002"] {
            let control = |key: &str| format!("{set}\\Control\\{key}");
            let pack = dword(windows.service_pack << 8);
            assert_eq!(get("system", &control("Windows"), "CSDVersion"), pack);
            let kind = if windows.word == "2003" { "ServerNT" } else { "WinNT" };
            assert_eq!(get("system", &control("ProductOptions"), "ProductType"), sz(kind));
            let tcpip = format!("{set}\\Services\\Tcpip\\Parameters\\Interfaces\\");
            let interfaces = trees["system"].keys().filter(|key| key.starts_with(&tcpip)).count();
            let adapters = ["RTL81391", "NE20002"]
                .map(|adapter| format!("{set}\\Services\\{adapter}\\Parameters\\Tcpip"))
                .iter()
                .filter(|key| trees["system"].contains_key(*key))
                .count();
            assert_eq!((interfaces, adapters), if windows.word == "nt4" { (0, 2) } else { (2, 0) });
        }
        assert_eq!(trees["system"].contains_key("MountedDevices"), windows.word != "nt4");
        let folders = r"Microsoft\Windows\CurrentVersion\Explorer\Shell Folders";
        assert_eq!(get("software", folders, "Common AppData").is_some(), windows.word != "nt4");
        let boot = String::from_utf8(case.file("boot.ini")).unwrap();
        assert!(boot.contains(&format!("partition(1)\\{}=\"", windows.root)), "{boot}");
    }
}

#[test]
fn products_service_packs_and_control_sets_are_as_asked() {
    for (word, options, kind, suite, pack, default) in [
        ("2000", &["--server", "--service-pack", "2"][..], "ServerNT", &[][..], 2, 1),
        ("2000", &["--domain-controller", "--default-set", "2"], "LanmanNT", &[], 4, 2),
        ("nt4", &["--terminal-server"], "ServerNT", &["Terminal Server"], 6, 1),
        ("2003", &["--service-pack", "1"], "ServerNT", &[], 1, 1),
    ] {
        let windows = ALL.iter().find(|windows| windows.word == word).unwrap();
        let Some(case) = windows.case(options) else { return };
        let system = case.file(&windows.system32("config/system"));
        let control = r"ControlSet002\Control";
        let product = format!("{control}\\ProductOptions");
        assert_eq!(value(&system, &product, "ProductType"), sz(kind), "{options:?}");
        let mut suites = multi(suite);
        suites.truncate(suites.len().max(2));
        assert_eq!(value(&system, &product, "ProductSuite"), Some((7, suites)), "{options:?}");
        assert_eq!(value(&system, &format!("{control}\\Windows"), "CSDVersion"), dword(pack << 8));
        assert_eq!(value(&system, "Select", "Default"), dword(default));
        assert!(case.has_file(&windows.system32("wins/wins.mdb")) || word == "2003" || kind != "WinNT");
    }
}

/// The four numbers behind the signature of VS_FIXEDFILEINFO.
fn version(file: &[u8]) -> [u32; 4] {
    let at = file.windows(4).position(|four| four == [0xbd, 0x04, 0xef, 0xfe]).expect("a version resource");
    let (high, low) = (word(file, at + 8), word(file, at + 12));
    [high >> 16, high & 0xffff, low >> 16, low & 0xffff]
}

/// The table of MS04-012, and the bars of MS03-026 and MS03-039 that unpatched files must stay below.
#[test]
fn system_files_have_the_versions_of_the_bulletin() {
    let table = [
        ("nt4", "6", [4, 0, 1381], [7263, 7230, 7263], 7219, "rpcss.exe"),
        ("2000", "4", [5, 0, 2195], [6906, 6904, 6906], 6753, "rpcss.dll"),
        ("2000", "2", [5, 0, 2195], [6906, 6904, 6906], 6753, "rpcss.dll"),
        ("xp", "0", [5, 1, 2600], [136, 135, 135], 109, "rpcss.dll"),
        ("xp", "1", [5, 1, 2600], [1362, 1361, 1361], 1230, "rpcss.dll"),
        ("2003", "0", [5, 2, 3790], [138, 137, 132], 59, "rpcss.dll"),
    ];
    for (word, pack, numbers, patched, bar, rpcss) in table {
        let windows = ALL.iter().find(|windows| windows.word == word).unwrap();
        for update in [false, true] {
            let mut options = vec!["--service-pack", pack];
            options.extend(update.then_some("--patched"));
            let Some(case) = windows.case(&options) else { return };
            for (name, last) in ["ole32.dll", "rpcrt4.dll", rpcss].into_iter().zip(patched) {
                let file = case.file(&windows.system32(name));
                let found = version(&file);
                assert_eq!(found[..3], numbers, "{word} {name}");
                let right = if update { found[3] == last } else { found[3] < bar };
                assert!(right, "{word} service pack {pack}, updated: {update}, {name}: {found:?}");
                let path = case.path("file");
                fs::write(&path, &file).unwrap();
                let told = judge(Command::new("file").arg("-b").arg(&path));
                assert!(told.starts_with(b"PE32 executable"), "{}", String::from_utf8_lossy(&told));
            }
            let other = if rpcss == "rpcss.exe" { "rpcss.dll" } else { "rpcss.exe" };
            assert!(!case.has_file(&windows.system32(other)));
            let software = case.file(&windows.system32("config/software"));
            let key = format!("{VERSION}\\HotFix\\KB828741");
            assert_eq!(value(&software, &key, "Installed"), if update { dword(1) } else { None });
        }
    }
}

/// A word of `--infect`, and what it leaves: files below system32, values below Run.
type Left = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const LEFT: [Left; 8] = [
    ("a", &["msblast.exe"], &[("windows auto update", "msblast.exe")]),
    ("b", &["penis32.exe"], &[("windows auto update", "penis32.exe")]),
    ("c", &["teekids.exe"], &[("Microsoft Inet Xp..", "teekids.exe")]),
    ("d", &["mspatch.exe"], &[("Nonton Antivirus", "mspatch.exe")]),
    ("e", &["mslaugh.exe"], &[("windows automation", "mslaugh.exe")]),
    ("f", &["enbiei.exe"], &[("www.hidro.4t.com", "enbiei.exe")]),
    (
        "t",
        &["eschlp.exe", "svchosthlp.exe"],
        &[
            ("Helper", r"C:\WINNT\system32\eschlp.exe /fstart"),
            ("MSUpdate", r"C:\WINNT\system32\svchosthlp.exe"),
            ("SPUpdate", r"C:\WINNT\system32\SVCHOS~1.EXE"),
        ],
    ),
    ("welchia", &["wins/dllhost.exe", "wins/svchost.exe"], &[]),
];

/// The committed signatures, told by their digests.
fn known() -> String {
    fs::read_to_string(common::PRACTICE).unwrap()
}

#[track_caller]
fn has_services(case: &Case, windows: &Windows, there: bool) {
    for hive in ["system", "SYSTEM.ALT"] {
        let mut bytes = case.file(&windows.system32(&format!("config/{hive}")));
        if hive == "SYSTEM.ALT" {
            // the crate reads hives of type 0 alone; the checksum is an exclusive or
            bytes[28] ^= 1;
            bytes[508] ^= 1;
        }
        for set in ["ControlSet001", "ControlSet002"] {
            for (name, start, file) in [("RpcPatch", 2, "dllhost"), ("RpcTftpd", 3, "svchost")] {
                let key = format!("{set}\\Services\\{name}");
                assert_eq!(
                    value(&bytes, &key, "Start"),
                    if there { dword(start) } else { None },
                    "{hive} {key}"
                );
                let path = utf16(&format!("C:\\{}\\system32\\wins\\{file}.exe\0", windows.root));
                assert_eq!(value(&bytes, &key, "ImagePath"), there.then_some((2, path)));
            }
        }
    }
}

#[test]
fn each_variant_leaves_its_files_and_values_and_no_others() {
    let windows = &ALL[1];
    let signatures = known();
    for (letter, _, values) in LEFT {
        let Some(case) = windows.case(&["--infect", letter]) else { return };
        for (other, names, _) in LEFT {
            for name in names {
                let path = windows.system32(name);
                assert_eq!(case.has_file(&path), other == letter, "{letter}: {path}");
                if other == letter {
                    let sum = digest(&case.file(&path));
                    assert!(signatures.contains(&format!("sha256 = \"{sum}\"")), "{letter}: {path}");
                }
            }
        }
        let software = case.file(&windows.system32("config/software"));
        let left: Vec<&str> =
            LEFT.iter().flat_map(|(_, _, values)| values.iter().map(|(name, _)| *name)).collect();
        let run = &by_regf(&software)[RUN];
        let found: BTreeMap<&str, _> = run
            .iter()
            .filter(|(name, _)| left.contains(&name.as_str()))
            .map(|(n, v)| (n.as_str(), v))
            .collect();
        assert_eq!(found.len(), values.len(), "{letter}: {found:?}");
        for (name, data) in values {
            assert_eq!(Some(found[name].clone()), sz(data), "{letter}");
        }
        has_services(&case, windows, letter == "welchia");
        let user = case.file("Documents and Settings/Zoë/NTUSER.DAT");
        let page = value(&user, r"Software\Microsoft\Internet Explorer\Main", "Start Page");
        assert_eq!(page != sz("http://www.example.org/"), letter == "t", "{letter}: start page");
    }
}

#[test]
fn everything_at_once_is_there_on_every_file_system() {
    let windows = &ALL[1];
    let Some(case) = windows.case(&["--infect", "all"]) else { return };
    for (_, files, _) in LEFT {
        for name in files {
            assert!(case.has_file(&windows.system32(name)), "{name}");
        }
    }
    has_services(&case, windows, true);
    let worm = case.file(&windows.system32("msblast.exe"));
    let part = case.file(&windows.system32("TFTP123"));
    assert!(worm.starts_with(&part) && part.len() < worm.len());
    let bin = "RECYCLER/S-1-5-21-1801674531-1645522239-725345543-1003/Dc1.exe";
    assert_eq!(case.file(bin), worm);
    let user = case.file("Documents and Settings/Zoë/NTUSER.DAT");
    assert_eq!(value(&user, &format!("Software\\{RUN}"), "windows auto update"), sz("penis32.exe"));
    let none = case.file("Documents and Settings/Default User/NTUSER.DAT");
    assert_eq!(value(&none, &format!("Software\\{RUN}"), "windows auto update"), None);
    // the genuine ones, which nobody may touch
    for name in ["dllhost.exe", "svchost.exe", "dllcache/tftpd.exe"] {
        let sum = digest(&case.file(&windows.system32(name)));
        assert!(!known().contains(&sum), "{name}");
    }

    // the short name that one value goes by
    let volume = case.path("volume.img");
    extract(&case.disk, &volume);
    let told = judge(Command::new("ntfsinfo").arg("-F").arg("/WINNT/system32/svchosthlp.exe").arg(&volume));
    assert!(String::from_utf8_lossy(&told).contains("SVCHOS~1.EXE"), "ntfsinfo names it");
    let fat = windows.case(&["--infect", "all", "--filesystem", "fat32"]).unwrap();
    extract(&fat.disk, &volume);
    let told = judge(Command::new("mdir").arg("-i").arg(&volume).arg("::/WINNT/system32/svchosthlp.exe"));
    assert!(String::from_utf8_lossy(&told).contains("SVCHOS~1 EXE"), "mdir names it");
    judge(Command::new("fsck.fat").arg("-n").arg(&volume));
}

#[test]
fn windows_xp_keeps_restore_points_and_prefetch_files() {
    let windows = &ALL[2];
    let Some(case) = windows.case(&["--infect", "all"]) else { return };
    let point = "System Volume Information/_restore{3F1A7C52-9E0B-4D6A-8C11-5B2E7D904A63}/RP1";
    assert_eq!(case.file(&format!("{point}/A0000001.exe")), case.file(common::WORM));
    let path = format!("{point}/snapshot/_REGISTRY_MACHINE_SOFTWARE");
    let snapshot = case.file(&path);
    sound(&snapshot, 5, &path);
    assert_eq!(value(&snapshot, RUN, "windows auto update"), sz("msblast.exe"));
    let listing = case.listing();
    for name in ["MSBLAST.EXE-09FF84F2.pf", "CMD.EXE-087B4001.pf"] {
        assert!(listing.contains_key(&format!("WINDOWS/Prefetch/{name}")), "{name}");
    }
    let prefetched = listing.keys().filter(|path| path.starts_with("WINDOWS/Prefetch/")).count();
    assert_eq!(prefetched, 8 + 2, "one for each program of the variants, two of Windows");
}

/// The event log, by libevt's tool: 0x1775 is 6005, 0x1b77 is 7031.
#[test]
fn the_event_log_says_that_the_rpc_service_has_ended() {
    let installed = Command::new("evtexport").arg("-V").output().is_ok();
    if !installed {
        return common::skip("evtexport is not installed; scripts/install-deps does that");
    }
    for (windows, infect, ended) in [(&ALL[2], "all", true), (&ALL[2], "a", false), (&ALL[0], "all", false)] {
        let Some(case) = windows.case(&["--infect", infect]) else { return };
        let path = case.path("SysEvent.Evt");
        fs::write(&path, case.file(&windows.system32("config/SysEvent.Evt"))).unwrap();
        let told = String::from_utf8(judge(Command::new("evtexport").arg(&path))).unwrap();
        assert!(told.contains("0x80001775"), "{told}");
        assert_eq!(
            told.contains("0xc0001b77") && told.contains("Remote Procedure Call (RPC)"),
            ended,
            "{told}"
        );
        assert!(!told.to_lowercase().contains("corrupt"), "{told}");
    }
}

#[test]
fn the_log_of_a_dirty_hive_has_the_type_of_its_windows() {
    for windows in [&ALL[1], &ALL[3]] {
        let Some(case) = windows.case(&["--state", "dirty-hive"]) else { return };
        let hive = case.file(&windows.system32("config/software"));
        assert_eq!(word(&hive, 4), word(&hive, 8) + 1, "dirty");
        let log = case.file(&windows.system32("config/software.LOG"));
        assert_eq!(word(&log, 28), windows.format.1);
        assert_eq!(log[12..20], hive[12..20], "it applies");
        let read = regf::transaction_log::OldFormatLog::parse(std::io::Cursor::new(&log)).unwrap();
        let mut completed = hive;
        for page in &read.dirty_pages {
            let start = 4096 + page.offset as usize;
            completed[start..start + 512].copy_from_slice(&page.data);
        }
        let bin = completed[4096 + 20..4096 + 28].to_vec();
        assert_eq!(bin, log[12..20], "the first bin has the same time");
        let clean = windows.case(&[]).unwrap().file(&windows.system32("config/software"));
        assert!(completed[4124..] == clean[4124..], "completed, it is the clean one");
    }
}

#[test]
fn what_never_was_is_refused_in_words() {
    for (options, words) in [
        (&["--windows", "nt4", "--filesystem", "fat32"][..], "ntfs and fat16 alone"),
        (&["--windows", "nt4", "--state", "hibernated"], "cannot hibernate"),
        (&["--windows", "95"], "expected nt4, 2000, xp or 2003"),
        (&["--windows", "xp", "--server"], "no windows xp as a server"),
        (&["--windows", "2000", "--service-pack", "5"], "0 to 4"),
        (&["--windows", "2000", "--service-pack", "1", "--patched"], "too old"),
        (&["--windows", "xp", "--service-pack", "2", "--patched"], "contains it"),
        (&["--infect", "g"], "expected none, a, b, c, d, e, f, t, welchia or all"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut script = Command::new(Path::new(ROOT).join("scripts/make-practice-disk"));
        let ran = Ran::of(script.arg(folder.path().join("refused.img")).args(options)).exits(2);
        ran.says(words);
        ran.require(fs::read_dir(folder.path()).unwrap().count() == 0, "nothing is left behind");
    }
}

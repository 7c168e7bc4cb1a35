//! Both sides of every bar, written out a second time; and whatever keeps a file from deciding.

use super::*;
use crate::change::{FileId, ValueData, ValueType};
use crate::checks::KeyEvidence;
use crate::finding::PatchState::{Fixed, NotEstablished, Vulnerable};
use crate::path::RegPath;
use crate::windows::install::Identity;

/// A system: CurrentVersion, build, service pack.
type System = (&'static str, &'static str, u32);

const NT4: System = ("4.0", "1381", 6);
const W2K: System = ("5.0", "2195", 4);
const XP: System = ("5.1", "2600", 0);
const XP1: System = ("5.1", "2600", 1);
const XP2: System = ("5.1", "2600", 2);
const XP3: System = ("5.1", "2600", 3);
const S2003: System = ("5.2", "3790", 0);
const S2003_1: System = ("5.2", "3790", 1);

fn put(evidence: &mut Evidence, path: &str, version: Result<[u16; 4], &str>) {
    let id = Some(FileId::Ntfs { record: 77, sequence: 1 });
    let version = version.map(FileVersion).map_err(str::to_owned);
    evidence.programs.insert(WinPath::new(path), ProgramEvidence { id, version });
}

fn numbers((version, build, _): System, revision: u16) -> [u16; 4] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap());
    [parts.next().unwrap(), parts.next().unwrap(), build.parse().unwrap(), revision]
}

/// An install with rpcrt4, rpcss and ole32 of these revisions.
fn install(system: System, terminal_server: bool, revisions: [u16; 3]) -> Evidence {
    let (version, build, pack) = system;
    let suites = if terminal_server { vec!["Terminal Server".to_owned()] } else { Vec::new() };
    let mut evidence = Evidence {
        root: WinPath::new("WINNT"),
        identity: Identity {
            version: Some(version.to_owned()),
            build: Some(build.to_owned()),
            service_pack: Some(pack),
            service_pack_of_system: Some(pack),
            suites: Some(suites),
            ..Identity::default()
        },
        ..Evidence::default()
    };
    let rpcss = if version == "4.0" { "rpcss.exe" } else { "rpcss.dll" };
    for (name, revision) in ["rpcrt4.dll", rpcss, "ole32.dll"].iter().zip(revisions) {
        put(&mut evidence, &format!("SYSTEM32\\{name}"), Ok(numbers(system, revision)));
    }
    evidence
}

#[track_caller]
fn judged(evidence: &Evidence) -> (PatchState, Finding, Vec<Finding>) {
    let mut findings = Patch.judge(evidence);
    let first = findings.remove(0);
    let Bearing::Patch(state) = first.bearing else { panic!("{first:?}") };
    assert!(findings.iter().all(|other| other.bearing == Bearing::Nothing), "{findings:?}");
    (state, first, findings)
}

#[track_caller]
fn not_established(evidence: &Evidence, words: &str) {
    let (state, finding, _) = judged(evidence);
    assert_eq!((state, finding.grade), (NotEstablished, Grade::Suspect), "{finding:?}");
    assert!(finding.why.contains(words), "{words:?} in {:?}", finding.why);
}

/// System, terminal server or not, revisions of rpcrt4, rpcss and ole32, and what is to be said of MS03-026, MS03-039
/// and MS04-012.
type Row = (System, bool, [u16; 3], [PatchState; 3]);

/// FACTS as published: each file at its bar and one below.
const ROWS: &[Row] = &[
    // NT 4.0: rpcrt4 7219 and rpcss.exe 7224; 7230, 7263, 7263.
    (NT4, false, [7218, 7224, 7000], [Vulnerable; 3]),
    (NT4, false, [7219, 7223, 7000], [Vulnerable; 3]),
    (NT4, false, [7219, 7224, 335], [Fixed, NotEstablished, Vulnerable]),
    (NT4, false, [7230, 7263, 7263], [Fixed; 3]),
    (NT4, false, [7229, 7263, 7263], [Fixed, NotEstablished, Vulnerable]),
    (NT4, false, [7230, 7263, 7262], [NotEstablished, NotEstablished, Vulnerable]),
    (NT4, false, [7219, 7262, 7262], [Fixed, NotEstablished, Vulnerable]),
    (NT4, false, [32_999, 32_999, 32_999], [Fixed; 3]),
    // Its Terminal Server Edition: rpcrt4 33474; 33551, 33562, 33562.
    (NT4, true, [33_473, 33_400, 33_400], [Vulnerable; 3]),
    (NT4, true, [33_474, 33_400, 33_400], [Fixed, NotEstablished, Vulnerable]),
    (NT4, true, [33_551, 33_562, 33_562], [Fixed; 3]),
    (NT4, true, [33_550, 33_561, 33_561], [Fixed, NotEstablished, Vulnerable]),
    // 2000: rpcrt4 6753; 6802 and rpcss 6810; 6904, 6906, 6906.
    (W2K, false, [6752, 6769, 6769], [Vulnerable; 3]),
    (W2K, false, [6753, 6601, 6601], [Fixed, Vulnerable, Vulnerable]),
    (W2K, false, [6801, 6809, 6810], [Fixed, Vulnerable, Vulnerable]),
    (W2K, false, [6802, 6810, 6810], [Fixed, Fixed, Vulnerable]),
    (W2K, false, [6802, 6809, 6810], [NotEstablished, Vulnerable, Vulnerable]),
    (W2K, false, [6904, 6906, 6906], [Fixed; 3]),
    (W2K, false, [6904, 6906, 6905], [NotEstablished, NotEstablished, Vulnerable]),
    (W2K, true, [6904, 6906, 6906], [Fixed; 3]),
    // XP: rpcrt4 109; 039 cannot be told; 135, 135, 136.
    (XP, false, [0, 0, 0], [Vulnerable; 3]),
    (XP, false, [108, 115, 115], [Vulnerable; 3]),
    (XP, false, [109, 115, 115], [Fixed, NotEstablished, Vulnerable]),
    (XP, false, [109, 0, 115], [NotEstablished, NotEstablished, Vulnerable]),
    (XP, false, [135, 135, 136], [Fixed; 3]),
    (XP, false, [135, 134, 136], [NotEstablished, NotEstablished, Vulnerable]),
    (XP, false, [1105, 1105, 1105], [Fixed; 3]),
    // XP SP1: rpcrt4 1230; 1254; 1361, 1361, 1362.
    (XP1, false, [1106, 1106, 1106], [Vulnerable; 3]),
    (XP1, false, [1229, 1243, 1243], [Vulnerable; 3]),
    (XP1, false, [1230, 1243, 1243], [Fixed, Vulnerable, Vulnerable]),
    (XP1, false, [1253, 1243, 1243], [Fixed, Vulnerable, Vulnerable]),
    (XP1, false, [1254, 1263, 1263], [Fixed, Fixed, Vulnerable]),
    (XP1, false, [1254, 1106, 1263], [NotEstablished, NotEstablished, Vulnerable]),
    (XP1, false, [1254, 1263, 1106], [NotEstablished, NotEstablished, Vulnerable]),
    (XP1, false, [1361, 1361, 1362], [Fixed; 3]),
    (XP1, false, [1361, 1360, 1362], [NotEstablished, NotEstablished, Vulnerable]),
    (XP1, false, [1361, 1361, 1361], [NotEstablished, NotEstablished, Vulnerable]),
    (XP1, false, [2179, 2179, 2179], [Fixed; 3]),
    // XP SP2 and later contain it.
    (XP2, false, [2180, 2180, 2180], [Fixed; 3]),
    (XP3, false, [5512, 5512, 5512], [Fixed; 3]),
    // 2003: rpcrt4 59; 76; 137, 132, 138 or 141, 142, 139.
    (S2003, false, [0, 0, 0], [Vulnerable; 3]),
    (S2003, false, [58, 68, 68], [Vulnerable; 3]),
    (S2003, false, [59, 68, 68], [Fixed, Vulnerable, Vulnerable]),
    (S2003, false, [75, 68, 68], [Fixed, Vulnerable, Vulnerable]),
    (S2003, false, [76, 80, 80], [Fixed, Fixed, Vulnerable]),
    (S2003, false, [76, 0, 80], [NotEstablished, NotEstablished, Vulnerable]),
    (S2003, false, [137, 132, 138], [Fixed; 3]),
    (S2003, false, [136, 131, 137], [Fixed, Fixed, Vulnerable]),
    (S2003, false, [141, 142, 139], [Fixed; 3]),
    (S2003, false, [140, 141, 137], [Fixed, Fixed, Vulnerable]),
    // Between the two lines: neither file tells.
    (S2003, false, [141, 133, 139], [NotEstablished, NotEstablished, Vulnerable]),
    (S2003_1, false, [1830, 1830, 1830], [Fixed; 3]),
    (S2003_1, false, [3959, 3959, 3959], [Fixed; 3]),
];

#[test]
fn both_sides_of_every_bar() {
    for &(system, terminal_server, revisions, expected) in ROWS {
        let evidence = install(system, terminal_server, revisions);
        let (state, finding, _) = judged(&evidence);
        let told = finding.facts.bulletins.expect("the files were compared");
        let told = [told.ms03_026, told.ms03_039, told.ms04_012];
        assert_eq!((state, told), (expected[0], expected), "{system:?} {revisions:?}: {}", finding.why);
        let grade = match state {
            Fixed => Grade::Information,
            Vulnerable => Grade::Confirmed,
            NotEstablished => Grade::Suspect,
        };
        assert_eq!(finding.grade, grade);
        // The file that decided is named, with its own version.
        let name = finding.place.strip_prefix("\\WINNT\\system32\\").expect("a file in system32");
        let version = version(&evidence, FOLDER, name).expect("a file that is there");
        assert_eq!(finding.facts.file_version, Some(version.to_string()));
        assert_eq!(finding.facts.mft_record, Some(77));
        assert_eq!(finding.subject, Subject::Nothing);
    }
}

/// The least revision, rising from nothing, at which an install with all files of it is told as fixed.
#[test]
fn as_files_grow_newer_the_patch_comes_and_stays() {
    for (system, terminal_server, first) in [
        (NT4, false, 7224),
        (NT4, true, 33_474),
        (W2K, false, 6753),
        (XP, false, 109),
        (XP1, false, 1230),
        (XP2, false, 2180),
        (S2003, false, 59),
        (S2003_1, false, 1830),
    ] {
        let evidence = install(system, terminal_server, [first; 3]);
        let branch = bars::branch(&evidence.identity, None).unwrap();
        let ours = |number: &u16| branch.revision(FileVersion(numbers(system, *number))) == Some(*number);
        let tried: Vec<u16> = (0..=8000).chain(32_900..=33_700).chain([u16::MAX]).filter(ours).collect();
        let is_fixed = |number: &u16| compare(branch, [*number; 3]).state == Fixed;
        let fixed: Vec<u16> = tried.iter().copied().filter(is_fixed).collect();
        assert_eq!(fixed.first(), Some(&first), "{system:?}");
        // Up to the next branch, but for the numbers between two files of one bulletin.
        let end = match system {
            XP => 1105,
            XP1 => 2179,
            S2003 => 1829,
            NT4 if !terminal_server => 32_999,
            _ => u16::MAX,
        };
        assert_eq!(fixed.last(), Some(&end), "{system:?}");
        let gaps: Vec<u16> =
            tried.into_iter().filter(|number| *number > first && !fixed.contains(number)).collect();
        assert!(gaps.len() < 40, "{system:?}: {gaps:?}");
    }
}

#[test]
fn a_file_of_another_branch_decides_nothing() {
    for (system, terminal_server, revisions) in [
        (XP, false, [1361, 1361, 1362]),
        (XP, false, [135, 135, 1106]),
        (XP1, false, [109, 115, 115]),
        (XP1, false, [2180, 2180, 2180]),
        (XP2, false, [1361, 1361, 1362]),
        (XP2, false, [2180, 1361, 2180]),
        (S2003, false, [1830, 1830, 1830]),
        (S2003_1, false, [137, 132, 138]),
        (NT4, false, [33_551, 33_562, 33_562]),
        (NT4, true, [7230, 7263, 7263]),
    ] {
        not_established(&install(system, terminal_server, revisions), "is no file of Windows");
    }
    let mut evidence = install(XP1, false, [1361, 1361, 1362]);
    put(&mut evidence, "system32\\ole32.dll", Ok([5, 2, 2600, 1362]));
    not_established(&evidence, "ole32.dll 5.2.2600.1362 is no file of Windows XP Service Pack 1");
}

#[test]
fn what_cannot_be_read_is_not_established_in_words() {
    let good = || install(XP1, false, [1361, 1361, 1362]);
    for name in ["rpcrt4.dll", "rpcss.dll", "ole32.dll"] {
        let mut evidence = good();
        evidence.programs.remove(&WinPath::new("system32").join(name));
        not_established(&evidence, &format!("{name} is not in system32"));
        let mut evidence = good();
        put(&mut evidence, &format!("system32\\{name}"), Err("its resources hold no version"));
        not_established(&evidence, "its resources hold no version");
    }
    // On NT 4.0 the service is a program of its own.
    let mut evidence = install(NT4, false, [7230, 7263, 7263]);
    let program = evidence.programs.remove(&WinPath::new("system32\\rpcss.exe")).unwrap();
    evidence.programs.insert(WinPath::new("system32\\rpcss.dll"), program);
    not_established(&evidence, "rpcss.exe is not in system32");
    let mut evidence = good();
    evidence.unread_hives.insert(HiveRole::Software, "a bad sector".to_owned());
    not_established(&evidence, "a bad sector");
}

#[test]
fn a_system_of_which_no_bulletin_tells_is_not_established() {
    for (system, words) in [
        (("5.0", "2195", 1), "service pack 1"),
        (("5.0", "2195", 0), "service pack 0"),
        (("5.0", "2195", 5), "service pack 5"),
        (("4.0", "1381", 5), "service pack 5"),
        (("6.1", "7601", 1), "version 6.1"),
        (("5.1", "2505", 0), "build is 2505"),
    ] {
        not_established(&install(system, false, [u16::MAX; 3]), words);
    }
    let with = |change: fn(&mut Identity)| {
        let mut evidence = install(XP1, false, [1361, 1361, 1362]);
        change(&mut evidence.identity);
        evidence
    };
    not_established(&with(|identity| identity.version = None), "which Windows it is");
    not_established(
        &with(|identity| identity.service_pack_of_system = Some(2)),
        "1 by SOFTWARE and 2 by SYSTEM",
    );
    let unread = with(|identity| {
        identity.service_pack = None;
        identity.service_pack_of_system = None;
    });
    not_established(&unread, "service pack could not be read");
    // One hive that tells is enough; so are the files where no hive tells a terminal server.
    assert_eq!(judged(&with(|identity| identity.service_pack_of_system = None)).0, Fixed);
    assert_eq!(judged(&with(|identity| identity.service_pack = None)).0, Fixed);
    for (terminal_server, revisions) in [(true, [33_551, 33_562, 33_562]), (false, [7230, 7263, 7263])] {
        let mut evidence = install(NT4, terminal_server, revisions);
        evidence.identity.suites = None;
        assert_eq!(judged(&evidence).0, Fixed);
    }
}

fn register(evidence: &mut Evidence, key: &str, installed: Option<u32>) {
    let value = installed.map(|number| {
        let data = ValueData { kind: ValueType::DWORD, data: number.to_le_bytes().to_vec() };
        ("Installed".to_owned(), Ok(data))
    });
    let key_evidence = KeyEvidence { values: value.into_iter().collect() };
    evidence.keys.insert((HiveRole::Software, RegPath::new(key)), key_evidence);
}

#[test]
fn the_registry_is_told_and_never_decides() {
    const HOTFIX: &str = "Microsoft\\Windows NT\\CurrentVersion\\HotFix\\KB823980";
    for (revisions, state, with, without) in [
        ([1361, 1361, 1362], Fixed, "names KB823980, Update Rollup 1 too", "contained it"),
        ([1106, 1106, 1106], Vulnerable, "replaced by older ones", "names no such update"),
        ([1254, 1106, 1263], NotEstablished, "proves nothing", "names no such update"),
    ] {
        let mut evidence = install(XP1, false, revisions);
        let (found, finding, _) = judged(&evidence);
        assert_eq!(found, state);
        assert!(finding.why.contains(without), "{}", finding.why);
        register(&mut evidence, HOTFIX, Some(0));
        assert_eq!(judged(&evidence).1, finding, "an update that was taken out again");
        register(&mut evidence, HOTFIX, Some(1));
        register(&mut evidence, "Microsoft\\Updates\\Windows 2000\\SP5\\Update Rollup 1", None);
        let (found, finding, _) = judged(&evidence);
        assert_eq!(found, state);
        assert!(finding.why.contains(with), "{}", finding.why);
    }
    let keys: Vec<String> = registered::keys().iter().map(|key| key.path.to_string()).collect();
    for known in [
        "Microsoft\\Windows NT\\CurrentVersion\\HotFix\\Q823980",
        "Microsoft\\Updates\\Windows 2000\\SP5\\KB824146",
        "Microsoft\\Updates\\Windows XP\\SP1\\KB824146",
        "Microsoft\\Updates\\Windows XP\\SP2\\KB828741",
        "Microsoft\\Updates\\Windows Server 2003\\SP1\\KB823980",
        "Microsoft\\Updates\\Window Server 2003\\SP1\\KB823980",
    ] {
        assert!(keys.contains(&known.to_owned()), "{known}");
    }
}

#[test]
fn copies_in_dllcache_are_told_where_they_differ() {
    let mut evidence = install(XP1, false, [1361, 1361, 1362]);
    put(&mut evidence, "system32\\dllcache\\rpcss.dll", Ok([5, 1, 2600, 1106]));
    put(&mut evidence, "system32\\dllcache\\rpcrt4.dll", Ok([5, 1, 2600, 1361]));
    put(&mut evidence, "system32\\dllcache\\ole32.dll", Err("damaged"));
    let (state, _, others) = judged(&evidence);
    assert_eq!((state, others.len()), (Fixed, 1), "{others:?}");
    assert_eq!(others[0].place, "\\WINNT\\system32\\dllcache\\rpcss.dll");
    assert_eq!(others[0].facts.file_version.as_deref(), Some("5.1.2600.1106"));
    assert_eq!(others[0].grade, Grade::Information);
    let mut evidence = install(XP1, false, [1106, 1106, 1106]);
    put(&mut evidence, "system32\\dllcache\\rpcss.dll", Ok([5, 1, 2600, 1361]));
    let (state, finding, others) = judged(&evidence);
    assert_eq!((state, others.len()), (Vulnerable, 0));
    assert!(finding.why.contains("dllcache holds a newer rpcss.dll, 5.1.2600.1361"), "{}", finding.why);
}

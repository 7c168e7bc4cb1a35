//! Judges a disk after a cut: what each of the files that a run writes holds, and that no other is touched.
//!
//! A hive's values are read by the crate `regf` and held against a plain model of the edits, so that our reader and
//! our editor do not vouch for themselves; our own check and tree come on top, as they see more.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::Mutex;

use deblast::change::{Change, HiveRole, ValueChange, ValueEdit};
use deblast::digest::Sha256;
use deblast::hive::Hive;
use deblast::hive::check::{Class, check};
use deblast::hive::edit::{Edit, edit};
use deblast::hive::tree::{actual_tree, expected_tree};
use deblast::path::WinPath;
use deblast::store::Store;
use deblast::store::journal::{Journal, Loaded};
use deblast::volume::{Extents, Window, open_volume, recognise};
use regf::hive::{RegistryHive, RegistryKey};

use crate::cut_disk::{Overlay, SECTOR, Snapshot, partition, practice, read, reader};

/// The three files that a run writes on every Windows, as they lie on XP.
pub(crate) const WORM: &str = "/WINDOWS/system32/msblast.exe";
pub(crate) const SOFTWARE: &str = "/WINDOWS/system32/config/software";
pub(crate) const SYSTEM: &str = "/WINDOWS/system32/config/system";

/// A hive as a judge that is not ours reads it: key and name in lower case, type and data. A key itself is there as
/// a name that no value has, with its class and the security cell it points to.
pub(crate) type Values = BTreeMap<(String, String), (u32, Vec<u8>)>;

pub(crate) fn values(bytes: &[u8]) -> Result<Values, String> {
    fn walk(key: &RegistryKey<'_>, path: &str, values: &mut Values) -> regf::error::Result<()> {
        let class = key.class_name()?.unwrap_or_default();
        values.insert((path.to_owned(), "\0key".to_owned()), (key.subkey_count(), class.into_bytes()));
        for value in key.values()? {
            let name = (path.to_owned(), value.name().to_lowercase());
            let twice = values.insert(name, (value.raw_data_type(), value.raw_data()?));
            assert!(twice.is_none(), "{path} has the value {:?} twice", value.name());
        }
        for subkey in key.subkeys()? {
            walk(&subkey, &format!("{path}\\{}", subkey.name().to_lowercase()), values)?;
        }
        Ok(())
    }
    let mut bytes = bytes.to_vec();
    if bytes.get(28) == Some(&1) {
        // SYSTEM.ALT as a primary hive, which is all that regf knows; the checksum is an exclusive or.
        bytes[28] ^= 1;
        bytes[508] ^= 1;
    }
    let hive = RegistryHive::from_bytes(bytes).map_err(|error| error.to_string())?;
    if hive.is_dirty() {
        return Err("regf calls it dirty".to_owned());
    }
    let mut values = Values::new();
    let root = hive.root_key().map_err(|error| error.to_string())?;
    walk(&root, "", &mut values).map_err(|error| error.to_string())?;
    Ok(values)
}

/// What the edits make of the values, by a model of two lines.
fn edited(mut values: Values, edits: &[Edit]) -> Values {
    for edit in edits {
        let place =
            (format!("\\{}", edit.key()).to_lowercase(), edit.value().unwrap_or_default().to_lowercase());
        match edit {
            Edit::Delete { .. } => assert!(values.remove(&place).is_some(), "{place:?}"),
            Edit::Set { to, .. } => drop(values.insert(place, (to.kind.0, to.data.clone()))),
            Edit::CreateKey { key } => panic!("no cure makes a key: {key}"),
        }
    }
    values
}

pub(crate) fn to_edit(change: &ValueChange) -> Edit {
    let (key, value) = (change.key.clone(), change.name.clone());
    match &change.edit {
        ValueEdit::Delete => Edit::Delete { key, value },
        ValueEdit::Set { to } => Edit::Set { key, value, to: to.clone() },
    }
}

/// The edits of one hive that the newest run of a store has planned.
pub(crate) fn edits_of(store: &Snapshot, role: HiveRole) -> Vec<Edit> {
    let folder = store.lay_out();
    let run = Store::at(folder.path()).runs().unwrap().into_iter().next().unwrap();
    let Loaded::Ready(Journal { header, .. }) = run.load().unwrap() else { panic!("no journal") };
    let values = header.changes.into_iter().filter_map(|recorded| match recorded.change {
        Change::Value(value) if value.hive == role => Some(to_edit(&value)),
        _ => None,
    });
    values.collect()
}

/// The files of the practice disk that a run writes; none of them moves.
pub(crate) struct Files {
    start: u64,
    pub(crate) worm: Extents,
    pub(crate) software: Extents,
    pub(crate) system: Extents,
    /// SYSTEM.ALT, where there is one.
    pub(crate) alternate: Option<Extents>,
}

pub(crate) fn files() -> Files {
    let (start, size) = partition(&practice().bytes);
    let window = Window::new(reader(&Overlay::new()), start, size);
    let recognised = recognise(&window).unwrap();
    let volume = open_volume(std::sync::Arc::new(window), recognised).unwrap();
    let look = |path: &str| {
        // NT 4.0 and 2000 lie in a folder of another name.
        [path.to_owned(), path.replace("/WINDOWS/", "/WINNT/")].iter().find_map(|path| {
            let facts = volume.find(&WinPath::new(&path.replace('/', r"\"))).unwrap()?;
            Some(volume.extents(facts.id).unwrap())
        })
    };
    let find = |path: &str| look(path).unwrap();
    let alternate = look(&format!("{SYSTEM}.ALT"));
    Files { start, worm: find(WORM), software: find(SOFTWARE), system: find(SYSTEM), alternate }
}

impl Files {
    pub(crate) fn content(&self, disk: &Overlay, extents: &Extents) -> Vec<u8> {
        let mut bytes = Vec::new();
        for run in &extents.runs {
            let mut piece = vec![0; usize::try_from(run.length).unwrap()];
            read(disk, self.start + run.place, &mut piece);
            bytes.extend(piece);
        }
        bytes.truncate(usize::try_from(extents.size).unwrap());
        bytes
    }

    /// Place on the disk of a byte of a file.
    pub(crate) fn place(&self, extents: &Extents, offset: u64) -> u64 {
        self.start + extents.place(offset, SECTOR as u64).unwrap()
    }

    /// Every changed sector lies inside one of the files, so no other file can differ. The slack behind a
    /// file's end is of nobody, and stays as it is too.
    fn nothing_else(&self, disk: &Overlay) -> Result<(), String> {
        for (&place, sector) in disk {
            let at = place - self.start;
            let files = [&self.worm, &self.software, &self.system].into_iter().chain(&self.alternate);
            let owner = files.into_iter().find_map(|extents| {
                let run =
                    extents.runs.iter().find(|run| (run.place..run.place + run.length).contains(&at))?;
                Some((extents.size, run.file_offset + (at - run.place)))
            });
            let Some((size, offset)) = owner else {
                return Err(format!("a sector of no file of ours: {at:#x}"));
            };
            let inside = usize::try_from(size.saturating_sub(offset)).unwrap().min(SECTOR);
            let start = usize::try_from(place).unwrap();
            if inside == 0 || sector[inside..] != practice().bytes[start + inside..start + SECTOR] {
                return Err(format!("what lies behind a file's end, at {at:#x}"));
            }
        }
        Ok(())
    }
}

/// A way of one hive from one state to another by whole edits.
pub(crate) struct Way {
    edits: Vec<Edit>,
    /// Its values after so many edits.
    steps: Vec<Values>,
    /// Its tree after so many, the times of all edited keys left out.
    trees: Vec<Sha256>,
}

impl Way {
    pub(crate) fn new(start: Vec<u8>, edits: Vec<Edit>) -> Self {
        let before = values(&start).unwrap();
        let steps = (0..=edits.len()).map(|count| edited(before.clone(), &edits[..count])).collect();
        let start = Hive::parse(start).unwrap();
        let tree = |count: usize| {
            let mut after = start.clone();
            edit(&mut after, &edits[..count], 1).unwrap();
            let model = expected_tree(&start, &edits[..count]).unwrap();
            assert_eq!(actual_tree(&after, &edits[..count]).unwrap(), model, "model and editor");
            actual_tree(&after, &edits).unwrap()
        };
        let trees = (0..=edits.len()).map(tree).collect();
        Self { edits, steps, trees }
    }

    pub(crate) fn last(&self) -> &Values {
        self.steps.last().unwrap()
    }

    /// In how many states it can be, the first counted.
    #[allow(dead_code, reason = "the story of SYSTEM.ALT asks for it")]
    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }

    pub(crate) fn first(&self) -> &Values {
        &self.steps[0]
    }
}

/// How far a file is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stand {
    Old,
    Between,
    New,
}

/// Where a hive is: on which way, after how many edits.
type Where = (usize, usize);

/// Judges disks of one story; remembers hives that it has seen.
pub(crate) struct Judge {
    pub(crate) files: Files,
    pub(crate) software: Vec<Way>,
    pub(crate) system: Vec<Way>,
    /// Of SYSTEM.ALT; none where there is no such file, or no run of the story writes it.
    pub(crate) alternate: Vec<Way>,
    seen: Mutex<HashMap<Sha256, Result<Where, String>>>,
}

/// What a judge found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) worm: Stand,
    pub(crate) software: Where,
    pub(crate) system: Where,
    pub(crate) alternate: Option<Where>,
}

impl Judge {
    pub(crate) fn new(files: Files, software: Vec<Way>, system: Vec<Way>) -> Self {
        Self { files, software, system, alternate: Vec::new(), seen: Mutex::default() }
    }

    /// Every file but the worm whole, hives after some number of whole edits, the worm live as a whole or not at all.
    pub(crate) fn judge(&self, disk: &Overlay) -> Result<Found, String> {
        self.files.nothing_else(disk)?;
        let hive = |ways: &[Way], extents: &Extents, name: &str| {
            self.hive(ways, self.files.content(disk, extents)).map_err(|why| format!("{name}: {why}"))
        };
        Ok(Found {
            worm: self.worm(disk)?,
            software: hive(&self.software, &self.files.software, "SOFTWARE")?,
            system: hive(&self.system, &self.files.system, "SYSTEM")?,
            alternate: match &self.files.alternate {
                Some(extents) if !self.alternate.is_empty() => {
                    Some(hive(&self.alternate, extents, "SYSTEM.ALT")?)
                }
                _ => None,
            },
        })
    }

    fn worm(&self, disk: &Overlay) -> Result<Stand, String> {
        let now = self.files.content(disk, &self.files.worm);
        let original = self.files.content(&Overlay::new(), &self.files.worm);
        let zeros = |sector: &[u8]| sector.iter().all(|&byte| byte == 0);
        let sectors = now.chunks(SECTOR).zip(original.chunks(SECTOR));
        if sectors.clone().any(|(now, original)| now != original && !zeros(now)) {
            return Err("a sector of the worm is neither its own nor zeros".to_owned());
        }
        match (now == original, zeros(&now)) {
            (true, _) => Ok(Stand::Old),
            (_, true) => Ok(Stand::New),
            _ if zeros(&now[..SECTOR]) => Ok(Stand::Between),
            // It could start: its first sector is the last that comes back, and the first that goes.
            _ => Err("the worm's first sector is there and others are not".to_owned()),
        }
    }

    fn hive(&self, ways: &[Way], bytes: Vec<u8>) -> Result<Where, String> {
        let digest = Sha256::of(&bytes);
        if let Some(known) = self.seen.lock().unwrap().get(&digest) {
            return known.clone();
        }
        let found = judge_hive(ways, bytes);
        self.seen.lock().unwrap().insert(digest, found.clone());
        found
    }

    /// The values of the hives in a state that was judged.
    pub(crate) fn values(&self, found: Found) -> (&Values, &Values) {
        (
            &self.software[found.software.0].steps[found.software.1],
            &self.system[found.system.0].steps[found.system.1],
        )
    }

    /// How many different hives were judged.
    pub(crate) fn hives(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

pub(crate) fn judge_hive(ways: &[Way], bytes: Vec<u8>) -> Result<Where, String> {
    let theirs = values(&bytes)?;
    let hive = Hive::parse(bytes).map_err(|error| error.to_string())?;
    if let Some(dirty) = hive.dirty() {
        return Err(format!("it is dirty: {dirty}"));
    }
    let problems = check(&hive);
    if let Some(problem) = problems.iter().find(|problem| problem.class == Class::Structure) {
        return Err(problem.to_string());
    }
    let steps =
        ways.iter().enumerate().flat_map(|(way, of)| (0..of.steps.len()).map(move |step| (way, step)));
    let alike: Vec<Where> = steps.filter(|&(way, step)| ways[way].steps[step] == theirs).collect();
    if alike.is_empty() {
        return Err("values of no state".to_owned());
    }
    // Our tree sees flags, security, the order of values and the times of the keys that no edit names as well.
    for (way, step) in alike {
        let of = &ways[way];
        if actual_tree(&hive, &of.edits).map_err(|error| error.to_string())? == of.trees[step] {
            return Ok((way, step));
        }
    }
    Err("the tree of no state".to_owned())
}

/// One file by `ntfscat`, of the volume in a plain file.
pub(crate) fn ntfscat(volume: &std::path::Path, path: &str) -> Vec<u8> {
    let output = Command::new("ntfscat").arg("-f").arg(volume).arg(path).output().unwrap();
    assert!(output.status.success(), "ntfscat {path}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Paths of all files with content that `ntfsls` finds on a volume, the file system's own left out.
pub(crate) fn ntfsls(volume: &std::path::Path) -> Vec<String> {
    let output = Command::new("ntfsls").args(["-f", "-R", "-l"]).arg(volume).output().unwrap();
    assert!(output.status.success(), "ntfsls: {}", String::from_utf8_lossy(&output.stderr));
    let (mut folder, mut paths) = (String::new(), Vec::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        // `/folder:` and below it lines of size, time and name; folders have the size 0.
        if let Some(name) = line.strip_suffix(':').filter(|name| name.starts_with('/')) {
            folder = format!("{}/", name.trim_end_matches('/'));
        } else if let Some((size, rest)) = line.trim_start().split_once(' ')
            && size.parse::<u64>().is_ok_and(|size| size > 0)
        {
            paths.push(format!("{folder}{}", &rest["Aug 11 18:30 2003 ".len()..]));
        }
    }
    paths
}

/// A hive by `hivexml`, without times and places.
pub(crate) fn hivexml(hive: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hive).unwrap();
    let output = Command::new("hivexml").arg(file.path()).output().unwrap();
    assert!(output.status.success(), "hivexml: {}", String::from_utf8_lossy(&output.stderr));
    let mut text = String::from_utf8(output.stdout).unwrap();
    for (open, close) in [("<mtime>", "</mtime>"), ("<byte_runs>", "</byte_runs>")] {
        let mut rest = text.as_str();
        let mut without = String::new();
        while let Some(at) = rest.find(open) {
            without.push_str(&rest[..at]);
            rest = &rest[at + rest[at..].find(close).unwrap() + close.len()..];
        }
        without.push_str(rest);
        text = without;
    }
    text
}

//! Sectors that cannot be read: what a power cut in mid-write can leave, and what a failing disk has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Case, Journal, PRACTICE, SECTOR, WORM, changed_sectors, judge};
use deblast::cleanup::discover::Patient;
use deblast::cleanup::undo::Only;
use deblast::cleanup::verdict::Verdict;
use deblast::cleanup::{Settings, Treated, Which, clean, undo};
use deblast::error::{Error, Result};
use deblast::policy::Policy;
use deblast::store::Store;
use deblast::threat::Signatures;
use deblast::volume::{Device, ReadAt, Sectors};
use jiff::Timestamp;

/// What the medium holds, which sectors of it cannot be read until they are written, and how often it was written.
struct Medium {
    bytes: Vec<u8>,
    bad: BTreeSet<usize>,
    written: usize,
}

impl Medium {
    fn read(&self, offset: usize, buf: &mut [u8]) -> Result<()> {
        if let Some(&place) = self.bad.range(offset.saturating_sub(SECTOR - 1)..offset + buf.len()).next() {
            return Err(Error::refused("read the medium", "unrecoverable read error").offset(place as u64));
        }
        buf.copy_from_slice(&self.bytes[offset..offset + buf.len()]);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.bad.retain(|place| !(offset..offset + bytes.len()).contains(place));
        self.written += 1;
    }
}

/// A device over such a medium. Its path names the image that it began as, whose partition table is read.
struct BadDevice {
    path: PathBuf,
    medium: Arc<Mutex<Medium>>,
}

struct Handle(Arc<Mutex<Medium>>);

impl ReadAt for Handle {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let medium = self.0.lock().unwrap();
        if offset + buf.len() as u64 > medium.bytes.len() as u64 {
            return Err(Error::refused("read the medium", "beyond its end").offset(offset));
        }
        medium.read(usize::try_from(offset).unwrap(), buf)
    }

    fn size(&self) -> u64 {
        self.0.lock().unwrap().bytes.len() as u64
    }
}

impl Sectors for Handle {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_at(offset, buf)
    }

    fn overwrite(&mut self, offset: u64, before: &[u8], after: &[u8]) -> Result<()> {
        assert!(offset.is_multiple_of(512) && before.len() == after.len() && after.len().is_multiple_of(512));
        let mut found = vec![0; before.len()];
        self.read_at(offset, &mut found)?;
        if found != before {
            return Err(Error::refused("overwrite", "it holds something else").offset(offset));
        }
        self.0.lock().unwrap().write(usize::try_from(offset).unwrap(), after);
        Ok(())
    }

    fn replace_unreadable(&mut self, offset: u64, after: &[u8]) -> Result<()> {
        if self.read_at(offset, &mut vec![0; after.len()]).is_ok() {
            return Err(Error::refused("replace", "it can be read").offset(offset));
        }
        self.0.lock().unwrap().write(usize::try_from(offset).unwrap(), after);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Device for BadDevice {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open_read(&self) -> Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Handle(self.medium.clone())))
    }

    fn open_write(&self) -> Result<Box<dyn Sectors>> {
        Ok(Box::new(Handle(self.medium.clone())))
    }

    fn drop_caches(&self) -> Result<()> {
        Ok(())
    }
}

/// A disk some of whose sectors cannot be read, with a copy of a store.
struct Bad {
    folder: tempfile::TempDir,
    path: PathBuf,
    medium: Arc<Mutex<Medium>>,
}

impl Bad {
    /// `closed`: whether the end of the runs is recorded, as it is not where one was cut.
    fn new(case: &Case, bytes: Vec<u8>, bad: BTreeSet<usize>, closed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        judge(Command::new("cp").arg("-r").arg(case.store()).arg(&store));
        for run in case.runs().iter().filter(|_| !closed) {
            let run = store.join(run.file_name().unwrap());
            let mut journal = std::fs::read(run.join("journal")).unwrap();
            let closed = br#" {"record":"closed""#;
            let at = journal.windows(closed.len()).position(|window| window == closed).unwrap();
            let line = journal[..at].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
            journal[line..].fill(0);
            std::fs::write(run.join("journal"), journal).unwrap();
            std::fs::remove_file(run.join("report.json")).unwrap();
        }
        let medium = Arc::new(Mutex::new(Medium { bytes, bad, written: 0 }));
        Self { folder, path: case.disk.clone(), medium }
    }

    fn treat(&self, what: impl FnOnce(&Patient, &Settings) -> Result<Treated>) -> Treated {
        let device = BadDevice { path: self.path.clone(), medium: self.medium.clone() };
        let mut signatures = Signatures::builtin().unwrap();
        signatures.add_file(Path::new(PRACTICE)).unwrap();
        let settings = Settings {
            targets: Vec::new(),
            signatures: signatures.into(),
            policy: Policy::default(),
            store: Store::at(self.folder.path().join("store")),
            store_named: true,
            dry_run: false,
            options: serde_json::Value::Null,
            clock: || Timestamp::from_second(1_893_553_445).unwrap(),
            stop: || false,
        };
        what(&Patient::with_device(Box::new(device)).unwrap(), &settings).unwrap()
    }

    fn clean(&self) -> Treated {
        self.treat(|patient, settings| clean(patient, settings, &mut |_| true, &mut |_| {}))
    }

    fn undo(&self, which: &Which) -> Treated {
        self.treat(|patient, settings| {
            undo(patient, settings, (which, Only::All), &mut |_| true, &mut |_| {})
        })
    }

    #[track_caller]
    fn must_hold(&self, bytes: &[u8], what: &str, treated: &Treated) {
        let medium = self.medium.lock().unwrap();
        let differ = changed_sectors(bytes, &medium.bytes);
        assert!(differ.is_empty(), "{what}: {differ:?} differ: {}", words(treated));
    }

    #[track_caller]
    fn must_not_be_written(&self, what: &str, treated: &Treated) {
        assert_eq!(self.medium.lock().unwrap().written, 0, "{what}: it was written: {}", words(treated));
    }
}

/// All that is said about a target.
fn words(treated: &Treated) -> String {
    let report = serde_json::to_string(&treated.target).unwrap();
    format!("exit code {:?}: {report}", treated.exit_code)
}

/// Does `work` to each item on a few threads.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(4) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

/// Each sector that a clean writes, as often as it does: the disk when the power was cut in the midst of writing it.
fn cuts(case: &Case, journal: &Journal) -> Vec<(Vec<u8>, usize)> {
    let mut image = case.original.clone();
    let mut cuts = Vec::new();
    for intent in &journal.intents {
        for (at, sector) in intent.after.chunks(SECTOR).enumerate() {
            let place = intent.place + at * SECTOR;
            cuts.push((image.clone(), place));
            image[place..place + SECTOR].copy_from_slice(sector);
        }
    }
    cuts
}

/// What the sector in flight holds nobody knows: garbage here, so that whoever reads past the error is found out.
fn spoilt(mut image: Vec<u8>, bad: &BTreeSet<usize>) -> Vec<u8> {
    bad.iter().for_each(|&place| image[place..place + SECTOR].fill(0xee));
    image
}

#[test]
fn a_clean_cut_with_the_sector_in_flight_unreadable_is_taken_back_whole() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let journal = Journal::read(&case.runs()[0]);
    let cuts = cuts(&case, &journal);
    assert!(cuts.len() > 25, "the worm's sectors and those of two hives");
    in_parallel(&cuts, |(image, place)| {
        let bad = BTreeSet::from([*place]);
        let disk = Bad::new(&case, spoilt(image.clone(), &bad), bad, false);
        let treated = disk.undo(&Which::Last);
        let what = format!("the sector {place:#x} in flight");
        disk.must_hold(&case.original, &what, &treated);
        assert_eq!(treated.exit_code, Some(0), "{what}: {}", words(&treated));
        assert!(disk.medium.lock().unwrap().bad.is_empty(), "{what} can be read again");
    });
}

/// A drive with sectors of 4 KiB loses up to eight of the run's at once; more cannot be what one cut left.
#[test]
fn eight_are_replaced_and_with_nine_nothing_is_written() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let (cleaned, journal) = (case.bytes(), Journal::read(&case.runs()[0]));
    let of_worm: Vec<usize> = {
        let file = journal.file("msblast.exe");
        let intents = journal.intents.iter().filter(|intent| intent.file == file);
        intents.flat_map(|intent| (intent.place..intent.place + intent.after.len()).step_by(SECTOR)).collect()
    };
    assert!(of_worm.len() > 9, "more sectors than can be lost at once");
    for (count, closed) in [(8, false), (9, false), (9, true)] {
        let bad: BTreeSet<usize> = of_worm.iter().copied().take(count).collect();
        let mut torn = case.original.clone();
        let written = of_worm[of_worm.len() - 1];
        // All of the worm's file is written, no hive yet; or all of all.
        torn[of_worm[0]..written + SECTOR].copy_from_slice(&cleaned[of_worm[0]..written + SECTOR]);
        let torn = spoilt(if closed { cleaned.clone() } else { torn }, &bad);
        let disk = Bad::new(&case, torn.clone(), bad.clone(), closed);
        let id = case.runs()[0].file_name().unwrap().to_str().unwrap().to_owned();
        for which in [Which::Last, Which::Run(id)] {
            let treated = disk.undo(&which);
            if count == 8 {
                disk.must_hold(&case.original, "eight unreadable sectors", &treated);
                assert_eq!(treated.exit_code, Some(0), "{}", words(&treated));
                break;
            }
            if closed {
                // What can be read of a finished run comes back; the worm's file is left, and named.
                let written = changed_sectors(&torn, &disk.medium.lock().unwrap().bytes);
                assert!(written.iter().all(|place| !of_worm.contains(place)), "{}", words(&treated));
                assert_eq!(treated.exit_code, Some(1), "{}", words(&treated));
                break;
            }
            disk.must_not_be_written("nine unreadable sectors", &treated);
            disk.must_hold(&torn, "nine unreadable sectors", &treated);
            assert_ne!(treated.exit_code, Some(0), "{}", words(&treated));
        }
        if count == 9 {
            let disk = Bad::new(&case, torn.clone(), bad.clone(), closed);
            let treated = disk.clean();
            disk.must_hold(&torn, "nine unreadable sectors", &treated);
            disk.must_not_be_written("nine unreadable sectors", &treated);
        }
    }
}

/// A finished run is no cut run: a sector that fails later must not bring the worm back.
#[test]
fn a_clean_does_not_bring_the_worm_back_because_a_sector_of_it_fails() {
    let Some(case) = Case::practice() else { return };
    case.clean(&[]).exits(0);
    let (cleaned, journal) = (case.bytes(), Journal::read(&case.runs()[0]));
    let places: Vec<usize> = journal.sectors().into_iter().collect();
    in_parallel(&places, |place| {
        let bad = BTreeSet::from([*place]);
        let failing = spoilt(cleaned.clone(), &bad);
        let disk = Bad::new(&case, failing.clone(), bad, true);
        let treated = disk.clean();
        let what = format!("the sector {place:#x} fails");
        disk.must_hold(&failing, &what, &treated);
        disk.must_not_be_written(&what, &treated);
        let told = words(&treated);
        assert!(told.contains("unrecoverable read error"), "{what}, and nobody says so: {told}");
        assert!(!told.contains("taken back first"), "{what}: {told}");
        let verdicts: Vec<Verdict> = treated.target.installs.iter().map(|install| install.verdict).collect();
        let is_in = |name: &str| {
            let file = journal.file(name);
            journal.intents.iter().any(|intent| {
                intent.file == file && (intent.place..intent.place + intent.after.len()).contains(place)
            })
        };
        // Nothing of the verdict rests on SYSTEM here.
        if !is_in("system") {
            assert_eq!(verdicts, [Verdict::Undetermined], "{what}: {told}");
        }
        let in_worm = is_in("msblast.exe");
        let name = WORM.rsplit('/').next().unwrap();
        assert!(!in_worm || told.contains(name), "{what}, and the file is not named: {told}");
        // Asked for, it is taken back whole.
        let treated = disk.undo(&Which::Last);
        disk.must_hold(&case.original, &what, &treated);
        assert_eq!(treated.exit_code, Some(0), "{what}: {}", words(&treated));
    });
}

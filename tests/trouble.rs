//! Media that fail in mid-run: a disk that vanishes, a store that fills up. Clear words, nothing half done that the next run
//! does not take back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::volume::unmount;
use common::{Case, Journal, PRACTICE, WORM, skip};
use deblast::cleanup::discover::Patient;
use deblast::cleanup::verdict::Verdict;
use deblast::cleanup::{Settings, Treated, clean, scan};
use deblast::error::{Error, Result};
use deblast::event::{Event, Sink};
use deblast::policy::Policy;
use deblast::store::Store;
use deblast::threat::Signatures;
use deblast::volume::{Device, RawDevice, ReadAt, Sectors};
use jiff::Timestamp;

/// How many calls the cable still lets through, and what the kernel says from then on.
struct Cable {
    left: usize,
    errno: i32,
    /// Whether only writes count.
    writes: bool,
    counted: usize,
    pulled: bool,
}

type Shared = Arc<Mutex<Cable>>;

fn pull(cable: &Shared, is_write: bool, doing: &str) -> Result<()> {
    let mut cable = cable.lock().unwrap();
    if cable.writes && !is_write && !cable.pulled {
        return Ok(());
    }
    cable.counted += 1;
    if cable.left == 0 {
        cable.pulled = true;
        return Err(Error::io(doing, io::Error::from_raw_os_error(cable.errno)));
    }
    cable.left -= 1;
    Ok(())
}

/// A disk on a cable that is pulled: every call after that fails as the kernel has it fail.
struct Vanishing {
    inner: RawDevice,
    cable: Shared,
}

struct Reading(Arc<dyn ReadAt>, Shared);
struct Writing(Box<dyn Sectors>, Shared);

impl Device for Vanishing {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn open_read(&self) -> Result<Arc<dyn ReadAt>> {
        pull(&self.cable, false, "open the target for reading")?;
        Ok(Arc::new(Reading(self.inner.open_read()?, self.cable.clone())))
    }

    fn open_write(&self) -> Result<Box<dyn Sectors>> {
        pull(&self.cable, false, "open the device for writing, alone")?;
        Ok(Box::new(Writing(self.inner.open_write()?, self.cable.clone())))
    }

    fn drop_caches(&self) -> Result<()> {
        pull(&self.cable, false, "have the kernel forget what it holds of the target")?;
        self.inner.drop_caches()
    }
}

impl ReadAt for Reading {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        pull(&self.1, false, &format!("read {} bytes", buf.len()))?;
        self.0.read_at(offset, buf)
    }

    fn size(&self) -> u64 {
        self.0.size()
    }
}

impl Sectors for Writing {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<()> {
        pull(&self.1, false, &format!("read {} bytes", buf.len()))?;
        self.0.read(offset, buf)
    }

    fn overwrite(&mut self, offset: u64, before: &[u8], after: &[u8]) -> Result<()> {
        pull(&self.1, true, &format!("overwrite {} bytes", after.len()))?;
        self.0.overwrite(offset, before, after)
    }

    fn replace_unreadable(&mut self, offset: u64, after: &[u8]) -> Result<()> {
        pull(&self.1, true, &format!("replace {} bytes", after.len()))?;
        self.0.replace_unreadable(offset, after)
    }

    fn sync(&mut self) -> Result<()> {
        pull(&self.1, true, "have what was written reach the medium")?;
        self.0.sync()
    }
}

fn settings(store: PathBuf) -> Settings {
    let mut signatures = Signatures::builtin().unwrap();
    signatures.add_file(Path::new(PRACTICE)).unwrap();
    Settings {
        targets: Vec::new(),
        signatures: signatures.into(),
        policy: Policy::default(),
        store: Store::at(store),
        store_named: true,
        dry_run: false,
        options: serde_json::Value::Null,
        clock: || Timestamp::from_second(1_893_553_445).unwrap(),
        stop: || false,
    }
}

fn words(treated: &Treated) -> String {
    serde_json::to_string(&treated.target).unwrap()
}

fn cable(left: usize, errno: i32, writes: bool) -> Shared {
    Arc::new(Mutex::new(Cable { left, errno, writes, counted: 0, pulled: false }))
}

/// Cleans a case over such a cable; how many calls passed it.
fn over(case: &Case, cable: &Shared, sink: Sink<'_>) -> Result<Treated> {
    let device = Vanishing { inner: RawDevice::new(&case.disk).unwrap(), cable: cable.clone() };
    let patient = Patient::with_device(Box::new(device))?;
    clean(&patient, &settings(case.store()), &mut |_| true, sink)
}

const EIO: i32 = 5;
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;

/// A whole clean, and how many writes and syncs it makes, or calls of any kind.
fn calls(original: &[u8], writes: bool) -> usize {
    let case = Case::of(original.to_vec());
    let cable = cable(usize::MAX, 0, writes);
    over(&case, &cable, &mut |_| {}).unwrap();
    let counted = cable.lock().unwrap().counted;
    assert!(counted > 10, "{counted}");
    counted
}

/// Every second write or sync is the one at which the disk vanishes: what stands is named by the journal, and the next run takes
/// it back and cures.
#[test]
fn a_disk_that_vanishes_at_a_write_is_cured_by_the_next_run() {
    let Some(whole) = Case::practice() else { return };
    let count = calls(&whole.original, true);
    for left in (0..count).step_by(2) {
        let case = Case::of(whole.original.clone());
        let errno = [EIO, ENXIO, ENODEV][left / 2 % 3];
        let treated = over(&case, &cable(left, errno, true), &mut |_| {}).unwrap();
        let said = words(&treated);
        let cause = io::Error::from_raw_os_error(errno).to_string();
        assert!(said.contains(&cause), "{left}: {cause:?} in {said}");
        assert!(
            said.contains("run again with the same store, and it is taken back first")
                || said.contains("no byte was written")
                || said.contains("what was written has been taken back"),
            "{left}: how far it got, in {said}"
        );
        let verdict = treated.target.installs[0].verdict;
        assert!(matches!(verdict, Verdict::Failed | Verdict::Undetermined), "{left}: {verdict}");
        // Back on its cable.
        let ran = case.clean(&[]).exits(0);
        ran.require(case.file(WORM).iter().all(|&byte| byte == 0), "an inert worm");
        if left % 4 == 0 {
            let ran = case.undo(&[]).exits(0);
            case.must_hold(&whole.original, &ran, &format!("every byte back, vanished at {left}"));
        }
    }
}

/// The same at calls of any kind, from the first look on: a read that fails is told with its cause, and never a verdict.
#[test]
fn a_disk_that_vanishes_at_any_call_leaves_nothing_half_done() {
    let Some(whole) = Case::practice() else { return };
    let count = calls(&whole.original, false);
    for left in (0..count).step_by(count / 30 + 1) {
        let case = Case::of(whole.original.clone());
        match over(&case, &cable(left, ENXIO, false), &mut |_| {}) {
            Err(error) => {
                assert!(error.to_string().contains("No such device"), "{left}: {error}");
                assert_eq!(case.bytes(), whole.original, "{left}");
            }
            Ok(treated) => {
                let said = format!("{} {:?}", words(&treated), treated.changes);
                assert!(said.contains("No such device"), "{left}: {said}");
                // That a name stays is no failure; a cure that is called one must be seen on the disk.
                match treated.target.installs.first().map(|install| install.verdict) {
                    Some(Verdict::Cleaned) => {
                        assert!(case.file(WORM).iter().all(|&byte| byte == 0), "{left}: {said}");
                    }
                    verdict => assert_ne!(verdict, Some(Verdict::Clean), "{left}: {said}"),
                }
            }
        }
        case.clean(&[]).exits(0);
        let ran = case.undo(&[]).exits(0);
        case.must_hold(&whole.original, &ran, &format!("every byte back, vanished at {left}"));
    }
}

#[test]
fn a_disk_that_vanishes_while_it_is_scanned() {
    let Some(case) = Case::practice() else { return };
    let device = Vanishing { inner: RawDevice::new(&case.disk).unwrap(), cable: cable(3, ENODEV, false) };
    let patient = Patient::with_device(Box::new(device)).unwrap();
    let told = match scan(&patient, &settings(case.store()), &mut |_| {}) {
        Ok(treated) => {
            assert!(treated.target.installs.is_empty());
            words(&treated)
        }
        Err(error) => error.to_string(),
    };
    assert!(told.contains("No such device"), "{told}");
}

/// Files that may still be written before a stop is asked for.
static MAY_WRITE: AtomicUsize = AtomicUsize::new(0);

fn stop() -> bool {
    MAY_WRITE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
}

#[test]
fn a_run_that_is_asked_to_stop_takes_back_what_it_has_written() {
    let Some(case) = Case::practice() else { return };
    let mut written = 0;
    for files in 0..3 {
        MAY_WRITE.store(files, Ordering::SeqCst);
        let settings = Settings { stop, ..settings(case.store()) };
        let patient = Patient::open(&case.disk).unwrap();
        let treated = clean(&patient, &settings, &mut |_| true, &mut |event| {
            written += usize::from(matches!(event, Event::Written { .. }));
        });
        let said = words(&treated.unwrap());
        assert!(said.contains("it was asked to stop"), "{files}: {said}");
        assert!(case.bytes() == case.original, "{files} files written: every byte as before");
    }
    assert_eq!(written, 3, "none, one and two files were written before the stop");
    let ran = case.clean(&[]).exits(0);
    ran.require(case.file(WORM).iter().all(|&byte| byte == 0), "an inert worm");
}

/// A store of so many KiB; none, with a word, where no such can be mounted.
struct Small(PathBuf);

impl Small {
    fn new(case: &Case, kib: u64) -> Option<Self> {
        let point = case.path("store");
        fs::create_dir(&point).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(&point);
        if !mount.status().is_ok_and(|status| status.success()) {
            skip("no tmpfs can be mounted here");
            return None;
        }
        Some(Self(point))
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let filler = self.0.join("filler");
        let mut file = fs::File::options().create(true).append(true).open(filler).unwrap();
        while io::Write::write(&mut file, &[1; 4096]).is_ok_and(|written| written > 0) {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Somebody else fills the store between the reckoning and the yes: nothing is written.
#[test]
fn a_store_that_fills_up_before_the_record_is_whole_stops_before_any_write() {
    let Some(case) = Case::practice() else { return };
    let Some(small) = Small::new(&case, 16 << 10) else { return };
    let patient = Patient::open(&case.disk).unwrap();
    let fill = &mut |_: &deblast::cleanup::Question<'_>| {
        small.fill();
        true
    };
    let treated = clean(&patient, &settings(case.store()), fill, &mut |_| {}).unwrap();
    let said = words(&treated);
    assert!(said.contains("No space left on device") && said.contains("no byte was written"), "{said}");
    assert_eq!(treated.target.installs[0].verdict, Verdict::Undetermined);
    assert_eq!(case.bytes(), case.original);
    assert!(case.runs().is_empty(), "no folder of a run");
}

/// It fills up when the record is whole: the run needs no more room, ends well, and can be taken back.
#[test]
fn a_store_that_fills_up_after_the_record_is_whole_stops_nothing() {
    let Some(case) = Case::practice() else { return };
    let Some(small) = Small::new(&case, 16 << 10) else { return };
    let patient = Patient::open(&case.disk).unwrap();
    let sink = &mut |event| {
        if matches!(event, Event::StoreReady { .. }) {
            small.fill();
        }
    };
    let treated = clean(&patient, &settings(case.store()), &mut |_| true, sink).unwrap();
    assert_eq!(treated.target.installs[0].verdict, Verdict::Cleaned, "{}", words(&treated));
    let journal = fs::read(case.runs()[0].join("journal")).unwrap();
    let closed = br#""record":"closed""#;
    assert!(journal.windows(closed.len()).any(|window| window == closed), "the journal has its end");
    assert!(
        common::changed_sectors(&case.original, &case.bytes())
            .is_subset(&Journal::read(&case.runs()[0]).sectors())
    );
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

//! A practice disk in memory whose every sector write and sync is recorded, and the states that cutting the power
//! at each of them leaves.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use deblast::cleanup::discover::Patient;
use deblast::error::{Error, Result};
use deblast::volume::{Device, ReadAt, Sectors};
use tempfile::TempDir;

pub(crate) const SECTOR: usize = 512;

/// What a disk holds that the practice disk does not: whole sectors by their places on the disk. Two disks are the
/// same, byte for byte, if these are.
pub(crate) type Overlay = BTreeMap<u64, [u8; SECTOR]>;

/// The practice disk as it was made: its bytes, and the file, whose path names it.
pub(crate) struct Practice {
    pub(crate) bytes: Vec<u8>,
    pub(crate) path: PathBuf,
}

/// A practice disk: the name of its file, and the options that it is made with.
pub(crate) type Made = (&'static str, &'static [&'static str]);

thread_local! {
    /// The disk that this thread tells of, where it is not the topic's own.
    static CHOSEN: Cell<Option<Made>> = const { Cell::new(None) };
}

/// Has this thread, and those that [`in_parallel`] makes for it, tell of another disk than the topic's own.
pub(crate) fn on_disk(made: Made) {
    CHOSEN.set(Some(made));
}

/// Made once a process by tools that are not ours: the name of its file and its options stand in each topic.
pub(crate) fn practice() -> &'static Practice {
    static DISKS: Mutex<BTreeMap<&str, &'static Practice>> = Mutex::new(BTreeMap::new());
    let (name, options) = CHOSEN.get().unwrap_or(crate::PRACTICE);
    let mut disks = DISKS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    disks.entry(name).or_insert_with(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // What a static holds is never dropped, so not in a folder of its own that would stay behind.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let mut make = Command::new(root.join("scripts/make-practice-disk"));
        make.arg(&path).args(options).current_dir(root);
        let output = make.output().unwrap();
        assert!(output.status.success(), "{make:?}: {}", String::from_utf8_lossy(&output.stderr));
        Box::leak(Box::new(Practice { bytes: std::fs::read(&path).unwrap(), path }))
    })
}

/// The volume on the disk: its first byte and its size, as the first entry of the partition table tells.
pub(crate) fn partition(disk: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from(u32::from_le_bytes(disk[at..at + 4].try_into().unwrap())) * 512;
    (number(446 + 8), number(446 + 12))
}

/// Reads a disk that is an overlay over the practice disk.
pub(crate) fn read(overlay: &Overlay, offset: u64, buf: &mut [u8]) {
    let start = usize::try_from(offset).unwrap();
    buf.copy_from_slice(&practice().bytes[start..start + buf.len()]);
    let end = offset + buf.len() as u64;
    for (&place, sector) in overlay.range(offset.saturating_sub(SECTOR as u64 - 1)..end) {
        let (from, to) = (place.max(offset), (place + SECTOR as u64).min(end));
        let (from_in, to_in) = ((from - place) as usize, (to - place) as usize);
        buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(&sector[from_in..to_in]);
    }
}

/// Writes one sector; an overlay holds no sector that is as the practice disk has it.
pub(crate) fn write(overlay: &mut Overlay, place: u64, sector: [u8; SECTOR]) {
    let start = usize::try_from(place).unwrap();
    if practice().bytes[start..start + SECTOR] == sector {
        overlay.remove(&place);
    } else {
        overlay.insert(place, sector);
    }
}

/// What reached the device.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "most are writes")]
pub(crate) enum Op {
    /// One sector.
    Write(u64, [u8; SECTOR]),
    /// All before it is on the medium.
    Sync,
    /// The device was opened for writing; the store was then as this snapshot has it.
    Open(usize),
}

#[derive(Default)]
struct Tape {
    ops: Vec<Op>,
    stores: Vec<Arc<Snapshot>>,
}

/// A device over an overlay that records what is written.
struct CutDevice {
    now: Arc<Mutex<Overlay>>,
    tape: Arc<Mutex<Tape>>,
    /// Copied whenever the device is opened for writing: what the store holds then is what a cut finds there.
    store: PathBuf,
}

struct Reader(Arc<Mutex<Overlay>>);

impl ReadAt for Reader {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if offset + buf.len() as u64 > self.size() {
            return Err(Error::refused("read the recorded disk", "beyond its end").offset(offset));
        }
        read(&self.0.lock().unwrap(), offset, buf);
        Ok(())
    }

    fn size(&self) -> u64 {
        practice().bytes.len() as u64
    }
}

struct Writer {
    now: Arc<Mutex<Overlay>>,
    tape: Arc<Mutex<Tape>>,
}

impl Sectors for Writer {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<()> {
        read(&self.now.lock().unwrap(), offset, buf);
        Ok(())
    }

    fn overwrite(&mut self, offset: u64, before: &[u8], after: &[u8]) -> Result<()> {
        assert!(
            offset.is_multiple_of(512) && before.len().is_multiple_of(512) && before.len() == after.len()
        );
        let mut now = self.now.lock().unwrap();
        let mut found = vec![0; before.len()];
        read(&now, offset, &mut found);
        if found != before {
            return Err(Error::refused("overwrite", "it holds something else").offset(offset));
        }
        // The medium writes a sector whole or not at all; several may be torn anywhere between them.
        for (place, sector) in (offset..).step_by(SECTOR).zip(after.as_chunks::<SECTOR>().0) {
            write(&mut now, place, *sector);
            self.tape.lock().unwrap().ops.push(Op::Write(place, *sector));
        }
        Ok(())
    }

    fn replace_unreadable(&mut self, offset: u64, _: &[u8]) -> Result<()> {
        Err(Error::refused("replace", "every sector of this disk can be read").offset(offset))
    }

    fn sync(&mut self) -> Result<()> {
        self.tape.lock().unwrap().ops.push(Op::Sync);
        Ok(())
    }
}

impl Device for CutDevice {
    fn path(&self) -> &Path {
        &practice().path
    }

    fn open_read(&self) -> Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(Reader(self.now.clone())))
    }

    fn open_write(&self) -> Result<Box<dyn Sectors>> {
        let mut tape = self.tape.lock().unwrap();
        tape.stores.push(Arc::new(Snapshot::of(&self.store)));
        let snapshot = tape.stores.len() - 1;
        tape.ops.push(Op::Open(snapshot));
        Ok(Box::new(Writer { now: self.now.clone(), tape: self.tape.clone() }))
    }

    fn drop_caches(&self) -> Result<()> {
        Ok(())
    }
}

/// A reader of a disk, for judges.
pub(crate) fn reader(overlay: &Overlay) -> Arc<dyn ReadAt> {
    Arc::new(Reader(Arc::new(Mutex::new(overlay.clone()))))
}

/// What a store held at some moment: its folders, each before what lies in it, and its files with their bytes.
#[derive(Default)]
pub(crate) struct Snapshot(pub(crate) Vec<(PathBuf, Option<Arc<Vec<u8>>>)>);

impl Snapshot {
    pub(crate) fn of(store: &Path) -> Self {
        fn add(root: &Path, folder: &Path, entries: &mut Vec<(PathBuf, Option<Arc<Vec<u8>>>)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_owned();
                if path.is_dir() {
                    entries.push((name, None));
                    add(root, &path, entries);
                } else {
                    entries.push((name, Some(Arc::new(std::fs::read(&path).unwrap()))));
                }
            }
        }
        let mut entries = Vec::new();
        add(store, store, &mut entries);
        Self(entries)
    }

    /// The same as a folder, in memory where it can be: thousands of syncs are waited for otherwise.
    pub(crate) fn lay_out(&self) -> TempDir {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.unwrap();
        for (name, bytes) in &self.0 {
            match bytes {
                Some(bytes) => std::fs::write(folder.path().join(name), bytes.as_slice()).unwrap(),
                None => std::fs::create_dir(folder.path().join(name)).unwrap(),
            }
        }
        folder
    }
}

/// What one run did to a disk and to its store.
pub(crate) struct Recording {
    pub(crate) start: Overlay,
    pub(crate) ops: Vec<Op>,
    /// The store at each opening of the device for writing.
    pub(crate) stores: Vec<Arc<Snapshot>>,
    pub(crate) end: Overlay,
    /// The store when all was over, the journal closed.
    pub(crate) store: Arc<Snapshot>,
}

/// Runs `what` on a disk with a copy of a store, and records it.
pub(crate) fn record<T>(
    start: &Overlay,
    store: &Snapshot,
    what: impl FnOnce(&Patient, &Path) -> T,
) -> (T, Recording) {
    let folder = store.lay_out();
    let now = Arc::new(Mutex::new(start.clone()));
    let tape = Arc::new(Mutex::new(Tape::default()));
    let device = CutDevice { now: now.clone(), tape: tape.clone(), store: folder.path().to_owned() };
    let result = what(&Patient::with_device(Box::new(device)).unwrap(), folder.path());
    let Tape { ops, stores } = std::mem::take(&mut *tape.lock().unwrap());
    let end = now.lock().unwrap().clone();
    (
        result,
        Recording { start: start.clone(), ops, stores, end, store: Arc::new(Snapshot::of(folder.path())) },
    )
}

/// One state that cutting the power can leave.
#[derive(Clone)]
pub(crate) struct Cut {
    pub(crate) disk: Overlay,
    pub(crate) store: Arc<Snapshot>,
    /// Which writes of which interval it has.
    pub(crate) what: String,
}

/// Which of `count` writes since the last sync have reached the medium: all subsets of a few; of more every prefix,
/// each with one missing, and each alone.
pub(crate) fn subsets(count: usize) -> BTreeSet<Vec<bool>> {
    if count <= 4 {
        return (0..1_u32 << count).map(|set| (0..count).map(|n| set >> n & 1 == 1).collect()).collect();
    }
    let prefixes = (0..=count).map(|end| (0..count).map(|n| n < end).collect());
    let missing = (0..count).map(|gone| (0..count).map(|n| n != gone).collect());
    let alone = (0..count).map(|only| (0..count).map(|n| n == only).collect());
    prefixes.chain(missing).chain(alone).collect()
}

/// All states that a cut can leave, each once, in the order of the run; the last one is the end, the journal closed.
pub(crate) fn cuts(recording: &Recording) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    let mut seen: BTreeSet<(usize, Overlay)> = BTreeSet::new();
    let (mut disk, mut store, mut interval, mut since) = (recording.start.clone(), None, 0, Vec::new());
    for op in recording.ops.iter().chain([&Op::Sync]) {
        match op {
            Op::Open(snapshot) => {
                assert!(since.is_empty(), "what was written is synced before the device is opened anew");
                store = Some(*snapshot);
            }
            Op::Write(place, sector) => since.push((*place, *sector)),
            Op::Sync => {
                let Some(store) = store else { continue };
                for subset in subsets(since.len()) {
                    let mut cut = disk.clone();
                    for (&(place, sector), _) in since.iter().zip(&subset).filter(|(_, there)| **there) {
                        write(&mut cut, place, sector);
                    }
                    if seen.insert((store, cut.clone())) {
                        let there: String = subset.iter().map(|t| if *t { '1' } else { '0' }).collect();
                        let what = format!("interval {interval}, writes {there}");
                        cuts.push(Cut { disk: cut, store: recording.stores[store].clone(), what });
                    }
                }
                since.drain(..).for_each(|(place, sector)| write(&mut disk, place, sector));
                interval += 1;
            }
        }
    }
    assert!(matches!(recording.ops.last(), Some(Op::Sync)), "the last write is synced");
    assert!(disk == recording.end);
    cuts.push(Cut { disk, store: recording.store.clone(), what: "the end".to_owned() });
    cuts
}

/// Does `work` to each of `items` on all processors, in no order.
pub(crate) fn in_parallel<T: Sync>(items: &[T], work: impl Fn(usize, &T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let chosen = CHOSEN.get();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                CHOSEN.set(chosen);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    work(index, item);
                }
            });
        }
    });
}

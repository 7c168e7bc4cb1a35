//! Volumes damaged at random, ten thousand times: an answer or words each time, never a panic, and never more read or held in
//! memory than the volume gives cause for.

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
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Case, SOFTWARE, START, WORM};
use deblast::error::{Error, Result};
use deblast::path::WinPath;
use deblast::volume::{FileSystem as _, NtfsVolume, ReadAt};

const ROUNDS: u64 = 10_000;
/// The most that one round's questions may read beside two passes over the volume, in bytes: directories are read whole, and
/// each file's attribute list.
const MOST_READ: u64 = 8 << 20;
/// The most by which the process may grow over all rounds, in bytes: a few volumes' worth.
const MOST_GROWN: u64 = 256 << 20;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/image");

/// A volume in memory with some bytes replaced, which counts what is read.
struct Damaged {
    base: Arc<Vec<u8>>,
    patches: Vec<(usize, u8)>,
    read: AtomicU64,
}

impl ReadAt for Damaged {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = start.checked_add(buf.len()).and_then(|end| self.base.get(start..end));
        buf.copy_from_slice(part.ok_or_else(|| Error::refused("read", "a place beyond the end"))?);
        for &(at, byte) in &self.patches {
            if let Some(to) = at.checked_sub(start).and_then(|at| buf.get_mut(at)) {
                *to = byte;
            }
        }
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.base.len() as u64
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }
}

/// A volume with files of every kind.
fn made(options: &[&str], compress: bool) -> Option<Vec<u8>> {
    let case = Case::with(options)?;
    case.mounted(true, |root| {
        let folder = root.join("packed");
        fs::create_dir(&folder).unwrap();
        if compress {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&folder, "system.ntfs_attrib", &0x810_u32.to_le_bytes(), flags).unwrap();
        }
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 900 * 7919).to_le_bytes()).collect();
        fs::write(folder.join("text"), text).unwrap();
        let worm = fs::read(root.join(WORM)).unwrap();
        fs::write(folder.join("msblast.exe"), worm).unwrap();
        fs::File::create(root.join("sparse")).unwrap().write_all_at(b"end", 3 << 20).unwrap();
        for stream in 0..60 {
            fs::write(root.join(format!("many:stream{stream}")), vec![b's'; 300]).unwrap();
        }
        let mut many = fs::OpenOptions::new().create(true).append(true).open(root.join("many")).unwrap();
        many.write_all(&vec![b'm'; 9000]).unwrap();
    });
    let bytes = case.bytes();
    let sectors = u32::from_le_bytes(bytes[458..462].try_into().unwrap());
    Some(bytes[START..START + sectors as usize * 512].to_vec())
}

fn corpus() -> Vec<Vec<u8>> {
    fn gather(folder: &Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, name, found);
            } else if path.file_name().is_some_and(|file| file == name) {
                found.push(path);
            }
        }
    }
    let wanted = [
        ("testfs1", 0),
        ("ntfs.raw", 0),
        ("7-ntfs-undel.dd", 0),
        ("ntfs-fixed.vhd", 128),
        ("ntfs_img.dd", 63),
    ];
    let mut volumes = Vec::new();
    for (name, sector) in wanted {
        let mut found = Vec::new();
        gather(Path::new(CORPUS), name, &mut found);
        volumes.extend(found.first().map(|path| fs::read(path).unwrap().split_off(sector * 512)));
    }
    if volumes.is_empty() {
        println!("skipped: the volumes of the corpus are not beside this checkout");
    }
    volumes
}

/// The address space of this process at its largest, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Where metadata stands: the boot sector, all records, all index blocks, the first sectors of $LogFile.
fn metadata(volume: &[u8]) -> Vec<usize> {
    let is_metadata =
        |sector: &[u8]| [&b"FILE"[..], b"INDX", b"RSTR"].iter().any(|head| sector.starts_with(head));
    let sectors = volume.chunks(512).enumerate();
    let found = sectors.filter(|(_, sector)| is_metadata(sector)).map(|(index, _)| index * 512);
    std::iter::once(0).chain(found).collect()
}

/// Asks everything of a volume that a run asks.
fn ask(device: &Arc<Damaged>, random: &mut Random) {
    let Ok(volume) = NtfsVolume::open(device.clone()) else { return };
    let _ = volume.unclean_log();
    let Ok(scan) = volume.scan(&mut |_| true, &mut |_, _| {}) else { return };
    for path in [WORM, SOFTWARE, "packed/msblast.exe", "packed/text", "many", "sparse"] {
        let Ok(Some(file)) = volume.find(&WinPath::new(&path.replace('/', "\\"))) else { continue };
        let _ = volume.read(file.id, 8 << 20);
        let _ = volume.read_again(file.id, 8 << 20);
        for extents in [volume.extents(file.id), volume.allocation(file.id)].into_iter().flatten() {
            let _ = extents.sectors(0..extents.usable()).map(Iterator::count);
        }
    }
    if !scan.files.is_empty() {
        let file = &scan.files[random.below(scan.files.len())];
        let _ = volume.read(file.id, 8 << 20);
        let places = volume.allocation(file.id).map(|extents| extents.runs).unwrap_or_default();
        let plan: Vec<_> = places.iter().map(|run| (file.id, run.place..run.place + run.length)).collect();
        let _ = volume.prove_unshared(&plan, &mut |_, _| {});
    }
}

#[test]
fn damage_is_answered_in_words_within_bounds() {
    let Some(plain) = made(&["--files", "60", "--size", "24M"], true) else { return };
    let mut volumes = vec![plain];
    volumes.extend(corpus());
    let volumes: Vec<(Arc<Vec<u8>>, Vec<usize>)> = volumes
        .into_iter()
        .map(|bytes| (metadata(&bytes), bytes))
        .map(|(places, bytes)| (Arc::new(bytes), places))
        .collect();
    for (index, (_, places)) in volumes.iter().enumerate() {
        assert!(places.len() > 20, "volume {index} has {} sectors of metadata", places.len());
    }
    let before = peak();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut most, mut opened) = (0, 0_u64);
    for round in 0..ROUNDS {
        let (base, places) = &volumes[usize::try_from(round).unwrap() % volumes.len()];
        let mut patches = Vec::new();
        // Records bear what everything else hangs on, so most of the damage is there; some is anywhere.
        for _ in 0..1 + random.below(12) {
            let sector = match random.below(8) {
                0 => random.below(base.len() / 512) * 512,
                1 => places[random.below(places.len().min(16))],
                _ => places[random.below(places.len())],
            };
            let at = sector + random.below(1024);
            let byte = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => base.get(at).map_or(1, |byte| byte.wrapping_add(1)),
                _ => u8::try_from(random.below(256)).unwrap(),
            };
            patches.push((at, byte));
        }
        let device = Arc::new(Damaged { base: base.clone(), patches, read: AtomicU64::new(0) });
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(&device, &mut random)));
        assert!(asked.is_ok(), "round {round}: {:?}", device.patches);
        let read = device.read.load(Ordering::Relaxed);
        let bound = MOST_READ + 2 * base.len() as u64;
        assert!(read < bound, "round {round} read {read} bytes of {}: {:?}", base.len(), device.patches);
        most = most.max(read);
        opened += u64::from(read > 8192);
    }
    let grown = peak() - before;
    println!(
        "most read in a round: {most} bytes; grown by {grown} bytes; {opened} of {ROUNDS} volumes opened"
    );
    assert!(grown < MOST_GROWN, "grown by {grown} bytes");
    assert!(opened > ROUNDS / 2, "only {opened} of the volumes could be opened at all");
}

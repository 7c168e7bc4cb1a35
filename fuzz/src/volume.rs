//! Volumes: whatever their bytes say, scanning, finding and reading end within bounds of time and memory, and what is told
//! of a file lies inside the volume.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deblast::change::FileId;
use deblast::error::{Error, Result};
use deblast::path::WinPath;
use deblast::volume::{FileFacts, FileSystem, NewFile, ReadAt, decode_lznt1, open_volume, recognise};

use super::base::{Base, fats, ntfs as base};
use super::{Choices, number, put};

/// Files that are read one by one.
const MOST: usize = 12;
/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Bytes as a device that counts what is read of it.
pub struct Counting {
    bytes: Vec<u8>,
    pub read: AtomicU64,
}

impl Counting {
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, read: AtomicU64::new(0) })
    }

    /// What was read since the last time, in bytes.
    pub fn taken(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

impl ReadAt for Counting {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let start = usize::try_from(offset).ok();
        let place = start.and_then(|start| self.bytes.get(start..start.checked_add(buf.len())?));
        let Some(place) = place else {
            return Err(Error::refused("read", "it lies behind the end").offset(offset));
        };
        buf.copy_from_slice(place);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A copy of a volume with bytes of the input in its places: each patch is a place, an offset in it, a length and bytes.
pub fn patched(base: &Base, data: &[u8]) -> Vec<u8> {
    let mut bytes = base.bytes.clone();
    let mut choices = Choices(data);
    let mut patches = 0;
    while !choices.0.is_empty() && patches < 64 {
        let (start, length) = base.places[choices.below(base.places.len())];
        let at = start + choices.below(length);
        let count = usize::from(choices.byte() % 16) + 1;
        put(&mut bytes, at, choices.bytes(count));
        patches += 1;
    }
    bytes
}

/// Puts the update sequence of each record of a volume of NTFS where it must be.
pub fn with_fix_ups(base: &Base, bytes: &mut [u8]) {
    for &(start, length) in &base.places[1..] {
        let record = &mut bytes[start..start + length];
        let array = usize::from(u16::from_le_bytes([record[4], record[5]]));
        if let Some(usn) = record.get(array..array + 2).map(<[u8]>::to_vec) {
            for end in (510..length).step_by(512) {
                put(record, end, &usn);
            }
        }
    }
}

/// Everything that a run asks of a volume.
pub fn asked(device: &Arc<Counting>) {
    let size = device.size();
    let kind = recognise(device.as_ref()).unwrap();
    let Ok(volume) = open_volume(device.clone(), kind) else {
        assert!(device.taken() <= 16 * size, "opening ends");
        return;
    };
    let mut found: Vec<FileId> = Vec::new();
    let scan = volume.scan(
        &mut |candidate| {
            found.push(candidate.id);
            found.len() < 200
        },
        &mut |_, _| {},
    );
    // One pass over the table, the bodies of lists of attributes, and the folders on the way up.
    let taken = device.taken();
    assert!(taken <= 64 * size, "scanning read {taken} bytes of a volume of {size}");
    let _ = (volume.unclean_log(), volume.state_in_words(), volume.version_in_words(), volume.is_truncated());
    let Ok(scan) = scan else { return };
    assert!(scan.problem_count >= scan.problems.len() as u64);
    // The last ones are those that people put there.
    let files: Vec<&FileFacts> = scan.files.iter().rev().take(MOST).collect();
    for file in &files {
        each(volume.as_ref(), file, size);
    }
    let _ = volume.find(&WinPath::new("WINDOWS\\system32\\msblast.exe"));
    let ids: Vec<FileId> = files.iter().take(2).map(|file| file.id).collect();
    let places: Vec<_> = ids
        .iter()
        .filter_map(|&id| Some((id, volume.extents(id).ok()?.runs.first()?.place)))
        .map(|(id, place)| (id, place..place + 512))
        .collect();
    let _ = volume.prove_unshared(&places, &mut |_, _| {});
    let _ = volume.dirty_flag();
    let _ = volume.room(3);
    if let Some(Ok(writes)) = volume.removal(&ids) {
        for write in writes {
            assert!(write.place % 512 == 0 && write.place + 512 <= size, "a write inside the volume");
            assert!(write.before.len() == write.after.len());
        }
    }
    let new = [
        NewFile { path: WinPath::new("Deblast"), bytes: None },
        NewFile { path: WinPath::new("Deblast\\report.txt"), bytes: Some(vec![1; 900]) },
    ];
    if let Some(Ok(groups)) = volume.placement(&WinPath::default(), &new) {
        for write in groups.iter().flatten() {
            assert!(write.place % 512 == 0 && write.place + 512 <= size, "a write inside the volume");
        }
    }
}

fn each(volume: &dyn FileSystem, file: &FileFacts, size: u64) {
    let _ = volume.facts(file.id);
    let _ = volume.owner(file.id);
    let _ = volume.record_bytes(file.id);
    let _ = volume.find(&file.path);
    if let Ok(bytes) = volume.read(file.id, LARGEST) {
        assert!(bytes.len() as u64 <= LARGEST);
        let mut pieces = Vec::new();
        let read = volume.read_pieces(file.id, &mut |piece| {
            pieces.extend_from_slice(piece);
            Ok(())
        });
        assert!(read.is_ok() && pieces == bytes, "as a whole and in pieces the same");
        // Another reader may refuse; where it reads, a difference is what a run would tell, and no fault of ours.
        let _ = volume.read_again(file.id, LARGEST);
    }
    for extents in [volume.extents(file.id), volume.allocation(file.id)].into_iter().flatten() {
        let mut at = 0;
        for run in &extents.runs {
            assert_eq!(run.file_offset, at, "runs that tile the file");
            at += run.length;
            assert!(run.place.checked_add(run.length).is_some_and(|end| end <= size.max(volume.id(0).size)));
        }
    }
}

/// A volume of NTFS, its records' fix-ups right.
pub fn ntfs(data: &[u8]) {
    let Some(base) = base() else { return };
    let mut bytes = patched(base, data);
    with_fix_ups(base, &mut bytes);
    asked(&Counting::new(bytes));
}

/// A volume of FAT12, FAT16 or FAT32.
pub fn fat(data: &[u8]) {
    let bases = fats();
    if bases.is_empty() {
        return;
    }
    let mut choices = Choices(data);
    // A volume is passed over as often as its FAT is asked for: by its clusters FAT16 costs ten times what FAT12 does, and FAT32,
    // which has 65,525 at least, ten times that.
    let kind = match choices.byte() % 32 {
        0..=23 => 0,
        24..=30 => 1,
        _ => 2,
    };
    let base = &bases[kind.min(bases.len() - 1)];
    let mut bytes = patched(base, choices.0);
    if choices.0.len() % 2 == 0 {
        // Both tables alike, as every careful reader wants them.
        let [_, (one, _), (two, _), ..] = base.places[..] else { return };
        bytes.copy_within(one..one + 512.min(two - one), two);
    }
    asked(&Counting::new(bytes));
}

/// LZNT1: the same bytes always give the same, how much ever is wanted of them; and what is stored comes back.
pub fn lznt1(data: &[u8]) {
    let (mut all, mut some) = (vec![0xee; 65536], vec![0x11; 65536]);
    let wanted = number(data, 0) as usize % 65537;
    let good = decode_lznt1(data, &mut all);
    let part = decode_lznt1(data, &mut some[..wanted]);
    if good {
        assert!(part, "what can be decoded as a whole can in part");
        assert!(some[..wanted] == all[..wanted], "a part is the beginning of the whole");
    }
    let plain = &data[..data.len().min(4096)];
    if !plain.is_empty() {
        let header = 0x3000 | u16::try_from(plain.len() - 1).unwrap();
        let stored = [&header.to_le_bytes()[..], plain].concat();
        let mut out = vec![0; plain.len()];
        assert!(decode_lznt1(&stored, &mut out) && out == plain, "stored bytes come back");
        // The same as literals, eight behind each byte of flags.
        let body: Vec<u8> = plain.chunks(8).flat_map(|eight| [&[0][..], eight].concat()).collect();
        if body.len() <= 4096 {
            let header = 0xb000 | u16::try_from(body.len() - 1).unwrap();
            let mut out = vec![0; plain.len()];
            let literal = [&header.to_le_bytes()[..], &body].concat();
            assert!(decode_lznt1(&literal, &mut out) && out == plain, "literals come back");
        }
    }
}

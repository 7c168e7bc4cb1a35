//! What ntfs-3g writes through a mount, as it reaches the medium, and the states that cutting the power leaves: judged by
//! ntfsls and ntfscat, which share no line with us, and by the volume's own bits.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::common::START;
use crate::common::volume::extract;
use crate::cut_disk::{SECTOR, subsets};
use crate::stage::{DISK_NODE, Op};

/// One write as it arrived: place on the disk, and bytes.
type Write = (usize, Vec<u8>);

/// Writes between two syncs of the disk, from the first sync behind the mark on.
pub(crate) fn intervals(tape: &[Op]) -> Vec<Vec<Write>> {
    let (mut all, mut now) = (Vec::new(), Vec::new());
    for op in tape {
        match op {
            Op::Write { node: DISK_NODE, offset, bytes } => {
                now.push((usize::try_from(*offset).unwrap(), bytes.clone()));
            }
            Op::Sync { node: DISK_NODE } if !now.is_empty() => all.push(std::mem::take(&mut now)),
            _ => {}
        }
    }
    all.push(now);
    all.retain(|interval| !interval.is_empty());
    all
}

pub(crate) fn apply(disk: &mut [u8], (place, bytes): &Write) {
    disk[*place..*place + bytes.len()].copy_from_slice(bytes);
}

/// States with whole writes: every prefix of an interval, each write missing, each alone.
pub(crate) fn whole(before: &[u8], interval: &[Write]) -> Vec<Vec<u8>> {
    let build = |there: Vec<bool>| {
        let mut disk = before.to_vec();
        interval.iter().zip(there).filter(|(_, there)| *there).for_each(|(write, _)| apply(&mut disk, write));
        disk
    };
    subsets(interval.len()).into_iter().map(build).collect()
}

/// States with one write torn at a border of sectors: what lies before it is there, or what lies behind it; the writes
/// before that one are whole.
pub(crate) fn torn(before: &[u8], interval: &[Write]) -> Vec<Vec<u8>> {
    let (mut states, mut disk) = (Vec::new(), before.to_vec());
    for write in interval {
        for border in (SECTOR..write.1.len()).step_by(SECTOR) {
            for part in [0..border, border..write.1.len()] {
                let mut torn = disk.clone();
                apply(&mut torn, &(write.0 + part.start, write.1[part].to_vec()));
                states.push(torn);
            }
        }
        apply(&mut disk, write);
    }
    states
}

/// Both copies of the flags word of $VOLUME_INFORMATION; none where a record cannot be read.
pub(crate) fn flags(disk: &[u8]) -> [Option<bool>; 2] {
    let at = |offset: usize| {
        usize::try_from(u64::from_le_bytes(disk[START + offset..START + offset + 8].try_into().unwrap()))
            .unwrap()
    };
    [at(0x30), at(0x38)].map(|cluster| {
        let record = &disk[START + cluster * 4096 + 3 * 1024..][..1024];
        let mut offset = usize::from(record[0x14]);
        while *record.get(offset)? != 0x70 {
            let length = usize::from(record[offset + 4]) | usize::from(record[offset + 5]) << 8;
            if length == 0 {
                return None;
            }
            offset += length;
        }
        Some(record[offset + usize::from(record[offset + 20]) + 10] & 1 == 1)
    })
}

/// What a state is, by names as in VOLUME.md's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// Old or new, nothing else touched.
    Fine,
    /// The file's name, record and clusters do not agree; nobody else's do.
    Target,
    /// Another file cannot be reached or has changed.
    Others,
    /// ntfs-3g's tools do not open it.
    Unmountable,
}

/// Every file of the volume but one, by ntfsls and ntfscat. None where the volume or a folder cannot be read.
pub(crate) fn others(disk: &[u8], target: &str) -> Option<(BTreeMap<String, Vec<u8>>, bool)> {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let (image, volume) = (folder.path().join("disk"), folder.path().join("volume"));
    std::fs::write(&image, disk).unwrap();
    extract(&image, &volume);
    let paths = list(&volume)?;
    let has_target = paths.iter().any(|path| path == target);
    let mut files = BTreeMap::new();
    for path in paths.into_iter().filter(|path| path != target) {
        let output = Command::new("ntfscat").arg("-f").arg(&volume).arg(&path).output().unwrap();
        let bytes = if output.status.success() { output.stdout } else { b"unreadable".to_vec() };
        files.insert(path, bytes);
    }
    Some((files, has_target))
}

fn list(volume: &Path) -> Option<Vec<String>> {
    let output = Command::new("ntfsls").args(["-f", "-R", "-l"]).arg(volume).output().unwrap();
    if !output.status.success() {
        return None;
    }
    let (mut folder, mut paths) = (String::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| name.starts_with('/')) {
            folder = format!("{}/", name.trim_end_matches('/'));
        } else if let Some((size, rest)) = line.trim_start().split_once(' ')
            && size.parse::<u64>().is_ok_and(|size| size > 0)
        {
            paths.push(format!("{folder}{}", rest.get("Aug 11 18:30 2003 ".len()..).unwrap_or(rest)));
        }
    }
    Some(paths)
}

/// Whether the target's MFT record is in use, and whether its clusters are, by the record and $Bitmap as they lie there.
pub(crate) struct Bits {
    /// Where its record lies on the disk.
    pub(crate) record: usize,
    /// Where $Bitmap's bytes of its clusters lie, each with the bit.
    pub(crate) clusters: Vec<(usize, u8)>,
}

impl Bits {
    fn of(&self, disk: &[u8]) -> (bool, Option<bool>) {
        let set = |&(place, bit): &(usize, u8)| disk[place] >> bit & 1 == 1;
        let count = self.clusters.iter().filter(|place| set(place)).count();
        let marked = match count {
            0 => Some(false),
            count if count == self.clusters.len() => Some(true),
            _ => None,
        };
        (disk[self.record + 0x16] & 1 == 1, marked)
    }

    pub(crate) fn judge(&self, disk: &[u8], before: &BTreeMap<String, Vec<u8>>, target: &str) -> Harm {
        let Some((now, has_name)) = others(disk, target) else { return Harm::Unmountable };
        if now != *before {
            return Harm::Others;
        }
        match (has_name, self.of(disk)) {
            (true, (true, Some(true))) | (false, (false, Some(false))) => Harm::Fine,
            _ => Harm::Target,
        }
    }
}

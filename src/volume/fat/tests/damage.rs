//! Damage: loops of directories, and bytes changed at random. Words or an answer, never a panic, and never for long.

use super::*;

#[test]
fn directories_that_loop_are_read_once_and_told() {
    for kind in SMALL {
        let (bytes, volume) = in_memory(kind);
        let problems = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            let begun = Instant::now();
            let scan = scan_all(&FatVolume::open(Memory::new(bytes)).unwrap());
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
            assert!(scan.problem_count > 0);
            scan.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        // The bottom of a path leads to its top.
        let (_, top) = parts(find(&volume, "deep").id);
        let bottom = find(&volume, "deep\\folder 0\\folder 1\\folder 2");
        let at = parts(bottom.id).0 as usize;
        let words = problems(&|bytes| bytes[at + 26..at + 28].copy_from_slice(&(top as u16).to_le_bytes()));
        assert!(words.contains("belongs to another directory") && words.contains("\\deep"), "{words}");
        // A directory without a cluster; with one that there is not.
        let words = problems(&|bytes| bytes[at + 26..at + 28].fill(0));
        assert!(words.contains("has 0 as its first cluster") && words.contains("folder 2"), "{words}");
        // A directory whose own chain is a loop.
        let (_, system32) = parts(find(&volume, "WINDOWS\\system32").id);
        let geometry = volume.table.geometry;
        let place = (geometry.fat + u64::from(system32) * kind.0 / 8) as usize;
        if kind.0 != 12 {
            let words = problems(&|bytes| {
                bytes[place..place + 2].copy_from_slice(&(system32 as u16).to_le_bytes());
            });
            assert!(words.contains("does not end") || words.contains("to itself once more"), "{words}");
            assert!(words.contains("\\WINDOWS\\system32"), "{words}");
        }
    }
}

/// Ten thousand volumes, each with a few bytes of its metadata changed.
#[test]
fn random_damage_is_survived() {
    /// A volume over shared bytes, some of them changed: no copy for each of ten thousand.
    struct Damaged {
        bytes: Arc<Vec<u8>>,
        changed: Vec<(usize, u8)>,
        read: std::sync::atomic::AtomicU64,
    }
    impl ReadAt for Damaged {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            crate::volume::check_bounds(offset, buf.len(), self.size())?;
            self.read.fetch_add(buf.len() as u64, std::sync::atomic::Ordering::Relaxed);
            let offset = offset as usize;
            buf.copy_from_slice(&self.bytes[offset..offset + buf.len()]);
            for (at, byte) in &self.changed {
                if let Some(place) = at.checked_sub(offset).and_then(|at| buf.get_mut(at)) {
                    *place = *byte;
                }
            }
            Ok(())
        }
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }
    }
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % limit
    };
    let begun = Instant::now();
    let (mut read, mut slowest, mut refused) = (0, Duration::ZERO, 0);
    // A volume of FAT32 has 65 525 clusters at least, and each round reads its FATs some times over.
    for (kind, rounds) in SMALL.into_iter().zip([5000, 4000, 1000]) {
        let (bytes, volume) = in_memory(kind);
        let bytes = Arc::new(bytes);
        let (worm, hive) = (find(&volume, WORM), find(&volume, HIVE));
        let geometry = volume.table.geometry;
        let plan: Vec<_> = volume
            .extents(worm.id)
            .unwrap()
            .runs
            .iter()
            .map(|run| (worm.id, run.place..run.place + run.length))
            .collect();
        // Where directories and the FAT's used part are.
        let folders: Vec<usize> = scan_all(&volume)
            .files
            .iter()
            .filter(|file| file.is_directory)
            .map(|file| geometry.place(parts(file.id).1) as usize)
            .chain([parts(worm.id).0 as usize / 512 * 512, geometry.root as usize])
            .collect();
        let used = (geometry.cluster_at(plan[0].1.start).unwrap() as usize + 50) * kind.0 as usize / 8;
        for round in 0..rounds {
            let changed = (0..1 + random(6))
                .map(|_| {
                    let at = match (round + random(2)) % 4 {
                        0 => random(90),
                        1 => geometry.fat as usize + random(used),
                        2 => parts(worm.id).0 as usize + random(32),
                        _ => folders[random(folders.len())] + random(512),
                    };
                    (at, random(256) as u8)
                })
                .collect();
            let device = Arc::new(Damaged {
                bytes: bytes.clone(),
                changed,
                read: std::sync::atomic::AtomicU64::new(0),
            });
            let now = Instant::now();
            let Ok(volume) = FatVolume::open(device.clone()) else {
                refused += 1;
                continue;
            };
            let _ = volume.state_in_words();
            let _ = volume.scan(&mut |_| true, &mut |_, _| {});
            let _ = volume.find(&worm.path);
            let _ = volume.facts(hive.id);
            let _ = volume.record_bytes(worm.id);
            let _ = volume.extents(worm.id);
            let _ = volume.read(worm.id, 1 << 20);
            if volume.prove_unshared(&plan, &mut |_, _| {}).is_ok() {
                let again = volume.extents(worm.id).unwrap();
                let covered = plan.iter().all(|(_, range)| {
                    again
                        .runs
                        .iter()
                        .any(|run| run.place <= range.start && range.end <= run.place + run.length)
                });
                assert!(covered, "proven, and not the file's");
            }
            if let Ok(again) = volume.read_again(worm.id, 1 << 20) {
                assert_eq!(
                    again,
                    volume.read(worm.id, 1 << 20).unwrap(),
                    "the readers differ, and none says so"
                );
            }
            slowest = slowest.max(now.elapsed());
            read = read.max(device.read.load(std::sync::atomic::Ordering::Relaxed));
        }
    }
    eprintln!(
        "{:?} in all, slowest {slowest:?}, {read} bytes read at most, {refused} refused",
        begun.elapsed()
    );
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(read < 64 << 20, "{read} bytes read of one volume");
}

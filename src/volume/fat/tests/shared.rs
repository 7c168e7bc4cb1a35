//! The proof before the first write: chains and directories that share a cluster with a planned file.

use super::*;

fn places(volume: &FatVolume, id: FileId) -> Vec<(FileId, Range<u64>)> {
    let extents = volume.extents(id).unwrap();
    extents.sectors(0..extents.usable()).unwrap().map(|run| (id, run.place..run.place + run.length)).collect()
}

/// Puts a number into one FAT's entry of a cluster.
fn link(volume: &FatVolume, bytes: &mut [u8], fat: u64, cluster: u32, to: u32) {
    let geometry = &volume.table.geometry;
    let at =
        (geometry.fat + fat * geometry.fat_size + u64::from(cluster) * geometry.kind.bits() / 8) as usize;
    match geometry.kind {
        FatKind::Fat12 => {
            let old = u16_at(bytes, at).unwrap();
            let new = match cluster % 2 {
                0 => old & 0xf000 | to as u16,
                _ => old & 0x000f | (to as u16) << 4,
            };
            bytes[at..at + 2].copy_from_slice(&new.to_le_bytes());
        }
        FatKind::Fat16 => bytes[at..at + 2].copy_from_slice(&(to as u16).to_le_bytes()),
        FatKind::Fat32 => {
            let old = u32_at(bytes, at).unwrap();
            bytes[at..at + 4].copy_from_slice(&(old & 0xf000_0000 | to).to_le_bytes());
        }
    }
}

fn cluster_of(volume: &FatVolume, id: FileId, number: u64) -> u32 {
    let place = volume.extents(id).unwrap().place(number * volume.cluster_size(), 512).unwrap();
    volume.table.geometry.cluster_at(place).unwrap()
}

#[test]
fn sound_volumes_are_proven() {
    for kind in KINDS {
        let volume = open(sample(kind));
        let files = scan_all(&volume).files;
        let plan: Vec<_> = files
            .iter()
            .filter(|file| !file.is_directory && file.size > 0)
            .flat_map(|file| places(&volume, file.id))
            .collect();
        assert!(plan.len() > 60);
        let mut told = Vec::new();
        volume.prove_unshared(&plan, &mut |done, all| told.push((done, all))).unwrap();
        let (done, all) = *told.last().unwrap();
        assert!(done == all && told.is_sorted(), "{kind:?}");
        volume.prove_unshared(&[], &mut |_, _| {}).unwrap();
    }
}

#[test]
fn another_owner_is_named_with_the_place() {
    for kind in SMALL {
        let (bytes, volume) = in_memory(kind);
        let (worm, hive) = (find(&volume, WORM), find(&volume, HIVE));
        let other = find(&volume, "in pieces");
        let plan = [places(&volume, worm.id), places(&volume, hive.id)].concat();
        let prove = |volume: &FatVolume, plan: &[_]| volume.prove_unshared(plan, &mut |_, _| {});
        prove(&volume, &plan).unwrap();
        let refused = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            let volume = FatVolume::open(Memory::new(bytes)).unwrap();
            let words = prove(&volume, &plan).unwrap_err().to_string();
            assert!(words.contains("prove that"), "{words}");
            words
        };
        let both = |bytes: &mut [u8], cluster: u32, to: u32| {
            link(&volume, bytes, 0, cluster, to);
            link(&volume, bytes, 1, cluster, to);
        };
        let at = |cluster: u32| format!("offset {:#x}", volume.table.geometry.place(cluster));

        // Another file's chain runs into the worm's, into its first cluster and into a later one; and into the hive's.
        for (victim, number) in [(&worm, 0), (&worm, 2), (&hive, 0), (&hive, 5)] {
            let (from, to) = (cluster_of(&volume, other.id, 3), cluster_of(&volume, victim.id, number));
            let words = refused(&|bytes| both(bytes, from, to));
            assert!(words.contains("\\in pieces uses it too"), "{words}");
            assert!(words.contains(&victim.path.to_string()) && words.contains(&at(to)), "{words}");
        }
        // Only in the second FAT, which Windows may read when the first cannot be.
        let (from, to) = (cluster_of(&volume, other.id, 3), cluster_of(&volume, worm.id, 1));
        let words = refused(&|bytes| link(&volume, bytes, 1, from, to));
        assert!(words.contains("FAT 2 leads to it from cluster"), "{words}");
        // The worm's chain is another one in the second FAT.
        let own = cluster_of(&volume, worm.id, 1);
        let words = refused(&|bytes| link(&volume, bytes, 1, own, 0));
        assert!(words.contains("FAT 2 has that it is free behind it"), "{words}");
        // Two entries with the same first cluster.
        let (entry, _) = parts(other.id);
        let (_, first) = parts(worm.id);
        let words = refused(&|bytes| {
            bytes[entry as usize + 26..entry as usize + 28].copy_from_slice(&(first as u16).to_le_bytes());
        });
        assert!(words.contains("\\in pieces (directory entry at"), "{words}");
        // A directory that begins in the middle of the hive.
        let (folder, _) = parts(find(&volume, "deep").id);
        let inside = cluster_of(&volume, hive.id, 7);
        let words = refused(&|bytes| {
            bytes[folder as usize + 26..folder as usize + 28].copy_from_slice(&(inside as u16).to_le_bytes());
        });
        assert!(words.contains("\\deep") && words.contains("uses it too"), "{words}");
        // A lost chain, which no directory names.
        let lost = volume.table.geometry.last();
        let words = refused(&|bytes| both(bytes, lost, first));
        assert!(words.contains("a chain that no directory names uses it too"), "{words}");
        // The hive's chain runs into the worm's: they share a cluster, and one of them is too long.
        let last = cluster_of(&volume, hive.id, (hive.size - 1) / kind.1);
        let words = refused(&|bytes| both(bytes, last, first));
        assert!(words.contains("goes on behind"), "{words}");
        // A directory that cannot be read may claim anything.
        let config = find(&volume, "WINDOWS\\system32");
        let (_, cluster) = parts(config.id);
        let words = refused(&|bytes| both(bytes, cluster, 0));
        assert!(words.contains("may claim any of them") || words.contains("no longer"), "{words}");
        if kind.0 == 32 {
            let root = volume.table.geometry.root_cluster;
            let words = refused(&|bytes| both(bytes, root, first));
            assert!(
                words.contains("the root directory uses it too") || words.contains("may claim any"),
                "{words}"
            );
        }

        // A plan that names places that are not the file's.
        let words =
            prove(&volume, &[(worm.id, places(&volume, other.id).remove(0).1)]).unwrap_err().to_string();
        assert!(words.contains("the file does not use it") && words.contains("msblast.exe"), "{words}");
        let words = prove(&volume, &[(worm.id, 0..512)]).unwrap_err().to_string();
        assert!(words.contains("no cluster is to be written"), "{words}");
    }
}

#[test]
fn a_chain_that_is_not_as_long_as_its_file_is_not_written() {
    for kind in SMALL {
        let (bytes, volume) = in_memory(kind);
        let worm = find(&volume, WORM);
        let read = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            let volume = FatVolume::open(Memory::new(bytes)).unwrap();
            let words = volume.extents(worm.id).unwrap_err().to_string();
            let begun = Instant::now();
            let again = volume.read_again(worm.id, 1 << 20);
            assert!(begun.elapsed() < Duration::from_secs(5), "the second reader follows it for ever");
            (words, volume.read(worm.id, 1 << 20), again)
        };
        let end = 0x0fff_ffff & ((1 << kind.0.min(28)) - 1);
        let middle = cluster_of(&volume, worm.id, 1);
        let (words, ours, theirs) = read(&|bytes| link(&volume, bytes, 0, middle, end as u32));
        assert!(words.contains("its chain ends after"), "{words}");
        assert!(ours.is_err() && theirs.is_err());
        let last = cluster_of(&volume, worm.id, 6175 / kind.1);
        let (words, ours, theirs) =
            read(&|bytes| link(&volume, bytes, 0, last, volume.table.geometry.last()));
        assert!(words.contains("its chain goes on behind"), "{words}");
        assert_eq!(ours.unwrap(), pattern(1000, 6176), "what the size asks for is there");
        assert!(theirs.is_err());
        let first = cluster_of(&volume, worm.id, 0);
        let (words, _, theirs) = read(&|bytes| link(&volume, bytes, 0, last, first));
        assert!(words.contains("its chain goes on behind"), "a loop: {words}");
        assert!(theirs.is_err());
        for to in [0, 1, end - 8, volume.table.geometry.last() as u64 + 1] {
            let (words, ours, theirs) = read(&|bytes| link(&volume, bytes, 0, middle, to as u32));
            assert!(words.contains("expected the cluster behind cluster"), "{words}");
            assert!(ours.is_err() && theirs.is_err());
        }
    }
}

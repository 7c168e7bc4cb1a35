//! Contents by other tools, on geometries and volumes that tests.rs does not hold in memory.

use super::*;

/// What icat reads of a record's unnamed $DATA (type 128); none where The Sleuth Kit knows no such attribute.
fn by_icat(image: &Path, sector: u64, record: u64) -> Vec<u8> {
    let place = sector.to_string();
    tool("icat", &["-o", &place, image.to_str().unwrap(), &format!("{record}-128")])
}

/// Every cluster size that Windows formatted, and records of 4 KiB: names, sizes and contents, compressed ones too.
#[test]
fn every_cluster_and_record_size() {
    for (sector, cluster) in [
        ("512", 1024),
        ("512", 2048),
        ("512", 8192),
        ("512", 16384),
        ("512", 32768),
        ("4096", 4096),
        ("4096", 65536),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("volume.img");
        std::fs::File::create(&image).unwrap().set_len(40 << 20).unwrap();
        let size = cluster.to_string();
        tool("mkntfs", &["-F", "-Q", "-q", "-s", sector, "-c", &size, image.to_str().unwrap()]);
        mounted(&image, |root| {
            let folder = root.join("WINDOWS/system32");
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..60 {
                std::fs::write(folder.join(format!("file{i}.dll")), pattern(i, 300 * i as usize)).unwrap();
            }
            if cluster <= 4096 {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(&folder, "system.ntfs_attrib", &0x810u32.to_le_bytes(), flags).unwrap();
            }
            let mixed =
                [vec![b'a'; 200_000], pattern(5, 150_000), vec![0; 100_000], b"the end".to_vec()].concat();
            std::fs::write(folder.join("mixed"), mixed).unwrap();
        });
        let volume = open(&image);
        assert_eq!(volume.cluster_size(), cluster);
        let record = volume.record_bytes(find(&volume, "WINDOWS").id).unwrap().len();
        assert_eq!(record, if sector == "4096" { 4096 } else { 1024 }, "sectors of {sector}");
        let scan = scan_all(&volume);
        assert_eq!(scan.problem_count, 0, "clusters of {cluster}: {:?}", scan.problems);
        let mixed = find(&volume, "WINDOWS\\system32\\mixed");
        assert_eq!(
            mixed.storage == Storage::Compressed,
            cluster <= 4096,
            "clusters of {cluster}: {:?}",
            mixed.storage
        );
        let mut compared = 0;
        for file in scan.files.iter().filter(|file| !file.is_directory && number(file.id) >= 27) {
            let theirs =
                tool("ntfscat", &["-f", "-i", &number(file.id).to_string(), image.to_str().unwrap()]);
            assert!(
                volume.read(file.id, u64::MAX).unwrap() == theirs,
                "{} on clusters of {cluster}",
                file.path
            );
            assert!(volume.read_again(file.id, u64::MAX).unwrap() == theirs, "{} by the crate", file.path);
            compared += 1;
        }
        assert!(compared > 55, "{compared} files, clusters of {cluster}");
        let listed = tool_text("ntfsls", &["-p", "/WINDOWS/system32", image.to_str().unwrap()]);
        assert_eq!(listed.lines().filter(|name| name.starts_with("file")).count(), 60);
    }
}

/// Every file of the volumes of the corpus, byte for byte.
#[test]
fn contents_of_the_corpus() {
    let mut compared = 0;
    for path in corpus_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let volumes = [
            ("testfs1", 0),
            ("ntfs.raw", 0),
            ("7-ntfs-undel.dd", 0),
            ("ntfs-fixed.vhd", 128),
            ("ntfs_img.dd", 63),
        ];
        let Some(&(_, sector)) = volumes.iter().find(|volume| volume.0 == name) else { continue };
        let device = RawDevice::new(&path).unwrap().open_read().unwrap();
        let volume = NtfsVolume::open(Arc::new(Window::new(device, sector * 512, u64::MAX))).unwrap();
        // All of them were unmounted, as ntfs-3g.probe says too.
        assert_eq!(volume.unclean_log(), None, "{name}");
        for file in scan_all(&volume).files {
            // $Bad of $BadClus and $SDS are streams of files without an unnamed $DATA.
            if file.is_directory
                || file.is_orphan
                || [8, 9].contains(&number(file.id))
                || number(file.id) == 24
            {
                continue;
            }
            let Ok(ours) = volume.read(file.id, 1 << 26) else { continue };
            assert!(ours == by_icat(&path, sector, number(file.id)), "{name}: {}", file.path);
            compared += 1;
        }
    }
    assert!(compared > 60 || corpus().is_none(), "{compared}");
}

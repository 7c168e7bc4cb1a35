//! Small volumes that inputs are patched into: made once by mkntfs and mkfs.fat, and filled through ntfs-3g and mtools.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A volume and the places in it that are worth a patch.
pub struct Base {
    pub bytes: Vec<u8>,
    /// Start and length of each, in bytes.
    pub places: Vec<(usize, usize)>,
}

fn run(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(words).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn made(size: u64, fill: impl FnOnce(&Path, &str) -> bool) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().ok()?;
    let image = folder.path().join("image");
    File::create(&image).ok()?.set_len(size).ok()?;
    fill(folder.path(), image.to_str()?).then(|| std::fs::read(&image).ok())?
}

/// NTFS of 2 MiB with clusters of 512 bytes: files in one run and in many, compressed, sparse, with a list of attributes, and
/// a folder with an index of blocks. None where mkntfs is not there; empty where nothing can be mounted.
pub fn ntfs() -> Option<&'static Base> {
    static BASE: OnceLock<Option<Base>> = OnceLock::new();
    let make = || {
        let bytes = made(2 << 20, |folder, image| {
            run("mkntfs", &["-F", "-Q", "-q", "-s", "512", "-c", "512", image]) && {
                fill_ntfs(folder, image);
                true
            }
        })?;
        let record = |at: &usize| bytes[*at..].starts_with(b"FILE") && bytes[at + 0x16] & 1 != 0;
        let index = |at: &usize| bytes[*at..].starts_with(b"INDX");
        let mut places = vec![(0, 512)];
        places.extend((0..bytes.len()).step_by(512).filter(record).map(|at| (at, 1024)));
        places.extend((0..bytes.len()).step_by(512).filter(index).map(|at| (at, 4096)));
        Some(Base { bytes, places })
    };
    BASE.get_or_init(make).as_ref()
}

fn fill_ntfs(folder: &Path, image: &str) {
    let at = folder.join("mounted");
    let root = at.to_str().unwrap_or_default();
    if std::fs::create_dir(&at).is_err()
        || !run("ntfs-3g", &["-o", "rw,compression,streams_interface=windows", image, root])
    {
        return;
    }
    let fill = || -> std::io::Result<()> {
        let system = at.join("WINDOWS/system32");
        std::fs::create_dir_all(&system)?;
        std::fs::write(system.join("msblast.exe"), [0x4d; 6176])?;
        for number in 0..40 {
            std::fs::write(system.join(format!("a file with a long name {number}.dll")), vec![number; 700])?;
        }
        for turn in 0..8_u8 {
            for name in ["few-a", "few-b"] {
                use std::io::Write as _;
                let mut file = File::options().create(true).append(true).open(at.join(name))?;
                file.write_all(&[turn; 1024])?;
            }
        }
        for stream in 0..40 {
            std::fs::write(at.join(format!("many:stream{stream}")), vec![stream; 300])?;
        }
        std::fs::write(at.join("many"), [7; 5000])?;
        let sparse = File::create(at.join("sparse"))?;
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 200_000)?;
        drop(sparse);
        let packed = at.join("packed");
        std::fs::create_dir(&packed)?;
        let attributes = 0x810_u32.to_le_bytes();
        rustix::fs::setxattr(&packed, "system.ntfs_attrib", &attributes, rustix::fs::XattrFlags::empty())?;
        std::fs::write(packed.join("text"), "all the same ".repeat(3000))
    };
    if let Err(error) = fill() {
        eprintln!("the volume for bad input is not full: {error}");
    }
    run("umount", &[root]);
}

/// FAT12, FAT16 and FAT32, each with a few files and folders.
pub fn fats() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    let one = |bits: &str, size: u64| {
        let bytes = made(size, |folder, image| {
            run("mkfs.fat", &["-F", bits, "-s", "1", "-f", "2", image]) && {
                fill_fat(folder, image);
                true
            }
        })?;
        let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let wide = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let table = word(14) * 512;
        let fat_size = if word(22) == 0 { wide(36) } else { word(22) } * 512;
        let data = table + 2 * fat_size;
        // The boot sector, both tables' beginnings, the root directory and the clusters behind it.
        let places = vec![
            (0, 512),
            (table, 512.min(fat_size)),
            (table + fat_size, 512.min(fat_size)),
            (data, 2048),
            (data + word(17) * 32, 16384),
        ];
        Some(Base { bytes, places })
    };
    let make = || {
        [("12", 160 << 10), ("16", 2400 << 10), ("32", 34 << 20)]
            .into_iter()
            .filter_map(|(bits, size)| one(bits, size))
            .collect()
    };
    BASES.get_or_init(make)
}

fn fill_fat(folder: &Path, image: &str) {
    let file = folder.join("msblast.exe");
    let long = folder.join("a file with a long name.txt");
    let written = std::fs::write(&file, [0x4d; 6176]).and_then(|()| std::fs::write(&long, [b'a'; 3000]));
    let (file, long) = (file.to_str().unwrap_or_default(), long.to_str().unwrap_or_default());
    let filled = written.is_ok()
        && run("mmd", &["-i", image, "::WINDOWS", "::WINDOWS/system32"])
        && run("mcopy", &["-i", image, file, "::WINDOWS/system32/"])
        && run("mcopy", &["-i", image, long, "::"]);
    if !filled {
        eprintln!("the FAT volume for bad input is not full");
    }
}

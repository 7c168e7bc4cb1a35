//! Sticks and images of sticks: their FAT partition labelled DEBLAST, written and read by mtools.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{SECTOR, judge};

/// Where the partition of a stick made here begins.
const BEGIN: usize = 1 << 20;

/// A stick, or whatever has a FAT partition.
pub(crate) struct Stick {
    pub(crate) path: PathBuf,
    /// Where that partition begins, in bytes.
    begin: usize,
}

/// Type, first sector and number of sectors of an entry of the MBR.
pub(crate) fn entry(mbr: &[u8], number: usize) -> (u8, usize, usize) {
    let at = 446 + 16 * number;
    let word = |at: usize| u32::from_le_bytes(mbr[at..at + 4].try_into().unwrap()) as usize;
    (mbr[at + 4], word(at + 8), word(at + 12))
}

/// Writes an entry of the MBR, without the addresses by cylinder, which nobody needs here.
pub(crate) fn set_entry(mbr: &mut [u8], number: usize, kind: u8, begin: usize, length: usize) {
    let at = 446 + 16 * number;
    mbr[at..at + 16].fill(0);
    mbr[at + 4] = kind;
    for (at, number) in [(at + 8, begin / SECTOR), (at + 12, length / SECTOR)] {
        mbr[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    }
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
}

impl Stick {
    /// A stick as it comes from the shop, with that label.
    #[track_caller]
    pub(crate) fn new(path: &Path, label: &str) -> Self {
        let length = 31 << 20;
        let mut mbr = vec![0; SECTOR];
        set_entry(&mut mbr, 0, 0x0e, BEGIN, length);
        fs::write(path, &mbr).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_len((BEGIN + length) as u64).unwrap();
        Self::format(path, BEGIN, length, label)
    }

    /// Makes a FAT partition of some place on a disk.
    #[track_caller]
    pub(crate) fn format(disk: &Path, begin: usize, length: usize, label: &str) -> Self {
        let stick = Self { path: disk.to_owned(), begin };
        stick.mtools(
            "mformat",
            &["-T", &(length / SECTOR).to_string(), "-h", "64", "-s", "32", "-v", label, "::"],
        );
        stick
    }

    /// The partition of a live image whose type is that.
    #[track_caller]
    pub(crate) fn of_image(image: &Path, kind: u8) -> Self {
        let mut mbr = vec![0; SECTOR];
        fs::File::open(image).unwrap().read_exact_at(&mut mbr, 0).unwrap();
        let (_, begin, _) =
            (0..4).map(|number| entry(&mbr, number)).find(|(found, ..)| *found == kind).unwrap();
        Self { path: image.to_owned(), begin: begin * SECTOR }
    }

    #[track_caller]
    fn mtools(&self, tool: &str, words: &[&str]) -> Vec<u8> {
        let place = format!("{}@@{}", self.path.display(), self.begin);
        let mut command = Command::new(tool);
        // One of mtools' own settings must not stand against a partition of odd geometry.
        judge(
            command
                .args(["-i", &place])
                .args(words)
                .envs([("LC_ALL", "C.UTF-8"), ("MTOOLS_SKIP_CHECK", "1")]),
        )
    }

    /// Writes a file, and makes the folder that it is in, where that is one of the root.
    #[track_caller]
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("file");
        fs::write(&source, bytes).unwrap();
        if let Some((above, _)) = name.rsplit_once('/')
            && !above.contains('/')
            && !self.names("").iter().any(|entry| entry.eq_ignore_ascii_case(above))
        {
            self.mtools("mmd", &[&format!("::/{above}")]);
        }
        self.mtools("mcopy", &["-o", source.to_str().unwrap(), &format!("::/{name}")]);
    }

    #[track_caller]
    pub(crate) fn remove(&self, name: &str) {
        self.mtools("mdel", &[&format!("::/{name}")]);
    }

    /// What deblast.toml shall say, and the signatures of the stand-ins.
    #[track_caller]
    pub(crate) fn configure(&self, config: &str) {
        self.put("deblast.toml", config.as_bytes());
        self.put("signatures/practice.toml", &fs::read(super::common::PRACTICE).unwrap());
    }

    /// The names in a folder.
    #[track_caller]
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let listed = self.mtools("mdir", &["-b", &format!("::/{folder}")]);
        let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        String::from_utf8_lossy(&listed).lines().map(last).filter(|name| !name.is_empty()).collect()
    }

    /// What is in a file.
    #[track_caller]
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        self.mtools("mcopy", &["-n", &format!("::/{name}"), "-"])
    }

    /// Holds it to a judge that is not ours: no fault, and unmounted as it should be.
    #[track_caller]
    pub(crate) fn is_sound(&self) {
        let bytes = fs::read(&self.path).unwrap();
        let volume = tempfile::NamedTempFile::new().unwrap();
        fs::write(volume.path(), &bytes[self.begin..]).unwrap();
        let told = judge(Command::new("fsck.fat").arg("-n").arg(volume.path()));
        let told = String::from_utf8_lossy(&told);
        assert!(!told.contains("Dirty bit"), "{told}");
    }

    /// Copies a folder with all that is in it off the stick.
    #[track_caller]
    pub(crate) fn take(&self, folder: &str, to: &Path) {
        fs::create_dir_all(to).unwrap();
        self.mtools("mcopy", &["-s", "-n", "-m", &format!("::/{folder}/*"), to.to_str().unwrap()]);
    }
}

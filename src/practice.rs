//! The practice disk: a whole small disk with an infected Windows XP, on which the path of a cure can be tried without
//! a patient. Nothing on it is harmful; the worm's place holds an inert stand-in, which only its own signature knows.
//!
//! It is part of the program, so that practice needs nothing but the program.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::error::{Context as _, Error, Result};
use crate::memory::refuse_lack;

/// Made by `scripts/refresh-practice-disk`.
const PACKED: &[u8] = include_bytes!("../fixtures/practice-disk.img.gz");
/// Packed too: no scanner that looks for the worm's words in programs shall find them in this one.
const SIGNATURES: &[u8] = include_bytes!("../fixtures/practice.toml.gz");
/// What a file system stores at once; a block of zeros is left out.
const BLOCK: usize = 4096;
/// The folder may lie in memory: what the disk takes there, and what a cure of it needs.
const NEEDED: u64 = 16 << 20;
const DOING: &str = "make the practice disk";
/// How its folder's name begins; the process that made it comes behind.
const NAME: &str = "deblast-practice-";

/// A practice disk in a folder of its own, which is removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Practice {
    folder: PathBuf,
    disk: PathBuf,
    signatures: PathBuf,
}

impl Practice {
    /// Makes one in the folder for temporary files.
    ///
    /// # Errors
    /// There is too little memory, or no room in that folder.
    pub fn create() -> Result<Self> {
        refuse_lack(DOING, NEEDED)?;
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> Result<Self> {
        let folder = own_folder(parent)?;
        sweep(parent, &folder);
        // From here whatever fails removes it.
        let made =
            Self { disk: folder.join("practice-disk.img"), signatures: folder.join("practice.toml"), folder };
        let fill = || -> std::io::Result<()> {
            unpack(&made.disk)?;
            std::io::copy(&mut GzDecoder::new(SIGNATURES), &mut File::create_new(&made.signatures)?).map(drop)
        };
        fill().doing(DOING).map_err(|e| {
            e.device(&made.folder).hint("it takes a few MB there; TMPDIR names another folder")
        })?;
        Ok(made)
    }

    /// The image of the disk.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// The signatures of the stand-ins on it.
    #[must_use]
    pub fn signatures(&self) -> &Path {
        &self.signatures
    }

    /// The folder that it lies in; what else is put there goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Practice {
    fn drop(&mut self) {
        // Left over, it does no harm and is removed by the next.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A new folder that nobody else may enter.
fn own_folder(parent: &Path) -> Result<PathBuf> {
    let mut names = (0..1000).map(|n| parent.join(format!("{NAME}{}-{n}", std::process::id())));
    names
        .find_map(|folder| match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => None,
            made => Some(made.doing(DOING).map_err(|e| e.device(parent)).map(|()| folder)),
        })
        .unwrap_or_else(|| Err(Error::refused(DOING, "every name for its folder is taken").device(parent)))
}

/// Removes what others of this user have left whose program was killed.
fn sweep(parent: &Path, own: &Path) {
    let owner =
        |path: &Path| std::fs::symlink_metadata(path).ok().filter(|facts| facts.is_dir()).map(|f| f.uid());
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let process = name.strip_prefix(NAME).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let is_dead = process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists());
        if is_dead && owner(&path).is_some() && owner(&path) == owner(own) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

fn unpack(path: &Path) -> std::io::Result<()> {
    let mut packed = GzDecoder::new(PACKED);
    let mut file = File::create_new(path)?;
    let mut length = 0;
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        let count = packed.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if count == 0 {
            break;
        }
        if block.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(length))?;
            file.write_all(&block)?;
        }
        length += count as u64;
    }
    file.set_len(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_disk_alone_in_its_folder_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let two = [(); 2].map(|()| Practice::create_in(parent.path()).unwrap());
        assert_ne!(two[0].folder(), two[1].folder());
        let bytes = std::fs::read(two[0].disk()).unwrap();
        assert_eq!((bytes.len(), &bytes[510..512]), (12 << 20, &[0x55, 0xaa][..]));
        let mut whole = Vec::new();
        GzDecoder::new(PACKED).read_to_end(&mut whole).unwrap();
        assert!(bytes == whole, "blocks that were left out read as zeros");
        assert!(std::fs::read_to_string(two[0].signatures()).unwrap().contains("[[signature]]"));
        drop(two);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        // One of a program that was killed goes with the next; one of a program at work stays, and so does what is another's.
        let [dead, alive, other] = [
            "deblast-practice-4294967294-0".to_owned(),
            format!("{NAME}1-0"),
            "deblast-practice-mine".to_owned(),
        ]
        .map(|name| parent.path().join(name));
        for folder in [&dead, &alive, &other] {
            std::fs::create_dir(folder).unwrap();
        }
        drop(Practice::create_in(parent.path()).unwrap());
        assert_eq!([&dead, &alive, &other].map(|folder| folder.exists()), [false, true, true]);
        let words = Practice::create_in(&parent.path().join("missing")).unwrap_err().to_string();
        assert!(words.contains("make the practice disk") && words.contains("missing"), "{words}");
    }
}

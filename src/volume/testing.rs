//! Real volumes for tests, made by mkntfs and filled through ntfs-3g (root and /dev/fuse are needed).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::{ReadAt, check_bounds};
use crate::error::Result;

/// Bytes in memory as a device, which counts how often it is read.
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reads: Mutex<Vec<(u64, usize)>>,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, reads: Mutex::default() })
    }
}

impl ReadAt for Memory {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(offset, buf.len(), self.size())?;
        self.reads.lock().unwrap().push((offset, buf.len()));
        buf.copy_from_slice(&self.bytes[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Runs a tool that must succeed; its output.
pub(crate) fn tool(name: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(name)
        .args(args)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| {
            panic!("{name} is needed for this test and cannot be started ({error}): scripts/test installs it")
        });
    assert!(
        output.status.success(),
        "{name} {args:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Text output of a tool.
pub(crate) fn tool_text(name: &str, args: &[&str]) -> String {
    String::from_utf8(tool(name, args)).unwrap()
}

/// Makes an NTFS volume in a new image file.
pub(crate) fn mkntfs(image: &Path, size: u64, cluster: u64) {
    std::fs::File::create(image).unwrap().set_len(size).unwrap();
    let cluster = cluster.to_string();
    tool("mkntfs", &["-F", "-Q", "-q", "-s", "512", "-c", &cluster, "-L", "Täst", image.to_str().unwrap()]);
}

/// Mounts an image while `work` runs in it.
pub(crate) fn mounted(image: &Path, work: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let options = "rw,compression,streams_interface=windows";
    tool("ntfs-3g", &["-o", options, image.to_str().unwrap(), at]);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(dir.path())));
    tool("umount", &[at]);
    outcome.unwrap();
}

/// The corpus of real images, if it is there.
pub(crate) fn corpus() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/image"));
    if !path.is_dir() {
        eprintln!("skipped: no corpus at {}", path.display());
        return None;
    }
    Some(path)
}

/// All files of the corpus.
pub(crate) fn corpus_files() -> Vec<PathBuf> {
    fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { gather(&path, files) } else { files.push(path) }
        }
    }
    let mut files = Vec::new();
    if let Some(corpus) = corpus() {
        gather(&corpus, &mut files);
    }
    files.sort();
    files
}

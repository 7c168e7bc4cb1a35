//! stub
use crate::error::Result;
use std::path::{Path, PathBuf};
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BlockDevice,
    Image,
}
#[derive(Clone, Debug)]
pub struct PartitionKind;
impl PartitionKind {
    pub fn may_hold_windows(&self) -> bool {
        true
    }
}
#[derive(Clone, Debug)]
pub struct Partition {
    pub number: u32,
    pub start: u64,
    pub size: u64,
    pub kind: PartitionKind,
}
#[derive(Clone, Debug)]
pub struct Disk {
    pub path: PathBuf,
    pub kind: Kind,
    pub size: u64,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub partitions: Vec<Partition>,
    pub notes: Vec<String>,
}
pub fn inspect(path: &Path) -> Result<Disk> {
    let size = std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
    Ok(Disk {
        path: path.to_owned(),
        kind: Kind::Image,
        size,
        model: None,
        serial: None,
        notes: vec![],
        partitions: vec![Partition {
            number: 1,
            start: 63 * 512,
            size: size - 63 * 512,
            kind: PartitionKind,
        }],
    })
}
pub fn attached(_: &Path) -> Result<Vec<PathBuf>> {
    Ok(vec![])
}

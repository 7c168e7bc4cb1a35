//! Commands that are not a run: they read or print something and judge no disk. One file each.

pub mod hive;
pub mod list;
pub mod report;

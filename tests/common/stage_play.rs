//! The real program on a stage.

#![allow(dead_code, reason = "each topic uses its part of these helpers")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use deblast::change::HiveRole;

use crate::common::{self, Ran};
use crate::cut_disk::{self, Overlay, SECTOR, Snapshot, practice, write};
use crate::cut_judge::{Judge, Way, edits_of, files};
use crate::stage::{Call, Op, Stage};

/// What a run of the real program did to the stage.
pub(crate) struct Played {
    pub(crate) tape: Vec<Op>,
    pub(crate) calls: Vec<Call>,
    pub(crate) disk: Overlay,
    pub(crate) store: Snapshot,
}

pub(crate) fn bytes_of(disk: &Overlay) -> Vec<u8> {
    let mut bytes = vec![0; practice().bytes.len()];
    cut_disk::read(disk, 0, &mut bytes);
    bytes
}

/// What a disk holds that the practice disk does not.
pub(crate) fn overlay_of(bytes: &[u8]) -> Overlay {
    let mut overlay = Overlay::new();
    let sectors = bytes.as_chunks::<SECTOR>().0.iter().zip(practice().bytes.as_chunks::<SECTOR>().0);
    for (number, (now, _)) in sectors.enumerate().filter(|(_, (now, then))| now != then) {
        write(&mut overlay, (number * SECTOR) as u64, *now);
    }
    overlay
}

pub(crate) fn snapshot_of(stage: &Stage) -> Snapshot {
    let files = stage.store_files().into_iter().map(|(path, bytes)| (path, bytes.map(Arc::new)));
    Snapshot(files.collect())
}

/// A stage with this disk and this store.
pub(crate) fn staged(disk: &Overlay, store: &Snapshot) -> Option<Stage> {
    let plain = |bytes: &Arc<Vec<u8>>| bytes.as_ref().clone();
    let files: Vec<_> =
        store.0.iter().map(|(path, bytes)| (path.clone(), bytes.as_ref().map(plain))).collect();
    Stage::with(bytes_of(disk), &files)
}

/// The real program, to do this to the disk of a stage with its store.
pub(crate) fn program(stage: &Stage, home: &Path, command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_deblast"));
    program.args([command, "--yes", "--json", "--signatures", common::PRACTICE, "--store"]);
    program.arg(stage.store()).arg(stage.disk());
    program.env("HOME", home).env("XDG_STATE_HOME", home.join("state"));
    program
}

/// Runs it where nothing goes wrong.
pub(crate) fn play(disk: &Overlay, store: &Snapshot, command: &str) -> Option<Played> {
    let stage = staged(disk, store)?;
    let home = tempfile::tempdir().unwrap();
    Ran::of(&mut program(&stage, home.path(), command)).exits(0);
    Some(Played {
        tape: stage.take_tape(),
        calls: stage.take_calls(),
        disk: overlay_of(&stage.disk_bytes()),
        store: snapshot_of(&stage),
    })
}

/// A judge of the practice disk, the cleaned one, and all between.
pub(crate) fn judge_of(store: &Snapshot) -> Judge {
    let files = files();
    let way = |extents, role| Way::new(files.content(&Overlay::new(), extents), edits_of(store, role));
    let (software, system) = (way(&files.software, HiveRole::Software), way(&files.system, HiveRole::System));
    Judge::new(files, vec![software], vec![system])
}

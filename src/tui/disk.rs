//! A disk as it was seen last, and what screens and questions both tell of it: which runs can be taken back, in which
//! parts, and how all of it ends.

use std::path::PathBuf;

use crate::cleanup::ListedRun;
use crate::cleanup::report::{Report, TargetReport};
use crate::cleanup::shown::name;
use crate::cleanup::undo::Only;
use crate::finding::{DcomState, FilterState, Finding, Grade, PatchState};
use crate::tui::work::Done;

/// The word that gives a hibernated session up.
pub(super) const DISCARD: &str = "discard";

/// The parts of a run that can be taken back, the usual one first: each in a word, and what comes of it.
pub(super) const PARTS: [(Only, &str, &str); 3] = [
    (
        Only::Protection,
        "the protection alone",
        "DCOM and packet filter as before: the usual step once the patch is in",
    ),
    (Only::All, "all of it", "the worm and what starts it come back"),
    (Only::Files, "the files' bytes", "the bytes come back; what started them does not"),
];

/// A disk as it was seen last.
#[derive(Default)]
pub(super) struct DiskView {
    pub(super) path: PathBuf,
    pub(super) done: Option<Done>,
    pub(super) runs: Vec<ListedRun>,
    /// The disk was written, or the store changed, since its runs were listed.
    pub(super) stale: bool,
    /// What the look under way has found so far.
    pub(super) so_far: Vec<String>,
}

impl DiskView {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// It was looked at.
    pub(super) fn looked(&mut self, done: Done, runs: Vec<ListedRun>) {
        *self = Self { done: Some(done), runs, ..Self::at(std::mem::take(&mut self.path)) };
    }

    /// A clean or an undo has ended. A run that was cut before was taken back by it, or its report says why not.
    pub(super) fn treated(&mut self, done: Done) {
        self.done = Some(done);
        self.runs.retain(|run| !run.unfinished);
        self.stale = true;
    }

    pub(super) fn report(&self) -> Option<&Report> {
        self.done.as_ref().map(|done| &done.report)
    }

    pub(super) fn target(&self) -> Option<&TargetReport> {
        self.report().and_then(|report| report.targets.first())
    }

    pub(super) fn name(&self) -> String {
        match self.target() {
            Some(target) => {
                name(&self.path, target.size, target.disk.model.as_deref(), target.disk.serial.as_deref())
            }
            None => name(&self.path, None, None, None),
        }
    }

    /// The run that was cut, so that the disk is neither as before it nor as after it.
    pub(super) fn unfinished(&self) -> Option<&ListedRun> {
        self.runs.iter().find(|run| run.unfinished)
    }

    /// The cures among its runs, and undos that were cut; newest first.
    pub(super) fn offered_runs(&self) -> Vec<&ListedRun> {
        self.runs.iter().filter(|run| run.undo_of.is_none() || run.unfinished).collect()
    }

    /// Whether the patch is in, and a cure in force whose protection may go.
    pub(super) fn may_lift_protection(&self) -> bool {
        let installs = self.target().map(|target| target.installs.as_slice()).unwrap_or_default();
        let is_patched =
            !installs.is_empty() && installs.iter().all(|install| install.hole.patch == PatchState::Fixed);
        let is_protected = installs.iter().any(|install| {
            matches!(install.hole.dcom, DcomState::Off | DcomState::OffNotHonoured)
                || install.hole.filter == FilterState::On
        });
        is_patched
            && is_protected
            && !self.stale
            && self.runs.iter().any(|run| run.undo_of.is_none() && run.in_force > 0)
    }

    /// All findings, those that count first, each with its install's number.
    pub(super) fn findings(&self) -> Vec<(usize, &Finding)> {
        let installs = self.target().map(|target| target.installs.as_slice()).unwrap_or_default();
        let all = installs.iter().enumerate();
        let mut found: Vec<(usize, &Finding)> = all
            .flat_map(|(index, install)| install.findings.iter().map(move |finding| (index, finding)))
            .collect();
        found
            .sort_by_key(|(install, finding)| (finding.grade == Grade::Information, *install, finding.grade));
        found
    }
}

/// The worst of what was told last of each disk; where a run is left unfinished, or there is no disk, nothing can be
/// said.
pub(super) fn exit_code(disks: &[DiskView]) -> u8 {
    let code = |disk: &DiskView| match disk.unfinished() {
        Some(_) => 2,
        None => disk.report().map_or(2, |report| report.exit_code),
    };
    disks.iter().map(code).max().unwrap_or(2)
}

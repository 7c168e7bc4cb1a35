//! Several targets in one run: one worker a disk, so that a slow or broken one holds nobody up; one report each and one of the
//! run.
//!
//! Targets of one disk are worked on one after the other. How many are worked on at once is bounded by what memory is
//! free; one that was refused memory because others held it is begun again alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::Timestamp;

use crate::cleanup::discover::Patient;
use crate::cleanup::report::{Machine, Report};
use crate::cleanup::{KeptRun, Settings, Treated, in_words, run, told};
use crate::disk::lies_on;
use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::fence::apart;
use crate::finding::Outcome;
use crate::memory::{self, Share};

/// More than these at once help nobody: a machine has no more cables.
const MOST: usize = 64;

/// What is done to each target, and who hears of it. All of it is called by several threads at once.
pub struct Crew<'a> {
    /// All targets, and how they are treated.
    pub settings: &'a Settings,
    /// The machine that they are in.
    pub machine: Machine,
    /// How many at once; none: as many as there are disks and memory for.
    pub jobs: Option<usize>,
    /// Does it.
    pub treat: &'a (dyn Fn(&Patient, Sink<'_>) -> Result<Treated> + Sync),
    /// Hears what happens to a target.
    pub tell: &'a (dyn Fn(&Path, Event) + Sync),
    /// Takes the report on a target, and the folders of its runs, as soon as it is over. False: no further target is begun.
    pub over: &'a (dyn Fn(&Path, &Report, &[KeptRun]) -> bool + Sync),
}

/// What is known of the targets so far.
#[derive(Default)]
struct State {
    reports: Mutex<BTreeMap<usize, Report>>,
    /// Those that need more memory than was left beside the others.
    alone: Mutex<Vec<usize>>,
    failed: Mutex<Option<Error>>,
    is_stopped: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Crew<'_> {
    /// Works on all targets and returns the report of the run; each target's was taken by [`Crew::over`] before.
    ///
    /// # Errors
    /// A report cannot be written as JSON.
    pub fn work(&self) -> Result<Report> {
        let clock = || (self.settings.clock)();
        let started = clock();
        let lanes = lanes(&self.settings.targets);
        let workers = self.workers(lanes.len());
        let state = State::default();
        if workers <= 1 {
            lanes.iter().flatten().for_each(|&index| self.target(index, &state, None));
        } else {
            let next = AtomicUsize::new(0);
            let work = || {
                while let Some(lane) = lanes.get(next.fetch_add(1, Ordering::SeqCst)) {
                    lane.iter().for_each(|&index| self.target(index, &state, Some(Share::take())));
                }
            };
            std::thread::scope(|scope| {
                for number in 0..workers {
                    let thread = std::thread::Builder::new().name(format!("disk {number}"));
                    // Where there is no room for one more thread, those that are there do its work.
                    let _ = thread.spawn_scoped(scope, work);
                }
            });
            // Where there was room for none.
            work();
            let alone = std::mem::take(&mut *locked(&state.alone));
            alone.into_iter().for_each(|index| self.target(index, &state, None));
        }
        if let Some(error) = locked(&state.failed).take() {
            return Err(error);
        }
        let each = std::mem::take(&mut *locked(&state.reports));
        self.of_run(started, clock(), each.into_values().collect())
    }

    /// How many work at once on so many disks.
    fn workers(&self, disks: usize) -> usize {
        let memory = usize::try_from(memory::workers()).unwrap_or(MOST);
        self.jobs.unwrap_or(MOST).min(memory).min(disks).min(MOST)
    }

    fn of_run(&self, started: Timestamp, finished: Timestamp, each: Vec<Report>) -> Result<Report> {
        let mut each = each;
        if each.len() == 1
            && let Some(report) = each.pop()
        {
            return Ok(report);
        }
        let times = (in_words(started), in_words(finished));
        Report::of_run(self.machine.clone(), self.settings.options.clone(), times, each)
    }

    /// One target. `share`: what it may take while others are worked on.
    fn target(&self, index: usize, state: &State, share: Option<Share>) {
        let Some(path) = self.settings.targets.get(index) else { return };
        let begun = in_words((self.settings.clock)());
        let told = |treated| told(path, self.settings, &self.machine, begun, treated);
        let done = if state.is_stopped.load(Ordering::SeqCst) {
            let why = "an earlier one could not be recorded any more";
            let hint = "nothing was done to it; see what became of the store, and run again";
            told(Err(Error::refused("begin with this disk", why).hint(hint)))
        } else {
            let treat = &mut |patient: &Patient| (self.treat)(patient, &mut |event| (self.tell)(path, event));
            // One that fails must not take the others along.
            apart("work on this disk", || run(path, self.settings, &self.machine, treat))
                .or_else(|error| told(Err(error)))
        };
        match done {
            Ok((report, runs)) => {
                let wrote = !runs.is_empty()
                    || report.changes.iter().any(|change| change.outcome != Outcome::Planned);
                if share.is_some_and(|share| share.fell_short()) && !wrote {
                    let text =
                        "needs more memory than is left beside the others: it comes once they are done"
                            .to_owned();
                    (self.tell)(path, Event::Note { text });
                    locked(&state.alone).push(index);
                    return;
                }
                let over = apart("write the report", || Ok((self.over)(path, &report, &runs)));
                if !over.unwrap_or(false) {
                    state.is_stopped.store(true, Ordering::SeqCst);
                }
                locked(&state.reports).insert(index, report);
            }
            Err(error) => *locked(&state.failed) = Some(error),
        }
    }
}

/// The targets by what they lie on, in the order in which they were given.
fn lanes(targets: &[PathBuf]) -> Vec<Vec<usize>> {
    let mut lanes: Vec<(PathBuf, Vec<usize>)> = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let disk = lies_on(target);
        match lanes.iter_mut().find(|(other, _)| *other == disk) {
            Some((_, lane)) => lane.push(index),
            None => lanes.push((disk, vec![index])),
        }
    }
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::Policy;
    use crate::store::Store;
    use crate::threat::Signatures;

    fn settings(folder: &Path, names: &[&str]) -> Settings {
        let image = |name: &&str| {
            let path = folder.join(name);
            std::fs::write(&path, [0; 4096]).unwrap();
            path
        };
        Settings {
            signatures: Arc::new(Signatures::builtin().unwrap()),
            policy: Policy::default(),
            targets: names.iter().map(image).collect(),
            store: Store::at(folder.join("store")),
            store_named: true,
            dry_run: true,
            options: serde_json::Value::Null,
            clock: Timestamp::now,
            stop: || false,
        }
    }

    fn work(
        settings: &Settings,
        jobs: usize,
        treat: &(dyn Fn(&Patient) -> Result<Treated> + Sync),
        over: &(dyn Fn(&Path) -> bool + Sync),
    ) -> Vec<String> {
        let crew = Crew {
            settings,
            machine: Machine::default(),
            jobs: Some(jobs),
            treat: &|patient, _| treat(patient),
            tell: &|_, _| {},
            over: &|path, _, _| over(path),
        };
        let report = crew.work().unwrap();
        let name = |path: &str| Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
        report
            .targets
            .iter()
            .map(|target| format!("{}: {}", name(&target.path), target.note.as_deref().unwrap_or("-")))
            .collect()
    }

    fn refuse(patient: &Patient) -> Result<Treated> {
        Err(Error::refused("read it", "seen").device(&patient.disk.path))
    }

    /// A fault of this program at one disk is told of that disk, and of no other.
    #[test]
    fn what_fails_at_one_disk_takes_no_other_along() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["a", "b", "c"]);
        let treat = |patient: &Patient| match patient.disk.path.ends_with("b") {
            true => panic!("index 7 of 3"),
            false => refuse(patient),
        };
        for jobs in [1, 3] {
            let told = work(&settings, jobs, &treat, &|_| true);
            assert!(told[0].contains("seen") && told[2].contains("seen"), "{told:?}");
            assert!(told[1].contains("failed in a way that it should not: index 7 of 3"), "{told:?}");
        }
    }

    /// Each waits for the other: one after the other, neither would end.
    #[test]
    fn disks_are_worked_on_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["a", "b", "c"]);
        let (begun, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let treat = |patient: &Patient| {
            begun.fetch_add(1, Ordering::SeqCst);
            for _ in 0..300 {
                if begun.load(Ordering::SeqCst) >= 2 {
                    met.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            refuse(patient)
        };
        let told = work(&settings, 2, &treat, &|_| true);
        assert_eq!((told.len(), met.load(Ordering::SeqCst)), (3, 3), "{told:?}");
    }

    #[test]
    fn once_nothing_can_be_recorded_no_further_disk_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["a", "b", "c"]);
        let told = work(&settings, 1, &refuse, &|path| !path.ends_with("a"));
        assert!(told[0].contains("seen"), "{told:?}");
        assert!(told[1..].iter().all(|told| told.contains("could not be recorded any more")), "{told:?}");
    }

    #[test]
    fn targets_of_one_disk_are_one_lane() {
        let folder = tempfile::tempdir().unwrap();
        let targets = settings(folder.path(), &["a", "b"]).targets;
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&targets[0], &link).unwrap();
        let all = [targets[0].clone(), targets[1].clone(), link, folder.path().join("./a")];
        assert_eq!(lanes(&all), [vec![0, 2, 3], vec![1]]);
    }
}

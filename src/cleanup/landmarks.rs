//! What the live image tells its serial line of a run, for scripts: `TARGET path state` and `VERDICT path verdict`; and
//! what the run asks of the live image: `WANT poweroff`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::report::Report;
use super::report_text::printable;
use crate::error::{Error, Result};
use crate::event::Event;

/// Writes a line whenever a target comes into another state. The words are a promise to scripts; docs/live-parameters.md
/// says what each means.
pub struct Landmarks {
    file: Option<File>,
    /// The last state of each target.
    states: BTreeMap<PathBuf, &'static str>,
}

impl Landmarks {
    /// Lines go to the end of this file, or nowhere.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| OpenOptions::new().append(true).create(true).open(path);
        let doing = |e| Error::io("open the file for landmarks", e);
        Ok(Self { file: path.map(open).transpose().map_err(doing)?, states: BTreeMap::new() })
    }

    /// Tells the state that an event brings a target into.
    pub fn note(&mut self, target: &Path, event: &Event) {
        let state = match event {
            // What was written is looked at again from the start.
            Event::Target { .. } if self.states.get(target) == Some(&"writing") => "verifying",
            Event::Target { .. } => "looking",
            // An undo by sectors needs no record of its own.
            Event::StoreReady { .. } | Event::Written { .. } => "writing",
            Event::Verified { good: true } => "verified",
            Event::Verified { good: false } => "unverified",
            _ => return,
        };
        self.state(target, state);
    }

    /// Tells that the plan for a target is shown and a yes awaited.
    pub fn asking(&mut self, target: &Path) {
        self.state(target, "asking");
    }

    /// Tells that a target is gone before it was done.
    pub fn pulled(&mut self, target: &Path) {
        self.state(target, "pulled");
    }

    fn state(&mut self, target: &Path, state: &'static str) {
        if self.states.insert(target.to_owned(), state) != Some(state) {
            self.line(&format!("TARGET {} {state}", printable(&target.to_string_lossy())));
        }
    }

    /// Tells that the targets of a report are done, and what each is.
    pub fn verdicts(&mut self, report: &Report) {
        for target in &report.targets {
            self.states.remove(Path::new(&target.path));
            let path = printable(&target.path);
            self.line(&format!("TARGET {path} done"));
            if let Some(verdict) = target.verdict {
                self.line(&format!("VERDICT {path} {verdict}"));
            }
        }
    }

    /// Asks whoever reads the lines for something, in a word.
    ///
    /// # Errors
    /// Nobody reads them.
    pub fn want(&mut self, what: &str) -> Result<()> {
        let doing = "ask the live image for something";
        let Some(file) = &mut self.file else {
            return Err(Error::refused(doing, "nothing listens to this program"));
        };
        file.write_all(format!("WANT {what}\n").as_bytes()).map_err(|e| Error::io(doing, e))
    }

    /// A whole line in one piece. One that nobody takes is no reason to stop a cure.
    fn line(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

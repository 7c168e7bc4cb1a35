//! What the live image tells its serial line of a run, for scripts: `TARGET path state` and `VERDICT path verdict`; and
//! what the run asks of the live image: `WANT poweroff`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use super::report::Report;
use super::report_text::printable;
use crate::error::{Error, Result};
use crate::event::Event;

/// Writes a line whenever a target comes into another state. The words are a promise to scripts; docs/live-parameters.md
/// says what each means.
pub struct Landmarks {
    file: Option<File>,
    target: String,
    last: &'static str,
}

impl Landmarks {
    /// Lines go to the end of this file, or nowhere.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| OpenOptions::new().append(true).create(true).open(path);
        let doing = |e| Error::io("open the file for landmarks", e);
        let file = path.map(open).transpose().map_err(doing)?;
        Ok(Self { file, target: String::new(), last: "" })
    }

    /// Tells the state that an event brings.
    pub fn note(&mut self, event: &Event) {
        let state = match event {
            Event::Target { path, .. } => {
                let target = printable(&path.display().to_string());
                // What was written is looked at again from the start.
                let has_written = self.target == target && self.last == "writing";
                if self.target != target {
                    self.target = target;
                    self.last = "";
                }
                if has_written { "verifying" } else { "looking" }
            }
            // An undo by sectors needs no record of its own.
            Event::StoreReady { .. } | Event::Written { .. } => "writing",
            Event::Verified { good: true } => "verified",
            Event::Verified { good: false } => "unverified",
            _ => return,
        };
        self.state(state);
    }

    /// Tells that the plan is shown and a yes awaited.
    pub fn asking(&mut self) {
        self.state("asking");
    }

    fn state(&mut self, state: &'static str) {
        if self.last != state {
            self.last = state;
            self.line(&format!("TARGET {} {state}", self.target));
        }
    }

    /// Tells that all targets are done, and what each is.
    pub fn verdicts(&mut self, report: &Report) {
        for target in &report.targets {
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

//! The unattended front end: one run, events on standard error, the report on standard output, exit code by rule.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::cleanup::crew::Crew;
use crate::cleanup::discover::{Patient, targets};
use crate::cleanup::ledger::{Ledger, Told};
use crate::cleanup::report::{Machine, Report};
use crate::cleanup::report_text::{printable, render};
use crate::cleanup::shown::{Proposal, line_of, name_of, signal_words};
use crate::cleanup::{KeptRun, Question, Settings, clean, keep_report, list_runs, scan, undo};
use crate::cli::{Ask, Options, Progress, Task};
use crate::error::{Context, Error, Result};
use crate::event::{Event, Sink};
use crate::printable::to_json;
use crate::volume::signals::{self, Heard};

/// Does what was asked and returns the exit code.
///
/// # Errors
/// Wrong usage, a signature file or report folder that cannot be used, or a store that cannot be read. Whatever
/// concerns a single disk is in the report instead.
pub fn execute(options: &Options) -> Result<u8> {
    let may_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let writes = matches!(options.task, Task::Clean | Task::Undo { .. });
    if writes && options.ask == Ask::Terminal && !may_ask {
        return Err(Error::refused("ask for a yes", "there is no terminal to ask on")
            .hint("give --yes to carry the plan out, or --dry-run to see it"));
    }
    if writes {
        signals::watch(if options.progress == Progress::Json { tell_signal_as_event } else { tell_signal })?;
    }
    let settings = options.settings(targets(&options.targets)?)?;
    let shown = Shown {
        ask: options.ask,
        progress: options.progress,
        plain: match options.progress {
            Progress::Auto => std::io::stderr().is_terminal(),
            Progress::Plain => true,
            Progress::Json | Progress::None => false,
        },
        several: settings.targets.len() > 1,
    };
    if matches!(options.task, Task::ListRuns) {
        return tell_runs(&settings, &shown);
    }
    let machine = Machine::of_firmware();
    let ledger = Ledger::of_run(&options.places, &machine, &settings.targets, settings.clock)?;
    // The disk is written by then: whatever can still be told is, and what could not be decides the exit code.
    let troubles: Mutex<Vec<Error>> = Mutex::default();
    let trouble = |error: Error| {
        if shown.several {
            // The report of all may be a long way off.
            tell_line(&format!("deblast: {}", printable(&error.to_string())));
        }
        troubles.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    };
    let tell = |target: &Path, event: Event| {
        shown.event(target, &event);
        let _ = ledger.note(target, &event).map_err(trouble);
    };
    let treat = |patient: &Patient, sink: Sink<'_>| {
        let target = &patient.disk.path;
        ledger.begin(target)?;
        let mut warned = None;
        let mut decide = |question: &Question<'_>| {
            let yes = shown.decide(&name_of(patient), question, || ledger.asking(target));
            warned = question.warning().filter(|_| yes);
            yes
        };
        match &options.task {
            Task::Clean => clean(patient, &settings, &mut decide, sink),
            Task::Undo { which, only } => {
                if !settings.dry_run {
                    patient.device.refuse_read_only()?;
                }
                let mut treated = undo(patient, &settings, (which, *only), &mut decide, sink)?;
                treated.target.remarks.extend(warned.map(str::to_owned));
                Ok(treated)
            }
            _ => scan(patient, &settings, sink),
        }
    };
    let over = |target: &Path, report: &Report, runs: &[KeptRun]| {
        let kept = keep_report(report, runs);
        let is_kept = kept.is_ok();
        let told = ledger.over(target, report);
        let _ = kept.and(told).map(|event| shown.event(target, &event)).map_err(trouble);
        // What lies on one disk fails with that disk alone.
        is_kept || settings.store.is_on_patient()
    };
    let jobs = if writes && options.ask == Ask::Terminal { Some(1) } else { options.jobs };
    let crew = Crew { settings: &settings, machine, jobs, treat: &treat, tell: &tell, over: &over };
    let report = crew.work()?;
    let text = if options.json { report.to_json()? } else { render(&report) };
    let filed = ledger.close(&report);
    let printed = out(&text);
    let troubles = troubles.into_inner().unwrap_or_else(PoisonError::into_inner);
    troubles.into_iter().map(Err).fold(Ok(()), Result::and).and(filed).and(printed)?;
    Ok(report.exit_code)
}

/// `undo --list`.
fn tell_runs(settings: &Settings, shown: &Shown) -> Result<u8> {
    if !settings.store.is_on_patient() && !settings.store.root().is_dir() {
        return Err(Error::refused("list the runs", "there is no such store")
            .device(settings.store.root())
            .hint("give the folder that the runs were recorded in with --store"));
    }
    for target in &settings.targets {
        let patient = Patient::open(target)?;
        let lines = list_runs(&patient, settings, &mut |event| shown.event(target, &event))?;
        if lines.is_empty() {
            let store = if settings.store.is_on_patient() {
                "the store on this disk".to_owned()
            } else {
                settings.store.root().display().to_string()
            };
            out(&format!(
                "no run of {} belongs to {}\n",
                printable(&store),
                printable(&target.display().to_string())
            ))?;
        }
        for line in lines {
            out(&format!("{}\n", printable(&line)))?;
        }
    }
    Ok(0)
}

fn tell_signal(heard: Heard) {
    // Whoever hangs up does not read it either.
    tell_line(&format!("deblast: {}", signal_words(heard)));
}

fn tell_signal_as_event(heard: Heard) {
    let note = to_json(&Event::Note { text: signal_words(heard).to_owned() });
    tell_line(&note.unwrap_or_default());
}

/// Prints to standard output; a reader that has had enough is no failure.
fn out(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.doing("print"),
    }
}

/// A line on standard error. One that nobody reads is no reason to stop a cure.
fn tell_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// How a run is shown on standard error while it goes on.
struct Shown {
    ask: Ask,
    progress: Progress,
    /// As lines for people.
    plain: bool,
    /// There are several targets, so that each line says which it is about.
    several: bool,
}

impl Shown {
    fn event(&self, target: &Path, event: &Event) {
        let line = match (self.progress, self.plain) {
            (Progress::Json, _) => to_json(&Told::of(target, event)).ok(),
            (_, true) if self.several => {
                let name = printable(&target.to_string_lossy());
                line_of(event).map(|line| format!("{name}: {}", line.trim_start()))
            }
            // It is told by the report that follows.
            (_, true) if matches!(event, Event::Over { .. }) => None,
            (_, true) => line_of(event),
            (_, false) => None,
        };
        line.iter().for_each(|line| tell_line(line));
    }

    /// Shows the plan and takes the answer; `asking` is called once the plan is shown and only the answer is missing.
    fn decide(&self, disk: &str, question: &Question<'_>, asking: impl FnOnce()) -> bool {
        let json = self.progress == Progress::Json && self.ask != Ask::Terminal;
        if json || (self.ask == Ask::Yes && !self.plain) {
            if let Some(warning) = question.warning().filter(|_| self.ask == Ask::Yes) {
                let event = json.then(|| to_json(&Event::Note { text: warning.to_owned() }).ok());
                tell_line(&event.flatten().unwrap_or_else(|| format!("warning: {warning}")));
            }
            return self.ask == Ask::Yes;
        }
        let text = format!("\n{}", Proposal::of(disk, question).text());
        // What cannot be shown cannot be asked for; the answer is then no.
        if write!(std::io::stderr().lock(), "{text}").is_err() {
            return self.ask == Ask::Yes;
        }
        match self.ask {
            Ask::Yes => true,
            Ask::DryRun => false,
            Ask::Terminal => {
                asking();
                let _ = write!(std::io::stderr().lock(), "\nCarry it out? Only y means yes: ");
                let mut answer = String::new();
                let yes = std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "y";
                if !yes {
                    tell_line("not understood as yes: nothing is written");
                }
                yes
            }
        }
    }
}

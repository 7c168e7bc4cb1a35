//! The unattended front end: one run, events on standard error, the report on standard output, exit code by rule.

use std::cell::{Cell, RefCell};
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use jiff::Timestamp;

use crate::cleanup::discover::{Patient, targets};
use crate::cleanup::landmarks::Landmarks;
use crate::cleanup::report::Machine;
use crate::cleanup::report_files::ReportFiles;
use crate::cleanup::report_text::{printable, render};
use crate::cleanup::shown::{Proposal, line_of, name_of, signal_words};
use crate::cleanup::{Question, Settings, clean, keep_report, list_runs, run, scan, undo};
use crate::cli::{Ask, Options, Progress, Task};
use crate::error::{Context, Error, Result};
use crate::event::Event;
use crate::printable::to_json;
use crate::threat::Signatures;
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
    let mut signatures = Signatures::builtin()?;
    for file in &options.signatures {
        signatures.add_file(file)?;
    }
    signatures.set_deep(options.deep);
    let mut reports = match &options.report_dir {
        Some(folder) => Some(ReportFiles::create(folder, Timestamp::now())?),
        None => None,
    };
    let settings = Settings {
        signatures,
        targets: targets(&options.targets)?,
        policy: options.policy.clone(),
        store: options.store.clone(),
        store_named: options.store_named,
        dry_run: options.ask == Ask::DryRun,
        options: options.for_report(),
        clock: Timestamp::now,
        stop: || false,
    };
    let plain = match options.progress {
        Progress::Auto => std::io::stderr().is_terminal(),
        Progress::Plain => true,
        Progress::Json | Progress::None => false,
    };
    let landmarks = RefCell::new(Landmarks::open(options.landmarks.as_deref())?);
    let mut shower = shower(options.progress, plain);
    let mut show = |event: Event| {
        landmarks.borrow_mut().note(&event);
        shower(event);
    };
    let warned = Cell::new(None);
    // The disk that a question is about.
    let disk = RefCell::new(String::new());
    let mut decide = |question: &Question<'_>| {
        let asking = || landmarks.borrow_mut().asking();
        let yes = decide(options.ask, options.progress, plain, (&disk.borrow(), question), asking);
        warned.set(question.warning().filter(|_| yes));
        yes
    };
    if matches!(options.task, Task::ListRuns) {
        if !settings.store.is_on_patient() && !settings.store.root().is_dir() {
            return Err(Error::refused("list the runs", "there is no such store")
                .device(settings.store.root())
                .hint("give the folder that the runs were recorded in with --store"));
        }
        for target in &options.targets {
            let patient = Patient::open(target)?;
            let lines = list_runs(&patient, &settings, &mut show)?;
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
        return Ok(0);
    }
    let (report, runs) = run(&settings, Machine::of_firmware(), &mut |patient| {
        disk.replace(name_of(patient));
        match &options.task {
            Task::Clean => clean(patient, &settings, &mut decide, &mut show),
            Task::Undo { which, only } => {
                if !settings.dry_run {
                    patient.device.refuse_read_only()?;
                }
                let mut treated = undo(patient, &settings, (which, *only), &mut decide, &mut show)?;
                treated.target.remarks.extend(warned.take().map(str::to_owned));
                Ok(treated)
            }
            Task::Scan
            | Task::ListRuns
            | Task::List
            | Task::Report(_)
            | Task::Hive(_)
            | Task::Signatures(_)
            | Task::Filter(_)
            | Task::Guided(_)
            | Task::Live => scan(patient, &settings, &mut show),
        }
    })?;
    let text = if options.json { report.to_json()? } else { render(&report) };
    // The disk is written by now: wherever the report can still go it goes, the copy that lasts longest first.
    let kept = keep_report(&report, &runs);
    landmarks.borrow_mut().verdicts(&report);
    let filed = reports.as_mut().map_or(Ok(()), |files| files.write(&report));
    let printed = out(&text);
    kept.and(filed).and(printed)?;
    Ok(report.exit_code)
}

fn tell_signal(heard: Heard) {
    // Whoever hangs up does not read it either.
    let _ = writeln!(std::io::stderr().lock(), "deblast: {}", signal_words(heard));
}

fn tell_signal_as_event(heard: Heard) {
    let note = serde_json::to_string(&Event::Note { text: signal_words(heard).to_owned() });
    let _ = writeln!(std::io::stderr().lock(), "{}", note.unwrap_or_default());
}

/// Prints to standard output; a reader that has had enough is no failure.
fn out(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.doing("print"),
    }
}

fn shower(progress: Progress, plain: bool) -> impl FnMut(Event) {
    move |event| {
        let line = if progress == Progress::Json {
            to_json(&event).ok()
        } else if plain {
            line_of(&event)
        } else {
            None
        };
        if let Some(line) = line {
            // Progress that nobody reads is no reason to stop a cure.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}

/// Shows the plan and takes the answer; `asking` is called once the plan is shown and only the answer is missing.
fn decide(
    ask: Ask,
    progress: Progress,
    plain: bool,
    (disk, question): (&str, &Question<'_>),
    asking: impl FnOnce(),
) -> bool {
    let json = progress == Progress::Json && ask != Ask::Terminal;
    if json || (ask == Ask::Yes && !plain) {
        if let Some(warning) = question.warning().filter(|_| ask == Ask::Yes) {
            let event = json.then(|| to_json(&Event::Note { text: warning.to_owned() }).ok());
            let line = event.flatten().unwrap_or_else(|| format!("warning: {warning}"));
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
        return ask == Ask::Yes;
    }
    let text = format!("\n{}", Proposal::of(disk, question).text());
    // What cannot be shown cannot be asked for; the answer is then no.
    if write!(std::io::stderr().lock(), "{text}").is_err() {
        return ask == Ask::Yes;
    }
    match ask {
        Ask::Yes => true,
        Ask::DryRun => false,
        Ask::Terminal => {
            asking();
            let _ = write!(std::io::stderr().lock(), "\nCarry it out? Only y means yes: ");
            let mut answer = String::new();
            let yes = std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "y";
            if !yes {
                let _ = writeln!(std::io::stderr().lock(), "not understood as yes: nothing is written");
            }
            yes
        }
    }
}

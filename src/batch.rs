//! The unattended front end: one run, events on standard error, the report on standard output, exit code by rule.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use jiff::Timestamp;

use crate::cleanup::discover::{Patient, targets};
use crate::cleanup::landmarks::Landmarks;
use crate::cleanup::report::{Machine, Report};
use crate::cleanup::report_text::{done_to_the_disk, human_size, printable, render};
use crate::cleanup::{Question, Settings, clean, keep_report, list_runs, report_html, run, scan, undo};
use crate::cli::{Ask, Options, Progress, ReportFormat, Task};
use crate::error::{Context, Error, Result};
use crate::event::Event;
use crate::store::place::refuse_missing_parent;
use crate::threat::Signatures;

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
        if options.ask == Ask::Terminal {
            landmarks.borrow_mut().asking();
        }
        let yes = decide(options.ask, options.progress, plain, (&disk.borrow(), question));
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
    let (report, runs) = run(&settings, machine(), &mut |patient| {
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
            serde_json::to_string(&event).ok()
        } else if plain {
            words(&event)
        } else {
            None
        };
        if let Some(line) = line {
            // Progress that nobody reads is no reason to stop a cure.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}

/// One event as a line; none for those that only move a bar.
fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Target { path, size } => {
            format!("looking at {} ({})", printable(&path.to_string_lossy()), human_size(*size))
        }
        Event::Volume { start, filesystem } => format!("  volume at {start:#x}: {filesystem}"),
        Event::Progress { .. } => return None,
        Event::Install { root, product } => format!("  {} in {}", printable(product), printable(root)),
        Event::Found { grade, what } => format!("    [{grade}] {}", printable(what)),
        Event::StoreReady { folder } => {
            format!("the record is safe in {}; now the disk is written", folder.display())
        }
        Event::Written { path, sectors } => format!("  written: {}, {sectors} sectors", printable(path)),
        Event::Verified { good: true } => "verified: read back from the device, all as planned".to_owned(),
        Event::Verified { good: false } => "NOT VERIFIED: see the report".to_owned(),
        Event::Note { text } => format!("note: {}", printable(text)),
    })
}

/// A disk by what can be seen on it: node, size, model and serial number.
fn name_of(patient: &Patient) -> String {
    let disk = &patient.disk;
    let told = [Some(human_size(disk.size)), disk.model.clone(), disk.serial.clone()];
    let told: Vec<String> = told.into_iter().flatten().collect();
    printable(&format!("{} ({})", disk.path.display(), told.join(", ")))
}

fn decide(ask: Ask, progress: Progress, plain: bool, (disk, question): (&str, &Question<'_>)) -> bool {
    let json = progress == Progress::Json && ask != Ask::Terminal;
    if json || (ask == Ask::Yes && !plain) {
        if let Some(warning) = question.warning().filter(|_| ask == Ask::Yes) {
            let event = json.then(|| serde_json::to_string(&Event::Note { text: warning.to_owned() }).ok());
            let line = event.flatten().unwrap_or_else(|| format!("warning: {warning}"));
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
        return ask == Ask::Yes;
    }
    let mut text = String::new();
    match question {
        Question::Clean(plan) => {
            text.push_str(&format!("\nThe plan for {disk}:\n"));
            plan.changes()
                .for_each(|change| text.push_str(&format!("  {}\n", printable(&change.to_string()))));
            plan.unlinks
                .iter()
                .for_each(|unlink| text.push_str(&format!("  {}\n", printable(&unlink.in_words()))));
            plan.notes.iter().for_each(|note| text.push_str(&format!("  note: {}\n", printable(note))));
        }
        Question::Undo(undo) | Question::TakeBackFirst(undo) => {
            if matches!(question, Question::TakeBackFirst(_)) {
                text.push_str(&format!(
                    "\nAn earlier run on {disk} was cut. It is taken back before anything else:\n"
                ));
            } else {
                text.push_str(&format!("\nThe plan for {disk}:\n"));
            }
            text.push_str(&format!("  run {}\n", undo.run_id));
            for words in undo.plan.actions.iter().flat_map(done_to_the_disk) {
                text.push_str(&format!("  {}\n", printable(&words)));
            }
            for (change, why) in &undo.left {
                text.push_str(&format!("  left: {}: {}\n", printable(&change.to_string()), printable(why)));
            }
            undo.plan.notes.iter().for_each(|note| text.push_str(&format!("  note: {}\n", printable(note))));
        }
    }
    if let Some(warning) = question.warning() {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    // What cannot be shown cannot be asked for; the answer is then no.
    if write!(std::io::stderr().lock(), "{text}").is_err() {
        return ask == Ask::Yes;
    }
    match ask {
        Ask::Yes => true,
        Ask::DryRun => false,
        Ask::Terminal => {
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

/// The machine as its firmware tells (SMBIOS, as the kernel shows it).
fn machine() -> Machine {
    let field = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/class/dmi/id/{name}")).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    Machine {
        maker: field("sys_vendor"),
        model: field("product_name"),
        serial: field("product_serial"),
        computer_name: None,
    }
}

/// The report's files, made before a disk is touched.
struct ReportFiles(Vec<(File, std::path::PathBuf, ReportFormat)>);

impl ReportFiles {
    fn create(folder: &Path, now: Timestamp) -> Result<Self> {
        let doing = "make the folder for reports";
        refuse_missing_parent(folder, doing)?;
        match std::fs::create_dir(folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(doing, e).device(folder));
            }
            _ => {}
        }
        let stem = format!("deblast-{}", now.strftime("%Y%m%d-%H%M%S"));
        (1..10_000)
            .map(|number| if number == 1 { stem.clone() } else { format!("{stem}-{number}") })
            .find_map(|name| Self::named(&folder.join(name)).transpose())
            .unwrap_or_else(|| {
                Err(Error::refused("make the report", "every name for it is taken").device(folder))
            })
    }

    /// All files of one name; none where one of them is there already.
    fn named(name: &Path) -> Result<Option<Self>> {
        let mut files: Vec<(File, std::path::PathBuf, ReportFormat)> = Vec::new();
        for (extension, format) in
            [("json", ReportFormat::Json), ("txt", ReportFormat::Text), ("html", ReportFormat::Html)]
        {
            let mut path = name.as_os_str().to_owned();
            path.push(format!(".{extension}"));
            let path = std::path::PathBuf::from(path);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => files.push((file, path, format)),
                Err(e) => {
                    // Those just made are ours, and empty.
                    files.iter().for_each(|(_, path, _)| drop(std::fs::remove_file(path)));
                    return match e.kind() {
                        std::io::ErrorKind::AlreadyExists => Ok(None),
                        _ => Err(Error::io("make the report", e).device(path)),
                    };
                }
            }
        }
        Ok(Some(Self(files)))
    }

    /// Writes each in its format, whichever fails; the first failure.
    fn write(&mut self, report: &Report) -> Result<()> {
        let write = |(file, path, format): &mut (File, std::path::PathBuf, ReportFormat)| {
            let content = match format {
                ReportFormat::Json => report.to_json()?,
                ReportFormat::Text => render(report),
                ReportFormat::Html => report_html::render(report, None)?,
            };
            file.write_all(content.as_bytes())
                .and_then(|()| file.sync_all())
                .doing("write the report")
                .map_err(|e| e.device(&*path))
        };
        self.0.iter_mut().map(write).fold(Ok(()), Result::and)
    }
}

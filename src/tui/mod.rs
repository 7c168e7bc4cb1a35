//! The guided front end: what a technician sees who has never read a manual. Six steps: Find, Inspect, Plan, Clean,
//! Verify, Report. Nothing is written before a plan was shown and answered with `y`.
//!
//! On a terminal that can place a cursor, screens; on any other, or with `--plain`, numbered questions. The screens
//! are a state (`app`) that messages change, a thread that works (`jobs`), and drawing (`screens`).

mod app;
mod backend;
pub mod board;
mod disk;
#[cfg(debug_assertions)]
mod fault;
mod jobs;
mod keys;
mod line;
mod plain;
mod screens;
mod switches;
mod terminal;
mod text;
mod theme;
mod work;

#[cfg(test)]
mod app_tests;
#[cfg(test)]
mod fixture;

use std::io::{IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use crate::cleanup::landmarks::Landmarks;
use crate::cleanup::report_text::{headline, printable};
use crate::cli::{GuidedTask, Options, Theme as Wished};
use crate::error::{Error, Result};
use crate::practice::Practice;
use crate::volume::mount::{hold_signals, is_stopped};
use app::{App, Effect, Msg, News, Setup};
use jobs::Worker;
use terminal::{Heard, Terminal, last_panic};
use theme::{Palette, Theme};
use work::{Work, ask_to_stop};

/// How often what the worker tells is drawn, and how often the clock is looked at when nothing happens.
const WORKING: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_millis(500);

const PRACTICE_IS_OVER: &str = "That was practice. Its disk, its record and its reports are gone.";

/// Whether there is a terminal to ask on.
pub fn may_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Guides through what is attached, and returns the exit code: the worst of what the last reports on each disk say.
///
/// # Errors
/// There is no terminal, or a signature file or folder for reports cannot be used.
pub fn execute(options: &Options, task: &GuidedTask) -> Result<u8> {
    if !may_ask() {
        return Err(Error::refused("guide through a clean", "there is no terminal to ask on")
            .hint("deblast scan and deblast clean work without one"));
    }
    let is_named = |name: &str| std::env::var("TERM").is_ok_and(|term| term == name);
    let is_bare = std::env::var_os("TERM").is_none_or(|term| term.is_empty()) || is_named("dumb");
    let practice = task.practice.then(Practice::create).transpose()?;
    let for_practice = practice.as_ref().map(|practice| options.for_practice(practice));
    let guided = for_practice.as_ref().unwrap_or(options);
    let (code, end) = match task.plain || is_bare {
        true => plain::execute(guided, task)?,
        false => on_screens(guided, task)?,
    };
    if practice.is_some() && (task.plain || is_bare) {
        // A terminal that is gone is told nothing.
        let _ = writeln!(std::io::stdout(), "{PRACTICE_IS_OVER}");
    }
    drop(practice);
    if end == End::PowerOff {
        Landmarks::open(options.places.landmarks.as_deref())?.want("poweroff")?;
    }
    Ok(code)
}

/// What whoever leaves wants of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stay,
    PowerOff,
}

fn on_screens(options: &Options, task: &GuidedTask) -> Result<(u8, End)> {
    // The terminal is given back before a signal is obeyed.
    let _held = hold_signals()?;
    let work = Work::new(options, task)?;
    let mut app = App::new(Setup {
        policy: options.policy.clone(),
        store: work.store(),
        theme: theme(task.theme),
        is_practice: task.practice,
        live: task.live,
        medium: task.medium.clone(),
    });
    let mut worker = Worker::start(work)?;
    let mut terminal = Terminal::take()?;
    let left = catch_unwind(AssertUnwindSafe(|| guide(&mut app, &worker, &mut terminal)));
    drop(terminal);
    // However it was left: what is being written is taken back, and told.
    worker.end();
    worker.news().try_iter().for_each(|news| drop(app.update(Msg::News(news), Duration::ZERO)));
    tell_end(&app);
    match left {
        Ok(left) => left.map(|end| (if is_stopped() { 2 } else { app.exit_code() }, end)),
        Err(panic) => resume_unwind(panic),
    }
}

/// What this terminal can show, as far as its environment tells.
fn theme(wished: Wished) -> Theme {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    let is_vt = set("TERM").is_some_and(|term| term.starts_with("vt"));
    Theme {
        unicode: locale.contains("utf-8") || locale.contains("utf8"),
        dark: set("TERM").is_some_and(|term| term == "linux"),
        palette: match wished {
            Wished::Auto if set("NO_COLOR").is_some() || is_vt => Palette::Mono,
            Wished::Auto | Wished::Colour => Palette::Colour,
            Wished::HighContrast => Palette::HighContrast,
            Wished::Mono => Palette::Mono,
        },
    }
}

/// Waits for a key, the worker or the clock, has the state changed, and draws it, until somebody leaves.
fn guide(app: &mut App, worker: &Worker, terminal: &mut Terminal) -> Result<End> {
    let start = Instant::now();
    let mut effects = app.find();
    let mut is_gone = false;
    let mut is_stale = true;
    loop {
        for effect in effects.drain(..) {
            match effect {
                Effect::Start(job) => worker.start_job(job),
                Effect::Answer(yes) => worker.answer(yes),
                Effect::Stop => ask_to_stop(true),
                Effect::Leave => return Ok(End::Stay),
                Effect::PowerOff => return Ok(End::PowerOff),
            }
        }
        if is_stale && terminal.busy().is_zero() {
            terminal.draw(app)?;
            is_stale = false;
        }
        let busy = terminal.busy();
        if !is_stale && busy.is_zero() && app.awaits_drawing() {
            // What was typed before the plan could be seen is no answer to it.
            is_stale = terminal.forget_typed()?;
            effects.extend(app.update(Msg::Drawn, start.elapsed()));
        }
        #[cfg(debug_assertions)]
        fault::strike(if app.is_writing() { "screen-writing" } else { "screen" });
        if is_stopped() {
            return Ok(End::Stay);
        }
        let patience = if app.running.is_some() || !app.found { WORKING } else { IDLE };
        // A slow line is waited for, not filled.
        let patience = if busy.is_zero() { patience } else { busy.min(patience) };
        let heard = terminal.hear(patience)?;
        let was_settling = app.is_settling();
        effects.extend(app.update(
            match heard {
                Heard::Key(press) => Msg::Key(press),
                Heard::Burst(press) => Msg::Burst(press),
                Heard::Resized | Heard::Nothing => Msg::Tick,
            },
            start.elapsed(),
        ));
        is_stale |= !matches!(heard, Heard::Nothing) || (was_settling && !app.is_settling());
        while !is_gone {
            let news = match worker.news().try_recv() {
                Ok(news) => news,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    is_gone = true;
                    News::Gone(last_panic())
                }
            };
            effects.extend(app.update(Msg::News(news), start.elapsed()));
            is_stale = true;
        }
    }
}

/// What is left on the screen when the program is left: each disk's result, and where it is written down.
fn tell_end(app: &App) {
    let mut lines = Vec::new();
    if is_stopped() {
        lines.push("A signal has ended Deblast.".to_owned());
    }
    for disk in &app.disks {
        let Some(done) = &disk.done else { continue };
        lines.push(format!("{}: {}", disk.name(), headline(&done.report).word));
        if !app.is_practice {
            lines.extend(done.files.iter().map(|file| format!("  report: {}", file.display())));
            lines.extend(
                done.records.iter().map(|place| format!("  record of the run: {}", printable(place))),
            );
        }
    }
    // Where the work has ended in mid-air, and the like.
    lines.extend(app.last_words().map(str::to_owned));
    if app.is_practice {
        lines.push(PRACTICE_IS_OVER.to_owned());
    }
    let mut output = std::io::stdout().lock();
    // A terminal that is gone is told nothing.
    let _ = lines.iter().try_for_each(|line| writeln!(output, "{line}"));
}

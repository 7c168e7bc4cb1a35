//! The guided front end: what a technician sees who has never read a manual. Six steps: Find, Inspect, Plan, Clean,
//! Verify, Report. Nothing is written before a plan was shown and answered with `y`.
//!
//! On a terminal that can place a cursor, screens; on any other, or with `--plain`, numbered questions. The screens
//! are a state (`app`) that messages change, a thread that works (`jobs`), and drawing (`screens`).

mod app;
mod backend;
mod jobs;
mod keys;
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

use std::io::IsTerminal as _;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use crate::cleanup::report_text::{headline, printable};
use crate::cli::{Color, Options, Task};
use crate::error::{Error, Result};
use app::{App, Effect, Job, Msg, News};
use jobs::Worker;
use terminal::{Heard, Terminal};
use theme::Theme;
use work::{Work, ask_to_stop};

/// How often what the worker tells is drawn, and how often the clock is looked at when nothing happens.
const WORKING: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_millis(500);

/// Whether there is a terminal to ask on.
pub fn may_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Guides through what is attached, and returns the exit code: the worst of what the last reports on each disk say.
///
/// # Errors
/// There is no terminal, or a signature file or folder for reports cannot be used.
pub fn execute(options: &Options) -> Result<u8> {
    if !may_ask() {
        return Err(Error::refused("guide through a clean", "there is no terminal to ask on")
            .hint("deblast scan and deblast clean work without one"));
    }
    let is_named = |name: &str| std::env::var("TERM").is_ok_and(|term| term == name);
    let is_bare = std::env::var_os("TERM").is_none_or(|term| term.is_empty()) || is_named("dumb");
    if matches!(options.task, Task::Guided { plain: true, .. }) || is_bare {
        return plain::execute(options);
    }
    let work = Work::new(options)?;
    let mut app = App::new(options.policy.clone(), work.store());
    let worker = Worker::start(work)?;
    let mut terminal = Terminal::take()?;
    let left = guide(&mut app, &worker, &mut terminal, theme(options.color));
    drop(terminal);
    tell_end(&app);
    left.map(|()| app.exit_code())
}

/// What this terminal can show, as far as its environment tells.
fn theme(color: Color) -> Theme {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
    let is_vt = set("TERM").is_some_and(|term| term.starts_with("vt"));
    Theme {
        unicode: locale.contains("utf-8") || locale.contains("utf8"),
        colour: match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => set("NO_COLOR").is_none() && !is_vt,
        },
    }
}

/// Waits for a key, the worker or the clock, has the state changed, and draws it, until somebody leaves.
fn guide(app: &mut App, worker: &Worker, terminal: &mut Terminal, theme: Theme) -> Result<()> {
    let start = Instant::now();
    let mut effects = vec![Effect::Start(Job::Find)];
    let mut is_gone = false;
    let mut is_stale = true;
    loop {
        for effect in effects.drain(..) {
            match effect {
                // A worker that is gone is told by its channel.
                Effect::Start(job) => drop(worker.jobs.send(job)),
                Effect::Answer(yes) => drop(worker.answers.send(yes)),
                Effect::Stop => ask_to_stop(true),
                Effect::Leave => return Ok(()),
            }
        }
        if is_stale {
            terminal.draw(app, theme)?;
            is_stale = false;
        }
        let patience = if app.running.is_some() || !app.found { WORKING } else { IDLE };
        match terminal.hear(patience)? {
            Heard::Key(press) => {
                effects.extend(app.update(Msg::Key(press), start.elapsed()));
                is_stale = true;
            }
            Heard::Resized => is_stale = true,
            Heard::Nothing => effects.extend(app.update(Msg::Tick, start.elapsed())),
        }
        while !is_gone {
            let news = match worker.news.try_recv() {
                Ok(news) => news,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    is_gone = true;
                    News::Gone
                }
            };
            effects.extend(app.update(Msg::News(news), start.elapsed()));
            is_stale = true;
        }
    }
}

/// What is left on the screen when the program is left: each disk's result, and where it is written down.
fn tell_end(app: &App) {
    for disk in &app.disks {
        let Some(done) = &disk.done else { continue };
        println!("{}: {}", disk.name(), headline(&done.report).word);
        done.files.iter().for_each(|file| println!("  report: {}", file.display()));
        done.records.iter().for_each(|place| println!("  record of the run: {}", printable(place)));
    }
}

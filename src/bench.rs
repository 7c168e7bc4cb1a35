//! Bench mode where there is no terminal to draw on: each disk that appears is cleaned, and what happens is told in lines.

use std::io::Write as _;
use std::time::Duration;

use crate::cleanup::bench::{Happened, Row, Step};
use crate::cleanup::ledger::Told;
use crate::cleanup::report_text::printable;
use crate::cleanup::shown::{line_of, name, signal_words};
use crate::cli::{Options, Progress};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::printable::to_json;
use crate::volume::signals::{self, Heard};

const PATIENCE: Duration = Duration::from_millis(500);

/// Works until a signal ends it, or nothing can be recorded any more. Returns the worst exit code of all disks.
///
/// # Errors
/// Wrong usage; there is no store; a file cannot be written; the list of disks cannot be read.
pub fn execute(options: &Options, present: bool) -> Result<u8> {
    let mut bench = options.bench(present, signals::is_stopped)?;
    signals::watch(if options.progress == Progress::Json { |_| () } else { tell_signal })?;
    // What is under way is brought to its end before one is obeyed.
    let _held = signals::hold_signals()?;
    let plain = matches!(options.progress, Progress::Auto | Progress::Plain);
    if plain {
        tell("waiting for disks; each that is plugged in is worked on. Ctrl-C ends it");
    }
    loop {
        for happened in bench.wait(PATIENCE)? {
            let Some(row) = bench.rows().get(happened.row) else { continue };
            if options.progress == Progress::Json {
                if let Some(event) = &happened.event {
                    tell(&to_json(&Told::of(&row.disk.path, event)).unwrap_or_default());
                }
            } else if plain && let Some(line) = line(row, &happened) {
                tell(&line);
            }
            if let Some(report) = happened.report.as_ref().filter(|_| options.json) {
                let line = to_json(report).map_err(|e| Error::library("write the report as JSON", e))?;
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
        }
        if signals::is_stopped() {
            bench.close("this program was asked to end");
        }
        if bench.at_work() == 0
            && let Some(why) = bench.closed()
        {
            if options.progress != Progress::None {
                let text = format!("no further disk is begun: {}", printable(why));
                let note = to_json(&Event::Note { text: text.clone() }).unwrap_or_default();
                tell(if plain { &text } else { &note });
            }
            return Ok(2);
        }
    }
}

fn tell_signal(heard: Heard) {
    tell(&format!("deblast: {}", signal_words(heard)));
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// What happened to a row, in a line; none where there is nothing to say of it.
fn line(row: &Row, happened: &Happened) -> Option<String> {
    let disk = &row.disk;
    let words = match (&happened.event, &happened.report) {
        (Some(Event::Over { reports, .. }), _) => {
            let report = reports.first()?;
            format!("report: {}", report.display())
        }
        (Some(event), _) => line_of(event)?.trim_start().to_owned(),
        (None, Some(_)) => format!("{}  {}", row.mark?.word(), printable(&row.words)),
        (None, None) if !row.is_there && row.mark.is_some() && row.step != Step::Over => {
            printable(&row.words)
        }
        (None, None) if !row.is_there => "removed".to_owned(),
        (None, None) => {
            let who = name(&disk.path, Some(disk.size), disk.model.as_deref(), disk.serial.as_deref());
            match row.step {
                Step::LeftAlone => format!("{who} in {}: left alone: {}", disk.socket, printable(&row.words)),
                _ => format!("{who} in {}", disk.socket),
            }
        }
    };
    Some(format!("slot {}: {words}", row.slot))
}

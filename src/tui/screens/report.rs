//! Report: the verdict large, what was changed, what to do next, and where all that is written down.
//!
//! ```text
//! ── Report on /dev/sda ─────────────────────────────────────────────
//!
//!     [+]  C L E A N E D
//!
//! found, cured, and verified on the disk
//! Next steps
//! 1. ...
//! Saved in ...
//! ```

use ratatui::layout::Rect;

use crate::cleanup::report::Report;
use crate::cleanup::report_text::{headline, printable, step_parts};
use crate::cleanup::verdict::Verdict;
use crate::finding::Outcome;
use crate::tui::app::App;
use crate::tui::screens::pane::{Painter, Row, row, toned, ways_here};
use crate::tui::text::install_name;
use crate::tui::theme::{Tone, mark};
use crate::tui::work::Done;

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    let Some(disk) = app.disk() else { return };
    let area = painter.rule(area, &format!("Report on {}", disk.name()));
    let rows = match &disk.done {
        Some(done) => {
            let practice = "PRACTICE: the disk is a file that was made for it. Nothing real was touched.";
            let mut rows = if app.is_practice { vec![toned(Tone::Strong, practice)] } else { Vec::new() };
            rows.extend(all_of(done));
            rows
        }
        None => vec![row("This disk has not been looked at yet.")],
    };
    painter.text(area, &rows, app.scroll, Some(&app.reach));
}

fn all_of(done: &Done) -> Vec<Row> {
    let report = &done.report;
    let head = headline(report);
    let (glyph, tone) =
        match (report.options.get("command").and_then(|command| command.as_str()), report.exit_code) {
            (Some("undo"), 0) => ("[+]", Tone::Good),
            (Some("undo"), _) => ("[X]", Tone::Bad),
            _ => mark(report.verdict),
        };
    let spaced: Vec<String> = head.word.chars().map(String::from).collect();
    // No blank may be broken at inside the large word.
    let mut rows =
        vec![row(""), toned(tone, format!("    {glyph}\u{a0}\u{a0}{}", spaced.join("\u{a0}"))), row("")];
    rows.push(toned(tone, printable(&head.sentence)));
    rows.extend(head.now.iter().map(|now| row(format!("The disk now: {}", printable(now)))));
    rows.extend(report.reasons.iter().skip(1).map(|words| toned(Tone::Caution, printable(words))));
    rows.extend(ways_here(report.reasons.iter().map(String::as_str)));
    let verified = report.changes.iter().filter(|change| change.outcome == Outcome::Verified).count();
    if verified > 0 {
        rows.push(row(format!(
            "Files that were written and verified: {verified} of {}, see below",
            report.changes.len()
        )));
    }
    next_steps(report, &mut rows);
    rows.push(row(""));
    rows.push(toned(Tone::Strong, "Written down"));
    if done.files.is_empty() && done.records.is_empty() {
        rows.push(row("Nowhere yet: w saves this report."));
    }
    rows.extend(done.files.iter().map(|file| row(printable(&format!("report: {}", file.display())))));
    rows.extend(done.records.iter().map(|place| row(printable(&format!("record of the run: {place}")))));
    rows.extend(
        done.troubles.iter().map(|words| toned(Tone::Bad, printable(&format!("NOT WRITTEN DOWN: {words}")))),
    );
    changes(report, &mut rows);
    about_targets(report, &mut rows);
    rows
}

fn changes(report: &Report, rows: &mut Vec<Row>) {
    if report.changes.is_empty() {
        return;
    }
    let planned = report.changes.iter().all(|change| change.outcome == Outcome::Planned);
    rows.push(row(""));
    rows.push(toned(Tone::Strong, if planned { "What would be changed" } else { "What was changed" }));
    for change in &report.changes {
        let tone = match change.outcome {
            Outcome::Verified => Tone::Good,
            Outcome::Failed => Tone::Bad,
            _ => Tone::Plain,
        };
        rows.push(toned(tone, format!("{}: {}", change.outcome, printable(&change.path))));
        rows.extend(
            change.what.iter().chain(&change.why).map(|words| row(format!("    {}", printable(words)))),
        );
    }
}

fn next_steps(report: &Report, rows: &mut Vec<Row>) {
    if report.next_steps.is_empty() {
        return;
    }
    rows.push(row(""));
    rows.push(toned(
        Tone::Strong,
        if report.verdict == Verdict::Clean { "To remember" } else { "Next steps" },
    ));
    for (number, step) in (1..).zip(&report.next_steps) {
        rows.extend(step_rows(number, step));
    }
}

/// A step, with each command that is to be typed on a line of its own.
fn step_rows(number: u32, step: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (is_typed, part)) in step_parts(step).enumerate().filter(|(_, (_, part))| !part.is_empty()) {
        let words = printable(part);
        rows.push(match (index, is_typed) {
            (0, _) => row(format!("{number}. {words}")),
            (_, true) => toned(Tone::Strong, format!("     {words}")),
            (_, false) => row(format!("   {words}")),
        });
    }
    rows
}

fn about_targets(report: &Report, rows: &mut Vec<Row>) {
    for target in &report.targets {
        rows.push(row(""));
        rows.push(toned(Tone::Strong, format!("About {}", printable(&target.path))));
        rows.extend(target.run_id.iter().map(|id| row(format!("recorded as run {id}"))));
        rows.extend(target.note.iter().chain(&target.remarks).map(|words| row(printable(words))));
        for install in &target.installs {
            let (glyph, tone) = mark(install.verdict);
            rows.push(toned(tone, format!("{glyph} {}: {}", install_name(install), install.verdict)));
            rows.extend(install.notes.iter().map(|words| row(format!("    {}", printable(words)))));
        }
    }
}

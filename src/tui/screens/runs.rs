//! Undo: the earlier runs of the store on this disk, and which part of one is taken back.
//!
//! ```text
//! ── Earlier runs on /dev/sda ───────────────────────────────────────
//! > 0001-20030815-120000  2003-08-15T12:00:00Z  clean, 4 of 4 changes in force
//! ── Undo ───────────────────────────────────────────────────────────
//! Enter chooses what of it is taken back; the plan is shown first.
//! ```

use ratatui::layout::Rect;

use crate::cleanup::report_text::printable;
use crate::tui::app::App;
use crate::tui::disk::PARTS;
use crate::tui::screens::pane::{Painter, Row, row, toned, two};
use crate::tui::theme::Tone;

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    let Some(disk) = app.disk() else { return };
    app.reach.none();
    let title = format!("Earlier runs on {}", disk.name());
    let runs = disk.offered_runs();
    if app.running.is_some() || runs.is_empty() {
        let area = painter.rule(area, &title);
        let words = match app.running.is_some() {
            true => "The disk is read, to tell which runs it still holds changes of ...".to_owned(),
            false => format!(
                "No run of the store {} belongs to this disk, so nothing can be undone. Another store: p at the list of disks.",
                printable(&app.store)
            ),
        };
        painter.text(area, &[row(words)], 0, None);
        return;
    }
    let (list, detail) = two(area, runs.len());
    let list = painter.rule(list, &title);
    let rows: Vec<Row> = runs
        .iter()
        .map(|run| toned(if run.unfinished { Tone::Bad } else { Tone::Plain }, run.to_string()))
        .collect();
    painter.list(list, &rows, app.selected);
    let detail = painter.rule(detail, "Undo");
    let words = match runs.get(app.selected) {
        Some(run) if run.unfinished => {
            "This run was cut, so the disk is neither as before it nor as after it. Enter plans taking all of it back; the \
             plan is shown first."
        }
        Some(run) if run.in_force == 0 => {
            "The disk holds no change of this run any more: nothing is left to take back."
        }
        _ => "Enter chooses what of it is taken back. The plan is shown before anything is written.",
    };
    painter.text(detail, &[row(words), row(format!("store: {}", printable(&app.store)))], 0, None);
}

pub(super) fn render_parts(painter: &mut Painter<'_>, area: Rect, app: &App) {
    app.reach.none();
    let (list, detail) = two(area, PARTS.len());
    let list = painter
        .rule(list, &format!("What of the run {} is taken back", app.run.as_deref().unwrap_or_default()));
    let rows: Vec<Row> = PARTS.iter().map(|(_, word, _)| row(*word)).collect();
    painter.list(list, &rows, app.selected);
    let detail = painter.rule(detail, "What comes of it");
    let words = PARTS.get(app.selected).map(|(_, _, words)| *words).unwrap_or_default();
    painter.text(
        detail,
        &[row(words), row("Enter makes the plan and shows it; nothing is written before you have said yes.")],
        0,
        None,
    );
}

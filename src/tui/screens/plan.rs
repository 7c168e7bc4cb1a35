//! Plan and Confirm: all that would be written, and the question. Only `y` is yes.
//!
//! ```text
//! ── Plan for /dev/sda (37 GiB) ─────────────────────────────────────
//! Nothing has been written yet. y carries this out; no other key does.
//! \WINDOWS\system32\msblast.exe
//!     quarantine ... and overwrite it with zeros
//! note: the record goes to ...
//! ```

use ratatui::layout::Rect;

use crate::cleanup::shown::{Kind, Proposal};
use crate::tui::app::App;
use crate::tui::screens::disks::percent;
use crate::tui::screens::pane::{Painter, Row, row, toned, ways_here};
use crate::tui::switches::SWITCHES;
use crate::tui::theme::Tone;

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    match &app.proposal {
        Some(asked) => {
            let area = painter.rule(area, &format!("Plan for {}", asked.disk));
            painter.text(area, &all_of(asked, app), app.scroll, Some(&app.reach));
        }
        None => {
            let area = painter.rule(area, "The plan is being made");
            app.reach.none();
            let progress = app.running.as_ref().and_then(|running| running.progress.as_ref());
            let mut rows = vec![row(
                "The disk is read once more, so that the plan is made from what is there now. No byte is written.",
            )];
            rows.extend(progress.map(|progress| row(percent(progress))));
            painter.text(area, &rows, 0, None);
        }
    }
}

fn all_of(asked: &Proposal, app: &App) -> Vec<Row> {
    let mut rows = Vec::new();
    match asked.kind {
        Kind::Clean => rows.push(toned(
            Tone::Strong,
            "Nothing has been written yet. y carries this out; no other key does.",
        )),
        Kind::Undo => rows.push(toned(
            Tone::Strong,
            "This takes a run back. Nothing has been written yet; y carries it out.",
        )),
        Kind::TakeBackFirst => rows.push(toned(
            Tone::Strong,
            "An earlier run on this disk was cut. It is taken back before anything else: y carries that out.",
        )),
    }
    rows.extend(asked.run_id.iter().map(|id| row(format!("the run {id}"))));
    rows.extend(asked.warning.iter().map(|words| toned(Tone::Bad, format!("WARNING: {words}"))));
    rows.push(row(""));
    for (path, changes) in &asked.files {
        rows.push(toned(Tone::Strong, path.clone()));
        rows.extend(changes.iter().map(|words| row(format!("    {words}"))));
    }
    if !asked.unlinks.is_empty() {
        rows.push(toned(Tone::Strong, "Names that are removed"));
        rows.extend(asked.unlinks.iter().map(|words| row(format!("    {words}"))));
    }
    if !asked.left.is_empty() {
        rows.push(toned(Tone::Strong, "What is left"));
        rows.extend(asked.left.iter().map(|words| toned(Tone::Caution, format!("    {words}"))));
    }
    rows.push(row(""));
    rows.extend(asked.notes.iter().map(|words| row(format!("note: {words}"))));
    rows.extend(ways_here(asked.notes.iter().chain(&asked.left).map(String::as_str)));
    if asked.kind == Kind::Clean {
        rows.push(row(""));
        rows.push(toned(Tone::Strong, "Decided so (s changes it)"));
        for switch in SWITCHES {
            if let Some(choice) = switch.chosen(&app.policy) {
                rows.push(row(format!("    {}: {}: {}", switch.name, choice.word, choice.consequence)));
            }
        }
    }
    rows
}

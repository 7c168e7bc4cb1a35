//! Clean and Verify: what is done, how far it is, and the log as it grows.
//!
//! ```text
//! ── Cleaning /dev/sda ──────────────────────────────────────────────
//! The disk is written: leave the machine on.
//! [########............] reading the file table 40 % of 37 GiB
//! 12 MiB a second, about 2 min left
//! ── Log ────────────────────────────────────────────────────────────
//! the record is safe in ...
//! ```

use ratatui::layout::Rect;

use crate::tui::app::{App, Stage};
use crate::tui::screens::disks::percent;
use crate::tui::screens::pane::{Painter, below, row, toned, top};
use crate::tui::theme::Tone;

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    let name = app.disk().map(|disk| disk.name()).unwrap_or_default();
    let inner = painter.rule(area, &name);
    let stage = app.running.as_ref().map(|running| (running.stage, running.stopping));
    let (words, tone) = match stage {
        Some((Stage::Writing, true)) => {
            ("It stops before the next file; what was written is taken back.", Tone::Caution)
        }
        Some((Stage::Writing, false)) => {
            ("The disk is written. Leave the machine on; this takes seconds.", Tone::Bad)
        }
        Some((Stage::Verifying, _)) => {
            ("What was written is read again from the device to verify it.", Tone::Good)
        }
        Some(_) | None => ("Done.", Tone::Plain),
    };
    let mut rows = vec![toned(tone, words)];
    if let Some(progress) = app.running.as_ref().and_then(|running| running.progress.as_ref()) {
        let width = usize::from(area.width).min(50);
        rows.push(row(painter.theme.bar(progress.done, progress.total, width)));
        rows.push(row(percent(progress)));
        rows.extend(progress.in_words(app.now).map(row));
    }
    painter.text(top(inner, 5), &rows, 0, None);
    let log = painter.rule(below(inner, 5), "Log");
    let lines: Vec<_> = app.log.iter().map(|line| row(line.clone())).collect();
    painter.text(log, &lines, app.scroll, Some(&app.reach));
}

//! The log: all that has happened, a line each; it opens at its end.
//!
//! ```text
//! ── Log ────────────────────────────────────────────────────────────
//! looking at /dev/sda (37 GiB)
//! ...
//! (31 to 45 of 45 lines: Page Up, Page Down)
//! ```

use ratatui::layout::Rect;

use crate::tui::app::App;
use crate::tui::screens::pane::{Painter, Row, row};

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    let area = painter.rule(area, "Log");
    let lines: Vec<Row> = match app.log.as_slice() {
        [] => vec![row("Nothing has happened yet.")],
        lines => lines.iter().map(|line| row(line.clone())).collect(),
    };
    painter.text(area, &lines, app.scroll, Some(&app.reach));
}

//! Help: what the screen below does and does not do, and all keys.
//!
//! ```text
//! ── Help ───────────────────────────────────────────────────────────
//! This screen reads; it writes nothing ...
//! y                say yes to the plan that is shown; no other key does
//! ...
//! ```

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr as _;

use crate::tui::app::{App, Screen};
use crate::tui::keys::{Binding, KEYS};
use crate::tui::screens::pane::{Painter, Row, row, toned};
use crate::tui::text::wrap;
use crate::tui::theme::Tone;

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App, from: usize) {
    super::clear(painter, area);
    let inner = painter.rule(area, "Help");
    let (does, does_not) = about(app.screen);
    let mut rows = vec![row(does), row(does_not)];
    // Where it is wide, two bindings a line; else only those of this screen, so that all of it is in sight.
    let offers = app.offers();
    let is_wide = area.width >= 100;
    let shown: Vec<&Binding> =
        KEYS.iter().filter(|binding| is_wide || offers.contains(&binding.action)).collect();
    let width = usize::from(area.width);
    if is_wide {
        let column = width / 2 - 1;
        let (left, right) = shown.split_at(shown.len().div_ceil(2));
        let (left, right) = (lines(left, column), lines(right, column));
        rows.push(row(""));
        for index in 0..left.len().max(right.len()) {
            let [one, other] = [&left, &right].map(|lines| lines.get(index).map_or("", String::as_str));
            let gap = (column + 2).saturating_sub(one.width());
            rows.push(Row::kept(format!("{one}{}{other}", " ".repeat(gap))));
        }
    } else {
        rows.push(toned(Tone::Strong, "Keys of this screen"));
        rows.extend(lines(&shown, width).into_iter().map(Row::kept));
    }
    painter.text(inner, &rows, from, Some(&app.reach));
}

/// Each key with what it does, in lines of that width: what does not fit goes on below itself.
fn lines(bindings: &[&Binding], width: usize) -> Vec<String> {
    const KEY: usize = 17;
    let mut lines = Vec::new();
    for binding in bindings {
        let mut key = binding.shown;
        for help in wrap(binding.help, width.saturating_sub(KEY)) {
            lines.push(format!("{key:<KEY$}{}", help.trim_start()));
            key = "";
        }
    }
    lines
}

/// What a screen does, and what it does not.
fn about(screen: Screen) -> (&'static str, &'static str) {
    match screen {
        Screen::Disks => (
            "This screen finds disks and looks at each.",
            "It only reads: nothing is mounted, no byte is written.",
        ),
        Screen::Findings => {
            ("This screen explains what was found.", "It only shows what was read; nothing is written.")
        }
        Screen::Plan => (
            "This screen shows all that would be written, and asks.",
            "Nothing is written before y; Enter does nothing here.",
        ),
        Screen::Work => (
            "The plan is carried out and then read again to verify it.",
            "It can be stopped between two files; what was written is taken back then. The log can be scrolled.",
        ),
        Screen::Report => (
            "This screen tells how it ended and what to do next.",
            "It writes nothing but the report where w says, and a batch file where b says.",
        ),
        Screen::Runs | Screen::Parts => (
            "Takes an earlier run back, or a part of it.",
            "Nothing is written before the plan was shown and answered with y.",
        ),
        Screen::Switches => ("Decides how the next clean is done.", "It changes the plan, no disk."),
        Screen::Log => (
            "All that has happened since the start.",
            "It is shown only; reports and records are what lasts.",
        ),
    }
}

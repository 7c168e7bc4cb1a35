//! Plan: what can be decided about a clean, each choice with what comes of it.
//!
//! ```text
//! ── How a clean is done ────────────────────────────────────────────
//! > DCOM             < auto >
//!   Packet filter    < auto >
//! ── DCOM ───────────────────────────────────────────────────────────
//! * auto: disabled unless the patch is known to be in; ...
//!   disable: ...
//! ```

use ratatui::layout::Rect;

use crate::tui::app::App;
use crate::tui::screens::pane::{Painter, Row, toned, two};
use crate::tui::switches::SWITCHES;
use crate::tui::theme::Tone;

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    let (list, detail) = two(area, SWITCHES.len());
    let list = painter.rule(list, "How a clean is done");
    let rows: Vec<Row> = SWITCHES
        .iter()
        .map(|switch| {
            let word = switch.chosen(&app.policy).map(|choice| choice.word).unwrap_or_default();
            let is_default = (switch.get)(&app.policy) == 0;
            let tone = if is_default { Tone::Plain } else { Tone::Caution };
            toned(tone, format!("{:<16} < {word} >", switch.name))
        })
        .collect();
    painter.list(list, &rows, app.selected);
    let Some(switch) = SWITCHES.get(app.selected) else { return };
    let detail = painter.rule(detail, switch.name);
    let chosen = (switch.get)(&app.policy);
    let rows: Vec<Row> = switch
        .choices
        .iter()
        .enumerate()
        .map(|(index, choice)| {
            let (lead, tone) = if index == chosen { ("*", Tone::Strong) } else { (" ", Tone::Plain) };
            toned(tone, format!("{lead} {}: {}", choice.word, choice.consequence))
        })
        .collect();
    painter.text(detail, &rows, app.scroll, Some(&app.reach));
}

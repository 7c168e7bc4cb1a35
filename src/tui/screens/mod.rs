//! The screens: one file each, `render(painter, area, app)`, its sketch on top. What they share is here: the six
//! steps, the footer of keys, what stands above a screen, and the sentence for a terminal that is too small.
//!
//! ```text
//! Deblast 0.1.0                        Reading only: no byte is written
//! 1 Find > 2 Inspect > [3 PLAN] > 4 Clean > 5 Verify > 6 Report
//! ── the screen ─────────────────────────────────────────────────────
//! ...
//! y carry out  s switches  l log  ? help  q back
//! ```

pub(super) mod board;
mod disks;
mod findings;
mod help;
mod log;
mod pane;
mod plan;
mod report;
mod runs;
mod switches;
mod work;

#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr as _;

use crate::tui::app::{App, Entry, Overlay, Screen, Stage};
use crate::tui::disk::DISCARD;
use crate::tui::keys::{Action, short};
use crate::tui::switches::PLACES;
use crate::tui::text::wrap;
use crate::tui::theme::Tone;
use pane::{Painter, Row, below, row, toned};

/// The smallest terminal that the screens are made for.
pub(super) const SMALLEST: (u16, u16) = (60, 18);
const STEPS: [&str; 6] = ["Find", "Inspect", "Plan", "Clean", "Verify", "Report"];

/// Draws the whole terminal.
pub(super) fn render(frame: &mut Frame<'_>, app: &App) {
    let (area, theme) = (frame.area(), app.theme);
    frame.buffer_mut().set_style(area, theme.ground());
    let mut painter = Painter { buffer: frame.buffer_mut(), theme };
    app.is_too_small.set(area.width < SMALLEST.0 || area.height < SMALLEST.1);
    if app.is_too_small.get() {
        let (wide, high) = SMALLEST;
        let otherwise = match &app.overlay {
            Some(Overlay::Leave) => "q again leaves; any other key stays.",
            _ if app.is_at_work() => "The disk is written, or read again: leave the machine on.",
            _ => "Make it larger, or leave with q and q, and start deblast --plain.",
        };
        let words = format!(
            "This terminal has {} columns and {} rows; Deblast needs {wide} and {high}. {otherwise}",
            area.width, area.height
        );
        painter.text(area, &[row(words)], 0, None);
        return;
    }
    header(&mut painter, area, app);
    let footer = footer_lines(app, usize::from(area.width));
    let rows = u16::try_from(footer.len()).unwrap_or(1);
    let foot = Rect { y: area.y + area.height - rows, height: rows, ..area };
    for (y, line) in (0..).zip(&footer) {
        painter.line(foot, y, line, theme.style(Tone::Strong));
    }
    let body = below(area, 2);
    let body = Rect { height: body.height - rows, ..body };
    match app.screen {
        Screen::Disks => disks::render(&mut painter, body, app),
        Screen::Findings => findings::render(&mut painter, body, app),
        Screen::Plan => plan::render(&mut painter, body, app),
        Screen::Work => work::render(&mut painter, body, app),
        Screen::Report => report::render(&mut painter, body, app),
        Screen::Runs => runs::render(&mut painter, body, app),
        Screen::Parts => runs::render_parts(&mut painter, body, app),
        Screen::Switches => switches::render(&mut painter, body, app),
        Screen::Log => log::render(&mut painter, body, app),
    }
    if let Some(overlay) = &app.overlay {
        over(&mut painter, body, app, overlay);
    }
}

fn header(painter: &mut Painter<'_>, area: Rect, app: &App) {
    let practice = if app.is_practice { "  PRACTICE" } else { "" };
    let left = format!("Deblast {}{practice}", env!("CARGO_PKG_VERSION"));
    let (right, tone) = match &app.running {
        Some(running) if running.writes && running.stage == Stage::Writing => {
            ("THE DISK IS WRITTEN: leave it on", Tone::Bad)
        }
        Some(running) if running.stage == Stage::Verifying => ("Verifying: leave it on", Tone::Good),
        Some(_) => ("Reading only: no byte is written", Tone::Good),
        None if !app.found => ("Reading only: no byte is written", Tone::Good),
        None => ("Nothing is being written", Tone::Good),
    };
    painter.line(area, 0, &left, painter.theme.style(Tone::Strong));
    let width = u16::try_from(right.width()).unwrap_or(0).min(area.width);
    let at = Rect { x: area.x + area.width - width, width, ..area };
    painter.line(at, 0, right, painter.theme.style(tone));
    let now = app.step();
    let mut x = area.x;
    for (index, name) in STEPS.iter().enumerate() {
        let is_now = index == now;
        let number = if area.width >= 70 { format!("{} ", index + 1) } else { String::new() };
        let text = match is_now {
            true => format!("[{number}{}]", name.to_uppercase()),
            false => format!("{number}{name}"),
        };
        let style = painter.theme.style(if is_now { Tone::Strong } else { Tone::Dim });
        let arrow = if index + 1 < STEPS.len() { " > ".to_owned() } else { String::new() };
        let room = |x: u16| Rect { x, width: (area.x + area.width).saturating_sub(x), ..area };
        painter.line(room(x), 1, &text, style);
        x += u16::try_from(text.width()).unwrap_or(0);
        painter.line(room(x), 1, &arrow, painter.theme.style(Tone::Dim));
        x += u16::try_from(arrow.width()).unwrap_or(0);
    }
}

/// The keys that do something now, in as many lines as they take.
fn footer_lines(app: &App, width: usize) -> Vec<String> {
    let keys: Vec<(&str, &str)> = match &app.overlay {
        Some(Overlay::Help(_)) => vec![("Page Down", "more"), ("any other key", "go on")],
        Some(Overlay::Note(_)) => vec![("any key", "go on")],
        Some(Overlay::Leave) => vec![("q", "leave"), ("any other key", "stay")],
        Some(Overlay::Stop) => vec![("s", "stop and take back"), ("any other key", "go on")],
        Some(Overlay::PowerOff) => vec![("o", "switch off"), ("any other key", "stay")],
        Some(Overlay::Entry(..)) => vec![("Enter", "done"), ("Esc", "leave it as it is")],
        None => app.offers().into_iter().filter_map(|action| shown(app, action)).collect(),
    };
    let mut lines = vec![String::new()];
    for (key, word) in keys {
        let item = format!("{key} {word}");
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(&item);
        } else if line.width() + 3 + item.width() <= width {
            line.push_str("   ");
            line.push_str(&item);
        } else {
            lines.push(item);
        }
    }
    lines
}

fn shown(app: &App, action: Action) -> Option<(&'static str, &'static str)> {
    let (key, word) = short(action)?;
    let word = match (app.screen, action) {
        (Screen::Disks, Action::Back) => "leave",
        (Screen::Plan, Action::Back) => "back: nothing is written",
        (Screen::Work, Action::Back) => "stop",
        (Screen::Switches, Action::Open) => return None,
        (Screen::Report, Action::Open) => "to the disks",
        (Screen::Report, Action::LookAgain) => "next disk",
        _ => word,
    };
    Some((key, word))
}

/// Draws what stands above a screen, over the lower part of it.
fn over(painter: &mut Painter<'_>, body: Rect, app: &App, overlay: &Overlay) {
    let width = usize::from(body.width);
    let entry = |text: &str| {
        // The end of what is typed is what must be seen.
        let room = width.saturating_sub(4);
        let from = text
            .char_indices()
            .map(|(at, _)| at)
            .find(|at| text.get(*at..).unwrap_or_default().width() <= room);
        let shown = text.get(from.unwrap_or(text.len())..).unwrap_or_default();
        let cut = if shown.len() < text.len() { painter.theme.cut().to_string() } else { String::new() };
        toned(Tone::Strong, format!("{cut}{shown}_"))
    };
    let (title, rows): (&str, Vec<Row>) = match overlay {
        Overlay::Help(from) => return help::render(painter, body, app, *from),
        Overlay::Leave => {
            ("Leave?", vec![row("q again leaves Deblast; any other key stays. Nothing is being written.")])
        }
        Overlay::PowerOff => (
            "Switch the machine off?",
            vec![row("o again switches this machine off; any other key stays. Nothing is being written.")],
        ),
        Overlay::Stop => (
            "The disk is being written",
            vec![
                row(
                    "s stops before the next file is written; what was written until then is taken back, so that the disk is as before.",
                ),
                row("Any other key lets it go on, which is what is usually wanted: it takes seconds."),
            ],
        ),
        Overlay::Entry(Entry::Word, text) => (
            "Give up a hibernated session?",
            vec![
                toned(
                    Tone::Bad,
                    "What was open in that Windows and not saved is LOST. An undo brings it back only while no Windows has run since.",
                ),
                row(format!(
                    "Type the word {DISCARD} and Enter to carry the plan out; anything else writes nothing:"
                )),
                entry(text),
            ],
        ),
        Overlay::Entry(Entry::Store, text) => (
            "Where the record of the next run goes",
            vec![row(format!("Undo needs the record: {PLACES}.")), entry(text)],
        ),
        Overlay::Entry(Entry::Save, text) => (
            "Save the report",
            vec![row("A folder on a stick or on another disk; it is made where it is missing:"), entry(text)],
        ),
        Overlay::Entry(Entry::Batch, text) => (
            "Save as a batch file",
            vec![
                row(
                    "deblast.toml repeats this clean as decided, on every disk that is found, without a plan or a question, and \
                     switches off. The live image does what it says where it lies on the DEBLAST medium. A folder:",
                ),
                entry(text),
            ],
        ),
        Overlay::Note(words) => ("Note", vec![row(words.clone())]),
    };
    let lines: usize = rows.iter().map(|row| wrap(row.words(), width).len().max(1)).sum();
    let height = u16::try_from(lines + 2).unwrap_or(u16::MAX).min(body.height);
    let area = Rect { y: body.y + body.height - height, height, ..body };
    clear(painter, area);
    let inner = painter.rule(area, title);
    painter.text(inner, &rows, 0, None);
}

fn clear(painter: &mut Painter<'_>, area: Rect) {
    let blank = " ".repeat(usize::from(area.width));
    for y in 0..area.height {
        painter.line(area, y, &blank, ratatui::style::Style::reset().patch(painter.theme.ground()));
    }
}

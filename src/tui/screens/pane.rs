//! The pieces that screens are made of: rules with titles, text that scrolls, lists with one line chosen. Each stays
//! inside its area, and what does not fit is marked.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::tui::app::Reach;
use crate::tui::switches::{PLACES, Way, ways};
use crate::tui::text::{fit, wrap};
use crate::tui::theme::{Theme, Tone};

/// A paragraph of a text, or a line of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    tone: Tone,
    text: String,
}

impl Row {
    /// Two columns to the right.
    pub(super) fn indented(self) -> Self {
        Self { text: format!("  {}", self.text), ..self }
    }
}

/// In the plain tone.
pub(super) fn row(text: impl Into<String>) -> Row {
    toned(Tone::Plain, text)
}

/// In another.
pub(super) fn toned(tone: Tone, text: impl Into<String>) -> Row {
    Row { tone, text: text.into() }
}

/// Where is drawn, and how.
pub(super) struct Painter<'a> {
    pub(super) buffer: &'a mut Buffer,
    pub(super) theme: Theme,
}

impl Painter<'_> {
    /// One line of text at the left of an area's row `y`, cut with a mark.
    pub(super) fn line(&mut self, area: Rect, y: u16, text: &str, style: Style) {
        if y < area.height {
            // Where box drawing is missing, so is the rest; a name of that kind is then told by its length alone.
            let shown = |c: char| match c {
                '\u{a0}' => ' ',
                c if !self.theme.unicode && !c.is_ascii() => '?',
                c => c,
            };
            let text: String =
                fit(text, usize::from(area.width), self.theme.cut()).chars().map(shown).collect();
            self.buffer.set_stringn(area.x, area.y + y, text, usize::from(area.width), style);
        }
    }

    /// A line across the area's first row, with a title in it.
    pub(super) fn rule(&mut self, area: Rect, title: &str) -> Rect {
        let width = usize::from(area.width);
        let line = self.theme.line();
        let title = if title.is_empty() { String::new() } else { format!(" {title} ") };
        let title = fit(&title, width.saturating_sub(4), self.theme.cut());
        let rest = width.saturating_sub(2 + title.width());
        let text = format!("{}{title}{}", line.repeat(2.min(width)), line.repeat(rest));
        self.line(area, 0, &text, self.theme.style(Tone::Dim));
        self.line(
            Rect { x: area.x + 2, width: area.width.saturating_sub(2), ..area },
            0,
            &title,
            self.theme.style(Tone::Strong),
        );
        below(area, 1)
    }

    /// Text in lines; where it does not fit, the last row says which lines these are. Notes how far it can be scrolled.
    pub(super) fn text(&mut self, area: Rect, rows: &[Row], scroll: usize, reach: Option<&Reach>) {
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let lines: Vec<(Tone, String)> = rows
            .iter()
            .flat_map(|row| {
                let lines = if row.text.is_empty() { vec![String::new()] } else { wrap(&row.text, width) };
                lines.into_iter().map(|line| (row.tone, line))
            })
            .collect();
        let fits = lines.len() <= height;
        let room = if fits { height } else { height.saturating_sub(1) };
        let most = lines.len().saturating_sub(room);
        if let Some(reach) = reach {
            reach.most.set(most);
            reach.page.set(room.max(1));
        }
        let first = scroll.min(most);
        for (y, (tone, line)) in (0..).zip(lines.iter().skip(first).take(room)) {
            self.line(area, y, line, self.theme.style(*tone));
        }
        if !fits && height > 0 {
            let last = (first + room).min(lines.len());
            let how = if reach.is_some() { ": Page Up, Page Down" } else { "" };
            let words = format!("({} to {last} of {} lines{how})", first + 1, lines.len());
            self.line(area, area.height - 1, &words, self.theme.style(Tone::Dim));
        }
    }

    /// A list with one line chosen, which is always in sight.
    pub(super) fn list(&mut self, area: Rect, rows: &[Row], selected: usize) {
        let height = usize::from(area.height);
        let fits = rows.len() <= height;
        let room = if fits { height } else { height.saturating_sub(1) };
        let first = (selected + 1).saturating_sub(room);
        for (y, (index, row)) in (0..).zip(rows.iter().enumerate().skip(first).take(room)) {
            let is_chosen = index == selected;
            let lead = if is_chosen { ">" } else { " " };
            let style = self.theme.style(row.tone);
            let style = if is_chosen { style.patch(self.theme.chosen()) } else { style };
            let text = format!("{lead} {}", row.text);
            let padded = if is_chosen {
                let missing = usize::from(area.width).saturating_sub(text.width());
                format!("{text}{}", " ".repeat(missing))
            } else {
                text
            };
            self.line(area, y, &padded, style);
        }
        if !fits && height > 0 {
            let words = format!("  ({} of {})", selected + 1, rows.len());
            self.line(area, area.height - 1, &words, self.theme.style(Tone::Dim));
        }
    }
}

/// What can be decided here about obstacles that these words tell of.
pub(super) fn ways_here<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<Row> {
    let told = |way| match way {
        Way::Store => format!("Here: p gives the record another place: {PLACES}."),
        Way::Switch(switch) => {
            let last = switch.choices.last().map(|choice| choice.consequence).unwrap_or_default();
            let word = switch.choices.last().map(|choice| choice.word).unwrap_or_default();
            format!("Here: s, {}; {word}: {last}.", switch.name)
        }
    };
    ways(words).into_iter().map(|way| toned(Tone::Strong, told(way))).collect()
}

/// The area without its first rows.
pub(super) fn below(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

/// The area's first rows.
pub(super) fn top(area: Rect, rows: u16) -> Rect {
    Rect { height: rows.min(area.height), ..area }
}

/// Two areas: beside each other where it is wide, else the first above the second. `rows` is what the first needs.
pub(super) fn two(area: Rect, rows: usize) -> (Rect, Rect) {
    if area.width >= 110 {
        let left = area.width / 2 - 1;
        let right = Rect { x: area.x + left + 2, width: area.width - left - 2, ..area };
        return (Rect { width: left, ..area }, right);
    }
    let wanted = u16::try_from(rows + 1).unwrap_or(u16::MAX).clamp(3, (area.height / 2).max(3));
    (top(area, wanted), below(area, wanted))
}

impl Row {
    /// The words.
    pub(super) fn words(&self) -> &str {
        &self.text
    }

    /// A line whose blanks stay as they are.
    pub(super) fn kept(text: String) -> Self {
        row(text.replace(' ', "\u{a0}"))
    }
}

//! How things look: with or without colour, with or without box drawing. Nothing is told by colour alone.

use ratatui::style::{Color, Modifier, Style};

use crate::cleanup::verdict::Verdict;
use crate::finding::Grade;

/// What a text is, for its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Strong,
    Good,
    Caution,
    Bad,
    Dim,
}

/// Which colours are used. All tell the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Palette {
    /// The terminal's own background, and colours on it.
    Colour,
    /// Bright on black, and what is grave the other way round.
    HighContrast,
    /// The terminal's own foreground, bold or not.
    Mono,
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    /// Box drawing and the like.
    pub(super) unicode: bool,
    /// A screen on which the plain colours are dark on black: the Linux console's.
    pub(super) dark: bool,
    pub(super) palette: Palette,
}

impl Theme {
    /// The next palette.
    pub(super) fn next(self) -> Self {
        let palette = match self.palette {
            Palette::Colour => Palette::HighContrast,
            Palette::HighContrast => Palette::Mono,
            Palette::Mono => Palette::Colour,
        };
        Self { palette, ..self }
    }

    /// What the whole terminal is wiped with.
    pub(super) fn ground(self) -> Style {
        match self.palette {
            Palette::HighContrast => Style::new().fg(Color::White).bg(Color::Black),
            Palette::Colour | Palette::Mono => Style::new(),
        }
    }

    pub(super) fn style(self, tone: Tone) -> Style {
        let style = self.ground();
        let bold = style.add_modifier(Modifier::BOLD);
        match self.palette {
            Palette::Mono => match tone {
                Tone::Plain | Tone::Dim => style,
                Tone::Strong | Tone::Good | Tone::Caution | Tone::Bad => bold,
            },
            Palette::Colour => match tone {
                Tone::Plain => style,
                Tone::Strong => bold,
                // Bold does not make them brighter there: the console takes the brightness of the colour for both.
                Tone::Good => bold.fg(if self.dark { Color::LightGreen } else { Color::Green }),
                Tone::Caution => bold.fg(if self.dark { Color::LightYellow } else { Color::Yellow }),
                Tone::Bad => bold.fg(if self.dark { Color::LightRed } else { Color::Red }),
                Tone::Dim => style.fg(Color::Cyan),
            },
            Palette::HighContrast => match tone {
                Tone::Plain | Tone::Dim => style,
                Tone::Strong | Tone::Good => bold,
                Tone::Caution => bold.fg(Color::LightYellow),
                Tone::Bad => bold.add_modifier(Modifier::REVERSED),
            },
        }
    }

    /// The line of a list that is chosen. One that stands out already does so underlined.
    pub(super) fn chosen(self) -> Style {
        if self.dark && self.palette == Palette::Colour {
            // A bright colour the other way round is dark on dark there.
            return Style::new().fg(Color::Black).bg(Color::Gray).remove_modifier(Modifier::BOLD);
        }
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn line(self) -> &'static str {
        if self.unicode { "─" } else { "-" }
    }

    /// Marks a text that is cut.
    pub(super) fn cut(self) -> char {
        // What the fonts of the Linux console have.
        if self.unicode { '»' } else { '>' }
    }

    /// A bar of this many columns.
    pub(super) fn bar(self, done: u64, total: u64, width: usize) -> String {
        let cells = width.saturating_sub(2).max(1);
        let full = usize::try_from(u128::from(done.min(total)) * cells as u128 / u128::from(total.max(1)));
        let full = full.unwrap_or(cells).min(cells);
        let (on, off) = if self.unicode { ("█", "░") } else { ("#", ".") };
        format!("[{}{}]", on.repeat(full), off.repeat(cells - full))
    }
}

/// A verdict's mark.
pub(super) fn mark(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Clean | Verdict::Cleaned => ("[+]", Tone::Good),
        Verdict::Exposed => ("[~]", Tone::Caution),
        Verdict::Infected => ("[!]", Tone::Bad),
        Verdict::Undetermined => ("[?]", Tone::Caution),
        Verdict::Failed => ("[X]", Tone::Bad),
    }
}

/// A grade's mark.
pub(super) fn grade_mark(grade: Grade) -> (&'static str, Tone) {
    match grade {
        Grade::Confirmed => ("[!]", Tone::Bad),
        Grade::Probable => ("[!]", Tone::Caution),
        Grade::Suspect => ("[?]", Tone::Caution),
        Grade::Information => ("[i]", Tone::Dim),
    }
}

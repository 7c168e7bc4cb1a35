//! The terminal: taken, and given back whatever happens. The only place that knows the terminal libraries' keys.

use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute};
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};

use crate::error::{Context as _, Result};
use crate::tui::app::App;
use crate::tui::backend::NeverAsking;
use crate::tui::keys::Press;
use crate::tui::screens;
use crate::tui::theme::Theme;

/// What a serial line is taken for that does not tell its size.
const SERIAL: (u16, u16) = (80, 24);

/// The terminal, raw and with a screen of its own while this lives.
pub(super) struct Terminal(ratatui::Terminal<NeverAsking>);

/// What came from it.
pub(super) enum Heard {
    Key(Press),
    Resized,
    Nothing,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    /// It cannot be set.
    pub(super) fn take() -> Result<Self> {
        const DOING: &str = "take the terminal";
        // A panic must be readable: the terminal is given back before its words are shown. One in the thread that works
        // is told by its channel instead, and its words would only tear the screen; those of readers that are not ours
        // are caught, and belong nowhere.
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some("main") {
                give_back();
                earlier(info);
            }
        }));
        enable_raw_mode().doing(DOING)?;
        // From here whatever fails gives it back.
        let guard = GiveBack;
        execute!(std::io::stdout(), EnterAlternateScreen, cursor::Hide).doing(DOING)?;
        let backend = NeverAsking::new(std::io::stdout());
        let mut terminal = match size() {
            Ok((0, _) | (_, 0)) | Err(_) => {
                let area = Rect::new(0, 0, SERIAL.0, SERIAL.1);
                let options = TerminalOptions { viewport: Viewport::Fixed(area) };
                ratatui::Terminal::with_options(backend, options).doing(DOING)?
            }
            Ok(_) => ratatui::Terminal::new(backend).doing(DOING)?,
        };
        // The Linux console has no other screen to go to: what stands there is wiped.
        terminal.clear().doing(DOING)?;
        std::mem::forget(guard);
        Ok(Self(terminal))
    }

    /// Draws the state.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, app: &App, theme: Theme) -> Result<()> {
        self.0.draw(|frame| screens::render(frame, app, theme)).map(drop).doing("draw on the terminal")
    }

    /// Waits for a key, no longer than that.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn hear(&mut self, patience: Duration) -> Result<Heard> {
        const DOING: &str = "read from the terminal";
        if !event::poll(patience).doing(DOING)? {
            return Ok(Heard::Nothing);
        }
        Ok(match event::read().doing(DOING)? {
            Event::Key(key) if key.kind == KeyEventKind::Release => Heard::Nothing,
            Event::Key(key) => match press_of(key.code, key.modifiers) {
                Some(press) => Heard::Key(press),
                None => Heard::Nothing,
            },
            Event::Resize(..) => {
                self.0.clear().doing(DOING)?;
                Heard::Resized
            }
            _ => Heard::Nothing,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Where there is no other screen, what is told last must not stand in the midst of this one.
        let _ = self.0.clear();
        let _ = execute!(std::io::stdout(), cursor::MoveTo(0, 0));
        give_back();
    }
}

struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        give_back();
    }
}

/// Best effort: there is nobody to tell.
fn give_back() {
    let _ = execute!(std::io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

/// Ctrl-C asks to leave like `q`: in raw mode no signal comes of it.
fn press_of(code: KeyCode, modifiers: KeyModifiers) -> Option<Press> {
    if modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(code, KeyCode::Char('c')).then_some(Press::Char('q'));
    }
    if modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(match code {
        KeyCode::Char(c) => Press::Char(c),
        KeyCode::F(number) => Press::F(number),
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Esc,
        KeyCode::Backspace => Press::Backspace,
        KeyCode::Tab => Press::Tab,
        KeyCode::BackTab => Press::BackTab,
        KeyCode::Up => Press::Up,
        KeyCode::Down => Press::Down,
        KeyCode::Left => Press::Left,
        KeyCode::Right => Press::Right,
        KeyCode::PageUp => Press::PageUp,
        KeyCode::PageDown => Press::PageDown,
        KeyCode::Home => Press::Home,
        KeyCode::End => Press::End,
        _ => return None,
    })
}

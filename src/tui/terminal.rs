//! The terminal: taken, and given back whatever happens. The only place that knows the terminal libraries' keys.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::force_color_output;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute};
use ratatui::layout::Rect;
use ratatui::{Frame, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::error::{Context as _, Error, Result};
use crate::tui::app::App;
use crate::tui::backend::NeverAsking;
use crate::tui::keys::Press;
use crate::tui::line::{self, Counted, Line};
use crate::tui::screens;
use crate::tui::theme::{Palette, Theme};

const READING: &str = "read from the terminal";
/// What a serial line is taken for that does not tell its size.
const SERIAL: (u16, u16) = (80, 24);
/// Keys that come closer together than this are not typed by a person: pasted text, a line's noise, a script.
const BURST: Duration = Duration::from_millis(20);

/// The terminal is raw, and shows the screens.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// What the last panic apart from the main thread's said.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// What the thread that works has died of, if it has.
pub(super) fn last_panic() -> Option<String> {
    LAST_PANIC.lock().ok()?.take()
}

/// The terminal, raw and with a screen of its own while this lives.
pub(super) struct Terminal {
    screen: ratatui::Terminal<NeverAsking<Counted>>,
    line: Line,
    last_key: Option<Instant>,
}

/// What came from it.
pub(super) enum Heard {
    Key(Press),
    /// One that came in one go with others.
    Burst(Press),
    /// It has another size, or all of it is to be drawn again.
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
            } else if let Ok(mut last) = LAST_PANIC.lock() {
                *last = Some(info.to_string().replace('\n', " "));
            }
        }));
        enable_raw_mode().doing(DOING)?;
        // From here whatever fails gives it back.
        IS_TAKEN.store(true, Ordering::SeqCst);
        let guard = GiveBack;
        execute!(std::io::stdout(), EnterAlternateScreen, cursor::Hide).doing(DOING)?;
        let (counted, line) = line::open();
        let backend = NeverAsking::new(counted);
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
        Ok(Self { screen: terminal, line, last_key: None })
    }

    /// How long its line still carries what was drawn.
    pub(super) fn busy(&mut self) -> Duration {
        self.line.busy(Instant::now())
    }

    /// Draws the state.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, app: &App) -> Result<()> {
        self.draw_by(app.theme, |frame| screens::render(frame, app))
    }

    /// Draws what another screen has.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw_by(&mut self, theme: Theme, render: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        // Whoever asks for colours here wants them in spite of NO_COLOR, which the library looks at as well.
        force_color_output(theme.palette != Palette::Mono);
        self.screen.draw(render).map(drop).doing("draw on the terminal")
    }

    /// Waits for a key, no longer than that.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn hear(&mut self, patience: Duration) -> Result<Heard> {
        if !has_more(patience)? {
            return Ok(Heard::Nothing);
        }
        Ok(match event::read().doing(READING)? {
            Event::Key(key) if key.kind == KeyEventKind::Release => Heard::Nothing,
            Event::Key(key) => match press_of(key.code, key.modifiers) {
                // Whoever has just connected a terminal sees nothing of what was drawn before.
                Some(Press::Redraw) => {
                    self.screen.clear().doing(READING)?;
                    Heard::Resized
                }
                Some(press) => {
                    let now = Instant::now();
                    let is_close = self.last_key.replace(now).is_some_and(|last| now - last < BURST);
                    match is_close || has_more(BURST)? {
                        true => Heard::Burst(press),
                        false => Heard::Key(press),
                    }
                }
                None => Heard::Nothing,
            },
            Event::Resize(..) => {
                self.screen.clear().doing(READING)?;
                Heard::Resized
            }
            _ => Heard::Nothing,
        })
    }

    /// Throws away what was typed and not read. True: the terminal has another size now, and must be drawn again.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn forget_typed(&mut self) -> Result<bool> {
        let mut is_resized = false;
        while has_more(Duration::ZERO)? {
            if let Event::Resize(..) = event::read().doing(READING)? {
                self.screen.clear().doing(READING)?;
                is_resized = true;
            }
        }
        Ok(is_resized)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What a panic has said stands there by now.
        if !IS_TAKEN.load(Ordering::SeqCst) {
            return;
        }
        // Where there is no other screen, what is told last must not stand in the midst of this one.
        let _ = self.screen.clear();
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
    IS_TAKEN.store(false, Ordering::SeqCst);
    let _ = execute!(std::io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

/// Waits for something to be read, no longer than that. True: there is something.
fn has_more(patience: Duration) -> Result<bool> {
    refuse_gone(Duration::ZERO)?;
    // What the library has read before and not told yet.
    if event::poll(Duration::ZERO).doing(READING)? {
        return Ok(true);
    }
    refuse_gone(patience)?;
    event::poll(Duration::ZERO).doing(READING)
}

/// Waits for the terminal, no longer than that. The library must not be asked about one that is gone: at its end it reads
/// on and on, and nobody would take back what is half written.
fn refuse_gone(patience: Duration) -> Result<()> {
    let stdin = std::io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    let patience = Timespec::try_from(patience).ok();
    match rustix::event::poll(&mut polled, patience.as_ref()) {
        // A signal: it is looked at where the screens are left.
        Err(Errno::INTR) => Ok(()),
        Err(e) => Err(std::io::Error::from(e)).doing(READING),
        Ok(_) => {
            let is_gone =
                |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
            match polled.iter().any(is_gone) {
                true => Err(Error::refused(READING, "it is gone")),
                false => Ok(()),
            }
        }
    }
}

/// Ctrl-C asks to leave like `q`: in raw mode no signal comes of it.
fn press_of(code: KeyCode, modifiers: KeyModifiers) -> Option<Press> {
    if modifiers.contains(KeyModifiers::CONTROL) {
        return match code {
            KeyCode::Char('c') => Some(Press::Break),
            KeyCode::Char('l') => Some(Press::Redraw),
            _ => None,
        };
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

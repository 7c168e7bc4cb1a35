//! Bench mode on a terminal: the loop behind the board (`screens/board.rs`).

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cleanup::bench::{Bench, Mark};
use crate::cleanup::report_text::printable;
use crate::cli::{Options, Progress, Theme as Wished};
use crate::error::Result;
use crate::tui::keys::Press;
use crate::tui::screens::board::{render, who};
use crate::tui::terminal::{Heard, Terminal};
use crate::tui::theme::Theme;
use crate::tui::{may_ask, theme};
use crate::volume::mount::{hold_signals, is_stopped};

const PATIENCE: Duration = Duration::from_millis(100);
/// Whether what is being written is to be taken back.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the board is shown: on a terminal that can place a cursor, where nothing else was asked for.
pub fn is_for(options: &Options) -> bool {
    let is_bare = std::env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb");
    may_ask() && !is_bare && !options.json && options.progress == Progress::Auto
}

/// Works until somebody ends it, and returns the worst exit code of all disks.
///
/// # Errors
/// There is no store; a file cannot be written; the list of disks cannot be read; the terminal is gone.
pub fn execute(options: &Options, present: bool) -> Result<u8> {
    // The terminal is given back before a signal is obeyed.
    let _held = hold_signals()?;
    let mut bench = options.bench(present, || STOP.load(Ordering::SeqCst) || is_stopped())?;
    let mut terminal = Terminal::take()?;
    let left = catch_unwind(AssertUnwindSafe(|| show(&mut bench, &mut terminal, theme(Wished::Auto))));
    drop(terminal);
    // However the board was left: what is being written is brought to an end first, or taken back.
    STOP.store(true, Ordering::SeqCst);
    bench.close("the board was left");
    while bench.at_work() > 0 && bench.wait(PATIENCE).is_ok() {}
    for row in bench.rows() {
        let mark = row.mark.map_or("-", Mark::word);
        // A terminal that is gone is told nothing.
        let line = format!("slot {}: {mark}  {}  {}", row.slot, who(row), printable(&row.words));
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    match left {
        Ok(shown) => shown.map(|()| if is_stopped() { 2 } else { bench.exit_code() }),
        Err(panic) => resume_unwind(panic),
    }
}

fn show(bench: &mut Bench, terminal: &mut Terminal, theme: Theme) -> Result<()> {
    let mut theme = theme;
    let mut scroll = 0_usize;
    let mut is_leaving = false;
    let mut is_stale = true;
    loop {
        if is_stale && terminal.busy().is_zero() {
            terminal.draw_by(theme, |frame| render(frame, &bench.board(), (theme, scroll)))?;
            is_stale = false;
        }
        is_stale |= !bench.wait(PATIENCE)?.is_empty();
        if is_stopped() || (is_leaving && bench.at_work() == 0) {
            return Ok(());
        }
        let heard = terminal.hear(Duration::ZERO)?;
        is_stale |= !matches!(heard, Heard::Nothing);
        // What comes in one go is a line's noise, which must end nothing.
        let Heard::Key(press) = heard else { continue };
        match press {
            Press::Char('q') | Press::Break if is_leaving => return Ok(()),
            Press::Char('q') | Press::Break => {
                is_leaving = true;
                bench.close("this bench is being ended");
            }
            Press::Char('t') => theme = theme.next(),
            Press::Down | Press::PageDown => scroll = (scroll + 1).min(bench.rows().len().saturating_sub(1)),
            Press::Up | Press::PageUp => scroll = scroll.saturating_sub(1),
            _ => {}
        }
    }
}

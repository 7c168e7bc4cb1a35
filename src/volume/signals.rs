//! Signals that ask this program to end: held while a disk is written or mounted, told in words, and obeyed.
//!
//! A thread waits for them. While somebody holds them they are noted ([`is_stopped`]): what is being written is brought
//! to its end or taken back first, by whoever asks. Otherwise the program ends at once, with the exit code that a shell
//! gives to a program that a signal has ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Context, Result};

/// What became of a signal, for whoever tells the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is held; the program goes on for a little while.
    Held,
    /// The program ends now.
    Ends {
        /// Whether it has written to a disk before.
        written: bool,
    },
}

/// Bytes for the thread that waits: it only tells a line. The usual 2 MiB are not there on every machine.
const STACK: usize = 128 << 10;

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

struct State {
    /// How many hold them now.
    held: usize,
    stop: bool,
    written: bool,
    /// What was held was told when the last let go, before the thread came to it.
    told: bool,
    watching: bool,
    tell: Option<fn(Heard)>,
}

static STATE: Mutex<State> =
    Mutex::new(State { held: 0, stop: false, written: false, told: false, watching: false, tell: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Set by the handler itself: the thread that hears of a signal may come to it much later, on a busy machine.
fn came() -> &'static Arc<AtomicBool> {
    static CAME: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    CAME.get_or_init(Arc::default)
}

/// Whether a signal has asked this program to end while signals were held.
pub fn is_stopped() -> bool {
    let state = state();
    state.stop || (state.held > 0 && came().load(Ordering::SeqCst))
}

/// From here on signals are told by `tell`, whether they are held or end the program.
///
/// # Errors
/// They cannot be waited for.
pub fn watch(tell: fn(Heard)) -> Result<()> {
    state().tell = Some(tell);
    wait_for_them()
}

/// While this lives, a signal that asks this program to end is noted and not obeyed.
pub struct HeldSignals(());

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let mut state = state();
        state.held = state.held.saturating_sub(1);
        // What came while they were held must not end the program now.
        if state.held == 0 && !state.stop && came().load(Ordering::SeqCst) {
            (state.stop, state.told) = (true, true);
            if let Some(tell) = state.tell {
                tell(Heard::Held);
            }
        }
    }
}

/// Has signals wait: for as long as a disk is written, or a volume is mounted and its dirty flag set for that.
///
/// # Errors
/// They cannot be waited for.
pub fn hold_signals() -> Result<HeldSignals> {
    wait_for_them()?;
    loop {
        let mut state = state();
        let ends = state.held == 0 && !state.stop && came().load(Ordering::SeqCst);
        if !ends {
            state.held += 1;
            return Ok(HeldSignals(()));
        }
        // It came before: the program ends as soon as the thread has heard of it.
        drop(state);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A disk is written from here on.
pub fn note_writing() {
    state().written = true;
    crate::memory::note_writing();
}

fn wait_for_them() -> Result<()> {
    const DOING: &str = "wait for signals";
    if std::mem::replace(&mut state().watching, true) {
        return Ok(());
    }
    for signal in SIGNALS {
        signal_hook::flag::register(signal, came().clone()).doing(DOING)?;
    }
    let mut signals = Signals::new(SIGNALS).doing(DOING)?;
    let listen = move || signals.forever().for_each(hear);
    std::thread::Builder::new().name("signals".to_owned()).stack_size(STACK).spawn(listen).doing(DOING)?;
    Ok(())
}

fn hear(signal: i32) {
    // Locked until it is over: nobody begins to write meanwhile.
    let mut state = state();
    if std::mem::take(&mut state.told) {
        return;
    }
    let heard = match state.held {
        0 => Heard::Ends { written: state.written },
        _ => Heard::Held,
    };
    if let Some(tell) = state.tell {
        tell(heard);
    }
    match heard {
        Heard::Held => state.stop = true,
        Heard::Ends { .. } => std::process::exit(128 + signal),
    }
}

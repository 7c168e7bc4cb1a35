//! A fence around library code that may panic on a damaged volume: the panic becomes an [`Error`].
//!
//! The process's panic hook is wrapped once, so that a fenced panic prints nothing. Who installs a hook of their
//! own *after* the first fenced call (a terminal guard, say) must ask [`is_fenced`] in it first.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::{Error, Result};

thread_local! {
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a fence: a panic now is caught, and a panic hook should keep quiet.
pub fn is_fenced() -> bool {
    FENCED.get()
}

/// Calls `work`, a panic in it becoming an error. `doing` fits behind "cannot".
///
/// Whatever `work` changed before it panicked must not be used afterwards: pass it readers, not state.
///
/// # Errors
/// Those of `work`, and a panic of it, with its message.
pub(crate) fn fenced<T>(doing: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_fenced() {
                previous(info);
            }
        }));
    });
    let outer = FENCED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    FENCED.set(outer);
    outcome.unwrap_or_else(|panic| {
        let why = words(panic.as_ref());
        Err(Error::library(doing, format!("the library gave up on damaged data: {why}")))
    })
}

fn words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_words() {
        let error = fenced("read it", || -> Result<()> { panic!("index {} out of range", 7) }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read it: the library gave up on damaged data: index 7 out of range"
        );
        assert!(!is_fenced());
        assert_eq!(fenced("read it", || Ok(1)).unwrap(), 1);
    }
}

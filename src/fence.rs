//! A fence around libraries that panic on what a damaged disk holds, or where a disk vanishes while they read it.
//!
//! The panic ends there and becomes an error with its words; the runtime's own message about it reaches nobody, for it
//! would tell a technician of lines in a library, in the midst of a screen or a log.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::error::{Error, Result};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, which calls the library `name`. It must share nothing that could be left half changed.
///
/// # Errors
/// Those of `work`; and that the library gave up, with the words of its panic.
pub fn fenced<T>(doing: &str, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(work)
        .unwrap_or_else(|words| Err(Error::library(doing, format!("the library {name} gave up: {words}"))))
}

/// Does what is done to one disk of several: a fault of this program there must not take the others along.
///
/// # Errors
/// Those of `work`; and that the program failed, with the words of its panic.
pub fn apart<T>(doing: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(work).unwrap_or_else(|words| {
        Err(Error::refused(doing, format!("this program failed in a way that it should not: {words}")).hint(
            "what it was writing is named by the journal in the store; run again with the same store, and what is half done \
             is taken back first",
        ))
    })
}

/// The outer error is the words of a panic.
fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let earlier = take_hook();
        set_hook(Box::new(move |info| {
            if !INSIDE.get() {
                earlier(info);
            }
        }));
    });
    let outer = INSIDE.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outer);
    outcome.map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    // Where in a library's source it was is nothing to a technician.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(".rs:")).collect();
    if lines.is_empty() { "without a word".to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_an_error_with_its_words() {
        let error = fenced("read it", "that", || -> Result<()> { panic!("index {} of 3", 7) }).unwrap_err();
        assert_eq!(error.to_string(), "cannot read it: the library that gave up: index 7 of 3");
        let lines = || -> Result<()> { panic!("no such thing\n at /home/x/src/lib.rs:12\n in a header") };
        let error = fenced("read it", "that", lines).unwrap_err();
        assert_eq!(error.to_string(), "cannot read it: the library that gave up: no such thing; in a header");
        assert_eq!(fenced("read it", "that", || Ok(1)).unwrap(), 1);
        assert!(!INSIDE.get());
    }
}

//! The guided front end: what a technician sees who has never read a manual. Six steps: Find, Inspect, Plan, Clean,
//! Verify, Report. Nothing is written before a plan was shown and answered with `y`.

mod plain;
mod switches;
mod text;
mod work;

use std::io::IsTerminal as _;

use crate::cli::{Options, Task};
use crate::error::{Error, Result};

/// Whether there is a terminal to ask on.
pub fn may_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Guides through what is attached, and returns the exit code: the worst of what the last reports on each disk say.
///
/// # Errors
/// There is no terminal, or a signature file or folder for reports cannot be used.
pub fn execute(options: &Options) -> Result<u8> {
    if !may_ask() {
        return Err(Error::refused("guide through a clean", "there is no terminal to ask on")
            .hint("deblast scan and deblast clean work without one"));
    }
    // There is no other way yet, wherever it runs.
    let _ = matches!(options.task, Task::Guided { plain: true, .. });
    plain::execute(options)
}

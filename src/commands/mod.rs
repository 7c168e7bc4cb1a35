//! Commands that are not a run: they read or print something and judge no disk. One file each.

use std::io::Write as _;

use crate::error::{Context as _, Result};

pub mod filter;
pub mod hive;
pub mod list;
pub mod report;
pub mod shells;
pub mod signatures;

/// Prints to standard output; a reader that has had enough is no failure.
fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.doing("print"),
    }
}

//! `deblast completions` and `deblast man`.

use std::path::Path;

use super::print;
use crate::cli::{ShellTask, completions, manual};
use crate::error::{Context as _, Result};
use crate::store::place::refuse_missing_parent;

/// Prints the completions, or writes the manual pages.
///
/// # Errors
/// The folder or a page cannot be written.
pub fn execute(task: &ShellTask) -> Result<u8> {
    match task {
        ShellTask::Completions(shell) => print(completions(*shell))?,
        ShellTask::Man(folder) => write_manual(folder)?,
    }
    Ok(0)
}

fn write_manual(folder: &Path) -> Result<()> {
    const DOING: &str = "write the manual pages";
    refuse_missing_parent(folder, DOING)?;
    if !folder.is_dir() {
        std::fs::create_dir(folder).doing(DOING).map_err(|e| e.device(folder))?;
    }
    for (name, text) in manual()? {
        let path = folder.join(name);
        std::fs::write(&path, text).doing(DOING).map_err(|e| e.device(&path))?;
    }
    Ok(())
}

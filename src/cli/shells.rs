//! What shells and `man` are given of the command line: made from the same definitions as `--help`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, CommandFactory as _};
use clap_complete::Shell;

use super::Args;
use crate::error::{Context as _, Result};

const NAME: &str = "deblast";

/// Print what a shell needs to complete deblast's words
///
/// Put it where that shell looks: for bash /usr/share/bash-completion/completions/deblast, for zsh a folder of $fpath as _deblast, for fish
/// ~/.config/fish/completions/deblast.fish.
#[derive(Debug, ClapArgs)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

/// Write the manual pages into a folder, one for each command; pages that are there are replaced
#[derive(Debug, ClapArgs)]
pub(super) struct ManArgs {
    /// The folder, for example /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}

/// What a shell reads to complete deblast's words.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), NAME, &mut text);
    text
}

/// The manual pages: the name of each file, and its text in roff.
///
/// # Errors
/// One cannot be made.
pub fn manual() -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = Args::command().disable_help_subcommand(true);
    // Gives each subcommand its whole name: `deblast-report-show`.
    command.build();
    let mut pages = Vec::new();
    page(&command, &mut pages)?;
    Ok(pages)
}

fn page(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text).doing("make a manual page")?;
    pages.push((format!("{}.1", command.get_display_name().unwrap_or(NAME)), text));
    let mut shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.try_for_each(|command| page(command, pages))
}

//! `deblast watch`: what was typed, and the bench that it asks for.

use clap::Args as ClapArgs;

use super::cure::Cure;
use super::{Ask, Common, Consent, Options, StoreArg, Task};
use crate::cleanup::bench::Bench;
use crate::cleanup::ledger::Ledger;
use crate::cleanup::report::Machine;
use crate::error::{Error, Result};

/// Clean every disk that is plugged in from now on, until it is ended: a row for each on a terminal, lines elsewhere
#[derive(Debug, ClapArgs)]
pub(super) struct WatchArgs {
    /// Also work on the disks that are there already, but for those that this machine uses
    #[arg(long)]
    present: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    cure: Cure,
    #[command(flatten)]
    store: StoreArg,
}

impl WatchArgs {
    pub(super) fn resolve(self, options: &mut Options) -> Result<()> {
        options.task = Task::Watch { present: self.present };
        options.take_common(self.common);
        options.take_consent(&self.consent);
        options.take_store(self.store);
        options.policy = self.cure.meaning();
        match options.ask {
            Ask::Terminal => Err(Error::refused(
                "watch for disks",
                "each disk that is plugged in is written, and nobody is asked about it",
            )
            .hint("give --yes to have all of them cleaned, or --dry-run to have them looked at")),
            Ask::Yes | Ask::DryRun => Ok(()),
        }
    }
}

impl Options {
    /// The bench that these ask for. `stop`: whether to stop before the next file is written.
    ///
    /// # Errors
    /// A signature file, the store or a file to write into cannot be used.
    pub fn bench(&self, present: bool, stop: fn() -> bool) -> Result<Bench> {
        let mut settings = self.settings(Vec::new())?;
        settings.stop = stop;
        let machine = Machine::of_firmware();
        let ledger = Ledger::of_bench(&self.places, &machine, settings.clock)?;
        Bench::open(settings, machine, ledger, self.jobs, present)
    }
}

//! What is decided about a cure: the options, and how a decision is typed.

use clap::{Args as ClapArgs, ValueEnum};

use crate::policy::{Dcom, Hibernation, PacketFilter, Policy, Remove, RestorePoints, Suspects};

/// What is decided about a cure.
#[derive(Debug, ClapArgs)]
pub(super) struct Cure {
    /// DCOM: disable it unless the patch is known to be in (auto), disable it in any case, or leave it
    #[arg(long, value_enum, default_value_t)]
    dcom: DcomArg,
    /// TCP/IP filtering: switch it on where DCOM cannot be disabled on a workstation (auto), in any case, or never
    #[arg(long, value_enum, default_value_t)]
    packet_filter: PacketFilterArg,
    /// What to do with files and values that only look like a worm's
    #[arg(long, value_enum, default_value_t)]
    suspects: SuspectsArg,
    /// Cure W32/Welchia (Nachi) too; it is reported in any case
    #[arg(long)]
    companions: bool,
    /// What to do with copies of a worm in System Restore
    #[arg(long, value_enum, default_value_t)]
    restore_points: RestorePointsArg,
    /// How the name of an inert file goes away: by Windows at its next start, now (the volume is mounted by ntfs-3g), or never
    #[arg(long, value_enum, default_value_t)]
    remove: RemoveArg,
    /// A hibernated Windows on the disk: write nothing (refuse), or give up its session and what was not saved in it (discard)
    #[arg(long, value_enum, default_value_t)]
    hibernation: HibernationArg,
}

impl Cure {
    pub(super) fn meaning(self) -> Policy {
        Policy {
            dcom: self.dcom.meaning(),
            packet_filter: self.packet_filter.meaning(),
            companions: self.companions,
            restore_points: self.restore_points.meaning(),
            suspects: self.suspects.meaning(),
            remove: self.remove.meaning(),
            hibernation: self.hibernation.meaning(),
        }
    }
}

/// A policy as it is typed: what differs from the defaults.
pub(super) fn typed(policy: &Policy) -> Vec<String> {
    let Policy { dcom, packet_filter, companions, restore_points, suspects, remove, hibernation } = policy;
    let mut words = Vec::new();
    let mut add = |option: &str, word: Option<String>| {
        words.extend(word.into_iter().flat_map(|word| [option.to_owned(), word]));
    };
    add("--dcom", DcomArg::typed(*dcom));
    add("--packet-filter", PacketFilterArg::typed(*packet_filter));
    add("--suspects", SuspectsArg::typed(*suspects));
    add("--restore-points", RestorePointsArg::typed(*restore_points));
    add("--remove", RemoveArg::typed(*remove));
    add("--hibernation", HibernationArg::typed(*hibernation));
    words.extend(companions.then(|| "--companions".to_owned()));
    words
}

choice!(DcomArg => Dcom {
    #[default] Auto => Dcom::Auto,
    Disable => Dcom::Disable,
    Leave => Dcom::Leave,
});
choice!(PacketFilterArg => PacketFilter {
    #[default] Auto => PacketFilter::Auto,
    On => PacketFilter::On,
    Off => PacketFilter::Off,
});
choice!(RestorePointsArg => RestorePoints {
    #[default] Report => RestorePoints::Report,
    Quarantine => RestorePoints::Quarantine,
});
choice!(SuspectsArg => Suspects {
    #[default] Leave => Suspects::Leave,
    Quarantine => Suspects::Quarantine,
});
choice!(RemoveArg => Remove {
    #[default] AtBoot => Remove::AtBoot,
    Now => Remove::Now,
    Never => Remove::Never,
});
choice!(HibernationArg => Hibernation {
    #[default] Refuse => Hibernation::Refuse,
    Discard => Hibernation::Discard,
});

//! What can be decided about a clean, each with its choices and what comes of them: the same list for every screen.

use crate::policy::{Dcom, Hibernation, PacketFilter, Policy, Remove, RestorePoints, Suspects};

/// One choice of a switch.
pub(super) struct Choice {
    /// In a word or two.
    pub(super) word: &'static str,
    /// What comes of it.
    pub(super) consequence: &'static str,
    /// Decides so.
    pub(super) set: fn(&mut Policy),
}

/// One thing that can be decided.
pub(super) struct Switch {
    /// What it is about.
    pub(super) name: &'static str,
    /// The option of the command line that decides it.
    pub(super) option: &'static str,
    /// The choices, the default first.
    pub(super) choices: &'static [Choice],
    /// Which of them a policy has.
    pub(super) get: fn(&Policy) -> usize,
}

impl Switch {
    /// The choice that a policy has.
    pub(super) fn chosen(&self, policy: &Policy) -> Option<&'static Choice> {
        self.choices.get((self.get)(policy))
    }
}

/// One over a field of the policy: its choices, the default first, each with its word and what comes of it.
macro_rules! switch {
    ($name:literal, $option:literal, $field:ident { $($value:expr => $word:literal: $consequence:literal),+ $(,)? }) => {
        Switch {
            name: $name,
            option: $option,
            choices: &[$(
                Choice { word: $word, consequence: $consequence, set: |policy| policy.$field = $value }
            ),+],
            get: |policy| [$($value),+].iter().position(|value| *value == policy.$field).unwrap_or(0),
        }
    };
}

/// All switches, in the order in which they are shown.
pub(super) const SWITCHES: &[Switch] = &[
    switch!("DCOM", "--dcom", dcom {
        Dcom::Auto => "auto": "disabled unless the patch is known to be in; that shuts the worm's way in",
        Dcom::Disable => "disable":
            "disabled in any case; programs that need DCOM over the network fail until it is lifted",
        Dcom::Leave => "leave": "left as it is; where the patch is missing the machine stays open to the worm",
    }),
    switch!("Packet filter", "--packet-filter", packet_filter {
        PacketFilter::Auto => "auto": "on only for a workstation that is open and does not act on the DCOM value",
        PacketFilter::On => "on":
            "on: no service of the machine can be reached over the network until it is lifted",
        PacketFilter::Off => "off": "never switched on; one that is on stays on",
    }),
    switch!("Suspects", "--suspects", suspects {
        Suspects::Leave => "leave": "files and values that only look like a worm's are reported and left",
        Suspects::Quarantine => "quarantine":
            "they are treated like the worm; a harmless file of the same name would go too",
    }),
    switch!("Welchia", "--companions", companions {
        false => "report": "W32/Welchia (Nachi) is reported and left",
        true => "cure": "W32/Welchia (Nachi) is cured too",
    }),
    switch!("Restore points", "--restore-points", restore_points {
        RestorePoints::Report => "report":
            "copies in System Restore are reported; a restore would bring them back",
        RestorePoints::Quarantine => "quarantine":
            "copies in System Restore are treated like the worm; those restore points may fail",
    }),
    switch!("Worm's name", "--remove", remove {
        Remove::AtBoot => "at boot": "the file is made inert now; Windows deletes its name at its next start",
        Remove::Now => "now":
            "the name is removed now, the volume mounted for it; undo cannot bring the name back",
        Remove::Never => "never": "the inert file stays under its name",
    }),
    switch!("Hibernation", "--hibernation", hibernation {
        Hibernation::Refuse => "refuse": "nothing is written to the disk of a hibernated Windows",
        Hibernation::Discard => "discard":
            "the hibernated session is given up, and what was not saved in it is LOST",
    }),
];

/// What the technician can decide here about an obstacle whose words name an option of the command line.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// One of the switches.
    Switch(&'static Switch),
    /// Where the record goes.
    Store,
}

/// The ways that these words name, each once.
pub(super) fn ways<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<Way> {
    let words: Vec<&str> = words.into_iter().collect();
    let is_named = |option: &str| words.iter().any(|words| words.contains(option));
    // What is wrong with a place for records is not always told with the option.
    let is_store = is_named("--store") || is_named("the store");
    let switches = SWITCHES.iter().filter(|switch| is_named(switch.option)).map(Way::Switch);
    is_store.then_some(Way::Store).into_iter().chain(switches).collect()
}

/// What a place for records may be.
pub(super) const PLACES: &str = "a folder on a stick or on another disk, never on the disk that is cleaned; or the word disk: then it is a folder on the \
     Windows disk's own volume";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_obstacle_is_told_with_the_ways_around_it() {
        let found = |words: &str| -> Vec<&str> {
            let name = |way: Way| match way {
                Way::Switch(switch) => switch.name,
                Way::Store => "store",
            };
            ways([words]).into_iter().map(name).collect()
        };
        assert_eq!(found("give its session up with --hibernation discard"), ["Hibernation"]);
        assert_eq!(found("cannot use the store (/x): is the stick mounted?"), ["store"]);
        assert_eq!(found("on FAT, --remove now does not go with --store disk"), ["store", "Worm's name"]);
        assert_eq!(found("the volume is encrypted by BitLocker"), [""; 0]);
    }

    #[test]
    fn each_choice_is_the_one_it_sets_and_the_first_is_the_default() {
        for switch in SWITCHES {
            let mut policy = Policy::default();
            assert_eq!((switch.get)(&policy), 0, "{}", switch.name);
            for (index, choice) in switch.choices.iter().enumerate() {
                (choice.set)(&mut policy);
                assert_eq!((switch.get)(&policy), index, "{}: {}", switch.name, choice.word);
            }
        }
    }
}

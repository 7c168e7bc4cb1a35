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

/// All switches, in the order in which they are shown.
pub(super) const SWITCHES: &[Switch] = &[
    Switch {
        name: "DCOM",
        choices: &[
            Choice {
                word: "auto",
                consequence: "disabled unless the patch is known to be in; that shuts the worm's way in",
                set: |policy| policy.dcom = Dcom::Auto,
            },
            Choice {
                word: "disable",
                consequence: "disabled in any case; programs that need DCOM over the network fail until it is lifted",
                set: |policy| policy.dcom = Dcom::Disable,
            },
            Choice {
                word: "leave",
                consequence: "left as it is; where the patch is missing the machine stays open to the worm",
                set: |policy| policy.dcom = Dcom::Leave,
            },
        ],
        get: |policy| policy.dcom as usize,
    },
    Switch {
        name: "Packet filter",
        choices: &[
            Choice {
                word: "auto",
                consequence: "on only for a workstation that is open and does not act on the DCOM value",
                set: |policy| policy.packet_filter = PacketFilter::Auto,
            },
            Choice {
                word: "on",
                consequence: "on: no service of the machine can be reached over the network until it is lifted",
                set: |policy| policy.packet_filter = PacketFilter::On,
            },
            Choice {
                word: "off",
                consequence: "never switched on; one that is on stays on",
                set: |policy| policy.packet_filter = PacketFilter::Off,
            },
        ],
        get: |policy| policy.packet_filter as usize,
    },
    Switch {
        name: "Suspects",
        choices: &[
            Choice {
                word: "leave",
                consequence: "files and values that only look like a worm's are reported and left",
                set: |policy| policy.suspects = Suspects::Leave,
            },
            Choice {
                word: "quarantine",
                consequence: "they are treated like the worm; a harmless file of the same name would go too",
                set: |policy| policy.suspects = Suspects::Quarantine,
            },
        ],
        get: |policy| policy.suspects as usize,
    },
    Switch {
        name: "Welchia",
        choices: &[
            Choice {
                word: "report",
                consequence: "W32/Welchia (Nachi) is reported and left",
                set: |policy| policy.companions = false,
            },
            Choice {
                word: "cure",
                consequence: "W32/Welchia (Nachi) is cured too",
                set: |policy| policy.companions = true,
            },
        ],
        get: |policy| usize::from(policy.companions),
    },
    Switch {
        name: "Restore points",
        choices: &[
            Choice {
                word: "report",
                consequence: "copies in System Restore are reported; a restore would bring them back",
                set: |policy| policy.restore_points = RestorePoints::Report,
            },
            Choice {
                word: "quarantine",
                consequence: "copies in System Restore are treated like the worm; those restore points may fail",
                set: |policy| policy.restore_points = RestorePoints::Quarantine,
            },
        ],
        get: |policy| policy.restore_points as usize,
    },
    Switch {
        name: "Worm's name",
        choices: &[
            Choice {
                word: "at boot",
                consequence: "the file is made inert now; Windows deletes its name at its next start",
                set: |policy| policy.remove = Remove::AtBoot,
            },
            Choice {
                word: "now",
                consequence: "the name is removed now, the volume mounted for it; undo cannot bring the name back",
                set: |policy| policy.remove = Remove::Now,
            },
            Choice {
                word: "never",
                consequence: "the inert file stays under its name",
                set: |policy| policy.remove = Remove::Never,
            },
        ],
        get: |policy| policy.remove as usize,
    },
    Switch {
        name: "Hibernation",
        choices: &[
            Choice {
                word: "refuse",
                consequence: "nothing is written to the disk of a hibernated Windows",
                set: |policy| policy.hibernation = Hibernation::Refuse,
            },
            Choice {
                word: "discard",
                consequence: "the hibernated session is given up, and what was not saved in it is LOST",
                set: |policy| policy.hibernation = Hibernation::Discard,
            },
        ],
        get: |policy| policy.hibernation as usize,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

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

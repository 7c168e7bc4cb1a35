//! What the technician does next, in words, after CA-2003-20.

use crate::cleanup::report::TargetReport;
use crate::cleanup::verdict::Verdict;
use crate::finding::{DcomState, PatchState};

/// The next steps for one target, in their order. Always tells how the protection is lifted once the patch is in.
pub(super) fn next_steps(target: &TargetReport) -> Vec<String> {
    let mut steps = Vec::new();
    let mut add = |text: &str| {
        if !steps.iter().any(|known| known == text) {
            steps.push(text.to_owned());
        }
    };
    for install in &target.installs {
        match install.verdict {
            Verdict::Infected => {
                add("Clean this disk (deblast clean) before Windows is started from it again.")
            }
            Verdict::Undetermined => {
                add(
                    "Read why nothing can be said above, mend that, and scan again; do not connect this machine meanwhile.",
                );
            }
            Verdict::Failed => {
                add(
                    "Do not start Windows from this disk: run deblast clean or deblast undo again with the same store.",
                );
            }
            Verdict::Exposed => {
                add(
                    "Keep this machine off every network until DCOM is disabled (deblast clean) or the patch is installed.",
                );
            }
            Verdict::Clean | Verdict::Cleaned => {}
        }
        if install.hole.patch != PatchState::Fixed {
            add(
                "Start Windows with the network cable still unplugged, or behind a firewall that blocks 69/udp, 135, 139 and 445 tcp and udp, and 4444/tcp.",
            );
            add(
                "Install the patch of MS03-026 (KB823980) or a later one that contains it (KB824146, KB828741), then restart.",
            );
        }
        if install.hole.dcom == DcomState::Off {
            add(
                "Once the patch is in, lift the protection if programs need DCOM: on the running Windows set EnableDCOM to Y below HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Ole (or in dcomcnfg.exe) and restart; offline: deblast undo --only protection TARGET.",
            );
        }
        if install.verdict != Verdict::Clean {
            add("Scan the disk again after Windows has started once: deblast scan TARGET.");
            add(
                "Who has run a worm's code can never be sure of that Windows again; where it matters, install it anew (CA-2003-20).",
            );
        }
    }
    steps
}

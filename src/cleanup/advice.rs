//! What the technician does next, in words, after CA-2003-20.

use std::path::Path;

use crate::cleanup::report::TargetReport;
use crate::cleanup::verdict::Verdict;
use crate::finding::{Bearing, DcomState, PatchState};

/// The next steps for one target, in their order. Tells how the protection is lifted wherever there is one.
pub(super) fn next_steps(target: &TargetReport, store: &Path) -> Vec<String> {
    let mut steps = Vec::new();
    let mut add = |text: String| {
        if !steps.contains(&text) {
            steps.push(text);
        }
    };
    for install in &target.installs {
        let words = match install.verdict {
            Verdict::Infected => "Clean this disk (deblast clean) before Windows is started from it again.",
            Verdict::Undetermined => {
                "Read why nothing can be said above, mend that, and scan again; do not connect this machine meanwhile."
            }
            Verdict::Failed => {
                "Do not start Windows from this disk: run deblast clean or deblast undo again with the same store."
            }
            Verdict::Exposed => {
                "Keep this machine off every network until DCOM is disabled (deblast clean) or the patch is installed."
            }
            Verdict::Clean | Verdict::Cleaned => "",
        };
        if !words.is_empty() {
            add(words.to_owned());
        }
        if install.hole.patch != PatchState::Fixed {
            add("Start Windows with the network cable still unplugged, or behind a firewall that blocks 69/udp, 135, 139 and 445 tcp and udp, and 4444/tcp.".to_owned());
            add("Install the patch of MS03-026 (KB823980) or a later one that contains it (KB824146, KB828741), then restart.".to_owned());
        }
        if install.hole.dcom == DcomState::Off {
            add(format!(
                "Once the patch is in, lift the protection if programs need DCOM: on the running Windows set EnableDCOM to Y below HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Ole (or in dcomcnfg.exe) and restart; offline, where Deblast set it: deblast undo --only protection --store {} TARGET.",
                store.display()
            ));
        }
        if install.verdict != Verdict::Clean {
            add("Scan the disk again after Windows has started once: deblast scan TARGET.".to_owned());
        }
        if install.findings.iter().any(|finding| finding.bearing == Bearing::Infection) {
            add("Who has run a worm's code can never be sure of that Windows again; where it matters, install it anew (CA-2003-20).".to_owned());
        }
    }
    steps
}

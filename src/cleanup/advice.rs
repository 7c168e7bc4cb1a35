//! What the technician does next, in words, after CA-2003-20. What is to be typed stands between backticks.

use crate::cleanup::Settings;
use crate::cleanup::inspect::SCAN_AGAIN;
use crate::cleanup::installers;
use crate::cleanup::report::{InstallReport, TargetReport};
use crate::cleanup::verdict::Verdict;
use crate::finding::{Bearing, CheckName, DcomState, FilterState, Finding, Grade, Outcome, PatchState};

/// The next steps for one target, in their order. Tells how the protection is lifted wherever there is one.
/// `wrote`: whether this run wrote the target.
pub(super) fn next_steps(target: &TargetReport, settings: &Settings, wrote: bool) -> Vec<String> {
    let asked =
        |name: &str| settings.options.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let disk = &shell_word(&target.path);
    let scan = typed("scan", settings, disk);
    // Only a run that wrote has a record there.
    let store =
        if wrote { shell_word(&settings.store.root().display().to_string()) } else { "STORE".to_owned() };
    let mut steps = Vec::new();
    let mut add = |text: String| {
        if !steps.contains(&text) {
            steps.push(text);
        }
    };
    for install in &target.installs {
        let clean = typed(&format!("clean{}", needed_option(install)), settings, disk);
        let words = match asked("command") {
            "undo" => after_undo(install, asked("only"), wrote, disk, &store),
            _ => after_cure(install, &clean, disk, &store),
        };
        if install.volume.state.iter().any(|words| words.contains(ASLEEP)) {
            add(format!(
                "A Windows on this disk is hibernated, and nothing is written until that has ended: start it with the network cable out, shut it down properly, and clean then; or give its session up, with what was not saved in it: `{clean} --hibernation discard`"
            ));
        }
        words.into_iter().for_each(&mut add);
        // Where the worm is back, nobody is bidden to start it.
        let is_back = asked("command") == "undo" && install.verdict == Verdict::Infected;
        if is_back {
            add(format!("To be rid of it again: `{clean}`"));
        } else if install.hole.patch != PatchState::Fixed {
            add("Start Windows with the network cable still unplugged, or behind a firewall that blocks 69/udp, 135, 139 and 445 tcp and udp, and 4444/tcp.".to_owned());
            add("Install the patch of MS03-026 (KB823980) or a later one that contains it (KB824146, KB828741), then restart.".to_owned());
        }
        if asked("command") != "undo" {
            left_by_policy(install, settings, disk).into_iter().for_each(&mut add);
        }
        if !is_back {
            installers::advice(install).into_iter().for_each(&mut add);
        }
        if matches!(install.hole.dcom, DcomState::Off | DcomState::OffNotHonoured) {
            add(format!(
                "Once the patch is in, lift the protection if programs need DCOM: on the running Windows set EnableDCOM to Y below HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Ole (or in dcomcnfg.exe) and restart; {}",
                offline(disk, &store)
            ));
        }
        if is_filtered(install) {
            add(format!(
                "Once the patch is in, lift TCP/IP filtering too, which keeps every service of this machine from the network: on the running Windows in the advanced properties of TCP/IP (on 2000 and later below Options, on NT 4.0 Enable Security), and restart; {}",
                offline(disk, &store)
            ));
        }
        let is_unsettled = install.volume.state.iter().any(|words| words.ends_with(SCAN_AGAIN));
        if (install.verdict != Verdict::Clean || is_unsettled) && !is_back {
            add(format!("Scan the disk again after Windows has started once: `{scan}`"));
        }
        if install.findings.iter().any(|finding| finding.bearing == Bearing::Infection) {
            add("Who has run a worm's code can never be sure of that Windows again; where it matters, install it anew (CA-2003-20).".to_owned());
        }
    }
    steps
}

/// What a volume's state says of a machine that is asleep.
const ASLEEP: &str = "is hibernated";

/// A command as it was given: with its signatures, and the store where it needs one.
fn typed(command: &str, settings: &Settings, disk: &str) -> String {
    let mut words = format!("deblast {command}");
    let signatures = settings.options.get("signatures").and_then(serde_json::Value::as_array);
    for file in signatures.into_iter().flatten().filter_map(serde_json::Value::as_str) {
        words.push_str(&format!(" --signatures {}", shell_word(file)));
    }
    let was_given = settings.options.get("command").and_then(serde_json::Value::as_str) != Some("scan");
    if command.starts_with("clean") && was_given {
        words.push_str(&format!(" --store {}", shell_word(&settings.store.root().display().to_string())));
    }
    format!("{words} {disk}")
}

/// What is to be done about suspects and copies in restore points, which are no infection and are left unasked.
fn left_by_policy(install: &InstallReport, settings: &Settings, disk: &str) -> Option<String> {
    if install.suspects == 0 {
        return None;
    }
    let has = |wanted: &dyn Fn(&Finding) -> bool| {
        install.findings.iter().any(|finding| finding.outcome != Outcome::Verified && wanted(finding))
    };
    let is_suspect = |finding: &Finding| {
        finding.grade == Grade::Suspect
            && matches!(finding.bearing, Bearing::Nothing | Bearing::RestorableCopy)
    };
    let options = [
        (has(&is_suspect), " --suspects quarantine"),
        (has(&|finding| finding.bearing == Bearing::RestorableCopy), " --restore-points quarantine"),
        (has(&|finding| is_suspect(finding) && finding.check == CheckName::Companion), " --companions"),
    ];
    let options: String =
        options.into_iter().filter_map(|(is_needed, option)| is_needed.then_some(option)).collect();
    let clean = typed(&format!("clean{options}"), settings, disk);
    Some(format!(
        "Look at the suspects and the copies in restore points above: they are left unless asked for, and make the exit \
         code 1. Where nobody needs them: `{clean}`"
    ))
}

/// How the protection is lifted without that Windows.
fn offline(disk: &str, store: &str) -> String {
    format!("offline, where Deblast set it: `deblast undo --only protection --store {store} {disk}`")
}

/// Whether TCP/IP filtering is on, or was switched on by this run where its state cannot be established.
fn is_filtered(install: &InstallReport) -> bool {
    let switched = |finding: &Finding| {
        finding.check == CheckName::PacketFilter
            && matches!(finding.outcome, Outcome::Done | Outcome::Verified)
    };
    install.hole.filter == FilterState::On || install.findings.iter().any(switched)
}

/// What closes the hole of an install that is exposed.
fn protection(install: &InstallReport, clean: &str) -> String {
    // That check is sure of an open hole only where EnableDCOM does not close it.
    let is_needed =
        |finding: &Finding| finding.check == CheckName::PacketFilter && finding.grade == Grade::Confirmed;
    match install.findings.iter().any(is_needed) {
        true => format!(
            "or TCP/IP filtering is on, since this Windows is not known to act on EnableDCOM: `{clean} --packet-filter on`"
        ),
        false => format!("or DCOM is disabled: `{clean}`"),
    }
}

/// What `clean` must be told to cure what is left: the companion is cured only where it is asked for.
fn needed_option(install: &InstallReport) -> &'static str {
    let is_left = |finding: &Finding| {
        finding.check == CheckName::Companion
            && finding.bearing == Bearing::Infection
            && finding.outcome != Outcome::Verified
    };
    if install.findings.iter().any(is_left) { " --companions" } else { "" }
}

fn after_cure(install: &InstallReport, clean: &str, disk: &str, store: &str) -> Option<String> {
    let is_left = |finding: &Finding| {
        finding.bearing == Bearing::Infection
            && finding.grade <= Grade::Probable
            && finding.outcome != Outcome::Verified
    };
    Some(match install.verdict {
        Verdict::Infected => {
            format!("Clean this disk before Windows is started from it again: `{clean}`")
        }
        Verdict::Undetermined if install.findings.iter().any(is_left) => format!(
            "A worm was found and is still there. Read above what stands in the way, mend that, and clean: `{clean}`; let this machine meet no network meanwhile."
        ),
        Verdict::Undetermined => {
            "Read why nothing can be said above, mend that, and scan again; do not connect this machine meanwhile.".to_owned()
        }
        Verdict::Failed => {
            format!("Do not start Windows from this disk. Run the cure again with the same store: `deblast clean --store {store} {disk}` or take it back: `deblast undo --store {store} {disk}`")
        }
        Verdict::Exposed => {
            format!(
                "Keep this machine off every network until the patch is installed {}",
                protection(install, clean)
            )
        }
        Verdict::Clean | Verdict::Cleaned => return None,
    })
}

/// What an undo leaves is what was asked for, so it is told, and not bidden to be cured.
fn after_undo(install: &InstallReport, only: &str, wrote: bool, disk: &str, store: &str) -> Option<String> {
    Some(match install.verdict {
        Verdict::Infected if wrote && only != "protection" => {
            "The worm, or what starts it, is back; do not start Windows from it on a network.".to_owned()
        }
        Verdict::Infected => "A worm is on this disk; do not start Windows from it on a network.".to_owned(),
        Verdict::Undetermined | Verdict::Failed => {
            format!("Read above what is amiss, and do not start Windows from this disk. Then take back again with the same store: `deblast undo --store {store} {disk}`")
        }
        _ if wrote && only == "protection" => {
            "DCOM and TCP/IP filtering are as they were before the run. Start Windows, and check that the patch is in before it meets a network.".to_owned()
        }
        _ if wrote && only != "protection" && install.verdict <= Verdict::Exposed => {
            "The bytes that the run had taken for a worm's are back, whatever the verdict above says: it is judged by the signatures that this command was given. Do not start Windows from it on a network.".to_owned()
        }
        Verdict::Exposed => {
            "The hole is open: keep this machine off every network until the patch is in.".to_owned()
        }
        Verdict::Clean | Verdict::Cleaned => return None,
    })
}

/// A path as a shell takes it.
pub(super) fn shell_word(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

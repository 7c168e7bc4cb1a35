//! Whether the hole of CA-2003-20 is patched: MS03-026 or what replaces it, by the versions of the files that it
//! brings. The registry and the service pack only stand beside them: both can be there without the files, and the files
//! without them.

mod bars;
mod registered;
#[cfg(test)]
mod tests;

use self::bars::{BULLETINS, Bar, Branch};
use super::{Check, Evidence, ProgramEvidence, Wants};
use crate::change::{Change, HiveRole};
use crate::finding::{Bearing, Bulletins, CheckName, Facts, Finding, Grade, Outcome, PatchState, Subject};
use crate::path::WinPath;
use crate::policy::Policy;
use crate::windows::file_version::FileVersion;

pub(super) struct Patch;

/// Below the system root: where Windows loads its files from, and where File Protection keeps copies to put back.
const FOLDER: &str = "system32";
const COPIES: &str = "system32\\dllcache";

/// What the files tell.
struct Weighed {
    state: PatchState,
    bulletins: Option<Bulletins>,
    /// The file that decided, by its name.
    decided_by: Option<&'static str>,
    why: String,
}

impl Weighed {
    fn not_established(why: String) -> Self {
        Self { state: PatchState::NotEstablished, bulletins: None, decided_by: None, why }
    }
}

impl Check for Patch {
    fn name(&self) -> CheckName {
        CheckName::Patch
    }

    fn wants(&self) -> Wants {
        let folders = [FOLDER, COPIES].map(WinPath::new);
        let programs =
            folders.iter().flat_map(|folder| bars::ALL_FILES.into_iter().map(|name| folder.join(name)));
        Wants { keys: registered::keys(), programs: programs.collect(), ..Wants::default() }
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        let weighed = weigh(evidence);
        let (grade, what) = match weighed.state {
            PatchState::Fixed => (Grade::Information, "the patch is in"),
            PatchState::Vulnerable => (Grade::Confirmed, "the patch is missing"),
            PatchState::NotEstablished => (Grade::Suspect, "whether the patch is in is not established"),
        };
        let folder = evidence.root.join(FOLDER);
        let file = weighed.decided_by.and_then(|name| program(evidence, FOLDER, name));
        let mut why = weighed.why;
        why.push_str(&beside(evidence, weighed.state));
        let mut findings = vec![Finding {
            check: CheckName::Patch,
            grade,
            what: what.to_owned(),
            place: weighed.decided_by.map_or(folder.clone(), |name| folder.join(name)).to_string(),
            facts: Facts { bulletins: weighed.bulletins, ..facts(file) },
            action: None,
            outcome: Outcome::None,
            why,
            bearing: Bearing::Patch(weighed.state),
            subject: Subject::Nothing,
        }];
        if weighed.state == PatchState::Fixed {
            findings.extend(old_copies(evidence));
        }
        findings
    }

    fn cure(&self, _: &Finding, _: &Policy) -> Vec<Change> {
        // A patch is installed by the Windows that it is for.
        Vec::new()
    }
}

fn program<'a>(evidence: &'a Evidence, folder: &str, name: &str) -> Option<&'a ProgramEvidence> {
    evidence.programs.get(&WinPath::new(folder).join(name))
}

fn version(evidence: &Evidence, folder: &str, name: &str) -> Option<FileVersion> {
    program(evidence, folder, name)?.version.as_ref().ok().copied()
}

/// What names a file, and its version.
fn facts(file: Option<&ProgramEvidence>) -> Facts {
    let file_version = file.and_then(|file| file.version.as_ref().ok()).map(std::string::ToString::to_string);
    Facts { file_version, ..file.and_then(|file| file.id).map(Facts::of_file).unwrap_or_default() }
}

/// Holds the files against the bars of their branch.
fn weigh(evidence: &Evidence) -> Weighed {
    if let Some(why) = evidence.unread_hives.get(&HiveRole::Software) {
        return Weighed::not_established(format!("which Windows it is could not be read: {why}"));
    }
    let rpcrt4 = version(evidence, FOLDER, "rpcrt4.dll");
    let branch = match bars::branch(&evidence.identity, rpcrt4) {
        Ok(branch) => branch,
        Err(why) => return Weighed::not_established(why),
    };
    let mut revisions = [0; 3];
    let mut problems = Vec::new();
    for (name, place) in branch.files.into_iter().zip(&mut revisions) {
        match program(evidence, FOLDER, name).map(|file| &file.version) {
            None => problems.push(format!("{name} is not in {FOLDER}")),
            Some(Err(why)) => problems.push(why.clone()),
            Some(Ok(version)) => match branch.revision(*version) {
                Some(revision) => *place = revision,
                None => problems.push(format!("{name} {version} is no file of {}", branch.name)),
            },
        }
    }
    if !problems.is_empty() {
        return Weighed::not_established(problems.join("; "));
    }
    compare(branch, revisions)
}

/// Judges three files of one branch.
fn compare(branch: &Branch, revisions: [u16; 3]) -> Weighed {
    let met = branch.bars.map(|bars| {
        let [a, b, c] = bars;
        let [x, y, z] = revisions;
        [a.is_met(x), b.is_met(y), c.is_met(z)]
    });
    let [mut first, mut second, third] = met.map(|files| {
        if files.contains(&Some(false)) {
            PatchState::Vulnerable
        } else if files.contains(&Some(true)) {
            PatchState::Fixed
        } else {
            PatchState::NotEstablished
        }
    });
    // Each bulletin contains those before it.
    if third == PatchState::Fixed {
        second = PatchState::Fixed;
    }
    if first == PatchState::Vulnerable && second == PatchState::NotEstablished {
        second = PatchState::Vulnerable;
    }
    let doubt = if first == PatchState::Fixed { doubt(branch, revisions, met) } else { None };
    if doubt.is_some() {
        first = PatchState::NotEstablished;
        // What contains the doubtful one is no better known.
        if second == PatchState::Fixed {
            second = PatchState::NotEstablished;
        }
    }
    let versions: Vec<String> = branch
        .files
        .iter()
        .zip(revisions)
        .map(|(name, revision)| format!("{name} {}", branch.shown(revision)))
        .collect();
    let named = |files: [Option<bool>; 3], state: bool| {
        branch.files.into_iter().zip(files).find(|(_, met)| *met == Some(state)).map(|(name, _)| name)
    };
    let [of_026, ..] = met;
    let decided_by = match &doubt {
        Some((name, _)) => Some(*name),
        None => named(of_026, first == PatchState::Fixed),
    };
    let mut why = format!("{} ({})", versions.join(", "), branch.name);
    why.push_str(&match (&doubt, branch.contains) {
        (Some((_, words)), _) => format!("; {words}"),
        (None, Some(contains)) => format!("; {contains}, and these are its files or later ones"),
        (None, None) => format!("; {} is in from {} on", BULLETINS[0], bars_in_words(branch)),
    });
    let also: Vec<String> = BULLETINS
        .into_iter()
        .zip([first, second, third])
        .skip(1)
        .filter(|_| branch.contains.is_none())
        .map(|(bulletin, state)| match state {
            PatchState::Fixed => format!("{bulletin} is in"),
            PatchState::Vulnerable => format!("{bulletin} is not in"),
            PatchState::NotEstablished => format!("whether {bulletin} is in cannot be told"),
        })
        .collect();
    if !also.is_empty() {
        why.push_str(&format!("; {}", also.join(", ")));
    }
    let bulletins = Bulletins { ms03_026: first, ms03_039: second, ms04_012: third };
    Weighed { state: first, bulletins: Some(bulletins), decided_by, why }
}

/// The bars of MS03-026 that decide, in words.
fn bars_in_words(branch: &Branch) -> String {
    let [bars, ..] = &branch.bars;
    let words: Vec<String> = branch
        .files
        .iter()
        .zip(bars)
        .filter_map(|(name, bar)| match bar {
            Bar::Unknown => None,
            Bar::From(revision) | Bar::FromOrExactly(revision, _) => {
                Some(format!("{name} {}", branch.shown(*revision)))
            }
        })
        .collect();
    words.join(" and ")
}

/// Why the fix may be in only in part, though every file whose bar is known is at it: a file whose bar for MS03-026 no
/// source tells is still the service pack's own, or behind the others by a later bulletin.
fn doubt(
    branch: &Branch,
    revisions: [u16; 3],
    met: [[Option<bool>; 3]; 3],
) -> Option<(&'static str, String)> {
    let [of_026, later @ ..] = met;
    for (index, (name, revision)) in branch.files.into_iter().zip(revisions).enumerate() {
        if of_026.get(index).copied().flatten().is_some() {
            continue;
        }
        if branch.untouched == Some(revision) {
            let words =
                format!("{name} is the one that this Windows came with, so the update is there in part only");
            return Some((name, words));
        }
        let behind =
            |files: &[Option<bool>; 3]| files.contains(&Some(true)) && files.get(index) == Some(&Some(false));
        if let Some((bulletin, _)) =
            BULLETINS.into_iter().skip(1).zip(&later).find(|(_, files)| behind(files))
        {
            let words = format!(
                "{name} is older than {bulletin} has it and another file is not, so what {name} holds cannot be told"
            );
            return Some((name, words));
        }
    }
    None
}

/// What stands beside the files: the registry, and copies that are newer than the files in place.
fn beside(evidence: &Evidence, state: PatchState) -> String {
    let registered = registered::updates(evidence);
    let names = registered.iter().copied().collect::<Vec<_>>().join(", ");
    let mut words = match (state, registered.is_empty()) {
        _ if evidence.unread_hives.contains_key(&HiveRole::Software) => String::new(),
        (PatchState::Fixed, false) => format!("; the registry names {names} too"),
        (PatchState::Fixed, true) => {
            "; the registry names no such update, as where the install medium contained it".to_owned()
        }
        (PatchState::Vulnerable, false) => {
            format!("; the registry names {names}, but the files were replaced by older ones since")
        }
        (PatchState::NotEstablished, false) => {
            format!("; the registry names {names}, which proves nothing by itself")
        }
        (PatchState::Vulnerable | PatchState::NotEstablished, true) => {
            "; the registry names no such update".to_owned()
        }
    };
    for (name, copy) in copies(evidence) {
        if state != PatchState::Fixed && version(evidence, FOLDER, name).is_some_and(|own| copy > own) {
            words.push_str(&format!("; {COPIES} holds a newer {name}, {copy}"));
        }
    }
    words
}

/// The copies that File Protection keeps, as far as their versions could be read.
fn copies(evidence: &Evidence) -> impl Iterator<Item = (&'static str, FileVersion)> + '_ {
    bars::ALL_FILES.into_iter().filter_map(|name| Some((name, version(evidence, COPIES, name)?)))
}

/// Copies older than the patched files: File Protection could put them back in their place.
fn old_copies(evidence: &Evidence) -> Vec<Finding> {
    copies(evidence)
        .filter_map(|(name, copy)| {
            let own = version(evidence, FOLDER, name).filter(|own| copy < *own)?;
            Some(Finding {
                check: CheckName::Patch,
                grade: Grade::Information,
                what: "an old copy of a patched file".to_owned(),
                place: evidence.root.join(COPIES).join(name).to_string(),
                facts: facts(program(evidence, COPIES, name)),
                action: None,
                outcome: Outcome::None,
                why: format!(
                    "{name} in {FOLDER} is {own}; where that is deleted or damaged, Windows File Protection puts this one in its place"
                ),
                bearing: Bearing::Nothing,
                subject: Subject::Nothing,
            })
        })
        .collect()
}

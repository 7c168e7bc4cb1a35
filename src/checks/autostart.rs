//! Registry values that start a worm: below Run and its neighbours, in SOFTWARE and in the hives of users.

use super::{Check, Evidence, KeyEvidence, KeyWant, Wants};
use crate::change::{Change, HiveRole, Purpose, ValueData, ValueEdit};
use crate::finding::{Bearing, CheckName, Facts, Finding, Grade, Outcome, Subject};
use crate::path::{RegPath, same_name};
use crate::policy::{Policy, Suspects};
use crate::threat::{Signature, SignatureGrade, Signatures};
use crate::windows::command_line::program_names;

/// Where the keys stand in SOFTWARE; in a user's hive below `Software`.
const ABOVE: &str = "Microsoft\\Windows\\CurrentVersion";
/// Keys whose values Windows starts.
const KEYS: [&str; 4] = ["Run", "RunOnce", "RunOnceEx", "RunServices"];

pub(super) struct Autostart<'a> {
    pub(super) signatures: &'a Signatures,
}

/// The keys that this check reads, with what they hold.
fn keys(evidence: &Evidence) -> impl Iterator<Item = (&HiveRole, &RegPath, &KeyEvidence)> {
    evidence.keys.iter().filter(|((hive, path), _)| is_start_key(hive, path)).map(|((h, p), k)| (h, p, k))
}

fn is_start_key(hive: &HiveRole, path: &RegPath) -> bool {
    let below = match hive {
        HiveRole::Software => RegPath::new(ABOVE),
        HiveRole::User(_) => RegPath::new("Software").join(ABOVE),
        HiveRole::System | HiveRole::SystemAlternate => return false,
    };
    path.parent() == Some(below) && KEYS.iter().any(|name| same_name(name, path.file_name()))
}

/// Whether the evidence holds a registry value that a worm is known by, in name and in data, and that starts a program
/// of this base name.
pub(super) fn starts(evidence: &Evidence, signatures: &Signatures, file_name: &str) -> bool {
    keys(evidence).flat_map(|(_, _, key)| &key.values).any(|(name, data)| {
        signatures
            .by_value_and_program(name, file_name)
            .is_some_and(|signature| signature.grade == SignatureGrade::Confirmed)
            && data
                .as_ref()
                .ok()
                .and_then(ValueData::text)
                .is_some_and(|text| program_names(&text).iter().any(|program| same_name(program, file_name)))
    })
}

/// What a value was judged to be.
pub(super) struct Start {
    pub(super) family: String,
    pub(super) title: String,
    pub(super) grade: Grade,
    pub(super) why: &'static str,
}

/// The keys below which values are started, in SOFTWARE or in a user's hive.
pub(super) fn key_paths(is_user: bool) -> impl Iterator<Item = RegPath> {
    let above = RegPath::new(if is_user { "Software" } else { "" }).join(ABOVE);
    KEYS.iter().map(move |name| above.join(name))
}

/// Judges a value of such a key, wherever its hive is; none where it has nothing of a worm.
pub(super) fn judge_start(
    evidence: &Evidence,
    signatures: &Signatures,
    name: &str,
    data: &ValueData,
) -> Option<Start> {
    let programs = data.text().map(|text| program_names(&text)).unwrap_or_default();
    let by_name = signatures.by_run_value(name);
    let by_data = programs.iter().find_map(|program| signatures.by_name(program));
    let both = programs.iter().find_map(|program| signatures.by_value_and_program(name, program));
    let confirmed = evidence
        .files
        .iter()
        .filter(|file| file.names().any(|name| programs.iter().any(|program| same_name(program, name))))
        .filter_map(|file| signatures.by_digest(&file.content.as_ref().ok()?.digests))
        .find(|found| found.grade() == Grade::Confirmed);
    let known = |signature: &Signature| (signature.family.clone(), signature.title());
    let ((family, title), grade, why) = match (confirmed, both, by_name, by_data) {
        (Some(found), ..) => {
            let known = (found.family().to_owned(), found.title());
            (known, Grade::Confirmed, "it starts a file that a digest and its size confirm")
        }
        (_, Some(both), ..) if both.grade == SignatureGrade::Suspect => (
            known(both),
            Grade::Suspect,
            "its name and the program that it starts are both the worm's, by a source that does not prove enough",
        ),
        (_, Some(both), ..) => {
            (known(both), Grade::Probable, "its name and the program that it starts are both the worm's")
        }
        (_, _, by_name, Some(signature)) if !signature.common_names => {
            let why = match by_name {
                None => "the program that it starts has a name of the worm's, the value has not",
                Some(_) => {
                    "the program that it starts has a name of the worm's; harmless values have the value's name too"
                }
            };
            (known(signature), Grade::Suspect, why)
        }
        (_, _, Some(signature), _) if !signature.common_run_values => (
            known(signature),
            Grade::Suspect,
            "the value has a name of the worm's, the program that it starts has not",
        ),
        (_, _, _, Some(signature)) => (
            known(signature),
            Grade::Information,
            "the program that it starts has a name that the worm has used too, and harmless programs have it",
        ),
        _ => return None,
    };
    Some(Start { family, title, grade, why })
}

impl Autostart<'_> {
    fn judge_value(
        &self,
        evidence: &Evidence,
        (hive, key): (&HiveRole, &RegPath),
        name: &str,
        data: &ValueData,
    ) -> Option<Finding> {
        let Start { family, title, grade, why } = judge_start(evidence, self.signatures, name, data)?;
        Some(Finding {
            check: CheckName::Autostart,
            grade,
            what: match grade {
                Grade::Information => "a value that starts a program with a common name".to_owned(),
                _ => format!("a value that starts {family}"),
            },
            place: format!("{hive}\\{key} [{name}]"),
            facts: Facts {
                signature: Some(title),
                hive: Some(hive.to_string()),
                key: Some(key.to_string()),
                value: Some(name.to_owned()),
                data: Some(data.to_string()),
                ..Facts::default()
            },
            action: None,
            outcome: Outcome::None,
            why: why.to_owned(),
            bearing: if grade <= Grade::Probable { Bearing::Infection } else { Bearing::Nothing },
            subject: Subject::Value {
                hive: hive.clone(),
                key: key.clone(),
                name: name.to_owned(),
                data: Some(data.clone()),
            },
        })
    }
}

impl Check for Autostart<'_> {
    fn name(&self) -> CheckName {
        CheckName::Autostart
    }

    fn wants(&self) -> Wants {
        let both = |name: &str| {
            let key = format!("{ABOVE}\\{name}");
            [KeyWant::software(&key), KeyWant::users(&format!("Software\\{key}"))]
        };
        Wants { keys: KEYS.iter().flat_map(|name| both(name)).collect(), ..Wants::default() }
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (hive, key, found) in keys(evidence) {
            for (name, data) in &found.values {
                match data {
                    Ok(data) => findings.extend(self.judge_value(evidence, (hive, key), name, data)),
                    Err(why) => findings.push(Finding {
                        check: CheckName::Autostart,
                        grade: Grade::Suspect,
                        what: "a value that could not be read".to_owned(),
                        place: format!("{hive}\\{key} [{name}]"),
                        facts: Facts::default(),
                        action: None,
                        outcome: Outcome::None,
                        why: why.clone(),
                        bearing: Bearing::Unreadable,
                        subject: Subject::Nothing,
                    }),
                }
            }
        }
        findings
    }

    fn cure(&self, finding: &Finding, policy: &Policy) -> Vec<Change> {
        let wanted = match finding.grade {
            Grade::Confirmed | Grade::Probable => true,
            Grade::Suspect => policy.suspects == Suspects::Quarantine,
            Grade::Information => false,
        };
        let deletion = || finding.subject.value_change(ValueEdit::Delete, Purpose::Disinfection);
        wanted.then(deletion).flatten().into_iter().collect()
    }
}

//! Registry values that start a worm: below Run and its neighbours in SOFTWARE.

use super::{Check, Evidence, Wants};
use crate::change::{Change, HiveRole, Purpose, ValueData, ValueEdit};
use crate::finding::{Bearing, CheckName, Facts, Finding, Grade, Outcome, Subject};
use crate::path::{RegPath, same_name};
use crate::policy::{Policy, Suspects};
use crate::threat::{Signature, SignatureGrade, Signatures};
use crate::windows::command_line::program_names;

/// Keys whose values Windows starts, below `Microsoft\Windows\CurrentVersion` of SOFTWARE.
const KEYS: [&str; 4] = ["Run", "RunOnce", "RunOnceEx", "RunServices"];

pub(super) struct Autostart<'a> {
    pub(super) signatures: &'a Signatures,
}

/// The keys that this check reads.
fn keys() -> impl Iterator<Item = RegPath> {
    KEYS.iter().map(|name| RegPath::new("Microsoft\\Windows\\CurrentVersion").join(name))
}

/// Whether the evidence holds a registry value that a worm is known by, in name and in data, and that starts a program
/// of this base name.
pub(super) fn starts(evidence: &Evidence, signatures: &Signatures, file_name: &str) -> bool {
    keys().filter_map(|key| evidence.key(HiveRole::Software, &key)).flat_map(|key| &key.values).any(
        |(name, data)| {
            signatures
                .by_value_and_program(name, file_name)
                .is_some_and(|signature| signature.grade == SignatureGrade::Confirmed)
                && data.as_ref().ok().and_then(ValueData::text).is_some_and(|text| {
                    program_names(&text).iter().any(|program| same_name(program, file_name))
                })
        },
    )
}

impl Autostart<'_> {
    fn judge_value(
        &self,
        evidence: &Evidence,
        key: &RegPath,
        name: &str,
        data: &ValueData,
    ) -> Option<Finding> {
        let programs = data.text().map(|text| program_names(&text)).unwrap_or_default();
        let by_name = self.signatures.by_run_value(name);
        let by_data = programs.iter().find_map(|program| self.signatures.by_name(program));
        let both = programs.iter().find_map(|program| self.signatures.by_value_and_program(name, program));
        let confirmed = evidence
            .files
            .iter()
            .filter(|file| file.names().any(|name| programs.iter().any(|program| same_name(program, name))))
            .filter_map(|file| self.signatures.by_digest(&file.content.as_ref().ok()?.digests))
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
        Some(Finding {
            check: CheckName::Autostart,
            grade,
            what: match grade {
                Grade::Information => "a value that starts a program with a common name".to_owned(),
                _ => format!("a value that starts {family}"),
            },
            place: format!("SOFTWARE\\{key} [{name}]"),
            facts: Facts {
                signature: Some(title),
                hive: Some("SOFTWARE".to_owned()),
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
                hive: HiveRole::Software,
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
        Wants { keys: keys().map(|key| (HiveRole::Software, key)).collect(), ..Wants::default() }
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        let mut findings = Vec::new();
        for key in keys() {
            let Some(found) = evidence.key(HiveRole::Software, &key) else { continue };
            for (name, data) in &found.values {
                match data {
                    Ok(data) => findings.extend(self.judge_value(evidence, &key, name, data)),
                    Err(why) => findings.push(Finding {
                        check: CheckName::Autostart,
                        grade: Grade::Suspect,
                        what: "a value that could not be read".to_owned(),
                        place: format!("SOFTWARE\\{key} [{name}]"),
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

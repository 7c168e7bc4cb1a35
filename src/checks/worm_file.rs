//! The worm's own files: by size and digest wherever they lie, by name where name, place and Run value agree.

use super::{Check, Content, Evidence, FileEvidence, Wants, autostart, companion};
use crate::change::{Change, FileChange};
use crate::finding::{Bearing, CheckName, Facts, Finding, Grade, Outcome, Subject};
use crate::policy::{Policy, Suspects};
use crate::threat::{Match, Signature, Signatures};
use crate::windows::own_files::is_windows_own;
use crate::windows::restore_points;

pub(super) struct WormFile<'a> {
    pub(super) signatures: &'a Signatures,
}

/// What one file was judged to be.
struct Judged {
    signature: String,
    grade: Grade,
    what: String,
    why: String,
    bearing: Bearing,
    /// Nothing is done about it, whatever the policy.
    is_left: bool,
}

/// Whether one of its names is in the folder in which the worm puts itself.
fn in_system_folder(evidence: &Evidence, file: &FileEvidence) -> bool {
    let system_folder = evidence.root.join("system32");
    file.facts.paths.iter().any(|path| path.parent().as_ref() == Some(&system_folder))
}

impl WormFile<'_> {
    fn judge_file(&self, evidence: &Evidence, file: &FileEvidence) -> Option<Judged> {
        // What a restore would bring back, and the other worm, have checks of their own.
        if restore_points::hold(&file.facts.paths) || companion::is_its_own(evidence, self.signatures, file) {
            return None;
        }
        let by_name = file.names().find_map(|name| self.signatures.by_name(name));
        let content = match &file.content {
            Ok(content) => content,
            Err(why) => {
                return by_name.map(|signature| {
                    // A common name elsewhere says too little for the verdict to hang on it.
                    let telling = !signature.common_names || in_system_folder(evidence, file);
                    Judged {
                        signature: signature.title(),
                        grade: if telling { Grade::Suspect } else { Grade::Information },
                        what: "a file with a name of the worm's that could not be read".to_owned(),
                        why: why.clone(),
                        bearing: if telling { Bearing::Unreadable } else { Bearing::Nothing },
                        is_left: true,
                    }
                });
            }
        };
        if let Some(found) = self.signatures.by_digest(&content.digests) {
            let grade = found.grade();
            // A Windows that loses such a file does not start: what proves too little takes none away.
            let is_left = grade != Grade::Confirmed
                && file.facts.paths.iter().any(|path| is_windows_own(path, &evidence.root));
            let why = match grade {
                Grade::Suspect if matches!(found, Match::Entry(_)) => {
                    "its digest is that of a hash set's line without a size, and by MD5 or SHA-1 alone nothing is proved"
                }
                Grade::Confirmed => "its size and digests are those of the signature",
                _ => "its digest is that of a signature whose source does not prove enough",
            };
            return Some(Judged {
                signature: found.title(),
                grade,
                what: format!("a file of {}", found.family()),
                why: match is_left {
                    true => format!(
                        "{why}; it is where Windows has a program of its own, so it is left, whatever --suspects says"
                    ),
                    false => why.to_owned(),
                },
                bearing: if grade == Grade::Confirmed { Bearing::Infection } else { Bearing::Nothing },
                is_left,
            });
        }
        by_name.map(|signature| self.judge_by_name(evidence, file, content, signature))
    }

    fn judge_by_name(
        &self,
        evidence: &Evidence,
        file: &FileEvidence,
        content: &Content,
        signature: &Signature,
    ) -> Judged {
        let in_system_folder = in_system_folder(evidence, file);
        let (grade, what, why) = if content.all_zero {
            (
                Grade::Information,
                "an inert file",
                "a name of the worm's over nothing but zero bytes; it cannot start",
            )
        } else if file.facts.paths.iter().any(|path| is_windows_own(path, &evidence.root)) {
            (
                Grade::Information,
                "a program of Windows' own with a name of the worm's",
                "it is where Windows has it, and only a digest could say that it is another",
            )
        } else if content.first_sector_zero {
            (
                Grade::Suspect,
                "a file half made inert",
                "a name of the worm's, the first sector zero and the rest not: an interrupted run left it so",
            )
        } else if !content.executable {
            (
                Grade::Information,
                "a file with a name of the worm's",
                "it is no program, and a name proves nothing",
            )
        } else if in_system_folder
            && file.names().any(|name| autostart::starts(evidence, self.signatures, name))
        {
            (
                Grade::Probable,
                "a file that is most likely the worm",
                "its name and place are the worm's, and a value of the worm's starts it; no digest confirms it",
            )
        } else if signature.common_names && !in_system_folder {
            (
                Grade::Information,
                "a program with a name that the worm has used too",
                "harmless programs have this name, it is not where the worm's would be, and no digest confirms it",
            )
        } else {
            (
                Grade::Suspect,
                "a program with a name of the worm's",
                "no digest confirms it, and a name proves nothing",
            )
        };
        Judged {
            signature: signature.title(),
            grade,
            what: what.to_owned(),
            why: why.to_owned(),
            bearing: if grade == Grade::Probable { Bearing::Infection } else { Bearing::Nothing },
            is_left: false,
        }
    }
}

impl Check for WormFile<'_> {
    fn name(&self) -> CheckName {
        CheckName::WormFile
    }

    fn wants(&self) -> Wants {
        Wants {
            names: self.signatures.names().clone(),
            sizes: self.signatures.sizes().clone(),
            more_sizes: vec![self.signatures.sizes_of_hash_sets()],
            all_programs: self.signatures.deep(),
            ..Wants::default()
        }
    }

    fn keeps(&self, content: &Content) -> bool {
        self.signatures.by_digest(&content.digests).is_some_and(|found| !found.is_companion())
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        let mut findings = Vec::new();
        for file in &evidence.files {
            let Some(judged) = self.judge_file(evidence, file) else { continue };
            let content = file.content.as_ref().ok();
            findings.push(Finding {
                check: CheckName::WormFile,
                grade: judged.grade,
                what: judged.what,
                place: file.facts.path.to_string(),
                facts: Facts {
                    signature: Some(judged.signature),
                    digests: content.map(|content| content.digests.clone()),
                    ..Facts::of_file(file.facts.id)
                },
                action: None,
                outcome: Outcome::None,
                why: judged.why,
                bearing: judged.bearing,
                subject: match content.filter(|_| !judged.is_left) {
                    Some(content) => Subject::File {
                        id: file.facts.id,
                        path: file.facts.path.clone(),
                        digests: content.digests.clone(),
                    },
                    None => Subject::Nothing,
                },
            });
        }
        findings
    }

    fn cure(&self, finding: &Finding, policy: &Policy) -> Vec<Change> {
        let Subject::File { id, path, digests } = &finding.subject else { return Vec::new() };
        let wanted = match finding.grade {
            Grade::Confirmed | Grade::Probable => true,
            Grade::Suspect => policy.suspects == Suspects::Quarantine,
            Grade::Information => false,
        };
        let change = FileChange { path: path.clone(), id: *id, digests: digests.clone() };
        if wanted { vec![Change::File(change)] } else { Vec::new() }
    }
}

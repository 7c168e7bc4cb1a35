//! The worm's own files: by size and digest wherever they lie, by name where name, place and Run value agree.

use super::{Check, Content, Evidence, FileEvidence, Wants, autostart};
use crate::change::{Change, FileChange};
use crate::finding::{Bearing, CheckName, Facts, Finding, Grade, Outcome, Subject};
use crate::path::fold_name;
use crate::policy::{Policy, Suspects};
use crate::threat::{Signature, Signatures};

pub(super) struct WormFile<'a> {
    pub(super) signatures: &'a Signatures,
}

/// What one file was judged to be.
struct Judged<'a> {
    signature: Option<&'a Signature>,
    grade: Grade,
    what: String,
    why: String,
    bearing: Bearing,
}

impl WormFile<'_> {
    fn judge_file(&self, evidence: &Evidence, file: &FileEvidence) -> Option<Judged<'_>> {
        let by_name = file.names().find_map(|name| self.signatures.by_name(name));
        let content = match &file.content {
            Ok(content) => content,
            Err(why) => {
                return by_name.map(|signature| Judged {
                    signature: Some(signature),
                    grade: Grade::Suspect,
                    what: "a file with a name of the worm's that could not be read".to_owned(),
                    why: why.clone(),
                    bearing: Bearing::Unreadable,
                });
            }
        };
        if let Some((signature, grade)) = self.signatures.by_digest(&content.digests) {
            let why = match grade {
                Grade::Confirmed => "its size and digests are those of the signature",
                _ => "its digest is that of a signature whose source does not prove enough",
            };
            return Some(Judged {
                signature: Some(signature),
                grade,
                what: format!("a file of {}", signature.family),
                why: why.to_owned(),
                bearing: if grade == Grade::Confirmed { Bearing::Infection } else { Bearing::Nothing },
            });
        }
        by_name.map(|signature| self.judge_by_name(evidence, file, content, signature))
    }

    fn judge_by_name<'s>(
        &self,
        evidence: &Evidence,
        file: &FileEvidence,
        content: &Content,
        signature: &'s Signature,
    ) -> Judged<'s> {
        let system_folder = evidence.root.join("system32");
        let in_system_folder =
            file.facts.paths.iter().any(|path| path.parent().as_ref() == Some(&system_folder));
        let (grade, what, why) = if content.all_zero {
            (
                Grade::Information,
                "an inert file",
                "a name of the worm's over nothing but zero bytes; it cannot start",
            )
        } else if content.first_sector_zero {
            (
                Grade::Suspect,
                "a file half made inert",
                "a name of the worm's, the first sector zero and the rest not: an interrupted run left it so",
            )
        } else if in_system_folder
            && content.executable
            && file.names().any(|name| autostart::starts(evidence, self.signatures, name))
        {
            (
                Grade::Probable,
                "a file that is most likely the worm",
                "its name and place are the worm's, and a value of the worm's starts it; no digest confirms it",
            )
        } else if content.executable {
            (
                Grade::Suspect,
                "a program with a name of the worm's",
                "no digest confirms it, and a name proves nothing",
            )
        } else {
            (
                Grade::Information,
                "a file with a name of the worm's",
                "it is no program, and a name proves nothing",
            )
        };
        Judged {
            signature: Some(signature),
            grade,
            what: what.to_owned(),
            why: why.to_owned(),
            bearing: if grade == Grade::Probable { Bearing::Infection } else { Bearing::Nothing },
        }
    }
}

impl Check for WormFile<'_> {
    fn name(&self) -> CheckName {
        CheckName::WormFile
    }

    fn wants(&self) -> Wants {
        let mut wants = Wants::default();
        for signature in self.signatures.list() {
            wants.names.extend(signature.names.iter().map(|name| fold_name(name)));
            wants.sizes.extend(signature.size.filter(|size| self.signatures.knows_size(*size)));
        }
        wants
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
                    signature: judged.signature.map(Signature::title),
                    digests: content.map(|content| content.digests.clone()),
                    ..Facts::of_file(file.facts.id)
                },
                action: None,
                outcome: Outcome::None,
                why: judged.why,
                bearing: judged.bearing,
                subject: match content {
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

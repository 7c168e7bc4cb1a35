//! W32/Welchia, also called Nachi: the worm that came by the same hole to remove this one. Its services and its files
//! are told always and cured under `--companions` alone, since nobody asked a technician to remove it.
//!
//! Its programs are called as programs of Windows are, so that a name says nothing outside its own folder: a file is its
//! own in `system32\wins` alone, and nothing anywhere else is ever touched. The folder stays: WINS keeps its database
//! there. The services' keys stay too, disabled, so that undo has only a number to put back.

use super::{Check, Content, Evidence, FileEvidence, KeyEvidence, KeyWant, Wants};
use crate::change::{Change, FileChange, HiveRole, Purpose, ValueData, ValueEdit, ValueType};
use crate::finding::{Bearing, CheckName, Facts, Finding, Grade, Outcome, Subject};
use crate::path::{RegPath, WinPath, fold_name, same_name};
use crate::policy::{Policy, Suspects};
use crate::threat::{Match, Role, Signature, Signatures};
use crate::windows::own_files::is_windows_own;
use crate::windows::restore_points;

/// Below a control set.
const SERVICES: &str = "Services";
const START: &str = "Start";
const IMAGE: &str = "ImagePath";
/// Start of a service that nothing starts.
const DISABLED: u32 = 4;
const CURE_OF_SERVICE: &str = "--companions sets its Start to 4 (disabled) and keeps its key";
const CURE_OF_FILE: &str = "--companions quarantines it and makes it inert";

pub(super) struct Companion<'a> {
    pub(super) signatures: &'a Signatures,
}

/// The signatures of companions.
fn known(signatures: &Signatures) -> impl Iterator<Item = &Signature> {
    signatures.list().iter().filter(|signature| signature.role == Role::Companion)
}

/// The signature in whose own folder, and under one of whose names, a path is.
fn owner<'a>(evidence: &Evidence, signatures: &'a Signatures, path: &WinPath) -> Option<&'a Signature> {
    known(signatures).find(|signature| {
        let folder = signature.folder.as_ref().map(|folder| evidence.root.join(folder));
        folder.is_some() && path.parent() == folder && signature.has_name(path.file_name())
    })
}

/// Whether the judgement on a file is this check's and not that of the worm's files: by its digest, else by its place.
pub(super) fn is_its_own(evidence: &Evidence, signatures: &Signatures, file: &FileEvidence) -> bool {
    let in_place = || file.facts.paths.iter().any(|path| owner(evidence, signatures, path).is_some());
    match by_digest(signatures, file) {
        // A hash set does not tell one worm from the other.
        Some(Match::Entry(_)) | None => in_place(),
        Some(found) => found.is_companion(),
    }
}

/// Whether the command of a service starts a program of the signature's in its own folder.
fn starts(signature: &Signature, command: &str, program: Option<&str>) -> bool {
    let Some(folder) = &signature.folder else { return false };
    let command = fold_name(command);
    signature.names.iter().filter(|name| program.is_none_or(|program| same_name(program, name))).any(|name| {
        let path = fold_name(&format!("{folder}\\{name}"));
        command.match_indices(&path).any(|(at, _)| {
            let before = command.get(..at).and_then(|text| text.chars().next_back());
            let after = command.get(at + path.len()..).and_then(|text| text.chars().next());
            before.is_none_or(|c| c == '\\' || c == '"')
                && after.is_none_or(|c| c == '"' || c.is_whitespace())
        })
    })
}

/// One service of the companion's, in one control set.
struct Service<'a> {
    signature: &'a Signature,
    path: RegPath,
    key: &'a KeyEvidence,
}

impl<'a> Service<'a> {
    /// Those that there are.
    fn all(evidence: &'a Evidence, signatures: &'a Signatures) -> Vec<Self> {
        let mut found = Vec::new();
        for set in evidence.select.sets() {
            for signature in known(signatures) {
                for name in &signature.services {
                    let path = set.join(SERVICES).join(name);
                    let key = evidence.key(&HiveRole::System, &path);
                    found.extend(key.map(|key| Self { signature, path, key }));
                }
            }
        }
        found
    }

    fn command(&self) -> Option<String> {
        self.key.value(IMAGE)?.as_ref().ok()?.text()
    }

    fn starts(&self, program: Option<&str>) -> bool {
        self.command().is_some_and(|command| starts(self.signature, &command, program))
    }

    fn judge(&self, evidence: &Evidence, signatures: &Signatures) -> Finding {
        let start = self.key.value(START);
        let number = start.and_then(|data| data.as_ref().ok()?.dword());
        let unread = [START, IMAGE].into_iter().find_map(|name| self.key.value(name)?.as_ref().err());
        let confirmed = || {
            evidence.files.iter().any(|file| {
                let is_started = |path: &WinPath| {
                    owner(evidence, signatures, path).is_some() && self.starts(Some(path.file_name()))
                };
                file.facts.paths.iter().any(is_started)
                    && by_digest(signatures, file).is_some_and(|found| found.grade() == Grade::Confirmed)
            })
        };
        let (grade, bearing, why) = if let Some(why) = unread {
            (Grade::Suspect, Bearing::Unreadable, why.clone())
        } else if number == Some(DISABLED) {
            (
                Grade::Information,
                Bearing::Nothing,
                "it is disabled (Start is 4); nothing starts it".to_owned(),
            )
        } else if !self.starts(None) {
            let why = "the key has the name of a service of the companion's, its ImagePath does not name a program of the \
                       companion's; a name proves nothing";
            (Grade::Suspect, Bearing::Nothing, why.to_owned())
        } else if confirmed() {
            let why = format!("it starts a file that a digest and its size confirm; {CURE_OF_SERVICE}");
            (Grade::Confirmed, Bearing::Infection, why)
        } else {
            let why = format!(
                "its name and the program that it starts are both the companion's; {CURE_OF_SERVICE}"
            );
            (Grade::Probable, Bearing::Infection, why)
        };
        let family = &self.signature.family;
        Finding {
            check: CheckName::Companion,
            grade,
            what: match bearing {
                Bearing::Infection => format!("a service of {family}"),
                Bearing::Unreadable => format!("a service with a name of {family}'s that could not be read"),
                _ if grade == Grade::Information => format!("a disabled service of {family}"),
                _ => format!("a service with a name of {family}'s"),
            },
            place: format!("SYSTEM\\{} [{START}]", self.path),
            facts: Facts {
                signature: Some(self.signature.title()),
                hive: Some("SYSTEM".to_owned()),
                key: Some(self.path.to_string()),
                value: Some(START.to_owned()),
                data: Some(format!(
                    "{}; {IMAGE} {}",
                    number.map_or_else(|| "not set".to_owned(), |number| number.to_string()),
                    self.command().as_deref().unwrap_or("not set")
                )),
                ..Facts::default()
            },
            action: None,
            outcome: Outcome::None,
            why,
            bearing,
            subject: match unread {
                Some(_) => Subject::Nothing,
                None => Subject::Value {
                    hive: HiveRole::System,
                    key: self.path.clone(),
                    name: START.to_owned(),
                    data: start.and_then(|data| data.as_ref().ok().cloned()),
                },
            },
        }
    }
}

fn by_digest<'a>(signatures: &'a Signatures, file: &FileEvidence) -> Option<Match<'a>> {
    signatures.by_digest(&file.content.as_ref().ok()?.digests)
}

/// What one file was judged to be.
struct Judged {
    grade: Grade,
    bearing: Bearing,
    what: &'static str,
    why: String,
    is_curable: bool,
}

impl Judged {
    fn left(grade: Grade, what: &'static str, why: impl Into<String>) -> Self {
        Self { grade, bearing: Bearing::Nothing, what, why: why.into(), is_curable: false }
    }

    fn curable(grade: Grade, what: &'static str, why: &str) -> Self {
        let bearing = if grade <= Grade::Probable { Bearing::Infection } else { Bearing::Nothing };
        Self { grade, bearing, what, why: format!("{why}; {CURE_OF_FILE}"), is_curable: true }
    }
}

impl Companion<'_> {
    fn judge_file(
        &self,
        evidence: &Evidence,
        services: &[Service<'_>],
        file: &FileEvidence,
    ) -> Option<Finding> {
        let paths = &file.facts.paths;
        if restore_points::hold(paths) || !is_its_own(evidence, self.signatures, file) {
            return None;
        }
        let digest = by_digest(self.signatures, file);
        let (path, title, judged) = match paths
            .iter()
            .find_map(|path| owner(evidence, self.signatures, path).map(|signature| (path, signature)))
        {
            Some((path, signature)) => {
                let title = digest.as_ref().map_or_else(|| signature.title(), Match::title);
                (path, title, self.judge_own(evidence, services, (file, path), digest))
            }
            None => {
                let found = digest.filter(Match::is_companion)?;
                // Its second program is a copy of Windows' own tftpd.exe.
                if paths.iter().any(|path| is_windows_own(path, &evidence.root)) {
                    return None;
                }
                let why = "its digest is that of a signature of the companion's, but it is not in the companion's folder, \
                           where alone files are touched";
                let what = "a file of the companion's outside its folder";
                (&file.facts.path, found.title(), Judged::left(Grade::Information, what, why))
            }
        };
        let content = file.content.as_ref().ok();
        Some(Finding {
            check: CheckName::Companion,
            grade: judged.grade,
            what: judged.what.to_owned(),
            place: path.to_string(),
            facts: Facts {
                signature: Some(title),
                digests: content.map(|content| content.digests.clone()),
                ..Facts::of_file(file.facts.id)
            },
            action: None,
            outcome: Outcome::None,
            why: judged.why,
            bearing: judged.bearing,
            subject: match content.filter(|_| judged.is_curable) {
                Some(content) => {
                    Subject::File { id: file.facts.id, path: path.clone(), digests: content.digests.clone() }
                }
                None => Subject::Nothing,
            },
        })
    }

    /// A file under one of the names in the folder.
    fn judge_own(
        &self,
        evidence: &Evidence,
        services: &[Service<'_>],
        (file, path): (&FileEvidence, &WinPath),
        digest: Option<Match<'_>>,
    ) -> Judged {
        let content = match &file.content {
            Ok(content) => content,
            Err(why) => {
                let what = "a file in the companion's place that could not be read";
                return Judged { bearing: Bearing::Unreadable, ..Judged::left(Grade::Suspect, what, why) };
            }
        };
        let elsewhere = file.facts.paths.iter().find(|path| owner(evidence, self.signatures, path).is_none());
        if content.all_zero {
            let why = "the companion's name and place over nothing but zero bytes; it cannot start";
            let inert = Judged::left(Grade::Information, "an inert file", why);
            return Judged { is_curable: elsewhere.is_none(), ..inert };
        }
        if let Some(other) = elsewhere {
            let why = format!(
                "the same file is {other} too, and nothing outside the companion's folder is touched"
            );
            return Judged::left(
                Grade::Suspect,
                "a file in the companion's place with another name elsewhere",
                why,
            );
        }
        let is_started = || services.iter().any(|service| service.starts(Some(path.file_name())));
        match digest.map(|found| found.grade()) {
            Some(Grade::Confirmed) => Judged::curable(
                Grade::Confirmed,
                "a file of the companion",
                "its size and digests are those of the signature",
            ),
            Some(_) => Judged::curable(
                Grade::Suspect,
                "a file of the companion",
                "its digest is that of a signature whose source does not prove enough",
            ),
            None if content.first_sector_zero => Judged::curable(
                Grade::Suspect,
                "a file half made inert",
                "the companion's name and place, the first sector zero and the rest not: an interrupted run left it so",
            ),
            None if !content.executable => Judged::left(
                Grade::Information,
                "a file with the companion's name and place",
                "it is no program, and a name proves nothing",
            ),
            None if is_started() => Judged::curable(
                Grade::Probable,
                "a file that is most likely the companion",
                "its name and place are the companion's, and a service of the companion's names it; no digest confirms it",
            ),
            None => Judged::curable(
                Grade::Suspect,
                "a program with the companion's name and place",
                "no service of the companion's names it and no digest confirms it",
            ),
        }
    }
}

impl Check for Companion<'_> {
    fn name(&self) -> CheckName {
        CheckName::Companion
    }

    fn wants(&self) -> Wants {
        let services = known(self.signatures).flat_map(|signature| &signature.services);
        Wants {
            names: known(self.signatures)
                .filter(|signature| signature.folder.is_some())
                .flat_map(|signature| signature.names.iter().map(|name| fold_name(name)))
                .collect(),
            keys: services.map(|name| KeyWant::control_sets(&format!("{SERVICES}\\{name}"))).collect(),
            ..Wants::default()
        }
    }

    fn keeps(&self, content: &Content) -> bool {
        self.signatures.by_digest(&content.digests).is_some_and(|found| found.is_companion())
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        let services = Service::all(evidence, self.signatures);
        let of_services = services.iter().map(|service| service.judge(evidence, self.signatures));
        let of_files = evidence.files.iter().filter_map(|file| self.judge_file(evidence, &services, file));
        of_services.chain(of_files).collect()
    }

    fn cure(&self, finding: &Finding, policy: &Policy) -> Vec<Change> {
        let wanted = policy.companions
            && match finding.grade {
                Grade::Confirmed | Grade::Probable => true,
                Grade::Suspect => policy.suspects == Suspects::Quarantine,
                Grade::Information => false,
            };
        let change = match &finding.subject {
            _ if !wanted => None,
            Subject::File { id, path, digests } => {
                Some(Change::File(FileChange { path: path.clone(), id: *id, digests: digests.clone() }))
            }
            value => {
                let to = ValueData { kind: ValueType::DWORD, data: DISABLED.to_le_bytes().to_vec() };
                value.value_change(ValueEdit::Set { to }, Purpose::Disinfection)
            }
        };
        change.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_for_the_program_in_the_own_folder_alone() {
        let signatures = Signatures::builtin().unwrap();
        let welchia = known(&signatures).next().unwrap();
        for command in [
            r"C:\WINNT\system32\wins\dllhost.exe",
            r#""c:\windows\SYSTEM32\WINS\DLLHOST.EXE" /x"#,
            r"%SystemRoot%\system32\wins\dllhost.exe",
            r"system32\wins\dllhost.exe",
        ] {
            assert!(
                starts(welchia, command, Some("DllHost.exe")) && starts(welchia, command, None),
                "{command}"
            );
            assert!(!starts(welchia, command, Some("svchost.exe")), "{command}");
        }
        for command in [
            r"C:\WINNT\system32\dllhost.exe",
            r"C:\WINNT\system32\wins\dllhost.exe.bak",
            r"C:\WINNT\othersystem32\wins\dllhost.exe",
            r"C:\WINNT\system32\wins\wins.exe",
            "",
        ] {
            assert!(!starts(welchia, command, None), "{command}");
        }
    }
}

//! What the worm leaves behind without being able to start: evidence that it ran, for the technician's eyes. Information
//! only; none of it is ever counted or changed.
//!
//! Sources: KB826955 (TFTP files, the failure action of RPC), Microsoft's encyclopedia (Recycle Bin), eventid.net
//! (event 7031); libyal for the formats.

use super::{Check, Evidence, FileEvidence, Gleaned, KeyWant, Noticed, Wants};
use crate::change::{Change, HiveRole};
use crate::error::Result;
use crate::finding::{Bearing, CheckName, Facts, Finding, Grade, Outcome, Subject};
use crate::path::{WinPath, same_name};
use crate::policy::Policy;
use crate::threat::{Role, Signature, Signatures};
use crate::volume::FileFacts;
use crate::volume::bytes::u32_at;
use crate::windows::event_log::{EventRecord, records};
use crate::windows::{prefetch, recycle_bin};

/// A cut transfer is no longer than what was to come; in bytes.
const MAX_TRANSFER: u64 = 64 << 10;
/// Largest list of deleted files that is read, in bytes: more than a thousand of them.
const MAX_DELETED: u64 = 1 << 20;
/// Largest event log that is read, in bytes: Windows' own limit is 512 KiB unless it was raised.
const MAX_LOG: u64 = 16 << 20;
const LOG: &str = "system32\\config\\SysEvent.Evt";
const SERVICE: &str = "Services\\RpcSs";
const ACTIONS: &str = "FailureActions";
/// Action of a service's failure: restart Windows.
const REBOOT: u32 = 2;
/// The most names that one finding gives.
const SHOWN: usize = 5;

pub(super) struct Traces<'a> {
    pub(super) signatures: &'a Signatures,
}

/// What is told of one trace.
fn finding(what: String, place: String, facts: Facts, why: impl Into<String>) -> Finding {
    Finding {
        check: CheckName::Traces,
        grade: Grade::Information,
        what,
        place,
        facts,
        action: None,
        outcome: Outcome::None,
        why: why.into(),
        bearing: Bearing::Nothing,
        subject: Subject::Nothing,
    }
}

fn of_file(noticed: &Noticed, what: String, facts: Facts, why: impl Into<String>) -> Finding {
    finding(what, noticed.facts.path.to_string(), facts, why)
}

/// `TFTP123`: what Windows' tftp.exe calls a file until it has come.
fn is_transfer(name: &str) -> bool {
    let (head, digits) = name.split_at_checked(4).unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && head.eq_ignore_ascii_case("TFTP")
}

/// Delay in milliseconds of the first restart of Windows among the actions of a service's failure.
fn reboot_delay(actions: &[u8]) -> Option<u32> {
    let count = u32_at(actions, 12)?;
    let pairs = actions.get(20..)?.as_chunks::<8>().0.iter().take(usize::try_from(count).ok()?);
    let mut pairs = pairs.map(|pair| (u32_at(pair, 0), u32_at(pair, 4)));
    pairs.find(|(kind, _)| *kind == Some(REBOOT)).and_then(|(_, delay)| delay)
}

/// Whether a record says that the RPC service has ended; its name is that of the language of Windows, with RPC in it.
fn is_end_of_rpc(record: &EventRecord) -> bool {
    record.id == 7031
        && record.source == "Service Control Manager"
        && record.strings.iter().any(|text| text.contains("RPC"))
}

impl Traces<'_> {
    fn companions(&self) -> impl Iterator<Item = &Signature> {
        self.signatures.list().iter().filter(|signature| signature.role == Role::Companion)
    }

    /// A prefetch file of one of the worm's names, or of the companion in its own folder.
    fn judge_prefetch(&self, evidence: &Evidence, noticed: &Noticed) -> Option<Finding> {
        let (program, hash) = prefetch::parse_name(noticed.facts.path.file_name())?;
        let path_in = |folder: &WinPath| prefetch::path_of(folder.as_str(), program, hash);
        let of_companion = || {
            self.companions().filter(|signature| signature.has_name(program)).find_map(|signature| {
                Some((signature, path_in(&evidence.root.join(signature.folder.as_deref()?))))
            })
        };
        let (signature, path) = match self.signatures.by_name(program) {
            Some(signature) => {
                let path = path_in(&evidence.root.join("system32")).or_else(|| path_in(&evidence.root));
                if path.is_none() && signature.common_names {
                    return None;
                }
                (signature, path)
            }
            None => of_companion().filter(|(_, path)| path.is_some())?,
        };
        let whence = path.as_ref().map_or_else(
            || "the hash in its name is that of another folder than system32 or the system root".to_owned(),
            |path| format!("the hash in its name is that of {path}"),
        );
        let facts =
            Facts { signature: Some(signature.title()), data: path, ..Facts::of_file(noticed.facts.id) };
        let what = format!("a prefetch file: {program} was started on this Windows");
        Some(of_file(noticed, what, facts, format!("{whence}; it can start nothing")))
    }

    /// Entries of a list of deleted files that name one of the worm's.
    fn judge_deleted(&self, noticed: &Noticed, paths: &[String]) -> Option<Finding> {
        let found: Vec<(&str, &Signature)> = paths
            .iter()
            .filter_map(|path| {
                let (folder, name) = path.rsplit_once('\\')?;
                let in_system = folder.rsplit('\\').next().is_some_and(|last| same_name(last, "system32"));
                let signature = self.signatures.by_name(name).filter(|s| in_system || !s.common_names)?;
                Some((path.as_str(), signature))
            })
            .collect();
        let (_, first) = found.first()?;
        let shown: Vec<&str> = found.iter().map(|(path, _)| *path).take(SHOWN).collect();
        let facts = Facts {
            signature: Some(first.title()),
            data: Some(shown.join("; ")),
            ..Facts::of_file(noticed.facts.id)
        };
        let what = format!("the Recycle Bin tells of deleted files of the worm's names ({})", found.len());
        let why =
            "whoever empties the bin has them gone; a file in it that a digest confirms is told by itself";
        Some(of_file(noticed, what, facts, why))
    }

    fn judge_events(noticed: &Noticed, events: &[EventRecord]) -> Option<Finding> {
        let times = || events.iter().filter_map(|event| event.written);
        let span = times().min().zip(times().max()).map(|(first, last)| format!("{first} to {last}"));
        let facts = Facts { data: span.clone(), ..Facts::of_file(noticed.facts.id) };
        let what = format!("event 7031: the RPC service ended unexpectedly, {} times", events.len());
        let why = format!(
            "{}; each time may have been an attack through the hole that the worm uses",
            span.unwrap_or_else(|| "the records have no time".to_owned())
        );
        (!events.is_empty()).then(|| of_file(noticed, what, facts, why))
    }

    /// What tftp.exe left, in one finding.
    fn judge_transfers(&self, evidence: &Evidence) -> Option<Finding> {
        let is_known = |file: &FileEvidence| {
            file.content.as_ref().is_ok_and(|content| self.signatures.by_digest(&content.digests).is_some())
        };
        let found: Vec<(&Noticed, &'static str)> = evidence
            .noticed_by(CheckName::Traces)
            .filter(|noticed| is_transfer(noticed.facts.path.file_name()))
            // A whole one is the worm's file, and told as such.
            .filter(|noticed| {
                !evidence.files.iter().any(|file| file.facts.id == noticed.facts.id && is_known(file))
            })
            .map(|noticed| match &noticed.told {
                Ok(Gleaned::Head { is_program: true }) => (noticed, "begins as a program does"),
                Ok(_) => (noticed, "is no program"),
                Err(_) => (noticed, "could not be read"),
            })
            .collect();
        let (first, _) = found.first()?;
        let shown = found.iter().take(SHOWN).map(|(noticed, how)| {
            format!("{} of {} bytes {how}", noticed.facts.path.file_name(), noticed.facts.size)
        });
        let facts =
            Facts { data: Some(shown.collect::<Vec<_>>().join("; ")), ..Facts::of_file(first.facts.id) };
        let what = format!("files that a TFTP transfer left when it was cut ({})", found.len());
        let why = "the worm comes by TFTP, and what it has not got whole stays under such a name (KB826955); \
                   nothing starts it, and it may be deleted";
        Some(of_file(first, what, facts, why))
    }

    fn judge_failure_action(evidence: &Evidence) -> Option<Finding> {
        let (path, delay) = evidence.select.sets().find_map(|set| {
            let path = set.join(SERVICE);
            let data = evidence.key(&HiveRole::System, &path)?.value(ACTIONS)?.as_ref().ok()?;
            Some((path, reboot_delay(&data.data)?))
        })?;
        let facts = Facts {
            hive: Some("SYSTEM".to_owned()),
            key: Some(path.to_string()),
            value: Some(ACTIONS.to_owned()),
            data: Some(format!("restart Windows after {delay} ms")),
            ..Facts::default()
        };
        let what = "Windows restarts itself when the RPC service ends".to_owned();
        let why = "Windows comes so, and it is what makes an attacked machine restart again and again; on the running \
                   Windows it can be changed for the time of the cure (KB826955)";
        Some(finding(what, format!("SYSTEM\\{path} [{ACTIONS}]"), facts, why))
    }
}

impl Check for Traces<'_> {
    fn name(&self) -> CheckName {
        CheckName::Traces
    }

    fn wants(&self) -> Wants {
        Wants { keys: vec![KeyWant::control_sets(SERVICE)], ..Wants::default() }
    }

    fn notices(&self, name: &str) -> bool {
        let is_prefetch = || {
            prefetch::parse_name(name).is_some_and(|(program, _)| {
                self.signatures.knows_name(program) || self.companions().any(|s| s.has_name(program))
            })
        };
        let lists = ["INFO2", "INFO", "SysEvent.Evt"];
        is_transfer(name) || lists.iter().any(|known| same_name(known, name)) || is_prefetch()
    }

    fn asks(&self, facts: &FileFacts, root: &WinPath) -> Option<u64> {
        let (name, folder) = (facts.path.file_name(), facts.path.parent()?);
        if prefetch::parse_name(name).is_some() {
            return (folder == root.join("Prefetch")).then_some(0);
        }
        if is_transfer(name) {
            let is_there = folder == root.join("system32") || folder == *root;
            return (is_there && facts.size <= MAX_TRANSFER).then_some(MAX_TRANSFER);
        }
        if facts.path == root.join(LOG) {
            return Some(MAX_LOG);
        }
        let bins = [WinPath::new("RECYCLER"), WinPath::new("RECYCLED")];
        (name.len() <= 5 && bins.iter().any(|bin| facts.path.is_below(bin))).then_some(MAX_DELETED)
    }

    fn gleans(&self, facts: &FileFacts, bytes: Vec<u8>) -> Result<Gleaned> {
        let name = facts.path.file_name();
        Ok(if is_transfer(name) {
            Gleaned::Head { is_program: bytes.starts_with(b"MZ") }
        } else if same_name(name, "SysEvent.Evt") {
            Gleaned::Events(records(&bytes).filter(is_end_of_rpc).collect())
        } else {
            Gleaned::Deleted(recycle_bin::deleted_paths(&bytes))
        })
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        let of_files = evidence.noticed_by(self.name()).filter_map(|noticed| match &noticed.told {
            Ok(Gleaned::Name) => self.judge_prefetch(evidence, noticed),
            Ok(Gleaned::Deleted(paths)) => self.judge_deleted(noticed, paths),
            Ok(Gleaned::Events(events)) => Self::judge_events(noticed, events),
            Err(why) if !is_transfer(noticed.facts.path.file_name()) => {
                let what = "a file that may tell of the worm could not be read".to_owned();
                Some(of_file(noticed, what, Facts::of_file(noticed.facts.id), why.clone()))
            }
            _ => None,
        });
        let transfers = self.judge_transfers(evidence);
        of_files.chain(transfers).chain(Self::judge_failure_action(evidence)).collect()
    }

    fn cure(&self, _finding: &Finding, _policy: &Policy) -> Vec<Change> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cut_transfers() {
        assert!(["TFTP1", "tftp4711"].into_iter().all(is_transfer));
        assert!(!["TFTP", "TFTP1.exe", "xTFTP1", "tftp.exe", "TFTP-1"].into_iter().any(is_transfer));
    }

    #[test]
    fn only_a_restart_of_windows_is_a_failure_action_to_tell() {
        let blob = |count: u32, pairs: &[[u32; 2]]| {
            let head = [0, 0, 0, count, 0];
            let numbers = head.iter().chain(pairs.iter().flatten());
            numbers.flat_map(|number: &u32| number.to_le_bytes()).collect::<Vec<u8>>()
        };
        assert_eq!(reboot_delay(&blob(1, &[[2, 60_000]])), Some(60_000));
        assert_eq!(reboot_delay(&blob(2, &[[1, 5], [2, 7]])), Some(7));
        assert_eq!(reboot_delay(&blob(1, &[[1, 5], [2, 7]])), None, "only one of them counts");
        assert_eq!(reboot_delay(&blob(u32::MAX, &[[1, 5]])), None);
        assert_eq!(reboot_delay(&[0; 12]), None);
    }
}

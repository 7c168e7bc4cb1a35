//! What System Restore of Windows XP would bring back: copies of the worm, by digest alone, since they have names of
//! their own; and registry snapshots that hold a value that starts it.
//!
//! They are told and counted, and made inert where `--restore-points quarantine` asks for it. `change.log` of a restore
//! point names its files, and is never edited: the names stay, and System Restore removes them with their point.

use super::{Check, Content, Evidence, FileEvidence, Gleaned, KeyEvidence, Noticed, autostart};
use crate::change::{Change, FileChange};
use crate::digest::Digests;
use crate::error::{Error, Result};
use crate::finding::{Bearing, CheckName, Facts, Finding, Grade, Outcome, Subject};
use crate::hive::Hive;
use crate::path::{RegPath, WinPath};
use crate::policy::{Policy, RestorePoints, Suspects};
use crate::threat::Signatures;
use crate::volume::FileFacts;
use crate::windows::restore_points::{self, SnapshotHive, hive_by_name};

/// A snapshot larger than this, in bytes, is not read: it is held in memory as a whole.
const MAX_SNAPSHOT: u64 = 128 << 20;
const CURE: &str = "--restore-points quarantine makes it inert";

pub(super) struct RestorePoint<'a> {
    pub(super) signatures: &'a Signatures,
}

/// What a snapshot tells.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Digests and size.
    pub digests: Digests,
    /// The keys whose values Windows starts; none where the file is nothing but zero bytes.
    pub keys: Option<Vec<(RegPath, KeyEvidence)>>,
}

impl Snapshot {
    /// Reads a snapshot, which is dropped again: a registry is large.
    ///
    /// # Errors
    /// It is no hive, or damaged on the way to the keys.
    fn read(kind: SnapshotHive, bytes: Vec<u8>) -> Result<Self> {
        let digests = Digests::of(&bytes);
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(Self { digests, keys: None });
        }
        let hive = Hive::parse(bytes)?;
        let mut keys = Vec::new();
        for path in autostart::key_paths(kind == SnapshotHive::User) {
            if let Some(key) = hive.key(&path)? {
                keys.push((path, KeyEvidence::of(&key)?));
            }
        }
        Ok(Self { digests, keys: Some(keys) })
    }
}

/// What is found of a file in a restore point.
fn finding(grade: Grade, what: &str, place: &WinPath, facts: Facts, why: String) -> Finding {
    let restorable = grade != Grade::Information;
    Finding {
        check: CheckName::RestorePoint,
        grade,
        what: what.to_owned(),
        place: place.to_string(),
        facts,
        action: None,
        outcome: Outcome::None,
        why: if restorable { format!("{why}; {CURE}") } else { why },
        bearing: if restorable { Bearing::RestorableCopy } else { Bearing::Nothing },
        subject: Subject::Nothing,
    }
}

fn subject(facts: &FileFacts, digests: &Digests) -> Subject {
    Subject::File { id: facts.id, path: facts.path.clone(), digests: digests.clone() }
}

impl RestorePoint<'_> {
    /// A copy, by its digest.
    fn judge_copy(&self, file: &FileEvidence) -> Option<Finding> {
        let point = restore_points::point(&file.facts.path)?;
        if !restore_points::hold(&file.facts.paths) {
            return None;
        }
        let content = file.content.as_ref().ok()?;
        let found = self.signatures.by_digest(&content.digests)?;
        let facts = Facts {
            signature: Some(found.title()),
            digests: Some(content.digests.clone()),
            ..Facts::of_file(file.facts.id)
        };
        let proof = match found.grade() {
            Grade::Confirmed => "its size and digests are those of the signature",
            _ => "its digest is that of a signature whose source does not prove enough",
        };
        let what = format!("a copy of {} in System Restore", found.family());
        let why = format!("{proof}; it cannot start there, and restoring {point} would bring it back");
        let told = finding(found.grade(), &what, &file.facts.path, facts, why);
        Some(Finding { subject: subject(&file.facts, &content.digests), ..told })
    }

    fn judge_snapshot(&self, evidence: &Evidence, noticed: &Noticed) -> Option<Finding> {
        let path = &noticed.facts.path;
        let point = restore_points::point(path)?;
        let of_file = Facts::of_file(noticed.facts.id);
        let snapshot = match &noticed.told {
            Ok(Gleaned::Snapshot(snapshot)) => snapshot,
            Ok(_) => return None,
            Err(why) => {
                let what = "a registry snapshot of System Restore that could not be read";
                let why = format!("whether it holds a value that starts the worm is not established: {why}");
                return Some(finding(Grade::Information, what, path, of_file, why));
            }
        };
        let facts = Facts { digests: Some(snapshot.digests.clone()), ..of_file };
        let Some(keys) = &snapshot.keys else {
            let what = "an inert registry snapshot of System Restore";
            let why = "nothing but zero bytes; nothing can be restored from it";
            return Some(finding(Grade::Information, what, path, facts, why.to_owned()));
        };
        let values = keys.iter().flat_map(|(key, found)| found.values.iter().map(move |value| (key, value)));
        let starts = values.filter_map(|(key, (name, data))| {
            let data = data.as_ref().ok()?;
            let start = autostart::judge_start(evidence, self.signatures, name, data)?;
            (start.grade != Grade::Information).then_some((key, name, data, start))
        });
        let (key, name, data, start) = starts.min_by_key(|(.., start)| start.grade)?;
        let facts = Facts {
            signature: Some(start.title),
            hive: Some(path.to_string()),
            key: Some(key.to_string()),
            value: Some(name.clone()),
            data: Some(data.to_string()),
            ..facts
        };
        let what = format!("a registry snapshot of System Restore that starts {}", start.family);
        let why = format!(
            "[{name}] in {key}: {}; restoring {point} would bring the value back, and without the snapshot {point} cannot be \
             restored",
            start.why
        );
        let told = finding(start.grade, &what, path, facts, why);
        Some(Finding { subject: subject(&noticed.facts, &snapshot.digests), ..told })
    }
}

impl Check for RestorePoint<'_> {
    fn name(&self) -> CheckName {
        CheckName::RestorePoint
    }

    fn wants(&self) -> super::Wants {
        // Copies are among the files that the other checks have kept for their digests.
        super::Wants::default()
    }

    fn keeps(&self, content: &Content) -> bool {
        self.signatures.by_digest(&content.digests).is_some()
    }

    fn notices(&self, name: &str) -> bool {
        hive_by_name(name).is_some()
    }

    fn asks(&self, facts: &FileFacts, _root: &WinPath) -> Option<u64> {
        restore_points::snapshot(&facts.path).map(|_| MAX_SNAPSHOT)
    }

    fn gleans(&self, facts: &FileFacts, bytes: Vec<u8>) -> Result<Gleaned> {
        let kind = restore_points::snapshot(&facts.path)
            .ok_or_else(|| Error::refused("read the snapshot", "it is not where snapshots are"))?;
        Snapshot::read(kind, bytes).map(Gleaned::Snapshot)
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        let copies = evidence.files.iter().filter_map(|file| self.judge_copy(file));
        let snapshots = evidence.noticed_by(self.name());
        copies.chain(snapshots.filter_map(|noticed| self.judge_snapshot(evidence, noticed))).collect()
    }

    fn cure(&self, finding: &Finding, policy: &Policy) -> Vec<Change> {
        let Subject::File { id, path, digests } = &finding.subject else { return Vec::new() };
        let wanted = policy.restore_points == RestorePoints::Quarantine
            && match finding.grade {
                Grade::Confirmed | Grade::Probable => true,
                Grade::Suspect => policy.suspects == Suspects::Quarantine,
                Grade::Information => false,
            };
        let change = FileChange { path: path.clone(), id: *id, digests: digests.clone() };
        if wanted { vec![Change::File(change)] } else { Vec::new() }
    }
}

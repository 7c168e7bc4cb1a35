//! Last step: what was found and done, as one document. Front ends show it; none derives anything from it.

mod stored;

use std::borrow::Cow;
use std::os::unix::fs::FileTypeExt as _;

use serde::{Deserialize, Serialize};

use crate::cleanup::discover::Patient;
use crate::cleanup::hibernation::Asleep;
use crate::cleanup::inspect::{Exam, InstallExam, VolumeExam};
use crate::cleanup::verdict::{Facts, Hole, Verdict, exit_code, of_run};
use crate::digest::Sha256;
use crate::disk::{Kind, Table};
use crate::error::{Error, Result};
use crate::finding::{Bearing, DcomState, Finding, PatchState};
use crate::printable::to_json_pretty;

pub use stored::Stored;

/// Version of the document. Its JSON Schema is `docs/report-1.schema.json`.
pub const SCHEMA: &str = "deblast.report/1";

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A disk or partition.
    BlockDevice,
    /// A file that holds the bytes of one.
    Image,
}

/// The program that made the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tool {
    /// `deblast`.
    pub name: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
}

/// The machine that the disks are in, as its firmware tells; what it does not tell is null.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Maker.
    #[serde(deserialize_with = "Option::deserialize")]
    pub maker: Option<String>,
    /// Model.
    #[serde(deserialize_with = "Option::deserialize")]
    pub model: Option<String>,
    /// Serial number.
    #[serde(deserialize_with = "Option::deserialize")]
    pub serial: Option<String>,
    /// Name of the computer, where all installs agree on one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub computer_name: Option<String>,
}

/// Identity of a disk as it tells itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DiskIdentity {
    /// Model.
    #[serde(deserialize_with = "Option::deserialize")]
    pub model: Option<String>,
    /// Serial number.
    #[serde(deserialize_with = "Option::deserialize")]
    pub serial: Option<String>,
}

/// A volume that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeReport {
    /// Byte offset on the target.
    pub start: u64,
    /// File system in words.
    pub filesystem: String,
    /// Version of the file system.
    #[serde(deserialize_with = "Option::deserialize")]
    pub version: Option<String>,
    /// What is particular about it.
    pub state: Vec<String>,
    /// Why no verdict can rest on it; null where all was read.
    #[serde(default)]
    pub problem: Option<String>,
}

/// What is known of the hole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoleReport {
    /// Whether it is closed.
    pub closed: bool,
    /// MS03-026 or a successor.
    pub patch: PatchState,
    /// DCOM.
    pub dcom: DcomState,
    /// The packet filter.
    pub filter: crate::finding::FilterState,
}

/// One Windows install.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstallReport {
    /// The volume that it is on.
    pub volume: VolumeReport,
    /// System root.
    pub system_root: String,
    /// ProductName.
    #[serde(deserialize_with = "Option::deserialize")]
    pub product: Option<String>,
    /// Kind of product.
    #[serde(deserialize_with = "Option::deserialize")]
    pub product_type: Option<crate::windows::install::ProductType>,
    /// ProductSuite; null where it could not be read.
    pub product_suites: Option<Vec<String>>,
    /// CurrentVersion.
    #[serde(deserialize_with = "Option::deserialize")]
    pub version: Option<String>,
    /// CurrentBuildNumber.
    #[serde(deserialize_with = "Option::deserialize")]
    pub build: Option<String>,
    /// Service pack number.
    #[serde(deserialize_with = "Option::deserialize")]
    pub service_pack: Option<u32>,
    /// Name of the machine.
    #[serde(deserialize_with = "Option::deserialize")]
    pub computer_name: Option<String>,
    /// The verdict on this install.
    pub verdict: Verdict,
    /// Why the verdict could not be better, where something could not be read or was refused.
    #[serde(default)]
    pub problems: Vec<String>,
    /// The hole.
    pub hole: HoleReport,
    /// Suspects and restorable copies that are there still.
    #[serde(default)]
    pub suspects: usize,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What else there is to know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetReport {
    /// Node or image file.
    pub path: String,
    /// Disk or image.
    pub kind: TargetKind,
    /// Size in bytes; null where it could not be opened.
    #[serde(deserialize_with = "Option::deserialize")]
    pub size: Option<u64>,
    /// What it tells of itself.
    pub disk: DiskIdentity,
    /// Why it could not be judged or was refused; null where it was.
    #[serde(deserialize_with = "Option::deserialize")]
    pub note: Option<String>,
    /// What else there is to say of it: odd things about its table, where the record went, what was refused and why.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// RUN-ID of the run that wrote it; null where nothing was written.
    #[serde(default)]
    pub run_id: Option<String>,
    /// The worst of its installs and of what could not be judged on it; given with the report.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// Its volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeReport>,
    /// The Windows installs on it.
    pub installs: Vec<InstallReport>,
}

/// One file that was written, or would be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Target that holds it.
    pub target: String,
    /// Its path.
    pub path: String,
    /// Digest of its content before; null where it could not be read.
    #[serde(deserialize_with = "Option::deserialize")]
    pub sha256_before: Option<Sha256>,
    /// Digest of its content after; null where it could not be read, or was only planned.
    #[serde(deserialize_with = "Option::deserialize")]
    pub sha256_after: Option<Sha256>,
    /// What was changed in it.
    #[serde(default)]
    pub what: Vec<String>,
    /// What became of it: `verified`, `failed`, `left`, or `planned` where nothing was written.
    pub outcome: crate::finding::Outcome,
    /// What is amiss.
    #[serde(default)]
    pub why: Option<String>,
}

/// The whole document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: Cow<'static, str>,
    /// The program.
    pub tool: Tool,
    /// RUN-ID of the first run that wrote; null where nothing was written.
    #[serde(deserialize_with = "Option::deserialize")]
    pub run_id: Option<String>,
    /// When it began, by the clock of the machine.
    pub started: String,
    /// When it ended.
    pub finished: String,
    /// The machine.
    pub machine: Machine,
    /// What was asked.
    pub options: serde_json::Value,
    /// The verdict of the run.
    pub verdict: Verdict,
    /// Where it is undetermined: why, the worst first.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// The exit code.
    pub exit_code: u8,
    /// The targets.
    pub targets: Vec<TargetReport>,
    /// Each file that was touched.
    pub changes: Vec<ChangedFile>,
    /// What to do next.
    pub next_steps: Vec<String>,
    /// Digest over the document without this field: finds damage, proves no author.
    pub hash: String,
}

impl Machine {
    /// What tells this machine from others: its serial number, else its model.
    pub fn identity(&self) -> Option<&str> {
        self.serial.as_deref().or(self.model.as_deref())
    }

    /// The machine as its firmware tells (SMBIOS, as the kernel shows it).
    pub fn of_firmware() -> Self {
        let field = |name: &str| {
            let text = std::fs::read_to_string(format!("/sys/class/dmi/id/{name}")).ok()?;
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            maker: field("sys_vendor"),
            model: field("product_name"),
            serial: field("product_serial"),
            computer_name: None,
        }
    }
}

impl VolumeReport {
    fn of(exam: &VolumeExam) -> Self {
        Self {
            start: exam.start,
            filesystem: exam.filesystem.clone(),
            version: exam.version.clone(),
            state: exam
                .state
                .iter()
                .chain(&exam.forbids_writing)
                .cloned()
                .chain(exam.asleep.as_ref().map(Asleep::in_words))
                .collect(),
            problem: exam.problem.clone(),
        }
    }
}

impl TargetReport {
    /// A target that could not be looked at, or was refused before it was.
    pub fn unread(path: &std::path::Path, why: &Error) -> Self {
        Self {
            path: path.display().to_string(),
            kind: match std::fs::metadata(path) {
                Ok(node) if node.file_type().is_block_device() => TargetKind::BlockDevice,
                _ => TargetKind::Image,
            },
            size: None,
            disk: DiskIdentity::default(),
            note: Some(why.to_string()),
            remarks: Vec::new(),
            run_id: None,
            verdict: None,
            volumes: Vec::new(),
            installs: Vec::new(),
        }
    }

    /// What was found on a patient; `after` is the exam made when all was written, where something was.
    /// `undetermined` holds words for why nothing can be said of any install: a refused run, readers that disagree.
    pub fn of(patient: &Patient, exam: &Exam, after: Option<&Exam>, undetermined: &[String]) -> Self {
        let mut installs = Vec::new();
        for (index, volume) in exam.volumes.iter().enumerate() {
            let again = after.and_then(|after| after.volumes.get(index));
            for install in &volume.installs {
                let same = |other: &&InstallExam| other.evidence.root == install.evidence.root;
                let after = again.and_then(|volume| volume.installs.iter().find(same));
                let volume = again.unwrap_or(volume);
                installs.push(install_report(volume, install, after, again.is_some(), undetermined));
            }
        }
        Self {
            path: patient.disk.path.display().to_string(),
            kind: match patient.disk.kind {
                Kind::BlockDevice => TargetKind::BlockDevice,
                Kind::Image => TargetKind::Image,
            },
            size: Some(patient.disk.size),
            disk: DiskIdentity { model: patient.disk.model.clone(), serial: patient.disk.serial.clone() },
            note: (patient.disk.table == Table::Unreadable)
                .then(|| format!("its partitions cannot be told: {}", patient.disk.notes.join("; "))),
            // Where no table can be read, the note holds them.
            remarks: match patient.disk.table {
                Table::Unreadable => exam.forbids_writing.clone(),
                Table::None | Table::Mbr | Table::Gpt => {
                    patient.disk.notes.iter().chain(&exam.forbids_writing).cloned().collect()
                }
            },
            run_id: None,
            verdict: None,
            // As they are now: what this run has settled is not said of them any more.
            volumes: after.unwrap_or(exam).volumes.iter().map(VolumeReport::of).collect(),
            installs,
        }
    }

    /// Whether anything on it kept a verdict from resting on all of it.
    fn unread_in_part(&self) -> bool {
        self.note.is_some() || self.volumes.iter().any(|volume| volume.problem.is_some())
    }
}

fn install_report(
    volume: &VolumeExam,
    install: &InstallExam,
    after: Option<&InstallExam>,
    inspected_again: bool,
    undetermined: &[String],
) -> InstallReport {
    let mut problems: Vec<String> = undetermined.to_vec();
    problems.extend(after.unwrap_or(install).problems.iter().cloned());
    problems.extend(install.refused.clone());
    if inspected_again && after.is_none() {
        problems.push("after the writing this install was not found again".to_owned());
    }
    let facts = Facts {
        before: &install.findings,
        after: after.map(|after| after.findings.as_slice()),
        undetermined: !problems.is_empty(),
    };
    let mut findings = install.findings.clone();
    // What only the second look saw: told, unless it is what became of something told already.
    let known = |finding: &Finding| {
        findings.iter().any(|old| old.check == finding.check && old.place == finding.place)
    };
    let news: Vec<Finding> =
        after.map(|after| after.findings.iter().filter(|f| !known(f)).cloned().collect()).unwrap_or_default();
    findings.extend(news);
    let hole = Hole::of(after.map_or(&install.findings, |after| &after.findings));
    let identity = &install.evidence.identity;
    InstallReport {
        volume: VolumeReport::of(volume),
        system_root: install.evidence.root.to_string(),
        product: identity.product_name(),
        product_type: identity.product_type,
        product_suites: identity.suites.clone(),
        version: identity.version.clone(),
        build: identity.build.clone(),
        service_pack: identity.service_pack,
        computer_name: identity.computer_name.clone(),
        verdict: facts.verdict(),
        problems,
        hole: HoleReport {
            closed: hole.is_closed(),
            patch: hole.patch,
            dcom: hole.dcom,
            filter: hole.filter,
        },
        suspects: facts.suspects(),
        findings,
        notes: install.notes.clone(),
    }
}

/// Why nothing can be said, the worst first: which target, where on it, and the reason.
fn why_undetermined(targets: &[TargetReport]) -> Vec<String> {
    if targets.is_empty() {
        return vec![
            "no disk is attached but those that this machine uses; name one to look at it".to_owned(),
        ];
    }
    let mut reasons = Vec::new();
    for target in targets {
        if let Some(note) = &target.note {
            // An error names the target already.
            let is_named = note.contains(&target.path);
            reasons.push(if is_named { note.clone() } else { format!("{}: {note}", target.path) });
        }
    }
    for target in targets {
        for install in &target.installs {
            let place = format!("{} on {}", install.system_root, target.path);
            reasons.extend(install.problems.iter().map(|problem| format!("{place}: {problem}")));
            let unread = install.findings.iter().filter(|finding| finding.bearing == Bearing::Unreadable);
            reasons.extend(unread.map(|finding| {
                format!("{} on {}: {} ({})", finding.place, target.path, finding.what, finding.why)
            }));
        }
        for volume in &target.volumes {
            if let Some(problem) = &volume.problem {
                reasons.push(format!("{}, volume at {:#x}: {problem}", target.path, volume.start));
            }
        }
    }
    if targets.iter().all(|target| target.installs.is_empty()) {
        let looked_at = targets.iter().filter(|target| target.note.is_none());
        reasons.extend(looked_at.map(|target| format!("no Windows was found on {}", target.path)));
    }
    reasons
}

/// SHA-256 over the compact JSON of a report without its `hash`, the members of each object in the order of their names.
fn hash_of(mut report: serde_json::Value) -> Result<String> {
    if let Some(members) = report.as_object_mut() {
        members.remove("hash");
    }
    let text = serde_json::to_string(&report).map_err(|e| Error::library("write the report as JSON", e))?;
    Ok(format!("sha256:{}", Sha256::of(text.as_bytes())))
}

/// What a report is made of.
pub struct Parts {
    /// When the run began and ended.
    pub times: (String, String),
    /// The machine, as far as its firmware tells.
    pub machine: Machine,
    /// What was asked.
    pub options: serde_json::Value,
    /// The targets.
    pub targets: Vec<TargetReport>,
    /// Each file that was touched.
    pub changes: Vec<ChangedFile>,
    /// The exit code where the verdict does not give it (undo).
    pub exit_code: Option<u8>,
    /// What to do next.
    pub next_steps: Vec<String>,
}

impl Report {
    /// Computes verdict, exit code and hash, once.
    ///
    /// # Errors
    /// The document cannot be written as JSON.
    pub fn new(parts: Parts) -> Result<Self> {
        let mut parts = parts;
        for target in &mut parts.targets {
            let verdicts: Vec<Verdict> = target.installs.iter().map(|install| install.verdict).collect();
            target.verdict = Some(of_run(&verdicts, target.unread_in_part()));
        }
        let installs: Vec<&InstallReport> =
            parts.targets.iter().flat_map(|target| &target.installs).collect();
        let verdicts: Vec<Verdict> = installs.iter().map(|install| install.verdict).collect();
        let verdict = of_run(&verdicts, parts.targets.iter().any(TargetReport::unread_in_part));
        let suspects = installs.iter().map(|install| install.suspects).sum();
        let mut machine = parts.machine;
        if parts.targets.iter().all(|target| target.kind == TargetKind::Image) {
            // The machine that looks at an image is not the one that it came from.
            machine = Machine::default();
        }
        let names: std::collections::BTreeSet<&String> =
            installs.iter().filter_map(|install| install.computer_name.as_ref()).collect();
        if let (Some(name), 1) = (names.first(), names.len()) {
            machine.computer_name = Some((*name).clone());
        }
        let mut report = Self {
            schema: SCHEMA.into(),
            tool: Tool { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() },
            run_id: parts.targets.iter().find_map(|target| target.run_id.clone()),
            started: parts.times.0,
            finished: parts.times.1,
            machine,
            options: parts.options,
            verdict,
            reasons: match verdict {
                Verdict::Undetermined => why_undetermined(&parts.targets),
                _ => Vec::new(),
            },
            exit_code: parts.exit_code.unwrap_or_else(|| exit_code(verdict, suspects)),
            targets: parts.targets,
            changes: parts.changes,
            next_steps: parts.next_steps,
            hash: String::new(),
        };
        report.hash = report.compute_hash()?;
        Ok(report)
    }

    /// The report of a run on several targets, from that of each.
    ///
    /// # Errors
    /// As [`Report::new`].
    pub fn of_run(
        machine: Machine,
        options: serde_json::Value,
        times: (String, String),
        each: Vec<Self>,
    ) -> Result<Self> {
        let mut parts = Parts {
            times,
            machine,
            options,
            targets: Vec::new(),
            changes: Vec::new(),
            exit_code: None,
            next_steps: Vec::new(),
        };
        for report in each {
            parts.targets.extend(report.targets);
            parts.changes.extend(report.changes);
            let news = report.next_steps.into_iter().filter(|step| !parts.next_steps.contains(step));
            let news: Vec<String> = news.collect();
            parts.next_steps.extend(news);
        }
        Self::new(parts)
    }

    /// The command that was given, where the options tell it.
    pub fn command(&self) -> &str {
        self.options.get("command").and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    fn compute_hash(&self) -> Result<String> {
        hash_of(serde_json::to_value(self).map_err(|e| Error::library("write the report as JSON", e))?)
    }

    /// The document as JSON, for people to read too.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        to_json_pretty(self)
            .map(|mut text| {
                text.push('\n');
                text
            })
            .map_err(|e| Error::library("write the report as JSON", e))
    }
}

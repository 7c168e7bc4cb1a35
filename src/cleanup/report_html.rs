//! The report as one page to print and hand to the machine's owner: verdict first, no script, nothing from outside.
//!
//! The page is a template beside this file, compiled into the program. Whatever it shows goes through `Escape`, unless
//! the template says otherwise, which it never does: a name from a patient's disk cannot become part of the page by
//! somebody forgetting to escape it.

use std::fmt;

use askama::Template;
use askama::filters::{Escaper, Html};
use jiff::Timestamp;
use serde_json::Value;

use super::advice::shell_word;
use super::report::{ChangedFile, HoleReport, InstallReport, Report, TargetReport};
use super::report_text::{Headline, explain, headline, hole_words, human_size, printable, step_parts, title};
use super::verdict::Verdict;
use crate::digest::Sha256;
use crate::error::{Error, Result};
use crate::finding::{Finding, Grade, Outcome};

/// What the template's every expression goes through: first what a terminal would act on is made visible, as in the
/// text, then what HTML would act on.
#[derive(Clone, Copy)]
pub(super) struct Escape;

impl Escaper for Escape {
    fn write_escaped_str<W: fmt::Write>(&self, out: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(out, &printable(text))
    }
}

/// The page. `warning`: why this report is not to be believed, for its top.
///
/// # Errors
/// None that is known; the template's own writer can fail by its type.
pub fn render(report: &Report, warning: Option<&str>) -> Result<String> {
    let page = Page { report, headline: headline(report), warning };
    page.render().map_err(|e| Error::library("write the report as HTML", e))
}

#[derive(Template)]
#[template(path = "page.html", config = "src/cleanup/report_html/askama.toml")]
struct Page<'a> {
    report: &'a Report,
    headline: Headline,
    warning: Option<&'a str>,
}

/// Findings of one weight, under a caption of their own.
struct Findings<'a> {
    caption: &'static str,
    list: Vec<&'a Finding>,
}

/// Files of one fate, under a heading of their own.
struct Changes<'a> {
    heading: &'static str,
    words: &'static str,
    list: Vec<&'a ChangedFile>,
}

/// One piece of a next step.
struct Piece<'a> {
    is_command: bool,
    text: &'a str,
}

/// How one target is brought back to what it was.
struct WayBack {
    disk: String,
    run: String,
    command: String,
}

impl<'a> Page<'a> {
    /// What the verdict means for whoever uses the machine.
    fn meaning(&self) -> &'static str {
        match self.report.verdict {
            Verdict::Clean => {
                "No worm that Deblast knows was found where it could start, and the hole in Windows that W32/Blaster comes through is closed."
            }
            Verdict::Cleaned => {
                "What was found has been put right, and the disk was read again afterwards to see that it is so. The machine is ready for the next steps below."
            }
            Verdict::Exposed => {
                "No worm that Deblast knows was found, but the hole in Windows that W32/Blaster comes through is open. On a network this machine can be infected at any time."
            }
            Verdict::Infected => {
                "A worm, or something that starts it, is on this disk. Do not start Windows from it, and do not connect the machine to a network, before it has been cleaned."
            }
            Verdict::Undetermined => {
                "Something that has to be known could not be read, or the run was refused. Nothing can be promised about this machine, neither good nor bad: treat it as infected until it has been looked at again."
            }
            Verdict::Failed => {
                "A cure was tried, and reading the disk again did not show that it worked. Do not start Windows from this disk before the next steps below are done."
            }
        }
    }

    /// What this run was, in words.
    fn deed(&self) -> String {
        let (planned, written) = self.planned_and_written();
        let files = |count: usize| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        let what = match self.report.command() {
            "scan" => return "Scan: the disk was read and judged; nothing was written to it.".to_owned(),
            "clean" => "Cleaning",
            "undo" => "Taking an earlier run back",
            other => other,
        };
        match (planned.len(), written.len()) {
            (0, 0) => format!("{what}: nothing was written to the disk."),
            (planned, 0) => {
                format!("{what}, as a plan only: {} would be written; nothing was.", files(planned))
            }
            (_, written) => format!("{what}: {} written and read again.", files(written)),
        }
    }

    /// All that is known of the machine; none where nothing is.
    fn machine(&self) -> Option<String> {
        let machine = &self.report.machine;
        let serial = machine.serial.as_ref().map(|serial| format!("serial number {serial}"));
        let told = [machine.maker.clone(), machine.model.clone(), serial];
        let told: Vec<String> = told.into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn planned_and_written(&self) -> (Vec<&'a ChangedFile>, Vec<&'a ChangedFile>) {
        self.report.changes.iter().partition(|change| change.outcome == Outcome::Planned)
    }

    fn changes(&self) -> Vec<Changes<'a>> {
        let (planned, written) = self.planned_and_written();
        [
            Changes {
                heading: "Files that were changed",
                words: "What each of them held before is in the record of the run. The digests are those of the whole file.",
                list: written,
            },
            Changes {
                heading: "Files that would be changed",
                words: "This is the plan. No byte of it was written.",
                list: planned,
            },
        ]
        .into_iter()
        .filter(|changes| !changes.list.is_empty())
        .collect()
    }

    fn ways_back(&self) -> Vec<WayBack> {
        if self.report.command() == "undo" {
            return Vec::new();
        }
        let store = self.report.options.get("store").and_then(Value::as_str).unwrap_or("STORE");
        let way = |target: &TargetReport| {
            let run = target.run_id.clone()?;
            let (store, disk) = (shell_word(store), shell_word(&target.path));
            let command = format!("deblast undo --store {store} --run {run} {disk}");
            Some(WayBack { disk: target.path.clone(), run, command })
        };
        self.report.targets.iter().filter_map(way).collect()
    }

    fn store(&self) -> Option<&'a str> {
        self.report.options.get("store").and_then(Value::as_str)
    }

    /// What was asked, member by member.
    fn options(&self) -> Vec<(String, String)> {
        let mut list = Vec::new();
        flatten("", &self.report.options, &mut list);
        list
    }

    /// Grades of this report with their meanings, for who reads it first.
    fn grades(&self) -> Vec<(Grade, &'static str)> {
        let occurs = |grade| self.findings().any(|finding| finding.grade == grade);
        let all = [Grade::Confirmed, Grade::Probable, Grade::Suspect, Grade::Information];
        all.into_iter().filter(|grade| occurs(*grade)).map(|grade| (grade, grade_words(grade))).collect()
    }

    /// The same for outcomes.
    fn outcomes(&self) -> Vec<(Outcome, &'static str)> {
        let occurs = |outcome| {
            self.findings().any(|finding| finding.outcome == outcome)
                || self.report.changes.iter().any(|change| change.outcome == outcome)
        };
        let all = [
            Outcome::Verified,
            Outcome::Done,
            Outcome::Planned,
            Outcome::Left,
            Outcome::Failed,
            Outcome::None,
        ];
        all.into_iter()
            .filter(|outcome| occurs(*outcome))
            .map(|outcome| (outcome, outcome_words(outcome)))
            .collect()
    }

    fn findings(&self) -> impl Iterator<Item = &'a Finding> {
        self.report.targets.iter().flat_map(|target| &target.installs).flat_map(|install| &install.findings)
    }
}

/// What asks for something first; what is told for completeness apart.
fn groups(install: &InstallReport) -> Vec<Findings<'_>> {
    let (told, weighty): (Vec<_>, Vec<_>) =
        install.findings.iter().partition(|finding| finding.grade == Grade::Information);
    [
        Findings { caption: "Findings", list: weighty },
        Findings { caption: "For information: these ask for nothing", list: told },
    ]
    .into_iter()
    .filter(|findings| !findings.list.is_empty())
    .collect()
}

fn grade_words(grade: Grade) -> &'static str {
    match grade {
        Grade::Confirmed => "sure: the content is that of a known worm, or a setting says so itself",
        Grade::Probable => "name, place and start agree with a worm's; the content is not a known one",
        Grade::Suspect => "something about it is like a worm; too little to act on unasked",
        Grade::Information => "told for completeness; asks for nothing",
    }
}

fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::None => "this run did nothing about it",
        Outcome::Planned => "stands in the plan, which was not carried out",
        Outcome::Done => "carried out, not read again",
        Outcome::Verified => "carried out, and seen on the disk afterwards",
        Outcome::Left => "not acted on; the reason is beside it",
        Outcome::Failed => "tried, and not seen on the disk afterwards",
    }
}

/// The facts that a finding rests on and what was planned, label by label. What stands under "where" already is left out.
fn facts(finding: &Finding) -> Vec<(String, String)> {
    /// The short ones first, the digests last, what is not named here between them.
    const FIRST: [&str; 3] = ["signature", "data", "name"];
    const LAST: [&str; 4] = ["size", "md5", "sha1", "sha256"];
    let rank = |name: &str| {
        let last = LAST.iter().position(|last| *last == name).map(|place| FIRST.len() + 1 + place);
        FIRST.iter().position(|first| *first == name).or(last).unwrap_or(FIRST.len())
    };
    let mut list = Vec::new();
    let told = serde_json::to_value(&finding.facts).unwrap_or_default();
    let mut told: Vec<_> = told.as_object().into_iter().flatten().collect();
    told.sort_by_key(|(name, _)| rank(name));
    for (name, value) in told {
        let mut members = Vec::new();
        flatten(name, value, &mut members);
        for (name, text) in members {
            match name.as_str() {
                "hive" | "key" | "value" => {}
                "size" => list.push((name, format!("{text} bytes"))),
                "directory_entry" => {
                    let place = value.as_u64().map_or(text, |place| format!("at {place:#x} of the volume"));
                    list.push((label(&name), place));
                }
                // The states of several things, by the names that the JSON has for them.
                _ if value.is_object() => list.push((label(&name), words(&text))),
                _ => list.push((label(&name), text)),
            }
        }
    }
    if let Some(action) = &finding.action {
        list.push(("action".to_owned(), action.clone()));
    }
    list
}

/// A member's name as people write it.
fn label(name: &str) -> String {
    match name {
        "md5" => "MD5".to_owned(),
        "sha1" => "SHA-1".to_owned(),
        "sha256" => "SHA-256".to_owned(),
        "mft_record" => "MFT record".to_owned(),
        _ => words(name),
    }
}

/// Whether this label is of a digest, which is read figure by figure.
fn is_digest(label: &str) -> bool {
    label == "MD5" || label.starts_with("SHA-")
}

/// A member's name or one of its fixed words, without what only JSON needs.
fn words(name: impl fmt::Display) -> String {
    name.to_string().replace('_', " ")
}

/// Every member that says something, with the names that lead to it.
fn flatten(name: &str, value: &Value, list: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (member, value) in members {
                let path = if name.is_empty() { member.clone() } else { format!("{name}, {member}") };
                flatten(&path, value, list);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| flatten(name, item, list)),
        Value::Bool(yes) => list.push((name.to_owned(), if *yes { "yes" } else { "no" }.to_owned())),
        Value::String(text) => list.push((name.to_owned(), text.clone())),
        Value::Number(number) => list.push((name.to_owned(), number.to_string())),
    }
}

fn pieces(step: &str) -> Vec<Piece<'_>> {
    step_parts(step)
        .map(|(is_command, text)| Piece { is_command, text })
        .filter(|piece| !piece.text.is_empty())
        .collect()
}

/// Size, model and serial number of a target.
fn identity(target: &TargetReport) -> String {
    let size = target.size.map(human_size);
    let serial = target.disk.serial.as_ref().map(|serial| format!("serial number {serial}"));
    let told: Vec<String> = [size, target.disk.model.clone(), serial].into_iter().flatten().collect();
    told.join(", ")
}

/// Version, build, kind and name of an install.
fn about(install: &InstallReport) -> String {
    let version = install.version.as_ref().map(|version| format!("version {version}"));
    let build = install.build.as_ref().map(|build| format!("build {build}"));
    let kind = install.product_type.and_then(|kind| serde_json::to_value(kind).ok());
    let kind = kind.as_ref().and_then(Value::as_str).map(words);
    let name = install.computer_name.as_ref().map(|name| format!("computer name {name}"));
    let told: Vec<String> = [version, build, kind, name].into_iter().flatten().collect();
    told.join(", ")
}

fn hole(hole: &HoleReport) -> [(&'static str, &'static str); 3] {
    let [patch, dcom, filter] = hole_words(hole);
    [("patch", patch), ("DCOM", dcom), ("packet filter", filter)]
}

fn digest(digest: &Option<Sha256>) -> String {
    digest.map_or_else(|| "could not be read".to_owned(), |digest| digest.to_string())
}

/// A verdict with what it says.
fn verdict(verdict: &Verdict) -> String {
    format!("{verdict}: {}", explain(*verdict))
}

/// A time of the report as people read it.
fn time(told: &str) -> String {
    told.parse::<Timestamp>()
        .map_or_else(|_| told.to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// What the template calls by `|name`.
#[allow(unreachable_pub, reason = "the macro makes public items")]
mod filters {
    use std::fmt::Display;

    use askama::Values;
    use askama::filters::{Escaper as _, Safe};

    use super::Escape;

    /// A path, a place or a command: escaped like all else, and may be broken behind each of its parts, but not behind its root.
    #[askama::filter_fn]
    pub(super) fn place(text: impl Display, _: &dyn Values) -> askama::Result<Safe<String>> {
        let mut out = String::new();
        for part in text.to_string().split_inclusive(['\\', '/']) {
            Escape.write_escaped_str(&mut out, part)?;
            if part.len() > 1 && part.ends_with(['\\', '/']) {
                out.push_str("<wbr>");
            }
        }
        Ok(Safe(out))
    }
}

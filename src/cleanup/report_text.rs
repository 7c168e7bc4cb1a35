//! The report as text: what a technician reads on the screen and finds beside the JSON.

mod wrap;

use std::fmt::Write as _;

use crate::change::Change;
use crate::cleanup::plan::{Action, ActionKind, Content};
use crate::cleanup::report::{ChangedFile, HoleReport, InstallReport, Report, TargetReport};
use crate::cleanup::verdict::Verdict;
use crate::digest::Sha256;
use crate::finding::{DcomState, FilterState, Finding, Outcome, PatchState};
pub use crate::printable::printable;
use wrap::wrap;

/// Text of a verdict, for people.
pub fn explain(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "nothing found, and the hole is closed",
        Verdict::Cleaned => "found, cured, and verified on the disk",
        Verdict::Exposed => "no worm, but the hole that it comes through is open",
        Verdict::Infected => "a worm, or what starts it, is on the disk",
        Verdict::Undetermined => "what it takes to say more could not be read, or the run was refused",
        Verdict::Failed => "a cure was tried and could not be verified",
    }
}

/// The verdict of the run in words; where nothing can be said, the first reason why. What is left and changes no verdict
/// is told beside it, since it raises the exit code.
fn reason(report: &Report) -> String {
    let left: usize =
        report.targets.iter().flat_map(|target| &target.installs).map(|install| install.suspects).sum();
    match report.reasons.as_slice() {
        [] if left > 0 => {
            format!("{}; suspects or copies in restore points that are left: {left}", explain(report.verdict))
        }
        [] => explain(report.verdict).to_owned(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{first} (and {} more, see below)", more.len()),
    }
}

/// What a report says first.
pub struct Headline {
    /// What kind of word follows.
    pub label: &'static str,
    /// The verdict; of an undo, how it ended.
    pub word: String,
    /// What that means.
    pub sentence: String,
    /// After an undo: the verdict on the disk, and what that means.
    pub now: Option<String>,
}

/// What this report says first, in every format.
pub fn headline(report: &Report) -> Headline {
    if report.command() == "undo" {
        let (word, sentence) = undo_result(report);
        let looked_at = report.targets.iter().any(|target| !target.volumes.is_empty());
        let now = looked_at.then(|| format!("{} - {}", report.verdict, reason(report)));
        Headline { label: "RESULT", word: word.to_owned(), sentence: sentence.to_owned(), now }
    } else {
        let word = report.verdict.to_string().to_uppercase();
        Headline { label: "VERDICT", word, sentence: reason(report), now: None }
    }
}

/// What an action does to the disk, change by change. One that takes an earlier run back holds that run's changes, so
/// they are told the other way round.
pub fn done_to_the_disk(action: &Action) -> Vec<String> {
    let is_zero = |content: &Content| match content {
        Content::Bytes(bytes) => bytes.iter().all(|byte| *byte == 0),
        Content::Zeros => true,
        Content::Own(_) | Content::Earlier(_) | Content::Unreadable => false,
    };
    let words = |change: &Change| match (&action.kind, change) {
        (ActionKind::Discard | ActionKind::MakeInert | ActionKind::EditHive { .. }, _) => change.to_string(),
        // What is taken back is itself the giving back of a file's bytes.
        (ActionKind::WriteBack { .. }, Change::File(file))
            if action.writes.iter().all(|write| is_zero(&write.after)) =>
        {
            format!("overwrite {} with zeros again", file.path)
        }
        (ActionKind::WriteBack { .. } | ActionKind::Restore, _) => change.reversed(),
    };
    action.changes.iter().map(|(change, _)| words(change)).collect()
}

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut text, report);
    wrap(&text, &kept_whole(report))
}

/// Paths and places of this report, as they are shown.
fn kept_whole(report: &Report) -> Vec<String> {
    let mut whole: Vec<&str> = report.changes.iter().map(|change| change.path.as_str()).collect();
    whole.extend(report.options.get("store").and_then(serde_json::Value::as_str));
    for target in &report.targets {
        whole.push(&target.path);
        for install in &target.installs {
            whole.push(&install.system_root);
            whole.extend(install.findings.iter().map(|finding| finding.place.as_str()));
        }
    }
    whole.into_iter().map(printable).collect()
}

fn write_report(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "Deblast {} report", report.tool.version)?;
    writeln!(out, "{} to {}", report.started, report.finished)?;
    let machine = &report.machine;
    let known = [&machine.maker, &machine.model, &machine.serial, &machine.computer_name];
    let known: Vec<String> = known.into_iter().flatten().map(|text| printable(text)).collect();
    if !known.is_empty() {
        writeln!(out, "Machine: {}", known.join(", "))?;
    }
    writeln!(out)?;
    let headline = headline(report);
    writeln!(out, "{}: {} - {}", headline.label, headline.word, printable(&headline.sentence))?;
    if let Some(now) = &headline.now {
        writeln!(out, "The disk now: {}", printable(now))?;
    }
    if report.targets.len() > 1 {
        for target in &report.targets {
            if let Some(verdict) = target.verdict {
                writeln!(out, "  {}: {verdict}", printable(&target.path))?;
            }
        }
    }
    for target in &report.targets {
        write_target(out, target)?;
    }
    let planned = |change: &&ChangedFile| change.outcome == Outcome::Planned;
    let (planned, written): (Vec<_>, Vec<_>) = report.changes.iter().partition(planned);
    let several = report.targets.len() > 1;
    write_changes(out, "Files written", &written, several)?;
    write_changes(out, "Files that would be written", &planned, several)?;
    if !report.next_steps.is_empty() {
        writeln!(out, "\nNext steps")?;
        for (number, step) in (1..).zip(&report.next_steps) {
            write_step(out, number, step)?;
        }
    }
    writeln!(out, "\nExit code {}", report.exit_code)
}

/// A step, with each command that is to be typed on a line of its own.
fn write_step(out: &mut String, number: usize, step: &str) -> std::fmt::Result {
    for (index, (_, part)) in step_parts(step).enumerate() {
        match index {
            0 => writeln!(out, "  {number}. {}", printable(part))?,
            _ if part.is_empty() => {}
            _ => writeln!(out, "     {}", printable(part))?,
        }
    }
    Ok(())
}

/// A step taken apart at its backticks: whether a part is to be typed, and the part.
pub fn step_parts(step: &str) -> impl Iterator<Item = (bool, &str)> {
    step.split('`').enumerate().map(|(index, part)| (index % 2 == 1, part.trim()))
}

fn write_changes(
    out: &mut String,
    heading: &str,
    changes: &[&ChangedFile],
    several: bool,
) -> std::fmt::Result {
    if changes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{heading}")?;
    for change in changes {
        let on = if several { format!(" on {}", change.target) } else { String::new() };
        writeln!(out, "  {}{} ({})", printable(&change.path), printable(&on), change.outcome)?;
        change.what.iter().try_for_each(|what| writeln!(out, "      {}", printable(what)))?;
        let digest = |digest: Option<Sha256>| {
            digest.map_or_else(|| "not known".to_owned(), |digest| digest.to_string())
        };
        writeln!(out, "      SHA-256 before {}", digest(change.sha256_before))?;
        if change.outcome != Outcome::Planned {
            let after = match (change.outcome, change.sha256_after) {
                (Outcome::Verified, None) => "none: the file is gone".to_owned(),
                (_, after) => digest(after),
            };
            writeln!(out, "      SHA-256 after  {after}")?;
        }
        if let Some(why) = &change.why {
            writeln!(out, "      {}", printable(why))?;
        }
    }
    Ok(())
}

/// How an undo ended: that the disk is infected again is what was asked for.
fn undo_result(report: &Report) -> (&'static str, &'static str) {
    let all = |outcome| report.changes.iter().all(|change| change.outcome == outcome);
    match report.exit_code {
        _ if !report.changes.is_empty() && all(Outcome::Planned) => {
            ("NOT CARRIED OUT", "no byte was written")
        }
        0 if report.changes.is_empty() => ("NOTHING TO DO", "nothing was to be taken back"),
        0 => ("DONE", "taken back and verified"),
        1 => ("PARTLY DONE", "something was left, see below"),
        _ => ("NOT DONE", "refused or failed, see below"),
    }
}

fn write_target(out: &mut String, target: &TargetReport) -> std::fmt::Result {
    write!(out, "\n{}", printable(&target.path))?;
    if let Some(size) = target.size {
        write!(out, ", {}", human_size(size))?;
    }
    for part in [&target.disk.model, &target.disk.serial].into_iter().flatten() {
        write!(out, ", {}", printable(part))?;
    }
    writeln!(out)?;
    if let Some(note) = &target.note {
        writeln!(out, "  {}", printable(note))?;
    }
    if let Some(run) = &target.run_id {
        writeln!(out, "  recorded as run {run}")?;
    }
    target.remarks.iter().try_for_each(|remark| writeln!(out, "  {}", printable(remark)))?;
    for volume in &target.volumes {
        let version = volume.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
        writeln!(out, "  volume at {:#x}: {}{version}", volume.start, volume.filesystem)?;
        volume.state.iter().try_for_each(|state| writeln!(out, "    {}", printable(state)))?;
        if let Some(problem) = &volume.problem {
            writeln!(out, "    NOT JUDGED: {}", printable(problem))?;
        }
    }
    if target.installs.is_empty() && target.note.is_none() {
        writeln!(out, "  no Windows found")?;
    }
    target.installs.iter().try_for_each(|install| write_install(out, install))
}

fn write_install(out: &mut String, install: &InstallReport) -> std::fmt::Result {
    writeln!(out, "  {} in {}", printable(&title(install)), printable(&install.system_root))?;
    let more = [&install.version, &install.build, &install.computer_name];
    let more: Vec<String> = more.into_iter().flatten().map(|text| printable(text)).collect();
    if !more.is_empty() {
        writeln!(out, "    {}", more.join(", "))?;
    }
    writeln!(out, "    {}: {}", install.verdict, explain(install.verdict))?;
    install.problems.iter().try_for_each(|problem| writeln!(out, "    {}", printable(problem)))?;
    let hole = &install.hole;
    let [patch, dcom, filter] = hole_words(hole);
    let nothing_known = hole.patch == PatchState::NotEstablished
        && hole.dcom == DcomState::NotEstablished
        && hole.filter == FilterState::NotEstablished;
    let closed = match hole.closed {
        true => "closed",
        false if nothing_known => "not established as closed",
        false => "open",
    };
    writeln!(out, "    the hole is {closed} (patch: {patch}; DCOM: {dcom}; packet filter: {filter})")?;
    install.notes.iter().try_for_each(|note| writeln!(out, "    {}", printable(note)))?;
    install.findings.iter().try_for_each(|finding| write_finding(out, finding))
}

/// Which Windows it is, for people.
pub fn title(install: &InstallReport) -> String {
    let product = install.product.as_deref().unwrap_or("Windows");
    match install.service_pack {
        Some(0) | None => product.to_owned(),
        Some(number) => format!("{product} Service Pack {number}"),
    }
}

/// The states of patch, DCOM and packet filter, for people.
pub fn hole_words(hole: &HoleReport) -> [&'static str; 3] {
    let patch = match hole.patch {
        PatchState::Fixed => "installed",
        PatchState::Vulnerable => "missing",
        PatchState::NotEstablished => "not established",
    };
    let dcom = match hole.dcom {
        DcomState::Off => "off",
        DcomState::OffNotHonoured => "off, but not honoured by this Windows",
        DcomState::On => "on",
        DcomState::NotEstablished => "not established",
    };
    let filter = match hole.filter {
        FilterState::On => "on",
        FilterState::Off => "off",
        FilterState::NotEstablished => "not established",
    };
    [patch, dcom, filter]
}

fn write_finding(out: &mut String, finding: &Finding) -> std::fmt::Result {
    let outcome = match finding.outcome {
        Outcome::None => String::new(),
        outcome => format!(" -> {outcome}"),
    };
    writeln!(out, "    [{}] {}: {}{outcome}", finding.grade, finding.check, printable(&finding.what))?;
    writeln!(out, "        {}", printable(&finding.place))?;
    let facts = &finding.facts;
    if let Some(signature) = &facts.signature {
        writeln!(out, "        signature: {}", printable(signature))?;
    }
    if let Some(data) = &facts.data {
        writeln!(out, "        data: {}", printable(data))?;
    }
    if let Some(record) = facts.mft_record {
        writeln!(out, "        MFT record {record}")?;
    }
    if let Some(entry) = facts.directory_entry {
        writeln!(out, "        directory entry at {entry:#x} of the volume")?;
    }
    if let Some(digests) = &facts.digests {
        writeln!(out, "        {} bytes, MD5 {}", digests.size, digests.md5)?;
        writeln!(out, "        SHA-1 {}", digests.sha1)?;
        writeln!(out, "        SHA-256 {}", digests.sha256)?;
    }
    if let Some(name) = &facts.name {
        writeln!(out, "        name: {}", printable(name))?;
    }
    writeln!(out, "        why: {}", printable(&finding.why))?;
    match &finding.action {
        Some(action) => writeln!(out, "        action: {}", printable(action)),
        None => Ok(()),
    }
}

/// A size in bytes as people write it, in powers of 1024, with one decimal below ten; never more than there is.
pub fn human_size(bytes: u64) -> String {
    scaled(bytes, false)
}

/// The same, never less than there is: for what is needed.
pub fn human_need(bytes: u64) -> String {
    scaled(bytes, true)
}

fn scaled(bytes: u64, up: bool) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let parts = |count: u64, of: u64| if up { count.div_ceil(of) } else { count / of };
    let mut unit: u64 = 1;
    let mut names = UNITS.iter();
    let mut name = names.next();
    while bytes / 1024 >= unit
        && let Some(next) = names.next()
    {
        unit = unit.saturating_mul(1024);
        name = Some(next);
    }
    let name = name.unwrap_or(&"");
    let (whole, rest) = (bytes / unit, bytes % unit);
    let tenths = parts(rest.saturating_mul(10), unit);
    match (whole, tenths) {
        (0..10, 1..10) => format!("{whole}.{tenths} {name}"),
        (0..10, 10) => format!("{} {name}", whole + 1),
        (0..10, _) => format!("{whole} {name}"),
        _ => format!("{} {name}", parts(bytes, unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_reach_no_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d");
        assert_eq!(printable("Programme\\Übung"), "Programme\\Übung");
    }

    #[test]
    fn sizes() {
        assert_eq!(human_size(512), "512 bytes");
        assert_eq!(human_size(96 << 20), "96 MiB");
        assert_eq!(human_size(6 << 20), "6 MiB");
        assert_eq!(human_size(1023), "1023 bytes");
        let odd = (5 << 19) + 1;
        assert_eq!((human_size(odd), human_need(odd)), ("2.5 MiB".to_owned(), "2.6 MiB".to_owned()));
        assert_eq!(
            (human_size(u64::MAX), human_need(1025)),
            ("16777215 TiB".to_owned(), "1.1 KiB".to_owned())
        );
        assert_eq!(human_need((2 << 20) - 1), "2 MiB");
    }
}

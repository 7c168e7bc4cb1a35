//! Inspect: the findings of one disk, and the chosen one explained.
//!
//! ```text
//! ── Findings on /dev/sda ───────────────────────────────────────────
//! > [!] confirmed: worm's file: msblast.exe is Blaster.A
//!   [!] confirmed: DCOM: DCOM is on
//! ── worm's file ────────────────────────────────────────────────────
//! where: \WINDOWS\system32\msblast.exe
//! why: ...
//! What it means: ...
//! Evidence: SHA-256 ...
//! ```

use ratatui::layout::Rect;

use crate::cleanup::report_text::printable;
use crate::cleanup::verdict::Verdict;
use crate::finding::{Finding, Outcome};
use crate::tui::app::App;
use crate::tui::disk::DiskView;
use crate::tui::screens::pane::{Painter, Row, row, toned, two};
use crate::tui::text::{check_meaning, check_title, evidence, grade_meaning};
use crate::tui::theme::{Tone, grade_mark};

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    let Some(disk) = app.disk() else { return };
    let findings = disk.findings();
    if findings.is_empty() {
        let area = painter.rule(area, &format!("Findings on {}", disk.name()));
        app.reach.none();
        painter.text(area, &[row(nothing(disk))], 0, None);
        return;
    }
    let (list, detail) = two(area, findings.len());
    let list = painter.rule(list, &format!("Findings on {}", disk.name()));
    let rows: Vec<Row> = findings.iter().map(|(_, finding)| finding_line(finding)).collect();
    painter.list(list, &rows, app.selected);
    let Some((install, finding)) = findings.get(app.selected) else { return };
    let root = disk.target().and_then(|target| target.installs.get(*install));
    let root = root.map(|install| format!(" of the Windows in {}", printable(&install.system_root)));
    let title = format!("{}{}", check_title(finding.check), root.unwrap_or_default());
    let detail = painter.rule(detail, &title);
    painter.text(detail, &about(finding), app.scroll, Some(&app.reach));
}

/// Why there is no finding: nothing may be taken for clean that could not be read.
fn nothing(disk: &DiskView) -> &'static str {
    match disk.report().map(|report| report.verdict) {
        None => "Not looked at yet.",
        Some(Verdict::Undetermined | Verdict::Failed) => {
            "This disk could not be judged: whether there is anything on it is not known. The report (r) says why."
        }
        Some(_) => "Nothing was found on this disk. The report (r) says what was looked at.",
    }
}

/// A finding in a line. What became of it stands in front: at the end it would be what is cut.
pub(super) fn finding_line(finding: &Finding) -> Row {
    let what = printable(&finding.what);
    let title = check_title(finding.check);
    let (glyph, tone) = grade_mark(finding.grade);
    match finding.outcome {
        Outcome::None => toned(tone, format!("{glyph} {}: {title}: {what}", finding.grade)),
        Outcome::Verified => toned(Tone::Good, format!("[+] cured, verified: {title}: {what}")),
        outcome => toned(tone, format!("{glyph} {outcome}: {title}: {what} ({})", finding.grade)),
    }
}

fn became(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::None => "nothing was done to it",
        Outcome::Planned => "something is planned",
        Outcome::Done => "done, and not yet verified",
        Outcome::Verified => "cured, and verified on the disk",
        Outcome::Left => "it was left",
        Outcome::Failed => "a cure was tried and failed",
    }
}

fn about(finding: &Finding) -> Vec<Row> {
    let mut rows = vec![
        row(format!("where: {}", printable(&finding.place))),
        row(format!("what became of it: {}", became(finding.outcome))),
        row(grade_meaning(finding.grade)),
        row(format!("why: {}", printable(&finding.why))),
        toned(Tone::Strong, "What it means"),
        row(check_meaning(finding.check)),
    ];
    let evidence = evidence(finding);
    if !evidence.is_empty() {
        rows.push(toned(Tone::Strong, "Evidence"));
        rows.extend(evidence.into_iter().map(row));
    }
    rows
}

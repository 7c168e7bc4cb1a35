//! Find and Inspect: the disks, each with its verdict, and what is known of the chosen one.
//!
//! ```text
//! ── Disks ──────────────────────────────────────────────────────────
//! > [!] INFECTED  /dev/sda (37 GiB, ST340014A)
//!   [.] reading 40 %  /dev/sdb
//! ── /dev/sda (37 GiB, ST340014A) ───────────────────────────────────
//! INFECTED: a worm, or what starts it, is on the disk
//! Microsoft Windows XP Service Pack 1 in \WINDOWS, computer FRONTDESK
//! [!] worm's file: msblast.exe is ...
//! ```

use ratatui::layout::Rect;

use crate::cleanup::pace::Progress;
use crate::cleanup::report_text::{headline, human_size, printable};
use crate::finding::Grade;
use crate::tui::app::App;
use crate::tui::disk::DiskView;
use crate::tui::screens::findings::finding_line;
use crate::tui::screens::pane::{Painter, Row, row, toned, two, ways_here};
use crate::tui::text::install_name;
use crate::tui::theme::{Tone, mark};

pub(super) fn render(painter: &mut Painter<'_>, area: Rect, app: &App) {
    if app.disks.is_empty() {
        let area = painter.rule(area, "Disks");
        app.reach.none();
        let words = match app.found {
            false => "Looking which disks are attached ...",
            true => {
                "No disk is attached but those that this machine uses. Connect one and press f. A controller that this \
                 system has no driver for shows no disk either: try the compatible (IDE) setting of the machine's setup."
            }
        };
        painter.text(area, &[row(words)], 0, None);
        return;
    }
    let (list, detail) = two(area, app.disks.len());
    let list = painter.rule(list, "Disks");
    let rows: Vec<Row> = app.disks.iter().enumerate().map(|(index, disk)| line(app, index, disk)).collect();
    painter.list(list, &rows, app.disk);
    let Some(disk) = app.disk() else { return };
    let detail = painter.rule(detail, &disk.name());
    let mut rows = about(disk);
    if let Some(running) = app.running.as_ref().filter(|running| running.disk == app.disk) {
        rows.extend(running.progress.as_ref().map(|progress| row(percent(progress))));
    }
    painter.text(detail, &rows, app.scroll, Some(&app.reach));
}

fn line(app: &App, index: usize, disk: &DiskView) -> Row {
    let looking = app.running.as_ref().filter(|running| running.disk == index);
    if let Some(running) = looking {
        let how = running.progress.as_ref().map(|progress| format!(" {} %", parts(progress)));
        return row(format!("[.] reading{}  {}", how.unwrap_or_default(), disk.name()));
    }
    match disk.report() {
        None => toned(Tone::Dim, format!("[ ] waits  {}", disk.name())),
        Some(report) => {
            let (glyph, tone) = mark(report.verdict);
            // What is cut where it is narrow is the name, which stands in full below.
            toned(tone, format!("{glyph} {}  {}", headline(report).word, disk.name()))
        }
    }
}

/// How far, in words.
pub(super) fn percent(progress: &Progress) -> String {
    format!("{} {} % of {}", progress.what, parts(progress), human_size(progress.total))
}

/// In parts of a hundred.
fn parts(progress: &Progress) -> u64 {
    progress.done.saturating_mul(100) / progress.total.max(1)
}

/// What is known of a disk, the worst first.
fn about(disk: &DiskView) -> Vec<Row> {
    let mut rows = Vec::new();
    let Some((report, target)) = disk.report().zip(disk.target()) else {
        if disk.so_far.is_empty() {
            rows.push(row("Not looked at yet. This only reads: no byte of the disk is written."));
        } else {
            rows.push(row("Found so far. This only reads: no byte of the disk is written."));
            rows.extend(disk.so_far.iter().map(|line| row(line.clone())));
        }
        return rows;
    };
    let head = headline(report);
    let (_, tone) = mark(report.verdict);
    rows.push(toned(tone, format!("{}: {}", head.word, printable(&head.sentence))));
    if let Some(now) = &head.now {
        rows.push(toned(tone, format!("The disk now: {}", printable(now))));
    }
    if let Some(run) = disk.unfinished() {
        rows.push(toned(Tone::Bad, format!("The run {} was cut: take it back first (u).", run.id)));
    }
    if disk.may_lift_protection() {
        let words = "The patch is in: DCOM and packet filter may be as before again. u takes the protection alone back.";
        rows.push(toned(Tone::Strong, words));
    }
    rows.extend(target.note.iter().map(|note| toned(Tone::Caution, printable(note))));
    // The way around an obstacle stands above the fold.
    let problems =
        target.installs.iter().flat_map(|install| install.problems.iter().chain(&install.volume.state));
    rows.extend(ways_here(problems.chain(&target.note).map(String::as_str)));
    for install in &target.installs {
        let (glyph, tone) = mark(install.verdict);
        rows.push(row(""));
        rows.push(toned(tone, format!("{glyph} {}: {}", install_name(install), install.verdict)));
        rows.extend(
            install.problems.iter().map(|words| toned(Tone::Caution, format!("  {}", printable(words)))),
        );
        rows.extend(install.volume.state.iter().map(|words| row(format!("  {}", printable(words)))));
        for finding in install.findings.iter().filter(|finding| finding.grade != Grade::Information) {
            rows.push(finding_line(finding).indented());
            rows.push(row(format!("      {}", printable(&finding.place))));
        }
    }
    rows.extend(target.remarks.iter().map(|words| row(printable(words))));
    if let Some(done) = &disk.done {
        rows.extend(
            done.troubles
                .iter()
                .map(|words| toned(Tone::Bad, format!("NOT WRITTEN DOWN: {}", printable(words)))),
        );
    }
    rows
}

//! Many reports as one table: CSV for a spreadsheet, a page for people, which names first what needs a person.
//!
//! Of several reports on one disk the newest counts; the others stay in the CSV and say so. A disk is known by its model
//! and serial number; one that tells none, such as an image, by its path, the machine and the computer's name.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::report::{InstallReport, Report, TargetReport};
use super::report_text::{explain, human_size, title};
use super::verdict::{Verdict, exit_code};
use crate::error::{Error, Result};
use crate::printable::printable;

/// One install of one report; a target without an install, and a report without a target, have a row too.
#[derive(Clone, Debug, Default)]
struct Row {
    file: String,
    altered: Option<String>,
    started: String,
    command: String,
    dry_run: bool,
    /// Of the disk, in this report.
    verdict: Option<Verdict>,
    reason: String,
    machine: String,
    machine_serial: String,
    computer: String,
    target: String,
    disk_model: String,
    disk_serial: String,
    size: Option<u64>,
    windows: String,
    system_root: String,
    suspects: usize,
    /// The report is on this target alone.
    is_alone: bool,
    run: String,
    exit_code: u8,
    version: String,
    is_newest: bool,
}

/// A disk with what its newest report says.
struct Disk<'a> {
    first: &'a Row,
    /// All of them, the first too.
    rows: Vec<&'a Row>,
}

/// Reports on their way into one table.
#[derive(Debug, Default)]
pub struct Merged {
    rows: Vec<Row>,
    /// Files that are no report, with the reason.
    left_out: Vec<(String, String)>,
    seen: BTreeSet<String>,
    twice: usize,
}

impl Merged {
    /// Takes a report in. `altered`: why it is not as it was written. The same report a second time, such as that of the
    /// store beside that of the folder for reports, counts once.
    pub fn add(&mut self, file: String, report: &Report, altered: Option<String>) {
        if altered.is_none() && !self.seen.insert(report.hash.clone()) {
            self.twice += 1;
            return;
        }
        let of_report = Row {
            file,
            altered,
            started: report.started.clone(),
            command: report.command().to_owned(),
            dry_run: report.options.get("dry_run").and_then(serde_json::Value::as_bool).unwrap_or(false),
            verdict: Some(report.verdict),
            reason: report.reasons.first().cloned().unwrap_or_default(),
            machine: [&report.machine.maker, &report.machine.model]
                .into_iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join(" "),
            machine_serial: report.machine.serial.clone().unwrap_or_default(),
            computer: report.machine.computer_name.clone().unwrap_or_default(),
            run: report.run_id.clone().unwrap_or_default(),
            exit_code: report.exit_code,
            version: report.tool.version.to_string(),
            ..Row::default()
        };
        if report.targets.is_empty() {
            self.rows.push(of_report);
            return;
        }
        for target in &report.targets {
            let of_target = of_report.on(report, target);
            if target.installs.is_empty() {
                self.rows.push(of_target);
            } else {
                self.rows.extend(target.installs.iter().map(|install| of_target.of(install)));
            }
        }
    }

    /// Notes a file that is no report.
    pub fn leave_out(&mut self, file: String, why: String) {
        self.left_out.push((file, why));
    }

    /// Whether no report was taken in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Orders the rows, and tells which report on a disk is its newest. To be called when all are in.
    pub fn settle(&mut self) {
        self.rows.sort_by(|a, b| {
            (a.disk(), &a.started, &a.file, &a.target, &a.system_root).cmp(&(
                b.disk(),
                &b.started,
                &b.file,
                &b.target,
                &b.system_root,
            ))
        });
        let mut newest: BTreeMap<[String; 4], (String, bool, String)> = BTreeMap::new();
        for row in &self.rows {
            let this = (row.started.clone(), row.is_alone, row.file.clone());
            let known = newest.entry(row.disk()).or_insert_with(|| this.clone());
            *known = (*known).clone().max(this);
        }
        for row in &mut self.rows {
            let this = (row.started.clone(), row.is_alone, row.file.clone());
            row.is_newest = newest.get(&row.disk()) == Some(&this);
        }
    }

    /// The table as CSV (RFC 4180), a row for each install. No cell begins as a formula of a spreadsheet does.
    ///
    /// # Errors
    /// None that is known; the writer can fail by its type.
    pub fn to_csv(&self) -> Result<Vec<u8>> {
        const DOING: &str = "write the table as CSV";
        let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        let names = COLUMNS.iter().map(|(name, _)| *name);
        csv.write_record(names).map_err(|e| Error::library(DOING, e))?;
        for row in &self.rows {
            let cells = COLUMNS.iter().map(|(_, cell)| harmless(&cell(row)));
            csv.write_record(cells).map_err(|e| Error::library(DOING, e))?;
        }
        csv.into_inner().map_err(|e| Error::library(DOING, e))
    }

    /// The table as one page: how many disks of each verdict, those that need a person, all, and what was left out.
    ///
    /// # Errors
    /// As [`Merged::to_csv`].
    pub fn to_html(&self) -> Result<String> {
        let mut disks: Vec<Disk<'_>> = Vec::new();
        for row in self.rows.iter().filter(|row| row.is_newest) {
            match disks.last_mut().filter(|disk| disk.first.disk() == row.disk()) {
                Some(disk) => disk.rows.push(row),
                None => disks.push(Disk { first: row, rows: vec![row] }),
            }
        }
        let mut counts: BTreeMap<u8, (Verdict, usize)> = BTreeMap::new();
        for verdict in disks.iter().filter_map(|disk| disk.first.verdict) {
            counts.entry(rank(verdict)).or_insert((verdict, 0)).1 += 1;
        }
        disks.sort_by_key(|disk| (disk.first.verdict.map(rank), disk.name().to_lowercase()));
        let count = disks.len();
        let (people, well): (Vec<_>, Vec<_>) = disks.into_iter().partition(Disk::needs_a_person);
        let page = Page {
            counts: counts.into_values().collect(),
            count,
            people: people.len(),
            older: self
                .rows
                .iter()
                .filter(|row| !row.is_newest)
                .map(|row| &row.file)
                .collect::<BTreeSet<_>>()
                .len(),
            merged: self,
            groups: [
                Group { heading: "These need a person", why: "Why", disks: people },
                Group { heading: "Clean or cleaned", why: "What it means", disks: well },
            ]
            .into_iter()
            .filter(|group| !group.disks.is_empty())
            .collect(),
        };
        page.render().map_err(|e| Error::library("write the table as HTML", e))
    }
}

/// The worst first.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Failed => 0,
        Verdict::Infected => 1,
        Verdict::Undetermined => 2,
        Verdict::Exposed => 3,
        Verdict::Cleaned => 4,
        Verdict::Clean => 5,
    }
}

type Cell = fn(&Row) -> String;

/// What the CSV holds, column by column.
const COLUMNS: [(&str, Cell); 22] = [
    ("newest", |row| yes(row.is_newest)),
    ("needs_a_person", |row| yes(row.needs_a_person())),
    ("verdict", |row| row.verdict.map(|verdict| verdict.to_string()).unwrap_or_default()),
    ("computer_name", |row| row.computer.clone()),
    ("machine", |row| row.machine.clone()),
    ("machine_serial", |row| row.machine_serial.clone()),
    ("target", |row| row.target.clone()),
    ("disk_model", |row| row.disk_model.clone()),
    ("disk_serial", |row| row.disk_serial.clone()),
    ("disk_size", |row| row.size.map(|size| size.to_string()).unwrap_or_default()),
    ("windows", |row| row.windows.clone()),
    ("system_root", |row| row.system_root.clone()),
    ("suspects", |row| row.suspects.to_string()),
    ("reason", |row| row.reason.clone()),
    ("command", |row| row.command.clone()),
    ("dry_run", |row| yes(row.dry_run)),
    ("started", |row| row.started.clone()),
    ("run_id", |row| row.run.clone()),
    ("exit_code", |row| row.exit_code.to_string()),
    ("altered", |row| row.altered.clone().unwrap_or_default()),
    ("deblast", |row| row.version.clone()),
    ("report", |row| row.file.clone()),
];

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// A cell that a spreadsheet takes for a text.
fn harmless(cell: &str) -> String {
    let cell = printable(cell);
    match cell.starts_with(['=', '+', '-', '@']) {
        true => format!("'{cell}"),
        false => cell,
    }
}

impl Row {
    fn on(&self, report: &Report, target: &TargetReport) -> Self {
        // Where there are several targets, the report's first reason may be another's.
        let reason = target
            .note
            .clone()
            .or_else(|| target.installs.iter().flat_map(|install| &install.problems).next().cloned());
        let is_alone = report.targets.len() == 1;
        Self {
            verdict: target.verdict.or(is_alone.then_some(report.verdict)),
            reason: reason.or_else(|| is_alone.then(|| self.reason.clone())).unwrap_or_default(),
            // The report of several disks has the worst of them.
            exit_code: match target.verdict.filter(|_| !is_alone) {
                Some(verdict) => {
                    exit_code(verdict, target.installs.iter().map(|install| install.suspects).sum())
                }
                None => self.exit_code,
            },
            is_alone,
            target: target.path.clone(),
            disk_model: target.disk.model.clone().unwrap_or_default(),
            disk_serial: target.disk.serial.clone().unwrap_or_default(),
            size: target.size,
            run: target.run_id.clone().unwrap_or_default(),
            ..self.clone()
        }
    }

    fn of(&self, install: &InstallReport) -> Self {
        Self {
            computer: install.computer_name.clone().unwrap_or_else(|| self.computer.clone()),
            windows: title(install),
            system_root: install.system_root.clone(),
            suspects: install.suspects,
            ..self.clone()
        }
    }

    /// What tells one disk from another.
    fn disk(&self) -> [String; 4] {
        let [model, serial] = [&self.disk_model, &self.disk_serial].map(|text| text.trim().to_owned());
        if serial.is_empty() {
            let machine = format!("{} {}", self.machine, self.machine_serial);
            let target = format!("{} {}", self.target, self.size.unwrap_or_default());
            return [String::new(), machine, target, self.report_if_nameless()];
        }
        [model, serial, String::new(), String::new()]
    }

    /// A report without any target is on no disk but its own. On a bench one disk after the other has the same node: each
    /// report of a disk that tells no serial number, as at USB, may be on another.
    fn report_if_nameless(&self) -> String {
        let is_any = self.target.is_empty() || self.command == "watch";
        if is_any { self.file.clone() } else { String::new() }
    }

    fn needs_a_person(&self) -> bool {
        let is_well = matches!(self.verdict, Some(Verdict::Clean | Verdict::Cleaned));
        !is_well || self.suspects > 0 || self.exit_code != 0 || self.altered.is_some()
    }
}

impl<'a> Disk<'a> {
    fn needs_a_person(&self) -> bool {
        self.rows.iter().any(|row| row.needs_a_person())
    }

    /// What people call it by.
    fn name(&self) -> String {
        let row = self.first;
        let names = [&row.computer, &row.machine_serial, &row.disk_serial, &row.target, &row.file];
        names.into_iter().find(|name| !name.trim().is_empty()).cloned().unwrap_or_default()
    }

    fn identity(&self) -> String {
        let row = self.first;
        let serial =
            |text: &str| if text.is_empty() { String::new() } else { format!("serial number {text}") };
        let size = row.size.map(human_size).unwrap_or_default();
        let told = [row.target.clone(), size, row.disk_model.clone(), serial(&row.disk_serial)];
        told.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    }

    fn machine(&self) -> String {
        let row = self.first;
        let told = [row.machine.clone(), row.machine_serial.clone()];
        told.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
    }

    fn verdict(&self) -> String {
        self.first.verdict.map_or_else(|| "not told".to_owned(), |verdict| verdict.to_string())
    }

    /// Why a person is needed, or what the verdict means.
    fn why(&self) -> String {
        let row = self.first;
        let suspects: usize = self.rows.iter().map(|row| row.suspects).sum();
        if let Some(why) = &row.altered {
            return format!("the report is not as it was written: {why}");
        }
        let said = match row.reason.is_empty() {
            true => row.verdict.map(explain).unwrap_or_default().to_owned(),
            false => row.reason.clone(),
        };
        match suspects {
            0 => said,
            count => format!("{said}; suspects that are left: {count}"),
        }
    }
}

#[derive(Template)]
#[template(path = "bench.html", config = "src/cleanup/report_html/askama.toml")]
struct Page<'a> {
    merged: &'a Merged,
    counts: Vec<(Verdict, usize)>,
    count: usize,
    people: usize,
    older: usize,
    groups: Vec<Group<'a>>,
}

/// Disks under a heading of their own.
struct Group<'a> {
    heading: &'static str,
    /// What the last column tells.
    why: &'static str,
    disks: Vec<Disk<'a>>,
}

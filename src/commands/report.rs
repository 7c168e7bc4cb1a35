//! `deblast report`: stored reports shown again, merged into one table, and checked for damage. Writes nothing but the
//! new files that it is told.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::print;
use crate::cleanup::report::{Report, Stored};
use crate::cleanup::report_merge::Merged;
use crate::cleanup::report_text::printable;
use crate::cleanup::{report_html, report_text};
use crate::cli::{ReportFormat, ReportTask};
use crate::error::{Context as _, Error, Result};

/// The largest file that is taken for a report, in bytes. One of a hundred thousand findings is smaller.
const LARGEST: u64 = 256 << 20;
/// The name of a report in a run's folder.
const IN_RUN: &str = "report.json";

/// Does what the task says. Show: 0 shown, 1 shown though damaged. Check: 0 all sound, 1 damage, 2 something could not be
/// judged.
///
/// # Errors
/// What is to be shown is no report, or standard output cannot be written; the exit code is then 2.
pub fn execute(task: &ReportTask) -> Result<u8> {
    match task {
        ReportTask::Show { file, format } => show(file, *format),
        ReportTask::Merge { paths, csv, html } => merge(paths, csv.as_deref(), html.as_deref()),
        ReportTask::Check { paths } => check(paths),
    }
}

fn show(file: &Path, format: ReportFormat) -> Result<u8> {
    let bytes = read(file)?;
    let refused = |why: &str| Error::refused("show the report", why).device(file);
    let (report, damage) = match Stored::of(&bytes) {
        Stored::Sound(report) => (report, None),
        Stored::Altered { report, why } => (report, Some(why)),
        Stored::Broken(why) => {
            return Err(refused(&why)
                .hint("the .txt and .html beside it, or report.json in the run's folder, may be whole"));
        }
        Stored::Later(name) => return Err(refused(&later(&name)).hint("use that version of Deblast")),
    };
    let warning = damage.as_ref().map(|why| format!("this report is not as it was written: {why}"));
    if let Some(warning) = &warning {
        let _ = writeln!(std::io::stderr().lock(), "warning: {}", printable(warning));
    }
    match format {
        ReportFormat::Json => print(&bytes)?,
        ReportFormat::Text => print(text(&report, warning.as_deref()).as_bytes())?,
        ReportFormat::Html => print(report_html::render(&report, warning.as_deref())?.as_bytes())?,
    }
    Ok(u8::from(damage.is_some()))
}

fn text(report: &Report, warning: Option<&str>) -> String {
    let text = report_text::render(report);
    match warning {
        Some(warning) => format!("WARNING: {}\n\n{text}", printable(warning)),
        None => text,
    }
}

fn later(name: &str) -> String {
    format!("it is of the schema {name}, which a later version of Deblast wrote")
}

fn check(paths: &[PathBuf]) -> Result<u8> {
    let mut worst = 0;
    let mut tell = |path: &Path, code: u8, words: &str| {
        worst = worst.max(code);
        print(format!("{}: {}\n", printable(&path.to_string_lossy()), printable(words)).as_bytes())
    };
    for path in paths {
        if !path.is_dir() {
            let (code, words) = judge(path);
            tell(path, code, &words)?;
            continue;
        }
        match reports_in(path) {
            Ok(files) if files.is_empty() => tell(path, 2, "no report in this folder")?,
            Ok(files) => {
                for file in files {
                    let (code, words) = judge(&file);
                    tell(&file, code, &words)?;
                }
            }
            Err(error) => tell(path, 2, &error.to_string())?,
        }
    }
    Ok(worst)
}

/// The exit code for one file, and the words.
fn judge(file: &Path) -> (u8, String) {
    let bytes = match read(file) {
        Ok(bytes) => bytes,
        Err(error) => return (2, format!("unreadable: {error}")),
    };
    match Stored::of(&bytes) {
        Stored::Sound(report) => {
            let Report { verdict, started, tool, .. } = *report;
            (0, format!("sound: {verdict}, {started}, Deblast {}", tool.version))
        }
        Stored::Altered { why, .. } | Stored::Broken(why) => (1, format!("damaged: {why}")),
        Stored::Later(name) => (2, format!("not judged: {}", later(&name))),
    }
}

fn merge(paths: &[PathBuf], csv: Option<&Path>, html: Option<&Path>) -> Result<u8> {
    // Before anything is read: what cannot be written need not be made.
    let (csv, html) = (csv.map(new_file).transpose()?, html.map(new_file).transpose()?);
    let mut merged = Merged::default();
    let (mut code, mut count) = (0, 0_usize);
    for path in paths {
        let files = if path.is_dir() { all_below(path)? } else { vec![path.clone()] };
        for file in files {
            count += 1;
            let name = file.to_string_lossy().into_owned();
            let why = match read(&file).map(|bytes| Stored::of(&bytes)) {
                Ok(Stored::Sound(report)) => {
                    merged.add(name, &report, None);
                    continue;
                }
                Ok(Stored::Altered { report, why }) => {
                    code = code.max(1);
                    merged.add(name, &report, Some(why));
                    continue;
                }
                Ok(Stored::Broken(why)) => why,
                Ok(Stored::Later(name)) => later(&name),
                Err(error) => error.to_string(),
            };
            code = 2;
            let _ = writeln!(std::io::stderr().lock(), "{}: left out: {}", printable(&name), printable(&why));
            merged.leave_out(name, why);
        }
    }
    if merged.is_empty() {
        let why = format!("none of {count} files is a report");
        return Err(Error::refused("merge reports", why).hint("name the folders of --report-dir or stores"));
    }
    merged.settle();
    if csv.is_none() && html.is_none() {
        print(merged.to_csv()?)?;
    }
    let write = |file: Option<(File, PathBuf)>, bytes: Vec<u8>| match file {
        Some((mut file, path)) => {
            let written = file.write_all(&bytes).and_then(|()| file.sync_all());
            written.doing("write the table").map_err(|e| e.device(path))
        }
        None => Ok(()),
    };
    write(csv, merged.to_csv()?)?;
    write(html, merged.to_html()?.into_bytes())?;
    Ok(code)
}

/// A file that was not there before.
fn new_file(path: &Path) -> Result<(File, PathBuf)> {
    let made = File::create_new(path).doing("make the file for the table").map_err(|e| e.device(path));
    Ok((made?, path.to_owned()))
}

/// Every JSON file below a folder that may be a report, in the order of their names. Links are not followed.
fn all_below(folder: &Path) -> Result<Vec<PathBuf>> {
    /// What else lies in a run's folder.
    const NO_REPORT: [&str; 1] = ["manifest.json"];
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |e| Error::io("list the folder", e).device(&folder);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
            let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
            let is_other = NO_REPORT.iter().any(|name| entry.file_name().eq_ignore_ascii_case(name));
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && is_json && !is_other {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Every JSON file of a folder, and the report of each run's folder in it, in the order of their names.
fn reports_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io("list the folder", e).device(folder);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            files.extend(Some(path.join(IN_RUN)).filter(|report| report.exists()));
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    read.doing("read the report").map_err(|e| e.device(file))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::refused("read the report", "it is too large to be one").device(file));
    }
    Ok(bytes)
}

//! The report as files: NAME.json, NAME.txt and NAME.html in a folder, made before a disk is touched. A name tells the time, the
//! machine and the disk: `deblast-20030816-120000-PF0ABCDE-WD-WCAM12345678.json`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cleanup::report::{Machine, Report};
use crate::cleanup::{report_html, report_text};
use crate::disk;
use crate::error::{Context as _, Error, Result};
use crate::store::place::refuse_missing_parent;

type Render = fn(&Report) -> Result<String>;

/// Each format by the ending of its file's name.
const FORMATS: [(&str, Render); 3] = [
    ("json", Report::to_json),
    ("txt", |report| Ok(report_text::render(report))),
    ("html", |report| report_html::render(report, None)),
];

/// Characters of one part of a name: what a serial number has, and no more than fits several times into a name of FAT.
const MOST: usize = 40;

/// The files that a report goes into, empty until then.
pub struct ReportFiles {
    name: PathBuf,
    files: Vec<(File, PathBuf, Render)>,
}

/// What a report is about, beside its time.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The machine that the disks are in.
    pub machine: Option<String>,
    /// The disk, where it is about one.
    pub disk: Option<String>,
}

impl About {
    /// The run of a machine on these targets. A machine that looks at nothing but images is not the one that they are of.
    pub fn of(machine: &Machine, targets: &[PathBuf]) -> Self {
        let is_image = |target: &PathBuf| target.is_file();
        let is_about = !targets.iter().all(is_image);
        Self {
            machine: machine.identity().filter(|_| is_about).map(str::to_owned),
            disk: match targets {
                [one] => Some(disk::identity(one)),
                _ => None,
            },
        }
    }

    /// The parts of a name.
    fn parts(&self) -> impl Iterator<Item = String> {
        [&self.machine, &self.disk]
            .into_iter()
            .flatten()
            .map(|text| part(text))
            .filter(|part| !part.is_empty())
    }
}

/// A text as part of a name that every file system takes: what a firmware tells is anybody's.
fn part(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: Vec<&str> = text.split(|c| !is_plain(c)).filter(|word| !word.is_empty()).collect();
    words.join("-").chars().take(MOST).collect()
}

impl ReportFiles {
    /// Makes them under a name that is free; a folder that is missing is made.
    ///
    /// # Errors
    /// The folder or the files cannot be made.
    pub fn create(folder: &Path, now: Timestamp, about: &About) -> Result<Self> {
        let doing = "make the folder for reports";
        refuse_missing_parent(folder, doing)?;
        match std::fs::create_dir(folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(doing, e).device(folder));
            }
            _ => {}
        }
        let mut stem = format!("deblast-{}", now.strftime("%Y%m%d-%H%M%S"));
        about.parts().for_each(|part| stem.extend(["-", &part]));
        Self::free_name(&folder.join(stem))
    }

    /// Makes those of one disk of the run that these are of: their name begins with that of the run.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create_for(&self, disk: &str) -> Result<Self> {
        let part = part(disk);
        let more = if part.is_empty() { String::new() } else { format!("-{part}") };
        Self::free_name(&with_more(&self.name, &more))
    }

    fn free_name(stem: &Path) -> Result<Self> {
        let more = |number| if number == 1 { String::new() } else { format!("-{number}") };
        let mut names = (1..10_000).map(|number| with_more(stem, &more(number)));
        names.find_map(|name| Self::named(name).transpose()).unwrap_or_else(|| {
            Err(Error::refused("make the report", "every name for it is taken").device(stem))
        })
    }

    /// All files of one name; none where one of them is there already.
    fn named(name: PathBuf) -> Result<Option<Self>> {
        let mut made = Self { name, files: Vec::new() };
        for (extension, render) in FORMATS {
            let path = with_more(&made.name, &format!(".{extension}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => made.files.push((file, path, render)),
                Err(e) => {
                    made.discard();
                    return match e.kind() {
                        std::io::ErrorKind::AlreadyExists => Ok(None),
                        _ => Err(Error::io("make the report", e).device(path)),
                    };
                }
            }
        }
        Ok(Some(made))
    }

    /// Their paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(_, path, _)| path.as_path())
    }

    /// Takes them away again, where there is nothing to report: they are ours, and empty.
    pub fn discard(self) {
        self.files.iter().for_each(|(_, path, _)| drop(std::fs::remove_file(path)));
    }

    /// Writes each in its format, whichever fails; the first failure.
    ///
    /// # Errors
    /// One of them cannot be written.
    pub fn write(&mut self, report: &Report) -> Result<()> {
        let write = |(file, path, render): &mut (File, PathBuf, Render)| {
            let content = render(report)?;
            file.write_all(content.as_bytes())
                .and_then(|()| file.sync_all())
                .doing("write the report")
                .map_err(|e| e.device(&*path))
        };
        self.files.iter_mut().map(write).fold(Ok(()), Result::and)
    }
}

fn with_more(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &ReportFiles) -> Vec<String> {
        files.paths().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_name_tells_time_machine_and_disk_and_is_never_taken_twice() {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2003-08-16T12:00:00Z".parse().unwrap();
        let about = About { machine: Some("PF0 ABC/DE".to_owned()), disk: Some("WD-WCAM1".to_owned()) };
        let first = ReportFiles::create(folder.path(), now, &about).unwrap();
        let stem = "deblast-20030816-120000-PF0-ABC-DE-WD-WCAM1";
        assert_eq!(names(&first), ["json", "txt", "html"].map(|end| format!("{stem}.{end}")));
        let second = ReportFiles::create(folder.path(), now, &about).unwrap();
        assert_eq!(names(&second)[0], format!("{stem}-2.json"));
        std::fs::write(folder.path().join(format!("{stem}-3.html")), "mine").unwrap();
        let next = ReportFiles::create(folder.path(), now, &about).unwrap();
        assert_eq!(names(&next)[0], format!("{stem}-4.json"));
        assert!(!folder.path().join(format!("{stem}-3.json")).exists(), "half a report is none");
        let disk = second.create_for("sdb").unwrap();
        assert_eq!(names(&disk)[0], format!("{stem}-2-sdb.json"));
    }

    #[test]
    fn what_a_firmware_tells_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let now: Timestamp = "2003-08-16T12:00:00Z".parse().unwrap();
        let about =
            About { machine: Some("../../etc/\u{1b}[2J".to_owned()), disk: Some("\u{202e}//".to_owned()) };
        let files = ReportFiles::create(&folder.path().join("reports"), now, &about).unwrap();
        assert_eq!(names(&files)[0], "deblast-20030816-120000-etc-2J.json");
        let long = About { machine: None, disk: Some("X".repeat(400)) };
        let files = ReportFiles::create(folder.path(), now, &long).unwrap();
        assert_eq!(names(&files)[0].len(), "deblast-20030816-120000-.json".len() + MOST);
    }
}

//! The report as files: NAME.json, NAME.txt and NAME.html in a folder, made before a disk is touched.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cleanup::report::Report;
use crate::cleanup::{report_html, report_text};
use crate::error::{Context as _, Error, Result};
use crate::store::place::refuse_missing_parent;

type Render = fn(&Report) -> Result<String>;

/// Each format by the ending of its file's name.
const FORMATS: [(&str, Render); 3] = [
    ("json", Report::to_json),
    ("txt", |report| Ok(report_text::render(report))),
    ("html", |report| report_html::render(report, None)),
];

/// The files that a report goes into, empty until then.
pub struct ReportFiles(Vec<(File, PathBuf, Render)>);

impl ReportFiles {
    /// Makes them under a name that is free; a folder that is missing is made.
    ///
    /// # Errors
    /// The folder or the files cannot be made.
    pub fn create(folder: &Path, now: Timestamp) -> Result<Self> {
        let doing = "make the folder for reports";
        refuse_missing_parent(folder, doing)?;
        match std::fs::create_dir(folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(doing, e).device(folder));
            }
            _ => {}
        }
        let stem = format!("deblast-{}", now.strftime("%Y%m%d-%H%M%S"));
        (1..10_000)
            .map(|number| if number == 1 { stem.clone() } else { format!("{stem}-{number}") })
            .find_map(|name| Self::named(&folder.join(name)).transpose())
            .unwrap_or_else(|| {
                Err(Error::refused("make the report", "every name for it is taken").device(folder))
            })
    }

    /// All files of one name; none where one of them is there already.
    fn named(name: &Path) -> Result<Option<Self>> {
        let mut files = Self(Vec::new());
        for (extension, render) in FORMATS {
            let mut path = name.as_os_str().to_owned();
            path.push(format!(".{extension}"));
            let path = PathBuf::from(path);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => files.0.push((file, path, render)),
                Err(e) => {
                    files.discard();
                    return match e.kind() {
                        std::io::ErrorKind::AlreadyExists => Ok(None),
                        _ => Err(Error::io("make the report", e).device(path)),
                    };
                }
            }
        }
        Ok(Some(files))
    }

    /// Their paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(_, path, _)| path.as_path())
    }

    /// Takes them away again, where there is nothing to report: they are ours, and empty.
    pub fn discard(self) {
        self.0.iter().for_each(|(_, path, _)| drop(std::fs::remove_file(path)));
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
        self.0.iter_mut().map(write).fold(Ok(()), Result::and)
    }
}

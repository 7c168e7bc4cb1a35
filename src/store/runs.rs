//! Run folders: their names, their order, and making a new one.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::journal::{Header, Journal, Loaded};
use super::sync_folder;
use crate::error::{Context, Error, Result};

/// A folder that holds run folders.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    on_patient: bool,
}

/// The folder of one run: `NNNN-YYYYMMDD-HHMMSS`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    id: String,
    path: PathBuf,
}

impl Store {
    /// Names a store; nothing is looked at or made.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), on_patient: false }
    }

    /// The store on each patient's own disk, as `--store disk` asks for.
    pub fn on_patient() -> Self {
        Self { root: "disk".into(), on_patient: true }
    }

    /// Whether it is that one: then it has no place on this machine.
    pub fn is_on_patient(&self) -> bool {
        self.on_patient
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the store's folder where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn make(&self) -> Result<()> {
        // One after the other, so that each name reaches the medium: the record lies below all of them. The store holds
        // copies of registry hives: nobody else's to read.
        let missing: Vec<&Path> = self.root.ancestors().take_while(|folder| !folder.exists()).collect();
        missing
            .into_iter()
            .rev()
            .filter(|folder| !folder.as_os_str().is_empty())
            .try_for_each(|folder| {
                match DirBuilder::new().mode(0o700).create(folder) {
                    Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
                    _ => {}
                }
                sync_folder(folder)
            })
            .doing("make the store")
            .map_err(|e| e.device(&self.root).hint("give another place with --store"))
    }

    /// Refuses a store that cannot be written now. Where it was named, the folder above it must be there.
    ///
    /// # Errors
    /// It cannot be made or written: it is gone, full, or write-protected.
    pub fn try_out(&self, named: bool) -> Result<()> {
        const DOING: &str = "write to the store";
        let place = |e: Error| {
            e.device(&self.root).hint("nothing was done to the disk; give another place with --store")
        };
        if named {
            super::place::refuse_missing_parent(&self.root, DOING)?;
        }
        self.make()?;
        // Several disks may ask at once, and what a run that was killed has left is nobody's any more.
        static TRIED: AtomicUsize = AtomicUsize::new(0);
        let (mut file, path) = loop {
            let number = TRIED.fetch_add(1, Ordering::SeqCst);
            let path = self.root.join(format!(".tried-{}-{number}", std::process::id()));
            match File::create_new(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                file => break (file.doing(DOING).map_err(place)?, path),
            }
        };
        let write = std::io::Write::write_all(&mut file, &[0; 4096]).and_then(|()| file.sync_all());
        let written = write.doing(DOING).map_err(place);
        let removed = std::fs::remove_file(&path).doing(DOING).map_err(place);
        written.and(removed)
    }

    /// All run folders, newest first by their counted number. A store that does not exist holds none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn runs(&self) -> Result<Vec<RunFolder>> {
        let list = match std::fs::read_dir(&self.root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            list => list.doing("read the store").map_err(|e| e.device(&self.root))?,
        };
        let mut runs = Vec::new();
        for entry in list {
            let entry = entry.doing("read the store").map_err(|e| e.device(&self.root))?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().filter(|name| number_of(name).is_some()) {
                runs.push(RunFolder { id: id.to_owned(), path: entry.path() });
            }
        }
        runs.sort_by(|a, b| (number_of(&b.id), &b.id).cmp(&(number_of(&a.id), &a.id)));
        Ok(runs)
    }

    /// Makes the folder of a new run. Its number is one more than the highest there, whatever the clock says.
    ///
    /// # Errors
    /// The store cannot be written, or another run holds its lock.
    pub fn begin(&self, now: Timestamp) -> Result<RunFolder> {
        self.make()?;
        let lock_path = self.root.join(".lock");
        let make = || -> Result<RunFolder> {
            let lock = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(super::NO_WAITING)
                .open(&lock_path)
                .doing("lock the store")?;
            flock(&lock, FlockOperation::LockExclusive)
                .map_err(std::io::Error::from)
                .doing("lock the store")?;
            let next = self
                .runs()?
                .first()
                .and_then(|run| number_of(&run.id))
                .map_or(1, |number| number.saturating_add(1));
            let id = format!("{next:04}-{}", now.strftime("%Y%m%d-%H%M%S"));
            let path = self.root.join(&id);
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .and_then(|()| sync_folder(&path))
                .doing("make the run's folder")?;
            Ok(RunFolder { id, path })
        };
        make().map_err(|e| e.device(&self.root).hint("give another place with --store"))
    }
}

impl RunFolder {
    /// RUN-ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its journal is.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Reads its journal.
    ///
    /// # Errors
    /// It cannot be read, or is damaged; a torn one that allowed no write yet is no error.
    pub fn load(&self) -> Result<Loaded> {
        Journal::load(&self.journal_path()).map_err(|e| e.within(format!("use the run {}", self.id)))
    }

    /// Whether the run came to its report, which is written last.
    pub fn has_report(&self) -> bool {
        // On a patient's own disk it has its place before there is one.
        let report = super::read_again(&self.path.join("report.json"));
        report.is_ok_and(|bytes| bytes.iter().any(|byte| !byte.is_ascii_whitespace()))
    }

    /// The header of a journal that is damaged behind it, if the header itself is sound.
    pub fn load_header(&self) -> Option<Header> {
        Journal::load_header(&self.journal_path())
    }

    /// The folder of another run of the same store.
    pub fn sibling(&self, id: &str) -> Result<Self> {
        if number_of(id).is_none() || id.contains(['/', '\0']) {
            return Err(Error::mismatch("find a run", 0, "a RUN-ID", format!("{id:?}")));
        }
        let root = self.path.parent().unwrap_or(Path::new("."));
        Ok(Self { id: id.to_owned(), path: root.join(id) })
    }
}

/// The counted number of a RUN-ID, if the name is one.
fn number_of(id: &str) -> Option<u32> {
    let (number, rest) = id.split_once('-')?;
    let digits = |text: &str, least: usize| text.len() >= least && text.bytes().all(|b| b.is_ascii_digit());
    let (date, time) = rest.split_once('-')?;
    (digits(number, 4) && digits(date, 8) && digits(time, 6)).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("new/store"));
        assert!(store.runs().unwrap().is_empty());
        let late: Timestamp = "2030-01-02T03:04:05Z".parse().unwrap();
        let dead: Timestamp = "1980-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(store.begin(late).unwrap().id(), "0001-20300102-030405");
        assert_eq!(store.begin(dead).unwrap().id(), "0002-19800101-000000");
        std::fs::create_dir(store.root().join("somebody's folder")).unwrap();
        std::fs::create_dir(store.root().join("9999-x-y")).unwrap();
        let ids: Vec<String> = store.runs().unwrap().iter().map(|run| run.id().to_owned()).collect();
        assert_eq!(ids, ["0002-19800101-000000", "0001-20300102-030405"]);
    }

    #[test]
    fn a_sibling_is_never_outside_the_store() {
        let run = RunFolder { id: "0001-20300102-030405".into(), path: "/store/0001-20300102-030405".into() };
        assert!(run.sibling("../../etc").is_err());
        assert!(run.sibling("0002-20300102-030405/..").is_err());
        assert_eq!(
            run.sibling("0002-20300102-030405").unwrap().path(),
            Path::new("/store/0002-20300102-030405")
        );
    }
}

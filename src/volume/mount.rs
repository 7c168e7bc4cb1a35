//! The other way to write: a volume mounted read-write by ntfs-3g, for names and nothing else.
//!
//! A loop device with the volume's offset and size is laid over the very node or image that was inspected; the
//! kernel's own NTFS driver is never used. Each mount has a folder in `/run/deblast`, locked while its run lives.
//! Nothing is left mounted: a mount is released when it is dropped, and one of a run that was killed by the next run,
//! which knows it by that folder. The loop device goes by itself with the last that holds it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};

pub use super::signals::{HeldSignals, hold_signals, is_stopped};
use super::{Roots, in_use::names_in, private};
use crate::error::{Context, Error, Result};
use crate::path::WinPath;

/// Where mounts have their folders: in memory, gone with the machine, as mounts are.
const BASE: &str = "/run/deblast/mounts";
/// How long ntfs-3g may take to mount, or to end: it reads the whole bitmap of a volume first.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a mount may stay busy: programs of a desktop look at new mounts.
const BUSY: Duration = Duration::from_secs(10);
/// How often something is looked at again.
const TICK: Duration = Duration::from_millis(5);

/// Why no volume can be mounted read-write on this machine; none where it can.
pub fn obstacle() -> Option<String> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let missing = ["ntfs-3g", "losetup"].into_iter().find(|name| !is_on_path(name));
    match missing {
        _ if !is_root => Some("only root may mount it".to_owned()),
        Some(name) => Some(format!("there is no {name} on this machine's PATH")),
        None if !Path::new("/dev/fuse").exists() => Some("there is no /dev/fuse on this machine".to_owned()),
        None => None,
    }
}

fn is_on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The folder of one mount, locked while its run lives.
struct Folder {
    path: PathBuf,
    /// Held open for its lock.
    _lock: File,
}

impl Folder {
    fn new() -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let make = || -> std::io::Result<Self> {
            let _all = lock_base()?;
            let number = COUNT.fetch_add(1, Ordering::SeqCst);
            let path = Path::new(BASE).join(format!("{}-{number}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&path)?;
            let lock = OpenOptions::new().write(true).create_new(true).open(path.join("lock"))?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            let folder = Self { path, _lock: lock };
            DirBuilder::new().mode(0o700).create(folder.point())?;
            Ok(folder)
        };
        make().doing("make a place to mount the volume at").map_err(|error| error.device(BASE))
    }

    fn point(&self) -> PathBuf {
        self.path.join("volume")
    }
}

/// One run at a time makes or clears folders.
fn lock_base() -> std::io::Result<File> {
    DirBuilder::new().mode(0o700).recursive(true).create(BASE)?;
    let path = Path::new(BASE).join(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// Releases what runs that were killed have left mounted; where, for telling. Only folders of our own whose run is no
/// more are looked at, and only the loop device that each of them names, while it still lies as that run laid it.
///
/// # Errors
/// One of them cannot be released.
pub fn release_leftovers() -> Result<Vec<PathBuf>> {
    const DOING: &str = "release what a killed run left mounted";
    if !Path::new(BASE).is_dir() || names_in(Path::new(BASE)).iter().all(|name| name == ".lock") {
        return Ok(Vec::new());
    }
    let _all = lock_base().doing(DOING).map_err(|error| error.device(BASE))?;
    let mut released = Vec::new();
    for name in names_in(Path::new(BASE)).into_iter().filter(|name| name != ".lock") {
        let path = Path::new(BASE).join(name);
        if let Ok(lock) = File::open(path.join("lock"))
            && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            continue;
        }
        let release = || -> Result<bool> {
            let point = path.join("volume");
            let mut was_mounted = false;
            let laid = Laid::read(&path);
            let begun = Instant::now();
            loop {
                if mount_options(&point)?.is_some() {
                    was_mounted = true;
                    unmount_patiently(&point)?;
                }
                // ntfs-3g may be about to mount it still. Its end is the end of the writing; it holds the loop device
                // until then, and nobody but init may wait for it as a child.
                match laid.as_ref().filter(|laid| laid.is_there()) {
                    None => break,
                    Some(laid) if begun.elapsed() > PATIENCE => return Err(laid.still_held()),
                    Some(laid) => drop(laid.let_go()),
                }
                std::thread::sleep(TICK);
            }
            clear(&path).doing(DOING)?;
            Ok(was_mounted)
        };
        if release().map_err(|error| error.within(DOING).device(&path))? {
            released.push(path);
        }
    }
    Ok(released)
}

fn clear(folder: &Path) -> std::io::Result<()> {
    // Never recursive: whatever may be mounted there is not ours to delete.
    let gone = |removed: std::io::Result<()>| match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    gone(std::fs::remove_dir(folder.join("volume")))?;
    ["loop", "log", "lock"].iter().try_for_each(|file| gone(std::fs::remove_file(folder.join(file))))?;
    gone(std::fs::remove_dir(folder))
}

/// A loop device as it was laid.
struct Laid {
    /// Its name: `loop3`.
    name: String,
    backing: PathBuf,
    offset: u64,
    size: u64,
}

impl Laid {
    /// Lays the first free loop device over a part of `target` and notes it in `folder` before.
    fn lay(folder: &Path, target: &Path, offset: u64, size: u64) -> Result<Self> {
        const DOING: &str = "lay a loop device over the volume";
        let backing = std::fs::canonicalize(target).doing(DOING)?;
        let mut last = String::new();
        // Another program may take the free one first.
        for _ in 0..20 {
            let found = run(Command::new("losetup").arg("-f")).doing(DOING)?;
            let node = PathBuf::from(found.trim());
            let name = node.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let laid = Self { name, backing: backing.clone(), offset, size };
            laid.write(folder).doing(DOING)?;
            let mut command = Command::new("losetup");
            command.args(["-o", &offset.to_string(), "--sizelimit", &size.to_string()]);
            match run(command.arg(&node).arg(&backing)) {
                Ok(_) if laid.is_there() => return Ok(laid),
                Ok(_) => last = format!("/dev/{} is not laid as it was asked for", laid.name),
                Err(error) => last = error.to_string(),
            }
            if laid.is_there() {
                laid.detach()?;
            }
            let taken = Roots::default().attribute(&laid.name, "loop/backing_file").is_some();
            if !taken {
                break;
            }
        }
        Err(Error::refused(DOING, last)
            .device(target)
            .hint("it takes the losetup of util-linux, and a free /dev/loopN"))
    }

    fn write(&self, folder: &Path) -> std::io::Result<()> {
        let Self { name, backing, offset, size } = self;
        std::fs::write(folder.join("loop"), format!("{name}\n{offset}\n{size}\n{}", backing.display()))
    }

    fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("loop")).ok()?;
        let mut lines = text.splitn(4, '\n');
        Some(Self {
            name: lines.next()?.to_owned(),
            offset: lines.next()?.parse().ok()?,
            size: lines.next()?.parse().ok()?,
            backing: lines.next()?.into(),
        })
    }

    fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Whether it lies as it was laid.
    fn is_there(&self) -> bool {
        let roots = Roots::default();
        let number = |file| roots.attribute(&self.name, file).and_then(|text| text.parse::<u64>().ok());
        let backing = roots.attribute(&self.name, "loop/backing_file");
        backing.is_some_and(|backing| Path::new(backing.trim_end_matches(" (deleted)")) == self.backing)
            && number("loop/offset") == Some(self.offset)
            && number("loop/sizelimit") == Some(self.size)
    }

    /// Has it go with the last that holds it.
    fn let_go(&self) -> Result<()> {
        run(Command::new("losetup").arg("-d").arg(self.node())).map(drop).doing("let the loop device go")
    }

    fn still_held(&self) -> Error {
        Error::refused("detach the loop device", "a program still holds it").device(self.node())
    }

    /// Detaches it and returns when it is gone.
    fn detach(&self) -> Result<()> {
        let begun = Instant::now();
        while self.is_there() {
            if begun.elapsed() > PATIENCE {
                return Err(self.still_held());
            }
            // It may have gone between the two.
            let _ = self.let_go();
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}

/// Runs a tool that must succeed, and gives what it printed.
fn run(command: &mut Command) -> std::io::Result<String> {
    let output = command.stdin(Stdio::null()).process_group(0).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(std::io::Error::other(words.trim().lines().collect::<Vec<_>>().join("; ")))
}

/// The options of what is mounted at a place; none where nothing is.
fn mount_options(point: &Path) -> Result<Option<(String, String)>> {
    let file = "/proc/self/mounts";
    let table =
        std::fs::read_to_string(file).doing("read the table of mounts").map_err(|e| e.device(file))?;
    let found = table.lines().rev().find_map(|line| {
        let mut fields = line.split(' ');
        let source = fields.next()?;
        (fields.next()? == point.to_str()?).then(|| fields.nth(1))?.map(|options| (source, options))
    });
    Ok(found.map(|(source, options)| (source.to_owned(), options.to_owned())))
}

fn unmount_patiently(point: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        match unmount(point, UnmountFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::BUSY) if begun.elapsed() < BUSY => std::thread::sleep(TICK),
            Err(error) => {
                let place = |error: Error| {
                    error
                        .device(point)
                        .hint("end the program that uses it, and run again: it is unmounted then")
                };
                return Err(place(Error::io("unmount the volume", error.into())));
            }
        }
    }
}

/// A file that is to lose its names, as it was inspected.
pub struct Doomed<'a> {
    /// Number of its MFT record.
    pub record: u64,
    /// Size in bytes.
    pub size: u64,
    /// Paths by all its long names; an 8.3 name goes with its long one.
    pub paths: &'a [WinPath],
}

/// A volume that is mounted read-write; unmounted and released when dropped.
pub struct Mounted {
    folder: Folder,
    laid: Laid,
    daemon: Child,
    released: bool,
}

impl Mounted {
    /// Mounts the NTFS volume of `size` bytes that begins `start` bytes into `target`. Signals are held by its caller:
    /// they would end this program and leave the mount.
    ///
    /// # Errors
    /// Any step fails, or what is mounted is not read-write; it is released then, as far as it can be.
    pub fn ntfs(target: &Path, (start, size): (u64, u64), _signals: &HeldSignals) -> Result<Self> {
        const DOING: &str = "mount the volume";
        let place = |error: Error| error.device(target);
        let begin = || -> Result<Self> {
            let folder = Folder::new()?;
            let laid = Laid::lay(&folder.path, target, start, size)?;
            match start_ntfs_3g(&folder, &laid) {
                Ok(daemon) => Ok(Self { folder, laid, daemon, released: false }),
                Err(error) => {
                    let _ = laid.detach();
                    let _ = clear(&folder.path);
                    Err(error)
                }
            }
        };
        let mut mounted = begin().doing(DOING).map_err(place)?;
        mounted.wait().doing(DOING).map_err(place)?;
        Ok(mounted)
    }

    /// Waits until it is mounted; believed only as the table of mounts tells.
    fn wait(&mut self) -> Result<()> {
        const DOING: &str = "have ntfs-3g mount it";
        let begun = Instant::now();
        let (source, options) = loop {
            if let Some(found) = mount_options(&self.folder.point())? {
                break found;
            }
            if self.daemon.try_wait().doing(DOING)?.is_some() {
                return Err(Error::refused(DOING, self.log()));
            }
            if is_stopped() {
                return Err(Error::refused(DOING, "a signal asked this program to end"));
            }
            if begun.elapsed() > PATIENCE {
                return Err(Error::refused(DOING, "it takes too long"));
            }
            std::thread::sleep(TICK);
        };
        if Path::new(&source) != self.laid.node() || !options.split(',').any(|option| option == "rw") {
            let found = format!("{source} with the options {options}");
            return Err(Error::mismatch(
                DOING,
                0,
                format!("{} read-write", self.laid.node().display()),
                found,
            ));
        }
        self.laid.let_go()
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path.join("log")).unwrap_or_default();
        // What it says first is why; its usage comes behind.
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(4).collect();
        if lines.is_empty() { "it ended without a word".to_owned() } else { lines.join("; ") }
    }

    /// A path of the volume, as the kernel has it now. Nothing in it is a link: those of the patient's may lead out of the
    /// volume, onto this machine's own disk. What is not there yet leads nowhere.
    fn path(&self, path: &WinPath) -> Result<PathBuf> {
        const DOING: &str = "find the file";
        let mut found = self.folder.point();
        for part in path.parts() {
            if part.contains('/') || matches!(part, "." | "..") {
                return Err(Error::refused(DOING, "its path cannot be told to Linux").path(path));
            }
            found.push(part);
            if std::fs::symlink_metadata(&found).is_ok_and(|facts| facts.is_symlink()) {
                let why = format!("{part} is a link, which leads somewhere else");
                return Err(Error::refused(DOING, why).path(path));
            }
        }
        Ok(found)
    }

    /// Removes all names of one file, after `accepts` has seen its bytes. Nothing is removed unless every name is that
    /// file.
    ///
    /// # Errors
    /// A name is missing or another file's; the bytes are not those that were inspected; the removal fails.
    pub fn unlink(&self, file: &Doomed<'_>, accepts: &dyn Fn(&[u8]) -> bool) -> Result<()> {
        const DOING: &str = "remove the name";
        for path in file.paths {
            let look = || -> Result<()> {
                let here = self.path(path)?;
                let found = std::fs::symlink_metadata(&here).doing(DOING)?;
                let bytes = if found.is_file() && found.len() == file.size {
                    std::fs::read(&here).doing(DOING)?
                } else {
                    Vec::new()
                };
                if found.ino() != file.record || !found.is_file() || !accepts(&bytes) {
                    return Err(Error::refused(
                        DOING,
                        "through the mount it is not the file that was inspected",
                    ));
                }
                Ok(())
            };
            look().map_err(|error| error.path(path))?;
        }
        for path in file.paths {
            let here = self.path(path)?;
            std::fs::remove_file(here).doing(DOING).map_err(|error| error.path(path))?;
        }
        Ok(())
    }

    /// Copies a folder of the host, as `name`, into a folder of the volume, which is made where it is missing. Each file and
    /// folder is made for SYSTEM and the Administrators only.
    ///
    /// # Errors
    /// One of them exists, or cannot be made.
    pub fn copy_in(&self, from: &Path, into: &WinPath, name: &str) -> Result<()> {
        let place = self.path(into)?;
        match std::fs::create_dir(&place) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made
                .and_then(|()| make_private(&place, true))
                .doing("make the folder")
                .map_err(|e| e.path(into))?,
        }
        copy_folder(from, &place.join(name)).doing("put the folder on the volume").map_err(|e| e.path(into))
    }

    /// Unmounts, waits until ntfs-3g has written its last, and releases the loop device.
    ///
    /// # Errors
    /// Any of it fails, or ntfs-3g did not end well: then the volume must be taken for dirty.
    pub fn release(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        let outcome = self.unmount_and_wait();
        // Best effort from here on: an error above counts for more.
        if outcome.is_err() {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
            let _ = unmount(self.folder.point(), UnmountFlags::DETACH);
        }
        let outcome = outcome.and(self.laid.detach());
        let _ = clear(&self.folder.path);
        outcome
    }

    fn unmount_and_wait(&mut self) -> Result<()> {
        const DOING: &str = "unmount the volume";
        let was_mounted = mount_options(&self.folder.point())?.is_some();
        if was_mounted {
            unmount_patiently(&self.folder.point())?;
        } else {
            // It never came to be mounted.
            let _ = self.daemon.kill();
        }
        let begun = Instant::now();
        loop {
            match self.daemon.try_wait().doing(DOING)? {
                Some(status) if status.success() || !was_mounted => return Ok(()),
                Some(status) => {
                    let why = format!("ntfs-3g ended with {status}: {}", self.log());
                    return Err(Error::refused(DOING, why));
                }
                None if begun.elapsed() > PATIENCE => {
                    return Err(Error::refused(DOING, "ntfs-3g does not end"));
                }
                None => std::thread::sleep(TICK),
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nobody is left to tell; the next run tries again.
        let _ = self.end();
    }
}

fn make_private(path: &Path, is_folder: bool) -> std::io::Result<()> {
    let descriptor = private::descriptor(is_folder);
    Ok(rustix::fs::setxattr(path, "system.ntfs_acl", &descriptor, rustix::fs::XattrFlags::empty())?)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    make_private(to, true)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&to)?;
            make_private(&to, false)?;
            std::io::copy(&mut File::open(entry.path())?, &mut file)?;
            file.sync_all()?;
        }
    }
    Ok(())
}

fn start_ntfs_3g(folder: &Folder, laid: &Laid) -> Result<Child> {
    let start = || -> std::io::Result<Child> {
        let log = File::create(folder.path.join("log"))?;
        let mut command = Command::new("ntfs-3g");
        // An unclean log was refused before; with norecover it would not be wiped even so. A group of its own: Ctrl-C is
        // for us to hear.
        command
            .args(["-o", "no_detach,sync,noatime,norecover,nosuid,nodev,noexec"])
            .env("LC_ALL", "C.UTF-8")
            .process_group(0);
        command.arg(laid.node()).arg(folder.point());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    };
    start().doing("start ntfs-3g")
}

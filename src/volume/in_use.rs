//! Whether a target is in use by this machine: mounted, swapped to, or held by another device. Read from sysfs and
//! procfs, whose roots are parameters so that tests can stand a fake tree there.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

const DOING: &str = "take the target";

/// Where the kernel shows its state.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Root of sysfs.
    pub sys: PathBuf,
    /// Root of procfs.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }
}

/// Refuses a block device or image file that is in use, or of which any part is: mounted, swap, or held by another
/// device (device mapper, RAID, loop). Said in words.
///
/// # Errors
/// It is in use; or that cannot be found out.
pub fn refuse_in_use(path: &Path) -> Result<()> {
    let roots = Roots::default();
    let metadata = std::fs::metadata(path).doing(DOING).map_err(|error| error.device(path))?;
    let name = if metadata.file_type().is_block_device() {
        roots.block_name(rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()))
    } else {
        None
    };
    refuse_in_use_at(path, name.as_deref(), &roots)
}

/// The same with the roots given, and the kernel's name of the block device (`sda1`) where the target is one.
///
/// # Errors
/// As [`refuse_in_use`].
pub fn refuse_in_use_at(path: &Path, block: Option<&str>, roots: &Roots) -> Result<()> {
    let used = match block {
        Some(name) => roots.block_in_use(name),
        None => roots.image_in_use(path),
    };
    match used.map_err(|error| error.device(path))? {
        None => Ok(()),
        Some(why) => Err(Error::refused(DOING, why)
            .device(path)
            .hint("unmount it or detach it, and start again; nothing was written")),
    }
}

impl Roots {
    fn class_block(&self) -> PathBuf {
        self.sys.join("class/block")
    }

    /// The kernel's name of a block device by its numbers.
    pub(crate) fn block_name(&self, major: u32, minor: u32) -> Option<String> {
        let wanted = format!("{major}:{minor}");
        self.block_names().into_iter().find(|name| self.attribute(name, "dev").as_deref() == Some(&wanted))
    }

    /// All block devices, partitions too, in the order of their names.
    pub(crate) fn block_names(&self) -> Vec<String> {
        names_in(&self.class_block())
    }

    /// A one-line file of a block device, trimmed; none where it is missing or empty.
    pub(crate) fn attribute(&self, block: &str, file: &str) -> Option<String> {
        let text = self.binary_attribute(block, file)?;
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A file of a block device as it is; none where it is missing.
    pub(crate) fn binary_attribute(&self, block: &str, file: &str) -> Option<Vec<u8>> {
        std::fs::read(self.class_block().join(block).join(file)).ok()
    }

    /// The partitions of a disk.
    pub(crate) fn partitions(&self, block: &str) -> Vec<String> {
        let folder = self.class_block().join(block);
        names_in(&folder).into_iter().filter(|name| folder.join(name).join("partition").exists()).collect()
    }

    /// The disk that a partition is of.
    pub(crate) fn disk_of(&self, block: &str) -> Option<String> {
        self.attribute(block, "partition")?;
        let names = self.block_names();
        names.into_iter().find(|name| self.class_block().join(name).join(block).join("partition").exists())
    }

    /// Why a block device must be left alone, if it must.
    pub(crate) fn block_in_use(&self, block: &str) -> Result<Option<String>> {
        let parts = self.partitions(block);
        for name in std::iter::once(block.to_owned()).chain(parts) {
            let node = format!("/dev/{name}");
            let numbers = self.attribute(&name, "dev");
            if let Some(place) = self.mounted_at(numbers.as_deref(), Path::new(&node))? {
                return Ok(Some(format!("{node} is mounted at {place}")));
            }
            if let Some(why) = self.held(&name, &node)? {
                return Ok(Some(why));
            }
        }
        // A disk that is used as a whole while its partitions are looked at.
        if let Some(disk) = self.disk_of(block) {
            let node = format!("/dev/{disk}");
            let numbers = self.attribute(&disk, "dev");
            if let Some(place) = self.mounted_at(numbers.as_deref(), Path::new(&node))? {
                return Ok(Some(format!("{node} is mounted at {place}")));
            }
            return self.held(&disk, &node);
        }
        Ok(None)
    }

    fn held(&self, block: &str, node: &str) -> Result<Option<String>> {
        if let Some(holder) = names_in(&self.class_block().join(block).join("holders")).first() {
            let words = self.attribute(holder, "dm/name").map_or(String::new(), |name| format!(" ({name})"));
            return Ok(Some(format!("{node} is held by /dev/{holder}{words}")));
        }
        self.swap_or_loop(Path::new(node))
    }

    /// Why an image file must be left alone, if it must.
    fn image_in_use(&self, path: &Path) -> Result<Option<String>> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(place) = self.mounted_at(None, &path)? {
            return Ok(Some(format!("it is mounted at {place}")));
        }
        self.swap_or_loop(&path)
    }

    fn swap_or_loop(&self, path: &Path) -> Result<Option<String>> {
        let swaps = std::fs::read_to_string(self.proc.join("swaps")).unwrap_or_default();
        if swaps.lines().skip(1).any(|line| path_of(line.split_whitespace().next()) == path) {
            return Ok(Some(format!("{} is swap space", path.display())));
        }
        for name in self.block_names() {
            let Some(backing) = self.attribute(&name, "loop/backing_file") else { continue };
            if Path::new(backing.trim_end_matches(" (deleted)")) != path {
                continue;
            }
            let inner = self.block_in_use(&name)?.map_or(String::new(), |why| format!(", and {why}"));
            return Ok(Some(format!("{} is attached to /dev/{name}{inner}", path.display())));
        }
        Ok(None)
    }

    /// Where something is mounted, by its numbers or by what was given to mount.
    fn mounted_at(&self, numbers: Option<&str>, source: &Path) -> Result<Option<String>> {
        let file = self.proc.join("self/mountinfo");
        let table = std::fs::read(&file).doing("read the table of mounts").map_err(|e| e.device(&file))?;
        let table = String::from_utf8_lossy(&table);
        let found = table.lines().find_map(|line| {
            let (mount, rest) = line.split_once(" - ")?;
            let mut fields = mount.split(' ');
            let is_it = numbers.is_some_and(|numbers| fields.nth(2) == Some(numbers));
            let place = mount.split(' ').nth(4)?;
            let is_source = path_of(rest.split(' ').nth(1)) == source;
            (is_it || is_source).then(|| path_of(Some(place)).display().to_string())
        });
        Ok(found)
    }
}

/// A path out of a table of the kernel, which writes blanks as \040.
fn path_of(field: Option<&str>) -> PathBuf {
    let mut text = field.unwrap_or("").to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, plain);
    }
    text.into()
}

/// Names in a folder, sorted; none where it is missing.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

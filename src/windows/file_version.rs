//! The version of a program file: `VS_FIXEDFILEINFO` out of the resources of a PE file. Its four numbers are what
//! Windows, its installers and the bulletins compare; the texts beside it are for people, and translated.
//!
//! Headers, sections and resource directories are read by the `object` crate, which checks every bound; the version
//! block itself is ours (the formats: Microsoft's PE and COFF specification, and its pages on VS_VERSIONINFO). Nothing
//! is trusted to end: three levels of directories are walked, each at most `MOST_ENTRIES` wide.

use std::fmt;

use object::pe::{IMAGE_DIRECTORY_ENTRY_RESOURCE, IMAGE_FILE_MACHINE_I386, ImageResourceDataEntry};
use object::read::pe::{
    PeFile32, ResourceDirectory, ResourceDirectoryEntryData, ResourceDirectoryTable, SectionTable,
};
use object::{LittleEndian as LE, pe};

use crate::error::{Error, Result};
use crate::volume::bytes::{len64, slice_at, u16_at, u32_at};

/// What is done, in errors.
const DOING: &str = "read the file version";
/// Entries of one resource directory that are followed. A version is there in a few languages; more is damage, and
/// directories that name one another could be made to multiply.
const MOST_ENTRIES: usize = 64;
/// Magic number of the optional header of PE32; PE32+ has 0x20b.
const PE32: u16 = 0x10b;
/// Key of the block that a version resource is: sixteen units with the NUL, behind three 16-bit fields.
const KEY: &str = "VS_VERSION_INFO\0";
/// Where VS_FIXEDFILEINFO begins in that block: behind the key, at the next multiple of four.
const FIXED: usize = 40;
/// Its length in bytes.
const FIXED_LENGTH: usize = 52;
/// Its signature.
const SIGNATURE: u32 = 0xfeef_04bd;

/// A file version: major, minor, build and revision, as `5.1.2600.1361`. Ordered as Windows orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileVersion(pub [u16; 4]);

impl fmt::Display for FileVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, build, revision] = self.0;
        write!(f, "{major}.{minor}.{build}.{revision}")
    }
}

/// The file version of a PE32 program for i386, out of all its bytes.
///
/// # Errors
/// The bytes are no such program, or cut short; its version resource is missing or damaged, or stands there in several
/// languages that disagree.
pub fn read(bytes: &[u8]) -> Result<FileVersion> {
    if !bytes.starts_with(b"MZ") {
        let found = format!("bytes {:02x?}", bytes.get(..2).unwrap_or(bytes));
        return Err(Error::mismatch(DOING, 0, "a program, which begins with \"MZ\"", found));
    }
    let magic = object::read::pe::optional_header_magic(bytes).map_err(damaged)?;
    if magic != PE32 {
        return Err(Error::refused(DOING, format!("it is no 32-bit program (PE magic {magic:#x})")));
    }
    let file = PeFile32::parse(bytes).map_err(damaged)?;
    let machine = file.nt_headers().file_header.machine.get(LE);
    if machine != IMAGE_FILE_MACHINE_I386 {
        return Err(Error::refused(DOING, format!("it is a program for another processor ({machine:#x})")));
    }
    let place =
        file.data_directory(IMAGE_DIRECTORY_ENTRY_RESOURCE).map(|place| place.virtual_address.get(LE));
    let Some(rva) = place.filter(|rva| *rva != 0) else { return Err(missing("it has no resources")) };
    let sections = file.section_table();
    // From there to the end of its section, whichever that is: the size in the data directory is often wrong.
    let resources = at_rva(bytes, &sections, rva, "the resource directory")?;
    version_of(bytes, &sections, resources)
}

/// Walks type, name and language, each a level of the resource directory.
fn version_of(bytes: &[u8], sections: &SectionTable<'_>, resources: &[u8]) -> Result<FileVersion> {
    let root = ResourceDirectory::new(resources);
    let types = root.root().map_err(damaged)?;
    let is_version = |id: Option<u16>| id == Some(pe::RT_VERSION);
    let mut found: Option<FileVersion> = None;
    for names in tables(&types, root, is_version)? {
        for languages in tables(&names, root, |_| true)? {
            for entry in few(languages.entries.iter().collect())? {
                let ResourceDirectoryEntryData::Data(data) = entry.data(root).map_err(damaged)? else {
                    return Err(Error::refused(DOING, "its resource directory has more than three levels"));
                };
                let version = fixed_info(block(bytes, sections, data)?)?;
                match found {
                    Some(other) if other != version => {
                        let why = format!("its version resources disagree: {other} and {version}");
                        return Err(Error::refused(DOING, why));
                    }
                    _ => found = Some(version),
                }
            }
        }
    }
    found.ok_or_else(|| missing("its resources hold no version"))
}

/// The directories below one, of the entries whose number `wanted` says yes to.
fn tables<'a>(
    table: &ResourceDirectoryTable<'a>,
    root: ResourceDirectory<'a>,
    wanted: impl Fn(Option<u16>) -> bool,
) -> Result<Vec<ResourceDirectoryTable<'a>>> {
    let mut below = Vec::new();
    for entry in few(table.entries.iter().filter(|entry| wanted(entry.name_or_id().id())).collect())? {
        match entry.data(root).map_err(damaged)? {
            ResourceDirectoryEntryData::Table(table) => below.push(table),
            ResourceDirectoryEntryData::Data(_) => {
                return Err(Error::refused(DOING, "its resource directory has fewer than three levels"));
            }
        }
    }
    Ok(below)
}

/// The entries, if they are not too many to be true.
fn few<T>(entries: Vec<T>) -> Result<Vec<T>> {
    match entries.len() {
        0..=MOST_ENTRIES => Ok(entries),
        many => Err(Error::refused(
            DOING,
            format!("its version resource stands there {many} times: it is damaged"),
        )),
    }
}

/// The bytes of one resource.
fn block<'a>(
    bytes: &'a [u8],
    sections: &SectionTable<'a>,
    data: &ImageResourceDataEntry,
) -> Result<&'a [u8]> {
    let (rva, length) = (data.offset_to_data.get(LE), data.size.get(LE));
    let rest = at_rva(bytes, sections, rva, "the version resource")?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    rest.get(..length).ok_or_else(|| {
        Error::mismatch(
            DOING,
            len64(rest.as_ptr().addr().saturating_sub(bytes.as_ptr().addr())),
            format!("a version resource of {length} bytes"),
            format!("{} bytes to the end of its section", rest.len()),
        )
    })
}

/// From a relative virtual address to the end of its section in the file.
fn at_rva<'a>(bytes: &'a [u8], sections: &SectionTable<'a>, rva: u32, what: &str) -> Result<&'a [u8]> {
    sections.pe_data_at(bytes, rva).ok_or_else(|| {
        let why = format!(
            "{what}, at address {rva:#x} of the loaded program, lies in no section that the file's {} bytes hold",
            bytes.len()
        );
        Error::refused(DOING, why)
    })
}

/// The numbers of one version resource.
fn fixed_info(block: &[u8]) -> Result<FileVersion> {
    let unlike = |offset: usize, expected: String, found: String| {
        Err(Error::mismatch("read the version resource", len64(offset), expected, found))
    };
    let field = |at| u16_at(block, at).map(usize::from);
    let (Some(length), Some(value), Some(_)) = (field(0), field(2), field(4)) else {
        return unlike(0, "a header of six bytes".to_owned(), format!("{} bytes", block.len()));
    };
    let key: Vec<u8> = KEY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    if slice_at(block, 6, key.len()) != Some(key.as_slice()) {
        return unlike(6, "the key VS_VERSION_INFO".to_owned(), "another".to_owned());
    }
    let fixed = slice_at(block, FIXED, FIXED_LENGTH);
    let (Some(fixed), true) = (fixed, value >= FIXED_LENGTH && length >= FIXED + FIXED_LENGTH) else {
        let found = format!("{value} in a block of {length}, of which {} are there", block.len());
        return unlike(2, format!("{FIXED_LENGTH} bytes of VS_FIXEDFILEINFO"), found);
    };
    let number = |at| u32_at(fixed, at).unwrap_or(0);
    if number(0) != SIGNATURE {
        return unlike(FIXED, format!("the signature {SIGNATURE:#010x}"), format!("{:#010x}", number(0)));
    }
    let half = |at| u16_at(fixed, at).unwrap_or(0);
    // Two 32-bit numbers, the higher half of each first.
    Ok(FileVersion([half(10), half(8), half(14), half(12)]))
}

fn damaged(error: object::read::Error) -> Error {
    Error::library(DOING, error).hint("the file is damaged or cut short; compare it with a good copy")
}

fn missing(why: &str) -> Error {
    Error::refused(DOING, why)
}

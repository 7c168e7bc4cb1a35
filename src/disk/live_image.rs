//! The live image on a disk or disc: its volume set identifier says `DEBLAST ID`, and the kernel that was booted from it
//! was told the same ID.

use std::path::Path;

use super::block;
use crate::error::{Error, Result};
use crate::volume::{Device as _, RawDevice, ReadAt, Roots};

/// Where the primary volume descriptor of ISO 9660 stands.
const DESCRIPTOR: u64 = 0x8000;
/// The kernel parameter with the ID of the image that it was booted from.
const PARAMETER: &str = "deblast.medium=";

/// The ID of the live image on a disk or disc; none where there is none, or it cannot be read.
pub fn image_id(device: &dyn ReadAt) -> Option<String> {
    let mut sector = [0; 512];
    device.read_at(DESCRIPTOR, &mut sector).ok()?;
    if sector.get(..6)? != b"\x01CD001" {
        return None;
    }
    let field = std::str::from_utf8(sector.get(190..318)?).ok()?;
    let id = field.trim_end_matches([' ', '\0']).strip_prefix("DEBLAST ")?;
    is_id(id).then(|| id.to_owned())
}

/// The ID of the image that this machine was booted from, as the boot loader told the kernel.
pub fn booted_id(roots: &Roots) -> Option<String> {
    let text = std::fs::read_to_string(roots.proc.join("cmdline")).ok()?;
    let mut given = text.split_whitespace().filter_map(|word| word.trim_matches('"').strip_prefix(PARAMETER));
    given.next_back().map(|id| id.trim_matches('"').to_owned()).filter(|id| is_id(id))
}

/// Whether the machine was booted from this disk, by the ID on it.
pub(super) fn booted_from(path: &Path, id: &str) -> bool {
    let reader = RawDevice::new(path).and_then(|device| device.open_read());
    reader.is_ok_and(|reader| image_id(reader.as_ref()).as_deref() == Some(id))
}

/// Refuses the disk that this machine was booted from, and its partitions.
///
/// # Errors
/// It is that disk.
pub fn refuse_booted(path: &Path) -> Result<()> {
    let roots = Roots::default();
    let Some(id) = booted_id(&roots) else { return Ok(()) };
    let disk = super::parent(path, &roots).map_or_else(|| path.to_owned(), |(disk, _)| disk);
    if block::name(&disk, &roots).is_some() && booted_from(&disk, &id) {
        let why = "this machine was booted from it";
        return Err(Error::refused("take the target", why).device(path).hint("name the patient's disk"));
    }
    Ok(())
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

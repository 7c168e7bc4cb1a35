//! `INFO2` of the recycle bin of Windows 2000, XP and Server 2003: which file `Dcn.ext` was where. Source: libyal's
//! documentation of the Windows Recycle Bin file formats. NT 4.0 wrote `INFO` with the path in the system's code page,
//! which is read here as far as it is ASCII.

use crate::volume::bytes::{len_of, slice_at, u32_at};

/// Length of the header, in bytes; the size of an entry stands in it.
const HEADER: usize = 20;
/// Longest path that an entry holds, in units of its text.
const PATH: usize = 260;

/// Paths of the deleted files that an `INFO2` or `INFO` names, in its order.
pub fn deleted_paths(info: &[u8]) -> Vec<String> {
    let size = u32_at(info, 12).map(u64::from).map_or(0, len_of);
    if size != 280 && size != 800 {
        return Vec::new();
    }
    let entries = info.get(HEADER..).unwrap_or_default().chunks_exact(size);
    entries.filter_map(|entry| if size == 800 { wide(entry) } else { narrow(entry) }).collect()
}

/// The path in UTF-16, behind that in the code page, an index, a drive, a time and a size.
fn wide(entry: &[u8]) -> Option<String> {
    let units = slice_at(entry, 280, PATH * 2)?.as_chunks::<2>().0;
    let units = units.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|&unit| unit != 0);
    Some(String::from_utf16_lossy(&units.collect::<Vec<u16>>())).filter(|path| !path.is_empty())
}

fn narrow(entry: &[u8]) -> Option<String> {
    let bytes: Vec<u8> = slice_at(entry, 0, PATH)?.iter().copied().take_while(|&byte| byte != 0).collect();
    Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sizes_of_entries_are_read() {
        let header =
            |size: u32| [5_u32, 0, 0, size, 0].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let path = "C:\\WINDOWS\\system32\\msblast.exe";
        let mut info = header(800);
        info.resize(HEADER + 280, 0);
        info.extend(path.encode_utf16().flat_map(u16::to_le_bytes));
        info.resize(HEADER + 800 * 2 + 7, 0);
        assert_eq!(deleted_paths(&info), [path]);
        let mut info = header(280);
        info.extend(path.as_bytes());
        info.resize(HEADER + 280, 0);
        assert_eq!(deleted_paths(&info), [path]);
        assert!(deleted_paths(&header(0)).is_empty());
        assert!(deleted_paths(&[0; 20]).is_empty() && deleted_paths(&[]).is_empty());
    }
}

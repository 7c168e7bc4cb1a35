//! `boot.ini`: what the boot loader of NT 4.0 to Server 2003 offers. A hint only: the ARC numbers in it are wrong as
//! soon as a disk moves, and the proof of an install are its hives.

use crate::path::WinPath;

/// One line below `[operating systems]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// System root, on whichever partition.
    pub root: WinPath,
    /// Title that the menu shows.
    pub title: String,
}

/// The entries of a boot.ini, in their order. Lines that are none (comments, other loaders) are passed over.
pub fn parse(text: &[u8]) -> Vec<Entry> {
    let text = String::from_utf8_lossy(text);
    let mut inside = false;
    let mut entries = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.eq_ignore_ascii_case("[operating systems]");
            continue;
        }
        let Some((place, title)) = line.split_once('=').filter(|_| inside) else { continue };
        let Some((arc, root)) = place.split_once('\\') else { continue };
        let lower = arc.to_ascii_lowercase();
        if !["multi(", "scsi(", "signature("].iter().any(|kind| lower.starts_with(kind)) {
            continue;
        }
        let title = title.trim().strip_prefix('"').and_then(|t| t.split('"').next()).unwrap_or("").to_owned();
        entries.push(Entry { root: WinPath::new(root.trim()), title });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_entries_and_passes_over_the_rest() {
        let text = b"[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
            [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Microsoft Windows XP\" /fastdetect\r\n\
            C:\\=\"Previous Operating System\"\r\nC:\\CMDCONS\\BOOTSECT.DAT=\"Recovery\" /cmdcons\r\n\
            scsi(0)disk(1)rdisk(0)partition(2)\\WINNT=\"NT\"\r\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].root, WinPath::new("windows"));
        assert_eq!(entries[0].title, "Microsoft Windows XP");
        assert_eq!((entries[1].root.as_str(), entries[1].title.as_str()), ("WINNT", "NT"));
        assert!(parse(&[0xff, 0xfe, 0, b'=']).is_empty());
    }
}

//! $LogFile, as far as it tells whether Windows left work in it: its two restart pages.
//!
//! The log is clean where it was emptied (all 0xFF), where no client has it open, or where the flag
//! RESTART_VOLUME_IS_CLEAN is set; of the two pages the one with the later sequence number counts. Source: the Linux-NTFS documentation of
//! $LogFile.

use super::bytes::{len_of, len64, u16_at, u32_at, u64_at};
use super::data;
use super::mft::Mft;
use super::record::{fix_up, kind};
use crate::error::{Error, Result};

/// MFT record of $LogFile.
const LOG_FILE: u64 = 2;
/// How much of the log holds both restart pages, whatever their size, in bytes.
const HEAD: usize = 128 << 10;
/// No client.
const NONE: u16 = 0xffff;
/// RESTART_VOLUME_IS_CLEAN.
const CLEAN: u16 = 2;

/// What one restart page tells.
struct Restart {
    lsn: u64,
    is_clean: bool,
}

/// Why the log is unclean, in words; none where it is clean.
pub(super) fn unclean(mft: &Mft) -> Option<String> {
    let head = match head(mft) {
        Ok(head) => head,
        Err(error) => return Some(format!("its $LogFile cannot be read: {error}")),
    };
    judge(&head)
}

/// The beginning of the log.
fn head(mft: &Mft) -> Result<Vec<u8>> {
    let missing = || Error::refused("find $LogFile", "there is none");
    let owned = mft.record(LOG_FILE)?.ok_or_else(missing)?;
    let content = data::content(mft, &owned.record(), kind::DATA, "")?.ok_or_else(missing)?;
    let mut head = Vec::new();
    let enough = || Error::refused("read on", "the beginning is enough");
    let read = content.read_pieces(mft, &mut |piece| {
        head.extend(piece.iter().take(HEAD - head.len()));
        if head.len() < HEAD { Ok(()) } else { Err(enough()) }
    });
    if head.is_empty() { read.map(|()| head) } else { Ok(head) }
}

fn judge(head: &[u8]) -> Option<String> {
    if head.iter().all(|&byte| byte == 0xff) {
        return None;
    }
    // The second page stands one system page behind the first; where the first is damaged, at any size that there is.
    let sizes = (9..=16).map(|bits| 1_usize << bits);
    let first = restart(head);
    let second = match &first {
        Some((_, size)) => restart(head.get(*size..).unwrap_or_default()),
        None => sizes.filter_map(|size| head.get(size..).and_then(restart)).next(),
    };
    let latest =
        first.into_iter().chain(second).map(|(restart, _)| restart).max_by_key(|restart| restart.lsn);
    match latest {
        Some(Restart { is_clean: true, .. }) => None,
        Some(_) => Some("its $LogFile is unclean: that Windows was not shut down properly".to_owned()),
        None => {
            Some("its $LogFile holds no restart page that can be read, so it counts as unclean".to_owned())
        }
    }
}

/// A restart page and its size in bytes; none where there is no sound one.
fn restart(bytes: &[u8]) -> Option<(Restart, usize)> {
    // `CHKD`: chkdsk has been over it.
    let is_chkdsk = match bytes.get(..4)? {
        b"RSTR" => false,
        b"CHKD" => true,
        _ => return None,
    };
    let size = len_of(u64::from(u32_at(bytes, 16)?));
    if !size.is_power_of_two() || !(512..=64 << 10).contains(&size) {
        return None;
    }
    let mut page = bytes.get(..size)?.to_vec();
    fix_up(&mut page, len64(0)).ok()?;
    let area = usize::from(u16_at(&page, 24)?);
    let clients = u16_at(&page, area + 12)?;
    let flags = u16_at(&page, area + 14)?;
    let lsn = u64_at(&page, if is_chkdsk { 8 } else { area })?;
    Some((Restart { lsn, is_clean: clients == NONE || flags & CLEAN != 0 }, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 4096;

    /// A restart page as Windows writes it.
    fn page(lsn: u64, clients: u16, flags: u16) -> Vec<u8> {
        let mut page = vec![0; SIZE];
        page[..8].copy_from_slice(b"RSTR\x1e\0\x09\0");
        page[16..20].copy_from_slice(&4096_u32.to_le_bytes());
        page[20..24].copy_from_slice(&4096_u32.to_le_bytes());
        page[24..30].copy_from_slice(&[0x30, 0, 1, 0, 1, 0]);
        page[0x30..0x38].copy_from_slice(&lsn.to_le_bytes());
        page[0x38..0x3a].copy_from_slice(&[1, 0]);
        page[0x3c..0x3e].copy_from_slice(&clients.to_le_bytes());
        page[0x3e..0x40].copy_from_slice(&flags.to_le_bytes());
        page[0x1e..0x20].copy_from_slice(&[5, 0]);
        for end in (512..=SIZE).step_by(512) {
            page[end - 2..end].copy_from_slice(&[5, 0]);
        }
        page
    }

    fn log(pages: [Vec<u8>; 2]) -> Option<String> {
        judge(&[pages.concat(), vec![0xff; 1 << 16]].concat())
    }

    #[test]
    fn the_later_page_counts() {
        let (open, closed, flagged) =
            (|lsn| page(lsn, 0, 0), |lsn| page(lsn, NONE, 0), |lsn| page(lsn, 0, CLEAN));
        assert_eq!(log([closed(7), closed(6)]), None);
        assert_eq!(log([flagged(7), open(6)]), None);
        assert_eq!(log([open(6), flagged(7)]), None);
        for unclean in [[open(7), open(6)], [open(7), flagged(6)], [closed(6), open(7)]] {
            assert!(log(unclean).unwrap().contains("not shut down properly"));
        }
    }

    #[test]
    fn a_torn_page_leaves_the_other_to_tell() {
        let mut torn = page(9, 0, 0);
        torn[1022] ^= 1;
        assert_eq!(log([torn.clone(), page(6, NONE, 0)]), None);
        assert!(log([torn.clone(), page(6, 0, 0)]).unwrap().contains("not shut down properly"));
        assert_eq!(log([page(6, NONE, 0), torn.clone()]), None);
        assert!(log([torn.clone(), torn]).unwrap().contains("no restart page"));
    }

    #[test]
    fn an_emptied_log_is_clean_and_an_unknown_one_is_not() {
        assert_eq!(judge(&[0xff; 8192]), None);
        assert_eq!(judge(&[]), None);
        assert!(judge(&[0; 8192]).unwrap().contains("no restart page"));
        let mut checked = page(3, 0, CLEAN);
        checked[..4].copy_from_slice(b"CHKD");
        assert_eq!(log([checked, vec![0; SIZE]]), None);
        let mut absurd = page(3, NONE, 0);
        absurd[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(judge(&absurd).unwrap().contains("no restart page"));
    }
}

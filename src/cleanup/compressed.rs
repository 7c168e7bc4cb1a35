//! Files that NTFS keeps compressed: made inert, and given their bytes back, by the sectors of their clusters.
//!
//! A compression unit of zeros reads as zeros, so all of a file's clusters are overwritten, the first sector first. The
//! bytes that lay there are in the journal: the quarantine holds the decompressed file, from which nobody can make the
//! same clusters again. What the file reads as in any state is told by reading the volume with those sectors laid over.

use std::sync::Arc;

use crate::change::{Change, FileChange, FileId};
use crate::cleanup::held::{InertFile, RunOnDisk};
use crate::cleanup::inspect::{MAX_HIVE, Opened};
use crate::cleanup::plan::{Action, Content, Write};
use crate::digest::{Digests, Sha256};
use crate::error::{Error, Result};
use crate::store::journal::Intent;
use crate::threat::Signatures;
use crate::volume::{Extents, Overlay, Storage, open_volume, recognise};

const SECTOR: u64 = 512;
/// One write is at most this long, in bytes: its bytes before stand in the journal, in hex.
const MOST: u64 = 64 << 10;

/// Whether NTFS keeps a file compressed.
pub(super) fn is_compressed(opened: &Opened, id: FileId) -> Result<bool> {
    let facts = opened.files.facts(id)?;
    Ok(facts.is_some_and(|facts| facts.storage == Storage::Compressed))
}

/// The writes that make a compressed file inert: its first sector, then all others of its clusters.
pub(super) fn zeros(opened: &Opened, extents: &Extents) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for piece in extents.sectors(0..extents.usable())? {
        let mut at = 0;
        while at < piece.length {
            let is_first = piece.file_offset + at == 0;
            let length = if is_first { SECTOR } else { (piece.length - at).min(MOST) };
            let mut before = vec![0; usize::try_from(length).unwrap_or(0)];
            opened.reader.read_at(piece.place + at, &mut before)?;
            writes.push(Write {
                group: u32::from(!is_first),
                place: piece.place + at,
                length,
                before: Content::Bytes(before),
                after: Content::Zeros,
            });
            at += length;
        }
    }
    Ok(writes)
}

/// The content of a file of at most `max` bytes with some sectors replaced: places in the volume, and bytes.
fn read_with<'a>(
    opened: &Opened,
    id: FileId,
    sectors: impl IntoIterator<Item = (u64, &'a [u8])>,
    max: u64,
) -> Result<Vec<u8>> {
    let mut overlay = Overlay::new(opened.reader.clone());
    for (place, bytes) in sectors {
        overlay.replace(place, bytes);
    }
    let recognised = recognise(&overlay)?;
    open_volume(Arc::new(overlay), recognised)?.read(id, max)
}

/// One write of a run: its place in the volume, the bytes before and after.
type Written = (u64, Vec<u8>, Vec<u8>);

/// The writes of a run to one file.
fn writes_of(held: &RunOnDisk, index: usize) -> Result<Vec<Written>> {
    let sides = |intent: &Intent| {
        let before = intent.before.bytes(intent.length, &held.quarantine)?;
        Ok((intent.place, before, intent.after.bytes(intent.length, &held.quarantine)?))
    };
    held.journal.intents.iter().filter(|intent| intent.file == index).map(sides).collect()
}

/// A compressed file that lacks its bytes; none where it has them.
pub(super) fn inert(
    held: &RunOnDisk,
    opened: &Opened,
    index: usize,
    change: &FileChange,
) -> Result<Option<InertFile>> {
    let doing = "give the file its bytes back";
    let size = change.digests.size;
    // A unit that is half zeros may be no sound one.
    let now = opened.files.read(change.id, size).unwrap_or_default();
    if Sha256::of(&now) == change.digests.sha256 {
        return Ok(None);
    }
    let writes = writes_of(held, index)?;
    let before = writes.iter().map(|(place, before, _)| (*place, before.as_slice()));
    if Sha256::of(&read_with(opened, change.id, before, size)?) != change.digests.sha256 {
        return Err(Error::refused(doing, "the journal does not hold the clusters that its digest names"));
    }
    for (place, before, after) in &writes {
        let mut found = vec![0; before.len()];
        opened.reader.read_at(*place, &mut found)?;
        let sector = SECTOR as usize;
        let sides = before.chunks(sector).zip(after.chunks(sector));
        if !found.chunks(sector).zip(sides).all(|(found, (before, after))| found == before || found == after)
        {
            return Err(Error::refused(doing, "it is no longer inert: something else was written into it"));
        }
    }
    Ok(Some(InertFile { id: change.id, now, original: Vec::new() }))
}

/// The writes that give a compressed file its bytes back, from the journal of the run that took them; the first sector last.
pub(super) fn restore(
    held: &RunOnDisk,
    opened: &Opened,
    index: usize,
    extents: &Extents,
) -> Result<Vec<Write>> {
    let first = extents.place(0, SECTOR)?;
    let mut writes = Vec::new();
    for (place, wanted, _) in writes_of(held, index)? {
        for (place, wanted) in (place..).step_by(SECTOR as usize).zip(wanted.chunks(SECTOR as usize)) {
            let mut now = vec![0; wanted.len()];
            opened.reader.read_at(place, &mut now)?;
            if now != wanted {
                writes.push(Write {
                    group: u32::from(place == first),
                    place,
                    length: SECTOR,
                    before: Content::Bytes(now),
                    after: Content::Bytes(wanted.to_vec()),
                });
            }
        }
    }
    writes.sort_by_key(|write| write.group);
    Ok(writes)
}

/// Whether writing a journal's sectors back gives the file the bytes that its digest names, over nothing but zeros; where a taking
/// back was cut, whether it makes nothing inert but a worm that the signatures know.
pub(super) fn may_write_back(
    held: &RunOnDisk,
    opened: &Opened,
    index: usize,
    action: &Action,
    signatures: &Signatures,
) -> Result<bool> {
    let most = MAX_HIVE.max(action.extents.size);
    let wanted = held.journal.header.changes.iter().find_map(|recorded| match &recorded.change {
        Change::File(file) if recorded.file == index => Some(&file.digests),
        _ => None,
    });
    let after = |write: &Write| match &write.after {
        Content::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    };
    let all_after: Option<Vec<(u64, Vec<u8>)>> =
        action.writes.iter().map(|write| Some((write.place, after(write)?))).collect();
    let Some(all_after) = all_after else { return Ok(false) };
    let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    let mut sides = action.writes.iter().zip(&all_after).map(|(write, (_, after))| match &write.before {
        Content::Bytes(before) => Some((before.as_slice(), after.as_slice())),
        _ => None,
    });
    if !held.is_undo() {
        // What cannot be read is replaced by what the digest names.
        let over_zeros =
            sides.all(|sides| sides.is_none_or(|(before, after)| is_zero(before) || before == after));
        let before =
            read_with(opened, action.id, all_after.iter().map(|(at, bytes)| (*at, bytes.as_slice())), most)?;
        return Ok(over_zeros && wanted.is_some_and(|wanted| wanted.sha256 == Sha256::of(&before)));
    }
    let to_zeros = sides.all(|sides| sides.is_none_or(|(before, after)| is_zero(after) || before == after))
        && all_after.iter().all(|(_, after)| is_zero(after));
    let writes = writes_of(held, index)?;
    let whole = read_with(
        opened,
        action.id,
        writes.iter().map(|(place, _, after)| (*place, after.as_slice())),
        most,
    )?;
    let digests = Digests::of(&whole);
    let mut first = vec![0; SECTOR as usize];
    let torn =
        opened.reader.read_at(action.extents.place(0, SECTOR)?, &mut first).is_err() || is_zero(&first);
    Ok(to_zeros && wanted == Some(&digests) && (torn || signatures.by_digest(&digests).is_some()))
}

//! The proof before the first write (ARCHITECTURE.md, "Writing safely"): every cluster that the plan writes belongs to the planned file, to
//! it alone, and is in use by $Bitmap. One sequential pass over all records, bases and extensions, all attributes.

use std::ops::Range;

use super::FileSystem as _;
use super::bytes::{len_of, len64};
use super::data;
use super::mft::{Met, Mft};
use super::ntfs::NtfsVolume;
use super::record::{Record, kind};
use crate::change::FileId;
use crate::error::{Error, Result};

const DOING: &str = "prove that the clusters to be written belong to one file alone";
/// MFT record of $Bitmap.
const BITMAP: u64 = 6;

/// A planned stretch of clusters.
struct Planned {
    clusters: Range<u64>,
    owner: FileId,
    /// What the owner's own unnamed $DATA has claimed of it so far.
    claimed: Vec<Range<u64>>,
}

pub(super) fn prove_unshared(
    volume: &NtfsVolume,
    mft: &Mft,
    plan: &[(FileId, Range<u64>)],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let mut planned = sorted(mft, plan)?;
    if planned.is_empty() {
        return Ok(());
    }
    mft.walk(
        &mut |met| match met {
            Met::InUse(record) => check_record(volume, mft, &mut planned, &record),
            Met::Free => Ok(()),
            Met::Damaged(error) => Err(error
                .within(format!("{DOING}: a record that cannot be read may claim any of them"))
                .hint("have Windows check the volume (chkdsk), then scan again")),
        },
        progress,
    )?;
    for stretch in &mut planned {
        stretch.claimed.sort_by_key(|range| range.start);
        let mut at = stretch.clusters.start;
        for claim in &stretch.claimed {
            if claim.start != at {
                let (words, cluster) = match claim.start < at {
                    true => ("the file itself uses it twice", claim.start),
                    false => ("the file does not use it", at),
                };
                return Err(refused(mft, volume, stretch.owner, cluster, words));
            }
            at = claim.end;
        }
        if at != stretch.clusters.end {
            return Err(refused(mft, volume, stretch.owner, at, "the file does not use it"));
        }
    }
    check_bitmap(volume, mft, &planned)
}

/// The plan as stretches of clusters, in their order, those of one owner that touch or overlap put together.
fn sorted(mft: &Mft, plan: &[(FileId, Range<u64>)]) -> Result<Vec<Planned>> {
    let cluster = mft.geometry.cluster;
    let mut all: Vec<(Range<u64>, FileId)> = plan
        .iter()
        .filter(|(_, range)| !range.is_empty())
        .map(|(owner, range)| (range.start / cluster..range.end.div_ceil(cluster), *owner))
        .collect();
    all.sort_by_key(|(range, _)| range.start);
    let mut planned: Vec<Planned> = Vec::new();
    for (clusters, owner) in all {
        match planned.last_mut().filter(|last| clusters.start <= last.clusters.end) {
            Some(last) if last.owner == owner => last.clusters.end = last.clusters.end.max(clusters.end),
            Some(last) if clusters.start < last.clusters.end => {
                let why = format!("the plan itself writes it for {} and for {owner}", last.owner);
                return Err(Error::refused(DOING, why).offset(clusters.start.saturating_mul(cluster)));
            }
            _ => planned.push(Planned { clusters, owner, claimed: Vec::new() }),
        }
    }
    Ok(planned)
}

fn check_record(volume: &NtfsVolume, mft: &Mft, planned: &mut [Planned], record: &Record<'_>) -> Result<()> {
    let unreadable = |error: Error| {
        error
            .within(format!("{DOING}: MFT record {} may claim any of them", record.number))
            .hint("have Windows check the volume (chkdsk), then scan again")
    };
    let (number, sequence) = record.base().unwrap_or((record.number, record.sequence()));
    let claimant = FileId::Ntfs { record: number, sequence };
    for attribute in record.attributes() {
        let attribute = attribute.map_err(unreadable)?;
        let is_own = attribute.kind == kind::DATA && !attribute.is_named();
        for run in attribute.runs(&mft.geometry).map_err(unreadable)? {
            let Some(lcn) = run.lcn else { continue };
            let run = lcn..lcn + run.count;
            let first = planned.partition_point(|stretch| stretch.clusters.end <= run.start);
            let met = planned.iter_mut().skip(first).take_while(|stretch| stretch.clusters.start < run.end);
            for stretch in met {
                let both = run.start.max(stretch.clusters.start)..run.end.min(stretch.clusters.end);
                if stretch.owner != claimant || !is_own {
                    let stream = match (attribute.kind, attribute.is_named()) {
                        (kind::DATA, false) => String::new(),
                        (kind::DATA, true) => format!(", in its stream {}", attribute.name()),
                        (other, _) => format!(", in its attribute of type {other:#x}"),
                    };
                    let words = format!("{}{stream} uses it too", name_of(volume, claimant));
                    return Err(refused(mft, volume, stretch.owner, both.start, &words));
                }
                stretch.claimed.push(both);
            }
        }
    }
    Ok(())
}

fn check_bitmap(volume: &NtfsVolume, mft: &Mft, planned: &[Planned]) -> Result<()> {
    let unreadable = |error: Error| error.path("\\$Bitmap").within(DOING);
    let owned = mft.record(BITMAP).map_err(unreadable)?;
    let content = match &owned {
        Some(owned) => data::content(mft, &owned.record(), kind::DATA, "").map_err(unreadable)?,
        None => None,
    };
    let Some(content) = content else { return Err(unreadable(Error::refused("read it", "there is none"))) };
    let extents = content.extents(mft).map_err(unreadable)?;
    for stretch in planned {
        let bytes = stretch.clusters.start / 8..stretch.clusters.end.div_ceil(8);
        let mut part = vec![0; len_of(bytes.end - bytes.start)];
        if bytes.start.saturating_add(len64(part.len())) > extents.initialised {
            return Err(refused(
                mft,
                volume,
                stretch.owner,
                stretch.clusters.start,
                "$Bitmap ends before it",
            ));
        }
        extents.read_at(mft.device.as_ref(), bytes.start, &mut part).map_err(unreadable)?;
        let is_free = |cluster: &u64| {
            let byte = part.get(len_of(cluster / 8 - bytes.start)).copied().unwrap_or(0);
            byte >> (cluster % 8) & 1 == 0
        };
        if let Some(cluster) = stretch.clusters.clone().find(is_free) {
            return Err(refused(mft, volume, stretch.owner, cluster, "$Bitmap has it as free"));
        }
    }
    Ok(())
}

fn refused(mft: &Mft, volume: &NtfsVolume, owner: FileId, cluster: u64, words: &str) -> Error {
    let place = cluster.saturating_mul(mft.geometry.cluster);
    Error::refused(DOING, format!("cluster {cluster} of the file: {words}"))
        .path(name_of(volume, owner))
        .offset(place)
        .hint("have Windows check the volume (chkdsk), then scan again")
}

fn name_of(volume: &NtfsVolume, id: FileId) -> String {
    match volume.facts(id) {
        Ok(Some(facts)) => facts.path.to_string(),
        _ => id.to_string(),
    }
}

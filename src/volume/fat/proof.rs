//! The proof before the first write (ARCHITECTURE.md, "Writing safely"): every cluster that the plan writes is in the
//! planned file's chain, once, and in no other chain, in all FATs. One walk over all directories and one sequential pass
//! over each FAT; no chain but those of the planned files is followed.
//!
//! Two chains that share a cluster either begin with the same one, which the directories show, or run into each other,
//! and then two entries of the FAT name the same cluster.

use std::ops::Range;

use super::FatVolume;
use super::directories::{Met, Tree};
use super::table::Link;
use crate::change::FileId;
use crate::error::{Error, Result};
use crate::volume::FileSystem as _;

const DOING: &str = "prove that the clusters to be written belong to one file alone";
const HINT: &str = "have Windows check the volume (chkdsk), then scan again";

/// One cluster of a planned file, and what its chain says of it.
struct Owned {
    cluster: u32,
    /// Which of the planned files.
    owner: usize,
    /// The cluster before it; none for the first.
    before: Option<u32>,
    next: Link,
}

struct Proof<'a> {
    volume: &'a FatVolume,
    owners: Vec<FileId>,
    /// By cluster.
    owned: Vec<Owned>,
}

pub(super) fn prove_unshared(
    volume: &FatVolume,
    plan: &[(FileId, Range<u64>)],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let plan: Vec<_> = plan.iter().filter(|(_, range)| !range.is_empty()).collect();
    if plan.is_empty() {
        return Ok(());
    }
    volume.table.forget();
    let mut owners: Vec<FileId> = plan.iter().map(|(owner, _)| *owner).collect();
    owners.sort_unstable();
    owners.dedup();
    let mut proof = Proof { volume, owners, owned: Vec::new() };
    proof.follow_chains()?;
    for (owner, range) in plan {
        proof.check_range(*owner, range)?;
    }
    proof.check_directories()?;
    let live = volume.table.geometry.live_fats();
    let (size, count) = (volume.table.pass_size(), live.end - live.start);
    for (index, fat) in live.enumerate() {
        let before = size * u64::try_from(index).unwrap_or(0);
        proof.check_fat(fat, &mut |done| progress(before + done, size * count))?;
    }
    Ok(())
}

impl Proof<'_> {
    fn follow_chains(&mut self) -> Result<()> {
        for (owner, id) in self.owners.iter().enumerate() {
            let extents = self.volume.extents(*id).map_err(|error| error.within(DOING))?;
            let geometry = &self.volume.table.geometry;
            let mut before: Option<u32> = None;
            for run in &extents.runs {
                let end = run.place + run.length;
                let mut place = run.place;
                while let Some(cluster) = geometry.cluster_at(place).filter(|_| place < end) {
                    let next = self.volume.table.link(cluster)?;
                    self.owned.push(Owned { cluster, owner, before, next });
                    before = Some(cluster);
                    place += geometry.cluster;
                }
            }
        }
        self.owned.sort_by_key(|owned| owned.cluster);
        for pair in self.owned.array_windows::<2>() {
            let [one, two] = pair;
            if one.cluster == two.cluster {
                let words = format!("{} uses it too", self.name(two.owner));
                return Err(self.refused(one, &words));
            }
        }
        Ok(())
    }

    /// The planned bytes lie in the file's own clusters.
    fn check_range(&self, owner: FileId, range: &Range<u64>) -> Result<()> {
        let geometry = &self.volume.table.geometry;
        let mut place = range.start;
        while place < range.end {
            let cluster = geometry.cluster_at(place);
            let found = cluster.and_then(|cluster| self.owned(cluster));
            let is_own = found.is_some_and(|found| self.owners.get(found.owner) == Some(&owner));
            if !is_own {
                let cluster =
                    cluster.map_or_else(|| "no cluster".to_owned(), |number| format!("cluster {number}"));
                let mut why = format!("{cluster} is to be written for the file: the file does not use it");
                if let Some(found) = found {
                    why = format!("{why}, {} does", self.name(found.owner));
                }
                let path = self.volume.facts(owner).ok().flatten().map(|facts| facts.path.to_string());
                let error = Error::refused(DOING, why).offset(place).hint(HINT);
                return Err(error.path(path.unwrap_or_else(|| owner.to_string())));
            }
            place = (place - geometry.data) / geometry.cluster * geometry.cluster + geometry.data;
            place += geometry.cluster;
        }
        Ok(())
    }

    /// No other entry of any directory begins with one of the clusters.
    fn check_directories(&self) -> Result<()> {
        let root = self.volume.table.geometry.root_cluster;
        if let Some(owned) = self.owned(root) {
            return Err(self.refused(owned, "the root directory uses it too"));
        }
        Tree::walk(
            &self.volume.table,
            &mut |tree, met| match met {
                Met::Damaged(error) => {
                    let words = format!("{DOING}: a directory that cannot be read may claim any of them");
                    Err(error.within(words).hint(HINT))
                }
                Met::Entry { node, directory, entry } => {
                    let Some(owned) = self.owned(entry.cluster) else { return Ok(()) };
                    let id = FileId::Fat { entry: directory.place(entry.at()), cluster: entry.cluster };
                    if owned.before.is_none() && self.owners.get(owned.owner) == Some(&id) {
                        return Ok(());
                    }
                    let path = tree.path(node).join(&entry.name);
                    Err(self.refused(owned, &format!("{path} ({id}) uses it too")))
                }
            },
            &mut |_, _| {},
        )?;
        Ok(())
    }

    /// In this FAT the clusters of the planned files follow each other as in the first, and nothing else leads to them.
    fn check_fat(&self, fat: u64, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let (Some(first), Some(last)) = (self.owned.first(), self.owned.last()) else { return Ok(()) };
        let near = first.cluster..=last.cluster;
        let number = fat + 1;
        self.volume.table.pass(
            fat,
            &mut |cluster, link| {
                let own = if near.contains(&cluster) { self.owned(cluster) } else { None };
                if let Some(own) = own.filter(|own| own.next != link) {
                    let words =
                        format!("FAT {number} has {link} behind it, and the FAT that is read {}", own.next);
                    return Err(self.refused(own, &words));
                }
                let Link::Next(next) = link else { return Ok(()) };
                let led_to = if near.contains(&next) { self.owned(next) } else { None };
                let Some(led_to) = led_to.filter(|led_to| led_to.before != Some(cluster)) else {
                    return Ok(());
                };
                let other = match own {
                    Some(own) => self.name(own.owner),
                    None => self.user_of(cluster),
                };
                let words = format!("{other} uses it too: FAT {number} leads to it from cluster {cluster}");
                Err(self.refused(led_to, &words))
            },
            progress,
        )
    }

    fn owned(&self, cluster: u32) -> Option<&Owned> {
        let index = self.owned.binary_search_by_key(&cluster, |owned| owned.cluster).ok()?;
        self.owned.get(index)
    }

    /// The file or directory whose chain has a cluster, in words; looked for with an end, since the volume is damaged.
    fn user_of(&self, cluster: u32) -> String {
        let table = &self.volume.table;
        let mut steps = u64::from(table.geometry.clusters).saturating_mul(2);
        let mut found = None;
        let mut has = |first: u32| {
            let (chain, _) = table.chain_so_far(first, steps);
            steps -= chain.count.min(steps);
            chain.runs.iter().any(|run| run.contains(&cluster))
        };
        if has(table.geometry.root_cluster) {
            return "the root directory".to_owned();
        }
        let stop = || Error::refused(DOING, "found");
        let _ = Tree::walk(
            table,
            &mut |tree, met| match met {
                Met::Entry { node, entry, .. } if has(entry.cluster) => {
                    found = Some(tree.path(node).join(&entry.name).to_string());
                    Err(stop())
                }
                _ => Ok(()),
            },
            &mut |_, _| {},
        );
        found.unwrap_or_else(|| "a chain that no directory names".to_owned())
    }

    fn name(&self, owner: usize) -> String {
        let Some(id) = self.owners.get(owner) else { return String::new() };
        match self.volume.facts(*id) {
            Ok(Some(facts)) => facts.path.to_string(),
            _ => id.to_string(),
        }
    }

    fn refused(&self, owned: &Owned, words: &str) -> Error {
        Error::refused(DOING, format!("cluster {} of the file: {words}", owned.cluster))
            .path(self.name(owned.owner))
            .offset(self.volume.table.geometry.place(owned.cluster))
            .hint(HINT)
    }
}

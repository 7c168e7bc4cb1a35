//! Which state of a run a disk is in: told from the bytes at the journal's places, never from a mark.
//!
//! A run writes group after group, synced in between, so a cut leaves all of the groups before one sync, any subset of
//! the next group, and nothing later. Taking back walks the same states backwards. A disk in any other state has been
//! written by somebody else since.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::store::journal::Intent;
use crate::store::quarantine::Quarantine;

const SECTOR: u64 = 512;
/// More than these cannot be what one cut left: drives with sectors of 4 KiB lose eight at once.
const MOST_UNREADABLE: usize = 8;

/// Where on its way from before to after a set of writes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No place holds anything that the run wrote.
    Before,
    /// Every place holds what the run wrote last.
    After,
    /// The run, or its taking back, was cut.
    Between,
    /// Somebody else has written since.
    Foreign,
}

/// One sector that a run writes, perhaps several times.
struct Sector {
    /// Groups that write it, ascending.
    groups: Vec<u32>,
    /// What it holds before the first, and after each.
    versions: Vec<Vec<u8>>,
    /// What it holds now; none where it cannot be read, as a power cut in mid-write can leave one sector.
    now: Option<Vec<u8>>,
}

/// A set of writes of one volume, held against the disk.
pub struct Fit {
    /// The state, told by the sectors that can be read.
    pub state: State,
    /// How many of them cannot.
    pub unreadable: usize,
    sectors: BTreeMap<u64, Sector>,
    /// All of the groups, ascending.
    groups: Vec<u32>,
    /// The group in whose midst the disk is, where the state is one that the run can have left.
    cut: Option<u32>,
}

/// One write that takes a sector back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteBack {
    /// Offset in the volume, in bytes.
    pub place: u64,
    /// What is there now; none where it cannot be read.
    pub before: Option<Vec<u8>>,
    /// What was there before the run.
    pub after: Vec<u8>,
}

impl Fit {
    /// Reads every place of `intents` (all of one volume, in the order of their groups) with `read`, which gets an
    /// offset in the volume and a length.
    ///
    /// # Errors
    /// The quarantine lacks bytes, or the intents contradict each other.
    pub fn of<'a>(
        intents: impl IntoIterator<Item = &'a Intent>,
        quarantine: &Quarantine,
        read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let mut sectors: BTreeMap<u64, Sector> = BTreeMap::new();
        let mut groups = Vec::new();
        for intent in intents {
            let before = intent.before.bytes(intent.length, quarantine)?;
            let after = intent.after.bytes(intent.length, quarantine)?;
            groups.push(intent.group);
            let pairs = before.chunks(SECTOR as usize).zip(after.chunks(SECTOR as usize));
            for (place, (before, after)) in (intent.place..).step_by(SECTOR as usize).zip(pairs) {
                let sector = sectors.entry(place).or_insert_with(|| Sector {
                    groups: Vec::new(),
                    versions: vec![before.to_vec()],
                    now: None,
                });
                if sector.versions.last().is_none_or(|last| last != before) {
                    return Err(Error::mismatch(
                        "follow the journal",
                        place,
                        "each write to begin where the one before ended",
                        "another content",
                    ));
                }
                sector.groups.push(intent.group);
                sector.versions.push(after.to_vec());
            }
        }
        groups.sort_unstable();
        groups.dedup();
        for (&place, sector) in &mut sectors {
            let mut now = vec![0; SECTOR as usize];
            sector.now = read(place, &mut now).is_ok().then_some(now);
        }
        // The latest that fits: what cannot be read is then taken for written, and replaced.
        let cut =
            groups.iter().rev().copied().find(|&cut| sectors.values().all(|s| s.version_at(cut).is_some()));
        let unreadable = sectors.values().filter(|sector| sector.now.is_none()).count();
        let all = |test: fn(&Sector) -> bool| sectors.values().filter(|s| s.now.is_some()).all(test);
        let state = if unreadable > MOST_UNREADABLE || (unreadable > 0 && unreadable == sectors.len()) {
            State::Foreign
        } else if all(|s| s.versions.first() == s.now.as_ref()) {
            State::Before
        } else if all(|s| s.versions.last() == s.now.as_ref()) {
            State::After
        } else if cut.is_some() {
            State::Between
        } else {
            State::Foreign
        };
        Ok(Self { state, unreadable, sectors, groups, cut })
    }

    /// The writes that take everything back, group by group, the last group first; synced in between they pass only
    /// through states that the run itself can have left. Empty where nothing is to be taken back, none where the
    /// state is foreign.
    pub fn write_back(&self) -> Option<Vec<Vec<WriteBack>>> {
        // Where all is as before, or after, an end of the way is the cut.
        let cut = match self.state {
            State::Foreign => return None,
            State::Before if self.unreadable == 0 => return Some(Vec::new()),
            State::Before => *self.groups.first()?,
            State::After => *self.groups.last()?,
            State::Between => self.cut?,
        };
        let mut back = Vec::new();
        for &group in self.groups.iter().rev().filter(|&&group| group <= cut) {
            let mut writes = Vec::new();
            for (&place, sector) in &self.sectors {
                let Some(step) = sector.groups.iter().position(|&own| own == group) else { continue };
                // Version `step + 1` is what this group left; the sector is there if its version is no lower.
                let Some(version) = sector.version_at(cut) else { continue };
                let (Some(before), Some(after)) = (sector.versions.get(step + 1), sector.versions.get(step))
                else {
                    continue;
                };
                // One that cannot be read is taken for written as late as it can have been, and replaced.
                let unreadable = sector.now.is_none() && version == step + 1;
                if version > step && (unreadable || before != after) {
                    let before = (!unreadable).then(|| before.clone());
                    writes.push(WriteBack { place, before, after: after.clone() });
                }
            }
            back.push(writes);
        }
        // All others tell that these were not reached: they are replaced by what the run found there.
        let unreached = self.sectors.iter().filter(|(_, s)| s.now.is_none() && s.version_at(cut) == Some(0));
        back.push(
            unreached
                .filter_map(|(&place, sector)| {
                    Some(WriteBack { place, before: None, after: sector.versions.first()?.clone() })
                })
                .collect(),
        );
        back.retain(|writes| !writes.is_empty());
        Some(back)
    }
}

impl Sector {
    /// The version that this sector holds, if it may hold it while the run is in the midst of group `cut`: every
    /// earlier group is done, no later one is. The lowest, where versions are alike; the highest, where it cannot be
    /// read, so that it is replaced whatever it was.
    fn version_at(&self, cut: u32) -> Option<usize> {
        let mut possible = (0..self.versions.len()).filter(|&version| {
            let last_done = version.checked_sub(1).and_then(|index| self.groups.get(index));
            let next = self.groups.get(version);
            last_done.is_none_or(|&group| group <= cut) && next.is_none_or(|&group| group >= cut)
        });
        match &self.now {
            Some(now) => possible.find(|&version| self.versions.get(version) == Some(now)),
            None => possible.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::Side;

    fn intent(group: u32, place: u64, before: u8, after: u8) -> Intent {
        let side = |byte| Side::Bytes(vec![byte; 512]);
        Intent { group, file: 0, place, length: 512, before: side(before), after: side(after) }
    }

    /// Sector 0 is written in groups 0 and 2, sector 1 in group 1, sectors 2 and 3 in group 2.
    fn plan() -> Vec<Intent> {
        vec![
            intent(0, 0, 1, 2),
            intent(1, 512, 1, 2),
            intent(2, 0, 2, 3),
            intent(2, 1024, 1, 2),
            intent(2, 1536, 1, 2),
        ]
    }

    fn fit(now: [u8; 4]) -> Fit {
        let read = &mut |place: u64, buf: &mut [u8]| {
            buf.fill(now[usize::try_from(place / 512).unwrap()]);
            Ok(())
        };
        Fit::of(&plan(), &Quarantine::default(), read).unwrap()
    }

    /// Every state of the four sectors: exactly those that a cut can leave are taken back, and to the byte.
    #[test]
    fn every_state_is_told_apart_and_taken_back() {
        let possible = |s: [u8; 4]| match s {
            [1 | 2, 1, 1, 1] => true,         // group 0 half done or done
            [2, 2, 1, 1] => true,             // group 1 done
            [2 | 3, 2, 1 | 2, 1 | 2] => true, // any subset of group 2
            _ => false,
        };
        for n in 0..256_u32 {
            let now = [0, 2, 4, 6].map(|shift| u8::try_from(n >> shift & 3).unwrap());
            let fit = fit(now);
            let state = match now {
                [1, 1, 1, 1] => State::Before,
                [3, 2, 2, 2] => State::After,
                now if possible(now) => State::Between,
                _ => State::Foreign,
            };
            assert_eq!(fit.state, state, "{now:?}");
            let Some(back) = fit.write_back() else {
                assert_eq!(state, State::Foreign);
                continue;
            };
            let mut disk = now;
            for group in back {
                for write in group {
                    let slot = &mut disk[usize::try_from(write.place / 512).unwrap()];
                    assert_eq!(write.before, Some(vec![*slot; 512]), "{now:?}");
                    *slot = write.after[0];
                }
                assert!(possible(disk), "taking {now:?} back passes through {disk:?}");
            }
            assert_eq!(disk, [1; 4], "{now:?}");
        }
    }

    /// One sector that the cut made unreadable: all others tell the state, and it is replaced.
    #[test]
    fn an_unreadable_sector_is_replaced() {
        let cases = [
            ([2, 1, 1, 1], 1, State::Between),
            ([3, 2, 2, 1], 3, State::After),
            ([3, 2, 2, 2], 0, State::After),
            ([2, 1, 1, 1], 3, State::Between),
            ([1, 1, 1, 1], 0, State::Before),
            ([1, 1, 1, 1], 2, State::Before),
        ];
        for (now, bad, state) in cases {
            let read = &mut |place: u64, buf: &mut [u8]| {
                let sector = usize::try_from(place / 512).unwrap();
                buf.fill(now[sector]);
                if sector == bad { Err(Error::refused("read", "bad sector")) } else { Ok(()) }
            };
            let fit = Fit::of(&plan(), &Quarantine::default(), read).unwrap();
            assert_eq!((fit.state, fit.unreadable), (state, 1), "{now:?}");
            let mut disk = now.map(Some);
            disk[bad] = None;
            for write in fit.write_back().unwrap().into_iter().flatten() {
                let slot = &mut disk[usize::try_from(write.place / 512).unwrap()];
                assert_eq!(write.before, slot.map(|byte| vec![byte; 512]), "{now:?}");
                *slot = Some(write.after[0]);
            }
            assert_eq!(disk, [Some(1); 4], "{now:?}");
        }
    }

    #[test]
    fn nothing_is_told_by_sectors_that_cannot_be_read() {
        let read = &mut |_: u64, _: &mut [u8]| Err(Error::refused("read", "bad sector"));
        let fit = Fit::of(&plan(), &Quarantine::default(), read).unwrap();
        assert_eq!((fit.state, fit.write_back()), (State::Foreign, None));
    }

    #[test]
    fn a_journal_that_contradicts_itself_is_refused() {
        let intents = [intent(0, 0, 1, 2), intent(1, 0, 5, 6)];
        let read = &mut |_: u64, buf: &mut [u8]| {
            buf.fill(1);
            Ok(())
        };
        assert!(Fit::of(&intents, &Quarantine::default(), read).is_err());
    }
}

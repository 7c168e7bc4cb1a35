//! States that cutting the power can leave, drawn at random: what `scripts/cut` asks for on disks that have too many to be
//! all gone through. A seed draws the same states every time.

use std::collections::BTreeSet;

use crate::cut_disk::{Cut, Op, Recording, write};

/// What `scripts/cut` asks for, by `DEBLAST_DRAW`: how many states, of which seed, and whether the syncs are dropped, which
/// is the control.
pub(crate) struct Wanted {
    pub(crate) count: usize,
    pub(crate) seed: u64,
    pub(crate) unsynced: bool,
}

/// None where nothing is asked for.
pub(crate) fn wanted() -> Option<Wanted> {
    let text = std::env::var("DEBLAST_DRAW").ok()?;
    let parts: Vec<&str> = text.split(':').collect();
    let numbers = |count: &str, seed: &str| (count.parse().unwrap(), seed.parse().unwrap());
    let ((count, seed), unsynced) = match parts[..] {
        [count, seed] => (numbers(count, seed), false),
        [count, seed, "unsynced"] => (numbers(count, seed), true),
        _ => panic!("DEBLAST_DRAW={text}: expected COUNT:SEED, or COUNT:SEED:unsynced"),
    };
    Some(Wanted { count, seed, unsynced })
}

/// SplitMix64, by Steele, Lea and Flood: what a seed draws is the same on every machine.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// One state: how many of the run's operations came before the cut, and of the writes since the last sync which had reached
/// the medium.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Drawn {
    synced: usize,
    there: Vec<bool>,
}

/// As many different states as asked for, or as there are. The power goes behind any write; of those in flight
/// then each is there by a chance that is drawn as well, for few and nearly all are as likely in a disk's cache as half.
pub(crate) fn draw(recording: &Recording, count: usize, dice: &mut Dice) -> Vec<Drawn> {
    let writes: Vec<usize> = places(recording, |op| matches!(op, Op::Write(..)));
    let syncs: Vec<usize> = places(recording, |op| matches!(op, Op::Sync));
    let (mut drawn, mut known, mut in_vain) = (Vec::new(), BTreeSet::new(), 0);
    while drawn.len() < count && in_vain < 200 {
        let last = writes[dice.below(writes.len())];
        let synced = syncs[..syncs.partition_point(|&sync| sync < last)].last().map_or(0, |sync| sync + 1);
        let in_flight = writes.iter().filter(|&&write| (synced..=last).contains(&write)).count();
        let chance = [1, 4, 7][dice.below(3)];
        let there: Vec<bool> = (0..in_flight).map(|_| dice.below(8) < chance).collect();
        // What is not there at the end was never written, as far as anybody can tell.
        let end = there.iter().rposition(|there| *there).map_or(0, |last| last + 1);
        let state = Drawn { synced, there: there[..end].to_vec() };
        if known.insert(state.clone()) {
            drawn.push(state);
            in_vain = 0;
        } else {
            in_vain += 1;
        }
    }
    drawn
}

fn places(recording: &Recording, wanted: fn(&Op) -> bool) -> Vec<usize> {
    let ops = recording.ops.iter().enumerate();
    ops.filter(|(_, op)| wanted(op)).map(|(place, _)| place).collect()
}

/// The state itself.
pub(crate) fn build(recording: &Recording, drawn: &Drawn) -> Cut {
    let (mut disk, mut store) = (recording.start.clone(), 0);
    let mut there = drawn.there.iter();
    for (place, op) in recording.ops.iter().enumerate() {
        match op {
            Op::Write(at, sector) if place < drawn.synced => write(&mut disk, *at, *sector),
            Op::Write(at, sector) => match there.next() {
                Some(true) => write(&mut disk, *at, *sector),
                Some(false) => {}
                None => break,
            },
            Op::Open(snapshot) => store = *snapshot,
            Op::Sync => {}
        }
    }
    let bits: String = drawn.there.iter().map(|there| if *there { '1' } else { '0' }).collect();
    let what = format!("synced before operation {}, then {bits}", drawn.synced);
    Cut { disk, store: recording.stores[store].clone(), what }
}

/// The same run on a medium that is never told to sync.
pub(crate) fn without_syncs(recording: &Recording) -> Recording {
    Recording {
        start: recording.start.clone(),
        ops: recording.ops.iter().filter(|op| !matches!(op, Op::Sync)).copied().collect(),
        stores: recording.stores.clone(),
        end: recording.end.clone(),
        store: recording.store.clone(),
    }
}

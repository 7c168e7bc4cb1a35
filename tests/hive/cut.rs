//! The cut: whatever subset of a group's sectors has reached the disk, the hive reads as before or after each edit.

use deblast::digest::Sha256;
use deblast::hive::Hive;
use deblast::hive::check::{Class, Problem, check, survey};
use deblast::hive::edit::{Edit, Group, Room, Step, edit, edit_within};
use deblast::hive::tree::{actual_tree, expected_tree};

use crate::common::{NOW, made, there, tight, written};
use crate::edits::scripts;

struct Judge<'a> {
    edits: &'a [Edit],
    /// The tree after so many edits, times of the edited keys left out, and what a reader that is not ours sees.
    states: Vec<(Sha256, Seen)>,
}

/// The values of each edited key, as the crate `regf` reads them; of a small hive only, since it reads all of a hive
/// each time.
type Seen = Vec<Option<Vec<(String, u32, Vec<u8>)>>>;

fn seen(bytes: &[u8], edits: &[Edit]) -> Seen {
    if bytes.len() > 512 * 1024 {
        return Vec::new();
    }
    edits.iter().map(|edit| there(bytes, edit.key().as_str())).collect()
}

impl<'a> Judge<'a> {
    fn new(before: &Hive, edits: &'a [Edit], room: Room) -> Self {
        let state = |count: usize| {
            let mut hive = before.clone();
            edit_within(&mut hive, &edits[..count], NOW + 1, room).unwrap();
            assert_eq!(
                actual_tree(&hive, &edits[..count]).unwrap(),
                expected_tree(before, &edits[..count]).unwrap(),
                "after {count} edits"
            );
            (actual_tree(&hive, edits).unwrap(), seen(hive.as_bytes(), edits))
        };
        Self { edits, states: (0..=edits.len()).map(state).collect() }
    }

    /// The tree that a cut left, which is that of some number of whole edits; or what is broken.
    fn judge(&self, bytes: Vec<u8>) -> Result<Sha256, String> {
        let hive = Hive::parse(bytes).unwrap();
        self.judge_checked(&hive, &check(&hive))
    }

    fn judge_checked(&self, hive: &Hive, problems: &[Problem]) -> Result<Sha256, String> {
        if let Some(problem) = problems.iter().find(|problem| problem.class == Class::Structure) {
            return Err(problem.to_string());
        }
        let tree = actual_tree(hive, self.edits).map_err(|error| error.to_string())?;
        let known = self.states.iter().any(|(state, _)| *state == tree);
        known.then_some(tree).ok_or_else(|| "a tree of no state".into())
    }
}

/// Which sectors of a group of `count` are written: all subsets of a small one; else each prefix, each with one
/// missing, and some at random.
fn subsets(count: usize, random: &mut u64) -> Vec<u128> {
    if count <= 4 {
        return (0..1 << count).collect();
    }
    assert!(count < 128);
    let all = (1 << count) - 1;
    let mut subsets: Vec<u128> = (0..=count).map(|n| (1 << n) - 1).collect();
    subsets.extend((0..count).map(|n| all & !(1 << n)));
    for _ in 0..8 {
        // Knuth's linear congruential generator; the high bits are the good ones.
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        subsets.push((u128::from(*random) << 64 | u128::from(*random) >> 20) & all);
    }
    subsets
}

fn some_of(group: &Group, subset: u128) -> Group {
    let mut some = group.clone();
    let mut index = 0;
    some.sectors.retain(|_| {
        index += 1;
        subset >> (index - 1) & 1 == 1
    });
    some
}

/// What the check tells of a cut is what it told before the edits, but for the one thing that cannot be avoided, of
/// which regf would not read on: a new key's security is counted before the key is there. Gives whether it is so.
fn counted_ahead(problems: &[Problem], before: &[Problem], edit: &Edit, step: Step) -> bool {
    let new: Vec<&Problem> = problems.iter().filter(|problem| !before.contains(problem)).collect();
    let ahead = |problem: &Problem| problem.what.contains("keys name this security, it counts");
    match new.as_slice() {
        [] => false,
        [only] if ahead(only) => {
            assert!(matches!(edit, Edit::CreateKey { .. }), "{only}");
            assert!(matches!(step, Step::Headers | Step::Flip), "{only} in {step:?}");
            true
        }
        more => panic!("in {step:?} of {edit:?}: {more:?}"),
    }
}

/// Cuts the edits everywhere; gives the number of states judged.
pub(crate) fn cut(before: &Hive, edits: &[Edit], what: &str) -> usize {
    cut_within(before, edits, what, Room::FreeCells)
}

/// The same for a hive that may grow.
pub(crate) fn cut_within(before: &Hive, edits: &[Edit], what: &str, room: Room) -> usize {
    let judge = Judge::new(before, edits, room);
    let mut after = before.clone();
    let groups = edit_within(&mut after, edits, NOW + 1, room).unwrap();
    let (mut random, mut count) = (1, 0);
    let mut image = before.as_bytes().to_vec();
    image.resize(after.as_bytes().len(), 0);
    let problems = check(before);
    for group in &groups {
        for subset in subsets(group.sectors.len(), &mut random) {
            let cut = written(&image, [&some_of(group, subset)]);
            let hive = Hive::parse(cut).unwrap();
            let found = check(&hive);
            let counted = counted_ahead(&found, &problems, &edits[group.edit], group.step);
            let seen = (!counted).then(|| seen(hive.as_bytes(), edits));
            let left = judge.judge_checked(&hive, &found);
            let whole = subset.count_ones() as usize == group.sectors.len();
            let flipped = group.step > Step::Flip || (group.step == Step::Flip && whole);
            let wanted = group.edit + usize::from(flipped);
            assert!(
                left.as_ref() == Ok(&judge.states[wanted].0),
                "{what}: edit {} cut in {:?} with sectors {subset:#b}: {left:?}, not state {wanted}",
                group.edit,
                group.step
            );
            let same = seen.is_none_or(|seen| seen == judge.states[wanted].1);
            assert!(same, "{what}: regf sees something else in {:?}", group.step);
            count += 1;
        }
        image = written(&image, [group]);
    }
    assert!(image == after.as_bytes());
    count
}

/// Writes only the bytes that a group changes: what writes in a wrong order are made of.
fn overlay(bytes: &mut [u8], group: &Group) {
    for patch in &group.sectors {
        for (index, (before, after)) in patch.before.iter().zip(&patch.after).enumerate() {
            if before != after {
                bytes[patch.offset as usize + index] = *after;
            }
        }
    }
}

/// How many states are broken when the groups are written in reverse, and when there are no syncs at all, so that any
/// one sector write of the whole may be missing.
pub(crate) fn controls(before: &Hive, edits: &[Edit]) -> (usize, usize) {
    let judge = Judge::new(before, edits, Room::FreeCells);
    let groups = edit(&mut before.clone(), edits, NOW + 1).unwrap();
    let broken = |bytes: Vec<u8>| judge.judge(bytes).is_err();
    let mut image = before.as_bytes().to_vec();
    let mut reversed = 0;
    for group in groups.iter().rev() {
        overlay(&mut image, group);
        reversed += usize::from(broken(image.clone()));
    }
    let mut unsynced = 0;
    for (missing, group) in groups.iter().enumerate() {
        for sector in 0..group.sectors.len() {
            let mut image = before.as_bytes().to_vec();
            for (index, group) in groups.iter().enumerate() {
                let subset = if index == missing { !(1 << sector) } else { u128::MAX };
                overlay(&mut image, &some_of(group, subset));
            }
            unsynced += usize::from(broken(image));
        }
    }
    (reversed, unsynced)
}

#[test]
fn every_cut_leaves_old_or_new() {
    for minor in [3, 5] {
        let mut judged = 0;
        for (what, edits) in scripts(minor) {
            judged += cut(&made(minor), &edits, what);
        }
        println!("1.{minor}: {judged} cuts, none broken");
        assert!(judged > 300);
    }
}

#[test]
fn a_wrong_order_is_seen_to_break() {
    for minor in [3, 5] {
        for (what, edits) in scripts(minor) {
            let (reversed, unsynced) = controls(&made(minor), &edits);
            // A single flip cannot go wrong.
            if what != "inline to inline" {
                assert!(reversed > 0, "1.{minor} {what}: reversed");
                assert!(unsynced > 0, "1.{minor} {what}: no syncs");
            }
        }
    }
}

#[test]
fn a_full_hive_still_loses_and_changes_what_needs_no_room() {
    // Fill the hive up, then make the edits that the worm's cure needs most.
    for minor in [3, 5] {
        let mut hive = tight(minor);
        for size in [2048, 512, 128, 32, 16, 8] {
            let mut number = 0;
            loop {
                let name = format!("{size}/{number}");
                let filler = crate::common::set("None", &name, crate::common::data(3, &vec![1; size]));
                if edit(&mut hive, &[filler], NOW).is_err() {
                    break;
                }
                number += 1;
            }
        }
        let room = survey(&hive).free;
        assert!(room < 200, "{room} bytes still free");
        let dcom = crate::common::set(r"Microsoft\Ole", "EnableDCOM", deblast::change::ValueData::sz("N"));
        cut(&hive, &[dcom, crate::common::delete("One", "msblast")], "full hive");
    }
}

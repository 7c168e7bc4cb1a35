//! The damages that an edit, a bad disk or a bad tool can do, made in real hives: each is seen, with its class.

use std::collections::BTreeMap;

use deblast::hive::Hive;
use deblast::hive::check::Class::{self, Other, Structure};
use deblast::hive::check::{Survey, survey};
use deblast::hive::read::Key;
use deblast::path::RegPath;

use crate::corpus::sound;

struct Patient {
    bytes: Vec<u8>,
    /// Bodies of key nodes, from the start of the file, 0 where there is no such: one with two values or more; one with
    /// two subkeys or more in one list; one below the root.
    valued: usize,
    listed: usize,
    below: usize,
}

impl Patient {
    fn of(bytes: Vec<u8>) -> Self {
        let hive = Hive::parse(bytes.clone()).unwrap();
        let body = |key: &Key<'_>| key.offset().file_offset() as usize + 4;
        let mut patient = Self { bytes, valued: 0, listed: 0, below: 0 };
        let mut pending = vec![hive.root().unwrap()];
        while let Some(key) = pending.pop() {
            let at = body(&key);
            if patient.valued == 0 && key.values().unwrap().len() > 1 {
                patient.valued = at;
            }
            let subkeys = key.subkeys().unwrap();
            if patient.listed == 0 && subkeys.len() > 1 && patient.list(at, 28).is_some() {
                patient.listed = at;
            }
            patient.below = subkeys.first().map_or(patient.below, body);
            pending.extend(subkeys);
        }
        patient
    }

    fn get(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn put(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// Body of the cell that a field names.
    fn follow(&self, at: usize) -> usize {
        4096 + self.get(at) as usize + 4
    }

    /// A list of subkeys with something beside each, unless it is an index.
    fn list(&self, key: usize, field: usize) -> Option<usize> {
        let list = self.follow(key + field);
        matches!(&self.bytes[list..list + 2], b"lf" | b"lh").then_some(list)
    }

    fn subkeys(&self) -> usize {
        self.list(self.listed, 28).unwrap()
    }

    /// Body of the first value of `valued`.
    fn value(&self) -> usize {
        self.follow(self.follow(self.valued + 40))
    }

    /// Gives a base block the checksum that it must have.
    fn seal(&mut self) {
        let sum = (0..508).step_by(4).fold(0, |sum, at| sum ^ self.get(at));
        self.put(508, sum);
    }
}

/// What a damage needs to be there.
type Place = fn(&Patient) -> usize;

const ANY: Place = |_| 1;
const VALUED: Place = |p| p.valued;
const LISTED: Place = |p| p.listed;
const BELOW: Place = |p| p.below;

type Damage = (&'static str, Place, Class, &'static str, fn(&mut Patient));

const DAMAGES: &[Damage] = &[
    ("header checksum", ANY, Structure, "the checksum is", |p| p.bytes[508] ^= 1),
    ("unequal sequence numbers", ANY, Structure, "the sequence numbers differ", |p| {
        let one = p.get(4) + 1;
        p.put(4, one);
        p.seal();
    }),
    ("bin signature", ANY, Structure, "the signature \"hbin\"", |p| p.bytes[4096] = b'H'),
    ("wrong cell size", VALUED, Structure, "expected a cell of 8 to", |p| {
        let at = p.value() - 4;
        let size = p.get(at) - 4;
        p.put(at, size);
    }),
    ("a cell swallows its neighbour", VALUED, Structure, "where no cell starts", |p| {
        // The neighbour in front of a value is some cell; made larger it takes the value in.
        let value = p.value() - 4;
        let mut at = 4096;
        loop {
            // A bin's header, then its cells.
            let end = at + p.get(at + 8) as usize;
            let mut cell = at + 32;
            while cell < end {
                let size = (p.get(cell) as i32).unsigned_abs() as usize;
                if cell + size == value {
                    let own = (p.get(value) as i32).unsigned_abs() as usize;
                    p.put(cell, ((size + own) as u32).wrapping_neg());
                    return;
                }
                cell += size;
            }
            at = end;
        }
    }),
    ("values list dangling", VALUED, Structure, "the key values list is said to be at", |p| {
        let at = p.valued + 40;
        let list = p.get(at) + 4;
        p.put(at, list);
    }),
    ("values list NIL", VALUED, Structure, "expected the cell of a key values list, found none", |p| {
        p.put(p.valued + 40, u32::MAX);
    }),
    ("values list out of range", VALUED, Structure, "the key values list is said to be at", |p| {
        p.put(p.valued + 40, 0x7FFF_FFF8);
    }),
    ("value freed", VALUED, Structure, "where the cell is free", |p| {
        let at = p.value() - 4;
        let size = p.get(at).wrapping_neg();
        p.put(at, size);
    }),
    ("value shared", VALUED, Structure, "a cell that is already in use", |p| {
        let list = p.follow(p.valued + 40);
        let first = p.get(list);
        p.put(list + 4, first);
    }),
    ("subkey count + 1", LISTED, Structure, "subkeys in the list, found", |p| {
        let count = p.get(p.listed + 20) + 1;
        p.put(p.listed + 20, count);
    }),
    ("subkey count - 1", LISTED, Structure, "subkeys in the list, found", |p| {
        let count = p.get(p.listed + 20) - 1;
        p.put(p.listed + 20, count);
    }),
    ("unsorted subkeys", LISTED, Other, "is not in ascending order", |p| {
        let list = p.subkeys();
        let (first, second) = (list + 4, list + 12);
        for word in [0, 4] {
            let (one, two) = (p.get(first + word), p.get(second + word));
            p.put(first + word, two);
            p.put(second + word, one);
        }
    }),
    ("wrong hint or hash", LISTED, Other, "expected the hash 0x|the hint [", |p| {
        let at = p.subkeys() + 8;
        let word = p.get(at) ^ 0x0101_0101;
        p.put(at, word);
    }),
    ("wrong parent", BELOW, Structure, "expected the parent 0x", |p| {
        let at = p.below + 16;
        let parent = p.get(at) + 8;
        p.put(at, parent);
    }),
    ("security count", BELOW, Other, "keys name this security, it counts", |p| {
        let at = p.follow(p.below + 44) + 12;
        let count = p.get(at) + 1;
        p.put(at, count);
    }),
    ("security ring", BELOW, Other, "the next key security does not name this one", |p| {
        let at = p.follow(p.below + 44) + 8;
        let before = p.get(at) ^ 0x8;
        p.put(at, before);
    }),
];

/// What the check makes of the damage, or none where the hive has nothing that could be damaged so.
fn damaged(bytes: &[u8], place: Place, damage: fn(&mut Patient)) -> Option<Survey> {
    let mut patient = Patient::of(bytes.to_vec());
    if place(&patient) == 0 {
        return None;
    }
    damage(&mut patient);
    Some(survey(&Hive::parse(patient.bytes).unwrap()))
}

#[test]
fn each_damage_of_a_real_hive_is_seen_with_its_class() {
    let mut seen: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    let hives = sound();
    for (name, bytes) in &hives {
        let hive = Hive::parse(bytes.clone()).unwrap();
        let before = survey(&hive);
        let mut count = |what| *seen.entry((what, hive.minor())).or_default() += 1;
        for (what, place, class, words, damage) in DAMAGES {
            let Some(found) = damaged(bytes, *place, *damage) else { continue };
            let new: Vec<_> = found.problems.iter().filter(|p| !before.problems.contains(p)).collect();
            let told = |words: &str| new.iter().any(|p| p.class == *class && p.what.contains(words));
            assert!(words.split('|').any(told), "{name}, {what}: {new:?}");
            if *class == Other {
                assert!(new.iter().all(|problem| problem.class == Other), "{name}, {what}: {new:?}");
            }
            count(what);
        }
        // A value too many is one that is none; one too few is one that nothing refers to any more, which is all that
        // can be told of it: lists may be longer than their count.
        let more = damaged(bytes, VALUED, |p| {
            let count = p.get(p.valued + 36) + 1;
            p.put(p.valued + 36, count);
        });
        if let Some(more) = more {
            assert!(!more.sound(), "{name}: value count + 1");
            count("value count + 1");
        }
        let fewer = damaged(bytes, VALUED, |p| {
            let count = p.get(p.valued + 36) - 1;
            p.put(p.valued + 36, count);
        });
        let lost = |survey: &Survey| {
            survey.warnings.iter().filter(|warning| warning.what.starts_with("a key value of ")).count()
        };
        if let Some(fewer) = fewer {
            assert_eq!(lost(&fewer), lost(&before) + 1, "{name}: value count - 1");
            count("value count - 1");
        }
        let bins = 4096 + u32::from_le_bytes(bytes[40..44].try_into().unwrap()) as usize;
        for length in [bins - 1, bins - 4096, 4096, 100, 0] {
            assert!(Hive::parse(bytes[..length].to_vec()).is_err(), "{name}: cut to {length} bytes");
        }
        count("cut short");
    }
    for ((what, minor), hives) in &seen {
        println!("{what}: seen in {hives} real hives of 1.{minor}");
        assert!(*hives >= 3, "{what}: only in {hives} hives of 1.{minor}");
    }
    assert!(hives.is_empty() || seen.len() == 2 * (DAMAGES.len() + 3));
}

/// Maxima that are too low are told, and are no problem.
#[test]
fn stale_maxima_are_harmless() {
    let mut hive = crate::common::made(5).into_bytes();
    let run = Hive::parse(hive.clone()).unwrap();
    let at = run.key(&RegPath::new(crate::common::RUN)).unwrap().unwrap().offset().file_offset() as usize + 4;
    hive[at + 60..at + 68].fill(0);
    let root = run.root().unwrap().offset().file_offset() as usize + 4;
    hive[root + 52] = 1;
    let found = survey(&Hive::parse(hive).unwrap());
    assert_eq!(found.problems, vec![]);
    let words: Vec<&str> = found.warnings.iter().map(|warning| warning.what.as_str()).collect();
    assert_eq!(
        words,
        [
            "the longest name of a subkey has 18 bytes, the key says 1",
            "the longest name of a value has 38 bytes, the key says 0",
            "the longest data of a value has 78 bytes, the key says 0",
        ]
    );
}

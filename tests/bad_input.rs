//! Bad input: the properties of `fuzz/` over their seeds and mutations of them, without a fuzzer; and what fuzzing has found,
//! as the bytes that found it. `scripts/fuzz` looks on with coverage, for as long as it is let.
//!
//! `DEBLAST_BAD_INPUT_SECONDS` says how long each property is tried, 3 seconds where nothing does. The mutations are the same in
//! every run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

#[path = "bad_input/hostile.rs"]
mod hostile;
#[path = "../fuzz/src/lib.rs"]
mod properties;
#[path = "common/skip.rs"]
mod skip;

/// Longer than this no input may take: what takes seconds here takes hours with a whole disk.
const LONGEST: Duration = Duration::from_secs(10);

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}

/// Numbers that lie on borders.
const BORDERS: [u32; 12] =
    [0, 1, 2, 7, 8, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff];

fn mutated(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(6) {
        if bytes.is_empty() {
            bytes = vec![0; 1 + random.below(40)];
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 => properties::put(&mut bytes, at, &BORDERS[random.below(12)].to_le_bytes()),
            3 => properties::put(&mut bytes, at & !3, &BORDERS[random.below(12)].to_le_bytes()),
            4 => {
                let (from, length) = (random.below(bytes.len()), 1 + random.below(32));
                let piece: Vec<u8> = bytes.iter().skip(from).take(length).copied().collect();
                properties::put(&mut bytes, at, &piece);
            }
            5 => {
                let piece: Vec<u8> =
                    (0..1 + random.below(12)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
                bytes.splice(at..at, piece);
            }
            6 if !other.is_empty() => {
                let (from, length) = (random.below(other.len()), 1 + random.below(64));
                let piece: Vec<u8> = other.iter().skip(from).take(length).copied().collect();
                properties::put(&mut bytes, at, &piece);
            }
            _ => bytes.truncate(bytes.len() - random.below(bytes.len().min(16))),
        }
    }
    bytes
}

/// Tries one input; a failure says its bytes.
#[track_caller]
fn holds(name: &str, input: &[u8]) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| properties::property(name)(input)));
    let taken = begun.elapsed();
    if outcome.is_err() || taken > LONGEST {
        let file = std::env::temp_dir().join(format!("deblast-{name}.bad"));
        std::fs::write(&file, input).unwrap();
        panic!("{name}: {} bytes, kept as {}, took {taken:?}", input.len(), file.display());
    }
}

/// Mutations of each property in one run, at most.
const MOST: u64 = 150;

#[track_caller]
fn tried(name: &str) {
    let seconds =
        std::env::var("DEBLAST_BAD_INPUT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let seeds = properties::seeds::of(name);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| holds(name, seed));
    let (begun, mut random, mut inputs) = (Instant::now(), Random(1), 0_u64);
    // As many on a fast machine as on a slow one at most: what passes here passes there.
    while begun.elapsed() < Duration::from_secs(seconds) && inputs < MOST {
        let (seed, other) = (&seeds[random.below(seeds.len())], &seeds[random.below(seeds.len())]);
        holds(name, &mutated(seed, other, &mut random));
        inputs += 1;
    }
    println!("{name}: {} seeds, {inputs} mutations", seeds.len());
}

macro_rules! properties {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            tried(stringify!($name));
        })*

        #[test]
        fn every_property_is_tried() {
            let names: Vec<&str> = properties::ALL.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

properties!(
    hive_read,
    hive_edit,
    hive_log,
    ntfs,
    fat,
    lznt1,
    signatures,
    hash_set,
    configuration,
    journal,
    manifest,
    report,
    pe_version,
    small_files
);

/// Without these the properties of volumes hold of nothing.
#[test]
fn the_volumes_are_there_and_full() {
    let (Some(ntfs), fats) = (properties::base::ntfs(), properties::base::fats()) else {
        return skip::skip("mkntfs is not there");
    };
    if fats.len() != 3 {
        return skip::skip("mkfs.fat is not there");
    }
    let holds = |bytes: &[u8], text: &str, wide: bool| {
        let text: Vec<u8> =
            if wide { text.encode_utf16().flat_map(u16::to_le_bytes).collect() } else { text.into() };
        bytes.windows(text.len()).any(|window| window == text)
    };
    if !holds(&ntfs.bytes, "few-b", true) {
        return skip::skip("nothing can be mounted");
    }
    assert!(ntfs.places.len() > 60, "{} places", ntfs.places.len());
    assert!(fats.iter().all(|fat| holds(&fat.bytes, "MSBLAST EXE", false)));
}

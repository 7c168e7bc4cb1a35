//! What must hold of Deblast whatever bytes it is given: one function a property, which panics where it does not.
//!
//! libFuzzer calls them (`fuzz_targets/`, `scripts/fuzz`), and `tests/bad_input.rs` calls the same with seeds and mutations of
//! its own. Bytes alone would nearly always be refused at a checksum or a signature, so each function first gives its input
//! what a reader asks for at the door: checksums, sequence numbers, fix-ups.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a file that the tests of the program include as their own"
)]

pub mod base;
pub mod hive;
pub mod seeds;
pub mod text;
pub mod volume;
pub mod windows;

/// A property of any bytes.
pub type Property = fn(&[u8]);

/// Each with its name, which is that of its fuzz target.
pub const ALL: [(&str, Property); 14] = [
    ("hive_read", hive::read),
    ("hive_edit", hive::edit),
    ("hive_log", hive::log),
    ("ntfs", volume::ntfs),
    ("fat", volume::fat),
    ("lznt1", volume::lznt1),
    ("signatures", text::signatures),
    ("hash_set", text::hash_set),
    ("configuration", text::configuration),
    ("journal", text::journal),
    ("manifest", text::manifest),
    ("report", text::report),
    ("pe_version", windows::pe_version),
    ("small_files", windows::small_files),
];

/// The property of that name.
pub fn property(name: &str) -> Property {
    let found = ALL.iter().find(|(own, _)| *own == name);
    found.unwrap_or_else(|| panic!("no property {name}")).1
}

/// Once, before fuzzing: the property that `DEBLAST_FUZZ` names. A panic inside the crates that Deblast fences (`catch_unwind`) is
/// no finding, any other ends the process. With `DEBLAST_FUZZ_SEEDS=FOLDER`, writes the property's seeds there instead.
pub fn begin() -> Property {
    let names = ALL.map(|(name, _)| name).join(" ");
    let name = std::env::var("DEBLAST_FUZZ").unwrap_or_default();
    let Some((_, property)) = ALL.iter().find(|(own, _)| *own == name) else {
        eprintln!("DEBLAST_FUZZ must name one of {names}");
        std::process::exit(2);
    };
    if let Some(folder) = std::env::var_os("DEBLAST_FUZZ_SEEDS") {
        let folder = std::path::Path::new(&folder);
        std::fs::create_dir_all(folder).unwrap();
        for (number, seed) in seeds::of(&name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
        }
        std::process::exit(0);
    }
    std::panic::set_hook(Box::new(|info| {
        let fenced = ["/nt-hive-", "/ntfs-0.", "/fatfs-", "/binrw-", "/nt-string-"];
        let place = info.location().map_or("", |location| location.file());
        if !fenced.iter().any(|name| place.contains(name)) {
            eprintln!("{info}");
            std::process::abort();
        }
    }));
    *property
}

/// Takes numbers off the front of an input, zeros where it has ended.
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    pub fn byte(&mut self) -> u8 {
        let first = self.0.first().copied().unwrap_or(0);
        self.0 = self.0.get(1..).unwrap_or_default();
        first
    }

    pub fn word(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of so many; 0 where there are none.
    pub fn below(&mut self, end: usize) -> usize {
        self.word().checked_rem(end).unwrap_or(0)
    }
}

/// Writes bytes over others, as far as they reach.
pub fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes.iter_mut().skip(at).zip(new).for_each(|(to, from)| *to = *from);
}

/// A little-endian number, 0 behind the end.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes(four.try_into().unwrap()))
}

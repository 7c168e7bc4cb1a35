//! Names of keys and values as a hive stores them, and what lists store beside a key to find it sooner.
//!
//! Source: the regf spec, "Key node", "Fast leaf", "Hash leaf"; the hints of names beyond Latin-1 as Windows writes
//! them in a real hive.

use crate::change::utf16_bytes;
use crate::path::upcase_unit;

/// A name as it is written: its bytes, and whether they are Latin-1, one for each character.
pub(super) struct Stored {
    pub(super) units: Vec<u16>,
    pub(super) bytes: Vec<u8>,
    pub(super) compressed: bool,
}

impl Stored {
    pub(super) fn of(name: &str) -> Self {
        let units: Vec<u16> = name.encode_utf16().collect();
        let compressed = units.iter().all(|unit| *unit < 256);
        let bytes = match compressed {
            true => units.iter().flat_map(|unit| u8::try_from(*unit)).collect(),
            false => utf16_bytes(units.iter().copied()),
        };
        Self { units, bytes, compressed }
    }
}

/// Each unit to upper case, as names are compared and sorted.
pub(super) fn upcased(units: &[u16]) -> Vec<u16> {
    units.iter().copied().map(upcase_unit).collect()
}

/// What a hash leaf (lh) stores. Spec, "Hash leaf".
pub(super) fn hash(upcased: &[u16]) -> u32 {
    upcased.iter().fold(0, |sum: u32, unit| sum.wrapping_mul(37).wrapping_add(u32::from(*unit)))
}

/// What a fast leaf (lf) stores: the first four characters, each in one byte, NUL behind a shorter name. Where one is
/// beyond Latin-1 there is no hint.
pub(super) fn hint(name: &[u16]) -> [u8; 4] {
    let mut hint = [0; 4];
    for (byte, unit) in hint.iter_mut().zip(name) {
        let Ok(unit) = u8::try_from(*unit) else { return [0; 4] };
        *byte = unit;
    }
    hint
}

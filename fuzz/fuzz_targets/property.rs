//! One binary for all properties of `deblast_fuzz::ALL`: the variable `DEBLAST_FUZZ` names the one to try. A binary for each would
//! have the linker go over the whole program fourteen times.
#![no_main]

use std::sync::OnceLock;

use deblast_fuzz::{Property, begin};

static CHOSEN: OnceLock<Property> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: { CHOSEN.get_or_init(begin); },
    |data: &[u8]| CHOSEN.get_or_init(begin)(data)
);

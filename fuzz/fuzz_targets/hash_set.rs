//! See `deblast_fuzz::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: deblast_fuzz::begin("hash_set"),
    |data: &[u8]| deblast_fuzz::property("hash_set")(data)
);

//! See `deblast_fuzz::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: deblast_fuzz::begin("configuration"),
    |data: &[u8]| deblast_fuzz::property("configuration")(data)
);

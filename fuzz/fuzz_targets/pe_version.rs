//! See `deblast_fuzz::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: deblast_fuzz::begin("pe_version"),
    |data: &[u8]| deblast_fuzz::property("pe_version")(data)
);

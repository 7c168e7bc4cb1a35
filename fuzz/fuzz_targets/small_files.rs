//! See `deblast_fuzz::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: deblast_fuzz::begin("small_files"),
    |data: &[u8]| deblast_fuzz::property("small_files")(data)
);

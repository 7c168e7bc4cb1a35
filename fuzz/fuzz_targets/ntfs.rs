//! See `deblast_fuzz::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: deblast_fuzz::begin("ntfs"),
    |data: &[u8]| deblast_fuzz::property("ntfs")(data)
);

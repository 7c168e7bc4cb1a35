//! See `deblast_fuzz::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: deblast_fuzz::begin("hive_read"),
    |data: &[u8]| deblast_fuzz::property("hive_read")(data)
);

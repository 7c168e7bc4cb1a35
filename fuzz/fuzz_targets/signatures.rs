//! See `deblast_fuzz::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: deblast_fuzz::begin("signatures"),
    |data: &[u8]| deblast_fuzz::property("signatures")(data)
);

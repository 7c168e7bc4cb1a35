//! Encodes the builtin signatures, so that the shipped binary holds none of the worm's strings in clear: many
//! antivirus rules fire on these strings wherever they stand, and a rescue tool that is deleted helps nobody.

use std::path::Path;
use std::{env, fs, io};

/// Every byte is combined with this one by exclusive or; `src/threat/mod.rs` decodes with the same.
const KEY: u8 = 0x5d;

fn main() -> io::Result<()> {
    let source = "src/threat/builtin.toml";
    println!("cargo::rerun-if-changed={source}");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let encoded: Vec<u8> = fs::read(source)?.iter().map(|byte| byte ^ KEY).collect();
    fs::write(Path::new(&out).join("builtin.bin"), encoded)
}

//! Leaving a test out, for all topics the one way.

#![allow(unreachable_pub, reason = "a file that several topics include as their own")]

/// Says that this test, or the rest of it, is left out, and why. Where `DEBLAST_TESTS` is set, to `all` or to `vm`, that is a
/// failure: then nothing may pass for want of a tool. Only the corpus of real files may be missing even so; it is nobody's to
/// install.
#[track_caller]
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("DEBLAST_TESTS").is_none_or(|which| which != "all" && which != "vm"),
        "left out: {why}"
    );
    println!("skipped: {why}");
}

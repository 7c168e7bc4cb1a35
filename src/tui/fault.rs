//! Faults that a test asks for, to see the terminal given back. No part of a released program: it is compiled where
//! debug assertions are on.

/// Panics where `DEBLAST_FAULT` names this place.
#[allow(clippy::panic, reason = "this is what it is for")]
pub(super) fn strike(place: &str) {
    if std::env::var("DEBLAST_FAULT").is_ok_and(|named| named == place) {
        panic!("a fault that was asked for");
    }
}

/// Waits where `DEBLAST_FAULT` is `slow`, so that something can happen in the midst of the writes.
pub(super) fn linger() {
    if std::env::var("DEBLAST_FAULT").is_ok_and(|named| named == "slow") {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

//! Hives: read, checked, edited, and cut at every sector write; ours, made ones and real ones.
//!
//! `common` makes hives and judges them by readers that are not ours, `edits` makes each kind of edit, `cut` cuts
//! them, `damage` shows the check what it must find, `corpus` does the same to real hives where the corpus is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod corpus;
mod cut;
mod damage;
mod damage_real;
mod edits;
mod every_hive;
mod keys;
mod kinds;
mod log;
mod random;
mod room;
#[path = "../common/skip.rs"]
mod skip;
mod stopped;

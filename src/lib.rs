//! Deblast: cleans an offline Windows disk of W32/Blaster.
//!
//! ```text
//! discover ──> inspect ──> plan ──> confirm ──> apply ──> verify ──> report
//! Disk         Evidence    Plan     Confirmed-  Journal   Evidence   Report ──> text | JSON | exit code
//! Install      Finding              Plan          │       (again)
//!                                                 └──> undo = a Plan built from the Journal, through the same path
//! ```
// Front ends use cleanup; below it stand the layers of the table in tests/layers.rs.

pub mod batch;
pub mod change;
pub mod checks;
pub mod cleanup;
pub mod cli;
pub mod commands;
pub mod digest;
pub mod disk;
pub mod error;
pub mod event;
pub mod finding;
pub mod hive;
pub mod path;
pub mod policy;
pub mod store;
pub mod threat;
pub mod volume;
pub mod windows;

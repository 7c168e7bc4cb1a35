//! Deblast: cleans an offline Windows disk of W32/Blaster.
//!
//! ```text
//! discover ──> inspect ──> plan ──> confirm ──> apply ──> verify ──> report
//! Disk         Evidence    Plan     Confirmed-  Journal   Evidence   Report ──> text | JSON | exit code
//! Install      Finding              Plan          │       (again)
//!                                                 └──> undo = a Plan built from the Journal, through the same path
//! ```
// The modules stand in the order of their layers, lowest first; tests/layers.rs holds the table.

pub mod change;
pub mod digest;
pub mod disk;
pub mod error;
pub mod finding;
pub mod path;
pub mod policy;
pub mod volume;

//! Deblast: cleans an offline Windows disk of W32/Blaster.
//!
//! ```text
//! discover ──> inspect ──> plan ──> confirm ──> apply ──> verify ──> report
//! Disk         Evidence    Plan     Confirmed-  Journal   Evidence   Report ──> text | JSON | HTML | exit code
//! Install      Finding              Plan          │       (again)
//!                                                 └──> undo = a Plan built from the Journal, through the same path
//! ```
//!
//! # First steps
//!
//! 1. Say what worms look like: [`Signatures::builtin`](threat::Signatures::builtin), and
//!    [`add_file`](threat::Signatures::add_file) for more.
//! 2. Open a disk, partition or image with [`Patient::open`](cleanup::discover::Patient::open); it is refused while in use.
//! 3. Look at it: [`cleanup::scan`] inspects and judges, and writes nothing. [`inspect`](cleanup::inspect::inspect) alone
//!    gives the [`Evidence`](checks::Evidence) and the [`Finding`](finding::Finding)s of each install.
//! 4. Cure it: [`cleanup::clean`] makes a [`Plan`](cleanup::plan::Plan), has you decide, and applies only what
//!    [`confirm`](cleanup::plan::confirm) has made of it. [`cleanup::undo()`] takes a run back.
//! 5. Do this to each target through [`cleanup::run`], which makes the one [`Report`](cleanup::report::Report): its
//!    verdict and exit code come from [`cleanup::verdict`] and from nowhere else.
//!
//! ```
//! use deblast::digest::Digests;
//! use deblast::threat::Signatures;
//!
//! let signatures = Signatures::builtin()?;
//! assert!(signatures.knows_name("MSBLAST.EXE"), "worth a look, in whatever letters");
//!
//! // A name proves nothing; only digest and size together do.
//! let harmless = Digests::of(b"somebody gave a text this name");
//! assert!(signatures.by_digest(&harmless).is_none());
//! # Ok::<(), deblast::error::Error>(())
//! ```
//!
//! # Modules, from the top
//!
//! A module uses those of its own line and of the lines below it; `tests/layers.rs` holds all sources to that.
//!
//! - [`cli`], [`batch`], [`tui`], [`live`], [`commands`]: front ends. They start the path, show [`event`]s, and ask for the yes.
//! - [`cleanup`]: the path, one file a step. Knows no worm by name.
//! - [`checks`]: what is asked of an install, one file a check.
//! - [`windows`], [`threat`], [`store`], [`practice`]: a Windows seen from outside; what worms look like; the record of a
//!   run; a disk to practise on.
//! - [`disk`], [`volume`], [`hive`]: formats on the disk. Know neither Windows' meaning nor worms. [`memory`]: what this
//!   machine has for them.
//! - [`finding`], [`change`], [`policy`], [`event`], [`path`], [`digest`], [`printable`], [`error`]: plain data. [`fence`]:
//!   around libraries that panic.
// Front ends use cleanup; below it stand the layers of the table in tests/layers.rs.

pub mod batch;
pub mod bench;
pub mod change;
pub mod checks;
pub mod cleanup;
pub mod cli;
pub mod commands;
pub mod digest;
pub mod disk;
pub mod error;
pub mod event;
pub mod fence;
pub mod finding;
pub mod hive;
pub mod live;
pub mod memory;
pub mod path;
pub mod policy;
pub mod practice;
pub mod printable;
pub mod store;
pub mod threat;
pub mod tui;
pub mod volume;
pub mod windows;

//! What memory can still be had, so that whatever a disk makes large is reckoned before it is read.
//!
//! An allocation that fails ends the program, and one that Linux grants may end it later; both in the middle of a run.
//! A refusal beforehand is an error in words, with both figures. Nothing here is asked for what is small whatever the disk
//! holds: pieces, records, sectors.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

const MIB: u64 = 1 << 20;

/// What the program takes beside what it reckons, in bytes: pieces of a file, records, the report.
pub const LEAST: u64 = MIB;

/// What is reckoned for each disk that is worked on beside others, in bytes: a hive of 8 MiB is read, checked and edited in it.
const WORKER: u64 = 32 * MIB;

/// How many work at once.
static SHARERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// This thread was refused what it would have had alone.
    static FELL_SHORT: Cell<bool> = const { Cell::new(false) };
    /// The disk that this thread works on is written, or was.
    static IS_WRITING: Cell<bool> = const { Cell::new(false) };
}

/// The share of one that works beside others: while several live, each may count on an equal part of what is free.
#[derive(Debug)]
pub struct Share(());

impl Share {
    /// For the thread that calls this.
    #[must_use]
    pub fn take() -> Self {
        FELL_SHORT.set(false);
        IS_WRITING.set(false);
        SHARERS.fetch_add(1, Ordering::SeqCst);
        Self(())
    }

    /// Whether this thread was refused something since that it would have had alone.
    #[must_use]
    pub fn fell_short(&self) -> bool {
        FELL_SHORT.get()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        SHARERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// From here on this thread need not share: what it has written must be verified, whatever others wait for.
pub fn note_writing() {
    IS_WRITING.set(true);
}

/// How many can work at once in what is free, one at least.
#[must_use]
pub fn workers() -> u64 {
    free().map_or(u64::MAX, |free| free / WORKER).max(1)
}

/// Bytes that can still be had: what the kernel calls available, and its swap; less where a limit on this process' address space
/// leaves less. None where /proc does not tell.
pub fn free() -> Option<u64> {
    free_by(Path::new("/proc"))
}

/// Refuses what needs more memory than can be had. `doing` is a verb phrase that fits behind "cannot".
///
/// # Errors
/// There is less, with both figures.
pub fn refuse_lack(doing: impl Into<String>, needed: u64) -> Result<()> {
    let free = free();
    let sharers = SHARERS.load(Ordering::SeqCst).max(1);
    // What others hold is not free, and will be.
    if sharers > 1 && free.is_some_and(|free| needed > free / sharers) {
        FELL_SHORT.set(true);
    }
    let sharers = if IS_WRITING.get() { 1 } else { sharers };
    refuse_beyond(free.map(|free| free / sharers), doing, needed)
}

/// An empty buffer that takes `length` bytes without growing.
///
/// # Errors
/// There is less memory than that.
pub fn buffer(doing: &str, length: u64) -> Result<Vec<u8>> {
    // What is small is not worth the question.
    if length > MIB {
        refuse_lack(doing, length)?;
    }
    let mut buffer = Vec::new();
    match usize::try_from(length).map(|length| buffer.try_reserve_exact(length)) {
        Ok(Ok(())) => Ok(buffer),
        _ => Err(lack(doing, length, "there is no room for that in one piece")),
    }
}

fn refuse_beyond(free: Option<u64>, doing: impl Into<String>, needed: u64) -> Result<()> {
    match free {
        Some(free) if needed > free => Err(lack(doing, needed, &format!("{} are free", tenths(free)))),
        _ => Ok(()),
    }
}

fn lack(doing: impl Into<String>, needed: u64, found: &str) -> Error {
    // Rounded so that the figures never look as if it fitted.
    let needed = tenths(needed.saturating_add(MIB.div_ceil(10) - 1));
    Error::refused(doing, format!("it needs {needed} of memory, and {found}"))
        .hint("use a machine with more memory: put the disk, or a copy of it, there")
}

/// In MiB with one decimal, rounded down.
fn tenths(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / u128::from(MIB);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn free_by(proc: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(proc.join(name)).ok();
    let meminfo = read("meminfo")?;
    let kib = |text: &str, name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let machine = kib(&meminfo, "MemAvailable")?.saturating_add(kib(&meminfo, "SwapFree").unwrap_or(0));
    let left = || {
        let limits = read("self/limits")?;
        let soft = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
        let limit: u64 = soft.split_whitespace().next()?.parse().ok()?;
        Some(limit.saturating_sub(kib(&read("self/status")?, "VmSize")?))
    };
    Some(left().map_or(machine, |left| left.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_is_what_the_machine_has_or_what_a_limit_leaves() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(free_by(proc.path()), None, "a machine that does not tell");
        fs::create_dir(proc.path().join("self")).unwrap();
        let put = |name: &str, text: &str| fs::write(proc.path().join(name), text).unwrap();
        put(
            "meminfo",
            "MemTotal:  59000 kB\nMemFree:  3000 kB\nMemAvailable:  20480 kB\nSwapFree:  1024 kB\n",
        );
        assert_eq!(free_by(proc.path()), Some(21 * MIB));
        put("self/status", "Name:\tdeblast\nVmSize:\t    2048 kB\n");
        put(
            "self/limits",
            "Limit  Soft Limit  Hard Limit  Units\nMax address space  unlimited  unlimited  bytes\n",
        );
        assert_eq!(free_by(proc.path()), Some(21 * MIB));
        put(
            "self/limits",
            "Max address space         12582912             unlimited            bytes     \n",
        );
        assert_eq!(free_by(proc.path()), Some(10 * MIB));
        assert!(free().is_some(), "this machine tells");
    }

    #[test]
    fn a_lack_is_told_with_both_figures() {
        assert!(refuse_beyond(Some(17 * MIB), "read the hive", 17 * MIB).is_ok());
        assert!(refuse_beyond(None, "read the hive", u64::MAX).is_ok());
        let error = refuse_beyond(Some(17 * MIB), "read the hive", 17 * MIB + 1).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "cannot read the hive: it needs 17.1 MiB of memory, and 17.0 MiB are free (use a "
            ),
            "{error}"
        );
    }

    #[test]
    fn a_buffer_beyond_all_memory_is_an_error() {
        assert_eq!(buffer("read", 3).unwrap().capacity(), 3);
        for length in [u64::MAX, 1 << 62, 1 << 46] {
            assert!(buffer("read the file", length).is_err(), "{length:#x}");
        }
    }
}

//! ntfs-3g is killed at each of its writes while it unlinks: the run ends in words, nothing stays mounted, the dirty flag stands, and
//! no other file is hurt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;
#[path = "common/mount.rs"]
mod mount;

use common::{Ran, SOFTWARE, SYSTEM, WORM};
use mount::{Tools, is_flagged, must_be_released, others_must_be_as_before, practice};

#[test]
fn an_ntfs_3g_that_is_killed_in_mid_unlink_leaves_the_flag_and_hurts_nobody() {
    let Some(case) = practice() else { return };
    let before = case.digests();
    let (mut killed, mut gone) = (0, 0);
    for number in 1.. {
        std::fs::write(&case.disk, &case.original).unwrap();
        let _ = std::fs::remove_dir_all(case.store());
        // The write that is the moment of its death is not done.
        let inject = format!("-e trace=pwrite64 -e inject=pwrite64:signal=KILL:error=EIO:when={number}");
        let tools = Tools::new(&format!("exec strace -qq -f -o /dev/null {inject} \"$REAL\" \"$@\""));
        let ran = Ran::of(&mut tools.clean(&case));
        must_be_released(&case);
        ran.require(!format!("{}{}", ran.stdout, ran.stderr).contains("panicked"), "no panic");
        let all = ran.stdout.to_lowercase();
        if !all.contains("is left set") {
            // There are no so many writes.
            ran.require(!is_flagged(&case) && !case.has_file(WORM), "a whole unlink");
            break;
        }
        killed += 1;
        gone += usize::from(!case.has_file(WORM));
        ran.require(is_flagged(&case), &format!("write {number}: the flag to stand"));
        let name = ran.finding("worm_file")["evidence"]["name"].clone();
        let told = name.as_str().unwrap_or_default().starts_with("removed");
        // Half of it is done at most: the entry may be gone and the record still be there, which is what chkdsk settles.
        ran.require(
            !told || !case.has_file(WORM),
            &format!("write {number}: no name called removed: {name}"),
        );
        others_must_be_as_before(&before, &case.digests(), &[WORM, SOFTWARE, SYSTEM]);
        // All works again, and what stands there is for Windows to check.
        let next = case.clean(&[]);
        next.require(next.at("/verdict") == "clean" || next.at("/verdict") == "cleaned", "the disk cured");
        others_must_be_as_before(&before, &case.digests(), &[WORM, SOFTWARE, SYSTEM]);
    }
    println!("killed at {killed} writes, the name gone at {gone}");
    assert!(killed > 4 && (1..killed).contains(&gone), "killed at {killed} writes, the name gone at {gone}");
}

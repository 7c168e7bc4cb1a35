//! Leaving: the medium unmounted, the consoles written out, then the power.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use rustix::system::{RebootCommand, reboot};

use super::consoles::Consoles;
use crate::error::{Context as _, Result};

/// How long a program that still uses the medium is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// Mounts the medium; read-only where it cannot be written. True: it can.
///
/// `flush` writes out what a program has written as soon as it closes the file, so that a stick that is pulled out is whole;
/// the engine syncs what it relies on. `sync` would write the FATs anew with each cluster: slow, and wearing on the stick.
///
/// # Errors
/// It cannot be mounted at all.
pub(super) fn mount_medium(volume: &Path, point: &Path) -> Result<bool> {
    const DOING: &str = "mount the medium";
    let at = |e: std::io::Result<()>| e.doing(DOING).map_err(|e| e.device(volume));
    at(std::fs::create_dir_all(point))?;
    let flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    let data = c"codepage=437,iocharset=iso8859-1,utf8=1,shortname=mixed,umask=0077,flush,errors=remount-ro";
    match mount(volume, point, "vfat", flags, data) {
        Ok(()) => Ok(true),
        Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => {
            at(mount(volume, point, "vfat", flags | MountFlags::RDONLY, data).map_err(Into::into))?;
            Ok(false)
        }
        Err(e) => at(Err(e.into())).map(|()| false),
    }
}

/// Writes the medium out and unmounts it; one that is still used becomes read-only instead, which leaves it as whole.
pub(super) fn release_medium(point: &Path) -> Result<()> {
    rustix::fs::sync();
    let start = Instant::now();
    loop {
        match unmount(point, UnmountFlags::empty()) {
            Err(Errno::BUSY) if start.elapsed() < BUSY => std::thread::sleep(Duration::from_millis(200)),
            Err(Errno::BUSY) => {
                let frozen = mount_remount(point, MountFlags::RDONLY, "").map_err(std::io::Error::from);
                return frozen.doing("make the medium read-only").map_err(|e| e.device(point));
            }
            done => {
                return done
                    .map_err(std::io::Error::from)
                    .doing("unmount the medium")
                    .map_err(|e| e.device(point));
            }
        }
    }
}

/// Switches off, or restarts.
///
/// # Errors
/// The kernel refuses.
pub(super) fn leave(mut consoles: Consoles, is_restart: bool) -> Result<()> {
    consoles.say(if is_restart { "restarting\n" } else { "switching off\n" });
    consoles.send();
    drop(consoles);
    rustix::fs::sync();
    let command = if is_restart { RebootCommand::Restart } else { RebootCommand::PowerOff };
    reboot(command).map_err(std::io::Error::from).doing("switch the machine off")
}

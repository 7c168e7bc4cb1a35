//! Tells when disks come and go, as the kernel does (kobject uevents over netlink).
//!
//! What a message says is not used: each is a reason to look into sysfs, which alone tells what is there. So one that is lost or
//! forged does no harm.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::error::{Context as _, Result};

const DOING: &str = "hear of disks that come and go";
/// The kernel's own group of listeners; udev's is another.
const KERNEL: u32 = 1;

/// An open ear.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Begins to listen.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn listen() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || -> rustix::io::Result<OwnedFd> {
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(KOBJECT_UEVENT))?;
            bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
            Ok(socket)
        };
        open().map(Self).map_err(std::io::Error::from).doing(DOING)
    }

    /// Waits for one of them, no longer than that. True: something has changed.
    ///
    /// # Errors
    /// Nothing can be heard any more.
    pub fn wait(&self, patience: Duration) -> Result<bool> {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let patience = Timespec::try_from(patience).ok();
        match poll(&mut polled, patience.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => {
                self.drain();
                Ok(true)
            }
            Err(error) => Err(std::io::Error::from(error)).doing(DOING),
        }
    }

    /// Reads all that waits; what does not fit was more than one anyhow.
    fn drain(&self) {
        let mut message = [0_u8; 4096];
        while recv(&self.0, message.as_mut_slice(), RecvFlags::empty()).is_ok() {}
    }
}

//! Waits for storage that is still being found, and no longer than that.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::medium::{Known, Machine};
use crate::volume::names_in;

/// After so long we go on with what is there, and say what was missing.
const LONGEST: Duration = Duration::from_secs(30);
/// Nothing new has to appear for so long: a hub takes about a second until it shows what hangs on it.
const QUIET: Duration = Duration::from_millis(1500);
/// A SCSI device that no driver has taken by then gets no disk: the members of a hardware RAID never do.
const UNTAKEN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// What came of waiting.
pub(super) struct Waited {
    /// What had not come when the time was over, a line each.
    pub(super) missing: Vec<String>,
}

/// Waits until the medium booted from was seen, every USB storage interface and every SCSI device has its block device,
/// every controller has looked at its ports, and nothing new has appeared for a while.
pub(super) fn wait(machine: &Machine, booted: Option<&str>, known: &mut Known) -> Waited {
    let start = Instant::now();
    let mut before = Vec::new();
    let mut quiet = Instant::now();
    loop {
        let now = devices(&machine.roots.sys);
        if now != before {
            before = now;
            quiet = Instant::now();
        }
        let mut missing = unfinished(&machine.roots.sys, quiet.elapsed());
        if let Some(id) = booted.filter(|id| !machine.has_image(id, known)) {
            missing.push(format!("the medium booted from (image {id}) was not seen"));
        }
        if (missing.is_empty() && quiet.elapsed() >= QUIET) || start.elapsed() >= LONGEST {
            return Waited { missing };
        }
        std::thread::sleep(LOOK);
    }
}

/// Everything that a device that is being found shows itself by.
fn devices(sys: &Path) -> Vec<String> {
    let folders = ["bus/usb/devices", "bus/scsi/devices", "class/scsi_host", "class/nvme", "class/block"];
    folders.iter().flat_map(|folder| names_in(&sys.join(folder))).collect()
}

/// What is still being found, in words; nothing new has appeared for `quiet`.
fn unfinished(sys: &Path, quiet: Duration) -> Vec<String> {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let mut missing = Vec::new();
    let usb = sys.join("bus/usb/devices");
    for name in names_in(&usb) {
        let interface = usb.join(&name);
        // Mass storage.
        if read(interface.join("bInterfaceClass")) == "08" && !has_disk(&interface) {
            missing.push(format!("the USB storage device at {name} has not shown a disk"));
        }
    }
    let scsi = sys.join("bus/scsi/devices");
    for name in names_in(&scsi) {
        let device = scsi.join(&name);
        // Disks, optical drives, magneto-optical ones, simplified disks; other types have no block device.
        let is_storage = ["0", "5", "7", "14"].contains(&read(device.join("type")).as_str());
        // One that spins up has its driver all that time.
        let is_coming = quiet < UNTAKEN || device.join("driver").exists();
        if is_storage && is_coming && names_in(&device.join("block")).is_empty() {
            missing.push(format!("the SCSI device {name} has not become a disk"));
        }
    }
    // libata looks at its ports in the error handler, and what it has found there appears right after.
    let hosts = sys.join("class/scsi_host");
    for name in names_in(&hosts) {
        if read(hosts.join(&name).join("state")) == "recovery" {
            missing.push(format!("the controller {name} is still looking at what hangs on it"));
        }
    }
    missing
}

/// Whether a USB interface has led to a block device: `hostN/targetN:…/N:…/block/sdX`.
fn has_disk(interface: &Path) -> bool {
    let inside = |folder: &Path, start: &str| -> Vec<PathBuf> {
        let names = names_in(folder).into_iter().filter(|name| name.starts_with(start));
        names.map(|name| folder.join(name)).collect()
    };
    let units = inside(interface, "host").into_iter().flat_map(|host| {
        let targets = inside(&host, "target").into_iter();
        targets.flat_map(|target| inside(&target, "")).collect::<Vec<_>>()
    });
    units.into_iter().any(|unit| !names_in(&unit.join("block")).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_found_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path();
        let put = |path: &str, text: &str| {
            let path = sys.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let unfinished = |sys: &Path| unfinished(sys, Duration::ZERO);
        assert!(unfinished(sys).is_empty());
        put("bus/usb/devices/1-1:1.0/bInterfaceClass", "08\n");
        put("bus/usb/devices/1-2:1.0/bInterfaceClass", "03\n");
        put("bus/scsi/devices/0:0:0:0/type", "0\n");
        put("bus/scsi/devices/1:0:0:0/type", "3\n");
        put("class/scsi_host/host1/state", "recovery\n");
        let told = unfinished(sys).join("; ");
        assert!(["1-1:1.0", "0:0:0:0", "host1"].iter().all(|name| told.contains(name)), "{told}");
        assert!(!told.contains("1-2") && !told.contains("1:0:0:0"), "{told}");
        // A member of a RAID that no driver takes; one that spins up.
        let later = || super::unfinished(sys, UNTAKEN).join("; ");
        assert!(!later().contains("0:0:0:0") && later().contains("1-1:1.0"), "{}", later());
        put("bus/scsi/devices/0:0:0:0/driver/module", "");
        assert!(later().contains("0:0:0:0"), "{}", later());
        put("bus/usb/devices/1-1:1.0/host2/target2:0:0/2:0:0:0/block/sdb/size", "0");
        put("bus/scsi/devices/0:0:0:0/block/sda/size", "8");
        put("class/scsi_host/host1/state", "running\n");
        assert_eq!(unfinished(sys), Vec::<String>::new());
    }
}

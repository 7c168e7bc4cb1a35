//! Which volume is the DEBLAST medium: the only place that configuration, hooks and signatures are believed from, and where
//! the store and the reports go. A patient's disk must never pass for it.
//!
//! Booted from a stick: the volume DEBLAST on that stick, known by the image's ID. Booted from a CD or over the network:
//! a volume DEBLAST on a removable medium at USB. Never one on a fixed disk, and none where several would fit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::disk::live_image::image_id;
use crate::volume::{Device as _, RawDevice, Roots, Window, fat_label};

/// The label of the medium's volume.
const LABEL: &str = "DEBLAST";

/// Where devices are looked for.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) roots: Roots,
    pub(super) dev: PathBuf,
}

/// One block device as it bears on the question.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    name: String,
    /// The disk that it is a partition of, and its number there.
    parent: Option<(String, u32)>,
    is_usb: bool,
    is_removable: bool,
    is_optical: bool,
    /// ID of the live image on it, for whole disks.
    image: Option<String>,
    label: Option<String>,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The volume to use.
    pub(super) volume: Option<PathBuf>,
    /// What to say of it and of those that are not used, a line each.
    pub(super) words: Vec<String>,
    /// Whether they tell something unusual.
    pub(super) is_noted: bool,
}

/// What was read of disks, so that waiting for one does not read the others again and again.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// ID of the image on each, by name and size.
    images: BTreeMap<(String, String), Option<String>>,
    /// How often each could not be read.
    failed: BTreeMap<(String, String), u8>,
}

/// So often a disk is asked that cannot be read: each time costs a dying one.
const TRIES: u8 = 3;

impl Machine {
    fn node(&self, name: &str) -> PathBuf {
        self.dev.join(name.replace('!', "/"))
    }

    fn facts(&self, name: &str, known: &mut Known) -> Option<Device> {
        let size = self.roots.attribute(name, "size")?;
        if size == "0" || ["loop", "ram", "zram", "nbd", "fd"].iter().any(|kind| name.starts_with(kind)) {
            return None;
        }
        let parent = self.roots.disk_of(name).and_then(|disk| {
            let number = self.roots.attribute(name, "partition")?.parse().ok()?;
            Some((disk, number))
        });
        let disk = parent.as_ref().map_or(name, |(disk, _)| disk.as_str());
        let place = std::fs::canonicalize(self.roots.sys.join("class/block").join(name)).unwrap_or_default();
        let is_usb = place.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part.strip_prefix("usb")
                .is_some_and(|bus| !bus.is_empty() && bus.bytes().all(|b| b.is_ascii_digit()))
        });
        let image = if parent.is_none() { self.image(name, &size, known) } else { None };
        Some(Device {
            name: name.to_owned(),
            is_usb,
            is_removable: self.roots.attribute(disk, "removable").as_deref() == Some("1"),
            is_optical: disk.starts_with("sr"),
            image,
            label: None,
            parent,
        })
    }

    fn image(&self, name: &str, size: &str, known: &mut Known) -> Option<String> {
        let key = (name.to_owned(), size.to_owned());
        if let Some(image) = known.images.get(&key) {
            return image.clone();
        }
        // One that cannot be opened yet is asked again.
        let reader = RawDevice::new(self.node(name)).and_then(|device| device.open_read()).ok()?;
        let mut mark = [0; 1];
        let image = match reader.read_at(0, &mut mark) {
            Ok(()) => image_id(reader.as_ref()),
            // A disc that is drawn in takes its time, and nobody's data wears off.
            Err(_) if name.starts_with("sr") => return None,
            Err(_) => {
                let failed = known.failed.entry(key.clone()).or_default();
                *failed += 1;
                if *failed < TRIES {
                    return None;
                }
                None
            }
        };
        known.images.insert(key, image.clone());
        image
    }

    fn label(&self, name: &str) -> Option<String> {
        let reader = RawDevice::new(self.node(name)).and_then(|device| device.open_read()).ok()?;
        let size = reader.size();
        fat_label(&Window::new(reader, 0, size)).ok().flatten()
    }

    /// Whether the disk or disc with this ID is there.
    pub(super) fn has_image(&self, id: &str, known: &mut Known) -> bool {
        let names = self.roots.block_names();
        names
            .iter()
            .filter_map(|name| self.facts(name, known))
            .any(|device| device.image.as_deref() == Some(id))
    }

    /// Looks through all that is attached.
    pub(super) fn find_medium(&self, booted: Option<&str>, known: &mut Known) -> Found {
        let names = self.roots.block_names();
        let mut devices: Vec<Device> = names.iter().filter_map(|name| self.facts(name, known)).collect();
        for device in &mut devices {
            device.label = if device.is_optical { None } else { self.label(&device.name) };
        }
        let mut found = judge(&devices, booted);
        found.volume = found.volume.map(|name| self.node(&name.to_string_lossy()));
        found
    }
}

/// The judgement, from the facts alone; `volume` is the kernel's name here.
fn judge(devices: &[Device], booted: Option<&str>) -> Found {
    let mut found = Found::default();
    let disk_of = |device: &Device| {
        let name = device.parent.as_ref().map_or(&device.name, |(disk, _)| disk);
        devices.iter().find(|other| other.name == *name && other.parent.is_none())
    };
    let is_booted = |disk: &Device| booted.is_some() && disk.image.as_deref() == booted;
    let labelled: Vec<&Device> =
        devices.iter().filter(|device| device.label.as_deref() == Some(LABEL)).collect();
    let is_loose = |disk: &Device| disk.is_usb || disk.is_removable;
    let (discs, disks): (Vec<&Device>, Vec<&Device>) =
        devices.iter().filter(|disk| is_booted(disk)).partition(|disk| disk.is_optical);
    let (mut sticks, fixed): (Vec<&Device>, Vec<&Device>) =
        disks.into_iter().partition(|disk| is_loose(disk));
    // What a disc may have been booted from is no proof for a disk that bears the same.
    if !discs.is_empty() {
        sticks.clear();
    }

    let fits = |volume: &&&Device| {
        let disk = disk_of(volume);
        if sticks.is_empty() {
            volume.is_usb && volume.is_removable
        } else {
            let is_first = volume.parent.as_ref().is_some_and(|(_, number)| *number == 1);
            is_first && disk.is_some_and(|disk| sticks.contains(&disk))
        }
    };
    let fitting: Vec<&Device> = labelled.iter().filter(fits).copied().collect();
    let node = |device: &Device| format!("/dev/{}", device.name);
    match fitting.as_slice() {
        [one] => {
            let how = if sticks.is_empty() { "a removable medium at USB" } else { "the stick booted from" };
            found.words.push(format!("medium: {}, labelled {LABEL}, on {how}", node(one)));
            found.volume = Some(PathBuf::from(&one.name));
        }
        [] => {
            let why = match sticks.first() {
                Some(stick) => {
                    format!("the stick booted from ({}) has no partition 1 labelled {LABEL}", node(stick))
                }
                None => format!("no removable medium labelled {LABEL} is at USB"),
            };
            found.words.push(format!("medium: none: {why}"));
        }
        several => {
            found.is_noted = true;
            let names: Vec<String> = several.iter().map(|device| node(device)).collect();
            found.words.push(format!(
                "medium: none: {} are labelled {LABEL} and each could be it; leave one in and start again",
                names.join(" and ")
            ));
        }
    }
    for volume in
        labelled.into_iter().filter(|volume| found.volume.as_deref() != Some(Path::new(&volume.name)))
    {
        if fitting.iter().any(|other| other.name == volume.name) {
            continue;
        }
        let why = match disk_of(volume) {
            Some(disk) if !is_loose(disk) => "it lies on a fixed disk",
            _ if !sticks.is_empty() => "it is not on the stick booted from",
            Some(disk) if !disk.is_removable => "the disk at USB says that its medium is fixed",
            _ => "it is not at USB",
        };
        let node = node(volume);
        found.is_noted = true;
        found
            .words
            .push(format!("{node} is labelled {LABEL} and is ignored: {why}; nothing is read from it"));
    }
    if let Some(disk) = fixed.first() {
        found.is_noted = true;
        found.words.push(format!("the image lies on a fixed disk, {}: it counts as no medium", node(disk)));
    }
    found
}

#[cfg(test)]
#[path = "medium_tests.rs"]
mod tests;

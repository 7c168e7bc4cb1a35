//! An NTFS volume from outside: who it is, the one scan over its MFT, single files, their data and places.
//!
//! All structures are decoded by us (record.rs, mft.rs, data.rs, directory.rs), without a panic whatever they hold; the
//! `ntfs` crate is the second reader in tests. Nothing is assumed of the version (1.2 of NT 4.0 to 3.1), of
//! the sector, cluster and record sizes. Source: the Linux-NTFS documentation.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::bytes::{len_of, len64, u8_at, u16_at, u32_at, u64_at};
use super::data::{self, Content};
use super::directory::look_up;
use super::file_system::{Candidate, FileFacts, FileSystem, Owner, Scan, Storage};
use super::mft::{Met, Mft};
use super::paths::Parents;
use super::recognise::Geometry;
use super::record::{Attribute, Body, Name, Namespace, Record, data_flag, kind, text};
use super::{Extents, FlagSector, ReadAt, SECTOR, flag, log_file, owner, proof, second};
use crate::change::{FileId, VolumeId};
use crate::error::{Error, Result};
use crate::path::WinPath;

/// MFT record of $Bitmap.
const BITMAP: u64 = 6;
/// MFT record of the root directory.
pub(super) const ROOT: u64 = 5;

/// An opened NTFS volume.
pub struct NtfsVolume {
    mft: Mft,
    version: (u8, u8),
    dirty: bool,
    label: Option<String>,
}

impl NtfsVolume {
    /// Opens a volume: `device` must begin at its boot sector.
    ///
    /// # Errors
    /// No NTFS boot sector, in words; no MFT; no $Volume.
    pub fn open(device: Arc<dyn ReadAt>) -> Result<Self> {
        let doing = "open the NTFS volume";
        let mut sector = vec![0; len_of(SECTOR)];
        device.read_at(0, &mut sector).map_err(|error| error.within(doing))?;
        let geometry = Geometry::of(&sector).map_err(|error| error.within(doing))?;
        let mft = Mft::open(device, geometry).map_err(|error| error.within(doing))?;
        let mut volume = Self { mft, version: (0, 0), dirty: false, label: None };
        volume.read_volume_record().map_err(|error| error.path("\\$Volume").within(doing))?;
        Ok(volume)
    }

    fn read_volume_record(&mut self) -> Result<()> {
        let mut version = None;
        for (kind, value) in self.mft.resident_values(3)? {
            match kind {
                kind::VOLUME_NAME => self.label = Some(text(&value)).filter(|label| !label.is_empty()),
                kind::VOLUME_INFORMATION => {
                    version = u8_at(&value, 8).zip(u8_at(&value, 9));
                    self.dirty = u16_at(&value, 10).is_some_and(|flags| flags & 1 != 0);
                }
                _ => {}
            }
        }
        let missing = || Error::refused("read the NTFS version", "there is no $VOLUME_INFORMATION");
        self.version = version.ok_or_else(missing)?;
        Ok(())
    }

    /// Serial number of the boot sector.
    pub fn serial(&self) -> u64 {
        self.mft.geometry.serial
    }

    /// Size in bytes as the boot sector tells, without the copy of the boot sector in the partition's last sector.
    pub fn size(&self) -> u64 {
        self.mft.geometry.size
    }

    /// Version: 1.2 (NT 4.0), 3.0 (2000), 3.1 (XP and later).
    pub fn version(&self) -> (u8, u8) {
        self.version
    }

    /// Bytes in a cluster.
    pub fn cluster_size(&self) -> u64 {
        self.mft.geometry.cluster
    }

    /// Bytes in a sector, as the boot sector tells.
    pub fn sector_size(&self) -> u64 {
        self.mft.geometry.sector
    }

    /// The label, if it has one.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    fn base_record(&self, id: FileId) -> Result<Option<super::mft::OwnedRecord>> {
        let FileId::Ntfs { record, sequence } = id else { return Ok(None) };
        if record >= self.mft.count() {
            return Ok(None);
        }
        let owned = self.mft.record(record)?;
        Ok(owned.filter(|owned| {
            let record = owned.record();
            record.sequence() == sequence && record.base().is_none()
        }))
    }

    fn content(&self, id: FileId) -> Result<Content> {
        let owned = self.base_record(id)?.ok_or_else(|| gone(id))?;
        let content = data::content(&self.mft, &owned.record(), kind::DATA, "")?;
        let none = || Error::refused(format!("find the data of {id}"), "it has no unnamed $DATA");
        content.ok_or_else(none)
    }
}

impl FileSystem for NtfsVolume {
    fn id(&self, start: u64) -> VolumeId {
        VolumeId { start, size: self.size(), serial: self.serial() }
    }

    fn version_in_words(&self) -> Option<String> {
        Some(format!("{}.{}", self.version.0, self.version.1))
    }

    fn is_truncated(&self) -> bool {
        self.mft.device.size() < self.size()
    }

    fn is_dirty(&self) -> bool {
        self.dirty
    }

    fn unclean_log(&self) -> Option<String> {
        log_file::unclean(&self.mft)
    }

    fn scan(
        &self,
        wanted: &mut dyn FnMut(&Candidate<'_>) -> bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Scan> {
        let mut scan = Scan::default();
        let mut parents = Parents::new(&self.mft);
        self.mft.walk(
            &mut |met| {
                scan.records += 1;
                let record = match met {
                    Met::InUse(record) => record,
                    Met::Damaged(error) => {
                        scan.problem(error);
                        return Ok(());
                    }
                    Met::Free => return Ok(()),
                };
                if record.base().is_some() {
                    return Ok(());
                }
                scan.in_use += 1;
                let mut summary = Summary::default();
                // What stands before the damage still counts: names come first.
                if let Err(error) = summary.read(&self.mft, &record) {
                    scan.problem(error);
                }
                let storage = summary.storage();
                if wanted(&summary.candidate(&record, &storage)) {
                    scan.files.push(summary.facts(&record, storage, &mut parents));
                }
                Ok(())
            },
            progress,
        )?;
        if let Some(error) = parents.failed.take() {
            scan.problem(error);
        }
        Ok(scan)
    }

    fn facts(&self, id: FileId) -> Result<Option<FileFacts>> {
        let Some(owned) = self.base_record(id)? else { return Ok(None) };
        let mut summary = Summary::default();
        summary.read(&self.mft, &owned.record())?;
        let storage = summary.storage();
        Ok(Some(summary.facts(&owned.record(), storage, &mut Parents::new(&self.mft))))
    }

    fn find(&self, path: &WinPath) -> Result<Option<FileFacts>> {
        let place = |error: Error| error.path(path);
        let Some(mut directory) = self.mft.record(ROOT).map_err(place)? else { return Ok(None) };
        for part in path.parts() {
            let record = directory.record();
            let found = if record.is_directory() { look_up(&self.mft, &record, part) } else { Ok(None) };
            let Some((record, sequence)) = found.map_err(place)? else { return Ok(None) };
            let id = FileId::Ntfs { record, sequence };
            directory = self.base_record(id).map_err(place)?.ok_or_else(|| place(gone(id)))?;
        }
        let record = directory.record();
        self.facts(FileId::Ntfs { record: record.number, sequence: record.sequence() }).map_err(place)
    }

    fn read(&self, id: FileId, max: u64) -> Result<Vec<u8>> {
        self.content(id)?.read(&self.mft, max).map_err(|error| error.within(format!("read {id}")))
    }

    fn read_pieces(&self, id: FileId, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.content(id)?.read_pieces(&self.mft, take).map_err(|error| error.within(format!("read {id}")))
    }

    fn owner(&self, id: FileId) -> Result<Owner> {
        let owned = self.base_record(id)?.ok_or_else(|| gone(id))?;
        Ok(owner::owner(&self.mft, &owned.record())?.map_or(Owner::Unknown, Owner::Is))
    }

    fn extents(&self, id: FileId) -> Result<Extents> {
        let doing = format!("find the data runs of {id}");
        let content = self.content(id)?;
        let refused = |why: &str| Error::refused(&doing, why);
        Err(match storage_of(content.is_resident(), content.flags, content.in_extension) {
            // Runs of extension records are as good as others: they tile the file, their sum is what is allocated, and
            // the proof before the first write finds each of them in a record of this file.
            Storage::Plain | Storage::AttributeList(_) => {
                return content.extents(&self.mft).map_err(|error| error.within(doing));
            }
            Storage::Resident => refused("it is resident: its bytes stand in the MFT record itself"),
            Storage::Compressed => refused("it is compressed")
                .hint("have a Windows that does not use it uncompress it (compact /u), then scan again"),
            Storage::Sparse => refused("it is sparse: parts of it may lie nowhere on the disk"),
            Storage::Encrypted => refused("it is encrypted (EFS)").hint(data::DECRYPT),
        })
    }

    fn allocation(&self, id: FileId) -> Result<Extents> {
        let content = self.content(id)?;
        let storage = storage_of(content.is_resident(), content.flags, false);
        if storage != Storage::Compressed {
            return self.extents(id);
        }
        let doing = format!("find the clusters of {id}");
        if content.in_extension {
            let why = "it is compressed, and its data runs stand in extension records";
            return Err(Error::refused(doing, why));
        }
        content.packed_extents(&self.mft).map_err(|error| error.within(doing))
    }

    fn record_bytes(&self, id: FileId) -> Result<Vec<u8>> {
        let owned = self.base_record(id)?.ok_or_else(|| gone(id))?;
        Ok(self.mft.raw(owned.record().number)?.0)
    }

    fn prove_unshared(
        &self,
        plan: &[(FileId, Range<u64>)],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        proof::prove_unshared(self, &self.mft, plan, progress)
    }

    fn dirty_flag(&self) -> Result<Vec<FlagSector>> {
        flag::sectors(&self.mft)
    }

    fn room(&self, _: u64) -> Result<(u64, u64)> {
        let missing = || Error::refused("read $Bitmap", "it is not there");
        let bitmap = self.mft.record(BITMAP)?.ok_or_else(missing)?;
        let bitmap = data::content(&self.mft, &bitmap.record(), kind::DATA, "")?.ok_or_else(missing)?;
        let (mut free, mut rest) = (0_u64, self.size() / self.cluster_size());
        bitmap.read_pieces(&self.mft, &mut |piece| {
            for byte in piece {
                let bits = rest.min(8);
                free += (0..bits).filter(|bit| byte >> bit & 1 == 0).count() as u64;
                rest -= bits;
            }
            Ok(())
        })?;
        Ok((free.saturating_mul(self.cluster_size()), self.mft.free_records()?))
    }

    fn read_again(&self, id: FileId, max: u64) -> Result<Vec<u8>> {
        second::read_again(self.mft.device.clone(), id, max)
    }
}

fn gone(id: FileId) -> Error {
    Error::refused(format!("read {id}"), "it is no longer there, or is another file by now")
}

fn storage_of(is_resident: bool, flags: u16, in_extension: bool) -> Storage {
    let set = |flag: u16| flags & flag != 0;
    match () {
        () if set(data_flag::ENCRYPTED) => Storage::Encrypted,
        () if is_resident => Storage::Resident,
        () if set(data_flag::COMPRESSED) => Storage::Compressed,
        () if set(data_flag::SPARSE) => Storage::Sparse,
        () if in_extension => {
            let words = "its data runs stand in extension records, told by an attribute list";
            Storage::AttributeList(words.to_owned())
        }
        () => Storage::Plain,
    }
}

/// What one pass over the attributes of a file tells.
#[derive(Default)]
struct Summary {
    names: Vec<Name>,
    streams: Vec<String>,
    times: [u64; 4],
    attributes: u32,
    size: u64,
    initialised: u64,
    data: Option<(bool, u16)>,
    in_extension: bool,
}

impl Summary {
    fn read(&mut self, mft: &Mft, record: &Record<'_>) -> Result<()> {
        let outcome = data::for_each_attribute(mft, record, &mut |attribute, in_extension| {
            self.add(attribute, in_extension)
        });
        outcome.map_err(|error| error.within(format!("read MFT record {}", record.number)))
    }

    fn add(&mut self, attribute: &Attribute<'_>, in_extension: bool) -> Result<()> {
        match attribute.kind {
            kind::STANDARD_INFORMATION => {
                let value = attribute.resident().unwrap_or_default();
                self.times = [0, 8, 16, 24].map(|at| u64_at(value, at).unwrap_or(0));
                self.attributes = u32_at(value, 32).unwrap_or(0);
            }
            kind::FILE_NAME => self.names.push(attribute.file_name()?),
            kind::DATA if attribute.is_named() => {
                let name = attribute.name();
                if !self.streams.contains(&name) {
                    self.streams.push(name);
                }
            }
            kind::DATA => {
                self.in_extension |= in_extension;
                match &attribute.body {
                    Body::Resident(value) => {
                        self.size = len64(value.len());
                        self.initialised = self.size;
                        self.data = Some((true, attribute.flags));
                    }
                    Body::NonResident(data) if data.lowest == 0 => {
                        (self.size, self.initialised) = (data.size, data.initialised);
                        self.data = Some((false, attribute.flags));
                    }
                    Body::NonResident(_) => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn storage(&self) -> Storage {
        let (is_resident, flags) = self.data.unwrap_or((!self.in_extension, 0));
        storage_of(is_resident, flags, self.in_extension)
    }

    fn candidate<'a>(&'a self, record: &Record<'_>, storage: &'a Storage) -> Candidate<'a> {
        Candidate {
            id: FileId::Ntfs { record: record.number, sequence: record.sequence() },
            names: &self.names,
            size: self.size,
            initialised: self.initialised,
            attributes: self.attributes,
            is_directory: record.is_directory(),
            storage,
            streams: &self.streams,
        }
    }

    fn facts(self, record: &Record<'_>, storage: Storage, parents: &mut Parents<'_>) -> FileFacts {
        let is_long = |name: &&Name| name.namespace != Namespace::Dos;
        let has_long = self.names.iter().any(|name| is_long(&name));
        let mut paths = Vec::new();
        let mut is_orphan = true;
        let mut seen = BTreeSet::new();
        for name in self.names.iter().filter(|name| !has_long || is_long(name)) {
            let (path, rooted) = parents.path(record.number, name);
            if seen.insert(path.as_str().to_owned()) {
                // A rooted name goes before an orphaned one.
                if rooted && is_orphan {
                    paths.insert(0, path)
                } else {
                    paths.push(path)
                }
                is_orphan &= !rooted;
            }
        }
        let short = self.names.iter().find(|name| has_long && !is_long(name));
        FileFacts {
            id: FileId::Ntfs { record: record.number, sequence: record.sequence() },
            path: paths.first().cloned().unwrap_or_else(|| {
                WinPath::from_parts(["$Orphan".to_owned(), format!("MFT record {}", record.number)])
            }),
            paths,
            short_name: short.map(|name| name.name.clone()),
            size: self.size,
            initialised: self.initialised,
            storage,
            attributes: self.attributes,
            times: self.times,
            streams: self.streams,
            is_directory: record.is_directory(),
            is_orphan,
        }
    }
}

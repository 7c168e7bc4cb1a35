//! What a FAT boot sector says, checked against itself. Sources: Microsoft's FAT specification (fatgen103) 3.1 to 3.5,
//! and what Windows' own driver does where it differs (told at the line).

use crate::error::{Error, Result};
use crate::volume::FatKind;
use crate::volume::bytes::{u8_at, u16_at, u32_at};

/// Number of the first cluster of the data area: 0 and 1 have entries in the FAT, and no data.
pub(super) const FIRST_CLUSTER: u32 = 2;
/// Bytes in a directory entry.
pub(super) const ENTRY: u64 = 32;
/// Largest number of clusters of FAT32: numbers from 0x0ffffff7 on mean something else.
const MOST_CLUSTERS: u64 = 0x0fff_fff5;

/// Where everything lies, by the boot sector. All places in bytes from the start of the volume, all sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::volume) struct Geometry {
    /// Which FAT.
    pub(in crate::volume) kind: FatKind,
    /// Size of a sector.
    pub(super) sector: u64,
    /// Size of a cluster.
    pub(super) cluster: u64,
    /// Number of clusters; they are numbered from 2 on.
    pub(super) clusters: u32,
    /// Place of the first FAT.
    pub(super) fat: u64,
    /// Size of one FAT.
    pub(super) fat_size: u64,
    /// Number of FATs.
    pub(super) fats: u64,
    /// The only FAT that is kept (FAT32, mirroring off); none where all are alike.
    pub(super) only_fat: Option<u64>,
    /// Place of the root directory of FAT12 and FAT16.
    pub(super) root: u64,
    /// Size of the root directory of FAT12 and FAT16; 0 on FAT32.
    pub(super) root_size: u64,
    /// First cluster of the root directory of FAT32; else 0.
    pub(super) root_cluster: u32,
    /// Place of cluster 2.
    pub(super) data: u64,
    /// Size of the volume.
    pub(super) size: u64,
    /// Serial number; 0 where there is none.
    pub(super) serial: u32,
    /// Windows' own flags in the boot sector: bit 0 dirty, bit 1 to be tested for bad sectors.
    pub(super) flags: u8,
}

impl Geometry {
    /// Reads the boot sector.
    ///
    /// # Errors
    /// The field that contradicts the specification or the others.
    pub(in crate::volume) fn of(sector: &[u8]) -> Result<Self> {
        let wrong = |at, expected: &str, found: String| {
            Err(Error::mismatch("read the FAT boot sector", at, expected, found))
        };
        let byte = |at| u64::from(u8_at(sector, at).unwrap_or(0));
        let narrow = |at| u64::from(u16_at(sector, at).unwrap_or(0));
        let wide = |at| u64::from(u32_at(sector, at).unwrap_or(0));
        if !matches!(byte(0), 0xeb | 0xe9) {
            return wrong(0, "a jump (0xeb or 0xe9)", format!("{:#04x}", byte(0)));
        }
        let per_sector = narrow(11);
        if !per_sector.is_power_of_two() || !(512..=4096).contains(&per_sector) {
            return wrong(11, "512 to 4096 bytes in a sector", per_sector.to_string());
        }
        if !byte(13).is_power_of_two() {
            return wrong(13, "a power of two as sectors in a cluster", byte(13).to_string());
        }
        let cluster = per_sector * byte(13);
        let (reserved, fats, media) = (narrow(14), byte(16), byte(21));
        if reserved == 0 {
            return wrong(14, "at least 1 reserved sector", "0".to_owned());
        }
        if !(1..=2).contains(&fats) {
            return wrong(16, "1 or 2 FATs", fats.to_string());
        }
        if media != 0xf0 && media < 0xf8 {
            return wrong(21, "a media descriptor", format!("{media:#04x}"));
        }
        let first_nonzero = |first: u64, second: u64| if first == 0 { second } else { first };
        let total = first_nonzero(narrow(19), wide(32));
        // Windows' driver takes a volume for FAT32 when this field is 0, as its own format does.
        let is_fat32 = narrow(22) == 0;
        let fat_sectors = first_nonzero(narrow(22), wide(36));
        let root_size = narrow(17) * ENTRY;
        let before_data = reserved + fats * fat_sectors + root_size.div_ceil(per_sector);
        let clusters = total.saturating_sub(before_data) / byte(13);
        if fat_sectors == 0 || clusters == 0 {
            let found = format!("{total} sectors, {before_data} of them before the data");
            return wrong(32, "a volume with room for clusters", found);
        }
        let kind = match clusters {
            _ if is_fat32 => FatKind::Fat32,
            ..4085 => FatKind::Fat12,
            4085..65525 => FatKind::Fat16,
            // The specification has FAT32 begin here; a FAT with 16-bit entries cannot hold them.
            _ => return wrong(22, "fewer than 65525 clusters where there is no FAT32", clusters.to_string()),
        };
        if is_fat32 != (root_size == 0) || clusters > MOST_CLUSTERS {
            let found = format!("{clusters} clusters and a root directory of {root_size} bytes");
            return wrong(17, &format!("what {kind} has"), found);
        }
        let fat_size = fat_sectors * per_sector;
        let entries = fat_size.saturating_mul(8) / kind.bits();
        if entries < clusters {
            return wrong(22, &format!("a FAT for {clusters} clusters"), format!("one for {entries}"));
        }
        // A FAT that lacks room for the last two clusters leaves them unused.
        let clusters = clusters.min(entries - u64::from(FIRST_CLUSTER));
        let clusters = u32::try_from(clusters).unwrap_or(0);
        let fat = reserved * per_sector;
        let extended = if is_fat32 { 64 } else { 36 };
        Ok(Self {
            kind,
            sector: per_sector,
            cluster,
            clusters,
            fat,
            fat_size,
            fats,
            only_fat: (is_fat32 && narrow(40) & 0x80 != 0).then(|| narrow(40) & 0x0f),
            root: fat + fats * fat_size,
            root_size,
            root_cluster: if is_fat32 { u32_at(sector, 44).unwrap_or(0) } else { 0 },
            data: before_data * per_sector,
            size: total * per_sector,
            serial: match byte(extended + 2) {
                0x28 | 0x29 => u32_at(sector, extended + 3).unwrap_or(0),
                _ => 0,
            },
            flags: u8_at(sector, extended + 1).unwrap_or(0),
        })
    }

    /// Refuses what is a FAT volume by its numbers and still must not be read: two readers would differ over it.
    ///
    /// # Errors
    /// In words.
    pub(super) fn refuse_doubtful(&self, sector: &[u8]) -> Result<()> {
        let doing = "read the FAT boot sector";
        if self.kind != FatKind::Fat32 && (4085..4087).contains(&self.clusters) {
            let why = format!(
                "with {} clusters it is FAT16 by the specification, and FAT12 to Windows NT; which one it is cannot be \
                 told from outside",
                self.clusters
            );
            return Err(Error::refused(doing, why).offset(32));
        }
        if self.kind == FatKind::Fat32 {
            let version = u16_at(sector, 42).unwrap_or(0);
            if version != 0 {
                return Err(Error::mismatch(doing, 42, "version 0.0 of FAT32", format!("{version:#06x}")));
            }
            if self.only_fat.is_some_and(|fat| fat >= self.fats) {
                let found = format!("the number of the active FAT as {:?}", self.only_fat);
                return Err(Error::mismatch(doing, 40, format!("one of the {} FATs", self.fats), found));
            }
            if !self.holds(self.root_cluster) {
                let expected = format!("the first cluster of the root directory, 2 to {}", self.last());
                return Err(Error::mismatch(doing, 44, expected, self.root_cluster.to_string()));
            }
        }
        Ok(())
    }

    /// Number of the last cluster.
    pub(super) fn last(&self) -> u32 {
        self.clusters.saturating_add(FIRST_CLUSTER - 1)
    }

    /// Whether there is a cluster with this number.
    pub(super) fn holds(&self, cluster: u32) -> bool {
        (FIRST_CLUSTER..=self.last()).contains(&cluster)
    }

    /// Place of a cluster that there is.
    pub(super) fn place(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster.saturating_sub(FIRST_CLUSTER)) * self.cluster
    }

    /// The cluster that holds a place; none where it is not in the data area.
    pub(super) fn cluster_at(&self, place: u64) -> Option<u32> {
        let index = place.checked_sub(self.data)? / self.cluster;
        let cluster = u32::try_from(index).ok()?.checked_add(FIRST_CLUSTER)?;
        self.holds(cluster).then_some(cluster)
    }

    /// The FATs that count, by their numbers from 0: all, or the active one alone.
    pub(super) fn live_fats(&self) -> std::ops::Range<u64> {
        self.only_fat.map_or(0..self.fats, |only| only..only + 1)
    }
}

impl FatKind {
    /// Bits of an entry in the FAT.
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

impl std::fmt::Display for FatKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FAT{}", self.bits())
    }
}

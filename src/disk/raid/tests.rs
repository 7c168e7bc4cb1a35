//! Signatures crafted by the words of their documents, each judged by blkid first: what it does not recognise proves
//! nothing. And what looks like one and is none.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::disk::{Disk, inspect};
use crate::volume::testing::{mkntfs, tool_text};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 16 * MIB + 3 * 512;

/// One signature: what blkid calls it, a part of our words, and its bytes by their place.
struct Crafted {
    blkid: &'static str,
    words: &'static str,
    place: u64,
    bytes: Vec<u8>,
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn add_up(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_le_bytes(pair.try_into().unwrap()));
    words.fold(0, u16::wrapping_add)
}

fn block(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    put(&mut bytes, 0, text);
    bytes
}

fn nvidia() -> Vec<u8> {
    let mut bytes = block(b"NVIDIA  ");
    put(&mut bytes, 8, &30_u32.to_le_bytes());
    put(&mut bytes, 16, &100_u16.to_le_bytes());
    put(&mut bytes, 30, b"array");
    let words = bytes[..120].chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let sum = words.fold(0, u32::wrapping_add);
    put(&mut bytes, 12, &0_u32.wrapping_sub(sum).to_le_bytes());
    bytes
}

fn silicon() -> Vec<u8> {
    let mut bytes = block(b"");
    put(&mut bytes, 0x36, b"a disk");
    put(&mut bytes, 0x60, &0x2f00_0000_u32.to_le_bytes());
    put(&mut bytes, 0x116, &[1, 0]);
    let sum = add_up(&bytes[..0x13e]);
    put(&mut bytes, 0x13e, &0_u16.wrapping_sub(sum).to_le_bytes());
    bytes
}

fn via() -> Vec<u8> {
    let mut bytes = block(&[0x55, 0xaa, 1, 3, 0, 1, 0x10, 0x20]);
    bytes[50] = bytes[..50].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    bytes
}

fn jmicron() -> Vec<u8> {
    let mut bytes = block(b"JM");
    put(&mut bytes, 2, &0x0102_u16.to_le_bytes());
    put(&mut bytes, 0x20, b"a mirror");
    bytes[0x30] = 1;
    let sum = add_up(&bytes[..0x80]);
    put(&mut bytes, 4, &0_u16.wrapping_sub(sum).to_le_bytes());
    bytes
}

fn adaptec() -> Vec<u8> {
    let mut bytes = block(&[0x37, 0xfc, 0x4d, 0x1e]);
    put(&mut bytes, 256, b"DPTM");
    bytes
}

fn highpoint(offset: usize, magic: u32) -> Vec<u8> {
    let mut bytes = block(b"");
    put(&mut bytes, offset, &magic.to_le_bytes());
    bytes
}

fn ddf() -> Vec<u8> {
    let mut bytes = vec![0xff; 512];
    put(&mut bytes, 0, &[0xde, 0x11, 0xde, 0x11]);
    put(&mut bytes, 8, b"Linux-MD\0\0\0\0\0\0\0\0abcdefgh");
    put(&mut bytes, 32, b"01.02.00");
    put(&mut bytes, 96, &0_u64.to_be_bytes());
    let sum = crc32fast::hash(&bytes);
    put(&mut bytes, 4, &sum.to_be_bytes());
    bytes
}

fn md_0(big: bool) -> Vec<u8> {
    let mut words = vec![0_u32; 1024];
    // Magic, version 0.90.0, the first part of the id, level 1, size in KiB, two disks.
    let numbers = [(0, MD_MAGIC), (2, 90), (5, 0x1234_5678), (7, 1), (8, 8192), (9, 2), (10, 2)];
    numbers.into_iter().for_each(|(at, number)| words[at] = number);
    words[500] = 0xffff_fff0;
    let sum: u64 = words.iter().map(|word| u64::from(*word)).sum();
    words[38] = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    words.iter().flat_map(|word| if big { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
}

fn md_1(place: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    put(&mut bytes, 0, &MD_MAGIC.to_le_bytes());
    put(&mut bytes, 4, &1_u32.to_le_bytes());
    put(&mut bytes, 16, &[0xab; 16]);
    put(&mut bytes, 32, b"host:0");
    put(&mut bytes, 72, &1_u32.to_le_bytes());
    put(&mut bytes, 80, &16384_u64.to_le_bytes());
    put(&mut bytes, 92, &2_u32.to_le_bytes());
    put(&mut bytes, 136, &16384_u64.to_le_bytes());
    put(&mut bytes, 144, &(place / 512).to_le_bytes());
    put(&mut bytes, 220, &3_u32.to_le_bytes());
    put(&mut bytes, 256, &[0, 0, 1, 0, 0xff, 0xff]);
    let words = bytes[..260].chunks(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
    let sum = words.sum::<u64>() + 0xffff;
    put(&mut bytes, 216, &u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap().to_le_bytes());
    bytes
}

fn all() -> Vec<Crafted> {
    let back = |sectors: u64| SIZE / 512 * 512 - sectors * 512;
    let one = |blkid, words, place, bytes| Crafted { blkid, words, place, bytes };
    let old = SIZE / 0x10000 * 0x10000 - 0x10000;
    let new = SIZE / 4096 * 4096 - 8192;
    let promise = block(b"Promise Technology, Inc.");
    let mut every = vec![
        one("isw_raid_member", "Intel", back(2), block(b"Intel Raid ISM Cfg Sig. 1.1.00\0\0")),
        one("nvidia_raid_member", "NVIDIA", back(2), nvidia()),
        one("silicon_medley_raid_member", "Silicon Image", back(1), silicon()),
        one("via_raid_member", "VIA", back(1), via()),
        one("jmicron_raid_member", "JMicron", back(1), jmicron()),
        one("lsi_mega_raid_member", "LSI", back(1), block(b"$XIDE$")),
        one("adaptec_raid_member", "Adaptec", back(1), adaptec()),
        one("hpt45x_raid_member", "HighPoint 45x", back(11), highpoint(0, 0x5a78_16f3)),
        one("hpt45x_raid_member", "HighPoint 45x", back(11), highpoint(0, 0x5a78_16fd)),
        one("hpt37x_raid_member", "HighPoint 37x", 4608, highpoint(32, 0x5a78_16f0)),
        one("hpt37x_raid_member", "HighPoint 37x", 4608, highpoint(32, 0x5a78_16fd)),
        one("ddf_raid_member", "DDF", back(1), ddf()),
        one("ddf_raid_member", "DDF", back(257), ddf()),
        one("linux_raid_member", "md 0.90", old, md_0(false)),
        one("linux_raid_member", "md 0.90", old, md_0(true)),
        one("linux_raid_member", "md 1.0", new, md_1(new)),
        one("linux_raid_member", "md 1.1", 0, md_1(0)),
        one("linux_raid_member", "md 1.2", 4096, md_1(4096)),
    ];
    for sectors in [63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087] {
        every.push(one("promise_fasttrack_raid_member", "Promise", back(sectors), promise.clone()));
    }
    every
}

fn write(path: &Path, place: u64, bytes: &[u8]) {
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, place).unwrap();
}

fn blank(path: &Path) {
    std::fs::File::create(path).unwrap().set_len(SIZE).unwrap();
}

/// A table with one NTFS partition that ends well before the disk does.
fn table(path: &Path, start: u32, sectors: u32) {
    let mut sector = vec![0; 512];
    put(&mut sector, 446, &[0x80, 0, 0, 0, 7, 0, 0, 0]);
    put(&mut sector, 454, &start.to_le_bytes());
    put(&mut sector, 458, &sectors.to_le_bytes());
    put(&mut sector, 510, &[0x55, 0xaa]);
    write(path, 0, &sector);
}

fn look_at(path: &Path) -> Disk {
    inspect(path).unwrap()
}

#[test]
fn every_set_that_blkid_knows_forbids_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    for Crafted { blkid, words, place, bytes } in all() {
        blank(&path);
        write(&path, place, &bytes);
        let theirs =
            Command::new("/usr/sbin/blkid").args(["-p", "-o", "export"]).arg(&path).output().unwrap();
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        assert!(theirs.contains(&format!("TYPE={blkid}\n")), "{words} at {place:#x}: blkid says {theirs:?}");
        let disk = look_at(&path);
        assert_eq!(disk.forbids_writing.len(), 1, "{words} at {place:#x}: {:?}", disk.forbids_writing);
        let why = &disk.forbids_writing[0];
        for part in [words, &format!("{place:#x}"), "Put the set together"] {
            assert!(why.contains(part), "{part:?} in {why}");
        }
        // The same where there is a table, unless that takes the signature's own place.
        if place != 0 {
            table(&path, 63, 16000);
            assert_eq!(look_at(&path).forbids_writing, std::slice::from_ref(why), "{words}, with a table");
            // Inside a partition it is what some other use of the disk has left.
            table(&path, 1, u32::try_from(SIZE / 512 - 1).unwrap());
            let disk = look_at(&path);
            assert_eq!(disk.forbids_writing, [""; 0], "{words}, inside a partition");
            assert!(
                disk.notes.iter().any(|note| note.contains("remains of an earlier use")),
                "{:?}",
                disk.notes
            );
            // A striped set's first member has the table of the whole set.
            table(&path, 1, 2 * u32::try_from(SIZE / 512).unwrap());
            assert_eq!(
                look_at(&path).forbids_writing,
                std::slice::from_ref(why),
                "{words}, with a table of a larger disk"
            );
        }
    }
}

/// One byte off, and no disk is refused: unless the signature is a text that no chance writes.
#[test]
fn near_misses_forbid_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let mut tried = 0;
    for Crafted { words, place, bytes, .. } in all() {
        let has_checksum =
            ["NVIDIA", "Silicon", "VIA", "JMicron", "md "].iter().any(|name| words.starts_with(name));
        // The first byte of the signature; one of the payload where there is a checksum.
        let mut misses = vec![bytes.iter().position(|&byte| byte != 0).unwrap()];
        if has_checksum {
            misses.push(40);
        }
        for at in misses {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            blank(&path);
            table(&path, 63, 16000);
            write(&path, place.max(if place == 0 { 512 } else { 0 }), &wrong);
            assert_eq!(look_at(&path).forbids_writing, [""; 0], "{words}, byte {at} wrong");
            tried += 1;
        }
        // Whole, but one sector aside.
        blank(&path);
        table(&path, 63, 16000);
        let aside = if place >= 1024 { place - 512 } else { place + 512 };
        if !words.contains("Promise") {
            write(&path, aside, &bytes);
            assert_eq!(look_at(&path).forbids_writing, [""; 0], "{words}, a sector aside");
        }
    }
    assert!(tried > 30);
}

#[test]
fn random_bytes_are_no_set() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    blank(&path);
    let bytes: Vec<u8> = (0..SIZE / 8).flat_map(|_| next().to_le_bytes()).collect();
    write(&path, 0, &bytes);
    table(&path, 63, 16000);
    assert_eq!(look_at(&path).forbids_writing, [""; 0]);
    // Every sector of it at every place that is looked at, by the tests themselves.
    let hits = bytes
        .chunks_exact(512)
        .filter(|sector| {
            is_nvidia(sector)
                || is_silicon(sector)
                || is_via(sector)
                || is_jmicron(sector)
                || is_adaptec(sector)
                || is_highpoint(sector, 0, 0x5a78_16f3)
        })
        .count();
    assert_eq!(hits, 0);
    let hits = bytes.chunks_exact(4096).filter(|block| is_md_0(block) || is_md_1(block, 0)).count();
    assert_eq!(hits, 0);
}

#[test]
fn md_checks_what_mdadm_calls_correct() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let path = path.as_path();
    for Crafted { words, place, bytes, .. } in all().into_iter().filter(|one| one.words.starts_with("md ")) {
        // mdadm reads the order of bytes of this machine alone.
        if bytes[0] == 0xa9 {
            continue;
        }
        blank(path);
        write(path, place, &bytes);
        let text = tool_text("mdadm", &["--examine", path.to_str().unwrap()]);
        let line = text.lines().find(|line| line.contains("Checksum"));
        let line = line.unwrap_or_else(|| panic!("{words}: mdadm says {text}"));
        assert!(line.ends_with("- correct"), "{words}: {line}");
    }
}

#[test]
fn dynamic_disks_by_their_private_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    let mut header = block(b"PRIVHEAD");
    put(&mut header, 12, &[0, 2, 0, 11]);
    for place in [6 * 512, SIZE / 512 * 512 - 512] {
        // No table that can be read: it may be one of a disk whose table is lost.
        blank(&path);
        write(&path, 0, &[0x5a; 512]);
        write(&path, place, &header);
        let disk = look_at(&path);
        assert!(disk.forbids_writing[0].contains("dynamic disk"), "{:?}", disk.forbids_writing);
        // A basic disk by its table: Windows takes it so.
        table(&path, 63, 16000);
        let disk = look_at(&path);
        assert_eq!(disk.forbids_writing, [""; 0]);
        assert!(
            disk.notes.iter().any(|note| note.contains("private header of a dynamic disk")),
            "{:?}",
            disk.notes
        );
        // A dynamic one by both: the partition says it.
        write(&path, 450, &[0x42]);
        let disk = look_at(&path);
        assert!(disk.notes.is_empty(), "{:?}", disk.notes);
        assert!(disk.partitions[0].kind.forbids_writing(false).unwrap().contains("dynamic disk"));
        // Another version is none that we know of.
        let mut other = header.clone();
        other[15] = 7;
        write(&path, place, &other);
        write(&path, 450, &[7]);
        assert!(look_at(&path).notes.is_empty());
    }
}

#[test]
fn kinds_of_partitions_that_are_members() {
    let mbr = |kind: u8, holds_fat| PartitionKind::Mbr(kind).forbids_writing(holds_fat);
    for kind in [0x86, 0x87, 0x8b, 0x8c, 0xc6, 0xc7] {
        assert!(mbr(kind, false).unwrap().contains("fault-tolerant set"), "{kind:#x}");
        assert!(PartitionKind::Mbr(kind).may_hold_windows(), "{kind:#x}");
    }
    // Linux' LVM, swap, Linux, extended, a laptop's suspend partition, RAID of Linux, protective entry.
    for kind in [0x07, 0x0c, 0x17, 0x8e, 0x82, 0x83, 0x85, 0x84, 0xa0, 0xfd, 0xee, 0xef, 0xde] {
        assert_eq!(mbr(kind, false), None, "{kind:#x}");
    }
    assert!(!PartitionKind::Mbr(0x8e).may_hold_windows());
    assert!(mbr(0x84, true).unwrap().contains("fault-tolerant set"));
    assert!(mbr(0x42, false).unwrap().contains("dynamic disk"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    // The GUIDs as text, by sfdisk, so that their order of bytes is not ours.
    for (guid, words) in [
        ("5808C8AA-7E8F-42E0-85D2-E1E90434CFB3", Some("dynamic disk")),
        ("AF9B60A0-1431-4F62-BC68-3311714A69AD", Some("dynamic disk")),
        ("E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D", Some("Storage Spaces")),
        ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", None),
        ("E6D6D379-F507-44C2-A23C-238F2A3DF928", None),
        ("CA7D7CCB-63ED-4C53-861C-1742536059CC", None),
    ] {
        crate::disk::tests::sfdisk(
            &path,
            16 * MIB,
            &format!("label: gpt\nstart=2048, size=4096, type={guid}\n"),
        );
        let disk = look_at(&path);
        let why = disk.partitions[0].kind.forbids_writing(false);
        assert_eq!(why.is_some(), words.is_some(), "{guid}");
        assert!(why.unwrap_or_default().contains(words.unwrap_or_default()), "{guid}: {why:?}");
    }
}

/// A partition of a mirror of md's: the volume ends before the block. A volume made over one covers it.
#[test]
fn md_in_a_partition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume.img");
    let size = 8 * MIB;
    for format in [0, 1] {
        mkntfs(&path, size - 0x20000, 4096);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
        let (place, bytes) = match format {
            0 => (size - 0x10000, md_0(false)),
            _ => (size - 8192, md_1(size - 8192)),
        };
        write(&path, place, &bytes);
        let reader =
            crate::volume::RawDevice::new(&path).map(|d| crate::volume::Device::open_read(&d)).unwrap();
        assert_eq!(md(reader.unwrap().as_ref()).map(|member| member.place), Some(place));
    }
}

/// A disk with one sector that cannot be read.
struct Bad {
    size: u64,
    sector: u64,
}

impl ReadAt for Bad {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if (offset..offset + buf.len() as u64).contains(&self.sector) {
            return Err(crate::error::Error::refused("read", "bad sector"));
        }
        buf.fill(0);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

#[test]
fn a_place_of_a_signature_that_cannot_be_read_is_no_place_without_one() {
    let told = |sector| look(&Bad { size: SIZE, sector }, Table::Mbr, &[], &mut Vec::new());
    // The last sector, the one of Intel's, the anchor of DDF, and md 1.2 at 4 KiB.
    for sector in [SIZE - 512, SIZE - 1024, SIZE - 257 * 512, 4096] {
        let told = told(sector);
        assert!(told.len() == 1 && told[0].contains("not established"), "{sector:#x}: {told:?}");
    }
    assert_eq!(told(8 * MIB), Vec::<String>::new(), "a sector that is nobody's");
}

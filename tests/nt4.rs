//! NTFS 1.2 as NT 4.0 wrote it, and volumes with very many files: volumes that `practice-maker` rewrites below their files.
//! Judged by ntfscat, ntfsls and The Sleuth Kit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test as a whole, its helpers too"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use common::{Case, Journal, RUN_VALUE, SECTOR, SOFTWARE, START, SYSTEM, WORM, judge};
use deblast::error::Result;
use deblast::path::WinPath;
use deblast::volume::Device as _;
use deblast::volume::{FileSystem as _, NtfsVolume, RawDevice, ReadAt, Window};

/// The maker beside the binary under test; built where it is not there.
fn maker() -> PathBuf {
    let maker = Path::new(env!("CARGO_BIN_EXE_deblast")).with_file_name("practice-maker");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    judge(
        Command::new(cargo)
            .args(["build", "--quiet", "--locked", "-p", "practice-maker"])
            .current_dir(common::ROOT),
    );
    maker
}

fn u16_of(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

fn u32_of(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()).try_into().unwrap()
}

/// Type and length of the value of each attribute of a record, lengths of non-resident ones 0.
fn attributes(record: &[u8]) -> Vec<(usize, usize)> {
    let mut record = record.to_vec();
    for sector in 1..u16_of(&record, 6) {
        let kept = u16_of(&record, 4) + sector * 2;
        record.copy_within(kept..kept + 2, sector * SECTOR - 2);
    }
    let record = record.as_slice();
    let (mut found, mut at) = (Vec::new(), u16_of(record, 0x14));
    while u32_of(record, at) != 0xffff_ffff {
        let length = if record[at + 8] == 0 { u32_of(record, at + 16) } else { 0 };
        found.push((u32_of(record, at), length));
        at += u32_of(record, at + 4);
    }
    found
}

/// A practice disk in the form of NT 4.0; with descriptors that only $Secure had.
fn nt4() -> Option<(Case, Case)> {
    let original = Case::with(&["--files", "60", "--size", "24M"])?;
    let case = Case::of(original.original.clone());
    judge(Command::new(maker()).arg("ntfs12").arg(&case.disk));
    let bytes = case.bytes();
    Some((original, Case::of(bytes)))
}

#[test]
fn every_record_is_in_the_form_of_nt4_and_others_still_read_the_volume() {
    let Some((original, case)) = nt4() else { return };
    assert_eq!(original.listing(), case.listing(), "names and records by fls");
    assert_eq!(original.digests(), case.digests(), "contents by icat");
    for path in [WORM, SOFTWARE, SYSTEM] {
        assert_eq!(original.ntfscat(path), case.ntfscat(path), "{path} by ntfscat");
    }
    let volume = case.path("volume.img");
    common::volume::extract(&case.disk, &volume);
    let listed =
        String::from_utf8(judge(Command::new("ntfsls").arg("-p").arg("/WINDOWS/system32").arg(&volume)))
            .unwrap();
    assert!(listed.lines().any(|name| name == "msblast.exe"), "{listed}");
    let facts = String::from_utf8(judge(Command::new("ntfsinfo").arg("-m").arg(&volume))).unwrap();
    assert!(facts.contains("Volume Version: 1.2"), "{facts}");

    let disk = case.bytes();
    let (mut records, mut described) = (0, 0);
    for at in (START..disk.len()).step_by(SECTOR).filter(|at| disk[*at..].starts_with(b"FILE")) {
        let record = &disk[at..at + 1024];
        assert_eq!(
            u16_of(record, 4),
            0x2a,
            "the update sequence array stands where NTFS 3.1 has a record number"
        );
        records += 1;
        if u16_of(record, 0x16) & 1 == 0 {
            continue;
        }
        let attributes = attributes(record);
        for &(kind, length) in &attributes {
            assert!(kind != 0x10 || length == 48, "$STANDARD_INFORMATION of {length} bytes at {at:#x}");
            assert!(
                kind != 0x40 && kind < 0x100,
                "an attribute of type {kind:#x}, which NTFS 1.2 does not have"
            );
        }
        described += usize::from(attributes.iter().any(|(kind, _)| *kind == 0x50));
    }
    assert!(
        records > 150 && described > 120,
        "{records} records, {described} with a descriptor of their own"
    );
}

#[test]
fn an_nt4_volume_is_scanned_cured_and_taken_back() {
    let Some((original, case)) = nt4() else { return };
    let ran = case.scan().exits(1);
    ran.require(ran.at("/targets/0/volumes/0/version") == "1.2", "version 1.2");
    ran.says(RUN_VALUE);
    case.must_be_as_at_first(&ran);
    let place = |case: &Case| -> Vec<String> {
        let all = case.scan().at("/targets/0/installs/0/findings");
        all.as_array().unwrap().iter().map(|found| format!("{} {}", found["what"], found["where"])).collect()
    };
    assert_eq!(place(&original), place(&case), "the findings of the same tree on NTFS 3.1");
    let ran = case.clean(&[]).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned");
    ran.require(case.ntfscat(WORM).iter().all(|&byte| byte == 0), "inert");
    let mut image = case.original.clone();
    Journal::read(&case.runs()[0]).replay(&mut image, usize::MAX);
    case.must_hold(&image, &ran, "the journal to lead to the disk after");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

/// A device that counts what is read of it.
struct Counting {
    inner: std::sync::Arc<dyn ReadAt>,
    reads: Mutex<Vec<usize>>,
}

impl ReadAt for Counting {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reads.lock().unwrap().push(buf.len());
        self.inner.read_at(offset, buf)
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }
}

/// 40,000 files: one pass over the MFT in blocks, and no read for a file that nobody asked for.
#[test]
fn very_many_files_cost_one_sequential_pass() {
    const FILES: usize = 40_000;
    let Some(case) = Case::with(&["--files", "60", "--size", "96M"]) else { return };
    judge(Command::new(maker()).arg("many-files").arg(&case.disk).arg(FILES.to_string()));
    let file = case.path("volume.img");
    common::volume::extract(&case.disk, &file);
    // Another reader finds them too.
    let text = String::from_utf8(judge(Command::new("istat").arg(&file).arg("30000"))).unwrap();
    assert!(text.contains("an ordinary file 30000.txt"), "{text}");
    judge(Command::new("ntfscat").args(["-i", "30000"]).arg(&file));

    let inner = RawDevice::new(&file).unwrap().open_read().unwrap();
    let device = std::sync::Arc::new(Counting { inner, reads: Mutex::default() });
    let volume = NtfsVolume::open(std::sync::Arc::new(Window::new(device.clone(), 0, u64::MAX))).unwrap();
    device.reads.lock().unwrap().clear();
    let mut all = 0;
    let mut wanted =
        |file: &deblast::volume::Candidate<'_>| file.names.iter().any(|name| name.name == "msblast.exe");
    let scan = volume.scan(&mut wanted, &mut |_, total| all = total).unwrap();
    assert_eq!((scan.files.len(), scan.problem_count), (1, 0), "{:?}", scan.problems);
    assert!(scan.in_use > FILES as u64 && all > FILES as u64 * 1024, "{} of {all} bytes", scan.in_use);
    let reads = device.reads.lock().unwrap();
    let blocks = all.div_ceil(1 << 20);
    assert!(
        (blocks..blocks + 16).contains(&(reads.len() as u64)),
        "{} reads for {blocks} blocks",
        reads.len()
    );
    let bytes: u64 = reads.iter().map(|&length| length as u64).sum();
    assert!((all..all + (64 << 10)).contains(&bytes), "{bytes} bytes of {all}");
    drop(reads);
    assert!(volume.find(&WinPath::new("WINDOWS\\system32\\msblast.exe")).unwrap().is_some());

    let case = Case::of(case.bytes());
    let ran = case.clean(&[]).exits(0);
    ran.require(ran.at("/verdict") == "cleaned", "cleaned");
    let ran = case.undo(&[]).exits(0);
    case.must_be_as_at_first(&ran);
}

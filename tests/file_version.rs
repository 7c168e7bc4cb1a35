//! File versions out of PE files: made by the practice maker, taken apart and put together in other ways, damaged and
//! cut; judged by exiftool, which is not ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "this file is a test as a whole, its helpers too; the maker's files have more than is used here"
)]

#[path = "../fixtures/maker/src/noise.rs"]
mod noise;
#[path = "../fixtures/maker/src/pe.rs"]
mod pe;
#[path = "common/skip.rs"]
mod skip;

use std::fs;
use std::process::Command;

use deblast::windows::file_version::{FileVersion, read};
use proptest::prelude::*;

use noise::Noise;
use pe::{Pe, Version};

/// In the maker's files: the PE signature, the resource entry of the data directories, the header of the resource
/// section, where the sections begin, and where the directories of the resources end.
const PE_AT: usize = 0x80;
const RESOURCE_ENTRY: usize = PE_AT + 24 + 96 + 2 * 8;
const RESOURCE_SECTION: usize = PE_AT + 24 + 224 + 40;
const DIRECTORIES: usize = 0x58;

fn made(numbers: [u16; 4], dll: bool, length: usize) -> Vec<u8> {
    let mut noise = Noise::new(9, "file_version");
    let version = Version { numbers, name: "rpcrt4.dll".to_owned(), description: "a library".to_owned() };
    Pe { dll, version: Some(version), body: noise.bytes(3000), length }.bytes(&mut noise)
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn set(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
}

/// The version block of a file of the maker's.
fn block(file: &[u8]) -> Vec<u8> {
    let at = number(file, RESOURCE_SECTION + 20);
    let length = number(file, at + 0x4c);
    file[at + DIRECTORIES..at + DIRECTORIES + length].to_vec()
}

/// The file with other bytes for its resource section, which moves to the file's end, before `behind` bytes more.
fn with_resources(mut file: Vec<u8>, resources: &[u8], behind: usize) -> Vec<u8> {
    let at = number(&file, RESOURCE_SECTION + 20);
    let end = at + number(&file, RESOURCE_SECTION + 16);
    file[at..end].fill(0xcc);
    let place = file.len().next_multiple_of(0x200);
    file.resize(place, 0);
    file.extend_from_slice(resources);
    file.resize(file.len().next_multiple_of(0x200), 0);
    let length = file.len() - place;
    set(&mut file, RESOURCE_SECTION + 8, resources.len());
    set(&mut file, RESOURCE_SECTION + 16, length);
    set(&mut file, RESOURCE_SECTION + 20, place);
    set(&mut file, RESOURCE_ENTRY + 4, resources.len());
    let rva = number(&file, RESOURCE_SECTION + 12);
    set(&mut file, PE_AT + 24 + 56, (rva + resources.len()).next_multiple_of(0x1000));
    file.resize(file.len() + behind, 0xdd);
    file
}

/// A resource directory: an icon group that is of no interest, and the version in several languages.
fn resources(rva: usize, blocks: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let table = |out: &mut Vec<u8>, entries: &[(usize, usize)]| {
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&0_u16.to_le_bytes());
        out.extend_from_slice(&u16::try_from(entries.len()).unwrap().to_le_bytes());
        for (id, target) in entries {
            out.extend_from_slice(&(*id as u32).to_le_bytes());
            out.extend_from_slice(&(*target as u32).to_le_bytes());
        }
    };
    let below = |at: usize| at | 0x8000_0000;
    // Types at 0, names of type 14 at 32, of 16 at 56, languages of 14 at 80, of 16 at 104.
    let leaves = 104 + 16 + 8 * blocks.len();
    table(&mut out, &[(14, below(32)), (16, below(56))]);
    table(&mut out, &[(1, below(80))]);
    table(&mut out, &[(1, below(104))]);
    table(&mut out, &[(0x409, leaves)]);
    let languages: Vec<(usize, usize)> = blocks
        .iter()
        .enumerate()
        .map(|(index, (language, _))| (usize::from(*language), leaves + 16 * (index + 1)))
        .collect();
    table(&mut out, &languages);
    let mut place = leaves + 16 * (blocks.len() + 1);
    let mut leaf = |length: usize| {
        let own = place;
        place = (place + length).next_multiple_of(4);
        [(rva + own) as u32, length as u32, 1200, 0].map(u32::to_le_bytes).concat()
    };
    out.extend(leaf(20));
    blocks.iter().for_each(|(_, block)| out.extend(leaf(block.len())));
    out.extend_from_slice(&[0x11; 20]);
    for (_, block) in blocks {
        out.extend_from_slice(block);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn with_languages(versions: &[(u16, [u16; 4])], behind: usize) -> Vec<u8> {
    let file = made([1, 2, 3, 4], true, 0);
    let rva = number(&file, RESOURCE_SECTION + 12);
    let blocks: Vec<(u16, Vec<u8>)> =
        versions.iter().map(|(language, numbers)| (*language, block(&made(*numbers, true, 0)))).collect();
    with_resources(file, &resources(rva, &blocks), behind)
}

/// What exiftool reads; none, with a word, where it is not installed.
fn by_exiftool(bytes: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("program.dll");
    fs::write(&file, bytes).unwrap();
    let Ok(told) = Command::new("exiftool").args(["-s3", "-FileVersionNumber"]).arg(&file).output() else {
        skip::skip("exiftool is not installed");
        return None;
    };
    Some(String::from_utf8(told.stdout).unwrap().trim().to_owned())
}

#[track_caller]
fn refused(bytes: &[u8], words: &str) {
    let error = read(bytes).expect_err(words).to_string();
    assert!(error.contains(words) && error.contains("cannot read the "), "{words:?} in {error:?}");
}

#[test]
fn reads_what_exiftool_reads() {
    let high = [65_535, 33_474, 7230, 65_535];
    for (file, numbers) in [
        (made([5, 1, 2600, 1361], true, 0), [5, 1, 2600, 1361]),
        (made([4, 0, 1381, 33_562], false, 0x9000), [4, 0, 1381, 33_562]),
        (made(high, true, 0), high),
        (with_languages(&[(0x409, [5, 0, 2195, 6906])], 0), [5, 0, 2195, 6906]),
        (with_languages(&[(0x407, [5, 2, 3790, 137]), (0x409, [5, 2, 3790, 137])], 5000), [5, 2, 3790, 137]),
    ] {
        let version = read(&file).unwrap();
        assert_eq!(version, FileVersion(numbers));
        if let Some(told) = by_exiftool(&file) {
            assert_eq!(told, version.to_string());
        }
    }
}

#[test]
fn versions_are_ordered_number_by_number() {
    let version = |c, d| FileVersion([5, 1, c, d]);
    assert!(version(2600, 109) < version(2600, 1230) && version(2599, 9000) < version(2600, 0));
}

#[test]
fn resources_lie_in_whichever_section_and_need_no_right_length() {
    let mut file = with_languages(&[(0x409, [5, 1, 2600, 1361])], 0);
    // Many a linker leaves a length there that is not the directory's.
    set(&mut file, RESOURCE_ENTRY + 4, 0);
    assert_eq!(read(&file).unwrap(), FileVersion([5, 1, 2600, 1361]));
    // The section's name says nothing.
    file[RESOURCE_SECTION..RESOURCE_SECTION + 8].copy_from_slice(b"UPX2\0\0\0\0");
    assert_eq!(read(&file).unwrap(), FileVersion([5, 1, 2600, 1361]));
    // Both headers changed about: the resources in the first section.
    let (text, resource) = (RESOURCE_SECTION - 40, RESOURCE_SECTION);
    let headers: Vec<u8> = [&file[resource..resource + 40], &file[text..text + 40]].concat();
    file[text..resource + 40].copy_from_slice(&headers);
    assert_eq!(read(&file).unwrap(), FileVersion([5, 1, 2600, 1361]));
    // Not at an even address in memory.
    let odd: Vec<u8> = [&[0], file.as_slice()].concat();
    assert_eq!(read(&odd[1..]).unwrap(), FileVersion([5, 1, 2600, 1361]));
}

#[test]
fn languages_that_disagree_settle_nothing() {
    let file = with_languages(&[(0x407, [5, 1, 2600, 1361]), (0x409, [5, 1, 2600, 1106])], 0);
    refused(&file, "disagree: 5.1.2600.1361 and 5.1.2600.1106");
    let many: Vec<(u16, [u16; 4])> = (0..65).map(|language| (language, [5, 1, 2600, 1106])).collect();
    refused(&with_languages(&many, 0), "65 times");
}

#[test]
fn what_is_no_such_program_is_refused_in_words() {
    refused(b"", "begins with \"MZ\"");
    refused(b"#!/bin/sh", "begins with \"MZ\"");
    refused(&[b"MZ", [0_u8; 200].as_slice()].concat(), "damaged or cut short");
    let mut bare = Pe { dll: true, version: None, body: Vec::new(), length: 0 };
    refused(&bare.bytes(&mut Noise::new(1, "x")), "it has no resources");
    bare.version = Some(Version { numbers: [1; 4], name: String::new(), description: String::new() });
    let good = bare.bytes(&mut Noise::new(1, "x"));
    let change = |at: usize, value: &[u8]| {
        let mut file = good.clone();
        file[at..at + value.len()].copy_from_slice(value);
        file
    };
    let resources = number(&good, RESOURCE_SECTION + 20);
    let block = resources + DIRECTORIES;
    refused(&change(PE_AT, b"NE"), "damaged or cut short");
    refused(&change(PE_AT + 4, &0x0184_u16.to_le_bytes()), "another processor (0x184)");
    refused(&change(PE_AT + 24, &0x020b_u16.to_le_bytes()), "no 32-bit program");
    refused(&change(RESOURCE_ENTRY, &0x7000_0000_u32.to_le_bytes()), "0x70000000 of the loaded program");
    refused(&change(resources + 16, &6_u32.to_le_bytes()), "its resources hold no version");
    refused(&change(resources + 20, &0x48_u32.to_le_bytes()), "fewer than three levels");
    refused(&change(resources + 0x44, &0x8000_0000_u32.to_le_bytes()), "more than three levels");
    refused(&change(resources + 14, &[0xff, 0xff]), "damaged or cut short");
    refused(
        &change(resources + 0x48, &0x7000_0000_u32.to_le_bytes()),
        "the version resource, at address 0x70000000",
    );
    refused(
        &change(resources + 0x4c, &0x7000_0000_u32.to_le_bytes()),
        "a version resource of 1879048192 bytes",
    );
    refused(&change(resources + 0x4c, &4_u32.to_le_bytes()), "a header of six bytes");
    refused(&change(resources + 0x4c, &64_u32.to_le_bytes()), "52 bytes of VS_FIXEDFILEINFO");
    refused(&change(block + 6, b"X"), "the key VS_VERSION_INFO");
    refused(&change(block + 2, &[51]), "52 bytes of VS_FIXEDFILEINFO");
    refused(&change(block + 40, b"X"), "the signature 0xfeef04bd");
}

#[test]
fn a_file_cut_short_anywhere_is_told_or_still_whole_enough() {
    let file = with_languages(&[(0x409, [5, 1, 2600, 1361])], 0);
    let end = number(&file, RESOURCE_SECTION + 20) + number(&file, RESOURCE_SECTION + 8);
    for length in 0..file.len() {
        match read(&file[..length]) {
            Ok(version) => {
                assert!(length >= end && version == FileVersion([5, 1, 2600, 1361]), "{length}: {version}");
            }
            Err(error) => assert!(length < end, "{length} of {end}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Whatever is overwritten: a version or words, at once, and never a panic.
    #[test]
    fn damage_never_stops_the_reader(
        wounds in prop::collection::vec((0_usize..0x400, any::<u8>()), 1..8),
        deep in prop::collection::vec((0_usize..0x100, any::<u8>()), 0..8),
        cut in 0_usize..40_000,
    ) {
        let mut file = with_languages(&[(0x407, [5, 1, 2600, 1361]), (0x409, [5, 1, 2600, 1361])], 0);
        let at = number(&file, RESOURCE_SECTION + 20);
        for (place, byte) in wounds {
            file[place] = byte;
        }
        for (place, byte) in deep {
            file[at + place] = byte;
        }
        file.truncate(cut);
        match read(&file) {
            Ok(version) => prop_assert!(!version.to_string().is_empty()),
            Err(error) => prop_assert!(error.to_string().starts_with("cannot read the ")),
        }
    }
}

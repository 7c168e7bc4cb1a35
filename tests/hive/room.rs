//! Room: hives that grow, inside their file or with it, and data too large for one cell.

use deblast::change::ValueData;
use deblast::hive::check::survey;
use deblast::hive::edit::{Edit, Room, Step, edit, edit_within};
use deblast::hive::{Hive, second};

use crate::common::{NOW, RUN, create, data, delete, judged, set, tight, written};
use crate::cut::cut_within;

/// A hive without room, with so many bytes of rubbish behind its bins.
fn with_slack(minor: u32, slack: usize) -> Hive {
    let mut bytes = tight(minor).into_bytes();
    bytes.resize(bytes.len() + slack, 0xEE);
    Hive::parse(bytes).unwrap()
}

fn large() -> Vec<Edit> {
    vec![
        set("None", "large", data(3, &[5; 6000])),
        set(r"Microsoft\Ole", "EnableDCOM", ValueData::sz("never")),
        create(r"None\Key"),
        set(r"None\Key", "large", data(3, &[6; 3000])),
    ]
}

#[test]
fn a_hive_grows_inside_its_file_or_with_it_and_may_be_cut() {
    for minor in [3, 5] {
        for (slack, room) in [
            (0, Room::Grow),
            (4096, Room::Grow),
            (16384, Room::InFile(u64::MAX)),
            (20000, Room::InFile(u64::MAX)),
        ] {
            let before = with_slack(minor, slack);
            let mut after = before.clone();
            let groups = edit_within(&mut after, &large(), NOW, room).unwrap();
            let found = survey(&after);
            assert_eq!((found.problems, found.leaked), (vec![], 0), "1.{minor} {room:?}");
            let mut image = before.as_bytes().to_vec();
            image.resize(after.as_bytes().len(), 0);
            assert!(written(&image, &groups) == after.as_bytes());
            if let Room::InFile(_) = room {
                assert_eq!(after.as_bytes().len(), before.as_bytes().len(), "the file keeps its length");
            }
            let steps: Vec<Step> = groups.iter().map(|group| group.step).collect();
            assert!(steps.starts_with(&[Step::Bin, Step::Size, Step::Contents]), "{steps:?}");
            let bin = groups[0].sectors[0].offset;
            assert_eq!(bin as usize, before.as_bytes().len() - slack, "the bin is behind the last one");
            let size = groups.iter().filter(|group| group.step == Step::Size);
            assert!(size.into_iter().all(|group| group.sectors.len() == 1 && group.sectors[0].offset == 0));
            let count = cut_within(&before, &large(), &format!("{room:?}"), room);
            println!("1.{minor} {room:?}, {slack} bytes behind the bins: {count} cuts, none broken");
        }
    }
}

#[test]
fn a_hive_that_need_not_grow_does_not() {
    let before = with_slack(5, 8192);
    for room in [Room::InFile(u64::MAX), Room::Grow] {
        let mut hive = before.clone();
        edit_within(&mut hive, &[set("None", "small", ValueData::sz("a few bytes"))], NOW, room).unwrap();
        assert_eq!(hive.as_bytes().len(), before.as_bytes().len());
        assert_eq!(
            hive.as_bytes()[40..44],
            before.as_bytes()[40..44],
            "the bins have the size that they had"
        );
    }
}

#[test]
fn no_room_is_refused_in_words_with_bytes() {
    let before = with_slack(3, 4096);
    let length = before.as_bytes().len();
    let first = set(r"Microsoft\Ole", "EnableDCOM", ValueData::sz("no"));
    for room in [Room::FreeCells, Room::InFile(u64::MAX), Room::InFile(length as u64 - 4096), Room::InFile(0)]
    {
        let mut hive = before.clone();
        let edits = [first.clone(), set("None", "large", data(3, &[5; 6000]))];
        let error = edit_within(&mut hive, &edits, NOW, room).err().unwrap().to_string();
        assert!(error.contains("the hive has no room: "), "{error}");
        if room == Room::InFile(u64::MAX) {
            let words = format!(
                "8192 bytes more would end at byte {}, and the file has {length} bytes",
                length + 4096
            );
            assert!(error.contains(&words), "{error}");
        }
        assert!(hive.as_bytes() == before.as_bytes(), "a refusal leaves the image");
    }
    // A refusal after the hive has grown takes that back too.
    let mut hive = before.clone();
    let edits = [set("None", "large", data(3, &[5; 6000])), delete("None", "no such")];
    assert!(edit_within(&mut hive, &edits, NOW, Room::Grow).is_err());
    assert!(hive.as_bytes() == before.as_bytes());
    assert_eq!(survey(&hive).problems, vec![]);
}

#[test]
fn data_of_any_length_is_stored_as_its_version_has_it() {
    const SEGMENT: usize = 16344;
    for minor in [3, 4, 5] {
        let mut hive = tight(minor.max(3));
        let mut lengths = vec![SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 5, 100_000, 5, 0, 4, 50_000];
        lengths.push(17);
        for length in lengths {
            let bytes: Vec<u8> = (0..length).map(|n| (n / 7) as u8).collect();
            for kind in [3, 1] {
                let to = data(kind, &bytes);
                let one = [set(RUN, "large", to.clone())];
                edit_within(&mut hive, &one, NOW, Room::Grow).unwrap();
                let found = survey(&hive);
                assert_eq!((found.problems, found.leaked), (vec![], 0), "1.{minor}, {length} bytes");
                let theirs = judged(hive.as_bytes(), RUN);
                let (_, _, theirs) = theirs.iter().find(|(name, ..)| name == "large").unwrap();
                assert!(*theirs == bytes, "regf: 1.{minor}, {length} bytes");
                match second::read_value(&hive, one[0].key(), "large") {
                    Ok(found) => assert!(found == Some(to), "nt-hive: 1.{minor}, {length} bytes"),
                    Err(error) => {
                        assert!(second::unreadable(&error) && minor == 3 && length > SEGMENT, "{error}")
                    }
                }
            }
        }
        let free = survey(&hive).free;
        edit(&mut hive, &[delete(RUN, "large")], NOW).unwrap();
        assert!(survey(&hive).free > free);
    }
}

#[test]
fn big_data_may_be_cut() {
    let mut hive = tight(5);
    let there = [set(RUN, "big", data(3, &[1; 40_000]))];
    edit_within(&mut hive, &there, NOW, Room::Grow).unwrap();
    let edits =
        [set(RUN, "big", data(3, &[2; 33_000])), set(RUN, "big", ValueData::sz("x")), delete(RUN, "big")];
    cut_within(&hive, &edits, "big data", Room::Grow);
}

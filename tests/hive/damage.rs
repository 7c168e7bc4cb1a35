//! Each kind of damage that the check knows, made on purpose, with its class and its words.

use deblast::hive::Hive;
use deblast::hive::check::Class::{self, Other, Structure};
use deblast::hive::check::check;
use deblast::path::RegPath;

use crate::common::{RUN, made};

/// A made hive with places in it that damage is done to; all places count from the start of the file.
struct Patient {
    minor: u32,
    bytes: Vec<u8>,
}

impl Patient {
    fn new(minor: u32) -> Self {
        Self { minor, bytes: made(minor).into_bytes() }
    }

    fn get(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn put(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// Body of the cell that a field names.
    fn follow(&self, at: usize) -> usize {
        4096 + self.get(at) as usize + 4
    }

    /// Body of a key node.
    fn key(&self, path: &str) -> usize {
        let hive = Hive::parse(self.bytes.clone()).unwrap();
        hive.key(&RegPath::new(path)).unwrap().unwrap().offset().file_offset() as usize + 4
    }

    /// Body of a key value.
    fn value(&self, path: &str, name: &str) -> usize {
        let hive = Hive::parse(self.bytes.clone()).unwrap();
        let key = hive.key(&RegPath::new(path)).unwrap().unwrap();
        key.value(name).unwrap().unwrap().offset().file_offset() as usize + 4
    }
}

type Damage = (&'static str, Class, &'static str, fn(&mut Patient));

const DAMAGES: &[Damage] = &[
    ("checksum", Structure, "the hive is dirty: the checksum is", |p| p.bytes[508] ^= 1),
    ("cluster", Structure, "clustering factor", |p| {
        p.put(44, 2);
        let sum = p.get(508) ^ 1 ^ 2;
        p.put(508, sum);
    }),
    ("bin signature", Structure, "the signature \"hbin\"", |p| p.bytes[4096] = b'x'),
    ("bin offset", Structure, "a hive bin with offset 0x0, found 0x8", |p| p.put(4096 + 4, 8)),
    ("bin size", Structure, "expected a hive bin of 4096 to", |p| p.put(4096 + 8, 100)),
    ("cell size", Structure, "expected a cell of 8 to", |p| p.put(4096 + 32, 3)),
    ("cell of size 0", Structure, "found 0x0; the rest of the hive bin is lost", |p| p.put(4096 + 32, 0)),
    ("root", Structure, "where no cell starts", |p| p.put(36, 0x24)),
    ("key freed", Structure, "where the cell is free", |p| {
        let at = p.key("One") - 4;
        let size = p.get(at).wrapping_neg();
        p.put(at, size);
    }),
    ("key signature", Structure, "the signature \"nk\"", |p| {
        let at = p.key("One");
        p.bytes[at] = b'x';
    }),
    ("key name", Structure, "the name of the key does not fit", |p| {
        let at = p.key("One");
        p.bytes[at + 73] = 1;
    }),
    ("key without name", Structure, "the key has no name", |p| {
        let at = p.key("One");
        p.bytes[at + 72] = 0;
    }),
    ("parent", Structure, "expected the parent 0x", |p| {
        let at = p.key("One");
        p.put(at + 16, 0x20);
    }),
    ("loop", Structure, "a cell that is already in use", |p| {
        let (one, root) = (p.key("One"), p.key(""));
        let list = p.get(root + 28);
        p.put(one + 20, 1);
        p.put(one + 28, list);
    }),
    ("count of values", Structure, "values in a list of", |p| {
        let at = p.key("One");
        p.put(at + 36, 99);
    }),
    ("values list out of range", Structure, "the key values list is said to be at", |p| {
        let at = p.key("One");
        p.put(at + 40, 0x7000_0000);
    }),
    ("value shared", Structure, "the key value is said to be at", |p| {
        let list = p.follow(p.key(RUN) + 40);
        let first = p.get(list);
        p.put(list + 4, first);
    }),
    ("value signature", Structure, "the signature \"vk\"", |p| {
        let at = p.value("One", "msblast");
        p.bytes[at] = b'x';
    }),
    ("value name", Structure, "the name of the value does not fit", |p| {
        let at = p.value("One", "msblast");
        p.bytes[at + 3] = 1;
    }),
    ("inline length", Structure, "expected at most 4 bytes inside the key value, found 5", |p| {
        let at = p.value(RUN, "number");
        p.put(at + 4, 0x8000_0005);
    }),
    ("empty with a cell", Structure, "expected no cell for 0 bytes of data", |p| {
        let at = p.value(RUN, "empty");
        p.put(at + 4, 0);
        p.put(at + 8, 0x20);
    }),
    ("data too long", Structure, "bytes of data in", |p| {
        let at = p.value("One", "msblast");
        p.put(at + 4, 1000);
    }),
    ("data shared", Structure, "the data is said to be at", |p| {
        let (one, other) = (p.value("One", "msblast"), p.value(RUN, "Synchronize"));
        let data = p.get(other + 8);
        p.put(one + 8, data);
    }),
    ("big data", Structure, "", |p| {
        let data = p.follow(p.value("Room", "big") + 8);
        // Version 1.3 has one plain cell, whose first bytes are data: there the length is what can be wrong.
        match p.minor {
            3 => p.put(data - 4, 0xFFFF_FFF0),
            _ => p.put(data, 0x0009_6264),
        }
    }),
    ("list signature", Structure, "the signature \"lf\", \"lh\" or \"li\"", |p| {
        let list = p.follow(p.key(r"Classes\CLSID") + 28);
        p.bytes[list] = b'x';
    }),
    ("list too long", Structure, "entries in a subkeys list of", |p| {
        let list = p.follow(p.key(r"Classes\CLSID") + 28);
        p.bytes[list + 3] = 9;
    }),
    ("count of subkeys", Structure, "expected 61 subkeys in the list, found 60", |p| {
        let at = p.key(r"Classes\CLSID");
        p.put(at + 20, 61);
    }),
    ("security freed", Structure, "", |p| {
        let at = p.follow(p.key("One") + 44) - 4;
        let size = p.get(at).wrapping_neg();
        p.put(at, size);
    }),
    ("security signature", Structure, "the signature \"sk\"", |p| {
        let at = p.follow(p.key("One") + 44);
        p.bytes[at] = b'x';
    }),
    ("security length", Structure, "a security descriptor of 65535 bytes", |p| {
        let at = p.follow(p.key("One") + 44);
        p.put(at + 16, 0xFFFF);
    }),
    ("security count", Other, "keys name this security, it counts 1", |p| {
        let at = p.follow(p.key("One") + 44);
        p.put(at + 12, 1);
    }),
    ("security ring", Other, "the next key security does not name this one", |p| {
        let at = p.follow(p.key("One") + 44);
        p.put(at + 8, 0x7777_7770);
    }),
    ("hint or hash", Other, "expected the hash 0x|the hint [78", |p| {
        let list = p.follow(p.key(r"Classes\CLSID") + 28);
        p.bytes[list + 8] = b'x';
    }),
    ("order", Other, "is not in ascending order", |p| {
        let list = p.follow(p.key(r"Classes\CLSID") + 28);
        let (one, two) = (list + 4, list + 12);
        for at in 0..8 {
            p.bytes.swap(one + at, two + at);
        }
    }),
    ("root flag", Other, "the flag of a root key", |p| {
        let at = p.key("One");
        p.bytes[at + 2] |= 4;
    }),
    ("list without values", Other, "no values, yet a list of them", |p| {
        let at = p.key("None");
        p.put(at + 40, 0x20);
    }),
];

#[test]
fn each_damage_is_told_with_its_class() {
    for minor in [3, 5] {
        for (what, class, words, damage) in DAMAGES {
            let mut patient = Patient::new(minor);
            damage(&mut patient);
            let problems = check(&Hive::parse(patient.bytes).unwrap());
            let told = problems.iter().any(|problem| {
                problem.class == *class && words.split('|').any(|words| problem.what.contains(words))
            });
            assert!(told, "1.{minor} {what}: {problems:?}");
            if *class == Other {
                assert!(
                    problems.iter().all(|problem| problem.class == Other),
                    "1.{minor} {what}: {problems:?}"
                );
            }
            // What is told must be told at a place in the file.
            assert!(problems.iter().all(|problem| problem.to_string().starts_with("offset 0x")));
        }
    }
}

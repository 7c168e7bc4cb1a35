//! Hives by readers and writers that are not ours: hivexml, hivexregedit and the `regf` crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::process::Command;

use regf::RegistryHive;
use regf::hive::RegistryKey;

use super::judge;

/// Key to value's name to whatever a reader tells of the value.
pub type Tree<V> = BTreeMap<String, BTreeMap<String, V>>;

/// Merges the text of a .reg file, without its first line, into a hive.
#[track_caller]
pub fn merge(hive: &Path, text: &Path, reg: &str) {
    fs::write(text, format!("Windows Registry Editor Version 5.00\n\n{reg}\n")).unwrap();
    judge(Command::new("hivexregedit").args(["--merge"]).arg(hive).arg(text));
}

/// `"name"=hex(type):..` as a .reg file wants it.
pub fn reg_hex(name: &str, kind: u32, data: &[u8]) -> String {
    let bytes: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{name}\"=hex({kind:x}):{}", bytes.join(","))
}

/// REG_MULTI_SZ of strings that may be empty, as PendingFileRenameOperations needs.
pub fn multi(strings: &[&str]) -> Vec<u8> {
    let text: String = strings.iter().map(|text| format!("{text}\0")).chain(["\0".to_owned()]).collect();
    super::utf16(&text)
}

/// All values with type and data, by the `regf` crate.
#[track_caller]
pub fn by_regf(bytes: &[u8]) -> Tree<(u32, Vec<u8>)> {
    fn collect(key: &RegistryKey<'_>, path: &str, into: &mut Tree<(u32, Vec<u8>)>) {
        let mut values = BTreeMap::new();
        for value in key.values().unwrap() {
            values.insert(value.name(), (value.raw_data_type(), value.raw_data().unwrap()));
        }
        into.insert(path.to_owned(), values);
        for child in key.subkeys().unwrap() {
            let path = if path.is_empty() { child.name() } else { format!("{path}\\{}", child.name()) };
            collect(&child, &path, into);
        }
    }
    let hive = RegistryHive::from_bytes(bytes.to_vec()).expect("regf reads the hive");
    assert!(!hive.is_dirty(), "regf says that the hive is dirty");
    let mut tree = Tree::new();
    collect(&hive.root_key().unwrap(), "", &mut tree);
    tree
}

/// All values as hivexml tells them: everything but times and places.
#[track_caller]
pub fn by_hivexml(bytes: &[u8]) -> Tree<String> {
    let folder = tempfile::tempdir().unwrap();
    let hive = folder.path().join("hive");
    fs::write(&hive, bytes).unwrap();
    let text = judge(Command::new("hivexml").arg(&hive));
    let text = String::from_utf8_lossy(&text);
    let (mut tree, mut path) = (Tree::new(), Vec::<String>::new());
    let mut value: Option<(String, String)> = None;
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    for piece in text.split('<').skip(1) {
        let (tag, content) = piece.split_once('>').unwrap();
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        let (opens, closes) = (!tag.starts_with('/'), tag.starts_with('/') || tag.ends_with('/'));
        match name {
            "node" => {
                if opens {
                    path.push(attribute(tag, "name").unwrap_or_default());
                    tree.entry(path[1..].join("\\")).or_default();
                }
                if closes {
                    path.pop();
                }
            }
            "value" => {
                if opens {
                    let name = attribute(tag, "key").unwrap_or_default();
                    value = Some((name, tag.trim_end_matches('/').to_owned()));
                }
                if closes && let Some((name, told)) = value.take() {
                    tree.entry(path[1..].join("\\")).or_default().insert(name, told);
                }
            }
            "mtime" | "byte_runs" | "byte_run" => {}
            other => {
                if let Some((_, told)) = &mut value {
                    told.push_str(&format!("<{other}>{content}"));
                }
            }
        }
    }
    tree
}

/// Places that differ between two trees: `KEY [VALUE]`, or `KEY` where the key itself is new or gone.
pub fn differences<V: PartialEq + Debug>(before: &Tree<V>, after: &Tree<V>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for key in before.keys().chain(after.keys()) {
        let (Some(old), Some(new)) = (before.get(key), after.get(key)) else {
            found.insert(key.clone());
            continue;
        };
        for name in old.keys().chain(new.keys()) {
            if old.get(name) != new.get(name) {
                found.insert(format!("{key} [{name}]"));
            }
        }
    }
    found
}

/// One value by the `regf` crate.
#[track_caller]
pub fn value(bytes: &[u8], key: &str, name: &str) -> Option<(u32, Vec<u8>)> {
    let tree = by_regf(bytes);
    let values = tree.get(key).unwrap_or_else(|| panic!("no key {key}"));
    values.get(name).cloned()
}

//! Edits of each kind, for any hive.

use deblast::change::ValueData;
use deblast::hive::Hive;
use deblast::hive::edit::Edit;
use deblast::path::{RegPath, same_name};

use crate::common::{create, data, delete, set};

const NEW_KEY: &str = "Ünew key";

/// A key with two values or more, and the names of the first and the last one; names that no other value there has.
fn valued(hive: &Hive) -> Option<(RegPath, String, String)> {
    let mut pending = vec![(RegPath::default(), hive.root().unwrap())];
    while let Some((path, key)) = pending.pop() {
        let names: Vec<String> = key.values().unwrap().iter().map(|value| value.name()).collect();
        let plain = |name: &String| !name.contains(['\0', '\u{fffd}']);
        let single = |name: &String| names.iter().filter(|other| same_name(other, name)).count() == 1;
        if names.len() > 1 && names.iter().all(|name| single(name) && plain(name)) {
            return Some((path, names[0].clone(), names[names.len() - 1].clone()));
        }
        let below = key.subkeys().unwrap().into_iter().filter(|key| plain(&key.name()));
        pending.extend(below.map(|key| (path.join(&key.name()), key)));
    }
    None
}

/// Edits of each kind, with the lines that a dump in text gains and loses by each.
pub(crate) fn edits(hive: &Hive) -> Vec<(&'static str, Edit, usize, usize)> {
    let mut edits = vec![
        ("create a value", set("", "Deblast's own", ValueData::sz("a text of some length")), 1, 0),
        ("create an inline value", set("", "inline", data(4, &[1, 2, 3, 4])), 1, 0),
        ("create a large value", set("", "large", data(3, &[7; 20_000])), 1, 0),
        // A line with its path, an empty one.
        ("create a key", create(NEW_KEY), 2, 0),
    ];
    if let Some((key, first, last)) = valued(hive) {
        let key = key.as_str();
        let kind = hive.key(&RegPath::new(key)).unwrap().unwrap().value(&last).unwrap().unwrap().kind().0;
        edits.extend([
            ("delete", delete(key, &first), 0, 1),
            ("set, growing", set(key, &last, data(kind, &[b'g'; 600])), 1, 1),
            ("set, shrinking", set(key, &last, data(kind, &[b's'; 100])), 1, 1),
            ("set, inline", set(key, &last, data(kind, &[b'i', 0, 0, 0])), 1, 1),
            ("set, another type", set(key, &last, data(kind ^ 2, &[b't'; 8])), 1, 1),
            ("create a key below", create(RegPath::new(key).join("below").as_str()), 2, 0),
        ]);
    }
    edits
}

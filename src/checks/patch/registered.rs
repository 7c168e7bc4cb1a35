//! What the registry says of installed updates. Only ever beside the files' versions: an install medium that contains
//! an update leaves no key, and a key outlives the files that it tells of (MS04-012, "Verifying Update Installation").

use std::collections::BTreeSet;

use crate::change::HiveRole;
use crate::checks::{Evidence, KeyWant};
use crate::path::RegPath;

/// The updates that hold the fix: MS03-026, MS03-039, MS04-012 and what came after (MS05-012, MS05-051, MS06-018).
const UPDATES: [&str; 7] =
    ["Q823980", "KB823980", "KB824146", "KB828741", "KB873333", "KB902400", "KB913580"];
/// Where the installers write, by what the bulletins print; `Window Server 2003` stands so in MS03-026.
const LISTS: [&str; 6] = [
    "Microsoft\\Windows NT\\CurrentVersion\\HotFix",
    "Microsoft\\Updates\\Windows 2000\\SP5",
    "Microsoft\\Updates\\Windows XP\\SP1",
    "Microsoft\\Updates\\Windows XP\\SP2",
    "Microsoft\\Updates\\Windows Server 2003\\SP1",
    "Microsoft\\Updates\\Window Server 2003\\SP1",
];
/// Update Rollup 1 for Windows 2000 SP4, which contains them all (KB826955).
const ROLLUP: &str = "Update Rollup 1";

fn places() -> impl Iterator<Item = (&'static str, RegPath)> {
    let updates = LISTS
        .into_iter()
        .flat_map(|list| UPDATES.into_iter().map(move |update| (update, RegPath::new(list).join(update))));
    updates.chain([(ROLLUP, RegPath::new("Microsoft\\Updates\\Windows 2000\\SP5").join(ROLLUP))])
}

/// The keys to look for.
pub(super) fn keys() -> Vec<KeyWant> {
    places().map(|(_, key)| KeyWant::software(key.as_str())).collect()
}

/// The updates that the registry names as installed.
pub(super) fn updates(evidence: &Evidence) -> BTreeSet<&'static str> {
    let installed = |key: &RegPath| {
        evidence.key(&HiveRole::Software, key).is_some_and(|key| {
            // HotFix keys have a number that says so; one that was taken out again has 0.
            !matches!(key.value("Installed"), Some(Ok(data)) if data.dword() == Some(0))
        })
    };
    places().filter(|(_, key)| installed(key)).map(|(update, _)| update).collect()
}

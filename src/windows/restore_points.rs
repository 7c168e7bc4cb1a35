//! Where System Restore of Windows XP keeps its copies: `System Volume Information\_restore{GUID}\RPn`, in each a
//! `snapshot` of the registry. Source: forensics.wiki on System Restore points.

use crate::path::{WinPath, fold_name, same_name};

const STORE: &str = "System Volume Information";
const FOLDER: &str = "_RESTORE{";
const SNAPSHOT: &str = "snapshot";
/// How the name of a copy of a user's hive begins.
const USER: &str = "_REGISTRY_USER_";

/// A hive in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotHive {
    /// Of SOFTWARE.
    Software,
    /// Of a user.
    User,
}

/// Whether a file of this base name may be a copy of a hive.
pub fn hive_by_name(name: &str) -> Option<SnapshotHive> {
    // Asked of every name on a volume: most are told apart without a copy.
    let name = Some(name).filter(|name| name.starts_with('_')).map(fold_name)?;
    if name == "_REGISTRY_MACHINE_SOFTWARE" {
        Some(SnapshotHive::Software)
    } else {
        // of the other kind of a user's hives, UsrClass.dat, nothing is started
        (name.starts_with(USER) && !name.contains("USRCLASS")).then_some(SnapshotHive::User)
    }
}

/// The restore point that a path is in: `RP1`.
pub fn point(path: &WinPath) -> Option<&str> {
    let mut parts = path.parts();
    let in_store = parts.next().is_some_and(|part| same_name(part, STORE))
        && parts.next().is_some_and(|part| fold_name(part).starts_with(FOLDER));
    let point = parts.next().filter(|_| in_store)?;
    let number = point.get(2..)?;
    let is_point = fold_name(point).starts_with("RP") && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_point && !number.is_empty() && parts.next().is_some()).then_some(point)
}

/// Whether a file with these paths is in a restore point and nowhere else.
pub fn hold(paths: &[WinPath]) -> bool {
    !paths.is_empty() && paths.iter().all(|path| point(path).is_some())
}

/// The hive that a path is a snapshot of.
pub fn snapshot(path: &WinPath) -> Option<SnapshotHive> {
    point(path)?;
    let folder = path.parent()?;
    same_name(folder.file_name(), SNAPSHOT).then(|| hive_by_name(path.file_name())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_inside_a_point_is_told() {
        let store = r"System Volume Information\_restore{3F1A7C52-9E0B-4D6A-8C11-5B2E7D904A63}";
        let told = |below: &str| point(&WinPath::new(&format!("{store}\\{below}"))).map(ToOwned::to_owned);
        assert_eq!(told(r"RP1\A0000001.exe").as_deref(), Some("RP1"));
        assert_eq!(told(r"rp12\snapshot\_REGISTRY_MACHINE_SYSTEM").as_deref(), Some("rp12"));
        for below in ["RP1", r"RP\A0000001.exe", r"RPx\A0000001.exe", "drivetable.txt", r"Öl\a"] {
            assert_eq!(told(below), None, "{below}");
        }
        assert_eq!(point(&WinPath::new(r"Other\_restore{1}\RP1\A0000001.exe")), None);
        let copy = WinPath::new(&format!("{store}\\RP1\\A0000001.exe"));
        assert!(hold(std::slice::from_ref(&copy)) && !hold(&[]));
        assert!(!hold(&[copy, WinPath::new(r"WINDOWS\system32\msblast.exe")]), "linked into system32 too");
        let hive = |below: &str| snapshot(&WinPath::new(&format!("{store}\\{below}")));
        assert_eq!(hive(r"RP1\snapshot\_registry_machine_software"), Some(SnapshotHive::Software));
        assert_eq!(hive(r"RP1\snapshot\_REGISTRY_USER_NTUSER_S-1-5-21-1"), Some(SnapshotHive::User));
        for below in [
            r"RP1\_REGISTRY_MACHINE_SOFTWARE",
            r"RP1\snapshot\_REGISTRY_MACHINE_SAM",
            r"RP1\snapshot\_REGISTRY_USER_USRCLASS_S-1-5-21-1",
        ] {
            assert_eq!(hive(below), None, "{below}");
        }
    }
}

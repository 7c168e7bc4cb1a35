//! A security descriptor that keeps a file of ours from everybody but SYSTEM and the Administrators.

/// Self-relative, revision 1, with a protected DACL: inherited entries do not reach it.
const CONTROL: u16 = 0x8000 | 0x1000 | 0x0004;
/// Full control of a file or folder.
const ALL_ACCESS: u32 = 0x001f_01ff;
/// Entries of a folder are inherited by files and folders in it.
const INHERIT: u8 = 0x01 | 0x02;
/// S-1-5-18.
const SYSTEM: &[u32] = &[18];
/// S-1-5-32-544.
const ADMINISTRATORS: &[u32] = &[32, 544];

fn sid(parts: &[u32]) -> Vec<u8> {
    let count = u8::try_from(parts.len()).unwrap_or(0);
    let mut bytes = vec![1, count, 0, 0, 0, 0, 0, 5];
    parts.iter().for_each(|part| bytes.extend(part.to_le_bytes()));
    bytes
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The descriptor, as NTFS keeps it.
pub(super) fn descriptor(is_folder: bool) -> Vec<u8> {
    let mut entries = Vec::new();
    for who in [SYSTEM, ADMINISTRATORS] {
        let sid = sid(who);
        let length = u16::try_from(8 + sid.len()).unwrap_or(0);
        entries.extend([0, if is_folder { INHERIT } else { 0 }]);
        entries.extend(length.to_le_bytes());
        entries.extend(ALL_ACCESS.to_le_bytes());
        entries.extend(sid);
    }
    let mut acl = vec![2, 0];
    acl.extend(u16::try_from(8 + entries.len()).unwrap_or(0).to_le_bytes());
    acl.extend([2, 0, 0, 0]);
    acl.extend(entries);
    let (owner, group) = (sid(ADMINISTRATORS), sid(SYSTEM));
    let mut bytes = vec![1, 0];
    bytes.extend(CONTROL.to_le_bytes());
    let acl_at = 20;
    let owner_at = acl_at + acl.len();
    let group_at = owner_at + owner.len();
    for at in [owner_at, group_at, 0, acl_at] {
        bytes.extend(number(at).to_le_bytes());
    }
    bytes.extend(acl);
    bytes.extend(owner);
    bytes.extend(group);
    bytes
}

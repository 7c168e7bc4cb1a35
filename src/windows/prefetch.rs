//! Names of the prefetch files of Windows XP and Server 2003: `NAME.EXE-HASH.pf`, where the hash is that of the program's
//! path on its device. Source: libyal's documentation of the prefetch file format, "XP hash"; it gives the well-known
//! CMD.EXE-087B4001.pf for `\DEVICE\HARDDISKVOLUME1\WINDOWS\SYSTEM32\CMD.EXE`.

use crate::path::fold_name;

/// How many volumes a path is tried on.
const VOLUMES: u32 = 16;

/// The program and the hash that a prefetch file's name tells.
pub fn parse_name(name: &str) -> Option<(&str, u32)> {
    let stem = name.len().checked_sub(3).and_then(|at| name.split_at_checked(at));
    let (stem, _) = stem.filter(|(_, ending)| ending.eq_ignore_ascii_case(".pf"))?;
    let (program, hash) = stem.rsplit_once('-')?;
    let is_hex = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(hash, 16).ok().filter(|_| is_hex && !program.is_empty()).map(|hash| (program, hash))
}

/// The path on its device that a hash stands for, where the program lies in `folder` (`WINDOWS\system32`) of one of the
/// first volumes; none where it lies elsewhere.
pub fn path_of(folder: &str, program: &str, hash: u32) -> Option<String> {
    (1..=VOLUMES)
        .map(|volume| fold_name(&format!("\\DEVICE\\HARDDISKVOLUME{volume}\\{folder}\\{program}")))
        .find(|path| hash_of(path) == hash)
}

fn hash_of(path: &str) -> u32 {
    let bytes = path.encode_utf16().flat_map(u16::to_le_bytes);
    let sum = bytes.fold(0_u32, |sum, byte| sum.wrapping_mul(37).wrapping_add(u32::from(byte)));
    let product = sum.wrapping_mul(314_159_269);
    let distance = if product > 0x8000_0000 { product.wrapping_neg() } else { product };
    distance % 1_000_000_007
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_windows() {
        let system = "WINDOWS\\system32";
        for (program, hash, volume) in
            [("cmd.exe", 0x087B_4001, 1), ("msblast.exe", 0x1C3A_3376, 2), ("msblast.exe", 0x09FF_84F2, 1)]
        {
            let path = path_of(system, program, hash).unwrap();
            assert!(path.starts_with(&format!("\\DEVICE\\HARDDISKVOLUME{volume}\\")), "{path}");
        }
        assert!(path_of(system, "notepad.exe", 0x3363_51A9).is_some());
        assert_eq!(path_of(system, "cmd.exe", 0x087B_4002), None);
    }

    #[test]
    fn a_name_is_taken_apart() {
        assert_eq!(parse_name("MSBLAST.EXE-09FF84F2.pf"), Some(("MSBLAST.EXE", 0x09FF_84F2)));
        assert_eq!(parse_name("a-b.exe-00000001.PF"), Some(("a-b.exe", 1)));
        for name in
            ["MSBLAST.EXE.pf", "-09FF84F2.pf", "x-09FF84F.pf", "x-+9FF84F2.pf", "ä", "NTOSBOOT-B00DFAAD.pg"]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}

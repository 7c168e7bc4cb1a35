//! Programs that every one of these Windows has, at the places where it has them. What lies there under such a name is
//! taken for Windows' own until a digest says otherwise: worms borrow these names, and a Windows that loses the real
//! file does not start.

use crate::path::{WinPath, same_name};

/// Below the system root: in `system32`, and as spare copies in `system32\dllcache`.
const IN_SYSTEM_FOLDER: [&str; 24] = [
    "cmd.exe",
    "csrss.exe",
    "ctfmon.exe",
    "dllhost.exe",
    "lsass.exe",
    "mspatcha.dll",
    "net.exe",
    "ntoskrnl.exe",
    "regsvr32.exe",
    "rpcss.exe",
    "rundll32.exe",
    "scrnsave.scr",
    "services.exe",
    "smss.exe",
    "spoolsv.exe",
    "spoolss.exe",
    "svchost.exe",
    "taskmgr.exe",
    "tftp.exe",
    "tftpd.exe",
    "userinit.exe",
    "winlogon.exe",
    "wuauclt.exe",
    "wscntfy.exe",
];

/// In the system root itself.
const IN_ROOT: [&str; 4] = ["explorer.exe", "notepad.exe", "regedit.exe", "taskman.exe"];

/// Whether Windows, with this system root, has a program of its own at this path.
pub fn is_windows_own(path: &WinPath, root: &WinPath) -> bool {
    let system = root.join("system32");
    let known = |names: &[&str]| names.iter().any(|name| same_name(name, path.file_name()));
    let Some(folder) = path.parent() else { return false };
    if folder == *root {
        known(&IN_ROOT)
    } else if folder == system || folder == system.join("dllcache") {
        known(&IN_SYSTEM_FOLDER) || known(&IN_ROOT)
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_windows_own_counts_at_its_place_only() {
        let own = |path: &str| is_windows_own(&WinPath::new(path), &WinPath::new("WINNT"));
        for path in
            [r"WINNT\system32\svchost.exe", r"winnt\SYSTEM32\DllCache\tftpd.EXE", r"WINNT\explorer.exe"]
        {
            assert!(own(path), "{path}");
        }
        let elsewhere = [
            r"WINNT\system32\wins\svchost.exe",
            r"WINNT\svchost.exe",
            r"WINDOWS\system32\svchost.exe",
            r"WINNT\system32\msblast.exe",
            r"svchost.exe",
        ];
        for path in elsewhere {
            assert!(!own(path), "{path}");
        }
    }
}

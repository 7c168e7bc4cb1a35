//! A keyboard map, a network: only where they are asked for.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use super::program::applet;
use crate::error::{Context as _, Error, Result};
use crate::volume::names_in;

/// Where the image keeps keyboard maps, in the form of busybox' loadkmap.
const KEYMAPS: &str = "/usr/share/keymaps";
/// What udhcpc has done when an address is given or taken away.
const LEASE: &str = "#!/bin/sh
case $1 in
bound | renew)
    busybox ip address flush dev \"$interface\"
    busybox ip address add \"$ip/${mask:-24}\" dev \"$interface\"
    for gateway in $router; do busybox ip route replace default via \"$gateway\" dev \"$interface\"; done
    : >/etc/resolv.conf
    for server in $dns; do echo \"nameserver $server\" >>/etc/resolv.conf; done ;;
deconfig) busybox ip link set dev \"$interface\" up ;;
esac
";

/// Loads a keyboard map by its name.
///
/// # Errors
/// There is none of that name, or the kernel refuses it.
pub(super) fn load_keymap(name: &str) -> Result<()> {
    const DOING: &str = "set the keyboard map";
    let file = Path::new(KEYMAPS).join(format!("{name}.bmap"));
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !is_name || !file.is_file() {
        let known: Vec<String> = names_in(Path::new(KEYMAPS))
            .iter()
            .filter_map(|name| name.strip_suffix(".bmap").map(str::to_owned))
            .collect();
        let why = format!("there is none named {name:?} here; there are: {}", known.join(" "));
        return Err(Error::refused(DOING, why).hint("the American one stays"));
    }
    let map = File::open(&file).doing(DOING)?;
    let status =
        applet("loadkmap").stdin(map).stdout(Stdio::null()).stderr(Stdio::null()).status().doing(DOING)?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::refused(DOING, format!("loadkmap ended with {status}")).device(file))
    }
}

/// Brings up the first wired interface by DHCP, and says what came of it.
///
/// # Errors
/// There is no interface, or nobody gave an address.
pub(super) fn start_network(state: &Path) -> Result<String> {
    const DOING: &str = "start the network";
    let folder = Path::new("/sys/class/net");
    let read =
        |name: &str, file: &str| std::fs::read_to_string(folder.join(name).join(file)).unwrap_or_default();
    // Ethernet with a device behind it, and no radio.
    let is_wired = |name: &String| {
        read(name, "type").trim() == "1"
            && folder.join(name).join("device").exists()
            && !folder.join(name).join("wireless").exists()
    };
    let Some(name) = names_in(folder).into_iter().find(is_wired) else {
        let why =
            "this image has found no wired interface; drivers for them are in the network's initramfs alone";
        return Err(Error::refused(DOING, why).hint("start over PXE, or go on without a network"));
    };
    let script = state.join("lease");
    std::fs::write(&script, LEASE).doing(DOING)?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).doing(DOING)?;
    let mut command = applet("udhcpc");
    // It stays in the background to renew the lease; without an answer it ends.
    command.args(["-n", "-t", "5", "-T", "3", "-i", &name, "-s"]).arg(&script);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().doing(DOING)?;
    if !status.success() {
        return Err(
            Error::refused(DOING, format!("nobody answered DHCP on {name}")).hint("look at the cable")
        );
    }
    Ok(format!("network: {name} has an address by DHCP"))
}

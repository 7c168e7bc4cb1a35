//! What the booted image has open to others: nothing, whether it has a network card or not. What it says of itself in its shell
//! is judged, its sockets by the tables of the kernel and its processes by their names.

use std::path::Path;

use super::machine::{Guest, Machine};
use super::stick::Stick;

/// Kinds of sockets that somebody on the network can reach, or that listen to all that is on it.
const TABLES: [&str; 8] = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "unix"];
/// What may run beside the kernel's own threads, by how its command line begins: init, the program, the shells of the consoles,
/// and whoever reads the list.
const MAY_RUN: [&str; 5] = ["/bin/busybox sh /init", "/bin/deblast live", "sh -i", "cat /proc/", "tr "];

/// A machine with a network card, in the shell: its tables, and the name of each process.
#[track_caller]
pub(crate) fn asked(machine: Machine) -> Guest {
    let stick = Stick::new(&machine.folder.path().join("stick.img"), "DEBLAST");
    stick.configure("mode = \"shell\"\n");
    let machine = machine.with("--stick", &stick.path);
    machine.runs(
        "expect DEBLAST READY\n\
         sleep 3\n\
         send for t in tcp tcp6 udp udp6 raw raw6 packet unix; do echo; echo tab'le' $t; cat /proc/net/$t 2>/dev/null; done; echo tab'le' none\n\
         expect table none\n\
         send echo cards $(ls /sys/class/net) and $(grep -l 0x020000 /sys/bus/pci/devices/*/class | wc -l) on the bus\n\
         expect on the bus\n\
         send for p in /proc/[0-9]*; do echo pro'cess' ${p#/proc/} $(cat $p/comm) : $(tr '\\0' ' ' < $p/cmdline); done; echo as'ked'\n\
         expect asked\n\
         quit\n",
    )
}

/// What is in the tables, a line each: the table, then what the kernel tells.
fn sockets(guest: &Guest) -> Vec<String> {
    let (mut table, mut found, mut seen) = ("none", Vec::new(), Vec::new());
    for line in guest.serial.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = TABLES.into_iter().find(|known| *known == name).unwrap_or("none");
            seen.push(table);
        } else if table != "none" && !line.is_empty() && !is_heading(line) {
            found.push(format!("{table}: {line}"));
        }
    }
    guest.require(seen.len() == TABLES.len() + 1, &format!("all tables, found {seen:?}"));
    found
}

fn is_heading(line: &str) -> bool {
    ["sl ", "sk ", "Num "].iter().any(|word| line.starts_with(word))
}

/// A socket that has neither a name nor anybody who waits: one end of a pair, a line to somebody, nothing to come in by.
fn is_a_pair(line: &str) -> bool {
    // Num RefCount Protocol Flags Type St Inode Path: the flag 0x10000 is a socket that listens.
    let fields: Vec<&str> = line.split_whitespace().collect();
    line.starts_with("unix: ") && fields.len() == 8 && fields[4] == "00000000"
}

/// Nothing of the tables can be reached, and nobody runs who is not known.
#[track_caller]
pub(crate) fn nothing_listens(guest: &Guest, also: &[&str]) {
    let open: Vec<String> = sockets(guest).into_iter().filter(|line| !is_a_pair(line)).collect();
    guest.require(open.is_empty(), &format!("no socket, found {open:?}"));
    let mut processes = 0;
    for line in guest.serial.lines().filter_map(|line| line.trim().strip_prefix("process ")) {
        let Some((_, words)) = line.split_once(" :") else { continue };
        processes += 1;
        let words = words.trim();
        // A thread of the kernel has no command line.
        let may = words.is_empty() || MAY_RUN.iter().chain(also).any(|known| words.starts_with(known));
        guest.require(may, &format!("no process but {MAY_RUN:?} and {also:?}, found {line}"));
    }
    guest.require(processes > 10, "the processes");
    guest.require(guest.serial.contains(": sh -i"), "the shell that was asked among them");
}

/// The image as it comes, on a machine with a network card.
#[track_caller]
pub(crate) fn with_a_card(image: &Path) {
    let guest = asked(Machine::new(image, &["--cpu", "pentium3", "--nic", "rtl8139"]));
    guest.says("and 1 on the bus");
    nothing_listens(&guest, &[]);
}

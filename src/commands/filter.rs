//! `deblast filter`: the ports that CERT Advisory CA-2003-20 asks to block at network borders, as rules for a packet
//! filter. Prints text and touches nothing.

use std::fmt::Write as _;

use crate::cli::{Direction, FilterTask, Format};
use crate::error::{Error, Result};

mod dialects;

/// The advisory, as rules name it.
const ADVISORY: &str = "CA-2003-20";

/// Prints the rules. Always 0.
///
/// # Errors
/// An interface for a dialect that filters its own host only, or one that no dialect could spell; standard output
/// cannot be written.
pub fn execute(task: &FilterTask) -> Result<u8> {
    super::print(&render(task)?)?;
    Ok(0)
}

/// The rules as text, complete as they stand.
///
/// # Errors
/// As [`execute`], but for the output.
pub fn render(task: &FilterTask) -> Result<String> {
    let interface = task.interface.as_deref();
    if let Some(name) = interface {
        const DOING: &str = "write rules for that interface";
        if matches!(task.format, Format::Netsh | Format::Ipsecpol) {
            let why = "IPsec policies filter what reaches or leaves their own host, on every interface";
            return Err(Error::refused(DOING, why).hint("leave --interface out"));
        }
        let spelt = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
        // What it is quoted into is read by a firewall, with root's rights.
        if name.is_empty() || !name.chars().all(spelt) || name.starts_with('-') {
            let why = format!("{name:?} is no name of an interface");
            return Err(Error::refused(DOING, why)
                .hint("letters, digits and - _ . / : @, as in eth0 or GigabitEthernet0/1"));
        }
    }
    let mut text = String::new();
    let written = match task.format {
        Format::Nftables => dialects::nftables(&mut text, task.direction, interface),
        Format::Iptables => dialects::iptables(&mut text, task.direction, interface),
        Format::CiscoIos => dialects::cisco_ios(&mut text, task.direction, interface),
        Format::Pf => dialects::pf(&mut text, task.direction, interface),
        Format::Netsh => dialects::netsh(&mut text, task.direction),
        Format::Ipsecpol => dialects::ipsecpol(&mut text, task.direction),
    };
    written.map_err(|e| Error::library("write the rules", e))?;
    Ok(match task.format {
        // The command interpreter of these Windows wants its own line ends: a label or rem may be misread without.
        Format::Netsh | Format::Ipsecpol => text.replace('\n', "\r\n"),
        _ => text,
    })
}

#[derive(Clone, Copy)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// "The specific services that should be blocked include", in the advisory's order.
const SERVICES: [(u16, Protocol); 8] = [
    (69, Protocol::Udp),
    (135, Protocol::Tcp),
    (135, Protocol::Udp),
    (139, Protocol::Tcp),
    (139, Protocol::Udp),
    (445, Protocol::Tcp),
    (445, Protocol::Udp),
    (4444, Protocol::Tcp),
];

/// What uses the port, for comments.
fn user(port: u16) -> &'static str {
    match port {
        69 => "the worm is fetched by TFTP",
        135 => "the hole in RPC DCOM",
        139 => "NetBIOS session, another way to it",
        445 => "SMB, another way to it",
        _ => "the worm's shell",
    }
}

/// One way of the traffic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

fn ways(direction: Direction) -> &'static [Way] {
    match direction {
        Direction::Both => &[Way::In, Way::Out],
        Direction::In => &[Way::In],
        Direction::Out => &[Way::Out],
    }
}

/// `CA-2003-20: 135/tcp in, the hole in RPC DCOM`.
fn comment(way: Way, port: u16, protocol: Protocol) -> String {
    format!("{ADVISORY}: {port}/{} {}, {}", protocol.name(), way.name(), user(port))
}

/// Opening lines, each behind the dialect's mark of a comment.
fn header(out: &mut String, mark: &str, direction: Direction, lines: &[&str]) -> std::fmt::Result {
    let what = match direction {
        Direction::Both => "inbound and outbound",
        Direction::In => "inbound",
        Direction::Out => "outbound",
    };
    writeln!(out, "{mark} Ports of CERT Advisory {ADVISORY} (W32/Blaster), {what}; by deblast filter.")?;
    writeln!(
        out,
        "{mark} They carry file sharing, RPC and TFTP too: block them where these are not needed."
    )?;
    lines.iter().try_for_each(|line| writeln!(out, "{mark} {line}"))
}

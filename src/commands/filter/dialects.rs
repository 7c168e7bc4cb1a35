//! The dialects, one function each.

use std::fmt::{Result, Write as _};

use super::{ADVISORY, Direction, SERVICES, Way, comment, header, ways};

/// A file for `nft -f`. The table is made, dropped and made anew in one transaction, so that loading it twice leaves
/// one copy. Source: nft(8) of Debian 12, which also checks it (`nft -c -f`).
pub(super) fn nftables(out: &mut String, direction: Direction, interface: Option<&str>) -> Result {
    let load = "Check: nft -c -f FILE.  Load: nft -f FILE.  Remove: nft delete table inet ca_2003_20.";
    header(out, "#", direction, &[load, scope(interface)])?;
    writeln!(out, "table inet ca_2003_20\ndelete table inet ca_2003_20\ntable inet ca_2003_20 {{")?;
    for &way in ways(direction) {
        writeln!(out, "\tchain services_{} {{", way.name())?;
        for (port, protocol) in SERVICES {
            let (proto, words) = (protocol.name(), comment(way, port, protocol));
            writeln!(out, "\t\t{proto} dport {port} counter drop comment \"{words}\"")?;
        }
        writeln!(out, "\t}}")?;
    }
    let jump = |out: &mut String, way: Way| {
        let side = if way == Way::In { "iifname" } else { "oifname" };
        let on = interface.map(|name| format!("{side} \"{name}\" ")).unwrap_or_default();
        writeln!(out, "\t\t{on}jump services_{}", way.name())
    };
    for (hook, through) in
        [("input", &[Way::In][..]), ("forward", &[Way::In, Way::Out]), ("output", &[Way::Out])]
    {
        let through = through.iter().filter(|way| ways(direction).contains(way));
        let through: Vec<Way> = through.copied().collect();
        if !through.is_empty() {
            writeln!(out, "\tchain {hook} {{\n\t\ttype filter hook {hook} priority filter; policy accept;")?;
            through.iter().try_for_each(|&way| jump(out, way))?;
            writeln!(out, "\t}}")?;
        }
    }
    writeln!(out, "}}")
}

/// The format of iptables-restore; the same file serves ip6tables-restore. Source: iptables-restore(8),
/// iptables-extensions(8) (comment) of Debian 12, which also checks it (`--test`).
pub(super) fn iptables(out: &mut String, direction: Direction, interface: Option<&str>) -> Result {
    let load = "Check: iptables-restore --test FILE.  Load: iptables-restore --noflush FILE, and ip6tables-restore so too.";
    let once = "Without --noflush all other rules are dropped. Loading it again adds its jumps again.";
    header(out, "#", direction, &[load, once, scope(interface)])?;
    writeln!(out, "*filter")?;
    let chain = |way: Way| format!("{ADVISORY}-{}", way.name());
    for &way in ways(direction) {
        writeln!(out, ":{} - [0:0]", chain(way))?;
    }
    for &way in ways(direction) {
        let (own, side) = if way == Way::In { ("INPUT", "-i") } else { ("OUTPUT", "-o") };
        let on = interface.map(|name| format!("{side} {name} ")).unwrap_or_default();
        for built_in in [own, "FORWARD"] {
            writeln!(out, "-I {built_in} {on}-j {}", chain(way))?;
        }
    }
    for &way in ways(direction) {
        for (port, protocol) in SERVICES {
            let (proto, words) = (protocol.name(), comment(way, port, protocol));
            let chain = chain(way);
            writeln!(out, "-A {chain} -p {proto} --dport {port} -m comment --comment \"{words}\" -j DROP")?;
        }
    }
    writeln!(out, "COMMIT")
}

/// Extended named access lists, a remark before each entry (at most 100 characters). An access list ends with an
/// implied deny of everything, hence the last entry. Source: Cisco IOS IP Services command reference, `ip access-list`,
/// `remark`, `deny (IP)`; a port may be given as a number wherever it has a name.
pub(super) fn cisco_ios(out: &mut String, direction: Direction, interface: Option<&str>) -> Result {
    let load =
        "Paste at the prompt of configure terminal. A list of that name that is there already is added to.";
    let apply = match interface {
        Some(_) => {
            "The last lines apply the lists to the interface, in the place of those that are applied there."
        }
        None => {
            "The lists do nothing until they are applied to an interface: ip access-group NAME in (or out)."
        }
    };
    header(out, "!", direction, &[load, apply])?;
    let list = |way: Way| format!("{ADVISORY}-{}", way.name().to_uppercase());
    for &way in ways(direction) {
        writeln!(out, "ip access-list extended {}", list(way))?;
        for (port, protocol) in SERVICES {
            writeln!(out, " remark {}", comment(way, port, protocol))?;
            writeln!(out, " deny {} any any eq {port}", protocol.name())?;
        }
        writeln!(out, " remark {ADVISORY}: all else passes\n permit ip any any\n!")?;
    }
    if let Some(name) = interface {
        writeln!(out, "interface {name}")?;
        for &way in ways(direction) {
            writeln!(out, " ip access-group {} {}", list(way), way.name())?;
        }
        writeln!(out, "!")?;
    }
    Ok(())
}

/// Rules for pf, each with a label (at most 63 characters). Source: pf.conf(5) of OpenBSD, section GRAMMAR; FreeBSD and
/// macOS read the same words. Debian has no pfctl, so no test of ours loads it.
pub(super) fn pf(out: &mut String, direction: Direction, interface: Option<&str>) -> Result {
    let check =
        "Check: pfctl -n -f FILE.  pfctl -f FILE alone would drop the rules that are loaded; use an anchor:";
    let load = "put   anchor \"ca-2003-20\"   into pf.conf, before rules with quick; then   pfctl -a ca-2003-20 -f FILE.";
    header(out, "#", direction, &[check, load, scope(interface)])?;
    let on = interface.map(|name| format!("on {name} ")).unwrap_or_default();
    for &way in ways(direction) {
        for (port, protocol) in SERVICES {
            let (way_name, proto, words) = (way.name(), protocol.name(), comment(way, port, protocol));
            let to = format!("proto {proto} from any to any port {port}");
            writeln!(out, "block drop {way_name} quick {on}{to} label \"{words}\"")?;
        }
    }
    Ok(())
}

/// A batch file of `netsh ipsec static`, which Windows Server 2003 has and Windows XP x64. Not `netsh firewall`: the
/// firewall of XP SP2 and 2003 SP1 opens ports and never closes single ones, nor anything outbound; and those systems
/// have the patch. Source: Windows Server 2003 command-line reference, Netsh commands for IPsec (add policy, add
/// filteraction, add filterlist, add filter, add rule, set policy).
pub(super) fn netsh(out: &mut String, direction: Direction) -> Result {
    let load = "For Windows Server 2003: save as a .cmd file, run as an administrator. Persists; needs the IPSEC Services.";
    let other = "A policy that is assigned is unassigned by it; one of the domain goes before it.";
    let remove = "Remove: netsh ipsec static delete policy name=\"CA-2003-20\"";
    writeln!(out, "@echo off")?;
    header(out, "rem", direction, &[load, other, remove])?;
    let netsh = "netsh ipsec static";
    let about = "ports of CERT Advisory CA-2003-20, W32/Blaster";
    writeln!(
        out,
        "{netsh} add policy name=\"{ADVISORY}\" description=\"{about}\" activatedefaultrule=no assign=no"
    )?;
    writeln!(out, "{netsh} add filteraction name=\"{ADVISORY} block\" action=block")?;
    writeln!(out, "{netsh} add filterlist name=\"{ADVISORY} ports\"")?;
    for &way in ways(direction) {
        let (from, to) = if way == Way::In { ("any", "me") } else { ("me", "any") };
        for (port, protocol) in SERVICES {
            let (proto, words) = (protocol.name().to_uppercase(), comment(way, port, protocol));
            writeln!(
                out,
                "{netsh} add filter filterlist=\"{ADVISORY} ports\" srcaddr={from} dstaddr={to} protocol={proto} \
                 srcport=0 dstport={port} mirrored=no description=\"{words}\""
            )?;
        }
    }
    writeln!(
        out,
        "{netsh} add rule name=\"{ADVISORY}\" policy=\"{ADVISORY}\" filterlist=\"{ADVISORY} ports\" \
         filteraction=\"{ADVISORY} block\""
    )?;
    writeln!(out, "{netsh} set policy name=\"{ADVISORY}\" assign=yes")
}

/// A batch file of ipsecpol, the tool of the Windows 2000 Resource Kit: a rule for each port in one static policy,
/// assigned (-x) with the last rule, so that it works whole or not at all. Source: Microsoft KB813878, "Create a static
/// policy to block traffic on Windows 2000-based computers"; it gives the same arguments for ipseccmd on Windows XP.
pub(super) fn ipsecpol(out: &mut String, direction: Direction) -> Result {
    let load =
        "For Windows 2000: save as a .cmd file beside ipsecpol.exe (Resource Kit), run as an administrator.";
    let xp = "For Windows XP: the same with ipseccmd.exe (Support Tools) in the place of ipsecpol.";
    let other =
        "Persists; needs the IPSEC Policy Agent. A policy that is assigned is unassigned by it (KB813878).";
    let remove = "Out of force: ipsecpol -w REG -p \"CA-2003-20\" -y";
    writeln!(out, "@echo off")?;
    header(out, "rem", direction, &[load, xp, other, remove])?;
    let rules: Vec<_> = ways(direction)
        .iter()
        .flat_map(|&way| SERVICES.map(|(port, protocol)| (way, port, protocol)))
        .collect();
    for (index, (way, port, protocol)) in rules.iter().enumerate() {
        let (proto, last) = (protocol.name().to_uppercase(), index + 1 == rules.len());
        let (bound, filter) = match way {
            Way::In => ("Inbound", "*=0"),
            Way::Out => ("Outbound", "0=*"),
        };
        let assign = if last { " -x" } else { "" };
        writeln!(
            out,
            "ipsecpol -w REG -p \"{ADVISORY}\" -r \"{ADVISORY} Block {bound} {proto} {port} Rule\" -f \
             {filter}:{port}:{proto} -n BLOCK{assign}"
        )?;
    }
    Ok(())
}

/// What a filter of a whole machine drops, in a comment.
fn scope(interface: Option<&str>) -> &'static str {
    match interface {
        Some(_) => {
            "Only what passes the named interface is dropped; in and out are as that interface sees them."
        }
        None => {
            "No interface is named: what is forwarded is dropped whichever way it goes. --interface names the border."
        }
    }
}

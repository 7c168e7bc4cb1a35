//! Whether TCP/IP filtering keeps the worm's ports shut: the way to close the hole where EnableDCOM is not honoured
//! (KB826955; "Windows 2000 TCP/IP Implementation Details"). Windows Firewall is told where it exists: what has it
//! has the patch too.
//!
//! Filtering is a list of what may come in, for each interface: `0` or no list lets all in, numbers let only those in. An
//! empty list is read in two ways by what documents it, so none is written and none is believed.

use super::{Check, Evidence, KeyEvidence, KeyWant, Mirror, Wants};
use crate::change::{Change, HiveRole, Purpose, ValueChange, ValueData, ValueEdit, ValueType, utf16_bytes};
use crate::finding::{Bearing, CheckName, Facts, FilterState, Finding, Grade, Outcome, Subject};
use crate::path::{RegPath, same_name};
use crate::policy::{self, Policy};
use crate::windows::install::ProductType;

const PARAMETERS: &str = "Services\\Tcpip\\Parameters";
const INTERFACES: &str = "Services\\Tcpip\\Parameters\\Interfaces";
/// Where NT 4.0 keeps the parameters of one adapter (KB120642), as far as a key's path goes.
const ADAPTER: &str = "Services\\*\\Parameters\\Tcpip";
const FIREWALL: &str = "Services\\SharedAccess\\Parameters\\FirewallPolicy";
const PROFILES: [&str; 2] = ["StandardProfile", "DomainProfile"];
const SWITCH: &str = "EnableSecurityFilters";
const TCP: &str = "TCPAllowedPorts";
/// The lists that stay open: shutting UDP would shut out the answers of name servers too.
const OPEN: [&str; 2] = ["UDPAllowedPorts", "RawIPAllowedProtocols"];
/// The TCP ports that lead to RPC (MS03-026, MS03-039), and the one that the worm's shell listens on (CA-2003-20).
const SHUT: [u16; 5] = [135, 139, 445, 593, 4444];
/// A port that nothing listens on, so that the list is not empty.
const HARMLESS: u16 = 65535;

pub(super) struct PacketFilter;

/// What one list of an interface lets in.
#[derive(Debug, PartialEq, Eq)]
enum Allowed {
    /// Everything: `0`, or there is no list.
    All,
    /// Only these.
    Only(Vec<u16>),
    /// It cannot be told.
    Unclear(String),
}

fn allowed(key: &KeyEvidence, name: &str) -> Allowed {
    let data = match key.value(name) {
        None => return Allowed::All,
        Some(Err(why)) => return Allowed::Unclear(why.clone()),
        Some(Ok(data)) => data,
    };
    let Some(strings) = strings(data) else { return Allowed::Unclear(format!("{name} is {data}")) };
    let numbers: Vec<u16> = strings.iter().filter_map(|text| text.trim().parse().ok()).collect();
    match numbers.as_slice() {
        _ if strings.is_empty() => Allowed::Unclear(format!("{name} is empty, which may mean all or none")),
        [0] if strings.len() == 1 => Allowed::All,
        _ if numbers.len() != strings.len() || numbers.contains(&0) => {
            Allowed::Unclear(format!("{name} holds {}, which is no list of ports", strings.join(" ")))
        }
        _ => Allowed::Only(numbers),
    }
}

/// The strings of a REG_MULTI_SZ; none for another type.
fn strings(data: &ValueData) -> Option<Vec<String>> {
    if data.kind != ValueType::MULTI_SZ {
        return None;
    }
    let units: Vec<u16> = crate::change::utf16_units(&data.data).collect();
    let parts = units.split(|&unit| unit == 0).filter(|part| !part.is_empty());
    Some(parts.map(String::from_utf16_lossy).collect())
}

fn list(numbers: &[u16]) -> ValueData {
    let units = numbers.iter().flat_map(|n| n.to_string().encode_utf16().chain([0]).collect::<Vec<_>>());
    ValueData { kind: ValueType::MULTI_SZ, data: utf16_bytes(units.chain([0])) }
}

/// One control set as found.
struct Set<'a> {
    parameters: (RegPath, &'a KeyEvidence),
    interfaces: Vec<(&'a RegPath, &'a KeyEvidence)>,
    is_on: bool,
}

impl<'a> Set<'a> {
    /// None where the set has no TCP/IP.
    fn of(evidence: &'a Evidence, set: &RegPath, by_adapter: bool) -> Option<Self> {
        let at = set.join(PARAMETERS);
        let parameters = evidence.key(&HiveRole::System, &at)?;
        let is_interface = |path: &RegPath| match by_adapter {
            true => is_adapter(path, set),
            false => path.parent() == Some(set.join(INTERFACES)),
        };
        let interfaces = evidence.keys_of(&HiveRole::System).filter(|(path, _)| is_interface(path)).collect();
        let on = parameters.value(SWITCH).and_then(|data| data.as_ref().ok()?.dword());
        Some(Self { parameters: (at, parameters), interfaces, is_on: on == Some(1) })
    }

    /// Why it does not keep the ports shut; none where it does.
    fn gap(&self) -> Option<String> {
        if !self.is_on {
            return Some(format!("{SWITCH} is not 1 in {}", self.parameters.0));
        }
        if self.interfaces.is_empty() {
            return Some(format!("no interface is set up below {}", self.parameters.0));
        }
        self.interfaces.iter().find_map(|(path, key)| match allowed(key, TCP) {
            Allowed::All => Some(format!("{path} lets every TCP port in")),
            Allowed::Unclear(why) => Some(format!("{path}: {why}")),
            Allowed::Only(ports) => ports
                .iter()
                .find(|port| SHUT.contains(port))
                .map(|port| format!("{path} lets port {port} in")),
        })
    }

    /// The values that have it keep the ports shut; none where there is no interface to bear a list, for the switch alone
    /// keeps nothing out.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.interfaces.is_empty() {
            return changes;
        }
        let mut set = |path: &RegPath, key: &KeyEvidence, name: &str, to: ValueData| {
            let before = match key.value(name) {
                None => None,
                Some(Ok(data)) => Some(data.clone()),
                // What cannot be read cannot be put back.
                Some(Err(_)) => return,
            };
            if before.as_ref() != Some(&to) {
                changes.push(Change::Value(ValueChange {
                    hive: HiveRole::System,
                    key: path.clone(),
                    name: name.to_owned(),
                    before,
                    edit: ValueEdit::Set { to },
                    purpose: Purpose::Protection,
                    pairs: Vec::new(),
                }));
            }
        };
        for (path, key) in &self.interfaces {
            let mut ports = match allowed(key, TCP) {
                // The owner's own list, in force: only what lets the worm in goes.
                Allowed::Only(ports) if self.is_on => ports,
                _ => Vec::new(),
            };
            ports.retain(|port| !SHUT.contains(port));
            if ports.is_empty() {
                ports.push(HARMLESS);
            }
            set(path, key, TCP, list(&ports));
            for name in OPEN.iter().filter(|_| !self.is_on) {
                set(path, key, name, list(&[0]));
            }
        }
        let (path, key) = &self.parameters;
        let on = ValueData { kind: ValueType::DWORD, data: 1_u32.to_le_bytes().to_vec() };
        set(path, key, SWITCH, on);
        changes
    }
}

/// Whether a path is that of an adapter of NT 4.0 in a control set.
fn is_adapter(path: &RegPath, set: &RegPath) -> bool {
    let pattern = set.join(ADAPTER);
    let (mut wanted, mut parts) = (pattern.parts(), path.parts());
    let fits = wanted.all(|wanted| parts.next().is_some_and(|part| wanted == "*" || same_name(wanted, part)));
    fits && parts.next().is_none()
}

impl PacketFilter {
    fn judge_filter(evidence: &Evidence) -> Finding {
        let by_adapter = evidence.identity.version.as_deref() == Some("4.0");
        let sets: Vec<(RegPath, Option<Set<'_>>)> = evidence
            .select
            .sets()
            .map(|set| {
                let found = Set::of(evidence, &set, by_adapter);
                (set, found)
            })
            .collect();
        let gap = sets.iter().find_map(|(path, set)| match set {
            Some(set) => set.gap(),
            None => Some(format!("{path} has no TCP/IP")),
        });
        let interfaces = sets.iter().flat_map(|(_, set)| set).map(|set| set.interfaces.len()).max();
        let (state, mut why) = match (evidence.unread_hives.get(&HiveRole::System), &gap) {
            (Some(why), _) => (FilterState::NotEstablished, format!("SYSTEM could not be read: {why}")),
            _ if sets.is_empty() => {
                (FilterState::NotEstablished, "Select does not name the control sets".to_owned())
            }
            _ if by_adapter => (
                FilterState::NotEstablished,
                "where NT 4.0 keeps the lists of its adapters is not established, so nothing rests on them"
                    .to_owned(),
            ),
            (None, Some(gap)) => (FilterState::Off, gap.clone()),
            (None, None) => (
                FilterState::On,
                "no interface lets a TCP port in that the worm comes by; a dial-up connection is not filtered (KB826955)"
                    .to_owned(),
            ),
        };
        let changes: Vec<Change> = match state {
            FilterState::On => Vec::new(),
            _ => sets.iter().flat_map(|(_, set)| set).flat_map(Set::changes).collect(),
        };
        let honoured = evidence.identity.honours_enable_dcom();
        let is_needed = honoured != Some(true);
        if state != FilterState::On && is_needed {
            why.push_str(match (evidence.identity.product_type, honoured) {
                (Some(ProductType::Workstation), Some(false)) => {
                    "; it is what closes the hole here until the patch is in"
                }
                (Some(ProductType::Workstation), _) => {
                    "; whether this Windows acts on EnableDCOM is not established, and --packet-filter on would close the \
                     hole whether it does or not"
                }
                _ => {
                    "; it would close the hole until the patch is in, but it shuts a server's own services out too, so it \
                     is switched on only where --packet-filter on asks for it"
                }
            });
        }
        if let Mirror::Unusable(unusable) = &evidence.mirror
            && state != FilterState::On
        {
            why.push_str("; it cannot be switched on, since SYSTEM.ALT cannot take the same edit: ");
            why.push_str(unusable);
        }
        Finding {
            check: CheckName::PacketFilter,
            grade: if state == FilterState::Off && is_needed { Grade::Confirmed } else { Grade::Information },
            what: match state {
                FilterState::On => "TCP/IP filtering keeps the worm out",
                FilterState::Off => "TCP/IP filtering is off, or lets the worm in",
                FilterState::NotEstablished => {
                    "whether TCP/IP filtering keeps the worm out is not established"
                }
            }
            .to_owned(),
            place: format!("SYSTEM\\{PARAMETERS} [{SWITCH}]"),
            facts: Facts {
                hive: Some("SYSTEM".to_owned()),
                key: sets.iter().flat_map(|(_, set)| set).map(|set| set.parameters.0.to_string()).next(),
                value: Some(SWITCH.to_owned()),
                data: interfaces.map(|count| format!("{count} interfaces")),
                ..Facts::default()
            },
            action: None,
            outcome: Outcome::None,
            why,
            bearing: Bearing::Filter(state),
            subject: if changes.is_empty() { Subject::Nothing } else { Subject::Several(changes) },
        }
    }

    fn judge_firewall(evidence: &Evidence) -> Option<Finding> {
        let set = evidence.select.sets().next()?;
        let profiles: Vec<String> = PROFILES
            .iter()
            .filter_map(|profile| {
                let path = set.join(FIREWALL).join(profile);
                let on = evidence
                    .key(&HiveRole::System, &path)?
                    .value("EnableFirewall")?
                    .as_ref()
                    .ok()?
                    .dword()?;
                Some(format!("{} in {profile}", if on == 0 { "off" } else { "on" }))
            })
            .collect();
        (!profiles.is_empty()).then(|| Finding {
            check: CheckName::PacketFilter,
            grade: Grade::Information,
            what: format!("Windows Firewall is {}", profiles.join(", ")),
            place: format!("SYSTEM\\{}", set.join(FIREWALL)),
            facts: Facts { hive: Some("SYSTEM".to_owned()), ..Facts::default() },
            action: None,
            outcome: Outcome::None,
            why: "told for completeness: the service packs that bring it bring the patch too".to_owned(),
            bearing: Bearing::Nothing,
            subject: Subject::Nothing,
        })
    }
}

impl Check for PacketFilter {
    fn name(&self) -> CheckName {
        CheckName::PacketFilter
    }

    fn wants(&self) -> Wants {
        let interfaces = format!("{INTERFACES}\\*");
        let profiles = PROFILES.map(|profile| format!("{FIREWALL}\\{profile}"));
        let keys = [PARAMETERS, &interfaces, ADAPTER].into_iter().chain(profiles.iter().map(String::as_str));
        Wants { keys: keys.map(KeyWant::control_sets).collect(), ..Wants::default() }
    }

    fn judge(&self, evidence: &Evidence) -> Vec<Finding> {
        [Self::judge_filter(evidence)].into_iter().chain(Self::judge_firewall(evidence)).collect()
    }

    fn cure(&self, finding: &Finding, policy: &Policy) -> Vec<Change> {
        match &finding.subject {
            Subject::Several(changes) if policy.packet_filter == policy::PacketFilter::On => changes.clone(),
            _ => Vec::new(),
        }
    }
}

//! From a `CaptureSpec` to the exact rules of a captured pod. Pure: whoever reviews a change to capture reads this file
//! and the golden files.
//!
//! Every rule is written the way `iptables-save` prints it, in both flavours, so that "is it already so?" is a
//! comparison of text.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use weft_model::capture::{
    CaptureSpec, INBOUND_PORT, MARK_TO_APP, MAX_LIST, OUTBOUND_PORT, PortRange, TUNNEL_PORT,
};

use crate::error::SpecError;
use crate::ports;

/// Chain for what enters the pod (nat).
pub const CHAIN_IN: &str = "WEFT_IN";
/// Chain for what leaves the pod (nat).
pub const CHAIN_OUT: &str = "WEFT_OUT";
/// Chain that keeps the proxy's connections to the app out of connection tracking (raw).
pub const CHAIN_RAW: &str = "WEFT_RAW";
/// Chain that marks connections instead of sockets (mangle), where the settings of [`NEEDED`] cannot be made.
pub const CHAIN_MARK: &str = "WEFT_MARK";
/// Every chain of ours, with its table; nothing else is ever removed.
pub const OWN_CHAINS: [(Table, &str); 4] = [
    (Table::Raw, CHAIN_RAW),
    (Table::Mangle, CHAIN_MARK),
    (Table::Nat, CHAIN_IN),
    (Table::Nat, CHAIN_OUT),
];

/// The marks of the proxy, both roles: value and mask.
const EXEMPT: &str = "-m mark --mark 0x5e0/0xff0";
/// A connection's first packet. Later packets of a connection older than the rules must never match.
const FIRST: &str = "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN";

/// A setting of the pod's namespace: 1 while the pod is captured, 0 (the kernel's default) when it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Name of the sysctl.
    pub key: &'static str,
    /// The family that needs it; none for both.
    pub family: Option<Family>,
}

/// The settings without which captured connections would not work.
///
/// The app's answers to the proxy go to the client's address, yet must come back over loopback, so they have to carry
/// the mark of what they answer: those of a socket by `tcp_fwmark_accept`; those without one (the reset of a closed
/// port above all, which would otherwise leave the pod and let the proxy wait) by `fwmark_reflect`.
pub const NEEDED: [Switch; 3] = [
    Switch {
        key: "net.ipv4.tcp_fwmark_accept",
        family: None,
    },
    Switch {
        key: "net.ipv4.fwmark_reflect",
        family: Some(Family::V4),
    },
    Switch {
        key: "net.ipv6.fwmark_reflect",
        family: Some(Family::V6),
    },
];

/// Without it a segment outside of the window, which connection tracking calls invalid, would reach the pod
/// untranslated, and the kernel would answer with a reset that ends the good connection. It exists once connection
/// tracking is loaded.
pub const LIBERAL: Switch = Switch {
    key: "net.netfilter.nf_conntrack_tcp_be_liberal",
    family: None,
};

/// Address family of a rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn of(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == (self == Family::V4)
    }

    /// Link-local destinations (the cloud's metadata service, node-local DNS) always leave the pod directly: they mean
    /// "on this very link", and an IPv6 one cannot be dialled again without the interface it was meant for.
    fn link_local(self) -> &'static str {
        match self {
            Family::V4 => "169.254.0.0/16",
            Family::V6 => "fe80::/10",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// How far a pod is into, or out of, the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// New connections are redirected.
    Captured,
    /// New connections go directly; those made while captured go on.
    Releasing,
    /// Nothing of ours is left; connections made while captured have ended or end now.
    Released,
}

/// How the app's answers to the proxy find back over loopback instead of leaving for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WayBack {
    /// Its sockets answer with the mark of what they answer ([`NEEDED`]); the proxy's connections to it are not tracked.
    BySocket,
    /// Connection tracking carries the mark, for pods in which no setting can be made. It costs a tracked connection
    /// more, and a segment outside of the window may reset one.
    ByConnection,
}

/// A table of iptables that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Before connection tracking.
    Raw,
    /// Marks; a changed mark is routed anew.
    Mangle,
    /// First packets of connections.
    Nat,
}

impl Table {
    /// Each one, in the order in which a packet meets them.
    pub const ALL: [Table; 3] = [Table::Raw, Table::Mangle, Table::Nat];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Table::Raw => "raw",
            Table::Mangle => "mangle",
            Table::Nat => "nat",
        }
    }
}

/// One chain of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// Its rules without `-A NAME`.
    pub rules: Vec<String>,
}

/// The rule that leads from a chain of the kernel to one of ours; always that chain's first, so that a rule of the
/// application cannot come before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Its table.
    pub table: Table,
    /// The kernel's chain.
    pub hook: &'static str,
    /// The rule without `-A HOOK`.
    pub rule: String,
}

/// The rules of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyRules {
    /// The family.
    pub family: Family,
    /// Our chains.
    pub chains: Vec<Chain>,
    /// What leads to them.
    pub jumps: Vec<Jump>,
}

/// All that a captured pod needs, apart from the policy route, which never varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Rules by family: IPv4 always, IPv6 when the pod has it.
    pub families: Vec<FamilyRules>,
}

/// What a pod with this specification needs; `v6` tells whether the pod has IPv6.
///
/// # Errors
/// A list is too long, or a port range is none; the error names the field.
pub fn desired(spec: &CaptureSpec, v6: bool) -> Result<Desired, SpecError> {
    let families: &[Family] = if v6 {
        &[Family::V4, Family::V6]
    } else {
        &[Family::V4]
    };
    let rules = families
        .iter()
        .map(|&family| family_rules(spec, family))
        .collect::<Result<_, _>>()?;
    Ok(Desired { families: rules })
}

impl Desired {
    /// The same for a pod whose sockets cannot be told to answer with the mark: see [`WayBack::ByConnection`].
    #[must_use]
    pub fn by_connection(mut self) -> Self {
        for family in &mut self.families {
            for chain in family.chains.iter_mut().filter(|c| c.name == CHAIN_RAW) {
                chain.rules = vec![own_zone()];
            }
            family.chains.push(Chain {
                table: Table::Mangle,
                name: CHAIN_MARK,
                rules: vec![
                    format!("{} -j CONNMARK --save-mark --nfmask 0xfff --ctmask 0xfff", to_app()),
                    format!("-m connmark --mark {MARK_TO_APP:#x}/0xfff -j CONNMARK --restore-mark --nfmask 0xfff --ctmask 0xfff"),
                ],
            });
            family.jumps.push(Jump {
                table: Table::Mangle,
                hook: "OUTPUT",
                rule: format!("-p tcp -j {CHAIN_MARK}"),
            });
        }
        self
    }
}

fn family_rules(spec: &CaptureSpec, family: Family) -> Result<FamilyRules, SpecError> {
    Ok(FamilyRules {
        family,
        chains: vec![
            Chain {
                table: Table::Raw,
                name: CHAIN_RAW,
                rules: vec![untracked()],
            },
            Chain {
                table: Table::Nat,
                name: CHAIN_IN,
                rules: inbound(spec, family)?,
            },
            Chain {
                table: Table::Nat,
                name: CHAIN_OUT,
                rules: outbound(spec, family)?,
            },
        ],
        jumps: vec![
            Jump {
                table: Table::Raw,
                hook: "OUTPUT",
                rule: format!("-o lo -j {CHAIN_RAW}"),
            },
            Jump {
                table: Table::Nat,
                hook: "PREROUTING",
                rule: format!("! -i lo {FIRST} -j {CHAIN_IN}"),
            },
            Jump {
                table: Table::Nat,
                hook: "OUTPUT",
                rule: format!("! -o lo {FIRST} -j {CHAIN_OUT}"),
            },
        ],
    })
}

/// The proxy's connections to the app.
fn to_app() -> String {
    format!("-m mark --mark {MARK_TO_APP:#x}/0xfff")
}

/// A connection to the app in the client's name has the client's own four-tuple; were it tracked, it would collide with
/// the client's redirected connection.
fn untracked() -> String {
    format!("{} -j CT --notrack", to_app())
}

/// Where it has to be tracked, it is looked up apart from the client's own; its answers are not, or nobody would find
/// them.
fn own_zone() -> String {
    format!("{} -j CT --zone-orig 7", to_app())
}

fn inbound(spec: &CaptureSpec, family: Family) -> Result<Vec<String>, SpecError> {
    let mut rules = vec![
        format!("{EXEMPT} -j RETURN"),
        format!("-p tcp -m tcp --dport {TUNNEL_PORT} -j RETURN"),
    ];
    for ports in ports::arguments("exclude_inbound_ports", &spec.exclude_inbound_ports)? {
        rules.push(format!("-p tcp -m multiport --dports {ports} -j RETURN"));
    }
    let probed: Vec<PortRange> = spec
        .probe_ports
        .iter()
        .map(|&port| PortRange::one(port))
        .collect();
    let probed = ports::arguments("probe_ports", &probed)?;
    for node in nodes(spec, family)? {
        for ports in &probed {
            rules.push(format!(
                "-s {node} -p tcp -m multiport --dports {ports} -j RETURN"
            ));
        }
    }
    rules.push(format!("-p tcp -j REDIRECT --to-ports {INBOUND_PORT}"));
    Ok(rules)
}

fn outbound(spec: &CaptureSpec, family: Family) -> Result<Vec<String>, SpecError> {
    let mut rules = vec![
        format!("{EXEMPT} -j RETURN"),
        format!("-d {} -j RETURN", family.link_local()),
    ];
    for network in networks(
        "exclude_outbound_cidrs",
        &spec.exclude_outbound_cidrs,
        family,
    )? {
        rules.push(format!("{}-j RETURN", to(network)));
    }
    for ports in ports::arguments("exclude_outbound_ports", &spec.exclude_outbound_ports)? {
        rules.push(format!("-p tcp -m multiport --dports {ports} -j RETURN"));
    }
    let redirect = format!("-p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}");
    if spec.include_outbound_cidrs.is_empty() {
        rules.push(redirect);
        return Ok(rules);
    }
    for network in networks(
        "include_outbound_cidrs",
        &spec.include_outbound_cidrs,
        family,
    )? {
        rules.push(format!("{}{redirect}", to(network)));
    }
    Ok(rules)
}

/// The match on a destination network; `iptables-save` prints none for "everywhere".
fn to(network: IpNet) -> String {
    if network.prefix_len() == 0 {
        String::new()
    } else {
        format!("-d {network} ")
    }
}

fn networks(list: &'static str, given: &[IpNet], family: Family) -> Result<Vec<IpNet>, SpecError> {
    if given.len() > MAX_LIST {
        return Err(SpecError::TooMany {
            list,
            count: given.len(),
            max: MAX_LIST,
        });
    }
    let mut found: Vec<IpNet> = given
        .iter()
        .map(IpNet::trunc)
        .filter(|n| family.of(n.addr()))
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn nodes(spec: &CaptureSpec, family: Family) -> Result<Vec<IpNet>, SpecError> {
    let given: Vec<IpNet> = spec
        .node_ips
        .iter()
        .map(|ip| IpNet::from(ip.to_canonical()))
        .collect();
    networks("node_ips", &given, family)
}

#[cfg(test)]
mod tests;

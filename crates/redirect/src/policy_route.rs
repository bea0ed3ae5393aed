//! The routing rule and route that lead the app's answers back to the proxy over loopback, set by netlink.
//!
//! Equal to `ip rule add pref 133 fwmark 0x5e8/0xfff lookup 133` and `ip route add local default dev lo table 133`, in
//! each family, without the cost of starting `ip` four times per pod.

use std::io;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;
use weft_model::capture::MARK_TO_APP;
use weft_netns::Netns;

use crate::desired::Family;
use crate::error::Error;
use crate::netlink::{HEADER, Link, message_kind, short};

/// Number of our routing table, and priority of the rule that leads to it: before any rule by source address, after the
/// kernel's own table of local addresses.
const TABLE: u32 = 133;
/// Bits of the mark that count.
const MASK: u32 = 0xfff;

// linux/fib_rules.h: attributes and the action "look in a table".
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FR_ACT_TO_TBL: u8 = 1;

const RULE: &str = "the routing rule for mark 0x5e8";
const ROUTE: &str = "the loopback route of table 133";

/// Adds rule and route; what is there already is left.
pub(crate) fn add(ns: &Netns, families: &[Family]) -> Result<(), Error> {
    let flags = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    each(ns, families, |link, family, lo| {
        link.change(
            libc::RTM_NEWROUTE,
            flags,
            &route(family, lo),
            &[libc::EEXIST],
        )
        .map_err(failed(ROUTE))?;
        link.change(libc::RTM_NEWRULE, flags, &rule(family), &[libc::EEXIST])
            .map_err(failed(RULE))
    })
}

/// Removes rule and route; what is gone already is gone.
pub(crate) fn remove(ns: &Netns, families: &[Family]) -> Result<(), Error> {
    let gone = [
        libc::ENOENT,
        libc::ESRCH,
        libc::EAFNOSUPPORT,
        libc::EOPNOTSUPP,
    ];
    each(ns, families, |link, family, lo| {
        link.change(libc::RTM_DELRULE, 0, &rule(family), &gone)
            .map_err(failed(RULE))?;
        link.change(libc::RTM_DELROUTE, 0, &route(family, lo), &gone)
            .map_err(failed(ROUTE))
    })
}

/// What is not in effect, in words; asks the kernel where a marked packet would go, so a rule of somebody else that
/// comes before ours shows too.
pub(crate) fn differences(ns: &Netns, families: &[Family]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    each(ns, families, |link, family, _| {
        if !leads_to_loopback(link, family).map_err(failed(RULE))? {
            found.push(format!("{family} packets with mark {MARK_TO_APP:#x} do not lead to loopback (rule or table {TABLE})"));
        }
        Ok(())
    })?;
    Ok(found)
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Route { what, source }
}

fn each(
    ns: &Netns,
    families: &[Family],
    mut act: impl FnMut(&Link, Family, u32) -> Result<(), Error>,
) -> Result<(), Error> {
    let opened = ns
        .run(|| {
            Ok((
                Link::open(SockProtocol::NetlinkRoute)?,
                if_nametoindex("lo")?,
            ))
        })
        .map_err(Error::Namespace)?;
    let (link, lo) = opened.map_err(Error::Namespace)?;
    families
        .iter()
        .try_for_each(|&family| act(&link, family, lo))
}

fn leads_to_loopback(link: &Link, family: Family) -> io::Result<bool> {
    let answer = link.ask(libc::RTM_GETROUTE, 0, &lookup(family))?;
    let kind = message_kind(&answer).ok_or_else(short)?;
    // struct rtmsg: the eighth byte is the type of route. An error instead (unreachable) is an answer too.
    Ok(kind == libc::RTM_NEWROUTE && answer.get(HEADER + 7) == Some(&libc::RTN_LOCAL))
}

fn rule(family: Family) -> Vec<u8> {
    // struct fib_rule_hdr: family, dst_len, src_len, tos, table, two reserved, action, flags.
    let mut body = vec![
        number(family),
        0,
        0,
        0,
        TABLE as u8,
        0,
        0,
        FR_ACT_TO_TBL,
        0,
        0,
        0,
        0,
    ];
    for (kind, value) in [
        (FRA_PRIORITY, TABLE),
        (FRA_FWMARK, MARK_TO_APP),
        (FRA_FWMASK, MASK),
        (FRA_TABLE, TABLE),
    ] {
        attribute(&mut body, kind, &value.to_ne_bytes());
    }
    body
}

fn route(family: Family, lo: u32) -> Vec<u8> {
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
    let (protocol, scope) = (libc::RTPROT_STATIC, libc::RT_SCOPE_HOST);
    let mut body = vec![
        number(family),
        0,
        0,
        0,
        TABLE as u8,
        protocol,
        scope,
        libc::RTN_LOCAL,
        0,
        0,
        0,
        0,
    ];
    attribute(&mut body, libc::RTA_OIF, &lo.to_ne_bytes());
    body
}

/// "Where would a marked packet to an address that nobody has go?" (RFC 5737, RFC 3849)
fn lookup(family: Family) -> Vec<u8> {
    let (bits, address): (u8, &[u8]) = match family {
        Family::V4 => (32, &[192, 0, 2, 1]),
        Family::V6 => (
            128,
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
    };
    let mut body = vec![number(family), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attribute(&mut body, libc::RTA_DST, address);
    attribute(&mut body, libc::RTA_MARK, &MARK_TO_APP.to_ne_bytes());
    body
}

/// Appends type, length and value; all our values are whole words, so no padding is needed.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

fn number(family: Family) -> u8 {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    family as u8
}

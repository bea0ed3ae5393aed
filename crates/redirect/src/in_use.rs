//! Whether a namespace has packet rules of a flavour at all, asked of the kernel directly. A pod that starts has none,
//! and to learn that from the programs of iptables would cost as much as its whole capture.

use std::fs;
use std::io;

use nix::sys::socket::SockProtocol;
use weft_netns::Netns;

use crate::backend::Flavour;
use crate::desired::Family;
use crate::error::Error;
use crate::netlink::Link;

/// linux/nf_tables.h: the attribute that holds a table's name.
const NFTA_TABLE_NAME: u16 = 1;
/// Length of struct nfgenmsg, which comes before the attributes.
const GENERIC: usize = 4;

/// The names of a family's tables. Without a table there is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// The family.
    pub(crate) family: Family,
    /// Names, in the kernel's order.
    pub(crate) names: Vec<String>,
}

/// The tables of this flavour, by family; none when that cannot be told, and then its programs must be asked.
pub(crate) fn tables(ns: &Netns, flavour: Flavour) -> Result<Option<[Tables; 2]>, Error> {
    let names = match flavour {
        Flavour::Nft => match nft(ns) {
            Ok(names) => names,
            Err(_) => return Ok(None),
        },
        Flavour::Legacy => legacy(ns).map_err(Error::Namespace)?,
    };
    let [v4, v6] = names;
    Ok(Some([
        Tables {
            family: Family::V4,
            names: v4,
        },
        Tables {
            family: Family::V6,
            names: v6,
        },
    ]))
}

/// The tables of nf_tables in the two families that iptables uses.
fn nft(ns: &Netns) -> io::Result<[Vec<String>; 2]> {
    let link = ns.run(|| Link::open(SockProtocol::NetlinkNetFilter))??;
    let kind = |message: i32| ((libc::NFNL_SUBSYS_NFTABLES << 8) | message) as u16;
    // struct nfgenmsg: family (0 is every one), version, resource.
    let every = [libc::AF_UNSPEC as u8, libc::NFNETLINK_V0 as u8, 0, 0];
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    link.list(kind(libc::NFT_MSG_GETTABLE), &every, |what, table| {
        if what != kind(libc::NFT_MSG_NEWTABLE) {
            return;
        }
        match table.first().copied().map(i32::from) {
            Some(libc::NFPROTO_IPV4) => v4.extend(name(table)),
            Some(libc::NFPROTO_IPV6) => v6.extend(name(table)),
            _ => {}
        }
    })?;
    Ok([v4, v6])
}

/// The name of a table, or an empty one when it has none that we can find: it is there all the same.
fn name(table: &[u8]) -> Option<String> {
    let mut rest = table.get(GENERIC..).unwrap_or_default();
    while let Some(attribute) = Attribute::first(rest) {
        if attribute.kind == NFTA_TABLE_NAME {
            let name = String::from_utf8_lossy(attribute.value);
            return Some(name.trim_end_matches('\0').to_owned());
        }
        // Attributes begin at multiples of four.
        let length = Attribute::HEADER + attribute.value.len();
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(String::new())
}

/// One attribute of a message.
struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
}

impl<'a> Attribute<'a> {
    const HEADER: usize = 4;

    /// The first of several.
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let number = |at: usize| -> Option<u16> {
            Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
        };
        let value = bytes.get(Self::HEADER..usize::from(number(0)?))?;
        Some(Self {
            kind: number(2)?,
            value,
        })
    }
}

/// To ask the programs of legacy iptables would load the kernel's modules.
fn legacy(ns: &Netns) -> io::Result<[Vec<String>; 2]> {
    let paths = [
        "/proc/thread-self/net/ip_tables_names",
        "/proc/thread-self/net/ip6_tables_names",
    ];
    // The file is not there when the kernel does not have it, and then nobody has used it.
    let names = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let texts = ns.run(|| paths.map(names))?;
    Ok(texts.map(|text| text.split_whitespace().map(str::to_owned).collect()))
}

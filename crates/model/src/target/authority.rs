//! `host[:port]` in its one canonical spelling: what routing compares, what policy matches, what is forwarded.

use std::net::Ipv6Addr;
use std::str::FromStr;

use super::TargetError;

/// Longest host name in bytes, its final dot left out (RFC 1035 section 2.3.4).
pub const MAX_HOST: usize = 253;

/// The port that an `http` authority means when it names none.
const HTTP_PORT: u16 = 80;

/// `host[:port]`, canonical; empty where an HTTP/1.0 request named none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Authority {
    pub(super) text: String,
    host_len: usize,
    pub(super) port: Option<u16>,
}

impl Authority {
    pub(super) fn host(&self) -> &str {
        self.text.get(..self.host_len).unwrap_or_default()
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.host() == other.host()
            && self.port.unwrap_or(HTTP_PORT) == other.port.unwrap_or(HTTP_PORT)
    }

    pub(super) fn parse(raw: &[u8]) -> Result<Self, TargetError> {
        if raw.first() == Some(&b'[') {
            let end = raw
                .iter()
                .position(|&b| b == b']')
                .ok_or(TargetError::Host)?;
            let (literal, rest) = raw.split_at(end + 1);
            return Self::join(ipv6(literal)?, rest);
        }
        let (end, upper) = host_end(raw)?;
        let (name, rest) = raw.split_at(end);
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() || name.len() > MAX_HOST {
            return Err(TargetError::Host);
        }
        let text = str::from_utf8(name).map_err(|_| TargetError::Host)?;
        let mut host = String::with_capacity(raw.len());
        host.push_str(text);
        if upper {
            host.make_ascii_lowercase();
        }
        Self::join(host, rest)
    }

    /// Appends `rest`, which is empty or `:port`.
    fn join(mut text: String, rest: &[u8]) -> Result<Self, TargetError> {
        let host_len = text.len();
        let port = match rest.split_first() {
            None => None,
            Some((b':', digits)) => {
                let port = port(digits)?;
                text.push_str(str::from_utf8(rest).map_err(|_| TargetError::Port)?);
                Some(port)
            }
            Some(_) => return Err(TargetError::Host),
        };
        Ok(Self {
            text,
            host_len,
            port,
        })
    }
}

/// One to five digits without a leading zero, so that a port has one spelling only.
fn port(digits: &[u8]) -> Result<u16, TargetError> {
    if digits.contains(&b'@') {
        return Err(TargetError::Userinfo);
    }
    if digits.is_empty() || digits.len() > 5 || digits.first() == Some(&b'0') {
        return Err(TargetError::Port);
    }
    let mut value = 0_u32;
    for &b in digits {
        if !b.is_ascii_digit() {
            return Err(TargetError::Port);
        }
        value = value * 10 + u32::from(b - b'0');
    }
    u16::try_from(value).map_err(|_| TargetError::Port)
}

/// Where the DNS-like name at the start of an authority ends, and whether it has upper-case letters. Stricter than RFC
/// 3986's reg-name: escapes and sub-delimiters in a host mean different hosts to different readers, and no name in a
/// cluster has them.
fn host_end(raw: &[u8]) -> Result<(usize, bool), TargetError> {
    let mut upper = false;
    let mut before = b'.';
    for (i, &b) in raw.iter().enumerate() {
        match b {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            b'.' if before != b'.' => {}
            b':' => return Ok((i, upper)),
            b'@' => return Err(TargetError::Userinfo),
            _ => return Err(TargetError::Host),
        }
        before = b;
    }
    Ok((raw.len(), upper))
}

/// `[address]` in the one spelling of RFC 5952; a mapped IPv4 address as IPv4, or a CIDR rule for IPv4 would miss it.
fn ipv6(literal: &[u8]) -> Result<String, TargetError> {
    let inner = literal
        .strip_prefix(b"[")
        .and_then(|l| l.strip_suffix(b"]"))
        .ok_or(TargetError::Host)?;
    let text = str::from_utf8(inner).map_err(|_| TargetError::Host)?;
    let address = Ipv6Addr::from_str(text).map_err(|_| TargetError::Host)?;
    Ok(address
        .to_ipv4_mapped()
        .map_or_else(|| format!("[{address}]"), |v4| v4.to_string()))
}

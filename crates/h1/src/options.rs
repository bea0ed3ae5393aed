//! The `Connection` header: what it says about this connection, and which further headers it nominates as hop-by-hop.

use http::HeaderName;

use crate::fault::Fault;
use crate::names;

/// What all `Connection` lines of a head say together.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `close`.
    pub(crate) close: bool,
    /// `keep-alive`.
    pub(crate) keep_alive: bool,
    /// `upgrade`.
    pub(crate) upgrade: bool,
    /// Names to remove; protected names never get here.
    pub(crate) nominated: Vec<HeaderName>,
}

impl Options {
    /// Adds one line. Empty list elements are passed over, as RFC 9110 section 5.6.1.2 demands.
    pub(crate) fn add(&mut self, value: &[u8]) -> Result<(), Fault> {
        for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if option.is_empty() {
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                let name = HeaderName::from_bytes(option).map_err(|_| Fault::Connection)?;
                if !names::is_protected(name.as_str().as_bytes()) {
                    self.nominated.push(name);
                }
            }
        }
        Ok(())
    }
}

/// Whether an `Upgrade` value may be passed on: a list of `protocol[/version]`, none of them HTTP/2 in clear text, which
/// would be a tunnel around routing and authorisation (V18).
pub(crate) fn upgrade_allowed(value: &[u8]) -> bool {
    let token = |t: &[u8]| !t.is_empty() && t.iter().all(|&b| crate::chunk::is_token(b));
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .all(|protocol| {
            let mut parts = protocol.splitn(2, |&b| b == b'/');
            let name = parts.next().unwrap_or_default();
            let http2 = name.eq_ignore_ascii_case(b"h2c")
                || name.eq_ignore_ascii_case(b"h2")
                || name.eq_ignore_ascii_case(b"http");
            !http2 && token(name) && parts.next().is_none_or(token)
        })
}

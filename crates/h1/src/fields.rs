//! The header section of a request or response: walks the lines that `httparse` found, proves that they lie in the buffer
//! exactly as RFC 9112 section 5 has it, keeps what is end-to-end and sorts the rest into typed facts.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fault::Fault;
use crate::framing::{self, Coding};
use crate::limits::Limits;
use crate::names::{self, Role};
use crate::options::{self, Options};

/// Why a proxy of the mesh answered itself.
const REASON: &[u8] = b"x-weft-reason";

/// What a header section says.
#[derive(Debug, Default)]
pub(crate) struct Fields<'b> {
    /// End-to-end headers in order.
    pub(crate) headers: HeaderMap,
    /// The only `Host`.
    pub(crate) host: Option<&'b [u8]>,
    /// The only `Content-Length`.
    pub(crate) length: Option<u64>,
    /// The only `Transfer-Encoding`.
    pub(crate) coding: Option<Coding>,
    /// `Connection`.
    pub(crate) options: Options,
    /// `Upgrade`, the first line.
    upgrade: Option<&'b [u8]>,
    /// More than one `Upgrade`.
    upgrade_repeated: bool,
    /// `Expect: 100-continue`.
    pub(crate) expect_continue: bool,
    /// Any other `Expect`.
    pub(crate) expect_other: bool,
    /// `TE` lists `trailers`.
    pub(crate) te_trailers: bool,
    /// `x-weft-reason`, the last one.
    pub(crate) reason: Option<&'b [u8]>,
}

impl<'b> Fields<'b> {
    /// Reads the header lines of `head`, which begin at offset `line` and end with the head.
    ///
    /// `httparse` accepts a bare LF as a line end. That is caught here without a second scan: each name has to begin
    /// where the line before ended, and nothing but a colon, spaces and CRLF may stand around name and value.
    pub(crate) fn read(
        head: &'b [u8],
        mut line: usize,
        raw: &[httparse::Header<'b>],
        limits: &Limits,
    ) -> Result<Self, Fault> {
        let mut fields = Self {
            headers: HeaderMap::with_capacity(raw.len()),
            ..Self::default()
        };
        for header in raw {
            if offset(head, header.name.as_bytes()) != Some(line) {
                return Err(Fault::LineEnd);
            }
            line = line_end(head, header.value).ok_or(Fault::LineEnd)?;
            if header.name.len() > limits.header_name {
                return Err(Fault::NameTooLong);
            }
            fields.add(header.name.as_bytes(), header.value)?;
        }
        if head.get(line..) != Some(b"\r\n") {
            return Err(Fault::LineEnd);
        }
        for name in &fields.options.nominated {
            fields.headers.remove(name);
        }
        Ok(fields)
    }

    fn add(&mut self, name: &[u8], value: &'b [u8]) -> Result<(), Fault> {
        match names::received_role(name) {
            Role::EndToEnd => {
                let name = HeaderName::from_bytes(name).map_err(|_| Fault::HeaderName)?;
                let value = HeaderValue::from_bytes(value).map_err(|_| Fault::HeaderValue)?;
                self.headers.append(name, value);
            }
            Role::Host if self.host.is_some() => return Err(Fault::HostRepeated),
            Role::Host => self.host = Some(value),
            Role::ContentLength if self.length.is_some() => return Err(Fault::LengthRepeated),
            Role::ContentLength => self.length = Some(framing::content_length(value)?),
            Role::TransferEncoding if self.coding.is_some() => return Err(Fault::CodingInvalid),
            Role::TransferEncoding => self.coding = Some(framing::transfer_coding(value)?),
            Role::Connection => self.options.add(value)?,
            Role::Upgrade => {
                self.upgrade_repeated = self.upgrade.is_some();
                self.upgrade = Some(value);
            }
            Role::Expect if value.eq_ignore_ascii_case(b"100-continue") => {
                self.expect_continue = true
            }
            Role::Expect => self.expect_other = true,
            Role::Te => {
                self.te_trailers |= value
                    .split(|&b| b == b',')
                    .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
            }
            Role::Reserved if name.eq_ignore_ascii_case(REASON) => self.reason = Some(value),
            Role::HopByHop | Role::Reserved => {}
        }
        Ok(())
    }

    /// The protocols to switch to, if `Connection` and a single clean `Upgrade` both ask for it and it is not HTTP/2.
    pub(crate) fn upgrade(&self) -> Option<HeaderValue> {
        let value = self
            .upgrade
            .filter(|_| self.options.upgrade && !self.upgrade_repeated)?;
        if options::upgrade_allowed(value) {
            HeaderValue::from_bytes(value).ok()
        } else {
            None
        }
    }
}

/// Where `part` begins in `head`.
fn offset(head: &[u8], part: &[u8]) -> Option<usize> {
    (part.as_ptr() as usize).checked_sub(head.as_ptr() as usize)
}

/// Where the line after the one that holds `value` begins; nothing if that line does not end in CRLF.
fn line_end(head: &[u8], value: &[u8]) -> Option<usize> {
    let mut end = offset(head, value)? + value.len();
    while matches!(head.get(end), Some(b' ' | b'\t')) {
        end += 1;
    }
    (head.get(end..end + 2)? == b"\r\n").then_some(end + 2)
}

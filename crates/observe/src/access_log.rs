//! Access log lines in Istio's two forms, from one record.
//!
//! What clients send is data, not text: control bytes, quotes, backslashes and everything that a terminal could act on
//! are escaped, and every field has a longest length (hardening V35).

mod json;
mod text;

use std::net::SocketAddr;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Longest value of one field in bytes, before escaping; what is longer ends in `...`.
pub const MAX_FIELD: usize = 1024;

/// Marks a value that was cut.
const CUT: &[u8] = b"...";

/// The facts of one request or connection. Empty texts and `None` mean that there is none: `-` in text, null in JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessRecord<'r> {
    /// When it began, milliseconds since the epoch.
    pub start_millis: u64,
    /// Method.
    pub method: &'r [u8],
    /// Path and query as the client sent it.
    pub path: &'r [u8],
    /// `HTTP/1.1`, …
    pub protocol: &'r [u8],
    /// Status; 0 = no response.
    pub response_code: u16,
    /// Envoy's flag; empty = none.
    pub response_flags: &'r [u8],
    /// Why this status, in stable words.
    pub response_code_details: &'r [u8],
    /// Why the connection was ended.
    pub connection_termination_details: &'r [u8],
    /// Why the endpoint could not be reached.
    pub upstream_transport_failure_reason: &'r [u8],
    /// Bytes of the request's body, or from the client.
    pub bytes_received: u64,
    /// Bytes of the response's body, or to the client.
    pub bytes_sent: u64,
    /// Milliseconds from beginning to end.
    pub duration_millis: u64,
    /// Milliseconds until the endpoint's answer began.
    pub upstream_service_time_millis: Option<u64>,
    /// `x-forwarded-for`.
    pub x_forwarded_for: &'r [u8],
    /// `user-agent`.
    pub user_agent: &'r [u8],
    /// `x-request-id`.
    pub request_id: &'r [u8],
    /// Authority.
    pub authority: &'r [u8],
    /// Endpoint.
    pub upstream_host: Option<SocketAddr>,
    /// `outbound|port|subset|host` or `inbound|port||`.
    pub upstream_cluster: &'r [u8],
    /// Our end of the connection to the endpoint.
    pub upstream_local_address: Option<SocketAddr>,
    /// The address that the client dialled.
    pub downstream_local_address: Option<SocketAddr>,
    /// The client's address.
    pub downstream_remote_address: Option<SocketAddr>,
    /// SNI.
    pub requested_server_name: &'r [u8],
    /// Name of the rule.
    pub route_name: &'r [u8],
}

/// A field's value.
#[derive(Clone, Copy)]
enum Value<'r> {
    Time(u64),
    Text(&'r [u8]),
    Number(u64),
    Maybe(Option<u64>),
    Address(Option<SocketAddr>),
}

impl<'r> AccessRecord<'r> {
    /// The 24 fields, in the order of Istio's default line.
    fn fields(&self) -> [(&'static str, Value<'r>); 24] {
        use Value::{Address, Maybe, Number, Text, Time};
        [
            ("start_time", Time(self.start_millis)),
            ("method", Text(self.method)),
            ("path", Text(self.path)),
            ("protocol", Text(self.protocol)),
            ("response_code", Number(self.response_code.into())),
            ("response_flags", Text(self.response_flags)),
            ("response_code_details", Text(self.response_code_details)),
            (
                "connection_termination_details",
                Text(self.connection_termination_details),
            ),
            (
                "upstream_transport_failure_reason",
                Text(self.upstream_transport_failure_reason),
            ),
            ("bytes_received", Number(self.bytes_received)),
            ("bytes_sent", Number(self.bytes_sent)),
            ("duration", Number(self.duration_millis)),
            (
                "upstream_service_time",
                Maybe(self.upstream_service_time_millis),
            ),
            ("x_forwarded_for", Text(self.x_forwarded_for)),
            ("user_agent", Text(self.user_agent)),
            ("request_id", Text(self.request_id)),
            ("authority", Text(self.authority)),
            ("upstream_host", Address(self.upstream_host)),
            ("upstream_cluster", Text(self.upstream_cluster)),
            (
                "upstream_local_address",
                Address(self.upstream_local_address),
            ),
            (
                "downstream_local_address",
                Address(self.downstream_local_address),
            ),
            (
                "downstream_remote_address",
                Address(self.downstream_remote_address),
            ),
            ("requested_server_name", Text(self.requested_server_name)),
            ("route_name", Text(self.route_name)),
        ]
    }

    /// Appends Istio's default line, line feed included.
    pub fn text(&self, out: &mut Vec<u8>) {
        text::line(&self.fields(), out);
    }

    /// Appends one JSON object on one line, line feed included.
    pub fn json(&self, out: &mut Vec<u8>) {
        json::line(&self.fields(), out);
    }
}

/// Appends `2026-11-21T13:01:02.345Z`.
fn time(millis: u64, out: &mut Vec<u8>) {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    let moment = i64::try_from(millis)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX);
    // Writing into memory does not fail.
    let _ = PRINTER.print_timestamp(&moment, out);
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(value: SocketAddr, out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing into memory does not fail.
    let _ = write!(out, "{value}");
}

/// The part of a value that is shown, and whether something was cut.
fn capped(value: &[u8]) -> (&[u8], bool) {
    match value.get(..MAX_FIELD) {
        Some(head) if value.len() > MAX_FIELD => (head, true),
        _ => (value, false),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
}

#[cfg(test)]
mod tests;

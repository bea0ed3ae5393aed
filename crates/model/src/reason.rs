//! The one enum of outcomes that the proxy itself decides: flag, status, retry class and words come from here.

use serde::{Deserialize, Serialize};

/// Why the proxy answered, closed or gave up. `None` is never a reason: a proxied response has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The client's bytes were not a request we can prove.
    BadRequest,
    /// The client took too long to send its request.
    RequestTimeout,
    /// No route matched.
    NoRoute,
    /// The route answers by itself (redirect or direct response).
    DirectResponse,
    /// The route names a backend or subset that does not exist.
    NoBackend,
    /// The route names a backend that is not valid, or none; the Gateway API asks for another status.
    InvalidBackend,
    /// The backend has no endpoint that may be used.
    NoEndpoint,
    /// The rule makes this failure on purpose.
    FaultInjected,
    /// Table data did not arrive in time.
    TableNotReady,
    /// The pod's own workload data did not arrive in time.
    NoWorkload,
    /// Connecting to the endpoint failed or timed out.
    UpstreamConnect,
    /// The endpoint closed or reset after the request was sent.
    UpstreamReset,
    /// A pooled connection was found closed before any response byte: nothing was processed.
    StaleConnection,
    /// The endpoint refused the stream: nothing was processed.
    StreamRefused,
    /// The endpoint's bytes were not a response we can prove.
    UpstreamProtocol,
    /// One attempt ran out of time.
    AttemptTimeout,
    /// The rule's timeout ran out.
    RouteTimeout,
    /// Retries were used up; the last failure had no response.
    RetriesExhausted,
    /// The client went away.
    ClientGone,
    /// A connection or request limit was reached.
    Overflow,
    /// The destination was one of the proxy's own ports.
    OwnPort,
    /// The connection or stream was idle or stalled too long.
    Idle,
    /// The proxy is draining or gave up at the drain deadline.
    Draining,
}

/// How one reason shows itself.
struct Row {
    flag: &'static str,
    status: u16,
    details: &'static str,
}

impl Reason {
    /// Envoy's response flag, the value of the `response_flags` label.
    #[must_use]
    pub fn flag(self) -> &'static str {
        self.row().flag
    }

    /// Status of the response that the proxy makes for it; 0 when it makes none.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Stable words for the access log's `response_code_details` and the body of the answer.
    #[must_use]
    pub fn details(self) -> &'static str {
        self.row().details
    }

    const fn row(self) -> Row {
        let (flag, status, details) = match self {
            Self::BadRequest => ("DPE", 400, "bad_request"),
            Self::RequestTimeout => ("DT", 408, "request_timeout"),
            Self::NoRoute => ("NR", 404, "route_not_found"),
            Self::DirectResponse => ("-", 0, "direct_response"),
            Self::NoBackend => ("NC", 503, "backend_not_found"),
            Self::InvalidBackend => ("NC", 500, "backend_invalid"),
            Self::NoEndpoint => ("UH", 503, "no_healthy_upstream"),
            Self::FaultInjected => ("FI", 503, "fault_injected"),
            Self::TableNotReady => ("NC", 503, "table_not_ready"),
            Self::NoWorkload => ("NC", 503, "no_workload"),
            Self::UpstreamConnect => ("UF", 503, "upstream_connect_failure"),
            Self::UpstreamReset => ("UC", 503, "upstream_reset_before_response"),
            Self::StaleConnection => ("UC", 503, "upstream_stale_connection"),
            Self::StreamRefused => ("UC", 503, "upstream_stream_refused"),
            Self::UpstreamProtocol => ("UPE", 502, "upstream_protocol_error"),
            Self::AttemptTimeout => ("UT", 504, "attempt_timeout"),
            Self::RouteTimeout => ("UT", 504, "response_timeout"),
            Self::RetriesExhausted => ("URX", 503, "retries_exhausted"),
            Self::ClientGone => ("DC", 0, "downstream_disconnect"),
            Self::Overflow => ("UO", 503, "overflow"),
            Self::OwnPort => ("DENY", 0, "own_port"),
            Self::Idle => ("SI", 0, "idle_timeout"),
            Self::Draining => ("DO", 503, "draining"),
        };
        Row {
            flag,
            status,
            details,
        }
    }
}

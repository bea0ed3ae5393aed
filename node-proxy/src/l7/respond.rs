//! Answers that the proxy makes itself, and interim answers on their way through.

use std::io;
use std::pin::pin;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Version};
use tokio::net::TcpStream;
use weft_h1::{Connection, Framing, ResponseHead};
use weft_model::reason::Reason;

use super::plan::Answer;
use crate::l4::front::Conn;
use crate::net::deadline::Deadline;
use crate::net::writer::Writer;

/// Tells a client why the proxy answered itself.
const REASON: HeaderName = HeaderName::from_static("x-weft-reason");

/// The sending half of a client connection, while the receiving half may be lent to the request's body.
pub(crate) struct ClientHalf<'c> {
    pub(crate) stream: &'c TcpStream,
    pub(crate) writer: &'c mut Writer,
}

/// The way back to the client for an answer of the proxy's own.
pub(crate) struct Responder<'c> {
    conn: &'c Conn,
    client: ClientHalf<'c>,
    deadline: &'c Deadline,
    version: Version,
    /// Whether the connection may carry another request after this answer.
    keep_alive: bool,
}

impl<'c> Responder<'c> {
    /// Answers a request of `version`.
    pub(crate) fn half(
        conn: &'c Conn,
        client: ClientHalf<'c>,
        deadline: &'c Deadline,
        version: Version,
        keep_alive: bool,
    ) -> Self {
        Self {
            conn,
            client,
            deadline,
            version,
            keep_alive,
        }
    }

    /// Answers what was not even a request; returns bytes of the body.
    pub(crate) async fn refuse(&mut self, status: StatusCode, reason: Reason, words: &str) -> u64 {
        let body = format!("weft: {words}\n").into_bytes();
        self.local(
            &Answer {
                status,
                reason,
                headers: HeaderMap::new(),
                body,
                route: None,
            },
            false,
        )
        .await
    }

    /// Sends a whole answer; returns bytes of the body that were sent.
    pub(crate) async fn local(&mut self, answer: &Answer, head_only: bool) -> u64 {
        let mut headers = answer.headers.clone();
        if answer.reason != Reason::DirectResponse {
            headers.insert(REASON, HeaderValue::from_static(answer.reason.details()));
        }
        if !answer.body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        let pool = &self.conn.worker.buffers;
        let out = self.client.writer.out(pool);
        let connection = if self.keep_alive {
            Connection::KeepAlive
        } else {
            Connection::Close
        };
        let framing = Framing::Length(answer.body.len() as u64);
        let _ = weft_h1::write_response_head(
            out,
            self.version,
            answer.status,
            &headers,
            framing,
            connection,
        );
        if !head_only {
            out.extend_from_slice(&answer.body);
        }
        self.deadline.set_after(crate::config::HEAD_TIMEOUT);
        let sent = pin!(self.client.writer.flush(self.client.stream, pool));
        let whole = matches!(self.deadline.guard(sent).await, Ok(Ok(())));
        if whole && !head_only {
            answer.body.len() as u64
        } else {
            0
        }
    }
}

/// Writes an interim (1xx) answer at once. A client of HTTP/1.0 knows none.
pub(crate) async fn interim(
    conn: &Conn,
    client: &mut ClientHalf<'_>,
    version: Version,
    head: &ResponseHead,
) -> io::Result<()> {
    if version < Version::HTTP_11 {
        return Ok(());
    }
    let pool = &conn.worker.buffers;
    let out = client.writer.out(pool);
    let _ = weft_h1::write_response_head(
        out,
        version,
        head.status,
        &head.headers,
        Framing::None,
        Connection::KeepAlive,
    );
    client.writer.flush(client.stream, pool).await
}

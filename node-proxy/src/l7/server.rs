//! A client's HTTP/1 connection: one request after the other until either side has had enough.
//!
//! An idle connection holds its socket, this small task and no buffer: everything a request needs is boxed, and freed when
//! no other has followed for a while. A request that cannot be proved is answered and the connection closed; nothing behind it is looked at.

use std::pin::pin;

use tokio::net::TcpStream;
use weft_h1::{HeadScanner, Limits, Reject, RequestHead};
use weft_model::reason::Reason;

use super::exchange::exchange;
use super::respond::{ClientHalf, Responder};
use super::upgrade::Switched;
use crate::config::{
    CLIENT_BUSY_TIME, CLIENT_IDLE_TIMEOUT, DRAIN_IDLE_TIMEOUT, DRAIN_TIMEOUT, HEAD_TIMEOUT,
};
use crate::l4::front::Conn;
use crate::net::deadline::Deadline;
use crate::net::reader::Reader;
use crate::net::writer::Writer;
use crate::record;

/// A client connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) deadline: Deadline,
    pub(crate) limits: Limits,
}

/// What to do after an exchange.
pub(crate) enum Next {
    /// Wait for another request.
    Again,
    /// Close in order: what was written reaches the client.
    Close,
    /// Close with a reset: the client must not take what it has for complete.
    Reset,
    /// The connection now belongs to another protocol.
    Switched(Box<Switched>),
}

/// Serves a client connection to its end. `reader` may hold its first bytes.
pub(crate) async fn serve(conn: Conn, stream: TcpStream, reader: Reader) {
    let mut client = Client {
        stream,
        reader,
        writer: Writer::default(),
        deadline: Deadline::new(),
        limits: Limits::default(),
    };
    loop {
        let Client {
            stream,
            reader,
            deadline,
            ..
        } = &mut client;
        if reader.is_empty() && !wait(&conn, stream, reader, deadline).await {
            return;
        }
        match Box::pin(busy(&conn, &mut client)).await {
            Next::Again => {}
            Next::Close => return Box::pin(linger(&conn, &mut client)).await,
            Next::Reset => return crate::net::reset_on_close(&client.stream),
            Next::Switched(switched) => return Box::pin(switched.run(&conn, client)).await,
        }
    }
}

/// Waits for the next request's first bytes; false when none will come. A drain or a release shortens the wait.
///
/// It reads, because readiness alone may be left over from the request before.
pub(crate) async fn wait(
    conn: &Conn,
    stream: &TcpStream,
    reader: &mut Reader,
    deadline: &Deadline,
) -> bool {
    let mut leaving = conn.worker.leaving.notified();
    let idle = if conn.is_leaving() {
        DRAIN_IDLE_TIMEOUT
    } else {
        CLIENT_IDLE_TIMEOUT
    };
    deadline.set_after(idle);
    let filled = pin!(async {
        let mut fill = pin!(reader.fill(stream, &conn.worker.buffers));
        loop {
            tokio::select! {
                biased;
                filled = &mut fill => return filled,
                () = leaving => {}
            }
            if conn.is_leaving() {
                deadline.set_after(DRAIN_IDLE_TIMEOUT);
                return fill.await;
            }
            leaving = conn.worker.leaving.notified();
        }
    });
    matches!(deadline.guard(filled).await, Ok(Ok(count)) if count > 0)
}

/// Handles requests for as long as they follow each other closely.
async fn busy(conn: &Conn, client: &mut Client) -> Next {
    loop {
        let head = match next_head(conn, client).await {
            Ok(Some(head)) => head,
            Ok(None) => return Next::Close,
            Err(refusal) => return refuse(conn, client, refusal).await,
        };
        match exchange(conn, client, head).await {
            Next::Again => {}
            end => return end,
        }
        if !client.reader.is_empty() {
            continue;
        }
        let Client {
            stream,
            reader,
            deadline,
            ..
        } = &mut *client;
        deadline.set_after(CLIENT_BUSY_TIME);
        let fill = pin!(reader.fill(stream, &conn.worker.buffers));
        match deadline.guard(fill).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Next::Close,
            Err(_) => return Next::Again,
        }
    }
}

/// Why there is no next request.
enum Refusal {
    /// The bytes are not a request.
    Rejected(Reject),
    /// They did not come in time.
    Late,
}

/// Reads the next head; `None` when the client has ended the connection between requests (or cut it within a head, which
/// nobody can be told).
async fn next_head(conn: &Conn, client: &mut Client) -> Result<Option<RequestHead>, Refusal> {
    let Client {
        stream,
        reader,
        deadline,
        limits,
        ..
    } = client;
    let pool = &conn.worker.buffers;
    let mut scanner = HeadScanner::default();
    let mut first = true;
    let mut timed = false;
    loop {
        // The first bytes are always looked at, so that what can never be a request is refused at once.
        if !reader.is_empty()
            && (scanner.ready(reader.available(), limits.head) | std::mem::take(&mut first))
            && let Some((head, length)) =
                weft_h1::parse_request(reader.available(), limits).map_err(Refusal::Rejected)?
        {
            reader.consume(length);
            return Ok(Some(head));
        }
        if !std::mem::replace(&mut timed, true) {
            deadline.set_after(HEAD_TIMEOUT);
        }
        let filled = deadline.guard(pin!(reader.fill(stream, pool))).await;
        match filled {
            Ok(Ok(0)) | Ok(Err(_)) => return Ok(None),
            Ok(Ok(_)) => {}
            Err(_) if reader.is_empty() => return Ok(None),
            Err(_) => return Err(Refusal::Late),
        }
    }
}

/// Answers what was no request and closes.
async fn refuse(conn: &Conn, client: &mut Client, refusal: Refusal) -> Next {
    let (reason, status, words) = match refusal {
        Refusal::Rejected(reject) => (Reason::BadRequest, reject.status, reject.reason.to_string()),
        Refusal::Late => (
            Reason::RequestTimeout,
            http::StatusCode::REQUEST_TIMEOUT,
            "the request's head took too long".to_owned(),
        ),
    };
    let Client {
        stream,
        writer,
        deadline,
        ..
    } = client;
    let half = ClientHalf { stream, writer };
    let mut responder = Responder::half(conn, half, deadline, http::Version::HTTP_11, false);
    let sent = responder.refuse(status, reason, &words).await;
    record::refused(conn, status, reason, sent);
    Next::Close
}

/// Lets the client read what was written before the socket goes: a close with unread input would be a reset, and a reset
/// may overtake the answer. Whoever is still sending after a while is cut off.
async fn linger(conn: &Conn, client: &mut Client) {
    let Client {
        stream,
        reader,
        deadline,
        ..
    } = client;
    let _ = socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
    deadline.set_after(DRAIN_TIMEOUT);
    let ended = pin!(async {
        loop {
            reader.consume(usize::MAX);
            match reader.fill(stream, &conn.worker.buffers).await {
                Ok(1..) => tokio::task::coop::consume_budget().await,
                Ok(0) | Err(_) => return,
            }
        }
    });
    let _ = deadline.guard(ended).await;
}

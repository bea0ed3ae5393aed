//! A client's HTTP/1 connection: one request after the other until either side has had enough.
//!
//! An idle connection holds its socket, this small task and no buffer: everything a request needs is boxed and freed with
//! it. A request that cannot be proved is answered and the connection closed; nothing behind it is looked at.

use tokio::net::TcpStream;
use weft_h1::{HeadScanner, Limits, Reject, RequestHead};
use weft_model::reason::Reason;

use super::exchange::exchange;
use super::respond::{ClientHalf, Responder};
use super::upgrade::Switched;
use crate::config::{CLIENT_IDLE_TIMEOUT, DRAIN_IDLE_TIMEOUT, HEAD_TIMEOUT};
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
        client.reader.release(&conn.worker.buffers);
        if client.reader.is_empty() && !wait(&conn, &client).await {
            return;
        }
        match Box::pin(busy(&conn, &mut client)).await {
            Next::Again => {}
            Next::Close => return linger(&mut client).await,
            Next::Reset => return crate::net::reset_on_close(&client.stream),
            Next::Switched(switched) => return switched.run(&conn, client).await,
        }
    }
}

/// Waits for the next request's first byte; false when none will come. A drain shortens the wait.
async fn wait(conn: &Conn, client: &Client) -> bool {
    let drained = conn.worker.drained.notified();
    let idle = if conn.worker.draining() {
        DRAIN_IDLE_TIMEOUT
    } else {
        CLIENT_IDLE_TIMEOUT
    };
    client.deadline.set_after(idle);
    let readable = async {
        tokio::select! {
            biased;
            ready = client.stream.readable() => return ready.is_ok(),
            () = drained => client.deadline.set_after(DRAIN_IDLE_TIMEOUT),
        }
        client.stream.readable().await.is_ok()
    };
    client.deadline.guard(readable).await.unwrap_or(false)
}

/// Handles requests for as long as their bytes are here.
async fn busy(conn: &Conn, client: &mut Client) -> Next {
    loop {
        client.deadline.set_after(HEAD_TIMEOUT);
        let head = match next_head(conn, client).await {
            Ok(Some(head)) => head,
            Ok(None) => return Next::Close,
            Err(refusal) => return refuse(conn, client, refusal).await,
        };
        match exchange(conn, client, head).await {
            Next::Again if client.reader.is_empty() => return Next::Again,
            Next::Again => {}
            end => return end,
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
    loop {
        // The first bytes are always looked at, so that what can never be a request is refused at once.
        if !reader.is_empty()
            && (scanner.ready(reader.available(), limits.head) | std::mem::take(&mut first))
            && let Some((head, length)) = weft_h1::parse_request(reader.available(), limits).map_err(Refusal::Rejected)?
        {
            reader.consume(length);
            return Ok(Some(head));
        }
        match deadline.guard(reader.fill(stream, pool)).await {
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

/// Lets the client read what was written before the socket goes: a close with unread input would be a reset.
async fn linger(client: &mut Client) {
    let _ = socket2::SockRef::from(&client.stream).shutdown(std::net::Shutdown::Write);
    client.deadline.set_after(crate::config::DRAIN_TIMEOUT);
    let mut scratch = [0u8; 1024];
    let mut left = crate::config::DRAIN_BYTES;
    let Client {
        stream, deadline, ..
    } = client;
    let drained = async {
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut scratch) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Whoever keeps sending after this is cut off.
    let _ = deadline.guard(drained).await;
}

//! A raw client in a pod.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use crate::raw::{Raw, header};
use crate::world::{PATIENCE, Pod};

/// What takes longer has waited for one of the proxy's deadlines and not for an event.
const SOON: Duration = Duration::from_secs(1);
/// Tries of [`soon`].
const TRIES: u32 = 10;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and headers, as they came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Trailer lines, as they came.
    pub(crate) trailers: String,
}

impl Response {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// First value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order.
    Closed,
    /// With a reset.
    Reset,
}

/// A connection.
pub(crate) struct Client(Raw);

impl Deref for Client {
    type Target = Raw;

    fn deref(&self) -> &Raw {
        &self.0
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Raw {
        &mut self.0
    }
}

impl Client {
    pub(crate) fn connect(pod: &Pod, to: SocketAddr) -> io::Result<Self> {
        let stream = pod.ns.run(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Raw::new(stream)))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes).unwrap();
    }

    /// A GET and its answer.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: one\r\n\r\n"));
        self.response()
    }

    /// The next answer to anything but HEAD.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response(false)
            .unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The next answer to a HEAD request.
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.try_response(true)
            .unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub(crate) fn try_response(&mut self, to_head: bool) -> io::Result<Response> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).unwrap();
        let status: u16 = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("strange head {head:?}"));
        let bodiless = to_head || status < 200 || status == 204 || status == 304;
        let (body, trailers) = match bodiless {
            true => Default::default(),
            false => self.content(&head, Raw::rest)?,
        };
        Ok(Response {
            status,
            head,
            body,
            trailers,
        })
    }

    /// How the connection ends, whatever still comes before.
    pub(crate) fn ending(&mut self) -> Ending {
        match self.rest() {
            Ok(_) => Ending::Closed,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ending::Reset,
            Err(error) => panic!("it does not end: {error}"),
        }
    }

    /// Whether nothing more comes within `time`.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent = matches!(self.more(), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Ends the sending half.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        self.reset_on_drop();
    }
}

/// What happens at once, on a busy machine too: that one delays any try, but only the proxy's own deadlines delay all.
pub(crate) fn soon<T>(mut what: impl FnMut() -> T) -> T {
    let mut quickest = Duration::MAX;
    for _ in 0..TRIES {
        let (value, took) = timed(&mut what);
        if took < SOON {
            return value;
        }
        quickest = quickest.min(took);
    }
    panic!("the quickest of {TRIES} took {quickest:?}");
}

/// Runs and says how long it took.
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    (what(), begin.elapsed())
}

//! A raw client: exact bytes out, and what came back judged by a small parser that trusts nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::world::{PATIENCE, Pod};

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

/// First value of a header in a head.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
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
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(pod: &Pod, to: SocketAddr) -> io::Result<Self> {
        let stream = pod.ns.run(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
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
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
            trailers: String::new(),
        };
        let bodiless = to_head || status < 200 || status == 204 || status == 304;
        let chunked = response.header("transfer-encoding").is_some();
        let length = response
            .header("content-length")
            .map(|length| length.parse().unwrap());
        assert!(!(chunked && length.is_some()), "framed twice: {response:?}");
        match (bodiless, chunked, length) {
            (true, ..) => {}
            (false, true, _) => (response.body, response.trailers) = self.chunks()?,
            (false, false, Some(length)) => response.body = self.exactly(length)?,
            (false, false, None) => response.body = self.rest()?,
        }
        Ok(response)
    }

    fn chunks(&mut self) -> io::Result<(Vec<u8>, String)> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")?).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            if size == 0 {
                let mut trailers = String::new();
                loop {
                    let line = String::from_utf8(self.until(b"\r\n")?).unwrap();
                    if line == "\r\n" {
                        return Ok((body, trailers));
                    }
                    trailers.push_str(&line);
                }
            }
            body.extend(self.exactly(size)?);
            assert_eq!(self.exactly(2)?, b"\r\n");
        }
    }

    /// Bytes up to and with `end`.
    pub(crate) fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|w| w == end);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..at + end.len()).collect());
            }
            self.more()?;
        }
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.more()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// All bytes to the orderly end.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(error) => return Err(error),
            }
        }
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
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(());
                }
                // A child of another test has ended.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs and says how long it took.
pub(crate) fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    (what(), begin.elapsed())
}

//! One end of a connection in a test: exact bytes out, and what came back judged by a small parser that trusts nothing.
//! Client and server read messages with the same one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection and what was read ahead of it.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

/// First value of a header in a head.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Raw {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Body and trailer lines of the message with this head, as they came; `unframed` reads the body of one that says
    /// nothing of its length.
    pub(crate) fn content(
        &mut self,
        head: &str,
        unframed: impl FnOnce(&mut Self) -> io::Result<Vec<u8>>,
    ) -> io::Result<(Vec<u8>, String)> {
        let chunked = header(head, "transfer-encoding").is_some();
        let length = header(head, "content-length").map(|length| length.parse().unwrap());
        assert!(!(chunked && length.is_some()), "framed twice: {head}");
        match (chunked, length) {
            (true, _) => self.chunks(),
            (false, Some(length)) => Ok((self.exactly(length)?, String::new())),
            (false, None) => Ok((unframed(self)?, String::new())),
        }
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
            self.some_more()?;
        }
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.some_more()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// All bytes to the orderly end.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Ends with a reset once it is dropped.
    pub(crate) fn reset_on_drop(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn some_more(&mut self) -> io::Result<()> {
        match self.more()? {
            true => Ok(()),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads once; false at the orderly end.
    pub(crate) fn more(&mut self) -> io::Result<bool> {
        let mut piece = [0; 64 * 1024];
        let count = loop {
            match self.stream.read(&mut piece) {
                // A child of another test has ended.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }
}

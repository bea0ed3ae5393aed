//! Servers in pods: one that speaks HTTP and remembers every request, and one that does whatever a test says.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::raw::{Raw, header};
use crate::world::{PATIENCE, Pod};

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) peer: SocketAddr,
    /// Request line and headers, as they came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Trailer lines, as they came.
    pub(crate) trailers: String,
}

impl Seen {
    /// The request line without version.
    pub(crate) fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap();
        line.strip_suffix(" HTTP/1.1").unwrap()
    }

    /// First value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

#[derive(Default)]
struct Record {
    /// Open connections by number.
    streams: Mutex<BTreeMap<usize, TcpStream>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    /// Heads of requests that have arrived.
    begun: AtomicUsize,
    /// Connections that ended in the middle of a request.
    cut: AtomicUsize,
    /// Connections whose service ended with an error or a panic.
    failed: AtomicUsize,
}

/// A server.
pub(crate) struct Backend {
    listener: TcpListener,
    record: Arc<Record>,
}

/// One connection to a server.
pub(crate) struct Conn {
    raw: Raw,
    /// Number of the connection, from 0.
    pub(crate) number: usize,
    pub(crate) peer: SocketAddr,
    record: Arc<Record>,
}

impl Deref for Conn {
    type Target = Raw;

    fn deref(&self) -> &Raw {
        &self.raw
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut Raw {
        &mut self.raw
    }
}

impl Backend {
    /// Speaks HTTP with keep-alive; `answer` makes the bytes of each answer.
    pub(crate) fn http(
        pod: &Pod,
        port: u16,
        answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::raw(pod, port, move |mut conn| {
            while let Some(seen) = conn.request()? {
                conn.send(answer(&seen))?;
            }
            Ok(())
        })
    }

    /// Does anything. An error ends the connection.
    pub(crate) fn raw(
        pod: &Pod,
        port: u16,
        serve: impl Fn(Conn) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::at((pod.ip, port).into(), pod, serve)
    }

    /// The same at another address of the pod.
    pub(crate) fn at(
        address: SocketAddr,
        pod: &Pod,
        serve: impl Fn(Conn) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = pod.ns.run(|| TcpListener::bind(address)).unwrap();
        let listener = listener.unwrap();
        let record = Arc::<Record>::default();
        let accepting = listener.try_clone().unwrap();
        let (all, serve) = (Arc::clone(&record), Arc::new(serve));
        std::thread::spawn(move || {
            while let Ok((stream, peer)) = accepting.accept() {
                let number = all.connections.fetch_add(1, Ordering::SeqCst);
                all.open.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let copy = stream.try_clone().unwrap();
                all.streams.lock().unwrap().insert(number, copy);
                let (serve, record) = (Arc::clone(&serve), Arc::clone(&all));
                std::thread::spawn(move || {
                    let conn = Conn {
                        raw: Raw::new(stream),
                        number,
                        peer,
                        record: Arc::clone(&record),
                    };
                    record.failed.fetch_add(1, Ordering::SeqCst);
                    if serve(conn).is_ok() {
                        record.failed.fetch_sub(1, Ordering::SeqCst);
                    }
                    // The last descriptor of it: now the peer is told.
                    record.streams.lock().unwrap().remove(&number);
                    record.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { listener, record }
    }

    /// Connections it has ever accepted.
    pub(crate) fn connections(&self) -> usize {
        self.record.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }

    /// Requests whose head has arrived, whatever became of their bodies.
    pub(crate) fn begun(&self) -> usize {
        self.record.begun.load(Ordering::SeqCst)
    }

    /// Connections that were cut in the middle of a request.
    pub(crate) fn cut(&self) -> usize {
        self.record.cut.load(Ordering::SeqCst)
    }

    /// Connections whose service did not end well.
    pub(crate) fn failed(&self) -> usize {
        self.record.failed.load(Ordering::SeqCst)
    }

    /// Requests it has seen.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().unwrap().clone()
    }

    /// How many.
    pub(crate) fn hits(&self) -> usize {
        self.record.seen.lock().unwrap().len()
    }

    /// The newest request.
    pub(crate) fn last(&self) -> Seen {
        self.record.seen.lock().unwrap().last().unwrap().clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Wakes the thread that accepts, and closes the port and all connections.
        let _ = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
        for stream in self.record.streams.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Conn {
    /// The next request, remembered; none at an orderly end between requests.
    pub(crate) fn request(&mut self) -> io::Result<Option<Seen>> {
        let read = self.read_request();
        match &read {
            Ok(Some(seen)) => self.record.seen.lock().unwrap().push(seen.clone()),
            Ok(None) => {}
            Err(_) => {
                self.record.cut.fetch_add(1, Ordering::SeqCst);
            }
        }
        read
    }

    /// The head of the next request, remembered; its body stays unread.
    pub(crate) fn head(&mut self) -> io::Result<Option<Seen>> {
        let Some(head) = self.read_head()? else {
            return Ok(None);
        };
        let seen = self.seen(head, Vec::new(), String::new());
        self.record.seen.lock().unwrap().push(seen.clone());
        Ok(Some(seen))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.raw.send(bytes)
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        self.reset_on_drop();
    }

    /// Waits for the peer's end, whatever it sends before; false for a reset.
    pub(crate) fn drained(&mut self) -> bool {
        io::copy(&mut self.stream, &mut io::sink()).is_ok()
    }

    fn seen(&self, head: String, body: Vec<u8>, trailers: String) -> Seen {
        Seen {
            peer: self.peer,
            head,
            body,
            trailers,
        }
    }

    fn read_head(&mut self) -> io::Result<Option<String>> {
        if self.buffer.is_empty() && !self.more()? {
            return Ok(None);
        }
        let head = self.until(b"\r\n\r\n")?;
        self.record.begun.fetch_add(1, Ordering::SeqCst);
        Ok(Some(String::from_utf8_lossy(&head).into_owned()))
    }

    fn read_request(&mut self) -> io::Result<Option<Seen>> {
        let Some(head) = self.read_head()? else {
            return Ok(None);
        };
        let (body, trailers) = self.content(&head, |_| Ok(Vec::new()))?;
        Ok(Some(self.seen(head, body, trailers)))
    }
}

/// Echoes bytes until the client ends its half, then ends the other.
pub(crate) fn echo(mut conn: Conn) -> io::Result<()> {
    conn.stream.set_write_timeout(Some(PATIENCE))?;
    let mut reading = conn.stream.try_clone()?;
    io::copy(&mut reading, &mut conn.stream)?;
    conn.stream.shutdown(Shutdown::Write)
}

//! A steady stream of requests from inside a pod's network, as open as a crowd: the next one starts when its time has
//! come, whatever became of the one before. Every request is counted, none is made twice. It runs in threads of the test,
//! so that no kubelet and no runtime that is killed can end it.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weft_netns::Netns;

/// Between the starts of two requests.
const PERIOD: Duration = Duration::from_millis(20);
/// A request that has no answer by then is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lost requests that are described.
const SHOWN: usize = 20;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// As the client would name it.
    pub(crate) host: String,
}

/// A stream that runs.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    crowd: Option<JoinHandle<Tally>>,
    regular: Option<JoinHandle<Tally>>,
}

/// What became of requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: usize,
    /// When, since the start, and why.
    pub(crate) lost: Vec<(Duration, String)>,
    pub(crate) slowest: Duration,
}

/// The whole stream's.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Each on a connection of its own.
    pub(crate) fresh: Tally,
    /// One after the other on a connection that is kept as long as the server keeps it.
    pub(crate) kept: Tally,
}

impl Load {
    /// `kept`: whether one connection is kept besides.
    pub(crate) fn start(from: Netns, to: Target, kept: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let from = Arc::new(from);
        let crowd = {
            let (from, to, stop) = (Arc::clone(&from), to.clone(), Arc::clone(&stop));
            thread::spawn(move || crowd(&from, &to, &stop))
        };
        let regular = kept.then(|| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || regular(&from, &to, &stop))
        });
        Self {
            stop,
            crowd: Some(crowd),
            regular,
        }
    }

    /// No new requests; waits for those that are under way.
    pub(crate) fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let joined = |thread: Option<JoinHandle<Tally>>| {
            thread.map_or_else(Tally::default, |thread| thread.join().unwrap())
        };
        Report {
            fresh: joined(self.crowd.take()),
            kept: joined(self.regular.take()),
        }
    }
}

/// A case that fails takes its stream along.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    fn count(&mut self, at: Duration, took: Duration, result: io::Result<()>) {
        self.sent += 1;
        match result {
            Ok(()) => self.slowest = self.slowest.max(took),
            Err(error) => self.lost.push((at, error.to_string())),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, sent, slowest) = (self.lost.len(), self.sent, self.slowest.as_millis());
        write!(f, "{lost} of {sent} lost, slowest {slowest} ms")?;
        for (at, why) in self.lost.iter().take(SHOWN) {
            write!(f, "\n            at {:.2} s: {why}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "new connections: {}\n            kept: {}",
            self.fresh, self.kept
        )
    }
}

fn crowd(from: &Arc<Netns>, to: &Target, stop: &AtomicBool) -> Tally {
    let started = Instant::now();
    // Threads that nobody joins, since one that has ended keeps its stack until somebody does.
    let (done, results) = mpsc::channel();
    let mut next = started;
    while !stop.load(Ordering::Relaxed) {
        let (from, to, done) = (Arc::clone(from), to.clone(), done.clone());
        thread::spawn(move || {
            let at = Instant::now();
            let result = Connection::open(&from, &to)
                .and_then(|mut connection| connection.ask(&to, "close").map(drop));
            // Nobody listens to a stream that was given up.
            let _ = done.send((at.duration_since(started), at.elapsed(), result));
        });
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    drop(done);
    let mut tally = Tally::default();
    for (at, took, result) in results {
        tally.count(at, took, result);
    }
    tally
}

fn regular(from: &Netns, to: &Target, stop: &AtomicBool) -> Tally {
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut connection: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let at = Instant::now();
        let held = match connection.take() {
            // An end that the server has announced while nothing was asked is no loss: nothing was lost.
            Some(held) if !held.has_ended() => Ok(held),
            _ => Connection::open(from, to),
        };
        let result = held.and_then(|mut held| {
            if held.ask(to, "keep-alive")? {
                connection = Some(held);
            }
            Ok(())
        });
        tally.count(at.duration_since(started), at.elapsed(), result);
        thread::sleep(PERIOD);
    }
    tally
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(from: &Netns, to: &Target) -> io::Result<Self> {
        let stream = from.run(|| TcpStream::connect_timeout(&to.address, PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    fn has_ended(&self) -> bool {
        let stream = self.0.get_ref();
        let looked = stream
            .set_nonblocking(true)
            .and_then(|()| stream.peek(&mut [0]));
        let _ = stream.set_nonblocking(false);
        !matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// One request; true when the connection may be kept.
    fn ask(&mut self, to: &Target, connection: &str) -> io::Result<bool> {
        let host = &to.host;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let (mut length, mut keep) = (0, connection != "close");
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None => break,
                Some(("content-length", value)) => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                Some(("connection", value)) if value.trim() == "close" => keep = false,
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        if !status.starts_with("HTTP/1.1 200") {
            let body = String::from_utf8_lossy(&body);
            return Err(io::Error::other(format!("{status} {}", body.trim())));
        }
        Ok(keep)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

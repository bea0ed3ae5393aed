//! The proof of contracts.md §1: what is connected before a pod is captured survives capture and release; what is
//! connected while it is captured survives the first phase of release; both ways, idle or streaming.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weft_model::capture::CaptureSpec;
use weft_netns::Netns;
use weft_redirect::{Family, Flavour, Phase, capture, phase, release, releasing};

use crate::app::{Chat, Server, talk};
use crate::world::{APP, World};

/// A conversation that never pauses.
struct Stream {
    turns: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Stream {
    fn start(mut chat: Chat) -> Self {
        let (turns, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, end) = (turns.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                chat.echo(2000)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            chat.finish()
        });
        Self {
            turns,
            stop,
            thread: Some(thread),
        }
    }

    /// Waits for ten more turns.
    fn goes_on(&self) {
        let (begin, from) = (Instant::now(), self.turns.load(Ordering::Relaxed));
        while self.turns.load(Ordering::Relaxed) < from + 10 {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "the stream has stopped"
            );
            std::thread::yield_now();
        }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

/// One idle and one streaming conversation out of the pod, and one of each into it.
struct Traffic {
    idle: Vec<Chat>,
    streams: Vec<Stream>,
}

impl Traffic {
    fn start(w: &World) -> Self {
        let open = |from: &Netns, to| Chat::open(from, to).unwrap();
        let pairs = [(&w.b.ns, w.app(&w.far)), (&w.a.ns, w.app(&w.b))];
        Self {
            idle: pairs.iter().map(|(from, to)| open(from, *to)).collect(),
            streams: pairs
                .iter()
                .map(|(from, to)| Stream::start(open(from, *to)))
                .collect(),
        }
    }

    fn goes_on(&mut self) {
        self.streams.iter().for_each(Stream::goes_on);
        self.idle
            .iter_mut()
            .for_each(|chat| chat.echo(100).unwrap());
    }

    fn end(self) {
        self.streams.into_iter().for_each(Stream::end);
        self.idle
            .into_iter()
            .for_each(|chat| chat.finish().unwrap());
    }
}

fn connections_survive(flavour: Flavour, family: Family) {
    let mut w = World::new(flavour, family);
    let _apps = [&w.b, &w.far].map(|pod| Server::start(&pod.ns, (w.any(), APP)));
    let mut before = Traffic::start(&w);
    before.goes_on();

    w.capture("b", &CaptureSpec::default());
    before.goes_on();
    w.saw(&[]);
    let mut during = Traffic::start(&w);
    during.goes_on();
    assert_eq!(w.relay.hits().len(), 4);

    assert!(releasing(&w.b.ns, &w.backend).unwrap().changed);
    assert_eq!(phase(&w.b.ns, &w.backend).unwrap(), Phase::Releasing);
    before.goes_on();
    during.goes_on();
    assert_eq!(talk(&w.a.ns, w.app(&w.b)).unwrap(), w.ip(&w.a));
    assert_eq!(talk(&w.b.ns, w.app(&w.far)).unwrap(), w.ip(&w.b));
    w.saw(&[]);

    // The label comes back before the release is over.
    assert!(
        capture(&w.b.ns, &CaptureSpec::default(), &w.backend)
            .unwrap()
            .changed
    );
    during.goes_on();
    talk(&w.a.ns, w.app(&w.b)).unwrap();
    w.saw(&[w.entering(&w.b, w.app(&w.b))]);

    releasing(&w.b.ns, &w.backend).unwrap();
    during.goes_on();
    during.end();
    assert!(release(&w.b.ns, &w.backend).unwrap().changed);
    before.goes_on();
    before.end();
    talk(&w.a.ns, w.app(&w.b)).unwrap();
    w.saw(&[]);
}

#[test]
fn connections_survive_nft_v4() {
    connections_survive(Flavour::Nft, Family::V4);
}

#[test]
fn connections_survive_nft_v6() {
    connections_survive(Flavour::Nft, Family::V6);
}

#[test]
fn connections_survive_legacy_v4() {
    connections_survive(Flavour::Legacy, Family::V4);
}

#[test]
fn connections_survive_legacy_v6() {
    connections_survive(Flavour::Legacy, Family::V6);
}

/// The proxy connects to the app with the client's address, so both connections have one four-tuple apart from the
/// port: none may be reset for it.
fn borrowed_addresses_never_collide(flavour: Flavour, family: Family) {
    const CONNECTIONS: usize = 3000;
    const HELD: usize = 480;
    const AT_ONCE: usize = 12;
    let mut w = World::new(flavour, family);
    w.capture("b", &CaptureSpec::default());
    let _app = Server::start(&w.b.ns, (w.any(), APP));
    let to = w.app(&w.b);
    // Those that stay open are in the way of those that come and go.
    let mut held: Vec<Chat> = (0..HELD)
        .filter_map(|_| Chat::open(&w.a.ns, to).ok())
        .collect();
    let mut failed = HELD - held.len();
    failed += std::thread::scope(|scope| {
        let client = || {
            let each = (CONNECTIONS - HELD) / AT_ONCE;
            (0..each).filter(|_| talk(&w.a.ns, to).is_err()).count()
        };
        let clients: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .map(|c| c.join().unwrap())
            .sum::<usize>()
    });
    failed += held
        .iter_mut()
        .filter_map(|chat| chat.echo(100).err())
        .count();
    assert_eq!(failed, 0);
    assert_eq!(w.relay.hits().len(), CONNECTIONS);
}

#[test]
fn borrowed_addresses_never_collide_nft_v4() {
    borrowed_addresses_never_collide(Flavour::Nft, Family::V4);
}

#[test]
fn borrowed_addresses_never_collide_nft_v6() {
    borrowed_addresses_never_collide(Flavour::Nft, Family::V6);
}

#[test]
fn borrowed_addresses_never_collide_legacy_v4() {
    borrowed_addresses_never_collide(Flavour::Legacy, Family::V4);
}

#[test]
fn borrowed_addresses_never_collide_legacy_v6() {
    borrowed_addresses_never_collide(Flavour::Legacy, Family::V6);
}

/// Connections older than capture hold four-tuples that the proxy might choose, too: the app's kernel would take the
/// proxy's first packet for part of the old connection and never answer it.
fn old_connections_are_not_in_the_way(flavour: Flavour, family: Family) {
    const OLD: usize = 480;
    const NEW: usize = 2400;
    const AT_ONCE: usize = 12;
    let mut w = World::new(flavour, family);
    let _app = Server::start(&w.b.ns, (w.any(), APP));
    let to = w.app(&w.b);
    let mut old: Vec<Chat> = (0..OLD).map(|_| Chat::open(&w.a.ns, to).unwrap()).collect();
    w.capture("b", &CaptureSpec::default());
    let failed: usize = std::thread::scope(|scope| {
        let client = || {
            (0..NEW / AT_ONCE)
                .filter(|_| talk(&w.a.ns, to).is_err())
                .count()
        };
        let clients: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|c| c.join().unwrap()).sum()
    });
    assert_eq!(failed, 0);
    old.iter_mut().for_each(|chat| chat.echo(100).unwrap());
}

#[test]
fn old_connections_are_not_in_the_way_v4() {
    old_connections_are_not_in_the_way(Flavour::Nft, Family::V4);
}

#[test]
fn old_connections_are_not_in_the_way_v6() {
    old_connections_are_not_in_the_way(Flavour::Nft, Family::V6);
}

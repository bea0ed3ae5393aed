//! A request's body, handed on to copies of it: pieces go into a bounded queue for each copy, and nobody waits for it.
//!
//! Pieces are shared between copies. When a queue would grow beyond its bound, or all queues of the worker beyond theirs,
//! the copy is cut: it may never slow the request that it was made from.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use http::HeaderMap;
use tokio::sync::Notify;

use super::body::{Broken, Chunk};
use super::pump::Source;
use crate::config::{MAX_MIRROR_BYTES, MAX_MIRROR_LAG};
use crate::worker::Worker;

/// The writing ends of all copies of one body. Dropped before `end`, it cuts them: the body did not come whole.
pub(crate) struct Tee {
    feeds: Vec<Rc<Feed>>,
}

/// The way of one body to one copy.
pub(crate) struct Feed {
    worker: Rc<Worker>,
    state: RefCell<State>,
    changed: Notify,
    /// Told when the copy is cut, which a copy must learn while it waits for its endpoint to read.
    cut: Notify,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Rc<[u8]>>,
    /// Bytes in `pieces`.
    waiting: usize,
    end: End,
}

/// Whether more will come.
#[derive(Default)]
enum End {
    /// Yes.
    #[default]
    Open,
    /// No: this was all.
    Whole(Option<Box<HeaderMap>>),
    /// No, and what came is not all.
    Cut,
}

impl Tee {
    pub(crate) fn new(feeds: Vec<Rc<Feed>>) -> Self {
        Self { feeds }
    }

    /// Hands a piece to everybody who keeps up.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let shared: Rc<[u8]> = piece.into();
        self.feeds.retain(|feed| feed.push(&shared));
    }

    /// The body has come whole.
    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>) {
        for feed in self.feeds.drain(..) {
            feed.finish(End::Whole(trailers.cloned().map(Box::new)));
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        for feed in self.feeds.drain(..) {
            feed.cut();
        }
    }
}

impl Feed {
    pub(crate) fn new(worker: Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            worker,
            state: RefCell::default(),
            changed: Notify::new(),
            cut: Notify::new(),
        })
    }

    /// Takes a piece; false when the copy is cut with it, or has ended by itself.
    fn push(self: &Rc<Self>, piece: &Rc<[u8]>) -> bool {
        // The other end is gone: nobody will read this.
        if Rc::strong_count(self) == 1 {
            return false;
        }
        let all = &self.worker.mirrors.waiting;
        let mut state = self.state.borrow_mut();
        let fits = state.waiting + piece.len() <= MAX_MIRROR_LAG
            && all.get() + piece.len() <= MAX_MIRROR_BYTES;
        if !fits {
            drop(state);
            self.cut();
            return false;
        }
        state.waiting += piece.len();
        all.set(all.get() + piece.len());
        state.pieces.push_back(Rc::clone(piece));
        drop(state);
        self.changed.notify_one();
        true
    }

    fn cut(&self) {
        self.forget();
        self.finish(End::Cut);
        self.cut.notify_one();
    }

    /// Waits until the copy is cut.
    pub(crate) async fn was_cut(&self) {
        while !matches!(self.state.borrow().end, End::Cut) {
            self.cut.notified().await;
        }
    }

    fn finish(&self, end: End) {
        self.state.borrow_mut().end = end;
        self.changed.notify_one();
    }

    /// Drops what waits.
    fn forget(&self) {
        let mut state = self.state.borrow_mut();
        state.pieces.clear();
        let waiting = std::mem::take(&mut state.waiting);
        self.release(waiting);
    }

    fn release(&self, bytes: usize) {
        let all = &self.worker.mirrors.waiting;
        all.set(all.get().saturating_sub(bytes));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The reading end: a copy's body.
pub(crate) struct Teed {
    feed: Option<Rc<Feed>>,
    piece: Rc<[u8]>,
    used: usize,
    trailers: Option<Box<HeaderMap>>,
}

impl Teed {
    /// The body that comes along `feed`; without one there is none.
    pub(crate) fn new(feed: Option<Rc<Feed>>) -> Self {
        Self {
            feed,
            piece: Rc::from([]),
            used: 0,
            trailers: None,
        }
    }

    /// Its way, while there is more to come.
    pub(crate) fn feed(&self) -> Option<Rc<Feed>> {
        self.feed.clone()
    }
}

impl Source for Teed {
    fn ready(&mut self) -> Result<Chunk<'_>, Broken> {
        let Some(feed) = &self.feed else {
            return Ok(Chunk::End(self.trailers.as_deref()));
        };
        if self.used >= self.piece.len() {
            let mut state = feed.state.borrow_mut();
            match (state.pieces.pop_front(), &mut state.end) {
                (Some(piece), _) => {
                    state.waiting -= piece.len().min(state.waiting);
                    feed.release(piece.len());
                    self.piece = piece;
                    self.used = 0;
                }
                (None, End::Open) => return Ok(Chunk::Wait),
                (None, End::Whole(trailers)) => {
                    self.trailers = trailers.take();
                    drop(state);
                    self.feed = None;
                    return Ok(Chunk::End(self.trailers.as_deref()));
                }
                (None, End::Cut) => {
                    return Err(Broken::Io(io::ErrorKind::ConnectionAborted.into()));
                }
            }
        }
        Ok(Chunk::Data(self.piece.get(self.used..).unwrap_or_default()))
    }

    async fn more(&mut self) -> Result<(), Broken> {
        if let Some(feed) = &self.feed {
            feed.changed.notified().await;
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.piece.len());
    }
}

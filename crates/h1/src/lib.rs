//! A strict HTTP/1 codec: bytes to heads and bodies and back; no sockets, no clock, no shared state.
//!
//! It exists because a mesh may forward only what it can prove (`docs/adr`, contracts section 8): two readers who cut one
//! byte stream into different requests are the root of request smuggling. So the codec rejects and never repairs, and
//! what it lets through is typed and written anew: no byte of the sender's framing ever reaches the other side.
//!
//! Reading: [`parse_request`] and [`parse_response`] take a buffer and answer "need more", "refused" or a head and its
//! length; [`BodyDecoder`] finds the data in what follows, lent in place. Writing: [`write_request_head`],
//! [`write_response_head`], [`write_chunk_size`] and [`write_last_chunk`] append to a buffer of the caller's.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod body;
mod chunk;
mod encode;
mod fault;
mod fields;
mod framing;
#[doc(hidden)]
pub mod fuzz;
mod limits;
mod names;
mod options;
mod request;
mod response;
mod scan;

pub use body::{BodyDecoder, BodyError, Decoded};
pub use encode::{
    CHUNK_END, Connection, write_chunk_size, write_last_chunk, write_request_head,
    write_response_head,
};
pub use fault::{BadResponse, Fault, Reject};
pub use framing::Framing;
pub use limits::{Limits, MAX_HEADERS};
pub use names::{is_forbidden_trailer, is_protected, is_reserved};
pub use request::{RequestHead, parse_request};
pub use response::{ResponseHead, parse_response};
pub use scan::HeadScanner;

//! Plain TCP from inside a pod.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_netns::Netns;

use crate::verb::connect::connect;

/// Longest talk.
pub const TALK_DEADLINE: Duration = Duration::from_secs(30);

/// Sends `bytes`, closes the sending half, and gives all that the peer says until it closes too.
///
/// # Errors
/// Connect, write or read fails, or the peer is not done within [`TALK_DEADLINE`].
pub async fn talk(ns: &Netns, address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = connect(ns, address).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(TALK_DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer is not done",
            ))
        })
}

/// Sends one line and gives the line that answers, both without their ends.
///
/// # Errors
/// As [`talk`]; `UnexpectedEof` when the peer closes first.
pub async fn ask(ns: &Netns, address: SocketAddr, line: &str) -> io::Result<String> {
    let answer = talk(ns, address, format!("{line}\n").as_bytes()).await?;
    let text = String::from_utf8_lossy(&answer);
    let first = text.lines().next().map(str::to_owned);
    first.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"))
}

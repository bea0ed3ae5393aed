//! The server behind every proxy: answers each HTTP/1.1 request with the same small response, and sends as many bytes
//! as it is asked for. One thread, so that it leaves the load generator room on a shared core.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

/// Length of the response's body.
pub(crate) const BODY: usize = 1024;
const READ: usize = 16 * 1024;
const WRITE: usize = 256 * 1024;

/// Serves until it is killed.
pub(crate) fn run(http: SocketAddr, bulk: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let http = listen(http).await?;
        let bulk = listen(bulk).await?;
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = bulk.accept().await {
                tokio::task::spawn_local(send_bulk(stream));
            }
        });
        let response: &'static [u8] = response().leak();
        loop {
            let (stream, _) = http.accept().await.context("cannot accept")?;
            tokio::task::spawn_local(answer(stream, response));
        }
    })
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

fn response() -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n"
    );
    let mut response = head.into_bytes();
    response.resize(response.len() + BODY, b'x');
    response
}

/// Counts request heads by their end; the load sends no bodies.
async fn answer(mut stream: TcpStream, response: &'static [u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; READ];
    let mut seen = 0_usize;
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        for byte in buffer.iter().take(length) {
            seen = match (seen, byte) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => seen + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if seen == 4 {
                stream.write_all(response).await?;
                seen = 0;
            }
        }
    }
}

/// Reads a count (8 bytes, big endian) and sends that many bytes; again, until the client leaves.
async fn send_bulk(mut stream: TcpStream) -> std::io::Result<()> {
    let block = vec![b'x'; WRITE];
    loop {
        let mut left = stream.read_u64().await?;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(WRITE).min(WRITE);
            stream
                .write_all(block.get(..length).unwrap_or(&block))
                .await?;
            left -= length as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BODY, response};

    #[test]
    fn the_response_is_what_its_length_says() {
        let response = response();
        let end = response
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert_eq!(response.len() - end, BODY);
    }
}

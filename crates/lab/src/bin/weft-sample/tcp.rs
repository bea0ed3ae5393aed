//! Lines over TCP: `PING`, `WHO`, `SET key value`, `GET key`, `CLOSE`; any other line comes back as it was. The answer
//! to the last line is complete when the client has closed its half.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::identity::Identity;
use crate::socket::accept_all;

/// Longest line.
const MAX_LINE: u64 = 1024 * 1024;

/// `greets`: the server speaks first, as databases and mail servers do.
pub(crate) async fn serve(listener: TcpListener, identity: Arc<Identity>, greets: bool) {
    accept_all(listener, move |stream, peer| {
        let identity = Arc::clone(&identity);
        async move {
            // The client sees the end of the connection; there is nobody else to tell.
            let _ = talk(stream, peer, &identity, greets).await;
        }
    })
    .await;
}

async fn talk(
    stream: TcpStream,
    peer: SocketAddr,
    identity: &Identity,
    greets: bool,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    if greets {
        let hello = format!("HELLO {} {}\n", identity.service, identity.version);
        writer.write_all(hello.as_bytes()).await?;
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .await?;
        if length == 0 {
            return writer.shutdown().await;
        }
        match answer(&line, peer, identity) {
            Some(answer) => writer.write_all(&answer).await?,
            None => return writer.shutdown().await,
        }
    }
}

fn answer(line: &[u8], peer: SocketAddr, identity: &Identity) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.trim_end().splitn(3, ' ');
    let answer = match (words.next(), words.next(), words.next()) {
        (Some("PING"), None, _) => "PONG".to_owned(),
        (Some("WHO"), None, _) => {
            let Identity {
                service,
                version,
                pod,
                ..
            } = identity;
            format!("{service} {version} {pod} {}", peer.ip().to_canonical())
        }
        (Some("SET"), Some(key), Some(value)) => {
            identity.set(key, value);
            "OK".to_owned()
        }
        (Some("GET"), Some(key), None) => identity.get(key).unwrap_or_else(|| "NONE".to_owned()),
        (Some("CLOSE"), None, _) => return None,
        _ => return Some(line.to_vec()),
    };
    Some((answer + "\n").into_bytes())
}

//! Peers that are no nodes, and operators that are no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use weft_tables::NodeKind;

use crate::mesh::{Client, Mesh, WAIT, free_port};

#[tokio::test]
async fn who_says_nothing_is_sent_away_and_nodes_are_served_meanwhile() {
    let mesh = Mesh::new(&[]).await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(mesh.grpc).await.unwrap();
    let mut talks = TcpStream::connect(mesh.grpc).await.unwrap();
    // A right preface and nothing after it.
    talks
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let client = mesh.client("n1", NodeKind::Proxy);
    client.until(|state| state.generation > 0).await;
    for stream in [&mut silent, &mut talks] {
        let mut rest = Vec::new();
        // Closed or reset: either way the connection has ended.
        let ended = tokio::time::timeout(WAIT, stream.read_to_end(&mut rest));
        let _ = ended.await.expect("the connection stays open");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn strangers_have_a_limit() {
    let mesh = Mesh::new(&[]).await;
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(mesh.grpc).await.unwrap());
    }
    let mut refused = 0;
    for stream in &mut strangers {
        let mut byte = [0];
        // Who is let in hears the server's settings first, and is closed at the deadline for Hello.
        let heard = tokio::time::timeout(WAIT, stream.read(&mut byte)).await;
        if !matches!(heard.expect("neither greeted nor closed"), Ok(1)) {
            refused += 1;
        }
    }
    assert!(refused >= 40, "only {refused} of 300 were refused");
    drop(strangers);
    let client = mesh.client("n1", NodeKind::Proxy);
    client.until(|state| state.generation > 0).await;
}

/// A message of the stream whose hello is any bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyHello {
    #[prost(bytes = "vec", tag = "1")]
    hello: Vec<u8>,
}

/// Sends one message and returns how the stream ends.
async fn send_hello(mesh: &Mesh, hello: Vec<u8>) -> tonic::Status {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", mesh.grpc)).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    let outgoing = tokio_stream::StreamExt::chain(
        tokio_stream::once(AnyHello { hello }),
        tokio_stream::pending(),
    );
    let codec = tonic_prost::ProstCodec::<AnyHello, AnyHello>::default();
    let path =
        tonic::codegen::http::uri::PathAndQuery::from_static("/weft.table.v1.Tables/Connect");
    let answered = client
        .streaming(tonic::Request::new(outgoing), path, codec)
        .await;
    match answered {
        Ok(response) => response
            .into_inner()
            .message()
            .await
            .expect_err("the stream goes on"),
        Err(status) => status,
    }
}

#[tokio::test]
async fn messages_that_are_too_big_or_make_no_sense_are_refused_by_name() {
    let mesh = Mesh::new(&[]).await;
    let status = send_hello(&mesh, vec![0; 2 << 20]).await;
    assert!(status.message().contains("too large"), "{status}");
    // A node's name, and no kind.
    let status = send_hello(&mesh, vec![0x0a, 1, b'n']).await;
    assert!(status.message().contains("hello.kind"), "{status}");
    let status = send_hello(&mesh, vec![0xff; 100]).await;
    assert!(!status.message().is_empty(), "{status}");
    let client = mesh.client("n1", NodeKind::Proxy);
    client.until(|state| state.generation > 0).await;
}

/// Passes bytes on until it is frozen; then swallows them without closing, as a machine that lost power does.
async fn relay(to: std::net::SocketAddr, frozen: Arc<AtomicBool>) -> std::net::SocketAddr {
    let address = free_port();
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            if frozen.load(Ordering::Relaxed) {
                // Accepted by the kernel, answered by nobody.
                std::mem::drop(tokio::spawn(async move {
                    let _near = near;
                    std::future::pending::<()>().await;
                }));
                continue;
            }
            let far = TcpStream::connect(to).await.unwrap();
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            tokio::spawn(pump(near_in, far_out, Arc::clone(&frozen)));
            tokio::spawn(pump(far_in, near_out, Arc::clone(&frozen)));
        }
    });
    address
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    frozen: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !frozen.load(Ordering::Relaxed) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn an_operator_that_vanishes_without_a_word_is_noticed_in_ten_seconds() {
    let mesh = Mesh::new(&[]).await;
    let frozen = Arc::new(AtomicBool::new(false));
    let address = relay(mesh.grpc, Arc::clone(&frozen)).await;
    let client = Client::start(address, "n1", NodeKind::Proxy, &mesh.dir.path().join("n1"));
    client.until(|state| state.generation > 0).await;
    client.until_connected(true).await;
    frozen.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    client.until_connected(false).await;
    assert!(
        begun.elapsed() <= Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::{Pieces, Scrape, registry};

/// Twenty thousand series.
struct Big;

impl Scrape for Big {
    fn begin(&self) -> Box<dyn Pieces> {
        Box::new(Numbers {
            left: 0..20_000,
            begun: Arc::default(),
        })
    }
}

/// A line each; counts what it was asked for.
struct Numbers {
    left: std::ops::Range<u64>,
    begun: Arc<AtomicU64>,
}

impl Pieces for Numbers {
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(number) = self.left.next() else {
            return false;
        };
        let line = format!("weft_test{{n=\"{number}\"}} {number}\n");
        self.begun.fetch_add(line.len() as u64, Ordering::Relaxed);
        out.extend_from_slice(line.as_bytes());
        true
    }
}

/// More series than any machine should hold at once: about 300 MB.
#[derive(Default)]
struct Huge(Arc<AtomicU64>);

impl Scrape for Huge {
    fn begin(&self) -> Box<dyn Pieces> {
        Box::new(Numbers {
            left: 0..9_000_000,
            begun: Arc::clone(&self.0),
        })
    }
}

fn router(readiness: &Readiness) -> Arc<Router> {
    let exposition = Exposition::new(registry("test", "0.0.0").unwrap(), vec![Arc::new(Big)]);
    let router = Router::new()
        .metrics(exposition)
        .readiness(readiness.clone())
        .get("/debug/echo", |query| Answer::text(query.to_owned()));
    Arc::new(router)
}

/// Sends `head` on a fresh connection with `connection: close` and returns head and body of the answer.
async fn ask<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    mut stream: S,
    line: &str,
    headers: &str,
) -> (String, Vec<u8>) {
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec())
        .unwrap()
        .to_ascii_lowercase();
    let body = answer[end + 4..].to_vec();
    let body = if head.contains("transfer-encoding: chunked") {
        dechunk(&body)
    } else {
        body
    };
    (head, body)
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let line = body
            .windows(2)
            .position(|window| window == b"\r\n")
            .unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 4 + size..];
    }
}

async fn start(readiness: &Readiness) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, router(readiness), shutdown.clone()));
    (address, shutdown)
}

#[tokio::test]
async fn metrics_are_the_same_plain_and_compressed() {
    let (address, _shutdown) = start(&Readiness::default()).await;
    let (head, plain) = ask(
        TcpStream::connect(address).await.unwrap(),
        "GET /metrics",
        "",
    )
    .await;
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let plain = String::from_utf8(plain).unwrap();
    assert!(plain.contains("weft_build_info{component=\"test\",version=\"0.0.0\"} 1\n"));
    assert!(plain.contains("process_open_fds "));
    assert!(plain.ends_with("weft_test{n=\"19999\"} 19999\n"));

    let (head, packed) = ask(
        TcpStream::connect(address).await.unwrap(),
        "GET /metrics",
        "accept-encoding: br, gzip;q=0.5\r\n",
    )
    .await;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(packed.len() < plain.len() / 4);
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    let series = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("weft_"))
            .count()
    };
    assert_eq!(series(&unpacked), series(&plain));
}

#[tokio::test]
async fn a_huge_scrape_is_rendered_only_as_fast_as_it_is_read() {
    let huge = Huge::default();
    let rendered = Arc::clone(&huge.0);
    let exposition = Exposition::new(registry("test", "0").unwrap(), vec![Arc::new(huge)]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Arc::new(Router::new().metrics(exposition));
    tokio::spawn(serve(listener, router, CancellationToken::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let (mut read, mut most) = (0_u64, 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let bytes = stream.read(&mut buffer).await.unwrap();
        if bytes == 0 {
            break;
        }
        read += bytes as u64;
        // Sockets hold a few megabytes; anything beyond is memory of ours.
        most = most.max(rendered.load(Ordering::Relaxed).saturating_sub(read));
    }
    assert!(read > 250_000_000, "{read} bytes of the scrape came");
    assert!(most < 16 << 20, "{most} bytes were rendered and not read");
}

#[tokio::test]
async fn gzip_that_is_refused_is_not_sent() {
    let (address, _shutdown) = start(&Readiness::default()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (head, _) = ask(stream, "GET /metrics", "accept-encoding: gzip;q=0\r\n").await;
    assert!(!head.contains("content-encoding"), "{head}");
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let readiness = Readiness::default();
    let part = readiness.part("tables");
    let (address, _shutdown) = start(&readiness).await;
    let (head, body) = ask(
        TcpStream::connect(address).await.unwrap(),
        "GET /healthz/ready",
        "",
    )
    .await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, b"not ready: tables\n");
    let _up = part.up();
    let (head, _) = ask(
        TcpStream::connect(address).await.unwrap(),
        "GET /healthz/ready",
        "",
    )
    .await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn only_reads_are_served() {
    let (address, _shutdown) = start(&Readiness::default()).await;
    let (head, _) = ask(
        TcpStream::connect(address).await.unwrap(),
        "POST /debug/echo",
        "",
    )
    .await;
    assert!(head.starts_with("http/1.1 405"), "{head}");
    let (head, body) = ask(
        TcpStream::connect(address).await.unwrap(),
        "GET /nothing",
        "",
    )
    .await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("/debug/echo"));
    let (head, body) = ask(
        TcpStream::connect(address).await.unwrap(),
        "HEAD /debug/echo?ab",
        "",
    )
    .await;
    assert!(head.contains("content-length: 2"), "{head}");
    assert!(body.is_empty());
}

#[tokio::test]
async fn a_silent_client_is_dropped_and_others_are_served() {
    let (address, _shutdown) = start(&Readiness::default()).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS - 1 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let (head, body) = ask(
        TcpStream::connect(address).await.unwrap(),
        "GET /debug/echo?hi",
        "",
    )
    .await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, b"hi");
    let mut first = silent.swap_remove(0);
    tokio::time::pause();
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn the_admin_socket_is_the_owners_only_and_replaces_a_stale_one() {
    let dir = std::env::temp_dir().join(format!("weft-service-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("proxy.sock");
    drop(bind_unix(&path).unwrap());
    let listener = bind_unix(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let shutdown = CancellationToken::new();
    tokio::spawn(serve_unix(
        listener,
        router(&Readiness::default()),
        shutdown.clone(),
    ));
    let (_, body) = ask(
        UnixStream::connect(&path).await.unwrap(),
        "GET /debug/echo?a=1",
        "",
    )
    .await;
    assert_eq!(body, b"a=1");
    std::fs::write(dir.join("file"), "precious").unwrap();
    let error = bind_unix(&dir.join("file")).unwrap_err();
    assert!(error.to_string().contains("is no socket"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
}

//! HTTP/1.1 as a test wants it: one request in, the whole response out.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weft_netns::Netns;

use crate::verb::connect::connect;
use crate::view::{Pod, View};

/// Longest wait for a whole response.
pub const RESPONSE_DEADLINE: Duration = Duration::from_secs(30);

/// A response with its body read to the end.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailers, when there were any.
    pub trailers: Option<HeaderMap>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is not JSON; the body is in the message.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// Where a URL leads from a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address to connect to.
    pub address: SocketAddr,
    /// `host[:port]` for the Host header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Resolves `http://host[:port]/path` as a pod of `namespace` does.
    ///
    /// # Errors
    /// Not such a URL, or the name is unknown.
    pub fn resolve(view: &View, namespace: &str, url: &str) -> anyhow::Result<Self> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (
                host,
                port.parse().with_context(|| format!("{url}: bad port"))?,
            ),
            _ => (authority, 80),
        };
        let ip = view.resolve(namespace, host);
        let ip = ip.with_context(|| format!("{url}: no Service has the name `{host}`"))?;
        Ok(Self {
            address: SocketAddr::new(ip, port),
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// A connection on which requests are sent one after the other.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Over an open stream.
    ///
    /// # Errors
    /// The stream is unusable.
    pub async fn over(stream: TcpStream) -> anyhow::Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; its errors are the request's errors too.
        tokio::spawn(connection.with_upgrades());
        Ok(Self { sender })
    }

    /// From inside a namespace.
    ///
    /// # Errors
    /// Those of [`connect`].
    pub async fn from(ns: &Netns, address: SocketAddr) -> anyhow::Result<Self> {
        Self::over(connect(ns, address).await?).await
    }

    /// Sends a request (its URI is written as given: a path and query) and reads the whole response.
    ///
    /// # Errors
    /// The connection ends early, or no response within [`RESPONSE_DEADLINE`].
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response> {
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned();
            let (status, headers) = (head.status.as_u16(), head.headers);
            anyhow::Ok(Response {
                status,
                headers,
                body: body.to_bytes(),
                trailers,
            })
        };
        match tokio::time::timeout(RESPONSE_DEADLINE, exchange).await {
            Ok(response) => response,
            Err(_) => bail!("no response within {RESPONSE_DEADLINE:?}"),
        }
    }

    /// Whether another request may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// A GET request with headers.
///
/// # Errors
/// A header or the path is malformed.
pub fn request(target: &Target, headers: &[(&str, &str)]) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut builder = Request::get(&target.path);
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        builder = builder.header("host", &target.authority);
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    Ok(builder.body(Full::default())?)
}

/// GET `url` from inside a pod, on a connection of its own; names are resolved as in the pod.
///
/// # Errors
/// The name is unknown, the pod has no namespace yet, or the exchange fails.
pub async fn get_from(
    view: &View,
    pod: &Pod,
    url: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<Response> {
    let target = Target::resolve(view, &pod.namespace, url)?;
    let ns = pod
        .netns
        .as_ref()
        .with_context(|| format!("{} has no namespace yet", pod.name))?;
    let mut connection = Connection::from(ns, target.address).await?;
    connection
        .send(request(&target, headers)?)
        .await
        .with_context(|| url.to_owned())
}

/// GET from the calling thread's own namespace.
///
/// # Errors
/// The exchange fails.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let stream = TcpStream::connect(address).await?;
    let target = Target {
        address,
        authority: address.to_string(),
        path: path.to_owned(),
    };
    Connection::over(stream)
        .await?
        .send(request(&target, &[])?)
        .await
}

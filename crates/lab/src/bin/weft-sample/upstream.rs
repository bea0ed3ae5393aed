//! Calls to other services: one keep-alive connection per task and authority is not worth a pool's care, so idle
//! connections lie on a stack and the newest is taken.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most idle connections to one authority.
const MAX_IDLE: usize = 32;
/// Longest answer that is read.
const MAX_ANSWER: u64 = 1024 * 1024;
/// What a request hands on, as apps in a mesh must: trace context, request id, and who the user is.
const HANDED_ON: [&str; 11] = [
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "end-user",
    "cookie",
    "authorization",
];

type Sender = SendRequest<Empty<Bytes>>;

/// Calls a URL and tells what came of it.
pub(crate) async fn call(url: &str, incoming: &HeaderMap) -> Value {
    let calling = async {
        match url.split_once("://") {
            Some(("http", rest)) => over_http(rest, incoming).await,
            Some(("tcp", authority)) => over_tcp(authority).await,
            _ => bail!("neither http:// nor tcp://"),
        }
    };
    let result = tokio::time::timeout(DEADLINE, calling).await;
    match result.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {DEADLINE:?}"))) {
        Ok((good, mut answer)) => {
            answer["url"] = json!(url);
            answer["ok"] = json!(good);
            answer
        }
        Err(error) => json!({"url": url, "ok": false, "error": format!("{error:#}")}),
    }
}

async fn over_http(rest: &str, incoming: &HeaderMap) -> anyhow::Result<(bool, Value)> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut request = Request::get(path).header("host", authority);
    for name in HANDED_ON {
        for value in incoming.get_all(name) {
            request = request.header(name, value);
        }
    }
    let mut sender = loop {
        match idle(authority) {
            // The peer may have closed it meanwhile; the next one is tried then.
            Some(mut sender) => {
                if sender.ready().await.is_ok() {
                    break sender;
                }
            }
            None => break open(authority).await?,
        }
    };
    let response = sender.send_request(request.body(Empty::new())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    keep(authority, sender);
    let told: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut answer = json!({"status": status.as_u16()});
    for field in ["service", "version", "pod"] {
        if let Some(value) = told.get(field) {
            answer[field] = value.clone();
        }
    }
    Ok((status.as_u16() < 500, answer))
}

async fn over_tcp(authority: &str) -> anyhow::Result<(bool, Value)> {
    let address = with_port(authority, 6379);
    let mut stream = TcpStream::connect(&address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.write_all(b"SET last visitor\nGET last\n").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    let good = answer.lines().eq(["OK", "visitor"]);
    Ok((good, json!({"answer": answer.trim_end()})))
}

async fn open(authority: &str) -> anyhow::Result<Sender> {
    let address = with_port(authority, 80);
    let stream = TcpStream::connect(&address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn with_port(authority: &str, port: u16) -> String {
    match authority.rsplit_once(':') {
        Some((_, number)) if number.parse::<u16>().is_ok() => authority.to_owned(),
        _ => format!("{authority}:{port}"),
    }
}

fn pool() -> &'static Mutex<HashMap<String, Vec<Sender>>> {
    static POOL: OnceLock<Mutex<HashMap<String, Vec<Sender>>>> = OnceLock::new();
    POOL.get_or_init(Mutex::default)
}

fn idle(authority: &str) -> Option<Sender> {
    let mut pool = pool().lock().unwrap_or_else(PoisonError::into_inner);
    let stack = pool.get_mut(authority)?;
    stack.pop()
}

fn keep(authority: &str, sender: Sender) {
    let mut pool = pool().lock().unwrap_or_else(PoisonError::into_inner);
    let stack = pool.entry(authority.to_owned()).or_default();
    if stack.len() < MAX_IDLE && !sender.is_closed() {
        stack.push(sender);
    }
}

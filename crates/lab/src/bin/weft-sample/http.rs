//! HTTP/1.1: who answered and what it saw, as JSON; a handful of paths misbehave in known ways.
//!
//! `/status/CODE` · `/delay/MS` · `/fail-first/N?key=K` (503 N times for a key, then 200) · `/bytes/N` · `/echo` (the
//! request's body comes back as it arrives) · `/events/N?ms=M` (a stream with a trailer) · `/upgrade` (101, then an echo
//! in the protocol asked for) · `/close` (answers, then closes) · `/hang` (never answers). These match by the end of the
//! path, so that they work behind any prefix. Everything else calls the upstreams (`?calls=url,url` instead of those
//! configured) and answers 200, or 502 when one of them failed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::answer::{self, Answer, Events, Filler};
use crate::identity::Identity;
use crate::socket::accept_all;
use crate::upstream;

pub(crate) async fn serve(listener: TcpListener, identity: Arc<Identity>) {
    accept_all(listener, move |stream, peer| {
        let identity = Arc::clone(&identity);
        let service = service_fn(move |request| {
            let identity = Arc::clone(&identity);
            async move { Ok::<_, Infallible>(respond(request, peer, &identity).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        async move {
            // The client sees the end of the connection; there is nobody else to tell.
            let _ = connection.await;
        }
    })
    .await;
}

async fn respond(request: Request<Incoming>, peer: SocketAddr, identity: &Identity) -> Answer {
    let path = request.uri().path().to_owned();
    let mut answer = match command(&path) {
        Some((name, argument)) => obey(name, argument, request, peer, identity).await,
        None => ordinary(&request, peer, identity).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        ("x-service", &identity.service),
        ("x-version", &identity.version),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    answer
}

/// `…/delay/20` → (`delay`, 20); `…/echo` → (`echo`, 0).
fn command(path: &str) -> Option<(&'static str, u64)> {
    const WITH: [&str; 5] = ["status", "delay", "fail-first", "bytes", "events"];
    const WITHOUT: [&str; 4] = ["echo", "upgrade", "close", "hang"];
    let mut end = path.rsplit('/');
    let (last, before) = (end.next()?, end.next());
    if let Some(name) = WITHOUT.into_iter().find(|name| *name == last) {
        return Some((name, 0));
    }
    let name = WITH.into_iter().find(|name| Some(*name) == before)?;
    Some((name, last.parse().ok()?))
}

async fn obey(
    name: &str,
    argument: u64,
    request: Request<Incoming>,
    peer: SocketAddr,
    identity: &Identity,
) -> Answer {
    match name {
        "status" => match u16::try_from(argument)
            .ok()
            .and_then(|c| StatusCode::from_u16(c).ok())
        {
            Some(status) => answer::json(status, &seen(&request, peer, identity)),
            None => answer::text(StatusCode::BAD_REQUEST, "no such status"),
        },
        "delay" => {
            tokio::time::sleep(Duration::from_millis(argument)).await;
            answer::json(StatusCode::OK, &seen(&request, peer, identity))
        }
        "fail-first" => {
            let key = query(&request, "key").unwrap_or_default();
            let before = identity.count(&key);
            let status = if before < argument {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            };
            let mut told = seen(&request, peer, identity);
            told["attempt"] = json!(before + 1);
            answer::json(status, &told)
        }
        "bytes" => Response::new(Filler(argument).boxed_unsync()),
        "events" => {
            let period = query(&request, "ms")
                .and_then(|ms| ms.parse().ok())
                .unwrap_or(0);
            let body = Events::new(argument, Duration::from_millis(period)).boxed_unsync();
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert(
                "content-type",
                HeaderValue::from_static("text/event-stream"),
            );
            headers.insert("trailer", HeaderValue::from_static("x-events"));
            response
        }
        "echo" => Response::new(request.into_body().boxed_unsync()),
        "upgrade" => upgrade(request),
        "close" => {
            let mut answer = answer::json(StatusCode::OK, &seen(&request, peer, identity));
            answer
                .headers_mut()
                .insert("connection", HeaderValue::from_static("close"));
            answer
        }
        _ => std::future::pending().await,
    }
}

async fn ordinary(request: &Request<Incoming>, peer: SocketAddr, identity: &Identity) -> Answer {
    if !identity.delay.is_zero() {
        tokio::time::sleep(identity.delay).await;
    }
    let asked = query(request, "calls");
    let urls: Vec<String> = match &asked {
        Some(urls) => urls.split(',').map(str::to_owned).collect(),
        None => identity.upstreams.clone(),
    };
    let mut upstreams = Vec::new();
    for url in urls.iter().filter(|url| !url.is_empty()) {
        upstreams.push(upstream::call(url, request.headers()).await);
    }
    let good = upstreams.iter().all(|u| u["ok"] == true);
    let mut told = seen(request, peer, identity);
    told["upstreams"] = Value::Array(upstreams);
    answer::json(
        if good {
            StatusCode::OK
        } else {
            StatusCode::BAD_GATEWAY
        },
        &told,
    )
}

fn seen(request: &Request<Incoming>, peer: SocketAddr, identity: &Identity) -> Value {
    json!({
        "service": identity.service,
        "version": identity.version,
        "pod": identity.pod,
        "namespace": identity.namespace,
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("", |p| p.as_str()),
        "client": peer.ip().to_canonical(),
        "headers": headers(request.headers()),
    })
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.as_str().to_owned())
            .and_modify(|line| *line = format!("{line}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    all
}

fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    let pairs = request.uri().query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, v)| v.to_owned())
}

/// Any protocol that the client asks for; then what it sends comes back.
fn upgrade(mut request: Request<Incoming>) -> Answer {
    let Some(protocol) = request.headers().get("upgrade").cloned() else {
        return answer::text(StatusCode::UPGRADE_REQUIRED, "send an Upgrade header");
    };
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        }
    });
    let mut answer = answer::of(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
    answer.headers_mut().remove("content-type");
    answer
        .headers_mut()
        .insert("connection", HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert("upgrade", protocol);
    answer
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn commands_are_found_behind_any_prefix() {
        assert_eq!(command("/status/503"), Some(("status", 503)));
        assert_eq!(command("/api/v1/delay/20"), Some(("delay", 20)));
        assert_eq!(command("/echo"), Some(("echo", 0)));
        for other in ["/", "/status", "/status/x", "/echo/more", "/reviews/7", ""] {
            assert_eq!(command(other), None, "{other}");
        }
    }
}

//! The read-only HTTP endpoints of a daemon: `/metrics`, readiness, and GET routes that its parts register. The same
//! router answers on TCP (metrics and readiness ports) and on a Unix socket (admin). GET and HEAD only: nothing that a
//! pod could reach through a proxy can change anything (hardening V108).

mod body;
mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

pub use body::Body;
pub use serve::{MAX_CONNECTIONS, bind_unix, serve, serve_unix};

use crate::metrics::{self, Exposition};
use crate::ready::Readiness;

/// Path of the readiness answer: 200 `ready`, or 503 with the names of the parts that are not.
pub const READY_PATH: &str = "/healthz/ready";
/// Path of the metrics.
pub const METRICS_PATH: &str = "/metrics";

/// A whole answer with status 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// JSON text.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            content_type: "application/json",
            body: body.into(),
        }
    }

    /// Plain text.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self {
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

/// Answers one path; the argument is the raw query string, empty when there is none.
type Page = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// Which path is answered how.
#[derive(Clone, Default)]
pub struct Router {
    pages: BTreeMap<String, Page>,
    exposition: Option<Exposition>,
    readiness: Option<Readiness>,
}

impl Router {
    /// A router that answers 404 to everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `/metrics`.
    #[must_use]
    pub fn metrics(mut self, exposition: Exposition) -> Self {
        self.exposition = Some(exposition);
        self
    }

    /// Answers `/healthz/ready`.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = Some(readiness);
        self
    }

    /// Answers `path` with what `page` returns for the query string. A path registered twice: the later one counts.
    #[must_use]
    pub fn get(
        mut self,
        path: &str,
        page: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.pages.insert(path.to_owned(), Arc::new(page));
        self
    }

    /// The answer to one request.
    pub(crate) fn respond(&self, request: &http::request::Parts) -> Response<Body> {
        if request.method != Method::GET && request.method != Method::HEAD {
            let mut response = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "this endpoint is read-only: use GET\n",
            );
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri.path();
        if let (METRICS_PATH, Some(exposition)) = (path, &self.exposition) {
            return scrape(exposition.clone(), accepts_gzip(&request.headers));
        }
        if let (READY_PATH, Some(readiness)) = (path, &self.readiness) {
            return match readiness.waiting() {
                waiting if waiting.is_empty() => text(StatusCode::OK, "ready\n"),
                waiting => {
                    let names = format!("not ready: {}\n", waiting.join(", "));
                    text(StatusCode::SERVICE_UNAVAILABLE, names)
                }
            };
        }
        match self.pages.get(path) {
            Some(page) => {
                let answer = page(request.uri.query().unwrap_or_default());
                with_type(StatusCode::OK, answer.content_type, answer.body)
            }
            None => text(StatusCode::NOT_FOUND, self.contents()),
        }
    }

    /// What a lost visitor is told.
    fn contents(&self) -> String {
        let fixed = [
            self.exposition.as_ref().map(|_| METRICS_PATH),
            self.readiness.as_ref().map(|_| READY_PATH),
        ];
        let pages = self.pages.keys().map(String::as_str);
        let paths: Vec<&str> = fixed.into_iter().flatten().chain(pages).collect();
        format!("not found; served here: {}\n", paths.join(" "))
    }
}

fn scrape(exposition: Exposition, gzip: bool) -> Response<Body> {
    let mut response = Response::new(Body::scrape(exposition, gzip));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(metrics::CONTENT_TYPE),
    );
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a client takes gzip (RFC 9110 §12.5.3); an explicit `q=0` refuses it.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .unwrap_or("1");
        named && quality.parse().is_ok_and(|quality: f32| quality > 0.0)
    })
}

#[cfg(test)]
mod tests;

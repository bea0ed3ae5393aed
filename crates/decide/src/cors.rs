//! Cross-origin resource sharing: which preflights the proxy answers, and what it adds to the answers of other requests
//! (Fetch, section 3.2; the Gateway API's CORS filter; Istio's `corsPolicy`).
//!
//! An origin that is allowed is always named as it came, never as `*`, which every one of the three allows; `Vary` tells
//! caches so. An origin that is not allowed gets nothing: the browser then refuses, and other clients never asked.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use http::{Method, header};
use weft_model::route::{Cors, CorsList};

use crate::matcher::Text;

/// Headers of a response that a page may read without leave (Fetch, "CORS-safelisted response-header name").
const SAFE: [HeaderName; 7] = [
    header::CACHE_CONTROL,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::PRAGMA,
];

/// A rule's policy, ready to be asked.
#[derive(Debug)]
pub struct PreparedCors {
    origins: Box<[Text]>,
    methods: Names,
    headers: Names,
    expose: Names,
    max_age: Option<HeaderValue>,
    credentials: bool,
    forward_unmatched: bool,
}

/// A list as the header that it becomes.
#[derive(Debug)]
enum Names {
    None,
    These(HeaderValue),
    All,
}

/// What the policy says to a request.
#[derive(Debug)]
pub enum Verdict<'c> {
    /// Nothing: no page of another origin asks, or its origin is not allowed.
    Silent,
    /// It is a preflight, answered with 200 and these headers.
    Preflight(HeaderMap),
    /// It goes on, and its answer is marked.
    Granted(Grant<'c>),
}

/// What the answer to a request of an allowed origin is marked with.
#[derive(Debug)]
pub struct Grant<'c> {
    cors: &'c PreparedCors,
    origin: HeaderValue,
}

impl PreparedCors {
    pub(crate) fn new(cors: &Cors, report: &mut dyn FnMut(&str, String)) -> Self {
        let origins = cors
            .origins
            .iter()
            .map(|origin| Text::new(origin, false, "CORS origins", report))
            .collect();
        let mut names = |list: &CorsList, place: &str| match list {
            CorsList::All => Names::All,
            CorsList::Names(names) if names.is_empty() => Names::None,
            CorsList::Names(names) => HeaderValue::from_str(&names.join(", "))
                .map(Names::These)
                .unwrap_or_else(|_| {
                    report(
                        place,
                        "not sent: a name holds characters that no header has".to_owned(),
                    );
                    Names::None
                }),
        };
        Self {
            origins,
            methods: names(&cors.methods, "CORS methods"),
            headers: names(&cors.headers, "CORS headers"),
            expose: names(&cors.expose, "CORS exposed headers"),
            max_age: cors.max_age.map(HeaderValue::from),
            credentials: cors.credentials,
            forward_unmatched: cors.forward_unmatched,
        }
    }

    /// Judges a request by its headers as they came.
    #[must_use]
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict<'_> {
        let Some(origin) = headers.get(ORIGIN) else {
            return Verdict::Silent;
        };
        let asked = headers
            .get(ACCESS_CONTROL_REQUEST_METHOD)
            .filter(|_| *method == Method::OPTIONS);
        match (self.allows(origin.as_bytes()), asked) {
            (true, Some(asked)) => Verdict::Preflight(self.preflight(origin, asked, headers)),
            (true, None) => Verdict::Granted(Grant {
                cors: self,
                origin: origin.clone(),
            }),
            (false, Some(_)) if !self.forward_unmatched => Verdict::Preflight(HeaderMap::new()),
            (false, _) => Verdict::Silent,
        }
    }

    /// Whether an origin is allowed. A port that says what the scheme says is as good as none.
    fn allows(&self, origin: &[u8]) -> bool {
        let any = |origin: &[u8]| self.origins.iter().any(|text| text.matches(origin));
        any(origin) || without_default_port(origin).is_some_and(any)
    }

    fn preflight(
        &self,
        origin: &HeaderValue,
        method: &HeaderValue,
        headers: &HeaderMap,
    ) -> HeaderMap {
        let mut answer = HeaderMap::new();
        self.mark(origin, &mut answer);
        let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let lists = [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.methods, Some(method)),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, asked),
        ];
        for (name, list, asked) in lists {
            let value = match list {
                Names::None => None,
                Names::These(value) => Some(value),
                Names::All => asked,
            };
            if let Some(value) = value {
                answer.insert(name, value.clone());
            }
        }
        if let Some(age) = &self.max_age {
            answer.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        answer
    }

    /// What every answer to an allowed origin has.
    fn mark(&self, origin: &HeaderValue, answer: &mut HeaderMap) {
        // A map is full at 32,768 lines; heads are limited to far fewer, and a full map must not end the worker.
        let _full = answer.try_insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            let _full = answer.try_insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        let _full = answer.try_append(VARY, HeaderValue::from_static("Origin"));
    }

    /// The `Access-Control-Expose-Headers` of an answer; `*` means nothing beside credentials, so its headers are named.
    fn exposed(&self, answer: &HeaderMap) -> Option<HeaderValue> {
        match &self.expose {
            Names::None => None,
            Names::These(value) => Some(value.clone()),
            Names::All if !self.credentials => Some(HeaderValue::from_static("*")),
            Names::All => {
                let names = answer.keys().filter(|name| !SAFE.contains(name));
                let names: Vec<&str> = names.map(HeaderName::as_str).collect();
                HeaderValue::from_str(&names.join(", "))
                    .ok()
                    .filter(|value| !value.is_empty())
            }
        }
    }
}

impl Grant<'_> {
    /// Marks an answer. What the application says about the same is replaced: two policies would be none.
    pub fn apply(&self, answer: &mut HeaderMap) {
        if let Some(exposed) = self.cors.exposed(answer) {
            let _full = answer.try_insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        self.cors.mark(&self.origin, answer);
    }
}

/// The origin without a port that its scheme implies; none where there is no such port.
fn without_default_port(origin: &[u8]) -> Option<&[u8]> {
    if origin.starts_with(b"https://") {
        origin.strip_suffix(b":443")
    } else if origin.starts_with(b"http://") {
        origin.strip_suffix(b":80")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;

//! Header changes, checked: names are lower case and valid, values too, and no change can break the framing.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use weft_k8s::gateway::{HeaderModifier, HeaderValue as HeaderEntry};
use weft_k8s::istio::{HeaderChange, Headers};
use weft_model::route::HeaderOps;

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::target;

/// Headers of the connection or the framing: changing them would let one message be read as two (RFC 9112, 11.2).
const OF_THE_CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Changes of both directions.
pub(crate) fn lower(
    headers: Option<&Headers>,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> (HeaderOps, HeaderOps) {
    let Some(headers) = headers else {
        return Default::default();
    };
    let mut direction = |change: &HeaderChange, name: &str| {
        let field = format!("{field}.headers.{name}");
        Reader {
            field,
            is_request: name == "request",
            subject,
            findings: &mut *findings,
        }
        .lower(change)
    };
    (
        direction(&headers.request, "request"),
        direction(&headers.response, "response"),
    )
}

/// A Gateway API header modifier of a request (or of a response) at a field.
pub(crate) fn modifier(
    given: &HeaderModifier,
    (field, is_request): (&str, bool),
    subject: Subject<'_>,
    findings: &mut Findings,
) -> HeaderOps {
    // Of several entries with one name the first counts (names are compared without regard to case).
    let map = |list: &[HeaderEntry]| {
        let mut map = BTreeMap::new();
        for entry in list {
            map.entry(entry.name.to_ascii_lowercase())
                .or_insert_with(|| entry.value.clone());
        }
        map
    };
    let change = HeaderChange {
        set: map(&given.set),
        add: map(&given.add),
        remove: given.remove.clone(),
    };
    let mut reader = Reader {
        field: field.to_owned(),
        is_request,
        subject,
        findings,
    };
    reader.lower(&change)
}

/// The name in lower case, or what is wrong with it.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let parsed = HeaderName::from_bytes(text.as_bytes());
    let wrong = |_| format!("\"{text}\" is no header name; use letters, digits and -");
    parsed.map(|name| name.as_str().to_owned()).map_err(wrong)
}

struct Reader<'a> {
    field: String,
    is_request: bool,
    subject: Subject<'a>,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn lower(&mut self, change: &HeaderChange) -> HeaderOps {
        let mut ops = HeaderOps::default();
        for (text, value) in &change.set {
            ops.set.extend(self.pair("set", text, value));
        }
        for (text, value) in &change.add {
            match self.pair("add", text, value) {
                Some((name, _)) if name == "host" && self.is_request => {
                    self.wrong(
                        "add",
                        text,
                        "a request has one host only; put it under set".to_owned(),
                    );
                }
                pair => ops.add.extend(pair),
            }
        }
        for text in &change.remove {
            match self.header(text) {
                Ok(name) if name == "host" && self.is_request => {
                    self.wrong(
                        "remove",
                        text,
                        "a request needs its host; it cannot be removed".to_owned(),
                    );
                }
                Ok(name) => ops.remove.push(name),
                Err(message) => self.wrong("remove", text, message),
            }
        }
        ops
    }

    fn pair(&mut self, verb: &str, text: &str, value: &str) -> Option<(String, String)> {
        if HeaderValue::from_str(value).is_err() {
            let message = "a value has visible ASCII characters, spaces and tabs only; correct it";
            self.wrong(verb, text, message.to_owned());
            return None;
        }
        if has_variable(value) {
            let field = format!("{}.{verb}[\"{text}\"]", self.field);
            let message = "variables like %REQ(name)% are not honoured yet; the value is sent as it is written";
            self.findings
                .add(Code::FieldNotHonoured, self.subject, &field, message);
        }
        match self.header(text) {
            Ok(name) if name == "host" && self.is_request && target::authority(value).is_err() => {
                let message =
                    format!("\"{value}\" is no host; write a name, with :port if need be");
                self.wrong(verb, text, message);
                None
            }
            Ok(name) => Some((name, value.to_owned())),
            Err(message) => {
                self.wrong(verb, text, message);
                None
            }
        }
    }

    fn header(&self, text: &str) -> Result<String, String> {
        if text.eq_ignore_ascii_case(":authority") && self.is_request {
            return Ok("host".to_owned());
        }
        let name = name(text)?;
        if OF_THE_CONNECTION.contains(&name.as_str()) {
            return Err(format!(
                "{name} belongs to the connection and is set by the proxy; leave it out"
            ));
        }
        Ok(name)
    }

    fn wrong(&mut self, verb: &str, text: &str, message: String) {
        let field = format!("{}.{verb}[\"{text}\"]", self.field);
        self.findings
            .add(Code::InvalidHeader, self.subject, &field, message);
    }
}

/// Whether the value has one of Envoy's variables, `%WORD%` or `%WORD(argument)%`.
fn has_variable(value: &str) -> bool {
    let mut parts = value.split('%').skip(1).peekable();
    while let Some(part) = parts.next() {
        let word = part.split('(').next().unwrap_or_default();
        let shouted = !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        if shouted && parts.peek().is_some() {
            return true;
        }
    }
    false
}

//! Prepared conditions of a route: what users wrote, turned into comparisons that allocate nothing.
//!
//! A condition that cannot be prepared (a bad pattern, an impossible header name) never matches and is reported, so a
//! mistake narrows a route and never widens it.

use std::collections::BTreeMap;

use http::{HeaderName, header};
use regex::bytes::Regex;
use smallvec::SmallVec;
use weft_model::matcher::{RequestMatch, StringMatch};

use crate::regexp::{self, Plain};
use crate::route::{Client, RequestView};

/// Joined header values and decoded query parameters up to this size live on the stack.
const INLINE: usize = 256;

/// Bytes of a joined or decoded value.
type Scratch = SmallVec<[u8; INLINE]>;

/// One prepared match block: all of its conditions must hold.
#[derive(Debug)]
pub struct PreparedMatch {
    /// Name given by the user; may be empty.
    pub name: String,
    pub(crate) path: Option<Text>,
    scheme: Option<Text>,
    method: Option<Text>,
    authority: Option<Text>,
    headers: Box<[HeaderCondition]>,
    without_headers: Box<[HeaderCondition]>,
    query: Box<[(Vec<u8>, Text)]>,
    port: Option<u16>,
    source_labels: BTreeMap<String, String>,
    source_namespace: Option<String>,
}

/// A prepared text comparison.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) kind: Kind,
    pub(crate) any_case: bool,
}

/// How a text is compared.
#[derive(Debug)]
pub(crate) enum Kind {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    /// Without its final slash.
    PathPrefix(Box<[u8]>),
    Regex(Regex),
    Present,
    /// Could not be prepared.
    Never,
}

/// What a header condition reads; Istio names the request line by pseudo-headers.
#[derive(Debug)]
enum Field {
    Header(HeaderName),
    Authority,
    Path,
    Method,
    Scheme,
    /// No request can carry it.
    Absent,
}

#[derive(Debug)]
struct HeaderCondition {
    field: Field,
    text: Text,
}

impl PreparedMatch {
    /// Prepares one block; `report(field, message)` is told what can never match.
    pub(crate) fn new(block: &RequestMatch, report: &mut dyn FnMut(&str, String)) -> Self {
        let mut text = |field: &str, condition: &Option<StringMatch>, fold: bool| {
            condition
                .as_ref()
                .map(|condition| Text::new(condition, fold, field, report))
        };
        let path = text("path", &block.path, block.ignore_path_case);
        let scheme = text("scheme", &block.scheme, true);
        let method = text("method", &block.method, false);
        // The target's host is lower case already; folding here makes the user's spelling irrelevant as well.
        let authority = text("authority", &block.authority, true);
        let headers = conditions("headers", &block.headers, report);
        let without_headers = conditions("withoutHeaders", &block.without_headers, report);
        let query = block
            .query
            .iter()
            .map(|(name, condition)| {
                (
                    name.clone().into_bytes(),
                    Text::new(condition, false, &format!("query {name}"), report),
                )
            })
            .collect();
        Self {
            name: block.name.clone(),
            path,
            scheme,
            method,
            authority,
            headers,
            without_headers,
            query,
            port: block.port,
            source_labels: block.source_labels.clone(),
            source_namespace: block.source_namespace.clone(),
        }
    }

    /// Whether all conditions hold. The cheap ones are asked first.
    pub(crate) fn matches(
        &self,
        port: u16,
        client: &Client<'_>,
        request: &RequestView<'_>,
    ) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
            && self
                .source_namespace
                .as_ref()
                .is_none_or(|wanted| wanted == client.namespace)
            && holds(&self.method, request.method.as_str())
            && holds(&self.path, request.target.path())
            && holds(&self.scheme, request.scheme)
            && holds(&self.authority, request.target.authority())
            && self
                .headers
                .iter()
                .all(|condition| condition.holds(request))
            && !self
                .without_headers
                .iter()
                .any(|condition| condition.holds(request))
            && self
                .query
                .iter()
                .all(|(name, text)| query_holds(name, text, request.target.query()))
            && self
                .source_labels
                .iter()
                .all(|(key, value)| client.labels.get(key) == Some(value))
    }
}

fn holds(condition: &Option<Text>, value: &str) -> bool {
    condition
        .as_ref()
        .is_none_or(|text| text.matches(value.as_bytes()))
}

fn conditions(
    list: &str,
    headers: &BTreeMap<String, StringMatch>,
    report: &mut dyn FnMut(&str, String),
) -> Box<[HeaderCondition]> {
    headers
        .iter()
        .map(|(name, condition)| {
            let place = format!("{list} {name}");
            let field = Field::new(name).unwrap_or_else(|| {
                report(&place, "not a valid header name; correct it".to_owned());
                Field::Absent
            });
            let fold = matches!(field, Field::Authority | Field::Scheme);
            HeaderCondition {
                field,
                text: Text::new(condition, fold, &place, report),
            }
        })
        .collect()
}

impl Text {
    /// Prepares a comparison; `any_case` leaves patterns alone, as Istio's `ignoreUriCase` does.
    pub(crate) fn new(
        condition: &StringMatch,
        any_case: bool,
        place: &str,
        report: &mut dyn FnMut(&str, String),
    ) -> Self {
        let bytes = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
        let kind = match condition {
            StringMatch::Exact(value) => Kind::Exact(bytes(value)),
            StringMatch::Prefix(value) => Kind::Prefix(bytes(value)),
            StringMatch::PathPrefix(value) => {
                Kind::PathPrefix(bytes(value.strip_suffix('/').unwrap_or(value)))
            }
            StringMatch::Present => Kind::Present,
            StringMatch::Regex(pattern) => {
                return Self {
                    kind: pattern_kind(pattern, place, report),
                    any_case: false,
                };
            }
        };
        Self { kind, any_case }
    }

    /// Whether `value` satisfies the comparison.
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        match &self.kind {
            Kind::Exact(wanted) => same(value, wanted, self.any_case),
            Kind::Prefix(wanted) => begins(value, wanted, self.any_case),
            Kind::PathPrefix(wanted) => {
                begins(value, wanted, self.any_case)
                    && matches!(value.get(wanted.len()), None | Some(b'/'))
            }
            Kind::Regex(pattern) => pattern.is_match(value),
            Kind::Present => true,
            Kind::Never => false,
        }
    }
}

fn pattern_kind(pattern: &str, place: &str, report: &mut dyn FnMut(&str, String)) -> Kind {
    match regexp::plain(pattern) {
        Some(Plain::Prefix("")) => return Kind::Present,
        Some(Plain::Prefix(text)) => return Kind::Prefix(text.as_bytes().into()),
        Some(Plain::Exact(text)) => return Kind::Exact(text.as_bytes().into()),
        None => {}
    }
    match regexp::whole(pattern) {
        Ok(compiled) => Kind::Regex(compiled),
        Err(why) => {
            report(
                place,
                format!("regex {pattern:?} is not used and matches nothing: {why}"),
            );
            Kind::Never
        }
    }
}

fn same(value: &[u8], wanted: &[u8], any_case: bool) -> bool {
    if any_case {
        value.eq_ignore_ascii_case(wanted)
    } else {
        value == wanted
    }
}

fn begins(value: &[u8], wanted: &[u8], any_case: bool) -> bool {
    value
        .get(..wanted.len())
        .is_some_and(|head| same(head, wanted, any_case))
}

impl Field {
    fn new(name: &str) -> Option<Self> {
        Some(match name {
            ":authority" | "host" => Self::Authority,
            ":path" => Self::Path,
            ":method" => Self::Method,
            ":scheme" => Self::Scheme,
            _ => Self::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
        })
    }
}

impl HeaderCondition {
    /// Whether the header is there and its value satisfies the comparison.
    fn holds(&self, request: &RequestView<'_>) -> bool {
        let value = match &self.field {
            Field::Header(name) => return self.header_holds(name, request),
            Field::Authority => request.target.authority(),
            Field::Path => request.target.path_and_query(),
            Field::Method => request.method.as_str(),
            Field::Scheme => request.scheme,
            Field::Absent => return false,
        };
        self.text.matches(value.as_bytes())
    }

    fn header_holds(&self, name: &HeaderName, request: &RequestView<'_>) -> bool {
        let mut values = request.headers.get_all(name).iter();
        let Some(first) = values.next() else {
            return false;
        };
        let Some(second) = values.next() else {
            return self.text.matches(first.as_bytes());
        };
        // RFC 9113 section 8.2.3: pieces of a cookie are joined in another way than lists (RFC 9110 section 5.3).
        let between: &[u8] = if *name == header::COOKIE { b"; " } else { b"," };
        let mut joined = Scratch::from_slice(first.as_bytes());
        for value in std::iter::once(second).chain(values) {
            joined.extend_from_slice(between);
            joined.extend_from_slice(value.as_bytes());
        }
        self.text.matches(&joined)
    }
}

/// Whether the first parameter called `name` satisfies the comparison.
fn query_holds(name: &[u8], text: &Text, query: Option<&str>) -> bool {
    let mut scratch = Scratch::new();
    let parameter = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key, &mut scratch) == name).then_some(value)
        });
    parameter.is_some_and(|value| text.matches(decoded(value, &mut scratch)))
}

/// Percent-decoded once, into `scratch` where anything changes; broken escapes stay as they are, `+` is no space
/// (Envoy's reading).
fn decoded<'b>(raw: &'b str, scratch: &'b mut Scratch) -> &'b [u8] {
    if memchr::memchr(b'%', raw.as_bytes()).is_none() {
        return raw.as_bytes();
    }
    scratch.clear();
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if let (b'%', [high, low, tail @ ..]) = (byte, after)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            scratch.push(high << 4 | low);
            rest = tail;
        } else {
            scratch.push(byte);
        }
    }
    scratch
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

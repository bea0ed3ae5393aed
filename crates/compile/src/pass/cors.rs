//! CORS policies: the Gateway API's filter and Istio's `corsPolicy`, to one model.

use weft_k8s::gateway::CorsFilter;
use weft_k8s::istio::{CorsPolicy, StringMatch as Given};
use weft_model::matcher::StringMatch;
use weft_model::route::{Cors, CorsList};

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::{expression, header};

/// All of them.
const ALL: &str = "*";
/// What a host's wildcard stands for: any number of labels.
const ANY_LABELS: &str = "[^/:@]*";

/// The Gateway API's filter, or what is wrong with it.
pub(crate) fn of_filter(given: &CorsFilter) -> Result<Cors, String> {
    let origins = given.allow_origins.iter().map(|text| origin(text));
    Ok(Cors {
        origins: origins.collect::<Result<_, _>>()?,
        methods: list(&given.allow_methods)?,
        headers: list(&given.allow_headers)?,
        expose: list(&given.expose_headers)?,
        max_age: Some(u64::from(given.max_age)),
        credentials: given.allow_credentials,
        forward_unmatched: false,
    })
}

/// Istio's policy; what is wrong in it is left out and found.
pub(crate) fn of_policy(
    given: &CorsPolicy,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Cors {
    let field = format!("{field}.corsPolicy");
    let mut add = |code, part: &str, message: String| {
        findings.add(code, subject, &format!("{field}{part}"), message);
    };
    let origins = origins(given, &mut add);
    let forward = match given.unmatched_preflights.as_deref() {
        None | Some("UNSPECIFIED" | "FORWARD") => true,
        Some("IGNORE") => false,
        Some(other) => {
            let message =
                format!("\"{other}\" does not exist; FORWARD is used; write it or IGNORE");
            add(Code::InvalidCors, ".unmatchedPreflights", message);
            true
        }
    };
    let mut names = |part: &str, given: &[String]| {
        let (good, bad): (Vec<_>, Vec<_>) = given
            .iter()
            .cloned()
            .partition(|text| header::name(text).is_ok());
        if let Some(bad) = bad.first() {
            let message = format!("\"{bad}\" is no name; it is left out");
            add(Code::InvalidCors, part, message);
        }
        CorsList::Names(good)
    };
    Cors {
        origins,
        methods: names(".allowMethods", &given.allow_methods),
        headers: names(".allowHeaders", &given.allow_headers),
        expose: names(".exposeHeaders", &given.expose_headers),
        max_age: given.max_age.map(|age| age.0.as_secs()),
        credentials: given.allow_credentials.unwrap_or(false),
        forward_unmatched: forward,
    }
}

/// Who may ask; the old spelling counts where the new one is absent.
fn origins(given: &CorsPolicy, add: &mut impl FnMut(Code, &str, String)) -> Vec<StringMatch> {
    let mut origins = Vec::new();
    for (index, text) in given.allow_origins.iter().enumerate() {
        match comparison(text) {
            Ok(origin) => origins.push(origin),
            Err(message) => {
                let part = format!(".allowOrigins[{index}]");
                let message = format!("{message}; the origin is not allowed");
                add(Code::InvalidCors, &part, message);
            }
        }
    }
    if !given.allow_origin.is_empty() {
        let message = "allowOrigin is an old spelling; write allowOrigins: [{exact: ...}]";
        add(Code::Deprecated, ".allowOrigin", message.to_owned());
    }
    if given.allow_origins.is_empty() {
        origins.extend(given.allow_origin.iter().map(|text| match text.as_str() {
            ALL => StringMatch::Present,
            text => StringMatch::Exact(text.to_owned()),
        }));
    }
    origins
}

/// Istio's `exact: "*"` is the one comparison that does not mean what it says.
fn comparison(given: &Given) -> Result<StringMatch, String> {
    match (&given.exact, &given.prefix, &given.regex) {
        (Some(exact), None, None) if exact == ALL => Ok(StringMatch::Present),
        (Some(exact), None, None) => Ok(StringMatch::Exact(exact.clone())),
        (None, Some(prefix), None) => Ok(StringMatch::Prefix(prefix.clone())),
        (None, None, Some(regex)) => {
            expression::whole(regex).map(|()| StringMatch::Regex(regex.clone()))
        }
        _ => Err("write one of exact, prefix and regex".to_owned()),
    }
}

/// `*` or `scheme://host[:port]`, where the host may begin with `*.` or be `*`. A port that the scheme implies is none.
fn origin(text: &str) -> Result<StringMatch, String> {
    if text == ALL {
        return Ok(StringMatch::Present);
    }
    let wrong = || format!("\"{text}\" is no origin; write it like https://shop.example:8443");
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").ok_or_else(wrong)?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return Err(wrong()),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().map_err(|_| wrong())?)),
        None => (rest, None),
    };
    let fixed = host.strip_prefix(ALL).unwrap_or(host);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let begins = host == fixed || fixed.is_empty() || fixed.starts_with('.');
    if host.is_empty() || !begins || !fixed.bytes().all(allowed) || port == Some(0) {
        return Err(wrong());
    }
    let port = match port.filter(|port| *port != default) {
        Some(port) => format!(":{port}"),
        None => String::new(),
    };
    Ok(if host == fixed {
        StringMatch::Exact(format!("{scheme}://{host}{port}"))
    } else {
        let fixed = fixed.replace('.', "\\.");
        StringMatch::Regex(format!("{scheme}://{ANY_LABELS}{fixed}{port}"))
    })
}

fn list(given: &[String]) -> Result<CorsList, String> {
    if given.iter().any(|text| text == ALL) {
        return match given {
            [_] => Ok(CorsList::All),
            _ => Err("* stands alone in its list".to_owned()),
        };
    }
    for text in given {
        header::name(text)?;
    }
    Ok(CorsList::Names(given.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_become_comparisons() {
        let exact = |text: &str| Ok(StringMatch::Exact(text.to_owned()));
        let regex = |text: &str| Ok(StringMatch::Regex(text.to_owned()));
        for (text, wanted) in [
            ("*", Ok(StringMatch::Present)),
            ("https://Shop.example", exact("https://shop.example")),
            ("https://a.example:443", exact("https://a.example")),
            ("http://a.example:443", exact("http://a.example:443")),
            ("http://*", regex("http://[^/:@]*")),
            (
                "https://*.a.example:8443",
                regex("https://[^/:@]*\\.a\\.example:8443"),
            ),
        ] {
            assert_eq!(origin(text), wanted, "{text}");
        }
        for wrong in [
            "",
            "a.example",
            "ftp://a.example",
            "https://",
            "https://a*.example",
            "https://*a.example",
            "https://a.example:x",
            "https://a.example:0",
            "https://a.example/",
            "https://a|b",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}

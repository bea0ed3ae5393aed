//! Answers that the proxy makes itself: redirects and fixed responses.

use weft_k8s::istio::{DirectResponse, HttpRedirect};
use weft_model::route::{Direct, PathRewrite, Redirect, RedirectPort};

use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::pass::{base64, target};

/// Largest body of a fixed answer.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Status of a redirect that gives none.
const DEFAULT_STATUS: u16 = 301;

/// A redirect, or nothing when its location is not valid: without the wrong part it might lead back to itself.
pub(crate) fn redirect(
    given: &HttpRedirect,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Option<Redirect> {
    let mut add = |part: &str, message: String| {
        findings.add(
            Code::InvalidRedirect,
            subject,
            &format!("{field}{part}"),
            message,
        );
    };
    let code = given.redirect_code.unwrap_or(u32::from(DEFAULT_STATUS));
    let status = u16::try_from(code)
        .ok()
        .filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308));
    if status.is_none() {
        let message = format!(
            "{code} is no redirect; write 301, 302, 303, 307 or 308; {DEFAULT_STATUS} is used"
        );
        add(".redirectCode", message);
    }
    if !given.uri.is_empty() && !given.prefix_rewrite.is_empty() {
        add(
            "",
            "uri and prefixRewrite exclude each other; uri is used".to_owned(),
        );
    }
    let elsewhere = [
        &given.uri,
        &given.prefix_rewrite,
        &given.authority,
        &given.scheme,
    ];
    if elsewhere.iter().all(|part| part.is_empty())
        && given.port.is_none()
        && given.derive_port.is_none()
    {
        add(
            "",
            "the redirect leads back to where it came from; write uri, authority or scheme"
                .to_owned(),
        );
        return None;
    }
    let mut valid = true;
    let mut checked = |part: &str, text: &str, check: fn(&str) -> Result<(), String>| {
        if text.is_empty() {
            return None;
        }
        if let Err(message) = check(text) {
            add(
                part,
                format!("{message}; until then what the rule matches is answered with 503"),
            );
            valid = false;
        }
        Some(text.to_owned())
    };
    let full = checked(".uri", &given.uri, target::path).map(PathRewrite::Full);
    let matched =
        checked(".prefixRewrite", &given.prefix_rewrite, target::path).map(PathRewrite::Matched);
    let scheme = checked(".scheme", &given.scheme, scheme);
    let authority = checked(".authority", &given.authority, target::authority);
    valid.then(|| Redirect {
        scheme,
        authority,
        path: full.or(matched),
        port: port(given, field, subject, findings),
        status: status.unwrap_or(DEFAULT_STATUS),
    })
}

fn scheme(text: &str) -> Result<(), String> {
    match text {
        "http" | "https" => Ok(()),
        _ => Err(format!("\"{text}\" is no scheme; write http or https")),
    }
}

fn port(
    given: &HttpRedirect,
    field: &str,
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Option<RedirectPort> {
    if let Some(number) = given.port {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            let message = "port numbers go from 1 to 65535; it is left out";
            findings.add(
                Code::InvalidRedirect,
                subject,
                &format!("{field}.port"),
                message,
            );
        }
        return port.map(RedirectPort::Number);
    }
    match given.derive_port.as_deref()? {
        "FROM_PROTOCOL_DEFAULT" => Some(RedirectPort::ProtocolDefault),
        "FROM_REQUEST_PORT" => Some(RedirectPort::Request),
        other => {
            let message = format!(
                "\"{other}\" does not exist; write FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT"
            );
            findings.add(
                Code::InvalidRedirect,
                subject,
                &format!("{field}.derivePort"),
                message,
            );
            None
        }
    }
}

/// A fixed response, or what is wrong with it.
pub(crate) fn direct(given: &DirectResponse) -> Result<Direct, &'static str> {
    let status = u16::try_from(given.status)
        .ok()
        .filter(|status| (200..600).contains(status));
    let status = status.ok_or("the status must be from 200 to 599")?;
    let body = match given.body.as_ref().map(|body| (&body.string, &body.bytes)) {
        None | Some((None, None)) => Vec::new(),
        Some((Some(text), None)) => text.clone().into_bytes(),
        Some((None, Some(text))) => base64::decode(text).ok_or("bytes is not base64")?,
        Some((Some(_), Some(_))) => return Err("write one of string and bytes"),
    };
    if body.len() > MAX_BODY_BYTES {
        return Err("the body is longer than 1 MiB");
    }
    Ok(Direct { status, body })
}

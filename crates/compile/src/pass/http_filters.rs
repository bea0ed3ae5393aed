//! Filters of an HTTPRoute's rule or backend.
//!
//! A filter that we do not have, or that is not valid, is refused with all that the rule matches: without it the request
//! would not be what its author meant. A mirror that leads nowhere is only left out, as the API asks.

use weft_k8s::gateway::{Filter, PathModifier, RequestMirror, RequestRedirect, UrlRewrite};
use weft_model::route::{
    Cors, HeaderOps, Mirror, PathRewrite, Redirect, RedirectPort, Rewrite, Share,
};

use crate::code::Code;
use crate::pass::backend_ref::{self, Unresolved};
use crate::pass::http_route::Lowering;
use crate::pass::{cors, header, target};

/// Status of a redirect that names none.
const FOUND: u16 = 302;
/// Statuses that a redirect may have.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// What a list of filters comes to.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) request: HeaderOps,
    pub(crate) response: HeaderOps,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) cors: Option<Cors>,
    /// A filter is not ours, or not valid.
    pub(crate) refused: bool,
}

impl Lowering<'_, '_> {
    /// Lowers the filters of the rule or backend at `place`.
    pub(crate) fn filters(&mut self, filters: &[Filter], place: &str) -> Changes {
        let mut changes = Changes::default();
        for (index, filter) in filters.iter().enumerate() {
            let field = format!("{place}.filters[{index}]");
            if let Err(message) = self.filter(filter, &field, &mut changes) {
                changes.refused = true;
                let message = format!("{message}; what the rule matches is answered with 500");
                self.add(Code::InvalidFilter, &field, message);
            }
        }
        if changes.redirect.is_some() && changes.rewrite.is_some() {
            changes.refused = true;
            let message = "RequestRedirect and URLRewrite exclude each other; what the rule matches is answered with 500";
            self.add(Code::InvalidFilter, &format!("{place}.filters"), message);
        }
        changes
    }

    fn filter(&mut self, filter: &Filter, field: &str, into: &mut Changes) -> Result<(), String> {
        let absent = |name: &str| format!("a filter of this type needs {name}");
        match filter.kind.as_str() {
            "RequestHeaderModifier" => {
                let given = filter.request_header_modifier.as_ref();
                let given = given.ok_or_else(|| absent("requestHeaderModifier"))?;
                let field = format!("{field}.requestHeaderModifier");
                let ops = header::modifier(given, (&field, true), self.subject, self.findings);
                join(&mut into.request, ops);
            }
            "ResponseHeaderModifier" => {
                let given = filter.response_header_modifier.as_ref();
                let given = given.ok_or_else(|| absent("responseHeaderModifier"))?;
                let field = format!("{field}.responseHeaderModifier");
                let ops = header::modifier(given, (&field, false), self.subject, self.findings);
                join(&mut into.response, ops);
            }
            "RequestRedirect" => {
                let given = filter.request_redirect.as_ref();
                into.redirect = Some(redirect(given.ok_or_else(|| absent("requestRedirect"))?)?);
            }
            "URLRewrite" => {
                let given = filter.url_rewrite.as_ref();
                into.rewrite = Some(rewrite(given.ok_or_else(|| absent("urlRewrite"))?)?);
            }
            "RequestMirror" => {
                let given = filter.request_mirror.as_ref();
                let given = given.ok_or_else(|| absent("requestMirror"))?;
                into.mirrors
                    .extend(self.mirror(given, &format!("{field}.requestMirror")));
            }
            "CORS" => {
                let given = filter.cors.as_ref().ok_or_else(|| absent("cors"))?;
                into.cors = Some(cors::of_filter(given)?);
            }
            kind => return Err(format!("the filter {kind} is not honoured yet")),
        }
        Ok(())
    }

    /// A mirror, or nothing when it leads nowhere or is not valid; then there is a finding.
    fn mirror(&mut self, given: &RequestMirror, field: &str) -> Option<Mirror> {
        let own = &self.subject.name.namespace;
        let resolved = backend_ref::resolve(self.cluster, own, &given.backend_ref);
        let share = match (given.percent, &given.fraction) {
            (None, None) => Ok(Share::WHOLE),
            (Some(percent), None) => part(percent, 100),
            (None, Some(fraction)) => part(fraction.numerator, fraction.denominator),
            (Some(_), Some(_)) => Err("percent and fraction exclude each other".to_owned()),
        };
        if let Err(message) = &share {
            let message = format!("{message}; nothing is mirrored");
            self.add(Code::InvalidMirror, field, message);
        }
        let target = resolved
            .map_err(|Unresolved { code, part, words }| {
                let field = format!("{field}.backendRef{part}");
                self.add(code, &field, format!("{words}; nothing is mirrored"));
            })
            .ok()?;
        Some(Mirror {
            target,
            share: share.ok()?,
            shadow: false,
        })
    }
}

fn part(numerator: u32, denominator: u32) -> Result<Share, String> {
    if denominator == 0 || numerator > denominator {
        return Err(format!(
            "{numerator} of {denominator} is no part of the requests; write one from 0 to all"
        ));
    }
    Ok(Share {
        numerator,
        denominator,
    })
}

fn join(into: &mut HeaderOps, ops: HeaderOps) {
    into.remove.extend(ops.remove);
    into.set.extend(ops.set);
    into.add.extend(ops.add);
}

fn redirect(given: &RequestRedirect) -> Result<Redirect, String> {
    let status = given.status_code.unwrap_or(FOUND);
    if !REDIRECTS.contains(&status) {
        return Err(format!(
            "{status} is no status of a redirect; write one of 301, 302, 303, 307, 308"
        ));
    }
    if let Some(hostname) = &given.hostname {
        target::authority(hostname)?;
    }
    if let Some(scheme) = given
        .scheme
        .as_deref()
        .filter(|scheme| !["http", "https"].contains(scheme))
    {
        return Err(format!(
            "\"{scheme}\" is no scheme of a redirect; write http or https"
        ));
    }
    let port = match (given.port, &given.scheme) {
        (Some(port), _) => RedirectPort::Number(port),
        (None, Some(_)) => RedirectPort::ProtocolDefault,
        // The port of the frontend, which is the one that was dialled.
        (None, None) => RedirectPort::Request,
    };
    Ok(Redirect {
        scheme: given.scheme.clone(),
        authority: given.hostname.clone(),
        port: Some(port),
        path: given.path.as_ref().map(path).transpose()?,
        status,
    })
}

fn rewrite(given: &UrlRewrite) -> Result<Rewrite, String> {
    if let Some(hostname) = &given.hostname {
        target::authority(hostname)?;
    }
    Ok(Rewrite {
        path: given.path.as_ref().map(path).transpose()?,
        authority: given.hostname.clone(),
    })
}

fn path(given: &PathModifier) -> Result<PathRewrite, String> {
    let text = match given.kind.as_str() {
        "ReplaceFullPath" => given.replace_full_path.as_ref(),
        "ReplacePrefixMatch" => given.replace_prefix_match.as_ref(),
        other => {
            return Err(format!(
                "\"{other}\" is no kind of path modifier; write ReplaceFullPath or ReplacePrefixMatch"
            ));
        }
    };
    let text = text.cloned().unwrap_or_default();
    target::path(&text)?;
    Ok(if given.kind == "ReplaceFullPath" {
        PathRewrite::Full(text)
    } else {
        PathRewrite::Matched(text)
    })
}

//! One VirtualService's HTTP rules as the clients of one namespace obey them.

use weft_k8s::istio::{
    Destination, DirectResponse, HttpRedirect, HttpRewrite, HttpRoute, HttpRouteDestination,
};
use weft_model::id::ObjectName;
use weft_model::route::{
    Action, Backend, BackendTarget, Direct, PathRewrite, Redirect, RedirectPort, Rewrite, RouteId,
    Rule, SubsetRef,
};

use crate::cluster::{Cluster, LiveService};
use crate::code::Code;
use crate::diagnostic::{Findings, Subject};
use crate::host::Host;
use crate::pass::destination_rules::Rules;
use crate::pass::{header, matches, retry};

/// Largest body of a fixed answer.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Share of a single destination, whatever weight it was given.
const WHOLE: u32 = 100;

/// A rule and its position in the VirtualService.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    pub(crate) index: usize,
    pub(crate) rule: Rule,
}

/// What lowering needs to know.
pub(crate) struct Lowering<'a, 'b> {
    pub(crate) cluster: &'b Cluster<'a>,
    pub(crate) rules: &'b Rules<'a>,
    pub(crate) subject: Subject<'b>,
    /// Namespace of the clients; `None` for all that have no view of their own.
    pub(crate) client: Option<&'b str>,
    pub(crate) findings: &'b mut Findings,
}

impl Lowering<'_, '_> {
    /// All rules that can ever match, in order.
    pub(crate) fn run(&mut self, routes: &[HttpRoute]) -> Vec<Lowered> {
        let lowered = routes.iter().enumerate().filter_map(|(index, route)| {
            let rule = self.rule(index, route)?;
            Some(Lowered { index, rule })
        });
        lowered.collect()
    }

    fn rule(&mut self, index: usize, route: &HttpRoute) -> Option<Rule> {
        let field = format!("spec.http[{index}]");
        let mut conditions = Vec::new();
        for (number, given) in route.matches.iter().enumerate() {
            let field = format!("{field}.match[{number}]");
            conditions.extend(matches::lower(given, &field, self.subject, self.findings));
        }
        if conditions.is_empty() && !route.matches.is_empty() {
            // Not one match can hold; without matches the rule would catch everything.
            return None;
        }
        let timeout = route
            .timeout
            .map(|limit| limit.0)
            .filter(|limit| !limit.is_zero());
        let (request, response) =
            header::lower(route.headers.as_ref(), &field, self.subject, self.findings);
        let action = self.action(route, &field);
        let retry = retry::lower(
            route.retries.as_ref(),
            timeout,
            &field,
            self.subject,
            self.findings,
        );
        let forwards = matches!(action, Action::Forward(_));
        Some(Rule {
            id: RouteId {
                kind: self.subject.kind.to_owned(),
                object: ObjectName::new(&self.subject.name.namespace, &self.subject.name.name),
                rule: if route.name.is_empty() {
                    index.to_string()
                } else {
                    route.name.clone()
                },
            },
            matches: conditions,
            action,
            request,
            response,
            rewrite: route
                .rewrite
                .as_ref()
                .and_then(|rewrite| self.rewrite(rewrite, forwards, &field)),
            timeout,
            retry: forwards.then_some(retry),
        })
    }

    fn add(&mut self, code: Code, field: &str, message: impl Into<String>) {
        self.findings.add(code, self.subject, field, message);
    }

    fn action(&mut self, route: &HttpRoute, field: &str) -> Action {
        let given = usize::from(!route.route.is_empty())
            + usize::from(route.redirect.is_some())
            + usize::from(route.direct_response.is_some());
        if given > 1 {
            let message = "write one of route, redirect and directResponse; of several the redirect counts, then the response";
            self.add(Code::InvalidAction, field, message);
        }
        if let Some(redirect) = &route.redirect {
            return Action::Redirect(self.redirect(redirect, &format!("{field}.redirect")));
        }
        if let Some(direct) = &route.direct_response {
            return self.direct(direct, &format!("{field}.directResponse"));
        }
        if route.route.is_empty() {
            let message = "the rule has no route, redirect or directResponse; what it matches is answered with 503";
            self.add(Code::InvalidAction, field, message);
            return dead("the rule has no route");
        }
        Action::Forward(self.backends(&route.route, field))
    }

    fn backends(&mut self, given: &[HttpRouteDestination], field: &str) -> Vec<Backend> {
        let alone = given.len() == 1;
        if !alone
            && given
                .iter()
                .all(|destination| destination.weight.unwrap_or(0) <= 0)
        {
            let message = "no destination has a weight above 0; all requests are answered with 503";
            self.add(Code::InvalidWeight, &format!("{field}.route"), message);
        }
        let some_weight = given.iter().any(|destination| destination.weight.is_some());
        let mut backends = Vec::with_capacity(given.len());
        for (index, destination) in given.iter().enumerate() {
            let field = format!("{field}.route[{index}]");
            if !alone && some_weight && destination.weight.is_none() {
                self.add(
                    Code::WeightMissing,
                    &field,
                    "no weight beside weighted destinations means 0; write weight",
                );
            }
            let weight = self.weight(destination.weight, &format!("{field}.weight"));
            let target = self.target(&destination.destination, &format!("{field}.destination"));
            let (request, response) = header::lower(
                destination.headers.as_ref(),
                &field,
                self.subject,
                self.findings,
            );
            backends.push(Backend {
                weight: if alone { WHOLE } else { weight },
                target,
                request,
                response,
            });
        }
        backends
    }

    fn weight(&mut self, given: Option<i64>, field: &str) -> u32 {
        let given = given.unwrap_or(0);
        u32::try_from(given).unwrap_or_else(|_| {
            self.add(
                Code::InvalidWeight,
                field,
                format!("weight {given} is out of range; 0 is used"),
            );
            0
        })
    }

    fn target(&mut self, given: &Destination, field: &str) -> Result<BackendTarget, String> {
        let name = self.service(&given.host, &format!("{field}.host"))?;
        let cluster = self.cluster;
        let Some(service) = cluster.services.get(&name) else {
            return Err(format!("Service {name} is gone"));
        };
        let port = self.port(given, service, field)?;
        let subset = if given.subset.is_empty() {
            None
        } else {
            Some(self.subset(given, service, field)?)
        };
        Ok(BackendTarget {
            service: service.id,
            name,
            port,
            subset,
        })
    }

    fn service(&mut self, host: &str, field: &str) -> Result<ObjectName, String> {
        let own = self.subject.name.namespace.clone();
        let words = match self.cluster.hosts.resolve(host, &own) {
            Host::Service { name, partial } => {
                if partial {
                    let message = format!(
                        "write the full name {}",
                        self.cluster.hosts.full_name(&name)
                    );
                    self.add(Code::PartialHost, field, message);
                }
                return Ok(name);
            }
            Host::Suffix(_) => format!("a destination is one service; {host} stands for many"),
            Host::Unknown(_) if host.is_empty() => "the destination has no host".to_owned(),
            Host::Unknown(full) => self.no_such_service(host, &full, &own),
        };
        self.add(
            Code::HostNotFound,
            field,
            format!("{words}; its requests are answered with 503"),
        );
        Err(words)
    }

    fn no_such_service(&self, host: &str, full: &str, namespace: &str) -> String {
        let external = self
            .cluster
            .snapshot
            .services
            .iter()
            .find(|(name, service)| {
                let object = crate::cluster::object(name);
                service.value.is_external_name() && self.cluster.hosts.full_name(&object) == full
            });
        if let Some((name, _)) = external {
            return format!("Service {name} is of type ExternalName, which is not honoured yet");
        }
        let elsewhere = self
            .cluster
            .services
            .keys()
            .find(|name| name.name == host && name.namespace != namespace);
        let hint = elsewhere.map(|name| {
            format!(
                "; for the one in namespace {} write {}",
                name.namespace,
                self.cluster.hosts.full_name(name)
            )
        });
        format!("there is no Service {full}{}", hint.unwrap_or_default())
    }

    fn port(
        &mut self,
        given: &Destination,
        service: &LiveService<'_>,
        field: &str,
    ) -> Result<Option<u16>, String> {
        let ports = tcp_ports(service);
        let Some(selector) = &given.port else {
            return Ok(match ports.as_slice() {
                [only] => Some(*only),
                _ => None,
            });
        };
        let found = ports
            .iter()
            .copied()
            .find(|port| u32::from(*port) == selector.number);
        found.map(Some).ok_or_else(|| {
            let listed = ports
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let words = format!(
                "Service {} has no TCP port {}; it has {listed}",
                service.name, selector.number
            );
            self.add(
                Code::PortNotFound,
                &format!("{field}.port.number"),
                format!("{words}; its requests are answered with 503"),
            );
            words
        })
    }

    fn subset(
        &mut self,
        given: &Destination,
        service: &LiveService<'_>,
        field: &str,
    ) -> Result<SubsetRef, String> {
        let view = self.rules.view(&service.name, self.client);
        if let Some((labels, _)) = view.subsets.get(given.subset.as_str()) {
            let selector = weft_model::policy::selector(labels);
            return Ok(SubsetRef {
                name: given.subset.clone(),
                selector,
            });
        }
        let known = view.subsets.keys().copied().collect::<Vec<_>>().join(", ");
        let known = match known.as_str() {
            "" => "no DestinationRule defines subsets for it".to_owned(),
            known => format!("its DestinationRule has {known}"),
        };
        // The words name the callers only where they see other subsets than everybody else.
        let everybody = self.rules.view(&service.name, None);
        let whose = match self.client {
            Some(client) if !view.subsets.keys().eq(everybody.subsets.keys()) => {
                format!(" for callers in namespace {client}")
            }
            _ => String::new(),
        };
        let words = format!(
            "Service {} has no subset {}{whose}; {known}",
            service.name, given.subset
        );
        self.add(
            Code::SubsetNotFound,
            &format!("{field}.subset"),
            format!("{words}; its requests are answered with 503"),
        );
        Err(words)
    }

    fn redirect(&mut self, given: &HttpRedirect, field: &str) -> Redirect {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let code = given.redirect_code.unwrap_or(301);
        let status = u16::try_from(code)
            .ok()
            .filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308));
        if status.is_none() {
            let message =
                format!("{code} is no redirect; write 301, 302, 303, 307 or 308; 301 is used");
            self.add(
                Code::InvalidRedirect,
                &format!("{field}.redirectCode"),
                message,
            );
        }
        if !given.uri.is_empty() && !given.prefix_rewrite.is_empty() {
            self.add(
                Code::InvalidRedirect,
                field,
                "uri and prefixRewrite exclude each other; uri is used",
            );
        }
        let path = text(&given.uri).map(PathRewrite::Full);
        Redirect {
            scheme: text(&given.scheme),
            authority: text(&given.authority),
            port: self.redirect_port(given, field),
            path: path.or_else(|| text(&given.prefix_rewrite).map(PathRewrite::Matched)),
            status: status.unwrap_or(301),
        }
    }

    fn redirect_port(&mut self, given: &HttpRedirect, field: &str) -> Option<RedirectPort> {
        if let Some(number) = given.port {
            let port = u16::try_from(number).ok().filter(|port| *port > 0);
            if port.is_none() {
                self.add(
                    Code::InvalidRedirect,
                    &format!("{field}.port"),
                    "port numbers go from 1 to 65535; it is left out",
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
                self.add(
                    Code::InvalidRedirect,
                    &format!("{field}.derivePort"),
                    message,
                );
                None
            }
        }
    }

    fn direct(&mut self, given: &DirectResponse, field: &str) -> Action {
        let status = u16::try_from(given.status)
            .ok()
            .filter(|status| (200..600).contains(status));
        let body = given
            .body
            .as_ref()
            .map(|body| match (&body.string, &body.bytes) {
                (Some(text), None) => Ok(text.clone().into_bytes()),
                (None, Some(text)) => base64(text).ok_or("bytes is not base64"),
                (None, None) => Ok(Vec::new()),
                (Some(_), Some(_)) => Err("write one of string and bytes"),
            });
        let body = body.unwrap_or(Ok(Vec::new()));
        let checked = match (status, body) {
            (Some(_), Ok(body)) if body.len() > MAX_BODY_BYTES => {
                Err("the body is longer than 1 MiB")
            }
            (Some(status), Ok(body)) => Ok(Action::Direct(Direct { status, body })),
            (None, _) => Err("the status must be from 200 to 599"),
            (_, Err(message)) => Err(message),
        };
        checked.unwrap_or_else(|message| {
            self.add(
                Code::InvalidDirectResponse,
                field,
                format!("{message}; what the rule matches is answered with 503"),
            );
            dead("the direct response is not valid")
        })
    }

    fn rewrite(&mut self, given: &HttpRewrite, forwards: bool, field: &str) -> Option<Rewrite> {
        let field = format!("{field}.rewrite");
        if !forwards {
            self.add(
                Code::InvalidRewrite,
                &field,
                "a rewrite beside redirect or directResponse has no effect",
            );
            return None;
        }
        let plain = Some(given.uri.clone())
            .filter(|uri| !uri.is_empty())
            .map(PathRewrite::Matched);
        let path = match &given.uri_regex_rewrite {
            Some(_) if plain.is_some() => {
                self.add(
                    Code::InvalidRewrite,
                    &field,
                    "uri and uriRegexRewrite exclude each other; uri is used",
                );
                plain
            }
            Some(by) => match matches::expression(&by.pattern) {
                Ok(()) => Some(PathRewrite::Regex {
                    pattern: by.pattern.clone(),
                    substitution: by.rewrite.clone(),
                }),
                Err(message) => {
                    self.add(
                        Code::InvalidRewrite,
                        &format!("{field}.uriRegexRewrite.match"),
                        message,
                    );
                    None
                }
            },
            None => plain,
        };
        let authority = Some(given.authority.clone()).filter(|authority| !authority.is_empty());
        (path.is_some() || authority.is_some()).then_some(Rewrite { path, authority })
    }
}

/// TCP ports of a service, ascending.
pub(crate) fn tcp_ports(service: &LiveService<'_>) -> Vec<u16> {
    let ports = service
        .service()
        .spec
        .ports
        .iter()
        .filter(|port| port.is_tcp() && port.port > 0);
    let mut ports: Vec<u16> = ports.map(|port| port.port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// A rule that cannot do what it was meant to do refuses.
fn dead(words: &str) -> Action {
    Action::Forward(vec![Backend {
        weight: WHOLE,
        target: Err(words.to_owned()),
        request: Default::default(),
        response: Default::default(),
    }])
}

/// Standard base64 with padding (RFC 4648, 4); `None` when it is not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits: &[u8] = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(&text);
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            bits = (bits << 6) | u32::from(base64_value(*digit)?);
        }
        bits <<= 6 * (4 - group.len() as u32);
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend(
            [first, second, third]
                .into_iter()
                .take(group.len().checked_sub(1)?),
        );
    }
    Some(bytes)
}

fn base64_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_strictly() {
        assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64("aGVsbA==").unwrap(), b"hell");
        assert_eq!(base64("aGVs\nbG8h").unwrap(), b"hello!");
        assert_eq!(base64("").unwrap(), b"");
        for wrong in ["a", "aGVsbG8", "aGV*", "a===", "===="] {
            assert!(base64(wrong).is_none(), "{wrong}");
        }
    }
}

//! The table of codes: one row per kind of finding. `docs/reference/codes.md` is made from it.

use std::fmt;

use serde::{Serialize, Serializer};

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Something does not work or is not enforced.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "Info",
            Self::Warning => "Warning",
            Self::Error => "Error",
        })
    }
}

macro_rules! codes {
    ($($name:ident $id:literal $level:ident $istio:literal $title:literal $doc:literal;)+) => {
        /// What kind of finding it is. Ids are stable: a code is never given another meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// All codes, by id.
            pub const ALL: &[Code] = &[$(Code::$name),+];

            /// Stable id, `WFT0101`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// How grave.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)+ }
            }

            /// The code of Istio's analyzer that says the same; empty when there is none.
            #[must_use]
            pub fn istio(self) -> &'static str {
                match self { $(Self::$name => $istio,)+ }
            }

            /// A few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// What it means and what to do.
            #[must_use]
            pub fn doc(self) -> &'static str {
                match self { $(Self::$name => $doc,)+ }
            }
        }
    };
}

// name, id, level, Istio's code, title, what it means and what to do
codes! {
    Unreadable "WFT0001" Error "" "document cannot be read"
        "The document is no YAML, or a field has the wrong type. The object is not used; the last good one stays in force. Correct the field that the message names.";
    Duplicate "WFT0002" Warning "" "object written twice"
        "Two documents of one directory describe the same object. The one in the later file (or further down) is used. Remove the other.";
    UnknownKind "WFT0003" Warning "" "kind looks misspelt"
        "No such kind is known, but one with nearly the same name is. The object is not used. Correct kind or apiVersion.";
    KindNotHonoured "WFT0004" Warning "" "policy kind not honoured"
        "Weft knows what this kind is for and does not honour it yet: it has no effect. Do not rely on it.";
    UnknownField "WFT0005" Error "IST0106" "field does not exist"
        "The kind has no field of this name at this place, so it has no effect. Most often a slip of spelling or indentation.";
    FieldNotHonoured "WFT0006" Warning "" "field not honoured yet"
        "Istio has this field and Weft does not honour it yet: it has no effect. Everything else in the object holds.";
    Deprecated "WFT0007" Info "IST0002" "deprecated spelling"
        "The spelling is read, but there is a newer one. The message names it.";
    SecurityNotHonoured "WFT0008" Error "" "security policy not enforced"
        "Weft does not enforce this kind yet. What it forbids is not forbidden. Keep such workloads out of the mesh, or protect them by other means.";

    HostNotFound "WFT0101" Error "IST0101" "destination host not found"
        "A route sends to a service that does not exist. Requests that it gets are answered with 503 (backend_not_found). Correct the host (a short name is looked up in the VirtualService's own namespace) or create the Service.";
    SubsetNotFound "WFT0102" Error "IST0101" "destination subset not found"
        "A route names a subset that no DestinationRule seen by the caller defines for the host. Its share of the traffic is answered with 503. Add the subset or correct the name.";
    PortNotFound "WFT0103" Error "IST0101" "destination port not found"
        "A route names a port that the Service does not have. Its share is answered with 503.";
    PortNeeded "WFT0104" Warning "IST0112" "destination port needed"
        "The destination has several ports, the route names none, and the destination lacks a port that callers of the host dial. Requests to that port are answered with 503. Set destination.port.number.";
    ConflictingHosts "WFT0105" Error "IST0109" "two VirtualServices for one host"
        "Several VirtualServices claim one host for the same callers. The oldest (then the first by name) is in force, the others are not. Merge them into one.";
    UnreachableRule "WFT0106" Warning "IST0130" "rule is never reached"
        "An earlier rule matches all that this one would. Rules are tried in order: move the more specific one up.";
    IneffectiveMatch "WFT0107" Warning "IST0131" "match is never reached"
        "An earlier match covers this one. Remove it or move it up.";
    HostWithoutService "WFT0108" Warning "IST0132" "host is no service"
        "The VirtualService's host names no Service of the cluster, so its rules apply to nothing.";
    PartialHost "WFT0109" Info "IST0101" "host is neither short nor full"
        "Istio takes a host with a dot for a full name and would not find the service. Weft reads name.namespace as that service. Write the full name.";
    InvalidMatch "WFT0110" Error "IST0106" "match cannot be used"
        "A condition is not valid (an expression that does not compile, more than one comparison). The match it belongs to never holds.";
    InvalidAction "WFT0111" Error "IST0106" "rule has no or more than one action"
        "A rule needs exactly one of route, redirect and directResponse. Without one, what it matches is answered with 503.";
    InvalidWeight "WFT0112" Error "IST0106" "weights do not add up"
        "Weights must not be negative, and at least one of several destinations needs a weight above 0.";
    WeightMissing "WFT0113" Warning "" "destination without weight gets nothing"
        "Beside weighted destinations, one without a weight has weight 0.";
    InvalidHeader "WFT0114" Error "IST0106" "header cannot be changed"
        "The name or value is not valid in HTTP, or the header belongs to the connection and not to the message. The change is left out.";
    RetryWord "WFT0115" Warning "" "unknown word in retryOn"
        "The word is not known or not honoured yet; the others hold.";
    RetriesDisabled "WFT0116" Warning "" "retries without attempts"
        "As in Istio, a retries block without attempts means no retries at all. Write attempts.";
    InvalidRetry "WFT0117" Error "IST0106" "retries out of range"
        "attempts must lie between 0 and the limit; the nearest value is used.";
    InvalidRedirect "WFT0118" Error "IST0106" "redirect cannot be used"
        "Where status, port or derivePort is not valid the default is used. Where uri, prefixRewrite, authority or scheme is not valid, what the rule matches is answered with 503.";
    InvalidDirectResponse "WFT0119" Error "IST0106" "direct response cannot be used"
        "The status must be between 200 and 599 and the body at most 1 MiB; what the rule matches is answered with 503.";
    InvalidRewrite "WFT0120" Error "IST0106" "rewrite cannot be used"
        "An expression, path or host is not valid: what the rule matches is answered with 503, because nobody meant the path as it is. Of uri and uriRegexRewrite together uri is used. Beside redirect and directResponse a rewrite has no effect.";
    RetryNeverFits "WFT0121" Warning "" "perTryTimeout leaves no room for a retry"
        "When one try may take as long as the whole timeout, a retry after a slow try never happens.";
    OnlyGateways "WFT0122" Info "" "for gateways only"
        "The object or rule names gateways without mesh, so it does not apply to traffic inside the mesh.";
    InvalidExport "WFT0123" Error "IST0106" "exportTo cannot be used"
        "exportTo takes *, . or names of namespaces; * and . stand alone.";
    NoHost "WFT0124" Error "IST0106" "no host"
        "The object names no host and applies to nothing.";
    NotHttp "WFT0125" Warning "IST0118" "HTTP rules on a port that is not HTTP"
        "Every port of the service is declared as a protocol that is carried as bytes, so HTTP rules never apply. Correct appProtocol or the port's name.";
    NeverMatches "WFT0126" Warning "" "match never holds"
        "No request can satisfy the condition: paths are compared in their canonical form and begin with /, methods are in capitals, and callers can only dial ports that the service has.";

    NoParent "WFT0127" Error "" "route has no parent here"
        "An HTTPRoute names a Service that does not exist, has no address of its own (headless or ExternalName), or lacks the port. The reference has no effect. Correct it or create the Service.";
    InvalidFilter "WFT0128" Error "" "filter not honoured"
        "An HTTPRoute has a filter that Weft does not honour yet, or whose values are not valid. What the rule matches is answered with 500, because without the filter it would not be what was asked for.";
    InvalidBackendKind "WFT0129" Error "" "backend is no Service"
        "An HTTPRoute sends to something other than a Service. Its share of the traffic is answered with 500.";
    HiddenByRoute "WFT0130" Warning "" "HTTPRoute in force instead"
        "HTTPRoutes are attached to the Service, and of two ways to write routes the Gateway API's counts. The VirtualService has no effect on this Service. Keep one of the two.";

    InvalidMirror "WFT0131" Error "IST0106" "mirror cannot be used"
        "The part of the requests is none, or the same is said twice. Nothing is mirrored; requests go where they should.";
    InvalidCors "WFT0132" Error "IST0106" "CORS policy cannot be used as it is"
        "The part that the message names is left out: what it would allow is not allowed. Correct it.";
    InvalidFault "WFT0133" Warning "IST0106" "fault concerns nobody"
        "A delay needs fixedDelay, an abort httpStatus, and both a percentage. This half of the fault is left out.";

    GrpcNotEnforced "WFT0134" Error "" "GRPCRoute not enforced"
        "GRPCRoutes are read and checked, but they have no effect before HTTP/2 is understood. Requests go to the Service as if the route were not there.";
    RouteConflict "WFT0135" Warning "" "two kinds of route on one port"
        "A port obeys routes of one kind. The message says which are in force; keep one kind.";

    RuleHostNotFound "WFT0201" Warning "IST0101" "DestinationRule's host not found"
        "No Service has this name, so the rule applies to nothing.";
    SubsetWithoutWorkloads "WFT0202" Warning "IST0173" "subset selects no workload"
        "No pod or workload behind the service carries the subset's labels. Requests sent to the subset are answered with 503 (no_healthy_upstream).";
    DuplicateSubset "WFT0203" Warning "" "subset defined twice"
        "Of two subsets with one name the first (of the older rule) is used.";
    ConflictingRules "WFT0204" Warning "" "two traffic policies for one host"
        "Several DestinationRules of one namespace have a trafficPolicy for one host. The oldest is in force; their subsets are merged.";
    UnknownBalancer "WFT0205" Error "IST0106" "load balancer does not exist"
        "loadBalancer.simple takes LEAST_REQUEST, ROUND_ROBIN or RANDOM; LEAST_REQUEST is used.";
    InvalidSubset "WFT0206" Error "IST0106" "subset cannot be used"
        "A subset needs a name.";

    PortName "WFT0301" Info "IST0118" "port does not say its protocol"
        "Neither appProtocol nor the port's name begins with a known protocol, so the protocol is detected on each connection.";
    InvalidAddress "WFT0302" Error "" "address cannot be read"
        "The text is no IP address; it is left out.";
    ServiceWithoutWorkloads "WFT0303" Warning "IST0103" "selector matches no workload"
        "The manifests have workloads in this namespace, but the service's selector matches none of them.";
    DuplicateAddress "WFT0304" Warning "" "address belongs to two objects"
        "Two services, or two pods, have one address. The newer pod or the first service by name gets the traffic.";
    InvalidPort "WFT0305" Error "" "port cannot be used"
        "Port numbers go from 1 to 65535 and a service has each TCP port once.";

    InvalidMode "WFT0401" Error "" "mode cannot be read"
        "weft.mesh/mode takes enabled or disabled; istio.io/dataplane-mode takes ambient or none. Another value counts as none given.";
    InvalidAnnotation "WFT0402" Error "" "annotation cannot be read"
        "A part of the annotation is no port, range of ports or network. That part is left out, the pod is captured with the rest.";
    AnnotationNotHonoured "WFT0403" Warning "" "annotation not honoured"
        "The annotation exists in Istio and has no effect in Weft yet.";
    WrongPlace "WFT0404" Warning "IST0107" "label or annotation on the wrong place"
        "The key is a label where an annotation is read, or the other way round, or stands on the wrong kind. It has no effect.";
    CannotCapture "WFT0405" Warning "" "pod asked for but not captured"
        "The label asks for the mesh, but pods on the host's network and pods of system namespaces are never captured.";
    ProbePort "WFT0406" Warning "" "probe names a port that does not exist"
        "No container declares a port of this name, so the kubelet's probe is not let through. Declare the port.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_ascend() {
        let ids: Vec<_> = Code::ALL.iter().map(|code| code.id()).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(ids, sorted);
    }
}

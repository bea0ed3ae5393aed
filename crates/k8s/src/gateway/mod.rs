//! Gateway API kinds (gateway-api.sigs.k8s.io/reference/spec), as far as a mesh reads them.

mod http_route;

pub use http_route::{
    BackendRef, Filter, HTTPRoute, HeaderModifier, HeaderValue, HttpRouteRule, HttpRouteSpec,
    ParentRef, PathMatch, PathModifier, RequestRedirect, RouteMatch, Timeouts, UrlRewrite,
    ValueMatch,
};

//! Gateway API kinds (gateway-api.sigs.k8s.io/reference/spec), as far as a mesh reads them.

mod grpc_route;
mod http_route;
mod mesh;

pub use grpc_route::{GRPCRoute, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec};
pub use http_route::{
    BackendRef, CorsFilter, Filter, Fraction, HTTPRoute, HeaderModifier, HeaderValue,
    HttpRouteRule, HttpRouteSpec, ObjectRef, ParentRef, PathMatch, PathModifier, RequestMirror,
    RequestRedirect, RouteMatch, RouteRetry, Timeouts, UrlRewrite, ValueMatch,
};
pub use mesh::{ParametersRef, XMesh, XMeshSpec};

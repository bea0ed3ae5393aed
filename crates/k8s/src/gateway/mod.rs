//! Gateway API kinds (gateway-api.sigs.k8s.io/reference/spec), as far as a mesh reads them.

mod filter;
mod grpc_route;
mod http_route;
mod matches;
mod mesh;
mod reference;

pub use filter::{
    CorsFilter, Filter, Fraction, HeaderModifier, HeaderValue, PathModifier, RequestMirror,
    RequestRedirect, UrlRewrite,
};
pub use grpc_route::{GRPCRoute, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec};
pub use http_route::{HTTPRoute, HttpRouteRule, HttpRouteSpec, RouteRetry, Timeouts};
pub use matches::{PathMatch, RouteMatch, ValueMatch};
pub use mesh::{ParametersRef, XMesh, XMeshSpec};
pub use reference::{BackendRef, ObjectRef, ParentRef};

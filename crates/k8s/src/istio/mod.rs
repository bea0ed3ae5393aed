//! Istio's networking kinds in the spellings v1, v1beta1 and v1alpha3, which differ in nothing that we read.
//!
//! A field is typed here once compile honours it. All others come out in `Located::unread`, by name.

mod destination_rule;
mod virtual_service;

pub use destination_rule::{
    ConnectionPool, DestinationRule, DestinationRuleSpec, LoadBalancer, Subset, TcpPool,
    TrafficPolicy,
};
pub use virtual_service::{
    Abort, Body, CorsPolicy, Delay, Destination, DirectResponse, FaultInjection, HeaderChange,
    Headers, HttpMatch, HttpMirror, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute,
    HttpRouteDestination, PortSelector, RegexRewrite, StringMatch, VirtualService,
    VirtualServiceSpec,
};

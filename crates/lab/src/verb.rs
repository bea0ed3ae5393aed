//! What tests and the demo do in a lab: talk HTTP and TCP from inside a pod, run a command there, read its packet
//! rules, read metrics.

pub mod connect;
pub mod exec;
pub mod http;
pub mod metrics;
pub mod tcp;

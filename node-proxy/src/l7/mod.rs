//! HTTP: one pipeline for every request, whatever connection it came on (docs/guide/request.md).
//!
//! server (downstream connection) → exchange (route, attempts, retries) → attempt (one request on one upstream
//! connection) → deliver (the answer, bodies both ways) → record. No layer is hidden: a stack trace names the phase.

pub(crate) mod attempt;
mod attempts;
pub(crate) mod body;
mod deliver;
pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod mirror;
pub(crate) mod plan;
pub(crate) mod pool;
pub(crate) mod pump;
pub(crate) mod replay;
pub(crate) mod respond;
pub(crate) mod server;
mod settle;
pub(crate) mod target;
pub(crate) mod tee;
pub(crate) mod upgrade;
pub(crate) mod upstream;

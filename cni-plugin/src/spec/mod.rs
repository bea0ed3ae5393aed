//! What the CNI specification says about our input and output, as pure types; spec clauses are of version 1.0.0.

pub(crate) mod args;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod result;
pub(crate) mod version;

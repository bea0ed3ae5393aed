//! The commands, one module each: flags as a struct, `run` to an exit code.

pub(crate) mod analyze;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod version;

//! The commands, one module each: flags as a struct, `run` to an exit code.

pub(crate) mod analyze;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod install;
pub(crate) mod proxy_status;
pub(crate) mod uninstall;
pub(crate) mod version;
pub(crate) mod wait;

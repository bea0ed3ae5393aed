//! The error object of the specification: a code that the runtime acts on, a message that names what is wrong, details
//! that say what to do next.

use serde::Serialize;

use crate::spec::version::Version;

/// The network configuration's version is one we do not speak.
pub(crate) const INCOMPATIBLE_VERSION: u32 = 1;
/// An environment variable is missing or wrong.
pub(crate) const INVALID_ENVIRONMENT: u32 = 4;
/// Reading or writing failed.
pub(crate) const IO: u32 = 5;
/// Stdin is not JSON.
pub(crate) const DECODE: u32 = 6;
/// Stdin is JSON but no valid network configuration.
pub(crate) const INVALID_CONFIG: u32 = 7;
/// The runtime should try again later.
pub(crate) const TRY_AGAIN: u32 = 11;
/// A bug of ours. Codes from 100 on are the plugin's own; the agent's begin at 101.
pub(crate) const INTERNAL: u32 = 100;

/// An error as the runtime reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CniError {
    cni_version: &'static str,
    code: u32,
    msg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    details: String,
}

impl CniError {
    /// An error with any code.
    pub(crate) fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            cni_version: Version::NEWEST.as_str(),
            code,
            msg: msg.into(),
            details: details.into(),
        }
    }

    /// Code 4.
    pub(crate) fn invalid_environment(msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(INVALID_ENVIRONMENT, msg, details)
    }

    /// Code 5.
    pub(crate) fn io(msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(IO, msg, details)
    }

    /// Code 7.
    pub(crate) fn invalid_config(msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(INVALID_CONFIG, msg, details)
    }

    /// Code 11.
    pub(crate) fn try_again(msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(TRY_AGAIN, msg, details)
    }

    /// Code 100.
    pub(crate) fn internal(msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self::new(INTERNAL, msg, details)
    }

    /// The same error, in the version that the configuration asked for.
    pub(crate) fn in_version(mut self, version: Version) -> Self {
        self.cni_version = version.as_str();
        self
    }

    /// As one JSON document.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

//! The network configuration on stdin, as far as it concerns us. Keys of other plugins are ignored, never refused.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::spec::error::{CniError, DECODE, INCOMPATIBLE_VERSION};
use crate::spec::version::{Version, spoken};

/// Where the agent's socket is when the configuration does not say.
const RUN_DIR: &str = "/run/weft";
/// Where the agent keeps what survives a reboot, when the configuration does not say.
const STATE_DIR: &str = "/var/lib/weft";

/// What to do about a malformed configuration.
const CORRECT: &str = "correct the conflist in the runtime's configuration directory";

/// Our part of the configuration.
#[derive(Debug)]
pub(crate) struct Config<'a> {
    /// Version of input and output.
    pub(crate) version: Version,
    /// Name of the network; empty where the configuration has none.
    pub(crate) network: String,
    /// Directory of the agent's socket.
    pub(crate) run_dir: PathBuf,
    /// Directory of the agent's list.
    pub(crate) state_dir: PathBuf,
    /// Result of the plugins before us, byte by byte.
    pub(crate) prev_result: Option<&'a RawValue>,
    /// What GC must keep, byte by byte.
    pub(crate) valid_attachments: Option<&'a RawValue>,
}

/// The fields undecoded, so that an error can name the one that is wrong.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    cni_version: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    run_dir: Option<&'a RawValue>,
    #[serde(borrow)]
    state_dir: Option<&'a RawValue>,
    #[serde(borrow)]
    prev_result: Option<&'a RawValue>,
    #[serde(borrow, rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<&'a RawValue>,
}

impl<'a> Config<'a> {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Code 6 for what is not JSON, 7 for a field of the wrong type, 1 for a version that we do not speak.
    pub(crate) fn parse(stdin: &'a [u8]) -> Result<Self, CniError> {
        let fields: Fields<'a> = serde_json::from_slice(stdin).map_err(|error| {
            if error.is_data() {
                CniError::invalid_config(format!("network configuration: {error}"), CORRECT)
            } else {
                let why = format!("stdin is not JSON: {error}");
                CniError::new(
                    DECODE,
                    why,
                    "the runtime sends the network configuration there",
                )
            }
        })?;
        let named: Option<String> = decode("cniVersion", fields.cni_version)?;
        // A configuration without a version speaks 0.1.0 (CNI specification 0.1.0), which had no chains.
        let named = named.as_deref().unwrap_or("0.1.0");
        let version = Version::parse(named).ok_or_else(|| {
            CniError::new(
                INCOMPATIBLE_VERSION,
                format!("cniVersion {named:?} is not supported"),
                format!("weft-cni speaks {}", spoken()),
            )
        })?;
        Ok(Self {
            version,
            network: decode("name", fields.name)
                .map_err(|e| e.in_version(version))?
                .unwrap_or_default(),
            run_dir: directory("runDir", fields.run_dir, RUN_DIR)
                .map_err(|e| e.in_version(version))?,
            state_dir: directory("stateDir", fields.state_dir, STATE_DIR)
                .map_err(|e| e.in_version(version))?,
            prev_result: fields.prev_result,
            valid_attachments: fields.valid_attachments,
        })
    }
}

/// A field of the configuration; the error names it.
pub(crate) fn decode<T: DeserializeOwned>(
    field: &str,
    raw: Option<&RawValue>,
) -> Result<Option<T>, CniError> {
    raw.map(|raw| serde_json::from_str(raw.get()))
        .transpose()
        .map_err(|error| CniError::invalid_config(format!("{field}: {error}"), CORRECT))
}

fn directory(field: &str, raw: Option<&RawValue>, default: &str) -> Result<PathBuf, CniError> {
    match decode::<PathBuf>(field, raw)? {
        None => Ok(Path::new(default).to_owned()),
        Some(path) if path.is_absolute() => Ok(path),
        Some(path) => Err(CniError::invalid_config(
            format!("{field} {path:?} of the entry weft-cni is not an absolute path"),
            "weft-agent writes this entry; restart it, or remove the conflist it made",
        )),
    }
}

//! The previous plugin's result: what we read of it, and how it goes out again. It is passed on byte by byte, because
//! decoding it into types would drop every field that is newer than we are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::spec::config::Config;
use crate::spec::error::CniError;
use crate::spec::version::Version;

/// The previous result of a chained call.
#[derive(Debug)]
pub(crate) struct PrevResult<'a> {
    raw: &'a RawValue,
    version: Option<String>,
    /// Addresses that the pod got.
    pub(crate) ips: Vec<IpAddr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    cni_version: Option<String>,
    interfaces: Option<Vec<Interface>>,
    ips: Option<Vec<Ip>>,
}

#[derive(Deserialize)]
struct Interface {
    sandbox: Option<String>,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    interface: Option<i64>,
}

impl<'a> PrevResult<'a> {
    /// Reads the previous result of a configuration.
    ///
    /// # Errors
    /// Code 7 when there is none (we are never the first of a chain) or it is malformed.
    pub(crate) fn of(config: &Config<'a>) -> Result<Self, CniError> {
        let raw = config.prev_result.ok_or_else(|| {
            CniError::invalid_config(
                "prevResult is missing",
                "weft-cni works only behind a plugin that makes the interface; it must not be the first of the list",
            )
        })?;
        let wrong = |what: String| {
            CniError::invalid_config(
                format!("prevResult: {what}"),
                "the plugin before weft-cni wrote it",
            )
        };
        let text: Text =
            serde_json::from_str(raw.get()).map_err(|error| wrong(error.to_string()))?;
        let interfaces = text.interfaces.unwrap_or_default();
        // An address of an interface outside the pod (the host's end, a gateway) is not the pod's.
        let outside = |ip: &Ip| {
            let named = ip
                .interface
                .and_then(|i| usize::try_from(i).ok())
                .and_then(|i| interfaces.get(i));
            named.is_some_and(|interface| {
                interface.sandbox.as_deref().unwrap_or_default().is_empty()
            })
        };
        let mut ips = Vec::new();
        for (i, ip) in text
            .ips
            .unwrap_or_default()
            .iter()
            .enumerate()
            .filter(|(_, ip)| !outside(ip))
        {
            let (address, _) = ip.address.split_once('/').unwrap_or((&ip.address, ""));
            let address = address
                .parse()
                .map_err(|_| wrong(format!("ips[{i}].address {:?} is no address", ip.address)))?;
            ips.push(address);
        }
        Ok(Self {
            raw,
            version: text.cni_version,
            ips,
        })
    }

    /// The result that goes back to the runtime, in the configuration's version. The same bytes, unless the plugin before
    /// us answered in another version than it was asked in.
    ///
    /// # Errors
    /// Code 7 when a result in a foreign version cannot be rewritten.
    pub(crate) fn output(&self, version: Version) -> Result<Vec<u8>, CniError> {
        if self.version.as_deref() == Some(version.as_str()) {
            return Ok(self.raw.get().as_bytes().to_vec());
        }
        rewrite(self.raw, version).map_err(|error| {
            CniError::invalid_config(
                format!("prevResult: {error}"),
                "the plugin before weft-cni wrote it",
            )
        })
    }
}

type Object = BTreeMap<String, Box<RawValue>>;

fn rewrite(raw: &RawValue, version: Version) -> serde_json::Result<Vec<u8>> {
    let mut result: Object = serde_json::from_str(raw.get())?;
    result.insert("cniVersion".to_owned(), to_raw_value(version.as_str())?);
    let ips = result
        .get("ips")
        .map(|ips| serde_json::from_str::<Option<Vec<Object>>>(ips.get()))
        .transpose()?
        .flatten();
    if let Some(mut ips) = ips.filter(|_| version.names_ip_family()) {
        for ip in &mut ips {
            let v6 = ip.get("address").is_some_and(|a| a.get().contains(':'));
            ip.insert(
                "version".to_owned(),
                to_raw_value(if v6 { "6" } else { "4" })?,
            );
        }
        result.insert("ips".to_owned(), to_raw_value(&ips)?);
    }
    serde_json::to_vec(&result)
}

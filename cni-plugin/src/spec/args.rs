//! The environment of a call: who is attached where. Values come from pods' owners, so they are checked before use and
//! quoted in messages.

use std::path::{Path, PathBuf};

use crate::dispatch::Env;
use crate::spec::error::CniError;

/// Longest interface name of the kernel (IFNAMSIZ less the closing zero).
const MAX_IFNAME: usize = 15;
/// Longest container id we take: it becomes part of a file name. Runtimes use 64.
const MAX_CONTAINER_ID: usize = 200;

/// The attachment that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// `CNI_CONTAINERID`.
    pub(crate) container_id: String,
    /// `CNI_IFNAME`.
    pub(crate) ifname: String,
}

/// The pod that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodArgs {
    /// `K8S_POD_NAMESPACE`.
    pub(crate) namespace: String,
    /// `K8S_POD_NAME`.
    pub(crate) name: String,
    /// `K8S_POD_UID`; older runtimes do not give it.
    pub(crate) uid: Option<String>,
}

/// Container and interface, which every verb but VERSION needs.
pub(crate) fn attachment(env: &Env) -> Result<Attachment, CniError> {
    required(env, &["CNI_CONTAINERID", "CNI_IFNAME"])?;
    let (container_id, ifname) = (get(env, "CNI_CONTAINERID"), get(env, "CNI_IFNAME"));
    if !is_container_id(container_id) {
        return Err(CniError::invalid_environment(
            format!("CNI_CONTAINERID {container_id:?} is no container id"),
            "it begins with a letter or digit and goes on with those, '_', '.' and '-'",
        ));
    }
    if !is_ifname(ifname) {
        return Err(CniError::invalid_environment(
            format!("CNI_IFNAME {ifname:?} is no interface name"),
            format!("at most {MAX_IFNAME} characters without '/', ':' and white space"),
        ));
    }
    Ok(Attachment {
        container_id: container_id.to_owned(),
        ifname: ifname.to_owned(),
    })
}

/// Container, interface and namespace, which ADD and CHECK need; what is missing is named all at once.
pub(crate) fn attachment_with_netns(env: &Env) -> Result<(Attachment, PathBuf), CniError> {
    required(env, &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"])?;
    let netns = Path::new(get(env, "CNI_NETNS"));
    if !netns.is_absolute() {
        return Err(CniError::invalid_environment(
            format!("CNI_NETNS {netns:?} is not an absolute path"),
            "the runtime names the pod's network namespace by a path such as /run/netns/NAME",
        ));
    }
    Ok((attachment(env)?, netns.to_owned()))
}

/// The pod in `CNI_ARGS`; `None` when the caller is not Kubernetes. Keys that we do not know are not ours to judge.
pub(crate) fn pod(env: &Env) -> Result<Option<PodArgs>, CniError> {
    let (mut namespace, mut name, mut uid) = (None, None, None);
    for pair in get(env, "CNI_ARGS")
        .split(';')
        .filter(|pair| !pair.is_empty())
    {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(CniError::invalid_environment(
                format!("CNI_ARGS holds {pair:?}"),
                "its form is KEY=VALUE;KEY=VALUE",
            ));
        };
        let slot = match key {
            "K8S_POD_NAMESPACE" => &mut namespace,
            "K8S_POD_NAME" => &mut name,
            "K8S_POD_UID" => &mut uid,
            _ => continue,
        };
        *slot = Some(value.to_owned()).filter(|v| !v.is_empty());
    }
    match (namespace, name) {
        (Some(namespace), Some(name)) => Ok(Some(PodArgs {
            namespace,
            name,
            uid,
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half_a_pod("K8S_POD_NAME")),
        (None, Some(_)) => Err(half_a_pod("K8S_POD_NAMESPACE")),
    }
}

fn half_a_pod(missing: &str) -> CniError {
    CniError::invalid_environment(
        format!("CNI_ARGS lacks {missing}"),
        "a pod is named by K8S_POD_NAMESPACE and K8S_POD_NAME",
    )
}

fn required(env: &Env, names: &[&str]) -> Result<(), CniError> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| get(env, name).is_empty())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(CniError::invalid_environment(
        format!("{} missing", missing.join(", ")),
        "the runtime sets these variables (CNI specification 1.0.0, section 2)",
    ))
}

fn get<'a>(env: &'a Env, name: &str) -> &'a str {
    env.get(name).map_or("", String::as_str)
}

fn is_container_id(text: &str) -> bool {
    text.len() <= MAX_CONTAINER_ID
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_ifname(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text.len() <= MAX_IFNAME
        && !text
            .chars()
            .any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

//! The command line of each daemon in a lab, after the contract of flags and ports.

use std::sync::Arc;

use anyhow::bail;
use weft_netns::Netns;

use crate::config::LabConfig;
use crate::daemon::{Daemon, Launch, Part, address};
use crate::topology::{self, Node, ROOT_IP};

/// Port of the table stream.
const TABLES_PORT: u16 = 15012;

/// Where daemons are started.
pub(crate) struct Grounds {
    pub(crate) config: LabConfig,
    /// The network outside all nodes.
    pub(crate) root: Netns,
    pub(crate) nodes: Vec<Arc<Node>>,
}

/// Starts a daemon; `shift` is added to the ports of its pages.
pub(crate) fn launch(
    grounds: &Grounds,
    part: Part,
    node: &str,
    shift: u16,
) -> anyhow::Result<Daemon> {
    let Grounds {
        config,
        root,
        nodes,
    } = grounds;
    let own = config.flags.get(&part).cloned().unwrap_or_default();
    let found = nodes.iter().find(|n| n.name == node);
    let (ns, ip, mut arguments) = match (part, found) {
        (Part::Operator, _) => (root, ROOT_IP, operator_flags(config)),
        (_, None) => bail!("there is no node `{node}`"),
        (Part::Agent, Some(n)) => (&n.netns, n.ip(), agent_flags(config, n)?),
        (Part::Proxy, Some(n)) => (&n.netns, n.ip(), proxy_flags(n, shift)),
    };
    arguments = merged(arguments, own);
    let launch = Launch {
        part,
        node: node.to_owned(),
        binary: config.binary(part.binary())?,
        arguments,
        logs: config.logs.clone(),
        ready: address(ip, part.ready_port() + shift),
        metrics: address(ip, part.metrics_port() + shift),
    };
    Daemon::start(&launch, ns)
}

/// The lab's own pairs of flag and value without those that are given anew, then the given ones.
fn merged(own: Vec<String>, given: Vec<String>) -> Vec<String> {
    let kept = own
        .chunks(2)
        .filter(|pair| !pair.iter().take(1).any(|name| given.contains(name)));
    let mut all: Vec<String> = kept.flatten().cloned().collect();
    all.extend(given);
    all
}

fn flags(pairs: &[(&str, &dyn std::fmt::Display)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|(name, value)| [format!("--{name}"), value.to_string()])
        .collect()
}

fn operator_flags(config: &LabConfig) -> Vec<String> {
    let mut directories = config.directories();
    directories.push(config.state());
    let manifests = directories
        .iter()
        .flat_map(|d| flags(&[("manifests", &d.display())]));
    let mut all: Vec<String> = manifests.collect();
    all.extend(flags(&[
        ("listen", &address(ROOT_IP, TABLES_PORT)),
        (
            "metrics-listen",
            &address(ROOT_IP, Part::Operator.metrics_port()),
        ),
    ]));
    all
}

fn node_flags(node: &Node) -> Vec<String> {
    flags(&[
        ("node-name", &node.name),
        ("run-dir", &node.paths.run.display()),
        ("state-dir", &node.paths.state.display()),
        (
            "operator",
            &format!("http://{}", address(ROOT_IP, TABLES_PORT)),
        ),
    ])
}

fn agent_flags(config: &LabConfig, node: &Node) -> anyhow::Result<Vec<String>> {
    let mut all = node_flags(node);
    all.extend(flags(&[
        ("cni-bin-dir", &node.paths.cni_bin.display()),
        ("cni-conf-dir", &node.paths.cni_conf.display()),
        ("plugin", &config.binary("weft-cni")?.display()),
        ("netns-dir", &topology::NETNS_DIRECTORY),
        (
            "metrics-listen",
            &address(node.ip(), Part::Agent.metrics_port()),
        ),
    ]));
    Ok(all)
}

fn proxy_flags(node: &Node, shift: u16) -> Vec<String> {
    let mut all = node_flags(node);
    all.extend(flags(&[
        (
            "metrics-listen",
            &address(node.ip(), Part::Proxy.metrics_port() + shift),
        ),
        (
            "ready-listen",
            &address(node.ip(), Part::Proxy.ready_port() + shift),
        ),
    ]));
    all
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn given_flags_replace_those_of_the_lab() {
        let strings = |flags: &[&str]| flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>();
        let all = merged(
            strings(&["--a", "1", "--b", "2"]),
            strings(&["--b", "3", "--c"]),
        );
        assert_eq!(all, ["--a", "1", "--b", "3", "--c"]);
    }
}

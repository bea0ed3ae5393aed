//! `weft proxy-status`: which tables every node runs, as the operator that leads knows from their acknowledgements.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::bail;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::operator::{Leader, NodeRow, NodesPage};
use crate::cluster::{self, Access, get, list, reason, text};
use crate::render::{self, Format};

/// Flags of `weft proxy-status`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    /// Only this node.
    node: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    cluster::run(status(args))
}

async fn status(args: &Args) -> anyhow::Result<u8> {
    let client = args.access.client().await?;
    let leader = Leader::find(&client).await?;
    let page = leader.nodes(&client).await?;
    let mut names = nodes(&client).await?;
    if let Some(node) = &args.node {
        if !names.contains(node) {
            bail!("there is no node {node}");
        }
        names.retain(|name| name == node);
    }
    let rows = rows(&page, &names);
    if args.output == Format::Table {
        let header = ["NODE", "PROXY", "AGENT", "VERSION", "GENERATION", "AGE"];
        let mut table = vec![header.map(str::to_owned).to_vec()];
        table.extend(rows.iter().map(|row| row.cells(page.generation)));
        render::raw(render::table(&table).as_bytes());
        rows.iter()
            .filter_map(Row::refusal)
            .for_each(|text| render::note(&text));
    } else {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        render::value(
            args.output,
            &json!({"leader": leader.pod, "generation": page.generation, "nodes": rows}),
        );
    }
    Ok(0)
}

async fn nodes(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    match get(client, "/api/v1/nodes").await {
        Ok(nodes) => Ok(list(&nodes, "/items")
            .iter()
            .map(|node| text(node, "/metadata/name").to_owned())
            .collect()),
        Err(error) => bail!("nodes: {}", reason(&error)),
    }
}

/// How far a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It uses the newest generation.
    Synced,
    /// It uses an older one.
    Stale,
    /// It is connected and has acknowledged nothing yet.
    NotSent,
    /// It refuses what it was sent.
    Refused,
    /// It is not connected to the operator that leads.
    Away,
}

impl State {
    fn of(program: Option<&NodeRow>, newest: u64) -> Self {
        match program {
            None => Self::Away,
            Some(row) if row.acked >= newest => Self::Synced,
            Some(row) if row.last_nack.is_some() => Self::Refused,
            Some(row) if row.acked == 0 => Self::NotSent,
            Some(_) => Self::Stale,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::NotSent => "NOT SENT",
            Self::Refused => "REFUSED",
            Self::Away => "NOT CONNECTED",
        }
    }
}

/// One node.
struct Row<'a> {
    node: &'a str,
    /// Of several proxies during an upgrade the one that is furthest behind.
    proxy: Option<&'a NodeRow>,
    agent: Option<&'a NodeRow>,
    newest: u64,
}

fn rows<'a>(page: &'a NodesPage, names: &'a BTreeSet<String>) -> Vec<Row<'a>> {
    let mut programs: BTreeMap<(&str, &str), &NodeRow> = BTreeMap::new();
    for row in &page.nodes {
        let key = (row.node.as_str(), row.kind.as_str());
        let oldest = programs.entry(key).or_insert(row);
        if row.acked < oldest.acked {
            *oldest = row;
        }
    }
    names
        .iter()
        .map(|node| Row {
            node,
            proxy: programs.get(&(node.as_str(), "proxy")).copied(),
            agent: programs.get(&(node.as_str(), "agent")).copied(),
            newest: page.generation,
        })
        .collect()
}

impl Row<'_> {
    fn cells(&self, newest: u64) -> Vec<String> {
        let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            self.node.to_owned(),
            State::of(self.proxy, self.newest).word().to_owned(),
            State::of(self.agent, self.newest).word().to_owned(),
            known(self.version()),
            known(self.proxy.map(|proxy| format!("{}/{newest}", proxy.acked))),
            known(self.proxy.map(|proxy| age(proxy.acked_seconds))),
        ]
    }

    /// Of the proxy; both when the agent's is another one.
    fn version(&self) -> Option<String> {
        match (self.proxy, self.agent) {
            (Some(proxy), Some(agent)) if proxy.version != agent.version => {
                Some(format!("{} (agent {})", proxy.version, agent.version))
            }
            (proxy, agent) => proxy.or(agent).map(|row| row.version.clone()),
        }
    }

    fn refusal(&self) -> Option<String> {
        let (program, row) = [("proxy", self.proxy), ("agent", self.agent)]
            .into_iter()
            .find(|(_, row)| State::of(*row, self.newest) == State::Refused)?;
        let reason = &row?.last_nack.as_ref()?.reason;
        Some(format!(
            "node {}: the {program} refuses its tables: {reason}",
            self.node
        ))
    }

    fn json(&self) -> Value {
        let program = |row: Option<&NodeRow>| {
            json!({
                "state": State::of(row, self.newest).word(),
                "version": row.map(|row| &row.version),
                "generation": row.map(|row| row.acked),
                "ageSeconds": row.map(|row| row.acked_seconds),
                "refusal": row.and_then(|row| row.last_nack.as_ref()).map(|nack| &nack.reason),
            })
        };
        json!({"node": self.node, "proxy": program(self.proxy), "agent": program(self.agent)})
    }
}

/// As kubectl writes ages.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::operator::Nack;

    use super::*;

    fn row(node: &str, kind: &str, acked: u64) -> NodeRow {
        NodeRow {
            node: node.to_owned(),
            kind: kind.to_owned(),
            version: "0.1.0".to_owned(),
            acked,
            acked_seconds: 200,
            last_nack: None,
        }
    }

    #[test]
    fn every_node_has_a_row_and_the_oldest_proxy_speaks_for_it() {
        let refusing = NodeRow {
            last_nack: Some(Nack {
                reason: "too big".to_owned(),
            }),
            ..row("node-3", "proxy", 3)
        };
        let agent = NodeRow {
            version: "0.2.0".to_owned(),
            ..row("node-2", "agent", 0)
        };
        let page = NodesPage {
            version: String::new(),
            generation: 7,
            nodes: vec![
                row("node-1", "agent", 7),
                row("node-1", "proxy", 7),
                agent,
                row("node-2", "proxy", 7),
                row("node-2", "proxy", 5),
                refusing,
            ],
        };
        let names = ["node-1", "node-2", "node-3", "node-4"];
        let names = names.map(str::to_owned).into();
        let rows = rows(&page, &names);
        let cells: Vec<String> = rows.iter().map(|row| row.cells(7).join(" | ")).collect();
        assert_eq!(
            cells,
            [
                "node-1 | SYNCED | SYNCED | 0.1.0 | 7/7 | 3m",
                "node-2 | STALE | NOT SENT | 0.1.0 (agent 0.2.0) | 5/7 | 3m",
                "node-3 | REFUSED | NOT CONNECTED | 0.1.0 | 3/7 | 3m",
                "node-4 | NOT CONNECTED | NOT CONNECTED | - | - | -",
            ]
        );
        let refusals: Vec<String> = rows.iter().filter_map(Row::refusal).collect();
        assert_eq!(
            refusals,
            ["node node-3: the proxy refuses its tables: too big"]
        );
        assert_eq!(rows[3].json()["proxy"]["state"], "NOT CONNECTED");
    }

    #[test]
    fn ages_are_short() {
        let ages = [5, 119, 120, 7_199, 7_200, 200_000].map(age);
        assert_eq!(ages, ["5s", "119s", "2m", "119m", "2h", "2d"]);
    }
}

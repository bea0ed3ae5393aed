//! Pods that come and go: ADD and DEL through the real chain (bridge, host-local, weft-cni) with agent, proxy and operator
//! at work, many at once. What counts is the time of our plugin's own call, and what is left when all pods have gone.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use tokio::runtime::Runtime;
use weft_lab::{Lab, LabConfig, Node, Part};

use crate::report;

mod chain;

use chain::{Chain, Sandbox};

/// The lab comes up, and the operator hands out a thousand pods, within this time.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is left of a pod is looked at within this time after its DEL.
const SETTLE: Duration = Duration::from_secs(30);
/// Pods that exist at once: a node's usual network has 253 addresses, a kubelet's limit is lower still.
const AT_ONCE: usize = 200;
/// One pod in so many is searched for rules after its DEL.
const SEARCHED: usize = 20;

/// What to run.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Pods of the main run; the shorter ones have a tenth and a fifth of it.
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// ADDs at the same time in the main run.
    #[arg(long, default_value_t = 50)]
    parallel: usize,
    /// Flavour of the packet rules.
    #[arg(long, default_value = "nft")]
    iptables: String,
    /// Where results go as JSON.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results/pods.json"))]
    json: PathBuf,
    /// Directory of Weft's release binaries.
    #[arg(long)]
    binaries: PathBuf,
}

/// One run; times in milliseconds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    pods: usize,
    parallel: usize,
    /// Our plugin's call, from its start to its end.
    add_p50_ms: f64,
    add_p99_ms: f64,
    add_max_ms: f64,
    /// The bridge plugin's call before it, for comparison.
    bridge_p50_ms: f64,
    bridge_p99_ms: f64,
    del_p50_ms: f64,
    del_p99_ms: f64,
    /// ADDs and DELs that failed; a good run has none.
    failures: usize,
}

/// What the daemons hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Holdings {
    agent_descriptors: usize,
    agent_namespaces: usize,
    proxy_descriptors: usize,
    proxy_namespaces: usize,
    /// Pods on record with the agent.
    records: usize,
    /// Searched pods that still had rules of ours.
    rules: usize,
}

#[derive(Serialize)]
struct Results {
    machine: report::Machine,
    iptables: String,
    rows: Vec<Row>,
    before: Holdings,
    after: Holdings,
}

/// Runs it in the room.
pub(crate) fn run(options: &Options, directory: &Path) -> anyhow::Result<()> {
    let plan = [
        (options.pods.div_ceil(10), 1),
        (options.pods.div_ceil(5), 20),
        (options.pods, options.parallel),
    ];
    let total = plan.iter().map(|(pods, _)| pods).sum();
    let ground = Ground::up(options, directory, total)?;
    let before = ground.holdings(0)?;
    let (mut rows, mut left, mut first) = (Vec::new(), 0, 0);
    for (pods, parallel) in plan {
        eprintln!("{pods} pods, {parallel} at a time");
        let (row, rules) = ground.soak(first, pods, parallel)?;
        eprintln!("{}", line(&row));
        first += pods;
        left += rules;
        rows.push(row);
    }
    let after = ground.settled(before, left)?;
    eprintln!("before {before:?}\nafter  {after:?}");
    let failures: usize = rows.iter().map(|row| row.failures).sum();
    let results = Results {
        machine: report::machine(),
        iptables: options.iptables.clone(),
        rows,
        before,
        after,
    };
    if failures > 0 || after.records > 0 || after.rules > 0 {
        bail!("{failures} calls failed, {after:?}: nothing is written");
    }
    report::keep(&options.json, &results)
}

fn line(row: &Row) -> String {
    format!(
        "{:>5} pods x{:<3} ADD p50 {:>6.1} p99 {:>6.1} max {:>6.1} ms (bridge {:.1} / {:.1})  DEL p50 {:.1} p99 {:.1} ms  {} failures",
        row.pods,
        row.parallel,
        row.add_p50_ms,
        row.add_p99_ms,
        row.add_max_ms,
        row.bridge_p50_ms,
        row.bridge_p99_ms,
        row.del_p50_ms,
        row.del_p99_ms,
        row.failures,
    )
}

/// One node with the mesh on it.
struct Ground {
    // Kept alive: the daemons end with it.
    _runtime: Runtime,
    lab: Lab,
}

impl Ground {
    fn up(options: &Options, directory: &Path, pods: usize) -> anyhow::Result<Self> {
        let (manifests, bound) = (directory.join("manifests"), directory.join("bound"));
        for directory in [&manifests, &bound] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        fs::write(manifests.join("namespace.yaml"), NAMESPACE)?;
        // The lab would start what it reads; these pods are started here, and the operator alone reads of them.
        fs::write(bound.join("pods.yaml"), bound_pods(pods))?;
        let mut config = LabConfig::new(directory, &options.binaries, &manifests);
        config.nodes = 1;
        let state = config.state();
        let directories = [&manifests, &state, &bound];
        let flags = directories
            .iter()
            .flat_map(|d| ["--manifests".to_owned(), d.display().to_string()]);
        config.flags.insert(Part::Operator, flags.collect());
        // Here pods are alive as long as this process holds them; they have no names and no processes.
        let held = format!("/proc/{}/fd", std::process::id());
        let flags = ["--iptables", &options.iptables, "--netns-dir", &held];
        config
            .flags
            .insert(Part::Agent, flags.map(str::to_owned).to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let lab = runtime.block_on(async {
            let lab = Lab::up(config).await?;
            lab.synced(PATIENCE).await?;
            anyhow::Ok(lab)
        })?;
        Ok(Self {
            _runtime: runtime,
            lab,
        })
    }

    fn node(&self) -> anyhow::Result<&Node> {
        self.lab
            .nodes()
            .first()
            .map(AsRef::as_ref)
            .context("no node")
    }

    /// ADD and DEL of so many pods, in waves; also how many of the searched ones kept rules.
    fn soak(&self, first: usize, pods: usize, parallel: usize) -> anyhow::Result<(Row, usize)> {
        let chain = Chain::of(self.node()?)?;
        let (mut times, mut left) = (Times::default(), 0);
        let mut number = first;
        while number < first + pods {
            let wave = number..(first + pods).min(number + AT_ONCE);
            number = wave.end;
            let sandboxes = wave
                .map(Sandbox::make)
                .collect::<anyhow::Result<Vec<_>>>()?;
            let sandboxes = at_once(parallel, sandboxes, |sandbox| chain.add(sandbox));
            let sandboxes = at_once(parallel, sandboxes, |sandbox| chain.del(sandbox));
            for sandbox in &sandboxes {
                times.take(sandbox);
            }
            for sandbox in sandboxes.iter().step_by(SEARCHED) {
                left += usize::from(!soon(|| Ok(!sandbox.has_rules()?))?);
            }
        }
        Ok((times.row(pods, parallel), left))
    }

    fn holdings(&self, rules: usize) -> anyhow::Result<Holdings> {
        let node = self.node()?;
        let held = |part: Part| -> anyhow::Result<(usize, usize)> {
            let pid = self.lab.pid(part, &node.name).context("a daemon is gone")?;
            let entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
            let links: Vec<PathBuf> = entries
                .flatten()
                .filter_map(|entry| fs::read_link(entry.path()).ok())
                .collect();
            let namespace = |link: &&PathBuf| link.to_string_lossy().starts_with("net:[");
            Ok((links.len(), links.iter().filter(namespace).count()))
        };
        let (agent_descriptors, agent_namespaces) = held(Part::Agent)?;
        let (proxy_descriptors, proxy_namespaces) = held(Part::Proxy)?;
        Ok(Holdings {
            agent_descriptors,
            agent_namespaces,
            proxy_descriptors,
            proxy_namespaces,
            records: fs::read_dir(node.paths.run.join("pods"))?.count(),
            rules,
        })
    }

    /// Waits until the daemons hold what they held before, or for as long as they may take.
    fn settled(&self, before: Holdings, rules: usize) -> anyhow::Result<Holdings> {
        soon(|| {
            let now = self.holdings(rules)?;
            Ok(now.records == 0
                && now.agent_descriptors <= before.agent_descriptors
                && now.proxy_descriptors <= before.proxy_descriptors)
        })?;
        self.holdings(rules)
    }
}

/// Whether a condition comes true in time.
fn soon(mut is: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        if is()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

/// Does something to each, so many at a time.
fn at_once(
    parallel: usize,
    items: Vec<Sandbox>,
    act: impl Fn(&mut Sandbox) + Sync,
) -> Vec<Sandbox> {
    let (todo, done) = (Mutex::new(items), Mutex::new(Vec::new()));
    let next = || todo.lock().ok().and_then(|mut items| items.pop());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some(mut item) = next() {
                    act(&mut item);
                    if let Ok(mut done) = done.lock() {
                        done.push(item);
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default()
}

#[derive(Default)]
struct Times {
    add: Vec<Duration>,
    bridge: Vec<Duration>,
    del: Vec<Duration>,
    failures: usize,
}

impl Times {
    fn take(&mut self, sandbox: &Sandbox) {
        self.add.extend(sandbox.add);
        self.bridge.extend(sandbox.bridge);
        self.del.extend(sandbox.del);
        for failure in &sandbox.failures {
            eprintln!("{failure}");
        }
        self.failures += sandbox.failures.len();
    }

    fn row(mut self, pods: usize, parallel: usize) -> Row {
        let at = |times: &mut Vec<Duration>, percent: usize| {
            times.sort_unstable();
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        Row {
            pods,
            parallel,
            add_p50_ms: at(&mut self.add, 50),
            add_p99_ms: at(&mut self.add, 99),
            add_max_ms: at(&mut self.add, 100),
            bridge_p50_ms: at(&mut self.bridge, 50),
            bridge_p99_ms: at(&mut self.bridge, 99),
            del_p50_ms: at(&mut self.del, 50),
            del_p99_ms: at(&mut self.del, 99),
            failures: self.failures,
        }
    }
}

/// Pods that are bound to the node, as the API would show them before their sandboxes exist.
fn bound_pods(count: usize) -> String {
    let pod = |n: usize| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: soak, uid: {uid}}}\n\
             spec: {{nodeName: node-1, serviceAccountName: default, containers: [{{name: c, image: none}}]}}\n",
            name = chain::name(n),
            uid = chain::uid(n),
        )
    };
    (0..count).map(pod).collect()
}

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata:
  name: soak
  labels: {weft.mesh/mode: enabled}
";

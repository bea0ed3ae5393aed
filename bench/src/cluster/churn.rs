//! The operator's work for a thousand Services whose endpoints change all the time.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;
use weft_cluster::Cluster;

use super::daemons::Daemons;

/// Endpoints of each Service.
const ENDPOINTS: usize = 10;
/// EndpointSlices that change each second.
const CHANGES: usize = 20;
/// So long.
const SECONDS: u64 = 30;
/// The operator has read and compiled everything by then.
const SETTLE: Duration = Duration::from_secs(10);
/// Objects of one `kubectl apply`.
const BATCH: usize = 250;

/// What it cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Churn {
    services: usize,
    endpoints: usize,
    changes_per_second: f64,
    seconds: f64,
    /// Of one core, for each operator: the leader and the one that stands by.
    operator_cpu_percent: Vec<f64>,
    /// The same while nothing changes.
    operator_cpu_percent_at_rest: Vec<f64>,
    operator_rss_mib: Vec<f64>,
}

/// Makes the Services, lets them change, and reads the operators' clocks.
pub(crate) fn measure(
    cluster: &Cluster,
    daemons: &Daemons<'_>,
    services: usize,
) -> anyhow::Result<Churn> {
    cluster.kubectl_ok(&["create", "namespace", "many"])?;
    let all: Vec<usize> = (0..services).collect();
    for batch in all.chunks(BATCH) {
        let objects = batch
            .iter()
            .map(|number| service(*number) + &slice(*number, 0));
        cluster.apply(&objects.collect::<String>())?;
    }
    std::thread::sleep(SETTLE);
    let at_rest = used(daemons, || {
        std::thread::sleep(SETTLE);
        Ok(())
    })?;
    let (mut round, mut changed) = (0, 0);
    let started = Instant::now();
    let churning = used(daemons, || {
        while started.elapsed() < Duration::from_secs(SECONDS) {
            round += 1;
            let due = started + Duration::from_secs(round);
            let first = usize::try_from(round).unwrap_or(0) * CHANGES;
            let numbers = (first..first + CHANGES).map(|number| number % services.max(1));
            let slices = numbers.map(|number| slice(number, round));
            cluster.apply(&slices.collect::<String>())?;
            changed += CHANGES;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let memory = daemons.memory()?;
    let operators = memory.iter().filter(|one| one.daemon() == "weft-operator");
    Ok(Churn {
        services,
        endpoints: services * ENDPOINTS,
        changes_per_second: changed as f64 / seconds,
        seconds,
        operator_cpu_percent: churning,
        operator_cpu_percent_at_rest: at_rest,
        operator_rss_mib: operators.map(|one| one.rss_mib()).collect(),
    })
}

/// Per cent of a core that each operator used meanwhile.
fn used(
    daemons: &Daemons<'_>,
    meanwhile: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<f64>> {
    let (before, started) = (daemons.cpu_seconds("weft-operator")?, Instant::now());
    meanwhile()?;
    let (after, seconds) = (
        daemons.cpu_seconds("weft-operator")?,
        started.elapsed().as_secs_f64(),
    );
    let percent = |(after, before): (&f64, &f64)| (after - before) / seconds * 100.0;
    Ok(after.iter().zip(&before).map(percent).collect())
}

fn service(number: usize) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: many}}\n\
         spec:\n  ports: [{{name: http, port: 80, targetPort: 8080}}]\n"
    )
}

/// Endpoints that nobody has; the last octet of one of them changes with the round.
fn slice(number: usize, round: u64) -> String {
    let mut text = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: s{number}-a, namespace: many, labels: {{kubernetes.io/service-name: s{number}}}}}\n\
         ports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n"
    );
    for endpoint in 0..ENDPOINTS {
        let (high, low) = (number / 200, number % 200);
        let last = match endpoint {
            0 => 100 + round % 100,
            other => other as u64,
        };
        // 172.16.0.0/12: no network of the cluster's.
        let _ = writeln!(
            text,
            "  - {{addresses: [\"172.{}.{low}.{last}\"], conditions: {{ready: true}}}}",
            16 + high
        );
    }
    text
}

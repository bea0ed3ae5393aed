//! How long a route takes from `kubectl apply` to every node.

use std::time::Instant;

use weft_cluster::Cluster;

use super::installation::Installation;
use super::{MESHED, Spread};

/// Applies a route so many times, each a change; gives the time from the command's return, and from its start.
pub(crate) fn measure(
    cluster: &Cluster,
    installation: &Installation<'_>,
    times: usize,
) -> anyhow::Result<(Spread, Spread)> {
    let (mut returned, mut started) = (Vec::new(), Vec::new());
    for number in 0..=times {
        let before = installation.generations()?;
        let start = Instant::now();
        cluster.apply(&route(number))?;
        let applied = Instant::now();
        installation.beyond(&before)?;
        // The first one is the route's birth.
        if number > 0 {
            returned.push(applied.elapsed().as_secs_f64() * 1e3);
            started.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((Spread::of(returned), Spread::of(started)))
}

fn route(number: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: crowd, namespace: {MESHED}}}
spec:
  hosts: [crowd]
  http:
    - headers: {{response: {{set: {{x-number: \"{number}\"}}}}}}
      route: [{{destination: {{host: crowd}}}}]
"
    )
}

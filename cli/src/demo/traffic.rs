//! The demo's visitors: an open-loop load from each pod with the load annotation, for as long as the pod lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weft_lab::load::{self, Outcome, Source};
use weft_lab::object::{Objects, list, map, of_kind, text};
use weft_lab::verb::http::{self, Target};
use weft_lab::{Lab, View};

use crate::demo::edges::{LOAD_ANNOTATION, Visitor, visitors};

/// Connections of one visitor; more than any answer time of the shop needs.
const CONNECTIONS: usize = 8;
/// The URLs have this time to answer once before the numbers count.
const FIRST_ANSWERS: Duration = Duration::from_secs(10);
/// Between two first attempts.
const RETRY: Duration = Duration::from_millis(50);
/// Requests a second that the fallback sends to each HTTP Service.
const FALLBACK_RATE: f64 = 5.0;
/// Namespace of the fallback's pod.
const FALLBACK_NAMESPACE: &str = "weft-visitors";

/// Running visitors.
pub(crate) struct Traffic {
    stop: CancellationToken,
    visitors: JoinSet<(String, anyhow::Result<Outcome>)>,
}

impl Traffic {
    /// Asks each URL until it answers, then starts the load. Gives what is wrong, too: a URL without a good answer is
    /// asked all the same, for the user may be about to mend it.
    pub(crate) async fn start(lab: &Lab) -> (Self, Vec<String>) {
        let view = lab.view();
        let mut traffic = Self {
            stop: CancellationToken::new(),
            visitors: JoinSet::new(),
        };
        let mut troubles = Vec::new();
        let deadline = Instant::now() + FIRST_ANSWERS;
        for visitor in visitors(&view.objects) {
            for (url, rate) in &visitor.load {
                let sent = match first_answer(&view, &visitor, url, deadline).await {
                    Ok(()) => traffic.send(&view, &visitor, url, *rate),
                    Err(trouble) => traffic.send(&view, &visitor, url, *rate).and(Err(trouble)),
                };
                if let Err(error) = sent {
                    let Visitor {
                        namespace, owner, ..
                    } = &visitor;
                    troubles.push(format!("{url} from {namespace}/{owner}: {error:#}"));
                }
            }
        }
        (traffic, troubles)
    }

    fn send(&mut self, view: &View, visitor: &Visitor, url: &str, rate: f64) -> anyhow::Result<()> {
        let pod = view
            .pod(&visitor.namespace, &visitor.owner)
            .context("its pod is gone")?;
        let source = Source {
            netns: Arc::clone(pod.netns.as_ref().context("its pod has no namespace")?),
            targets: vec![Target::resolve(view, &visitor.namespace, url)?],
            headers: Vec::new(),
            connections: CONNECTIONS,
        };
        let (stop, name) = (self.stop.clone(), format!("{url} from {}", pod.name));
        self.visitors
            .spawn(async move { (name, load::open(source, rate, stop).await) });
        Ok(())
    }

    /// Stops all visitors; tells of requests that had no answer at all, which no proxy may have counted.
    pub(crate) async fn stop(mut self) -> Vec<String> {
        self.stop.cancel();
        let mut problems = Vec::new();
        while let Some(visitor) = self.visitors.join_next().await {
            match visitor {
                Ok((name, Ok(outcome))) => problems.extend(unanswered(&name, &outcome)),
                Ok((name, Err(error))) => problems.push(format!("{name}: {error:#}")),
                Err(error) => problems.push(format!("a visitor ended early: {error}")),
            }
        }
        problems
    }
}

fn unanswered(name: &str, outcome: &Outcome) -> Option<String> {
    let words: Vec<String> = outcome
        .errors
        .iter()
        .map(|(e, n)| format!("{n} × {e}"))
        .collect();
    let (failed, all) = (outcome.failed(), outcome.failed() + outcome.responses());
    (failed > 0).then(|| {
        format!(
            "{name}: {failed} of {all} had no answer ({})",
            words.join(", ")
        )
    })
}

async fn first_answer(
    view: &View,
    visitor: &Visitor,
    url: &str,
    deadline: Instant,
) -> anyhow::Result<()> {
    let pod = view
        .pod(&visitor.namespace, &visitor.owner)
        .context("its pod is gone")?;
    loop {
        let came = match http::get_from(view, pod, url, &[]).await {
            Ok(response) if response.status < 500 => return Ok(()),
            Ok(response) => format!("{} {}", response.status, response.text().trim()),
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!("no good answer yet: {came}");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Manifests of a visitor that asks every HTTP Service, for directories in which nobody sends anything. None when
/// somebody does, or when there is no such Service.
pub(crate) fn fallback(objects: &Objects) -> Option<String> {
    if !visitors(objects).is_empty() {
        return None;
    }
    let services =
        of_kind(objects, "Service").filter(|(_, s)| !map(s, "/spec/selector").is_empty());
    let urls: Vec<String> = services
        .flat_map(|(key, service)| {
            list(service, "/spec/ports").iter().filter_map(move |port| {
                let kind = text(port, "/appProtocol")
                    .or(text(port, "/name"))
                    .unwrap_or("http");
                let number = port.get("port")?.as_u64()?;
                let url = format!(
                    "http://{}.{}:{number}/ {FALLBACK_RATE}",
                    key.name, key.namespace
                );
                (kind == "http" || kind.starts_with("http-")).then_some(url)
            })
        })
        .collect();
    if urls.is_empty() {
        return None;
    }
    let annotations = BTreeMap::from([(LOAD_ANNOTATION, urls.join("\n"))]);
    let namespace = serde_json::json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": FALLBACK_NAMESPACE, "labels": {"weft.mesh/mode": "enabled"}},
    });
    let pod = serde_json::json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": "visitors",
            "namespace": FALLBACK_NAMESPACE,
            "labels": {"app": "visitors"},
            "annotations": annotations,
        },
        "spec": {"containers": [{"name": "visitors", "image": "weft-sample"}]},
    });
    Some(format!("{namespace:#}\n---\n{pod:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_lab::manifests::parse;

    #[test]
    fn a_directory_without_visitors_gets_one_that_asks_every_http_service() {
        let text = "kind: Service\nmetadata: {name: web, namespace: my}\nspec: {selector: {app: web}, ports: [{name: http, port: 8080}, {name: tcp-x, port: 1}]}";
        let objects: Objects = parse(text).unwrap().into_iter().collect();
        let added: Objects = parse(&fallback(&objects).unwrap())
            .unwrap()
            .into_iter()
            .collect();
        let found = visitors(&added);
        assert_eq!(
            found[0].load,
            [("http://web.my:8080/".to_owned(), FALLBACK_RATE)]
        );
        assert_eq!(fallback(&added), None);
        assert_eq!(fallback(&Objects::new()), None);
    }
}

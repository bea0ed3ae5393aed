//! `weft wait`: until a policy is in force on every node, told by the conditions that the operator writes. `kubectl wait`
//! reads the same conditions; this one knows that a status may be about an older version of the object, knows the parents
//! of routes, says why it waits, and fails at once when the object is not accepted, for waiting would not help.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::Client;
use serde_json::Value;
use tokio::time::Instant;
use weft_k8s::Kind;

use crate::cluster::{self, Access, duration, find, list, number, reason, text};
use crate::cmd::analyze::files;
use crate::render;

/// Unless `--timeout` says otherwise.
const TIMEOUT: &str = "60s";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Who writes our part of a route's status.
const CONTROLLER: &str = "weft.mesh/operator";

/// Flags of `weft wait`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,
    /// Policies as KIND/NAME: virtualservice/reviews, vs/reviews, httproute/shop.
    #[arg(value_name = "KIND/NAME", required_unless_present = "filename")]
    targets: Vec<Target>,
    /// Policies of these files or directories; `-` reads standard input. Objects of other kinds are passed over.
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Namespace of objects that name none; else the context's.
    #[arg(short, long)]
    namespace: Option<String>,
    /// What for: `generation` (accepted, and acknowledged by all nodes), `condition=NAME`, `condition=NAME=VALUE`, `delete`.
    #[arg(long = "for", value_name = "WHAT", default_value = "generation")]
    what: Goal,
    /// How long.
    #[arg(long, default_value = TIMEOUT, value_parser = duration)]
    timeout: Duration,
}

/// One object as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    kind: Kind,
    namespace: Option<String>,
    name: String,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// In force on all nodes.
    Generation,
    /// A condition has this status.
    Condition(String, String),
    /// It has gone.
    Delete,
}

/// Where it is on the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Reached, in words.
    Reached(String),
    /// Not yet, because.
    Waiting(String),
    /// Never, because.
    Hopeless(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (kind, name) = word
            .split_once('/')
            .filter(|(_, name)| !name.is_empty())
            .ok_or_else(|| format!("`{word}` is not KIND/NAME, as in virtualservice/reviews"))?;
        let kind = kind.to_ascii_lowercase();
        let kind = kind.split('.').next().unwrap_or_default();
        let found = waitable().find(|found| {
            kind == found.name().to_ascii_lowercase()
                || kind == found.plural()
                || kind == short(*found)
        });
        let found = found.ok_or_else(|| {
            let known: Vec<String> = waitable()
                .map(|kind| kind.name().to_ascii_lowercase())
                .collect();
            format!(
                "`{kind}` has no status of Weft's; one of: {}",
                known.join(", ")
            )
        })?;
        Ok(Self {
            kind: found,
            namespace: None,
            name: name.to_owned(),
        })
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "generation" => Ok(Self::Generation),
            "delete" => Ok(Self::Delete),
            _ => {
                let condition = word.strip_prefix("condition=").ok_or_else(|| {
                    format!("`{word}` is none of generation, condition=NAME, condition=NAME=VALUE, delete")
                })?;
                let (name, value) = condition.split_once('=').unwrap_or((condition, "True"));
                Ok(Self::Condition(name.to_owned(), value.to_owned()))
            }
        }
    }
}

impl Target {
    fn path(&self, default: &str) -> String {
        let (group, plural) = (self.kind.group(), self.kind.plural());
        let version = self.kind.versions().first().copied().unwrap_or("v1");
        let namespace = self.namespace.as_deref().unwrap_or(default);
        format!(
            "/apis/{group}/{version}/namespaces/{namespace}/{plural}/{}",
            self.name
        )
    }

    fn shown(&self) -> String {
        format!(
            "{}.{}/{}",
            self.kind.name().to_ascii_lowercase(),
            self.kind.group(),
            self.name
        )
    }
}

fn waitable() -> impl Iterator<Item = Kind> {
    Kind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.gets_conditions())
}

/// The short names that the definitions give.
fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::VirtualService => "vs",
        Kind::DestinationRule => "dr",
        _ => "",
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    cluster::run(wait(args))
}

async fn wait(args: &Args) -> anyhow::Result<u8> {
    let mut targets = args.targets.clone();
    targets.extend(from_files(&args.filename)?);
    let client = args.access.client().await?;
    let namespace = match &args.namespace {
        Some(namespace) => namespace.clone(),
        None => client.default_namespace().to_owned(),
    };
    let deadline = Instant::now() + args.timeout;
    for target in &targets {
        let (path, shown) = (target.path(&namespace), target.shown());
        let reached = one(&client, &path, &args.what, deadline).await;
        let text = reached.with_context(|| shown.clone())?;
        render::line(&format!("{shown} {text}"));
    }
    Ok(0)
}

/// Waits for one object; what was reached.
async fn one(
    client: &Client,
    path: &str,
    goal: &Goal,
    deadline: Instant,
) -> anyhow::Result<String> {
    loop {
        let step = match find(client, path).await {
            Ok(object) => judge(object.as_ref(), goal),
            Err(error @ kube::Error::Api(_)) => bail!("{}", reason(&error)),
            // An API server that is away for a moment is waited for.
            Err(error) => Step::Waiting(reason(&error)),
        };
        let why = match step {
            Step::Reached(text) => return Ok(text),
            Step::Hopeless(why) => bail!("{why}"),
            Step::Waiting(why) => why,
        };
        if Instant::now() >= deadline {
            bail!("not in time: {why}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Policies in files, whatever version they are written in.
fn from_files(paths: &[PathBuf]) -> anyhow::Result<Vec<Target>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mut targets = Vec::new();
    for file in files::read(paths).map_err(anyhow::Error::msg)? {
        let objects = weft_lab::manifests::parse(&file.text)
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.name))?;
        for (_, object) in objects {
            let (group, _) = text(&object, "/apiVersion")
                .split_once('/')
                .unwrap_or_default();
            let kind = Kind::find(group, text(&object, "/kind"));
            let namespace = text(&object, "/metadata/namespace");
            targets.extend(
                kind.filter(|kind| kind.gets_conditions())
                    .map(|kind| Target {
                        kind,
                        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                        name: text(&object, "/metadata/name").to_owned(),
                    }),
            );
        }
    }
    if targets.is_empty() {
        bail!("there is nothing to wait for in these files: no kind whose status Weft writes");
    }
    Ok(targets)
}

fn judge(object: Option<&Value>, goal: &Goal) -> Step {
    let Some(object) = object else {
        return match goal {
            Goal::Delete => Step::Reached("deleted".to_owned()),
            _ => Step::Waiting("it is not there".to_owned()),
        };
    };
    match goal {
        Goal::Delete => Step::Waiting("it is still there".to_owned()),
        Goal::Condition(name, value) => match condition(object, name) {
            Ok(said) if said.iter().all(|said| text(said, "/status") == value) => {
                Step::Reached("condition met".to_owned())
            }
            Ok(said) => Step::Waiting(words(&said, |said| text(said, "/status") != value)),
            Err(why) => Step::Waiting(why),
        },
        Goal::Generation => in_force(object),
    }
}

/// Accepted and on all nodes.
fn in_force(object: &Value) -> Step {
    let is_not_true = |said: &Value| text(said, "/status") != "True";
    let accepted = match condition(object, "Accepted") {
        Ok(said) => said,
        Err(why) => return Step::Waiting(why),
    };
    if accepted.iter().copied().any(is_not_true) {
        return Step::Hopeless(format!("not accepted: {}", words(&accepted, is_not_true)));
    }
    match condition(object, "Programmed") {
        Ok(said) if said.iter().copied().any(is_not_true) => {
            Step::Waiting(words(&said, is_not_true))
        }
        Ok(said) => Step::Reached(words(&said, |_| true)),
        Err(why) => Step::Waiting(why),
    }
}

/// A condition of this very version of the object: one, or one of each parent that is ours.
fn condition<'a>(object: &'a Value, name: &str) -> Result<Vec<&'a Value>, String> {
    let generation = number(object, "/metadata/generation");
    let parents = list(object, "/status/parents")
        .iter()
        .filter(|parent| text(parent, "/controllerName") == CONTROLLER);
    let places: Vec<&Value> = match object.pointer("/status/parents") {
        Some(_) => parents.collect(),
        None => object.pointer("/status").into_iter().collect(),
    };
    let mut said = Vec::new();
    for place in places {
        let found = list(place, "/conditions").iter().find(|condition| {
            text(condition, "/type") == name
                && number(condition, "/observedGeneration") == generation
        });
        said.push(found.ok_or_else(|| format!("the operator has not said {name} of it yet"))?);
    }
    if said.is_empty() {
        return Err(
            "the operator has not seen it yet; weft check says whether one leads".to_owned(),
        );
    }
    Ok(said)
}

/// What the conditions say, each once.
fn words(said: &[&Value], wanted: impl Fn(&Value) -> bool) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for said in said.iter().filter(|said| wanted(said)) {
        let message = text(said, "/message");
        if !texts.contains(&message) {
            texts.push(message);
        }
    }
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(kind: &str, status: &str, generation: i64, message: &str) -> Value {
        json!({"type": kind, "status": status, "observedGeneration": generation, "message": message})
    }

    fn object(conditions: Vec<Value>) -> Value {
        json!({"metadata": {"generation": 2}, "status": {"conditions": conditions}})
    }

    #[test]
    fn targets_and_goals_are_written_as_for_kubectl() {
        for word in [
            "vs/a",
            "virtualservice/a",
            "VirtualServices/a",
            "virtualservice.networking.istio.io/a",
        ] {
            assert_eq!(
                word.parse::<Target>().unwrap().kind,
                Kind::VirtualService,
                "{word}"
            );
        }
        assert!("pod/a".parse::<Target>().unwrap_err().contains("httproute"));
        assert!("vs".parse::<Target>().unwrap_err().contains("KIND/NAME"));
        let goal = |word: &str| word.parse::<Goal>();
        assert_eq!(
            goal("condition=Accepted"),
            Ok(Goal::Condition("Accepted".to_owned(), "True".to_owned()))
        );
        assert_eq!(
            goal("condition=Accepted=False"),
            Ok(Goal::Condition("Accepted".to_owned(), "False".to_owned()))
        );
        assert_eq!(goal("delete"), Ok(Goal::Delete));
        assert!(goal("Accepted").is_err());
    }

    #[test]
    fn only_a_status_about_this_version_counts() {
        let good = said("Accepted", "True", 2, "accepted");
        let old = object(vec![
            good.clone(),
            said("Programmed", "True", 1, "generation 3 on 2/2 nodes"),
        ]);
        assert!(matches!(
            judge(Some(&old), &Goal::Generation),
            Step::Waiting(_)
        ));
        let new = object(vec![
            good.clone(),
            said("Programmed", "True", 2, "generation 4 on 2/2 nodes"),
        ]);
        assert_eq!(
            judge(Some(&new), &Goal::Generation),
            Step::Reached("generation 4 on 2/2 nodes".to_owned())
        );
        let pending = object(vec![
            good,
            said(
                "Programmed",
                "False",
                2,
                "generation 4 on 1/2 nodes; waiting for node b",
            ),
        ]);
        assert_eq!(
            judge(Some(&pending), &Goal::Generation),
            Step::Waiting("generation 4 on 1/2 nodes; waiting for node b".to_owned())
        );
        let wrong = object(vec![said("Accepted", "False", 2, "no such host")]);
        assert_eq!(
            judge(Some(&wrong), &Goal::Generation),
            Step::Hopeless("not accepted: no such host".to_owned())
        );
        let goal = "condition=Accepted=False".parse().unwrap();
        assert!(matches!(judge(Some(&wrong), &goal), Step::Reached(_)));
        assert!(matches!(judge(None, &Goal::Generation), Step::Waiting(_)));
        assert!(matches!(judge(None, &Goal::Delete), Step::Reached(_)));
    }

    #[test]
    fn a_route_is_in_force_when_it_is_for_all_parents_of_ours() {
        let parent = |controller: &str, status: &str| {
            json!({"controllerName": controller, "conditions": [
                said("Accepted", "True", 2, "accepted"), said("Programmed", status, 2, status),
            ]})
        };
        let route =
            |parents: Value| json!({"metadata": {"generation": 2}, "status": {"parents": parents}});
        let ours = route(json!([
            parent(CONTROLLER, "True"),
            parent("example.com/edge", "False")
        ]));
        assert_eq!(
            judge(Some(&ours), &Goal::Generation),
            Step::Reached("True".to_owned())
        );
        let half = route(json!([
            parent(CONTROLLER, "True"),
            parent(CONTROLLER, "False")
        ]));
        assert_eq!(
            judge(Some(&half), &Goal::Generation),
            Step::Waiting("False".to_owned())
        );
        let others = route(json!([parent("example.com/edge", "True")]));
        assert!(matches!(
            judge(Some(&others), &Goal::Generation),
            Step::Waiting(_)
        ));
    }
}

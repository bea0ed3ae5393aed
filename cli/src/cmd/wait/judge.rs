//! How far an object is on its way to what is waited for, read from its status alone.

use serde_json::Value;

use super::target::Goal;
use crate::cluster::{list, number, text};

/// Who writes our part of a route's status.
const CONTROLLER: &str = "weft.mesh/operator";

/// Where it is on the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Reached, in words.
    Reached(String),
    /// Not yet, because.
    Waiting(String),
    /// Never, because.
    Hopeless(String),
}

/// Judges an object, or that there is none.
pub(super) fn judge(object: Option<&Value>, goal: &Goal) -> Step {
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
mod tests;

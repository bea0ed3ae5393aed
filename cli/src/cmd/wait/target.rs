//! What is waited for, in the user's words: KIND/NAME and `--for`.

use std::str::FromStr;

use weft_k8s::Kind;

/// One object as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
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
    /// Where the API server has it.
    pub(super) fn path(&self, default: &str) -> String {
        let (group, plural) = (self.kind.group(), self.kind.plural());
        let version = self.kind.versions().first().copied().unwrap_or("v1");
        let namespace = self.namespace.as_deref().unwrap_or(default);
        format!(
            "/apis/{group}/{version}/namespaces/{namespace}/{plural}/{}",
            self.name
        )
    }

    /// As kubectl prints it.
    pub(super) fn shown(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}

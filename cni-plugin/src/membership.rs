//! Reads the list of who is in the mesh (format: `weft_wire::membership`): from the agent's file, which lets a pod outside
//! the mesh start in a moment, also while the agent is dead and after a reboot; and from the proxies of this node, which
//! know what has changed since the agent died.
//!
//! The rule: a pod that is listed is what its line says. A pod that is not listed asks the agent; with the agent dead it
//! passes only if its namespace is `out`, and waits (error 11) in every other case. No list is the same as an empty one.
//! A proxy's list can only keep a pod back: who is in the mesh by it needs the agent, whatever the file says.

use std::fmt;

use weft_wire::membership::HEAD;

use crate::spec::args::PodArgs;

/// What the list says of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In the mesh: it needs the agent.
    In,
    /// Not in the mesh: it passes without the agent.
    Out,
    /// Not listed, but its namespace is not in the mesh: it asks, and passes when nobody answers.
    NamespaceOut,
    /// Nothing is known: it needs the agent.
    Unknown,
}

/// Why a list is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Looks a pod up. A list that is cut short or not understood to the last line is not used at all.
pub(crate) fn standing(text: &str, pod: &PodArgs) -> Result<Standing, Malformed> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEAD) {
        return Err(Malformed(format!("the first line is not {HEAD:?}")));
    }
    let mut namespace = Standing::Unknown;
    let mut itself = None;
    let mut facts = 0usize;
    while let Some((i, line)) = lines.next() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["namespace", name, state] => {
                let standing = if membership(i, state)? {
                    Standing::In
                } else {
                    Standing::NamespaceOut
                };
                if *name == pod.namespace {
                    namespace = standing;
                }
            }
            ["pod", ns, name, uid, state] => {
                let standing = if membership(i, state)? {
                    Standing::In
                } else {
                    Standing::Out
                };
                let same = pod
                    .uid
                    .as_deref()
                    .map_or(*name == pod.name, |given| given == *uid);
                if *ns == pod.namespace && same {
                    itself = Some(standing);
                }
            }
            ["end", count] if *count == facts.to_string() && lines.next().is_none() => {
                return Ok(itself.unwrap_or(namespace));
            }
            _ => {
                return Err(Malformed(format!(
                    "line {} is not understood: {line:?}",
                    i + 1
                )));
            }
        }
        facts += 1;
    }
    Err(Malformed("it is cut short".to_owned()))
}

fn membership(line: usize, word: &str) -> Result<bool, Malformed> {
    match word {
        "in" => Ok(true),
        "out" => Ok(false),
        _ => Err(Malformed(format!(
            "line {}: {word:?} is neither \"in\" nor \"out\"",
            line + 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The agent's tests write this very file, so writer and reader cannot drift apart.
    const LIST: &str = include_str!("../testdata/namespaces");

    fn pod(namespace: &str, name: &str, uid: Option<&str>) -> PodArgs {
        PodArgs {
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.map(Into::into),
        }
    }

    #[test]
    fn a_listed_pod_is_what_its_line_says() {
        let standing = |ns, name, uid| standing(LIST, &pod(ns, name, uid)).unwrap();
        assert_eq!(standing("shop", "web-1", Some("uid-web-1")), Standing::In);
        assert_eq!(standing("shop", "web-1", None), Standing::In);
        assert_eq!(
            standing("shop", "batch-1", Some("uid-batch-1")),
            Standing::Out,
            "opted out by its own label"
        );
        assert_eq!(
            standing("tools", "probe-1", Some("uid-probe-1")),
            Standing::Out
        );
    }

    #[test]
    fn a_pod_that_is_not_listed_is_judged_by_its_namespace() {
        let standing = |ns, name, uid| standing(LIST, &pod(ns, name, uid)).unwrap();
        assert_eq!(standing("shop", "web-2", Some("uid-web-2")), Standing::In);
        assert_eq!(
            standing("shop", "batch-1", Some("uid-reborn")),
            Standing::In,
            "same name, another pod"
        );
        assert_eq!(standing("tools", "probe-2", None), Standing::NamespaceOut);
        assert_eq!(
            standing("elsewhere", "web-1", Some("uid-web-1")),
            Standing::Unknown
        );
    }

    #[test]
    fn a_list_that_is_damaged_anywhere_is_not_used() {
        let web = pod("shop", "web-1", None);
        for cut in 0..LIST.trim_end().len() {
            assert!(standing(&LIST[..cut], &web).is_err(), "cut at {cut}");
        }
        for bad in [
            "",
            "weft-mesh 2\nend 0\n",
            "weft-mesh 1\nnamespace shop maybe\nend 1\n",
            "weft-mesh 1\nnamespace shop in\nend 2\n",
            "weft-mesh 1\nend 0\nnamespace shop in\n",
            "weft-mesh 1\nnamespace  shop in\nend 1\n",
        ] {
            assert!(standing(bad, &web).is_err(), "{bad:?}");
        }
    }
}

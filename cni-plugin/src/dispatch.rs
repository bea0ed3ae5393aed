//! One call of the plugin as a pure function: environment and stdin in, stdout and exit code out. Agent,
//! disk and proxies are three narrow traits, so every verb is tested for every version without them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use weft_wire::cni::{Answer, Request};

use crate::spec::error::CniError;
use crate::spec::version;
use crate::verb;

/// The `CNI_…` variables of the call.
pub(crate) type Env = BTreeMap<String, String>;

/// What goes back to the runtime.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// One JSON document, or nothing.
    pub(crate) stdout: Vec<u8>,
    /// Exit code.
    pub(crate) code: u8,
}

impl From<CniError> for Reply {
    fn from(error: CniError) -> Self {
        Self {
            stdout: error.to_json(),
            code: 1,
        }
    }
}

/// Everything outside the process that a verb may touch.
pub(crate) struct World<'a> {
    /// The agent of this node.
    pub(crate) agent: &'a mut dyn Agent,
    /// The agent's list of who is in the mesh.
    pub(crate) lists: &'a mut dyn Lists,
    /// The proxies of this node.
    pub(crate) proxies: &'a mut dyn Proxies,
    /// A line for the runtime's log (stderr).
    pub(crate) note: &'a mut dyn FnMut(String),
}

/// One question to the agent.
pub(crate) struct Question<'a> {
    /// Directory of the agent's socket.
    pub(crate) run_dir: &'a Path,
    /// What is asked.
    pub(crate) request: &'a Request,
    /// The pod's namespace, whose descriptor goes along.
    pub(crate) netns: Option<&'a Path>,
    /// The whole round trip may take this long.
    pub(crate) within: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The agent does not run, is not ready, or took too long.
    Agent(String),
    /// The pod's namespace cannot be opened.
    Netns(String),
}

/// The agent of this node.
pub(crate) trait Agent {
    /// Asks and waits for the answer.
    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, Unanswered>;
}

/// The agent's list of who is in the mesh, which outlives the agent.
pub(crate) trait Lists {
    /// Its text; `None` when there is no such file.
    fn read(&mut self, state_dir: &Path) -> io::Result<Option<String>>;
}

/// The proxies of this node, which live and die apart from the agent and hear of labels as it does.
pub(crate) trait Proxies {
    /// What each one that answers lists of a namespace.
    fn lists(&mut self, run_dir: &Path, namespace: &str) -> Vec<String>;
}

/// Runs the verb that `CNI_COMMAND` names.
pub(crate) fn dispatch(env: &Env, stdin: &[u8], world: &mut World<'_>) -> Reply {
    match run(env, stdin, world) {
        Ok(stdout) => Reply { stdout, code: 0 },
        Err(error) => error.into(),
    }
}

fn run(env: &Env, stdin: &[u8], world: &mut World<'_>) -> Result<Vec<u8>, CniError> {
    match env.get("CNI_COMMAND").map(String::as_str) {
        Some("ADD") => verb::add::add(env, stdin, world),
        Some("CHECK") => verb::check::check(env, stdin, world).map(|()| Vec::new()),
        Some("DEL") => verb::del::del(env, stdin, world).map(|()| Vec::new()),
        Some("GC") => verb::gc::gc(stdin, world).map(|()| Vec::new()),
        Some("STATUS") => verb::status::status(stdin).map(|()| Vec::new()),
        Some("VERSION") => Ok(version::answer(stdin)),
        Some(other) => Err(CniError::invalid_environment(
            format!("CNI_COMMAND is {other:?}"),
            "this plugin knows ADD, CHECK, DEL, GC, STATUS and VERSION",
        )),
        None => Err(CniError::invalid_environment(
            "CNI_COMMAND is missing",
            "a container runtime calls this plugin; it is not a command for people",
        )),
    }
}

#[cfg(test)]
mod tests;

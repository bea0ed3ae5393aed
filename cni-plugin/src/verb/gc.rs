//! GC: the runtime names the attachments that exist; the agent lets go of all others. It is no substitute for DEL, and what
//! it misses the agent's own sweep finds, so an agent that does not answer is no error.

use std::time::Duration;

use serde::Deserialize;
use weft_wire::cni::{self, Request};

use crate::dispatch::{Question, Unanswered, World};
use crate::spec::config::{Config, decode};
use crate::spec::error::CniError;
use crate::verb::since_1_1;

/// GC holds up every other verb of the runtime.
const DEADLINE: Duration = Duration::from_secs(1);
/// More attachments than this do not fit into one message to the agent; no kubelet has so many pods.
const MAX_ATTACHMENTS: usize = 400;

/// As the runtime spells it.
#[derive(Deserialize)]
struct Valid {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

/// Only a malformed configuration is an error. Without the list nothing is known, so nothing is done.
pub(crate) fn gc(stdin: &[u8], world: &mut World<'_>) -> Result<(), CniError> {
    let config = Config::parse(stdin)?;
    since_1_1(&config, "GC")?;
    let listed: Option<Vec<Valid>> = decode("cni.dev/valid-attachments", config.valid_attachments)
        .map_err(|error| error.in_version(config.version))?;
    let Some(listed) = listed else {
        return Ok(());
    };
    if listed.len() > MAX_ATTACHMENTS {
        (world.note)(format!(
            "GC: {} attachments are more than the {MAX_ATTACHMENTS} that are compared; the agent's own sweep goes on",
            listed.len()
        ));
        return Ok(());
    }
    let valid = listed.into_iter().map(|valid| cni::Key {
        container_id: valid.container_id,
        ifname: valid.ifname,
    });
    let request = Request::Gc {
        network: config.network,
        valid: valid.collect(),
    };
    let question = Question {
        run_dir: &config.run_dir,
        request: &request,
        netns: None,
        within: DEADLINE,
    };
    if let Err(Unanswered::Agent(why) | Unanswered::Netns(why)) = world.agent.ask(&question) {
        (world.note)(format!("GC: {why}; it will notice by itself"));
    }
    Ok(())
}

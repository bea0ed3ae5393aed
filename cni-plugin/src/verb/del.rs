//! DEL: tells the agent that the attachment is gone. It succeeds whatever happens, because a chain runs backwards and an
//! error of ours would keep the pod's address from being freed; what the agent misses it finds in its own sweep.

use std::time::Duration;

use weft_wire::cni::Request;

use crate::dispatch::{Env, Question, Unanswered, World};
use crate::spec::args;
use crate::spec::config::Config;
use crate::spec::error::CniError;

/// A pod's end never waits longer than this for us.
const DEADLINE: Duration = Duration::from_secs(1);

/// Only an environment that names no attachment is an error.
pub(crate) fn del(env: &Env, stdin: &[u8], world: &mut World<'_>) -> Result<(), CniError> {
    let attachment = args::attachment(env)?;
    let config = match Config::parse(stdin) {
        Ok(config) => config,
        Err(error) => {
            (world.note)(format!(
                "DEL of {}: the agent is not told: {}",
                attachment.container_id,
                String::from_utf8_lossy(&error.to_json())
            ));
            return Ok(());
        }
    };
    let request = Request::Del {
        container_id: attachment.container_id.clone(),
        ifname: attachment.ifname,
    };
    let question = Question {
        run_dir: &config.run_dir,
        request: &request,
        netns: None,
        within: DEADLINE,
    };
    if let Err(Unanswered::Agent(why) | Unanswered::Netns(why)) = world.agent.ask(&question) {
        (world.note)(format!(
            "DEL of {}: {why}; it will notice by itself",
            attachment.container_id
        ));
    }
    Ok(())
}

//! CHECK: is the pod's traffic still captured? It changes nothing.

use weft_wire::cni::{Answer, DEADLINE, Request};

use crate::dispatch::{Env, Question, Unanswered, World};
use crate::membership::Standing;
use crate::spec::args;
use crate::spec::config::Config;
use crate::spec::error::{CniError, INCOMPATIBLE_VERSION};
use crate::spec::result::PrevResult;
use crate::verb::{message, standing};

/// Success means: captured as it should be, or not in the mesh.
pub(crate) fn check(env: &Env, stdin: &[u8], world: &mut World<'_>) -> Result<(), CniError> {
    let (attachment, netns) = args::attachment_with_netns(env)?;
    let config = Config::parse(stdin)?;
    let in_version = |error: CniError| error.in_version(config.version);
    if !config.version.has_check() {
        return Err(in_version(CniError::new(
            INCOMPATIBLE_VERSION,
            format!("cniVersion {} has no CHECK", config.version.as_str()),
            "CHECK came with 0.4.0",
        )));
    }
    let prev = PrevResult::of(&config).map_err(in_version)?;
    let Some(pod) = args::pod(env).map_err(in_version)? else {
        return Ok(());
    };
    let standing = standing(&config, &pod, world);
    if standing == Standing::Out {
        return Ok(());
    }
    let named = format!("pod {}/{}", pod.namespace, pod.name);
    let request = Request::Check(message(&config, attachment, &netns, pod, prev.ips));
    let question = Question {
        run_dir: &config.run_dir,
        request: &request,
        netns: Some(&netns),
        within: DEADLINE,
    };
    match world.agent.ask(&question) {
        Ok(Answer::Ok { .. }) => Ok(()),
        Ok(Answer::TryAgain { reason }) => {
            Err(CniError::try_again(format!("{named}: {reason}"), ""))
        }
        Ok(Answer::Failed {
            code,
            reason,
            details,
        }) => Err(CniError::new(code, format!("{named}: {reason}"), details)),
        // As in ADD: whoever is outside does not notice that the agent is away.
        Err(Unanswered::Agent(_)) if standing == Standing::NamespaceOut => Ok(()),
        Err(Unanswered::Agent(why)) => Err(CniError::try_again(
            format!("{named}: {why}"),
            "check that weft-agent runs on this node",
        )),
        Err(Unanswered::Netns(why)) => Err(CniError::invalid_environment(
            format!("CNI_NETNS: {why}"),
            "the pod's namespace is gone",
        )),
    }
    .map_err(in_version)
}

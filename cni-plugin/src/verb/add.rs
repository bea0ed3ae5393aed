//! ADD: a pod that is in the mesh starts only when its traffic is captured; every other pod passes at once.

use std::time::Duration;

use weft_wire::cni::{Answer, DEADLINE, Request};

use crate::dispatch::{Env, Question, Unanswered, World};
use crate::membership::Standing;
use crate::spec::args::{self, PodArgs};
use crate::spec::config::Config;
use crate::spec::error::CniError;
use crate::spec::result::PrevResult;
use crate::verb::{message, standing};

/// How long a pod waits for the agent when its namespace is not in the mesh but the pod itself is not known yet.
const DOUBT_DEADLINE: Duration = Duration::from_secs(2);

/// Captures the pod if it is in the mesh, and passes the previous result on.
pub(crate) fn add(env: &Env, stdin: &[u8], world: &mut World<'_>) -> Result<Vec<u8>, CniError> {
    let (attachment, netns) = args::attachment_with_netns(env)?;
    let config = Config::parse(stdin)?;
    let in_version = |error: CniError| error.in_version(config.version);
    let prev = PrevResult::of(&config).map_err(in_version)?;
    let Some(pod) = args::pod(env).map_err(in_version)? else {
        return prev.output(config.version).map_err(in_version);
    };
    let standing = standing(&config, &pod, world);
    if standing != Standing::Out {
        let request = Request::Add(message(
            &config,
            attachment,
            &netns,
            pod.clone(),
            prev.ips.clone(),
        ));
        let within = if standing == Standing::NamespaceOut {
            DOUBT_DEADLINE
        } else {
            DEADLINE
        };
        let answer = world.agent.ask(&Question {
            run_dir: &config.run_dir,
            request: &request,
            netns: Some(&netns),
            within,
        });
        settle(answer, standing, &pod, world).map_err(in_version)?;
    }
    prev.output(config.version).map_err(in_version)
}

fn settle(
    answer: Result<Answer, Unanswered>,
    standing: Standing,
    pod: &PodArgs,
    world: &mut World<'_>,
) -> Result<(), CniError> {
    let PodArgs {
        namespace, name, ..
    } = pod;
    match answer {
        Ok(Answer::Ok { .. }) => Ok(()),
        Ok(Answer::TryAgain { reason }) => Err(CniError::try_again(
            format!("pod {namespace}/{name}: {reason}"),
            "the pod starts as soon as the mesh can take it",
        )),
        Ok(Answer::Failed {
            code,
            reason,
            details,
        }) => Err(CniError::new(
            code,
            format!("pod {namespace}/{name}: {reason}"),
            details,
        )),
        // Its namespace was not in the mesh when the agent last wrote; should the pod itself be, the agent enrols it when
        // it is back.
        Err(Unanswered::Agent(why)) if standing == Standing::NamespaceOut => {
            (world.note)(format!(
                "pod {namespace}/{name} starts outside the mesh: namespace {namespace} is not in it, and {why}"
            ));
            Ok(())
        }
        Err(Unanswered::Agent(why)) => Err(CniError::try_again(
            format!("pod {namespace}/{name} must wait: {why}"),
            "check that weft-agent runs on this node; a pod of the mesh never starts without it",
        )),
        Err(Unanswered::Netns(why)) => Err(CniError::invalid_environment(
            format!("CNI_NETNS: {why}"),
            "the runtime makes the namespace before it calls ADD",
        )),
    }
}

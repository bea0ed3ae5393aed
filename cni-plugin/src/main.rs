//! The chained CNI plugin: it decides whether a pod is in the mesh, asks the agent on this node, and passes the previous
//! plugin's result on. It is executed for every pod start, so it holds no runtime, no Kubernetes client and no state;
//! stdout carries exactly one JSON document or nothing, whatever happens.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod dispatch;
mod membership;
mod node;
mod proxies;
mod spec;
mod verb;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::ExitCode;

use crate::dispatch::{Reply, World, dispatch};
use crate::spec::error::CniError;

/// Longest configuration that is read, bytes: real ones have a few thousand.
const MAX_STDIN: u64 = 1024 * 1024;

fn main() -> ExitCode {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value)))
        .filter(|(key, _)| key.starts_with("CNI_"))
        .map(|(key, value)| (key, value.to_string_lossy().into_owned()))
        .collect();
    answer_even_on_panic(env.get("CNI_COMMAND").is_some_and(|c| c == "DEL"));

    let mut stdin = Vec::new();
    let reply = match std::io::stdin().take(MAX_STDIN + 1).read_to_end(&mut stdin) {
        Ok(n) if n as u64 > MAX_STDIN => {
            let why = format!("stdin holds more than {MAX_STDIN} bytes");
            Reply::from(CniError::invalid_config(
                why,
                "a network configuration is far smaller; check the runtime",
            ))
        }
        Ok(_) => dispatch(
            &env,
            &stdin,
            &mut World {
                agent: &mut node::Socket,
                lists: &mut node::Disk,
                proxies: &mut proxies::Admin,
                note: &mut |text| eprintln!("weft-cni: {text}"),
            },
        ),
        Err(error) => Reply::from(CniError::io(format!("stdin cannot be read: {error}"), "")),
    };
    // A runtime that closed our stdout has lost interest: there is nobody left to tell.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(&reply.stdout)
        .and_then(|()| stdout.flush());
    ExitCode::from(reply.code)
}

/// A panic is a bug of ours; the runtime must still get an answer that it can read. DEL succeeds even then, because an
/// error would stop the plugins before us from freeing the pod's address.
fn answer_even_on_panic(del: bool) {
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("weft-cni: bug: {info}");
        if del {
            std::process::exit(0);
        }
        let error = CniError::internal(format!("bug in weft-cni: {info}"), "report this message");
        let _ = std::io::stdout().lock().write_all(&error.to_json());
        std::process::exit(1);
    }));
}

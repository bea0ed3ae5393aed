//! The real binary, called the way a runtime calls it, beside an agent of the test's own on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_netns::{
    Netns, recv_with_fds, send_with_fds, seqpacket_accept, seqpacket_listen, set_nonblocking,
};
use weft_wire::cni::{Answer, Request};

const PLUGIN: &str = env!("CARGO_BIN_EXE_weft-cni");
const NETNS: &str = "/proc/self/ns/net";

fn call(verb: &str, args: &str, stdin: &[u8]) -> (Output, Duration) {
    let begun = Instant::now();
    let mut child = Command::new(PLUGIN)
        .env_clear()
        .envs([
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", NETNS),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", args),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A plugin that has heard enough may close its end first.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    (child.wait_with_output().unwrap(), begun.elapsed())
}

/// The quickest of ten: a busy machine delays any process, but only our own work delays all of them.
fn quickest(mut one: impl FnMut() -> Duration) -> Duration {
    (0..10).map(|_| one()).min().unwrap()
}

fn config(dir: &Path) -> Vec<u8> {
    let config = json!({"cniVersion": "1.0.0", "name": "n", "type": "weft-cni", "runDir": dir, "stateDir": dir,
        "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}]}});
    serde_json::to_vec(&config).unwrap()
}

fn error(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(1));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An agent that answers one call; `None`: it takes the question and never answers.
fn agent(dir: &Path, answer: Option<Answer>) -> std::thread::JoinHandle<(Request, usize)> {
    let listener = seqpacket_listen(&dir.join("cni.sock")).unwrap();
    set_nonblocking(&listener, false).unwrap();
    std::thread::spawn(move || {
        let peer = seqpacket_accept(listener.as_fd()).unwrap();
        set_nonblocking(&peer, false).unwrap();
        let mut buffer = vec![0; weft_wire::cni::MAX_PACKET];
        let (n, fds) = recv_with_fds(peer.as_fd(), &mut buffer).unwrap();
        let count = fds.len();
        for fd in fds {
            assert_eq!(
                Netns::from_fd(fd).unwrap().id(),
                Netns::current().unwrap().id()
            );
        }
        match answer {
            Some(answer) => {
                send_with_fds(peer.as_fd(), &serde_json::to_vec(&answer).unwrap(), &[]).unwrap()
            }
            // Hangs until the plugin hangs up.
            None => assert_eq!(recv_with_fds(peer.as_fd(), &mut [0; 16]).unwrap().0, 0),
        }
        (serde_json::from_slice(&buffer[..n]).unwrap(), count)
    })
}

const SHOP: &str = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u";

#[test]
fn add_carries_the_namespace_to_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path(), Some(Answer::Ok { captured: true }));
    let (output, _) = call("ADD", SHOP, &config(dir.path()));
    assert!(output.status.success());
    assert_eq!(
        output.stdout,
        br#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/24"}]}"#
    );
    let (request, fds) = agent.join().unwrap();
    let Request::Add(pod) = request else {
        panic!("{request:?}")
    };
    assert_eq!(
        (pod.pod_name.as_str(), pod.netns.as_str(), fds),
        ("web", NETNS, 1)
    );
}

#[test]
fn add_with_the_agent_dead_is_try_again() {
    let dir = tempfile::tempdir().unwrap();
    let took = quickest(|| {
        let (output, took) = call("ADD", SHOP, &config(dir.path()));
        assert_eq!(error(&output)["code"], 11);
        took
    });
    assert!(
        took < Duration::from_secs(1),
        "no waiting for what is not there: {took:?}"
    );
    // A socket that a killed agent left behind.
    drop(seqpacket_listen(&dir.path().join("cni.sock")).unwrap());
    assert_eq!(error(&call("ADD", SHOP, &config(dir.path())).0)["code"], 11);
}

#[test]
fn del_leaves_a_hanging_agent() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path(), None);
    let (output, took) = call("DEL", "", &config(dir.path()));
    assert!(output.status.success() && output.stdout.is_empty());
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(matches!(agent.join().unwrap(), (Request::Del { .. }, 0)));
}

#[test]
fn a_pod_outside_the_mesh_passes_in_ten_milliseconds_with_the_agent_dead() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cni")).unwrap();
    std::fs::write(
        dir.path().join("cni/namespaces"),
        include_str!("../../testdata/namespaces"),
    )
    .unwrap();
    let args = "K8S_POD_NAMESPACE=tools;K8S_POD_NAME=probe-1;K8S_POD_UID=uid-probe-1";
    let took = quickest(|| {
        let (output, took) = call("ADD", args, &config(dir.path()));
        assert!(output.status.success());
        took
    });
    assert!(took < Duration::from_millis(10), "{took:?}");
}

#[test]
fn a_namespace_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(PLUGIN)
        .env_clear()
        .envs([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", "/run/netns/nowhere"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", SHOP),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&config(dir.path()))
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let error = error(&output);
    assert_eq!(error["code"], 4);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("/run/netns/nowhere")
    );
}

#[test]
fn endless_input_is_refused() {
    let (output, _) = call("ADD", SHOP, &vec![b' '; 2 * 1024 * 1024]);
    assert_eq!(error(&output)["code"], 7);
}

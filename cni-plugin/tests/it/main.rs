//! The real binary, called the way a runtime calls it, beside an agent of the test's own on a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "tests: unwrapping is failing, and nobody reads their pages"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
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
fn del_leaves_a_hanging_agent_after_a_second() {
    let took = quickest(|| {
        let dir = tempfile::tempdir().unwrap();
        let agent = agent(dir.path(), None);
        let (output, took) = call("DEL", "", &config(dir.path()));
        assert!(output.status.success() && output.stdout.is_empty());
        assert!(matches!(agent.join().unwrap(), (Request::Del { .. }, 0)));
        took
    });
    assert!(took < Duration::from_millis(1_500), "{took:?}");
}

#[test]
fn a_pod_outside_the_mesh_passes_in_ten_milliseconds_with_the_agent_dead() {
    let dir = tempfile::tempdir().unwrap();
    tools_are_out(dir.path());
    let args = "K8S_POD_NAMESPACE=tools;K8S_POD_NAME=probe-1;K8S_POD_UID=uid-probe-1";
    let took = quickest(|| {
        let (output, took) = call("ADD", args, &config(dir.path()));
        assert!(output.status.success());
        took
    });
    assert!(took < Duration::from_millis(10), "{took:?}");
}

/// A proxy's admin socket that answers one request with a list; `None`: it never takes the connection.
fn proxy(dir: &Path, number: u64, list: Option<&'static str>) -> UnixListener {
    let path = dir.join(weft_wire::membership::admin_socket(number));
    let listener = UnixListener::bind(path).unwrap();
    let held = listener.try_clone().unwrap();
    let Some(list) = list else { return held };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line, "GET /membership?tools HTTP/1.0\r\n");
            let length = list.len();
            write!(
                stream,
                "HTTP/1.0 200 OK\r\ncontent-length: {length}\r\n\r\n{list}"
            )
            .unwrap();
        }
    });
    held
}

fn tools_are_out(dir: &Path) {
    std::fs::create_dir(dir.join("cni")).unwrap();
    let list = include_str!("../../testdata/namespaces");
    std::fs::write(dir.join("cni/namespaces"), list).unwrap();
}

#[test]
fn a_label_that_came_while_the_agent_was_dead_is_learnt_from_a_proxy() {
    let dir = tempfile::tempdir().unwrap();
    tools_are_out(dir.path());
    let args = "K8S_POD_NAMESPACE=tools;K8S_POD_NAME=new;K8S_POD_UID=uid-new";
    let add = || call("ADD", args, &config(dir.path()));
    assert!(add().0.status.success(), "no proxy: the list decides");
    let out = "weft-mesh 1\nnamespace tools out\nend 1\n";
    let _old = proxy(dir.path(), 7, Some(out));
    let took = quickest(|| {
        let (output, took) = add();
        assert!(output.status.success());
        took
    });
    assert!(took < Duration::from_millis(10), "{took:?}");
    let labelled = "weft-mesh 1\nnamespace tools in\nend 1\n";
    let _new = proxy(dir.path(), 8, Some(labelled));
    let refused = error(&add().0);
    assert_eq!(refused["code"], 11, "{refused}");
}

#[test]
fn proxies_that_are_dead_or_hang_do_not_hold_a_pod_up() {
    let dir = tempfile::tempdir().unwrap();
    tools_are_out(dir.path());
    for number in 0..100 {
        drop(UnixListener::bind(dir.path().join(format!("proxy-{number}.sock"))).unwrap());
    }
    let _stopped = proxy(dir.path(), 4711, None);
    let args = "K8S_POD_NAMESPACE=tools;K8S_POD_NAME=new;K8S_POD_UID=uid-new";
    let (output, took) = call("ADD", args, &config(dir.path()));
    assert!(output.status.success(), "{output:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
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

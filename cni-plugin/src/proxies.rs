//! The node's proxies, asked over their admin sockets who is in the mesh. A proxy that does not answer in a moment is as
//! good as none: pods outside of the mesh must not notice it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use weft_netns::{peer_credentials, stream_connect};
use weft_wire::membership::{PAGE, is_admin_socket};

use crate::dispatch::Proxies;
use crate::node::left;

/// All proxies together have this long. One that lives answers within a millisecond; on a node without a free processor
/// its turn comes within this time, and no pod's start is longer by it than anybody would notice.
const DEADLINE: Duration = Duration::from_millis(250);
/// Longest answer that is read, bytes: a line for each pod of one namespace on one node, with its head.
const MAX_ANSWER: u64 = 1024 * 1024;
/// Longest name of a namespace in Kubernetes (RFC 1123 label).
const MAX_NAMESPACE: usize = 63;

/// All whose sockets are in the run directory; there are two while one follows the other.
pub(crate) struct Admin;

impl Proxies for Admin {
    fn lists(&mut self, run_dir: &Path, namespace: &str) -> Vec<String> {
        if !is_label(namespace) {
            return Vec::new();
        }
        let until = Instant::now() + DEADLINE;
        let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
        let sockets =
            entries.filter(|entry| entry.file_name().to_str().is_some_and(is_admin_socket));
        // One that was killed has left its socket behind.
        sockets
            .filter_map(|socket| ask(&socket.path(), namespace, until).ok())
            .collect()
    }
}

/// Only such a name can be part of a request; no other is a namespace.
fn is_label(namespace: &str) -> bool {
    (1..=MAX_NAMESPACE).contains(&namespace.len())
        && namespace
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// One GET; the body of the answer.
fn ask(path: &Path, namespace: &str, until: Instant) -> io::Result<String> {
    let mut socket = stream_connect(path)?;
    // The directory belongs to root; should it ever not, nobody else may play the proxy.
    if peer_credentials(socket.as_fd())?.uid != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    socket.set_write_timeout(Some(left(until)?))?;
    write!(socket, "GET {PAGE}?{namespace} HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        let length = socket.read(&mut part)?;
        answer.extend(part.get(..length).unwrap_or_default());
        if length == 0 {
            return body(&answer);
        }
        if answer.len() as u64 > MAX_ANSWER {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// What follows the head of an answer with status 200. Whether it is whole, the list says itself.
fn body(answer: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(answer).map_err(|_| io::ErrorKind::InvalidData)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    let status = head.split(' ').nth(1);
    if status != Some("200") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_answers_count() {
        let found = body(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(found.unwrap(), "hi");
        for bad in [
            &b""[..],
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.0 404 Not Found\r\n\r\nhi",
            b"HTTP/1.0 200 OK\r\n\r\n\xff",
            b"\r\n\r\n",
        ] {
            assert!(body(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_name_that_would_change_the_request_is_not_asked_for() {
        assert!(is_label("kube-system") && is_label("a1"));
        let long = "a".repeat(64);
        for bad in ["", "a b", "a\r\nHost: x", "A", "a/b", "a?b", &long] {
            assert!(!is_label(bad), "{bad:?}");
        }
    }
}

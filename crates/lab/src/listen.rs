//! Is a port open inside a pod? Asked of the kernel's socket tables: a connection would be answered by the mesh's own
//! listener in a captured pod, whether the app listens or not.

use std::fs;
use std::time::Duration;

use weft_netns::Netns;

/// Between two looks; the kernel tells nobody when a socket begins to listen.
const PERIOD: Duration = Duration::from_millis(5);
/// State LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Waits until all ports (name, number, is UDP) are open.
pub(crate) async fn all(ns: &Netns, ports: &[(String, u16, bool)]) {
    loop {
        let open = |table: &str| ns.run(|| open_ports(table)).unwrap_or_default();
        let tcp = open("tcp");
        let udp = if ports.iter().any(|(_, _, udp)| *udp) {
            open("udp")
        } else {
            Vec::new()
        };
        if ports
            .iter()
            .all(|(_, port, is_udp)| if *is_udp { &udp } else { &tcp }.contains(port))
        {
            return;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Listening ports of the calling thread's namespace, both families.
fn open_ports(table: &str) -> Vec<u16> {
    let read = |name: String| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let texts = [read(table.to_owned()), read(format!("{table}6"))];
    texts
        .iter()
        .flatten()
        .flat_map(|text| parse(text, table == "udp"))
        .collect()
}

fn parse(text: &str, any_state: bool) -> Vec<u16> {
    let lines = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        (any_state || state == LISTEN).then_some(local)
    });
    lines
        .filter_map(|local| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_are_found_in_both_families() {
        let four = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        assert!(open_ports("tcp").contains(&port));
        let text = "  sl  local_address rem_address   st\n   0: 00000000000000000000000000000000:1F90 0:0 0A 1\n   1: 0100007F:1F91 0100007F:1 01 1\n";
        assert_eq!(parse(text, false), [8080]);
        assert_eq!(parse(text, true), [8080, 8081]);
    }
}

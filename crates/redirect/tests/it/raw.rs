//! Packets that no socket would send: an echo request, and a segment far outside of its
//! connection's window.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use weft_netns::Netns;

/// One ping, one answer.
pub(crate) fn ping(ns: &Netns, to: IpAddr) -> io::Result<()> {
    let (protocol, request, answer) = if to.is_ipv4() {
        (Protocol::ICMPV4, 8, 0)
    } else {
        (Protocol::ICMPV6, 128, 129)
    };
    let mut socket = raw(ns, to, protocol)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut message = [request, 0, 0, 0, 0x57, 0xef, 0, 1];
    if to.is_ipv4() {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    socket.send_to(&message, &SocketAddr::new(to, 0).into())?;
    let until = Instant::now() + Duration::from_secs(30);
    let mut buf = [0; 256];
    while Instant::now() < until {
        let n = socket.read(&mut buf)?;
        let packet = &buf[..n];
        // IPv4 raw sockets show the IP header, IPv6 ones do not.
        let body = if to.is_ipv4() { &packet[20..] } else { packet };
        if body.first() == Some(&answer) && body[4..8] == message[4..8] {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Watches one connection from its client's side, and sends into it what its client would not.
pub(crate) struct Intruder {
    socket: Socket,
    client: SocketAddr,
    server: SocketAddr,
}

impl Intruder {
    pub(crate) fn new(ns: &Netns, client: SocketAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = raw(ns, server.ip(), Protocol::TCP)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            client,
            server,
        })
    }

    /// A segment far outside of the window that acknowledges all that the server has sent: if the kernel takes it for
    /// part of no connection, its reset fits the client's connection exactly.
    pub(crate) fn stray_segment(&mut self) -> io::Result<()> {
        let (expected, acknowledged) = self.sequence()?;
        let mut segment = Vec::new();
        segment.extend(self.client.port().to_be_bytes());
        segment.extend(self.server.port().to_be_bytes());
        segment.extend(acknowledged.wrapping_add(1 << 30).to_be_bytes());
        segment.extend(expected.to_be_bytes());
        segment.extend([5 << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        let mut summed: Vec<u8> = [self.client.ip(), self.server.ip()]
            .iter()
            .flat_map(octets)
            .collect();
        summed.extend((segment.len() as u32).to_be_bytes());
        summed.extend(6u32.to_be_bytes());
        summed.extend(&segment);
        segment[16..18].copy_from_slice(&checksum(&summed).to_be_bytes());
        self.socket
            .send_to(&segment, &SocketAddr::new(self.server.ip(), 0).into())
            .map(drop)
    }

    /// The server's next sequence number, and the client's as the server knows it, after all that has arrived.
    fn sequence(&mut self) -> io::Result<(u32, u32)> {
        let (mut last, mut buf) = (None, [0; 4096]);
        while let Ok(n) = self.socket.read(&mut buf) {
            let segment = if self.server.is_ipv4() {
                &buf[20..n]
            } else {
                &buf[..n]
            };
            let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
            if (port(0), port(2)) == (self.server.port(), self.client.port()) {
                let number =
                    |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
                let payload = segment.len() - usize::from(segment[12] >> 4) * 4;
                last = Some((number(4).wrapping_add(payload as u32), number(8)));
            }
        }
        last.ok_or_else(|| io::Error::other("no segment of the connection was seen"))
    }
}

fn raw(ns: &Netns, to: IpAddr, protocol: Protocol) -> io::Result<Socket> {
    let domain = Domain::for_address(SocketAddr::new(to, 0));
    ns.run(|| Socket::new(domain, Type::RAW, Some(protocol)))?
}

fn octets(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The sum of RFC 1071 over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

//! An application that speaks first, tells each client the address it sees, echoes, and says goodbye when the client has
//! half-closed; and its client. One conversation shows server-first traffic, both directions, and half-close at once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use weft_netns::Netns;

/// No step of a conversation takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const GOODBYE: &str = "bye\n";

/// The application, until it is dropped.
pub(crate) struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(ns: &Netns, address: impl Into<SocketAddr>) -> Self {
        let address = address.into();
        let listener = ns.run(|| TcpListener::bind(address)).unwrap();
        let listener = listener.unwrap_or_else(|e| panic!("{address}: {e}"));
        let accepting = listener.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, peer)) = accepting.accept() {
                std::thread::spawn(move || serve(stream, peer.ip().to_canonical()));
            }
        });
        Self {
            listener,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread that accepts.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        let _ = self.thread.take().unwrap().join();
    }
}

fn serve(mut stream: TcpStream, peer: IpAddr) -> io::Result<()> {
    writeln!(stream, "{peer}")?;
    let mut buf = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buf)? {
            0 => return stream.write_all(GOODBYE.as_bytes()),
            n => stream.write_all(buf.get(..n).unwrap_or_default())?,
        }
    }
}

/// An open conversation.
#[derive(Debug)]
pub(crate) struct Chat {
    reader: BufReader<TcpStream>,
    /// The client's address as the server sees it.
    pub(crate) seen: IpAddr,
}

impl Chat {
    pub(crate) fn open(ns: &Netns, to: SocketAddr) -> io::Result<Self> {
        let stream = ns.run(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let seen = line
            .trim()
            .parse()
            .map_err(|_| io::Error::other(format!("strange greeting {line}")))?;
        Ok(Self { reader, seen })
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.reader.get_ref().local_addr().unwrap().port()
    }

    pub(crate) fn echo(&mut self, length: usize) -> io::Result<()> {
        let sent: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut writer = self.reader.get_ref().try_clone()?;
        let mut got = vec![0; length];
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| writer.write_all(&sent));
            self.reader.read_exact(&mut got)?;
            writing.join().unwrap()
        })?;
        if got == sent {
            Ok(())
        } else {
            Err(io::Error::other("other bytes came back"))
        }
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.reader.get_ref().shutdown(Shutdown::Write)?;
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest)?;
        if rest == GOODBYE {
            Ok(())
        } else {
            Err(io::Error::other(format!("no goodbye but {rest:?}")))
        }
    }
}

/// A whole conversation; the client's address as the server sees it.
pub(crate) fn talk(ns: &Netns, to: SocketAddr) -> io::Result<IpAddr> {
    let mut chat = Chat::open(ns, to)?;
    chat.echo(100)?;
    let seen = chat.seen;
    chat.finish()?;
    Ok(seen)
}

/// One UDP question and answer; the client's address as the server sees it.
pub(crate) fn datagram(server: &Netns, at: SocketAddr, client: &Netns) -> io::Result<IpAddr> {
    let any: IpAddr = if at.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let server = server.run(|| UdpSocket::bind(at))??;
    let client = client.run(|| UdpSocket::bind((any, 0)))??;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    client.send_to(b"question", at)?;
    let (_, peer) = server.recv_from(&mut [0; 16])?;
    server.send_to(b"answer", peer)?;
    let (n, from) = client.recv_from(&mut [0; 16])?;
    if (n, from) == (6, at) {
        Ok(peer.ip())
    } else {
        Err(io::Error::other(format!("answer from {from}")))
    }
}

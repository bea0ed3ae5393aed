//! What an idle keep-alive connection costs: resident memory before and after thousands of them, each of which has
//! carried one request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use weft_netns::Netns;

use crate::{contender::Contender, load, process};

/// Connections to hold.
pub(crate) const CONNECTIONS: usize = 5_000;
/// Requests before the first reading, so that lazily made structures are not charged to connections.
const WARM: usize = 64;
/// Memory counts as settled when it stood still for this long.
const STILL: Duration = Duration::from_millis(1_000);
/// And is taken as it is after this long.
const PATIENCE: Duration = Duration::from_secs(8);
const TIMEOUT: Duration = Duration::from_secs(5);

/// KiB of resident memory for each idle connection.
pub(crate) fn kib_per_connection(contender: &Contender) -> anyhow::Result<f64> {
    drop(open(contender, WARM)?);
    let before = settled(contender)?;
    let held = open(contender, CONNECTIONS)?;
    let after = settled(contender)?;
    let count = held.len() as f64;
    Ok(after.saturating_sub(before) as f64 / count)
}

fn open(contender: &Contender, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let namespace =
        Netns::open(&contender.client).context("cannot enter the client's namespace")?;
    namespace
        .run(|| {
            (0..count)
                .map(|_| ask_once(contender.address, &contender.host))
                .collect()
        })
        .context("cannot come back from the client's namespace")?
}

/// Connects, asks once, keeps the connection.
pub(crate) fn ask_once(address: SocketAddr, host: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("cannot connect")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())?;
    let mut response = Vec::new();
    let mut block = [0; 4096];
    loop {
        let length = stream.read(&mut block).context("no answer")?;
        if length == 0 {
            bail!("closed in mid-response");
        }
        response.extend_from_slice(block.get(..length).unwrap_or_default());
        match load::complete(&response)? {
            Some(200) => return Ok(stream),
            Some(status) => bail!("status {status}"),
            None => {}
        }
    }
}

fn settled(contender: &Contender) -> anyhow::Result<u64> {
    let started = Instant::now();
    let mut last = (
        process::usage(contender.pid())?.resident_kib,
        Instant::now(),
    );
    while last.1.elapsed() < STILL && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
        let now = process::usage(contender.pid())?.resident_kib;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    Ok(last.0)
}

//! Open-loop load: requests are due at fixed times whether or not earlier ones were answered, and latency counts from
//! the time a request was due. A proxy that stalls is charged for everything that piled up meanwhile.

mod pacer;
mod response;

use std::{cell::RefCell, collections::VecDeque, net::SocketAddr, rc::Rc, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::LocalSet,
    time::Instant,
};

pub(crate) use response::complete;

/// What to send.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Whom to ask.
    #[arg(long)]
    address: SocketAddr,
    /// Its Host header.
    #[arg(long)]
    host: String,
    /// Requests a second.
    #[arg(long)]
    rate: u32,
    /// Seconds.
    #[arg(long)]
    seconds: u64,
    /// Keep-alive connections to spread them over.
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

/// What came back; printed as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Answered with 200.
    pub(crate) requests: u64,
    /// Anything else.
    pub(crate) errors: u64,
    /// From first to last, in seconds.
    pub(crate) seconds: f64,
    /// Percentiles of latency in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 %.
    pub(crate) p99_ms: f64,
    /// 99.9 %.
    pub(crate) p999_ms: f64,
}

/// Microseconds; a minute is a very long answer.
const HIGHEST_MICROS: u64 = 60_000_000;
/// After the last due time, answers may still come for this long.
const PATIENCE: Duration = Duration::from_secs(5);

struct Shared {
    due: RefCell<VecDeque<Instant>>,
    wake: Notify,
    latency: RefCell<Histogram<u64>>,
    errors: RefCell<u64>,
    request: Vec<u8>,
}

/// Sends, waits, prints.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let summary = LocalSet::new().block_on(&runtime, generate(options))?;
    let text = serde_json::to_string(&summary)?;
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}").context("cannot print")
}

async fn generate(options: &Options) -> anyhow::Result<Summary> {
    let shared = Rc::new(Shared {
        due: RefCell::default(),
        wake: Notify::new(),
        latency: RefCell::new(Histogram::new_with_bounds(1, HIGHEST_MICROS, 3)?),
        errors: RefCell::default(),
        request: format!(
            "GET / HTTP/1.1\r\nhost: {}\r\nuser-agent: bench\r\n\r\n",
            options.host
        )
        .into_bytes(),
    });
    for _ in 0..options.connections {
        let stream = TcpStream::connect(options.address)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(ask(stream, Rc::clone(&shared)));
    }
    let total = u64::from(options.rate) * options.seconds;
    let start = Instant::now();
    let mut due = pacer::start(options.rate, total)?;
    while let Some(due) = due.recv().await {
        shared.due.borrow_mut().push_back(due);
        shared.wake.notify_one();
    }
    let answered = || shared.latency.borrow().len() + *shared.errors.borrow();
    let deadline = Instant::now() + PATIENCE;
    while answered() < total && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let latency = shared.latency.borrow();
    let milliseconds = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Summary {
        requests: latency.len(),
        errors: total - latency.len(),
        seconds,
        p50_ms: milliseconds(0.5),
        p99_ms: milliseconds(0.99),
        p999_ms: milliseconds(0.999),
    })
}

/// One connection: takes what is due, asks, records; an error ends it and counts.
async fn ask(mut stream: TcpStream, shared: Rc<Shared>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let next = shared.due.borrow_mut().pop_front();
        let Some(due) = next else {
            shared.wake.notified().await;
            continue;
        };
        match exchange(&mut stream, &shared.request, &mut buffer).await {
            Ok(()) => {
                let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(HIGHEST_MICROS);
                shared.latency.borrow_mut().saturating_record(micros.max(1));
            }
            Err(error) => {
                if *shared.errors.borrow() == 0 {
                    eprintln!("load: {error:#}");
                }
                *shared.errors.borrow_mut() += 1;
                return;
            }
        }
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> anyhow::Result<()> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else {
            bail!("a response of more than {filled} bytes");
        };
        let length = stream.read(room).await?;
        if length == 0 {
            bail!("closed in mid-response");
        }
        filled += length;
        if let Some(status) = complete(buffer.get(..filled).unwrap_or_default())? {
            if status != 200 {
                bail!("status {status}");
            }
            return Ok(());
        }
    }
}

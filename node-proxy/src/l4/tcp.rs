//! Opaque connections: an endpoint is chosen, connected to, and bytes are carried both ways until both halves have ended.
//!
//! A destination that cannot be reached resets the client at once (fail fast, matrix row 32), as the network would.

use tokio::net::TcpStream;
use tokio::time::Instant;
use weft_model::reason::Reason;

use super::detect::{self, Spoken};
use super::front::{Conn, Front};
use super::leg;
use crate::config::TCP_ATTEMPTS;
use crate::l7;
use crate::l7::target::{Chosen, Target};
use crate::l7::upstream::Upstream;
use crate::net::copy::Ended;
use crate::net::reader::Reader;
use crate::net::reset_on_close;
use crate::record::{self, TcpRecord};

/// A connected upstream and what was chosen to get there.
pub(crate) struct Dialled {
    upstream: Box<Upstream>,
    chosen: Chosen,
    one_pass: bool,
}

/// Carries a connection as bytes. `dialled` is an upstream that stands already.
pub(crate) async fn serve(conn: Conn, client: TcpStream, reader: Reader, dialled: Option<Dialled>) {
    let started = Instant::now();
    let dialled = match dialled {
        Some(dialled) => dialled,
        None => match dial(&conn).await {
            Ok(dialled) => dialled,
            Err((reason, chosen)) => {
                record::tcp_failed(&conn, chosen, reason);
                return reset_on_close(&client);
            }
        },
    };
    let Dialled {
        upstream,
        chosen,
        one_pass,
    } = dialled;
    let record = TcpRecord::open(&conn, &chosen, one_pass, started);
    if !push(&upstream.stream, reader, &conn, &record).await {
        reset_on_close(&client);
        return record.close(&conn, Some(Reason::UpstreamReset));
    }
    let progress = |received, sent| record.bytes(received, sent);
    let ended = upstream
        .carry(&client, &conn.worker.buffers, &progress)
        .await;
    let reason = match ended {
        Ended::Orderly => None,
        Ended::ByClient => Some(Reason::ClientGone),
        Ended::ByServer => Some(Reason::UpstreamReset),
    };
    record.close(&conn, reason);
}

/// The client is silent: dial, then let whoever speaks first decide (contracts.md §6).
pub(crate) async fn wait_for_either(conn: Conn, client: TcpStream, mut reader: Reader) {
    let dialled = match dial(&conn).await {
        Ok(dialled) => dialled,
        Err((reason, chosen)) => {
            record::tcp_failed(&conn, chosen, reason);
            return reset_on_close(&client);
        }
    };
    let spoken = tokio::select! {
        biased;
        _ = dialled.upstream.stream.readable() => Spoken::Opaque,
        spoken = detect::first_bytes(&conn, &client, &mut reader) => spoken,
    };
    match spoken {
        Spoken::Http1 => {
            // The connection that stands already is the one the first request will most likely want.
            conn.worker.upstreams.give(dialled.upstream);
            l7::server::serve(conn, client, reader).await;
        }
        Spoken::Http2 => {
            conn.worker.shared.counters.http2_as_tcp.inc();
            serve(conn, client, reader, Some(dialled)).await;
        }
        Spoken::Opaque | Spoken::Nothing => serve(conn, client, reader, Some(dialled)).await,
        Spoken::Gone => {
            let Dialled {
                upstream,
                chosen,
                one_pass,
            } = dialled;
            reset_on_close(&upstream.stream);
            TcpRecord::open(&conn, &chosen, one_pass, Instant::now())
                .close(&conn, Some(Reason::ClientGone));
        }
    }
}

/// Writes what the client said before we knew where to.
async fn push(upstream: &TcpStream, mut reader: Reader, conn: &Conn, record: &TcpRecord) -> bool {
    while !reader.is_empty() {
        match upstream.try_write(reader.available()) {
            Ok(count) => {
                record.bytes(count as u64, 0);
                reader.consume(count);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if upstream.writable().await.is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    reader.release(&conn.worker.buffers);
    true
}

/// Chooses an endpoint and connects, trying others when one cannot be reached: no byte has been processed.
async fn dial(conn: &Conn) -> Result<Dialled, (Reason, Option<Chosen>)> {
    let tables = conn.worker.tables();
    let mut avoid = Vec::new();
    let mut last = (Reason::NoEndpoint, None);
    for _ in 0..TCP_ATTEMPTS {
        let target = Target::of_connection(conn, &tables).map_err(|reason| (reason, None))?;
        let Some(chosen) = target.pick(&conn.worker, &avoid) else {
            return Err(last);
        };
        let leg = match conn.front {
            Front::Outside => leg::direct(conn, chosen.address),
            Front::Service { .. } | Front::Pod(_) | Front::App => leg::leg(conn, chosen.address),
        };
        match Upstream::connect(&conn.worker, &leg, target.connect_timeout()).await {
            Some(upstream) => {
                return Ok(Dialled {
                    upstream,
                    chosen,
                    one_pass: leg.one_pass,
                });
            }
            None => {
                avoid.push(chosen.address);
                last = (Reason::UpstreamConnect, Some(chosen));
            }
        }
        if !matches!(conn.front, Front::Service { .. }) {
            break;
        }
    }
    Err(last)
}

//! The sample app: stands in for every container of a lab that names no command. It answers on the ports that it is
//! given, tells who it is and what it saw, misbehaves on request, and calls its upstreams so that a graph of services
//! forms. Everything comes from the environment:
//!
//! - `SERVICE`, `VERSION`, `POD`, `NAMESPACE`: who it says it is.
//! - `PORTS`: `name:number,…`; the name's prefix is the protocol: `http`, `tcp`, `udp`, `hello` (the server speaks
//!   first), `health` (gRPC's health check, always SERVING). No name means `http`; `grpc` and `tls` speak lines as `tcp` does.
//! - `LISTEN`: address to bind; default all, both families.
//! - `UPSTREAMS`: URLs (`http://reviews:9080/`, `tcp://store:6379`) called for each ordinary request.
//! - `DELAY_MS`: waits this long before each ordinary answer.
//! - `LOAD`: a URL and how many times a second to call it, so that a pod can be a crowd of visitors.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod answer;
mod health;
mod http;
mod identity;
mod load;
mod socket;
mod tcp;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use identity::Identity;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let identity = Arc::new(Identity::from_environment());
    let ports = std::env::var("PORTS").unwrap_or_default();
    for port in ports.split(',').filter(|p| !p.is_empty()) {
        let (name, number) = port.rsplit_once(':').unwrap_or(("", port));
        let number: u16 = number.parse().with_context(|| format!("PORTS: `{port}`"))?;
        serve(name, number, &identity).await?;
    }
    let load = std::env::var("LOAD").unwrap_or_default();
    if !load.is_empty() {
        let (url, period) = load::parse(&load)?;
        tokio::spawn(load::drive(url, period));
    }
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

async fn serve(name: &str, port: u16, identity: &Arc<Identity>) -> anyhow::Result<()> {
    let protocol = name.split('-').next().unwrap_or_default();
    let address = listen_address(port)?;
    let identity = Arc::clone(identity);
    if protocol == "udp" {
        let socket = tokio::net::UdpSocket::bind(address).await?;
        tokio::spawn(socket::echo_datagrams(socket));
        return Ok(());
    }
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    match protocol {
        "" | "http" => tokio::spawn(http::serve(listener, identity)),
        "health" => tokio::spawn(health::serve(listener)),
        "hello" | "mysql" => tokio::spawn(tcp::serve(listener, identity, true)),
        "tcp" | "redis" | "mongo" | "grpc" | "tls" | "https" => {
            tokio::spawn(tcp::serve(listener, identity, false))
        }
        // An unknown name: Kubernetes allows any; most apps speak HTTP.
        _ => tokio::spawn(http::serve(listener, identity)),
    };
    Ok(())
}

/// All addresses of both families; IPv4 only where the pod has no IPv6.
fn listen_address(port: u16) -> anyhow::Result<SocketAddr> {
    let ip: IpAddr = match std::env::var("LISTEN") {
        Ok(text) => match text.parse() {
            Ok(ip) => ip,
            Err(_) => bail!("LISTEN: `{text}` is no address"),
        },
        Err(_) if std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() => {
            Ipv6Addr::UNSPECIFIED.into()
        }
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    Ok(SocketAddr::new(ip, port))
}

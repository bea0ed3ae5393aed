//! The blocking half: what is done inside a pod's namespace, on threads of its own. Each function is one step of the plan
//! and leaves either the whole of it or nothing.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use weft_model::capture::{CaptureSpec, INBOUND_PORT, OUTBOUND_PORT};
use weft_netns::{Netns, addresses, has_ipv6, listen_in};
use weft_redirect::{Drift, RuleBackend};

use crate::trouble::{Kind, Trouble};

/// Connections that wait in a listener while no proxy accepts (the kernel caps it at the namespace's `somaxconn`).
const BACKLOG: i32 = 4096;

/// Enters namespaces.
#[derive(Clone)]
pub(crate) struct Kernel {
    rules: Arc<dyn RuleBackend>,
}

impl Kernel {
    /// Works with one kind of packet rules.
    pub(crate) fn new(rules: Arc<dyn RuleBackend>) -> Self {
        Self { rules }
    }

    /// Opens the pod's two listeners: outbound, inbound.
    pub(crate) async fn open(&self, ns: Arc<Netns>) -> Result<(OwnedFd, OwnedFd), Trouble> {
        let open = move || -> io::Result<(OwnedFd, OwnedFd)> {
            let v6 = has_ipv6(&ns)?;
            Ok((
                listen_in(&ns, OUTBOUND_PORT, v6, BACKLOG)?,
                listen_in(&ns, INBOUND_PORT, v6, BACKLOG)?,
            ))
        };
        blocking(open).await?.map_err(|error| {
            let kind = if error.kind() == io::ErrorKind::AddrInUse {
                Kind::PortTaken
            } else {
                Kind::System
            };
            Trouble::new(kind, error.to_string())
        })
    }

    /// Makes the pod's rules as specified.
    pub(crate) async fn capture(&self, ns: Arc<Netns>, spec: CaptureSpec) -> Result<(), Trouble> {
        self.rules(move |rules| weft_redirect::capture(&ns, &spec, rules).map(drop))
            .await
    }

    /// Lets new connections of the pod go directly.
    pub(crate) async fn releasing(&self, ns: Arc<Netns>) -> Result<(), Trouble> {
        self.rules(move |rules| weft_redirect::releasing(&ns, rules).map(drop))
            .await
    }

    /// Removes everything of ours from the pod.
    pub(crate) async fn release(&self, ns: Arc<Netns>) -> Result<(), Trouble> {
        self.rules(move |rules| weft_redirect::release(&ns, rules).map(drop))
            .await
    }

    /// Whether the pod's rules are as specified.
    pub(crate) async fn verify(
        &self,
        ns: Arc<Netns>,
        spec: CaptureSpec,
    ) -> Result<Result<(), Drift>, Trouble> {
        let rules = Arc::clone(&self.rules);
        blocking(move || weft_redirect::verify(&ns, &spec, rules.as_ref())).await
    }

    /// The addresses of the namespace.
    pub(crate) async fn addresses(&self, ns: Arc<Netns>) -> Result<Vec<IpAddr>, Trouble> {
        blocking(move || addresses(&ns))
            .await?
            .map_err(|error| Trouble::new(Kind::System, error.to_string()))
    }

    async fn rules(
        &self,
        change: impl FnOnce(&dyn RuleBackend) -> Result<(), weft_redirect::Error> + Send + 'static,
    ) -> Result<(), Trouble> {
        let rules = Arc::clone(&self.rules);
        blocking(move || change(rules.as_ref()))
            .await?
            .map_err(|error| Trouble::new(Kind::Rules, error.to_string()))
    }
}

/// Runs `f` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(f).await.map_err(|error| {
        Trouble::new(
            Kind::System,
            format!("a worker thread ended early: {error}"),
        )
    })
}

//! The node's end of the table stream, the same for agent and proxy: it always has the best tables that are known, says
//! when better ones are there, asks for what is missing, and keeps the last good state on disk.
//!
//! A generation counts as good, is acknowledged and is written to disk only after its owner has said that it is in use
//! ([`Handle::set_applied`]). With the operator away nothing changes.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that unwraps fails, as it should"
    )
)]

mod backoff;
mod client;
mod disk;
mod handle;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weft_model::table::Tables;

pub use disk::{DiskError, FILE, decode};
pub use handle::{Handle, Status};
pub use weft_wire::table::{NodeKind, PodTrouble};

/// Tables of one generation. Generation 0: nothing has ever been received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Generation of the tables.
    pub generation: u64,
    /// The tables.
    pub tables: Tables,
}

/// What a node needs to have tables.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Operator, `http://HOST:15012`.
    pub operator: String,
    /// Kubernetes name of this node.
    pub node: String,
    /// Which program asks.
    pub kind: NodeKind,
    /// The `--state-dir`; the last good state lies in `<state_dir>/<kind>/tables.json`.
    pub state_dir: PathBuf,
    /// Version of the program, for people.
    pub version: String,
    /// File with the token that tells the operator who we are, read anew for each connection because the kubelet
    /// exchanges it; `None` where the operator does not ask.
    pub token_file: Option<PathBuf>,
}

/// The configuration cannot work.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operator's address is no URI.
    #[error("--operator {uri:?} is not an address such as http://10.0.0.1:15012: {reason}")]
    Operator {
        /// As given.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The state directory cannot be made.
    #[error("--state-dir: cannot create {path}: {source}")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Loads the last good state (so [`Handle::current`] has it at once) and keeps the tables up to date on a task of the
/// current tokio runtime until `shutdown`.
///
/// # Errors
/// Only for a configuration that can never work; an operator that is away or a damaged file is no error.
pub fn start(config: ClientConfig, shutdown: CancellationToken) -> Result<Handle, StartError> {
    let endpoint = client::endpoint(&config)?;
    let dir = config.state_dir.join(config.kind.as_str());
    disk::prepare(&dir).map_err(|source| StartError::StateDir {
        path: dir.clone(),
        source,
    })?;
    let saved = match disk::load(&dir, &config.node) {
        Ok(saved) => saved,
        Err(error) => {
            let file = dir.join(FILE);
            tracing::error!(file = %file.display(), %error, "the last good tables cannot be used; waiting for the operator");
            None
        }
    };
    let session = session::Session::new(&config, saved);
    if session.good().generation > 0 {
        tracing::info!(
            generation = session.good().generation,
            "serving the last good tables from disk"
        );
    }
    let (handle, owner) = handle::new(Arc::clone(session.good()), session.interest().clone());
    client::spawn(
        client::Parts {
            session,
            owner,
            endpoint,
            token_file: config.token_file,
            dir,
            shutdown,
        },
        handle.tracker(),
    );
    Ok(handle)
}

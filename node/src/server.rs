//! The node as a whole: what it binds, what it owns, and how it stops.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hivemind_store::Clients;

use crate::event::Observer;
use crate::settings::Settings;

/// Why a node does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Its address cannot be listened on.
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Its identity cannot be read or made.
    Identity(String),
    /// Its certificate cannot be read or made.
    Tls(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Identity(what) | Self::Tls(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StartError {}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether it takes connections.
    pub listening: bool,
    /// Whether the agent can be reached.
    pub agent: bool,
    /// Whether the storage answered when it was last asked, and holds what it held.
    pub storage: bool,
    /// Connections, whatever they are.
    pub connections: usize,
    /// Satellites whose session is up.
    pub satellites: usize,
}

/// A running node. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Node {}

impl Node {
    /// Starts a node on the current runtime. It listens when this returns.
    ///
    /// # Errors
    /// If it cannot; nothing runs then.
    pub async fn start(settings: Settings, clients: Clients, observer: Arc<dyn Observer>) -> Result<Self, StartError> {
        let _ = (settings, clients, observer);
        todo!()
    }

    /// Where it listens: the port is the one it got if it was told 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        todo!()
    }

    /// Takes no more connections, tells all satellites that it goes, and waits for their connections to end, `grace` at most.
    pub async fn stop(self, grace: Duration) {
        let _ = grace;
        todo!()
    }
}

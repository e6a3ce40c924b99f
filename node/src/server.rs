//! The node as a whole: what it binds, what it owns, and how it stops.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_store::Clients;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::agent::echo::Echo;
use crate::agent::ovos::Ovos;
use crate::close::Close;
use crate::directory::{self, Directory, Unknowable};
use crate::event::Observer;
use crate::hub::{self, Hub};
use crate::identity::Identity;
use crate::limits::Gate;
use crate::listener;
use crate::psk::Stretching;
use crate::settings::{self, Settings};
use crate::tls::Encryption;

/// How often the storage's records are counted while nothing else asks for it.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// The same while it does not answer, or not all are there.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(2);

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

/// What all connections of a node share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) directory: Arc<Directory>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) stretching: Arc<Stretching>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) agent: Arc<dyn Agent>,
    pub(crate) tasks: TaskTracker,
    /// The node stops: nothing new begins.
    pub(crate) stop: CancellationToken,
    /// Its time is up: what still runs is dropped.
    pub(crate) kill: CancellationToken,
}

/// A running node. Dropping it stops it without waiting.
pub struct Node {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("address", &self.address).field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.kill.cancel();
    }
}

impl Node {
    /// Starts a node on the current runtime. It listens when this returns.
    ///
    /// A storage that fails or seems to have lost its records does not keep it from starting: satellites are told to try again until
    /// that is mended.
    ///
    /// # Errors
    /// If it cannot; nothing runs then.
    pub async fn start(settings: Settings, clients: Clients, observer: Arc<dyn Observer>) -> Result<Self, StartError> {
        let (identity, encryption) = open_files(&settings).await?;
        let bound = listener::bind(&settings.address).await;
        let address = settings.address.clone();
        let fails = |error| StartError::Bind { address, error };
        let (listeners, address) = bound.and_then(|all| all[0].local_addr().map(|address| (all, address))).map_err(fails)?;

        let directory = Directory::new(directory::Setup {
            clients,
            observer: Arc::clone(&observer),
            last_seen_interval: settings.last_seen_interval,
            census: Some(settings.identity.join(directory::CENSUS_FILE)),
            allow_empty: settings.allow_empty,
        });
        let agent: Arc<dyn Agent> = match &settings.agent {
            settings::Agent::Ovos { url } => Ovos::new(url.clone()),
            settings::Agent::Echo => Echo::new(),
        };
        let hub = Hub::new(hub::Setup {
            node_id: identity.node_id.clone(),
            site_id: identity.site_id.clone(),
            agent: Arc::clone(&agent),
            directory: Arc::clone(&directory),
            policy: settings.policy.clone(),
            observer: Arc::clone(&observer),
            ping_flood_interval: settings.limits.ping_flood_interval,
        });
        let stretching = Stretching::new(identity.node_id.clone(), Arc::clone(&directory), settings.limits.derivations)
            .map_err(|e| StartError::Identity(format!("the system gave no random bytes: {e}")))?;
        let shared = Arc::new(Shared {
            gate: Gate::new(settings.limits),
            settings,
            identity,
            directory,
            hub,
            stretching,
            observer,
            encryption,
            agent,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        begin(&shared, listeners).await;
        Ok(Self { shared, address })
    }

    /// Where it listens: the port is the one it got if it was told 0. Of several addresses the first.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is called by its satellites, for life.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.shared.identity.node_id
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            listening: !self.shared.stop.is_cancelled(),
            agent: self.shared.agent.is_up(),
            storage: self.shared.directory.is_well(),
            connections: self.shared.gate.connections(),
            satellites: self.shared.hub.len(),
        }
    }

    /// Takes no more connections, tells all satellites that it goes, and waits for their connections to end, `grace` at most.
    pub async fn stop(self, grace: Duration) {
        let shared = &self.shared;
        shared.stop.cancel();
        shared.hub.close_all(&Close::stopping());
        shared.tasks.close();
        if tokio::time::timeout(grace, shared.tasks.wait()).await.is_err() {
            tracing::warn!(connections = shared.gate.connections(), "not all connections ended in time; they are cut");
        }
        shared.kill.cancel();
        shared.tasks.wait().await;
    }
}

/// Reads or makes what the node keeps in files, where waiting for a disk holds up nobody.
async fn open_files(settings: &Settings) -> Result<(Identity, Option<Encryption>), StartError> {
    let (folder, tls) = (settings.identity.clone(), settings.tls.clone());
    let open = move || {
        let identity = Identity::open(&folder).map_err(StartError::Identity)?;
        let encryption = tls.as_ref().map(Encryption::open).transpose().map_err(StartError::Tls)?;
        Ok((identity, encryption))
    };
    tokio::task::spawn_blocking(open).await.map_err(|e| StartError::Identity(format!("the identity could not be read: {e}")))?
}

async fn begin(shared: &Arc<Shared>, listeners: Vec<TcpListener>) {
    if let Err(Unknowable::Storage(error)) = shared.directory.count().await {
        tracing::error!(%error, "the database does not answer; until it does, satellites are told to try again");
    }
    shared.hub.start();
    let while_running = |task: Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = shared.stop.clone();
        shared.tasks.spawn(async move { stop.run_until_cancelled(task).await });
    };
    if let Some(encryption) = shared.encryption.clone() {
        while_running(Box::pin(encryption.reload()));
    }
    let directory = Arc::clone(&shared.directory);
    while_running(Box::pin(async move {
        let mut last = Instant::now();
        loop {
            tokio::time::sleep(RECOUNT_INTERVAL).await;
            if !directory.is_well() || last.elapsed() >= COUNT_INTERVAL {
                // Whatever comes of it is told where it is found.
                let _ = directory.count().await;
                last = Instant::now();
            }
        }
    }));
    for listener in listeners {
        shared.tasks.spawn(listener::accept(Arc::clone(shared), listener));
    }
}

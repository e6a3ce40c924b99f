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

use crate::account::Budget;
use crate::agent::Agent;
use crate::agent::echo::Echo;
use crate::agent::ovos::Ovos;
use crate::close::Close;
use crate::connection::pinned_key;
use crate::directory::{self, Directory, Unknowable};
use crate::event::Observer;
use crate::hub::{self, Hub};
use crate::identity::{Found, Identity};
use crate::limits::Gate;
use crate::listener;
use crate::psk::Stretching;
use crate::rarely::Rarely;
use crate::settings::{self, Settings};
use crate::tls::Encryption;

/// How often the storage's records are counted while nothing else asks for it.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// The same while it does not answer, or not all are there: whoever watches over the node hears soon that it is back, also where nobody is
/// connected.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(2);

/// How long a node that stops at once waits for connections that are held up.
const HELD_UP: Duration = Duration::from_secs(1);

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
    /// Clients are paired with a node whose identity this is not: what is missing of it was not made.
    Unpaired {
        /// What is not there, and where it should be.
        missing: String,
    },
    /// Its identity is missing, and the storage does not say whether clients are paired with another one.
    Storage {
        /// What is not there, and where it should be.
        missing: String,
        /// What the storage said.
        error: hivemind_store::Error,
    },
    /// Its certificate cannot be read or made.
    Tls(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Unpaired { missing } => write!(
                f,
                "clients in the store are paired with a node, but its identity is not here: {missing}; with another one every \
                 satellite would refuse this node for good"
            ),
            Self::Storage { missing, error } => write!(
                f,
                "the node's identity is not here ({missing}), and the store does not say whether clients are paired with one: {error}"
            ),
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
    /// What long messages may take until they are whole and dealt with.
    pub(crate) incoming: Budget,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) rarely: Rarely,
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
        self.cut();
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
        let (identity, encryption) = open_files(&settings, &clients).await?;
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
            incoming: Budget::new(settings.limits.incoming_bytes),
            settings,
            identity,
            directory,
            hub,
            stretching,
            observer,
            rarely: Rarely::default(),
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
    pub async fn stop(&self, grace: Duration) {
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

    /// The same without a word to anybody. What the connections tell of their end is told when this is over; one that is held up, by its
    /// storage maybe, is not waited for.
    pub async fn stop_at_once(&self) {
        self.cut();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(HELD_UP, self.shared.tasks.wait()).await;
    }

    /// Takes no more connections, and ends those that there are.
    fn cut(&self) {
        self.shared.stop.cancel();
        self.shared.kill.cancel();
    }
}

/// Reads or makes what the node keeps in files, where waiting for a disk holds up nobody.
async fn open_files(settings: &Settings, clients: &Clients) -> Result<(Identity, Option<Encryption>), StartError> {
    let folder = settings.identity.clone();
    let found = off_network(move || Found::look(&folder).map_err(StartError::Identity)).await?;
    if let Some(missing) = found.missing().filter(|_| !settings.new_identity) {
        match has_pairs(clients).await {
            Ok(false) => {}
            Ok(true) => return Err(StartError::Unpaired { missing }),
            Err(error) => return Err(StartError::Storage { missing, error }),
        }
    }
    let tls = settings.tls.clone();
    off_network(move || {
        let identity = found.complete().map_err(StartError::Identity)?;
        let encryption = tls.as_ref().map(Encryption::open).transpose().map_err(StartError::Tls)?;
        Ok((identity, encryption))
    })
    .await
}

async fn off_network<T: Send + 'static>(work: impl FnOnce() -> Result<T, StartError> + Send + 'static) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| StartError::Identity(format!("the identity could not be read: {e}")))?
}

/// Whether any client has a key pinned: then its satellite has one of a node's too.
async fn has_pairs(clients: &Clients) -> hivemind_store::Result<bool> {
    let mut pages = clients.pages();
    while let Some(page) = pages.next().await? {
        if page.clients.iter().any(|client| pinned_key(client).is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
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

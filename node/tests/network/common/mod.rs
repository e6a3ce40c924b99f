//! A node on loopback over the reference backend, and satellites that speak to it as the protocol's own initiator does.

#![allow(dead_code, reason = "each test uses some of it")]

mod satellite;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use hivemind_model::Backend;
use hivemind_model::reference::Reference;
use hivemind_node::Node;
use hivemind_node::settings::{Agent, Limits, Settings};
use hivemind_store::clients::NewClient;
use hivemind_store::{Client, Clients, Options, Storage};
use tempfile::TempDir;

pub(crate) use satellite::{Satellite, Told, query};
pub(crate) use watch::{Happened, Watch, eventually};

/// Longer than anything takes that does not hang, on the slowest machine.
pub(crate) const HANGS: Duration = Duration::from_secs(120);

/// Strong enough for any policy.
pub(crate) const PASSWORD: &str = "a sound that only the kitchen makes at night";

/// The type of message that clients made here may send.
pub(crate) const ALLOWED: &str = "recognizer_loop:utterance";

/// A running node and what it stands on.
pub(crate) struct Fixture {
    pub(crate) node: Node,
    pub(crate) clients: Clients,
    pub(crate) watch: Arc<Watch>,
    pub(crate) folder: TempDir,
}

/// Settings of a node in this folder, with the echo agent.
pub(crate) fn settings(folder: &TempDir) -> Settings {
    Settings {
        address: "127.0.0.1:0".to_owned(),
        tls: None,
        identity: folder.path().join("identity"),
        agent: Agent::Echo,
        policy: Vec::new(),
        last_seen_interval: Duration::from_secs(60),
        min_password_bits: Some(40.0),
        allow_empty: false,
        new_identity: false,
        limits: Limits::default(),
        metrics: None,
    }
}

impl Fixture {
    /// A node with one client, `kitchen`.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::over(Arc::new(Reference::new()), change).await
    }

    /// The same over another backend.
    pub(crate) async fn over(backend: Arc<dyn Backend>, change: impl FnOnce(&mut Settings)) -> Self {
        let clients = clients(backend).await;
        if clients.count().await.is_ok_and(|n| n == 0) {
            add(&clients, "kitchen").await;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = settings(&folder);
        change(&mut settings);
        let watch = Arc::new(Watch::default());
        let node = Node::start(settings, clients.clone(), Arc::clone(&watch) as _).await.expect("a node");
        Self { node, clients, watch, folder }
    }

    /// A satellite of this client's, not yet connected.
    pub(crate) fn satellite(&self, access_key: &str) -> Satellite {
        Satellite::new(self.node.address(), access_key, PASSWORD)
    }

    /// A client's record as it is stored.
    pub(crate) async fn stored(&self, access_key: &str) -> Arc<Client> {
        self.clients.by_access_key(access_key).await.expect("an answer").expect("a client")
    }
}

/// The clients of a backend.
pub(crate) async fn clients(backend: Arc<dyn Backend>) -> Clients {
    let storage = Storage::new(backend, Options::default());
    Clients::open(&storage).await.expect("clients")
}

/// Adds a client whose access key is its name.
pub(crate) async fn add(clients: &Clients, name: &str) -> Arc<Client> {
    let new = NewClient {
        name: name.to_owned(),
        password: Some(PASSWORD.to_owned()),
        allowed_types: vec![ALLOWED.to_owned()],
        ..NewClient::new(name)
    };
    clients.add(new).await.expect("added")
}

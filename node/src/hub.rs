//! Who is connected, and what passes between them and the agent.
//!
//! A satellite's own messages touch nothing that satellites share: what they are checked against lies in its [`Seat`], and the agent
//! takes them from there. Shared are the names, which answers of the agent are delivered by.

mod deliver;
mod registry;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hivemind_store::Client;

use crate::account::Accounts;
use crate::admission;
use crate::agent::Agent;
use crate::close::Close;
use crate::directory::Directory;
use crate::event::{Event, Observer};
use crate::outbox::{Item, Outbox};
use crate::peer::Peer;
use crate::relay::Relay;
pub use crate::seat::Seat;
use crate::settings::Policy;

use registry::Registry;
use watch::Unsure;
pub(crate) use watch::revoked;

/// What a hub is made of.
pub struct Setup {
    /// The node's name for life: part of every session's namespace, and its hop in routes.
    pub node_id: String,
    /// The site this node stands at, as its identity says: messages for a site are delivered to the agent there.
    pub site_id: Option<String>,
    /// Who answers.
    pub agent: Arc<dyn Agent>,
    /// The clients' records.
    pub directory: Arc<Directory>,
    /// What every message is checked against, besides the whitelist and the session.
    pub policy: Vec<Policy>,
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
    /// A PING of the network is answered to everybody at most this often.
    pub ping_flood_interval: Duration,
}

/// A satellite whose session is up.
#[derive(Debug)]
pub struct Arrival {
    /// Its record.
    pub client: Arc<Client>,
    /// What it calls itself in its authorization.
    pub user_agent: String,
    /// Its address.
    pub address: IpAddr,
    /// The session in the name that it was greeted by; its HELLO gives it another.
    pub session_id: String,
}

/// The satellites that are connected.
pub struct Hub {
    pub(crate) node_id: String,
    pub(crate) site_id: Option<String>,
    pub(crate) agent: Arc<dyn Agent>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) policy: Vec<Policy>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) relay: Relay,
    registry: Registry,
    accounts: Accounts,
    unsure: Unsure,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("satellites", &self.len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub without satellites. Nothing runs before [`Hub::start`].
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Self> {
        Arc::new(Self {
            relay: Relay::new(setup.ping_flood_interval),
            node_id: setup.node_id,
            site_id: setup.site_id,
            agent: setup.agent,
            directory: setup.directory,
            policy: setup.policy,
            observer: setup.observer,
            registry: Registry::default(),
            accounts: Accounts::default(),
            unsure: Unsure::default(),
        })
    }

    /// Starts the agent and the tasks that close the connections of revoked clients and end questions without an answer, on the current
    /// runtime. All end with the hub.
    pub fn start(self: &Arc<Self>) {
        Arc::clone(&self.agent).start(Arc::downgrade(self));
        tokio::spawn(watch::watch(Arc::downgrade(self)));
        tokio::spawn(watch::end_questions(Arc::downgrade(self)));
    }

    /// Takes a satellite in. It leaves when the seat is dropped.
    #[must_use]
    pub fn join(self: &Arc<Self>, arrival: Arrival, outbox: Outbox) -> Seat {
        let namespace = admission::namespace(&self.node_id, arrival.client.id);
        let peer = Peer::new(&arrival.client, arrival.address, namespace, outbox);
        let peer = Arc::new(peer.charged_to(self.accounts.of(arrival.client.id)));
        self.registry.join(&peer, &peer_name(&arrival.user_agent, &arrival.client, &arrival.session_id));
        // Its record may have changed since it was admitted by it, before anybody would have looked for its connection.
        self.unsure.add(&peer);
        Seat::new(Arc::clone(self), peer, arrival)
    }

    pub(crate) fn leave(&self, peer: &Arc<Peer>) {
        self.registry.leave(peer);
        self.relay.leave(peer);
    }

    pub(crate) fn rename(&self, peer: &Arc<Peer>, wanted: &str) {
        self.registry.rename(peer, wanted);
    }

    /// Hands a message to one satellite.
    pub(crate) fn send_to(&self, peer: &Peer, text: String) -> bool {
        peer.send(Item::Json(Arc::from(text.into_bytes())), &*self.observer)
    }

    /// Hands a message to every satellite, and says to how many.
    pub(crate) fn send_to_all(&self, text: String) -> usize {
        let body: Arc<[u8]> = Arc::from(text.into_bytes());
        self.registry.all().iter().filter(|peer| peer.send(Item::Json(Arc::clone(&body)), &*self.observer)).count()
    }

    /// Hands what a satellite has sent to another.
    pub(crate) fn relay_to(&self, peer: &Peer, text: String) {
        peer.relay(Item::Json(Arc::from(text.into_bytes())), &*self.observer);
    }

    /// Hands what a satellite has sent, or has made the node say, to every satellite but one.
    pub(crate) fn relay_to_all(&self, except: Option<&Arc<Peer>>, text: String) {
        let body: Arc<[u8]> = Arc::from(text.into_bytes());
        for peer in self.registry.all() {
            if except.is_none_or(|except| !Arc::ptr_eq(except, &peer)) {
                peer.relay(Item::Json(Arc::clone(&body)), &*self.observer);
            }
        }
    }

    /// Closes every connection.
    pub fn close_all(&self, close: &Close) {
        for peer in self.registry.all() {
            peer.close(close.clone());
        }
    }

    /// How many satellites are connected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registry.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The agent's bus was reached or lost.
    pub fn agent_is(&self, up: bool) {
        self.observer.see(&Event::Agent { up });
    }
}

/// The name that a satellite has among the peers.
#[must_use]
pub fn peer_name(user_agent: &str, client: &Client, session_id: &str) -> String {
    format!("{user_agent}::{}::{}::{session_id}", client.id, client.label())
}

//! Who is connected, and what passes between them and the agent.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hivemind_protocol::Message;
use hivemind_store::Client;

use crate::agent::Agent;
use crate::close::Close;
use crate::directory::Directory;
use crate::event::Observer;
use crate::outbox::Outbox;
use crate::settings::Policy;

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
#[derive(Debug)]
pub struct Hub;

impl Hub {
    /// A hub without satellites. Nothing runs before [`Hub::start`].
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Self> {
        let _ = setup;
        todo!()
    }

    /// Starts the agent and the task that closes the connections of revoked clients, on the current runtime.
    pub fn start(self: &Arc<Self>) {
        todo!()
    }

    /// Takes a satellite in. It leaves when the seat is dropped.
    #[must_use]
    pub fn join(self: &Arc<Self>, arrival: Arrival, outbox: Outbox) -> Seat {
        let _ = (arrival, outbox);
        todo!()
    }

    /// Closes every connection.
    pub fn close_all(&self, close: &Close) {
        let _ = close;
        todo!()
    }

    /// How many satellites are connected.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A text frame came from the agent's bus.
    pub fn deliver(&self, message: &str) {
        let _ = message;
        todo!()
    }

    /// The agent's bus was reached or lost.
    pub fn agent_is(&self, up: bool) {
        let _ = up;
        todo!()
    }
}

/// One satellite's place in the hub, held by the task that reads its socket.
#[derive(Debug)]
pub struct Seat {
    _hub: Weak<Hub>,
}

impl Seat {
    /// Takes a message of the satellite. What is denied is answered through its outbox.
    ///
    /// # Errors
    /// The close that ends its connection.
    pub async fn receive(&mut self, message: Message<'_>) -> Result<(), Close> {
        let _ = message;
        todo!()
    }

    /// Its name among the peers: `USERAGENT::ID::NAME::SESSION`.
    #[must_use]
    pub fn peer(&self) -> &str {
        todo!()
    }

    /// Its record, as of its last message.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        todo!()
    }
}

/// The name that a satellite has among the peers.
#[must_use]
pub fn peer_name(user_agent: &str, client: &Client, session_id: &str) -> String {
    format!("{user_agent}::{}::{}::{session_id}", client.id, client.label())
}

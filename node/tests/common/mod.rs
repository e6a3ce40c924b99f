//! What the tests of the hub share: a storage that can fail, an agent that keeps what it is told, and satellites without a network.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hivemind_model::{Mutation, Row, Value as Stored};
use hivemind_node::agent::{Agent, Unavailable};
use hivemind_node::close::Close;
use hivemind_node::directory::{self, Directory};
use hivemind_node::event::{Event, Observer};
use hivemind_node::hub::{Arrival, Hub, Seat, Setup};
use hivemind_node::outbox::{Inbox, Item, outbox};
use hivemind_protocol::Message;
use hivemind_store::{Client, Clients, clients};
use serde_json::Value;

#[path = "../../../store/tests/common/mod.rs"]
mod storage;

use storage::Tracked;

/// The node's name.
pub const NODE: &str = "NODE KEY";
/// Where all satellites are.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a hub is made of here.
pub struct World {
    pub backend: Arc<Tracked>,
    pub clients: Clients,
    pub directory: Arc<Directory>,
    pub agent: Arc<Recorder>,
    pub looks: Arc<Looks>,
}

/// How often the storage was asked what changed, how often it could not say what a record is, and what was to be pinned.
#[derive(Debug, Default)]
pub struct Looks {
    pub answered: AtomicUsize,
    pub failed: AtomicUsize,
    pub records_failed: AtomicUsize,
    pub pins: AtomicUsize,
}

impl Observer for Looks {
    fn see(&self, event: &Event<'_>) {
        let count = match event {
            Event::Called { call: "changes_since", error: Some(_), .. } => &self.failed,
            Event::Called { call: "changes_since", .. } => &self.answered,
            Event::Called { call: "by_id", error: Some(_), .. } => &self.records_failed,
            Event::Called { call: "pin", .. } => &self.pins,
            _ => return,
        };
        count.fetch_add(1, SeqCst);
    }
}

impl World {
    pub fn new() -> Self {
        let (backend, clients) = storage::clients();
        let looks = Arc::new(Looks::default());
        let directory = Directory::new(directory::Setup {
            clients: clients.clone(),
            observer: Arc::clone(&looks) as _,
            last_seen_interval: Duration::from_secs(60),
            census: None,
            allow_empty: true,
        });
        Self { backend, clients, directory, agent: Arc::default(), looks }
    }

    pub fn setup(&self) -> Setup {
        Setup {
            node_id: NODE.to_owned(),
            site_id: None,
            agent: Arc::clone(&self.agent) as _,
            directory: Arc::clone(&self.directory),
            policy: Vec::new(),
            observer: Arc::new(()),
            ping_flood_interval: Duration::from_secs(30),
        }
    }

    /// Stores a record as it is, under its own id.
    pub async fn insert(&self, record: &Value) -> Arc<Client> {
        let collection = clients::collection();
        let mut row = Row::builder(&collection);
        for (name, value) in record.as_object().expect("a record") {
            let stored = match value {
                Value::Bool(value) => Stored::Bool(*value),
                Value::Number(value) => Stored::Int(value.as_i64().expect("an id")),
                Value::String(value) => Stored::Text(value.clone()),
                other => Stored::Json(other.to_string()),
            };
            row = row.set(name, stored).expect("a field");
        }
        let id = record["client_id"].as_i64().expect("an id");
        let insert = Mutation::Insert { collection: self.clients.id(), row: row.build() };
        self.clients.storage().apply(vec![insert]).await.expect("stored");
        self.clients.by_id(id).await.expect("a store").expect("just stored")
    }

    pub async fn revoke(&self, id: i64) {
        let client = self.clients.by_id(id).await.expect("a store").expect("a client");
        self.clients.revoke(&client).await.expect("revoked");
    }

    pub fn break_storage(&self, broken: bool) {
        self.backend.database_down.store(broken, SeqCst);
        self.backend.history_down.store(broken, SeqCst);
    }
}

/// Keeps what the agent is told.
#[derive(Debug, Default)]
pub struct Recorder {
    away: AtomicBool,
    heard: Mutex<Vec<String>>,
}

impl Recorder {
    pub fn go_away(&self) {
        self.away.store(true, SeqCst);
    }

    pub fn texts(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().expect("a lock"))
    }

    pub fn heard(&self) -> Vec<Value> {
        self.texts().iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }
}

impl Agent for Recorder {
    fn start(self: Arc<Self>, _hub: Weak<Hub>) {}

    fn send(&self, message: String) -> Result<(), Unavailable> {
        if !self.is_up() {
            return Err(Unavailable("OVOS messagebus is not connected"));
        }
        self.heard.lock().expect("a lock").push(message);
        Ok(())
    }

    fn is_up(&self) -> bool {
        !self.away.load(SeqCst)
    }
}

/// A satellite whose session is up, without the network between.
pub struct Satellite {
    pub seat: Seat,
    pub inbox: Inbox,
    pub closed: Option<Close>,
}

impl Satellite {
    pub fn join(hub: &Arc<Hub>, arrival: Arrival) -> Self {
        let (outbox, inbox) = outbox(1 << 20);
        Self { seat: hub.join(arrival, outbox), inbox, closed: None }
    }

    pub async fn send(&mut self, message: &Value) {
        self.say(&message.to_string()).await;
    }

    pub async fn say(&mut self, text: &str) {
        if let Err(close) = self.seat.receive(Message::Json(text)).await {
            self.closed = Some(close);
        }
    }

    pub fn texts(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(item) = self.inbox.try_next() {
            match item {
                Item::Json(body) => texts.push(String::from_utf8(body.to_vec()).expect("UTF-8")),
                Item::Close(close) => self.closed = Some(close),
            }
        }
        texts
    }

    pub fn heard(&mut self) -> Vec<Value> {
        self.texts().iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }
}

//! What an operator has: a home with a configuration, a storage with clients in it, a messagebus. Either node runs on it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use super::running::{Make, Node};
use super::{Bus, PASSWORD, UTTERANCE};
use crate::ports;
use crate::program::Operator;
use crate::redis::Server;
use crate::together::place::{JSON, REDIS, SQLITE};

/// What keeps the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A database in a file.
    Sqlite,
    /// A file.
    Json,
    /// A server that has synced what it acknowledges.
    Redis,
    /// Nothing but memory, filled from a seed. The Python node has none such.
    Memory,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sqlite, Self::Json, Self::Redis, Self::Memory];

    const fn module(self) -> &'static str {
        match self {
            Self::Sqlite => SQLITE,
            Self::Json => JSON,
            Self::Redis => REDIS,
            Self::Memory => "hivemind-memory-db-plugin",
        }
    }
}

/// A client as it is registered.
#[derive(Debug, Clone)]
pub struct Client {
    /// The access key.
    pub key: String,
    /// The password.
    pub password: String,
    /// The whitelist.
    pub allowed: Vec<String>,
    /// Its metadata.
    pub metadata: Value,
    /// Whether it is an administrator.
    pub is_admin: bool,
}

impl Client {
    /// One of this access key, with [`PASSWORD`], who may send utterances.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            password: PASSWORD.to_owned(),
            allowed: vec![UTTERANCE.to_owned()],
            metadata: json!({}),
            is_admin: false,
        }
    }

    /// The same with another password, as it has or as it gives.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// The same who may send this too.
    #[must_use]
    pub fn allowed(mut self, kind: &str) -> Self {
        self.allowed.push(kind.to_owned());
        self
    }

    /// The same with this metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Value) -> Self {
        self.metadata = metadata;
        self
    }

    fn record(&self, id: usize) -> Value {
        json!({
            "client_id": id, "api_key": self.key, "name": self.key, "description": "", "is_admin": self.is_admin, "last_seen": -1,
            "allowed_types": self.allowed, "password": self.password, "can_broadcast": true, "can_escalate": true,
            "can_propagate": true, "metadata": self.metadata,
        })
    }
}

/// A home, a storage, a bus.
pub struct Site {
    /// What keeps the clients.
    pub backend: Backend,
    operator: Operator,
    redis: Option<Server>,
    bus: Bus,
    port: u16,
    metrics: u16,
    config: Mutex<Value>,
    logs: AtomicUsize,
}

impl Deref for Site {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

impl Site {
    /// One with these clients, with ids from 1.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn new(backend: Backend, clients: &[Client]) -> Self {
        let operator = Operator::new();
        let (bus, port, metrics) = (Bus::start(), ports::free(), ports::free());
        let redis = (backend == Backend::Redis).then(|| Server::durable(&[]));
        let mut settings = json!({"name": "clients", "subfolder": "hivemind-core"});
        if let Some(server) = &redis {
            settings = json!({"host": "127.0.0.1", "port": server.port()});
        }
        if backend == Backend::Memory {
            let records = clients.iter().enumerate().map(|(n, client)| ((n + 1).to_string(), client.record(n + 1)));
            let seed = Value::Object(records.collect::<Map<_, _>>());
            settings = json!({"seed": operator.write("seed.json", seed.to_string().as_bytes())});
        }
        let module = backend.module();
        let config = json!({
            "database": {"module": module, module: settings},
            "agent_protocol": {
                "module": "hivemind-ovos-agent-plugin",
                "hivemind-ovos-agent-plugin": {"host": "127.0.0.1", "port": bus.port()},
            },
            "network_protocol": {"hivemind-websocket-plugin": {"host": "127.0.0.1", "port": port, "ssl": false}},
            "presence": {"enabled": false},
            "hivemind-host": {"metrics": metrics},
        });
        operator.configure(&config);
        let site = Self { backend, operator, redis, bus, port, metrics, config: Mutex::new(config), logs: AtomicUsize::new(0) };
        if backend != Backend::Memory {
            clients.iter().for_each(|client| site.add(client));
        }
        site
    }

    /// Adds a client as an operator does.
    ///
    /// # Panics
    /// If that fails.
    pub fn add(&self, client: &Client) {
        self.add_with(client, &[]);
    }

    /// The same with more options.
    ///
    /// # Panics
    /// If that fails.
    pub fn add_with(&self, client: &Client, options: &[&str]) {
        let metadata = client.metadata.to_string();
        let mut words = vec!["add-client", "--name", &client.key, "--access-key", &client.key, "--password", &client.password];
        words.extend(["--metadata", &metadata, "--allow-weak-password"]);
        client.allowed.iter().for_each(|kind| words.extend(["--allow", kind]));
        words.extend(options);
        if client.is_admin {
            words.extend(["--admin", "true"]);
        }
        self.run(&words).well();
    }

    /// Changes server.json.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut config = self.config.lock().expect("not poisoned");
        change(&mut config);
        self.configure(&config);
    }

    /// Starts a node on it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(&self, make: Make) -> Node {
        self.start_with(make, &[], |_| {})
    }

    /// The same with these options, and something in its environment.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(&self, make: Make, words: &[&str], prepare: impl FnOnce(&mut Command)) -> Node {
        Node::start(self, make, words, prepare)
    }

    /// The port of its node.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What our node measures, as it serves it.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.ask_for("/metrics")
    }

    /// How our node says that it is, as of the last second: `status` is `ok` or `degraded`.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn health(&self) -> Value {
        let answer = self.ask_for("/_healthz");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
    }

    fn ask_for(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).expect("it serves metrics");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// Its messagebus.
    #[must_use]
    pub const fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Its Redis server.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub const fn redis(&self) -> &Server {
        self.redis.as_ref().expect("a site on Redis")
    }

    /// The folder of the node's identity.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.home().join("config/hivemind")
    }

    pub(super) fn new_log(&self) -> PathBuf {
        self.home().join(format!("node-{}.log", self.logs.fetch_add(1, Ordering::Relaxed)))
    }
}

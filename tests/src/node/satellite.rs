//! Stock HiveMind satellites: the unmodified client of `hivemind_bus_client`, in a process that is told what to do line by line.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::site::{Client, Site};
use crate::python::{Peer, venv};
use crate::root;

/// How connecting went, as the satellite sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its session is up, after a handshake of this pattern.
    Up(String),
    /// It gave up for ever, and why.
    Refused(String),
    /// The connection ended with this code and reason, and it will try again.
    Ended(Option<u64>, String),
}

impl From<&Value> for Outcome {
    fn from(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        match value["outcome"].as_str() {
            Some("up") => Self::Up(text("pattern")),
            Some("refused") => Self::Refused(text("reason")),
            Some("ended") => Self::Ended(value["code"].as_u64(), text("reason")),
            _ => panic!("{value}"),
        }
    }
}

/// A process with satellites in it, each by a name. It is started when it is first needed.
pub struct Satellites {
    peer: Option<Peer>,
    home: PathBuf,
    port: u16,
}

impl Satellites {
    /// None yet. They keep their identities below the site's home.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        Self::beside(site, "satellites")
    }

    /// None yet, in a process of their own beside others.
    #[must_use]
    pub fn beside(site: &Site, folder: &str) -> Self {
        Self { peer: None, home: site.home().join(folder), port: site.port() }
    }

    fn peer(&mut self) -> &mut Peer {
        self.peer.get_or_insert_with(|| {
            std::fs::create_dir_all(&self.home).expect("a folder");
            let (log, rsa) = (self.home.join("log"), self.home.join("rsa.pem"));
            std::fs::write(&rsa, rsa_key()).expect("written");
            let mut command = Command::new(venv().join("bin/python"));
            command.arg(root().join("tests/python/satellite.py")).env("SATELLITE_RSA_KEY", rsa);
            command.stderr(Stdio::from(std::fs::File::create(log).expect("a log")));
            Peer::of(command, &self.home)
        })
    }

    fn identities(&self) -> PathBuf {
        self.home.join("identities")
    }

    /// Asks for anything; see `tests/python/satellite.py`.
    ///
    /// # Panics
    /// If the answer is an error.
    pub fn ask(&mut self, name: &str, op: &str, members: &Value) -> Value {
        self.try_ask(name, op, members).unwrap_or_else(|e| panic!("{name}: {op} {members}: {e}"))
    }

    /// The same where an error is possible.
    ///
    /// # Errors
    /// What Python said.
    pub fn try_ask(&mut self, name: &str, op: &str, members: &Value) -> Result<Value, String> {
        self.peer().try_ask(&request(name, op, members))
    }

    /// Connects a client's device of this name: it keeps its identity folder whenever it connects again.
    pub fn connect(&mut self, name: &str, client: &Client) -> Outcome {
        self.connect_with(name, client, &json!({}))
    }

    /// The same with members of the request changed.
    pub fn connect_with(&mut self, name: &str, client: &Client, changes: &Value) -> Outcome {
        let request = self.connecting(name, client, changes);
        Outcome::from(&self.ask(name, "connect", &request))
    }

    /// Begins to connect without waiting for what comes of it; [`Satellites::outcome`] does.
    pub fn begin(&mut self, name: &str, client: &Client) {
        let members = self.connecting(name, client, &json!({}));
        self.peer().tell(&request(name, "connect", &members));
    }

    /// What came of [`Satellites::begin`].
    ///
    /// # Panics
    /// If nothing did.
    pub fn outcome(&mut self) -> Outcome {
        Outcome::from(&self.peer().answer().unwrap_or_else(|e| panic!("{e}")))
    }

    /// Connects and expects a session.
    ///
    /// # Panics
    /// If there is none.
    pub fn up(&mut self, name: &str, client: &Client) {
        let outcome = self.connect(name, client);
        assert!(matches!(outcome, Outcome::Up(_)), "{name}: {outcome:?}");
    }

    /// Connects many at once, pairs of access key and password, each with an identity of its own in which these keys are known already:
    /// node's id to what is derived from the password. How it went for each.
    ///
    /// # Panics
    /// If one neither connects nor is refused.
    pub fn swarm(&mut self, clients: &[Value], psks: &Value) -> Vec<String> {
        let mut members = self.connecting("", &Client::new(""), &json!({"clients": clients, "psks": psks}));
        members["identity"] = json!(self.identities());
        let outcomes = self.ask("", "swarm", &members);
        outcomes.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    }

    /// Takes away what a device has derived from its password: it goes by that, whatever password it is given.
    ///
    /// # Panics
    /// If it has derived nothing.
    pub fn forget_password(&self, name: &str) {
        std::fs::remove_file(self.identities().join(name).join("unnamed-node_noise_psks.json")).expect("it has a cache");
    }

    fn connecting(&self, name: &str, client: &Client, changes: &Value) -> Value {
        let mut members = json!({
            "host": "127.0.0.1", "port": self.port, "key": client.key, "password": client.password,
            "identity": self.identities().join(name), "useragent": name,
        });
        merge(&mut members, changes);
        members
    }

    /// Sends a bus message.
    pub fn send(&mut self, name: &str, kind: &str, data: &Value) {
        self.ask(name, "send", &json!({"type": kind, "data": data}));
    }

    /// Waits for a bus message of a type; the whole envelope.
    pub fn wait(&mut self, name: &str, kind: &str) -> Value {
        self.ask(name, "wait", &json!({"type": kind}))
    }

    /// Sends a bus message that is denied; gives the denial's data.
    pub fn denied(&mut self, name: &str, kind: &str) -> Value {
        self.send(name, kind, &json!({}));
        self.wait(name, "hive.policy.denied")["payload"]["data"].take()
    }

    /// The next end of a connection: its code, if one was given, and reason.
    pub fn end(&mut self, name: &str) -> (Option<u64>, String) {
        let end = self.ask(name, "end", &json!({}));
        (end["code"].as_u64(), end["reason"].as_str().unwrap_or_default().to_owned())
    }

    /// What they have logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Every envelope that was not waited for.
    pub fn heard(&mut self, name: &str) -> Vec<Value> {
        match self.ask(name, "heard", &json!({})) {
            Value::Array(all) => all,
            other => panic!("{other}"),
        }
    }
}

/// A key that all satellites share: each would take seconds to make its own, and nothing here goes by it.
fn rsa_key() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = openssl::rsa::Rsa::generate(2048).and_then(|key| key.private_key_to_pem());
        key.expect("a key")
    })
}

fn request(name: &str, op: &str, members: &Value) -> Value {
    let mut request = json!({"op": op, "as": name});
    merge(&mut request, members);
    request
}

fn merge(into: &mut Value, from: &Value) {
    let empty = Map::new();
    for (name, value) in from.as_object().unwrap_or(&empty) {
        into[name] = value.clone();
    }
}

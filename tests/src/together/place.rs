//! A store that several programs work on, whatever keeps it: files below the operator's home, or a server.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::program::Operator;
use crate::python::Peer;
use crate::redis::sync::{Writers, repairs};
use crate::redis::{Deployment, Kind};

/// The Python node's names of the modules, which are ours too.
pub const SQLITE: &str = "hivemind-sqlite-db-plugin";
/// See [`SQLITE`].
pub const JSON: &str = "hivemind-json-db-plugin";
/// See [`SQLITE`].
pub const REDIS: &str = "hivemind-redis-db-plugin";

/// The namespace on a server: the Python node's own default.
const PREFIX: &str = "client";

/// A store and an operator who has it configured.
pub struct Place {
    /// The module that keeps it.
    pub module: &'static str,
    operator: Operator,
    deployment: Option<Deployment>,
}

impl Deref for Place {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

impl Place {
    /// An empty store of this module; on Redis one server.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn new(module: &'static str) -> Self {
        if module == REDIS {
            return Self::on(Kind::Single);
        }
        Self { module, operator: Operator::with_module(module), deployment: None }
    }

    /// An empty store on Redis, run in this way.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn on(kind: Kind) -> Self {
        let (operator, deployment) = (Operator::new(), Deployment::start(kind, &[]));
        operator.configure(&json!({"database": {"module": REDIS, REDIS: deployment.settings(PREFIX)}}));
        Self { module: REDIS, operator, deployment: Some(deployment) }
    }

    /// The servers, if it is on Redis.
    #[must_use]
    pub const fn deployment(&self) -> Option<&Deployment> {
        self.deployment.as_ref()
    }

    /// Whether the Python node leaves the rest of a client as it is when it revokes it.
    #[must_use]
    pub fn keeps_what_is_revoked(&self) -> bool {
        self.module == REDIS
    }

    fn settings(&self) -> Map<String, Value> {
        self.deployment.as_ref().map(|deployment| deployment.settings(PREFIX)).unwrap_or_default()
    }

    /// A process of ours that has it open; `program` is `store-worker`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn worker(&self, program: &Path) -> Peer {
        let mut command = Command::new(program);
        command.arg(crate::build::shipped_plugins()).arg(self.module).arg(self.home().join("data"));
        command.arg(Value::Object(self.settings()).to_string());
        Peer::of(command, self.home())
    }

    /// A Python process that has it open with the node's own plugin.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn python(&self) -> Peer {
        let mut peer = Peer::start(self.home());
        match &self.deployment {
            Some(deployment) => crate::redis::sync::open(deployment, PREFIX, &mut peer),
            None => {
                let kind = if self.module == SQLITE { "sqlite" } else { "json" };
                peer.ask(&json!({"op": "open", "kind": kind}));
            }
        }
        peer
    }

    /// All clients as Python's plugin lists them to a process that opens the store anew.
    ///
    /// # Panics
    /// If it does not list them.
    #[must_use]
    pub fn python_lists(&self) -> Vec<Value> {
        match self.python().ask(&json!({"op": "list"})) {
            Value::Array(clients) => clients,
            other => panic!("a list, not {other}"),
        }
    }

    /// What Python's `sync()` finds to repair; nothing where there is nothing that it repairs.
    ///
    /// # Panics
    /// If Python does not answer.
    #[must_use]
    pub fn repairs(&self, writers: Writers) -> Vec<String> {
        let repairs = |deployment| repairs(deployment, PREFIX, writers, &mut Peer::start(self.home()));
        self.deployment.as_ref().map(repairs).unwrap_or_default()
    }
}

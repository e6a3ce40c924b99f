//! Redis for the harness that kills processes: ours that write, and now and then the server too.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::sync::{Writers, repairs};
use super::{Deployment, Kind, legacy};
use crate::build;
use crate::faults::site::{Age, Backend, Opening, Site};
use crate::python::Peer;

/// The Python node's own namespace.
const PREFIX: &str = "client";
/// Of so many cuts one takes the server with it.
const SERVER_DIES: u64 = 3;

/// A server that has synced what it acknowledges, and another one for each store.
#[derive(Debug, Clone, Copy)]
pub struct DurableServer;

impl Backend for DurableServer {
    fn name(&self) -> &str {
        "redis"
    }

    fn fresh(&self, age: Age) -> io::Result<Box<dyn Site>> {
        let home = tempfile::Builder::new().prefix("hivemind-faults-").tempdir()?;
        std::fs::create_dir_all(home.path().join("tmp"))?;
        let deployment = Deployment::start(Kind::Single, &["appendonly yes", "appendfsync always"]);
        if age != Age::New {
            legacy::write(&deployment, PREFIX, &home.path().join("legacy"))?;
        }
        Ok(Box::new(OnServer { home, deployment, cuts: 0 }))
    }

    fn legacy_shapes(&self) -> usize {
        1
    }

    fn calls(&self) -> &[&str] {
        &["sendto", "sendto", "recvfrom", "connect", "poll"]
    }

    fn maintenance(&self) -> &[&str] {
        &["sync", "verify"]
    }

    fn python_kind(&self) -> Option<&str> {
        Some("redis")
    }
}

struct OnServer {
    home: tempfile::TempDir,
    deployment: Deployment,
    cuts: u64,
}

impl Site for OnServer {
    fn opening(&self) -> Opening {
        Opening {
            plugins: vec![build::shipped_plugins()],
            module: "redis".to_owned(),
            settings: self.deployment.settings(PREFIX),
            data_dir: self.home.path().join("data"),
        }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn python_settings(&self) -> Map<String, Value> {
        self.deployment.python_settings(PREFIX)
    }

    fn repairs(&self) -> Vec<String> {
        // What a legacy node left behind is not ours to be blamed for.
        repairs(&self.deployment, PREFIX, Writers::Both, &mut Peer::start(self.home()))
    }

    fn recover(&mut self) -> io::Result<()> {
        self.cuts += 1;
        if self.cuts.is_multiple_of(SERVER_DIES) {
            self.deployment.masters()[0].kill();
            self.deployment.masters()[0].restart();
        }
        Ok(())
    }

    /// The server ends with this; what it held is written down.
    fn keep(&mut self) -> PathBuf {
        let lines = self.deployment.dump("").0.into_iter().map(|(key, stored)| format!("{key}: {stored}\n"));
        let _ = std::fs::write(self.home.path().join("keys.txt"), lines.collect::<String>());
        self.home.disable_cleanup(true);
        self.home.path().to_owned()
    }
}

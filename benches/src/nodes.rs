//! Whole nodes, the Python one and ours, each on a home of its own with the same clients and the same identity.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hivemind_load::Identity;
use hivemind_model::{Context, Mutation, Row, Value};
use hivemind_protocol::{Psk, StaticKey, psk_binding};
use hivemind_tests::python::{isolate, venv};
use serde_json::json;

use crate::{Failure, clients, machine, ours};

/// What all clients of these benches have for a password.
const PASSWORD: &str = "kettle-orbit-mango-29-lantern";
/// What they may send.
pub(crate) const ALLOWED: &str = "recognizer_loop:utterance";
/// How long a node may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Python,
    Ours,
}

impl Make {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Python => "the Python node",
            Self::Ours => "this node",
        }
    }
}

/// A home with a configuration, an identity and clients, for one node.
pub(crate) struct Home {
    folder: PathBuf,
    address: SocketAddr,
}

/// What all satellites share: their Noise key, what was derived from their password, and the node's key.
#[derive(Clone)]
pub(crate) struct Keys {
    key: StaticKey,
    psk: Psk,
    node: [u8; 32],
}

impl Keys {
    /// Satellites with these numbers, which have met the node or have not.
    pub(crate) fn satellites(&self, numbers: std::ops::Range<u64>, have_met: bool) -> Vec<Identity> {
        let identity = |number| Identity {
            access_key: clients::key(number),
            key: self.key.clone(),
            psk: self.psk.clone(),
            node: have_met.then_some(self.node),
        };
        numbers.map(identity).collect()
    }
}

impl Home {
    /// A home whose node finds the messagebus on this port.
    pub(crate) fn new(folder: PathBuf, bus: u16) -> Result<Self, Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = json!({
            "database": {
                "module": "hivemind-sqlite-db-plugin",
                "hivemind-sqlite-db-plugin": {"name": "clients", "subfolder": "hivemind-core"},
            },
            "agent_protocol": {
                "module": "hivemind-ovos-agent-plugin",
                "hivemind-ovos-agent-plugin": {"host": "127.0.0.1", "port": bus},
            },
            "network_protocol": {"hivemind-websocket-plugin": {"host": "127.0.0.1", "port": port, "ssl": false}},
            "presence": {"enabled": false},
        });
        let file = folder.join("config/hivemind-core/server.json");
        std::fs::create_dir_all(file.parent().ok_or("no folder")?)?;
        write_private(&file, &config.to_string())?;
        Ok(Self { folder, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    /// Lets the Python node make an identity here, and gives it the Noise key that it would make with the first satellite.
    pub(crate) fn identify(&self) -> Result<(), Failure> {
        Node::start(self, Make::Python)?;
        let key = StaticKey::generate()?;
        write_private(&self.identity().join("unnamed-node_noise.key"), &key.to_hex())
    }

    /// Takes the identity of another home.
    pub(crate) fn identify_as(&self, other: &Self) -> Result<(), Failure> {
        let done = Command::new("cp").arg("-a").args([other.identity(), self.identity()]).status()?;
        if done.success() { Ok(()) } else { Err("the identity was not copied".into()) }
    }

    /// Fills the store with so many clients that are known to the node as if each had been there once.
    pub(crate) fn fill(&self, clients: u64) -> Result<Keys, Failure> {
        let identity: serde_json::Value = serde_json::from_slice(&std::fs::read(self.identity().join("_identity.json"))?)?;
        let node_id = identity["public_key"].as_str().ok_or("an identity without public_key")?;
        let key = std::fs::read_to_string(self.identity().join("unnamed-node_noise.key"))?;
        let node = StaticKey::from_hex(&key).ok_or("a broken Noise key")?.public();
        // The same for both nodes.
        let key = StaticKey::from_hex(&"5a".repeat(32)).ok_or("64 digits")?;
        let keys = Keys { psk: Psk::derive(PASSWORD, node_id), key, node };
        let backend = ours::load("sqlite", &self.data())?;
        let cx = Context::unbounded();
        let collection = hivemind_store::clients::collection();
        let id = backend.prepare(&cx, std::slice::from_ref(&collection))?[0];
        let metadata = json!({
            "noise_psk": keys.psk.to_hex().as_str(),
            "noise_psk_for": psk_binding(node_id, PASSWORD),
            "noise_pubkey": hex(&keys.key.public()),
        });
        let insert = |number| -> hivemind_model::Result<Mutation> {
            let row = Row::builder(&collection)
                .set("name", format!("satellite {number}"))?
                .set("api_key", clients::key(number))?
                .set("password", PASSWORD)?
                .set("allowed_types", Value::Json(json!([ALLOWED]).to_string()))?
                .set("metadata", Value::Json(metadata.to_string()))?
                .build();
            Ok(Mutation::InsertNext { collection: id, row })
        };
        let mutations: Result<Vec<_>, _> = (0..clients).map(insert).collect();
        backend.apply(&cx, &mutations?)?;
        backend.close(&cx)?;
        Ok(keys)
    }

    /// Where its node listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of the data files.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn identity(&self) -> PathBuf {
        self.folder.join("config/hivemind")
    }
}

/// A node that runs, killed when this goes.
pub(crate) struct Node {
    child: Child,
}

impl Node {
    /// Starts one and waits until it takes connections.
    pub(crate) fn start(home: &Home, make: Make) -> Result<Self, Failure> {
        let mut command = match make {
            Make::Python => Command::new(venv().join("bin/hivemind-core")),
            Make::Ours => {
                let folder = machine::exe_folder()?;
                let mut command = Command::new(folder.join("hivemind-host"));
                command.arg("--plugins-dir").arg(folder.join("plugins"));
                command
            }
        };
        command.arg("listen").current_dir(&home.folder);
        isolate(&mut command, &home.folder);
        let log = home.folder.join("log");
        let output = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut node = Self { child: command.spawn()? };
        let end = Instant::now() + PATIENCE;
        while let Err(error) = TcpStream::connect(home.address) {
            if let Some(status) = node.child.try_wait()? {
                return Err(format!("{} ended with {status}: {}", make.name(), std::fs::read_to_string(&log)?).into());
            }
            if error.kind() != ErrorKind::ConnectionRefused || Instant::now() > end {
                return Err(format!("{} does not listen: {error}", make.name()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(node)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_private(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text)?;
    hivemind_tests::set_mode(file, 0o600);
    Ok(())
}

//! A backend as the harness needs it: how a store is made, how a new process opens it, which files it has.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::faults::model::Records;
use crate::{build, python, root};

/// What a store is before the first process opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Not there.
    New,
    /// As an old Python node left it, in the shape of this number; see [`Backend::legacy_shapes`].
    Legacy(usize),
}

/// How a process opens a store.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where the plugins are.
    pub plugins: Vec<PathBuf>,
    /// The module to load.
    pub module: String,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// The operator's data directory.
    pub data_dir: PathBuf,
}

/// A storage engine that can be broken.
pub trait Backend: Sync {
    /// What to call it.
    fn name(&self) -> &str;

    /// A new store, not yet opened by anybody.
    ///
    /// # Errors
    /// The system's.
    fn fresh(&self, age: Age) -> io::Result<Box<dyn Site>>;

    /// How many shapes of legacy stores it must migrate.
    fn legacy_shapes(&self) -> usize;

    /// The system calls between whose calls a write can be cut.
    fn calls(&self) -> &[&str];

    /// The maintenance that a worker does beside its writers.
    fn maintenance(&self) -> &[&str];

    /// What `tests/python/peer.py` calls a store of this kind, if the Python node can read it.
    fn python_kind(&self) -> Option<&str>;
}

/// One store.
pub trait Site: Send {
    /// How to open it.
    fn opening(&self) -> Opening;

    /// The home of every process that works on it: its temporary folder is below.
    fn home(&self) -> &Path;

    /// The files that a disk holds of it, there or not.
    fn files(&self) -> Vec<PathBuf>;

    /// Brings back what a cut took with it, such as a server. Nothing, where the store is files.
    ///
    /// # Errors
    /// What did not come back.
    fn recover(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What the Python node's plugin must be told to find the store, beyond the home it runs in.
    fn python_settings(&self) -> Map<String, Value> {
        Map::new()
    }

    /// What the Python node finds to repair.
    fn repairs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Leaves the store where it is when this goes, and tells where.
    fn keep(&mut self) -> PathBuf;
}

/// The shipped backends that keep files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// `clients.db`.
    Sqlite,
    /// The same, encrypted.
    SqliteEncrypted,
    /// `clients.json` and its neighbours.
    Json,
    /// `clients.ejson` and its neighbours.
    JsonEncrypted,
    /// The vendor's example.
    Ledger,
    /// The vendor's example gone wrong: it writes batches in parts.
    Tearing,
}

/// Of encrypted stores: as long as the Python node's JSON plugin wants it.
const PASSWORD: &str = "0123456789abcdef";

impl Files {
    /// Those that ship with the host.
    pub const SHIPPED: [Self; 2] = [Self::Sqlite, Self::Json];

    const fn shapes(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &["sqlite", "sqlite-oldest"],
            Self::Json => &["json"],
            Self::SqliteEncrypted | Self::JsonEncrypted | Self::Ledger | Self::Tearing => &[],
        }
    }

    const fn is_encrypted(self) -> bool {
        matches!(self, Self::SqliteEncrypted | Self::JsonEncrypted)
    }

    /// The module that opens it.
    const fn module(self) -> &'static str {
        match self {
            Self::Sqlite | Self::SqliteEncrypted => "sqlite",
            Self::Json | Self::JsonEncrypted => "json",
            Self::Ledger => "ledger",
            Self::Tearing => "tearing",
        }
    }
}

impl Backend for Files {
    fn name(&self) -> &str {
        match self {
            Self::SqliteEncrypted => "sqlite-encrypted",
            Self::JsonEncrypted => "json-encrypted",
            other => other.module(),
        }
    }

    fn fresh(&self, age: Age) -> io::Result<Box<dyn Site>> {
        let site =
            Folder { home: Home::Temporary(tempfile::Builder::new().prefix("hivemind-faults-").tempdir()?), backend: *self };
        std::fs::create_dir_all(site.home().join("tmp"))?;
        if let Age::Legacy(shape) = age {
            let shape = self.shapes()[shape % self.shapes().len()];
            let python = python::venv().join("bin/python");
            let status = Command::new(python).arg(root().join("tests/python/legacy.py")).arg(shape).arg(site.data()).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("legacy.py {shape}: {status}")));
            }
        }
        Ok(Box::new(site))
    }

    fn legacy_shapes(&self) -> usize {
        self.shapes().len()
    }

    fn calls(&self) -> &[&str] {
        match self {
            Self::Sqlite | Self::SqliteEncrypted => {
                &["pwrite64", "pwrite64", "fsync", "fdatasync", "ftruncate", "unlink", "write", "openat", "fcntl"]
            }
            Self::Json | Self::JsonEncrypted => &["write", "fsync", "rename", "unlink", "openat", "flock"],
            Self::Ledger | Self::Tearing => &["write", "fdatasync"],
        }
    }

    fn maintenance(&self) -> &[&str] {
        match self {
            Self::Sqlite | Self::SqliteEncrypted => &["checkpoint", "vacuum", "sync", "verify"],
            Self::Json | Self::JsonEncrypted => &["sync", "verify"],
            Self::Ledger | Self::Tearing => &[],
        }
    }

    fn python_kind(&self) -> Option<&str> {
        matches!(self.module(), "sqlite" | "json").then(|| self.module())
    }
}

enum Home {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

/// A store in a folder of its own, laid out as the Python node does it.
struct Folder {
    home: Home,
    backend: Files,
}

impl Folder {
    fn data(&self) -> PathBuf {
        self.home().join("data/hivemind-core")
    }
}

impl Site for Folder {
    fn opening(&self) -> Opening {
        let mut settings = Map::new();
        let plugins = match self.backend {
            Files::Sqlite | Files::SqliteEncrypted | Files::Json | Files::JsonEncrypted => build::shipped_plugins(),
            Files::Ledger => build::vendor_plugins(),
            Files::Tearing => build::tearing_plugin(),
        };
        if matches!(self.backend, Files::Ledger | Files::Tearing) {
            settings.insert("file".to_owned(), self.data().join("clients.ledger").display().to_string().into());
        }
        if self.backend.is_encrypted() {
            settings.insert("password".to_owned(), PASSWORD.into());
        }
        Opening { plugins: vec![plugins], module: self.backend.module().to_owned(), settings, data_dir: self.home().join("data") }
    }

    fn home(&self) -> &Path {
        match &self.home {
            Home::Temporary(folder) => folder.path(),
            Home::Kept(path) => path,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let names: &[&str] = match self.backend {
            Files::Sqlite | Files::SqliteEncrypted => &["clients.db", "clients.db-wal", "clients.db-shm"],
            Files::Json => &["clients.json", "notes.json", "clients.journal", "clients.schema_version", "notes.schema_version"],
            Files::JsonEncrypted => {
                &["clients.ejson", "notes.ejson", "clients.ejournal", "clients.schema_version", "notes.schema_version"]
            }
            Files::Ledger | Files::Tearing => &["clients.ledger"],
        };
        names.iter().map(|name| self.data().join(name)).collect()
    }

    fn python_settings(&self) -> Map<String, Value> {
        self.opening().settings.into_iter().filter(|(name, _)| name == "password").collect()
    }

    fn keep(&mut self) -> PathBuf {
        if let Home::Temporary(folder) = &mut self.home {
            folder.disable_cleanup(true);
            self.home = Home::Kept(folder.path().to_owned());
        }
        self.home().to_owned()
    }
}

/// Checks that the Python node reads the same clients.
///
/// # Errors
/// What differs.
pub fn check_with_python(site: &dyn Site, kind: &str, expected: &Records) -> Result<(), String> {
    let mut peer = python::Peer::start(site.home());
    let ask = |peer: &mut python::Peer, request| peer.try_ask(&request).map_err(|e| format!("the Python node: {e}"));
    let mut open = site.python_settings();
    open.extend([("op".to_owned(), "open".into()), ("kind".to_owned(), kind.into())]);
    ask(&mut peer, Value::Object(open))?;
    let Value::Array(found) = ask(&mut peer, serde_json::json!({"op": "list"}))? else { return Err("no list".to_owned()) };
    let records = found.into_iter().map(|mut client| {
        // Written as -1 by one program and as -1.0 by the other.
        if let Some(seen) = client["last_seen"].as_f64() {
            client["last_seen"] = seen.into();
        }
        (("clients".to_owned(), client["client_id"].to_string()), client)
    });
    let found: Records = records.collect();
    let expected: Records = expected.iter().filter(|((c, _), _)| c == "clients").map(|(k, v)| (k.clone(), v.clone())).collect();
    if found != expected {
        return Err(format!("the Python node: {}", super::model::difference(&expected, &found)));
    }
    match site.repairs() {
        repairs if repairs.is_empty() => Ok(()),
        repairs => Err(format!("the Python node repaired: {}", repairs.join("; "))),
    }
}

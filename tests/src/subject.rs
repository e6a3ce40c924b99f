//! The shipped backends and the vendor's example as subjects of the conformance kit: real libraries, loaded by the real loader, on real files.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use hivemind_conformance::pipe::Remote;
use hivemind_conformance::{Instance, Plant, Subject};
use hivemind_host::plugins::{Loader, OpenError, Plugin};
use hivemind_model::{Backend, Collection, Error, Key, Result};
use serde_json::{Map, Value, json};

use crate::{build, loader};

/// One of the shipped plugins, or the vendor's example (`ledger`).
pub struct Shipped {
    module: &'static str,
    password: Option<&'static str>,
    peer: PathBuf,
}

/// One loader for all stores: each maps a library once.
#[must_use]
pub fn shared() -> &'static Loader {
    static LOADER: OnceLock<Loader> = OnceLock::new();
    LOADER.get_or_init(|| loader(&[&build::shipped_plugins(), &build::vendor_plugins()], &std::env::temp_dir()))
}

impl Shipped {
    /// The plugin that answers to `module`; `peer` is the program `backend-peer`.
    #[must_use]
    pub fn new(module: &'static str, peer: &Path) -> Self {
        Self { module, password: None, peer: peer.to_owned() }
    }

    /// The same with its stores encrypted.
    #[must_use]
    pub const fn encrypted(mut self) -> Self {
        self.password = Some("it's a \"secret\"!");
        self
    }
}

impl Subject for Shipped {
    fn name(&self) -> String {
        let kind = if self.password.is_some() { "-encrypted" } else { "" };
        format!("{}{kind}", self.module)
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        let folder = tempfile::tempdir()?;
        let mut settings = Map::new();
        match self.module {
            "memory" => {}
            "ledger" => drop(settings.insert("file".to_owned(), json!(folder.path().join("clients.ledger")))),
            _ => drop(settings.insert("subfolder".to_owned(), json!(folder.path()))),
        }
        if let Some(password) = self.password {
            settings.insert("password".to_owned(), json!(password));
        }
        if self.module == "json" {
            // All stores of one name share a lock, and the tests run side by side.
            settings.insert("lock_timeout_ms".to_owned(), json!(120_000));
        }
        let (module, password) = (self.module, self.password);
        Ok(Box::new(Store { module, password, handles: Handles::new(module, settings, self.peer.clone()), folder }))
    }
}

struct Store {
    module: &'static str,
    password: Option<&'static str>,
    handles: Handles,
    folder: tempfile::TempDir,
}

impl Store {
    /// Whether several handles may work on it at once.
    fn shares(&self) -> bool {
        matches!(self.module, "json" | "sqlite")
    }
}

pub(crate) fn failed(error: impl std::fmt::Display) -> Error {
    Error::io(error.to_string())
}

/// How handles on one store are opened, whatever it lies in.
pub(crate) struct Handles {
    module: &'static str,
    settings: Map<String, Value>,
    /// The program `backend-peer`.
    peer: PathBuf,
    plugin: OnceLock<Plugin>,
}

impl Handles {
    pub(crate) const fn new(module: &'static str, settings: Map<String, Value>, peer: PathBuf) -> Self {
        Self { module, settings, peer, plugin: OnceLock::new() }
    }

    fn config(&self) -> String {
        Value::Object(self.settings.clone()).to_string()
    }

    /// A handle of the host's.
    pub(crate) fn open(&self) -> Result<Arc<dyn Backend>> {
        let opened = shared().open(self.module, &self.settings).map_err(|error| match error {
            OpenError::Backend { error, .. } => error,
            refused => failed(refused),
        })?;
        let _ = self.plugin.set(opened.plugin);
        Ok(opened.backend)
    }

    /// The host refuses a second handle on one store, so this one comes from the library itself: the same image, as is right.
    pub(crate) fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        let Some(plugin) = self.plugin.get() else { return Ok(None) };
        Ok(Some(Arc::new(plugin.open_bare(&self.config(), &std::env::temp_dir())?)))
    }

    /// A handle in another process.
    pub(crate) fn peer(&self) -> Result<Arc<dyn Backend>> {
        let mut child = Command::new(&self.peer)
            .arg(build::shipped_plugins())
            .arg(self.module)
            .arg(self.config())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(from), Some(to)) = (child.stdout.take(), child.stdin.take()) else { return Err(failed("no pipes")) };
        Ok(Arc::new(Remote::new(Owned { pipe: from, child }, to)?))
    }
}

impl Instance for Store {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        self.handles.open()
    }

    fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        if self.shares() { self.handles.beside() } else { Ok(None) }
    }

    fn peer(&self) -> Result<Option<Arc<dyn Backend>>> {
        if self.shares() { self.handles.peer().map(Some) } else { Ok(None) }
    }

    fn is_encrypted(&self) -> bool {
        self.password.is_some()
    }

    fn plant(&self, collection: &Collection, plant: &Plant) -> Result<bool> {
        match self.module {
            "sqlite" => {
                let file = self.folder.path().join("clients.db");
                plant_in_sqlite(&file, self.password, collection, plant).map_err(failed)?;
            }
            // Versions are in a file of their own, in plain.
            "json" if self.password.is_some() && !matches!(plant, Plant::Version(_)) => return Ok(false),
            "json" => plant_in_json(self.folder.path(), collection, plant)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A pipe that ends its process with it.
struct Owned {
    pipe: std::process::ChildStdout,
    child: Child,
}

impl std::io::Read for Owned {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.pipe.read(buffer)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plant_in_sqlite(file: &Path, password: Option<&str>, collection: &Collection, plant: &Plant) -> rusqlite::Result<()> {
    let db = rusqlite::Connection::open(file)?;
    if let Some(password) = password {
        db.pragma_update(None, "key", password)?;
    }
    match plant {
        Plant::Version(version) if collection.primary => db.pragma_update(None, "user_version", version),
        Plant::Version(version) => {
            db.execute("UPDATE hivemind_collections SET version = ?1 WHERE name = ?2", (version, &collection.name)).map(drop)
        }
        Plant::Set { key, name, json } => {
            let table = &collection.name;
            // It is there already in most cases.
            let _ = db.execute_batch(&format!("ALTER TABLE \"{table}\" ADD COLUMN \"{name}\""));
            let value = match serde_json::from_str::<Value>(json) {
                Ok(Value::Null) => rusqlite::types::Value::Null,
                Ok(Value::Bool(v)) => i64::from(v).into(),
                Ok(Value::Number(n)) => n.as_i64().map_or_else(|| n.as_f64().unwrap_or_default().into(), Into::into),
                // A text column would turn a number into text; only bytes stay something else in every column.
                Ok(Value::String(s)) => s.into(),
                _ => json.clone().into(),
            };
            let sql = format!("UPDATE \"{table}\" SET \"{name}\" = ?1 WHERE \"{}\" = ?2", collection.key_name());
            match key {
                Key::Int(key) => db.execute(&sql, (value, key)).map(drop),
                Key::Text(key) => db.execute(&sql, (value, key)).map(drop),
            }
        }
    }
}

fn plant_in_json(folder: &Path, collection: &Collection, plant: &Plant) -> Result<()> {
    let name = if collection.primary { "clients" } else { &collection.name };
    match plant {
        Plant::Version(version) => std::fs::write(folder.join(format!("{name}.schema_version")), version.to_string())?,
        Plant::Set { key, name: member, json } => {
            let file = folder.join(format!("{name}.json"));
            let mut all: Value = serde_json::from_slice(&std::fs::read(&file)?).map_err(failed)?;
            let key = match key {
                Key::Int(key) => key.to_string(),
                Key::Text(key) => key.clone(),
            };
            all[key][member] = serde_json::from_str(json).map_err(failed)?;
            std::fs::write(&file, serde_json::to_string_pretty(&all).map_err(failed)?)?;
        }
    }
    Ok(())
}

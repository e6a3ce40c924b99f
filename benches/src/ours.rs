//! The typed store over a backend: loaded from its library as the host does it, or linked in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};
use hivemind_model::{Backend, Context, Mutation, Row, Task, Value};
use hivemind_store::{Clients, Options, Storage};
use serde_json::Map;

use crate::Failure;
use crate::contest::Contestant;

/// Opens a backend as the host does. One handle serves all contestants: the host refuses a second one on the same store.
pub(crate) fn load(module: &str, data: &Path) -> Result<Arc<dyn Backend>, Failure> {
    let plugins: PathBuf = crate::exe_folder()?.join("plugins");
    let loader = Loader::new(SearchPath::only(&[plugins]), Lock::default(), data.to_owned());
    Ok(loader.open(module, &Map::new())?.backend)
}

fn clients(backend: Arc<dyn Backend>, cached: bool) -> Result<Clients, Failure> {
    let cached_clients = if cached { 1 << 21 } else { 0 };
    let storage = Storage::new(backend, Options { cached_clients, ..Options::default() });
    Ok(pollster::block_on(Clients::open(&storage))?)
}

/// Adds a client for each key, in batches.
fn add_all(backend: &dyn Backend, keys: &[String]) -> Result<(), Failure> {
    let cx = Context::unbounded();
    let collection = hivemind_store::clients::collection();
    let id = backend.prepare(&cx, std::slice::from_ref(&collection))?[0];
    let rows = keys.iter().enumerate().map(|(n, key)| {
        let metadata = format!(r#"{{"skill_blacklist": [], "room": "room {}", "noise_pubkey": "{}"}}"#, n % 30, key.repeat(2));
        let row = Row::builder(&collection)
            .set("api_key", key.as_str())?
            .set("name", format!("satellite {n}"))?
            .set("password", format!("password of {n} with some length"))?
            .set("allowed_types", Value::Json(r#"["recognizer_loop:utterance", "speak:b64_audio"]"#.to_owned()))?
            .set("metadata", Value::Json(metadata))?
            .build();
        Ok(Mutation::InsertNext { collection: id, row })
    });
    let mutations: hivemind_model::Result<Vec<_>> = rows.collect();
    for batch in mutations?.chunks(50_000) {
        backend.apply(&cx, batch)?;
    }
    Ok(())
}

/// Opens a store under `data` with a client for each key.
pub(crate) fn filled(module: &str, data: &Path, keys: &[String]) -> Result<Arc<dyn Backend>, Failure> {
    std::fs::create_dir_all(data)?;
    let backend = load(module, data)?;
    add_all(backend.as_ref(), keys)?;
    backend.maintain(&Context::unbounded(), &Task::Checkpoint).ok();
    Ok(backend)
}

/// The typed store over a loaded library.
pub(crate) struct Loaded {
    name: String,
    clients: Clients,
}

impl Loaded {
    /// The typed store over this backend, with the decoded cache or without.
    pub(crate) fn new(module: &str, backend: &Arc<dyn Backend>, cached: bool) -> Result<Self, Failure> {
        let name = format!("typed get through {module}'s library{}", if cached { ", cached" } else { "" });
        Ok(Self { name, clients: clients(Arc::clone(backend), cached)? })
    }
}

fn look_up(clients: &Clients, keys: &[&str]) -> Result<Duration, Failure> {
    let start = Instant::now();
    for key in keys {
        let client = pollster::block_on(clients.by_access_key(key))?.ok_or("a client is missing")?;
        std::hint::black_box(&client);
    }
    Ok(start.elapsed())
}

impl Contestant for Loaded {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn look_up(&mut self, keys: &[&str]) -> Result<Duration, Failure> {
        look_up(&self.clients, keys)
    }
}

/// The typed store over the memory engine linked into this program.
pub(crate) struct Linked {
    clients: Clients,
}

impl Linked {
    /// An engine with a client for each key.
    pub(crate) fn filled(keys: &[String], cached: bool) -> Result<Self, Failure> {
        let backend = hivemind_memory_plugin::backend::open("{}", hivemind_abi::Host::detached(std::env::temp_dir()))?;
        add_all(&backend, keys)?;
        Ok(Self { clients: clients(Arc::new(backend), cached)? })
    }
}

impl Contestant for Linked {
    fn name(&self) -> String {
        "typed get, memory engine linked in".to_owned()
    }

    fn look_up(&mut self, keys: &[&str]) -> Result<Duration, Failure> {
        look_up(&self.clients, keys)
    }
}

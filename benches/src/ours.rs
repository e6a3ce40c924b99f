//! The typed store over a backend: loaded from its library as the host does it, or linked in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};
use hivemind_model::{Backend, Context, Mutation, Row, Value};
use hivemind_store::{Clients, Options, Storage};
use serde_json::Map;

use crate::Failure;
use crate::contest::Contestant;

fn load(module: &str, data: &Path) -> Result<Arc<dyn Backend>, Failure> {
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

/// Makes a store under `data` with a client for each key.
pub fn fill(module: &str, data: &Path, keys: &[String]) -> Result<(), Failure> {
    std::fs::create_dir_all(data)?;
    let backend = load(module, data)?;
    add_all(backend.as_ref(), keys)?;
    backend.close(&Context::unbounded())?;
    Ok(())
}

/// The typed store over a loaded library.
pub struct Loaded {
    name: String,
    clients: Clients,
}

impl Loaded {
    /// Opens the store under `data`, with the decoded cache or without.
    pub fn open(module: &str, data: &Path, cached: bool) -> Result<Self, Failure> {
        let clients = clients(load(module, data)?, cached)?;
        Ok(Self { name: format!("typed get through {module}'s library{}", if cached { ", cached" } else { "" }), clients })
    }

    /// Opens an empty store and fills it, for what does not last.
    pub fn filled(module: &str, data: &Path, keys: &[String], cached: bool) -> Result<Self, Failure> {
        let backend = load(module, data)?;
        add_all(backend.as_ref(), keys)?;
        let name = format!("typed get through {module}'s library{}", if cached { ", cached" } else { "" });
        Ok(Self { name, clients: clients(backend, cached)? })
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
pub struct Linked {
    clients: Clients,
}

impl Linked {
    /// An engine with a client for each key.
    pub fn filled(keys: &[String], cached: bool) -> Result<Self, Failure> {
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

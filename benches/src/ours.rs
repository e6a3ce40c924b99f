//! The typed store over a backend: loaded from its library as the host does it, or linked in.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};
use hivemind_model::Backend;
use hivemind_store::{Clients, Options, Storage};
use serde_json::{Map, Value};

use crate::contest::Contestant;
use crate::{Failure, clients, machine};

/// The loader of the plugins beside this program.
pub(crate) fn loader(data: &Path) -> Result<Loader, Failure> {
    let plugins = machine::exe_folder()?.join("plugins");
    Ok(Loader::new(SearchPath::only(&[plugins]), Lock::default(), data.to_owned()))
}

/// Opens a backend as the host does. One handle serves all contestants: the host refuses a second one on the same store.
pub(crate) fn load(module: &str, data: &Path) -> Result<Arc<dyn Backend>, Failure> {
    load_with(module, data, &Map::new())
}

/// The same with settings.
pub(crate) fn load_with(module: &str, data: &Path, settings: &Map<String, Value>) -> Result<Arc<dyn Backend>, Failure> {
    Ok(loader(data)?.open(module, settings)?.backend)
}

/// The memory engine linked into this program, with so many clients.
pub(crate) fn linked(count: u64) -> Result<Arc<dyn Backend>, Failure> {
    let backend = hivemind_memory_plugin::backend::open("{}", hivemind_abi::Host::detached(std::env::temp_dir()))?;
    clients::add_all(&backend, count, 1000)?;
    Ok(Arc::new(backend))
}

/// How many decoded clients a store keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    None,
    /// All of them, whatever the size; the default keeps 16,384.
    All,
}

/// The typed clients of a backend.
pub(crate) fn typed(backend: &Arc<dyn Backend>, cache: Cache) -> Result<Clients, Failure> {
    let cached_clients = if cache == Cache::All { 1 << 21 } else { 0 };
    let storage = Storage::new(Arc::clone(backend), Options { cached_clients, ..Options::default() });
    Ok(pollster::block_on(Clients::open(&storage))?)
}

/// Looks clients up by access key.
pub(crate) struct LookUp {
    name: String,
    clients: Clients,
    among: u64,
}

impl LookUp {
    /// Looks up among the first `among` clients. With a cache, all of these are in it before the contest begins.
    pub(crate) fn new(name: &str, backend: &Arc<dyn Backend>, cache: Cache, among: u64) -> Result<Self, Failure> {
        let clients = typed(backend, cache)?;
        if cache == Cache::All {
            fill_cache(&clients, among)?;
        }
        Ok(Self { name: name.to_owned(), clients, among })
    }
}

/// Looks each of the first clients up once.
pub(crate) fn fill_cache(clients: &Clients, among: u64) -> Result<(), Failure> {
    for number in 0..among {
        pollster::block_on(clients.by_access_key(&clients::key(number)))?.ok_or("a client is missing")?;
    }
    Ok(())
}

impl Contestant for LookUp {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn batch(&self) -> usize {
        2000
    }

    fn work(&mut self, picks: &[u64]) -> Result<Duration, Failure> {
        let keys = clients::keys(picks, self.among);
        let start = Instant::now();
        for key in &keys {
            let client = pollster::block_on(self.clients.by_access_key(key))?.ok_or("a client is missing")?;
            std::hint::black_box(&client);
        }
        Ok(start.elapsed())
    }
}

//! The backend: tables behind one lock.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hivemind_abi::Host;
use hivemind_abi::model::table::Tables;
use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Catalog, Changes, Collection, CollectionId, Context, Error, Key, KeyRef, Lookup,
    Mutation, Page, Query, Report, Result, Row, Task, Token, ValueRef,
};

use crate::config::Config;
use crate::seed;
use hivemind_abi::model::history::History;

/// Opens a handle; the entry of the plugin.
///
/// # Errors
/// `invalid` if the settings are wrong.
pub fn open(config: &str, host: Host) -> Result<Memory> {
    let config = Config::parse(config)?;
    let seed = config.seed.map(|path| host.data_dir().join(path));
    Ok(Memory { catalog: Catalog::new(), seed, state: RwLock::new(Some(State::new()?)) })
}

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    catalog: Catalog,
    seed: Option<PathBuf>,
    // `None` once closed.
    state: RwLock<Option<State>>,
}

#[derive(Debug)]
struct State {
    tables: Tables,
    history: History,
    prepared: usize,
}

impl State {
    fn new() -> Result<Self> {
        // An epoch that no other handle has.
        let epoch = getrandom::u64().map_err(|e| Error::io(format!("the system gave no random number: {e}")))?;
        Ok(Self { tables: Tables::default(), history: History::new(epoch), prepared: 0 })
    }
}

fn closed() -> Error {
    Error::unavailable("this store was closed")
}

impl Memory {
    fn lock(&self) -> RwLockReadGuard<'_, Option<State>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_to_change(&self) -> RwLockWriteGuard<'_, Option<State>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, cx: &Context<'_>, ask: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        cx.check()?;
        ask(self.lock().as_ref().ok_or_else(closed)?)
    }
}

impl Backend for Memory {
    fn capabilities(&self) -> Capabilities {
        use Capability::{AtomicBatch, ChangeTracking, InlineReads, Unique};
        Capabilities::of(&[AtomicBatch, Unique, ChangeTracking, InlineReads])
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        cx.check()?;
        let mut guard = self.lock_to_change();
        let state = guard.as_mut().ok_or_else(closed)?;
        let ids = self.catalog.register(collections)?;
        state.tables.extend(&self.catalog);
        for (id, collection) in self.catalog.iter().skip(state.prepared) {
            if let (Some(path), true) = (&self.seed, collection.primary) {
                seed::load(path, state.tables.get_mut(id)?)?;
            }
            state.prepared += 1;
        }
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.read(cx, |state| state.tables.get(collection)?.get(&key.to_key()).map(Option::<&Row>::cloned))
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        self.read(cx, |state| state.tables.get(collection)?.get_by(field, value).map(Option::<&Row>::cloned))
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.read(cx, |state| {
            let table = state.tables.get(collection)?;
            Ok(keys.iter().map(|key| table.get(key).map(Option::<&Row>::cloned)).collect())
        })
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.read(cx, |state| state.tables.get(query.collection)?.find(cx, query, max_bytes))
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.read(cx, |state| state.tables.get(query.collection)?.count(cx, query))
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        cx.check()?;
        let mut guard = self.lock_to_change();
        let state = guard.as_mut().ok_or_else(closed)?;
        let (outcomes, undo) = state.tables.apply(&self.catalog, cx, mutations)?;
        if !undo.is_empty() {
            state.history.record(undo.touched().map(|(collection, key)| (collection, key.clone())));
        }
        Ok(Applied { outcomes, token: state.history.token() })
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.read(cx, |state| {
            state.tables.get(collection)?;
            Ok((state.history.token(), state.history.since(collection, token)))
        })
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.read(cx, |state| Ok(report(state)))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.read(cx, |state| match task {
            Task::Verify => {
                let mut report = report(state);
                report.problems = state.tables.iter().flat_map(|(_, table)| table.problems()).collect();
                Ok(report)
            }
            other => Err(Error::unsupported(format!("the memory backend does not offer {other:?}; it offers Verify"))),
        })
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.read(cx, |state| {
            let facts = Report::new().with("engine", "memory").with("location", "memory");
            let version = self.catalog.iter().find(|(_, c)| c.primary).map(|(_, c)| i64::from(c.version));
            let facts = version.map_or(facts.clone(), |version| facts.with("schema_version", version));
            Ok(facts.with("records", records(state)).with("acknowledged_write", "lost when the process ends"))
        })
    }

    fn close(&self, _cx: &Context<'_>) -> Result<()> {
        self.lock_to_change().take().map(drop).ok_or_else(closed)
    }
}

fn records(state: &State) -> i64 {
    let total: usize = state.tables.iter().map(|(_, table)| table.len()).sum();
    i64::try_from(total).unwrap_or(i64::MAX)
}

fn report(state: &State) -> Report {
    Report::new().with("records", records(state))
}

//! A backend that survives its plugin's panics, or fails closed.
//!
//! After a panic nobody knows what state the handle is in, so it is never used again. A durable backend is opened anew, at first at
//! once, then with growing pauses. One that is not durable is not: it would come back empty, and satellites told "unknown key"
//! give up for ever. It answers `poisoned` until the process ends.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Changes, Code, Collection, CollectionId, Context, Error, Key, KeyRef, Lookup,
    Mutation, Page, Query, Report, Resource, Result, Row, Task, Token, ValueRef,
};

use super::resources::Claim;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a store may take to close when it is dropped.
const CLOSING: Duration = Duration::from_secs(5);

/// Opens a backend; called again after a panic.
pub type Open = Box<dyn Fn() -> Result<Box<dyn Backend>> + Send + Sync>;

/// See the module.
pub struct Supervised {
    module: String,
    capabilities: Capabilities,
    resources: Vec<Resource>,
    open: Open,
    handle: RwLock<Handle>,
    recovery: Mutex<Recovery>,
    // Given back by `close`, or with the handle.
    claim: Mutex<Option<Claim>>,
}

#[derive(Clone)]
enum Handle {
    Open(Arc<dyn Backend>),
    Poisoned(String),
    Closed,
}

struct Recovery {
    prepared: Vec<Collection>,
    next_try: Instant,
    pause: Duration,
}

impl Supervised {
    /// Supervises an open backend.
    #[must_use]
    pub fn new(module: &str, backend: Box<dyn Backend>, open: Open, claim: Claim) -> Self {
        Self {
            module: module.to_owned(),
            capabilities: backend.capabilities(),
            resources: backend.resources(),
            open,
            handle: RwLock::new(Handle::Open(Arc::from(backend))),
            recovery: Mutex::new(Recovery { prepared: Vec::new(), next_try: Instant::now(), pause: FIRST_PAUSE }),
            claim: Mutex::new(Some(claim)),
        }
    }

    fn handle(&self) -> Handle {
        self.handle.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, handle: Handle) -> Handle {
        std::mem::replace(&mut *self.handle.write().unwrap_or_else(PoisonError::into_inner), handle)
    }

    /// Runs a call on the open handle, and poisons that handle if the plugin panics.
    fn call<T>(&self, run: impl FnOnce(&dyn Backend) -> Result<T>) -> Result<T> {
        let backend = self.open_handle()?;
        let answer = run(backend.as_ref());
        if let Err(error) = &answer
            && error.code() == Code::Panicked
        {
            self.poison(&backend, error);
        }
        answer
    }

    fn open_handle(&self) -> Result<Arc<dyn Backend>> {
        match self.handle() {
            Handle::Open(backend) => Ok(backend),
            Handle::Closed => Err(Error::unavailable(format!("{} is closed", self.module))),
            Handle::Poisoned(why) if !self.capabilities.has(Capability::Durable) => Err(Error::poisoned(format!(
                "{} panicked and is not durable, so it is not opened again: it would come back empty; restart the node ({why})",
                self.module
            ))),
            Handle::Poisoned(why) => self.reopen(&why),
        }
    }

    fn poison(&self, broken: &Arc<dyn Backend>, error: &Error) {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened a new one since.
        if matches!(&*handle, Handle::Open(current) if Arc::ptr_eq(current, broken)) {
            tracing::error!(module = self.module, "{}; its handle is not used any more", error.message());
            *handle = Handle::Poisoned(error.message().to_owned());
        }
    }

    fn reopen(&self, why: &str) -> Result<Arc<dyn Backend>> {
        let mut recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        if let Handle::Open(backend) = self.handle() {
            return Ok(backend);
        }
        let now = Instant::now();
        if now < recovery.next_try {
            let left = recovery.next_try - now;
            let message = format!("{} panicked ({why}); it is tried again in {left:.1?}", self.module);
            return Err(Error::new(Code::Poisoned, true, message));
        }
        recovery.next_try = now + recovery.pause;
        recovery.pause = (recovery.pause * 2).min(LONGEST_PAUSE);
        let opened = (self.open)().and_then(|backend| {
            if !recovery.prepared.is_empty() {
                backend.prepare(&Context::unbounded(), &recovery.prepared)?;
            }
            Ok(backend)
        });
        match opened {
            Ok(backend) => {
                tracing::warn!(module = self.module, "opened again after a panic");
                let backend: Arc<dyn Backend> = Arc::from(backend);
                self.set(Handle::Open(Arc::clone(&backend)));
                Ok(backend)
            }
            Err(error) => {
                let message = format!("{} panicked ({why}) and could not be opened again: {error}", self.module);
                Err(Error::new(Code::Poisoned, true, message))
            }
        }
    }
}

impl Drop for Supervised {
    /// A store that is left without `close` is closed all the same: SQLite, for one, then clears its log away.
    fn drop(&mut self) {
        let _ = self.close(&Context::within(CLOSING));
    }
}

impl Backend for Supervised {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let ids = self.call(|b| b.prepare(cx, collections))?;
        let mut recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner);
        // In the order of first preparation, so that a new handle gives the same ids.
        for collection in collections {
            if !recovery.prepared.iter().any(|c| c.name == collection.name) {
                recovery.prepared.push(collection.clone());
            }
        }
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.call(|b| b.get(cx, collection, key))
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        self.call(|b| b.get_by(cx, collection, field, value))
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.call(|b| b.get_many(cx, collection, keys))
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.call(|b| b.find(cx, query, max_bytes))
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.call(|b| b.count(cx, query))
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.call(|b| b.apply(cx, mutations))
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.call(|b| b.changes_since(cx, collection, token))
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.call(|b| b.sync(cx))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.call(|b| b.maintain(cx, task))
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.call(|b| b.stats(cx))
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        let closed = match self.set(Handle::Closed) {
            Handle::Open(backend) => backend.close(cx),
            Handle::Poisoned(_) | Handle::Closed => Ok(()),
        };
        self.claim.lock().unwrap_or_else(PoisonError::into_inner).take();
        closed
    }
}

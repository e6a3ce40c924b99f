//! A backend that survives its plugin's panics, or fails closed.
//!
//! After a panic nobody knows what state the handle is in, so it is never used again. A durable backend is opened anew: calls that are
//! still running in the old handle are waited for, it is closed, then a new one is opened and prepared; at first at once, then with
//! growing pauses. One that is not durable is not: it would come back empty, and satellites told "unknown key" give up for ever. It
//! answers `poisoned` until the process ends.
//!
//! Callers keep their collection ids across this, because the ids of a handle count from 0 in the order of first preparation, which is
//! checked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Changes, Code, Collection, CollectionId, Context, Error, Key, KeyRef, Lookup,
    Mutation, Page, Query, Report, Resource, Result, Row, Task, Token, ValueRef,
};

use super::resources::Claim;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so long without a panic the next one counts as the first.
const HEALTHY: Duration = Duration::from_secs(600);
/// How long a store may take to close when it is dropped or abandoned.
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
    // Held while the handle is prepared, opened anew or closed.
    recovery: Mutex<Recovery>,
    // Given back by `close`, or with the handle.
    claim: Mutex<Option<Claim>>,
}

#[derive(Clone)]
enum Handle {
    Open(Arc<dyn Backend>),
    Poisoned { broken: Option<Arc<dyn Backend>>, why: String },
    Closed,
}

struct Recovery {
    /// What was prepared, in the order of first preparation: position is id.
    prepared: Vec<Collection>,
    opened_at: Instant,
    next_try: Instant,
    pause: Duration,
}

impl Supervised {
    /// Supervises an open backend.
    #[must_use]
    pub fn new(module: &str, backend: Box<dyn Backend>, open: Open, claim: Claim) -> Self {
        let now = Instant::now();
        Self {
            module: module.to_owned(),
            capabilities: backend.capabilities(),
            resources: backend.resources(),
            open,
            handle: RwLock::new(Handle::Open(Arc::from(backend))),
            recovery: Mutex::new(Recovery { prepared: Vec::new(), opened_at: now, next_try: now, pause: FIRST_PAUSE }),
            claim: Mutex::new(Some(claim)),
        }
    }

    fn handle(&self) -> Handle {
        self.handle.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, handle: Handle) -> Handle {
        std::mem::replace(&mut *self.handle.write().unwrap_or_else(PoisonError::into_inner), handle)
    }

    fn recovery(&self) -> MutexGuard<'_, Recovery> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call on the open handle, and poisons that handle if the plugin panics. A call that only learns of an earlier panic has
    /// not run, and gets a second chance on a new handle.
    fn call<T>(&self, cx: &Context<'_>, run: impl Fn(&dyn Backend) -> Result<T>) -> Result<T> {
        let backend = self.open_handle(cx)?;
        match run(backend.as_ref()) {
            Err(error) if error.code() == Code::Panicked => {
                self.poison(&backend, &error);
                Err(error)
            }
            Err(error) if error.code() == Code::Poisoned => {
                self.poison(&backend, &error);
                drop(backend);
                run(self.open_handle(cx)?.as_ref())
            }
            answer => answer,
        }
    }

    fn open_handle(&self, cx: &Context<'_>) -> Result<Arc<dyn Backend>> {
        match self.handle() {
            Handle::Open(backend) => Ok(backend),
            Handle::Closed => Err(self.closed()),
            Handle::Poisoned { why, .. } if !self.capabilities.has(Capability::Durable) => Err(Error::poisoned(format!(
                "{} panicked and is not durable, so it is not opened again: it would come back empty; restart the node ({why})",
                self.module
            ))),
            Handle::Poisoned { broken, why } => {
                drop(broken);
                self.reopen(cx, &why)
            }
        }
    }

    fn closed(&self) -> Error {
        Error::new(Code::Unavailable, false, format!("{} is closed", self.module))
    }

    fn poison(&self, broken: &Arc<dyn Backend>, error: &Error) {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened a new one since.
        if matches!(&*handle, Handle::Open(current) if Arc::ptr_eq(current, broken)) {
            tracing::error!(module = self.module, "{}; its handle is not used any more", error.message());
            *handle = Handle::Poisoned { broken: Some(Arc::clone(broken)), why: error.message().to_owned() };
        }
    }

    fn not_yet(&self, why: &str, what: impl std::fmt::Display) -> Error {
        Error::new(Code::Poisoned, true, format!("{} panicked ({why}); {what}", self.module))
    }

    fn reopen(&self, cx: &Context<'_>, why: &str) -> Result<Arc<dyn Backend>> {
        // Somebody else is at it, and may wait for a lock of the store: callers have deadlines of their own.
        let mut recovery = match self.recovery.try_lock() {
            Ok(recovery) => recovery,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(self.not_yet(why, "it is being opened again")),
        };
        match self.handle() {
            Handle::Open(backend) => return Ok(backend),
            Handle::Closed => return Err(self.closed()),
            Handle::Poisoned { .. } => {}
        }
        let now = Instant::now();
        if recovery.opened_at.elapsed() > HEALTHY {
            (recovery.next_try, recovery.pause) = (now, FIRST_PAUSE);
        }
        if now < recovery.next_try {
            return Err(self.not_yet(why, format!("it is tried again in {:.1?}", recovery.next_try - now)));
        }
        self.abandon(cx, why)?;
        recovery.next_try = now + recovery.pause;
        recovery.pause = (recovery.pause * 2).min(LONGEST_PAUSE);
        let backend = (self.open)().and_then(|backend| {
            if !recovery.prepared.is_empty() {
                let ids = backend.prepare(cx, &recovery.prepared)?;
                self.check_ids(&recovery.prepared, &recovery.prepared, &ids)?;
            }
            Ok(backend)
        });
        let backend: Arc<dyn Backend> =
            Arc::from(backend.map_err(|e| self.not_yet(why, format!("it could not be opened again: {e}")))?);
        recovery.opened_at = now;
        tracing::warn!(module = self.module, "opened again after a panic");
        self.set(Handle::Open(Arc::clone(&backend)));
        Ok(backend)
    }

    /// Waits until no call runs in the broken handle any more, and closes it: what it holds of the store must be free before a new
    /// one opens.
    fn abandon(&self, cx: &Context<'_>, why: &str) -> Result<()> {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let Handle::Poisoned { broken, .. } = &mut *handle else { return Ok(()) };
        let Some(backend) = broken.take() else { return Ok(()) };
        drop(handle);
        let until = Instant::now() + cx.remaining_or(CLOSING);
        while Arc::strong_count(&backend) > 1 {
            if Instant::now() >= until {
                self.set(Handle::Poisoned { broken: Some(backend), why: why.to_owned() });
                return Err(self.not_yet(why, "calls still run in its old handle"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Err(error) = backend.close(&Context::within(CLOSING)) {
            tracing::warn!(module = self.module, %error, "the broken handle did not close");
        }
        Ok(())
    }

    /// Checks that a handle numbered `collections` by their positions in `prepared`.
    fn check_ids(&self, prepared: &[Collection], collections: &[Collection], ids: &[CollectionId]) -> Result<()> {
        let expected = collections.iter().map(|c| prepared.iter().position(|p| p.name == c.name).unwrap_or(usize::MAX));
        if ids.len() == collections.len() && ids.iter().zip(expected).all(|(id, at)| id.0 as usize == at) {
            return Ok(());
        }
        let message = format!("{} does not number collections in the order of first preparation; tell its vendor", self.module);
        Err(Error::unsupported(message))
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
        // Opened before the lock is taken, which opening takes itself.
        self.open_handle(cx)?;
        let mut recovery = self.recovery();
        let mut prepared = recovery.prepared.clone();
        for collection in collections {
            match prepared.iter_mut().find(|p| p.name == collection.name) {
                Some(known) => known.clone_from(collection),
                None => prepared.push(collection.clone()),
            }
        }
        let backend = match self.handle() {
            Handle::Open(backend) => backend,
            _ => return Err(self.not_yet("a moment ago", "try again")),
        };
        let ids = backend.prepare(cx, collections).inspect_err(|error| {
            if matches!(error.code(), Code::Panicked | Code::Poisoned) {
                self.poison(&backend, error);
            }
        })?;
        self.check_ids(&prepared, collections, &ids)?;
        recovery.prepared = prepared;
        Ok(ids)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.call(cx, |b| b.get(cx, collection, key))
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        self.call(cx, |b| b.get_by(cx, collection, field, value))
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.call(cx, |b| b.get_many(cx, collection, keys))
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.call(cx, |b| b.find(cx, query, max_bytes))
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.call(cx, |b| b.count(cx, query))
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.call(cx, |b| b.apply(cx, mutations))
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        self.call(cx, |b| b.changes_since(cx, collection, token))
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.call(cx, |b| b.sync(cx))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.call(cx, |b| b.maintain(cx, task))
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.call(cx, |b| b.stats(cx))
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        // After whoever opens anew, so that nothing is open behind this.
        let _recovery = self.recovery();
        let closed = match self.set(Handle::Closed) {
            Handle::Open(backend) | Handle::Poisoned { broken: Some(backend), .. } => backend.close(cx),
            Handle::Poisoned { broken: None, .. } => Ok(()),
            Handle::Closed => return Err(self.closed()),
        };
        // What could not be closed may still hold its files.
        if closed.is_ok() {
            self.claim.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        closed
    }
}

//! A backend that survives its plugin's panics, or fails closed.
//!
//! After a panic nobody knows what state the handle is in, so it is never used again. A durable backend is opened anew: calls that are
//! still running in the old handle are waited for, it is closed, then a new one is opened and prepared; at first at once, then with
//! growing pauses. One that is not durable is not: it would come back empty, and satellites told "unknown key" give up for ever. It
//! answers `poisoned` until the process ends.
//!
//! A plugin may also not come back. Closing waits for it in another thread and gives up some time after the deadline, and opening
//! anew gives up when a call in the old handle has gone on for too long; what it holds then stays taken until the process ends.
//!
//! Callers keep their collection ids across this, because the ids of a handle count from 0 in the order of first preparation, which is
//! checked.

mod closing;
mod recovery;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Changes, Code, Collection, CollectionId, Context, Error, Key, KeyRef, Lookup,
    Mutation, Page, Query, Report, Resource, Result, Row, Task, Token, ValueRef,
};

use closing::{Closed, close_in_time};
use recovery::Recovery;

use super::resources::Claim;
use super::secrets::Secrets;
use crate::plain::plain;

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
    secrets: Secrets,
    // Given back by `close`, or with the handle.
    claim: Mutex<Option<Claim>>,
}

#[derive(Clone)]
enum Handle {
    Open(Arc<dyn Backend>),
    Poisoned {
        broken: Option<Arc<dyn Backend>>,
        why: String,
    },
    Closed,
    /// Given up: something in it does not come back.
    Stuck,
}

impl Supervised {
    /// Supervises an open backend.
    #[must_use]
    pub fn new(module: &str, backend: Box<dyn Backend>, open: Open, claim: Claim, secrets: Secrets) -> Self {
        Self {
            module: module.to_owned(),
            capabilities: backend.capabilities(),
            resources: backend.resources(),
            open,
            secrets,
            handle: RwLock::new(Handle::Open(Arc::from(backend))),
            recovery: Mutex::new(Recovery::new()),
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

    /// The same unless the time of a call is over before it is free.
    fn recovery_within(&self, cx: &Context<'_>) -> Option<MutexGuard<'_, Recovery>> {
        loop {
            match self.recovery.try_lock() {
                Ok(recovery) => return Some(recovery),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => cx.check().ok()?,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs a call on the open handle, and poisons that handle if the plugin panics. A call that only learns of an earlier panic has
    /// not run, and gets a second chance on a new handle.
    fn call<T>(&self, cx: &Context<'_>, run: impl Fn(&dyn Backend) -> Result<T>) -> Result<T> {
        self.call_unveiled(cx, run).map_err(|error| self.secrets.hide_in(error))
    }

    fn call_unveiled<T>(&self, cx: &Context<'_>, run: impl Fn(&dyn Backend) -> Result<T>) -> Result<T> {
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
            Handle::Stuck => Err(self.stuck()),
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
            let why = self.secrets.hide(error.message());
            tracing::error!(module = self.module, "{}; its handle is not used any more", plain(&why));
            *handle = Handle::Poisoned { broken: Some(Arc::clone(broken)), why };
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
        // Opened before the lock is taken, which opening takes itself.
        self.open_handle(cx).map_err(|error| self.secrets.hide_in(error))?;
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
        });
        let ids = ids.map_err(|error| self.secrets.hide_in(error))?;
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
        self.call(cx, |b| b.get_many(cx, collection, keys)).map(|lookups| self.secrets.hide_in_lookups(lookups))
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.call(cx, |b| b.find(cx, query, max_bytes)).map(|page| self.secrets.hide_in_page(page))
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
        self.call(cx, |b| b.sync(cx)).map(|report| self.secrets.hide_in_report(report))
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.call(cx, |b| b.maintain(cx, task)).map(|report| self.secrets.hide_in_report(report))
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.call(cx, |b| b.stats(cx)).map(|report| self.secrets.hide_in_report(report))
    }

    fn resources(&self) -> Vec<Resource> {
        self.resources.clone()
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        // After whoever opens anew, so that nothing is open behind this.
        let Some(_recovery) = self.recovery_within(cx) else {
            return Err(Error::busy(format!("{} is being prepared or opened again; it was not closed", self.module)));
        };
        let closed = match self.set(Handle::Closed) {
            Handle::Open(backend) | Handle::Poisoned { broken: Some(backend), .. } => match close_in_time(backend, cx) {
                Closed::Answered(answer) => answer.map_err(|error| self.secrets.hide_in(error)),
                Closed::Stuck => return Err(self.give_up()),
            },
            Handle::Poisoned { broken: None, .. } => Ok(()),
            Handle::Closed => return Err(self.closed()),
            Handle::Stuck => {
                self.set(Handle::Stuck);
                return Err(self.stuck());
            }
        };
        // What could not be closed may still hold its files.
        if closed.is_ok() {
            self.claim.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        closed
    }
}

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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, mpsc};
use std::time::{Duration, Instant};

use hivemind_abi::model::{
    Applied, Backend, Capabilities, Capability, Changes, Code, Collection, CollectionId, Context, Error, Key, KeyRef, Lookup,
    Mutation, Page, Query, Report, Resource, Result, Row, Task, Token, ValueRef,
};

use super::resources::Claim;
use super::secrets::Secrets;
use crate::plain::plain;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so long without a panic the next one counts as the first.
const HEALTHY: Duration = Duration::from_secs(600);
/// How long a store may take to close when it is dropped or abandoned.
const CLOSING: Duration = Duration::from_secs(5);
/// How long after a panic calls may still run in the broken handle: longer than a node gives any call by default.
const STILL_RUNNING: Duration = Duration::from_secs(20);
/// How much longer than it was told it may take.
const GRACE: Duration = Duration::from_secs(1);

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

struct Recovery {
    /// What was prepared, in the order of first preparation: position is id.
    prepared: Vec<Collection>,
    opened_at: Instant,
    /// When it was first tried to open anew after the last panic; `None` while the handle is sound.
    broken_at: Option<Instant>,
    next_try: Instant,
    pause: Duration,
}

impl Supervised {
    /// Supervises an open backend.
    #[must_use]
    pub fn new(module: &str, backend: Box<dyn Backend>, open: Open, claim: Claim, secrets: Secrets) -> Self {
        let now = Instant::now();
        Self {
            module: module.to_owned(),
            capabilities: backend.capabilities(),
            resources: backend.resources(),
            open,
            secrets,
            handle: RwLock::new(Handle::Open(Arc::from(backend))),
            recovery: Mutex::new(Recovery {
                prepared: Vec::new(),
                opened_at: now,
                broken_at: None,
                next_try: now,
                pause: FIRST_PAUSE,
            }),
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
            Handle::Stuck => return Err(self.stuck()),
            Handle::Poisoned { .. } => {}
        }
        let now = Instant::now();
        if recovery.broken_at.is_none() && recovery.opened_at.elapsed() > HEALTHY {
            (recovery.next_try, recovery.pause) = (now, FIRST_PAUSE);
        }
        let broken_at = *recovery.broken_at.get_or_insert(now);
        if now < recovery.next_try {
            return Err(self.not_yet(why, format!("it is tried again in {:.1?}", recovery.next_try - now)));
        }
        let abandoned = self.abandon(cx, why, broken_at + STILL_RUNNING);
        // A try that waited in vain for the old handle counts too, or every caller would wait as long.
        recovery.next_try = Instant::now() + recovery.pause;
        recovery.pause = (recovery.pause * 2).min(LONGEST_PAUSE);
        abandoned?;
        let backend = (self.open)().and_then(|backend| {
            self.check_same(backend.as_ref())?;
            if !recovery.prepared.is_empty() {
                let ids = backend.prepare(cx, &recovery.prepared)?;
                self.check_ids(&recovery.prepared, &recovery.prepared, &ids)?;
            }
            Ok(backend)
        });
        let backend: Arc<dyn Backend> =
            Arc::from(backend.map_err(|e| self.not_yet(why, format!("it could not be opened again: {e}")))?);
        (recovery.opened_at, recovery.broken_at) = (now, None);
        tracing::warn!(module = self.module, "opened again after a panic");
        self.set(Handle::Open(Arc::clone(&backend)));
        Ok(backend)
    }

    /// Waits until no call runs in the broken handle any more, and closes it: what it holds of the store must be free before a new
    /// one opens. What still runs at `latest` is taken for stuck.
    fn abandon(&self, cx: &Context<'_>, why: &str, latest: Instant) -> Result<()> {
        let mut handle = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        let Handle::Poisoned { broken, .. } = &mut *handle else { return Ok(()) };
        let Some(backend) = broken.take() else { return Ok(()) };
        drop(handle);
        let until = Instant::now() + cx.remaining_or(CLOSING);
        while Arc::strong_count(&backend) > 1 {
            let now = Instant::now();
            if now >= latest {
                return Err(self.give_up());
            }
            if now >= until {
                self.set(Handle::Poisoned { broken: Some(backend), why: why.to_owned() });
                return Err(self.not_yet(why, "calls still run in its old handle"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // What does not come back from closing still holds the store.
        match close_in_time(backend, &Context::within(CLOSING)) {
            Closed::Answered(Ok(())) => Ok(()),
            Closed::Answered(Err(error)) => {
                tracing::warn!(
                    module = self.module,
                    "the broken handle did not close: {}",
                    plain(&self.secrets.hide(&error.to_string()))
                );
                Ok(())
            }
            Closed::Stuck => Err(self.give_up()),
        }
    }

    fn give_up(&self) -> Error {
        self.set(Handle::Stuck);
        self.keep_claim();
        let error = self.stuck();
        tracing::error!(module = self.module, "{}", error.message());
        error
    }

    fn stuck(&self) -> Error {
        let message = format!(
            "{} does not come back from a call or from closing; its store stays taken until the program ends: restart it",
            self.module
        );
        Error::new(Code::Unavailable, false, message)
    }

    /// Never gives back what a handle that does not come back may still hold.
    fn keep_claim(&self) {
        std::mem::forget(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Checks that a handle that was opened anew promises no less than the first, and claims what it needs now: a file may have been
    /// replaced meanwhile.
    fn check_same(&self, backend: &dyn Backend) -> Result<()> {
        let now = backend.capabilities();
        if let Some(lost) = self.capabilities.iter().find(|c| !now.has(*c)) {
            return Err(Error::unsupported(format!("it does not promise {lost} any more; tell its vendor")));
        }
        let mut claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        // Its own claim is no reason to refuse it.
        drop(claim.take());
        *claim = Some(Claim::take(&backend.resources(), &self.module).map_err(|reason| Error::unavailable(reason.to_string()))?);
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

/// What became of closing a handle.
enum Closed {
    Answered(Result<()>),
    Stuck,
}

/// Closes a handle in a thread of its own, because the plugin may ignore the deadline.
fn close_in_time(backend: Arc<dyn Backend>, cx: &Context<'_>) -> Closed {
    let Some(left) = cx.remaining() else { return Closed::Answered(backend.close(cx)) };
    let (sender, receiver) = mpsc::channel();
    // Whoever takes it out closes and drops it, which may take as long.
    let slot = Arc::new(Mutex::new(Some(backend)));
    let take = |slot: &Mutex<Option<Arc<dyn Backend>>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let close = {
        let slot = Arc::clone(&slot);
        move || {
            let answer = take(&slot).map_or(Ok(()), |backend| backend.close(&Context::within(left)));
            let _ = sender.send(answer);
        }
    };
    match std::thread::Builder::new().name("close-store".to_owned()).spawn(close) {
        Ok(_) => receiver.recv_timeout(left.saturating_add(GRACE)).map_or(Closed::Stuck, Closed::Answered),
        // No thread is to be had: then it is closed here.
        Err(_) => Closed::Answered(take(&slot).map_or(Ok(()), |backend| backend.close(cx))),
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

//! Opening a durable backend anew after its plugin panicked.

use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use hivemind_abi::model::{Backend, Code, Collection, CollectionId, Context, Error, Result};

use super::closing::{Closed, close_in_time};
use super::{CLOSING, Handle, Supervised};
use crate::plain::plain;
use crate::plugins::resources::Claim;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so long without a panic the next one counts as the first.
const HEALTHY: Duration = Duration::from_secs(600);
/// How long after a panic calls may still run in the broken handle: longer than a node gives any call by default.
const STILL_RUNNING: Duration = Duration::from_secs(20);

/// What is known about the handle and the tries to get a new one.
pub(super) struct Recovery {
    /// What was prepared, in the order of first preparation: position is id.
    pub(super) prepared: Vec<Collection>,
    opened_at: Instant,
    /// When it was first tried to open anew after the last panic; `None` while the handle is sound.
    broken_at: Option<Instant>,
    next_try: Instant,
    pause: Duration,
}

impl Recovery {
    /// That of a handle that was just opened.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { prepared: Vec::new(), opened_at: now, broken_at: None, next_try: now, pause: FIRST_PAUSE }
    }
}

impl Supervised {
    pub(super) fn not_yet(&self, why: &str, what: impl std::fmt::Display) -> Error {
        Error::new(Code::Poisoned, true, format!("{} panicked ({why}); {what}", self.module))
    }

    pub(super) fn reopen(&self, cx: &Context<'_>, why: &str) -> Result<Arc<dyn Backend>> {
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

    pub(super) fn give_up(&self) -> Error {
        self.set(Handle::Stuck);
        self.keep_claim();
        let error = self.stuck();
        tracing::error!(module = self.module, "{}", error.message());
        error
    }

    pub(super) fn stuck(&self) -> Error {
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
    pub(super) fn check_ids(&self, prepared: &[Collection], collections: &[Collection], ids: &[CollectionId]) -> Result<()> {
        let expected = collections.iter().map(|c| prepared.iter().position(|p| p.name == c.name).unwrap_or(usize::MAX));
        if ids.len() == collections.len() && ids.iter().zip(expected).all(|(id, at)| id.0 as usize == at) {
            return Ok(());
        }
        let message = format!("{} does not number collections in the order of first preparation; tell its vendor", self.module);
        Err(Error::unsupported(message))
    }
}

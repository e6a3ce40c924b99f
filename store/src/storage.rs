//! Calling a backend.
//!
//! The surface is asynchronous because a node serves many satellites and a browser has no other way; the backend trait is not,
//! because engines are not. In between stands [`Offload`]: a call that the backend answers in place runs where it is asked for, and
//! its future is ready at the first poll; every other call is a job for the pool that the program provides. Without one, every call
//! runs in place, which is what a command-line tool wants.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hivemind_model::{
    Applied, Backend, Capabilities, Capability, Code, Collection, CollectionId, Context, Detail, Error, Mutation, Result,
};

use crate::oneshot::{self, Delivery};
use crate::resolve;

/// Runs blocking jobs somewhere else than on the thread that asks.
pub trait Offload: Send + Sync {
    /// Runs `job`, or drops it if that cannot be done; the caller is told `unavailable` then.
    fn run(&self, job: Box<dyn FnOnce() + Send>);

    /// Wakes when this much time has passed, so that a caller gets its answer although a backend ignores its deadline. A wake that is
    /// [over](Wake::is_over) may be dropped before. Without timers, which is the default, nobody is woken, and a call lasts as long as
    /// its backend likes.
    fn wake_after(&self, time: Duration, wake: Box<dyn Wake>) {
        let _ = (time, wake);
    }
}

/// What ends the waiting for a call that does not come back.
pub trait Wake: Send {
    /// Whether nobody waits for that call any more.
    fn is_over(&self) -> bool;
    /// Ends the waiting, if somebody still waits.
    fn wake(self: Box<Self>);
}

/// How much longer than its deadline a call may take: backends look at it now and then only.
const GRACE: Duration = Duration::from_secs(1);

/// What a job may do, which decides how long its caller waits for it and what can be said when it does not come back.
#[derive(Clone, Copy)]
enum Kind {
    Reads,
    Writes,
}

impl Kind {
    /// How long to wait for a job that has this much time.
    fn patience(self, left: Duration) -> Duration {
        let passes = match self {
            Self::Reads => 1,
            // The write itself, and reading back what became of it.
            Self::Writes => 2,
        };
        left.saturating_mul(passes).saturating_add(GRACE)
    }

    fn late(self) -> Error {
        match self {
            Self::Reads => Error::deadline("the backend does not answer"),
            Self::Writes => {
                Error::outcome_unknown("the backend does not answer, and whether it did what it was asked is not known")
            }
        }
    }
}

/// How a [`Storage`] calls its backend.
#[derive(Clone)]
pub struct Options {
    /// How long one call may take, waiting in the pool's queue included; [`Storage::prepare`] has all the time it needs, and a write
    /// whose outcome has to be read back gets it once more for that. `None`: as long as the backend likes. Default: 15 s, which is
    /// longer than the 10 s that the Python node holds a lock at most.
    pub deadline: Option<Duration>,
    /// Where calls go that may block. Default: nowhere, they run in place.
    pub offload: Option<Arc<dyn Offload>>,
    /// How often a transaction is tried when others change what it read. Default: 64.
    pub attempts: u32,
    /// How many decoded clients are kept. Default: 16,384; zero keeps none.
    pub cached_clients: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { deadline: Some(Duration::from_secs(15)), offload: None, attempts: 64, cached_clients: 16_384 }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("deadline", &self.deadline)
            .field("offload", &self.offload.is_some())
            .field("attempts", &self.attempts)
            .field("cached_clients", &self.cached_clients)
            .finish()
    }
}

/// A collection as the backend knows it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its id in calls to this backend.
    pub id: CollectionId,
    /// Its description.
    pub collection: Arc<Collection>,
}

/// A backend and how to call it. Cheap to clone; all clones are the same storage.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    capabilities: Capabilities,
    options: Options,
    prepared: RwLock<Vec<Prepared>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("capabilities", &self.inner.capabilities)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// A storage over an open backend.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> Self {
        let capabilities = backend.capabilities();
        Self { inner: Arc::new(Inner { backend, capabilities, options, prepared: RwLock::default() }) }
    }

    /// What the backend promises.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// How the backend is called.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Creates, migrates or finds a collection. No deadline holds here: a migration is one step, and one that were cut off each time
    /// would leave a large store closed for good. How long a lock is waited for is the backend's own setting.
    ///
    /// # Errors
    /// The backend's; `too new` if what is stored is newer, and then nothing was touched.
    pub async fn prepare(&self, collection: Collection) -> Result<Prepared> {
        let collection = Arc::new(collection);
        let description = Arc::clone(&collection);
        let ids = self
            .run_in(Context::unbounded(), Kind::Writes, move |backend, cx| {
                backend.prepare(cx, std::slice::from_ref(&*description))
            })
            .await?;
        let [id] = ids[..] else {
            let name = &collection.name;
            return Err(Error::invalid(format!("the backend prepared {} collections for the one {name}", ids.len())));
        };
        let prepared = Prepared { id, collection };
        let mut all = self.inner.prepared.write().unwrap_or_else(PoisonError::into_inner);
        if all.iter().all(|p| p.id != id) {
            all.push(prepared.clone());
        }
        Ok(prepared)
    }

    /// Carries a batch out: all of it or nothing.
    ///
    /// When the backend cannot tell whether the batch was applied, what is stored now is read and decides; only if that shows
    /// nothing either way does the caller get `outcome unknown`. Nothing is sent twice.
    ///
    /// # Errors
    /// The backend's.
    pub async fn apply(&self, mutations: Vec<Mutation>) -> Result<Applied> {
        let this = self.clone();
        self.run(move |_, cx| this.apply_in_place(cx, &mutations)).await
    }

    pub(crate) fn apply_in_place(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        match self.inner.backend.apply(cx, mutations) {
            Err(error) if error.code() == Code::OutcomeUnknown && !is_about_durability(&error) => {
                // The call's own time is probably used up by now; reading back gets the same once more, and callers wait for it.
                let again = self.context();
                resolve::outcomes(self, &again, mutations)
                    .map(|outcomes| Applied { outcomes, token: hivemind_model::Token::default() })
                    .ok_or(error)
            }
            other => other,
        }
    }

    /// Runs a job that writes where blocking is allowed. One that only reads belongs in [`Storage::run_reads`], or a read that is late
    /// would be reported as a write that nobody knows the outcome of.
    ///
    /// If the returned future is dropped, the job's cancel flag is raised.
    ///
    /// # Errors
    /// The job's; `unavailable` if the pool refused it, `panicked` if it died, `outcome unknown` if it does not come back.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Backend, &Context<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_in(self.context(), Kind::Writes, job).await
    }

    /// The same for a job that only reads.
    ///
    /// # Errors
    /// As [`Storage::run`], but `deadline` if it does not come back.
    pub async fn run_reads<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Backend, &Context<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_in(self.context(), Kind::Reads, job).await
    }

    async fn run_in<T: Send + 'static>(
        &self,
        cx: Context<'static>,
        kind: Kind,
        job: impl FnOnce(&dyn Backend, &Context<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(offload) = &self.inner.options.offload else { return job(&*self.inner.backend, &cx) };
        let cancel = CancelOnDrop(Arc::default());
        let flag = Arc::clone(&cancel.0);
        let backend = Arc::clone(&self.inner.backend);
        let (sender, receiver) = oneshot::channel();
        if let Some(left) = cx.remaining() {
            offload.wake_after(kind.patience(left), Box::new(receiver.expiry()));
        }
        offload.run(Box::new(move || {
            if !sender.start() {
                return;
            }
            let answer = job(&*backend, &cx.cancelled_by(&flag));
            // First let go, then answer: whoever hears it may be about to end the program, and the last to hold a store closes it.
            drop(backend);
            sender.send(answer);
        }));
        match receiver.await {
            Delivery::Value(answer) => answer,
            Delivery::Late { started: false } => Err(Error::deadline("the worker pool was too busy to begin")),
            Delivery::Late { started: true } => Err(kind.late()),
            Delivery::NeverStarted => Err(Error::unavailable("the worker pool takes no more jobs").known_not_applied()),
            Delivery::Died => Err(Error::panicked("the call died before it answered; whether it was applied is not known")),
        }
    }

    /// Runs a job of reads: in place if the backend never blocks for long on them, else as [`Storage::run_reads`] does.
    ///
    /// # Errors
    /// See [`Storage::run_reads`].
    pub async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Backend, &Context<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.reads_in_place() { job(&*self.inner.backend, &self.brief_context()) } else { self.run_reads(job).await }
    }

    /// Whether lookups run where they are asked for.
    #[must_use]
    pub fn reads_in_place(&self) -> bool {
        self.inner.options.offload.is_none() || self.inner.capabilities.has(Capability::InlineReads)
    }

    /// The backend itself.
    #[must_use]
    pub fn backend(&self) -> &dyn Backend {
        &*self.inner.backend
    }

    pub(crate) fn context(&self) -> Context<'static> {
        self.inner.options.deadline.map_or_else(Context::unbounded, Context::within)
    }

    /// For calls in place that are mostly over before the clock could be read.
    pub(crate) fn brief_context(&self) -> Context<'static> {
        self.inner.options.deadline.map_or_else(Context::unbounded, Context::starting_late)
    }

    pub(crate) fn collection(&self, id: CollectionId) -> Option<Arc<Collection>> {
        let all = self.inner.prepared.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|p| p.id == id).map(|p| Arc::clone(&p.collection))
    }
}

/// Whether a change is in place and only the disk's word for it is missing: what is read back comes from memory, and would turn the
/// doubt into success.
fn is_about_durability(error: &Error) -> bool {
    error.detail().field.as_deref() == Some(Detail::DURABILITY)
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

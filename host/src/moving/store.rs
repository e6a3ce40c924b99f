//! One side of a move.

use std::thread::sleep;
use std::time::Duration;

use hivemind_model::{
    Backend, Capability, Changes, Code, Collection, CollectionId, Context, Detail, Error, KeyRef, Mutation, Page, Query, Report,
    Result, Row, Task, Token, Value, ValueRef,
};

use crate::config::redact;
use crate::open::Opened;

/// How long one call may take: a large batch on a slow disk, or a lock that a Python node holds for its 10 s.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a call is made that is known to have failed without effect, or that may be repeated whatever became of it.
const ATTEMPTS: u32 = 8;
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of rows in one batch, at most: a file that every commit writes whole is written a few times only, and the memory a batch
/// takes stays small. Over a network a batch keeps a server from everybody else.
const LOCAL_BATCH: usize = 16 << 20;
const NETWORK_BATCH: usize = 1 << 20;

/// An open store whose collections are prepared.
pub struct Store {
    opened: Opened,
    collections: Vec<(CollectionId, Collection)>,
}

impl Store {
    /// Creates, migrates or finds these collections.
    ///
    /// # Errors
    /// The backend's.
    pub fn prepare(opened: &Opened, collections: Vec<Collection>) -> Result<Self> {
        let ids = opened.storage.backend().prepare(&Context::unbounded(), &collections)?;
        if ids.len() != collections.len() {
            let message = format!("the backend prepared {} collections of {}; tell its vendor", ids.len(), collections.len());
            return Err(Error::invalid(message));
        }
        Ok(Self { opened: opened.clone(), collections: ids.into_iter().zip(collections).collect() })
    }

    /// Its module's name.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.opened.module
    }

    /// Its module and where its data is, for messages and to know it again.
    #[must_use]
    pub fn place(&self) -> String {
        place(&self.opened)
    }

    /// How many collections it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.collections.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// The collection at this position, and its id.
    #[must_use]
    pub fn collection(&self, at: usize) -> (CollectionId, &Collection) {
        let (id, collection) = &self.collections[at];
        (*id, collection)
    }

    /// Bytes of rows that belong in one batch.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        if self.opened.storage.capabilities().has(Capability::Network) { NETWORK_BATCH } else { LOCAL_BATCH }
    }

    fn backend(&self) -> &dyn Backend {
        self.opened.storage.backend()
    }

    /// A page of a query's answer.
    ///
    /// # Errors
    /// The backend's.
    pub fn find(&self, query: &Query) -> Result<Page> {
        patiently(|cx| self.backend().find(cx, query, PAGE_BYTES))
    }

    /// One record.
    ///
    /// # Errors
    /// The backend's.
    pub fn get(&self, at: usize, key: KeyRef<'_>) -> Result<Option<Row>> {
        patiently(|cx| self.backend().get(cx, self.collection(at).0, key))
    }

    /// The record with this value in a unique field.
    ///
    /// # Errors
    /// The backend's.
    pub fn get_by(&self, at: usize, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        patiently(|cx| self.backend().get_by(cx, self.collection(at).0, field, value))
    }

    /// Stores a batch that leaves the same however often it is applied.
    ///
    /// # Errors
    /// The backend's.
    pub fn apply(&self, batch: &[Mutation]) -> Result<()> {
        patiently(|cx| self.backend().apply(cx, batch)).map(drop)
    }

    /// What the backend finds wrong with what is stored; nothing, if it does not offer to look.
    ///
    /// # Errors
    /// The backend's.
    pub fn verify(&self) -> Result<Report> {
        match patiently(|cx| self.backend().maintain(cx, &Task::Verify)) {
            Err(error) if error.code() == Code::Unsupported => Ok(Report::new()),
            other => other,
        }
    }

    /// Makes right what the backend keeps beside the records.
    ///
    /// # Errors
    /// The backend's.
    pub fn sync(&self) -> Result<()> {
        patiently(|cx| self.backend().sync(cx)).map(drop)
    }

    /// Where the history of each collection stands; `None` if the backend keeps none.
    ///
    /// # Errors
    /// The backend's.
    pub fn tokens(&self) -> Result<Option<Vec<Token>>> {
        let capabilities = self.opened.storage.capabilities();
        if !capabilities.has(Capability::ChangeTracking) {
            return Ok(None);
        }
        // What was written just before and is told late shows up as a change: one more round, and seldom. Waiting for it would cost
        // every round that time.
        let token = |(id, _): &(CollectionId, Collection)| {
            patiently(|cx| self.backend().changes_since(cx, *id, Token::default())).map(|(token, _)| token)
        };
        self.collections.iter().map(token).collect::<Result<_>>().map(Some)
    }

    /// Whether something was written since.
    ///
    /// # Errors
    /// The backend's.
    pub fn changed_since(&self, tokens: &[Token]) -> Result<bool> {
        sleep(self.opened.storage.capabilities().staleness());
        for ((id, _), token) in self.collections.iter().zip(tokens) {
            if patiently(|cx| self.backend().changes_since(cx, *id, *token))?.1 != Changes::Nothing {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Closes it, so that what it held is free.
    ///
    /// # Errors
    /// The backend's.
    pub fn close(self) -> Result<()> {
        self.backend().close(&Context::within(PATIENCE))
    }
}

/// The module of an open store and where its data is.
#[must_use]
pub fn place(opened: &Opened) -> String {
    format!("{} ({})", opened.module, names(opened).join(", "))
}

/// Whether both are known to be one store.
#[must_use]
pub fn is_same(one: &Opened, other: &Opened) -> bool {
    let names = names(one);
    one.module == other.module && !names.is_empty() && names == self::names(other)
}

/// Where the data is. What others may have open beside, a server's, is nobody's resource, and the backend says where it is.
fn names(opened: &Opened) -> Vec<String> {
    let backend = opened.storage.backend();
    let mut names: Vec<_> = backend.resources().into_iter().map(|r| redact::without_userinfo(&r.name)).collect();
    if names.is_empty()
        && let Ok(report) = backend.stats(&Context::within(PATIENCE))
        && let Some(Value::Text(location)) = report.get("location")
    {
        names.push(redact::without_userinfo(location));
    }
    names.sort_unstable();
    names
}

/// Calls until it goes well, or does not look as if it would. Reads may be repeated always, and so may the batches of a move.
fn patiently<T>(call: impl Fn(&Context<'_>) -> Result<T>) -> Result<T> {
    let mut pause = Duration::from_millis(50);
    for _ in 1..ATTEMPTS {
        match call(&Context::within(PATIENCE)) {
            Err(error) if may_pass(&error) => sleep(pause),
            other => return other,
        }
        pause *= 2;
    }
    call(&Context::within(PATIENCE))
}

fn may_pass(error: &Error) -> bool {
    let durability = error.detail().field.as_deref() == Some(Detail::DURABILITY);
    error.retryable() || (error.code() == Code::OutcomeUnknown && !durability)
}

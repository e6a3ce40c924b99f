//! A backend for tests: the reference model, with exact change tracking, counters and faults.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Wake, Waker};

use hivemind_model::reference::Reference;
use hivemind_model::{
    Applied, Backend, Capabilities, Capability, Changes, Collection, CollectionId, Context, Error, Key, KeyRef, Mutation,
    Outcome, Page, Query, Result, Row, Token, ValueRef,
};
use hivemind_store::{Clients, Options, Storage};

/// How the answer to the next batch gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    BeforeCommit,
    AfterCommit,
    /// The commit is in place, but the disk did not confirm it.
    NotDurable,
}

type Hook = Box<dyn FnMut() + Send>;

#[derive(Default)]
pub struct Tracked {
    pub inner: Reference,
    pub log: Mutex<Vec<Key>>,
    pub lookups: AtomicUsize,
    pub history_down: AtomicBool,
    pub database_down: AtomicBool,
    pub without_tracking: bool,
    pub without_inline_reads: bool,
    pub cut: Mutex<Option<Cut>>,
    /// Runs once, between a look-up's reading of the record and its return.
    pub after_lookup: Mutex<Option<Hook>>,
    /// Lets other threads run between a look-up's reading of the record and its return.
    pub yielding: AtomicBool,
    pub page_rows: AtomicUsize,
    /// Runs once, before a collection is prepared; then it is checked whether there is still time.
    pub before_prepare: Mutex<Option<Hook>>,
}

impl Tracked {
    fn looked_up(&self, row: Result<Option<Row>>) -> Result<Option<Row>> {
        self.lookups.fetch_add(1, SeqCst);
        let hook = self.after_lookup.lock().expect("lock").take();
        if let Some(mut hook) = hook {
            hook();
        }
        if self.yielding.load(SeqCst) {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        row
    }

    fn up(&self) -> Result<()> {
        if self.database_down.load(SeqCst) { Err(Error::unavailable("down for the test").known_not_applied()) } else { Ok(()) }
    }

    pub fn reads(&self) -> usize {
        self.lookups.load(SeqCst)
    }
}

impl Backend for Tracked {
    fn capabilities(&self) -> Capabilities {
        let mut all = self.inner.capabilities();
        if self.without_tracking {
            all = all.without(Capability::ChangeTracking);
        }
        if self.without_inline_reads { all.without(Capability::InlineReads) } else { all }
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let hook = self.before_prepare.lock().expect("lock").take();
        if let Some(mut hook) = hook {
            hook();
            cx.check()?;
        }
        self.inner.prepare(cx, collections)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.up()?;
        let row = self.inner.get(cx, collection, key);
        self.looked_up(row)
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        self.up()?;
        let row = self.inner.get_by(cx, collection, field, value);
        self.looked_up(row)
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        self.up()?;
        let page = self.inner.find(cx, query, max_bytes)?;
        self.page_rows.fetch_max(page.rows.len(), SeqCst);
        Ok(page)
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.up()?;
        let cut = self.cut.lock().expect("lock").take();
        if cut == Some(Cut::BeforeCommit) {
            return Err(Error::outcome_unknown("cut for the test"));
        }
        // The log lock spans the commit, so that no token is given between a change and its entry.
        let mut log = self.log.lock().expect("lock");
        let applied = self.inner.apply(cx, mutations)?;
        for (mutation, outcome) in mutations.iter().zip(&applied.outcomes) {
            match (mutation, outcome) {
                (_, Outcome::Inserted(key)) => log.push(key.clone()),
                (Mutation::Update { key, .. } | Mutation::Delete { key, .. }, _) => log.push(key.clone()),
                (Mutation::Put { row, .. }, _) => {
                    let collection = hivemind_store::clients::collection();
                    log.push(row.view(&collection)?.key().to_key());
                }
                _ => {}
            }
        }
        match cut {
            Some(Cut::NotDurable) => {
                Err(Error::outcome_unknown("in place, maybe not to last").field(hivemind_model::Detail::DURABILITY))
            }
            Some(_) => Err(Error::outcome_unknown("cut for the test")),
            None => Ok(applied),
        }
    }

    fn changes_since(&self, _cx: &Context<'_>, _collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        if self.history_down.load(SeqCst) {
            return Err(Error::unavailable("history is down for the test"));
        }
        let log = self.log.lock().expect("lock");
        let now = Token { epoch: 1, sequence: log.len() as u64 };
        let changes = match (token.epoch, usize::try_from(token.sequence).expect("small")) {
            (1, at) if at == log.len() => Changes::Nothing,
            (1, at) => Changes::Keys(log[at..].to_vec()),
            _ => Changes::Everything,
        };
        Ok((now, changes))
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Task::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

/// The value of a future that must be ready at its first poll.
pub fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not ready at the first poll"),
    }
}

pub fn open(backend: &Arc<Tracked>, options: Options) -> Clients {
    let backend: Arc<dyn Backend> = backend.clone();
    wait(Clients::open(&Storage::new(backend, options))).expect("clients")
}

pub fn clients() -> (Arc<Tracked>, Clients) {
    let backend = Arc::new(Tracked::default());
    let clients = open(&backend, Options::default());
    (backend, clients)
}

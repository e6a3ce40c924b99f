//! The storage calls of a node, all in one place: each is timed and told to whoever observes.
//!
//! Three rules hold here. A storage that does not answer, or that has lost its records, is never taken for one that does not know a
//! client: a satellite that is told "invalid api key" gives up for ever. Nothing is written but single fields, under the condition that
//! the client still has its access key. And what is written in passing, when a client was last seen, is written by one task of its own,
//! off everybody's way.

mod census;
mod seen;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hivemind_model::{Changes, Token};
use hivemind_store::clients::{MetadataChange, Pinned};
use hivemind_store::{Client, Clients, Error, Result};
use tokio::sync::Mutex;

use crate::event::{CHANGES, Event, Observer, storage_answers};

use census::Census;
pub(crate) use census::FILE as CENSUS_FILE;
use seen::Seen;

/// An unknown access key makes the node read its storage again, at most this often.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Why nobody can say whose an access key is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Unknowable {
    /// The storage failed.
    Storage(Error),
    /// The storage holds none of its records, or so few that it seems to be another one.
    Lost {
        /// How many records it holds.
        records: u64,
        /// How many this node has seen in it.
        seen: u64,
    },
    /// The storage holds fewer records than it did, and has not for long: somebody may be putting them back.
    Fewer {
        /// How many records it holds.
        records: u64,
        /// How many this node has seen in it.
        seen: u64,
    },
}

impl fmt::Display for Unknowable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Lost { records: 0, seen: 0 } => f.write_str(
                "the database holds no clients; add one, or start with --allow-empty if unknown satellites are to be sent away",
            ),
            Self::Lost { records, seen } => write!(
                f,
                "the database holds {records} client records, where this node has seen {seen}, and records are never removed; \
                 restore it, or start once with --allow-empty if it is meant to be so"
            ),
            Self::Fewer { records, seen } => {
                write!(f, "the database holds {records} client records now, where this node has seen {seen}")
            }
        }
    }
}

impl std::error::Error for Unknowable {}

/// The clients' records, as connections and the hub ask for them.
pub struct Directory {
    clients: Clients,
    observer: Arc<dyn Observer>,
    census: Census,
    synced: Mutex<Option<(Instant, Result<(), Unknowable>)>>,
    counted: Mutex<Option<Counted>>,
    seen: Seen,
    /// Whether the last call was answered that says so.
    answers: AtomicBool,
    /// Whether the storage held what it held when it was last counted.
    complete: AtomicBool,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("clients", &self.clients).finish_non_exhaustive()
    }
}

/// What counting the records came to, and when.
#[derive(Debug, Clone)]
struct Counted {
    began: Instant,
    ended: Instant,
    answer: Result<(), Unknowable>,
}

impl Counted {
    /// Whether it says something about what was looked at before a moment. That nothing can be said holds for a while, so that a storage
    /// in trouble is not asked by everybody.
    fn holds_for(&self, moment: Instant) -> bool {
        self.began >= moment || (self.answer.is_err() && self.ended.elapsed() < SYNC_INTERVAL)
    }

    /// How long to wait before the next time: strangers make the node count for a tenth of its time at most, however many records
    /// there are.
    fn rest(&self) -> Duration {
        let rest = self.ended.duration_since(self.began) * 9;
        rest.min(SYNC_INTERVAL).saturating_sub(self.ended.elapsed())
    }
}

/// What a directory is made of.
pub struct Setup {
    /// The records.
    pub clients: Clients,
    /// Who is told of every call.
    pub observer: Arc<dyn Observer>,
    /// A client's `last_seen` is written at most this often; zero: after everything it sends.
    pub last_seen_interval: Duration,
    /// Where the number of records is kept, if anywhere.
    pub census: Option<PathBuf>,
    /// Whether the storage is what it should be, however little it holds.
    pub allow_empty: bool,
}

impl Directory {
    /// A directory, and the task that writes when clients were last seen, on the current runtime. The task ends with the directory.
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Self> {
        let (seen, touches) = Seen::new(setup.last_seen_interval);
        let directory = Arc::new(Self {
            clients: setup.clients,
            observer: setup.observer,
            census: Census::new(setup.census, setup.allow_empty),
            synced: Mutex::default(),
            counted: Mutex::default(),
            seen,
            answers: AtomicBool::new(true),
            complete: AtomicBool::new(true),
        });
        tokio::spawn(seen::write(Arc::downgrade(&directory), touches));
        directory
    }

    /// The client with this access key. If there is none, the storage is told to look again, and asked once more.
    ///
    /// # Errors
    /// If the storage failed or seems to have lost its records: then nobody is unknown.
    pub async fn admit(&self, access_key: &str) -> Result<Option<Arc<Client>>, Unknowable> {
        if let Some(client) = self.by_access_key(access_key).await? {
            return Ok(Some(client));
        }
        let synced = self.sync().await;
        let found = self.find(|| self.by_access_key(access_key)).await?;
        if found.is_none() {
            synced?;
        }
        Ok(found)
    }

    async fn by_access_key(&self, access_key: &str) -> Result<Option<Arc<Client>>, Unknowable> {
        self.call("by_access_key", self.clients.by_access_key(access_key)).await.map_err(Unknowable::Storage)
    }

    /// Looks until somebody is found, or until the storage held its records both before and after nobody was: a storage that is lost,
    /// or put back, at that very moment tells nothing.
    async fn find<F>(&self, look: impl Fn() -> F) -> Result<Option<Arc<Client>>, Unknowable>
    where
        F: Future<Output = Result<Option<Arc<Client>>, Unknowable>>,
    {
        loop {
            let was_complete = self.complete.load(Ordering::Relaxed);
            if let Some(found) = look().await? {
                return Ok(Some(found));
            }
            self.count().await?;
            if was_complete {
                return Ok(None);
            }
        }
    }

    /// Re-reads the storage and counts its records, at most once in [`SYNC_INTERVAL`]; in between the last answer holds, a failure too.
    async fn sync(&self) -> Result<(), Unknowable> {
        let mut last = self.synced.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < SYNC_INTERVAL
        {
            return answer.clone();
        }
        let answer = self.sync_now().await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn sync_now(&self) -> Result<(), Unknowable> {
        let storage = self.clients.storage();
        let sync = async { Ok(storage.run(|backend, cx| backend.sync(cx)).await?) };
        self.call("sync", sync).await.map_err(Unknowable::Storage)?;
        self.count().await
    }

    /// Counts the records and compares them with those that were there before. All who ask at the same time are told the same, and what
    /// was counted before they asked is not.
    ///
    /// # Errors
    /// If the storage failed or seems to have lost its records.
    pub async fn count(&self) -> Result<(), Unknowable> {
        let asked = Instant::now();
        let mut last = self.counted.lock().await;
        if let Some(counted) = &*last {
            if counted.holds_for(asked) {
                return counted.answer.clone();
            }
            tokio::time::sleep(counted.rest()).await;
        }
        let began = Instant::now();
        let answer = self.count_now().await;
        *last = Some(Counted { began, ended: Instant::now(), answer: answer.clone() });
        answer
    }

    async fn count_now(&self) -> Result<(), Unknowable> {
        let records = self.call("count", self.clients.count()).await.map_err(Unknowable::Storage)?;
        let answer = self.census.compare(records).await;
        self.complete.store(answer.is_ok(), Ordering::Relaxed);
        answer
    }

    /// Whether the storage answered when it was last asked, and held what it held when it was last counted.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.answers.load(Ordering::Relaxed) && self.complete.load(Ordering::Relaxed)
    }

    /// The record as it is now; `None` if the client was revoked or has another access key. A revoked client's record says so; one that is
    /// not there, or another's, says as much as the storage can be believed.
    ///
    /// # Errors
    /// If the storage failed, or the record is missing and it seems to have lost others too.
    pub async fn current(&self, id: i64, access_key: &str) -> Result<Option<Arc<Client>>, Unknowable> {
        let look = || async {
            let found = self.call("by_id", self.clients.by_id(id)).await.map_err(Unknowable::Storage)?;
            Ok(found.filter(|client| client.api_key == access_key || client.is_revoked()))
        };
        Ok(self.find(look).await?.filter(|client| !client.is_revoked()))
    }

    /// Which records changed since a token was given.
    ///
    /// # Errors
    /// The backend's.
    pub async fn changes_since(&self, token: Token) -> Result<(Token, Changes)> {
        let id = self.clients.id();
        let read = async { Ok(self.clients.storage().read(move |backend, cx| backend.changes_since(cx, id, token)).await?) };
        self.call(CHANGES, read).await
    }

    /// Sets a metadata member to a text if the client has none.
    ///
    /// # Errors
    /// If the client is not what it was when read; the backend's.
    pub async fn pin(&self, client: &Client, member: &str, value: &str) -> Result<Pinned> {
        self.call("pin", self.clients.pin(client, member, value)).await
    }

    /// Sets members of a client's metadata.
    ///
    /// # Errors
    /// If the client is not what it was when read; the backend's.
    pub async fn set_metadata(&self, client: &Client, change: &MetadataChange) -> Result<Arc<Client>> {
        self.call("set_metadata", self.clients.set_metadata(client, change)).await
    }

    /// Something was heard of a client whose session is up. When it is to be said next at the earliest.
    pub fn heard(&self, client: &Arc<Client>) -> Instant {
        self.seen.heard(client)
    }

    async fn call<T>(&self, call: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let start = Instant::now();
        let answer = work.await;
        let error = match &answer {
            Err(Error::Backend(error)) => Some(error.code()),
            _ => None,
        };
        // Mostly it is so already, and a store would be seen by all processors.
        if let Some(answers) = storage_answers(call, error)
            && self.answers.load(Ordering::Relaxed) != answers
        {
            self.answers.store(answers, Ordering::Relaxed);
        }
        self.observer.see(&Event::Called { call, took: start.elapsed(), error });
        answer
    }
}

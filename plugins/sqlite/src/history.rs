//! What changed since when: the answers of `changes_since`.
//!
//! Something **witnesses** every commit, of this process or another: the head of the WAL-index ([`WalIndex`], nanoseconds), or where
//! there is none to look at, `PRAGMA data_version` of a connection that commits nothing, the tracker. A witness does not say whose
//! commit it was or how many there were. The question is which moves are our own, because those have known keys, while anybody
//! else's mean `Everything`. The **writer** can tell: it makes all our commits, so its own `data_version` moves with foreign ones
//! only. But it is busy while it writes, and a lookup must not wait for an fsync.
//!
//! So lookups ask the witness, and the writer settles ownership around each of its transactions, under one lock:
//!
//! 1. After `BEGIN IMMEDIATE` ([`History::began`]) nobody else can commit. Whatever the witness says now that it had not said is
//!    foreign, since every own commit was settled by step 3 before. What witness and writer say is noted.
//! 2. Until `COMMIT`, the witness can only move because our own commit became visible. A lookup that sees it move in this time
//!    waits for step 3, microseconds later; if that takes longer (a checkpoint runs inside `COMMIT`), it answers `Everything` and
//!    notes nothing, so that the next lookup looks again.
//! 3. After `COMMIT` ([`History::committed`]) the witness is asked first, then the writer. If the writer's value is the one of step
//!    1, no foreign commit happened up to the second question, so what the witness said was ours alone. If not, a foreign commit came
//!    right after ours: ours is noted with its keys, and then one of unknown content.
//!
//! A commit made before a lookup starts is witnessed then, so it is never missed. Mistakes are possible in one direction only:
//! `Everything` for a change that had known keys, for instance when another program restarts the log right after our commit.
//!
//! Most lookups find that nothing moved. Those take no lock that others wait for: what they need, the witness and what it last
//! said, is behind a lock of many shards ([`Seen`]), and each thread reads its own.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard};
use hivemind_abi::model::history::History as Recent;
use hivemind_abi::model::{Changes, CollectionId, Error, Key, Result, Token};
use rusqlite::Connection;

use crate::wal_index::{Head, WalIndex};

/// How long a lookup waits for our own commit to be settled.
const SETTLING: Duration = Duration::from_millis(2);

/// The records that a batch wrote or removed; one may be there twice.
pub(crate) type Touched = Vec<(CollectionId, Key)>;

/// The history of one handle.
pub(crate) struct History {
    epoch: u64,
    /// Taken before `seen` where both are.
    state: Mutex<State>,
    seen: ShardedLock<Seen>,
    settled: Condvar,
}

struct State {
    log: Log,
    /// What the witness last said; `None` if that could not be read.
    witnessed: Option<Testimony>,
    /// The writer's value in its running transaction.
    written: Option<i64>,
    writing: bool,
}

/// Who knows whether somebody committed.
enum Witness {
    /// Nobody needs to: the database is in memory, where nobody else can commit.
    Memory,
    Index(WalIndex),
    /// A connection that commits nothing.
    Tracker(Mutex<Connection>),
    /// The handle was closed.
    Gone,
}

/// What a witness says. It moves with every commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Testimony {
    Nothing,
    Head(Head),
    Version(i64),
}

/// What tells a lookup that nothing moved.
struct Seen {
    witness: Witness,
    /// The head at which the history stood as it stands here.
    head: Option<Head>,
    sequence: u64,
    unknown_since: u64,
}

impl Witness {
    fn new(tracker: Option<Connection>) -> Self {
        match tracker.map(WalIndex::new) {
            None => Self::Memory,
            Some(Ok(index)) => Self::Index(index),
            Some(Err(connection)) => Self::Tracker(Mutex::new(connection)),
        }
    }

    fn ask(&self) -> Option<Testimony> {
        match self {
            Self::Memory => Some(Testimony::Nothing),
            Self::Index(index) => index.read().map(Testimony::Head),
            Self::Tracker(connection) => {
                data_version(&connection.lock().unwrap_or_else(PoisonError::into_inner)).map(Testimony::Version)
            }
            Self::Gone => None,
        }
    }
}

impl Testimony {
    /// Whether nothing was committed since an earlier one.
    fn holds_the_same(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Head(now), Self::Head(earlier)) => now.holds_the_same(earlier),
            _ => self == earlier,
        }
    }
}

impl Seen {
    fn is_still(&self) -> bool {
        match (&self.witness, &self.head) {
            (Witness::Memory, _) => true,
            (Witness::Index(index), Some(head)) => index.is_still(head),
            _ => false,
        }
    }
}

impl History {
    pub(crate) fn new(tracker: Option<Connection>) -> Result<Self> {
        let epoch = getrandom::u64().map_err(|e| Error::io(format!("the system gave no random number: {e}")))?;
        Ok(Self::witnessed_by(Witness::new(tracker), epoch))
    }

    fn witnessed_by(witness: Witness, epoch: u64) -> Self {
        let state = State { log: Log::new(epoch), witnessed: witness.ask(), written: None, writing: false };
        let seen = Seen { witness, head: None, sequence: 0, unknown_since: 0 };
        let history = Self { epoch, state: Mutex::new(state), seen: ShardedLock::new(seen), settled: Condvar::new() };
        history.show(&history.state());
        history
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> ShardedLockReadGuard<'_, Seen> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) -> Option<Testimony> {
        self.seen().witness.ask()
    }

    /// Lets lookups know where history stands.
    fn show(&self, state: &State) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.head = match state.witnessed {
            Some(Testimony::Head(head)) => Some(head),
            _ => None,
        };
        seen.sequence = state.log.changes.token().sequence;
        seen.unknown_since = state.log.unknown_since;
    }

    /// Where history stands, and what changed in a collection since `token`.
    pub(crate) fn since(&self, collection: CollectionId, token: Token) -> (Token, Changes) {
        let seen = self.seen();
        if token == (Token { epoch: self.epoch, sequence: seen.sequence }) && seen.is_still() {
            return (token, Changes::Nothing);
        }
        drop(seen);
        let (state, known) = self.look();
        let changes = if known { state.log.changes.since(collection, token) } else { Changes::Everything };
        (state.log.changes.token(), changes)
    }

    /// A number that moves with every change of unknown content; `None` when it cannot be told right now.
    pub(crate) fn unknown_changes(&self) -> Option<u64> {
        let seen = self.seen();
        if seen.is_still() {
            return Some(seen.unknown_since);
        }
        drop(seen);
        let (state, known) = self.look();
        known.then_some(state.log.unknown_since)
    }

    /// Whether another program was seen to write.
    pub(crate) fn others_seen(&self) -> bool {
        self.look().0.log.others
    }

    /// Takes notice of foreign commits. `false` if ours is just becoming visible and was not settled in time.
    fn look(&self) -> (MutexGuard<'_, State>, bool) {
        let mut state = self.state();
        let mut waiting_since: Option<Instant> = None;
        loop {
            let now = self.ask();
            if state.is_known(now) {
                if state.witnessed != now {
                    state.witnessed = now;
                    self.show(&state);
                }
                return (state, true);
            }
            if !state.writing {
                state.witnessed = now;
                state.log.unknown();
                self.show(&state);
                return (state, true);
            }
            let left = SETTLING.saturating_sub(waiting_since.get_or_insert_with(Instant::now).elapsed());
            if left.is_zero() {
                return (state, false);
            }
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Step 1, to be called right after `BEGIN IMMEDIATE`, or see [`Self::outside`]. The transaction must end in `committed` or `ended`.
    pub(crate) fn began(&self, writer: &Connection) {
        let mut state = self.state();
        state.writing = true;
        // Before the witness is asked: without the lock, a foreign commit in between is noted twice then, rather than never.
        if state.witnessed != Some(Testimony::Nothing) {
            state.written = data_version(writer);
        }
        let now = self.ask();
        if !state.is_known(now) {
            state.log.unknown();
        }
        state.witnessed = now;
        self.show(&state);
    }

    /// The same for what commits by itself and changes no record, such as `VACUUM`, without the write lock. A foreign commit at any
    /// moment of it moves the writer's own version between step 1 and step 3, and is noted as one of unknown content.
    pub(crate) fn outside<'h>(&'h self, writer: &'h Connection) -> Outside<'h> {
        self.began(writer);
        Outside { history: self, writer }
    }

    /// Step 3, to be called right after `COMMIT`. `keys` is `None` when it is not known what changed.
    pub(crate) fn committed(&self, writer: &Connection, keys: Option<Touched>) -> Token {
        let mut state = self.state();
        match keys {
            Some(keys) => state.log.changes.record(keys),
            None => state.log.everything(),
        }
        let token = state.log.changes.token();
        state.witnessed = self.ask();
        if state.witnessed != Some(Testimony::Nothing) {
            let written = data_version(writer);
            if written.is_none() || written != state.written {
                state.log.unknown();
            }
        }
        state.writing = false;
        self.show(&state);
        drop(state);
        self.settled.notify_all();
        token
    }

    /// To be called when a transaction was rolled back.
    pub(crate) fn ended(&self) {
        self.state().writing = false;
        self.settled.notify_all();
    }

    /// The present, without looking.
    pub(crate) fn token(&self) -> Token {
        self.state().log.changes.token()
    }

    /// Lets the witness go, when the lookups that are looking at it have.
    pub(crate) fn close(&self) {
        self.seen.write().unwrap_or_else(PoisonError::into_inner).witness = Witness::Gone;
    }
}

impl State {
    /// Whether a testimony tells nothing new.
    fn is_known(&self, now: Option<Testimony>) -> bool {
        now.zip(self.witnessed).is_some_and(|(now, earlier)| now.holds_the_same(&earlier))
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

fn data_version(connection: &Connection) -> Option<i64> {
    let ask = || connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
    ask().ok()
}

/// The changes with their keys, and since when those of unknown content are known to be over.
struct Log {
    changes: Recent,
    /// The place of the last change of unknown content.
    unknown_since: u64,
    others: bool,
}

impl Log {
    const fn new(epoch: u64) -> Self {
        Self { changes: Recent::new(epoch), unknown_since: 0, others: false }
    }

    /// A foreign change.
    fn unknown(&mut self) {
        self.others = true;
        self.everything();
    }

    fn everything(&mut self) {
        self.changes.record_unknown();
        self.unknown_since = self.changes.token().sequence;
    }
}

/// Something that commits by itself. It is settled when this is dropped, also by a panic: what became of it does not matter, because no
/// record changes.
pub(crate) struct Outside<'h> {
    history: &'h History,
    writer: &'h Connection,
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        self.history.committed(self.writer, Some(Vec::new()));
    }
}

#[cfg(test)]
mod tests;

//! What changed since when: the answers of `changes_since`.
//!
//! `PRAGMA data_version` of a connection moves when *any other* connection has committed, of this process or another, and it does
//! not say whose commit it was or how many there were. The question is which moves are our own, because those have known keys,
//! while anybody else's mean `Everything`. The answer uses two connections that see different things:
//!
//! - the **tracker** commits nothing, so its value moves with every commit, ours included;
//! - the **writer** makes all our commits, so its value moves with foreign ones only. But it is busy while it writes, and a lookup
//!   must not wait for an fsync.
//!
//! So lookups ask the tracker, and the writer settles ownership around each of its transactions, under one lock:
//!
//! 1. After `BEGIN IMMEDIATE` ([`History::began`]) nobody else can commit. Whatever the tracker sees now that it had not seen is
//!    foreign, since every own commit was settled by step 3 before. Both values are noted.
//! 2. Until `COMMIT`, the tracker can only move because our own commit became visible. A lookup that sees it move in this time
//!    waits for step 3, microseconds later; if that takes longer (a checkpoint runs inside `COMMIT`), it answers `Everything` and
//!    notes nothing, so that the next lookup looks again.
//! 3. After `COMMIT` ([`History::committed`]) the tracker is asked first, then the writer. If the writer's value is the one of step
//!    1, no foreign commit happened up to the second question, so what the tracker saw was ours alone. If not, a foreign commit came
//!    right after ours: ours is noted with its keys, and then one of unknown content.
//!
//! A commit made before a lookup starts is visible to the tracker then, so it is never missed. Mistakes are possible in one
//! direction only: `Everything` for a change that had known keys, for instance when a checkpoint of another program restarts the log.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hivemind_abi::model::history::History as Recent;
use hivemind_abi::model::{Changes, CollectionId, Error, Key, Result, Token};
use rusqlite::Connection;

/// How long a lookup waits for our own commit to be settled.
const SETTLING: Duration = Duration::from_millis(2);

/// The records that a batch wrote or removed; one may be there twice.
pub(crate) type Touched = Vec<(CollectionId, Key)>;

/// The history of one handle.
pub(crate) struct History {
    state: Mutex<State>,
    settled: Condvar,
}

struct State {
    log: Log,
    /// `None` in memory, where nobody else can commit.
    tracker: Option<Connection>,
    /// The tracker's last value; `None` if it could not be read.
    tracked: Option<i64>,
    /// The writer's value in its running transaction.
    written: Option<i64>,
    writing: bool,
}

impl History {
    pub(crate) fn new(tracker: Option<Connection>) -> Result<Self> {
        let epoch = getrandom::u64().map_err(|e| Error::io(format!("the system gave no random number: {e}")))?;
        let tracked = tracker.as_ref().and_then(data_version);
        let state = State { log: Log::new(epoch), tracker, tracked, written: None, writing: false };
        Ok(Self { state: Mutex::new(state), settled: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where history stands, and what changed in a collection since `token`.
    pub(crate) fn since(&self, collection: CollectionId, token: Token) -> (Token, Changes) {
        let (state, known) = self.look();
        let changes = if known { state.log.changes.since(collection, token) } else { Changes::Everything };
        (state.log.changes.token(), changes)
    }

    /// A number that moves with every change of unknown content; `None` when it cannot be told right now.
    pub(crate) fn unknown_changes(&self) -> Option<u64> {
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
            let now = state.tracker.as_ref().map(data_version);
            let moved = now.is_some_and(|now| now.is_none() || now != state.tracked);
            if !moved {
                return (state, true);
            }
            if !state.writing {
                state.tracked = now.flatten();
                state.log.unknown();
                return (state, true);
            }
            let left = SETTLING.saturating_sub(waiting_since.get_or_insert_with(Instant::now).elapsed());
            if left.is_zero() {
                return (state, false);
            }
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Step 1, to be called right after `BEGIN IMMEDIATE`. The transaction must end in `committed` or `ended`.
    pub(crate) fn began(&self, writer: &Connection) {
        let mut state = self.state();
        state.writing = true;
        let Some(now) = state.tracker.as_ref().map(data_version) else { return };
        if now.is_none() || now != state.tracked {
            state.tracked = now;
            state.log.unknown();
        }
        state.written = data_version(writer);
    }

    /// Step 3, to be called right after `COMMIT`. `keys` is `None` when it is not known what changed.
    pub(crate) fn committed(&self, writer: &Connection, keys: Option<Touched>) -> Token {
        let mut state = self.state();
        match keys {
            Some(keys) => state.log.changes.record(keys),
            None => state.log.everything(),
        }
        let token = state.log.changes.token();
        if let Some(now) = state.tracker.as_ref().map(data_version) {
            state.tracked = now;
            let written = data_version(writer);
            if written.is_none() || written != state.written {
                state.log.unknown();
            }
        }
        state.writing = false;
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

    /// Lets the tracker go.
    pub(crate) fn close(&self) {
        self.state().tracker = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: CollectionId = CollectionId(0);

    fn keys(keys: impl IntoIterator<Item = i64>) -> Touched {
        keys.into_iter().map(|k| (CLIENTS, Key::Int(k))).collect()
    }

    /// A writer, a foreign program, and the history of the handle that the writer belongs to.
    fn scene(folder: &tempfile::TempDir) -> (Connection, Connection, History) {
        let open = || Connection::open(folder.path().join("t.db")).expect("opens");
        let writer = open();
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").expect("SQL");
        (writer, open(), History::new(Some(open())).expect("a history"))
    }

    fn write(connection: &Connection) {
        connection.execute_batch("INSERT INTO t VALUES (1)").expect("SQL");
    }

    #[test]
    fn a_foreign_commit_right_after_ours_is_not_taken_for_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, other, history) = scene(&folder);
        let start = history.token();
        writer.execute_batch("BEGIN IMMEDIATE").expect("SQL");
        history.began(&writer);
        write(&writer);
        writer.execute_batch("COMMIT").expect("SQL");
        write(&other);
        let token = history.committed(&writer, Some(keys([1])));
        assert_eq!(history.since(CLIENTS, token).1, Changes::Everything);
        assert_eq!(history.since(CLIENTS, start).1, Changes::Everything);
        assert!(history.others_seen());
    }

    #[test]
    fn a_foreign_commit_right_before_ours_is_not_taken_for_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, other, history) = scene(&folder);
        let start = history.token();
        write(&other);
        writer.execute_batch("BEGIN IMMEDIATE").expect("SQL");
        history.began(&writer);
        write(&writer);
        writer.execute_batch("COMMIT").expect("SQL");
        let token = history.committed(&writer, Some(keys([1])));
        assert_eq!(history.since(CLIENTS, start).1, Changes::Everything);
        assert_eq!(history.since(CLIENTS, token).1, Changes::Nothing);
    }

    #[test]
    fn our_commit_is_never_hidden_between_its_appearance_and_its_settling() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, _, history) = scene(&folder);
        let start = history.token();
        writer.execute_batch("BEGIN IMMEDIATE").expect("SQL");
        history.began(&writer);
        write(&writer);
        assert_eq!(history.since(CLIENTS, start).1, Changes::Nothing);
        writer.execute_batch("COMMIT").expect("SQL");
        assert_eq!(history.since(CLIENTS, start), (start, Changes::Everything));
        assert_eq!(history.unknown_changes(), None);
        history.committed(&writer, Some(keys([1])));
        assert_eq!(history.since(CLIENTS, start).1, Changes::Keys(vec![Key::Int(1)]), "and then its keys are known");
        assert!(!history.others_seen());
    }
}

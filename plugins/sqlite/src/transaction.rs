//! One write transaction: from `BEGIN IMMEDIATE` to `COMMIT`, or back.
//!
//! The write lock is taken at the beginning, so that what a batch reads is what it changes, and so that waiting for another program
//! happens before anything was done. A transaction that is dropped is rolled back. Beginning, carrying batches out and committing
//! are apart, so that several batches can share one commit.

use std::thread;
use std::time::{Duration, Instant};

use hivemind_abi::model::engine::{self, Transaction};
use hivemind_abi::model::{
    Catalog, CollectionId, Context, Error, Key, Kind, Mutation, Outcome, Query, Result, Row, Token, ValueRef,
};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::connection::{Opener, Watched};
use crate::decode::decode;
use crate::find;
use crate::history::{History, Touched};
use crate::opened::Opened;
use crate::statements::{Bound, Table};

/// How long to sleep before trying a lock again; the last one is repeated.
const PAUSES: [Duration; 5] = [
    Duration::from_micros(200),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
];

/// Waiting for other writes of this program is mentioned from here on.
const TOLD: Duration = Duration::from_millis(50);

/// A running write transaction.
pub(crate) struct Writing<'w> {
    connection: &'w Watched,
    opener: &'w Opener,
    opened: &'w Opened,
    history: &'w History,
    open: bool,
}

impl<'w> Writing<'w> {
    /// Takes the write lock, waiting for other programs no longer than the settings and the caller allow.
    ///
    /// # Errors
    /// `io` if another file is at the path by now: what is written here would go to the log beside that one, and destroy it.
    pub(crate) fn begin(
        cx: &Context<'_>,
        connection: &'w Watched,
        opener: &'w Opener,
        opened: &'w Opened,
        history: &'w History,
    ) -> Result<Self> {
        Self::begin_since(cx, Instant::now(), connection, opener, opened, history)
    }

    /// The same for a caller that has been waiting since then.
    pub(crate) fn begin_since(
        cx: &Context<'_>,
        since: Instant,
        connection: &'w Watched,
        opener: &'w Opener,
        opened: &'w Opened,
        history: &'w History,
    ) -> Result<Self> {
        // What begins or ends a transaction must not be cut: it could be reported as failed although it happened.
        connection.end_with(None);
        let failed = |e: &rusqlite::Error| opener.failed(e);
        connection.busy_timeout(Duration::ZERO).map_err(|e| failed(&e))?;
        let patience = opener.patience_since(cx, since);
        let tries_since = Instant::now();
        let mut pauses = PAUSES.into_iter();
        let mut pause = PAUSES[0];
        loop {
            cx.check()?;
            opened.check(connection)?;
            match connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.execute([])) {
                Ok(_) => break,
                Err(e) if is_busy(&e) => {
                    let left = patience.saturating_sub(tries_since.elapsed());
                    if left.is_zero() {
                        cx.check()?;
                        let tried = tries_since.elapsed();
                        return Err(locked(opener.place(), tried, since.elapsed().saturating_sub(tried)));
                    }
                    pause = pauses.next().unwrap_or(pause);
                    std::thread::sleep(pause.min(left));
                }
                Err(e) => return Err(failed(&e)),
            }
        }
        history.began(connection);
        connection.end_with(Some(cx));
        Ok(Self { connection, opener, opened, history, open: true })
    }

    /// Carries a batch out. After an error the transaction is only good for being dropped.
    pub(crate) fn apply(
        &self,
        cx: &Context<'_>,
        catalog: &Catalog,
        tables: &dyn Fn(CollectionId) -> Result<&'w Table>,
        mutations: &[Mutation],
    ) -> Result<(Vec<Outcome>, Touched)> {
        let mut batch = Batch { connection: self.connection, opener: self.opener, cx, tables, touched: Vec::new() };
        let outcomes = engine::apply(&mut batch, catalog, cx, mutations)?;
        cx.check()?;
        Ok((outcomes, batch.touched))
    }

    /// Carries one more batch out, so that its failure undoes what it did alone.
    ///
    /// # Errors
    /// That of a transaction in which nothing more can be done: it is to be dropped, and takes all batches with it.
    pub(crate) fn apply_apart<T>(
        &self,
        cx: &Context<'_>,
        work: impl FnOnce() -> thread::Result<Result<T>>,
    ) -> Result<thread::Result<Result<T>>> {
        self.control("SAVEPOINT batch")?;
        self.connection.end_with(Some(cx));
        let done = work();
        self.connection.end_with(None);
        // Some failures (a full disk, a statement that was cut) end the whole transaction.
        if self.connection.is_autocommit() {
            return Err(Error::io("the transaction was ended by one of its batches"));
        }
        if !matches!(done, Ok(Ok(_))) {
            self.control("ROLLBACK TO batch")?;
        }
        self.control("RELEASE batch")?;
        Ok(done)
    }

    fn control(&self, sql: &str) -> Result<()> {
        self.connection.prepare_cached(sql).and_then(|mut s| s.execute([])).map(drop).map_err(|e| self.opener.failed(&e))
    }

    /// Makes what was done last. `touched` is `None` when it is not known which records changed.
    ///
    /// When SQLite's `COMMIT` fails, the transaction is rolled back and nothing is applied, unless it was the disk that failed: see
    /// [`commit_failed`].
    pub(crate) fn commit(mut self, touched: Option<Touched>) -> Result<Token> {
        self.connection.end_with(None);
        self.opened.check(self.connection).map_err(|e| e.context("nothing was applied"))?;
        let done = self.connection.prepare_cached("COMMIT").and_then(|mut s| s.execute([]));
        done.map_err(|e| commit_failed(&e, self.opener))?;
        self.open = false;
        Ok(self.history.committed(self.connection, touched))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        self.connection.end_with(None);
        // Some errors (a full disk) have rolled back already.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.history.ended();
    }
}

/// What a failed `COMMIT` means. After an error of reading or writing the log may hold the whole transaction all the same; if the
/// machine goes down before something else is written there, recovery finds it.
fn commit_failed(error: &rusqlite::Error, opener: &Opener) -> Error {
    let failed = opener.failed(error);
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::SystemIoFailure) {
        return failed.context("nothing was applied");
    }
    let message = format!(
        "{}; the change was taken back, but after a crash of the system it may appear again; read it before repeating it",
        failed.message()
    );
    Error::outcome_unknown(message).place(opener.place())
}

/// The answer when the time was over before the lock was free. The time in the queue of this program's own writes is no other
/// program's.
fn locked(place: &str, tried: Duration, queued: Duration) -> Error {
    let mut message = format!("{place}: another program held the write lock for {:.1} s", tried.as_secs_f32());
    if queued >= TOLD {
        message += &format!(", after {:.1} s behind other writes of this program", queued.as_secs_f32());
    }
    Error::busy(message).place(place)
}

/// Whether somebody else has the lock.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}

/// What the engine's rules work on.
struct Batch<'b, 't> {
    connection: &'b Connection,
    opener: &'b Opener,
    cx: &'b Context<'b>,
    tables: &'b dyn Fn(CollectionId) -> Result<&'t Table>,
    touched: Touched,
}

impl Batch<'_, '_> {
    fn failed(&self, error: rusqlite::Error) -> Error {
        self.opener.failed(&error)
    }
}

impl Transaction for Batch<'_, '_> {
    fn read(&mut self, id: CollectionId, key: &Key) -> Result<Option<Row>> {
        get(self.connection, (self.tables)(id)?, key.as_ref().as_value(), self.opener)
    }

    fn write(&mut self, id: CollectionId, key: &Key, row: &Row, _old: Option<&Row>) -> Result<()> {
        let table = (self.tables)(id)?;
        let view = row.view(&table.collection)?;
        let values = params_from_iter(view.iter().map(|(_, value)| Bound(value)));
        let write = || self.connection.prepare_cached(&table.write)?.execute(values);
        write().map_err(|e| self.failed(e).key(key.clone()))?;
        self.touched.push((id, key.clone()));
        Ok(())
    }

    fn remove(&mut self, id: CollectionId, key: &Key, _old: &Row) -> Result<()> {
        let table = (self.tables)(id)?;
        let remove = || self.connection.prepare_cached(&table.remove)?.execute([Bound(key.as_ref().as_value())]);
        remove().map_err(|e| self.failed(e).key(key.clone()))?;
        self.touched.push((id, key.clone()));
        Ok(())
    }

    fn greatest_key(&mut self, id: CollectionId) -> Result<i64> {
        let table = (self.tables)(id)?;
        let ask = || self.connection.prepare_cached(&table.greatest)?.query_row([], |row| row.get::<_, Option<i64>>(0));
        ask().map(|greatest| greatest.unwrap_or(0)).map_err(|e| self.failed(e))
    }

    fn holder(&mut self, id: CollectionId, field: usize, value: ValueRef<'_>, except: &Key) -> Result<Option<Key>> {
        let table = (self.tables)(id)?;
        table.collection.at(field)?;
        let Some(sql) = table.holder.get(field) else { return Ok(None) };
        let except = Bound(except.as_ref().as_value());
        let is_int = table.collection.key_kind() == Kind::Int;
        let ask = || {
            self.connection
                .prepare_cached(sql)?
                .query_row(
                    [Bound(value), except],
                    |row| {
                        if is_int { row.get(0).map(Key::Int) } else { row.get(0).map(Key::Text) }
                    },
                )
                .optional()
        };
        ask().map_err(|e| self.failed(e))
    }

    fn matching(&mut self, query: &Query) -> Result<Vec<Key>> {
        let table = (self.tables)(query.collection)?;
        let mut keys = Vec::new();
        let wanted = query.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
        let mut to_skip = query.offset;
        find::scan(self.cx, self.connection, self.opener, table, query, |_, view| {
            if to_skip > 0 {
                to_skip -= 1;
            } else if keys.len() < wanted {
                keys.push(view.key().to_key());
            }
            keys.len() < wanted
        })?;
        Ok(keys)
    }
}

/// The record with this key.
pub(crate) fn get(connection: &Connection, table: &Table, key: ValueRef<'_>, opener: &Opener) -> Result<Option<Row>> {
    let (name, kind) = (table.collection.key_name(), table.collection.key_kind());
    // Checked, because SQLite would turn the text '5' into the number.
    hivemind_abi::model::value::check(key, kind, name)?;
    one(connection, table, &table.get, key, opener)
}

/// The record that a statement with one parameter finds.
pub(crate) fn one(
    connection: &Connection,
    table: &Table,
    sql: &str,
    value: ValueRef<'_>,
    opener: &Opener,
) -> Result<Option<Row>> {
    let ask = || {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([Bound(value)])?;
        Ok(rows.next()?.map(|row| decode(table, row)))
    };
    match ask().map_err(|e: rusqlite::Error| opener.failed(&e))? {
        None => Ok(None),
        Some(decoded) => decoded.into_row(&table.collection, opener.place()).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Code;
    use rusqlite::ffi;

    use super::*;
    use crate::config::Synchronous;
    use crate::key::Cipher;

    #[test]
    fn another_program_is_not_blamed_for_the_time_in_our_own_queue() {
        let alone = locked("clients.db", Duration::from_secs(10), Duration::from_micros(20));
        assert_eq!(alone.message(), "clients.db: another program held the write lock for 10.0 s");
        let queued = locked("clients.db", Duration::from_millis(200), Duration::from_millis(9800));
        assert_eq!(
            queued.message(),
            "clients.db: another program held the write lock for 0.2 s, after 9.8 s behind other writes of this program"
        );
    }

    #[test]
    fn a_commit_that_the_disk_failed_is_not_said_to_have_applied_nothing() {
        let opener = Opener::new(None, Cipher::default(), Synchronous::Full, Duration::ZERO);
        for (code, expected) in [
            (ffi::SQLITE_IOERR, Code::OutcomeUnknown),
            (ffi::SQLITE_IOERR_FSYNC, Code::OutcomeUnknown),
            (ffi::SQLITE_IOERR_WRITE, Code::OutcomeUnknown),
            (ffi::SQLITE_FULL, Code::Io),
            (ffi::SQLITE_BUSY, Code::Busy),
        ] {
            let error = commit_failed(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None), &opener);
            assert_eq!(error.code(), expected, "{error}");
            assert_eq!(error.message().contains("nothing was applied"), expected != Code::OutcomeUnknown, "{error}");
        }
    }
}

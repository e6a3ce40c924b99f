//! Connections, and pools of them whose callers wait no longer than they said.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hivemind_abi::model::{Context, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::config::Synchronous;
use crate::error;
use crate::file::DatabaseFile;

/// The last version with the WAL-reset bug, which can corrupt a file that two connections write and checkpoint.
const LAST_BROKEN_VERSION: i32 = 3_051_002;
/// Room for the statements of many collections; each is a few kilobytes.
const CACHED_STATEMENTS: usize = 128;
/// How often a waiting caller looks at its cancel flag.
const POLL: Duration = Duration::from_millis(10);
/// Steps of SQLite's machine between two looks at the clock: tens of microseconds.
const STEPS: i32 = 10_000;

/// Refuses a version of SQLite that can damage the file.
pub(crate) fn check_version(number: i32) -> Result<()> {
    if number > LAST_BROKEN_VERSION {
        return Ok(());
    }
    let (major, minor, patch) = (number / 1_000_000, number / 1000 % 1000, number % 1000);
    Err(Error::unsupported(format!(
        "expected SQLite 3.51.3 or newer, found {major}.{minor}.{patch}: versions up to 3.51.2 can corrupt a database that two \
         programs use (WAL reset); rebuild the plugin with a newer SQLite"
    )))
}

/// Opens the connections of one handle.
#[derive(Debug)]
pub(crate) struct Opener {
    file: Option<DatabaseFile>,
    synchronous: Synchronous,
    busy_timeout: Duration,
}

impl Opener {
    pub(crate) const fn new(file: Option<DatabaseFile>, synchronous: Synchronous, busy_timeout: Duration) -> Self {
        Self { file, synchronous, busy_timeout }
    }

    /// How messages name the database.
    pub(crate) fn place(&self) -> &str {
        self.file.as_ref().map_or(":memory:", DatabaseFile::place)
    }

    pub(crate) const fn file(&self) -> Option<&DatabaseFile> {
        self.file.as_ref()
    }

    pub(crate) const fn synchronous(&self) -> Synchronous {
        self.synchronous
    }

    /// An error of SQLite, with the file named.
    pub(crate) fn failed(&self, error: &rusqlite::Error) -> Error {
        error::from_sqlite(error, self.place())
    }

    /// The smaller of the configured wait and the caller's time.
    pub(crate) fn patience(&self, cx: &Context<'_>) -> Duration {
        cx.remaining_or(self.busy_timeout)
    }

    /// A connection that writes. It turns the file to WAL, so that readers never wait for writers.
    pub(crate) fn writer(&self, patience: Duration) -> Result<Connection> {
        let open = || {
            let connection = match &self.file {
                Some(file) => open_file(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
                None => Connection::open_in_memory()?,
            };
            connection.busy_timeout(patience)?;
            configure(&connection)?;
            let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            connection.pragma_update(None, "synchronous", self.synchronous.name())?;
            // Has a meaning on Apple's systems only, where fsync alone leaves data in the drive.
            connection.pragma_update(None, "fullfsync", true)?;
            connection.pragma_update(None, "checkpoint_fullfsync", true)?;
            check_writable(&connection)?;
            connection.busy_timeout(patience)?;
            Ok((connection, mode))
        };
        let (connection, mode) = open().map_err(|e| self.failed(&e))?;
        if self.file.is_some() && mode != "wal" {
            let message = format!(
                "{}: expected the file system to allow a write-ahead log, found journal mode {mode}; use a local file system",
                self.place()
            );
            return Err(Error::unsupported(message).place(self.place()));
        }
        Ok(connection)
    }

    /// A connection that only reads. `None` in memory, where there is but one connection.
    pub(crate) fn reader(&self) -> Result<Option<Connection>> {
        let Some(file) = &self.file else { return Ok(None) };
        let open = || {
            let connection = open_file(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            // Readers wait only in rare moments: recovery after a crash, or the last other program just leaving.
            connection.busy_timeout(self.busy_timeout)?;
            configure(&connection)?;
            Ok(connection)
        };
        open().map(Some).map_err(|e| self.failed(&e))
    }
}

/// What every connection needs, whatever it does.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Plans must not depend on bound values: where they may, SQLite compiles a cached statement again for every new value, which
    // costs three times the lookup itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A foreign file must not run what it likes: no functions or tables with side effects from its schema.
    connection.pragma_update(None, "trusted_schema", false)
}

/// SQLite opens the file or its log for reading alone where it is not let write at that moment. Such a connection would never write
/// again, so it is not kept. Whether somebody else writes just now does not matter here.
fn check_writable(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly) => Err(error),
        _ => Ok(()),
    }
}

fn open_file(file: &DatabaseFile, how: OpenFlags) -> rusqlite::Result<Connection> {
    // A relative path beginning with "file:" or ":" would be an address; "./" in front makes it a path again.
    let path = if file.path().is_absolute() { file.path().to_owned() } else { PathBuf::from(".").join(file.path()) };
    Connection::open_with_flags(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// A connection whose statements end when the time of the call that uses it is over.
pub(crate) struct Watched {
    connection: Connection,
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl Watched {
    fn new(mut connection: Connection) -> rusqlite::Result<Self> {
        let deadline: Arc<Mutex<Option<Instant>>> = Arc::default();
        let watched = Arc::clone(&deadline);
        let is_over = move || watched.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| Instant::now() >= at);
        connection.progress_handler(STEPS, Some(is_over))?;
        Ok(Self { connection, deadline })
    }

    /// From now on statements end with the time of this call; with `None` they take what they need.
    pub(crate) fn end_with(&self, cx: Option<&Context<'_>>) {
        let at = cx.and_then(Context::remaining).and_then(|left| Instant::now().checked_add(left));
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

impl Deref for Watched {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Connections that callers take and give back.
pub(crate) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
    capacity: usize,
}

struct State {
    idle: Vec<Watched>,
    out: usize,
    closed: bool,
}

/// Which callers a pool lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A call that is over in microseconds.
    Brief,
    /// One that reads many rows. The last connection of several is not given to it, so that brief calls never queue behind.
    Long,
}

impl Pool {
    /// A pool of at most `capacity` connections that begins with this one.
    pub(crate) fn new(capacity: usize, idle: Option<Connection>) -> Result<Self> {
        let idle = idle.map(Watched::new).transpose().map_err(|e| error::from_sqlite(&e, "SQLite"))?.into_iter().collect();
        Ok(Self { state: Mutex::new(State { idle, out: 0, closed: false }), returned: Condvar::new(), capacity })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection, `open`ing one if none is idle and the pool may grow.
    pub(crate) fn take(
        &self,
        cx: &Context<'_>,
        patience: Duration,
        why: Use,
        open: impl FnOnce() -> Result<Connection>,
    ) -> Result<Lease<'_>> {
        let reserved = usize::from(why == Use::Long && self.capacity > 1);
        let mut state = self.state();
        let mut waiting_since = None;
        while !state.closed && state.out + reserved >= self.capacity {
            cx.check()?;
            let since = *waiting_since.get_or_insert_with(Instant::now);
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                cx.check()?;
                return Err(Error::busy("all connections are in use by other calls of this program"));
            }
            state = self.returned.wait_timeout(state, left.min(POLL)).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.closed {
            return Err(closed());
        }
        state.out += 1;
        let idle = state.idle.pop();
        drop(state);
        // From here on the lease gives the place back, also when opening fails.
        let mut lease = Lease { pool: self, connection: idle };
        if lease.connection.is_none() {
            let watched = Watched::new(open()?).map_err(|e| error::from_sqlite(&e, "SQLite"))?;
            lease.connection = Some(watched);
        }
        lease.end_with(Some(cx));
        Ok(lease)
    }

    /// Lets every connection go; those in use go when they are given back.
    pub(crate) fn close(&self) -> Vec<Watched> {
        let mut state = self.state();
        state.closed = true;
        self.returned.notify_all();
        std::mem::take(&mut state.idle)
    }

    /// How many connections are open.
    pub(crate) fn open_count(&self) -> usize {
        let state = self.state();
        state.idle.len() + state.out
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// The answer of every call after `close`.
pub(crate) fn closed() -> Error {
    Error::unavailable("this handle was closed")
}

/// A connection on loan.
pub(crate) struct Lease<'p> {
    pool: &'p Pool,
    connection: Option<Watched>,
}

impl Deref for Lease<'_> {
    type Target = Watched;

    fn deref(&self) -> &Watched {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("a lease is handed out with its connection"),
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.out -= 1;
        if let Some(connection) = self.connection.take()
            && !state.closed
        {
            connection.end_with(None);
            state.idle.push(connection);
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Code;

    use super::*;

    #[test]
    fn a_sqlite_that_can_corrupt_the_file_is_refused() {
        for broken in [3_007_000, 3_040_001, 3_051_002] {
            assert_eq!(check_version(broken).expect_err("broken").code(), Code::Unsupported);
        }
        assert!(check_version(3_051_003).is_ok());
        assert!(check_version(rusqlite::version_number()).is_ok());
        assert!(check_version(3_040_001).expect_err("broken").message().contains("3.40.1"));
    }

    #[test]
    fn a_long_call_leaves_the_last_connection_to_brief_ones() {
        let pool = Pool::new(2, None).expect("a pool");
        let open = || Ok(Connection::open_in_memory().expect("memory"));
        let cx = Context::unbounded();
        let long = pool.take(&cx, Duration::ZERO, Use::Long, open).expect("the first");
        let error = pool.take(&cx, Duration::ZERO, Use::Long, open).map(drop).expect_err("the last is reserved");
        assert_eq!(error.code(), Code::Busy);
        drop(pool.take(&cx, Duration::ZERO, Use::Brief, open).expect("for a brief call"));
        drop(long);
        assert_eq!(pool.open_count(), 2);
        pool.close();
        assert_eq!(pool.take(&cx, Duration::ZERO, Use::Brief, open).map(drop).expect_err("closed").code(), Code::Unavailable);
    }
}

//! Connections: how they are opened, and how their statements end with the time of a call.

use std::cell::Cell;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hivemind_abi::model::{Context, Error, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::config::Synchronous;
use crate::error;
use crate::file::DatabaseFile;
use crate::key::{Cipher, is_no_database};
use crate::schema;
use crate::transaction::is_busy;

/// The last version with the WAL-reset bug, which can corrupt a file that two connections write and checkpoint.
const LAST_BROKEN_VERSION: i32 = 3_051_002;
/// Room for the statements of many collections; each is a few kilobytes.
const CACHED_STATEMENTS: usize = 128;
/// How long to sleep before a file that was in use is opened again.
const PAUSE: Duration = Duration::from_millis(5);
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
    cipher: Cipher,
    synchronous: Synchronous,
    busy_timeout: Duration,
    damage: AtomicU64,
}

impl Opener {
    pub(crate) const fn new(
        file: Option<DatabaseFile>,
        cipher: Cipher,
        synchronous: Synchronous,
        busy_timeout: Duration,
    ) -> Self {
        Self { file, cipher, synchronous, busy_timeout, damage: AtomicU64::new(0) }
    }

    /// What opens a copy of the file, whose salt may be another.
    pub(crate) fn for_copy(&self, file: DatabaseFile) -> Self {
        self.with_cipher(file, self.cipher.for_another_file())
    }

    /// What opens another file with another key.
    pub(crate) const fn with_cipher(&self, file: DatabaseFile, cipher: Cipher) -> Self {
        Self::new(Some(file), cipher, self.synchronous, self.busy_timeout)
    }

    /// A connection with its key, and nothing else done to it.
    pub(crate) fn keyed(&self) -> rusqlite::Result<Connection> {
        match &self.file {
            Some(file) => self.open_file(file, OpenFlags::SQLITE_OPEN_READ_WRITE, self.busy_timeout),
            None => Connection::open_in_memory(),
        }
    }

    /// What opens the file.
    pub(crate) const fn cipher(&self) -> &Cipher {
        &self.cipher
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
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        if self.cipher.is_on() && matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) {
            self.damage.fetch_add(1, Ordering::Relaxed);
            if is_no_database(error) {
                return self.cipher.not_opened(self.place());
            }
        }
        error::from_sqlite(error, self.place())
    }

    /// How often damage was met in an encrypted file. A connection that met some is good for nothing more: SQLCipher refuses every
    /// page after one that it could not decrypt.
    pub(crate) const fn damage(&self) -> &AtomicU64 {
        &self.damage
    }

    /// The smaller of the configured wait and the caller's time.
    pub(crate) fn patience(&self, cx: &Context<'_>) -> Duration {
        self.patience_within(cx.remaining())
    }

    /// The smaller of the configured wait and what the caller has left.
    pub(crate) fn patience_within(&self, left: Option<Duration>) -> Duration {
        left.map_or(self.busy_timeout, |left| left.min(self.busy_timeout))
    }

    /// The same for a caller that has been waiting since then.
    pub(crate) fn patience_since(&self, cx: &Context<'_>, since: Instant) -> Duration {
        cx.remaining_or(self.busy_timeout.saturating_sub(since.elapsed()))
    }

    /// A connection that writes. It turns the file to WAL, so that readers never wait for writers.
    pub(crate) fn writer(&self, patience: Duration) -> Result<Connection> {
        let open = || {
            let connection = match &self.file {
                Some(file) => self.open_file(file, OpenFlags::SQLITE_OPEN_READ_WRITE, patience)?,
                None => Connection::open_in_memory()?,
            };
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
        let since = Instant::now();
        let mut again = self.cipher.is_on();
        let (connection, mode) = loop {
            match open() {
                // Another program may have made the empty file its own after the key was tried on it, with a salt of its own.
                Err(e) if is_no_database(&e) && again => again = false,
                // SQLite does not wait where two that have read switch one file to a log.
                Err(e) if is_busy(&e) && since.elapsed() < patience => std::thread::sleep(PAUSE),
                other => break other.map_err(|e| self.failed(&e))?,
            }
        };
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
            // Readers wait only in rare moments: recovery after a crash, or the last other program just leaving.
            let connection = self.open_file(file, OpenFlags::SQLITE_OPEN_READ_ONLY, self.busy_timeout)?;
            configure(&connection)?;
            Ok(connection)
        };
        open().map(Some).map_err(|e| self.failed(&e))
    }

    /// Opens the file with its key. That the key is the right one is seen before anything else is done.
    fn open_file(&self, file: &DatabaseFile, how: OpenFlags, patience: Duration) -> rusqlite::Result<Connection> {
        // A relative path beginning with "file:" or ":" would be an address; "./" in front makes it a path again.
        let path = if file.path().is_absolute() { file.path().to_owned() } else { PathBuf::from(".").join(file.path()) };
        let mut again = self.cipher.is_on();
        loop {
            let connection = Connection::open_with_flags(&path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            self.cipher.unlock(&connection)?;
            connection.busy_timeout(patience)?;
            if !self.cipher.is_on() {
                return Ok(connection);
            }
            match schema::user_version(&connection) {
                Err(e) if is_no_database(&e) && again && self.cipher.is_stale(&connection) => again = false,
                other => return other.map(|_| connection),
            }
        }
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

/// A connection whose statements end when the time of the call that uses it is over.
pub(crate) struct Watched {
    connection: Connection,
    limit: Arc<Limit>,
    /// How long it waits for other programs.
    patience: Cell<Option<Duration>>,
}

/// The time of a call. It counts from the first look at it: most calls are over before SQLite takes one, and need no clock.
struct Limit {
    /// Nanoseconds that are allowed; all ones: any number.
    allowed: AtomicU64,
    /// When the time is over, in nanoseconds of `origin`; 0 until it counts.
    over: AtomicU64,
    origin: Instant,
}

impl Limit {
    fn new() -> Self {
        Self { allowed: AtomicU64::new(u64::MAX), over: AtomicU64::new(0), origin: Instant::now() }
    }

    fn set(&self, left: Option<Duration>) {
        let nanos = |left: Duration| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        // Only the thread that has the connection uses these.
        self.allowed.store(left.map_or(u64::MAX, nanos), Ordering::Relaxed);
        self.over.store(0, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let allowed = self.allowed.load(Ordering::Relaxed);
        if allowed == u64::MAX {
            return false;
        }
        let now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match self.over.load(Ordering::Relaxed) {
            0 => self.over.store(now.saturating_add(allowed).max(1), Ordering::Relaxed),
            over => return now >= over,
        }
        allowed == 0
    }
}

impl Watched {
    pub(crate) fn new(mut connection: Connection) -> rusqlite::Result<Self> {
        let limit = Arc::new(Limit::new());
        let watched = Arc::clone(&limit);
        connection.progress_handler(STEPS, Some(move || watched.is_over()))?;
        Ok(Self { connection, limit, patience: Cell::new(None) })
    }

    /// From now on statements end with the time of this call; with `None` they take what they need.
    pub(crate) fn end_with(&self, cx: Option<&Context<'_>>) {
        self.end_within(cx.and_then(Context::remaining));
    }

    /// From now on statements end when this time is over; with `None` they take what they need.
    pub(crate) fn end_within(&self, left: Option<Duration>) {
        self.limit.set(left);
    }

    /// From now on statements wait so long for other programs; to be used by those who never set SQLite's timeout themselves.
    pub(crate) fn wait_for(&self, patience: Duration) -> rusqlite::Result<()> {
        if self.patience.get() != Some(patience) {
            self.connection.busy_timeout(patience)?;
            self.patience.set(Some(patience));
        }
        Ok(())
    }
}

#[cfg(test)]
impl Watched {
    /// For hooks.
    pub(crate) const fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Deref for Watched {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
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
}

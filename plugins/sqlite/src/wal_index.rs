//! The head of the WAL-index, read where it lies: in the memory that every program with the database open shares.
//!
//! The decision: **look, and touch nothing.** Every commit, of any process, and every restart or recovery of the log ends with a new
//! head there, written before the commit is acknowledged; SQLite itself compares these 48 bytes to find out whether what it has cached
//! is still good. Comparing them takes nanoseconds, where asking by a statement takes a transaction with its two locks. The
//! format is fixed: <https://www.sqlite.org/walformat.html#the_wal_index_header>. It is the same for encrypted databases, because
//! encryption is of pages, and these are none.
//!
//! The memory is asked for through the file of an open connection, as SQLite does it. `-shm` is never opened here: closing it would
//! drop the locks that this process holds on it.
//!
//! This is the one file of the crate with `unsafe` code.

#![allow(unsafe_code, reason = "memory that other processes write, and the methods of a file of SQLite")]

use std::ffi::{c_int, c_void};
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rusqlite::{Connection, ffi};

/// Bytes that are mapped at once: `WALINDEX_PGSZ` in SQLite's `wal.c`. All who map must name the same.
const REGION: c_int = 32_768;
/// Words of the head, `WalIndexHdr` in SQLite's `wal.c`.
const WORDS: usize = 12;
/// The one version of the format there has ever been.
const VERSION: u32 = 3_007_000;

/// Positions of words in the head.
mod word {
    pub(super) const VERSION: usize = 0;
    pub(super) const FRAMES: usize = 4;
    /// The log's salt, then the checksum of the head. All before them but the frames stays when a log is restarted.
    pub(super) const SALT: usize = 8;
}

/// Two copies of the head follow each other. Writers write the second first, readers read the first first.
type Copies = [[AtomicU32; WORDS]; 2];

/// A head as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head([u32; WORDS]);

impl Head {
    /// Whether the database holds what it held at an earlier head: this one is the same, or its log was restarted since and nothing
    /// was written to it yet. A log is restarted when all of it is in the database file; the count of commits, the size of the database
    /// and the checksum of the frames stay what they were.
    pub(crate) fn holds_the_same(&self, earlier: &Self) -> bool {
        let stays = |at: usize| at < word::SALT && at != word::FRAMES;
        let restarted = || self.0[word::FRAMES] == 0 && (0..WORDS).filter(|at| stays(*at)).all(|at| self.0[at] == earlier.0[at]);
        self == earlier || restarted()
    }
}

/// The mapped head, and the connection that it is mapped for.
pub(crate) struct WalIndex {
    copies: NonNull<Copies>,
    /// Not asked anything any more, so that it stays in WAL mode. The memory is mapped as long as it is open.
    _connection: Mutex<Connection>,
}

// SAFETY: `copies` points to memory that is shared between processes and is read through atomics alone, from any thread; it belongs
// to no thread. What keeps it mapped moves with it.
unsafe impl Send for WalIndex {}
// SAFETY: as above; the connection is behind a lock.
unsafe impl Sync for WalIndex {}

impl WalIndex {
    /// Finds the head through a connection of its own. Gives the connection back where there is none to look at: without a write-ahead
    /// log, in exclusive locking mode, or where the system shares no memory.
    pub(crate) fn new(connection: Connection) -> Result<Self, Connection> {
        match map(&connection) {
            Some(copies) => Ok(Self { copies, _connection: Mutex::new(connection) }),
            None => Err(connection),
        }
    }

    fn copies(&self) -> &Copies {
        // SAFETY: the memory is mapped: it was when `map` returned, and SQLite (`unixShmUnmap`, `winShmUnmap`) lets go of it only when
        // no connection of this process uses it any more. Ours does until it closes, which happens when `self` is dropped, or until
        // it leaves WAL mode (`sqlite3WalClose`), which only a statement on it could make it do: it is never given another one, and no
        // other program can change the mode while it has the database open, for that takes an exclusive lock on a file on which
        // it holds a shared one. A region starts at a multiple of its size within a mapping, or of what `malloc` aligns to, so it is
        // aligned for words, and it is longer than two heads. Others write to it meanwhile: every access is that of an atomic.
        unsafe { self.copies.as_ref() }
    }

    /// Whether nothing was committed since the head was this, by anyone. What was committed before this call began is seen. Both copies
    /// are compared: one that differs alone belongs to a writer that is at it, or that was killed there.
    pub(crate) fn is_still(&self, known: &Head) -> bool {
        let copies = self.copies().iter();
        copies.flat_map(|copy| copy.iter().zip(&known.0)).all(|(word, known)| word.load(Ordering::Acquire) == *known)
    }

    /// The head as it is now; `None` while its copies differ.
    pub(crate) fn read(&self) -> Option<Head> {
        let [first, second] = self.copies().each_ref().map(|copy| {
            let head = Head(copy.each_ref().map(|word| word.load(Ordering::Relaxed)));
            // As `walIndexTryHdr` has it: the second copy is read after the first.
            fence(Ordering::SeqCst);
            head
        });
        (first == second).then_some(first)
    }
}

impl fmt::Debug for WalIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalIndex").field("head", &self.read()).finish_non_exhaustive()
    }
}

/// Where the head lies.
fn map(connection: &Connection) -> Option<NonNull<Copies>> {
    let ask = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).ok();
    // Reading opens the log and maps its index. Without that `xShmMap` below would be the first to open it, with no lock held.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).ok()?;
    if ask("PRAGMA journal_mode")? != "wal" || ask("PRAGMA locking_mode")? != "normal" {
        return None;
    }
    let mut file: *mut ffi::sqlite3_file = null_mut();
    // SAFETY: the handle is that of an open connection that nobody else uses. `SQLITE_FCNTL_FILE_POINTER` writes one pointer to where
    // its argument points.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast::<c_void>(),
        )
    };
    if code != ffi::SQLITE_OK {
        return None;
    }
    // SAFETY: SQLite gave null or the file of the open connection, whose methods are null or a table that lives as long as the file.
    let methods = unsafe { file.as_ref()?.pMethods.as_ref()? };
    let map = methods.xShmMap.filter(|_| methods.iVersion >= 2)?;
    let mut region: *mut c_void = null_mut();
    // SAFETY: the method belongs to this file, and no thread uses the connection meanwhile. Region 0 in SQLite's own size; with
    // 0 for "extend" nothing is created: what is not there is null.
    let code = unsafe { map(file, 0, REGION, 0, &raw mut region) };
    // `SQLITE_READONLY` among others: memory that this process may not write could be replaced by a copy.
    if code != ffi::SQLITE_OK {
        return None;
    }
    let copies = NonNull::new(region.cast::<Copies>())?;
    // SAFETY: mapped just now; see `WalIndex::copies`.
    let both = unsafe { copies.as_ref() };
    both.iter().all(|copy| copy[word::VERSION].load(Ordering::Relaxed) == VERSION).then_some(copies)
}

#[cfg(test)]
mod tests;

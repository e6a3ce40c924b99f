//! Whether the file at the path still is the one that a handle opened.
//!
//! The decision: **writes ask every time, lookups ask now and then.** What is written to a file that was moved away is written beside
//! the one that is at the path now, and could destroy it, so a `stat` before and after is cheap. A lookup is cheaper than a `stat`;
//! it looks at a coarse clock instead, and at the path when the last look is [`OFTEN`] old. So answers from a file that was moved away
//! end within that time, with the error that writes give.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hivemind_abi::model::{Error, Result};
use rusqlite::Connection;

use crate::file::{DatabaseFile, Presence};

/// How long lookups trust what they saw at the path.
pub(crate) const OFTEN: Duration = Duration::from_millis(100);

/// The file as a handle has it open, from before its first connection until after its last.
pub(crate) struct Opened {
    file: Option<DatabaseFile>,
    number: Option<Number>,
    presence: Mutex<Option<Presence>>,
    /// When lookups look again, by [`ticks`].
    next_look: AtomicU64,
}

impl Opened {
    /// Notes that a handle opens the file. `None`: there is none, the database is in memory.
    pub(crate) fn new(file: Option<&DatabaseFile>) -> Self {
        Self {
            file: file.cloned(),
            number: file.and_then(|file| number(file.path())),
            presence: Mutex::new(file.map(DatabaseFile::enter)),
            next_look: AtomicU64::new(0),
        }
    }

    /// Whether another file is at the path by now, or none; one `stat`.
    pub(crate) fn is_moved(&self) -> bool {
        self.file.as_ref().is_some_and(|file| number(file.path()) != self.number)
    }

    /// Makes sure that the file at the path still is the one that was opened.
    ///
    /// # Errors
    /// `io` if it is not. The log at the path is emptied then into the file that it belongs to, because whoever opens the new file
    /// next would carry it out there.
    pub(crate) fn check(&self, writer: &Connection) -> Result<()> {
        self.look().inspect_err(|_| {
            // Best effort, and nothing inside of a transaction: `close` tries again.
            let _ = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        })
    }

    /// The same, and nothing is done about it.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn look(&self) -> Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| self.is_moved()) else { return Ok(()) };
        let message = format!("{} was moved or replaced while it was open; restart to use the new file", file.place());
        Err(Error::io(message).place(file.place()))
    }

    /// The same for lookups: what was seen [`OFTEN`] ago at most counts as seen now. Once the file is found to be moved, every call
    /// looks.
    ///
    /// # Errors
    /// `io`.
    pub(crate) fn look_now_and_then(&self) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let now = ticks();
        if now < self.next_look.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.look()?;
        self.next_look.store(now.saturating_add(OFTEN.as_millis() as u64), Ordering::Relaxed);
        Ok(())
    }

    /// Whether the file counts as open.
    #[cfg(test)]
    pub(crate) fn is_present(&self) -> bool {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The handle has closed its connections.
    pub(crate) fn leave(&self) {
        drop(self.presence.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Milliseconds of a clock that never goes back. It may be some late, as it is only to be cheap.
#[cfg(target_os = "linux")]
fn ticks() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    // Where that clock is missing, every lookup looks.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(u64::MAX, |now| u64::try_from(Duration::from(now).as_millis()).unwrap_or(u64::MAX))
}

#[cfg(not(target_os = "linux"))]
fn ticks() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What tells files apart: device and inode.
#[cfg(unix)]
type Number = (u64, u64);

#[cfg(unix)]
fn number(path: &Path) -> Option<Number> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// What tells files apart as far as the standard library knows: where they are. An open file cannot be replaced there.
#[cfg(not(unix))]
type Number = std::path::PathBuf;

#[cfg(not(unix))]
fn number(path: &Path) -> Option<Number> {
    std::fs::canonicalize(path).ok()
}

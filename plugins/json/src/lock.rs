//! The lock that every writer of a store holds, Python's included: `flock` on a file in the temporary folder.
//!
//! It is polled, by Python too, every 50 ms. So a handle that is always busy writing lets go of it for longer than that once in a
//! while: else the others would look only when it is held.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hivemind_abi::model::{Context, Error, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::replace;

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// After so long a time of writing without a rest …
const LONGEST_STREAK: Duration = Duration::from_secs(1);
/// … the others are let in for this long.
const PAUSE: Duration = Duration::from_millis(55);

/// The way to the lock.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    timeout: Duration,
    streak: Mutex<Option<Streak>>,
}

/// A time in which the lock was held again and again.
#[derive(Debug, Clone, Copy)]
struct Streak {
    start: Instant,
    // When it was last let go.
    end: Instant,
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'l> {
    file: File,
    lock: &'l Lock,
    since: Instant,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Closing does it too, unless a child process has inherited the file.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        let mut streak = self.lock.streak();
        let start = streak.filter(|s| self.since.duration_since(s.end) < PAUSE).map_or(self.since, |s| s.start);
        *streak = Some(Streak { start, end: Instant::now() });
    }
}

impl Lock {
    /// A lock on the file of this path, waited for so long.
    pub(crate) fn new(path: PathBuf, timeout: Duration) -> Self {
        Self { path, timeout, streak: Mutex::new(None) }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is waited for.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    fn streak(&self) -> MutexGuard<'_, Option<Streak>> {
        self.streak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much longer the others are to be let in.
    fn pause(&self) -> Option<Duration> {
        let streak = (*self.streak())?;
        let is_long = streak.end.duration_since(streak.start) > LONGEST_STREAK;
        PAUSE.checked_sub(streak.end.elapsed()).filter(|left| is_long && !left.is_zero())
    }

    /// Takes the lock; `start` is when waiting for it began.
    ///
    /// # Errors
    /// `deadline` when the caller's time is up, `busy` when the lock's own is, `denied` if the file cannot be used.
    pub(crate) fn take(&self, cx: &Context<'_>, start: Instant) -> Result<Held<'_>> {
        while let Some(left) = self.pause() {
            self.check(cx, start)?;
            std::thread::sleep(left.min(LONGEST_PAUSE));
        }
        let mut pause = SHORTEST_PAUSE;
        loop {
            if let Some(held) = self.try_take()? {
                return Ok(held);
            }
            self.check(cx, start)?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// `denied` if the file cannot be used.
    pub(crate) fn try_take(&self) -> Result<Option<Held<'_>>> {
        loop {
            let file = open(&self.path).map_err(|e| self.unusable(e))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Without a name nobody else can come across it: it was removed while we opened it.
                Ok(()) if file.metadata()?.nlink() == 0 => {}
                Ok(()) => return Ok(Some(Held { file, lock: self, since: Instant::now() })),
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
                Err(e) => return Err(self.unusable(e.into())),
            }
        }
    }

    /// Whether there is time left to wait, by the caller's measure and by our own.
    ///
    /// # Errors
    /// `deadline`, `busy`.
    pub(crate) fn check(&self, cx: &Context<'_>, start: Instant) -> Result<()> {
        cx.check()?;
        if start.elapsed() < self.timeout {
            return Ok(());
        }
        let message = format!("another program has held the lock {} for {} ms", self.path.display(), self.timeout.as_millis());
        Err(Error::busy(message).place(self.path.display().to_string()))
    }

    fn unusable(&self, error: io::Error) -> Error {
        let path = self.path.display();
        let error = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP) => Error::denied("it is a symbolic link, which could lead anywhere; remove it"),
            _ => {
                let message = format!("{error}; {}", replace::next_step(&error));
                Error::new(Error::from(error).code(), false, message)
            }
        };
        error.context(format!("the lock {path} cannot be used")).place(path.to_string())
    }
}

/// Opens the lock file, which may belong to another user in a folder where only owners may create over it.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = |more: OFlags| rustix::fs::open(path, flags | more, Mode::from_raw_mode(0o666)).map(File::from);
    let file = match open(OFlags::RDWR) {
        // A lock needs no right to write.
        Err(Errno::ACCESS) => open(OFlags::RDONLY)?,
        Err(Errno::NOENT) => match open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
            Ok(file) => {
                // Every user's programs meet here, whatever this process's umask says.
                file.set_permissions(Permissions::from_mode(0o666))?;
                file
            }
            Err(Errno::EXIST) => open(OFlags::RDWR)?,
            Err(e) => return Err(e.into()),
        },
        opened => opened?,
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file; remove it")) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use hivemind_abi::model::Code;

    use super::*;

    fn locks(timeout_ms: u64) -> (tempfile::TempDir, Lock, Lock) {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = || Lock::new(folder.path().join("x.lock"), Duration::from_millis(timeout_ms));
        let (a, b) = (lock(), lock());
        (folder, a, b)
    }

    #[test]
    fn the_second_waits_and_then_says_busy_or_deadline() {
        let (_folder, a, b) = locks(30);
        let held = a.take(&Context::unbounded(), Instant::now()).expect("free");
        assert_eq!(b.take(&Context::unbounded(), Instant::now()).expect_err("held").code(), Code::Busy);
        assert_eq!(a.take(&Context::unbounded(), Instant::now()).expect_err("held by this handle").code(), Code::Busy);
        assert_eq!(b.take(&Context::within(Duration::from_millis(5)), Instant::now()).expect_err("held").code(), Code::Deadline);
        let cancelled = AtomicBool::new(true);
        let cx = Context::unbounded().cancelled_by(&cancelled);
        assert_eq!(b.take(&cx, Instant::now()).expect_err("held").code(), Code::Deadline);
        drop(held);
        b.take(&Context::unbounded(), Instant::now()).expect("free again");
    }

    #[test]
    fn the_file_is_everyones_and_may_vanish() {
        let (folder, a, b) = locks(1000);
        let path = folder.path().join("x.lock");
        drop(a.take(&Context::unbounded(), Instant::now()).expect("created"));
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o666);
        let held = a.take(&Context::unbounded(), Instant::now()).expect("free");
        std::fs::remove_file(&path).expect("removed");
        drop(b.take(&Context::unbounded(), Instant::now()).expect("a new file"));
        drop(held);
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let (folder, a, _) = locks(1000);
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("x.lock")).expect("a link");
        let error = a.take(&Context::unbounded(), Instant::now()).expect_err("a link");
        assert!(error.code() == Code::Denied && error.message().contains("x.lock"), "{error}");
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[test]
    fn who_polls_gets_the_lock_from_one_who_never_rests() {
        // As Python's file lock does it.
        const POLL: Duration = Duration::from_millis(50);
        let (folder, busy, _) = locks(1000);
        let path = folder.path().join("x.lock");
        drop(busy.take(&Context::unbounded(), Instant::now()).expect("created"));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _held = busy.take(&Context::unbounded(), Instant::now()).expect("free in time");
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            let poller = File::open(&path).expect("the file");
            let got = (0..200).any(|_| {
                std::thread::sleep(POLL);
                rustix::fs::flock(&poller, FlockOperation::NonBlockingLockExclusive).is_ok()
            });
            drop(poller);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(got, "two hundred times it was held");
        });
    }
}

//! The lock that every writer of a store holds, Python's included: `flock` on a file in the temporary folder.
//!
//! Two parts, because `flock` is polled and threads of one handle need not be: a turn inside the handle, then the file.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hivemind_abi::model::{Context, Error, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The way to the lock.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    timeout: Duration,
    taken: Mutex<bool>,
    freed: Condvar,
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'l> {
    file: File,
    _turn: Turn<'l>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Closing does it too, unless a child process has inherited the file.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// The turn inside the handle, without the file.
#[derive(Debug)]
pub(crate) struct Turn<'l>(&'l Lock);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.taken() = false;
        self.0.freed.notify_one();
    }
}

impl Lock {
    /// A lock on the file of this path, waited for so long.
    pub(crate) const fn new(path: PathBuf, timeout: Duration) -> Self {
        Self { path, timeout, taken: Mutex::new(false), freed: Condvar::new() }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn taken(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// `deadline` when the caller's time is up, `busy` when the lock's own is, `denied` if the file cannot be used.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Result<Held<'_>> {
        let start = Instant::now();
        let turn = self.turn(cx, start)?;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let file = open(&self.path).map_err(|e| self.unusable(e))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Without a name nobody else can come across it: it was removed while we opened it.
                Ok(()) if file.metadata()?.nlink() == 0 => continue,
                Ok(()) => return Ok(Held { file, _turn: turn }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(e) => return Err(self.unusable(e.into())),
            }
            self.check(cx, start)?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until nobody writes through this handle, and keeps it so.
    ///
    /// # Errors
    /// `deadline`, `busy`.
    pub(crate) fn wait_for_turn(&self, cx: &Context<'_>) -> Result<Turn<'_>> {
        self.turn(cx, Instant::now())
    }

    fn turn(&self, cx: &Context<'_>, start: Instant) -> Result<Turn<'_>> {
        let mut taken = self.taken();
        while *taken {
            self.check(cx, start)?;
            (taken, _) = self.freed.wait_timeout(taken, LONGEST_PAUSE).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Ok(Turn(self))
    }

    fn check(&self, cx: &Context<'_>, start: Instant) -> Result<()> {
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
                let message = format!("{error}; check the folder of temporary files and its file system");
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
        let held = a.take(&Context::unbounded()).expect("free");
        assert_eq!(b.take(&Context::unbounded()).expect_err("held").code(), Code::Busy);
        assert_eq!(a.take(&Context::unbounded()).expect_err("held by this handle").code(), Code::Busy);
        assert_eq!(b.take(&Context::within(Duration::from_millis(5))).expect_err("held").code(), Code::Deadline);
        let cancelled = AtomicBool::new(true);
        let cx = Context::unbounded().cancelled_by(&cancelled);
        assert_eq!(b.take(&cx).expect_err("held").code(), Code::Deadline);
        drop(held);
        b.take(&Context::unbounded()).expect("free again");
    }

    #[test]
    fn the_file_is_everyones_and_may_vanish() {
        let (folder, a, b) = locks(1000);
        let path = folder.path().join("x.lock");
        drop(a.take(&Context::unbounded()).expect("created"));
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o666);
        let held = a.take(&Context::unbounded()).expect("free");
        std::fs::remove_file(&path).expect("removed");
        drop(b.take(&Context::unbounded()).expect("a new file"));
        drop(held);
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let (folder, a, _) = locks(1000);
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("x.lock")).expect("a link");
        let error = a.take(&Context::unbounded()).expect_err("a link");
        assert!(error.code() == Code::Denied && error.message().contains("x.lock"), "{error}");
        assert!(!folder.path().join("elsewhere").exists());
    }
}

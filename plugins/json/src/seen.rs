//! Noticing that a file was changed by someone else.
//!
//! By `stat` on each call, because it is exact, costs about a microsecond and works on every file system. The file that was read is
//! held open, so that its inode number cannot come back for another file. What `stat` cannot tell is a change in place within one
//! tick of the file system's clock; so a file that was read while its last change was fresh is compared by content until a tick
//! has passed, by one caller at a time.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hivemind_abi::model::{Error, Result};

use crate::replace::{failed, resolve};

/// Two ticks of the coarsest kernel clock (100 Hz).
const TICK: Duration = Duration::from_millis(20);
/// For file systems that keep whole or even seconds only.
const COARSE_TICK: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 5;

/// What a file looked like when it was read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    // `None`: there was none.
    file: Option<(Stamp, File)>,
    settled: AtomicBool,
    // Held by the one who compares the content.
    settling: Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn new(found: &Metadata) -> Self {
        Self {
            inode: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether every change after `moment` must show. The change time decides: unlike the other it cannot be set by hand.
    fn is_settled(&self, moment: SystemTime) -> bool {
        let tick = if self.changed.1 == 0 { COARSE_TICK } else { TICK };
        let changed = u64::try_from(self.changed.0).ok().zip(u32::try_from(self.changed.1).ok());
        let changed = changed.and_then(|(seconds, nanos)| UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)));
        changed.and_then(|c| moment.duration_since(c).ok()).is_some_and(|age| age > tick)
    }
}

impl Seen {
    /// Reads a file whole; `None` if there is none.
    ///
    /// # Errors
    /// `unavailable` if its folder is not there either, `io` and `denied` if it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<(Option<Vec<u8>>, Self)> {
        let mut attempts = ATTEMPTS;
        loop {
            let moment = SystemTime::now();
            let Some((stamp, mut file)) = open(path)? else { return Ok((None, Self::default())) };
            let mut content = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0));
            file.read_to_end(&mut content).map_err(failed("read", path))?;
            let steady = Stamp::new(&file.metadata().map_err(failed("read", path))?) == stamp;
            attempts -= 1;
            if steady || attempts == 0 {
                let settled = AtomicBool::new(steady && stamp.is_settled(moment));
                return Ok((Some(content), Self { file: Some((stamp, file)), settled, settling: Mutex::new(()) }));
            }
        }
    }

    /// What our own new content of a file looks like. If that cannot be told it looks like none, and is read again.
    pub(crate) fn written(file: Option<File>) -> Self {
        let file = file.and_then(|file| Some((Stamp::new(&file.metadata().ok()?), file)));
        Self { file, settled: AtomicBool::new(false), settling: Mutex::new(()) }
    }

    /// Whether the file still is what was seen, `content` being what it held then.
    pub(crate) fn is_current(&self, path: &Path, content: &[u8]) -> Result<bool> {
        if !self.looks_current(path)? {
            return Ok(false);
        }
        if self.settled.load(Ordering::Relaxed) || self.file.is_none() {
            return Ok(true);
        }
        // One at a time: all would read the same file, and whoever finds another content reloads it for all.
        let _turn = match self.settling.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(true),
        };
        let (found, again) = Self::read(path)?;
        let same = found.as_deref() == Some(content) && again.stamp() == self.stamp();
        if same && again.settled.load(Ordering::Relaxed) {
            self.settled.store(true, Ordering::Relaxed);
        }
        Ok(same)
    }

    /// Whether it has not been touched as far as `stat` tells.
    pub(crate) fn looks_current(&self, path: &Path) -> Result<bool> {
        match fs::metadata(path) {
            Ok(found) => Ok(self.stamp() == Some(Stamp::new(&found))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => check_absent(path).map(|()| self.file.is_none()),
            Err(e) => Err(failed("look at", path)(e)),
        }
    }

    /// Whether a change since could not be hidden by the clock.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    fn stamp(&self) -> Option<Stamp> {
        self.file.as_ref().map(|(stamp, _)| *stamp)
    }
}

fn open(path: &Path) -> Result<Option<(Stamp, File)>> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let message = format!("{} is no regular file; move it away or choose another `name`", path.display());
            return Err(Error::io(message).place(path.display().to_string()));
        }
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return check_absent(path).map(|()| None),
        Err(e) => return Err(failed("read", path)(e)),
    }
    let file = match File::open(path) {
        Ok(file) => file,
        // Somebody removed it meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return check_absent(path).map(|()| None),
        Err(e) => return Err(failed("read", path)(e)),
    };
    let stamp = Stamp::new(&file.metadata().map_err(failed("read", path))?);
    Ok(Some((stamp, file)))
}

/// Tells a store without records from one that is out of reach: an unmounted disk must not look like "no clients".
fn check_absent(path: &Path) -> Result<()> {
    let real = resolve(path).map_err(failed("read", path))?;
    let folder = real.parent().unwrap_or(Path::new("/"));
    if folder.is_dir() {
        return Ok(());
    }
    let message = format!("{} is out of reach: its folder {} is not there", path.display(), folder.display());
    Err(Error::unavailable(message).place(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use hivemind_abi::model::Code;

    use super::*;

    #[test]
    fn a_change_in_place_of_the_same_size_within_a_tick_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        for round in 0..50_u8 {
            fs::write(&path, [round, 0]).expect("written");
            let (content, seen) = Seen::read(&path).expect("read");
            let content = content.expect("a file");
            assert!(seen.is_current(&path, &content).expect("a look"));
            let file = File::options().write(true).open(&path).expect("open");
            file.write_all_at(&[round, 1], 0).expect("changed");
            assert!(!seen.is_current(&path, &content).expect("a look"), "round {round}");
        }
    }

    #[test]
    fn a_fresh_file_is_compared_by_one_caller_while_the_others_go_by_its_stamp() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        fs::write(&path, "a").expect("written");
        let (_, mut seen) = Seen::read(&path).expect("read");
        seen.settled = AtomicBool::new(false);
        // Who compares sees that the content is another one; who does not, does not read it.
        assert!(!seen.is_current(&path, b"other").expect("a look"));
        let comparing = seen.settling.lock().expect("free");
        assert!(seen.is_current(&path, b"other").expect("a look"));
        fs::write(&path, "longer").expect("written");
        assert!(!seen.is_current(&path, b"other").expect("a look"), "but a change that shows is seen by all");
        drop(comparing);
    }

    #[test]
    fn an_inode_that_comes_back_is_not_taken_for_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        fs::write(&path, "a").expect("written");
        let (content, seen) = Seen::read(&path).expect("read");
        std::thread::sleep(TICK * 2);
        assert!(seen.is_current(&path, b"a").expect("a look") && seen.is_settled());
        fs::remove_file(&path).expect("removed");
        assert!(!seen.is_current(&path, b"a").expect("a look"));
        let mut file = File::create(&path).expect("created");
        file.write_all(b"b").expect("written");
        assert!(!seen.is_current(&path, &content.expect("a file")).expect("a look"));
    }

    #[test]
    fn no_file_is_fine_but_no_folder_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let (content, seen) = Seen::read(&path).expect("read");
        assert!(content.is_none() && seen.is_current(&path, b"").expect("a look"));
        let gone = folder.path().join("none/f");
        assert_eq!(Seen::read(&gone).expect_err("no folder").code(), Code::Unavailable);
        std::os::unix::fs::symlink(&gone, folder.path().join("link")).expect("a link");
        assert_eq!(Seen::read(&folder.path().join("link")).expect_err("dangling").code(), Code::Unavailable);
        assert_eq!(Seen::read(folder.path()).expect_err("a folder").code(), Code::Io);
    }
}

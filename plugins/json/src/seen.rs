//! Noticing that a file was changed by someone else.
//!
//! Two ways, with the same answers. Where the kernel tells of changes ([`Watch`]) a call asks whether it did, and looks at the file only
//! then. Elsewhere each call looks, by `stat`. Either way the file that was read is held open, so that its inode number cannot come
//! back for another file. What `stat` cannot tell is a change in place within one tick of the file system's clock; so a file that was
//! read while its last change was fresh is compared by content: on each call until a tick has passed, by one caller at a time, or,
//! where it is watched, when an event tells of it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hivemind_abi::model::{Error, Result};

use crate::replace::{failed, resolve};
use crate::watch::{News, Watch};

/// Two ticks of the coarsest kernel clock (100 Hz).
const TICK: Duration = Duration::from_millis(20);
/// For file systems that keep whole or even seconds only.
const COARSE_TICK: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 5;
/// So many looks by `stat` are worth a watch: setting one up and above all ending it costs the kernel milliseconds, and a command that
/// looks a few times is better off without.
const LOOKS_BEFORE_WATCHING: u32 = 64;
/// Between two looks without cause.
const LOOK_EVERY_MS: u64 = 100;

/// What a file looked like when it was read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    // `None`: there was none.
    file: Option<(Stamp, File)>,
    settled: AtomicBool,
    // Held by the one who compares the content.
    settling: Mutex<()>,
    watch: Option<Watch>,
    // How often it was looked at without a watch.
    looks: AtomicU32,
    // Whether the file was what was seen when the watch's events were last taken out.
    is_clean: bool,
    // Whether the watch follows a file that was to get the name and maybe did not.
    is_astray: bool,
    // When it was last looked at without cause, in milliseconds of a coarse clock.
    looked: AtomicU64,
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
        Self::read_watched(path, None)
    }

    /// The same, from now on with the kernel telling of changes, if it does. Nothing is known after an error.
    ///
    /// # Errors
    /// See [`Seen::read`].
    pub(crate) fn reread(&mut self, path: &Path) -> Result<Option<Vec<u8>>> {
        let watch = self.watch.take().and_then(|mut watch| watch.arm(path).then_some(watch));
        let looks = self.looks.load(Ordering::Relaxed).min(LOOKS_BEFORE_WATCHING);
        let (content, seen) = Self::read_watched(path, watch)?;
        // If there was none to be had it is tried again.
        *self = Self { looks: AtomicU32::new(looks), ..seen };
        Ok(content)
    }

    fn read_watched(path: &Path, mut watch: Option<Watch>) -> Result<(Option<Vec<u8>>, Self)> {
        let mut attempts = ATTEMPTS;
        loop {
            let moment = SystemTime::now();
            let Some((stamp, mut file)) = open(path)? else { return Ok((None, Self::new(None, false, watch))) };
            // Before it is read: what changes from here on is an event.
            watch = watch.and_then(|mut watch| watch.follow(&file).then_some(watch));
            let mut content = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0) + 1);
            file.read_to_end(&mut content).map_err(failed("read", path))?;
            let steady = Stamp::new(&file.metadata().map_err(failed("read", path))?) == stamp;
            attempts -= 1;
            if steady || attempts == 0 {
                let settled = steady && stamp.is_settled(moment);
                return Ok((Some(content), Self::new(Some((stamp, file)), settled, watch)));
            }
        }
    }

    fn new(file: Option<(Stamp, File)>, settled: bool, watch: Option<Watch>) -> Self {
        let (settled, is_clean) = (AtomicBool::new(settled), watch.is_some());
        Self {
            file,
            settled,
            settling: Mutex::new(()),
            watch,
            looks: AtomicU32::new(0),
            is_clean,
            is_astray: false,
            looked: AtomicU64::new(coarse_ms()),
        }
    }

    /// Notes which file is about to be given the name: our own new content, not known to anybody yet.
    pub(crate) fn expect(&mut self, file: &File) {
        self.watch = self.watch.take().and_then(|mut watch| watch.follow(file).then_some(watch));
        self.is_clean = false;
        self.is_astray = true;
    }

    /// Takes over our own new content, right after [`Seen::expect`] and after it was given its name. Returns the file that had the name
    /// before: letting it go frees its blocks, which takes its time.
    pub(crate) fn written(&mut self, path: &Path, file: Option<File>) -> Option<File> {
        let mut watch = self.watch.take();
        let news = watch.as_mut().and_then(Watch::take);
        // Nobody else knew the file while it had no name; whoever has changed it since is told of.
        let untouched = news.is_some_and(|news| news == News::default());
        let file = file.and_then(|file| Some((Stamp::new(&file.metadata().ok()?), file)));
        let looks = AtomicU32::new(self.looks.load(Ordering::Relaxed));
        let old = std::mem::replace(self, Self { looks, ..Self::new(file, false, watch) });
        self.is_clean = untouched && matches!(self.looks_current(path), Ok(true));
        old.file.map(|(_, file)| file)
    }

    /// Whether the file still is what was seen, `content` being what it held then. False also means: look closer, by
    /// [`Seen::is_still_current`], which needs to be alone.
    pub(crate) fn is_current(&self, path: &Path, content: &[u8]) -> Result<bool> {
        match &self.watch {
            Some(_) => Ok(self.is_quiet() && self.looks_current_now_and_then(path)?),
            // The one who is alone then sets a watch up.
            None if self.is_worth_watching() => Ok(false),
            None => self.is_current_by_stat(path, content),
        }
    }

    /// Counts a look; true once, when there were enough of them.
    fn is_worth_watching(&self) -> bool {
        self.looks.load(Ordering::Relaxed) <= LOOKS_BEFORE_WATCHING
            && self.looks.fetch_add(1, Ordering::Relaxed) == LOOKS_BEFORE_WATCHING
    }

    /// Sets up a watch if that is worth it; whether there is one now that has to be shown the file.
    fn begin_watching(&mut self) -> bool {
        let looks = *self.looks.get_mut();
        if self.watch.is_none() && looks > LOOKS_BEFORE_WATCHING && looks < u32::MAX {
            self.watch = Watch::new();
            // Not again before the file has changed.
            *self.looks.get_mut() = u32::MAX;
            return self.watch.is_some();
        }
        false
    }

    /// Whether nothing has happened since it was known to be what was seen.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_clean && self.watch.as_ref().is_some_and(Watch::is_quiet)
    }

    /// The same, for sure.
    pub(crate) fn is_still_current(&mut self, path: &Path, content: &[u8]) -> Result<bool> {
        self.is_astray |= self.begin_watching();
        let Some(watch) = &mut self.watch else { return self.is_current_by_stat(path, content) };
        self.is_clean = false;
        let news = watch.take().map(|news| News { way: news.way || self.is_astray, ..news });
        self.is_astray = false;
        if news.is_none_or(|news| news.way) {
            let follow =
                |watch: &mut Watch, file: &Option<(Stamp, File)>| file.as_ref().is_none_or(|(_, file)| watch.follow(file));
            let mut watch = self.watch.take().filter(|_| news.is_some());
            watch = watch.and_then(|mut watch| (watch.arm(path) && follow(&mut watch, &self.file)).then_some(watch));
            self.watch = watch;
        }
        if !self.looks_current(path)? {
            return Ok(false);
        }
        let may_hide = news != Some(News::default()) && self.file.is_some() && !self.is_settled();
        if may_hide && Self::read(path)?.0.as_deref() != Some(content) {
            return Ok(false);
        }
        self.is_clean = self.watch.is_some();
        Ok(true)
    }

    /// Looks at the file without cause every so often: for changes that pass the kernel unseen, such as another disk being mounted
    /// over the folder.
    fn looks_current_now_and_then(&self, path: &Path) -> Result<bool> {
        let (now, last) = (coarse_ms(), self.looked.load(Ordering::Relaxed));
        if now.wrapping_sub(last) < LOOK_EVERY_MS
            || self.looked.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return Ok(true);
        }
        self.looks_current(path)
    }

    fn is_current_by_stat(&self, path: &Path, content: &[u8]) -> Result<bool> {
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

    /// How changes are noticed, in a word.
    pub(crate) const fn means(&self) -> &'static str {
        if self.watch.is_some() { "inotify" } else { "stat" }
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

/// Milliseconds of a clock that costs next to nothing to read.
fn coarse_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
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

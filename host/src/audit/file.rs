//! The files. Several processes append to one: each holds its lock while it writes, and looks under the lock whether the file is still
//! the one of that name, because another may have begun the next.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for another that writes; then it is written without the lock, which costs at worst a mixed line.
const PATIENCE: Duration = Duration::from_secs(2);

/// A log that is appended to.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    file: Option<File>,
}

impl Log {
    /// The log at a path, which is created when the first line is written.
    #[must_use]
    pub const fn new(path: PathBuf, max_bytes: u64, keep: u32) -> Self {
        Self { path, max_bytes, keep, file: None }
    }

    /// The file of this age: zero is the one that is written, one the one before.
    #[must_use]
    pub fn older(path: &Path, age: u32) -> PathBuf {
        if age == 0 {
            return path.to_owned();
        }
        let mut name = OsString::from(path);
        name.push(format!(".{age}"));
        name.into()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// What the system said. Part of a line may be there then; whoever writes next ends it.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let file = self.take_locked()?;
        let result = self.write(&file, lines);
        let _ = unlock(&file);
        match result {
            Ok(Some(next)) => {
                let _ = unlock(&next);
                self.file = Some(next);
                Ok(())
            }
            Ok(None) => {
                self.file = Some(file);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the system said.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Writes into the file, or into the next one, which is then given back.
    fn write(&self, file: &File, lines: &[u8]) -> io::Result<Option<File>> {
        let size = file.metadata()?.len();
        let next = if size > 0 && size.saturating_add(lines.len() as u64) > self.max_bytes { Some(self.rotate()?) } else { None };
        let mut target = next.as_ref().unwrap_or(file);
        if is_torn(target)? {
            target.write_all(b"\n")?;
        }
        target.write_all(lines)?;
        Ok(next)
    }

    /// The file of that name, locked.
    fn take_locked(&mut self) -> io::Result<File> {
        let end = Instant::now() + PATIENCE;
        loop {
            let file = match self.file.take() {
                Some(file) => file,
                None => self.open()?,
            };
            if lock_until(&file, end)? && !is_at(&file, &self.path)? {
                // Another process began the next one.
                let _ = unlock(&file);
                continue;
            }
            return Ok(file);
        }
    }

    fn open(&self) -> io::Result<File> {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        crate::files::make_folder(folder)?;
        let is_new = !self.path.exists();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            // A pipe there would be waited for, and a link could lead root to another's file.
            let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
            options.mode(0o600).custom_flags(flags.bits().cast_signed());
        }
        let file = options.open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("expected a regular file, found something else"));
        }
        #[cfg(unix)]
        if is_new && rustix::process::geteuid().is_root() {
            // What root makes here, the node, which seldom runs as root, goes on writing.
            use std::os::unix::fs::{MetadataExt as _, fchown};
            let owner = std::fs::metadata(folder)?;
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(file)
    }

    /// Moves every file one name on, and begins a new one.
    fn rotate(&self) -> io::Result<File> {
        let name = |age| Self::older(&self.path, age);
        if self.keep == 0 {
            std::fs::remove_file(&self.path)?;
        }
        for age in (0..self.keep).rev() {
            match std::fs::rename(name(age), name(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let file = self.open()?;
        // Nobody else has it yet but who opened it just now, and they see that it is the one of this name.
        lock_until(&file, Instant::now() + PATIENCE)?;
        Ok(file)
    }
}

/// Whether the file is still the one of this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let mine = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((mine.dev(), mine.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Locks the file; `false` if that was not possible in time.
fn lock_until(file: &File, end: Instant) -> io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
            // Some file systems know no locks.
            Err(std::fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Whether the last line lacks its end: the disk was full, or whoever wrote it was killed.
fn is_torn(mut file: &File) -> io::Result<bool> {
    let mut last = [0];
    match file.seek(SeekFrom::End(-1)) {
        Ok(_) => file.read_exact(&mut last)?,
        // There is none.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(last != *b"\n")
}

fn unlock(file: &File) -> io::Result<()> {
    file.unlock()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_rotated_by_size_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below/audit.jsonl");
        let mut log = Log::new(path.clone(), 100, 2);
        for n in 0..20 {
            log.append(format!("{n:039}\n").as_bytes()).expect("written");
        }
        let read = |age| std::fs::read_to_string(Log::older(&path, age)).expect("there");
        let lines: Vec<String> =
            [2, 1, 0].into_iter().flat_map(|age| read(age).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let expected: Vec<String> = (14..20).map(|n| format!("{n:039}")).collect();
        assert_eq!(lines, expected);
        assert!(!Log::older(&path, 3).exists());
        for age in 0..3 {
            let mode = std::fs::metadata(Log::older(&path, age)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    /// A node and the commands beside it, each with its own handle, past many rotations.
    #[test]
    fn writers_at_once_lose_no_line_and_mix_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = path.clone();
                scope.spawn(move || {
                    let mut log = Log::new(path, 2000, 1000);
                    (0..200).for_each(|n| log.append(format!("{writer}-{n:030}\n").as_bytes()).expect("written"));
                });
            }
        });
        let files = (0..1000).map(|age| Log::older(&path, age)).take_while(|file| file.exists());
        let mut lines: Vec<String> = files
            .flat_map(|file| std::fs::read_to_string(file).expect("there").lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines.sort();
        let mut expected: Vec<String> = (0..4).flat_map(|w| (0..200).map(move |n| format!("{w}-{n:030}"))).collect();
        expected.sort();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_line_that_was_cut_ends_before_the_next_and_only_a_file_of_its_own_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let mut log = Log::new(path.clone(), 1000, 1);
        log.append(b"one\n").expect("written");
        let mut other = OpenOptions::new().append(true).open(&path).expect("another writer");
        other.write_all(b"tw").expect("the beginning of a line");
        log.append(b"three\n").expect("written");
        assert_eq!(std::fs::read_to_string(path).expect("there"), "one\ntw\nthree\n");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a pipe");
        assert!(Log::new(pipe, 1000, 1).append(b"x\n").is_err());
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        assert!(Log::new(link, 1000, 1).append(b"x\n").is_err() && !target.exists());
    }
}

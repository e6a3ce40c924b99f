//! Replacing a file whole, so that a reader sees the old one or the new one and a crash leaves one of them.
//!
//! In two steps, because everything that can fail for want of space happens in the first: [`stage`] writes and syncs a temporary
//! file beside the target, [`Staged::commit`] renames it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use hivemind_abi::model::{Error, Result};
use rustix::io::Errno;

/// A new content that only needs to be given its name. Dropped, it vanishes.
#[derive(Debug)]
pub(crate) struct Staged {
    // Empty once it is committed.
    temp: PathBuf,
    target: PathBuf,
    file: Option<File>,
}

/// Names the file that an operation failed on.
pub(crate) fn failed(doing: &str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |e| {
        let next = next_step(&e);
        let shown = path.display().to_string();
        let message = format!("cannot {doing} {shown}: {e}; {next}");
        Error::new(Error::from(e).code(), false, message).place(shown)
    }
}

/// What to do about an error of the system.
pub(crate) fn next_step(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => return "raise the limit of open files (ulimit -n, LimitNOFILE=) and start the program again",
        Some(Errno::NFILE) => {
            return "raise the system's limit of open files (fs.file-max), or end what holds them, and try again";
        }
        Some(Errno::NOMEM) => return "free memory and try again",
        _ => {}
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space and try again",
        io::ErrorKind::PermissionDenied => "check the owner and mode of the file and its folder",
        io::ErrorKind::ReadOnlyFilesystem => "check how its file system is mounted",
        _ => "check the disk and its file system",
    }
}

/// Where a path leads through symbolic links, also if there is no file yet.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As deep as Linux follows links.
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => return Ok(path),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Creates a folder and those above it, for the owner alone.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create the folder", path))
}

/// Writes the pieces of `content` beside the file that `path` names, with the mode and, where allowed, the owner of that file; a new one is for
/// the owner alone.
pub(crate) fn stage(path: &Path, content: &[impl AsRef<[u8]>]) -> Result<Staged> {
    let cannot_write = failed("write", path);
    let target = resolve(path).map_err(&cannot_write)?;
    let old = match fs::metadata(&target) {
        Ok(old) => Some(old),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(cannot_write(e)),
    };
    let temp = temp_beside(&target)?;
    let created = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temp);
    let file = created.map_err(&cannot_write)?;
    let mut staged = Staged { temp, target, file: None };
    let fill = || {
        if let Some(old) = old {
            adopt(&file, &old)?;
        }
        // Large pieces go through as they are.
        let mut out = BufWriter::with_capacity(1 << 16, &file);
        content.iter().try_for_each(|piece| out.write_all(piece.as_ref()))?;
        out.flush()?;
        drop(out);
        file.sync_all()
    };
    fill().map_err(cannot_write)?;
    staged.file = Some(file);
    Ok(staged)
}

/// Gives a file the owner and mode of another; the owner first, because changing it clears parts of the mode.
fn adopt(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) && fchown(file, Some(old.uid()), Some(old.gid())).is_err() {
        // Only root gives files away; a group of ours we may still keep.
        let _ = fchown(file, None, Some(old.gid()));
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
}

impl Staged {
    /// Puts the new content in place and returns it, open. [`sync_folder`] makes that last.
    pub(crate) fn commit(mut self) -> Result<Option<File>> {
        fs::rename(&self.temp, &self.target).map_err(failed("replace", &self.target))?;
        self.temp = PathBuf::new();
        Ok(self.file.take())
    }

    /// The new content, open.
    pub(crate) const fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// The folder to sync after the commit.
    pub(crate) fn folder(&self) -> PathBuf {
        self.target.parent().map_or_else(PathBuf::new, Path::to_owned)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.temp.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temp);
        }
    }
}

/// Makes renames and removals in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(failed("sync the folder", folder))
}

/// Replaces a file in one go.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let staged = stage(path, &[content])?;
    let folder = staged.folder();
    staged.commit()?;
    sync_folder(&folder)
}

/// A number that nobody else has.
pub(crate) fn random() -> Result<u64> {
    getrandom::u64().map_err(|e| Error::io(format!("the system gave no random number: {e}")))
}

fn temp_beside(target: &Path) -> Result<PathBuf> {
    let number = random()?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    Ok(target.with_file_name(format!(".{name}.{number:016x}.tmp")))
}

/// What crashes left of [`stage`], and what others are staging.
pub(crate) fn leftovers(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let target = resolve(path).map_err(failed("read", path))?;
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else { return Ok(found) };
    let prefix = format!(".{}.", name.to_string_lossy());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(failed("list", folder)(e)),
    };
    for entry in entries {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(&prefix)).and_then(|n| n.strip_suffix(".tmp"));
        if number.is_some_and(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit())) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").mode() & 0o7777
    }

    #[test]
    fn an_error_of_the_system_says_what_to_do_about_it() {
        for (errno, next) in [
            (Errno::MFILE, "raise the limit of open files"),
            (Errno::NFILE, "raise the system's limit of open files"),
            (Errno::NOMEM, "free memory"),
            (Errno::NOSPC, "free space"),
            (Errno::DQUOT, "free space"),
            (Errno::ACCESS, "check the owner and mode"),
            (Errno::ROFS, "check how its file system is mounted"),
            (Errno::IO, "check the disk"),
        ] {
            let error = failed("write", Path::new("a.json"))(errno.into());
            assert!(error.message().contains("cannot write a.json") && error.message().contains(next), "{error}");
        }
    }

    #[test]
    fn a_new_file_is_private_and_an_old_one_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        replace(&path, b"1").expect("written");
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("a mode");
        replace(&path, b"2").expect("written");
        assert_eq!((mode(&path), fs::read(&path).expect("read")), (0o640, b"2".to_vec()));
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (link, real) = (folder.path().join("a.json"), folder.path().join("real.json"));
        std::os::unix::fs::symlink("real.json", &link).expect("a link");
        replace(&link, b"1").expect("created behind the link");
        replace(&link, b"2").expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read(real).expect("read"), b"2");
    }

    #[test]
    fn what_is_not_committed_vanishes_and_what_a_crash_left_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        drop(stage(&path, &["1"]).expect("staged"));
        assert_eq!(fs::read_dir(folder.path()).expect("a list").count(), 0);
        std::mem::forget(stage(&path, &["1"]).expect("staged"));
        fs::write(folder.path().join(".a.json.mine.tmp"), b"").expect("written");
        let found = leftovers(&path).expect("a list");
        let mine = folder.path().join(".a.json.mine.tmp");
        assert!(found.len() == 1 && found[0].exists() && found[0] != mine, "{found:?}");
    }
}

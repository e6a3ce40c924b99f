//! Files that are written as a whole or not at all, and folders that nobody else looks into.
//!
//! What root makes belongs to whom its folder, or what it replaces, belongs: the node seldom runs as root, and has to read it.

use std::fs::File;
use std::io::{ErrorKind, Result, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file beside `path`, makes it durable and renames it over `path`. A new file gets `mode`; one that is there keeps its own
/// mode and owner.
///
/// # Errors
/// What the system said; `path` is as it was then.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    // Behind a link the file it points to is replaced, not the link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    beside(&target, content, mode)?.persist(&target).map_err(|e| e.error)?;
    make_durable(folder_of(&target))
}

/// Writes a new file, its owner's alone. `false` if there is one already, which stays as it is.
///
/// # Errors
/// What the system said; there is nothing at `path` then that was not there before.
pub fn create(path: &Path, content: &[u8]) -> Result<bool> {
    match beside(path, content, 0o600)?.persist_noclobber(path) {
        Ok(_) => make_durable(folder_of(path)).map(|()| true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Makes a folder, and those above it, that only its owner can look into; what is there stays as it is.
///
/// # Errors
/// What the system said.
pub fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = folder_of(path);
    make_folder(above)?;
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => give_to_owner_of(above, path),
        // Another process was first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn give_to_owner_of(above: &Path, path: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(above)?;
    chown(path, Some(owner.uid()), Some(owner.gid()))
}

#[cfg(not(unix))]
fn give_to_owner_of(_: &Path, _: &Path) -> Result<()> {
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file with this content beside the one it will be, with its owner and mode.
fn beside(target: &Path, content: &[u8], mode: u32) -> Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".tmp_").tempfile_in(folder_of(target))?;
    #[cfg(unix)]
    hand_over(file.as_file(), target, mode)?;
    #[cfg(not(unix))]
    let _ = mode;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Gives a new file the owner and mode of the one it replaces, before anything is in it.
#[cfg(unix)]
fn hand_over(file: &File, target: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

    let is_root = rustix::process::geteuid().is_root();
    let old = std::fs::metadata(target).ok();
    let owner = match &old {
        None if is_root => Some(std::fs::metadata(folder_of(target))?),
        old => old.clone(),
    };
    let mut mode = old.map_or(mode, |m| m.permissions().mode() & 0o7777);
    if let Some(owner) = owner {
        let mine = file.metadata()?;
        let user = (owner.uid() != mine.uid()).then(|| owner.uid());
        let group = (owner.gid() != mine.gid()).then(|| owner.gid());
        // Only root may give files away, and others only to groups of theirs. Root failing would leave a file the node cannot read.
        match fchown(file, user, None) {
            Err(error) if is_root => return Err(error),
            _ => {}
        }
        match fchown(file, None, group) {
            Err(error) if is_root => return Err(error),
            // What the old group could read is no business of this one.
            Err(_) => mode &= !0o070,
            Ok(()) => {}
        }
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

/// The rename itself is durable only when the folder is.
fn make_durable(folder: &Path) -> Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_private_and_what_is_there_is_not_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("a/b");
        make_folder(&place).expect("made");
        make_folder(&place).expect("there");
        let (file, public) = (place.join("x"), place.join("y"));
        assert!(create(&file, b"1").expect("made") && !create(&file, b"2").expect("there"));
        assert_eq!((mode(&place), mode(&file), std::fs::read(&file).expect("read")), (0o700, 0o600, b"1".to_vec()));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        replace(&file, b"3", 0o600).expect("replaced");
        replace(&public, b"4", 0o644).expect("made");
        assert_eq!((mode(&file), mode(&public), std::fs::read(&file).expect("read")), (0o640, 0o644, b"3".to_vec()));
        assert_eq!(std::fs::read_dir(&place).expect("a folder").count(), 2, "nothing is left behind");
    }

    /// Otherwise root's `plugins pin` would leave the node a file it cannot read. Only root can try.
    #[test]
    fn root_leaves_everything_to_whom_it_or_its_folder_belongs() {
        let folder = tempfile::tempdir().expect("a folder");
        let owner = |path: &Path| std::fs::metadata(path).map(|meta| (meta.uid(), meta.gid())).expect("a file");
        if owner(folder.path()).0 != 0 {
            return;
        }
        chown(folder.path(), Some(1234), Some(1235)).expect("given away");
        let place = folder.path().join("a/b");
        make_folder(&place).expect("made");
        let (made, replaced) = (place.join("x"), place.join("y"));
        create(&made, b"1").expect("made");
        replace(&replaced, b"1", 0o600).expect("made");
        assert_eq!(owner(&replaced), (1234, 1235));
        chown(&replaced, Some(1236), Some(1237)).expect("given away");
        replace(&replaced, b"2", 0o644).expect("replaced");
        assert_eq!((owner(&place), owner(&made), owner(&replaced)), ((1234, 1235), (1234, 1235), (1236, 1237)));
        assert_eq!(mode(&replaced), 0o600);
    }
}

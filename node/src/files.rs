//! Files that are written as a whole or not at all, and read by nobody else.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Result, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file over whatever is there. A file that is there keeps its mode; a new one is its owner's alone.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    // Behind a link the file it points to is replaced, not the link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file = beside(&target, content)?;
    if let Ok(old) = std::fs::metadata(&target) {
        hand_over(file.path(), &old)?;
        file.as_file().set_permissions(old.permissions())?;
    }
    file.persist(&target).map_err(|e| e.error)?;
    make_durable(folder_of(&target))
}

/// Writes a new file, its owner's alone. `false` if there is one already, which stays as it is.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<bool> {
    match beside(path, content)?.persist_noclobber(path) {
        Ok(_) => make_durable(folder_of(path)).map(|()| true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Makes a folder, and those above it, that only its owner can look into; what is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = folder_of(path);
    make_folder(above)?;
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => hand_over(path, &std::fs::metadata(above)?),
        // Another process was first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// What root makes belongs to whom its folder, or what it replaces, belongs: the node seldom runs as root, and has to read it. Others
/// cannot give files away, and have no need to.
#[cfg(unix)]
fn hand_over(path: &Path, to: &Metadata) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    if rustix::process::geteuid().is_root() { chown(path, Some(to.uid()), Some(to.gid())) } else { Ok(()) }
}

#[cfg(not(unix))]
fn hand_over(_: &Path, _: &Metadata) -> Result<()> {
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, content: &[u8]) -> Result<NamedTempFile> {
    let folder = folder_of(path);
    let mut file = tempfile::Builder::new().prefix(".tmp_").tempfile_in(folder)?;
    hand_over(file.path(), &std::fs::metadata(folder)?)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
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
        let file = place.join("x");
        assert!(create(&file, b"1").expect("made") && !create(&file, b"2").expect("there"));
        assert_eq!((mode(&place), mode(&file), std::fs::read(&file).expect("read")), (0o700, 0o600, b"1".to_vec()));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        replace(&file, b"3").expect("replaced");
        assert_eq!((mode(&file), std::fs::read(&file).expect("read")), (0o640, b"3".to_vec()));
        assert_eq!(std::fs::read_dir(&place).expect("a folder").count(), 1, "nothing is left behind");
    }

    /// Only root can try.
    #[test]
    fn root_leaves_everything_to_whom_the_folder_belongs() {
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
        create(&replaced, b"1").expect("made");
        chown(&replaced, Some(1236), Some(1237)).expect("given away");
        replace(&replaced, b"2").expect("replaced");
        assert_eq!((owner(&place), owner(&made), owner(&replaced)), ((1234, 1235), (1234, 1235), (1236, 1237)));
    }
}

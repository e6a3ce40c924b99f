//! Files that are written as a whole or not at all, and read by nobody else.

use std::fs::File;
use std::io::{ErrorKind, Result, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file over whatever is there. A file that is there keeps its mode; a new one is its owner's alone.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    // Behind a link the file it points to is replaced, not the link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file = beside(&target, content)?;
    if let Ok(old) = std::fs::metadata(&target) {
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

/// Makes a folder that only its owner can look into; one that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, content: &[u8]) -> Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".tmp_").tempfile_in(folder_of(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// The rename itself is durable only when the folder is.
fn make_durable(folder: &Path) -> Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

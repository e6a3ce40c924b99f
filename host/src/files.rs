//! Files that are replaced as a whole or not at all.

use std::io::Write as _;
use std::path::Path;

/// Writes a file beside `path`, makes it durable and renames it over `path`. A new file gets `mode`; one that is there keeps its own.
///
/// # Errors
/// What the system said; `path` is as it was then.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    // Behind a link the file it points to is replaced, not the link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".tmp_").tempfile_in(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&target).map_or(mode, |m| m.permissions().mode() & 0o7777);
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|e| e.error)?;
    // The rename itself is durable only when the folder is.
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

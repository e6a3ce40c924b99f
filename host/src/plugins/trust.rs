//! Whether somebody else could exchange a file: owner and mode of it and of every folder above it.
//!
//! A plugin runs with all the rights of the node, so whoever can write it is the node. Trusted owners are root and the user the
//! node runs as. Nobody else may write the file or a folder above it; a sticky folder (such as `/tmp`) is fine, because others cannot
//! rename what is not theirs in it. Group write is let pass where the group is the user's private one (its number is the user's).

use std::path::Path;

use super::refusal::Reason;

/// Checks an absolute path without symbolic links.
///
/// # Errors
/// `Untrusted`, naming the file or folder and the command that mends it; `Unreadable`.
#[cfg(unix)]
pub fn check(path: &Path) -> Result<(), Reason> {
    use std::os::unix::fs::MetadataExt as _;

    let user = rustix::process::geteuid().as_raw();
    for (depth, part) in path.ancestors().enumerate() {
        let meta = std::fs::symlink_metadata(part).map_err(|e| Reason::Unreadable(format!("{}: {e}", part.display())))?;
        let untrusted = |found: String, fix: String| Err(Reason::Untrusted { path: part.to_owned(), found, fix });
        if meta.uid() != 0 && meta.uid() != user {
            return untrusted(format!("belongs to user {}", meta.uid()), format!("chown {user} {}", part.display()));
        }
        let sticky = depth > 0 && meta.mode() & 0o1000 != 0;
        let private_group = meta.gid() == meta.uid() && meta.gid() == user;
        let forbidden = if private_group { 0o002 } else { 0o022 };
        if meta.mode() & forbidden != 0 && !sticky {
            let mode = meta.mode() & 0o7777;
            return untrusted(format!("can be written by others (mode {mode:04o})"), format!("chmod go-w {}", part.display()));
        }
    }
    Ok(())
}

/// Elsewhere than on Unix access lists are the system's business.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check(_path: &Path) -> Result<(), Reason> {
    Ok(())
}

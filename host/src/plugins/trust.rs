//! Whether somebody else could exchange a file: owner and mode of it and of every folder above it.
//!
//! A plugin runs with all the rights of the node, so whoever can write it is the node. Trusted owners are root and the user the
//! node runs as. Nobody else may write the file or a folder above it; a sticky folder (such as `/tmp`) is fine, because others cannot
//! rename what is not theirs in it. Group write is let pass where the group is the user's private one (its number is the user's).
//! An access list that lets others write shows in the mode as group write too, so there a private group is none.

use std::path::Path;
#[cfg(unix)]
use std::{collections::VecDeque, ffi::OsString, fs::Metadata, io::ErrorKind, path::Component, path::PathBuf};

use super::refusal::Reason;

/// Checks an absolute path without symbolic links.
///
/// # Errors
/// `Untrusted`, naming the file or folder and the command that mends it; `Unreadable`.
#[cfg(unix)]
pub fn check(path: &Path) -> Result<(), Reason> {
    for (depth, part) in path.ancestors().enumerate() {
        let meta = std::fs::symlink_metadata(part).map_err(|e| unreadable(part, &e))?;
        check_part(part, &meta, depth > 0)?;
    }
    Ok(())
}

/// Checks an open file alone, as its path was checked.
///
/// # Errors
/// As [`check`].
#[cfg(unix)]
pub fn check_file(path: &Path, meta: &Metadata) -> Result<(), Reason> {
    check_part(path, meta, false)
}

/// Checks an absolute path as somebody wrote it: everything on the way to it, and on the way to where symbolic links lead. What is
/// not there is let pass if nobody else can make it.
///
/// # Errors
/// As [`check`].
#[cfg(unix)]
pub fn check_named(path: &Path) -> Result<(), Reason> {
    const MOST_LINKS: usize = 40;
    let parts = |path: &Path| -> VecDeque<OsString> { path.components().map(|c| c.as_os_str().to_owned()).collect() };
    let (mut at, mut left, mut links) = (PathBuf::from("/"), parts(path), 0);
    while let Some(part) = left.pop_front() {
        let next = match Path::new(&part).components().next() {
            Some(Component::Normal(name)) => at.join(name),
            Some(Component::ParentDir) => at.parent().unwrap_or(&at).to_owned(),
            Some(Component::RootDir) => PathBuf::from("/"),
            _ => continue,
        };
        let meta = match std::fs::symlink_metadata(&next) {
            Ok(meta) => meta,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => break,
            Err(error) => return Err(unreadable(&next, &error)),
        };
        check_part(&next, &meta, true)?;
        if meta.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(Reason::Unreadable(format!("{}: too many symbolic links", path.display())));
            }
            let target = std::fs::read_link(&next).map_err(|e| unreadable(&next, &e))?;
            for part in parts(&target).into_iter().rev() {
                left.push_front(part);
            }
        } else {
            at = next;
        }
    }
    // Into a sticky folder others can put new files.
    let meta = std::fs::symlink_metadata(&at).map_err(|e| unreadable(&at, &e))?;
    check_part(&at, &meta, false)
}

#[cfg(unix)]
fn unreadable(part: &Path, error: &std::io::Error) -> Reason {
    Reason::Unreadable(format!("{}: {error}", part.display()))
}

/// Owner and mode of one file, folder or link; `sticky`: whether the sticky bit protects what is meant.
#[cfg(unix)]
fn check_part(part: &Path, meta: &Metadata, sticky: bool) -> Result<(), Reason> {
    use std::os::unix::fs::MetadataExt as _;

    let user = rustix::process::geteuid().as_raw();
    let untrusted = |found: String, fix: String| Err(Reason::Untrusted { path: part.to_owned(), found, fix });
    if meta.uid() != 0 && meta.uid() != user {
        return untrusted(format!("belongs to user {}", meta.uid()), format!("chown {user} {}", part.display()));
    }
    let sticky = sticky && meta.mode() & 0o1000 != 0;
    let private_group = meta.gid() == meta.uid() && meta.gid() == user;
    if private_group && meta.mode() & 0o020 != 0 && !meta.is_symlink() && has_access_list(part) {
        let part = part.display();
        return untrusted("can be written by others through its access list".to_owned(), format!("setfacl -b {part}"));
    }
    let forbidden = if private_group { 0o002 } else { 0o022 };
    // A link has no mode of its own: only its owner, and who may write its folder, can exchange it.
    if meta.mode() & forbidden != 0 && !sticky && !meta.is_symlink() {
        let mode = meta.mode() & 0o7777;
        return untrusted(format!("can be written by others (mode {mode:04o})"), format!("chmod go-w {}", part.display()));
    }
    Ok(())
}

/// Whether a file's mode is not all there is to who may do what with it. Where that cannot be found out, it is not.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_access_list(part: &Path) -> bool {
    use rustix::io::Errno;

    // A list that is longer than this is an error, and a list.
    match rustix::fs::getxattr(part, "system.posix_acl_access", &mut [0_u8; 4096]) {
        Ok(length) => length > 0,
        Err(Errno::NODATA | Errno::NOTSUP) => false,
        Err(_) => true,
    }
}

/// Elsewhere an access list does not show in the mode.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn has_access_list(_part: &Path) -> bool {
    false
}

/// Elsewhere than on Unix access lists are the system's business.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check(_path: &Path) -> Result<(), Reason> {
    Ok(())
}

/// As [`check`].
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check_file(_path: &Path, _meta: &std::fs::Metadata) -> Result<(), Reason> {
    Ok(())
}

/// As [`check`].
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check_named(_path: &Path) -> Result<(), Reason> {
    Ok(())
}

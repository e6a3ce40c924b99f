//! Files that an operator writes, read as what they are, and files that are replaced as a whole or not at all.

use std::fs::File;
use std::io::{Error, Read as _, Result, Write as _};
use std::path::Path;

/// The largest file of settings that is read, in bytes: a thousand times what anybody has.
const LARGEST: u64 = 16 << 20;

/// Reads a file of text. Only a regular file of a sensible size is read: a pipe or a device would keep the program waiting, or fill
/// the memory.
///
/// # Errors
/// What the system said, or what is wrong with the file, and where.
pub fn read_text(path: &Path) -> Result<String> {
    let file = open_regular(path)?;
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(Error::other(format!("expected at most {} MiB, found more", LARGEST >> 20)));
    }
    let text = String::from_utf8(content).map_err(|e| {
        let (valid, _) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
        let column = valid.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        Error::other(format!("expected UTF-8, found another byte at line {line} column {column}"))
    })?;
    if text.starts_with('\u{feff}') {
        return Err(Error::other("it begins with a byte order mark at line 1 column 1; save it without one"));
    }
    Ok(text)
}

/// Opens a regular file for reading; nothing else is waited for.
///
/// # Errors
/// What the system said, or what is there instead.
pub fn open_regular(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    // Opening a pipe would wait for somebody to write into it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    let kind = file.metadata()?;
    if !kind.is_file() {
        let found = if kind.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(Error::other(format!("expected a regular file, found {found}")));
    }
    Ok(file)
}

/// Writes a file beside `path`, makes it durable and renames it over `path`. A new file gets `mode`; one that is there keeps its own
/// mode and owner. What root makes anew belongs to the folder's owner, so that the node, which seldom runs as root, can use it.
///
/// # Errors
/// What the system said; `path` is as it was then.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    // Behind a link the file it points to is replaced, not the link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".tmp_").tempfile_in(folder)?;
    #[cfg(unix)]
    hand_over(file.as_file(), &target, folder, mode)?;
    #[cfg(not(unix))]
    let _ = mode;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|e| e.error)?;
    // The rename itself is durable only when the folder is.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Gives a new file the owner and mode of the one it replaces, before anything is in it.
#[cfg(unix)]
fn hand_over(file: &File, target: &Path, folder: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

    let is_root = rustix::process::geteuid().is_root();
    let old = std::fs::metadata(target).ok();
    let owner = match &old {
        None if is_root => Some(std::fs::metadata(folder)?),
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    use super::*;

    fn owner_and_mode(path: &Path) -> (u32, u32, u32) {
        let meta = std::fs::metadata(path).expect("a file");
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_new_one_gets_the_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x");
        replace(&file, b"1", 0o600).expect("made");
        assert_eq!(owner_and_mode(&file).2, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        replace(&file, b"2", 0o600).expect("replaced");
        assert_eq!((owner_and_mode(&file).2, std::fs::read(&file).expect("read")), (0o640, b"2".to_vec()));
    }

    /// Otherwise root's `plugins pin` would leave the node a file it cannot read. Only root can try.
    #[test]
    fn root_leaves_a_file_to_whom_it_or_its_folder_belongs() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        chown(folder.path(), Some(1234), Some(1235)).expect("given away");
        let file = folder.path().join("x");
        replace(&file, b"1", 0o600).expect("made");
        assert_eq!(owner_and_mode(&file), (1234, 1235, 0o600));
        chown(&file, Some(1236), Some(1237)).expect("given away");
        replace(&file, b"2", 0o644).expect("replaced");
        assert_eq!(owner_and_mode(&file), (1236, 1237, 0o600));
    }
}

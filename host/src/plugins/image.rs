//! A private copy of a checked library for the system's loader to map.
//!
//! On Linux a sealed memory file: nothing can change it any more, and no path leads to it. Once mapped it stays open for ever, because
//! glibc recognises a library by its *path string*: were the descriptor number used again, `/proc/self/fd/N` would give the old
//! library. A plugin may close what is not its own, so no number is given to the loader twice in any case. Where such files do not exist (other systems) or cannot be mapped (no `/proc`, `vm.memfd_noexec=2`, a security module), a
//! file of a fresh private folder, which is removed again as soon as it is mapped.

use std::fs::File;
use std::io::Write as _;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// A copy on its way into memory.
struct Image {
    path: PathBuf,
    place: Place,
}

enum Place {
    #[cfg(target_os = "linux")]
    Memory(File),
    Folder(TempDir),
}

/// Writes `bytes` somewhere only this process can and maps it with `map`, which gets a path; tries the next place where one fails.
///
/// # Errors
/// What the system said, without the copy's path.
pub fn load<T, E: std::fmt::Display>(bytes: &[u8], module: &str, map: impl Fn(&Path) -> Result<T, E>) -> Result<T, String> {
    let mut said: Vec<String> = Vec::new();
    for copy in PLACES {
        let tried = copy(bytes, module).map_err(|e| e.to_string()).and_then(|image| image.map(module, &map));
        match tried {
            Ok(mapped) => return Ok(mapped),
            Err(error) => {
                tracing::debug!(module, error, "a private copy could not be mapped");
                said.push(error);
            }
        }
    }
    said.dedup();
    Err(said.join("; from another copy: "))
}

type Copy = fn(&[u8], &str) -> std::io::Result<Image>;

#[cfg(target_os = "linux")]
const PLACES: [Copy; 2] = [sealed, private_copy];

#[cfg(not(target_os = "linux"))]
const PLACES: [Copy; 1] = [private_copy];

impl Image {
    fn map<T, E: std::fmt::Display>(self, module: &str, map: impl Fn(&Path) -> Result<T, E>) -> Result<T, String> {
        let mapped = map(&self.path).map_err(|e| e.to_string().replace(&*self.path.to_string_lossy(), module))?;
        match self.place {
            #[cfg(target_os = "linux")]
            Place::Memory(file) => std::mem::forget(file),
            // On Unix the mapping lives on without its file. Elsewhere a mapped file cannot be removed; the system clears its temporary
            // folder some time.
            Place::Folder(folder) if cfg!(unix) => drop(folder),
            Place::Folder(folder) => drop(folder.keep()),
        }
        Ok(mapped)
    }
}

#[cfg(target_os = "linux")]
fn sealed(bytes: &[u8], module: &str) -> std::io::Result<Image> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag and allow execution anyway.
    let fd = memfd_create(module, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(module, flags))?;
    let mut file = File::from(at_a_fresh_number(fd)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(Image { path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), place: Place::Memory(file) })
}

/// The same file under a descriptor number that was never given to the loader before.
#[cfg(target_os = "linux")]
fn at_a_fresh_number(fd: OwnedFd) -> std::io::Result<OwnedFd> {
    static HIGHEST: Mutex<RawFd> = Mutex::new(-1);
    let mut highest = HIGHEST.lock().unwrap_or_else(PoisonError::into_inner);
    let fd = if fd.as_raw_fd() > *highest { fd } else { rustix::io::fcntl_dupfd_cloexec(&fd, *highest + 1)? };
    *highest = fd.as_raw_fd();
    Ok(fd)
}

fn private_copy(bytes: &[u8], module: &str) -> std::io::Result<Image> {
    // `tempdir` makes the folder with mode 0700 and a name nobody can guess.
    let folder = tempfile::Builder::new().prefix("hivemind-plugin-").tempdir()?;
    let path = folder.path().join(format!("{module}{}", std::env::consts::DLL_SUFFIX));
    let mut file = File::options().write(true).create_new(true).open(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(Image { path, place: Place::Folder(folder) })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn where_memory_cannot_be_mapped_a_private_copy_is_and_leaves_nothing_behind() {
        let seen = RefCell::new(Vec::new());
        let mapped = load(b"bytes", "some-db-plugin", |path| {
            seen.borrow_mut().push(path.to_owned());
            assert_eq!(std::fs::read(path).expect("readable"), b"bytes");
            if path.starts_with("/proc") { Err("not permitted") } else { Ok(path.to_owned()) }
        });
        let copy = mapped.expect("mapped");
        assert_eq!(seen.borrow().len(), PLACES.len());
        assert!(cfg!(not(unix)) || !copy.parent().expect("a folder").exists(), "{} is still there", copy.display());
    }

    #[test]
    fn what_no_copy_could_do_is_told_once_and_without_the_paths_of_copies() {
        let error = load(b"", "some-db-plugin", |path| Err::<(), _>(format!("{}: libx.so is missing", path.display())));
        assert_eq!(error, Err("some-db-plugin: libx.so is missing".to_owned()));
    }
}

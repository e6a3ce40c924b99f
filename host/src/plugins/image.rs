//! A private copy of a checked library for the system's loader to map.
//!
//! On Linux a sealed memory file: nothing can change it any more, and no path leads to it. It stays open for ever, because glibc
//! recognises a library by its *path string*: were the descriptor number used again, `/proc/self/fd/N` would give the old library.
//! Where such files cannot be executed (`vm.memfd_noexec=2`) or do not exist, a file of a fresh private folder.

use std::io::Write as _;
use std::path::PathBuf;

/// Writes `bytes` somewhere only this process can, and gives a path to load them from. The copy is kept until the process ends.
///
/// # Errors
/// What the system said.
pub fn keep(bytes: &[u8], module: &str) -> std::io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    match sealed(bytes, module) {
        Ok(path) => return Ok(path),
        Err(error) => tracing::debug!(%error, "no sealed memory file; using a private copy"),
    }
    private_copy(bytes, module)
}

#[cfg(target_os = "linux")]
fn sealed(bytes: &[u8], module: &str) -> std::io::Result<PathBuf> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::fd::IntoRawFd as _;

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag and allow execution anyway.
    let fd = memfd_create(module, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(module, flags))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(PathBuf::from(format!("/proc/self/fd/{}", file.into_raw_fd())))
}

fn private_copy(bytes: &[u8], module: &str) -> std::io::Result<PathBuf> {
    // `tempdir` makes the folder with mode 0700 and a name nobody can guess.
    let folder = tempfile::Builder::new().prefix("hivemind-plugin-").tempdir()?;
    let path = folder.path().join(format!("{module}{}", std::env::consts::DLL_SUFFIX));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A mapped file may go away on Unix; elsewhere the system clears its temporary folder.
    if cfg!(not(unix)) {
        let _ = folder.keep();
        return Ok(path);
    }
    std::mem::forget(folder);
    Ok(path)
}

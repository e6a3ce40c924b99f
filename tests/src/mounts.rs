//! File systems that tests mount: small ones that become full.
//!
//! Mounting needs rights: such tests run in a namespace of their own, see [`namespaces`].

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::namespaces;
pub use crate::namespaces::is_inside;

/// Runs an ignored test of the same program where it may mount.
///
/// # Panics
/// If that fails.
pub fn in_namespace(test: &str) {
    namespaces::run(test, "--mount", "mount -t tmpfs -o size=64k tmpfs /mnt && umount /mnt", "mount a tmpfs");
}

/// Runs a program of the system on a path.
///
/// # Panics
/// If it fails.
pub fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().expect(program);
    assert!(status.success(), "{program} {arguments:?} {}", path.display());
}

/// A mounted file system, unmounted when this goes: the folder below could not be removed otherwise.
pub struct Mounted(PathBuf);

impl Mounted {
    /// A file system in memory of this size (`1m`), at a folder.
    ///
    /// # Panics
    /// If it is not mounted.
    #[must_use]
    pub fn tmpfs(size: &str, at: &Path) -> Self {
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"], at);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status().is_ok_and(|status| status.success());
        assert!(done || std::thread::panicking(), "{} is still mounted", self.0.display());
    }
}

/// Fills the file system up, but for so many pages.
///
/// # Panics
/// If the system does not let it.
pub fn fill(filler: &Path, spare: u64) {
    let mut file = std::fs::File::create(filler).expect("a filler");
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().expect("a length").len() / 4096 * 4096;
    file.set_len(length.saturating_sub(spare * 4096)).expect("some room");
}

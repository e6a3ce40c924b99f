//! What the end-to-end tests share: built plugins, the built program, and Python peers.
//!
//! Everything is the real thing. Plugins are libraries on disk, loaded by the host's own loader; the program is run as a process;
//! Python peers run the packages that a Python node runs.

pub mod build;
pub mod clock;
pub mod faults;
pub mod mounts;
pub mod namespaces;
pub mod node;
pub mod ports;
pub mod program;
pub mod python;
pub mod redis;
mod spawn;
pub mod specimen;
pub mod subject;
pub mod together;
pub mod waiting;

use std::path::{Path, PathBuf};

use hivemind_host::plugins::lock::Lock;
use hivemind_host::plugins::{Loader, SearchPath};

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// A loader that searches these folders alone and pins nothing.
#[must_use]
pub fn loader(folders: &[&Path], data_dir: &Path) -> Loader {
    let folders: Vec<_> = folders.iter().map(|f| (*f).to_owned()).collect();
    Loader::new(SearchPath::only(&folders), Lock::default(), data_dir.to_owned())
}

/// Copies a file into a folder under a name, with the mode a plugin should have.
///
/// # Panics
/// If the system does not let it.
pub fn place(file: &Path, folder: &Path, name: &str) -> PathBuf {
    // Renamed into place, so that another test never reads half of it.
    let (new, to) = (folder.join(format!(".{name}.{}", std::process::id())), folder.join(name));
    std::fs::copy(file, &new).unwrap_or_else(|e| panic!("{} to {}: {e}", file.display(), to.display()));
    set_mode(&new, 0o755);
    std::fs::rename(&new, &to).expect("renamed");
    to
}

/// Sets a file's mode.
///
/// # Panics
/// If the system does not let it.
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the mode is set");
}

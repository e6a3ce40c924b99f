//! Stores of so many clients, filled once and kept beside the build; contestants work on copies.

use std::path::{Path, PathBuf};
use std::process::Command;

use hivemind_model::{Context, Task};

use crate::{Failure, clients, machine, ours};

/// Changed whenever stores of an earlier bench would hold something else.
const EDITION: &str = "2";

/// A data folder with a store of so many clients that nobody changes; filled if it is not there.
fn original(module: &str, count: u64) -> Result<PathBuf, Failure> {
    let folder = machine::exe_folder()?.join("bench-stores").join(format!("{module}-{count}-{EDITION}"));
    // Written last: a folder without it was cut off half way.
    let stamp = folder.join("complete");
    if stamp.exists() {
        return Ok(folder);
    }
    eprintln!("filling a {module} store with {count} clients, once");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let cx = Context::unbounded();
    let backend = ours::load(module, &folder)?;
    // A JSON file is written whole by each commit.
    clients::add_all(backend.as_ref(), count, if module == "json" { count } else { 20_000 })?;
    backend.maintain(&cx, &Task::Checkpoint).ok();
    backend.close(&cx)?;
    std::fs::write(stamp, "")?;
    Ok(folder)
}

/// A place for the copies of one section, gone when it is.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    /// An empty place on the disk that the build is on: a temp folder may be memory.
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self(tempfile::Builder::new().prefix("bench-").tempdir_in(machine::exe_folder()?)?))
    }

    /// A folder of this name in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.0.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A data folder of this name with a copy of the store of so many clients.
    pub(crate) fn copy(&self, module: &str, count: u64, name: &str) -> Result<PathBuf, Failure> {
        let from = original(module, count)?;
        let to = self.folder(name)?;
        copy(&from.join("hivemind-core"), &to)?;
        Ok(to)
    }
}

/// Copies a folder, sharing its blocks where the file system can.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let done = Command::new("cp").args(["-r", "--reflink=auto"]).arg(from).arg(to).status()?;
    if done.success() { Ok(()) } else { Err(format!("cp -r {} {}: {done}", from.display(), to.display()).into()) }
}

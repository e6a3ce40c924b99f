//! Building what the tests load and run. Each thing is built once in a test run; cargo itself knows when nothing is to be done.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::root;

static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

fn once(name: &str, build: impl FnOnce() -> PathBuf) -> PathBuf {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.get_or_insert_default().entry(name.to_owned()).or_insert_with(build).clone()
}

/// The folder of what cargo builds for tests.
#[must_use]
pub fn target() -> PathBuf {
    // A test lies in <target>/debug/deps, a program in <target>/debug.
    let exe = std::env::current_exe().expect("the test's own path");
    let folder = exe.parent().expect("a folder");
    let profile = if folder.ends_with("deps") { folder.parent().expect("<target>/debug") } else { folder };
    profile.parent().expect("<target>").to_owned()
}

fn cargo(arguments: &[&str], folder: &Path, target: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--target-dir")
        .arg(target)
        .current_dir(folder)
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

fn library(name: &str) -> String {
    format!("{}{}{}", std::env::consts::DLL_PREFIX, name.replace('-', "_"), std::env::consts::DLL_SUFFIX)
}

/// A folder with the plugins that ship with the host, as an operator has them.
///
/// # Panics
/// If they do not build.
#[must_use]
pub fn shipped_plugins() -> PathBuf {
    once("shipped", || {
        let target = target();
        let packages = ["memory", "json", "sqlite", "redis"].map(|p| format!("hivemind-{p}-plugin"));
        let mut arguments = vec!["build", "--quiet", "--locked"];
        packages.iter().for_each(|p| arguments.extend(["--package", p]));
        cargo(&arguments, &root(), &target);
        folder_with("shipped", &packages.map(|p| (target.join("debug").join(library(&p)), library(&p))))
    })
}

/// A folder with the vendor's example.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn vendor_plugins() -> PathBuf {
    once("vendor", || folder_with("vendor", &[(fixture_unlocked("ledger"), library("ledger"))]))
}

/// A folder with the plugin that writes batches in parts.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn tearing_plugin() -> PathBuf {
    once("tearing-folder", || folder_with("tearing", &[(fixture_unlocked("tearing"), library("tearing"))]))
}

/// The program.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn program() -> PathBuf {
    once("program", || {
        let target = target();
        cargo(&["build", "--quiet", "--locked", "--package", "hivemind-host"], &root(), &target);
        target.join("debug").join(format!("hivemind-host{}", std::env::consts::EXE_SUFFIX))
    })
}

/// A library of tests/plugins, or the vendor's example (`ledger`). They are packages of their own, because some are built with
/// features that a workspace build would mix.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    once(name, || fixture_unlocked(name))
}

fn fixture_unlocked(name: &str) -> PathBuf {
    let folder = if name == "ledger" { root().join("docs/ledger") } else { root().join("tests/plugins").join(name) };
    // The same versions of everything as in the workspace; cargo drops what is not needed.
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file is copied");
    let target = target().join("fixtures");
    cargo(&["build", "--quiet", "--config", "profile.dev.debug=false"], &folder, &target);
    let package = if name == "ledger" { "ledger-db-plugin" } else { name };
    target.join("debug").join(library(package))
}

/// A folder of this build with these libraries and nothing else.
fn folder_with(name: &str, files: &[(PathBuf, String)]) -> PathBuf {
    let folder = target().join("test-plugins").join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    crate::set_mode(&folder, 0o755);
    for (file, name) in files {
        // Another test process may be loading it, and a file that is replaced meanwhile is refused.
        let staged = std::fs::read(folder.join(name)).ok();
        if staged.is_none() || staged != std::fs::read(file).ok() {
            crate::place(file, &folder, name);
        }
    }
    folder
}

//! Building the program and its plugins, and putting the plugins where the program looks for them.

use std::path::{Path, PathBuf};

use crate::{Outcome, cargo, execute, root, tools};

const PLUGINS: [&str; 4] = ["memory", "json", "sqlite", "redis"];

/// Builds and stages; gives the program's path. `profile` is cargo's: `dev` or `release`.
pub(crate) fn stage(profile: &str) -> Outcome<PathBuf> {
    tools::ensure()?;
    let packages = PLUGINS.map(|name| format!("hivemind-{name}-plugin"));
    let mut command = cargo();
    command.args(["build", "--locked", "--profile", profile, "--package", "hivemind-host"]);
    for package in &packages {
        command.args(["--package", package]);
    }
    execute(&mut command)?;
    let output = target().join(if profile == "dev" { "debug" } else { profile });
    let folder = output.join("plugins");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for package in &packages {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let name = format!("{prefix}{}{suffix}", package.replace('-', "_"));
        put(&output.join(&name), &folder, &name)?;
    }
    Ok(output.join(format!("hivemind-host{}", std::env::consts::EXE_SUFFIX)))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Copies a file beside its place and renames it there, so that a running host never sees half of it.
fn put(file: &Path, folder: &Path, name: &str) -> Outcome {
    let (new, place) = (folder.join(format!(".{name}.new")), folder.join(name));
    let copied = std::fs::copy(file, &new).and_then(|_| {
        // The host refuses plugins that others can write, whatever this build's umask is.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        }
        std::fs::rename(&new, &place)
    });
    copied.map_err(|e| format!("{} to {}: {e}", file.display(), place.display()))
}

//! Files with secrets that other users of the machine can read or change: one warning with the command that mends it.

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

use hivemind_model::Resource;

use crate::config::Config;
use crate::config::secrets::Origin;
use crate::failure::{Exit, Failure};

/// What others may not do: anything if they have no part in the file, and change it if they are of its group.
#[cfg(unix)]
const LOOSE: u32 = 0o027;

/// Looks at the configuration if a secret stands in it, at files that hold a secret, and at the data.
///
/// # Errors
/// `loose-mode` instead of a warning, if it is to be `strict`.
pub fn check(config: &Config, secrets: &[Origin], data: &[Resource], strict: bool) -> Result<(), Failure> {
    let config = config.holds_secrets().then(|| config.path());
    let secrets = secrets.iter().filter_map(|origin| origin.place.path());
    let data = data.iter().filter(|r| r.kind == "file").map(|r| Path::new(&r.name));
    check_files(config.into_iter().chain(secrets).chain(data), strict)
}

/// The same for any files.
///
/// # Errors
/// See [`check`].
pub fn check_files<'p>(files: impl Iterator<Item = &'p Path>, strict: bool) -> Result<(), Failure> {
    let Some((message, help)) = loose(files) else { return Ok(()) };
    if strict {
        return Err(Failure::new(Exit::Config, "loose-mode", message).help(help));
    }
    tracing::warn!("{message}; {help}");
    Ok(())
}

/// What is wrong with the modes of these files, and what mends it.
#[cfg(unix)]
#[must_use]
pub fn loose<'p>(files: impl Iterator<Item = &'p Path>) -> Option<(String, String)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode =
        |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.permissions().mode() & 0o7777);
    let loose: Vec<(PathBuf, u32)> =
        files.filter_map(|path| Some((path.to_owned(), mode(path)?))).filter(|(_, mode)| mode & LOOSE != 0).collect();
    if loose.is_empty() {
        return None;
    }
    let named: Vec<_> = loose.iter().map(|(path, mode)| format!("{} (mode {mode:04o})", path.display())).collect();
    let quoted: Vec<_> =
        loose.iter().map(|(path, _)| format!("'{}'", path.display().to_string().replace('\'', r"'\''"))).collect();
    let message = format!("other users of this machine can read or change {}", named.join(", "));
    Some((message, format!("run: chmod u=rw,go= {}", quoted.join(" "))))
}

/// Elsewhere modes mean something else.
#[cfg(not(unix))]
#[must_use]
pub fn loose<'p>(_files: impl Iterator<Item = &'p Path>) -> Option<(String, String)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn loose_files_are_named_once_with_the_command_that_mends_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            path
        };
        let fine =
            [file("a", 0o600), file("b", 0o640), file("c", 0o400), folder.path().join("missing"), folder.path().to_owned()];
        assert_eq!(loose(fine.iter().map(std::path::PathBuf::as_path)), None);
        let wrong = [file("it's", 0o644), file("d", 0o660)];
        let (message, help) = loose(fine.iter().chain(&wrong).map(std::path::PathBuf::as_path)).expect("two of them");
        assert!(message.contains("mode 0644") && message.contains("mode 0660") && !message.contains("0640"), "{message}");
        let done = std::process::Command::new("/bin/sh").arg("-c").arg(help.strip_prefix("run: ").expect("a command")).status();
        assert!(done.expect("a shell").success());
        assert_eq!(loose(wrong.iter().map(std::path::PathBuf::as_path)), None);
    }
}

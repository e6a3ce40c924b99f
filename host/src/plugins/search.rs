//! Where plugins may lie: an ordered list of folders, never the current one, never the system loader's.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Folders in the order they are searched. The first one that has the module wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPath {
    folders: Vec<Folder>,
}

/// A folder and why it is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// Who named it, in words for the operator.
    pub source: &'static str,
}

impl SearchPath {
    /// The list of `docs/operator.md`: `flags`, `$HIVEMIND_PLUGINS_DIR`, `configured` (from server.json), then the standard places.
    #[must_use]
    pub fn standard(flags: &[PathBuf], configured: &[PathBuf], data_dir: &Path) -> Self {
        let mut path = Self::default();
        for folder in flags {
            path.push(folder.clone(), "--plugins-dir");
        }
        for folder in std::env::var_os(VARIABLE).map(|value| folders_of(&value, is_privileged())).unwrap_or_default() {
            path.push(folder, "$HIVEMIND_PLUGINS_DIR");
        }
        for folder in configured {
            path.push(folder.clone(), "plugins_dir in server.json");
        }
        if let Some(beside) =
            std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok()).and_then(|exe| Some(exe.parent()?.to_owned()))
        {
            path.push(beside.join("plugins"), "beside the program");
            if let Some(prefix) = beside.parent() {
                path.push(prefix.join("lib/hivemind/plugins"), "the program's prefix");
            }
        }
        path.push(data_dir.join("hivemind-core/plugins"), "your data directory");
        if cfg!(unix) {
            path.push(PathBuf::from("/usr/local/lib/hivemind/plugins"), "the system's, local");
            path.push(PathBuf::from("/usr/lib/hivemind/plugins"), "the system's");
        }
        path
    }

    /// A list of these folders alone.
    #[must_use]
    pub fn only(folders: &[PathBuf]) -> Self {
        let mut path = Self::default();
        folders.iter().for_each(|folder| path.push(folder.clone(), "named"));
        path
    }

    /// Relative folders, which only flags can have, are taken from where the operator stands *when naming them*; empty ones, which would mean the current folder,
    /// are passed over, and so is a folder that is on the list already.
    fn push(&mut self, folder: PathBuf, source: &'static str) {
        if folder.as_os_str().is_empty() {
            return;
        }
        let path = std::path::absolute(&folder).unwrap_or(folder);
        if !self.folders.iter().any(|f| f.path == path) {
            self.folders.push(Folder { path, source });
        }
    }

    /// The folders in order.
    #[must_use]
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }
}

const VARIABLE: &str = "HIVEMIND_PLUGINS_DIR";

/// The folders that the variable names. Relative ones are passed over: whoever set it stood elsewhere than the program does now.
fn folders_of(value: &OsStr, privileged: bool) -> Vec<PathBuf> {
    if privileged {
        tracing::warn!("{VARIABLE} is passed over, because this program has rights that its caller has not");
        return Vec::new();
    }
    let (absolute, relative): (Vec<_>, Vec<_>) = std::env::split_paths(value).partition(|folder| folder.is_absolute());
    for folder in relative.iter().filter(|folder| !folder.as_os_str().is_empty()) {
        tracing::warn!("{VARIABLE}: {} is passed over, because it is not absolute", folder.display());
    }
    absolute
}

/// Whether the program runs with rights its caller does not have (set-user-id, file capabilities), so that the caller's environment
/// must not choose its code. On Linux the kernel says so; what it says cannot be read by just those programs it is true of, so that
/// silence means yes.
#[must_use]
pub fn is_privileged() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if is_secure(std::fs::read("/proc/self/auxv")) {
        return true;
    }
    #[cfg(unix)]
    {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        getuid() != geteuid() || getgid() != getegid()
    }
    #[cfg(not(unix))]
    false
}

/// Whether the kernel's auxiliary vector has a set `AT_SECURE`, or cannot be understood.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_secure(vector: std::io::Result<Vec<u8>>) -> bool {
    const AT_SECURE: usize = 23;
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| <[u8; WORD]>::try_from(bytes).map_or(usize::MAX, usize::from_ne_bytes);
    let Ok(vector) = vector else { return true };
    let entries = vector.chunks_exact(2 * WORD).map(|pair| (word(&pair[..WORD]), word(&pair[WORD..])));
    entries.into_iter().find(|(tag, _)| *tag == AT_SECURE).is_none_or(|(_, value)| value != 0)
}

/// The files in a folder that look like libraries, by name, in order. A folder that is not there has none.
///
/// # Errors
/// What the system said about a folder that is there.
pub fn libraries_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_library = path.extension().is_some_and(|e| e == "so" || e == "dylib" || e == "dll");
        if is_library && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_flags_then_config_then_standard_places_each_once() {
        let path = SearchPath::standard(&["/a".into(), "/b".into(), "".into()], &["/b".into(), "/c".into()], Path::new("/data"));
        let folders: Vec<_> = path.folders().iter().map(|f| f.path.display().to_string()).collect();
        assert_eq!(folders[..3], ["/a", "/b", "/c"]);
        assert_eq!(
            folders[folders.len() - 3..],
            ["/data/hivemind-core/plugins", "/usr/local/lib/hivemind/plugins", "/usr/lib/hivemind/plugins"]
        );
        assert!(path.folders().iter().all(|f| f.path.is_absolute()));
    }

    #[test]
    fn the_variable_names_absolute_folders_and_nothing_to_a_privileged_program() {
        let value = OsStr::new("/a::lib:./b:../c:/d");
        assert_eq!(folders_of(value, false), [Path::new("/a"), Path::new("/d")]);
        assert!(folders_of(value, true).is_empty());
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_kernel_that_does_not_say_otherwise_means_privileged() {
        let vector = |entries: &[(usize, usize)]| {
            Ok(entries.iter().flat_map(|(tag, value)| [tag.to_ne_bytes(), value.to_ne_bytes()].concat()).collect())
        };
        assert!(!is_secure(vector(&[(6, 4096), (23, 0), (0, 0)])));
        assert!(is_secure(vector(&[(6, 4096), (23, 1), (0, 0)])));
        assert!(is_secure(vector(&[(6, 4096), (0, 0)])));
        assert!(is_secure(Ok(Vec::new())));
        assert!(is_secure(Err(std::io::ErrorKind::PermissionDenied.into())));
        assert!(!is_privileged(), "tests are not");
    }
}

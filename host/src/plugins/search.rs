//! Where plugins may lie: an ordered list of folders, never the current one, never the system loader's.

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
        if !is_privileged() {
            for folder in std::env::var_os("HIVEMIND_PLUGINS_DIR").iter().flat_map(std::env::split_paths) {
                path.push(folder, "$HIVEMIND_PLUGINS_DIR");
            }
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

    /// Relative folders are taken from where the operator stands *when naming them*; empty ones, which would mean the current folder,
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

/// Whether the program runs with rights its caller does not have (set-user-id, file capabilities), so that the caller's environment
/// must not choose its code: the kernel says so in the auxiliary vector's `AT_SECURE`.
fn is_privileged() -> bool {
    const AT_SECURE: usize = 23;
    const WORD: usize = size_of::<usize>();
    let vector = std::fs::read("/proc/self/auxv").unwrap_or_default();
    let word = |bytes: &[u8]| <[u8; WORD]>::try_from(bytes).map_or(0, usize::from_ne_bytes);
    vector.chunks_exact(2 * WORD).any(|pair| word(&pair[..WORD]) == AT_SECURE && word(&pair[WORD..]) != 0)
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
}

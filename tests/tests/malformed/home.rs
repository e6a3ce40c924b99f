//! An operator's home as a whole: what is in it, what a command changed there, and running a command that may hang.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use hivemind_tests::program::{Ended, Operator};

/// Larger files are known by their size and times alone.
const READ: u64 = 64 << 20;

/// Everything below a home folder.
#[derive(Debug, PartialEq)]
pub(crate) struct Home(BTreeMap<PathBuf, String>);

impl Home {
    pub(crate) fn look(operator: &Operator) -> Self {
        let mut found = BTreeMap::new();
        below(operator.home(), &mut found);
        // Where programs meet; there is nothing in it, and it may come and stay.
        found.retain(|path, what| !(path.ends_with("tmp/clients.json.lock") && what == "a file, 666: \"\""));
        found.retain(|path, what| !(path.ends_with("tmp/clients.ejson.lock") && what == "a file, 666: \"\""));
        // That somebody tried is noted, for the owner alone.
        found.retain(|path, what| !(path.ends_with("data/hivemind-core/audit.jsonl") && what.starts_with("a file, 600: ")));
        // So is a folder that was made for it alone.
        for folder in ["data/hivemind-core", "data"].map(|folder| operator.home().join(folder)) {
            let is_bare = !found.keys().any(|path| path != &folder && path.starts_with(&folder));
            found.retain(|path, what| !(is_bare && *path == folder && what == "a folder, 700"));
        }
        // SQLite's shared memory is no data, nor is a log with nothing in it: where the folder belongs to somebody else, both stay.
        found.retain(|path, _| !path.ends_with("data/hivemind-core/clients.db-shm"));
        found.retain(|path, what| !(path.ends_with("data/hivemind-core/clients.db-wal") && what.ends_with(": \"\"")));
        Self(found)
    }

    /// What is not as it was, in words.
    pub(crate) fn changes(&self, after: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&PathBuf> = self.0.keys().chain(after.0.keys()).collect();
        let changed = names.into_iter().filter(|name| self.0.get(*name) != after.0.get(*name));
        let shown = |what: Option<&String>| what.map_or("nothing".to_owned(), |text| text.chars().take(200).collect());
        changed
            .map(|name| format!("it changed {}: {} became {}", name.display(), shown(self.0.get(name)), shown(after.0.get(name))))
            .collect()
    }
}

fn below(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let meta = path.symlink_metadata().expect("it is there");
        let (kind, mode) = (meta.file_type(), meta.mode() & 0o7777);
        let what = if kind.is_symlink() {
            format!("a link to {}", std::fs::read_link(&path).expect("a link").display())
        } else if kind.is_dir() {
            below(&path, found);
            format!("a folder, {mode:o}")
        } else if kind.is_fifo() || kind.is_socket() {
            format!("a pipe, {mode:o}")
        } else if meta.len() > READ {
            format!("a file, {mode:o}: {} bytes, changed {}", meta.len(), meta.mtime_nsec())
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            format!("a file, {mode:o}: {:?}", String::from_utf8_lossy(&content))
        };
        found.insert(path, what);
    }
}

/// Runs a command and ends it if it does not end by itself.
///
/// As the owner: root may read and write everything, so it gives those rights up first.
pub(crate) fn run_within(operator: &Operator, words: &[&str], unprivileged: bool, longest: Duration) -> Ended {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
    let mut command = if unprivileged && is_root {
        let without = "setpriv --bounding-set=-dac_override,-dac_read_search,-fowner";
        operator.in_shell(&format!("set -- {without} \"$@\""), words)
    } else {
        operator.command(words)
    };
    // Files hold whatever it says; a pipe would make it wait.
    let mut files = [tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file")];
    let [out, err] = files.each_ref().map(|file| Stdio::from(file.try_clone().expect("a file")));
    let mut child = command.stdout(out).stderr(err).spawn().expect("the program starts");
    let end = Instant::now() + longest;
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code().unwrap_or(-1);
        }
        if Instant::now() > end {
            child.kill().expect("a child");
            child.wait().expect("a child");
            break -1;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let [out, mut err] = files.each_mut().map(|file| {
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut content)).expect("what it said");
        String::from_utf8_lossy(&content).into_owned()
    });
    if code == -1 {
        err += &format!(" (it was killed or hung for {longest:?})");
    }
    Ended { code, out, err }
}

/// Gives back the rights that a case took away, so that the folder can be removed.
pub(crate) fn make_removable(folder: &Path) {
    hivemind_tests::set_mode(folder, 0o700);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

/// A named pipe, which nobody writes to.
pub(crate) fn pipe(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

/// A file of this size with nothing in it.
pub(crate) fn sparse(path: &Path, size: u64) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::File::create(path).expect("a file").set_len(size).expect("a size");
}

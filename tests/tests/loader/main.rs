//! What the loader says about every kind of file and folder an operator can have, and that it never runs what it refuses.

mod files;
mod finding;
mod handles;
mod libraries;
mod links;
mod pinning;

use std::fs;
use std::path::{Path, PathBuf};

use hivemind_host::plugins::{Loader, Reason, Refusal};
use hivemind_model::{Collection, Kind};
use hivemind_tests::{build, loader, place, set_mode};
use serde_json::{Map, Value};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn with(self, fixture: &str, name: &str) -> Self {
        place(&build::fixture(fixture), self.path(), name);
        self
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).expect("written");
        set_mode(&path, 0o755);
        path
    }

    fn loader(&self) -> Loader {
        loader(&[self.path()], self.path())
    }

    /// What `plugins list` would say about the only file.
    fn verdict(&self) -> Reason {
        let loader = self.loader();
        let candidates = loader.candidates().remove(0).1.expect("a folder");
        assert_eq!(candidates.len(), 1, "one file");
        candidates.into_iter().next().and_then(|c| c.manifest.err()).expect("a refusal")
    }

    fn refusal(&self, name: &str) -> Refusal {
        self.loader().resolve(name).expect_err("a refusal")
    }
}

fn assert_says(refusal: &impl std::fmt::Display, parts: &[&str]) {
    let text = refusal.to_string();
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
}

fn settings(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn things() -> Collection {
    Collection::new("things", 1, "id", Kind::Int).field("name", Kind::Text)
}

/// A fixture's library with one text in place of another, filled up with spaces: offsets stay what they are, and JSON is JSON.
fn patched(fixture: &str, from: &str, to: &str) -> Vec<u8> {
    let to = format!("{to:width$}", width = from.len());
    assert_eq!(from.len(), to.len(), "there is room for {to:?}");
    let mut bytes = fs::read(build::fixture(fixture)).expect("the library");
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| &bytes[*at..*at + from.len()] == from.as_bytes()).collect();
    assert!(!places.is_empty(), "{from:?} is in the library");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

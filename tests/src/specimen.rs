//! Folders with a specimen in them, and libraries with something changed.

use std::fs;
use std::path::{Path, PathBuf};

use hivemind_host::plugins::{Loader, Reason, Refusal};
use hivemind_model::{Collection, Kind};
use serde_json::{Map, Value};

use crate::{build, loader, place, set_mode};

/// A plugins folder of its own.
pub struct Folder(tempfile::TempDir);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    /// An empty one.
    ///
    /// # Panics
    /// If the system does not let it; so do all functions here.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The same with a fixture's library under this name.
    #[must_use]
    pub fn with(self, fixture: &str, name: &str) -> Self {
        place(&build::fixture(fixture), self.path(), name);
        self
    }

    /// Writes a file as a plugin should be.
    ///
    /// # Panics
    /// See [`Folder::new`].
    #[expect(clippy::must_use_candidate, reason = "most files are found by the loader")]
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).expect("written");
        set_mode(&path, 0o755);
        path
    }

    /// A loader that searches it alone.
    #[must_use]
    pub fn loader(&self) -> Loader {
        loader(&[self.path()], self.path())
    }

    /// What `plugins list` would say about the only file.
    ///
    /// # Panics
    /// If it is not refused, or not alone.
    #[must_use]
    pub fn verdict(&self) -> Reason {
        let loader = self.loader();
        let candidates = loader.candidates().remove(0).1.expect("a folder");
        assert_eq!(candidates.len(), 1, "one file");
        candidates.into_iter().next().and_then(|c| c.manifest.err()).expect("a refusal")
    }

    /// Why a name is refused.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn refusal(&self, name: &str) -> Refusal {
        self.loader().resolve(name).expect_err("a refusal")
    }
}

/// Asserts that every part is said.
///
/// # Panics
/// If one is not.
pub fn assert_says(refusal: &impl std::fmt::Display, parts: &[&str]) {
    let text = refusal.to_string();
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
}

/// A settings block.
///
/// # Panics
/// If it is no object.
#[must_use]
pub fn settings(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// A small collection.
#[must_use]
pub fn things() -> Collection {
    Collection::new("things", 1, "id", Kind::Int).field("name", Kind::Text)
}

/// A fixture's library.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn library(fixture: &str) -> Vec<u8> {
    fs::read(build::fixture(fixture)).expect("the library")
}

/// A fixture's library with one text in place of another, filled up with spaces: offsets stay what they are, and JSON is JSON.
///
/// # Panics
/// If the text is not in it, or the other is longer.
#[must_use]
pub fn patched(fixture: &str, from: &str, to: &str) -> Vec<u8> {
    let mut bytes = library(fixture);
    replace(&mut bytes, from.as_bytes(), to.as_bytes());
    bytes
}

/// Puts one text in place of another, wherever it is.
///
/// # Panics
/// See [`patched`].
pub fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert!(to.len() <= from.len(), "there is room for {to:?}");
    let first: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!first.is_empty(), "{from:?} is in the library");
    for at in first {
        bytes[at..at + from.len()].fill(b' ');
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

/// Numbers in an ELF library of 64 bits, as the system's loader reads them.
pub mod elf {
    /// The little-endian number of this many bytes.
    #[must_use]
    pub fn number(bytes: &[u8], at: usize, length: usize) -> usize {
        bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// Where the program headers of this kind are.
    #[must_use]
    pub fn segments(bytes: &[u8], kind: u32) -> Vec<usize> {
        let (first, count) = (number(bytes, 32, 8), number(bytes, 56, 2));
        (0..count).map(|n| first + n * 56).filter(|at| number(bytes, *at, 4) == kind as usize).collect()
    }

    /// Where the header of the section of this name is.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn section(bytes: &[u8], name: &str) -> usize {
        let (first, count, names) = (number(bytes, 40, 8), number(bytes, 60, 2), number(bytes, 62, 2));
        let strings = number(bytes, first + names * 64 + 24, 8);
        let is_it = |at: &usize| {
            let start = strings + number(bytes, *at, 4);
            bytes[start..].starts_with(name.as_bytes()) && bytes[start + name.len()] == 0
        };
        (0..count).map(|n| first + n * 64).find(is_it).unwrap_or_else(|| panic!("a section {name}"))
    }
}

/// A fixture's library with another text in its manifest section.
///
/// # Panics
/// If it does not fit in.
#[must_use]
pub fn with_manifest(fixture: &str, manifest: &[u8]) -> Vec<u8> {
    let mut bytes = library(fixture);
    let section = elf::section(&bytes, ".hivemind");
    let (start, length) = (elf::number(&bytes, section + 24, 8), elf::number(&bytes, section + 32, 8));
    assert!(manifest.len() <= length, "there is room for {length} bytes");
    bytes[start..start + length].fill(b' ');
    bytes[start..start + manifest.len()].copy_from_slice(manifest);
    bytes
}

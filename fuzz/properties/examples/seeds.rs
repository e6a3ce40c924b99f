//! Writes `fuzz/seeds`: inputs that fuzzers start from, each with a name that says what it is. Libraries are built with `cc`.
//!
//! `cargo run -p hivemind-fuzz-properties --example seeds`

mod seeds {
    pub(crate) mod json;
    pub(crate) mod libraries;
    pub(crate) mod protocol;
    pub(crate) mod requests;
}

use std::path::{Path, PathBuf};

use hivemind_fuzz_properties::{Specimen, TARGETS};

/// The folder of a target's seeds.
struct Seeds(PathBuf);

impl Seeds {
    fn of(target: &str) -> Self {
        assert!(TARGETS.iter().any(|(name, _)| *name == target), "{target}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz/").join("seeds").join(target);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).expect("a file");
    }

    /// One that begins with the byte that chooses.
    fn put_chosen(&self, name: &str, choice: u8, content: impl AsRef<[u8]>) {
        self.put(name, [&[choice], content.as_ref()].concat());
    }

    fn put_for(&self, name: &str, specimen: Specimen, content: impl AsRef<[u8]>) {
        self.put_chosen(name, specimen as u8, content);
    }
}

fn main() {
    seeds::json::write();
    seeds::requests::write();
    seeds::protocol::write();
    seeds::libraries::write();
}

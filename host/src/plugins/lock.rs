//! `plugins.lock.toml`: which files the operator has decided to trust, by hash.
//!
//! A module that is listed for this target loads only from a file with one of its hashes; a module that is not listed loads as
//! without a lock. It lies beside server.json.
//!
//! ```toml
//! version = 1
//!
//! [[plugin]]
//! module = "hivemind-sqlite-db-plugin"
//! version = "0.1.0"
//! sha256 = { x86_64-unknown-linux-gnu = "9f86d081…" }
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::candidate::Checked;
use super::manifest::{Manifest, host_target};
use super::refusal::{Reason, Refusal};

/// The lock file's name.
pub const FILE_NAME: &str = "plugins.lock.toml";

/// The content of a lock file, and where it lies.
#[derive(Debug, Clone, Default)]
pub struct Lock {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    #[serde(default, rename = "plugin")]
    plugins: Vec<Pin>,
}

impl Default for Content {
    fn default() -> Self {
        Self { version: 1, plugins: Vec::new() }
    }
}

/// One pinned plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The module name.
    pub module: String,
    /// The version that was pinned.
    pub version: String,
    /// SHA-256 in hex by target triple.
    pub sha256: BTreeMap<String, String>,
}

impl Lock {
    /// Reads the lock file; one that is not there pins nothing.
    ///
    /// # Errors
    /// `BadLock` if it is there and cannot be read or understood: what it forbids would be unknown.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let bad = |why: String| Reason::BadLock(why).at(path);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), content: Content::default() });
            }
            Err(error) => return Err(bad(error.to_string())),
        };
        let content: Content = toml::from_str(&text).map_err(|e| bad(e.to_string().trim_end().to_owned()))?;
        if content.version != 1 {
            return Err(bad(format!("expected version 1, found {}", content.version)));
        }
        Ok(Self { path: path.to_owned(), content })
    }

    /// Where the lock file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pin of a module.
    #[must_use]
    pub fn pin_of(&self, module: &str) -> Option<&Pin> {
        self.content.plugins.iter().find(|pin| pin.module == module)
    }

    /// Whether a file with this manifest and hash may be loaded.
    pub(super) fn check(&self, manifest: &Manifest, sha256: &str) -> Result<(), Reason> {
        match self.pin_of(&manifest.module).and_then(|pin| pin.sha256.get(host_target())) {
            Some(pinned) if !pinned.eq_ignore_ascii_case(sha256) => {
                let (expected, found) = (pinned.clone(), sha256.to_owned());
                Err(Reason::NotPinned { module: manifest.module.clone(), expected, found, lock: self.path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Pins a plugin for this target; its hashes for other targets stay while its version does.
    pub fn pin(&mut self, plugin: &Checked) {
        let Manifest { module, version, .. } = &plugin.manifest;
        let mut sha256 = match self.pin_of(module) {
            Some(pin) if pin.version == *version => pin.sha256.clone(),
            _ => BTreeMap::new(),
        };
        sha256.insert(host_target().to_owned(), plugin.sha256.clone());
        self.content.plugins.retain(|pin| pin.module != *module);
        self.content.plugins.push(Pin { module: module.clone(), version: version.clone(), sha256 });
        self.content.plugins.sort_by(|a, b| a.module.cmp(&b.module));
    }

    /// Writes the lock file as a whole or not at all. It holds no secret, and root may write it for a node that runs as somebody else.
    ///
    /// # Errors
    /// `BadLock` with what the system said.
    pub fn write(&self) -> Result<(), Refusal> {
        let bad = |why: String| Reason::BadLock(why).at(&self.path);
        let text = toml::to_string_pretty(&self.content).map_err(|e| bad(e.to_string()))?;
        let text = format!(
            "# Written by `hivemind-host plugins pin`. A module listed here loads only from a file with its hash.\n\n{text}"
        );
        crate::files::replace(&self.path, text.as_bytes(), 0o644).map_err(|e| bad(e.to_string()))
    }
}

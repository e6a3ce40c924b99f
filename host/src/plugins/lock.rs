//! `plugins.lock.toml`: which files the operator has decided to trust, by hash.
//!
//! A module that is listed loads only from the file with its hash for this target, and not at all where it has none; every name that
//! it answered to when it was pinned means this module and no other, whatever other files claim. A module that is not listed loads as
//! without a lock. The file lies beside server.json.
//!
//! ```toml
//! version = 1
//!
//! [[plugin]]
//! module = "hivemind-sqlite-db-plugin"
//! aliases = ["sqlite"]
//! version = "0.1.0"
//! sha256 = { x86_64-unknown-linux-gnu = "9f86d081…" }
//! ```

use std::collections::{BTreeMap, BTreeSet};
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

impl Content {
    /// What a slip of the pen would turn into a pin that pins nothing.
    fn check(&self) -> Result<(), String> {
        if self.version != 1 {
            return Err(format!("expected version 1, found {}", self.version));
        }
        let mut modules = BTreeSet::new();
        let mut aliases = BTreeMap::new();
        for Pin { module, aliases: others, sha256, .. } in &self.plugins {
            if !modules.insert(module) {
                return Err(format!("{module} is listed twice; leave one"));
            }
            for alias in others {
                if let Some(other) = aliases.insert(alias, module).filter(|other| *other != module) {
                    return Err(format!("{other} and {module} both answer to {alias:?}; take it from one of them"));
                }
            }
            for (target, hash) in sha256 {
                let is_triple = target.split('-').count() >= 3 && target.split('-').all(|part| !part.is_empty());
                if !is_triple {
                    return Err(format!("{module}: expected a target such as {}, found {target:?}", host_target()));
                }
                if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(format!("{module}: expected 64 hexadecimal digits for {target}, found {hash:?}"));
                }
            }
        }
        Ok(())
    }
}

/// One pinned plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The module name.
    pub module: String,
    /// The other names it answered to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
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
        let text = match crate::files::read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), content: Content::default() });
            }
            Err(error) => return Err(bad(error.to_string())),
        };
        let content: Content = toml::from_str(&text).map_err(|e| bad(e.to_string().trim_end().to_owned()))?;
        content.check().map_err(bad)?;
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

    /// The pin that a name means: that of the module, else that of a module which answered to it.
    #[must_use]
    pub fn pin_answering(&self, name: &str) -> Option<&Pin> {
        self.pin_of(name).or_else(|| self.content.plugins.iter().find(|pin| pin.aliases.iter().any(|alias| alias == name)))
    }

    /// Whether a file with this manifest may be loaded. Its hash is asked for only if there is a pin to compare it with.
    pub(super) fn check(&self, manifest: &Manifest, sha256: impl FnOnce() -> String) -> Result<(), Reason> {
        let Some(pin) = self.pin_of(&manifest.module) else { return Ok(()) };
        let (expected, found) = (pin.sha256.get(host_target()), sha256());
        if expected.is_some_and(|pinned| pinned.eq_ignore_ascii_case(&found)) {
            return Ok(());
        }
        let (module, lock) = (manifest.module.clone(), self.path.clone());
        Err(Reason::NotPinned { module, expected: expected.cloned(), found, lock })
    }

    /// Pins a plugin for this target; its hashes for other targets stay while its version does.
    pub fn pin(&mut self, plugin: &Checked) {
        let Manifest { module, aliases, version, .. } = &plugin.manifest;
        let mut sha256 = match self.pin_of(module) {
            Some(pin) if pin.version == *version => pin.sha256.clone(),
            _ => BTreeMap::new(),
        };
        sha256.insert(host_target().to_owned(), plugin.sha256());
        self.content.plugins.retain(|pin| pin.module != *module);
        let (module, aliases, version) = (module.clone(), aliases.clone(), version.clone());
        self.content.plugins.push(Pin { module, aliases, version, sha256 });
        self.content.plugins.sort_by(|a, b| a.module.cmp(&b.module));
    }

    /// Writes the lock file as a whole or not at all. It holds no secret, and root may write it for a node that runs as somebody else.
    ///
    /// # Errors
    /// `BadLock` with what the system said, or if two modules were pinned that answer to one name.
    pub fn write(&self) -> Result<(), Refusal> {
        let bad = |why: String| Reason::BadLock(why).at(&self.path);
        self.content.check().map_err(bad)?;
        let text = toml::to_string_pretty(&self.content).map_err(|e| bad(e.to_string()))?;
        let text = format!(
            "# Written by `hivemind-host plugins pin`. A module listed here loads only from a file with its hash.\n\n{text}"
        );
        crate::files::replace(&self.path, text.as_bytes(), 0o644).map_err(|e| bad(e.to_string()))
    }
}

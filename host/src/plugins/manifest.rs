//! What a plugin says about itself, read from its file.

use hivemind_abi::model::{Capabilities, Capability};
use serde::{Deserialize, Serialize};

use super::refusal::Reason;

/// A plugin's manifest; see [`hivemind_abi::manifest`]. Parts that a newer form adds are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the manifest's form.
    pub manifest: u32,
    /// The module name.
    pub module: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The plugin's own version.
    pub version: String,
    /// Who made it.
    #[serde(default)]
    pub vendor: String,
    /// An SPDX expression, or `proprietary`.
    #[serde(default)]
    pub licence: String,
    /// The version of the ABI it was built against.
    pub abi: String,
    /// The target triple it was built for.
    pub target: String,
    /// The compiler that built it.
    #[serde(default)]
    pub rustc: String,
    /// Its panic strategy.
    pub panic: String,
    /// The most it can promise, by name.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// JSON Schema of its settings block.
    #[serde(default)]
    pub config: serde_json::Value,
}

/// The names that a plugin claims, which can be read where the rest of its manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Names {
    /// The module name.
    pub module: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
}

impl Names {
    /// The names in a manifest, if it is one at all; what could be no name is left out.
    #[must_use]
    pub fn in_text(text: &str) -> Option<Self> {
        let mut names: Self = serde_json::from_str(text).ok()?;
        names.aliases.retain(|alias| is_module_name(alias));
        is_module_name(&names.module).then_some(names)
    }

    /// Whether `name` is its module name or an alias.
    #[must_use]
    pub fn answer_to(&self, name: &str) -> bool {
        self.module == name || self.aliases.iter().any(|a| a == name)
    }
}

/// The target triple of this build.
#[must_use]
pub fn host_target() -> &'static str {
    env!("HIVEMIND_TARGET")
}

impl Manifest {
    /// Reads a manifest and checks what can be checked without the library.
    ///
    /// # Errors
    /// `BadManifest`, `AbiMajor`, `WrongTarget` or `PanicAbort`.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let manifest: Self = serde_json::from_str(text).map_err(|e| Reason::BadManifest(e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Reason> {
        if self.manifest != hivemind_abi::manifest::FORMAT {
            let (expected, found) = (hivemind_abi::manifest::FORMAT, self.manifest);
            return Err(Reason::BadManifest(format!("expected form {expected}, found {found}")));
        }
        for name in std::iter::once(&self.module).chain(&self.aliases) {
            if !is_module_name(name) {
                return Err(Reason::BadManifest(format!("{name:?} is no module name (lower-case letters, digits, '-', '_')")));
            }
        }
        let (expected, found) = (hivemind_abi::ABI_VERSION, &self.abi);
        let major = |version: &str| version.split('.').next().and_then(|v| v.parse::<u64>().ok());
        match (major(expected), major(found)) {
            (_, None) => return Err(Reason::BadManifest(format!("{found:?} is no ABI version"))),
            (host, plugin) if host != plugin => {
                return Err(Reason::AbiMajor { expected: expected.to_owned(), found: found.clone() });
            }
            _ => {}
        }
        if self.target != host_target() {
            return Err(Reason::WrongTarget { expected: host_target().to_owned(), found: self.target.clone() });
        }
        if self.panic != "unwind" {
            return Err(Reason::PanicAbort);
        }
        if !(self.config.is_object() || self.config.is_null()) {
            return Err(Reason::BadManifest("its config is no JSON Schema object".to_owned()));
        }
        Ok(())
    }

    /// The capabilities that this build knows of.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let known: Vec<_> = self.capabilities.iter().filter_map(|name| Capability::from_name(name)).collect();
        Capabilities::of(&known)
    }
}

fn is_module_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 128 && name.chars().all(fits)
}

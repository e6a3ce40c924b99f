//! From a module name to an open backend.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hivemind_abi::host::{Level, Services};
use hivemind_abi::model::{Backend, Error};
use hivemind_abi::proxy;
use hivemind_abi::vtable::BackendModule_Ref;
use serde_json::{Map, Value};

use super::candidate::{Candidate, Checked};
use super::lock::Lock;
use super::manifest::Manifest;
use super::refusal::{Reason, Refusal};
use super::resources::Claim;
use super::search::SearchPath;
use super::supervised::Supervised;
use super::{image, library, settings};

/// Finds, checks and loads plugins. One per process: it knows which images are mapped already.
pub struct Loader {
    search: SearchPath,
    lock: Lock,
    data_dir: PathBuf,
    mapped: Mutex<HashMap<String, BackendModule_Ref>>,
}

/// A loaded plugin.
#[derive(Clone)]
pub struct Plugin {
    /// Where its file lies.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    module: BackendModule_Ref,
}

impl Plugin {
    /// Opens a backend without supervision and without claiming its resources: for tools and tests that know no other handle is in
    /// the way.
    ///
    /// # Errors
    /// What the plugin's `open` gave.
    pub fn open_bare(&self, config: &str, data_dir: &Path) -> hivemind_abi::model::Result<proxy::Loaded> {
        let services =
            HostServices { module: self.manifest.module.clone(), data_dir: data_dir.to_owned(), plugin_path: self.path.clone() };
        proxy::open(self.module, config, services)
    }
}

/// A backend that is open, and the plugin it came from.
#[derive(Clone)]
pub struct Opened {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// The plugin.
    pub plugin: Plugin,
}

/// Why a backend could not be opened.
#[derive(Debug, Clone, PartialEq)]
pub enum OpenError {
    /// The plugin was refused, or none was found.
    Refused(Refusal),
    /// The plugin runs, but its backend did not open.
    Backend {
        /// The module.
        module: String,
        /// What it said.
        error: Error,
    },
}

impl From<Refusal> for OpenError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Backend { module, error } => write!(f, "{module} did not open its store: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Loader {
    /// A loader that searches these folders and honours this lock file; `data_dir` is handed to plugins.
    #[must_use]
    pub fn new(search: SearchPath, lock: Lock, data_dir: PathBuf) -> Self {
        Self { search, lock, data_dir, mapped: Mutex::default() }
    }

    /// The folders that are searched.
    #[must_use]
    pub const fn search(&self) -> &SearchPath {
        &self.search
    }

    /// The lock file that is honoured.
    #[must_use]
    pub const fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Every library of every folder, in search order, none of them run.
    #[must_use]
    pub fn candidates(&self) -> Vec<(&Path, Result<Vec<Candidate>, Refusal>)> {
        let folders = self.search.folders().iter();
        folders.map(|folder| (folder.path.as_path(), Candidate::all_in(&folder.path))).collect()
    }

    /// Finds and checks the plugin of a module name, alias or absolute path. Nothing of it has run then.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, and every reason to refuse the one that was found.
    pub fn resolve(&self, name: &str) -> Result<Checked, Refusal> {
        let as_path = Path::new(name);
        if as_path.is_absolute() {
            return Checked::read(as_path, &self.lock);
        }
        let mut refused = Vec::new();
        let mut known = Vec::new();
        for (_, candidates) in self.candidates() {
            let candidates = match candidates {
                Ok(candidates) => candidates,
                Err(refusal) => {
                    refused.push(refusal.to_string());
                    continue;
                }
            };
            if let Some(path) = Self::choose(name, &candidates)? {
                return Checked::read(&path, &self.lock);
            }
            for candidate in candidates {
                match candidate.manifest {
                    Ok(manifest) => known.extend(std::iter::once(manifest.module).chain(manifest.aliases)),
                    Err(reason) => refused.push(reason.at(candidate.path).to_string()),
                }
            }
        }
        let nearest = settings::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        let searched = self.search.folders().iter().map(|f| (f.path.clone(), f.path.is_dir())).collect();
        Err(Reason::NotFound { name: name.to_owned(), nearest, searched, refused }.into())
    }

    /// The one file of a folder that claims a name. A module name goes before an alias.
    fn choose(name: &str, candidates: &[Candidate]) -> Result<Option<PathBuf>, Refusal> {
        let claiming = |test: &dyn Fn(&Manifest) -> bool| -> Vec<PathBuf> {
            candidates.iter().filter(|c| c.manifest.as_ref().is_ok_and(test)).map(|c| c.path.clone()).collect()
        };
        let mut files = claiming(&|m| m.module == name);
        if files.is_empty() {
            files = claiming(&|m| m.answers_to(name));
        }
        match files.len() {
            0 | 1 => Ok(files.pop()),
            _ => Err(Reason::Ambiguous { name: name.to_owned(), files }.into()),
        }
    }

    /// Maps a checked plugin; one with the same content is mapped once.
    ///
    /// # Errors
    /// `Load`, `NoEntry`, `AbiMajor`, `Layout`, `ManifestDiffers`.
    pub fn load(&self, checked: Checked) -> Result<Plugin, Refusal> {
        let Checked { path, manifest, manifest_text, sha256, bytes } = checked;
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match mapped.get(&sha256) {
            Some(module) => *module,
            None => {
                let copy = image::keep(&bytes, &manifest.module).map_err(|e| Reason::Load(e.to_string()).at(&path))?;
                let module = library::map(&copy).map_err(|reason| reason.at(&path))?;
                if proxy::manifest(module) != manifest_text {
                    return Err(Reason::ManifestDiffers.at(&path));
                }
                mapped.insert(sha256.clone(), module);
                module
            }
        };
        Ok(Plugin { path, manifest, sha256, module })
    }

    /// Finds, checks and loads a module and opens its backend with this settings block.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, name: &str, block: &Map<String, Value>) -> Result<Opened, OpenError> {
        self.open_checked(self.resolve(name)?, block)
    }

    /// Loads a plugin that [`Loader::resolve`] gave and opens its backend with this settings block.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_checked(&self, checked: Checked, block: &Map<String, Value>) -> Result<Opened, OpenError> {
        settings::check(&checked.manifest, block).map_err(|reason| reason.at(checked.path.clone()))?;
        let plugin = self.load(checked)?;
        let config = Value::Object(block.clone()).to_string();
        self.open_with(plugin, config)
    }

    fn open_with(&self, plugin: Plugin, config: String) -> Result<Opened, OpenError> {
        let module = plugin.manifest.module.clone();
        let failed = |error: Error| OpenError::Backend { module: module.clone(), error };
        let open = {
            let (plugin, data_dir) = (plugin.clone(), self.data_dir.clone());
            move || -> hivemind_abi::model::Result<Box<dyn Backend>> { Ok(Box::new(plugin.open_bare(&config, &data_dir)?)) }
        };
        let backend = open().map_err(failed)?;
        let claim = Claim::take(&backend.resources(), &module)?;
        // Only what this build knows: a newer plugin may declare and promise more.
        let declared = plugin.manifest.capabilities();
        let more: Vec<_> = backend.capabilities().iter().filter(|c| !declared.has(*c)).map(|c| c.to_string()).collect();
        if !more.is_empty() {
            return Err(Reason::Overpromises(more).at(plugin.path).into());
        }
        let supervised = Supervised::new(&module, backend, Box::new(open), claim);
        Ok(Opened { backend: Arc::new(supervised), plugin })
    }
}

impl From<Reason> for OpenError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

/// What the host does for a plugin.
struct HostServices {
    module: String,
    data_dir: PathBuf,
    plugin_path: PathBuf,
}

impl Services for HostServices {
    fn log(&self, level: Level, message: &str) {
        let module = self.module.as_str();
        match level {
            Level::Error => tracing::error!(target: "plugin", module, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", module, "{message}"),
            Level::Info => tracing::info!(target: "plugin", module, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", module, "{message}"),
            Level::Trace => tracing::trace!(target: "plugin", module, "{message}"),
        }
    }

    fn log_enabled(&self, level: Level) -> bool {
        match level {
            Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
            Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
            Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
            Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
            Level::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
        }
    }

    fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    fn plugin_path(&self) -> &Path {
        &self.plugin_path
    }
}

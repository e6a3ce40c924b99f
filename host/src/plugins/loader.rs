//! From a module name to an open backend.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hivemind_abi::host::{Level, Services};
use hivemind_abi::model::{Backend, Error};
use hivemind_abi::proxy;
use hivemind_abi::vtable::BackendModule_Ref;
use serde_json::{Map, Value};

use super::candidate::{Candidate, Checked, sha256};
use super::image::Image;
use super::lock::Lock;
use super::manifest::{Manifest, Names};
use super::refusal::{Reason, Refusal};
use super::resources::Claim;
use super::search::SearchPath;
use super::secrets::Secrets;
use super::supervised::Supervised;
use super::{library, settings};
use crate::plain::plain;

/// Finds, checks and loads plugins. One per process: it knows which images are mapped already.
pub struct Loader {
    search: SearchPath,
    lock: Lock,
    data_dir: PathBuf,
    mapped: Mutex<Vec<Mapped>>,
}

/// What was read once, and the library that it became.
struct Mapped {
    image: Arc<Image>,
    module: BackendModule_Ref,
}

/// A loaded plugin.
#[derive(Clone)]
pub struct Plugin {
    /// Where its file lies.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    image: Arc<Image>,
    module: BackendModule_Ref,
}

impl Plugin {
    /// SHA-256 of the file that was loaded, in hex.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256(&self.image)
    }

    /// Opens a backend without supervision and without claiming its resources: for tools and tests that know no other handle is in
    /// the way.
    ///
    /// # Errors
    /// What the plugin's `open` gave.
    pub fn open_bare(&self, config: &str, data_dir: &Path) -> hivemind_abi::model::Result<proxy::Loaded> {
        self.open_keeping(config, data_dir, Secrets::default())
    }

    fn open_keeping(&self, config: &str, data_dir: &Path, secrets: Secrets) -> hivemind_abi::model::Result<proxy::Loaded> {
        let services = HostServices {
            module: self.manifest.module.clone(),
            data_dir: data_dir.to_owned(),
            plugin_path: self.path.clone(),
            secrets: secrets.clone(),
        };
        proxy::open(self.module, config, services).map_err(|error| secrets.hide_in(error))
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
    /// A name that a pinned module answered to means that module. Otherwise a module name goes before an alias in whatever folder, so
    /// that no file dropped in can take another's name. A file that claims the name and is refused is not passed over for a later one.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, and every reason to refuse the one that was found.
    pub fn resolve(&self, name: &str) -> Result<Checked, Refusal> {
        let as_path = Path::new(name);
        if as_path.is_absolute() {
            return Checked::read(as_path, &self.lock);
        }
        let folders = self.candidates();
        let is_module = |names: &Names, module: &str| names.module == module;
        let found = match self.lock.pin_answering(name) {
            Some(pin) => Self::choose(&pin.module, &folders, &is_module)?,
            None => match Self::choose(name, &folders, &is_module)? {
                None => Self::choose(name, &folders, &Names::answer_to)?,
                found => found,
            },
        };
        let Some((path, folder)) = found else { return Err(self.not_found(name, &folders)) };
        for refusal in folders.iter().take(folder + 1).flat_map(|(_, candidates)| refused(candidates)) {
            tracing::warn!("passed over in search of {name}: {refusal}");
        }
        Checked::read(&path, &self.lock)
    }

    /// The one file that claims a name in the first folder that has any, and which folder that is.
    fn choose(
        name: &str,
        folders: &[(&Path, Result<Vec<Candidate>, Refusal>)],
        claims: &dyn Fn(&Names, &str) -> bool,
    ) -> Result<Option<(PathBuf, usize)>, Refusal> {
        for (folder, candidates) in folders.iter().enumerate().filter_map(|(n, (_, all))| Some((n, all.as_ref().ok()?))) {
            let claiming: Vec<_> =
                candidates.iter().filter(|c| c.names.as_ref().is_some_and(|names| claims(names, name))).collect();
            let files: Vec<_> = claiming.iter().filter(|c| c.manifest.is_ok()).map(|c| c.path.clone()).collect();
            match (files.as_slice(), claiming.first()) {
                ([file], _) => return Ok(Some((file.clone(), folder))),
                ([], Some(Candidate { path, manifest: Err(reason), .. })) => return Err(reason.clone().at(path)),
                ([], _) => {}
                _ => return Err(Reason::Ambiguous { name: name.to_owned(), files }.into()),
            }
        }
        Ok(None)
    }

    fn not_found(&self, name: &str, folders: &[(&Path, Result<Vec<Candidate>, Refusal>)]) -> Refusal {
        let names = folders.iter().filter_map(|(_, all)| all.as_ref().ok()).flatten().filter_map(|c| c.names.as_ref());
        let known = names.flat_map(|names| std::iter::once(&names.module).chain(&names.aliases)).map(String::as_str);
        let nearest = settings::nearest(name, known).map(str::to_owned);
        let searched = self.search.folders().iter().map(|f| (f.path.clone(), f.path.is_dir())).collect();
        let refused = folders.iter().flat_map(|(_, candidates)| refused(candidates)).map(|r| r.to_string()).collect();
        Reason::NotFound { name: name.to_owned(), nearest, searched, refused }.into()
    }

    /// Maps a checked plugin; one with the same content is mapped once.
    ///
    /// # Errors
    /// `Load`, `NoEntry`, `AbiMajor`, `Layout`, `ManifestDiffers`.
    pub fn load(&self, checked: Checked) -> Result<Plugin, Refusal> {
        let Checked { path, manifest, manifest_text, image } = checked;
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Mapped { image, module }) = mapped.iter().find(|m| **m.image == **image) {
            return Ok(Plugin { path, manifest, image: Arc::clone(image), module: *module });
        }
        let module = library::map(&image, &manifest.module).map_err(|reason| reason.at(&path))?;
        if proxy::manifest(module) != manifest_text {
            return Err(Reason::ManifestDiffers.at(&path));
        }
        mapped.push(Mapped { image: Arc::clone(&image), module });
        Ok(Plugin { path, manifest, image, module })
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
        let secrets = Secrets::of(&plugin.manifest, block);
        self.open_with(plugin, config, secrets)
    }

    fn open_with(&self, plugin: Plugin, config: String, secrets: Secrets) -> Result<Opened, OpenError> {
        let module = plugin.manifest.module.clone();
        let failed = |error: Error| OpenError::Backend { module: module.clone(), error };
        let open = {
            let (plugin, data_dir, secrets) = (plugin.clone(), self.data_dir.clone(), secrets.clone());
            move || -> hivemind_abi::model::Result<Box<dyn Backend>> {
                Ok(Box::new(plugin.open_keeping(&config, &data_dir, secrets.clone())?))
            }
        };
        let backend = open().map_err(failed)?;
        let claim = Claim::take(&backend.resources(), &module)?;
        // Only what this build knows: a newer plugin may declare and promise more.
        let declared = plugin.manifest.capabilities();
        let more: Vec<_> = backend.capabilities().iter().filter(|c| !declared.has(*c)).map(|c| c.to_string()).collect();
        if !more.is_empty() {
            return Err(Reason::Overpromises(more).at(plugin.path).into());
        }
        let supervised = Supervised::new(&module, backend, Box::new(open), claim, secrets);
        Ok(Opened { backend: Arc::new(supervised), plugin })
    }
}

/// Everything of a folder that is refused, or the folder.
fn refused(candidates: &Result<Vec<Candidate>, Refusal>) -> Vec<Refusal> {
    match candidates {
        Ok(all) => all.iter().filter_map(|c| Some(c.manifest.as_ref().err()?.clone().at(&c.path))).collect(),
        Err(refusal) => vec![refusal.clone()],
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
    secrets: Secrets,
}

impl Services for HostServices {
    fn log(&self, level: Level, message: &str) {
        let message = self.secrets.hide(message);
        let (module, message) = (self.module.as_str(), plain(&message));
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

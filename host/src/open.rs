//! From the command line and `server.json` to an open storage: the one place where configuration, loader and store meet.

use std::sync::Arc;

use hivemind_store::{Clients, Options, Storage};

use crate::cli::Global;
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::offload::Threads;
use crate::plugins::lock::{self, Lock};
use crate::plugins::{Loader, Plugin, SearchPath};

/// An open storage and where it came from.
#[derive(Clone)]
pub struct Opened {
    /// The storage.
    pub storage: Storage,
    /// The backend's module name.
    pub module: String,
    /// The plugin it lives in; `None` for a storage that a test made.
    pub plugin: Option<Plugin>,
}

impl Opened {
    /// Brings the clients of the storage up.
    ///
    /// # Errors
    /// The backend's. What it finds invalid now are its settings: nothing else was asked of it yet.
    pub fn clients(&self) -> Result<Clients, Failure> {
        pollster::block_on(Clients::open(&self.storage)).map_err(|error| {
            let failure = Failure::from(error);
            if failure.code != "invalid" {
                return failure;
            }
            let help = format!("correct the {} block of server.json", self.module);
            Failure { exit: Exit::Config, ..failure }.help(help)
        })
    }
}

/// Opens the storage that a command works on. Commands know this and nothing of plugins, so that tests hand them any storage.
pub trait Opener {
    /// Opens the storage.
    ///
    /// # Errors
    /// What the configuration, the loader or the backend said.
    fn open(&self, global: &Global, config: &Config) -> Result<Opened, Failure>;
}

/// Opens what is configured, through a plugin.
#[derive(Debug, Clone, Copy)]
pub struct FromPlugins;

impl Opener for FromPlugins {
    fn open(&self, global: &Global, config: &Config) -> Result<Opened, Failure> {
        let database = config.database(&global.overrides())?;
        if config.data_dir().to_str().is_none() {
            // Plugins are handed the path as text, and one that was bent to be text would lead elsewhere.
            let message = format!("the data directory {} is not UTF-8", config.data_dir().display());
            return Err(Failure::config(message).help("set XDG_DATA_HOME to an absolute path that is"));
        }
        let loader = loader(global, config)?;
        let plugin = loader.resolve(&database.module)?;
        let module = plugin.manifest.module.clone();
        let settings = config.settings(&database, &module)?;
        let opened = loader.open_checked(plugin, &settings.settings).map_err(|error| {
            let mut failure = Failure::from(error);
            if failure.exit == Exit::Config {
                failure.message = format!("{}, block {module}: {}", config.path().display(), failure.message);
                failure.help.get_or_insert_with(|| "correct this setting; the file was left as it is".to_owned());
            }
            failure
        })?;
        let options = Options { offload: Some(Arc::new(Threads::new())), ..Options::default() };
        Ok(Opened { storage: Storage::new(opened.backend, options), module, plugin: Some(opened.plugin) })
    }
}

/// The loader that command line, configuration and lock file describe.
///
/// # Errors
/// A configuration failure, or a lock file that cannot be understood.
pub fn loader(global: &Global, config: &Config) -> Result<Loader, Failure> {
    loader_with(global, config, Lock::read(&config.path().with_file_name(lock::FILE_NAME))?)
}

/// The same with another lock.
///
/// # Errors
/// A configuration failure.
pub fn loader_with(global: &Global, config: &Config, lock: Lock) -> Result<Loader, Failure> {
    let search = SearchPath::standard(&global.plugins_dir, &config.plugins_dirs()?, config.data_dir());
    Ok(Loader::new(search, lock, config.data_dir().to_owned()))
}

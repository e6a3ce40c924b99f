//! From the command line and `server.json` to an open storage: the one place where configuration, loader and store meet.

use std::path::Path;
use std::sync::Arc;

use hivemind_store::{Clients, Offload, Options, Storage};

use crate::cli::Global;
use crate::config::Config;
use crate::config::secrets::{self, Origin};
use crate::failure::{Exit, Failure};
use crate::modes;
use crate::moving::marker;
use crate::offload::Threads;
use crate::plugins::lock::{self, Lock};
use crate::plugins::search::is_privileged;
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
    /// Where its secrets are that `server.json` does not have.
    pub secrets: Vec<Origin>,
}

impl Opened {
    /// Brings the clients of the storage up.
    ///
    /// # Errors
    /// `migrating` if the storage is the target of a move that is not finished; the backend's.
    pub fn clients(&self) -> Result<Clients, Failure> {
        let clients = pollster::block_on(Clients::open(&self.storage)).map_err(|error| self.while_opening(error.into()))?;
        marker::refuse(&clients)?;
        Ok(clients)
    }

    /// What a backend finds invalid while its store is opened are its settings: nothing else was asked of it yet. One that was denied
    /// may have been given a secret from elsewhere, and then nothing in server.json is to be corrected.
    #[must_use]
    pub fn while_opening(&self, failure: Failure) -> Failure {
        match (&*failure.code, &self.secrets[..]) {
            ("invalid", _) => {
                let help = format!("correct the {} block of server.json", self.module);
                Failure { exit: Exit::Config, ..failure }.help(help)
            }
            ("denied", [_, ..]) => {
                let places: Vec<_> = self.secrets.iter().map(|o| format!("the {} came from {}", o.setting, o.place)).collect();
                failure.help(format!("correct it: {}", places.join(", ")))
            }
            _ => failure,
        }
    }
}

/// Opens the storage that a command works on. Commands know this and nothing of plugins, so that tests hand them any storage.
pub trait Opener {
    /// Opens the storage.
    ///
    /// # Errors
    /// What the configuration, the loader or the backend said.
    fn open(&self, global: &Global, config: &Config) -> Result<Opened, Failure> {
        self.open_on(global, config, Arc::new(Threads::new()))
    }

    /// The same with its calls run elsewhere.
    ///
    /// # Errors
    /// See [`Opener::open`].
    fn open_on(&self, global: &Global, config: &Config, offload: Arc<dyn Offload>) -> Result<Opened, Failure>;
}

/// Opens what is configured, through a plugin.
#[derive(Debug, Clone, Copy)]
pub struct FromPlugins;

impl Opener for FromPlugins {
    fn open_on(&self, global: &Global, config: &Config, offload: Arc<dyn Offload>) -> Result<Opened, Failure> {
        let database = config.database(&global.overrides())?;
        if config.data_dir().to_str().is_none() {
            // Plugins are handed the path as text, and one that was bent to be text would lead elsewhere.
            let message = format!("the data directory {} is not UTF-8", config.data_dir().display());
            return Err(Failure::config(message).help("set XDG_DATA_HOME to an absolute path that is"));
        }
        let loader = loader(global, config)?;
        let plugin = loader.resolve(&database.module)?;
        let module = plugin.manifest.module.clone();
        let mut block = config.settings(&database, &module)?;
        let folder = std::path::absolute(config.path()).ok().and_then(|p| p.parent().map(Path::to_owned)).unwrap_or_default();
        let trusted = !is_privileged();
        let environment = |name: &str| trusted.then(|| std::env::var_os(name)).flatten();
        let secrets = secrets::settle(&plugin.manifest, &mut block.settings, &block.given, &folder, &environment)
            .map_err(|failure| in_block(failure, config, &module))?;
        let opened = loader.open_checked(plugin, &block.settings).map_err(|error| in_block(error.into(), config, &module))?;
        modes::check(config, &secrets, &opened.backend.resources(), global.strict)?;
        let options = Options { offload: Some(offload), ..Options::default() };
        Ok(Opened { storage: Storage::new(opened.backend, options), module, plugin: Some(opened.plugin), secrets })
    }
}

/// A failure of the configuration that says which file and block is wrong.
fn in_block(mut failure: Failure, config: &Config, module: &str) -> Failure {
    if failure.exit == Exit::Config {
        failure.message = format!("{}, block {module}: {}", config.path().display(), failure.message);
        failure.help.get_or_insert_with(|| "correct this setting; the file was left as it is".to_owned());
    }
    failure
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

//! The host's services, as both sides see them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RStr, RString};

use crate::vtable::{HostBox, HostObject, HostObject_TO};

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something the operator should look at.
    Warn = 2,
    /// Something worth knowing in normal operation.
    Info = 3,
    /// For whoever looks into a problem.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

impl Level {
    /// The level of this number; numbers beyond the known ones are the finest.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 | 1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// What a host implements for a plugin. A panic in here is caught and the call answered with nothing.
pub trait Services: Send + Sync + 'static {
    /// Writes a log line.
    fn log(&self, level: Level, message: &str);

    /// Whether lines of this level are kept.
    fn log_enabled(&self, level: Level) -> bool;

    /// The operator's data directory.
    fn data_dir(&self) -> &Path;

    /// Where the plugin's file lies.
    fn plugin_path(&self) -> &Path;
}

/// Makes services cross the boundary.
#[must_use]
pub fn export(services: impl Services) -> HostBox {
    HostObject_TO::from_value(Exported(services), TD_Opaque)
}

struct Exported<S>(S);

fn quietly<T>(fallback: T, call: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_or(fallback)
}

impl<S: Services> HostObject for Exported<S> {
    fn log(&self, level: u8, message: RStr<'_>) {
        quietly((), || self.0.log(Level::from_number(level), message.as_str()));
    }

    fn log_enabled(&self, level: u8) -> bool {
        quietly(false, || self.0.log_enabled(Level::from_number(level)))
    }

    fn data_dir(&self) -> RString {
        quietly(RString::new(), || self.0.data_dir().to_string_lossy().into_owned().into())
    }

    fn plugin_path(&self) -> RString {
        quietly(RString::new(), || self.0.plugin_path().to_string_lossy().into_owned().into())
    }
}

/// The host, as a plugin sees it. Cheap to clone; may be kept as long as the backend lives.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    // `None`: nobody to talk to but standard error.
    object: Option<HostBox>,
    data_dir: PathBuf,
    plugin_path: PathBuf,
}

impl Host {
    pub(crate) fn new(object: HostBox) -> Self {
        let data_dir = PathBuf::from(object.data_dir().as_str());
        let plugin_path = PathBuf::from(object.plugin_path().as_str());
        Self { inner: Arc::new(Inner { object: Some(object), data_dir, plugin_path }) }
    }

    /// A host that only has a data directory and logs to standard error, to use a backend without loading it.
    #[must_use]
    pub fn detached(data_dir: impl Into<PathBuf>) -> Self {
        Self { inner: Arc::new(Inner { object: None, data_dir: data_dir.into(), plugin_path: PathBuf::new() }) }
    }

    /// The operator's data directory: `$XDG_DATA_HOME`, or what stands for it.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    /// Where the plugin's file lies; the library itself is mapped from a copy.
    #[must_use]
    pub fn plugin_path(&self) -> &Path {
        &self.inner.plugin_path
    }

    /// Opens a file for reading and writing; what is not there, folders included, is created for the node's user alone. What is there
    /// keeps its mode.
    ///
    /// # Errors
    /// What the system said.
    pub fn private_file(&self, path: &Path) -> std::io::Result<std::fs::File> {
        let mut folders = std::fs::DirBuilder::new();
        let mut file = std::fs::File::options();
        file.read(true).write(true).create(true).truncate(false);
        folders.recursive(true);
        #[cfg(unix)]
        {
            std::os::unix::fs::DirBuilderExt::mode(&mut folders, 0o700);
            std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
        }
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            folders.create(folder)?;
        }
        file.open(path)
    }

    /// Whether lines of this level are kept.
    #[must_use]
    pub fn log_enabled(&self, level: Level) -> bool {
        self.inner.object.as_ref().map_or(level <= Level::Warn, |o| o.log_enabled(level as u8))
    }

    /// Writes a log line under the module's name.
    pub fn log(&self, level: Level, message: &str) {
        match &self.inner.object {
            Some(object) => object.log(level as u8, RStr::from_str(message)),
            None if level <= Level::Warn => eprintln!("{level:?}: {message}"),
            None => {}
        }
    }

    /// Logs at [`Level::Error`].
    pub fn error(&self, message: &str) {
        self.log(Level::Error, message);
    }

    /// Logs at [`Level::Warn`].
    pub fn warn(&self, message: &str) {
        self.log(Level::Warn, message);
    }

    /// Logs at [`Level::Info`].
    pub fn info(&self, message: &str) {
        self.log(Level::Info, message);
    }

    /// Logs at [`Level::Debug`].
    pub fn debug(&self, message: &str) {
        self.log(Level::Debug, message);
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("data_dir", &self.inner.data_dir).finish_non_exhaustive()
    }
}

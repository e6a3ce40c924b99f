//! Where an operator's files are, by the XDG base directory rules as the Python node applies them: a variable counts only when it holds
//! an absolute path. None counts where the program runs with rights its caller does not have.
//! Source: <https://specifications.freedesktop.org/basedir-spec/latest/>.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;
use crate::plugins::search::is_privileged;

/// The operator's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Configuration: `$XDG_CONFIG_HOME`, else `~/.config`.
    pub config: PathBuf,
    /// Data: `$XDG_DATA_HOME`, else `~/.local/share`.
    pub data: PathBuf,
}

impl Places {
    /// The folders of this process's environment.
    ///
    /// # Errors
    /// A configuration failure if neither the variables nor a home directory are known.
    pub fn from_env() -> Result<Self, Failure> {
        let trusted = !is_privileged();
        Self::from_lookup(|name| trusted.then(|| std::env::var_os(name)).flatten(), std::env::home_dir())
    }

    /// The folders of any environment.
    ///
    /// # Errors
    /// See [`Places::from_env`].
    pub fn from_lookup(get: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Self, Failure> {
        let home = home.filter(|h| h.is_absolute());
        let place = |variable: &str, below: &str| {
            let named = get(variable).map(PathBuf::from).filter(|p| p.is_absolute());
            named.or_else(|| home.as_ref().map(|h| h.join(below))).ok_or_else(|| {
                Failure::config(format!("there is no home directory and {variable} is not set"))
                    .help(format!("set {variable} to an absolute path"))
            })
        };
        Ok(Self { config: place("XDG_CONFIG_HOME", ".config")?, data: place("XDG_DATA_HOME", ".local/share")? })
    }

    /// Where `server.json` is unless `--config` says otherwise.
    #[must_use]
    pub fn server_json(&self) -> PathBuf {
        self.config.join("hivemind-core").join("server.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(config: &str, home: Option<&str>) -> Result<Places, Failure> {
        let get = |name: &str| (name == "XDG_CONFIG_HOME").then(|| OsString::from(config));
        Places::from_lookup(get, home.map(PathBuf::from))
    }

    #[test]
    fn variables_count_only_when_absolute() {
        let expected = |config: &str| Ok(Places { config: config.into(), data: "/home/o/.local/share".into() });
        assert_eq!(places("/etc/xdg", Some("/home/o")), expected("/etc/xdg"));
        for ignored in ["", "relative", "./x"] {
            assert_eq!(places(ignored, Some("/home/o")), expected("/home/o/.config"), "{ignored:?}");
        }
        assert!(places("/etc/xdg", None).is_err_and(|f| f.message.contains("XDG_DATA_HOME")));
    }
}

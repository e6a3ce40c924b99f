//! The settings block: the Python plugin's keys, and three of our own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hivemind_abi::model::{Error, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

const MOST_READERS: usize = 64;
/// The `db_path` of a database that is in no file.
const MEMORY: &str = ":memory:";
const LONGEST_WAIT_MS: u64 = 600_000;

/// The settings of a handle; `config.schema.json` describes the same for the host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Name of the database file, without its `.db`. Default: `clients`.
    pub name: String,
    /// Folder of the file below the data directory. Default: `hivemind-core`.
    pub subfolder: String,
    /// Password of the file, which is encrypted then. Default: none.
    pub password: Option<Password>,
    /// Path of the file, instead of name and subfolder; `:memory:` for tests. Default: none.
    pub db_path: Option<String>,
    /// What an acknowledged write survives. Default: `full`.
    pub synchronous: Synchronous,
    /// Most connections that read at the same time. Default: 4.
    pub readers: usize,
    /// How long a call waits for another program that is writing, in milliseconds. Default: 10000, as the Python node waits.
    pub busy_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "clients".to_owned(),
            subfolder: "hivemind-core".to_owned(),
            password: None,
            db_path: None,
            synchronous: Synchronous::Full,
            readers: 4,
            busy_timeout_ms: 10_000,
        }
    }
}

/// A password. It is never shown, not even in an error about its own kind, and its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password that comes otherwise than in the settings.
    ///
    /// # Errors
    /// `invalid` for one that the settings could not have either.
    pub fn new(text: &str) -> Result<Self> {
        let wrong = |expected| Error::invalid(format!("password: expected {expected}")).field("password");
        Self::checked(text.to_owned()).map_err(wrong)
    }

    /// Or what was expected. The Python node cannot hand SQLite a NUL either.
    fn checked(text: String) -> std::result::Result<Self, &'static str> {
        match text.as_str() {
            "" => Err("a text that is not empty, or none for an unencrypted file"),
            text if text.contains('\0') => Err("no NUL character in it"),
            _ => Ok(Self(Zeroizing::new(text))),
        }
    }

    /// The password itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        // Any value is accepted at first, because the message about a wrong type would quote it.
        let checked = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Self::checked(text),
            _ => Err("null or a text"),
        };
        checked.map_err(|expected| D::Error::custom(format!("password: expected {expected}")))
    }
}

/// SQLite's `PRAGMA synchronous`, without the level that loses data when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Synced at checkpoints.
    Normal,
    /// Synced at every commit.
    Full,
    /// As full, and the folder is synced after a journal is removed.
    Extra,
}

impl Synchronous {
    /// The word in the settings and in the pragma.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Full => "full",
            Self::Extra => "extra",
        }
    }
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Nowhere: it ends with the handle.
    Memory,
    /// In this file.
    File(PathBuf),
}

impl Config {
    /// Reads and checks a settings block.
    ///
    /// # Errors
    /// `invalid`, naming what is wrong with which setting.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::invalid(format!("the settings of {} are wrong: {what}", crate::MODULE));
        let config: Self = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if config.password.is_some() && config.db_path.as_deref() == Some(MEMORY) {
            return Err(wrong(format!(
                "password: nothing of {MEMORY:?} is stored, so there is nothing to encrypt; remove one of them"
            )));
        }
        if !(1..=MOST_READERS).contains(&config.readers) {
            return Err(wrong(format!("readers: expected 1 to {MOST_READERS}, found {}", config.readers)));
        }
        if config.busy_timeout_ms > LONGEST_WAIT_MS {
            return Err(wrong(format!("busy_timeout_ms: expected at most {LONGEST_WAIT_MS}, found {}", config.busy_timeout_ms)));
        }
        let parts = [("name", Some(&config.name)), ("subfolder", Some(&config.subfolder)), ("db_path", config.db_path.as_ref())];
        for (key, value) in parts.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            if value.contains('\0') || (value.is_empty() && key != "subfolder") {
                return Err(wrong(format!("{key}: expected a name that a file can have, found {value:?}")));
            }
        }
        Ok(config)
    }

    /// Where the data is, `data_dir` being the operator's.
    ///
    /// # Errors
    /// `unsupported` for a `file:` address, which the Python plugin hands to SQLite.
    pub fn location(&self, data_dir: &Path) -> Result<Location> {
        match self.db_path.as_deref() {
            Some(MEMORY) => Ok(Location::Memory),
            Some(address) if address.starts_with("file:") => {
                Err(Error::unsupported(format!("db_path: expected a path, found the address {address:?}; give the path alone")))
            }
            Some(path) => Ok(Location::File(PathBuf::from(path))),
            // Not `with_extension`: a name may contain a dot.
            None => Ok(Location::File(data_dir.join(&self.subfolder).join(format!("{}.db", self.name)))),
        }
    }

    /// How long a call waits for another program.
    #[must_use]
    pub const fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hivemind_abi::model::Code;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_schema_and_the_settings_have_the_same_names_types_and_defaults() {
        let schema: Value = serde_json::from_str(include_str!("config.schema.json")).expect("the schema is JSON");
        let properties = schema["properties"].as_object().expect("properties");
        let error = Config::parse(r#"{"odd": 1}"#).expect_err("an unknown key");
        // Serde's message lists what it knows between backquotes, after the unknown name.
        let known: BTreeSet<&str> = error.message().split('`').skip(3).step_by(2).collect();
        assert_eq!(known, properties.keys().map(String::as_str).collect(), "{error}");
        for (name, property) in properties {
            let block = serde_json::json!({ name: property["default"] }).to_string();
            assert_eq!(Config::parse(&block).expect(name), Config::default(), "the default of {name}");
            assert!(property["description"].is_string() && !property["type"].is_null(), "{name}");
        }
        assert_eq!(schema["properties"]["readers"]["maximum"], MOST_READERS);
        assert_eq!(schema["properties"]["busy_timeout_ms"]["maximum"], LONGEST_WAIT_MS);
        for word in schema["properties"]["synchronous"]["enum"].as_array().expect("words") {
            let config = Config::parse(&serde_json::json!({ "synchronous": word }).to_string()).expect("a word of the schema");
            assert_eq!(config.synchronous.name(), word.as_str().expect("text"));
        }
        assert_eq!(Config::parse("{}").expect("an empty block"), Config::default());
    }

    #[test]
    fn a_password_is_text_or_null_and_never_repeated() {
        let config = Config::parse(r#"{"password": "tulip-98"}"#).expect("a password");
        assert!(!format!("{config:?}").contains("tulip"), "{config:?}");
        assert_eq!(config.password.expect("a password").text(), "tulip-98");
        assert_eq!(Config::parse(r#"{"password": null}"#).expect("none").password, None);
        for block in [
            r#"{"password": ["tulip-98"]}"#,
            r#"{"password": {"tulip-98": "tulip-98"}}"#,
            r#"{"password": 98}"#,
            r#"{"password": ""}"#,
            r#"{"password": "tulip-98\u0000"}"#,
            r#"{"password": "tulip-98", "readers": 0}"#,
            r#"{"password": "tulip-98", "readers": "many"}"#,
            r#"{"password": "tulip-98", "db_path": ":memory:"}"#,
            r#"{"password": "tulip-98"#,
        ] {
            let error = Config::parse(block).expect_err(block);
            assert_eq!(error.code(), Code::Invalid, "{error}");
            assert!(!format!("{error:?}").contains("98"), "{error:?}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (block, name) in [
            (r#"{"readers": 0}"#, "readers"),
            (r#"{"readers": 65}"#, "readers"),
            (r#"{"busy_timeout_ms": 600001}"#, "busy_timeout_ms"),
            (r#"{"synchronous": "off"}"#, "off"),
            (r#"{"db_path": ""}"#, "db_path"),
            (r#"{"name": "a\u0000b"}"#, "name"),
            (r#"{"nam": "a"}"#, "nam"),
        ] {
            let error = Config::parse(block).expect_err(block);
            assert_eq!(error.code(), Code::Invalid);
            assert!(error.message().contains(name), "{block}: {error}");
        }
    }

    #[test]
    fn paths_are_joined_as_the_python_plugin_joins_them() {
        let at = |block: &str| Config::parse(block).expect(block).location(Path::new("/data"));
        let file = |path: &str| Ok(Location::File(PathBuf::from(path)));
        assert_eq!(at("{}"), file("/data/hivemind-core/clients.db"));
        assert_eq!(at(r#"{"subfolder": "/srv", "name": "a.b"}"#), file("/srv/a.b.db"));
        assert_eq!(at(r#"{"db_path": "x/y.sqlite", "name": "z"}"#), file("x/y.sqlite"));
        assert_eq!(at(r#"{"db_path": ":memory:"}"#), Ok(Location::Memory));
        assert!(at(r#"{"db_path": "file:x?mode=memory"}"#).is_err());
    }
}

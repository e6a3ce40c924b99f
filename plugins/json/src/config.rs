//! The settings block.

use std::fmt;
use std::time::Duration;

use hivemind_abi::model::{Error, Result};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::cipher::Coding;

/// The settings of a handle; `config.schema.json` describes the same for the host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Name of the primary collection's file, without `.json`. Default: `clients`.
    pub name: String,
    /// Folder of the files, joined to the data directory. Default: `hivemind-core`.
    pub subfolder: String,
    /// Password of an encrypted store, whose files end in `.ejson`: 16 characters. Default: none.
    pub password: Secret,
    /// How long a write waits for the lock. Default: 10000.
    pub lock_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let (name, subfolder) = ("clients".to_owned(), "hivemind-core".to_owned());
        Self { name, subfolder, password: Secret::default(), lock_timeout_ms: 10_000 }
    }
}

impl Config {
    /// Reads a settings block.
    ///
    /// # Errors
    /// `invalid`, naming what is wrong with which setting.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| Error::invalid(format!("the settings of {} are wrong: {e}", crate::MODULE)))
    }

    /// How the files of the store are written.
    ///
    /// # Errors
    /// `invalid` for a password that is no key.
    pub(crate) fn coding(&self) -> Result<Coding> {
        Coding::new(self.password.get()).map_err(|e| e.context(format!("the settings of {} are wrong", crate::MODULE)))
    }

    /// How long a write waits for the lock.
    #[must_use]
    pub const fn lock_timeout(&self) -> Duration {
        Duration::from_millis(self.lock_timeout_ms)
    }
}

/// A text that is never shown, not even in an error about its own kind, and wiped when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Option<Zeroizing<String>>);

impl Secret {
    /// The text; Python takes an empty one for none.
    fn get(&self) -> Option<&str> {
        self.0.as_ref().map(|text| text.as_str()).filter(|text| !text.is_empty())
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.get().is_some()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "(secret)" } else { "(none)" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => Ok(Self(None)),
            serde_json::Value::String(text) => Ok(Self(Some(Zeroizing::new(text)))),
            _ => Err(serde::de::Error::custom("password: expected a text or null")),
        }
    }
}

#[cfg(test)]
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

#[cfg(test)]
mod tests {
    use hivemind_abi::model::Code;
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn the_schema_and_the_settings_have_the_same_names_and_defaults() {
        let schema: Value = serde_json::from_str(include_str!("config.schema.json")).expect("the schema is JSON");
        let properties = schema["properties"].as_object().expect("properties");
        let defaults: Map<_, _> = properties.iter().map(|(name, p)| (name.clone(), p["default"].clone())).collect();
        assert_eq!(serde_json::to_value(Config::default()).expect("settings"), Value::Object(defaults.clone()));
        assert_eq!(Config::parse(&Value::Object(defaults).to_string()).expect("the defaults"), Config::default());
        assert!(properties.values().all(|p| p["description"].is_string() && !p["type"].is_null()));
        assert_eq!(properties["password"]["writeOnly"], Value::Bool(true));
    }

    #[test]
    fn a_password_is_a_key_and_never_shown() {
        let coding = |text| Config::parse(text).expect("settings").coding();
        let error = coding(r#"{"password": "hunter2-hunter2"}"#).expect_err("15 characters");
        assert_eq!(error.code(), Code::Invalid);
        assert!(error.message().contains("expected 16 characters"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(coding(r#"{"password": "hunter2-hunter2-"}"#).expect("a key").is_encrypted());
        let error = Config::parse(r#"{"password": 4711}"#).expect_err("a number");
        assert!(!format!("{error} {error:?}").contains("4711"));
        let secret = Secret(Some(Zeroizing::new("hunter2".to_owned())));
        assert!(!format!("{secret:?}").contains("hunter2"));
        for none in [r#"{"password": null}"#, r#"{"password": ""}"#] {
            assert!(!coding(none).expect("no password").is_encrypted());
        }
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let error = Config::parse(r#"{"subfoldr": "x"}"#).expect_err("no such setting");
        assert!(error.message().contains("subfoldr"), "{error}");
    }
}

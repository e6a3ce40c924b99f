//! The settings block.

use std::path::PathBuf;

use hivemind_abi::model::{Error, Result};
use serde::Deserialize;

/// The settings of a handle; `config.schema.json` describes the same for the host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// A JSON file in the layout of `clients.json` to start with; only read. Relative to the data directory. Default: none.
    pub seed: Option<PathBuf>,
    /// Accepted and unused. Default: `clients`.
    pub name: String,
    /// Accepted and unused. Default: `hivemind-core`.
    pub subfolder: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { seed: None, name: "clients".to_owned(), subfolder: "hivemind-core".to_owned() }
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
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn the_schema_and_the_settings_have_the_same_names_and_defaults() {
        let schema: Value = serde_json::from_str(include_str!("config.schema.json")).expect("the schema is JSON");
        let properties = schema["properties"].as_object().expect("properties");
        let defaults: Map<_, _> = properties.iter().map(|(name, p)| (name.clone(), p["default"].clone())).collect();
        assert_eq!(serde_json::to_value(Config::default()).expect("settings"), Value::Object(defaults));
        assert!(properties.values().all(|p| p["description"].is_string() && !p["type"].is_null()));
        assert_eq!(Config::parse("{}").expect("an empty block"), Config::default());
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let error = Config::parse(r#"{"sead": "x"}"#).expect_err("no such setting");
        assert!(error.message().contains("sead"), "{error}");
    }
}

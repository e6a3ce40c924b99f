//! The `database` block: which module, and with which settings.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};

use super::redact::MASK;
use super::secrets::FILE;
use super::{Names, defaults};
use crate::failure::Failure;

/// Which backend, and what server.json and the command line say about it.
#[derive(Clone, PartialEq)]
pub struct Database {
    /// What was asked for: a module's name, an alias or an absolute path.
    pub module: String,
    blocks: Map<String, Value>,
    overrides: Map<String, Value>,
    settings: Map<String, Value>,
}

/// What the command line says about the database.
#[derive(Clone, Default, PartialEq)]
pub struct Overrides {
    /// `--db-backend`.
    pub module: Option<String>,
    /// `--redis-host`.
    pub redis_host: Option<String>,
    /// `--redis-port`.
    pub redis_port: Option<u16>,
    /// `--redis-password`.
    pub redis_password: Option<String>,
    /// Settings of this module that go before those of server.json, whatever it is.
    pub settings: Map<String, Value>,
}

/// The module that the `--redis-…` options are about.
pub(crate) const REDIS: &str = "hivemind-redis-db-plugin";

/// A module's settings and where they stand.
#[derive(Clone, PartialEq)]
pub struct DatabaseSettings {
    /// The module's full name.
    pub module: String,
    /// Its settings.
    pub settings: Map<String, Value>,
    /// Which of them the command line gave.
    pub given: BTreeSet<String>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("module", &self.module)
            .field("blocks", &Names(&self.blocks))
            .field("overrides", &Names(&self.overrides))
            .field("settings", &Names(&self.settings))
            .finish()
    }
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides")
            .field("module", &self.module)
            .field("redis_host", &self.redis_host)
            .field("redis_port", &self.redis_port)
            .field("redis_password", &self.redis_password.as_ref().map(|_| MASK))
            .field("settings", &Names(&self.settings))
            .finish()
    }
}

impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSettings").field("module", &self.module).field("settings", &Names(&self.settings)).finish()
    }
}

impl Database {
    pub(super) fn read(stored: &Map<String, Value>, data: &Path, overrides: &Overrides) -> Result<Self, Failure> {
        let blocks = match stored.get("database") {
            None => Map::new(),
            Some(Value::Object(block)) => block.clone(),
            Some(other) => return Err(wrong("database", "an object", other)),
        };
        let configured = match blocks.get("module") {
            None => defaults::module(data),
            Some(Value::String(name)) if !name.is_empty() => name,
            Some(other) => return Err(wrong("database.module", "the name of a module", other)),
        };
        let module = overrides.module.as_deref().unwrap_or(configured).to_owned();
        let mut redis = Map::new();
        if let Some(host) = &overrides.redis_host {
            redis.insert("host".to_owned(), host.as_str().into());
        }
        if let Some(port) = overrides.redis_port {
            redis.insert("port".to_owned(), port.into());
        }
        if let Some(password) = &overrides.redis_password {
            redis.insert("password".to_owned(), password.as_str().into());
        }
        Ok(Self { module, blocks, overrides: redis, settings: overrides.settings.clone() })
    }

    /// The settings of the module that was found, by its full name. A block under the name that server.json or the command line used,
    /// an alias maybe, serves if there is none under the full name.
    ///
    /// # Errors
    /// A configuration failure if the block is not an object; a usage failure if a `--redis-…` option does not apply to this module,
    /// or to what the block says: the command would work on other data than the operator named.
    pub fn settings(&self, module: &str) -> Result<DatabaseSettings, Failure> {
        let name = if self.blocks.contains_key(module) { module } else { self.module.as_str() };
        let mut settings = match self.blocks.get(name) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(block)) => block.clone(),
            Some(other) => return Err(wrong(&format!("database.{name}"), "an object", other)),
        };
        if !self.overrides.is_empty() && module != REDIS {
            return Err(Failure::usage(format!("--redis-host, --redis-port and --redis-password do not apply to {module}"))
                .help("add --db-backend redis, or leave them out"));
        }
        if let Some(place) = self.other_place(&settings) {
            let message = format!("--redis-host and --redis-port do not apply: database.{name}.{place} says where the data is");
            return Err(Failure::usage(message).help(format!("leave them out, or give --config a file without {place}")));
        }
        settings.extend(self.overrides.clone());
        for (name, value) in &self.settings {
            // One of the two ways to give a secret takes the place of the other.
            let other = name.strip_suffix(FILE).map_or_else(|| format!("{name}{FILE}"), str::to_owned);
            settings.shift_remove(&other);
            settings.insert(name.clone(), value.clone());
        }
        let given = self.overrides.keys().chain(self.settings.keys()).cloned().collect();
        Ok(DatabaseSettings { module: module.to_owned(), settings, given })
    }

    /// The setting that the plugin would go by instead of a host and a port that were typed.
    fn other_place(&self, settings: &Map<String, Value>) -> Option<&'static str> {
        let is_typed = ["host", "port"].iter().any(|key| self.overrides.contains_key(*key));
        let is_empty = |value: &Value| value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty);
        let is_set = |key: &&str| settings.get(*key).is_some_and(|value| !is_empty(value));
        ["unix_socket", "sentinels", "cluster_nodes"].into_iter().find(|key| is_typed && is_set(key))
    }
}

fn wrong(place: &str, expected: &str, found: &Value) -> Failure {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Failure::config(format!("{place}: expected {expected}, found {found}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(stored: &Value, overrides: &Overrides) -> Result<Database, Failure> {
        Database::read(stored.as_object().expect("an object"), Path::new("/nowhere"), overrides)
    }

    #[test]
    fn the_block_is_found_by_full_name_then_by_the_name_used() {
        let stored = json!({"database": {"module": "sqlite", "hivemind-sqlite-db-plugin": {"name": "a"}, "json": {"name": "b"}}});
        let database = read(&stored, &Overrides::default()).expect("a database");
        assert_eq!(database.module, "sqlite");
        assert_eq!(database.settings("hivemind-sqlite-db-plugin").expect("settings").settings["name"], "a");
        let json = read(&stored, &Overrides { module: Some("json".to_owned()), ..Overrides::default() }).expect("a database");
        assert_eq!(json.settings("hivemind-json-db-plugin").expect("settings").settings["name"], "b");
        let none = read(&json!({}), &Overrides::default()).expect("a database");
        assert_eq!((none.module.as_str(), none.settings("x").map(|s| s.settings.len())), ("hivemind-sqlite-db-plugin", Ok(0)));
    }

    #[test]
    fn redis_options_override_its_block_and_apply_to_nothing_else() {
        let stored = json!({"database": {"module": REDIS, REDIS: {"host": "a", "db": 3}}});
        let overrides = Overrides { redis_host: Some("b".to_owned()), redis_port: Some(1), ..Overrides::default() };
        let database = read(&stored, &overrides).expect("a database");
        assert_eq!(Value::Object(database.settings(REDIS).expect("settings").settings), json!({"host": "b", "db": 3, "port": 1}));
        assert!(database.settings("hivemind-sqlite-db-plugin").is_err_and(|f| f.exit == crate::failure::Exit::Usage));
    }

    #[test]
    fn a_typed_host_is_refused_where_the_settings_would_go_elsewhere() {
        let stored =
            json!({"database": {"module": REDIS, REDIS: {"sentinels": [{"host": "s", "port": 1}], "cluster_nodes": []}}});
        let typed = Overrides { redis_host: Some("b".to_owned()), ..Overrides::default() };
        let failure = read(&stored, &typed).expect("a database").settings(REDIS).expect_err("it would not be used");
        assert!(failure.exit == crate::failure::Exit::Usage && failure.message.contains("sentinels"), "{failure}");
        let password = Overrides { redis_password: Some("p".to_owned()), ..Overrides::default() };
        assert!(read(&stored, &password).expect("a database").settings(REDIS).is_ok());
    }

    #[test]
    fn a_block_of_another_shape_names_its_place() {
        for (stored, place) in [
            (json!({"database": []}), "database:"),
            (json!({"database": {"module": null}}), "database.module:"),
            (json!({"database": {"module": ""}}), "database.module:"),
        ] {
            let failure = read(&stored, &Overrides::default()).expect_err("wrong");
            assert!(failure.message.starts_with(place), "{failure}");
        }
        let database = read(&json!({"database": {"module": "m", "m": 5}}), &Overrides::default()).expect("a database");
        assert!(database.settings("m").is_err_and(|f| f.message == "database.m: expected an object, found a number"));
    }
}

//! `server.json`: it is read or refused by name, what is shown of it hides its secrets, and no message repeats a value.

use std::path::{Path, PathBuf};

use hivemind_host::config::redact::{MASK, is_secret, json_text, redact, without_userinfo};
use hivemind_host::config::{Config, Overrides, Places, pretty};
use hivemind_host::failure::Exit;
use hivemind_model::json::without_comments;
use serde_json::Value;

use crate::manifest::{MARK, marked, of_schema, problems};

/// The schemas of the storage plugins.
const SCHEMAS: [(&str, &str); 3] = [
    ("hivemind-json-db-plugin", include_str!("../../../plugins/json/src/config.schema.json")),
    ("hivemind-sqlite-db-plugin", include_str!("../../../plugins/sqlite/src/config.schema.json")),
    ("hivemind-memory-db-plugin", include_str!("../../../plugins/memory/src/config.schema.json")),
];

/// The input is the file's text.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    shown(text);
    let path = PathBuf::from("/nowhere/server.json");
    let places = Places { config: "/nowhere".into(), data: "/nowhere".into() };
    let config = match Config::parse(text, path.clone(), &places) {
        Ok(config) => config,
        Err(failure) => {
            assert_eq!(failure.exit, Exit::Config);
            assert!(failure.message.contains("/nowhere/server.json"), "{failure}");
            return;
        }
    };
    let stored: Value = serde_json::from_str(&without_comments(text)).expect("it was read");
    hidden(&stored, path.clone(), &places);
    assert_eq!((config.path(), config.data_dir()), (path.as_path(), Path::new("/nowhere")));
    assert!(!config.min_password_bits().is_nan());
    if let Ok(folders) = config.plugins_dirs() {
        assert!(folders.iter().all(|folder| folder.is_absolute()));
    }
    effective(&config, &stored);
    for module in [None, Some("json".to_owned())] {
        database(&config, &Overrides { module, ..Overrides::default() });
    }
}

/// Neither `Debug` nor a failure says a value: the same file, every value marked but the names of modules.
fn hidden(stored: &Value, path: PathBuf, places: &Places) {
    let mut all = marked(stored.clone());
    if let Some(module) = stored.pointer("/database/module") {
        all["database"]["module"] = module.clone();
    }
    let config = Config::parse(&all.to_string(), path, places).expect("an object");
    let folders = config.plugins_dirs().map_or_else(|failure| failure.to_string(), |_| String::new());
    let said = [format!("{config:?}"), folders, database(&config, &Overrides::default())].concat();
    assert!(!said.contains(MARK), "a value is repeated in {said}");
}

/// Nothing of the file is lost in what is in force, and what is shown of it is the same with its secrets masked.
fn effective(config: &Config, stored: &Value) {
    let all = config.effective();
    let within = |name: &String, value: &Value| match (value, &all[name]) {
        (Value::Object(given), Value::Object(found)) => given.iter().all(|(name, value)| found.get(name) == Some(value)),
        (given, found) => given == found,
    };
    assert!(stored.as_object().expect("an object").iter().all(|(name, value)| within(name, value)));
    let masked = redact(&all);
    assert!(hides(&all, &masked), "a secret is shown in {masked}");
    let text = pretty(&masked, b"    ");
    let again: Value = serde_json::from_str(&text).expect("what is printed is JSON");
    assert_eq!(again, masked);
}

/// Whether every secret of a document is masked in another, and the rest is there.
fn hides(open: &Value, masked: &Value) -> bool {
    match (open, masked) {
        (Value::Object(open), Value::Object(masked)) => {
            open.len() == masked.len()
                && open.iter().all(|(name, value)| {
                    masked
                        .get(name)
                        .is_some_and(|m| if is_secret(name) { m == MASK || tells_nothing(m) } else { hides(value, m) })
                })
        }
        (Value::Array(open), Value::Array(masked)) => {
            open.len() == masked.len() && open.iter().zip(masked).all(|(open, masked)| hides(open, masked))
        }
        (Value::String(open), Value::String(masked)) => masked == open || (open.contains("://") && masked.contains(MASK)),
        (open, masked) => open == masked,
    }
}

fn tells_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(_) => false,
    }
}

/// Everything that is said of the settings of each module, checked with its schema.
fn database(config: &Config, overrides: &Overrides) -> String {
    let database = match config.database(overrides) {
        Ok(database) => database,
        Err(failure) => {
            assert!(failure.exit == Exit::Config && failure.message.contains("database"), "{failure}");
            return failure.to_string();
        }
    };
    assert!(!database.module.is_empty());
    let mut said = format!("{database:?}");
    for (module, schema) in SCHEMAS {
        match config.settings(&database, module) {
            Ok(found) => {
                said += &format!("{found:?}");
                let schema = serde_json::from_str(schema).expect("a schema");
                said.extend(problems(&of_schema(schema), &found.settings));
            }
            Err(failure) => said += &failure.to_string(),
        }
    }
    said
}

/// Free-form data of a record becomes strict JSON with its secrets masked, whatever is stored.
fn shown(text: &str) {
    for show_secrets in [false, true] {
        let line = json_text(text, show_secrets);
        let parsed = hivemind_model::json::parse(&line).expect("what is shown is JSON");
        assert_eq!(parsed.to_text(), line, "on one line");
        assert_eq!(json_text(&line, show_secrets).len(), line.len(), "{line} is shown as another");
    }
    let plain = without_userinfo(text);
    if !text.contains("://") {
        assert_eq!(plain, text);
    }
    let secret: String = text.chars().filter(|c| c.is_alphanumeric()).take(32).collect();
    if !secret.is_empty() {
        let url = format!("redis://user:{secret}@host:6379/0");
        assert_eq!(without_userinfo(&url), format!("redis://{MASK}@host:6379/0"));
    }
}

//! `server.json`: it is read or refused by name, what is shown of it hides its secrets, and no message repeats a value.

use std::path::{Path, PathBuf};

use hivemind_host::config::redact::{MASK, is_secret, json_text, redact, without_userinfo};
use hivemind_host::config::{Config, Overrides, Places, pretty};
use hivemind_host::failure::Exit;
use hivemind_host::plugins::{Reason, settings};
use hivemind_model::json::without_comments;
use serde_json::Value;

use crate::manifest::of_schema;

/// The schemas of the storage plugins.
const SCHEMAS: [(&str, &str); 3] = [
    ("hivemind-json-db-plugin", include_str!("../../../plugins/json/src/config.schema.json")),
    ("hivemind-sqlite-db-plugin", include_str!("../../../plugins/sqlite/src/config.schema.json")),
    ("hivemind-memory-db-plugin", include_str!("../../../plugins/memory/src/config.schema.json")),
];

/// Shorter texts stand in messages by chance.
const TELLING: usize = 8;

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
    let secrets = secrets(&stored, text);
    repeats_none(&format!("{config:?}"), &secrets);
    assert_eq!((config.path(), config.data_dir()), (path.as_path(), Path::new("/nowhere")));
    assert!(!config.min_password_bits().is_nan());
    if let Ok(folders) = config.plugins_dirs() {
        assert!(folders.iter().all(|folder| folder.is_absolute()));
    }
    effective(&config, &stored);
    for module in [None, Some("json".to_owned())] {
        database(&config, &Overrides { module, ..Overrides::default() }, &secrets);
    }
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

/// The texts of a document that are nowhere else in it, and would be noticed elsewhere. What the schemas name is no secret.
fn secrets(value: &Value, text: &str) -> Vec<String> {
    let is_known = |text: &str| SCHEMAS.iter().any(|(module, schema)| module.contains(text) || schema.contains(text));
    let mut found = Vec::new();
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::String(secret)
                if secret.len() >= TELLING && text.matches(secret.as_str()).count() == 1 && !is_known(secret) =>
            {
                found.push(secret.clone());
            }
            Value::Object(members) => left.extend(members.values()),
            Value::Array(items) => left.extend(items),
            _ => {}
        }
        if found.len() > 64 {
            break;
        }
    }
    found
}

fn repeats_none(message: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!message.contains(secret.as_str()), "{secret:?} is in {message:?}");
    }
}

/// The settings of each module, checked with its schema.
fn database(config: &Config, overrides: &Overrides, secrets: &[String]) {
    let database = match config.database(overrides) {
        Ok(database) => database,
        Err(failure) => return assert!(failure.exit == Exit::Config && failure.message.contains("database"), "{failure}"),
    };
    assert!(!database.module.is_empty());
    // The module's own name is no secret.
    let secrets: Vec<_> = secrets.iter().filter(|secret| !database.module.contains(secret.as_str())).cloned().collect();
    repeats_none(&format!("{database:?}"), &secrets);
    for (module, schema) in SCHEMAS {
        let found = match config.settings(&database, module) {
            Ok(found) => found,
            Err(failure) => {
                repeats_none(&failure.to_string(), &secrets);
                continue;
            }
        };
        repeats_none(&format!("{found:?}"), &secrets);
        let schema = serde_json::from_str(schema).expect("a schema");
        match settings::check(&of_schema(schema), &found.settings) {
            Ok(()) => {}
            Err(Reason::Settings(problems)) => {
                assert!(!problems.is_empty());
                problems.iter().for_each(|problem| repeats_none(problem, &secrets));
            }
            Err(other) => panic!("a schema of ours: {other:?}"),
        }
    }
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
    if secret.len() >= TELLING && !MASK.contains(&secret) {
        let url = format!("redis://user:{secret}@host:6379/0");
        assert_eq!(without_userinfo(&url), format!("redis://{MASK}@host:6379/0"));
    }
}

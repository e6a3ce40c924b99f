//! A module's settings block against the schema in its manifest, before the plugin sees it.
//!
//! A wrong type or an unknown key is an error that names the place and, for a key, the nearest known one: a misspelt `db_paht` that
//! is silently ignored would open another store. No value is ever repeated in a message, because it may be a secret.

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::manifest::Manifest;
use super::refusal::Reason;
use crate::config::secrets::file_settings;

/// Checks the block.
///
/// # Errors
/// `Settings` with every problem; `BadManifest` if the schema itself is wrong.
pub fn check(manifest: &Manifest, settings: &Map<String, Value>) -> Result<(), Reason> {
    if manifest.config.is_null() {
        return Ok(());
    }
    let broken = |e: String| Reason::BadManifest(format!("its config schema cannot be used: {e}"));
    if refers_elsewhere(&manifest.config) {
        return Err(broken("a $ref that leads out of it".to_owned()));
    }
    // Unknown keys are refused unless the schema says what becomes of them.
    let mut schema = manifest.config.clone();
    if let Some(object) = schema.as_object_mut() {
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    let validator = jsonschema::validator_for(&schema).map_err(|e| broken(e.to_string()))?;
    let files = file_settings(manifest);
    let known: Vec<&str> = known_keys(&manifest.config).into_iter().chain(files.iter().map(String::as_str)).collect();
    let problems: Vec<String> =
        validator.iter_errors(&Value::Object(settings.clone())).flat_map(|error| describe(&error, &known)).collect();
    if problems.is_empty() { Ok(()) } else { Err(Reason::Settings(problems)) }
}

fn known_keys(schema: &Value) -> Vec<&str> {
    schema.get("properties").and_then(Value::as_object).map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Whether a schema has a `$ref` that is not within it; the host fetches nothing.
fn refers_elsewhere(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(name, value)| match value {
            Value::String(target) if name == "$ref" || name == "$dynamicRef" => !target.starts_with('#'),
            other => refers_elsewhere(other),
        }),
        Value::Array(items) => items.iter().any(refers_elsewhere),
        _ => false,
    }
}

fn describe(error: &jsonschema::ValidationError<'_>, known: &[&str]) -> Vec<String> {
    let place = error.instance_path().to_string();
    let place =
        if place.is_empty() { "the block".to_owned() } else { format!("`{}`", place.trim_start_matches('/').replace('/', ".")) };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|key| unknown_key(key, known)).collect()
        }
        ValidationErrorKind::Type { .. } => {
            let found = kind_of(error.instance());
            vec![format!("{place}: expected {}, found {found}", expected_types(error))]
        }
        ValidationErrorKind::Enum { options } => vec![format!("{place}: expected one of {options}")],
        ValidationErrorKind::Required { property } => vec![format!("{place}: expected {property}, which is missing")],
        ValidationErrorKind::Minimum { limit } => vec![format!("{place}: expected at least {limit}")],
        ValidationErrorKind::Maximum { limit } => vec![format!("{place}: expected at most {limit}")],
        // The masked message speaks of "value" instead of repeating it.
        _ => vec![format!("{place}: {}", error.masked())],
    }
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; known are {}", known.join(", ")),
    }
}

fn expected_types(error: &jsonschema::ValidationError<'_>) -> String {
    let ValidationErrorKind::Type { kind } = error.kind() else { return String::new() };
    match kind {
        jsonschema::error::TypeKind::Single(kind) => kind.to_string(),
        jsonschema::error::TypeKind::Multiple(kinds) => kinds.iter().map(|k| k.to_string()).collect::<Vec<_>>().join(" or "),
    }
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The candidate closest to `word`, if one is close enough to be meant.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let scored = candidates.map(|c| (strsim::damerau_levenshtein(word, c), c));
    scored.filter(|(distance, c)| *distance <= 1 + c.len().max(word.len()) / 3).min().map(|(_, c)| c)
}

//! The secrets of a settings block, taken out of what its plugin says.
//!
//! A plugin is told not to repeat them. One that does all the same, as many an engine does with the address it could not reach, must
//! not bring them onto a screen or into a log.

use std::sync::Arc;

use hivemind_abi::model::Error;
use serde_json::{Map, Value};

use super::manifest::Manifest;
use crate::config::redact::{MASK, is_secret};

/// Shorter ones would hide ordinary words. They protect nothing either.
const SHORTEST: usize = 4;

/// Texts that are shown to nobody.
#[derive(Clone, Default)]
pub struct Secrets(Arc<[String]>);

impl Secrets {
    /// The secrets of a block: what its schema marks as `writeOnly`, and what goes by a name that secrets have.
    #[must_use]
    pub fn of(manifest: &Manifest, block: &Map<String, Value>) -> Self {
        let marked = |name: &str| {
            let property = manifest.config.get("properties").and_then(|all| all.get(name));
            property.and_then(|p| p.get("writeOnly")).and_then(Value::as_bool).unwrap_or(false)
        };
        let mut texts = Vec::new();
        for (_, value) in block.iter().filter(|(name, _)| marked(name) || is_secret(name)) {
            collect(value, &mut texts);
        }
        // The longest first: one may be part of another.
        texts.sort_by_key(|text: &String| std::cmp::Reverse(text.len()));
        Self(texts.into())
    }

    /// The same text without them.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK))
    }

    /// The same error without them.
    #[must_use]
    pub fn hide_in(&self, error: Error) -> Error {
        let in_place = |secret: &String| error.detail().place.as_ref().is_some_and(|place| place.contains(secret.as_str()));
        if !self.0.iter().any(|secret| error.message().contains(secret.as_str()) || in_place(secret)) {
            return error;
        }
        let mut detail = error.detail().clone();
        detail.place = detail.place.map(|place| self.hide(&place));
        Error::new(error.code(), error.retryable(), self.hide(error.message())).with_detail(detail)
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= SHORTEST => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect(member, texts)),
        _ => {}
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

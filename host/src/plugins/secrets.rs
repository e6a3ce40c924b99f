//! The secrets of a settings block, taken out of what its plugin says.
//!
//! A plugin is told not to repeat them. One that does all the same, as many an engine does with the address it could not reach, must
//! not bring them onto a screen or into a log.

use std::sync::Arc;

use hivemind_abi::model::{Error, Lookup, Page, Report, Value as Stored};
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

    /// The same report without them, in names, texts and problems.
    #[must_use]
    pub fn hide_in_report(&self, mut report: Report) -> Report {
        for (name, value) in &mut report.entries {
            self.hide_here(name);
            match value {
                Stored::Text(text) => self.hide_here(text),
                Stored::Json(json) => self.hide_in_json(json),
                _ => {}
            }
        }
        for problem in &mut report.problems {
            self.hide_here(&mut problem.collection);
            self.hide_here(&mut problem.message);
        }
        report
    }

    /// The same page without them in what it says of unreadable records. The records themselves are the caller's own.
    #[must_use]
    pub fn hide_in_page(&self, mut page: Page) -> Page {
        page.unreadable.iter_mut().for_each(|record| self.hide_here(&mut record.message));
        page
    }

    /// The same look-ups without them in those that failed.
    #[must_use]
    pub fn hide_in_lookups(&self, mut lookups: Vec<Lookup>) -> Vec<Lookup> {
        for lookup in lookups.iter_mut().filter(|lookup| lookup.is_err()) {
            *lookup = std::mem::replace(lookup, Ok(None)).map_err(|error| self.hide_in(error));
        }
        lookups
    }

    fn hide_here(&self, text: &mut String) {
        if self.0.iter().any(|secret| text.contains(secret.as_str())) {
            *text = self.hide(text);
        }
    }

    /// In JSON a secret may be written with escapes.
    fn hide_in_json(&self, json: &mut String) {
        let Ok(mut value) = serde_json::from_str::<Value>(json) else { return self.hide_here(json) };
        if self.hide_in_value(&mut value) {
            *json = value.to_string();
        }
    }

    fn hide_in_value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let hidden = self.hide(text);
                let found = hidden != *text;
                *text = hidden;
                found
            }
            Value::Array(items) => items.iter_mut().map(|item| self.hide_in_value(item)).fold(false, |any, found| any | found),
            Value::Object(members) => {
                let mut found = false;
                let hide = |(name, mut member): (String, Value)| {
                    let hidden = self.hide(&name);
                    found |= self.hide_in_value(&mut member) || hidden != name;
                    (hidden, member)
                };
                *members = std::mem::take(members).into_iter().map(hide).collect();
                found
            }
            _ => false,
        }
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

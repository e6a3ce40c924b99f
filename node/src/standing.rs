//! What a client may do, taken out of its record once and used for every message until the record changes.

use std::collections::HashSet;
use std::sync::Arc;

use hivemind_model::json::{self, Json};
use hivemind_store::Client;

/// A client's record, and what follows from it.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) client: Arc<Client>,
    allowed: HashSet<String>,
    pub(crate) skills: Blacklist,
    pub(crate) intents: Blacklist,
}

/// A list in the record's metadata that forbids what it names.
#[derive(Debug)]
pub(crate) enum Blacklist {
    /// Its items.
    Items(Vec<Item>),
    /// It is not a list, so nobody knows what it forbids.
    Unreadable,
}

/// An item of a blacklist.
#[derive(Debug)]
pub(crate) struct Item {
    /// What it says.
    pub(crate) text: String,
    /// The same as JSON.
    pub(crate) json: String,
}

impl Standing {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self {
            allowed: client.allowed_types.iter().cloned().collect(),
            skills: Blacklist::of(&client, "skill_blacklist"),
            intents: Blacklist::of(&client, "intent_blacklist"),
            client,
        }
    }

    /// Whether it may send messages of this type. Being an administrator makes no difference.
    pub(crate) fn allows(&self, message_type: &str) -> bool {
        self.allowed.contains(message_type)
    }

    /// Whether it may send nothing at all.
    pub(crate) fn allows_nothing(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Its whitelist as a JSON list.
    pub(crate) fn allowed_json(&self) -> String {
        list_json(&self.client.allowed_types)
    }
}

impl Blacklist {
    /// As the Python node reads it: what Python takes for false is no list at all.
    fn of(client: &Client, member: &str) -> Self {
        let Some(raw) = client.metadata.member(member) else { return Self::Items(Vec::new()) };
        match json::parse(raw) {
            Ok(Json::Array(items)) => Self::Items(items.iter().filter_map(item).collect()),
            Ok(other) if is_false(&other) => Self::Items(Vec::new()),
            _ => Self::Unreadable,
        }
    }
}

/// Only texts name skills and intents.
fn item(json: &Json<'_>) -> Option<Item> {
    let Json::String(text) = json else { return None };
    Some(Item { text: text.to_str()?.into_owned(), json: format!("\"{}\"", text.raw) })
}

fn is_false(json: &Json<'_>) -> bool {
    match json {
        Json::Null | Json::Bool(false) => true,
        Json::Number(raw) => raw.parse::<f64>().is_ok_and(|n| n == 0.0),
        Json::String(text) => text.raw.is_empty(),
        Json::Object(members) => members.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Bool(true) => false,
    }
}

/// Texts as a JSON list.
pub(crate) fn list_json(texts: &[String]) -> String {
    let mut out = String::from("[");
    for (at, text) in texts.iter().enumerate() {
        out.push_str(if at == 0 { "" } else { "," });
        json::quote_into(text, &mut out);
    }
    out.push(']');
    out
}

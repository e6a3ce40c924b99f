//! What a worker does, and what it says about it on the pipe.

use hivemind_model::{Collection, Index, Kind, Value};
use serde::{Deserialize, Serialize};

/// An operation of one thread of a worker: one call, whole or absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Typed: a new client under the next id.
    Add { key: String, name: String },
    /// Typed: another name.
    Rename { id: i64, name: String },
    /// Typed: one more type in the whitelist.
    Allow { id: i64, item: String },
    /// Typed: one type less.
    Deny { id: i64, item: String },
    /// Typed: one member of the metadata.
    Remember { id: i64, member: String, value: i64 },
    /// Typed: a time.
    Touch { id: i64, seen: f64 },
    /// Typed: the client is emptied under its id.
    Revoke { id: i64 },
    /// Raw: several mutations in one call.
    Batch { steps: Vec<Step> },
}

/// One mutation of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `InsertNext` of a client.
    AddClient { key: String, name: String },
    /// `Update` of a client, on condition that it has its access key still.
    RenameClient { id: i64, key: String, name: String },
    /// `Insert` of a note, which must not be there.
    InsertNote { slug: String, body: String },
    /// `Put` of a note.
    PutNote { slug: String, body: String },
    /// `Update` of a note: an increment, a json member, a list item; on condition of its `n` if one is given.
    UpdateNote { slug: String, by: i64, member: String, value: i64, item: i64, when: Option<i64> },
    /// `Delete` of a note.
    DeleteNote { slug: String },
    /// `Expect`: the note as it is, or none.
    ExpectNote { slug: String, present: bool },
    /// `Update` of the shared note: its counter, and a json member of the thread's own.
    Count { thread: usize, value: i64 },
    /// `Update` of the shared note, if nobody holds it.
    Claim { thread: usize },
    /// `Update` of the shared note, if the thread holds it.
    Release { thread: usize },
}

/// What a worker says, one line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Line {
    /// The store is being opened.
    Opening,
    /// A stored record, its texts checked and shortened: see [`shortened`].
    Row { collection: String, fields: serde_json::Value },
    /// What `verify` found.
    Problem(String),
    /// The store is open and every record was told; from here on the threads write.
    Ready { pid: u32 },
    /// A thread is about to do its operation of this number.
    Begin { thread: usize, number: u64, op: Op },
    /// It was acknowledged; the ids that were assigned.
    Done { thread: usize, number: u64, ids: Vec<i64> },
    /// It was answered with `conflict`.
    Refused { thread: usize, number: u64 },
    /// It was answered with another error.
    Failed { thread: usize, number: u64, not_applied: bool, message: String },
    /// Maintenance begins (a task's name) or ended (nothing).
    Maintaining(String),
    /// The worker could not go on.
    Broken(String),
}

/// The slug of the note that all threads write.
pub const SHARED: &str = "shared";

/// The second collection: text keys, long texts, a counter, json.
#[must_use]
pub fn notes() -> Collection {
    let json = |text: &str| Value::Json(text.to_owned());
    Collection::new("notes", 1, "slug", Kind::Text)
        .field_with("body", Kind::Text, "", Index::None)
        .field_with("n", Kind::Int, 0, Index::None)
        .field_with("holder", Kind::Text, Value::Nil, Index::Plain)
        .field_with("meta", Kind::Json, json("{}"), Index::None)
        .field_with("items", Kind::Json, json("[]"), Index::None)
}

/// The text that `short` (`tag:length`) stands for: long texts cross the pipe in a few bytes, and a text that is half of one and half
/// of another is no such text.
#[must_use]
pub fn in_full(short: &str) -> String {
    let length: usize = short.rsplit(':').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut text = format!("{short}|");
    while text.len() < length {
        text.push_str(short);
    }
    text
}

/// What a stored text is short for; a torn one says so.
#[must_use]
pub fn shortened(text: &str) -> String {
    let short = text.split('|').next().unwrap_or_default();
    if text.is_empty() || in_full(short) == text { short.to_owned() } else { format!("torn: {} bytes of {short:?}", text.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_by_its_tag_unless_it_is_torn() {
        let text = in_full("t1-2-3:1000");
        assert!(text.len() >= 1000);
        assert_eq!(shortened(&text), "t1-2-3:1000");
        assert!(shortened(&text[..900]).starts_with("torn"));
        assert_eq!(shortened(""), "");
    }
}

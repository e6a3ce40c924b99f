//! What a client's messages are checked against.

use hivemind_store::Client;

use crate::settings::Policy;

/// What is said about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, with these skills and intents added to the session's blacklists.
    Allowed,
    /// It does not.
    Denied(Denial),
}

/// Why a message does not pass, in the words that the satellite is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// A stable word: `acl_disallowed_type` …
    pub code: &'static str,
    /// For people.
    pub reason: String,
    /// JSON text of an object: what the reason is about.
    pub data: String,
}

/// What would be said about a message of this type, in this session, by this client: for `policy test`.
#[must_use]
pub fn judge(chain: &[Policy], client: &Client, message_type: &str, session_id: &str) -> Verdict {
    let _ = (chain, client, message_type, session_id);
    todo!()
}

//! The messages that a node writes itself, as JSON text.

use hivemind_model::json::quote_into;
use hivemind_protocol::MessageType;

use crate::policy::Denial;
use crate::text::told;

/// An envelope around a payload that is JSON already.
pub(crate) struct Frame<'f> {
    pub(crate) kind: MessageType,
    pub(crate) payload: &'f str,
    pub(crate) metadata: &'f str,
    pub(crate) route: &'f str,
    pub(crate) node: &'f str,
    pub(crate) target_site_id: &'f str,
    pub(crate) target_pubkey: &'f str,
    pub(crate) source_peer: &'f str,
}

impl<'f> Frame<'f> {
    /// An envelope that says nothing but its payload.
    pub(crate) const fn new(kind: MessageType, payload: &'f str) -> Self {
        Self {
            kind,
            payload,
            metadata: "{}",
            route: "[]",
            node: "null",
            target_site_id: "null",
            target_pubkey: "null",
            source_peer: "null",
        }
    }

    /// Its text: the members that the Python node writes, in its order.
    pub(crate) fn write(&self) -> String {
        let members = [
            (",\"metadata\":", self.metadata),
            (",\"route\":", self.route),
            (",\"node\":", self.node),
            (",\"target_site_id\":", self.target_site_id),
            (",\"target_pubkey\":", self.target_pubkey),
            (",\"source_peer\":", self.source_peer),
        ];
        let size: usize = members.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut out = String::with_capacity(size + self.payload.len() + 48);
        for part in ["{\"msg_type\":\"", self.kind.word(), "\",\"payload\":", self.payload] {
            out.push_str(part);
        }
        for (name, value) in members {
            out.push_str(name);
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote_into(text, &mut out);
    out
}

/// A bus message; all parts but the type are JSON already.
pub(crate) fn bus(kind: &str, data: &str, context: &str) -> String {
    let mut out = String::with_capacity(kind.len() + data.len() + context.len() + 40);
    out.push_str("{\"type\":");
    quote_into(kind, &mut out);
    for part in [",\"data\":", data, ",\"context\":", context, "}"] {
        out.push_str(part);
    }
    out
}

/// What a satellite is told whose message does not pass. `more` are further members of its data.
pub(crate) fn denied(peer: &str, denied_type: &str, denial: &Denial, more: &str) -> String {
    let denied_type = told(denied_type);
    let mut data = String::with_capacity(denied_type.len() + denial.reason.len() + denial.data.len() + 80);
    data.push_str("{\"denied_type\":");
    quote_into(denied_type, &mut data);
    data.push_str(more);
    data.push_str(",\"code\":");
    quote_into(denial.code, &mut data);
    data.push_str(",\"reason\":");
    quote_into(&denial.reason, &mut data);
    data.push_str(",\"data\":");
    data.push_str(&denial.data);
    data.push('}');
    let mut context = String::from("{\"source\":\"hivemind-core\",\"destination\":");
    quote_into(peer, &mut context);
    context.push('}');
    Frame::new(MessageType::Bus, &bus("hive.policy.denied", &data, &context)).write()
}

//! What satellites say in JSON: two readers of an envelope agree, what is passed on is what was said, and the canonical form is one.

use hivemind_model::json::{self, Json};
use hivemind_protocol::{Bus, Credentials, Envelope, MessageType, RawJson, canonical};
use serde_json::Value;

/// The members that an envelope may have.
const MEMBERS: [&str; 10] = [
    "msg_type",
    "payload",
    "metadata",
    "route",
    "node",
    "target_site_id",
    "target_pubkey",
    "target_peers",
    "source_peer",
    "bin_type",
];

/// The input is a frame's text; an address's query, too.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    match Envelope::from_bytes(data) {
        Ok(envelope) => taken(&envelope, data),
        Err(error) => {
            assert_eq!(error.reason(), "invalid message");
            assert!(!error.to_string().is_empty());
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(value) = RawJson::parse(text) {
        one_form(value);
        bus(value);
    }
    if let Ok(credentials) = Credentials::from_query(text) {
        assert!(!credentials.user_agent.contains(':') && !credentials.access_key.is_empty());
        assert_eq!(Credentials::from_query(&credentials.to_query()), Ok(credentials));
    }
}

fn taken(envelope: &Envelope<'_>, data: &[u8]) {
    // Another reader, where both dialects have the text.
    if let Ok(other) = serde_json::from_slice::<Value>(data) {
        assert_eq!(other["msg_type"].as_str(), Some(envelope.kind.word()));
        let payload: Value = serde_json::from_str(envelope.payload.get()).expect("a part of JSON is JSON");
        assert_eq!(payload, other.get("payload").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())));
        assert!(other.as_object().expect("an object").keys().all(|name| MEMBERS.contains(&name.as_str())));
    }
    assert!(envelope.payload.is_object() && envelope.kind != MessageType::Binary);
    let mut written = Vec::new();
    envelope.write(&mut written);
    assert!(written.len() <= data.len() + 200, "{} bytes from {}", written.len(), data.len());
    let again = Envelope::from_bytes(&written).expect("what was written is an envelope");
    assert_eq!((again.kind, again.payload), (envelope.kind, envelope.payload));
    assert_eq!((again.metadata.is_some(), again.source_peer), (true, envelope.source_peer));
    let mut once_more = Vec::new();
    again.write(&mut once_more);
    assert_eq!(written, once_more, "an envelope has two forms");
}

/// A bus message is passed on with every value as it was written.
fn bus(value: RawJson<'_>) {
    let Ok(bus) = Bus::parse(value.get()) else { return };
    let mut written = Vec::new();
    bus.write(&mut written);
    let text = std::str::from_utf8(&written).expect("UTF-8");
    let again = Bus::parse(text).expect("what was written is a message");
    assert_eq!((again.kind, again.data), (bus.kind, bus.data));
    assert_eq!(again.context.iter().collect::<Vec<_>>(), bus.context.iter().collect::<Vec<_>>());
    let mut context = bus.context.clone();
    context.set_text("source", "a \"peer\"");
    assert_eq!(context.text("source").as_deref(), Some("a \"peer\""));
    for (name, value) in bus.context.iter().filter(|(name, _)| !name.contains('\\') && *name != "source") {
        assert_eq!(context.get(name), Some(value), "a neighbour was changed");
    }
    context.remove("source");
    assert!(context.get("source").is_none(), "a name stood there twice");
}

/// The canonical form is canonical, and says the same.
fn one_form(value: RawJson<'_>) {
    let Ok(bytes) = canonical(value.get().as_bytes()) else { return };
    assert_eq!(canonical(&bytes).as_ref(), Ok(&bytes), "there are two canonical forms");
    let (ours, theirs) = (json::parse(std::str::from_utf8(&bytes).expect("UTF-8")), json::parse(value.get()));
    let (ours, theirs) = (ours.expect("JSON"), theirs.expect("JSON"));
    assert!(has_fractions(&theirs) || ours.same(&theirs), "another value");
}

/// Fractions are rounded to what a float holds.
fn has_fractions(value: &Json<'_>) -> bool {
    match value {
        Json::Number(raw) => raw.contains(['.', 'e', 'E']),
        Json::Array(items) => items.iter().any(has_fractions),
        Json::Object(members) => members.iter().any(|member| has_fractions(&member.value)),
        Json::Null | Json::Bool(_) | Json::String(_) => false,
    }
}

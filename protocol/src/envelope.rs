//! The envelope every HiveMind message travels in.
//!
//! Only `msg_type` and the kind of the payload are looked at. Everything else is kept as text for whoever relays it. A member that
//! envelopes do not have ends a connection in the reference, on either side, so none is read and none is written.

use std::fmt;

use hivemind_model::json::{Flat, ParseError, Part, Text, outline};

use crate::message_type::MessageType;
use crate::object::{Malformed, RawJson, push_text};

/// An envelope, borrowing from its text. A member that is `null` is `None`.
#[derive(Clone)]
pub struct Envelope<'a> {
    /// What the message is.
    pub kind: MessageType,
    /// An object. `{}` if there was none, which HELLO and HANDSHAKE may not leave out.
    pub payload: RawJson<'a>,
    /// Free-form, an object.
    pub metadata: Option<RawJson<'a>>,
    /// The hops behind it, a list of whatever was written there.
    pub route: Option<RawJson<'a>>,
    /// The node it comes from.
    pub node: Option<RawJson<'a>>,
    /// The site it is for.
    pub target_site_id: Option<RawJson<'a>>,
    /// The key of the one it is for.
    pub target_pubkey: Option<RawJson<'a>>,
    /// The peers it is for. Read, but never written: the reference leaves it out too.
    pub target_peers: Option<RawJson<'a>>,
    /// The peer it comes from. What a satellite says here is not to be believed.
    pub source_peer: Option<RawJson<'a>>,
}

/// Why a text is no envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not UTF-8.
    NotText,
    /// Not one JSON object, or one with a name in it twice.
    Malformed(Malformed),
    /// A member that envelopes do not have.
    UnknownMember,
    /// No `msg_type`, or none that there is.
    UnknownType,
    /// No payload where there has to be one, or one that is not an object.
    Payload,
}

impl EnvelopeError {
    /// The reason a node closes with.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        "invalid message"
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("not UTF-8"),
            Self::Malformed(e) => e.fmt(f),
            Self::UnknownMember => f.write_str("an envelope with a member that envelopes do not have"),
            Self::UnknownType => f.write_str("an envelope whose 'msg_type' is missing or unknown"),
            Self::Payload => f.write_str("an envelope whose 'payload' is missing or not an object"),
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl From<ParseError> for EnvelopeError {
    fn from(e: ParseError) -> Self {
        Self::Malformed(Malformed::NotJson(e))
    }
}

/// What is found in the order it comes; the type decides only at the end.
#[derive(Default)]
struct Found<'a> {
    kind: Option<RawJson<'a>>,
    payload: Option<RawJson<'a>>,
    bin_type: Option<RawJson<'a>>,
    rest: [Option<RawJson<'a>>; 7],
    wrong: Option<EnvelopeError>,
}

/// The members that are passed on, in the order they are written.
const REST: [&str; 7] = ["metadata", "route", "node", "target_site_id", "target_pubkey", "source_peer", "target_peers"];

impl<'a> Found<'a> {
    fn member(&mut self, name: Text<'a>, value: &'a str) {
        let name = name.to_str().unwrap_or_default();
        let slot = match name.as_ref() {
            "msg_type" => &mut self.kind,
            "payload" => &mut self.payload,
            // The reference takes it from anybody who says it is 0.
            "bin_type" => &mut self.bin_type,
            other => match REST.iter().position(|known| *known == other) {
                Some(at) => &mut self.rest[at],
                None => {
                    self.wrong.get_or_insert(EnvelopeError::UnknownMember);
                    return;
                }
            },
        };
        if slot.replace(RawJson::checked(value)).is_some() {
            self.wrong.get_or_insert(EnvelopeError::Malformed(Malformed::Repeated));
        }
    }
}

impl<'a> Envelope<'a> {
    /// An envelope around a payload, with nothing else.
    #[must_use]
    pub const fn new(kind: MessageType, payload: RawJson<'a>) -> Self {
        Self {
            kind,
            payload,
            metadata: None,
            route: None,
            node: None,
            target_site_id: None,
            target_pubkey: None,
            target_peers: None,
            source_peer: None,
        }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// If it is no envelope.
    pub fn parse(text: &'a str) -> Result<Self, EnvelopeError> {
        let mut found = Found::default();
        let shape = outline(text, |part| {
            if let Part::Member(name, _, value) = part {
                found.member(name, value);
            }
        })?;
        if shape != Flat::Object {
            return Err(EnvelopeError::Malformed(Malformed::WrongKind));
        }
        if let Some(wrong) = found.wrong {
            return Err(wrong);
        }
        let kind = found.kind.and_then(RawJson::as_str).and_then(|word| MessageType::from_word(&word));
        let kind = kind.ok_or(EnvelopeError::UnknownType)?;
        if found.bin_type.is_some_and(|bin_type| bin_type.get() != "0") {
            return Err(EnvelopeError::UnknownMember);
        }
        let payload = match found.payload {
            Some(payload) if payload.is_object() => payload,
            None if !matches!(kind, MessageType::Hello | MessageType::Handshake) => RawJson::EMPTY_OBJECT,
            _ => return Err(EnvelopeError::Payload),
        };
        // Bytes do not fit into JSON; the reference takes such a message for broken, too.
        if kind == MessageType::Binary {
            return Err(EnvelopeError::Payload);
        }
        let rest = found.rest.map(|value| value.filter(|value| !value.is_null()));
        let [metadata, route, node, target_site_id, target_pubkey, source_peer, target_peers] = rest;
        if metadata.is_some_and(|metadata| !metadata.is_object()) {
            return Err(EnvelopeError::Malformed(Malformed::Member("metadata")));
        }
        if route.is_some_and(|route| !route.is_list()) {
            return Err(EnvelopeError::Malformed(Malformed::Member("route")));
        }
        Ok(Self { kind, payload, metadata, route, node, target_site_id, target_pubkey, target_peers, source_peer })
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// If they are no envelope.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| EnvelopeError::NotText)?)
    }

    /// Appends the envelope as JSON, with all members that the reference writes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let rest = [self.metadata, self.route, self.node, self.target_site_id, self.target_pubkey, self.source_peer];
        begin(self.kind, self.payload.get().as_bytes(), out);
        for (at, value) in rest.into_iter().enumerate() {
            let default = ["{}", "[]", "null", "null", "null", "null"][at];
            out.extend_from_slice(b",\"");
            out.extend_from_slice(REST[at].as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value.map_or(default, RawJson::get).as_bytes());
        }
        out.push(b'}');
    }
}

/// The type alone: messages are private.
impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A whole envelope around a payload, which is a JSON object already.
#[must_use]
pub fn wrap(kind: MessageType, payload: &[u8]) -> Vec<u8> {
    const REST: &[u8] =
        br#","metadata":{},"route":[],"node":null,"target_site_id":null,"target_pubkey":null,"source_peer":null}"#;
    let mut out = Vec::with_capacity(payload.len() + REST.len() + 40);
    begin(kind, payload, &mut out);
    out.extend_from_slice(REST);
    out
}

fn begin(kind: MessageType, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"msg_type\":");
    push_text(kind.word(), out);
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;

//! The envelope every HiveMind message travels in.

use crate::message_type::MessageType;
use crate::object::{Malformed, RawJson};

/// An envelope, borrowing from its text. What a receiver does not look at is kept as it was written.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// What the message is.
    pub kind: MessageType,
    /// An object: `{}` if there was none, which HELLO and HANDSHAKE may not leave out.
    pub payload: RawJson<'a>,
    /// Free-form; an object if there is one.
    pub metadata: Option<RawJson<'a>>,
    /// The hops behind it, a list.
    pub route: Option<RawJson<'a>>,
    /// The node it comes from.
    pub node: Option<RawJson<'a>>,
    /// The site it is for.
    pub target_site_id: Option<RawJson<'a>>,
    /// The key of the one it is for.
    pub target_pubkey: Option<RawJson<'a>>,
    /// The peers it is for. Read, but never written: the reference leaves it out too.
    pub target_peers: Option<RawJson<'a>>,
    /// The peer it comes from. What a satellite says here is not believed.
    pub source_peer: Option<RawJson<'a>>,
}

/// Why a text is no envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not UTF-8.
    NotText,
    /// Not one JSON object, or one with a name repeated.
    Malformed(Malformed),
    /// A member that envelopes do not have.
    UnknownMember,
    /// No `msg_type`, or none that there is.
    UnknownType,
    /// No payload where there has to be one, or one that is not an object.
    Payload,
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
    pub fn parse(_text: &'a str) -> Result<Self, EnvelopeError> {
        todo!()
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// If they are no envelope.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| EnvelopeError::NotText)?)
    }

    /// Appends the envelope as JSON.
    pub fn write(&self, _out: &mut Vec<u8>) {
        todo!()
    }
}

/// A whole envelope around a payload, which is JSON already.
#[must_use]
pub fn wrap(_kind: MessageType, _payload: &[u8]) -> Vec<u8> {
    todo!()
}

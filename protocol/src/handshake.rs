//! The Noise handshake, both sides of it: `XXpsk2` for those who have not met, `KKpsk0` for those who have.
//!
//! What a node has said in clear text is bound into it, so that whoever changes the offer on its way breaks the handshake. The key
//! from the password is first needed when the first message is read, so that it can be looked up or derived after the satellite has
//! chosen.

mod initiator;
mod noise;
mod responder;

use std::borrow::Cow;
use std::fmt;

pub use initiator::{Initiator, Satellite};
pub use responder::Responder;

use crate::session::Session;

/// Which keys are known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// None.
    XXpsk2,
    /// Both.
    KKpsk0,
}

impl Pattern {
    /// Its name in an offer.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::XXpsk2 => "XXpsk2",
            Self::KKpsk0 => "KKpsk0",
        }
    }
}

/// Which ciphers are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// ChaCha20-Poly1305.
    ChaChaPoly,
    /// AES-256-GCM.
    AesGcm,
}

impl Suite {
    /// Its name in an offer.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ChaChaPoly => "25519_ChaChaPoly_SHA256",
            Self::AesGcm => "25519_AESGCM_SHA256",
        }
    }
}

/// Why a handshake ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The payload has no `noise`.
    NotNoise,
    /// What it has is not understood.
    Malformed,
    /// Pattern or suite is none that was offered.
    NotOffered {
        /// What was asked for, as `pattern/suite`; printable, and no more than 90 bytes.
        asked: String,
    },
    /// A message does not fit: another password, another key, another offer.
    Failed,
    /// It was not this step's turn, or the handshake had failed before.
    OutOfTurn,
}

impl HandshakeError {
    /// The reason a node closes with.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::NotNoise => "this node requires the v3 Noise handshake".into(),
            Self::Malformed => "malformed Noise envelope".into(),
            Self::NotOffered { asked } => format!("pattern/suite not offered: {asked}").into(),
            Self::Failed | Self::OutOfTurn => "handshake failure: ".into(),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNoise => f.write_str("a HANDSHAKE without 'noise': a satellite that speaks protocol 3 was expected"),
            Self::Malformed => f.write_str("a HANDSHAKE whose 'noise' is not understood"),
            Self::NotOffered { asked } => write!(f, "a HANDSHAKE that asks for {asked}, which was not offered"),
            Self::Failed => f.write_str("a Noise message that does not fit: the password, a key or the offer differs"),
            Self::OutOfTurn => f.write_str("a Noise message out of turn"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// What a satellite chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// Which keys it knows.
    pub pattern: Pattern,
    /// Which ciphers it wants.
    pub suite: Suite,
}

/// What follows from a message.
#[derive(Debug)]
pub enum Step {
    /// The payload of a HANDSHAKE to send; the other's next message follows.
    Reply(Vec<u8>),
    /// The session is up.
    Done {
        /// The payload of a HANDSHAKE to send first, in clear text.
        reply: Option<Vec<u8>>,
        /// What seals and opens from here on.
        session: Session,
        /// The other's public key, to be compared with the one that is pinned.
        remote_static: [u8; 32],
        /// Which keys were known before.
        pattern: Pattern,
    },
}

#[cfg(test)]
pub(crate) mod tests;

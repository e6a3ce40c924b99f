//! The Noise handshake, both sides of it.

use std::borrow::Cow;

use crate::key::StaticKey;
use crate::object::RawJson;
use crate::psk::Psk;
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
    /// Its name in the offer.
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
    /// Its name in the offer.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ChaChaPoly => "25519_ChaChaPoly_SHA256",
            Self::AesGcm => "25519_AESGCM_SHA256",
        }
    }
}

/// Why a handshake is not continued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The payload has no `noise`.
    NotNoise,
    /// What it has is not understood.
    Malformed,
    /// Pattern or suite is none that was offered.
    NotOffered {
        /// What was asked for, as `pattern/suite`, shortened.
        asked: String,
    },
    /// What was received does not fit: another password, another key, another offer.
    Failed,
    /// It was not the turn of this step.
    OutOfTurn,
}

impl HandshakeError {
    /// The reason a node closes with.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        todo!()
    }
}

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
    /// The payload of a HANDSHAKE to send; another message follows.
    Reply(Vec<u8>),
    /// The session is up.
    Done {
        /// The payload of a HANDSHAKE to send first, in clear text.
        reply: Option<Vec<u8>>,
        /// What seals and opens from here on.
        session: Session,
        /// The other's public key: to be compared with the one that is pinned.
        remote_static: [u8; 32],
        /// Which keys were known before.
        pattern: Pattern,
    },
}

/// The node's side.
#[derive(Debug)]
pub struct Responder {}

impl Responder {
    /// A responder for one connection: both payloads as they were sent, and the satellite's key if one is pinned.
    #[must_use]
    pub fn new(_key: &StaticKey, _hello_payload: &[u8], _offer_payload: &[u8], _pinned: Option<[u8; 32]>) -> Self {
        todo!()
    }

    /// Takes the satellite's first HANDSHAKE payload. The PSK may be looked up or derived now; [`Responder::read_first`] follows.
    ///
    /// # Errors
    /// If it is not one, or chooses what was not offered.
    pub fn select(&mut self, _payload: RawJson<'_>) -> Result<Selected, HandshakeError> {
        todo!()
    }

    /// Reads the first message, which [`Responder::select`] has kept, and writes the second.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn read_first(&mut self, _psk: &Psk) -> Result<Step, HandshakeError> {
        todo!()
    }

    /// Reads the third message, a whole HANDSHAKE payload. Follows a [`Step::Reply`].
    ///
    /// # Errors
    /// If it does not fit.
    pub fn read_last(&mut self, _payload: RawJson<'_>) -> Result<Step, HandshakeError> {
        todo!()
    }
}

/// The satellite's side.
#[derive(Debug)]
pub struct Initiator {}

impl Initiator {
    /// An initiator: both payloads as they were received, and the node's key if it is known, which makes it `KKpsk0` if that is offered.
    ///
    /// # Errors
    /// If the offer is not understood or the suite not in it.
    pub fn new(
        _key: &StaticKey,
        _hello_payload: RawJson<'_>,
        _offer_payload: RawJson<'_>,
        _known: Option<[u8; 32]>,
        _suite: Suite,
        _psk: &Psk,
    ) -> Result<Self, HandshakeError> {
        todo!()
    }

    /// The payload of the first HANDSHAKE.
    ///
    /// # Errors
    /// If it was written before.
    pub fn first(&mut self) -> Result<Vec<u8>, HandshakeError> {
        todo!()
    }

    /// Reads the node's HANDSHAKE payload. Always [`Step::Done`].
    ///
    /// # Errors
    /// If it does not fit.
    pub fn read(&mut self, _payload: RawJson<'_>) -> Result<Step, HandshakeError> {
        todo!()
    }
}

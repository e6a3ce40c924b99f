//! The satellite's side, for tests and load.

use std::fmt;

use snow::HandshakeState;

use super::noise::{Setup, done, message, offered, read, within, write};
use super::{HandshakeError, Pattern, Selected, Step, Suite};
use crate::key::StaticKey;
use crate::object::RawJson;
use crate::opening::Offer;
use crate::psk::Psk;

/// What an initiator is made of.
#[derive(Debug, Clone, Copy)]
pub struct Satellite<'a> {
    /// Its key.
    pub key: &'a StaticKey,
    /// What was derived from its password.
    pub psk: &'a Psk,
    /// Which ciphers it wants.
    pub suite: Suite,
    /// The node's public key if it is known, which makes it `KKpsk0` where that is offered.
    pub known: Option<[u8; 32]>,
}

/// The satellite's side of one handshake: [`first`](Self::first), then [`read`](Self::read).
pub struct Initiator {
    state: Option<Box<HandshakeState>>,
    selected: Selected,
}

impl Initiator {
    /// For one connection: both of the node's payloads as they were received.
    ///
    /// # Errors
    /// If the offer is not understood, or the suite is not in it.
    pub fn new(satellite: Satellite<'_>, hello_payload: RawJson<'_>, offer_payload: RawJson<'_>) -> Result<Self, HandshakeError> {
        let setup = Setup {
            key: satellite.key,
            psk: satellite.psk,
            hello: hello_payload.get().as_bytes(),
            offer: offer_payload.get().as_bytes(),
            remote: satellite.known,
            #[cfg(test)]
            ephemeral: None,
        };
        Self::with(&setup, satellite.suite)
    }

    pub(super) fn with(setup: &Setup<'_>, suite: Suite) -> Result<Self, HandshakeError> {
        let (patterns, suites) = offered(setup.offer)?;
        let offers = |words: &[String], word: &str| words.iter().any(|w| w == word);
        let known = setup.remote.is_some() && offers(&patterns, Pattern::KKpsk0.word());
        let pattern = if known { Pattern::KKpsk0 } else { Pattern::XXpsk2 };
        if !offers(&suites, suite.word()) || !offers(&patterns, pattern.word()) {
            return Err(HandshakeError::NotOffered { asked: format!("{}/{}", pattern.word(), suite.word()) });
        }
        let selected = Selected { pattern, suite };
        Ok(Self { state: Some(Box::new(setup.initiator(selected)?)), selected })
    }

    /// The payload of the first HANDSHAKE.
    ///
    /// # Errors
    /// If it was written before.
    pub fn first(&mut self) -> Result<Vec<u8>, HandshakeError> {
        let state = self.state.as_mut().ok_or(HandshakeError::OutOfTurn)?;
        let says = format!(r#"{{"binarize": false, "encodings": ["{}"]}}"#, Offer::ENCODING);
        let choice = format!(r#""pattern":"{}","suite":"{}","#, self.selected.pattern.word(), self.selected.suite.word());
        write(state, says.as_bytes(), &choice)
    }

    /// Reads the node's HANDSHAKE payload. Always [`Step::Done`], with something to send first if it is `XXpsk2`.
    ///
    /// # Errors
    /// If it does not fit: the password is another, or the node.
    pub fn read(&mut self, payload: RawJson<'_>) -> Result<Step, HandshakeError> {
        let mut state = self.state.take().ok_or(HandshakeError::OutOfTurn)?;
        read(&mut state, &within(payload, message)?)?;
        let reply = if state.is_handshake_finished() { None } else { Some(write(&mut state, b"", "")?) };
        done(*state, reply, self.selected.pattern)
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("selected", &self.selected).finish_non_exhaustive()
    }
}

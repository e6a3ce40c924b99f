//! The node's side.

use std::fmt;

use snow::HandshakeState;

use super::noise::{Setup, check_payload, done, message, offered, read, within, write};
use super::{HandshakeError, Pattern, Selected, Step, Suite};
use crate::key::StaticKey;
use crate::object::RawJson;
use crate::opening::Offer;
use crate::psk::Psk;

/// The node's side of one handshake: [`select`](Self::select), [`read_first`](Self::read_first), and if that says so
/// [`read_last`](Self::read_last). After an error there is no way on.
pub struct Responder {
    key: StaticKey,
    hello: Vec<u8>,
    offer: Vec<u8>,
    pinned: Option<[u8; 32]>,
    turn: Turn,
    #[cfg(test)]
    pub(super) ephemeral: Option<[u8; 32]>,
}

/// Whose turn it is.
enum Turn {
    Select,
    First(Selected, Vec<u8>),
    Last(Box<HandshakeState>, Pattern),
    Nobody,
}

impl Responder {
    /// For one connection: both payloads as they were sent, and the satellite's public key if one is pinned.
    #[must_use]
    pub fn new(key: &StaticKey, hello_payload: &[u8], offer_payload: &[u8], pinned: Option<[u8; 32]>) -> Self {
        Self {
            key: key.clone(),
            hello: hello_payload.to_vec(),
            offer: offer_payload.to_vec(),
            pinned,
            turn: Turn::Select,
            #[cfg(test)]
            ephemeral: None,
        }
    }

    /// Takes the satellite's first HANDSHAKE payload. Now the PSK can be looked up or derived.
    ///
    /// # Errors
    /// If it is none, or chooses what was not offered.
    pub fn select(&mut self, payload: RawJson<'_>) -> Result<Selected, HandshakeError> {
        let Turn::Select = std::mem::replace(&mut self.turn, Turn::Nobody) else { return Err(HandshakeError::OutOfTurn) };
        let (asked, first) = within(payload, |noise| {
            let word = |name| noise.text(name).map_or_else(|| "None".to_owned(), std::borrow::Cow::into_owned);
            let first = message(noise)?;
            Ok(((word("pattern"), word("suite")), first))
        })?;
        let selected = self.choice(&asked.0, &asked.1)?;
        self.turn = Turn::First(selected, first);
        Ok(selected)
    }

    /// Reads the first message and writes the second, which ends `KKpsk0`.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn read_first(&mut self, psk: &Psk) -> Result<Step, HandshakeError> {
        let turn = std::mem::replace(&mut self.turn, Turn::Nobody);
        let Turn::First(selected, first) = turn else { return Err(HandshakeError::OutOfTurn) };
        let setup = Setup {
            key: &self.key,
            psk,
            hello: &self.hello,
            offer: &self.offer,
            remote: self.pinned,
            #[cfg(test)]
            ephemeral: self.ephemeral,
        };
        let mut state = setup.responder(selected)?;
        check_payload(&read(&mut state, &first)?)?;
        let encoding = format!(r#"{{"encoding": "{}"}}"#, Offer::ENCODING);
        let reply = write(&mut state, encoding.as_bytes(), "")?;
        if state.is_handshake_finished() {
            return done(state, Some(reply), selected.pattern);
        }
        self.turn = Turn::Last(Box::new(state), selected.pattern);
        Ok(Step::Reply(reply))
    }

    /// Reads the third message, a whole HANDSHAKE payload. Follows a [`Step::Reply`], and is always [`Step::Done`].
    ///
    /// # Errors
    /// If it does not fit.
    pub fn read_last(&mut self, payload: RawJson<'_>) -> Result<Step, HandshakeError> {
        let turn = std::mem::replace(&mut self.turn, Turn::Nobody);
        let Turn::Last(mut state, pattern) = turn else { return Err(HandshakeError::OutOfTurn) };
        let last = within(payload, message)?;
        read(&mut state, &last)?;
        done(*state, None, pattern)
    }

    fn choice(&self, pattern: &str, suite: &str) -> Result<Selected, HandshakeError> {
        let (patterns, suites) = offered(&self.offer)?;
        let known = |pattern: &Pattern| *pattern == Pattern::XXpsk2 || self.pinned.is_some();
        let chosen_pattern = [Pattern::XXpsk2, Pattern::KKpsk0].into_iter().filter(known).find(|p| p.word() == pattern);
        let chosen_suite = [Suite::ChaChaPoly, Suite::AesGcm].into_iter().find(|s| s.word() == suite);
        match (chosen_pattern, chosen_suite) {
            (Some(chosen_pattern), Some(chosen_suite))
                if patterns.iter().any(|p| p == pattern) && suites.iter().any(|s| s == suite) =>
            {
                Ok(Selected { pattern: chosen_pattern, suite: chosen_suite })
            }
            _ => {
                let printable = |word: &str| word.chars().filter(char::is_ascii_graphic).take(44).collect::<String>();
                Err(HandshakeError::NotOffered { asked: format!("{}/{}", printable(pattern), printable(suite)) })
            }
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turn = match self.turn {
            Turn::Select => "select",
            Turn::First(..) => "first",
            Turn::Last(..) => "last",
            Turn::Nobody => "nobody",
        };
        f.debug_struct("Responder").field("turn", &turn).finish_non_exhaustive()
    }
}

//! A satellite's side of the handshake by hand, for tests that stop in between: [`Asked`], then [`Answered`], then a device.

use std::fmt;
use std::sync::Arc;

use hivemind_protocol::{Initiator, Psk, RawJson, Satellite, Session, StaticKey, Step, Suite};
use openssl::hash::{MessageDigest, hash};

use super::raw::{Device, Frame, Raw, node_id};
use super::site::Client;

/// One that has said the first step.
pub struct Asked {
    /// The connection below it.
    pub raw: Raw,
    initiator: Initiator,
}

/// One that knows that its session is up, and has yet to say so.
pub struct Answered {
    raw: Raw,
    session: Session,
    last: Option<Vec<u8>>,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answered").finish_non_exhaustive()
    }
}

impl Asked {
    /// Says the first step: with this Noise key, and what is derived from the password for the node of an id.
    ///
    /// # Errors
    /// The end of the connection, if that comes first.
    ///
    /// # Panics
    /// If the node speaks another protocol.
    pub fn of(mut raw: Raw, key: &StaticKey, psk: impl FnOnce(&str) -> Arc<Psk>) -> Result<Self, Frame> {
        let (hello, offer) = raw.opening()?;
        let psk = psk(&node_id(&hello));
        let satellite = Satellite { key, psk: &psk, suite: Suite::ChaChaPoly, known: None };
        let parse = |text| RawJson::parse(text).expect("JSON");
        let mut initiator = Initiator::new(satellite, parse(&hello), parse(&offer)).expect("offered");
        say(&mut raw, &initiator.first().expect("the first message"))?;
        Ok(Self { raw, initiator })
    }

    /// Waits for the node's step.
    ///
    /// # Errors
    /// The end of the connection, if that comes first.
    ///
    /// # Panics
    /// If the node has derived something else from the password.
    pub fn answered(mut self) -> Result<Answered, Frame> {
        let answer = self.raw.clear("shake")?.to_string();
        match self.initiator.read(RawJson::parse(&answer).expect("JSON")).expect("the password is right") {
            Step::Done { reply: last, session, .. } => Ok(Answered { raw: self.raw, session, last }),
            Step::Reply(_) => panic!("a satellite has the last word"),
        }
    }
}

impl Answered {
    /// Says the last step, and HELLO as this device. Whether it is let in is heard only after that.
    ///
    /// # Errors
    /// The end of the connection, if that comes first.
    pub fn finish(mut self, device: &str) -> Result<Device, Frame> {
        if let Some(last) = &self.last {
            say(&mut self.raw, last)?;
        }
        Device::begin(self.raw, self.session, device)
    }
}

fn say(raw: &mut Raw, payload: &[u8]) -> Result<(), Frame> {
    let sent = raw.say("shake", &serde_json::from_slice(payload).expect("JSON"));
    sent.map_err(|_| raw.end())
}

/// The Noise key of a client's devices by hand: the same each time.
pub(super) fn key_of(client: &Client) -> StaticKey {
    let digest = hash(MessageDigest::sha256(), client.key.as_bytes()).expect("a digest");
    StaticKey::from_hex(&digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()).expect("a key")
}

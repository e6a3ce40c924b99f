//! What both sides do alike: the prologue, the Noise state, and the payloads its messages travel in.

use snow::{Builder, HandshakeState};

use super::{HandshakeError, Pattern, Selected, Step};
use crate::canonical::canonical;
use crate::key::StaticKey;
use crate::object::{Object, RawJson};
use crate::psk::Psk;
use crate::session::Session;

/// The longest message of the Noise framework, in bytes.
const MAX_MESSAGE: usize = 65535;
/// What a handshake message adds to its payload at most: two keys of 32 bytes, two tags of 16.
const OVERHEAD: usize = 96;

/// What a Noise state is made of.
pub(super) struct Setup<'a> {
    pub(super) key: &'a StaticKey,
    pub(super) psk: &'a Psk,
    pub(super) hello: &'a [u8],
    pub(super) offer: &'a [u8],
    /// The other's key, for `KKpsk0`.
    pub(super) remote: Option<[u8; 32]>,
    /// For transcripts that have to be the same each time.
    #[cfg(test)]
    pub(super) ephemeral: Option<[u8; 32]>,
}

impl Setup<'_> {
    pub(super) fn initiator(&self, selected: Selected) -> Result<HandshakeState, HandshakeError> {
        self.build(selected, |builder| builder.build_initiator())
    }

    pub(super) fn responder(&self, selected: Selected) -> Result<HandshakeState, HandshakeError> {
        self.build(selected, |builder| builder.build_responder())
    }

    fn build(
        &self,
        Selected { pattern, suite }: Selected,
        build: fn(Builder<'_>) -> Result<HandshakeState, snow::Error>,
    ) -> Result<HandshakeState, HandshakeError> {
        let name = format!("Noise_{}_{}", pattern.word(), suite.word());
        let mut prologue = canonical(self.hello).map_err(|_| HandshakeError::Malformed)?;
        prologue.extend(canonical(self.offer).map_err(|_| HandshakeError::Malformed)?);
        prologue.extend_from_slice(name.as_bytes());
        let made = || {
            let mut builder = Builder::new(name.parse()?).local_private_key(self.key.private())?.prologue(&prologue)?;
            builder = builder.psk(if pattern == Pattern::XXpsk2 { 2 } else { 0 }, self.psk.bytes())?;
            if let (Pattern::KKpsk0, Some(remote)) = (pattern, &self.remote) {
                builder = builder.remote_public_key(remote)?;
            }
            #[cfg(test)]
            if let Some(ephemeral) = &self.ephemeral {
                return build(builder.fixed_ephemeral_key_for_testing_only(ephemeral));
            }
            build(builder)
        };
        made().map_err(failed)
    }
}

pub(super) fn failed(_: snow::Error) -> HandshakeError {
    HandshakeError::Failed
}

/// Reads a message and gives its payload.
pub(super) fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut payload = vec![0; message.len()];
    let length = state.read_message(message, &mut payload).map_err(failed)?;
    payload.truncate(length);
    Ok(payload)
}

/// Writes a message, and with it the payload of the HANDSHAKE it travels in. `choice` is what else a first message says.
pub(super) fn write(state: &mut HandshakeState, payload: &[u8], choice: &str) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; payload.len() + OVERHEAD];
    let length = state.write_message(payload, &mut message).map_err(failed)?;
    let message = base16ct::lower::encode_string(&message[..length]);
    Ok(format!(r#"{{"noise":{{{choice}"msg":"{message}"}}}}"#).into_bytes())
}

/// The session that a finished handshake leads to.
pub(super) fn done(state: HandshakeState, reply: Option<Vec<u8>>, pattern: Pattern) -> Result<Step, HandshakeError> {
    let remote_static = state.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(HandshakeError::Failed)?;
    let session = Session::new(state.into_stateless_transport_mode().map_err(failed)?);
    Ok(Step::Done { reply, session, remote_static, pattern })
}

/// Reads what stands in a HANDSHAKE's payload, or an offer's, under `noise`.
pub(super) fn within<T>(
    payload: RawJson<'_>,
    read: impl FnOnce(&Object<'_>) -> Result<T, HandshakeError>,
) -> Result<T, HandshakeError> {
    let payload = payload.object().map_err(|_| HandshakeError::Malformed)?;
    let noise = payload.get("noise").ok_or(HandshakeError::NotNoise)?;
    read(&noise.object().map_err(|_| HandshakeError::Malformed)?)
}

/// The Noise message that stands there.
pub(super) fn message(noise: &Object<'_>) -> Result<Vec<u8>, HandshakeError> {
    let hex = noise.text("msg").filter(|hex| hex.len() <= 2 * MAX_MESSAGE).ok_or(HandshakeError::Malformed)?;
    base16ct::mixed::decode_vec(hex.as_bytes()).map_err(|_| HandshakeError::Malformed)
}

/// Patterns and suites of an offer.
pub(super) fn offered(offer: &[u8]) -> Result<(Vec<String>, Vec<String>), HandshakeError> {
    let text = std::str::from_utf8(offer).map_err(|_| HandshakeError::Malformed)?;
    let offer = RawJson::parse(text).map_err(|_| HandshakeError::Malformed)?;
    within(offer, |noise| Ok((words(noise, "patterns"), words(noise, "suites"))))
}

fn words(object: &Object<'_>, name: &str) -> Vec<String> {
    let items = object.get(name).and_then(|list| list.items().ok()).unwrap_or_default();
    items.into_iter().filter_map(|item| Some(item.as_str()?.into_owned())).collect()
}

/// The payload within a Noise message is an object, or nothing, which stands for an empty one.
pub(super) fn check_payload(payload: &[u8]) -> Result<(), HandshakeError> {
    let text = std::str::from_utf8(payload).map_err(|_| HandshakeError::Failed)?;
    if text.is_empty() || RawJson::parse(text).is_ok_and(RawJson::is_object) { Ok(()) } else { Err(HandshakeError::Failed) }
}

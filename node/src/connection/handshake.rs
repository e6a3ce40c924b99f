//! The handshake: the satellite proves that it knows its password and holds its key.
//!
//! Before the session is declared up, the record is looked at again: whoever was revoked in between is not let in, and the pin that is
//! written is written only if the client still has its access key and nobody else was first.

use std::sync::Arc;

use hivemind_protocol::envelope::wrap;
use hivemind_protocol::handshake::HandshakeError;
use hivemind_protocol::{Envelope, MessageType, Pattern, RawJson, Session, Step};
use hivemind_store::clients::Pinned;
use hivemind_store::{Client, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Refused;
use super::opening::{Opened, PIN, pinned_key};
use crate::close::Close;
use crate::directory::Unknowable;
use crate::event::Refusal;
use crate::server::Shared;
use crate::socket::Socket;

/// A satellite that has proved who it is.
pub(super) struct Proved {
    pub(super) client: Arc<Client>,
    pub(super) user_agent: String,
    pub(super) session_id: String,
    pub(super) session: Session,
    pub(super) pattern: Pattern,
}

impl From<HandshakeError> for Refused {
    fn from(error: HandshakeError) -> Self {
        let refusal = match error {
            HandshakeError::Failed => Refusal::Handshake,
            _ => Refusal::Malformed,
        };
        Self::policy(refusal, error.reason())
    }
}

pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    socket: &mut Socket<S>,
    opened: Opened,
) -> Result<Proved, Refused> {
    let Opened { client, user_agent, session_id, mut responder, psk } = opened;
    let first = next_step(socket).await?;
    responder.select(payload(&first)?)?;
    let mut waiting = std::pin::pin!(psk.wait());
    let psk = loop {
        tokio::select! {
            psk = &mut waiting => break psk,
            // Said again while it waits, which changes nothing.
            again = next_step(socket) => { payload(&again?)?; }
        }
    };
    let psk = psk.ok_or_else(|| Refused::new(Refusal::Handshake, Close::new(Close::INTERNAL, "the key could not be derived")))?;
    let (reply, session, remote_static, pattern) = match responder.read_first(&psk)? {
        Step::Done { reply, session, remote_static, pattern } => (reply, session, remote_static, pattern),
        Step::Reply(reply) => {
            socket.put_text(&wrap(MessageType::Handshake, &reply));
            // With another password, or with another node in mind, the satellite leaves here.
            let last = next_step(socket).await.map_err(|refused| match refused.refusal {
                Refusal::Gone => Refused { refusal: Refusal::Handshake, ..refused },
                _ => refused,
            })?;
            let last = payload(&last)?;
            if is_first(last) {
                return Err(began_anew());
            }
            let Step::Done { session, remote_static, pattern, .. } = responder.read_last(last)? else {
                return Err(HandshakeError::OutOfTurn.into());
            };
            (None, session, remote_static, pattern)
        }
    };
    let client = confirm(shared, &client, remote_static).await?;
    // By this the satellite knows that its session is up.
    if let Some(reply) = reply {
        socket.put_text(&wrap(MessageType::Handshake, &reply));
    }
    Ok(Proved { client, user_agent, session_id, session, pattern })
}

/// The next frame of the satellite.
async fn next_step<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> Result<Utf8Bytes, Refused> {
    loop {
        match socket.read().await? {
            Message::Text(text) => return Ok(text),
            Message::Binary(_) => return Err(invalid_message()),
            Message::Close(_) => return Err(Refused::new(Refusal::Gone, Close::new(Close::NORMAL, ""))),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// The payload of a HANDSHAKE. Nothing else is taken in clear text, no HELLO above all: what it says would be nobody's.
fn payload(text: &str) -> Result<RawJson<'_>, Refused> {
    match Envelope::parse(text) {
        Ok(envelope) if envelope.kind == MessageType::Handshake => Ok(envelope.payload),
        _ => Err(invalid_message()),
    }
}

/// Whether a step is a first one, which alone says what it is a step of.
fn is_first(step: RawJson<'_>) -> bool {
    let Ok(payload) = step.object() else { return false };
    payload.get("noise").is_some_and(|noise| noise.object().is_ok_and(|noise| noise.get("pattern").is_some()))
}

/// The stock client begins anew while it still stretches its password, after five seconds, and then knows of the second handshake only. It
/// must come back, when it has the key at hand; were it told 1008, it would give up for ever.
fn began_anew() -> Refused {
    Refused::new(Refusal::Handshake, Close::new(Close::TRY_AGAIN, "the handshake was begun twice; try again"))
}

fn invalid_message() -> Refused {
    Refused::policy(Refusal::Malformed, "invalid message")
}

/// Looks at the record again and pins the key if none is pinned.
async fn confirm(shared: &Shared, before: &Client, key: [u8; 32]) -> Result<Arc<Client>, Refused> {
    let found = shared.directory.current(before.id, &before.api_key).await?;
    let client = found.ok_or_else(Refused::unknown_key)?;
    if client.password != before.password {
        return Err(Refused::new(Refusal::Handshake, Close::new(Close::INTERNAL, "the password was changed; try again")));
    }
    if let Some(pinned) = pinned_key(&client) {
        return if pinned == key { Ok(client) } else { Err(foreign_key(shared, &client)) };
    }
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    match shared.directory.pin(&client, PIN, &hex).await {
        Ok(Pinned::Now) => Ok(client),
        Ok(Pinned::Before(pinned)) if pinned.eq_ignore_ascii_case(&hex) => Ok(client),
        Ok(Pinned::Before(_)) => Err(foreign_key(shared, &client)),
        // It has another access key, or somebody sets and resets its pin: only who has another key is unknown.
        Err(Error::Changed { .. }) => {
            let found = shared.directory.current(client.id, &client.api_key).await?;
            let again = || Refused::new(Refusal::Handshake, Close::new(Close::INTERNAL, "the client was changed; try again"));
            Err(found.map_or_else(Refused::unknown_key, |_| again()))
        }
        Err(Error::Unknown { .. }) => {
            shared.directory.count().await?;
            Err(Refused::unknown_key())
        }
        Err(Error::Revoked { .. }) => Err(Refused::unknown_key()),
        Err(error) => Err(Unknowable::Storage(error).into()),
    }
}

fn foreign_key(shared: &Shared, client: &Client) -> Refused {
    if shared.rarely.may("key", client.id) {
        tracing::warn!(
            client = client.id,
            "it shows another Noise key than the pinned one; if it was set up anew, `hivemind-host reset-noise-pin {}` lets it pair again",
            client.id
        );
    }
    Refused::policy(Refusal::ForeignKey, "client Noise static key contradicts the pinned key")
}

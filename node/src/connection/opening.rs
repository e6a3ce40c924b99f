//! The opening, in clear text: who the satellite says it is, whether that may be, and what the node offers.

use std::sync::Arc;

use hivemind_protocol::envelope::wrap;
use hivemind_protocol::{Credentials, Hello, MessageType, Offer, Responder};
use hivemind_store::Client;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Refused, Who};
use crate::event::Refusal;
use crate::hub::peer_name;
use crate::psk::Pending;
use crate::server::Shared;
use crate::settings::ClientCertificates;
use crate::socket::Socket;
use crate::tls::{MEMBER, same_fingerprint};

/// The metadata member with a client's pinned Noise key.
pub(super) const PIN: &str = "noise_pubkey";

/// A satellite that has named a known access key and was told what there is.
pub(super) struct Opened {
    pub(super) client: Arc<Client>,
    pub(super) user_agent: String,
    pub(super) session_id: String,
    pub(super) responder: Responder,
    pub(super) psk: Pending,
}

/// Finds the satellite's record, checks what can be checked without its help, and says HELLO.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Arc<Shared>,
    socket: &mut Socket<S>,
    who: &mut Who,
    query: &str,
    certificate: Option<&str>,
) -> Result<Opened, Refused> {
    let credentials = Credentials::from_query(query).map_err(|e| Refused::policy(Refusal::NoAuthorization, e.reason()))?;
    who.access_key = credentials.access_key;
    let client = shared.directory.admit(&who.access_key).await?.ok_or_else(Refused::unknown_key)?;
    who.client = Some(Arc::clone(&client));
    let password = strong_password(shared, &client).await?;
    check_certificate(shared, &client, certificate)?;

    // Begun now, it is done when the satellite has done the same.
    let psk = shared.stretching.begin(&client, password);
    let session_id = uuid::Uuid::new_v4().to_string();
    let peer = peer_name(&credentials.user_agent, &client, &session_id);
    let identity = &shared.identity;
    // The key is for INTERCOM to this node, which has none that it could be opened with.
    let hello = Hello { node_id: &identity.node_id, pubkey: None, peer: &peer }.payload();
    let pinned = pinned_key(&client);
    let offer = Offer { known_key: pinned.is_some() }.payload();
    socket.put_text(&wrap(MessageType::Hello, &hello));
    socket.put_text(&wrap(MessageType::Handshake, &offer));
    let responder = Responder::new(&identity.key, &hello, &offer, pinned);
    Ok(Opened { client, user_agent: credentials.user_agent, session_id, responder, psk })
}

/// The public key that is pinned for a client, if it is one.
pub(crate) fn pinned_key(client: &Client) -> Option<[u8; 32]> {
    let text = client.metadata.text(PIN)?;
    let mut key = [0; 32];
    (text.len() == 64).then_some(())?;
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

async fn strong_password<'c>(shared: &Shared, client: &'c Client) -> Result<&'c str, Refused> {
    let Some(password) = client.password.as_deref().filter(|password| !password.is_empty()) else {
        return Err(Refused::policy(Refusal::Password, "this node requires protocol v3 (the Noise handshake)"));
    };
    if let Some(required) = shared.settings.min_password_bits.filter(|bits| *bits > 0.0) {
        let bits = shared.stretching.bits(password).await;
        if bits < required {
            if shared.rarely.may("password", client.id) {
                tracing::warn!(
                    client = client.id,
                    "not admitted: its password is easier to guess than min_password_bits ({required:.0}) allows; give it another one"
                );
            }
            return Err(Refused::policy(Refusal::Password, "this node requires a stronger password"));
        }
    }
    Ok(password)
}

fn check_certificate(shared: &Shared, client: &Client, shown: Option<&str>) -> Result<(), Refused> {
    let policy = shared.encryption.as_ref().map_or(ClientCertificates::Off, |e| e.client_certificates);
    let member = client.metadata.member(MEMBER).filter(|stored| !matches!(*stored, "null" | "\"\""));
    let stored = match member {
        None if client.metadata.is_unreadable() => Some(None),
        None => None,
        Some(_) => Some(client.metadata.text(MEMBER)),
    };
    let reason = match (policy, stored, shown) {
        (ClientCertificates::Off, ..) | (ClientCertificates::Optional, None, _) => return Ok(()),
        // Somebody meant to name one.
        (_, Some(None), _) => "what is stored as the certificate of this client is none",
        (_, Some(Some(stored)), Some(shown)) if same_fingerprint(&stored, shown) => return Ok(()),
        (_, Some(_), Some(_)) => "client certificate is not the one of this client",
        (_, None, Some(_)) => "no client certificate is known for this client",
        (_, _, None) => "client certificate required",
    };
    Err(Refused::policy(Refusal::Certificate, reason))
}

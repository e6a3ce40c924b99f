//! One connection, from the first byte to the last. One task owns its socket.
//!
//! It passes through three phases, each a module: the [opening](opening), in which the satellite says who it is and the node what it
//! offers; the [handshake](handshake), in which both prove it; and the [session](session). Until the session is up, the connection has
//! a deadline, may have to give way to others, and is ended when the node stops. Memory of one phase is given back before the next.

mod handshake;
mod opening;
mod session;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hivemind_store::Client;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Error as WebSocketError;

use crate::close::Close;
use crate::directory::Unknowable;
use crate::event::{Event, Party, Refusal};
use crate::http::{self, Upgraded};
use crate::limits::Slot;
use crate::server::Shared;
use crate::socket::Socket;
use crate::tls::{Stream, fingerprint};
pub(crate) use opening::pinned_key;

/// A request has to be there after this time.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// How long a satellite has to answer a close that ends its session.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// How long strangers have for that, unless their place is needed. A satellite that hears less than all of it comes back.
const PARTING_TIME: Duration = Duration::from_secs(1);

/// The longest message before the session is up, in bytes. A step of the handshake has some hundreds.
const LONGEST_STEP: usize = 8192;

/// The other end, as far as it is known.
struct Who {
    address: IpAddr,
    client: Option<Arc<Client>>,
    access_key: String,
}

impl Who {
    fn party(&self) -> Party<'_> {
        Party {
            address: self.address,
            client: self.client.as_ref().map(|client| client.id),
            name: self.client.as_ref().map_or("", |client| client.label()),
            access_key: &self.access_key,
        }
    }
}

/// Why a connection ends before its session is up, and what its satellite is told.
#[derive(Debug)]
struct Refused {
    refusal: Refusal,
    close: Close,
}

impl Refused {
    fn new(refusal: Refusal, close: Close) -> Self {
        Self { refusal, close }
    }

    fn policy(refusal: Refusal, reason: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::new(refusal, Close::new(Close::POLICY, reason))
    }

    fn unknown_key() -> Self {
        Self::policy(Refusal::UnknownKey, "invalid api key")
    }

    fn storage() -> Self {
        Self::new(Refusal::Storage, Close::new(Close::INTERNAL, "client database unavailable"))
    }

    fn stopping() -> Self {
        Self::new(Refusal::Stopping, Close::stopping())
    }
}

impl From<Unknowable> for Refused {
    fn from(error: Unknowable) -> Self {
        // What the storage lost is told where it is found, and so is that it fails: strangers cause as many of these as they like.
        if let Unknowable::Storage(error) = error {
            tracing::debug!(%error, "a satellite could not be looked up; it is told to try again");
        }
        Self::storage()
    }
}

impl From<WebSocketError> for Refused {
    fn from(error: WebSocketError) -> Self {
        match broken(&error) {
            Some(close) => Self::new(Refusal::Malformed, close),
            None => Self::new(Refusal::Gone, Close::new(Close::NORMAL, "")),
        }
    }
}

/// What to say to an end that broke the rules of WebSockets; `None` if it is gone.
fn broken(error: &WebSocketError) -> Option<Close> {
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        WebSocketError::Capacity(_) => Some(Close::new(Close::TOO_BIG, "message too big")),
        WebSocketError::Utf8(_) => Some(Close::new(Close::INVALID_TEXT, "text that is not UTF-8")),
        WebSocketError::Protocol(ResetWithoutClosingHandshake) => None,
        WebSocketError::Protocol(_) => Some(Close::new(Close::PROTOCOL, "not the WebSocket protocol")),
        _ => None,
    }
}

/// Tells that a connection ended, however it did.
struct Taken<'s> {
    shared: &'s Shared,
    address: IpAddr,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.shared.observer.see(&Event::Disconnected { address: self.address });
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(shared: Arc<Shared>, tcp: TcpStream, slot: Slot) {
    let start = Instant::now();
    let address = slot.address();
    shared.observer.see(&Event::Connected { address });
    let _taken = Taken { shared: &shared, address };
    let mut who = Who { address, client: None, access_key: String::new() };
    let established = Box::pin(establish(&shared, tcp, &slot, &mut who, start)).await;
    if let Some(established) = established {
        slot.session_up();
        Box::pin(session::run(&shared, established, who)).await;
    }
}

/// A socket whose session is up.
struct Established {
    socket: Socket<Stream>,
    proved: handshake::Proved,
}

async fn establish(shared: &Arc<Shared>, tcp: TcpStream, slot: &Slot, who: &mut Who, start: Instant) -> Option<Established> {
    let mut ended = std::pin::pin!(async {
        tokio::select! {
            () = shared.stop.cancelled() => Refused::stopping(),
            () = slot.evicted() => Refused::new(Refusal::TooMany, Close::new(Close::TRY_AGAIN, "too many connections")),
            () = tokio::time::sleep_until(start + shared.settings.limits.handshake_time) => {
                Refused::new(Refusal::Late, Close::new(Close::TRY_AGAIN, "the handshake was not finished in time"))
            }
        }
    });
    let greeted = tokio::select! {
        refused = &mut ended => Err(Some(refused.refusal)),
        greeted = greet(shared, tcp, who.address) => greeted,
    };
    let (upgraded, certificate) = match greeted {
        Ok(Some(greeted)) => greeted,
        Ok(None) => return None,
        Err(refusal) => {
            if let Some(refusal) = refusal {
                shared.observer.see(&Event::Refused { party: who.party(), refusal });
            }
            return None;
        }
    };
    let mut socket = Socket::new(upgraded.stream, upgraded.read, LONGEST_STEP);
    let proved = tokio::select! {
        refused = &mut ended => Err(refused),
        proved = prove(shared, &mut socket, slot, who, &upgraded.query, certificate) => proved,
    };
    match proved {
        Ok(proved) => {
            who.client = Some(Arc::clone(&proved.client));
            let pattern = proved.pattern.word();
            shared.observer.see(&Event::Admitted { party: who.party(), pattern, took: start.elapsed() });
            Some(Established { socket, proved })
        }
        Err(Refused { refusal, close }) => {
            shared.observer.see(&Event::Refused { party: who.party(), refusal });
            slot.leaving();
            let patience = if refusal == Refusal::TooMany { Duration::ZERO } else { PARTING_TIME };
            tokio::select! {
                biased;
                () = socket.close(&close, patience) => {}
                () = slot.evicted() => {}
            }
            None
        }
    }
}

/// TLS and HTTP. `None` if it was an HTTP request that is answered. What goes away before it has asked for anything is not worth telling.
async fn greet(
    shared: &Shared,
    tcp: TcpStream,
    address: IpAddr,
) -> Result<Option<(Upgraded<Stream>, Option<String>)>, Option<Refusal>> {
    let mut certificate = None;
    let stream = match &shared.encryption {
        None => Stream::Plain(tcp),
        Some(encryption) => {
            let accepted = tokio::time::timeout(HEAD_TIME, encryption.acceptor.accept(tcp)).await;
            let stream = accepted.map_err(|_| Some(Refusal::Late))?.map_err(|error| {
                tracing::debug!(%address, %error, "no TLS");
                (error.kind() == std::io::ErrorKind::InvalidData).then_some(Refusal::Malformed)
            })?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            certificate = shown.map(|der| fingerprint(der));
            Stream::Encrypted(Box::new(stream))
        }
    };
    match http::upgrade(stream, address, HEAD_TIME).await {
        Ok(upgraded) => Ok(upgraded.map(|upgraded| (upgraded, certificate))),
        Err(error) if error.is_timeout() => Err(Some(Refusal::Late)),
        Err(error) if error.is_parse() => Err(Some(Refusal::Malformed)),
        Err(_) => Err(None),
    }
}

async fn prove(
    shared: &Arc<Shared>,
    socket: &mut Socket<Stream>,
    slot: &Slot,
    who: &mut Who,
    query: &str,
    certificate: Option<String>,
) -> Result<handshake::Proved, Refused> {
    let opened = opening::open(shared, socket, who, query, certificate.as_deref()).await?;
    slot.named();
    handshake::run(shared, socket, opened).await
}

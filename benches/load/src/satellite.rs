//! One satellite: from the connection to the session, and what goes over it.

use std::net::SocketAddr;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hivemind_protocol::envelope::wrap;
use hivemind_protocol::{
    Body, Credentials, Envelope, Initiator, Message as Opened, MessageType, Opener, Pattern, Psk, RawJson, Sealer, StaticKey,
    Step, Suite,
};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::Failure;

type Socket = WebSocketStream<TcpStream>;

/// Who a satellite is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The access key of its record.
    pub access_key: String,
    /// Its Noise key.
    pub key: StaticKey,
    /// What was derived from its password.
    pub psk: Psk,
    /// The node's Noise key, if they have met.
    pub node: Option<[u8; 32]>,
}

/// A satellite whose session is up.
pub struct Satellite {
    /// Whether the node's key was known.
    pub pattern: Pattern,
    speaker: Speaker,
    listener: Listener,
}

/// What a satellite says with.
pub struct Speaker {
    sink: SplitSink<Socket, Message>,
    sealer: Sealer,
}

/// What it hears with.
pub struct Listener {
    stream: SplitStream<Socket>,
    opener: Opener,
}

impl Satellite {
    /// Connects, up to the HELLO that follows the handshake.
    ///
    /// # Errors
    /// If the node does not let it in.
    pub async fn connect(node: SocketAddr, identity: &Identity) -> Result<Self, Failure> {
        let stream = TcpStream::connect(node).await?;
        stream.set_nodelay(true)?;
        let credentials = Credentials { user_agent: "swarm".to_owned(), access_key: identity.access_key.clone() };
        let address = format!("ws://{node}/?{}", credentials.to_query());
        let (mut socket, _) = tokio_tungstenite::client_async(address, stream).await?;
        let (hello, offer) = (text(&mut socket).await?, text(&mut socket).await?);
        let satellite = hivemind_protocol::Satellite {
            key: &identity.key,
            psk: &identity.psk,
            suite: Suite::ChaChaPoly,
            known: identity.node,
        };
        let mut handshake = Initiator::new(satellite, payload(&hello)?, payload(&offer)?)?;
        clear(&mut socket, &handshake.first()?).await?;
        let second = text(&mut socket).await?;
        let Step::Done { reply, session, pattern, .. } = handshake.read(payload(&second)?)? else {
            return Err("a satellite has the last word".into());
        };
        if let Some(third) = reply {
            clear(&mut socket, &third).await?;
        }
        let (sink, stream) = socket.split();
        let (sealer, opener) = session.split();
        let mut satellite = Self { pattern, speaker: Speaker { sink, sealer }, listener: Listener { stream, opener } };
        let hello = format!(r#"{{"pubkey":null,"session":{{"session_id":"{}"}},"site_id":"load"}}"#, identity.access_key);
        satellite.say(&wrap(MessageType::Hello, hello.as_bytes())).await?;
        Ok(satellite)
    }

    /// See [`Speaker::say`].
    ///
    /// # Errors
    /// See there.
    pub async fn say(&mut self, envelope: &[u8]) -> Result<(), Failure> {
        self.speaker.say(envelope).await
    }

    /// See [`Listener::hear`].
    ///
    /// # Errors
    /// See there.
    pub async fn hear(&mut self) -> Result<String, Failure> {
        self.listener.hear().await
    }

    /// Both apart, for two tasks.
    #[must_use]
    pub fn split(self) -> (Speaker, Listener) {
        (self.speaker, self.listener)
    }

    /// Leaves, and waits until the node has taken note of it.
    ///
    /// # Errors
    /// If the connection broke before.
    pub async fn leave(mut self) -> Result<(), Failure> {
        self.speaker.sink.send(Message::Close(None)).await?;
        while let Some(Ok(_)) = self.listener.stream.next().await {}
        Ok(())
    }
}

impl Speaker {
    /// Sends an envelope.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn say(&mut self, envelope: &[u8]) -> Result<(), Failure> {
        let mut frames = Vec::with_capacity(1);
        self.sealer.seal(Body::Json, envelope, &mut |frame| frames.push(frame))?;
        for frame in frames {
            self.sink.feed(Message::Binary(frame.into())).await?;
        }
        Ok(self.sink.flush().await?)
    }
}

impl Listener {
    /// The next envelope.
    ///
    /// # Errors
    /// If the connection ends, or the node says something else.
    pub async fn hear(&mut self) -> Result<String, Failure> {
        loop {
            match self.stream.next().await.ok_or("the node is gone")?? {
                Message::Binary(frame) => match self.opener.open(&frame)? {
                    Some(Opened::Json(text)) => return Ok(text.to_owned()),
                    Some(Opened::Binary(_)) => return Err("a binary message".into()),
                    None => {}
                },
                Message::Ping(_) | Message::Pong(_) => {}
                other => return Err(format!("the node said in a session: {other:?}").into()),
            }
        }
    }
}

async fn text(socket: &mut Socket) -> Result<String, Failure> {
    loop {
        match socket.next().await.ok_or("the node is gone")?? {
            Message::Text(text) => return Ok(text.to_string()),
            Message::Ping(_) | Message::Pong(_) => {}
            other => return Err(format!("the node said before the session: {other:?}").into()),
        }
    }
}

async fn clear(socket: &mut Socket, payload: &[u8]) -> Result<(), Failure> {
    let envelope = String::from_utf8(wrap(MessageType::Handshake, payload))?;
    Ok(socket.send(Message::Text(envelope.into())).await?)
}

fn payload(envelope: &str) -> Result<RawJson<'_>, Failure> {
    Ok(Envelope::parse(envelope)?.payload)
}

//! A satellite, step by step, so that a test can go wrong at any of them.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use hivemind_protocol::envelope::wrap;
use hivemind_protocol::handshake::Satellite as Parts;
use hivemind_protocol::{
    Body, Credentials, Envelope, Initiator, MessageType, Pattern, Psk, RawJson, Session, StaticKey, Step, Suite,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// What a node says.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    Text(String),
    Binary(Vec<u8>),
    Closed(u16, String),
    /// The connection is gone without a word.
    Gone,
}

/// The query of an address with these credentials.
pub fn query(access_key: &str) -> String {
    Credentials { user_agent: "Test".to_owned(), access_key: access_key.to_owned() }.to_query()
}

/// A satellite and its connection.
pub struct Satellite {
    pub node: SocketAddr,
    pub access_key: String,
    pub password: String,
    pub key: StaticKey,
    pub suite: Suite,
    /// The node's key, as far as it is known from an earlier session.
    pub known: Option<[u8; 32]>,
    pub socket: Option<WebSocketStream<TcpStream>>,
    pub session: Option<Session>,
}

impl Satellite {
    pub fn new(node: SocketAddr, access_key: &str, password: &str) -> Self {
        Self {
            node,
            access_key: access_key.to_owned(),
            password: password.to_owned(),
            key: StaticKey::generate().expect("randomness"),
            suite: Suite::ChaChaPoly,
            known: None,
            socket: None,
            session: None,
        }
    }

    /// Opens the WebSocket with its own credentials.
    pub async fn open(&mut self) {
        let query = query(&self.access_key);
        self.open_with(&query).await;
    }

    /// Opens the WebSocket with this query.
    pub async fn open_with(&mut self, query: &str) {
        let tcp = TcpStream::connect(self.node).await.expect("a connection");
        let (socket, _) = client_async(format!("ws://{}/?{query}", self.node), tcp).await.expect("an upgrade");
        self.socket = Some(socket);
    }

    fn socket(&mut self) -> &mut WebSocketStream<TcpStream> {
        self.socket.as_mut().expect("open")
    }

    /// What the node says next; pings are answered in passing.
    pub async fn hear(&mut self) -> Told {
        loop {
            let next = tokio::time::timeout(super::HANGS, self.socket().next()).await.expect("an answer");
            match next {
                Some(Ok(Message::Text(text))) => return Told::Text(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => return Told::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(Some(frame)))) => return Told::Closed(frame.code.into(), frame.reason.to_string()),
                Some(Ok(_)) => {}
                None | Some(Err(_)) => return Told::Gone,
            }
        }
    }

    /// The payload of the next message in clear text.
    pub async fn payload(&mut self, kind: MessageType) -> Result<String, Told> {
        match self.hear().await {
            Told::Text(text) => {
                let envelope = Envelope::parse(&text).expect("an envelope");
                assert_eq!(envelope.kind, kind, "{text}");
                Ok(envelope.payload.get().to_owned())
            }
            other => Err(other),
        }
    }

    pub async fn say(&mut self, message: Message) {
        // A node that has closed does not read on; what it said is heard next.
        let _ = self.socket().send(message).await;
    }

    pub async fn say_step(&mut self, payload: &[u8]) {
        let text = String::from_utf8(wrap(MessageType::Handshake, payload)).expect("text");
        self.say(Message::text(text)).await;
    }

    /// Reads HELLO and offer.
    pub async fn greeted(&mut self) -> Result<Initiator, Told> {
        let hello = self.payload(MessageType::Hello).await?;
        let offer = self.payload(MessageType::Handshake).await?;
        let hello = RawJson::parse(&hello).expect("JSON");
        let node_id = hello.object().expect("an object").text("node_id").expect("an id").into_owned();
        let psk = Psk::derive(&self.password, &node_id);
        let parts = Parts { key: &self.key, psk: &psk, suite: self.suite, known: self.known };
        Ok(Initiator::new(parts, hello, RawJson::parse(&offer).expect("JSON")).expect("an initiator"))
    }

    /// The whole way from the connection to the session.
    pub async fn connect(&mut self) -> Result<Pattern, Told> {
        self.open().await;
        let initiator = self.greeted().await?;
        self.shake(initiator).await
    }

    /// The handshake, once the node has said HELLO.
    pub async fn shake(&mut self, mut initiator: Initiator) -> Result<Pattern, Told> {
        let first = initiator.first().expect("a first message");
        self.say_step(&first).await;
        let answer = self.payload(MessageType::Handshake).await?;
        let step = initiator.read(RawJson::parse(&answer).expect("JSON"));
        let Ok(Step::Done { reply, session, remote_static, pattern }) = step else {
            // As the real one does with a wrong password.
            let _ = self.socket().close(None).await;
            return Err(self.hear().await);
        };
        if let Some(last) = reply {
            self.say_step(&last).await;
        }
        self.known = Some(remote_static);
        self.session = Some(session);
        Ok(pattern)
    }

    /// Sends a message of the session.
    pub async fn send(&mut self, kind: MessageType, payload: &str) {
        let body = wrap(kind, payload.as_bytes());
        let mut frames = Vec::new();
        let session = self.session.as_mut().expect("a session");
        session.seal(Body::Json, &body, &mut |frame| frames.push(frame)).expect("sealed");
        for frame in frames {
            self.say(Message::binary(frame)).await;
        }
    }

    /// Sends a HELLO with this session's id.
    pub async fn hello(&mut self, session_id: &str) {
        self.send(MessageType::Hello, &format!(r#"{{"session":{{"session_id":"{session_id}"}},"site_id":"here"}}"#)).await;
    }

    /// Sends an utterance.
    pub async fn utter(&mut self, words: &str) {
        let payload = format!(r#"{{"type":"{}","data":{{"utterances":["{words}"]}},"context":{{}}}}"#, super::ALLOWED);
        self.send(MessageType::Bus, &payload).await;
    }

    /// The next message of the session: type and payload.
    pub async fn receive(&mut self) -> Result<(MessageType, String), Told> {
        loop {
            match self.hear().await {
                Told::Binary(frame) => {
                    let session = self.session.as_mut().expect("a session");
                    match session.open(&frame).expect("the next frame") {
                        Some(hivemind_protocol::Message::Json(text)) => {
                            let envelope = Envelope::parse(text).expect("an envelope");
                            return Ok((envelope.kind, envelope.payload.get().to_owned()));
                        }
                        Some(hivemind_protocol::Message::Binary(_)) => panic!("no binary message is expected"),
                        None => {}
                    }
                }
                other => return Err(other),
            }
        }
    }
}

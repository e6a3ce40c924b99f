//! Satellites by hand: each frame as a test wants it, whole sessions where only what follows them matters.

use std::collections::HashMap;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hivemind_protocol::{Body, Credentials, Message as Opened, Psk, Session};
use serde_json::{Value, json};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::handshake::{Asked, key_of};
use super::site::Client;
use crate::waiting::HANGS;

/// What a node sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Clear text.
    Text(Value),
    /// Most often sealed.
    Binary(Vec<u8>),
    /// A close frame with this code and reason.
    Close(u16, String),
    /// The end of the connection without one.
    Gone,
}

/// A WebSocket connection to a node.
pub struct Raw {
    socket: WebSocket<TcpStream>,
}

impl Raw {
    /// Connects with this query: `?authorization=…`.
    ///
    /// # Panics
    /// If it is not upgraded.
    #[must_use]
    pub fn open(port: u16, query: &str) -> Self {
        Self::try_open(port, query).unwrap_or_else(|e| panic!("{query}: {e}"))
    }

    /// The same where that may fail.
    ///
    /// # Errors
    /// Why it was not upgraded.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn try_open(port: u16, query: &str) -> Result<Self, String> {
        Self::between(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, port, query)
    }

    /// The same at another address of this machine.
    ///
    /// # Errors
    /// Why it was not upgraded.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn try_open_at(host: Ipv4Addr, port: u16, query: &str) -> Result<Self, String> {
        Self::between(host, host, port, query)
    }

    fn between(from: Ipv4Addr, to: Ipv4Addr, port: u16, query: &str) -> Result<Self, String> {
        let stream = connected(from, to, port).map_err(|e| e.to_string())?;
        stream.set_write_timeout(Some(HANGS)).and_then(|()| stream.set_read_timeout(Some(HANGS))).expect("set");
        stream.set_nodelay(true).expect("set");
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let url = format!("ws://{to}:{port}/{query}");
        match tungstenite::client::client_with_config(url, stream, Some(config)) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Connects as this device with this access key.
    ///
    /// # Panics
    /// If it is not upgraded.
    #[must_use]
    pub fn of(port: u16, device: &str, key: &str) -> Self {
        Self::open(port, &query(device, key))
    }

    /// The same from another address of this machine: 127.0.0.2.
    ///
    /// # Panics
    /// If it is not upgraded.
    #[must_use]
    pub fn of_at(address: Ipv4Addr, port: u16, device: &str, key: &str) -> Self {
        Self::between(address, Ipv4Addr::LOCALHOST, port, &query(device, key))
            .unwrap_or_else(|e| panic!("{device} at {address}: {e}"))
    }

    /// The next frame, answering pings.
    ///
    /// # Panics
    /// If there is none after [`HANGS`].
    pub fn read(&mut self) -> Frame {
        self.read_within(HANGS).unwrap_or_else(|| panic!("the node has sent nothing for {HANGS:?}"))
    }

    /// The same, if one comes within this time.
    ///
    /// # Panics
    /// If the node sends clear text that is no JSON.
    pub fn read_within(&mut self, time: Duration) -> Option<Frame> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream().set_read_timeout(Some(left)).expect("set");
            return Some(match self.socket.read() {
                Ok(Message::Text(text)) => Frame::Text(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))),
                Ok(Message::Binary(bytes)) => Frame::Binary(bytes.to_vec()),
                Ok(Message::Close(Some(close))) => Frame::Close(close.code.into(), close.reason.as_str().to_owned()),
                Ok(Message::Close(None)) => Frame::Gone,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) if Instant::now() < end => continue,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return None,
                // What has come of a frame is kept for the next time.
                Err(Error::Io(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(_) => Frame::Gone,
            });
        }
    }

    /// Reads on up to the end, which it gives.
    pub fn end(&mut self) -> Frame {
        loop {
            let frame = self.read();
            if matches!(frame, Frame::Close(..) | Frame::Gone) {
                return frame;
            }
        }
    }

    /// HELLO and the offer, as text: the handshake hashes their payloads.
    ///
    /// # Errors
    /// The end of the connection, if that comes first.
    ///
    /// # Panics
    /// If the node says something else.
    pub fn opening(&mut self) -> Result<(String, String), Frame> {
        Ok((self.clear("hello")?.to_string(), self.clear("shake")?.to_string()))
    }

    /// The payload of the next envelope, in clear text.
    pub(super) fn clear(&mut self, kind: &str) -> Result<Value, Frame> {
        match self.read() {
            Frame::Text(mut envelope) if envelope["msg_type"] == kind => Ok(envelope["payload"].take()),
            end @ (Frame::Close(..) | Frame::Gone) => Err(end),
            other => panic!("expected {kind}, not {other:?}"),
        }
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn text(&mut self, text: &str) -> tungstenite::Result<()> {
        self.socket.send(Message::text(text))
    }

    /// Sends an envelope in clear text.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn say(&mut self, kind: &str, payload: &Value) -> tungstenite::Result<()> {
        self.text(&envelope(kind, payload).to_string())
    }

    /// Sends a binary frame.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn binary(&mut self, bytes: impl Into<Bytes>) -> tungstenite::Result<()> {
        self.socket.send(Message::Binary(bytes.into()))
    }

    /// Sends bytes beneath WebSocket.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// The connection itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Cuts it without a word.
    pub fn cut(self) {
        let _ = self.stream().shutdown(Shutdown::Both);
    }
}

/// A connection to this machine from one of its addresses.
fn connected(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    if from == to {
        return TcpStream::connect((to, port));
    }
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &SocketAddrV4::new(to, port))?;
    Ok(socket.into())
}

/// `?authorization=…`, percent-encoded where it has to be.
#[must_use]
pub fn query(device: &str, key: &str) -> String {
    let credentials = Credentials { user_agent: device.to_owned(), access_key: key.to_owned() };
    format!("?{}", credentials.to_query())
}

/// An envelope.
#[must_use]
pub fn envelope(kind: &str, payload: &Value) -> Value {
    json!({
        "msg_type": kind, "payload": payload, "metadata": {}, "route": [], "node": null, "target_site_id": null,
        "target_pubkey": null, "source_peer": null,
    })
}

/// What is derived from a password, which takes its time, once.
#[must_use]
pub fn psk(password: &str, node_id: &str) -> Arc<Psk> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Psk>>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let derived = known.entry(format!("{password}\0{node_id}")).or_insert_with(|| Arc::new(Psk::derive(password, node_id)));
    Arc::clone(derived)
}

/// A device whose session is up.
pub struct Device {
    /// The connection below it.
    pub raw: Raw,
    session: Session,
}

impl Device {
    /// Connects a client, up to its HELLO. Its Noise key is the same each time.
    ///
    /// # Panics
    /// If it is not let in.
    #[must_use]
    pub fn up(port: u16, device: &str, client: &Client) -> Self {
        Self::try_up(port, device, client).unwrap_or_else(|end| panic!("{device} is not let in: {end:?}"))
    }

    /// The same where it may not be let in.
    ///
    /// # Errors
    /// The end of the connection.
    ///
    /// # Panics
    /// If the node speaks another protocol.
    pub fn try_up(port: u16, device: &str, client: &Client) -> Result<Self, Frame> {
        Self::try_up_on(Raw::of(port, device, &client.key), device, client)
    }

    /// The same on a connection that is there.
    ///
    /// # Errors
    /// The end of the connection.
    ///
    /// # Panics
    /// If the node speaks another protocol.
    pub fn try_up_on(raw: Raw, device: &str, client: &Client) -> Result<Self, Frame> {
        Self::try_up_after(raw, device, client, || {})
    }

    /// The same with something done once the node has found the client's record and before the handshake goes on.
    ///
    /// # Errors
    /// The end of the connection.
    ///
    /// # Panics
    /// If the node speaks another protocol.
    pub fn try_up_after(raw: Raw, device: &str, client: &Client, meanwhile: impl FnOnce()) -> Result<Self, Frame> {
        let psk_of = |node_id: &str| {
            meanwhile();
            psk(&client.password, node_id)
        };
        Asked::of(raw, &key_of(client), psk_of)?.answered()?.finish(device)
    }

    /// After the handshake: says HELLO.
    pub(super) fn begin(raw: Raw, session: Session, device: &str) -> Result<Self, Frame> {
        let mut up = Self { raw, session };
        let session = json!({"session_id": format!("session-of-{device}")});
        let hello = json!({"pubkey": null, "session": session, "site_id": "room"});
        up.try_say("hello", &hello).map_err(|_| up.raw.end())?;
        Ok(up)
    }

    /// The frames of an envelope, sealed and not sent. Frames are counted: each must be sent, in this order, or there is no session
    /// any more.
    ///
    /// # Panics
    /// If it is too long.
    pub fn sealed(&mut self, body: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.session.seal(Body::Json, body, &mut |frame| frames.push(frame)).expect("sealed");
        frames
    }

    /// Sends an envelope.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn say(&mut self, kind: &str, payload: &Value) {
        self.try_say(kind, payload).expect("the node is there");
    }

    /// The same where it may be gone.
    ///
    /// # Errors
    /// If it is.
    pub fn try_say(&mut self, kind: &str, payload: &Value) -> tungstenite::Result<()> {
        let body = envelope(kind, payload).to_string();
        self.sealed(body.as_bytes()).into_iter().try_for_each(|frame| self.raw.binary(frame))
    }

    /// Sends a bus message.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send(&mut self, kind: &str, data: &Value) {
        self.say("bus", &bus(kind, data));
    }

    /// The next envelope.
    ///
    /// # Errors
    /// The end of the connection, if that comes first.
    ///
    /// # Panics
    /// If there is neither after [`HANGS`], or the node sends something else.
    pub fn hear(&mut self) -> Result<Value, Frame> {
        self.hear_within(HANGS).unwrap_or_else(|| panic!("the node has sent nothing for {HANGS:?}"))
    }

    fn hear_within(&mut self, time: Duration) -> Option<Result<Value, Frame>> {
        loop {
            match self.raw.read_within(time)? {
                Frame::Binary(frame) => match self.session.open(&frame).expect("the node's next frame") {
                    Some(Opened::Json(text)) => return Some(Ok(serde_json::from_str(text).expect("JSON"))),
                    Some(Opened::Binary(_)) => panic!("a binary frame"),
                    None => {}
                },
                frame @ (Frame::Close(..) | Frame::Gone) => return Some(Err(frame)),
                other @ Frame::Text(_) => panic!("clear text in a session: {other:?}"),
            }
        }
    }

    /// The next envelope, if one comes at once.
    ///
    /// # Panics
    /// If the connection ends, or the node sends something else.
    pub fn hear_soon(&mut self) -> Option<Value> {
        let heard = self.hear_within(Duration::from_millis(20))?;
        Some(heard.unwrap_or_else(|end| panic!("the connection has ended: {end:?}")))
    }

    /// Sends a message of a type; the code of its denial, if one comes at once.
    ///
    /// # Panics
    /// If the connection ends.
    pub fn denied_soon(&mut self, kind: &str) -> Option<String> {
        self.send(kind, &json!({}));
        Some(self.hear_soon()?["payload"]["data"]["code"].as_str()?.to_owned())
    }

    /// Waits for a bus message of a type; what else comes is let go.
    ///
    /// # Panics
    /// If the connection ends before.
    pub fn wait(&mut self, kind: &str) -> Value {
        loop {
            let envelope = self.hear().unwrap_or_else(|end| panic!("{kind} is not to come any more: {end:?}"));
            if envelope["payload"]["type"] == kind {
                return envelope;
            }
        }
    }
}

/// The payload of a bus message.
#[must_use]
pub fn bus(kind: &str, data: &Value) -> Value {
    json!({"type": kind, "data": data, "context": {}})
}

/// What the node calls itself in its HELLO.
pub(super) fn node_id(hello: &str) -> String {
    serde_json::from_str::<Value>(hello).expect("JSON")["node_id"].as_str().expect("a node's id").to_owned()
}

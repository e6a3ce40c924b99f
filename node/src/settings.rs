//! All that a node is told. The host reads it from `server.json` and the command line; nothing here reads files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where satellites connect: `host:port`, a name or an address.
    pub address: String,
    /// TLS, if connections are encrypted by it.
    pub tls: Option<Tls>,
    /// The folder of the node's identity: `_identity.json` and its Noise key, as the Python node keeps them.
    pub identity: PathBuf,
    /// Who answers the satellites.
    pub agent: Agent,
    /// What every message is checked against, in this order.
    pub policy: Vec<Policy>,
    /// `last_seen` of a client is written at most this often.
    pub last_seen_interval: Duration,
    /// How many bits of resistance a client's password must have to be admitted; `None`: any.
    pub min_password_bits: Option<f64>,
    /// Whether a store without clients is taken for what it is, and not for one that lost them.
    pub allow_empty: bool,
    /// Whether what is missing of the identity is made although clients of the store are paired with a node.
    pub new_identity: bool,
    /// What is granted before anybody has proved who they are, and after.
    pub limits: Limits,
    /// Where `/_healthz` and `/metrics` are served; loopback addresses only.
    pub metrics: Option<SocketAddr>,
}

/// Encryption of connections.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The folder of certificate and key.
    pub folder: PathBuf,
    /// Their files' name: `NAME.crt` and `NAME.key`.
    pub name: String,
    /// Whether satellites show a certificate.
    pub client_certificates: ClientCertificates,
}

/// Whether satellites show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// They may; a client whose record has a fingerprint must.
    Optional,
    /// Each must show the one of its record.
    Require,
}

/// Who answers the satellites.
#[derive(Debug, Clone)]
pub enum Agent {
    /// An OVOS messagebus at this `ws://` address.
    Ovos {
        /// `ws://HOST:PORT/core`.
        url: String,
    },
    /// The node itself: utterances come back as spoken.
    Echo,
}

/// What a message is checked against, besides the whitelist and the session, which always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `hivemind-ovos-agent-policy`: blacklisted skills and intents go into the session.
    Ovos,
}

/// Bounds on what strangers can make the node hold and do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address (IPv6: one /64 network), loopback excepted.
    pub connections_per_address: usize,
    /// Connections at once whose session is not up.
    pub handshakes: usize,
    /// From the connection to the session.
    pub handshake_time: Duration,
    /// Bytes waiting for one satellite that does not read.
    pub outbox_bytes: usize,
    /// Bytes of messages that come in several frames, until they are whole and dealt with, of all connections. One client gets half of
    /// it at most, and so does one message: twice 32 MiB lets the longest in.
    pub incoming_bytes: usize,
    /// How long a message of several frames may take, and a second more for each 8 KiB that have come.
    pub message_time: Duration,
    /// A satellite is asked whether it is still there this often; zero: never.
    pub ping_interval: Duration,
    /// It has to have answered after this time, and read some of what it was sent.
    pub ping_timeout: Duration,
    /// Passwords stretched into keys at once, each in 64 MiB.
    pub derivations: usize,
    /// A PING of the network is answered to everybody at most this often, in between to whoever asks.
    pub ping_flood_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 1_000,
            handshakes: 2_000,
            handshake_time: Duration::from_secs(60),
            outbox_bytes: 8 << 20,
            incoming_bytes: 256 << 20,
            message_time: Duration::from_secs(60),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            derivations: 2,
            ping_flood_interval: Duration::from_secs(30),
        }
    }
}

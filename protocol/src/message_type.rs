//! The types of HiveMind messages.

/// What a HiveMind message is, and with that what its payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageType {
    /// `shake`: a step of the Noise handshake.
    Handshake,
    /// `bus`: a message for the agent's bus, or from it.
    Bus,
    /// `shared_bus`: what a satellite shows of its own bus.
    SharedBus,
    /// `intercom`: sealed for another satellite.
    Intercom,
    /// `broadcast`: an envelope for all below.
    Broadcast,
    /// `propagate`: an envelope for all below and above.
    Propagate,
    /// `escalate`: an envelope for all above.
    Escalate,
    /// `hello`: who one is.
    Hello,
    /// `query`: an envelope for the first above that can answer.
    Query,
    /// `cascade`: an envelope for all, who may answer.
    Cascade,
    /// `ping`: maps the hive.
    Ping,
    /// `rendezvous`: for nodes that keep messages.
    Rendezvous,
    /// `bin`: bytes with an instruction.
    Binary,
}

impl MessageType {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Handshake,
        Self::Bus,
        Self::SharedBus,
        Self::Intercom,
        Self::Broadcast,
        Self::Propagate,
        Self::Escalate,
        Self::Hello,
        Self::Query,
        Self::Cascade,
        Self::Ping,
        Self::Rendezvous,
        Self::Binary,
    ];

    /// Its `msg_type` on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Handshake => "shake",
            Self::Bus => "bus",
            Self::SharedBus => "shared_bus",
            Self::Intercom => "intercom",
            Self::Broadcast => "broadcast",
            Self::Propagate => "propagate",
            Self::Escalate => "escalate",
            Self::Hello => "hello",
            Self::Query => "query",
            Self::Cascade => "cascade",
            Self::Ping => "ping",
            Self::Rendezvous => "rendezvous",
            Self::Binary => "bin",
        }
    }

    /// The type of this `msg_type`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether the payload is itself an envelope: broadcast, propagate, escalate, query, cascade.
    #[must_use]
    pub const fn wraps_envelope(self) -> bool {
        matches!(self, Self::Broadcast | Self::Propagate | Self::Escalate | Self::Query | Self::Cascade)
    }
}

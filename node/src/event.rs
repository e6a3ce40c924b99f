//! What happens in a node, told once to whoever observes: the audit log and the metrics. Connections and the hub know neither.

use std::net::IpAddr;
use std::time::Duration;

use hivemind_model::Code;

/// Whoever wants to know. Called on the network's threads, so it does not block.
pub trait Observer: Send + Sync {
    /// Something has happened.
    fn see(&self, event: &Event<'_>);
}

impl Observer for () {
    fn see(&self, _: &Event<'_>) {}
}

/// The satellite at the other end, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Party<'e> {
    /// Its address.
    pub address: IpAddr,
    /// The client's number, once its record is found.
    pub client: Option<i64>,
    /// The name in its record.
    pub name: &'e str,
    /// The access key it gave: an identifier, but not told in full by any observer.
    pub access_key: &'e str,
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A connection was taken.
    Connected {
        /// From where.
        address: IpAddr,
    },
    /// A connection ended, whatever it was.
    Disconnected {
        /// From where.
        address: IpAddr,
    },
    /// A connection was ended before its session was up.
    Refused {
        /// Who.
        party: Party<'e>,
        /// Why.
        refusal: Refusal,
    },
    /// A session is up: the access key is known, the password and the keys are right.
    Admitted {
        /// Who.
        party: Party<'e>,
        /// `XXpsk2` or `KKpsk0`.
        pattern: &'static str,
        /// From the connection to here.
        took: Duration,
    },
    /// A session ended.
    Left {
        /// Who.
        party: Party<'e>,
        /// With which close code, if it was the node that closed.
        code: Option<u16>,
        /// Why; empty if the satellite left.
        reason: &'e str,
        /// How long it was up.
        lasted: Duration,
    },
    /// A message of a satellite was judged.
    Judged {
        /// Who.
        party: Party<'e>,
        /// The envelope's type: `bus`, `propagate` …
        envelope: &'static str,
        /// The bus message's type; empty for others.
        message_type: &'e str,
        /// What was said; `None`: it passed. Otherwise the code of the denial.
        denied: Option<&'e str>,
        /// From the frame to the agent or the denial.
        took: Duration,
    },
    /// A message of the agent's was handed to satellites.
    Delivered {
        /// To how many.
        receivers: usize,
    },
    /// A message of one satellite was not handed to another, which has no room for it.
    NotRelayed {
        /// To whom.
        party: Party<'e>,
    },
    /// A satellite did not read what it was sent and lost its connection.
    TooSlow {
        /// Who.
        party: Party<'e>,
    },
    /// A call to the storage ended.
    Called {
        /// Which.
        call: &'static str,
        /// How long it took.
        took: Duration,
        /// What went wrong.
        error: Option<Code>,
    },
    /// The agent's bus was reached, or lost.
    Agent {
        /// Whether it is there.
        up: bool,
    },
}

/// The call that tells what changed. Backends answer it from what they have heard, also while their server is away.
pub(crate) const CHANGES: &str = "changes_since";

/// Whether the storage answered, by how a call to it ended; `None` if that does not say.
pub(crate) fn storage_answers(call: &str, error: Option<Code>) -> Option<bool> {
    use Code::{Busy, Deadline, Denied, Io, OutcomeUnknown, Panicked, Poisoned, Unavailable};
    match error {
        None => (call != CHANGES).then_some(true),
        Some(Busy | Deadline | Denied | Io | OutcomeUnknown | Panicked | Poisoned | Unavailable) => Some(false),
        // One record or request is wrong, and that is an answer.
        Some(_) => Some(true),
    }
}

/// Why a connection was ended before its session was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Too many connections, of this address or at all.
    TooMany,
    /// No, or no readable, `authorization`.
    NoAuthorization,
    /// The access key belongs to nobody, or to a revoked client.
    UnknownKey,
    /// The client has no password, or one that is too weak.
    Password,
    /// The client certificate is missing or another one.
    Certificate,
    /// What it said before the session was not understood.
    Malformed,
    /// The handshake failed: another password or another Noise key of the node.
    Handshake,
    /// Its Noise key is not the one that is pinned.
    ForeignKey,
    /// The handshake was not finished in time.
    Late,
    /// It went away.
    Gone,
    /// The storage did not answer.
    Storage,
    /// The node is stopping.
    Stopping,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::TooMany,
        Self::NoAuthorization,
        Self::UnknownKey,
        Self::Password,
        Self::Certificate,
        Self::Malformed,
        Self::Handshake,
        Self::ForeignKey,
        Self::Late,
        Self::Gone,
        Self::Storage,
        Self::Stopping,
    ];

    /// Its word in logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::NoAuthorization => "no_authorization",
            Self::UnknownKey => "unknown_key",
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::Malformed => "malformed",
            Self::Handshake => "handshake",
            Self::ForeignKey => "foreign_key",
            Self::Late => "late",
            Self::Gone => "gone",
            Self::Storage => "storage",
            Self::Stopping => "stopping",
        }
    }
}

//! What a backend promises, so that the host can refuse instead of hope.
//!
//! A promise is declared and then *tested*, and so is its absence: what is not declared must be answered with `unsupported`.

use std::fmt;
use std::time::Duration;

/// One promise a backend can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Capability {
    /// An acknowledged write survives the death of the process.
    Durable = 0,
    /// `apply` of several mutations is all or nothing.
    AtomicBatch = 1,
    /// Unique fields are enforced.
    Unique = 2,
    /// Several processes may work on one store at the same time.
    MultiProcess = 3,
    /// Data can be stored encrypted.
    Encryption = 4,
    /// A consistent backup can be taken while others write.
    OnlineBackup = 5,
    /// `changes_since` tells what changed; the bound is in [`Capabilities::staleness`].
    ChangeTracking = 6,
    /// Calls go over a network.
    Network = 7,
    /// `get`, `get_by`, `get_many` and `changes_since` never block for long, and never wait until a writer's data is on disk: the
    /// host calls them in place, on threads that serve others too.
    InlineReads = 8,
}

impl Capability {
    /// Every capability, in the order of their wire numbers.
    pub const ALL: [Self; 9] = [
        Self::Durable,
        Self::AtomicBatch,
        Self::Unique,
        Self::MultiProcess,
        Self::Encryption,
        Self::OnlineBackup,
        Self::ChangeTracking,
        Self::Network,
        Self::InlineReads,
    ];

    /// The name used in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::AtomicBatch => "atomic-batch",
            Self::Unique => "unique",
            Self::MultiProcess => "multi-process",
            Self::Encryption => "encryption",
            Self::OnlineBackup => "online-backup",
            Self::ChangeTracking => "change-tracking",
            Self::Network => "network",
            Self::InlineReads => "inline-reads",
        }
    }

    /// The capability of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of capabilities, and how stale tracked changes can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    bits: u32,
    staleness: Duration,
}

impl Capabilities {
    /// The set of `list`; tracked changes are exact (staleness zero).
    #[must_use]
    pub const fn of(list: &[Capability]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= 1 << list[i] as u32;
            i += 1;
        }
        Self { bits, staleness: Duration::ZERO }
    }

    /// The same with a bound on how late `changes_since` may learn of another process's write.
    #[must_use]
    pub const fn with_staleness(mut self, bound: Duration) -> Self {
        self.staleness = bound;
        self
    }

    /// The same without one capability.
    #[must_use]
    pub const fn without(mut self, capability: Capability) -> Self {
        self.bits &= !(1 << capability as u32);
        self
    }

    /// Whether the set has this capability.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.bits & (1 << capability as u32) != 0
    }

    /// The longest time a write of another process can stay unseen by `changes_since`.
    #[must_use]
    pub const fn staleness(self) -> Duration {
        self.staleness
    }

    /// The set as bits, bit n being capability n. Bits that this build has no name for are kept.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self { bits, staleness: Duration::ZERO }
    }

    /// The capabilities in the set.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |c| self.has(*c))
    }
}

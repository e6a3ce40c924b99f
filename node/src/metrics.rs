//! What is counted and timed, for Prometheus.
//!
//! Counting happens on the network's threads for every message, so it is a few additions to numbers that are there from the start: no
//! lock, no allocation, no map of labels. Labels are from fixed lists; a word that is not in its list is counted as `other`, so that no
//! satellite can make the output grow.

mod numbers;
mod process;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use hivemind_model::Code;
use hivemind_protocol::MessageType;
use hivemind_store::clients::CacheCounts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::event::{Event, Observer, Refusal};
use numbers::{Calls, Counters, Output, Times};

/// The close codes of denials, as satellites are told them.
const DENIALS: [&str; 6] = [
    "acl_disallowed_type",
    "session_id_default_forbidden",
    "policy_error",
    "policy_chain_unavailable",
    "malformed_payload",
    "backend_unavailable",
];

/// Everything that is measured. Share it in an [`Arc`]; it observes a node.
#[derive(Debug)]
pub struct Metrics {
    open: AtomicI64,
    satellites: AtomicI64,
    connected: AtomicU64,
    handshakes: Counters,
    handshake_times: Times,
    /// By envelope, and in each by verdict.
    messages: Vec<Counters>,
    allowed_times: Times,
    denied_times: Times,
    delivered: AtomicU64,
    too_slow: AtomicU64,
    calls: Calls,
    storage_is_up: AtomicBool,
    agent_is_up: AtomicBool,
    cache: OnceLock<Arc<CacheCounts>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            open: AtomicI64::default(),
            satellites: AtomicI64::default(),
            connected: AtomicU64::default(),
            handshakes: Counters::new(std::iter::once("admitted").chain(Refusal::ALL.map(Refusal::word))),
            handshake_times: Times::default(),
            messages: (0..=MessageType::ALL.len()).map(|_| Counters::new(std::iter::once("allowed").chain(DENIALS))).collect(),
            allowed_times: Times::default(),
            denied_times: Times::default(),
            delivered: AtomicU64::default(),
            too_slow: AtomicU64::default(),
            calls: Calls::default(),
            storage_is_up: AtomicBool::new(true),
            agent_is_up: AtomicBool::default(),
            cache: OnceLock::new(),
        }
    }
}

impl Metrics {
    /// Also tells how the cache of clients does. Only the first call counts.
    pub fn watch_cache(&self, counts: Arc<CacheCounts>) {
        let _ = self.cache.set(counts);
    }

    /// Whether the storage answered the last call to it.
    #[must_use]
    pub fn storage_is_up(&self) -> bool {
        self.storage_is_up.load(Relaxed)
    }

    /// All of it as text in the OpenMetrics format.
    #[must_use]
    pub fn text(self: &Arc<Self>) -> String {
        let mut registry = Registry::with_prefix("hivemind");
        registry.register_collector(Box::new(Measured(Arc::clone(self))));
        let mut out = String::new();
        // A text has no way to fail.
        let _ = text::encode(&mut out, &registry);
        out
    }

    fn messages_of(&self, envelope: &str) -> &Counters {
        let known = MessageType::ALL.iter().position(|kind| kind.word() == envelope);
        &self.messages[known.unwrap_or(MessageType::ALL.len())]
    }
}

impl Observer for Metrics {
    fn see(&self, event: &Event<'_>) {
        match event {
            Event::Connected { .. } => {
                self.open.fetch_add(1, Relaxed);
                self.connected.fetch_add(1, Relaxed);
            }
            Event::Disconnected { .. } => {
                self.open.fetch_sub(1, Relaxed);
            }
            Event::Refused { refusal, .. } => self.handshakes.add(refusal.word()),
            Event::Admitted { took, .. } => {
                self.handshakes.add("admitted");
                self.handshake_times.add(*took);
                self.satellites.fetch_add(1, Relaxed);
            }
            Event::Left { .. } => {
                self.satellites.fetch_sub(1, Relaxed);
            }
            Event::Judged { envelope, denied, took, .. } => {
                self.messages_of(envelope).add(denied.unwrap_or("allowed"));
                if denied.is_none() { &self.allowed_times } else { &self.denied_times }.add(*took);
            }
            Event::Delivered { receivers } => {
                self.delivered.fetch_add(*receivers as u64, Relaxed);
            }
            Event::TooSlow { .. } => {
                self.too_slow.fetch_add(1, Relaxed);
            }
            Event::Called { call, took, error } => {
                self.calls.add(call, *took, *error);
                set(&self.storage_is_up, !error.is_some_and(is_outage));
            }
            Event::Agent { up } => set(&self.agent_is_up, *up),
        }
    }
}

/// Writes only what is new, so that threads do not take the value's place in memory from each other.
fn set(flag: &AtomicBool, value: bool) {
    if flag.load(Relaxed) != value {
        flag.store(value, Relaxed);
    }
}

/// Whether this says that the storage is away, and not that one record or request is wrong.
pub(crate) const fn is_outage(code: Code) -> bool {
    use Code::{Busy, Deadline, Denied, Io, OutcomeUnknown, Panicked, Poisoned, Unavailable};
    matches!(code, Busy | Deadline | Denied | Io | OutcomeUnknown | Panicked | Poisoned | Unavailable)
}

#[derive(Debug)]
struct Measured(Arc<Metrics>);

impl Collector for Measured {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let m = &*self.0;
        let mut out = Output::new(encoder);
        out.gauge("connections", "Connections, whatever they are", m.open.load(Relaxed))?;
        out.gauge("satellites", "Satellites whose session is up", m.satellites.load(Relaxed))?;
        out.counter("connections_taken", "Connections that were taken", m.connected.load(Relaxed))?;
        out.counters("handshakes", "How connections came to a session, or to their end before", "outcome", &m.handshakes)?;
        out.times("handshake_seconds", "From the connection to the session", &[("outcome", "admitted", &m.handshake_times)])?;
        let envelopes = MessageType::ALL.iter().map(|kind| kind.word()).chain(["other"]);
        out.matrix("messages", "Messages of satellites", ("envelope", envelopes), ("verdict", &m.messages))?;
        let times = [("verdict", "allowed", &m.allowed_times), ("verdict", "denied", &m.denied_times)];
        out.times("message_seconds", "From the frame to the agent or the denial", &times)?;
        out.counter("delivered", "Messages of the agent, once for each satellite that got one", m.delivered.load(Relaxed))?;
        out.counter("too_slow", "Satellites that lost their connection because they did not read", m.too_slow.load(Relaxed))?;
        let calls: Vec<_> = m.calls.known().map(|call| ("call", call.name, &call.times)).collect();
        out.times("storage_call_seconds", "Calls to the storage", &calls)?;
        let errors = m.calls.known().map(|call| (call.name, &call.errors));
        let (names, errors): (Vec<_>, Vec<_>) = errors.unzip();
        out.matrix("storage_errors", "Calls to the storage that failed", ("call", names.into_iter()), ("code", &errors))?;
        out.gauge("storage_up", "Whether the storage answered the last call", i64::from(m.storage_is_up()))?;
        out.gauge("agent_up", "Whether the agent can be reached", i64::from(m.agent_is_up.load(Relaxed)))?;
        if let Some(cache) = m.cache.get() {
            let counts = [("hit", cache.hits()), ("miss", cache.misses())];
            out.labelled("cache_lookups", "Lookups of clients in the cache", "result", &counts)?;
        }
        process::encode(&mut out)
    }
}

#[cfg(test)]
mod tests;

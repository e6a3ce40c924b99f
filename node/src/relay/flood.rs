//! Messages that go to everybody: each passes a node once, however many ways it comes.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hivemind_protocol::RawJson;

use super::Inner;

/// At least so many are remembered, and a hundred for each satellite: each may start one.
const REMEMBERED: usize = 1000;
const PER_SATELLITE: usize = 100;

/// What was seen, the oldest forgotten first. Only hashes are kept, as what they are made of is for strangers to choose.
#[derive(Debug, Default)]
struct Seen {
    hashes: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Whether it was there; it is from now on.
    fn check(&mut self, hash: u64, satellites: usize) -> bool {
        if !self.hashes.insert(hash) {
            return true;
        }
        self.order.push_back(hash);
        while self.order.len() > REMEMBERED.max(satellites.saturating_mul(PER_SATELLITE)) {
            if let Some(oldest) = self.order.pop_front() {
                self.hashes.remove(&oldest);
            }
        }
        false
    }
}

/// The floods that came by.
#[derive(Debug)]
pub(super) struct Floods {
    interval: Duration,
    hasher: RandomState,
    relayed: Mutex<Seen>,
    mapped: Mutex<Seen>,
    answered: Mutex<Seen>,
    answered_all: Mutex<Option<Instant>>,
}

impl Floods {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            hasher: RandomState::new(),
            relayed: Mutex::default(),
            mapped: Mutex::default(),
            answered: Mutex::default(),
            answered_all: Mutex::default(),
        }
    }

    fn check(&self, seen: &Mutex<Seen>, what: (&str, &str), satellites: usize) -> bool {
        let hash = self.hasher.hash_one(what);
        seen.lock().unwrap_or_else(PoisonError::into_inner).check(hash, satellites)
    }

    /// Whether this announcement was relayed before. A flood has one of each node that answers it, all with the flood's id.
    pub(super) fn was_relayed(&self, inner: &Inner<'_>, satellites: usize) -> bool {
        if inner.envelope.kind.wraps_envelope() || inner.request.is_some() {
            return false;
        }
        let Some((id, peer)) = flood_of(inner.envelope.payload) else { return false };
        self.check(&self.relayed, (&id, &peer), satellites)
    }

    /// Whether the agent was told of this announcement.
    pub(super) fn was_mapped(&self, id: &str, peer: &str, satellites: usize) -> bool {
        self.check(&self.mapped, (id, peer), satellites)
    }

    /// Whether this node has answered the flood.
    pub(super) fn was_answered(&self, id: &str, satellites: usize) -> bool {
        self.check(&self.answered, (id, ""), satellites)
    }

    /// Whether everybody may be answered now, which counts as done then.
    pub(super) fn may_answer_all(&self) -> bool {
        let mut last = self.answered_all.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|last| now.duration_since(last) >= self.interval);
        if may {
            *last = Some(now);
        }
        may
    }
}

/// The flood that a payload belongs to, and who announces itself in it.
fn flood_of(payload: RawJson<'_>) -> Option<(String, String)> {
    let object = payload.object().ok()?;
    let id = object.text("flood_id").filter(|id| !id.is_empty())?.into_owned();
    Some((id, object.text("peer").unwrap_or_default().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_forgotten_in_its_order() {
        let mut seen = Seen::default();
        assert!(!seen.check(7, 0) && seen.check(7, 0));
        for other in 100..100 + REMEMBERED as u64 {
            assert!(!seen.check(other, 0));
        }
        assert_eq!((seen.order.len(), seen.hashes.len()), (REMEMBERED, REMEMBERED));
        assert!(!seen.check(7, 0), "the first is forgotten");
        assert!(!seen.check(1, 20) && seen.order.len() > REMEMBERED, "more satellites, more to remember");
    }

    #[test]
    fn everybody_is_answered_once_in_an_interval() {
        let floods = Floods::new(Duration::from_secs(3600));
        assert!(floods.may_answer_all() && !floods.may_answer_all());
        let eager = Floods::new(Duration::ZERO);
        assert!(eager.may_answer_all() && eager.may_answer_all());
    }
}

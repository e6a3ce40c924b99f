//! What changed lately: our own writes at once, everybody's as the server tells of them.
//!
//! Our own writes are told by the server too, a little later. That is harmless: a record is looked at once more. While the server tells
//! nothing that can be relied on, everything may have changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hivemind_abi::model::history::History;
use hivemind_abi::model::{Changes, CollectionId, Error, Key, Result, Token};

use crate::link::{Changed, Link};
use crate::space::Spaces;

/// The history of one handle.
pub(crate) struct Recent {
    epoch: u64,
    state: Mutex<State>,
    /// Up to which generation of the server's news the history goes, and its sequence then: what tells a lookup, without a lock, that
    /// nothing happened.
    heard: AtomicU64,
    sequence: AtomicU64,
}

struct State {
    history: History,
    heard: u64,
}

impl Recent {
    /// # Errors
    /// `io` if the system has no random numbers.
    pub(crate) fn new() -> Result<Self> {
        let epoch = random()?;
        let state = State { history: History::new(epoch), heard: 0 };
        Ok(Self { epoch, state: Mutex::new(state), heard: AtomicU64::new(0), sequence: AtomicU64::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        self.sequence.store(state.history.token().sequence, Ordering::Release);
        self.heard.store(state.heard, Ordering::Release);
    }

    /// The present. What others did may be told later than it happened, and counts from then.
    pub(crate) fn now(&self) -> Token {
        self.state().history.token()
    }

    /// Takes note of our own write.
    pub(crate) fn wrote(&self, keys: &[(CollectionId, Key)]) {
        let mut state = self.state();
        state.history.record(keys.iter().cloned());
        self.publish(&state);
    }

    /// The present, and what changed since.
    pub(crate) fn since(&self, link: &Link, spaces: &Spaces, collection: CollectionId, token: Token) -> (Token, Changes) {
        let Some(now) = link.tracking().now() else { return (self.now(), Changes::Everything) };
        let is_settled = now == self.heard.load(Ordering::Acquire) && token.epoch == self.epoch;
        if is_settled && token.sequence == self.sequence.load(Ordering::Acquire) {
            return (token, Changes::Nothing);
        }
        let mut state = self.state();
        let Some((heard, changed)) = link.tracking().since(state.heard) else {
            return (state.history.token(), Changes::Everything);
        };
        match changed {
            Changed::Nothing => {}
            Changed::Keys(keys) => {
                let records: Vec<_> = keys.iter().filter_map(|key| record_of(spaces, key)).collect();
                if !records.is_empty() {
                    state.history.record(records);
                }
            }
            Changed::Everything => state.history.record_unknown(),
        }
        state.heard = heard;
        self.publish(&state);
        (state.history.token(), state.history.since(collection, token))
    }
}

/// The record that a key in Redis is the key of.
fn record_of(spaces: &Spaces, key: &[u8]) -> Option<(CollectionId, Key)> {
    spaces.iter().find_map(|space| Some((space.id, space.keys.parse_record(&space.collection, key)?)))
}

/// A number that no other handle has.
///
/// # Errors
/// `io` if the system has none.
pub(crate) fn random() -> Result<u64> {
    getrandom::u64().map_err(|e| Error::io(format!("the system's random numbers: {e}")))
}

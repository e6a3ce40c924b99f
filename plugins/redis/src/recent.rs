//! What changed lately: our own writes at once, everybody's as the server tells of them.
//!
//! Our own writes are told by the server too, a little later. That echo is passed over, so that a record is not looked at twice for one write,
//! and no more than that: the first news of a record after the answer to our write, if none of it came before that answer. What it tells
//! happened no later than our write was answered, because news come in order and ours must come; so whoever read the record since has
//! seen it, and whoever read it before is told of our write. While the server tells nothing that can be relied on, everything may have
//! changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::{HashSet, HashSetExt};
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
    /// The records of which an echo of our own write is to come.
    echoes: HashSet<(CollectionId, Key)>,
}

impl State {
    /// Takes in what the server has told.
    fn hear(&mut self, link: &Link, spaces: &Spaces) {
        let (heard, changed) = link.tracking().told(self.heard);
        match changed {
            Changed::Nothing => {}
            Changed::Keys(keys) => {
                let records = keys.iter().filter_map(|key| record_of(spaces, key));
                let records: Vec<_> = records.filter(|record| !self.echoes.remove(record)).collect();
                if !records.is_empty() {
                    self.history.record(records);
                }
            }
            Changed::Everything => {
                self.echoes.clear();
                self.history.record_unknown();
            }
        }
        self.heard = heard;
    }
}

impl Recent {
    /// # Errors
    /// `io` if the system has no random numbers.
    pub(crate) fn new() -> Result<Self> {
        let epoch = random()?;
        let state = State { history: History::new(epoch), heard: 0, echoes: HashSet::new() };
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

    /// Takes note of our own write. `before` is what the server had told when it was sent; `None` if its answer never came.
    pub(crate) fn wrote(&self, link: &Link, spaces: &Spaces, keys: &[(CollectionId, Key)], before: Option<u64>) {
        let mut state = self.state();
        // What was told before counts before: an echo that is still to come must not be forgotten over it.
        state.hear(link, spaces);
        let told: Option<HashSet<_>> = match before.map(|before| link.tracking().told(before).1) {
            Some(Changed::Nothing) => Some(HashSet::new()),
            Some(Changed::Keys(keys)) => Some(keys.iter().filter_map(|key| record_of(spaces, key)).collect()),
            Some(Changed::Everything) | None => None,
        };
        if let Some(told) = told {
            let to_come: Vec<_> = keys.iter().filter(|record| !told.contains(*record)).cloned().collect();
            state.echoes.extend(to_come);
        }
        state.history.record(keys.iter().cloned());
        self.publish(&state);
    }

    /// Anything may have changed.
    pub(crate) fn lost(&self) {
        let mut state = self.state();
        state.history.record_unknown();
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
        if link.tracking().now().is_none() {
            return (state.history.token(), Changes::Everything);
        }
        state.hear(link, spaces);
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

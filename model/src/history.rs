//! Which keys changed when: what `changes_since` can be answered from.
//!
//! Bounded, because a reader that stayed away for long is served as well by [`Changes::Everything`].

use std::collections::VecDeque;

use crate::backend::{Changes, Token};
use crate::collection::CollectionId;
use crate::value::Key;

/// How many changed keys are remembered.
pub const REMEMBERED: usize = 1024;

/// The last changes of a handle, oldest first.
#[derive(Debug)]
pub struct History {
    epoch: u64,
    sequence: u64,
    changes: VecDeque<(u64, CollectionId, Key)>,
    // Of changes up to here some were forgotten or never had keys.
    forgotten: u64,
}

impl History {
    /// An empty history. `epoch` must be one that no other handle has: a random number.
    #[must_use]
    pub const fn new(epoch: u64) -> Self {
        Self { epoch, sequence: 0, changes: VecDeque::new(), forgotten: 0 }
    }

    /// The present.
    #[must_use]
    pub const fn token(&self) -> Token {
        Token { epoch: self.epoch, sequence: self.sequence }
    }

    /// Notes that these records changed together.
    pub fn record(&mut self, keys: impl IntoIterator<Item = (CollectionId, Key)>) {
        self.sequence += 1;
        for (collection, key) in keys {
            if self.changes.len() == REMEMBERED
                && let Some((sequence, ..)) = self.changes.pop_front()
            {
                self.forgotten = sequence;
            }
            self.changes.push_back((self.sequence, collection, key));
        }
    }

    /// Notes that something changed and nobody knows what.
    pub fn record_unknown(&mut self) {
        self.sequence += 1;
        self.changes.clear();
        self.forgotten = self.sequence;
    }

    /// What changed in a collection since a token.
    #[must_use]
    pub fn since(&self, collection: CollectionId, token: Token) -> Changes {
        if token.epoch != self.epoch || token.sequence > self.sequence || token.sequence < self.forgotten {
            return Changes::Everything;
        }
        let newer = self.changes.iter().rev().take_while(|(sequence, ..)| *sequence > token.sequence);
        let keys: Vec<Key> = newer.filter(|(_, c, _)| *c == collection).map(|(.., key)| key.clone()).collect();
        if keys.is_empty() { Changes::Nothing } else { Changes::Keys(keys) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: CollectionId = CollectionId(0);
    const D: CollectionId = CollectionId(1);

    #[test]
    fn changes_are_told_by_collection_and_once_seen_not_again() {
        let mut history = History::new(1);
        let start = history.token();
        assert_eq!(history.since(C, start), Changes::Nothing);
        history.record([(C, Key::Int(1)), (D, Key::Int(2))]);
        assert_eq!(history.since(C, start), Changes::Keys(vec![Key::Int(1)]));
        assert_eq!(history.since(D, start), Changes::Keys(vec![Key::Int(2)]));
        assert_eq!(history.since(C, history.token()), Changes::Nothing);
        assert_eq!(history.since(C, History::new(2).token()), Changes::Everything);
        assert_eq!(history.since(C, Token { sequence: 99, ..start }), Changes::Everything);
    }

    #[test]
    fn what_was_forgotten_or_never_known_is_everything() {
        let mut history = History::new(1);
        let start = history.token();
        history.record((0..10).map(|i| (C, Key::Int(i))));
        let later = history.token();
        history.record((0..REMEMBERED as i64).map(|i| (C, Key::Int(i))));
        assert_eq!(history.since(C, start), Changes::Everything);
        assert!(matches!(history.since(C, later), Changes::Keys(keys) if keys.len() == REMEMBERED));
        history.record([(C, Key::Int(0))]);
        assert_eq!(history.since(C, later), Changes::Everything, "half a batch is not told");
        let before = history.token();
        history.record_unknown();
        assert_eq!(history.since(C, before), Changes::Everything);
        assert_eq!(history.since(D, before), Changes::Everything);
        assert_eq!(history.since(C, history.token()), Changes::Nothing);
    }
}

//! Which record has a unique value first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use hivemind_abi::model::{Key, ValueRef};

/// Who has a unique value first, by the lowest key. Values are hashed, twice, so that a million of them take little.
pub(super) struct Winners {
    hashers: [RandomState; 2],
    keys: HashMap<(u64, u64), Key>,
}

impl Winners {
    pub(super) fn new() -> Self {
        Self { hashers: [RandomState::new(), RandomState::new()], keys: HashMap::new() }
    }

    /// Another record that has this value, or nobody, and this one has it from now on.
    pub(super) fn other(&mut self, field: usize, value: ValueRef<'_>, key: &Key) -> Option<Key> {
        let spelled = format!("{field} {value:?}");
        let [a, b] = [&self.hashers[0], &self.hashers[1]].map(|hasher| hasher.hash_one(&spelled));
        match self.keys.entry((a, b)) {
            Entry::Occupied(winner) => Some(winner.get().clone()).filter(|winner| winner != key),
            Entry::Vacant(free) => {
                free.insert(key.clone());
                None
            }
        }
    }
}

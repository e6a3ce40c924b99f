//! What changed lately: our own writes at once, everybody else's as the server tells of them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hivemind_abi::model::history::History;
use hivemind_abi::model::{Changes, CollectionId, Error, Key, Result, Token};

/// The history of one handle.
pub(crate) struct Recent {
    history: Mutex<History>,
}

impl Recent {
    /// # Errors
    /// `io` if the system has no random numbers.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { history: Mutex::new(History::new(random()?)) })
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present.
    pub(crate) fn now(&self) -> Token {
        self.history().token()
    }

    /// Takes note of our own write.
    pub(crate) fn wrote(&self, keys: &[(CollectionId, Key)]) {
        self.history().record(keys.iter().cloned());
    }

    /// The present, and what changed since.
    pub(crate) fn since(&self, collection: CollectionId, token: Token) -> (Token, Changes) {
        let mut history = self.history();
        // Nobody tells of others' writes yet.
        history.record_unknown();
        (history.token(), history.since(collection, token))
    }
}

/// A number that no other handle has.
///
/// # Errors
/// `io` if the system has none.
pub(crate) fn random() -> Result<u64> {
    getrandom::u64().map_err(|e| Error::io(format!("the system's random numbers: {e}")))
}

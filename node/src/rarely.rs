//! Log lines that a client can cause as often as it likes, and that its operator is to see once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Each client's line of each kind is written at most this often.
const INTERVAL: Duration = Duration::from_secs(3600);

/// When which was written. There are no more entries than kinds for each client of the store.
#[derive(Debug, Default)]
pub(crate) struct Rarely(Mutex<HashMap<(&'static str, i64), Instant>>);

impl Rarely {
    /// Whether the line of this kind about this client may be written; then it counts as written.
    pub(crate) fn may(&self, kind: &'static str, client: i64) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = written.get(&(kind, client)).is_none_or(|at| at.elapsed() >= INTERVAL);
        if may {
            written.insert((kind, client), Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_line_once() {
        let rarely = Rarely::default();
        assert!(rarely.may("password", 1) && rarely.may("password", 2) && rarely.may("key", 1));
        assert!(!rarely.may("password", 1) && !rarely.may("password", 2) && !rarely.may("key", 1));
    }
}

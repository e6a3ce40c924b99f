//! The ways back: which connection a question came from, so that its answers go there and nowhere else, whatever they say.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::peer::Peer;

/// So many questions are remembered, and for so long: as the Python node does.
const REMEMBERED: usize = 256;
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Returns(Mutex<VecDeque<Way>>);

#[derive(Debug)]
struct Way {
    query_id: String,
    peer: Weak<Peer>,
    since: Instant,
}

impl Returns {
    fn ways(&self) -> MutexGuard<'_, VecDeque<Way>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers where a question came from. Who asked first under an id keeps it. When there is no room, whoever asks loses the oldest
    /// of its own ways, so that one satellite alone cannot push out those of others.
    pub(super) fn add(&self, query_id: &str, peer: &Arc<Peer>) {
        let mut ways = self.ways();
        ways.retain(|way| way.since.elapsed() < REMEMBERED_FOR && way.peer.strong_count() > 0);
        if ways.iter().any(|way| way.query_id == query_id) {
            return;
        }
        if ways.len() >= REMEMBERED {
            let own = ways.iter().position(|way| std::ptr::eq(way.peer.as_ptr(), Arc::as_ptr(peer)));
            ways.remove(own.unwrap_or(0));
        }
        ways.push_back(Way { query_id: query_id.to_owned(), peer: Arc::downgrade(peer), since: Instant::now() });
    }

    /// Where answers to a question go.
    pub(super) fn get(&self, query_id: &str) -> Option<Arc<Peer>> {
        let ways = self.ways();
        let way = ways.iter().find(|way| way.query_id == query_id && way.since.elapsed() < REMEMBERED_FOR)?;
        way.peer.upgrade()
    }

    pub(super) fn leave(&self, peer: &Arc<Peer>) {
        self.ways().retain(|way| !std::ptr::eq(way.peer.as_ptr(), Arc::as_ptr(peer)));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::outbox::outbox;
    use crate::testing::client;

    fn peer(id: i64) -> Arc<Peer> {
        Arc::new(Peer::new(&client(id), Ipv4Addr::LOCALHOST.into(), String::new(), outbox(1000).0))
    }

    #[test]
    fn an_id_belongs_to_who_used_it_first_and_nobody_pushes_out_others() {
        let (returns, first, second) = (Returns::default(), peer(1), peer(2));
        returns.add("q", &first);
        returns.add("q", &second);
        for at in 0..2 * REMEMBERED {
            returns.add(&format!("other-{at}"), &second);
        }
        assert!(Arc::ptr_eq(&returns.get("q").expect("a way"), &first));
        assert!(returns.get("other-0").is_none() && returns.get(&format!("other-{}", 2 * REMEMBERED - 1)).is_some());
        returns.leave(&first);
        assert!(returns.get("q").is_none());
    }
}

//! The ways back: which connection a question came from, so that its answers go there and nowhere else, whatever they say.

use std::collections::{HashMap, VecDeque};
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
    client: i64,
    peer: Weak<Peer>,
    since: Instant,
}

impl Returns {
    fn ways(&self) -> MutexGuard<'_, VecDeque<Way>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers where a question came from. Who asked first under an id keeps it. When there is no room, the client that has the most
    /// ways, with all its connections, loses its oldest: whoever asks much pushes out nobody but itself.
    pub(super) fn add(&self, query_id: &str, peer: &Arc<Peer>) {
        let mut ways = self.ways();
        ways.retain(|way| way.since.elapsed() < REMEMBERED_FOR && way.peer.strong_count() > 0);
        if ways.iter().any(|way| way.query_id == query_id) {
            return;
        }
        if ways.len() >= REMEMBERED {
            let mut counts: HashMap<i64, usize> = HashMap::from([(peer.client_id, 1)]);
            ways.iter().for_each(|way| *counts.entry(way.client).or_default() += 1);
            let most = counts.values().copied().max();
            let oldest = ways.iter().position(|way| counts.get(&way.client).copied() == most);
            ways.remove(oldest.unwrap_or(0));
        }
        let (query_id, client) = (query_id.to_owned(), peer.client_id);
        ways.push_back(Way { query_id, client, peer: Arc::downgrade(peer), since: Instant::now() });
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
        let (returns, first) = (Returns::default(), peer(1));
        returns.add("q", &first);
        // One client, with a connection for each of its questions.
        let many: Vec<_> = (0..2 * REMEMBERED).map(|_| peer(2)).collect();
        returns.add("q", &many[0]);
        for (at, peer) in many.iter().enumerate() {
            returns.add(&format!("other-{at}"), peer);
        }
        assert!(Arc::ptr_eq(&returns.get("q").expect("a way"), &first));
        assert!(returns.get("other-0").is_none() && returns.get(&format!("other-{}", 2 * REMEMBERED - 1)).is_some());
        // Whoever comes later still finds a place.
        let third = peer(3);
        returns.add("late", &third);
        assert!(returns.get("late").is_some() && returns.get("q").is_some() && returns.ways().len() == REMEMBERED);
        returns.leave(&first);
        assert!(returns.get("q").is_none());
    }
}

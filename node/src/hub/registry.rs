//! Names and the satellites that have them.
//!
//! In shards, each under its own lock that is held for one look: whoever delivers an answer waits for nobody who joins.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::peer::Peer;

const SHARDS: usize = 16;

type Shard = HashMap<Arc<str>, Arc<Peer>>;

#[derive(Debug, Default)]
pub(super) struct Registry {
    shards: [RwLock<Shard>; SHARDS],
    by_client: Mutex<HashMap<i64, Vec<Arc<Peer>>>>,
    len: AtomicUsize,
    hasher: RandomState,
}

impl Registry {
    fn shard(&self, name: &str) -> &RwLock<Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash do")]
        let hash = self.hasher.hash_one(name) as usize;
        &self.shards[hash % SHARDS]
    }

    fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
        shard.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
        shard.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_client(&self) -> MutexGuard<'_, HashMap<i64, Vec<Arc<Peer>>>> {
        self.by_client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a satellite in. One that wants a name which another has gets it with a suffix.
    pub(super) fn join(&self, peer: &Arc<Peer>, wanted: &str) {
        peer.set_name(self.take(peer, wanted));
        self.by_client().entry(peer.client_id).or_default().push(Arc::clone(peer));
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a satellite another name. It is found by its old one until it has the new one.
    pub(super) fn rename(&self, peer: &Arc<Peer>, wanted: &str) {
        let old = peer.name();
        peer.set_name(self.take(peer, wanted));
        self.give_back(peer, &old);
    }

    pub(super) fn leave(&self, peer: &Arc<Peer>) {
        self.give_back(peer, &peer.name());
        let mut by_client = self.by_client();
        if let Some(peers) = by_client.get_mut(&peer.client_id) {
            peers.retain(|other| !Arc::ptr_eq(other, peer));
            if peers.is_empty() {
                by_client.remove(&peer.client_id);
            }
        }
        drop(by_client);
        self.len.fetch_sub(1, Ordering::Relaxed);
    }

    fn take(&self, peer: &Arc<Peer>, wanted: &str) -> Arc<str> {
        let mut name: Arc<str> = Arc::from(wanted);
        loop {
            let mut shard = Self::write(self.shard(&name));
            if !shard.contains_key(&name) {
                shard.insert(Arc::clone(&name), Arc::clone(peer));
                return name;
            }
            drop(shard);
            let suffix = getrandom::u32().unwrap_or_else(|_| fallback());
            name = Arc::from(format!("{wanted}::{suffix:08x}"));
        }
    }

    fn give_back(&self, peer: &Arc<Peer>, name: &str) {
        let mut shard = Self::write(self.shard(name));
        if shard.get(name).is_some_and(|holder| Arc::ptr_eq(holder, peer)) {
            shard.remove(name);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Peer>> {
        Self::read(self.shard(name)).get(name).cloned()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        Self::read(self.shard(name)).contains_key(name)
    }

    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(Self::read(shard).values().cloned());
        }
        all
    }

    /// The connections of these clients.
    pub(super) fn of_clients(&self, ids: impl Iterator<Item = i64>) -> Vec<Arc<Peer>> {
        let by_client = self.by_client();
        ids.filter_map(|id| by_client.get(&id)).flatten().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

/// Names only have to differ.
fn fallback() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
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
    fn a_name_that_is_taken_gets_a_suffix_and_a_new_one_frees_the_old() {
        let (registry, first, second) = (Registry::default(), peer(1), peer(2));
        registry.join(&first, "a::1::n::s");
        registry.join(&second, "a::1::n::s");
        let name = second.name();
        let suffix = name.strip_prefix("a::1::n::s::").expect("a suffix");
        assert!(suffix.len() == 8 && suffix.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        assert!(Arc::ptr_eq(&registry.get("a::1::n::s").expect("the first"), &first));

        registry.rename(&first, "a::1::n::t");
        assert!(registry.get("a::1::n::s").is_none() && registry.contains("a::1::n::t"));
        assert_eq!((registry.len(), registry.all().len()), (2, 2));
    }

    #[test]
    fn who_leaves_takes_only_its_own_name_along() {
        let (registry, first, second) = (Registry::default(), peer(1), peer(1));
        registry.join(&first, "n");
        registry.leave(&first);
        registry.join(&second, "n");
        first.set_name(Arc::from("n"));
        registry.give_back(&first, "n");
        assert!(registry.contains("n"));
        assert_eq!(registry.of_clients([1, 2].into_iter()).len(), 1);
        registry.leave(&second);
        assert!(registry.of_clients([1].into_iter()).is_empty() && registry.len() == 0);
    }
}

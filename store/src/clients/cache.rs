//! Decoded clients, kept while the backend's history says that they are unchanged.
//!
//! Every use asks the backend what changed since the cache last knew; so a hit is as fresh as a read. The invariant: *every entry was read
//! at or after the cache's token, or at a token from which all changes up to it were applied here.* Hence the order of things: a token is
//! taken **before** the row it vouches for is read, and what was read is only kept if the cache still stands at that token.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hivemind_model::{Backend, Changes, Collection, CollectionId, Context, Key, Token};

use super::client::Client;

/// Up to so many changed records are read again, beyond that everything is forgotten.
const REREAD: usize = 32;

#[derive(Debug)]
pub(super) struct Cache {
    state: RwLock<State>,
    /// Fast rather than proof against every flood of keys: what is asked for never gets in, only what the store holds, and the seed is
    /// this cache's own.
    hasher: RandomState,
    capacity: usize,
    counts: Arc<CacheCounts>,
}

/// How often the cache answered a lookup, and how often the record had to be read. Threads count in places of their own, so that
/// counting does not become what they wait for.
#[derive(Debug, Default)]
pub struct CacheCounts([Place; PLACES]);

const PLACES: usize = 16;

/// As long as a line of any processor's cache.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place {
    hits: AtomicU64,
    misses: AtomicU64,
}

thread_local! {
    static MINE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % PLACES
    };
}

impl CacheCounts {
    /// Lookups that it answered.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.0.iter().map(|place| place.hits.load(Relaxed)).sum()
    }

    /// Lookups for which the record was read.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.0.iter().map(|place| place.misses.load(Relaxed)).sum()
    }

    fn add(&self, is_hit: bool) {
        let place = &self.0[MINE.with(|mine| *mine)];
        if is_hit { &place.hits } else { &place.misses }.fetch_add(1, Relaxed);
    }
}

#[derive(Debug, Default)]
struct State {
    token: Token,
    by_id: HashMap<i64, Arc<Client>, RandomState>,
    by_key: ByKey,
}

/// Those of the kept clients that the backend answered with when it was asked for their access key. In one table with the clients
/// themselves, as each step to another place in memory costs more than all the rest.
#[derive(Debug, Default)]
struct ByKey(HashTable<Arc<Client>>);

impl ByKey {
    fn find(&self, hash: u64, key: &str) -> Option<&Arc<Client>> {
        self.0.find(hash, |client| client.api_key == key)
    }

    fn remove(&mut self, hasher: &RandomState, key: &str) -> Option<Arc<Client>> {
        let entry = self.0.find_entry(hasher.hash_one(key), |client| client.api_key == key).ok()?;
        Some(entry.remove().0)
    }

    fn insert(&mut self, hasher: &RandomState, client: Arc<Client>) {
        self.remove(hasher, &client.api_key);
        self.0.insert_unique(hasher.hash_one(client.api_key.as_str()), client, |c| hasher.hash_one(c.api_key.as_str()));
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    Id(i64),
    AccessKey(&'a str),
}

/// What the cache has to say.
pub(super) enum Answer {
    /// This client, as it is now.
    Hit(Arc<Client>),
    /// Nothing; what is read from now on may be kept under this token.
    Miss(Token),
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { state: RwLock::default(), hasher: RandomState::default(), capacity, counts: Arc::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn counts(&self) -> &Arc<CacheCounts> {
        &self.counts
    }

    /// Looks a client up after catching up with the backend's history.
    ///
    /// # Errors
    /// The backend's.
    pub(super) fn look_up(
        &self,
        backend: &dyn Backend,
        cx: &Context<'_>,
        collection: (CollectionId, &Collection),
        wanted: Wanted<'_>,
    ) -> hivemind_model::Result<Answer> {
        let answer = self.answer(backend, cx, collection, wanted)?;
        self.counts.add(matches!(answer, Answer::Hit(_)));
        Ok(answer)
    }

    fn answer(
        &self,
        backend: &dyn Backend,
        cx: &Context<'_>,
        (id, collection): (CollectionId, &Collection),
        wanted: Wanted<'_>,
    ) -> hivemind_model::Result<Answer> {
        let hash = self.hash(wanted);
        let (token, found) = {
            let state = self.read();
            (state.token, state.find(hash, wanted).cloned())
        };
        let (now, changes) = backend.changes_since(cx, id, token)?;
        if let (Changes::Nothing, Some(client)) = (&changes, found) {
            return Ok(Answer::Hit(client));
        }
        if matches!(changes, Changes::Nothing) && now == token {
            return Ok(Answer::Miss(now));
        }
        let reread = match &changes {
            Changes::Nothing => Some(Vec::new()),
            Changes::Keys(keys) => reread(backend, cx, (id, collection), keys)?,
            _ => None,
        };
        let mut state = self.write();
        if state.token != token {
            // Somebody else caught up meanwhile, maybe further than this; their state stands, and this call reads for itself.
            return Ok(Answer::Miss(now));
        }
        state.token = now;
        match reread {
            Some(records) => records.into_iter().for_each(|(id, client)| state.replace(&self.hasher, id, client)),
            None => {
                state.by_id.clear();
                state.by_key.0.clear();
            }
        }
        Ok(state.find(hash, wanted).map_or(Answer::Miss(now), |client| Answer::Hit(Arc::clone(client))))
    }

    fn hash(&self, wanted: Wanted<'_>) -> u64 {
        match wanted {
            Wanted::Id(_) => 0,
            Wanted::AccessKey(key) => self.hasher.hash_one(key),
        }
    }

    /// Keeps a client that was read after `token` was given, unless the cache has moved on. It answers for its access key only if it
    /// was found by it: of two records with one key, only the backend knows which one counts.
    pub(super) fn keep(&self, token: Token, client: &Arc<Client>, wanted: Wanted<'_>) {
        if client.is_revoked() || client.api_key.is_empty() {
            return;
        }
        let mut state = self.write();
        if state.token != token {
            return;
        }
        if state.by_id.len() >= self.capacity && !state.by_id.contains_key(&client.id) {
            state.make_room(&self.hasher, self.capacity);
        }
        // What was read may be newer than the token, its access key too.
        let answered =
            state.forget(&self.hasher, client.id).is_some_and(|old| old.is_some_and(|old| old.api_key == client.api_key));
        if answered || matches!(wanted, Wanted::AccessKey(_)) {
            state.by_key.insert(&self.hasher, Arc::clone(client));
        }
        state.by_id.insert(client.id, Arc::clone(client));
    }
}

impl State {
    fn find(&self, hash: u64, wanted: Wanted<'_>) -> Option<&Arc<Client>> {
        match wanted {
            Wanted::Id(id) => self.by_id.get(&id),
            Wanted::AccessKey(key) => self.by_key.find(hash, key),
        }
    }

    /// Forgets a client. `None` if it was not kept, else that client if it answered for its access key.
    fn forget(&mut self, hasher: &RandomState, id: i64) -> Option<Option<Arc<Client>>> {
        let old = self.by_id.remove(&id)?;
        let answered = self.by_key.find(hasher.hash_one(old.api_key.as_str()), &old.api_key).is_some_and(|c| c.id == id);
        Some(if answered { self.by_key.remove(hasher, &old.api_key) } else { None })
    }

    /// Takes note of a changed record: `None` if it is gone, cannot be read or is revoked.
    fn replace(&mut self, hasher: &RandomState, id: i64, client: Option<Arc<Client>>) {
        let old = self.forget(hasher, id);
        let Some(client) = client else { return };
        // Whoever answered for its key may have to no longer: another writer can give one away twice.
        let contested = self.by_key.remove(hasher, &client.api_key).is_some();
        let Some(answered) = old else { return };
        if !contested && answered.is_some_and(|old| old.api_key == client.api_key) {
            self.by_key.insert(hasher, Arc::clone(&client));
        }
        self.by_id.insert(id, client);
    }

    /// Drops about an eighth, whichever comes first in the map's random order: looking up stays a read, which keeping count of uses
    /// would not.
    fn make_room(&mut self, hasher: &RandomState, capacity: usize) {
        let excess = self.by_id.len().saturating_sub(capacity) + capacity / 8 + 1;
        let victims: Vec<i64> = self.by_id.keys().copied().take(excess).collect();
        for id in victims {
            self.forget(hasher, id);
        }
    }
}

/// The changed records as they are now; `None` if there are too many to read.
#[allow(clippy::type_complexity, reason = "a list of pairs")]
fn reread(
    backend: &dyn Backend,
    cx: &Context<'_>,
    (id, collection): (CollectionId, &Collection),
    keys: &[Key],
) -> hivemind_model::Result<Option<Vec<(i64, Option<Arc<Client>>)>>> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() > REREAD {
        return Ok(None);
    }
    let rows = backend.get_many(cx, id, &keys)?;
    let clients = keys.iter().zip(rows).filter_map(|(key, row)| {
        let Key::Int(key) = key else { return None };
        let client = row.ok().flatten().and_then(|row| Client::from_row(collection, &row).ok());
        Some((*key, client.filter(|c| c.id == *key && !c.is_revoked()).map(Arc::new)))
    });
    Ok(Some(clients.collect()))
}

//! Client records: the credentials and permissions of satellites and agents.
//!
//! What HiveMind means by a client is said here once, for every backend: access keys are unique, ids are dense and never used twice
//! (the Python node overwrites whatever has the id *number of rows + 1*), a whitelist denies what it does not name, and a client is
//! **revoked** instead of deleted: its row stays under its id, emptied, with the access key [`REVOKED`].

mod add;
mod cache;
mod change;
mod client;
mod description;
mod lookup;
mod pages;
mod text;

pub use add::NewClient;
pub use cache::CacheCounts;
pub use change::{Blacklist, MetadataChange, Permission, Pinned};
pub use client::{Client, Metadata};
pub use description::{NAME, REVOKED, VERSION, collection};
pub use pages::{ClientPage, Pages};
pub use text::check_message_type;

use std::sync::Arc;

use hivemind_model::{Capability, Collection, CollectionId};

use crate::{Storage, error::Result};

/// The clients of a storage. Cheap to clone; clones share one cache.
#[derive(Debug, Clone)]
pub struct Clients {
    storage: Storage,
    id: CollectionId,
    collection: Arc<Collection>,
    cache: Option<Arc<cache::Cache>>,
}

impl Clients {
    /// Creates, migrates or finds the clients of a storage.
    ///
    /// # Errors
    /// The backend's; `too new` if what is stored is newer, and then nothing was touched.
    pub async fn open(storage: &Storage) -> Result<Self> {
        let prepared = storage.prepare(collection()).await?;
        let capacity = storage.options().cached_clients;
        let tracked = storage.capabilities().has(Capability::ChangeTracking);
        Ok(Self {
            storage: storage.clone(),
            id: prepared.id,
            collection: prepared.collection,
            cache: (tracked && capacity > 0).then(|| Arc::new(cache::Cache::new(capacity))),
        })
    }

    /// The storage they are in.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// How the cache does; `None` if there is none.
    #[must_use]
    pub fn cache_counts(&self) -> Option<Arc<CacheCounts>> {
        self.cache.as_ref().map(|cache| Arc::clone(cache.counts()))
    }

    /// The collection's id in calls to the backend.
    #[must_use]
    pub const fn id(&self) -> CollectionId {
        self.id
    }
}

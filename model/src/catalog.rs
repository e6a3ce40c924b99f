//! The register of prepared collections that every backend keeps.
//!
//! Reading is lock-free, because it is on the path of every call: slots are written once.

use std::sync::{Arc, Mutex, OnceLock};

use crate::collection::{Collection, CollectionId};
use crate::error::{Error, Result};

const SLOTS: usize = 128;

/// Collections by id.
#[derive(Debug)]
pub struct Catalog {
    slots: Box<[OnceLock<Arc<Collection>>]>,
    registering: Mutex<()>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| OnceLock::new()).collect(), registering: Mutex::new(()) }
    }
}

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives each collection its id: the one it has, if an equal one is registered.
    ///
    /// # Errors
    /// `invalid` if a description is wrong or differs from the registered one of that name; nothing is registered then.
    pub fn register(&self, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let _guard = self.registering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known: Vec<_> = self.iter().collect();
        let mut ids = Vec::with_capacity(collections.len());
        let mut new: Vec<&Collection> = Vec::new();
        for collection in collections {
            collection.validate()?;
            let all = known.iter().map(|(_, c)| c.as_ref()).chain(new.iter().copied());
            let mut all = all.enumerate().filter(|(_, c)| c.name == collection.name);
            let at = match all.next() {
                Some((at, same)) if same == collection => at,
                Some(_) => {
                    let name = &collection.name;
                    return Err(Error::invalid(format!("collection {name} is already prepared with another description"))
                        .collection(name));
                }
                None => {
                    new.push(collection);
                    known.len() + new.len() - 1
                }
            };
            ids.push(CollectionId(u32::try_from(at).unwrap_or(u32::MAX)));
        }
        if known.len() + new.len() > SLOTS {
            return Err(Error::invalid(format!("more than {SLOTS} collections")));
        }
        for (slot, collection) in self.slots[known.len()..].iter().zip(new) {
            let _ = slot.set(Arc::new(collection.clone()));
        }
        Ok(ids)
    }

    /// The collection of this id.
    ///
    /// # Errors
    /// `invalid` if none was prepared under it.
    pub fn get(&self, id: CollectionId) -> Result<&Arc<Collection>> {
        self.slots
            .get(id.0 as usize)
            .and_then(OnceLock::get)
            .ok_or_else(|| Error::invalid(format!("no collection was prepared under the id {}", id.0)))
    }

    /// All collections with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (CollectionId, &Arc<Collection>)> {
        (0..).map(CollectionId).zip(self.slots.iter().map_while(OnceLock::get))
    }
}

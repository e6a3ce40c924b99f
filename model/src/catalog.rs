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
    /// `invalid` if a description is wrong, differs from the registered one of that name or is a second primary one; nothing is
    /// registered then.
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
                    let mut others = known.iter().map(|(_, c)| c.as_ref()).chain(new.iter().copied());
                    if collection.primary
                        && let Some(other) = others.find(|c| c.primary)
                    {
                        let message =
                            format!("collection {} cannot be primary: {} is, and a store has one", collection.name, other.name);
                        return Err(Error::invalid(message).collection(&collection.name));
                    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use crate::value::Kind;

    #[test]
    fn a_store_has_one_primary_collection() {
        let primary = |name: &str| {
            let mut collection = Collection::new(name, 1, "id", Kind::Int);
            collection.primary = true;
            collection
        };
        let catalog = Catalog::new();
        let together = catalog.register(&[primary("a"), primary("b")]).expect_err("two at once");
        assert_eq!((together.code(), catalog.iter().count()), (Code::Invalid, 0));
        catalog.register(&[primary("a")]).expect("one");
        catalog.register(&[primary("a")]).expect("the same again");
        assert_eq!(catalog.register(&[primary("b")]).expect_err("a second").code(), Code::Invalid);
    }
}

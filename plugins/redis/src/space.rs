//! A prepared collection: its description, its keys, and what this handle knows of it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hivemind_abi::model::record::Form;
use hivemind_abi::model::{Collection, CollectionId, Error, Result};

use crate::find::Known;
use crate::keys::Keys;

/// As many as a catalog registers.
const SPACES: usize = 128;

/// A prepared collection.
pub(crate) struct Space {
    pub(crate) id: CollectionId,
    pub(crate) collection: Arc<Collection>,
    pub(crate) keys: Keys,
    pub(crate) form: Form,
    /// The records that cannot be read, and the keys of all, as far as that is known.
    pub(crate) known: Mutex<Option<Known>>,
    /// The greatest id that was found beyond what the counters say, once somebody looked.
    greatest: AtomicI64,
    looked: AtomicBool,
    /// A set and the records that it names can be had by one `SORT_RO`, as far as is known.
    may_sort: AtomicBool,
}

impl Space {
    pub(crate) fn new(id: CollectionId, collection: Arc<Collection>, keys: Keys) -> Self {
        // In a pattern these mean something else.
        let may_sort = !keys.record_prefix().contains(&b'*') && !keys.record_prefix().windows(2).any(|two| two == b"->");
        Self {
            id,
            form: Form::new(&collection),
            collection,
            keys,
            known: Mutex::new(None),
            greatest: AtomicI64::new(0),
            looked: AtomicBool::new(false),
            may_sort: AtomicBool::new(may_sort),
        }
    }

    /// Whether `SORT_RO` may be tried.
    pub(crate) fn may_sort(&self) -> bool {
        self.may_sort.load(Ordering::Relaxed)
    }

    /// It was refused.
    pub(crate) fn never_sort(&self) {
        self.may_sort.store(false, Ordering::Relaxed);
    }

    /// Forgets what is known of the records as a whole.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The greatest id known besides the counters; `None` if nobody has looked yet.
    pub(crate) fn greatest(&self) -> Option<i64> {
        self.looked.load(Ordering::Acquire).then(|| self.greatest.load(Ordering::Acquire))
    }

    /// Takes note of an id that is in use.
    pub(crate) fn found_greatest(&self, id: i64) {
        self.greatest.fetch_max(id, Ordering::AcqRel);
        self.looked.store(true, Ordering::Release);
    }
}

/// The prepared collections of a handle, by id. Read without a lock, because every call begins here.
pub(crate) struct Spaces(Box<[OnceLock<Space>]>);

impl Default for Spaces {
    fn default() -> Self {
        Self((0..SPACES).map(|_| OnceLock::new()).collect())
    }
}

impl Spaces {
    /// The collection of this id.
    ///
    /// # Errors
    /// `invalid` if none was prepared under it.
    pub(crate) fn get(&self, id: CollectionId) -> Result<&Space> {
        let space = self.0.get(id.0 as usize).and_then(OnceLock::get);
        space.ok_or_else(|| Error::invalid(format!("no collection was prepared under the id {}", id.0)))
    }

    /// Takes a collection in, unless it is there.
    pub(crate) fn set(&self, id: CollectionId, make: impl FnOnce() -> Space) {
        if let Some(slot) = self.0.get(id.0 as usize) {
            slot.get_or_init(make);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Space> {
        self.0.iter().filter_map(OnceLock::get)
    }
}

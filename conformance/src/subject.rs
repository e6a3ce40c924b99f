//! What is tested: a way to get empty stores, and optional hooks for what only its owner can do to them.

use std::sync::Arc;

use hivemind_model::{Backend, Collection, Key, Result};

/// A kind of store under test. Every case asks it for an empty store of its own.
pub trait Subject: Send + Sync {
    /// What to call it in a report.
    fn name(&self) -> String;

    /// An empty store that nothing has opened yet. What it occupies goes when the value is dropped.
    ///
    /// # Errors
    /// Whatever keeps it from being made; the case fails with it.
    fn fresh(&self) -> Result<Box<dyn Instance>>;
}

/// One store. The kit opens it, closes it, and opens it again to see what is left.
///
/// The optional hooks make more cases possible; a case that needs a missing one is reported as skipped, with the reason.
pub trait Instance: Send + Sync {
    /// Opens the store. The kit closes a handle before it asks for the next.
    ///
    /// # Errors
    /// Whatever the backend says.
    fn open(&self) -> Result<Arc<dyn Backend>>;

    /// A second handle in this process while another is open; `None` if the engine does not allow that.
    ///
    /// # Errors
    /// Whatever the backend says.
    fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        Ok(None)
    }

    /// A handle that lives in another process, by whatever pipe its owner likes; `None` if there is no such thing.
    /// [`crate::pipe`] has both ends of one.
    ///
    /// # Errors
    /// Whatever the backend says.
    fn peer(&self) -> Result<Option<Arc<dyn Backend>>> {
        Ok(None)
    }

    /// Whether this store was opened so that its files must not show what is stored: with a password, say.
    fn is_encrypted(&self) -> bool {
        false
    }

    /// Changes stored data behind the backend's back, as a foreign program would. Only called while no handle is open.
    /// `false` if this store cannot do it.
    ///
    /// # Errors
    /// Whatever keeps it from being done.
    fn plant(&self, _collection: &Collection, _plant: &Plant) -> Result<bool> {
        Ok(false)
    }
}

/// A change that no backend would make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plant {
    /// The stored record with this key gets a member (a column's value) of this name. The name may be one that the collection
    /// does not have, and the JSON value one of another kind than the field's: neither must be refused here.
    Set {
        /// Which record.
        key: Key,
        /// The member or column.
        name: String,
        /// Its value as JSON text.
        json: String,
    },
    /// The collection's stored schema version becomes this.
    Version(u32),
}

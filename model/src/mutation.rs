//! What can be changed, and what comes of it. A batch of mutations is all or nothing.

use crate::collection::CollectionId;
use crate::query::{Condition, Query};
use crate::row::Row;
use crate::value::{Key, Value};

/// One change to a store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Mutation {
    /// Adds a record; its key must be free.
    Insert {
        /// Where.
        collection: CollectionId,
        /// The record.
        row: Row,
    },
    /// Adds a record under a key that the backend assigns: 1 + the greatest it knows of, certainly free. The row's own key is
    /// ignored and may be nil. A failed batch uses no key up. Int keys only.
    InsertNext {
        /// Where.
        collection: CollectionId,
        /// The record.
        row: Row,
    },
    /// Adds a record or replaces the one with its key.
    Put {
        /// Where.
        collection: CollectionId,
        /// The record.
        row: Row,
    },
    /// Changes parts of a record and leaves the rest as it is stored at that moment.
    Update {
        /// Where.
        collection: CollectionId,
        /// Which record; `not found` if there is none.
        key: Key,
        /// What to change, one after another.
        changes: Vec<Change>,
        /// `conflict` unless all of these hold.
        when: Vec<Condition>,
    },
    /// Removes a record, if it is there.
    Delete {
        /// Where.
        collection: CollectionId,
        /// Which record.
        key: Key,
        /// `conflict` unless all of these hold for the record that is there.
        when: Vec<Condition>,
    },
    /// Removes all records that a query finds; order, limit and offset count, `after` does not apply.
    DeleteWhere {
        /// Which records.
        query: Query,
    },
    /// A precondition: `conflict` unless the record equals this one by canonical value, or is absent if this is `None`.
    Expect {
        /// Where.
        collection: CollectionId,
        /// Which record.
        key: Key,
        /// What it must be.
        row: Option<Row>,
    },
}

impl Mutation {
    /// The collection it concerns.
    #[must_use]
    pub const fn collection(&self) -> CollectionId {
        match self {
            Self::Insert { collection, .. }
            | Self::InsertNext { collection, .. }
            | Self::Put { collection, .. }
            | Self::Update { collection, .. }
            | Self::Delete { collection, .. }
            | Self::Expect { collection, .. } => *collection,
            Self::DeleteWhere { query } => query.collection,
        }
    }
}

/// A narrow change to one field.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The field becomes this value. Not the key.
    Set {
        /// Position of the field.
        field: usize,
        /// Its new value.
        value: Value,
    },
    /// An int or real field grows by this; nil counts as zero. Overflow is `invalid`.
    Increment {
        /// Position of the field.
        field: usize,
        /// An int for an int field; an int or real for a real field.
        by: Value,
    },
    /// One member of a json field's object becomes this JSON; nil counts as `{}`, anything else that is no object is `invalid`.
    JsonSet {
        /// Position of the field.
        field: usize,
        /// The member's name.
        name: String,
        /// JSON text.
        json: String,
    },
    /// One member of a json field's object is removed, if it is there.
    JsonUnset {
        /// Position of the field.
        field: usize,
        /// The member's name.
        name: String,
    },
    /// A json field's list gets this scalar at its end, unless it holds it; nil counts as `[]`.
    ListAdd {
        /// Position of the field.
        field: usize,
        /// A bool, int, real or text.
        item: Value,
    },
    /// Every item equal to this scalar is removed from a json field's list.
    ListRemove {
        /// Position of the field.
        field: usize,
        /// A bool, int, real or text.
        item: Value,
    },
}

impl Change {
    /// Sets a field.
    #[must_use]
    pub fn set(field: usize, value: impl Into<Value>) -> Self {
        Self::Set { field, value: value.into() }
    }

    /// The position of the field it changes.
    #[must_use]
    pub const fn field(&self) -> usize {
        match self {
            Self::Set { field, .. }
            | Self::Increment { field, .. }
            | Self::JsonSet { field, .. }
            | Self::JsonUnset { field, .. }
            | Self::ListAdd { field, .. }
            | Self::ListRemove { field, .. } => *field,
        }
    }
}

/// What came of one mutation, at the same position as it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// `Insert` and `InsertNext`: the key.
    Inserted(Key),
    /// `Put`: whether there was a record.
    Put {
        /// Whether one was replaced.
        replaced: bool,
    },
    /// `Update`: the record as it is now.
    Updated(Row),
    /// `Delete` and `DeleteWhere`: how many.
    Deleted(u64),
    /// `Expect`: it holds.
    Expected,
}

//! What a table holds under a key.

use crate::collection::Collection;
use crate::eval;
use crate::json;
use crate::record;
use crate::row::Row;
use crate::value::{Value, ValueRef};

/// A stored record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// One that can be read.
    Row(Row),
    /// One that cannot. It is answered `corrupt`, and nothing replaces it.
    Unreadable {
        /// Why.
        why: String,
        /// The values of its fields that could be read, by position: those of indexed fields are found and are taken. Whoever reads
        /// the record fills them, as [`record::salvaged`] does from JSON.
        values: Vec<(usize, Value)>,
    },
}

impl Record {
    /// Reads a record from JSON; what cannot be read keeps the values that can.
    #[must_use]
    pub fn from_json(collection: &Collection, text: &str) -> Self {
        match record::from_json(collection, text) {
            Ok(row) => Self::Row(row),
            Err(e) => {
                let values = json::parse(text).map(|parsed| record::salvaged(collection, &parsed)).unwrap_or_default();
                Self::Unreadable { why: e.message().to_owned(), values }
            }
        }
    }

    /// Whether it is known to have this value in a field.
    pub(super) fn has(&self, collection: &Collection, field: usize, value: ValueRef<'_>) -> bool {
        match self {
            Self::Row(row) => row.view(collection).is_ok_and(|view| eval::same(view.at(field), value)),
            Self::Unreadable { values, .. } => holds(values, field, value),
        }
    }

    /// The same under another description, by the names of the fields.
    pub(super) fn under(&self, old: &Collection, new: &Collection) -> Self {
        match self {
            same if old == new => same.clone(),
            Self::Row(row) => match row.view(old) {
                Ok(view) => Self::from_json(new, &record::to_json(&view)),
                Err(e) => Self::Unreadable { why: e.message().to_owned(), values: Vec::new() },
            },
            Self::Unreadable { why, values } => Self::Unreadable { why: why.clone(), values: carried(values, old, new) },
        }
    }
}

/// Whether this value of a field is among these.
pub(super) fn holds(values: &[(usize, Value)], field: usize, value: ValueRef<'_>) -> bool {
    values.iter().any(|(at, known)| *at == field && eval::same(known.as_ref(), value))
}

/// The values whose fields another description has too, under their positions there.
pub(super) fn carried(values: &[(usize, Value)], old: &Collection, new: &Collection) -> Vec<(usize, Value)> {
    let moved = values.iter().filter_map(|(at, value)| {
        let to = new.position(&old.fields.get(*at)?.name)?;
        (value.as_ref().kind() == Some(new.fields[to].kind)).then(|| (to, value.clone()))
    });
    moved.collect()
}

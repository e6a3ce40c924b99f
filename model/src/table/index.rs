//! The index of one field: from a value's bytes to the keys of the records that have it.

use std::collections::{BTreeSet, HashMap};

use crate::value::{Key, ValueRef};

#[derive(Debug)]
pub(super) struct FieldIndex {
    pub(super) field: usize,
    keys: HashMap<Box<[u8]>, BTreeSet<Key>>,
}

impl FieldIndex {
    pub(super) fn new(field: usize) -> Self {
        Self { field, keys: HashMap::new() }
    }

    /// The keys of the records with a value of the field's kind.
    pub(super) fn get(&self, value: ValueRef<'_>) -> Option<&BTreeSet<Key>> {
        with_bytes(value, |bytes| self.keys.get(bytes)).flatten()
    }

    pub(super) fn add(&mut self, value: ValueRef<'_>, key: &Key) {
        with_bytes(value, |bytes| match self.keys.get_mut(bytes) {
            Some(keys) => drop(keys.insert(key.clone())),
            None => drop(self.keys.insert(bytes.into(), BTreeSet::from([key.clone()]))),
        });
    }

    pub(super) fn remove(&mut self, value: ValueRef<'_>, key: &Key) {
        with_bytes(value, |bytes| {
            if let Some(keys) = self.keys.get_mut(bytes) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(bytes);
                }
            }
        });
    }

    /// The keys of each value that several records have.
    pub(super) fn shared(&self) -> impl Iterator<Item = &BTreeSet<Key>> {
        self.keys.values().filter(|keys| keys.len() > 1)
    }
}

/// The bytes under which an index holds a value; nothing for nil and json.
fn with_bytes<T>(value: ValueRef<'_>, use_it: impl FnOnce(&[u8]) -> T) -> Option<T> {
    match value {
        ValueRef::Nil | ValueRef::Json(_) => None,
        ValueRef::Bool(v) => Some(use_it(&[u8::from(v)])),
        ValueRef::Int(v) => Some(use_it(&v.to_ne_bytes())),
        // Adding zero turns -0.0 into 0.0, which equals it.
        ValueRef::Real(v) => Some(use_it(&(v + 0.0).to_ne_bytes())),
        ValueRef::Text(v) => Some(use_it(v.as_bytes())),
        ValueRef::Blob(v) => Some(use_it(v)),
    }
}
